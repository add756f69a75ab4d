//! Named entities by the pipeline of `rust-bert`.
//!
//! A thin wall around the crate `rust-bert`, which runs models by libtorch: here alone are its types, its panics become
//! errors, and its places in characters become bytes. Without the feature `rust-bert`, which is off by default, this crate is
//! empty and nothing of libtorch is built; with it, see `README.md` for what has to be installed.

#[cfg(feature = "rust-bert")]
mod recognizer;

#[cfg(feature = "rust-bert")]
pub use recognizer::{Architecture, Device, Files, LabelledWord, Recognizer, RecognizerError, Result, download};
