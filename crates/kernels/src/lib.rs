//! Differentiable operations on packed batches, and the device they run on.
//!
//! * [`nn`]: operations with backward passes of their own, each beside a naive twin
//! * [`device`]: the device that computes
//! * `cuda` (a feature): kernels for NVIDIA cards, their loading and launches

#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod nn;
