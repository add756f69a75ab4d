//! What was typed: one file a command.

pub mod failure;
pub mod policy;
