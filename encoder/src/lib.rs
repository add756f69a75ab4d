//! Hugging Face encoders: embeddings and token classification.
//!
//! Reads a directory as `transformers` writes it (configuration, tokenizer, weights) of BERT, RoBERTa (with XLM-R and
//! CamemBERT) or DistilBERT, with the feature `candle-transformers` also of ModernBERT, DeBERTa-v2, NomicBERT, Jina's BERT or
//! Qwen3, and gives
//!
//! * [`Embeddings`]: one vector a text, by the pooling of the model;
//! * [`TokenClassifier`]: labelled spans of a text, such as the names a recognizer was trained to find.
//!
//! Nothing is downloaded: a model is a directory on disk. The same texts give the same numbers, whatever the number of
//! threads.

mod batches;
mod caught;
mod classifier;
mod config;
mod embeddings;
mod error;
mod families;
mod files;
mod model;
mod ops;
mod options;
mod packed;
#[cfg(test)]
mod parity;
mod pattern;
mod pickle;
mod pooling;
mod spans;
pub mod tokenizer_file;
mod tokens;
mod weights;

pub use classifier::TokenClassifier;
pub use embeddings::Embeddings;
pub use error::{EncoderError, Result};
pub use files::files;
pub use options::{Device, Options};
pub use pooling::Pooling;
pub use spans::{Aggregation, LabelledSpan, Scheme, Word};
