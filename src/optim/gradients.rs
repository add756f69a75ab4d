//! Sums of gradients over micro-batches, and their norm.

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, Var};
use rayon::prelude::*;

/// Gradients added up over the micro-batches of a step, in f32 (f64 for f64 parameters), in the order of the parameters.
#[derive(Debug)]
pub struct GradientBuffer {
    sums: Vec<Tensor>,
    num_added: usize,
}

impl GradientBuffer {
    /// Zeros for each parameter.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn new(parameters: &[(String, Var)]) -> Result<Self> {
        let zeros = |(_, parameter): &(String, Var)| {
            let dtype = if parameter.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            Tensor::zeros(parameter.shape(), dtype, parameter.device())
        };
        Ok(Self { sums: parameters.iter().map(zeros).collect::<Result<_>>()?, num_added: 0 })
    }

    /// Adds the gradients of one micro-batch.
    ///
    /// # Errors
    /// If their number or shapes differ from the parameters'.
    pub fn add(&mut self, gradients: &[Tensor]) -> Result<()> {
        if gradients.len() != self.sums.len() {
            candle_core::bail!("gradient buffer: {} gradients for {} parameters", gradients.len(), self.sums.len());
        }
        for (sum, gradient) in self.sums.iter_mut().zip(gradients) {
            if sum.shape() != gradient.shape() {
                candle_core::bail!("gradient buffer: {:?} expected, got {:?}", sum.shape(), gradient.shape());
            }
            let gradient = gradient.detach().to_dtype(sum.dtype())?.contiguous()?;
            if sum.device().is_cpu() {
                sum.inplace_op2(&gradient, &AddInPlace)?;
            } else {
                *sum = (&*sum + gradient)?;
            }
        }
        self.num_added += 1;
        Ok(())
    }

    /// Micro-batches added since the last [`Self::take`].
    pub fn num_added(&self) -> usize {
        self.num_added
    }

    /// The sums; the buffer starts again from zeros.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn take(&mut self) -> Result<Vec<Tensor>> {
        let zeros =
            self.sums.iter().map(|sum| Tensor::zeros(sum.shape(), sum.dtype(), sum.device())).collect::<Result<_>>()?;
        self.num_added = 0;
        Ok(std::mem::replace(&mut self.sums, zeros))
    }
}

struct AddInPlace;

impl InplaceOp2 for AddInPlace {
    fn name(&self) -> &'static str {
        "add-in-place"
    }

    fn cpu_fwd(&self, sum: &mut CpuStorage, sum_l: &Layout, term: &CpuStorage, term_l: &Layout) -> Result<()> {
        let (Some(to), Some(from)) = (sum_l.contiguous_offsets(), term_l.contiguous_offsets()) else {
            candle_core::bail!("add-in-place: contiguous tensors are expected");
        };
        match (sum, term) {
            (CpuStorage::F32(sum), CpuStorage::F32(term)) => add(&mut sum[to.0..to.1], &term[from.0..from.1]),
            (CpuStorage::F64(sum), CpuStorage::F64(term)) => add(&mut sum[to.0..to.1], &term[from.0..from.1]),
            _ => candle_core::bail!("add-in-place: f32 or f64 expected"),
        }
        Ok(())
    }
}

fn add<T: std::ops::AddAssign + Copy + Send + Sync>(sum: &mut [T], term: &[T]) {
    sum.par_chunks_mut(16_384).zip(term.par_chunks(16_384)).for_each(|(sum, term)| {
        sum.iter_mut().zip(term).for_each(|(sum, &term)| *sum += term);
    });
}

/// Euclidean norm of all gradients together, summed in f64 in a fixed order.
///
/// # Errors
/// If a gradient cannot be read.
pub fn global_norm(gradients: &[Tensor]) -> Result<f64> {
    let mut total = 0.0;
    for gradient in gradients {
        let values =
            gradient.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let parts: Vec<f64> = values.par_chunks(16_384).map(|part| part.iter().map(|x| x * x).sum()).collect();
        total += parts.iter().sum::<f64>();
    }
    Ok(total.sqrt())
}

/// Scales the gradients so that their global norm is at most `max_norm`, and returns the norm they had. If that is not
/// finite they stay as they are: the caller must not step.
///
/// # Errors
/// If a gradient cannot be read.
pub fn clip_global_norm(gradients: &mut [Tensor], max_norm: f64) -> Result<f64> {
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
    use super::*;
    use crate::nn::gradient_check::{assert_close, wave};

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

    #[test]
    fn the_buffer_adds_and_starts_again() -> Result<()> {
        let parameters = [("w".to_owned(), Var::zeros((50, 700), DType::F32, &Device::Cpu)?)];
        let mut buffer = GradientBuffer::new(&parameters)?;
        let (a, b) = (wave(&[50, 700], DType::F32, 1.0)?, wave(&[50, 700], DType::F32, 2.0)?);
        buffer.add(std::slice::from_ref(&a))?;
        buffer.add(std::slice::from_ref(&b))?;
        assert_eq!(buffer.num_added(), 2);
        assert_close(&buffer.take()?[0], &(a + b)?, 0.0)?;
        assert_eq!(global_norm(&buffer.take()?)?, 0.0);
        assert!(buffer.add(&[]).is_err());
        Ok(())
    }
}
