//! Backward launches of the kernels of `cuda/pointwise`, into tensors that are there: of what [`super::fused`] launches forward.
//!
//! Nothing goes on a tape. Tensors are contiguous, of one type (bf16 or f32) on one card unless it says otherwise, and an output may
//! be an input only where it says so. Gradients of gains, biases and the embedding are added up in f32. `N` rows, `H` query heads,
//! `K` key/value heads, `D` head width, `F` feed-forward width.

use candle_core::{D, DType, Result, Tensor};

use super::fused::{NO_ROW, QueriesAndKeys, check, gather_rows};
use super::{PACKET, RmsNorm, Rope, SUMMING_BLOCKS, SwiGlu, THREADS, count, matrix, run, run_in_rows};
use crate::cuda::Argument::{Address, Count, Real};
use crate::cuda::product::Output;
use crate::cuda::{Argument, Grid, NOTHING, address, card};
use crate::nn::ops::Rotary;

/// Where the gradient of a gain or a bias goes: sums over blocks of rows, and then over the blocks.
#[derive(Clone, Copy, Debug)]
pub struct ColumnSums<'a> {
    /// Memory for the parts of the blocks, in f32: [`parts_of`] elements or more.
    pub parts: &'a Tensor,
    /// The sum, `[width]` in f32.
    pub sum: &'a Tensor,
    /// What becomes of what lies in it.
    pub output: Output,
}

/// Elements of [`ColumnSums::parts`] for rows of this width; for the gains of queries and keys of twice the width of a head.
pub fn parts_of(width: usize) -> usize {
    SUMMING_BLOCKS * width
}

/// Rows that a block of a sum takes, and how many blocks there are.
fn blocks_of(rows: usize) -> (usize, usize) {
    let rows_per_block = rows.div_ceil(SUMMING_BLOCKS);
    (rows_per_block, rows.div_ceil(rows_per_block.max(1)))
}

impl ColumnSums<'_> {
    /// Refuses memory that is too small.
    fn check(&self, parts: usize, width: usize) -> Result<()> {
        check("sum of columns", self.sum, DType::F32, width)?;
        if self.parts.dtype() != DType::F32 || self.parts.elem_count() < parts || !self.parts.is_contiguous() {
            candle_core::bail!("sum of columns: {parts} parts are expected, not {:?}", self.parts);
        }
        Ok(())
    }

    /// Adds the parts, of which the first is number `first`.
    fn finish(&self, first: usize, blocks: usize, width: usize) -> Result<()> {
        let parts = self.parts.flatten_all()?.narrow(0, first * width, blocks * width)?;
        let add = Count(u32::from(self.output == Output::Add));
        sum_columns(&parts, self.sum, (blocks, width), (blocks, 1), add)
    }
}

/// Sums of the columns of `x` `[rows, width]`, for every block of rows: `[blocks, width]`.
fn sum_columns(
    x: &Tensor,
    sums: &Tensor,
    (rows, width): (usize, usize),
    (rows_per_block, blocks): (usize, usize),
    add: Argument,
) -> Result<()> {
    let columns = 32 * PACKET / x.dtype().size_in_bytes();
    let grid = Grid { blocks: width.div_ceil(columns), threads: THREADS, shared_bytes: (32 * columns) as u32 };
    let (rows, width) = (count(rows)?, count(width)?);
    let arguments = [Address(address(x)?), Address(address(sums)?), rows, width, width, count(rows_per_block)?, add];
    run_in_rows(card(x)?, "column_sums", x.dtype(), grid, blocks as u32, &arguments)
}

/// The gradient of a bias `[width]` that was added to each of `N` rows.
///
/// # Errors
/// If shapes or types do not fit, or the card refuses.
pub fn bias_gradient(out_gradient: &Tensor, to: ColumnSums<'_>) -> Result<()> {
    let width = to.sum.elem_count();
    let rows = out_gradient.elem_count() / width.max(1);
    let (rows_per_block, blocks) = blocks_of(rows);
    check("bias", out_gradient, out_gradient.dtype(), rows * width)?;
    to.check(blocks * width, width)?;
    sum_columns(out_gradient, to.parts, (rows, width), (rows_per_block, blocks), Count(0))?;
    to.finish(0, blocks, width)
}

/// A norm's input, gain `[width]` and `1 / rms` of each row, from its forward.
#[derive(Clone, Copy, Debug)]
pub struct NormInput<'a> {
    /// `[N, width]`; the sum, of a norm after a residual.
    pub x: &'a Tensor,
    /// `[width]`.
    pub gain: &'a Tensor,
    /// `[N]` in f32.
    pub inverse_rms: &'a Tensor,
}

/// The gradient of a norm's input for that of its output, plus `residual_gradient`, which reaches the input past the norm.
/// `x_gradient` may be `out_gradient` or `residual_gradient`. The gradient of the gain is added up where it is wanted.
///
/// # Errors
/// If shapes or types do not fit, or the card refuses.
pub fn rms_norm(
    from: NormInput<'_>,
    out_gradient: &Tensor,
    residual_gradient: Option<&Tensor>,
    x_gradient: &Tensor,
    gain: Option<ColumnSums<'_>>,
) -> Result<()> {
    const NAME: &str = "rms_norm_backward";
    let (dtype, (rows, width)) = (from.x.dtype(), matrix(from.x.shape())?);
    for tensor in [from.x, out_gradient, x_gradient].into_iter().chain(residual_gradient) {
        check(NAME, tensor, dtype, rows * width)?;
    }
    check(NAME, from.gain, dtype, width)?;
    check(NAME, from.inverse_rms, DType::F32, rows)?;
    let (rows_per_block, blocks) = blocks_of(rows);
    gain.map_or(Ok(()), |gain| gain.check(blocks * width, width))?;
    let arguments = [
        Address(address(from.x)?),
        Address(address(from.gain)?),
        Address(address(out_gradient)?),
        Address(address(from.inverse_rms)?),
        Address(residual_gradient.map_or(Ok(NOTHING), address)?),
        Address(address(x_gradient)?),
        Address(gain.map_or(Ok(NOTHING), |gain| address(gain.parts))?),
        count(rows)?,
        count(width)?,
        count(rows_per_block)?,
    ];
    run(card(from.x)?, NAME, dtype, RmsNorm::grid(blocks, width), &arguments)?;
    gain.map_or(Ok(()), |gain| gain.finish(0, blocks, width))
}

/// Gradients of queries and keys before their norms and rotation, for those after it. `from` are the inputs of the forward. The
/// sums of the two gains, where they are wanted, share the memory of their parts, for twice the width of a head.
///
/// # Errors
/// If shapes or types do not fit, or the card refuses.
pub fn qk_norm_rope(
    from: QueriesAndKeys<'_>,
    gains: [&Tensor; 2],
    eps: f64,
    rotary: &Rotary,
    out_gradient: QueriesAndKeys<'_>,
    gradient: QueriesAndKeys<'_>,
    sums: Option<[ColumnSums<'_>; 2]>,
) -> Result<()> {
    const NAME: &str = "qk_norm_rope_backward";
    let (dtype, width) = (from.q.dtype(), from.q.dim(D::Minus1)?);
    gains.iter().try_for_each(|gain| check(NAME, gain, dtype, width))?;
    let (rows, sizes) = turned(NAME, &[from, out_gradient, gradient], rotary)?;
    let (rows_per_block, blocks) = blocks_of(rows);
    for sum in sums.iter().flatten() {
        sum.check(2 * blocks * width, width)?;
    }
    let mut arguments = Vec::with_capacity(20);
    let [q_gain, k_gain] = gains;
    for tensor in [from.q, from.k, q_gain, k_gain, &rotary.cos, &rotary.sin] {
        arguments.push(Address(address(tensor)?));
    }
    for tensor in [out_gradient.q, out_gradient.k, gradient.q, gradient.k] {
        arguments.push(Address(address(tensor)?));
    }
    arguments.push(Address(sums.map_or(Ok(NOTHING), |[of_queries, _]| address(of_queries.parts))?));
    arguments.extend(sizes);
    arguments.extend([count(rows_per_block)?, Real(eps as f32)]);
    let shared_bytes = (64 * PACKET / dtype.size_in_bytes() * Rope::lanes(width, dtype)) as u32;
    run_in_rows(card(from.q)?, NAME, dtype, Grid { blocks, threads: THREADS, shared_bytes }, 2, &arguments)?;
    if let Some([of_queries, of_keys]) = sums {
        of_queries.finish(0, blocks, width)?;
        ColumnSums { parts: of_queries.parts, ..of_keys }.finish(blocks, blocks, width)?;
    }
    Ok(())
}

/// Gradients of queries and keys before their rotation, for those after it.
///
/// # Errors
/// If shapes or types do not fit, or the card refuses.
pub fn qk_rope(rotary: &Rotary, out_gradient: QueriesAndKeys<'_>, gradient: QueriesAndKeys<'_>) -> Result<()> {
    const NAME: &str = "rope_backward";
    let (_, sizes) = turned(NAME, &[out_gradient, gradient], rotary)?;
    let dtype = gradient.q.dtype();
    let tensors = [out_gradient.q, out_gradient.k, &rotary.cos, &rotary.sin, gradient.q, gradient.k];
    let mut arguments = tensors.into_iter().map(|tensor| address(tensor).map(Address)).collect::<Result<Vec<_>>>()?;
    arguments.extend(sizes);
    let (grid, _) = Rope::launch_shape(gradient.q.shape(), dtype)?;
    run_in_rows(card(gradient.q)?, NAME, dtype, grid, 2, &arguments)
}

/// Rows, and sizes as the kernels of rotation take them, of tensors that must all have those of the first.
fn turned(name: &str, all: &[QueriesAndKeys<'_>], rotary: &Rotary) -> Result<(usize, [Argument; 6])> {
    let QueriesAndKeys { q, k } = all[0];
    let (dtype, (rows, heads, width), (_, kv_heads, _)) = (q.dtype(), q.dims3()?, k.dims3()?);
    for QueriesAndKeys { q, k } in all {
        check(name, q, dtype, rows * heads * width)?;
        check(name, k, dtype, rows * kv_heads * width)?;
    }
    for table in [&rotary.cos, &rotary.sin] {
        check(name, table, DType::F32, rows * width / 2)?;
    }
    let strides = [count(heads * width)?, count(kv_heads * width)?];
    Ok((rows, [count(rows)?, count(heads)?, count(kv_heads)?, count(width)?, strides[0], strides[1]]))
}

/// Gradients of gate and up `[N, F]` for that of `silu(gate) * up`. They may be written where gate and up lie. `out`, where it is
/// given, gets the forward's result once more; it may be `out_gradient`.
///
/// # Errors
/// If shapes or types do not fit, or the card refuses.
pub fn swiglu(
    [gate, up]: [&Tensor; 2],
    out_gradient: &Tensor,
    [gate_gradient, up_gradient]: [&Tensor; 2],
    out: Option<&Tensor>,
) -> Result<()> {
    const NAME: &str = "swiglu_backward";
    let tensors = [gate, up, out_gradient, gate_gradient, up_gradient];
    for tensor in tensors.into_iter().chain(out) {
        check(NAME, tensor, gate.dtype(), gate.elem_count())?;
    }
    let (grid, sizes) = SwiGlu::launch_shape(gate.shape())?;
    let mut arguments = tensors.into_iter().map(|x| address(x).map(Address)).collect::<Result<Vec<_>>>()?;
    arguments.push(Address(out.map_or(Ok(NOTHING), address)?));
    arguments.extend(sizes);
    run(card(gate)?, NAME, gate.dtype(), grid, &arguments)
}

/// Equal numbers of a list together.
struct Groups {
    /// Places in the list, by the number there and then by place.
    order: Vec<u32>,
    /// Where each group begins in `order`, and the end.
    starts: Vec<u32>,
    /// The number of each group, ascending.
    numbers: Vec<u32>,
}

impl Groups {
    fn of(list: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..list.len() as u32).collect();
        order.sort_by_key(|&place| list[place as usize]);
        let (mut starts, mut numbers) = (Vec::new(), Vec::new());
        for (at, &place) in order.iter().enumerate() {
            let number = list[place as usize];
            if numbers.last() != Some(&number) {
                numbers.push(number);
                starts.push(at as u32);
            }
        }
        starts.push(order.len() as u32);
        Self { order, starts, numbers }
    }

    /// Adds rows of `terms` `[.., width]` group by group to the rows `to` of `sums` `[.., width]` in f32.
    fn add(&self, terms: &Tensor, to: &[u32], sums: &Tensor) -> Result<()> {
        const ROW_THREADS: u32 = 128;
        let (dtype, (_, width)) = (terms.dtype(), matrix(sums.shape())?);
        let put = |list: &[u32]| Tensor::new(list, terms.device());
        let (order, starts, to) = (put(&self.order)?, put(&self.starts)?, put(to)?);
        let columns = 32 * PACKET / dtype.size_in_bytes();
        let grid = Grid { blocks: self.numbers.len(), threads: ROW_THREADS, shared_bytes: (16 * columns) as u32 };
        let addresses = [terms, &order, &starts, &to, sums].map(address);
        let mut arguments = addresses.into_iter().map(|at| at.map(Address)).collect::<Result<Vec<_>>>()?;
        arguments.extend([count(self.numbers.len())?, count(width)?]);
        run_in_rows(card(terms)?, "embedding_gradient", dtype, grid, width.div_ceil(columns) as u32, &arguments)
    }
}

/// Adds the gradient of a table `[V, width]` of which rows were taken by `ids`, for that of the rows `[N, width]`, to `gradient` in
/// f32. Rows of one id are added in their order.
///
/// # Errors
/// If shapes or types do not fit, an id is outside the table, or the card refuses.
pub fn add_embedding_gradient(ids: &[u32], out_gradient: &Tensor, gradient: &Tensor) -> Result<()> {
    let (rows, width) = gradient.dims2()?;
    check("gradient of an embedding", out_gradient, out_gradient.dtype(), ids.len() * width)?;
    check("gradient of an embedding", gradient, DType::F32, rows * width)?;
    let groups = Groups::of(ids);
    match groups.numbers.last() {
        Some(&last) if (last as usize) < rows => groups.add(out_gradient, &groups.numbers, gradient),
        Some(last) => candle_core::bail!("gradient of an embedding: id {last} of a table of {rows} rows"),
        None => Ok(()),
    }
}

/// Writes the gradient `[N, width]` of a table of which rows were taken by `rows`, for that of the rows taken, `[R, width]` in f32: zeros
/// where no row was taken.
///
/// # Errors
/// If shapes or types do not fit, no row was taken or one is outside the table, or the card refuses.
pub fn gather_rows_gradient(rows: &[u32], out_gradient: &Tensor, gradient: &Tensor) -> Result<()> {
    let (len, width) = gradient.dims2()?;
    check("gradient of chosen rows", out_gradient, DType::F32, rows.len() * width)?;
    let groups = Groups::of(rows);
    let mut places = vec![NO_ROW; len];
    for (place, &row) in groups.numbers.iter().enumerate() {
        match places.get_mut(row as usize) {
            Some(at) => *at = place as u32,
            None => candle_core::bail!("gradient of chosen rows: row {row} of {len}"),
        }
    }
    if groups.numbers.is_empty() {
        candle_core::bail!("gradient of chosen rows: there are none");
    }
    let sums = Tensor::zeros((groups.numbers.len(), width), DType::F32, gradient.device())?;
    let to: Vec<u32> = (0..groups.numbers.len() as u32).collect();
    groups.add(out_gradient, &to, &sums)?;
    gather_rows(&sums.to_dtype(gradient.dtype())?, &Tensor::new(&places[..], gradient.device())?, gradient)
}

/// These run on a card, or under the driver that executes.
#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::gradient_check::{assert_close, wave};
    use crate::nn::ops;

    /// Lists with equal numbers, against the sums of the CPU's operation.
    #[test]
    fn gradients_of_rows_equal_those_of_the_cpu() -> Result<()> {
        let card = Device::new_cuda(0)?;
        let (ids, width) = ([3_u32, 0, 3, 3, 7, 0], 12);
        let slope = wave(&[ids.len(), width], DType::F32, 1.0)?;
        let start = wave(&[9, width], DType::F32, 0.2)?;
        let table = candle_core::Var::from_tensor(&start)?;
        let gradients = (ops::gather_rows(&table, &ids)? * &slope)?.sum_all()?.backward()?;
        let expected = gradients.get(&table).cloned().unwrap_or_else(|| panic!("no gradient"));
        let sums = start.to_device(&card)?.copy()?;
        add_embedding_gradient(&ids, &slope.to_device(&card)?, &sums)?;
        assert_close(&sums.to_device(&Device::Cpu)?, &(&expected + &start)?, 1e-6)?;
        let chosen = start.to_device(&card)?.copy()?;
        gather_rows_gradient(&ids, &slope.to_device(&card)?, &chosen)?;
        assert_close(&chosen.to_device(&Device::Cpu)?, &expected, 1e-6)?;
        assert!(add_embedding_gradient(&[9], &slope.narrow(0, 0, 1)?.to_device(&card)?, &sums).is_err());
        Ok(())
    }

    #[test]
    fn gradients_of_biases_are_sums_of_columns() -> Result<()> {
        let card = Device::new_cuda(0)?;
        for rows in [3, 700] {
            let slope = wave(&[rows, 40], DType::F32, 1.0)?;
            let start = wave(&[40], DType::F32, 2.0)?;
            let (sum, parts) = (start.to_device(&card)?.copy()?, Tensor::zeros(parts_of(40), DType::F32, &card)?);
            bias_gradient(&slope.to_device(&card)?, ColumnSums { parts: &parts, sum: &sum, output: Output::Add })?;
            let expected = (slope.to_dtype(DType::F64)?.sum(0)? + start.to_dtype(DType::F64)?)?;
            assert_close(&sum.to_device(&Device::Cpu)?.to_dtype(DType::F64)?, &expected, 1e-4)?;
        }
        Ok(())
    }
}
