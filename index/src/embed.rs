//! From texts to vectors.

mod random_indexing;

pub use self::random_indexing::RandomIndexing;

use crate::IndexError;

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
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, IndexError>;
}
