//! Errors of an index.

use std::ops::Range;
use std::path::PathBuf;

use memtrain_corpora::store::StoreError;

/// An index could not be built, opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file of the index could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// tantivy refused.
    #[error("cannot {action} the lexical index in {}: {source}", path.display())]
    Lexical {
        /// What was being done.
        action: &'static str,
        /// Folder of the lexical index.
        path: PathBuf,
        /// tantivy's reason.
        #[source]
        source: Box<tantivy::TantivyError>,
    },
    /// The folder holds no `index.json`, so no build of it has finished.
    #[error("{} holds no finished index: `index.json` is missing; build it again", path.display())]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// A file is there but does not hold what it should.
    #[error("{} is damaged: {detail}; build the index again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A file of another format version.
    #[error("{} has format version {got}, this program reads version {expected}; build the index again", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Version that this program reads.
        expected: u32,
        /// Version of the file.
        got: u32,
    },
    /// A key of the configuration with a value that cannot be.
    #[error("`corpus.index.{key}` is {got}: {expected}")]
    Config {
        /// Key below `index`.
        key: &'static str,
        /// Its value.
        got: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The passages are not numbered 0, 1, 2 …
    #[error(
        "passage {got} stands in place {expected}: passages are numbered 0, 1, 2 … in the order in which they are indexed"
    )]
    Order {
        /// Its place.
        expected: u64,
        /// Its id.
        got: u64,
    },
    /// A range of passages could not be read in full.
    #[error("of the passages {} to {} only {got} came", wanted.start, wanted.end)]
    Short {
        /// The passages asked for.
        wanted: Range<u64>,
        /// How many came.
        got: u64,
    },
    /// A passage that the index does not hold.
    #[error("passage {id} is not in the index, which holds {num_passages}")]
    UnknownPassage {
        /// The id asked for.
        id: u64,
        /// Number of passages in the index.
        num_passages: u64,
    },
    /// The passages to be indexed could not be read.
    #[error("cannot read the passages to be indexed")]
    Passages(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An encoder could not be loaded or run.
    #[error("cannot make embeddings with `{}`: {source}", model.display())]
    Encoder {
        /// The model's directory.
        model: PathBuf,
        /// The encoder's reason.
        #[source]
        source: Box<memtrain_encoder::EncoderError>,
    },
    /// A model for embeddings could not be loaded or run.
    #[error("cannot make embeddings with `{}`: {detail}", model.display())]
    Embedding {
        /// The model's directory or name.
        model: PathBuf,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// The build was asked to stop.
    #[error("stopped; what is finished is kept")]
    Stopped,
}

impl IndexError {
    /// What the user can do about it, where that is known and not said in the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Encoder { source, .. } => source.hint().map(str::to_owned),
            Self::Lexical { source, .. } => match source.as_ref() {
                tantivy::TantivyError::IoError(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    Some(FULL.to_owned())
                }
                // What fails in a thread of tantivy's comes as text.
                error if error.to_string().contains("(os error 28)") => Some(FULL.to_owned()),
                tantivy::TantivyError::OpenReadError(_) | tantivy::TantivyError::DataCorruption(_) => {
                    Some("files of it are missing or damaged; build the index again".to_owned())
                }
                _ => None,
            },
            Self::UnknownPassage { num_passages: 0, .. } => Some("the index is empty".to_owned()),
            Self::UnknownPassage { num_passages, .. } => {
                Some(format!("passages are numbered 0 to {}", num_passages - 1))
            }
            _ => None,
        }
    }
}

const FULL: &str = "The disk is full; free some space or choose another folder, then run the command again";
