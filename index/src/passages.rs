//! Sources of passages for an index.

use std::error::Error;
use std::ops::Range;

use memtrain_corpora::Passage;

/// The passages of a corpus, numbered 0 … n−1: passage `i` has [`Passage::id`] `i`. They are read in ranges, some more
/// than once and by several threads, and are never held together.
pub trait Passages: Sync {
    /// Number of passages.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The passages of a range, in order.
    ///
    /// # Errors
    /// Whatever keeps them from being read.
    fn read(&self, range: Range<u64>) -> Result<Vec<Passage>, Box<dyn Error + Send + Sync>>;
}

impl Passages for [Passage] {
    fn len(&self) -> u64 {
        <[Passage]>::len(self) as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Passage>, Box<dyn Error + Send + Sync>> {
        let range = range.start as usize..range.end as usize;
        Ok(self.get(range.clone()).ok_or_else(|| format!("there are no passages {range:?}"))?.to_vec())
    }
}

impl<P: Passages + ?Sized> Passages for &P {
    fn len(&self) -> u64 {
        P::len(self)
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Passage>, Box<dyn Error + Send + Sync>> {
        P::read(self, range)
    }
}

/// Told how far a build is; asked whether to stop. `()` is one that does nothing.
pub trait Watch: Sync {
    /// So many passages more are indexed.
    fn advanced(&self, _passages: u64) {}

    /// Whether to stop at the next good moment; what is finished is kept.
    fn stopping(&self) -> bool {
        false
    }
}

impl Watch for () {}
