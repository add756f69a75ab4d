//! From texts to vectors.

mod neural;
#[cfg(feature = "fastembed")]
mod onnx;
mod random_indexing;

use std::path::{Path, PathBuf};

use memtrain_corpora::store;

pub use self::neural::Neural;
#[cfg(feature = "fastembed")]
pub use self::onnx::Onnx;
pub use self::random_indexing::RandomIndexing;
pub(crate) use self::random_indexing::Sample;

use crate::folder::EMBEDDER;
use crate::{EmbedBackend, EmbedConfig, IndexError};

/// What a text is to the index. Some models want different words before the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A question or a search.
    Query,
    /// A passage of the corpus.
    Passage,
}

/// A back-end that turns texts into vectors of length 1 (or 0, for a text of no known word), so that the scalar
/// product of two is their cosine.
pub trait Embedder: Send + Sync {
    /// Length of the vectors.
    fn dimensions(&self) -> usize;

    /// One vector of [`Self::dimensions`] values for each text, in order. The vector of a text does not depend on
    /// the other texts.
    ///
    /// # Errors
    /// Whatever keeps the back-end from answering; the built-in one always answers.
    fn embed(&self, texts: &[&str], role: Role) -> Result<Vec<Vec<f32>>, IndexError>;
}

/// The embeddings of an index: what the built-in ones have learned, or the configured model.
pub(crate) fn open(config: &EmbedConfig, dir: &Path) -> Result<Box<dyn Embedder>, IndexError> {
    Ok(match config.backend {
        EmbedBackend::Builtin => Box::new(RandomIndexing::read(&dir.join(EMBEDDER))?),
        EmbedBackend::Candle => Box::new(Neural::open(config)?),
        #[cfg(feature = "fastembed")]
        EmbedBackend::Fastembed => Box::new(Onnx::open(config)?),
        #[cfg(not(feature = "fastembed"))]
        EmbedBackend::Fastembed => {
            let detail = "the index was made by fastembed, without which this program was built; \
                          `cargo build --release --features fastembed` builds one with it";
            return Err(IndexError::Embedding { model: config.model.clone(), detail: detail.to_owned() });
        }
    })
}

/// Files of an export that decide what its embeddings are.
const EXPORT_FILES: [&str; 9] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "model.onnx",
    "onnx/model.onnx",
];

/// The files of the configured model, as paths inside its directory; their hashes say which model it is. None for the
/// built-in embeddings.
///
/// # Errors
/// If the directory holds no model.
pub fn model_files(config: &EmbedConfig) -> Result<Vec<PathBuf>, IndexError> {
    let model = &config.model;
    match config.backend {
        EmbedBackend::Builtin => Ok(Vec::new()),
        EmbedBackend::Candle => memtrain_encoder::files(model)
            .map_err(|source| IndexError::Encoder { model: model.clone(), source: Box::new(source) }),
        EmbedBackend::Fastembed => {
            let mut files = Vec::with_capacity(EXPORT_FILES.len());
            for file in EXPORT_FILES.map(PathBuf::from) {
                if store::try_exists(&model.join(&file))? {
                    files.push(file);
                }
            }
            Ok(files)
        }
    }
}
