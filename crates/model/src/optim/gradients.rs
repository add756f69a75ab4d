//! Sums of gradients over micro-batches, and their norm.

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Shape, Tensor, Var};
#[cfg(feature = "cuda")]
use memtrain_kernels::cuda::Output;
use rayon::prelude::*;

use super::ranks::{GradientSums, Piece, Ranks};

/// Gradients added up over the micro-batches of a step, in f32 (f64 for f64 parameters), in the order of the parameters.
///
/// Of several ranks each adds up what its own micro-batches give, and what all have given of the parameters that it owns.
#[derive(Debug)]
pub struct GradientBuffer {
    slots: Vec<Slot>,
    num_added: usize,
    ranks: Ranks,
    /// Of several ranks: the sum over all of them, by parameter; of those that this rank owns.
    totals: Vec<Total>,
}

/// The sum over ranks of one parameter, as a row of its elements.
#[derive(Debug, Default)]
struct Total {
    sum: Option<Tensor>,
    /// Elements, from the first on, that something has been added to.
    written: usize,
}

/// The place of one parameter. On the CPU there is no memory until something is added, so that taking the sums out needs no
/// second buffer; on a card it is there from the start, and kernels add to it in place.
#[derive(Debug)]
struct Slot {
    shape: Shape,
    dtype: DType,
    device: Device,
    sum: Option<Tensor>,
    /// Nothing has been added; what lies in the memory is of no meaning.
    is_empty: bool,
}

impl GradientBuffer {
    /// Zeros for each parameter.
    ///
    /// # Errors
    /// If a card has no room.
    pub fn new(parameters: &[(String, Var)]) -> Result<Self> {
        Self::across(parameters, Ranks::single(parameters.len()))
    }

    /// Zeros for each parameter, on each of `ranks`.
    ///
    /// # Errors
    /// If a card has no room.
    pub fn across(parameters: &[(String, Var)], ranks: Ranks) -> Result<Self> {
        let slot = |(_, parameter): &(String, Var)| {
            let dtype = if parameter.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            let (shape, device) = (parameter.shape().clone(), parameter.device().clone());
            let sum = if device.is_cpu() { None } else { Some(Tensor::zeros(&shape, dtype, &device)?) };
            Ok(Slot { shape, dtype, device, sum, is_empty: true })
        };
        let slots = parameters.iter().map(slot).collect::<Result<_>>()?;
        let totals = parameters.iter().map(|_| Total::default()).collect();
        Ok(Self { slots, num_added: 0, ranks, totals })
    }

    /// The ranks that add up together.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
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
        let slot = self.slot(number)?;
        if slot.shape != *gradient.shape() {
            candle_core::bail!("gradient buffer: {:?} expected, got {:?}", slot.shape, gradient.shape());
        }
        let is_converted = gradient.dtype() != slot.dtype;
        let gradient = gradient.detach().to_dtype(slot.dtype)?.contiguous()?;
        match slot.sum.as_ref().filter(|_| !slot.is_empty) {
            None if is_converted => slot.sum = Some(gradient),
            // A copy: the storage of what was given may be shared.
            None => slot.sum = Some(gradient.copy()?),
            Some(sum) if sum.device().is_cpu() => sum.inplace_op2(&gradient, &AddInPlace)?,
            Some(sum) => slot.sum = Some((sum + gradient)?),
        }
        slot.is_empty = false;
        Ok(())
    }

    /// The sum of one parameter on a card for kernels that add a gradient to it in place, and what becomes of what lies in it.
    ///
    /// # Errors
    /// If there is no such parameter or it is not on a card.
    #[cfg(feature = "cuda")]
    pub fn in_place(&mut self, number: usize) -> Result<(Tensor, Output)> {
        let slot = self.slot(number)?;
        let output = if slot.is_empty { Output::Overwrite } else { Output::Add };
        match &slot.sum {
            Some(sum) if sum.device().is_cuda() => {
                slot.is_empty = false;
                Ok((sum.clone(), output))
            }
            _ => candle_core::bail!("gradient buffer: parameter {number} is not on a card"),
        }
    }

    fn slot(&mut self, number: usize) -> Result<&mut Slot> {
        match self.slots.get_mut(number) {
            Some(slot) => Ok(slot),
            None => candle_core::bail!("gradient buffer: there is no parameter {number}"),
        }
    }

    /// Counts a micro-batch.
    pub fn finish_micro_batch(&mut self) {
        self.num_added += 1;
    }

    /// Micro-batches added since the last [`Self::take`].
    pub fn num_added(&self) -> usize {
        self.num_added
    }

    /// Every rank has added a micro-batch, or has none left: sums that are in the order of micro-batches get theirs now.
    ///
    /// # Errors
    /// If a rank is gone or the device refuses.
    pub fn finish_round(&mut self) -> Result<()> {
        match self.ranks.world_size() > 1 && self.ranks.sums() == GradientSums::MicroBatches {
            true => self.exchange(),
            false => Ok(()),
        }
    }

    /// Moves what this rank has added up to the sums over all ranks, which their owners keep.
    fn exchange(&mut self) -> Result<()> {
        let (slots, totals) = (&self.slots, &mut self.totals);
        self.ranks.exchange_gradients(
            |parameter| slots[parameter].shape.elem_count(),
            |parameter| slots[parameter].sum.clone().filter(|_| !slots[parameter].is_empty),
            |piece, bytes| totals[piece.parameter].add(&slots[piece.parameter], piece, bytes),
        )?;
        for slot in &mut self.slots {
            slot.is_empty = true;
            if slot.device.is_cpu() {
                slot.sum = None;
            }
        }
        Ok(())
    }

    /// The sums of the parameters that this rank owns, which are all where it is alone; the buffer starts again from zeros. On a
    /// card they share the memory of the buffer and are good until the next gradient is added.
    ///
    /// # Errors
    /// If the device refuses or a rank is gone.
    pub fn take(&mut self) -> Result<Vec<Tensor>> {
        self.num_added = 0;
        if self.ranks.world_size() > 1 {
            if self.ranks.sums() == GradientSums::Ranks {
                self.exchange()?;
            }
            let owned = self.ranks.owned();
            return owned.into_iter().map(|parameter| self.totals[parameter].take(&self.slots[parameter])).collect();
        }
        let take = |slot: &mut Slot| {
            let is_empty = std::mem::replace(&mut slot.is_empty, true);
            let sum = if slot.device.is_cpu() { slot.sum.take() } else { slot.sum.clone() };
            match sum.filter(|_| !is_empty) {
                Some(sum) => Ok(sum),
                None => Tensor::zeros(&slot.shape, slot.dtype, &slot.device),
            }
        };
        self.slots.iter_mut().map(take).collect()
    }
}

impl Total {
    /// Adds a piece. What comes first is kept as it is, so that the sum is that of one process down to the sign of a zero.
    fn add(&mut self, slot: &Slot, piece: Piece, bytes: &[u8]) -> Result<()> {
        if self.sum.is_none() {
            self.sum = Some(Tensor::zeros(slot.shape.elem_count(), slot.dtype, &slot.device)?);
        }
        let Some(sum) = self.sum.clone() else { candle_core::bail!("gradient buffer: no sum") };
        let term = Tensor::from_raw_buffer(bytes, slot.dtype, &[piece.len], &slot.device)?;
        if piece.start >= self.written {
            self.written = piece.start + piece.len;
            return sum.slice_set(&term, 0, piece.start);
        }
        sum.slice_set(&(sum.narrow(0, piece.start, piece.len)? + term)?, 0, piece.start)
    }

    fn take(&mut self, slot: &Slot) -> Result<Tensor> {
        self.written = 0;
        match self.sum.take() {
            Some(sum) => sum.reshape(&slot.shape),
            None => Tensor::zeros(&slot.shape, slot.dtype, &slot.device),
        }
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

#[cfg(test)]
mod tests {
    use super::super::global_norm;
    use super::*;
    use memtrain_kernels::nn::gradient_check::{assert_close, wave};

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
