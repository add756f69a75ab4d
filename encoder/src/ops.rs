//! The operations of a transformer layer on packed rows: on the processor by [`memtrain_kernels::rows`] in place, elsewhere
//! made of candle's own operations. A test holds the two against each other.
//!
//! Shapes: N rows (tokens of all sequences, one after the other), D dimensions, H heads of E = D / H.

use candle_core::{CpuStorage, D, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use memtrain_kernels::attention::{self, Attention};
use memtrain_kernels::nn::Segment;
use memtrain_kernels::rows;

use crate::config::Activation;

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
        let (x, bias) = (rows_mut(storage, layout)?, &self.0.host);
        match self.1 {
            None => rows::bias_then(x, bias, |x| x),
            Some(Activation::Gelu) => rows::bias_then(x, bias, rows::gelu),
            Some(Activation::GeluTanh) => rows::bias_then(x, bias, rows::gelu_tanh),
            Some(Activation::Relu) => rows::bias_then(x, bias, rows::relu),
            Some(Activation::Silu) => rows::bias_then(x, bias, rows::silu),
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
        let x = rows_mut(storage, layout)?;
        rows::add_then_norm(x, &residual[start..end], &self.0.host, &scale.host, &shift.host, *eps);
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
        rows::layer_norm(rows_mut(storage, layout)?, &scale.host, &shift.host, *eps);
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

/// Attention of each sequence to itself, no token to another sequence. `qkv` is \[N, 3, H, E\]; the result \[N, D\].
pub(crate) fn attention(qkv: &Tensor, lengths: &[usize], portable: bool) -> Result<Tensor> {
    let (n, _, heads, size) = qkv.dims4()?;
    let part = |part: usize| qkv.narrow(1, part, 1)?.squeeze(1);
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    let segments = lengths.iter().scan(0, |start, &length| {
        let rows = *start..*start + length;
        *start = rows.end;
        Some(Segment { rows, prefix: None })
    });
    let segments: Vec<Segment> = segments.collect();
    let layout = attention::Layout::bidirectional(&segments);
    let out = match portable {
        true => attention::padded::Padded.attend(&q, &k, &v, layout)?,
        false => attention::attention(&q, &k, &v, layout)?,
    };
    out.reshape((n, heads * size))
}
