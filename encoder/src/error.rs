//! Errors of a model directory.

use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError};

/// Result of this crate.
pub type Result<T, E = EncoderError> = std::result::Result<T, E>;

/// A model directory that cannot be used, or a device that is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// A file could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such directory, or it lacks a file that every encoder has.
    #[error("`{}` is no encoder directory: {missing}", path.display())]
    NotADirectory {
        /// The directory.
        path: PathBuf,
        /// What is not there.
        missing: String,
        /// What to do.
        hint: &'static str,
    },
    /// The directory is whole, but of a kind that is not supported.
    #[error("cannot use `{}`: {what}", path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// What is not supported, and what is.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// A file of the directory cannot be understood.
    #[error("cannot read `{}`: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// Tensors are missing, or have another shape than the configuration says.
    #[error("the weights in `{}` do not fit its config.json: {}", path.display(), listed(problems))]
    Weights {
        /// The directory.
        path: PathBuf,
        /// One line a tensor; never empty.
        problems: Vec<String>,
    },
    /// A text could not be turned into tokens.
    #[error("the tokenizer of `{}` failed: {detail}", path.display())]
    Tokenizer {
        /// The directory.
        path: PathBuf,
        /// The message of the `tokenizers` crate, or what is wrong with the ids.
        detail: String,
    },
    /// The device is not there, or this build cannot use it.
    #[error("device `{name}` cannot be used: {detail}")]
    Device {
        /// As configured.
        name: String,
        /// Why not.
        detail: String,
    },
    /// An operation on tensors failed, for example for want of memory.
    #[error("the encoder in `{}` failed", path.display())]
    Tensor {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Box<candle_core::Error>,
    },
}

/// The first few of a list, and how many more there are.
fn listed(problems: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > SHOWN {
        text += &format!("; and {} more", problems.len() - SHOWN);
    }
    text
}

impl EncoderError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Store(error) => error.hint(),
            Self::NotADirectory { hint, .. } | Self::Unsupported { hint, .. } => Some(hint),
            Self::Weights { .. } => Some(
                "config.json and the weights must come from the same model; \
                 `AutoModel.from_pretrained(DIR).save_pretrained(DIR2)` in Python writes both anew",
            ),
            Self::Device { .. } => Some("set the device to `cpu`, or use a build with CUDA on a machine with a GPU"),
            _ => None,
        }
    }

    /// A directory without this file, or no directory at all.
    pub(crate) fn lacks(directory: &Path, what: &str, hint: &'static str) -> Self {
        let path = directory.to_owned();
        if store::is_dir(directory) {
            return Self::NotADirectory { path, missing: format!("it has no {what}"), hint };
        }
        Self::NotADirectory {
            path,
            missing: "it does not exist".into(),
            hint: "give a local directory with config.json, tokenizer.json (or vocab.txt) and model.safetensors; \
                   `hf download NAME --local-dir DIR` fetches one from the hub",
        }
    }

    /// For `map_err` on what the `tokenizers` crate returns.
    pub(crate) fn tokenizer(path: &Path, detail: impl ToString) -> Self {
        Self::Tokenizer { path: path.to_owned(), detail: detail.to_string() }
    }

    /// For `map_err` on what candle returns.
    pub(crate) fn tensor(path: &Path) -> impl Fn(candle_core::Error) -> Self + '_ {
        |source| Self::Tensor { path: path.to_owned(), source: Box::new(source) }
    }
}
