//! How good is it?
//!
//! * [`interval`]: means with 95 % intervals
//! * [`reconstruction`]: end-to-end and intermediate recall on held-out documents

pub mod interval;
pub mod reconstruction;
