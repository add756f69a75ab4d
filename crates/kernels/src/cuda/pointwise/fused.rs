//! Kernels of `cuda/pointwise` that do several things in one pass over memory, forward, into tensors that are there.
//!
//! Nothing is allocated and nothing goes on a tape. Tensors are contiguous, of one type (bf16 or f32) on one card, and an output
//! may be an input only where it says so. `T` rows, `H` query heads, `K` key/value heads, `D` head width.

use candle_core::{D, DType, Result, Tensor};

use super::{RmsNorm, Rope, SwiGlu, THREADS, WIDEST_HEAD, WIDEST_NORM, count, matrix, run};
use crate::cuda::Argument::{Address, Real};
use crate::cuda::{Argument, Family, Grid, NOTHING, address, card, function, launch, launch_config};
use crate::nn::ops::Rotary;

/// Elements of an index that stand for no row: [`gather_rows`] writes zeros there.
pub const NO_ROW: u32 = u32::MAX;

/// What a norm writes.
#[derive(Clone, Copy, Debug)]
pub struct NormOutput<'a> {
    /// The normed rows, of the input's shape.
    pub out: &'a Tensor,
    /// `1 / rms` of each row in f32, `[rows]`, where a backward is to follow.
    pub inverse_rms: Option<&'a Tensor>,
}

/// Queries `[T, H, D]` and keys `[T, K, D]`.
#[derive(Clone, Copy, Debug)]
pub struct QueriesAndKeys<'a> {
    /// `[T, H, D]`.
    pub q: &'a Tensor,
    /// `[T, K, D]`.
    pub k: &'a Tensor,
}

/// Refuses a tensor that a kernel would read or write beyond its end.
pub(super) fn check(name: &str, tensor: &Tensor, dtype: DType, count: usize) -> Result<()> {
    if tensor.dtype() != dtype || tensor.elem_count() != count || !tensor.is_contiguous() {
        candle_core::bail!("{name}: {count} contiguous elements of {dtype:?} are expected, not {tensor:?}");
    }
    Ok(())
}

/// RMSNorm of `x` `[.., width]` with `gain` `[width]`.
///
/// # Errors
/// If shapes or types do not fit, a row has more than 8,192 elements, or the card refuses.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64, to: NormOutput<'_>) -> Result<()> {
    norm("rms_norm", x, &[], gain, eps, to)
}

/// `sum = x + residual`, and its RMSNorm with `gain` `[width]`. `sum` may be `x` or `residual`.
///
/// # Errors
/// As [`rms_norm`].
pub fn add_rms_norm(
    x: &Tensor,
    residual: &Tensor,
    gain: &Tensor,
    eps: f64,
    sum: &Tensor,
    to: NormOutput<'_>,
) -> Result<()> {
    norm("add_rms_norm", x, &[residual, sum], gain, eps, to)
}

/// A norm, of a sum where `added` holds the other term and the place of the sum.
fn norm(name: &str, x: &Tensor, added: &[&Tensor], gain: &Tensor, eps: f64, to: NormOutput<'_>) -> Result<()> {
    let (dtype, (rows, width)) = (x.dtype(), matrix(x.shape())?);
    if width > WIDEST_NORM {
        candle_core::bail!("{name}: rows of {width} elements are wider than {WIDEST_NORM}");
    }
    for tensor in added.iter().copied().chain([x, to.out]) {
        check(name, tensor, dtype, rows * width)?;
    }
    check(name, gain, dtype, width)?;
    to.inverse_rms.map_or(Ok(()), |inverse_rms| check(name, inverse_rms, DType::F32, rows))?;
    let mut arguments = vec![Address(address(x)?)];
    let (other, sum) = added.split_at(added.len() / 2);
    for tensor in other.iter().copied().chain([gain]).chain(sum.iter().copied()).chain([to.out]) {
        arguments.push(Address(address(tensor)?));
    }
    arguments.push(Address(to.inverse_rms.map_or(Ok(NOTHING), address)?));
    arguments.extend([count(rows)?, count(width)?, Real(eps as f32)]);
    run(card(x)?, name, dtype, RmsNorm::grid(rows, width), &arguments)
}

/// Queries and keys after a norm of each head with `gains` `[D]` of queries and of keys, turned by the angles of their rows (Qwen3).
///
/// # Errors
/// If shapes or types do not fit, a head has more than 256 elements or an odd number, or the card refuses.
pub fn qk_norm_rope(
    from: QueriesAndKeys<'_>,
    gains: [&Tensor; 2],
    eps: f64,
    rotary: &Rotary,
    to: QueriesAndKeys<'_>,
) -> Result<()> {
    let width = from.q.dim(D::Minus1)?;
    gains.iter().try_for_each(|gain| check("qk_norm_rope", gain, from.q.dtype(), width))?;
    turn("qk_norm_rope", from, gains.map(Some), rotary, to, Some(eps as f32))
}

/// Queries and keys plus their biases `[H, D]` and `[K, D]`, where there are any, turned by the angles of their rows.
///
/// # Errors
/// As [`qk_norm_rope`].
pub fn qk_bias_rope(
    from: QueriesAndKeys<'_>,
    biases: [Option<&Tensor>; 2],
    rotary: &Rotary,
    to: QueriesAndKeys<'_>,
) -> Result<()> {
    for (tensor, bias) in [from.q, from.k].into_iter().zip(biases) {
        let (_, heads, width) = tensor.dims3()?;
        bias.map_or(Ok(()), |bias| check("rope", bias, tensor.dtype(), heads * width))?;
    }
    turn("rope", from, biases, rotary, to, None)
}

/// Both kernels take queries and keys in one launch: the second dimension of the grid chooses.
fn turn(
    name: &str,
    from: QueriesAndKeys<'_>,
    per_head: [Option<&Tensor>; 2],
    rotary: &Rotary,
    to: QueriesAndKeys<'_>,
    eps: Option<f32>,
) -> Result<()> {
    let (dtype, (rows, heads, width), (_, kv_heads, _)) = (from.q.dtype(), from.q.dims3()?, from.k.dims3()?);
    if width % 2 != 0 || width > WIDEST_HEAD {
        candle_core::bail!("{name}: a head of {width} elements, where an even number up to {WIDEST_HEAD} is expected");
    }
    for (tensor, heads) in [(from.q, heads), (to.q, heads), (from.k, kv_heads), (to.k, kv_heads)] {
        check(name, tensor, dtype, rows * heads * width)?;
    }
    for table in [&rotary.cos, &rotary.sin] {
        check(name, table, DType::F32, rows * width / 2)?;
    }
    let mut arguments = vec![Address(address(from.q)?), Address(address(from.k)?)];
    for tensor in per_head {
        arguments.push(Address(tensor.map_or(Ok(NOTHING), address)?));
    }
    for tensor in [&rotary.cos, &rotary.sin, to.q, to.k] {
        arguments.push(Address(address(tensor)?));
    }
    for size in [rows, heads, kv_heads, width, heads * width, kv_heads * width] {
        arguments.push(count(size)?);
    }
    arguments.extend(eps.map(Real));
    let (grid, _) = Rope::launch_shape(from.q.shape(), dtype)?;
    let Some(mut config) = grid.config()? else { return Ok(()) };
    config.grid_dim.1 = 2;
    let (device, suffix) = (card(from.q)?, if dtype == DType::BF16 { "bf16" } else { "f32" });
    let function = function(device, Family::Pointwise, &format!("{name}_{suffix}"), 0)?;
    launch_config(device, &function, config, &arguments)
}

/// `x += bias` of `x` `[.., width]` and `bias` `[width]`, in place.
///
/// # Errors
/// If shapes or types do not fit, or the card refuses.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<()> {
    let (dtype, width) = (x.dtype(), bias.elem_count());
    let rows = x.elem_count() / width.max(1);
    check("add_bias", x, dtype, rows * width)?;
    check("add_bias", bias, dtype, width)?;
    let arguments = [Address(address(x)?), Address(address(bias)?), count(rows)?, count(width)?, count(width)?];
    run(card(x)?, "add_bias", dtype, Grid { blocks: rows, threads: THREADS, shared_bytes: 0 }, &arguments)
}

/// `out = silu(gate) * up`, tensors of one shape.
///
/// # Errors
/// If shapes or types do not fit, or the card refuses.
pub fn swiglu(gate: &Tensor, up: &Tensor, out: &Tensor) -> Result<()> {
    for tensor in [gate, up, out] {
        check("swiglu", tensor, gate.dtype(), gate.elem_count())?;
    }
    let (grid, sizes) = SwiGlu::launch_shape(gate.shape())?;
    let addresses = [address(gate)?, address(up)?, address(out)?].map(Address);
    run(card(gate)?, "swiglu", gate.dtype(), grid, &[&addresses[..], &sizes].concat())
}

/// Rows of `table` `[.., width]` by `ids` `[rows]` (u32 on the card, below the rows of the table, or [`NO_ROW`]) into `out`
/// `[rows, width]`. The ids are not checked: they are not on the host.
///
/// # Errors
/// If shapes or types do not fit, or the card refuses.
pub fn gather_rows(table: &Tensor, ids: &Tensor, out: &Tensor) -> Result<()> {
    const GATHER_THREADS: u32 = 128;
    let (dtype, (_, width), rows) = (table.dtype(), matrix(table.shape())?, ids.elem_count());
    check("gather_rows", table, dtype, table.elem_count())?;
    check("gather_rows", ids, DType::U32, rows)?;
    check("gather_rows", out, dtype, rows * width)?;
    let arguments: [Argument; 5] =
        [Address(address(table)?), Address(address(ids)?), Address(address(out)?), count(rows)?, count(width)?];
    let grid = Grid { blocks: rows, threads: GATHER_THREADS, shared_bytes: 0 };
    run(card(table)?, "gather_rows", dtype, grid, &arguments)
}

/// Cosines and sines of the angles at `positions` `[T]` (u32 on the card), with the `D / 2` `frequencies` of a head in f64, into tables
/// `[T, D / 2]` of f32.
///
/// # Errors
/// If shapes or types do not fit, or the card refuses.
pub fn rotary_table(positions: &Tensor, frequencies: &Tensor, to: &Rotary) -> Result<()> {
    let (rows, half) = (positions.elem_count(), frequencies.elem_count());
    check("rotary_table", positions, DType::U32, rows)?;
    check("rotary_table", frequencies, DType::F64, half)?;
    check("rotary_table", &to.cos, DType::F32, rows * half)?;
    check("rotary_table", &to.sin, DType::F32, rows * half)?;
    let addresses = [address(positions)?, address(frequencies)?, address(&to.cos)?, address(&to.sin)?].map(Address);
    let device = card(positions)?;
    let function = function(device, Family::Pointwise, "rotary_table", 0)?;
    let grid = Grid { blocks: (rows * half).div_ceil(THREADS as usize), threads: THREADS, shared_bytes: 0 };
    launch(device, &function, grid, &[&addresses[..], &[count(rows)?, count(half)?]].concat())
}
