//! What is differentiable, and how is it proved?
//!
//! Shape letters used throughout: `N` tokens of a packed batch, `R` scored rows, `d` model width, `H` query heads,
//! `K` key/value heads, `D` head width, `F` feed-forward width, `V` vocabulary.

pub mod ops;
pub mod packed;
pub mod tape;

pub use packed::{PackedBatch, Segment};
