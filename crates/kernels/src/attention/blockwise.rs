//! Attention block by block, of candle's operations: for devices that have no kernel of ours.
//!
//! The output is computed outside the tape in blocks of `BLOCK` query rows and
//! grafted into it; the backward computes the weights of a block again. Nothing of size `T x T` is kept, at most
//! `H x BLOCK x T` scores exist.
//!
//! With `P = softmax(Q K^T / sqrt(D))`, `O = P V`: `dV = P^T dO`, `dS = P (dO V^T - rowsum(dO O)) / sqrt(D)`, `dQ = dS K`,
//! `dK = dS^T Q` (Dao et al. 2022, "FlashAttention", appendix B).

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CudaStorage, CustomOp3, D, DType, Device, Layout, Result, Shape, Tensor};

use super::{Attention, Mask};
use crate::nn::Segment;
use crate::nn::ops::graft::{self, accumulated};

const NAME: &str = "blockwise attention";

/// Query rows worked on together: 268 MB of scores for 32 heads over 8,192 keys.
const BLOCK: usize = 256;

/// What is added to the score of a key that is not seen.
const UNSEEN: f64 = -1e30;

/// Candle's operations, block by block, on any device.
#[derive(Clone, Copy, Debug)]
pub struct Blockwise;

impl Attention for Blockwise {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, q: &Tensor, _: usize, _: super::Layout<'_>) -> bool {
        q.dtype().is_float()
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, layout: super::Layout<'_>) -> Result<Tensor> {
        let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
        let out = Blocks::new(&q, &k, &v, layout)?.forward()?;
        q.apply_op3(&k, &v, Graft { out, segments: layout.segments.into(), mask: layout.mask })
    }
}

/// Puts an output into the tape that was computed outside of it.
struct Graft {
    out: Tensor,
    segments: Arc<[Segment]>,
    mask: Mask,
}

impl CustomOp3 for Graft {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        graft::on_cpu(NAME, &self.out)
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        graft::on_cuda(NAME, &self.out)
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let layout = super::Layout { segments: &self.segments, mask: self.mask };
        let [q_grad, k_grad, v_grad] = Blocks::new(q, k, v, layout)?.backward(out, &grad.contiguous()?)?;
        Ok((Some(q_grad), Some(k_grad), Some(v_grad)))
    }
}

/// Inputs without a tape, heads first.
struct Blocks<'a> {
    /// `[K, g, N, D]`.
    q: Tensor,
    /// `[K, N, D]`.
    k: Tensor,
    /// `[K, N, D]`.
    v: Tensor,
    /// `[BLOCK, BLOCK]`: [`UNSEEN`] where the key comes after the query, else 0.
    later: Tensor,
    layout: super::Layout<'a>,
    /// `K`, `g`, `N`, `D`.
    sizes: (usize, usize, usize, usize),
}

/// What one segment sees: rows of its prefixes from the root on, then its own.
struct Seen {
    ranges: Vec<Range<usize>>,
    num_prefix: usize,
    k: Tensor,
    v: Tensor,
}

impl<'a> Blocks<'a> {
    fn new(q: &Tensor, k: &Tensor, v: &Tensor, layout: super::Layout<'a>) -> Result<Self> {
        let ((n, heads, width), kv_heads) = (q.dims3()?, k.dim(1)?);
        let sizes = (kv_heads, heads / kv_heads, n, width);
        let q = heads_first(q, sizes)?;
        let of_keys = |x: &Tensor| x.detach().transpose(0, 1)?.contiguous();
        let later = later_keys(accumulated(q.dtype()), q.device())?;
        Ok(Self { q, k: of_keys(k)?, v: of_keys(v)?, later, layout, sizes })
    }

    fn seen(&self, segment: usize) -> Result<Seen> {
        let seen = self.layout.prefixes(segment).into_iter().chain([segment]);
        let mut ranges: Vec<Range<usize>> = seen.map(|segment| self.layout.segments[segment].rows.clone()).collect();
        ranges.retain(|range| !range.is_empty());
        let gather = |x: &Tensor| {
            let parts: Result<Vec<Tensor>> = ranges.iter().map(|range| x.narrow(1, range.start, range.len())).collect();
            Tensor::cat(&parts?, 1)?.contiguous()
        };
        let (k, v) = (gather(&self.k)?, gather(&self.v)?);
        let num_prefix = k.dim(1)? - self.layout.segments[segment].rows.len();
        Ok(Seen { ranges, num_prefix, k, v })
    }

    /// The rows of a block, `[K, g R, D]`.
    fn rows(&self, x: &Tensor, rows: &Range<usize>) -> Result<Tensor> {
        let (kv_heads, group, _, width) = self.sizes;
        x.narrow(2, rows.start, rows.len())?.contiguous()?.reshape((kv_heads, group * rows.len(), width))
    }

    /// Weights `[K, g R, T]` in f32 of a block of rows, `first` rows into its segment, over the `T` keys it may see.
    fn weights(&self, segment: usize, rows: &Range<usize>, first: usize, seen: &Seen) -> Result<Tensor> {
        let (kv_heads, group, _, width) = self.sizes;
        let num_keys = seen.num_prefix + self.layout.own_keys(segment, first, rows.len());
        let keys = seen.k.narrow(1, 0, num_keys)?.transpose(1, 2)?.contiguous()?;
        let scores =
            (self.rows(&self.q, rows)?.matmul(&keys)?.to_dtype(accumulated(self.q.dtype()))? / (width as f64).sqrt())?;
        let scores = match self.layout.mask {
            Mask::Bidirectional => scores,
            Mask::Causal => {
                // Of the keys that a segment sees only those of the block itself come after one of its rows.
                let later = self.later.narrow(0, 0, rows.len())?.narrow(1, 0, rows.len())?;
                let later = later.pad_with_zeros(1, num_keys - rows.len(), 0)?.unsqueeze(0)?;
                let shape = scores.shape().clone();
                let scores = scores.reshape((kv_heads * group, rows.len(), num_keys))?;
                scores.broadcast_add(&later)?.reshape(shape)?
            }
        };
        tensor_softmax(&scores)
    }

    /// Blocks of query rows of a segment: their rows in the batch, and how far they are into the segment.
    fn blocks(&self, segment: usize) -> impl Iterator<Item = (Range<usize>, usize)> + use<> {
        let rows = self.layout.segments[segment].rows.clone();
        rows.clone().step_by(BLOCK).map(move |start| (start..rows.end.min(start + BLOCK), start - rows.start))
    }

    fn filled(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.layout.segments.len()).filter(|&segment| !self.layout.segments[segment].rows.is_empty())
    }

    /// `[N, H, D]`.
    fn forward(&self) -> Result<Tensor> {
        let (kv_heads, group, n, width) = self.sizes;
        let mut parts = Vec::new();
        for segment in self.filled() {
            let seen = self.seen(segment)?;
            for (rows, first) in self.blocks(segment) {
                let weights = self.weights(segment, &rows, first, &seen)?.to_dtype(self.v.dtype())?;
                let out = weights.matmul(&seen.v.narrow(1, 0, weights.dim(2)?)?.contiguous()?)?;
                parts.push(out.reshape((kv_heads, group, rows.len(), width))?);
            }
        }
        if parts.is_empty() {
            return Tensor::zeros((n, kv_heads * group, width), self.q.dtype(), self.q.device());
        }
        heads_last(&Tensor::cat(&parts, 2)?)
    }

    /// Gradients of queries, keys and values in their shapes.
    fn backward(&self, out: &Tensor, grad: &Tensor) -> Result<[Tensor; 3]> {
        let (kv_heads, group, n, width) = self.sizes;
        let (out, grad) = (heads_first(out, self.sizes)?, heads_first(grad, self.sizes)?);
        let wide = accumulated(self.q.dtype());
        let mut q_parts = Vec::new();
        // By the segment whose rows they are, `[K, rows, D]`.
        let empty = || -> Vec<Option<Tensor>> { vec![None; self.layout.segments.len()] };
        let (mut k_sums, mut v_sums) = (empty(), empty());
        for segment in self.filled() {
            let seen = self.seen(segment)?;
            for (rows, first) in self.blocks(segment) {
                let weights = self.weights(segment, &rows, first, &seen)?;
                let num_keys = weights.dim(2)?;
                let (grad, out) = (self.rows(&grad, &rows)?, self.rows(&out, &rows)?);
                let (keys, values) = (seen.k.narrow(1, 0, num_keys)?, seen.v.narrow(1, 0, num_keys)?);
                let mean = (grad.to_dtype(wide)? * out.to_dtype(wide)?)?.sum_keepdim(2)?;
                let slopes =
                    grad.matmul(&values.transpose(1, 2)?.contiguous()?)?.to_dtype(wide)?.broadcast_sub(&mean)?;
                let slopes = ((&weights * slopes)? / (width as f64).sqrt())?.to_dtype(self.q.dtype())?;
                let q_part = slopes.matmul(&keys.contiguous()?)?;
                q_parts.push(q_part.reshape((kv_heads, group, rows.len(), width))?);
                let turned = |x: &Tensor| x.transpose(1, 2)?.contiguous();
                let k_part = turned(&slopes)?.matmul(&self.rows(&self.q, &rows)?)?;
                let v_part = turned(&weights.to_dtype(self.q.dtype())?)?.matmul(&grad)?;
                self.add(&mut k_sums, &seen, &k_part)?;
                self.add(&mut v_sums, &seen, &v_part)?;
            }
        }
        let put_together = |sums: Vec<Option<Tensor>>| -> Result<Tensor> {
            let parts: Vec<Tensor> = sums.into_iter().flatten().collect();
            match parts.is_empty() {
                true => Tensor::zeros((n, kv_heads, width), self.k.dtype(), self.k.device()),
                false => Tensor::cat(&parts, 1)?.transpose(0, 1)?.contiguous()?.to_dtype(self.k.dtype()),
            }
        };
        let q_grad = match q_parts.is_empty() {
            true => Tensor::zeros((n, kv_heads * group, width), self.q.dtype(), self.q.device())?,
            false => heads_last(&Tensor::cat(&q_parts, 2)?)?,
        };
        Ok([q_grad, put_together(k_sums)?, put_together(v_sums)?])
    }

    /// Adds the gradient `[K, T, D]` of the first `T` rows of what a segment sees to the sums of those rows' segments.
    fn add(&self, sums: &mut [Option<Tensor>], seen: &Seen, part: &Tensor) -> Result<()> {
        let mut start = 0;
        for range in &seen.ranges {
            let len = range.len().min(part.dim(1)?.saturating_sub(start));
            if len == 0 {
                break;
            }
            let own = part.narrow(1, start, len)?.to_dtype(accumulated(part.dtype()))?;
            // The last block of a segment reaches its end, those before it leave rows out.
            let own = own.pad_with_zeros(1, 0, range.len() - len)?;
            let Some(owner) = self.layout.segments.iter().position(|segment| segment.rows == *range) else {
                candle_core::bail!("{NAME}: rows {range:?} belong to no segment");
            };
            sums[owner] = Some(match sums[owner].take() {
                Some(sum) => (sum + own)?,
                None => own,
            });
            start += range.len();
        }
        Ok(())
    }
}

/// What is added to the scores of a block for its own keys, made on the device from a list of its rows.
fn later_keys(dtype: DType, device: &Device) -> Result<Tensor> {
    let rows = Tensor::arange(0u32, BLOCK as u32, device)?;
    let later = rows.reshape((1, BLOCK))?.broadcast_gt(&rows.reshape((BLOCK, 1))?)?;
    later.to_dtype(dtype)? * UNSEEN
}

/// `[N, H, D]` without its tape as `[K, g, N, D]`.
fn heads_first(x: &Tensor, (kv_heads, group, n, width): (usize, usize, usize, usize)) -> Result<Tensor> {
    x.detach().reshape((n, kv_heads, group, width))?.permute((1, 2, 0, 3))?.contiguous()
}

/// `[K, g, N, D]` as `[N, H, D]`.
fn heads_last(x: &Tensor) -> Result<Tensor> {
    let (kv_heads, group, n, width) = x.dims4()?;
    x.permute((2, 0, 1, 3))?.contiguous()?.reshape((n, kv_heads * group, width))
}

/// Softmax over the last dimension.
pub(crate) fn tensor_softmax(scores: &Tensor) -> Result<Tensor> {
    let exponents = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    exponents.broadcast_div(&exponents.sum_keepdim(D::Minus1)?)
}
