//! Optimizer: gradient accumulation, global-norm clipping, AdamW, learning-rate schedule.
//!
//! Gradients of micro-batches are added up ([`GradientBuffer`]), clipped by their global norm ([`clip_global_norm`]),
//! and applied by [`AdamW`] at the learning rate of a [`Schedule`]. Several processes share all of it by [`Ranks`].

mod adamw;
mod gradients;
mod norm;
mod ranks;
mod schedule;
mod state;

pub use adamw::{AdamW, AdamWConfig, MomentType};
pub use gradients::GradientBuffer;
pub use norm::{clip_global_norm, global_norm};
pub use ranks::{GradientSums, Ranks};
pub(crate) use ranks::{f64s, owners};
pub use schedule::{Decay, Schedule};
pub use state::StateError;
