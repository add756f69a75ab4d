//! The operations of a transformer layer on packed rows: on the processor by [`crate::kernels`] in place, elsewhere made of
//! candle's own operations. A test holds the two against each other.
//!
//! Shapes: N rows (tokens of all sequences, one after the other), D dimensions, H heads of E = D / H, L tokens of one
//! sequence, B sequences, P the longest of them.

use candle_core::{CpuStorage, D, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use candle_nn::ops::softmax_last_dim;

use crate::config::Activation;
use crate::kernels;

/// A vector of parameters, on the device and for the kernels.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) tensor: Tensor,
    host: Vec<f32>,
}

impl Vector {
    pub(crate) fn new(tensor: Tensor) -> Result<Self> {
        // What stands in for a missing tensor is a number repeated; it is never computed with, and may be too long.
        let host = if tensor.is_contiguous() { tensor.to_vec1()? } else { Vec::new() };
        Ok(Self { tensor, host })
    }
}

/// Scale, shift and epsilon of a layer norm.
#[derive(Debug)]
pub(crate) struct Norm {
    pub(crate) scale: Vector,
    pub(crate) shift: Vector,
    pub(crate) eps: f32,
}

/// Whether the kernels of this crate apply; `portable` turns them off.
fn by_kernel(x: &Tensor, portable: bool) -> bool {
    !portable && x.device().is_cpu() && x.dtype() == DType::F32
}

fn rows_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("rows must be f32 and contiguous"),
    }
}

struct BiasThen<'a>(&'a Vector, Option<Activation>);

impl InplaceOp1 for BiasThen<'_> {
    fn name(&self) -> &'static str {
        "bias-then-activation"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (rows, bias) = (rows_mut(storage, layout)?, &self.0.host);
        match self.1 {
            None => kernels::bias_then(rows, bias, |x| x),
            Some(Activation::Gelu) => kernels::bias_then(rows, bias, kernels::gelu),
            Some(Activation::GeluTanh) => kernels::bias_then(rows, bias, kernels::gelu_tanh),
            Some(Activation::Relu) => kernels::bias_then(rows, bias, kernels::relu),
            Some(Activation::Silu) => kernels::bias_then(rows, bias, kernels::silu),
        }
        Ok(())
    }
}

/// `activation(x + bias)` of `x` \[N, D\], which must not be used elsewhere.
pub(crate) fn bias_then(x: Tensor, bias: &Vector, activation: Option<Activation>, portable: bool) -> Result<Tensor> {
    if by_kernel(&x, portable) {
        x.inplace_op1(&BiasThen(bias, activation))?;
        return Ok(x);
    }
    let x = x.broadcast_add(&bias.tensor)?;
    match activation {
        None => Ok(x),
        Some(Activation::Gelu) => x.gelu_erf(),
        Some(Activation::GeluTanh) => x.gelu(),
        Some(Activation::Relu) => x.relu(),
        Some(Activation::Silu) => x.silu(),
    }
}

struct AddThenNorm<'a>(&'a Vector, &'a Norm);

impl InplaceOp2 for AddThenNorm<'_> {
    fn name(&self) -> &'static str {
        "add-then-norm"
    }

    fn cpu_fwd(
        &self,
        storage: &mut CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(residual), Some((start, end))) = (residual, residual_layout.contiguous_offsets()) else {
            bail!("residual rows must be f32 and contiguous")
        };
        let Norm { scale, shift, eps } = self.1;
        let rows = rows_mut(storage, layout)?;
        kernels::add_then_norm(rows, &residual[start..end], &self.0.host, &scale.host, &shift.host, *eps);
        Ok(())
    }
}

/// `norm(x + bias + residual)`, all \[N, D\]; `x` must not be used elsewhere.
pub(crate) fn add_then_norm(
    x: Tensor,
    bias: &Vector,
    residual: &Tensor,
    norm: &Norm,
    portable: bool,
) -> Result<Tensor> {
    if by_kernel(&x, portable) {
        x.inplace_op2(residual, &AddThenNorm(bias, norm))?;
        return Ok(x);
    }
    normed(&(x.broadcast_add(&bias.tensor)? + residual)?, norm)
}

struct LayerNorm<'a>(&'a Norm);

impl InplaceOp1 for LayerNorm<'_> {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Norm { scale, shift, eps } = self.0;
        kernels::layer_norm(rows_mut(storage, layout)?, &scale.host, &shift.host, *eps);
        Ok(())
    }
}

/// `norm(x)` of `x` \[N, D\], which must not be used elsewhere.
pub(crate) fn layer_norm(x: Tensor, norm: &Norm, portable: bool) -> Result<Tensor> {
    if by_kernel(&x, portable) {
        x.inplace_op1(&LayerNorm(norm))?;
        return Ok(x);
    }
    normed(&x, norm)
}

/// By candle's elementary operations: its fused CPU layer norm takes the variance as E\[x²\] − E\[x\]², which loses digits.
fn normed(x: &Tensor, norm: &Norm) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let unit = centred.broadcast_div(&(variance + f64::from(norm.eps))?.sqrt()?)?;
    unit.broadcast_mul(&norm.scale.tensor)?.broadcast_add(&norm.shift.tensor)
}

struct Softmax;

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let columns = layout.dims().last().copied().unwrap_or(1);
        kernels::softmax(rows_mut(storage, layout)?, columns);
        Ok(())
    }
}

/// Attention of each sequence to itself, no token to another sequence. `qkv` is \[N, 3, H, E\], the queries scaled already;
/// the result \[N, D\].
pub(crate) fn attention(qkv: &Tensor, lengths: &[usize], portable: bool) -> Result<Tensor> {
    if by_kernel(qkv, portable) { attention_by_sequence(qkv, lengths) } else { attention_padded(qkv, lengths) }
}

/// Views of the packed rows go into the multiplications as they are: nothing is copied but the result.
fn attention_by_sequence(qkv: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (n, _, heads, size) = qkv.dims4()?;
    let mut start = 0;
    let mut outputs = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let of_sequence = qkv.narrow(0, start, length)?;
        let part = |part: usize| of_sequence.narrow(1, part, 1)?.squeeze(1)?.transpose(0, 1);
        let scores = part(0)?.matmul(&part(1)?.transpose(1, 2)?)?;
        scores.inplace_op1(&Softmax)?;
        outputs.push(scores.matmul(&part(2)?)?.transpose(0, 1)?);
        start += length;
    }
    Tensor::cat(&outputs, 0)?.reshape((n, heads * size))
}

/// All sequences in one multiplication, filled up to the longest: few large launches, which is what a GPU wants.
fn attention_padded(qkv: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (n, _, heads, size) = qkv.dims4()?;
    let (count, longest) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
    let mut padded = Vec::with_capacity(count * longest);
    let mut mask = Vec::with_capacity(count * longest);
    let mut packed = Vec::with_capacity(n);
    let mut start = 0;
    for (sequence, &length) in lengths.iter().enumerate() {
        for place in 0..longest {
            padded.push((start + place.min(length.saturating_sub(1))) as u32);
            mask.push(if place < length { 0.0 } else { f32::NEG_INFINITY });
        }
        packed.extend((0..length).map(|place| (sequence * longest + place) as u32));
        start += length;
    }
    let device = qkv.device();
    let rows = Tensor::from_vec(padded, count * longest, device)?;
    let mask = Tensor::from_vec(mask, (count, 1, 1, longest), device)?;
    let qkv = qkv.index_select(&rows, 0)?.reshape((count, longest, 3, heads, size))?;
    let part = |part: usize| qkv.narrow(2, part, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
    let scores = part(0)?.matmul(&part(1)?.transpose(2, 3)?)?.broadcast_add(&mask)?;
    let output = softmax_last_dim(&scores)?.matmul(&part(2)?)?;
    let output = output.transpose(1, 2)?.contiguous()?.reshape((count * longest, heads * size))?;
    output.index_select(&Tensor::from_vec(packed, n, device)?, 0)
}
