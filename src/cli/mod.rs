//! What was typed: one file a command.

pub mod failure;
