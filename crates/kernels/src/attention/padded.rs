//! Attention of sequences to themselves in one product, filled up to the longest: few large launches, which is what a device
//! without kernels of ours wants of an encoder. Forward only.

use candle_core::{Result, Tensor};

use super::blockwise::tensor_softmax;
use super::{Attention, Layout, Mask};
use crate::nn::ops::graft::accumulated;

/// Sequences filled up to the longest, of candle's operations.
#[derive(Clone, Copy, Debug)]
pub struct Padded;

impl Attention for Padded {
    fn name(&self) -> &'static str {
        "padded attention"
    }

    fn takes(&self, q: &Tensor, kv_heads: usize, layout: Layout<'_>) -> bool {
        let is_grouped = q.dims3().is_ok_and(|(_, heads, _)| heads != kv_heads);
        layout.mask == Mask::Bidirectional
            && !is_grouped
            && !layout.has_prefixes()
            && q.dtype().is_float()
            && !q.track_op()
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, layout: Layout<'_>) -> Result<Tensor> {
        let (n, heads, width) = q.dims3()?;
        let lengths = layout.segments.iter().map(|segment| segment.rows.len());
        let (count, longest) = (layout.segments.len(), lengths.clone().max().unwrap_or(0));
        if n == 0 {
            return q.zeros_like();
        }
        let mut padded = Vec::with_capacity(count * longest);
        let mut mask = Vec::with_capacity(count * longest);
        let mut packed = Vec::with_capacity(n);
        for (sequence, segment) in layout.segments.iter().enumerate() {
            let (start, length) = (segment.rows.start, segment.rows.len());
            for place in 0..longest {
                // A sequence without rows is filled up with a row of another, and nothing reads what comes out.
                padded.push((start + place.min(length.saturating_sub(1))).min(n - 1) as u32);
                mask.push(if place < length.max(1) { 0.0_f32 } else { f32::NEG_INFINITY });
            }
            packed.extend((0..length).map(|place| (sequence * longest + place) as u32));
        }
        let device = q.device();
        let rows = Tensor::from_vec(padded, count * longest, device)?;
        let wide = accumulated(q.dtype());
        let mask = Tensor::from_vec(mask, (count, 1, 1, longest), device)?.to_dtype(wide)?;
        let by_head = |x: &Tensor| {
            let x = x.contiguous()?.index_select(&rows, 0)?.reshape((count, longest, heads, width))?;
            x.transpose(1, 2)?.contiguous()
        };
        let scores = by_head(q)?.matmul(&by_head(k)?.transpose(2, 3)?)?.to_dtype(wide)?;
        let weights = tensor_softmax(&(scores / (width as f64).sqrt())?.broadcast_add(&mask)?)?;
        let output = weights.to_dtype(q.dtype())?.matmul(&by_head(v)?)?;
        let output = output.transpose(1, 2)?.contiguous()?.reshape((count * longest, heads, width))?;
        output.index_select(&Tensor::from_vec(packed, n, device)?, 0)
    }
}
