//! Global norm of gradients, and clipping by it.

use candle_core::{DType, Result, Tensor};
use memtrain_kernels::host::Host;
use rayon::prelude::*;

/// Euclidean norm of all gradients together, summed in f64 in a fixed order.
///
/// # Errors
/// If a gradient cannot be read, or is on a card and not in f32.
pub fn global_norm(gradients: &[Tensor]) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if gradients.iter().any(|gradient| gradient.device().is_cuda()) {
        return memtrain_kernels::cuda::clip_gradients(gradients, f64::INFINITY);
    }
    Ok(gradients.iter().map(square_sum).sum::<Result<f64>>()?.sqrt())
}

/// Sum of the squares of a gradient.
///
/// # Errors
/// If it cannot be read, or is on a card and not in f32.
pub(super) fn square_sum(gradient: &Tensor) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if gradient.device().is_cuda() {
        return Ok(memtrain_kernels::cuda::clip_gradients(std::slice::from_ref(gradient), f64::INFINITY)?.powi(2));
    }
    let gradient = gradient.detach().contiguous()?;
    let host = Host::new(&gradient);
    Ok(match gradient.dtype() {
        DType::F32 => sum_of_squares(host.slice::<f32>("norm")?),
        DType::F64 => sum_of_squares(host.slice::<f64>("norm")?),
        _ => sum_of_squares(&gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?),
    })
}

/// In f64, in parts whose bounds depend on the length alone.
fn sum_of_squares<T: Into<f64> + Copy + Sync>(values: &[T]) -> f64 {
    let square = |&value: &T| {
        let value: f64 = value.into();
        value * value
    };
    let parts: Vec<f64> = values.par_chunks(16_384).map(|part| part.iter().map(square).sum()).collect();
    parts.iter().sum()
}

/// Scales the gradients so that their global norm is at most `max_norm`, and returns the norm they had. If that is not
/// finite they stay as they are: the caller must not step.
///
/// # Errors
/// If a gradient cannot be read.
pub fn clip_global_norm(gradients: &mut [Tensor], max_norm: f64) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if gradients.iter().any(|gradient| gradient.device().is_cuda()) {
        return memtrain_kernels::cuda::clip_gradients(gradients, max_norm);
    }
    let norm = global_norm(gradients)?;
    if norm.is_finite() && norm > max_norm {
        let factor = max_norm / norm;
        for gradient in gradients.iter_mut() {
            *gradient = (gradient.detach() * factor)?;
        }
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_norm_is_that_of_all_together_and_is_cut() -> Result<()> {
        let mut gradients = [Tensor::new(&[3f32], &Device::Cpu)?, Tensor::new(&[[0f32, 4.0]], &Device::Cpu)?];
        assert_eq!(clip_global_norm(&mut gradients, 10.0)?, 5.0);
        assert_eq!(clip_global_norm(&mut gradients, 1.0)?, 5.0);
        assert!((global_norm(&gradients)? - 1.0).abs() < 1e-6);
        let mut broken = [Tensor::new(&[f32::NAN, 1.0], &Device::Cpu)?];
        assert!(!clip_global_norm(&mut broken, 1.0)?.is_finite());
        assert_eq!(broken[0].to_vec1::<f32>()?[1], 1.0);
        Ok(())
    }
}
