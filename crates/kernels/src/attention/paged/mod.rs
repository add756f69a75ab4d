//! Paged attention: keys and values of earlier tokens in blocks of [`BLOCK_TOKENS`] positions.
//!
//! Letters: `N` rows of a pass, `H` query heads, `K` key/value heads, `g = H / K` query heads that share one, `D` head width.
//! Source: Kwon et al. 2023, "PagedAttention", arXiv 2309.06180.

mod cpu;
#[cfg(any(feature = "cuda", test))]
pub mod plan;
mod tensors;

use std::ops::Range;

use candle_core::{Result, Tensor};

pub use cpu::CpuKvCache;
pub use tensors::TensorKvCache;

/// Positions of a block. Whole vectors of keys, and few enough that the last block of a sequence wastes little.
pub const BLOCK_TOKENS: usize = 32;

/// Number of a block: blocks that ever existed are numbered without gaps.
pub type BlockId = u32;

/// Heads of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads `H`, a multiple of `key_value`.
    pub query: usize,
    /// Key/value heads `K`.
    pub key_value: usize,
    /// Width `D` of a head.
    pub width: usize,
}

impl Heads {
    /// Query heads that share a key/value head.
    pub fn group(self) -> usize {
        self.query / self.key_value
    }

    /// Elements of a token's keys, or of its values, in a layer.
    pub fn row(self) -> usize {
        self.key_value * self.width
    }
}

/// Rows of one sequence in a pass: neighbours, at consecutive positions. A decode is one row, a piece of a prompt many.
#[derive(Clone, Debug)]
pub struct SequenceRows<'a> {
    /// Rows of the pass, never empty.
    pub rows: Range<usize>,
    /// Position of the first.
    pub position: usize,
    /// Block table of the sequence: blocks of all its positions up to the last row's, at least. Sequences whose tables begin
    /// with the same blocks are a family: these blocks are read once for all of them.
    pub blocks: &'a [BlockId],
}

impl SequenceRows<'_> {
    /// The position after the last row's.
    pub fn end(&self) -> usize {
        self.position + self.rows.len()
    }

    /// Blocks that hold the positions up to the last row's.
    pub fn table(&self) -> &[BlockId] {
        &self.blocks[..self.end().div_ceil(BLOCK_TOKENS)]
    }

    /// Block and offset in it of each row.
    fn places(&self) -> impl Iterator<Item = (BlockId, usize)> + '_ {
        (self.position..self.end()).map(|position| (self.blocks[position / BLOCK_TOKENS], position % BLOCK_TOKENS))
    }
}

/// A paged KV cache, and causal attention over it with a scale of `1 / sqrt(D)`.
pub trait KvCache {
    /// Keeps `k`, `v` `[N, K, D]` of a layer: the rows of the sequences, which are one after the other. There may be rows
    /// beyond.
    ///
    /// # Errors
    /// If the device refuses.
    fn store(&mut self, layer: usize, k: &Tensor, v: &Tensor, sequences: &[SequenceRows<'_>]) -> Result<()>;

    /// Attention of `q` `[N, H, D]`, each row over the positions of its sequence up to its own: `[N, H, D]`. Rows that are in no
    /// sequence are zero.
    ///
    /// # Errors
    /// If the device refuses.
    fn attend(&mut self, layer: usize, q: &Tensor, sequences: &[SequenceRows<'_>]) -> Result<Tensor>;

    /// Copies a block in all layers.
    ///
    /// # Errors
    /// If the device refuses.
    fn copy(&mut self, from: BlockId, to: BlockId) -> Result<()>;
}
