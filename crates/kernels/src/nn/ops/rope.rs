//! Rotary position embedding on halves (the layout of NeoX, Llama and Qwen): the pair `(x_i, x_{i + D/2})` is turned by
//! the angle `position * theta^(-2i / D)`.
//!
//! Source: Su et al. 2021, "RoFormer", section 3.2.

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor};

use crate::host::{Host, fill_rows, has_kernel, slice, with_real};
use crate::vector::Real;

const NAME: &str = "rope";

/// Cosines and sines of the angles at given positions, made once a batch and shared by all layers.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// `[N, D / 2]`.
    pub cos: Tensor,
    /// `[N, D / 2]`.
    pub sin: Tensor,
}

impl Rotary {
    /// Angles for explicit positions and the `D / 2` frequencies of a head (radians a position), computed in f64 and
    /// rounded once, so that far positions keep their precision: to `dtype`, on a card to f32, which its kernels read.
    ///
    /// # Errors
    /// If the device refuses the tables.
    pub fn new(positions: &[u32], frequencies: &[f64], dtype: DType, device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device
            && !positions.is_empty()
        {
            return crate::cuda::rotary_tables(positions, frequencies, device);
        }
        let (half, dtype) = (frequencies.len(), if device.is_cuda() { DType::F32 } else { dtype });
        let angles = positions.iter().flat_map(|&p| frequencies.iter().map(move |frequency| f64::from(p) * frequency));
        let (cos, sin): (Vec<f64>, Vec<f64>) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
        let table = |values: Vec<f64>| {
            Tensor::from_vec(values, (positions.len(), half), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        Ok(Self { cos: table(cos)?, sin: table(sin)? })
    }
}

/// The frequencies `theta^(-2i / D)` of a head of width `head_dim`.
pub fn frequencies(head_dim: usize, theta: f64) -> Vec<f64> {
    (0..head_dim / 2).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect()
}

struct Rope {
    /// Turn back: the backward of a rotation is its inverse.
    back: bool,
}

/// Turns each head of `x` `[N, heads, D]` by the angles of its row.
///
/// # Errors
/// If the tables are for another number of rows or another head width.
pub fn rope(x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
    let (rows, _, width) = x.dims3()?;
    if rotary.cos.dims2()? != (rows, width / 2) || width % 2 != 0 {
        candle_core::bail!("{NAME}: tables {:?} do not fit x {:?}", rotary.cos.shape(), x.shape());
    }
    #[cfg(feature = "cuda")]
    if crate::cuda::has_rope(x) {
        return crate::cuda::rope(&x.contiguous()?, rotary);
    }
    if !has_kernel(x) {
        return naive_rope(x, rotary);
    }
    x.contiguous()?.apply_op3(&rotary.cos, &rotary.sin, Rope { back: false })
}

/// The same, of candle's differentiable operations.
///
/// # Errors
/// If the shapes do not fit.
pub fn naive_rope(x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
    let half = x.dim(2)? / 2;
    let (first, second) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let table = |table: &Tensor| table.to_dtype(x.dtype())?.unsqueeze(1);
    let (cos, sin) = (table(&rotary.cos)?, table(&rotary.sin)?);
    let turned_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
    let turned_second = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
    Tensor::cat(&[&turned_first, &turned_second], 2)
}

impl CustomOp3 for Rope {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        cos: &CpuStorage,
        cos_l: &Layout,
        sin: &CpuStorage,
        sin_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (_, heads, width) = x_l.shape().dims3()?;
        with_real!(x.dtype(), NAME, T => {
            let (x, cos, sin) = (slice(NAME, x, x_l)?, slice(NAME, cos, cos_l)?, slice(NAME, sin, sin_l)?);
            let out = turn::<T>(x, cos, sin, heads, width, self.back);
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(out), x_l.shape().clone()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, heads, width) = x.dims3()?;
        let grad = grad.contiguous()?;
        let (grad_host, cos_host, sin_host) = (Host::new(&grad), Host::new(cos), Host::new(sin));
        with_real!(x.dtype(), NAME, T => {
            let (cos, sin) = (cos_host.slice(NAME)?, sin_host.slice(NAME)?);
            let out = turn::<T>(grad_host.slice(NAME)?, cos, sin, heads, width, !self.back);
            Ok((Some(Tensor::from_vec(out, x.shape(), x.device())?), None, None))
        })
    }
}

fn turn<T: Real>(x: &[T], cos: &[T], sin: &[T], heads: usize, width: usize, back: bool) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    let (half, row_width) = (width / 2, heads * width);
    let sign = if back { T::zero() - T::one() } else { T::one() };
    fill_rows(&mut out, row_width, |first, out| {
        for (offset, out) in out.chunks_exact_mut(row_width.max(1)).enumerate() {
            let row = first + offset;
            let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
            let x = &x[row * row_width..][..row_width];
            for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                let (out_first, out_second) = out.split_at_mut(half);
                let (x_first, x_second) = x.split_at(half);
                for i in 0..half {
                    let (sin, cos) = (sign * sin[i], cos[i]);
                    out_first[i] = x_first[i] * cos - x_second[i] * sin;
                    out_second[i] = x_second[i] * cos + x_first[i] * sin;
                }
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, check_against_twin, check_gradients, wave};

    const POSITIONS: [u32; 5] = [0, 1, 2, 1, 7];

    #[test]
    fn gradients_are_those_of_finite_differences_and_of_the_twin() -> Result<()> {
        let rotary = Rotary::new(&POSITIONS, &frequencies(6, 10_000.0), DType::F64, &Device::Cpu)?;
        let inputs = [wave(&[5, 3, 6], DType::F64, 1.0)?];
        check_gradients(|v| rope(&v[0], &rotary), &inputs, 1e-7)?;
        check_against_twin(|v| rope(&v[0], &rotary), |v| naive_rope(&v[0], &rotary), &inputs, 1e-12)
    }

    #[test]
    fn scores_depend_on_distance_alone() -> Result<()> {
        let (q, k) = (wave(&[1, 1, 8], DType::F64, 1.0)?, wave(&[1, 1, 8], DType::F64, 2.0)?);
        let at = |x: &Tensor, position| {
            rope(x, &Rotary::new(&[position], &frequencies(8, 10_000.0), DType::F64, &Device::Cpu)?)
        };
        let near = (at(&q, 9)? * at(&k, 4)?)?.sum_all()?;
        let far = (at(&q, 905)? * at(&k, 900)?)?.sum_all()?;
        assert_close(&near, &far, 1e-10)?;
        assert_close(&at(&q, 0)?, &q, 0.0)
    }
}
