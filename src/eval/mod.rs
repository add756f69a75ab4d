//! How good is it?
//!
//! * [`interval`]: means with 95 % intervals
//! * [`reconstruction`]: end-to-end and intermediate recall on held-out documents
//! * [`metrics`]: when an answer to a question is right

pub mod interval;
pub mod metrics;
pub mod reconstruction;
