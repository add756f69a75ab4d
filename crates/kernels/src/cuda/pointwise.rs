//! Norms, rotary embedding and gated activation on a card: launches of the kernels of `cuda/pointwise`.
//!
//! The functions are those of [`crate::nn::ops`] in bf16 or f32, with sums in f32. `cuda/pointwise/README.md` lists the
//! kernels with their arguments, grids and conditions.

pub mod backward;
pub mod fused;

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::cuda_backend::{CudaDevice, CudaStorage};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, DType, Layout, Result, Shape, Tensor};

use self::backward::{ColumnSums, NormInput, parts_of};
use super::Argument::{Address, Count, Real};
use super::product::Output;
use super::{
    Argument, Family, Grid, NOTHING, address, card, function, launch, launch_config, on_card_only, room, room_like,
    storage_address,
};
use crate::nn::ops::Rotary;

/// Threads of a block, where the width of a row does not ask for fewer.
const THREADS: u32 = 256;

/// Widest row of a norm.
const WIDEST_NORM: usize = 8192;

/// Blocks of a backward that keeps partial sums, at most: enough for any current card.
const SUMMING_BLOCKS: usize = 256;

/// Bytes that a thread reads at once.
const PACKET: usize = 16;

/// Widest head that is turned.
const WIDEST_HEAD: usize = 256;

/// Whether the kernels take tensors of this type and place; something must be in them.
fn is_taken(x: &Tensor) -> bool {
    x.device().is_cuda() && matches!(x.dtype(), DType::BF16 | DType::F32) && x.elem_count() > 0
}

/// Whether [`rms_norm`] takes these.
pub(crate) fn has_rms_norm(x: &Tensor, gain: &Tensor) -> bool {
    is_taken(x) && x.dtype() == gain.dtype() && gain.elem_count() <= WIDEST_NORM
}

/// Whether [`rope`] takes this.
pub(crate) fn has_rope(x: &Tensor) -> bool {
    is_taken(x) && x.dim(D::Minus1).is_ok_and(|width| width <= WIDEST_HEAD)
}

/// Whether [`swiglu`] takes this.
pub(crate) fn has_swiglu(gate: &Tensor) -> bool {
    is_taken(gate)
}

/// RMSNorm of contiguous `x` `[.., width]` with `gain` `[width]`.
pub(crate) fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    x.apply_op2(gain, RmsNorm { eps: eps as f32, inverse_rms: OnceLock::new() })
}

/// Contiguous `x` `[N, heads, D]` turned by tables in f32.
pub(crate) fn rope(x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
    x.apply_op3(&rotary.cos, &rotary.sin, Rope)
}

/// `silu(gate) * up` of contiguous tensors of one shape.
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.apply_op2(up, SwiGlu)
}

/// Cosines and sines `[N, D / 2]` in f32 of positions times the `D / 2` frequencies of a head, from angles in f64; there are some of
/// both.
pub(crate) fn rotary_tables(positions: &[u32], frequencies: &[f64], device: &CudaDevice) -> Result<Rotary> {
    let (rows, half) = (positions.len(), frequencies.len());
    let table = || room_like((rows, half), DType::F32, device);
    let rotary = Rotary { cos: table()?, sin: table()? };
    let (positions, frequencies) = (device.clone_htod(positions)?, device.clone_htod(frequencies)?);
    let stream = device.cuda_stream();
    let arguments = [
        Address(positions.device_ptr(&stream).0),
        Address(frequencies.device_ptr(&stream).0),
        Address(address(&rotary.cos)?),
        Address(address(&rotary.sin)?),
        count(rows)?,
        count(half)?,
    ];
    let grid = Grid { blocks: (rows * half).div_ceil(THREADS as usize), threads: THREADS, shared_bytes: 0 };
    let function = function(device, Family::Pointwise, "rotary_table", 0)?;
    launch(device, &function, grid, &arguments)?;
    Ok(rotary)
}

/// Launches a kernel of the family for a type.
fn run(device: &CudaDevice, name: &str, dtype: DType, grid: Grid, arguments: &[Argument]) -> Result<()> {
    run_in_rows(device, name, dtype, grid, 1, arguments)
}

/// The same with so many rows of blocks.
fn run_in_rows(
    device: &CudaDevice,
    name: &str,
    dtype: DType,
    grid: Grid,
    rows: u32,
    arguments: &[Argument],
) -> Result<()> {
    let Some(mut config) = grid.config()? else { return Ok(()) };
    config.grid_dim.1 = rows;
    let suffix = if dtype == DType::BF16 { "bf16" } else { "f32" };
    let function = function(device, Family::Pointwise, &format!("{name}_{suffix}"), grid.shared_bytes)?;
    launch_config(device, &function, config, arguments)
}

/// A size as the kernels take it.
pub(super) fn count(size: usize) -> Result<Argument> {
    match u32::try_from(size) {
        Ok(size) => Ok(Count(size)),
        Err(_) => candle_core::bail!("{size} is more than the kernels count to"),
    }
}

/// Rows and width of a tensor as a matrix.
fn matrix(shape: &Shape) -> Result<(usize, usize)> {
    let Some(&width) = shape.dims().last() else { candle_core::bail!("a tensor with rows is expected") };
    Ok((shape.elem_count() / width.max(1), width))
}

struct RmsNorm {
    eps: f32,
    /// `[rows]`, set by the forward.
    inverse_rms: OnceLock<Tensor>,
}

impl RmsNorm {
    fn grid(blocks: usize, width: usize) -> Grid {
        Grid { blocks, threads: width.div_ceil(16).next_multiple_of(32) as u32, shared_bytes: 256 }
    }

    fn backward(&self, x: &Tensor, gain: &Tensor, grad: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let Some(inverse_rms) = self.inverse_rms.get() else { candle_core::bail!("rms-norm: backward before forward") };
        let (device, width) = (card(x)?, gain.elem_count());
        let x_gradient = room_like(x.shape(), x.dtype(), device)?;
        let from = NormInput { x, gain, inverse_rms };
        if !gain.track_op() {
            backward::rms_norm(from, grad, None, &x_gradient, None)?;
            return Ok((x_gradient, None));
        }
        let (parts, sum) = (room_like(parts_of(width), DType::F32, device)?, room_like(width, DType::F32, device)?);
        let sums = ColumnSums { parts: &parts, sum: &sum, output: Output::Overwrite };
        backward::rms_norm(from, grad, None, &x_gradient, Some(sums))?;
        Ok((x_gradient, Some(sum.to_dtype(gain.dtype())?)))
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        on_card_only("rms-norm")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_l: &Layout,
        gain: &CudaStorage,
        gain_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (rows, width) = matrix(x_l.shape())?;
        let out = room(&x.device, x.dtype(), rows * width)?;
        let inverse_rms = room_like(rows, DType::F32, &x.device)?;
        let arguments = [
            Address(storage_address(x, x_l)?),
            Address(storage_address(gain, gain_l)?),
            Address(storage_address(&out, &Layout::contiguous(x_l.shape()))?),
            Address(address(&inverse_rms)?),
            count(rows)?,
            count(width)?,
            Real(self.eps),
        ];
        run(&x.device, "rms_norm", x.dtype(), Self::grid(rows, width), &arguments)?;
        // An operation is applied once, so nothing was there.
        let _ = self.inverse_rms.set(inverse_rms);
        Ok((out, x_l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, gain: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x_gradient, gain_gradient) = self.backward(x, gain, &grad.contiguous()?)?;
        Ok((Some(x_gradient), gain_gradient))
    }
}

struct Rope;

impl Rope {
    /// Threads that hold a head together.
    fn lanes(head_dim: usize, dtype: DType) -> usize {
        (head_dim / 2).div_ceil(PACKET / dtype.size_in_bytes()).next_power_of_two().min(32)
    }

    /// The grid, and what follows the addresses, for `[N, heads, D]` alone: the kernels' second half, keys, is left out.
    fn launch_shape(shape: &Shape, dtype: DType) -> Result<(Grid, [Argument; 6])> {
        let (rows, heads, head_dim) = shape.dims3()?;
        let blocks = (rows * heads * Self::lanes(head_dim, dtype)).div_ceil(THREADS as usize);
        let stride = count(heads * head_dim)?;
        let sizes = [count(rows)?, count(heads)?, count(heads)?, count(head_dim)?, stride, stride];
        Ok((Grid { blocks, threads: THREADS, shared_bytes: 0 }, sizes))
    }

    fn backward(cos: &Tensor, sin: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let device = card(grad)?;
        let x_gradient = room_like(grad.shape(), grad.dtype(), device)?;
        let (grid, sizes) = Self::launch_shape(grad.shape(), grad.dtype())?;
        let (from, to) = (Address(address(grad)?), Address(address(&x_gradient)?));
        let addresses = [from, from, Address(address(cos)?), Address(address(sin)?), to, to];
        run(device, "rope_backward", grad.dtype(), grid, &[&addresses[..], &sizes].concat())?;
        Ok(x_gradient)
    }
}

impl CustomOp3 for Rope {
    fn name(&self) -> &'static str {
        "rope"
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
        on_card_only("rope")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_l: &Layout,
        cos: &CudaStorage,
        cos_l: &Layout,
        sin: &CudaStorage,
        sin_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let out = room(&x.device, x.dtype(), x_l.shape().elem_count())?;
        let (grid, sizes) = Self::launch_shape(x_l.shape(), x.dtype())?;
        let from = Address(storage_address(x, x_l)?);
        let to = Address(storage_address(&out, &Layout::contiguous(x_l.shape()))?);
        let (cos, sin) = (Address(storage_address(cos, cos_l)?), Address(storage_address(sin, sin_l)?));
        let addresses = [from, from, Address(NOTHING), Address(NOTHING), cos, sin, to, to];
        run(&x.device, "rope", x.dtype(), grid, &[&addresses[..], &sizes].concat())?;
        Ok((out, x_l.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((Some(Self::backward(cos, sin, &grad.contiguous()?)?), None, None))
    }
}

struct SwiGlu;

impl SwiGlu {
    /// The grid, and what follows the addresses.
    fn launch_shape(shape: &Shape) -> Result<(Grid, [Argument; 4])> {
        let (rows, width) = matrix(shape)?;
        let width = count(width)?;
        Ok((Grid { blocks: rows, threads: THREADS, shared_bytes: 0 }, [count(rows)?, width, width, width]))
    }

    fn backward(gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
        let device = card(gate)?;
        let gradients = [room_like(gate.shape(), gate.dtype(), device)?, room_like(up.shape(), up.dtype(), device)?];
        backward::swiglu([gate, up], grad, gradients.each_ref(), None)?;
        Ok(gradients)
    }
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        on_card_only("swiglu")
    }

    fn cuda_fwd(
        &self,
        gate: &CudaStorage,
        gate_l: &Layout,
        up: &CudaStorage,
        up_l: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let out = room(&gate.device, gate.dtype(), gate_l.shape().elem_count())?;
        let (grid, sizes) = Self::launch_shape(gate_l.shape())?;
        let to = storage_address(&out, &Layout::contiguous(gate_l.shape()))?;
        let addresses = [storage_address(gate, gate_l)?, storage_address(up, up_l)?, to].map(Address);
        run(&gate.device, "swiglu", gate.dtype(), grid, &[&addresses[..], &sizes].concat())?;
        Ok((out, gate_l.shape().clone()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [gate_gradient, up_gradient] = Self::backward(gate, up, &grad.contiguous()?)?;
        Ok((Some(gate_gradient), Some(up_gradient)))
    }
}

/// These run on a card, or under the driver that executes.
#[cfg(test)]
mod tests {
    use candle_core::backend::BackendDevice;
    use candle_core::{Device, Var};

    use super::*;
    use crate::nn::gradient_check::wave;
    use crate::nn::ops;

    /// Type, and the error that rounding to it may leave.
    const TYPES: [(DType, f64); 2] = [(DType::F32, 1e-5), (DType::BF16, 1e-2)];

    fn check(name: &str, found: &Tensor, expected: &Tensor, bound: f64) -> Result<()> {
        let found = found.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let norm = |x: &Tensor| x.sqr()?.sum_all()?.to_scalar::<f64>();
        let error = (norm(&(found - expected)?)? / norm(expected)?.max(1e-9)).sqrt();
        assert!(error < bound, "{name}: {error}");
        Ok(())
    }

    /// Inputs in f64 that the type holds exactly, and the same on the card.
    fn put(dims: &[usize], scale: f64, dtype: DType, card: &Device) -> Result<(Tensor, Tensor)> {
        let rounded = wave(dims, DType::F32, scale)?.to_dtype(dtype)?;
        Ok((rounded.to_dtype(DType::F64)?, rounded.to_device(card)?))
    }

    /// Gradients of variables for a slope of the output, of the CPU's kernels.
    fn expected(inputs: &[&Tensor], slope: &Tensor, op: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<Vec<Tensor>> {
        let variables = inputs.iter().map(|x| Ok(Var::from_tensor(x)?)).collect::<Result<Vec<_>>>()?;
        let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
        let gradients = (op(&tensors)? * slope)?.sum_all()?.backward()?;
        let of = |variable: &Var| gradients.get(variable).cloned().unwrap_or_else(|| panic!("no gradient"));
        Ok(variables.iter().map(of).collect())
    }

    #[test]
    fn norms_equal_the_kernel_of_the_cpu() -> Result<()> {
        let card = Device::new_cuda(0)?;
        for ((dtype, bound), dims) in
            TYPES.into_iter().flat_map(|of| [(of, [3, 2, 128]), (of, [300, 1, 40]), (of, [2, 1, 7])])
        {
            let ((x, x_card), (gain, gain_card)) =
                (put(&dims, 1.0, dtype, &card)?, put(&dims[2..], 2.0, dtype, &card)?);
            let (slope, slope_card) = put(&dims, 0.7, dtype, &card)?;
            check("rms_norm", &rms_norm(&x_card, &gain_card, 1e-6)?, &ops::rms_norm(&x, &gain, 1e-6)?, bound)?;
            let wanted = expected(&[&x, &gain], &slope, |v| ops::rms_norm(&v[0], &v[1], 1e-6))?;
            let op = RmsNorm { eps: 1e-6, inverse_rms: OnceLock::new() };
            let (storage, layout) = x_card.storage_and_layout();
            let (of_gain, gain_layout) = gain_card.storage_and_layout();
            let (candle_core::Storage::Cuda(storage), candle_core::Storage::Cuda(of_gain)) = (&*storage, &*of_gain)
            else {
                panic!("on a card")
            };
            op.cuda_fwd(storage, layout, of_gain, gain_layout)?;
            let gain_variable = Var::from_tensor(&gain_card)?;
            // The sum over rows is read in f32: candle's own kernel would cast it.
            let (x_gradient, _) = op.backward(&x_card, &gain_card, &slope_card)?;
            check("dx", &x_gradient, &wanted[0], bound)?;
            if dtype == DType::F32 {
                let (_, gain_gradient) = op.backward(&x_card, &gain_variable, &slope_card)?;
                check("dgain", &gain_gradient.unwrap_or_else(|| panic!("no gradient")), &wanted[1], bound)?;
            }
        }
        card.as_cuda_device()?.synchronize()
    }

    #[test]
    fn rotations_equal_the_kernel_of_the_cpu() -> Result<()> {
        let card = Device::new_cuda(0)?;
        let positions: Vec<u32> = (0..37).map(|row| row * 211 % 9000).collect();
        for ((dtype, bound), head_dim) in TYPES.into_iter().flat_map(|of| [(of, 128), (of, 48), (of, 6)]) {
            let dims = [positions.len(), 3, head_dim];
            let frequencies = ops::frequencies(head_dim, 1e6);
            let tables = |dtype, device: &Device| Rotary::new(&positions, &frequencies, dtype, device);
            let (on_card, on_cpu) = (tables(dtype, &card)?, tables(DType::F64, &Device::Cpu)?);
            assert_eq!(on_card.cos.dtype(), DType::F32);
            let (x, x_card) = put(&dims, 1.0, dtype, &card)?;
            check("rope", &rope(&x_card, &on_card)?, &ops::rope(&x, &on_cpu)?, bound)?;
            let wanted = expected(&[&x.ones_like()?], &x, |v| ops::rope(&v[0], &on_cpu))?;
            check("dx", &Rope::backward(&on_card.cos, &on_card.sin, &x_card)?, &wanted[0], bound)?;
        }
        Ok(())
    }

    #[test]
    fn gated_activations_equal_the_kernel_of_the_cpu() -> Result<()> {
        let card = Device::new_cuda(0)?;
        for ((dtype, bound), dims) in TYPES.into_iter().flat_map(|of| [(of, [5, 96]), (of, [3, 301])]) {
            let ((gate, gate_card), (up, up_card)) = (put(&dims, 3.0, dtype, &card)?, put(&dims, 2.0, dtype, &card)?);
            let (slope, slope_card) = put(&dims, 0.7, dtype, &card)?;
            check("swiglu", &swiglu(&gate_card, &up_card)?, &ops::swiglu(&gate, &up)?, bound)?;
            let wanted = expected(&[&gate, &up], &slope, |v| ops::swiglu(&v[0], &v[1]))?;
            let found = SwiGlu::backward(&gate_card, &up_card, &slope_card)?;
            for (name, (found, wanted)) in ["dgate", "dup"].into_iter().zip(found.iter().zip(&wanted)) {
                check(name, found, wanted, bound)?;
            }
        }
        Ok(())
    }

    #[test]
    fn sums_with_norms_and_head_norms_with_rotations_equal_the_kernels_of_the_cpu() -> Result<()> {
        let card = Device::new_cuda(0)?;
        let positions: Vec<u32> = (0..21).map(|row| row * 307 % 9000).collect();
        let rows = positions.len();
        for ((dtype, bound), head_dim) in TYPES.into_iter().flat_map(|of| [(of, 128), (of, 64), (of, 6)]) {
            let on_card = |x: &Tensor| x.zeros_like();
            let ((x, x_card), (other, other_card)) =
                (put(&[rows, 72], 1.0, dtype, &card)?, put(&[rows, 72], 0.6, dtype, &card)?);
            let (gain, gain_card) = put(&[72], 2.0, dtype, &card)?;
            // A sum is rounded before it is normed.
            let sum = (&x + &other)?.to_dtype(dtype)?.to_dtype(DType::F64)?;
            let (out, inverse_rms) = (on_card(&x_card)?, Tensor::zeros(rows, DType::F32, &card)?);
            let to = fused::NormOutput { out: &out, inverse_rms: Some(&inverse_rms) };
            fused::add_rms_norm(&x_card, &other_card, &gain_card, 1e-6, &x_card, to)?;
            check("sum", &x_card, &sum, bound)?;
            check("normed sum", &out, &ops::rms_norm(&sum, &gain, 1e-6)?, bound)?;
            check("1 / rms", &inverse_rms, &(sum.sqr()?.mean(1)? + 1e-6)?.sqrt()?.recip()?, 1e-5)?;

            let frequencies = ops::frequencies(head_dim, 1e6);
            let tables = |dtype, device: &Device| Rotary::new(&positions, &frequencies, dtype, device);
            let (card_tables, cpu_tables) = (tables(dtype, &card)?, tables(DType::F64, &Device::Cpu)?);
            let ((q, q_card), (k, k_card)) =
                (put(&[rows, 5, head_dim], 1.0, dtype, &card)?, put(&[rows, 2, head_dim], 0.8, dtype, &card)?);
            let ((q_gain, q_gain_card), (k_gain, k_gain_card)) =
                (put(&[head_dim], 2.0, dtype, &card)?, put(&[head_dim], 1.4, dtype, &card)?);
            let (q_out, k_out) = (on_card(&q_card)?, on_card(&k_card)?);
            let from = fused::QueriesAndKeys { q: &q_card, k: &k_card };
            let to = fused::QueriesAndKeys { q: &q_out, k: &k_out };
            fused::qk_norm_rope(from, [&q_gain_card, &k_gain_card], 1e-6, &card_tables, to)?;
            let turned = |x: &Tensor, gain: &Tensor| ops::rope(&ops::rms_norm(x, gain, 1e-6)?, &cpu_tables);
            check("normed and turned q", &q_out, &turned(&q, &q_gain)?, 2.0 * bound)?;
            check("normed and turned k", &k_out, &turned(&k, &k_gain)?, 2.0 * bound)?;

            let (bias, bias_card) = put(&[2, head_dim], 0.3, dtype, &card)?;
            fused::qk_bias_rope(from, [None, Some(&bias_card)], &card_tables, to)?;
            check("turned q", &q_out, &ops::rope(&q, &cpu_tables)?, bound)?;
            check("turned k", &k_out, &ops::rope(&k.broadcast_add(&bias)?, &cpu_tables)?, 2.0 * bound)?;
            let narrow = k_card.narrow(2, 0, head_dim / 2)?;
            assert!(fused::qk_norm_rope(from, [&q_gain_card, &narrow], 1e-6, &card_tables, to).is_err());
        }
        Ok(())
    }
}
