//! Data-parallel ranks: which of them keeps what of the optimizer, and what they exchange in a step.
//!
//! The optimizer is sharded as in ZeRO stage 1 (Rajbhandari et al. 2020, arXiv 1910.02054): each parameter has an owner that alone keeps its
//! moments and master. Gradients go to the owner, which adds them up in an order that the number of ranks does not change;
//! new weights come from it. Parameters are dealt whole, the largest first, each to the rank with the fewest elements.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Error, Result, Tensor, Var};
use memtrain_collective::{Collective, PIECE_BYTES, Single};
use serde::{Deserialize, Serialize};

use super::norm::square_sum;

/// Elements of a parameter that are exchanged at a time, whatever their type.
const PIECE: usize = PIECE_BYTES / 8;

/// The order in which gradients of several ranks are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GradientSums {
    /// In the order of micro-batches, as one process adds them: the sum does not depend on the number of ranks, to the bit. An
    /// exchange a micro-batch.
    #[default]
    MicroBatches,
    /// Each rank's own first, then in the order of ranks. An exchange an update.
    Ranks,
}

/// The ranks of a training, and the owner of each parameter.
#[derive(Clone)]
pub struct Ranks {
    collective: Arc<dyn Collective>,
    /// Rank by parameter.
    owners: Arc<[usize]>,
    sums: GradientSums,
}

impl fmt::Debug for Ranks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rank {} of {}", self.rank(), self.world_size())
    }
}

/// Elements of a parameter, counted row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) parameter: usize,
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Ranks {
    /// One process that owns all of `num_parameters`.
    pub fn single(num_parameters: usize) -> Self {
        Self { collective: Arc::new(Single), owners: vec![0; num_parameters].into(), sums: GradientSums::default() }
    }

    /// Deals the parameters to the ranks, on each of them alike.
    pub fn new(collective: Arc<dyn Collective>, parameters: &[(String, Var)], sums: GradientSums) -> Self {
        let elements: Vec<usize> = parameters.iter().map(|(_, parameter)| parameter.elem_count()).collect();
        let owners = owners(&elements, collective.world_size());
        Self { collective, owners: owners.into(), sums }
    }

    /// Number of this process.
    pub fn rank(&self) -> usize {
        self.collective.rank()
    }

    /// Number of processes.
    pub fn world_size(&self) -> usize {
        self.collective.world_size()
    }

    /// What the ranks exchange by.
    pub fn collective(&self) -> &dyn Collective {
        &*self.collective
    }

    /// How gradients are added up.
    pub fn sums(&self) -> GradientSums {
        self.sums
    }

    /// Whether unit `number` of some work that is dealt out is this rank's.
    pub fn is_own(&self, number: usize) -> bool {
        number % self.world_size() == self.rank()
    }

    /// Numbers of the parameters that this rank owns.
    pub(super) fn owned(&self) -> Vec<usize> {
        (0..self.owners.len()).filter(|&number| self.owners[number] == self.rank()).collect()
    }

    pub(super) fn owner(&self, parameter: usize) -> usize {
        self.owners[parameter]
    }

    /// The parameters of each rank in pieces, ascending. `elements` says how many a parameter has.
    fn pieces(&self, elements: impl Fn(usize) -> usize) -> Vec<Vec<Piece>> {
        let mut pieces = vec![Vec::new(); self.world_size()];
        for (parameter, &owner) in self.owners.iter().enumerate() {
            let elements = elements(parameter);
            let starts = (0..elements).step_by(PIECE);
            pieces[owner].extend(starts.map(|start| Piece { parameter, start, len: PIECE.min(elements - start) }));
        }
        pieces
    }

    fn all_to_all(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        self.collective.all_to_all(parts).map_err(Error::wrap)
    }

    /// Sends gradients to their owners, and hands those that have come to `add`, piece by piece, each time in the order of ranks.
    /// A parameter without a gradient on a rank takes nothing from it.
    pub(super) fn exchange_gradients(
        &self,
        elements: impl Fn(usize) -> usize,
        gradient: impl Fn(usize) -> Option<Tensor>,
        mut add: impl FnMut(Piece, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let pieces = self.pieces(elements);
        for round in 0..pieces.iter().map(Vec::len).max().unwrap_or(0) {
            let part = |of_rank: &Vec<Piece>| match of_rank.get(round) {
                Some(piece) => gradient(piece.parameter).map_or(Ok(Vec::new()), |tensor| bytes_of(&tensor, *piece)),
                None => Ok(Vec::new()),
            };
            let parts = pieces.iter().map(part).collect::<Result<Vec<_>>>()?;
            let received = self.all_to_all(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
            if let Some(&piece) = pieces[self.rank()].get(round) {
                received.iter().filter(|bytes| !bytes.is_empty()).try_for_each(|bytes| add(piece, bytes))?;
            }
        }
        Ok(())
    }

    /// Gives all ranks the weights that their owners have moved.
    pub(super) fn gather_weights(&self, parameters: &[(String, Var)]) -> Result<()> {
        if self.world_size() == 1 {
            return Ok(());
        }
        let pieces = self.pieces(|parameter| parameters[parameter].1.elem_count());
        let mut arrived: Vec<Vec<u8>> = vec![Vec::new(); self.world_size()];
        for round in 0..pieces.iter().map(Vec::len).max().unwrap_or(0) {
            let own = pieces[self.rank()].get(round);
            let own =
                own.map_or(Ok(Vec::new()), |piece| bytes_of(parameters[piece.parameter].1.as_tensor(), *piece))?;
            let received = self.all_to_all(&vec![&own[..]; self.world_size()])?;
            for (owner, bytes) in received.into_iter().enumerate().filter(|(owner, _)| *owner != self.rank()) {
                let Some(piece) = pieces[owner].get(round) else { continue };
                arrived[owner].extend(bytes);
                let parameter = &parameters[piece.parameter].1;
                if piece.start + piece.len == parameter.elem_count() {
                    let bytes = std::mem::take(&mut arrived[owner]);
                    let (dtype, device) = (parameter.dtype(), parameter.device());
                    parameter.set(&Tensor::from_raw_buffer(&bytes, dtype, parameter.dims(), device)?)?;
                }
            }
        }
        Ok(())
    }

    /// As [`clip_global_norm`](super::clip_global_norm) with the gradients of all owners together; `owned` are this rank's. On
    /// the CPU the norm is that of one process, to the bit.
    ///
    /// # Errors
    /// If a gradient cannot be read or a rank is gone.
    pub fn clip_global_norm(&self, owned: &mut [Tensor], max_norm: f64) -> Result<f64> {
        if self.world_size() == 1 {
            return super::clip_global_norm(owned, max_norm);
        }
        let own = owned.iter().map(square_sum).collect::<Result<Vec<f64>>>()?;
        let own: Vec<u8> = own.into_iter().flat_map(f64::to_le_bytes).collect();
        let gathered = self.collective.all_gather(&own).map_err(Error::wrap)?;
        let mut squares: Vec<_> = gathered.iter().map(|bytes| f64s(bytes)).collect();
        // In the order of parameters, as one process adds them.
        let total: f64 = self.owners.iter().map(|&owner| squares[owner].next().unwrap_or(f64::NAN)).sum();
        let norm = total.sqrt();
        if norm.is_finite() && norm > max_norm {
            let factor = max_norm / norm;
            for gradient in owned.iter_mut() {
                *gradient = (gradient.detach() * factor)?;
            }
        }
        Ok(norm)
    }

    /// Brings bytes of their owner to rank 0, in pieces; the others get none. `length` says how many there are.
    pub(super) fn bring_to_first(
        &self,
        owner: usize,
        length: usize,
        bytes: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let own = if self.rank() == owner { bytes()? } else { Vec::new() };
        if owner == 0 {
            return Ok(own);
        }
        let mut brought = Vec::with_capacity(if self.rank() == 0 { length } else { 0 });
        for start in (0..length).step_by(PIECE_BYTES) {
            let mut parts = vec![&[][..]; self.world_size()];
            parts[0] = &own[start.min(own.len())..(start + PIECE_BYTES).min(own.len())];
            let mut received = self.all_to_all(&parts)?;
            if self.rank() == 0 {
                brought.append(&mut received[owner]);
            }
        }
        Ok(brought)
    }
}

/// Deals parameters of so many elements to ranks, the largest first, each to the rank with the fewest elements: the rank of each.
pub(crate) fn owners(elements: &[usize], world_size: usize) -> Vec<usize> {
    let mut largest_first: Vec<usize> = (0..elements.len()).collect();
    largest_first.sort_by_key(|&number| (Reverse(elements[number]), number));
    let mut loads = vec![0; world_size];
    let mut owners = vec![0; elements.len()];
    for number in largest_first {
        let owner = (0..loads.len()).min_by_key(|&rank| loads[rank]).unwrap_or(0);
        owners[number] = owner;
        loads[owner] += elements[number];
    }
    owners
}

/// The numbers of [`f64::to_le_bytes`].
pub(crate) fn f64s(bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
    bytes.as_chunks().0.iter().map(|eight| f64::from_le_bytes(*eight))
}

/// Elements of a tensor in the order of its rows, as little-endian bytes.
fn bytes_of(tensor: &Tensor, piece: Piece) -> Result<Vec<u8>> {
    let part = tensor.detach().flatten_all()?.narrow(0, piece.start, piece.len)?.to_device(&Device::Cpu)?;
    Ok(safetensors::View::data(&part).into_owned())
}

#[cfg(test)]
mod tests;
