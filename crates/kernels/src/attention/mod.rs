//! Attention with grouped queries over packed rows: one interface, its implementations side by side.
//!
//! `out_i = sum_j softmax_j(q_i . k_j / sqrt(D)) v_j` over the rows `j` that row `i` sees ([`Layout`]); query head `h` reads
//! key/value head `h / (H / K)`. Source: Vaswani et al. 2017, section 3.2.1; grouped queries: Ainslie et al. 2023, "GQA".
//!
//! * [`packed`]: the kernel of the CPU, forward and backward
//! * [`by_sequence`]: matrix products of each sequence, for encoders on the CPU; forward
//! * [`padded`]: sequences filled up to one length in one product, for encoders on a device; forward
//! * [`blockwise`]: candle's operations, block by block, on any device; forward and backward
//! * [`paged`]: keys and values of earlier tokens in blocks ([`paged::KvCache`]): in plain memory, of tensors; forward
//! * `cuda::attention`, `cuda::paged`: fused kernels for NVIDIA cards, by the plans of `block_mask` and `paged::plan`
//!
//! A new implementation is a file and a line in [`IMPLEMENTATIONS`] (a KV cache: in the list of `parity`). The tests of `parity`
//! hold each against attention by its definition in f64, over random forests, head counts, widths and masks.

#[cfg(any(feature = "cuda", test))]
pub mod block_mask;
pub mod blockwise;
pub mod by_sequence;
pub mod packed;
pub mod padded;
pub mod paged;
#[cfg(test)]
pub(crate) mod parity;

use candle_core::{Result, Shape, Tensor};

use crate::nn::{Segment, prefixes};

/// Which rows of its own segment a row sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mask {
    /// Those up to itself.
    Causal,
    /// All of them.
    Bidirectional,
}

/// Which rows see each other: a row sees all rows of its segment's prefixes, and of its own segment what the mask says.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Segments in the order of their rows, which they cover.
    pub segments: &'a [Segment],
    /// What a row sees of its own segment.
    pub mask: Mask,
}

impl<'a> Layout<'a> {
    /// Rows that see what is before them: a decoder's.
    pub fn causal(segments: &'a [Segment]) -> Self {
        Self { segments, mask: Mask::Causal }
    }

    /// Rows that see all of their segment: an encoder's.
    pub fn bidirectional(segments: &'a [Segment]) -> Self {
        Self { segments, mask: Mask::Bidirectional }
    }

    fn has_prefixes(self) -> bool {
        self.segments.iter().any(|segment| segment.prefix.is_some())
    }

    /// The prefixes of a segment from the root on.
    fn prefixes(self, segment: usize) -> Vec<usize> {
        let mut prefixes: Vec<usize> = prefixes(self.segments, segment).collect();
        prefixes.reverse();
        prefixes
    }

    /// Rows of its own segment, from the first on, that a block of `rows` rows sees, `first` rows into the segment.
    fn own_keys(self, segment: usize, first: usize, rows: usize) -> usize {
        match self.mask {
            Mask::Causal => first + rows,
            Mask::Bidirectional => self.segments[segment].rows.len(),
        }
    }
}

/// An implementation of attention over packed rows.
pub trait Attention: Sync {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Whether it computes such queries `[N, H, D]` over `K` key/value heads, forward and, where they are on a tape, backward.
    fn takes(&self, q: &Tensor, kv_heads: usize, layout: Layout<'_>) -> bool;

    /// Attention of `q` `[N, H, D]` over `k`, `v` `[N, K, D]`, which fit each other and the layout: `[N, H, D]`.
    ///
    /// # Errors
    /// If the device refuses.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, layout: Layout<'_>) -> Result<Tensor>;
}

/// All implementations over packed rows; of those that take the inputs the first computes.
pub const IMPLEMENTATIONS: &[&dyn Attention] = &[
    #[cfg(feature = "cuda")]
    &crate::cuda::ForestKernels,
    &by_sequence::BySequence,
    &packed::Packed,
    &padded::Padded,
    &blockwise::Blockwise,
];

/// Attention of `q` `[N, H, D]` over `k`, `v` `[N, K, D]`: `[N, H, D]`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use memtrain_kernels::attention::{Layout, attention};
/// use memtrain_kernels::nn::PackedBatch;
/// let mut batch = PackedBatch::default();
/// let prompt = batch.push(&[5, 6, 7], None);
/// batch.push(&[8], Some(prompt));
/// let [q, k] = [4, 2].map(|heads| Tensor::ones((4, heads, 8), DType::F32, &Device::Cpu).unwrap());
/// let out = attention(&q, &k, &k, Layout::causal(&batch.segments))?;
/// assert_eq!(out.dims(), [4, 4, 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// If shapes do not fit each other or the segments, or a segment's prefix is not an earlier one.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, layout: Layout<'_>) -> Result<Tensor> {
    let sizes = Sizes::new(q.shape(), k.shape())?;
    if k.shape() != v.shape() {
        candle_core::bail!("attention: k {:?} and v {:?} differ", k.shape(), v.shape());
    }
    check_segments(layout.segments, sizes.rows)?;
    let Some(chosen) = IMPLEMENTATIONS.iter().find(|one| one.takes(q, sizes.kv_heads, layout)) else {
        candle_core::bail!("attention: nothing computes {:?} of {:?} on this device", q.shape(), q.dtype());
    };
    chosen.attend(q, k, v, layout)
}

/// Refuses segments that are not one after the other, or have a later one for a prefix.
pub(crate) fn check_segments(segments: &[Segment], rows: usize) -> Result<()> {
    let mut next = 0;
    for (number, segment) in segments.iter().enumerate() {
        let prefix_is_earlier = segment.prefix.is_none_or(|prefix| prefix < number);
        if segment.rows.start != next || segment.rows.end < next || !prefix_is_earlier {
            candle_core::bail!("attention: segment {number} ({segment:?}) breaks the layout of the batch");
        }
        next = segment.rows.end;
    }
    if next != rows {
        candle_core::bail!("attention: segments cover {next} rows of {rows}");
    }
    Ok(())
}

/// Sizes of an attention over `N` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// `N`.
    pub rows: usize,
    /// `H`.
    pub heads: usize,
    /// `K`, which divides `H`.
    pub kv_heads: usize,
    /// `D`.
    pub width: usize,
}

impl Sizes {
    /// Of queries `[N, H, D]` and keys `[N, K, D]`.
    pub(crate) fn new(q: &Shape, k: &Shape) -> Result<Self> {
        let ((rows, heads, width), (k_rows, kv_heads, k_width)) = (q.dims3()?, k.dims3()?);
        if rows != k_rows || width != k_width || width == 0 || kv_heads == 0 || heads % kv_heads != 0 {
            candle_core::bail!("attention: q {q:?} does not fit k {k:?}");
        }
        Ok(Self { rows, heads, kv_heads, width })
    }

    /// Query heads that read one key/value head.
    pub(crate) fn group(self) -> usize {
        self.heads / self.kv_heads
    }
}
