//! Attention of sequences to themselves on the CPU, a sequence after the other: two batched matrix products, which read views of
//! packed rows where they lie. For encoders: at their lengths of 16 to 512 tokens it takes half to three quarters of the time of
//! [`super::packed`]. Forward only.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

use super::{Attention, Mask};
use crate::host::has_kernel;
use crate::vector::{Real, softmax};

const NAME: &str = "attention by sequence";

/// Matrix products of each sequence, in f32 and f64.
#[derive(Clone, Copy, Debug)]
pub struct BySequence;

impl Attention for BySequence {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, q: &Tensor, kv_heads: usize, layout: super::Layout<'_>) -> bool {
        let is_grouped = q.dims3().is_ok_and(|(_, heads, _)| heads != kv_heads);
        layout.mask == Mask::Bidirectional && !is_grouped && !layout.has_prefixes() && has_kernel(q) && !q.track_op()
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, layout: super::Layout<'_>) -> Result<Tensor> {
        let softmax = ScaledSoftmax { scale: 1.0 / (q.dim(2)? as f64).sqrt() };
        let mut outputs = Vec::with_capacity(layout.segments.len());
        for rows in layout.segments.iter().map(|segment| &segment.rows).filter(|rows| !rows.is_empty()) {
            let by_head = |x: &Tensor| x.narrow(0, rows.start, rows.len())?.transpose(0, 1);
            let scores = by_head(q)?.matmul(&by_head(k)?.transpose(1, 2)?)?;
            scores.inplace_op1(&softmax)?;
            outputs.push(scores.matmul(&by_head(v)?)?.transpose(0, 1)?);
        }
        if outputs.is_empty() { q.zeros_like() } else { Tensor::cat(&outputs, 0)?.contiguous() }
    }
}

/// Softmax of rows times a scale, in place.
struct ScaledSoftmax {
    scale: f64,
}

impl ScaledSoftmax {
    fn rows<T: Real>(&self, rows: &mut [T], columns: usize) {
        let scale = T::from_f64(self.scale);
        for row in rows.chunks_exact_mut(columns.max(1)) {
            softmax(row, |score, largest| (score - largest) * scale);
        }
    }
}

impl InplaceOp1 for ScaledSoftmax {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let columns = layout.dims().last().copied().unwrap_or(1);
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(values), Some((start, end))) => self.rows(&mut values[start..end], columns),
            (CpuStorage::F64(values), Some((start, end))) => self.rows(&mut values[start..end], columns),
            _ => candle_core::bail!("{NAME}: scores must be f32 or f64 and contiguous"),
        }
        Ok(())
    }
}
