//! What can go wrong with an index.

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
    #[error("`index.{key}` is {got}: {expected}")]
    Config {
        /// Key below `index`.
        key: &'static str,
        /// Its value.
        got: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The passages did not come in the order of their ids.
    #[error("passage {got} came after passage {previous}: passages are indexed in rising order of their ids")]
    Order {
        /// Id of the passage before.
        previous: u64,
        /// Id of the passage that is too small.
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
}
