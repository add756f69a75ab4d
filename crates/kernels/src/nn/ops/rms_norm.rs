//! Root-mean-square norm: `y = x / sqrt(mean(x^2) + eps) * gain`, over the last dimension.
//!
//! Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", section 3.

use candle_core::{CpuStorage, CustomOp2, D, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::host::{Host, fill_rows, has_kernel, rows_per_task, slice, with_real};
use crate::vector::{Real, axpy, dot};

const NAME: &str = "rms-norm";

struct RmsNorm {
    eps: f64,
}

/// Norm of `x` `[.., n]` over its last dimension, scaled by `gain` `[n]`. Also used per head, with `n = D`.
///
/// # Errors
/// If the width of `gain` is not that of `x`.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    if x.dim(D::Minus1)? != gain.dims1()? {
        candle_core::bail!("{NAME}: gain {:?} does not fit x {:?}", gain.shape(), x.shape());
    }
    #[cfg(feature = "cuda")]
    if crate::cuda::has_rms_norm(x, gain) {
        return crate::cuda::rms_norm(&x.contiguous()?, &gain.contiguous()?, eps);
    }
    if !has_kernel(x) {
        return naive_rms_norm(x, gain, eps);
    }
    x.contiguous()?.apply_op2(&gain.contiguous()?, RmsNorm { eps })
}

/// The same, of candle's differentiable operations.
///
/// # Errors
/// If the shapes do not fit.
pub fn naive_rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    // 16 bits are too few for a mean of squares; the gain is multiplied in the type of `x`, as `transformers` does.
    let wide = match x.dtype() {
        DType::BF16 | DType::F16 => x.to_dtype(DType::F32)?,
        _ => x.clone(),
    };
    let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
    wide.broadcast_div(&(mean_square + eps)?.sqrt()?)?.to_dtype(x.dtype())?.broadcast_mul(gain)
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_l: &Layout, gain: &CpuStorage, gain_l: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        with_real!(x.dtype(), NAME, T => {
            let out = forward::<T>(slice(NAME, x, x_l)?, slice(NAME, gain, gain_l)?, self.eps);
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(out), x_l.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, gain: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (x_host, gain_host, grad_host) = (Host::new(x), Host::new(gain), Host::new(&grad));
        with_real!(x.dtype(), NAME, T => {
            let (x_grad, gain_grad) = backward::<T>(
                x_host.slice(NAME)?, gain_host.slice(NAME)?, grad_host.slice(NAME)?, self.eps, gain.track_op());
            let gain_grad = gain_grad.map(|grad| Tensor::from_vec(grad, gain.shape(), x.device())).transpose()?;
            Ok((Some(Tensor::from_vec(x_grad, x.shape(), x.device())?), gain_grad))
        })
    }
}

fn inverse_root_mean_square<T: Real>(x: &[T], eps: T) -> T {
    T::one() / (dot(x, x) / T::from_f64(x.len() as f64) + eps).sqrt()
}

fn forward<T: Real>(x: &[T], gain: &[T], eps: f64) -> Vec<T> {
    let (width, eps) = (gain.len(), T::from_f64(eps));
    let mut out = vec![T::zero(); x.len()];
    fill_rows(&mut out, width, |first, out| {
        let rows = x[first * width..].chunks_exact(width);
        for (out, x) in out.chunks_exact_mut(width).zip(rows) {
            let inverse = inverse_root_mean_square(x, eps);
            for ((out, &x), &gain) in out.iter_mut().zip(x).zip(gain) {
                *out = x * inverse * gain;
            }
        }
    });
    out
}

/// With `r` the inverse root mean square and `s = sum(gain * dy * x) / n`: `dx = r (gain * dy - x r^2 s)`. The gradient of
/// the gain is worked out where it is `wanted`.
fn backward<T: Real>(x: &[T], gain: &[T], grad: &[T], eps: f64, wanted: bool) -> (Vec<T>, Option<Vec<T>>) {
    let (width, eps) = (gain.len(), T::from_f64(eps));
    let mut x_grad = vec![T::zero(); x.len()];
    let block = rows_per_task(width) * width;
    let block_of = |(index, x_grad): (usize, &mut [T])| {
        let mut gain_grad = vec![T::zero(); width];
        let mut scaled = vec![T::zero(); width];
        let rows = x[index * block..].chunks_exact(width).zip(grad[index * block..].chunks_exact(width));
        for (x_grad, (x, grad)) in x_grad.chunks_exact_mut(width).zip(rows) {
            let inverse = inverse_root_mean_square(x, eps);
            for ((scaled, &gain), &grad) in scaled.iter_mut().zip(gain).zip(grad) {
                *scaled = gain * grad;
            }
            let pull = dot(&scaled, x) / T::from_f64(width as f64) * inverse * inverse;
            for ((out, &scaled), &x) in x_grad.iter_mut().zip(&scaled).zip(x) {
                *out = inverse * (scaled - x * pull);
            }
            if wanted {
                for ((out, &grad), &x) in gain_grad.iter_mut().zip(grad).zip(x) {
                    *out += grad * (x * inverse);
                }
            }
        }
        gain_grad
    };
    let partial: Vec<Vec<T>> = if x.len() <= block {
        vec![block_of((0, &mut x_grad))]
    } else {
        x_grad.par_chunks_mut(block).enumerate().map(block_of).collect()
    };
    let mut gain_grad = vec![T::zero(); width];
    for partial in &partial {
        axpy(&mut gain_grad, T::one(), partial);
    }
    (x_grad, wanted.then_some(gain_grad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, check_against_twin, check_gradients, wave};
    use candle_core::Var;

    #[test]
    fn a_frozen_gain_gets_no_gradient() -> Result<()> {
        let x = Var::from_tensor(&wave(&[5, 4], DType::F32, 1.0)?)?;
        let gain = wave(&[4], DType::F32, 2.0)?;
        let gradients = rms_norm(&x, &gain, 1e-6)?.sum_all()?.backward()?;
        assert!(gradients.get(&x).is_some() && gradients.get(&gain).is_none());
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences_and_of_the_twin() -> Result<()> {
        let inputs = [wave(&[5, 3, 18], DType::F64, 1.0)?, wave(&[18], DType::F64, 2.0)?];
        check_gradients(|v| rms_norm(&v[0], &v[1], 1e-6), &inputs, 1e-7)?;
        check_against_twin(|v| rms_norm(&v[0], &v[1], 1e-6), |v| naive_rms_norm(&v[0], &v[1], 1e-6), &inputs, 1e-12)?;
        let inputs = [wave(&[700, 128], DType::F32, 1.0)?, wave(&[128], DType::F32, 2.0)?];
        check_against_twin(|v| rms_norm(&v[0], &v[1], 1e-6), |v| naive_rms_norm(&v[0], &v[1], 1e-6), &inputs, 2e-5)
    }

    #[test]
    fn takes_what_is_not_contiguous() -> Result<()> {
        let (x, gain) = (wave(&[6, 4], DType::F64, 1.0)?.t()?, wave(&[6], DType::F64, 0.3)?);
        assert_close(&rms_norm(&x, &gain, 1e-6)?, &naive_rms_norm(&x, &gain, 1e-6)?, 1e-12)?;
        assert!(rms_norm(&x, &wave(&[5], DType::F64, 0.3)?, 1e-6).is_err());
        Ok(())
    }
}
