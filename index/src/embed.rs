//! From texts to vectors.

mod neural;
mod random_indexing;

use std::path::Path;

pub use self::neural::Neural;
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
    })
}
