//! Supervised fine-tuning (SFT) of a policy made from nothing, before any reward.
//!
//! A policy made from nothing answers nothing, so every reward is zero and GRPO has no gradient. SFT teaches it the
//! language of the corpus (next-token prediction on passages) and the form of the task (imitation of [`oracle`]
//! trajectories). Both are made from the corpus itself, without labels. Pretrained policies do not need it.

pub mod bank_oracle;
pub mod oracle;
pub mod step;
