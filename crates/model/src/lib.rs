//! The language model: weights, gradients, optimizer, and what a run of it will take.
//!
//! * [`policy`]: decoder, adapters, tokenizer, chat template, Hugging Face directories
//! * [`scoring`]: teacher-forced log-probabilities and gradients of given responses
//! * [`optim`]: AdamW, gradient accumulation, clipping
//! * [`plan`]: memory and operations of a run, before anything is loaded

pub mod optim;
pub mod plan;
pub mod policy;
pub mod scoring;
mod tensor_file;
