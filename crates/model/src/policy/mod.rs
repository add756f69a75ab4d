//! The policy: a decoder-only language model with its tokenizer and chat template.
//!
//! One decoder for Qwen2, Qwen2.5, Qwen3 and Llama; its gradients, whole or layer by layer; low-rank adapters; its
//! tokenizer and chat template; its Hugging Face directory; presets.

mod adapted;
pub mod adapter;
pub mod backward;
pub mod built_in;
pub mod chat_template;
pub mod config;
pub mod convert;
pub mod copying;
#[cfg(feature = "cuda")]
mod cuda;
pub mod decoder;
pub mod directory;
pub mod gguf;
#[cfg(test)]
mod hostile;
#[cfg(feature = "cuda")]
pub mod inference;
pub mod lora;
mod marks;
pub mod preset;
pub mod prompt_text;
mod recorded;
pub mod stored;
pub mod stored_decoder;
pub mod tokenizer;
pub mod weights;

pub use backward::{Checkpointing, ScoredRows};
pub use chat_template::TemplateSettings;
pub use config::{Architecture, PolicyConfig};
pub use decoder::{Decoder, Layer, Precision, Qkv, ScoredTokens};
pub use directory::{Generation, Origin, Policy};
pub use lora::{LoraConfig, Target};
pub use prompt_text::PromptText;
pub use tokenizer::{Message, PolicyTokenizer};
pub use weights::{LayerWeights, Weights};

use std::path::PathBuf;

/// What can be wrong with a policy and its files.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file of a policy directory is not there.
    #[error("`{}` is missing from the policy directory: {hint}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// The architecture is none that the decoder can be.
    #[error("unknown architecture `{got}`: Qwen2ForCausalLM, Qwen3ForCausalLM or LlamaForCausalLM expected")]
    UnknownArchitecture {
        /// What the configuration says.
        got: String,
    },
    /// The program carries no policy of this name.
    #[error("no built-in policy is called `{name}`; there are {known}")]
    NoBuiltIn {
        /// What was asked for, without `built-in:`.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A file where the folder of a model belongs.
    #[error("`{}` is a file: a policy is a folder with `config.json`, `model.safetensors` and `tokenizer.json`", path.display())]
    File {
        /// The file.
        path: PathBuf,
    },
    /// A key of the configuration has a value that cannot be used.
    #[error("key `{key}` of the policy's configuration: {detail}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error("tensor `{name}` is missing from {origin}")]
    MissingTensor {
        /// Hugging Face name.
        name: String,
        /// Where it was looked for.
        origin: String,
    },
    /// A tensor has another shape than the configuration implies.
    #[error("tensor `{name}` has shape {got:?}, but the configuration implies {expected:?}")]
    Shape {
        /// Hugging Face name.
        name: String,
        /// From the configuration.
        expected: Vec<usize>,
        /// From the file.
        got: Vec<usize>,
    },
    /// A tensor holds NaN or infinity, with which nothing can be computed.
    #[error("tensor `{name}` of {origin} holds a value that is not finite (NaN or infinity): take the weights anew")]
    NotFinite {
        /// Hugging Face name.
        name: String,
        /// Where it lies.
        origin: String,
    },
    /// A tensor holds a number that another type cannot.
    #[error(
        "tensor `{name}` holds {value:e}, beyond the range of {dtype} (its largest number is {largest:e}): \
         choose a type with a larger range, such as bf16"
    )]
    OutOfRange {
        /// Hugging Face name.
        name: String,
        /// The number of the largest size.
        value: f64,
        /// The type it was to have.
        dtype: &'static str,
        /// The largest number of that type.
        largest: f64,
    },
    /// A tensor that the architecture has no place for.
    #[error("tensor `{name}` has no place in this architecture")]
    UnexpectedTensor {
        /// Its name.
        name: String,
    },
    /// A file cannot be read as what it should be.
    #[error("`{}` cannot be read: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The tokenizer has ids that the embedding has no rows for.
    #[error("the tokenizer has {tokenizer} ids, but the embedding only {embedding} rows")]
    Vocabulary {
        /// Ids of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        embedding: usize,
    },
    /// Reading or writing a file failed.
    #[error(transparent)]
    Store(#[from] memtrain_corpora::store::StoreError),
    /// The tokenizer failed.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template failed.
    #[error("chat template: {0}")]
    Template(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
