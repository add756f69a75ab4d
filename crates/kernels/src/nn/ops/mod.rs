//! The operations of a decoder. Each file: what it computes, its own backward, its naive twin, and their tests.

mod bias;
mod gather;
pub(crate) mod graft;
mod linear;
mod log_prob;
mod log_prob_chunks;
mod rms_norm;
mod rope;
mod swiglu;

pub use bias::{add_bias, naive_add_bias};
pub use gather::{gather_rows, naive_gather_rows};
pub use linear::{linear, linear_heads};
pub use log_prob::{log_prob, naive_log_prob};
pub use rms_norm::{naive_rms_norm, rms_norm};
pub use rope::{Rotary, frequencies, naive_rope, rope};
pub use swiglu::{naive_swiglu, swiglu};

/// Rows whose logits exist at one time.
pub const LOGIT_ROWS: usize = 256;
