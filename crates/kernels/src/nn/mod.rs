//! Differentiable operations of a decoder on packed batches, and the checks of their gradients.
//!
//! Shape letters used throughout: `N` tokens of a packed batch, `R` scored rows, `d` model width, `H` query heads,
//! `K` key/value heads, `D` head width, `F` feed-forward width, `V` vocabulary.
//!
//! Each operation in [`ops`] has a forward and a backward of its own on the CPU and a naive twin composed of candle's
//! differentiable operations. The twin is what the fast kernel is tested against, and what runs on other devices. On an
//! NVIDIA card attention, norms, rotations, activations and log-probabilities launch kernels of `cuda/` instead.

pub mod gradient_check;
pub mod ops;
pub mod packed;
pub mod tape;

pub use packed::{PackedBatch, Segment, prefixes};
