//! Vector kernels, attention, differentiable operations on packed batches, and the device they run on.
//!
//! * [`vector`], [`tile`], [`rows`]: loops over slices that the compiler vectorises: exponentials, sums, products, softmax;
//!   small matrix products; norms and activations of rows
//! * [`attention`]: one interface, and its implementations
//! * [`nn`]: operations with backward passes of their own, each beside a naive twin
//! * [`host`]: access to tensors in host memory
//! * [`device`]: the device that computes
//! * `cuda` (a feature): kernels for NVIDIA cards, their loading and launches

pub mod attention;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod host;
pub mod nn;
pub mod rows;
pub mod tile;
pub mod vector;
