//! Sums of gradients over micro-batches, and their norm.

use candle_core::{CpuStorage, D, DType, Device, InplaceOp2, Layout, Result, Shape, Tensor, Var};
use memtrain_kernels::nn::ops::real::Host;
use rayon::prelude::*;

/// Gradients added up over the micro-batches of a step, in f32 (f64 for f64 parameters), in the order of the parameters.
#[derive(Debug)]
pub struct GradientBuffer {
    slots: Vec<Slot>,
    num_added: usize,
}

/// The place of one parameter. It is empty until something is added, so that taking the sums out needs no second buffer.
#[derive(Debug)]
struct Slot {
    shape: Shape,
    dtype: DType,
    device: Device,
    sum: Option<Tensor>,
}

impl GradientBuffer {
    /// Zeros for each parameter.
    ///
    /// # Errors
    /// Never on the CPU.
    pub fn new(parameters: &[(String, Var)]) -> Result<Self> {
        let slot = |(_, parameter): &(String, Var)| {
            let dtype = if parameter.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            Slot { shape: parameter.shape().clone(), dtype, device: parameter.device().clone(), sum: None }
        };
        Ok(Self { slots: parameters.iter().map(slot).collect(), num_added: 0 })
    }

    /// Adds the gradients of one micro-batch.
    ///
    /// # Errors
    /// If their number or shapes differ from the parameters'.
    pub fn add(&mut self, gradients: &[Tensor]) -> Result<()> {
        if gradients.len() != self.slots.len() {
            candle_core::bail!("gradient buffer: {} gradients for {} parameters", gradients.len(), self.slots.len());
        }
        for (number, gradient) in gradients.iter().enumerate() {
            self.add_one(number, gradient)?;
        }
        self.finish_micro_batch();
        Ok(())
    }

    /// Adds the gradient of one parameter of a micro-batch; the others follow, then [`Self::finish_micro_batch`].
    ///
    /// # Errors
    /// If there is no such parameter or it has another shape.
    pub fn add_one(&mut self, number: usize, gradient: &Tensor) -> Result<()> {
        let Some(slot) = self.slots.get_mut(number) else {
            candle_core::bail!("gradient buffer: there is no parameter {number}");
        };
        if slot.shape != *gradient.shape() {
            candle_core::bail!("gradient buffer: {:?} expected, got {:?}", slot.shape, gradient.shape());
        }
        let is_converted = gradient.dtype() != slot.dtype;
        let gradient = gradient.detach().to_dtype(slot.dtype)?.contiguous()?;
        match &slot.sum {
            None if is_converted => slot.sum = Some(gradient),
            // A copy: the storage of what was given may be shared.
            None => slot.sum = Some(gradient.copy()?),
            Some(sum) if sum.device().is_cpu() => sum.inplace_op2(&gradient, &AddInPlace)?,
            Some(sum) => slot.sum = Some((sum + gradient)?),
        }
        Ok(())
    }

    /// Counts a micro-batch.
    pub fn finish_micro_batch(&mut self) {
        self.num_added += 1;
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
        self.num_added = 0;
        let take = |slot: &mut Slot| match slot.sum.take() {
            Some(sum) => Ok(sum),
            None => Tensor::zeros(&slot.shape, slot.dtype, &slot.device),
        };
        self.slots.iter_mut().map(take).collect()
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

/// Euclidean norm of all gradients together, summed in f64 in a fixed order: on the CPU from the values themselves, on a card
/// from its sums of squares, one a gradient, which are read at once.
///
/// # Errors
/// If a gradient cannot be read.
pub fn global_norm(gradients: &[Tensor]) -> Result<f64> {
    if gradients.iter().any(|gradient| !gradient.device().is_cpu()) {
        let sums: Vec<Tensor> =
            gradients.iter().map(|gradient| sum_of_squares_on_device(gradient, SQUARES)).collect::<Result<_>>()?;
        return Ok(Tensor::stack(&sums, 0)?.to_vec1::<f64>()?.into_iter().sum::<f64>().sqrt());
    }
    let mut total = 0.0;
    for gradient in gradients {
        let gradient = gradient.detach().contiguous()?;
        let host = Host::new(&gradient);
        total += match gradient.dtype() {
            DType::F32 => sum_of_squares(host.slice::<f32>("norm")?),
            DType::F64 => sum_of_squares(host.slice::<f64>("norm")?),
            _ => sum_of_squares(&gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?),
        };
    }
    Ok(total.sqrt())
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

/// Elements whose squares exist at one time.
const SQUARES: usize = 1 << 26;

/// A number in f64 on the gradient's device, from `at_once` squares at a time. Squares are summed in the gradient's type along the last dimension, a block of
/// threads a row, and the sums of the rows in f64: one sum over everything would be the work of a single block.
fn sum_of_squares_on_device(gradient: &Tensor, at_once: usize) -> Result<Tensor> {
    let gradient = gradient.detach();
    let width = gradient.dims().last().copied().unwrap_or(1).max(1);
    let rows = gradient.elem_count() / width;
    let gradient = gradient.reshape((rows, width))?;
    let some_rows = (at_once / width).max(1);
    let sum = |first: usize| -> Result<Tensor> {
        let part = gradient.narrow(0, first, some_rows.min(rows - first))?;
        part.sqr()?.sum(D::Minus1)?.to_dtype(DType::F64)
    };
    let sums: Vec<Tensor> = (0..rows).step_by(some_rows).map(sum).collect::<Result<_>>()?;
    match sums.is_empty() {
        true => Tensor::zeros((), DType::F64, gradient.device()),
        false => Tensor::cat(&sums, 0)?.sum_all(),
    }
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
    use memtrain_kernels::nn::gradient_check::{assert_close, wave};

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
    fn sums_of_a_card_are_those_of_the_cpu() -> Result<()> {
        // Widths of norms, of matrices and of none; one of them in several parts.
        for dims in [&[7][..], &[300, 70], &[3, 5, 11], &[0, 4], &[]] {
            let gradient = wave(dims, DType::F32, 1.0)?;
            let expected = global_norm(std::slice::from_ref(&gradient))?;
            for at_once in [1, 1_000, SQUARES] {
                let got = sum_of_squares_on_device(&gradient, at_once)?.to_scalar::<f64>()?.sqrt();
                assert!((got - expected).abs() <= 1e-6 * expected, "{dims:?}: {got} and {expected}");
            }
        }
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
