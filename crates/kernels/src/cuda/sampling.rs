//! Tokens drawn from rows of logits on a card: launches of the kernel of `cuda/sampling`.
//!
//! A draw goes up as 32 bytes and comes back as 8: token id and log-probability. The logits stay where they are, and the
//! next pass reads the ids where they were drawn.

use std::collections::VecDeque;

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};
use candle_core::{DType, Device, Result, Tensor};

use super::Argument::{Address, Count};
use super::host_copy::HostCopy;
use super::{Family, Grid, address, card, function, launch, room_like};

const THREADS: u32 = 512;
const FEED_THREADS: u32 = 128;

/// Numbers of 32 bits of a token that was drawn.
const NUMBERS: usize = 2;

/// Tokens whose weights are summed together.
const BLOCK: usize = 64;

/// Shared bytes of a block of threads beside the weights of the blocks of tokens, and all that it may have.
const SCRATCH_BYTES: usize = 768;
const SHARED_BYTES: usize = 49_152;

/// How one token is drawn; laid out as `sampling::Draw`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// In `[0, 1)`: where in the cumulative distribution.
    pub uniform: f64,
    /// The share of the probability that is kept; 1 keeps all.
    pub top_p: f64,
    /// Row of the logits.
    pub row: u32,
    /// How many of the most probable tokens are kept: 1 to those that are allowed.
    pub top_k: u32,
    /// What logits are multiplied by: `1 / temperature`.
    pub scale: f32,
    /// 1 takes the first of the greatest logits instead of drawing.
    pub greedy: u32,
}

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrawnToken {
    /// Its id; `u32::MAX` if the logits are not finite.
    pub id: u32,
    /// Its log-probability at the scale, over the whole vocabulary and before any cut.
    pub log_prob: f32,
}

// Plain numbers in C's layout.
unsafe impl DeviceRepr for Draw {}

const _: () = assert!(size_of::<Draw>() == 32);

/// Whether tokens of a vocabulary are drawn on this device: some 387,000 at most.
pub fn has_token_draws(device: &Device, vocab_size: usize) -> bool {
    device.is_cuda() && shared_bytes(vocab_size) <= SHARED_BYTES
}

fn shared_bytes(vocab_size: usize) -> usize {
    SCRATCH_BYTES + size_of::<f64>() * (vocab_size.div_ceil(BLOCK) + 1)
}

/// Draws of one device, with room for those of a pass. The host reads the tokens of a pass when it wants to
/// ([`Self::receive`]); until then they are on the card, where the next pass can read them ([`feed_tokens`]).
#[derive(Debug)]
pub struct TokenDraws {
    device: CudaDevice,
    draws: CudaSlice<Draw>,
    /// `[count, 2]`: id, and the bits of the log-probability.
    drawn: Tensor,
    /// Copies under way, the oldest first, and those that have been read.
    under_way: VecDeque<HostCopy>,
    spare: Vec<HostCopy>,
}

impl TokenDraws {
    /// Room for so many draws; it grows where more are asked for.
    ///
    /// # Errors
    /// If the device is no card or refuses.
    pub fn new(device: &Device, count: usize) -> Result<Self> {
        let device = device.as_cuda_device()?.clone();
        let (draws, drawn) = Self::room(&device, count.max(1))?;
        Ok(Self { device, draws, drawn, under_way: VecDeque::new(), spare: Vec::new() })
    }

    fn room(device: &CudaDevice, count: usize) -> Result<(CudaSlice<Draw>, Tensor)> {
        // Nothing of it is read before it is written.
        Ok((unsafe { device.alloc(count)? }, room_like((count, NUMBERS), DType::U32, device)?))
    }

    /// Makes room for the draws of a pass. What was drawn before stays in the tensor that [`Self::send`] gave.
    ///
    /// # Errors
    /// If the card refuses.
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        if count > self.draws.len() {
            (self.draws, self.drawn) = Self::room(&self.device, count.next_power_of_two())?;
        }
        Ok(())
    }

    /// One token for each draw from `logits` `[R, V]` in f32, contiguous; ids from `allowed` on are never drawn. The first
    /// is draw number `first` of the pass.
    ///
    /// # Errors
    /// If there is no room for the draws, one of them names no row or keeps no token, the vocabulary is empty or too
    /// large, or the card refuses.
    pub fn draw(&mut self, first: usize, logits: &Tensor, draws: &[Draw], allowed: usize) -> Result<()> {
        let (rows, vocab_size) = logits.dims2()?;
        let fits = |draw: &Draw| (draw.row as usize) < rows && (1..=allowed).contains(&(draw.top_k as usize));
        if logits.dtype() != DType::F32 || !(1..=vocab_size).contains(&allowed) || !draws.iter().all(fits) {
            candle_core::bail!("draws from {logits:?} of the first {allowed} ids name other rows or keep nothing");
        }
        if shared_bytes(vocab_size) > SHARED_BYTES {
            candle_core::bail!("draws of {vocab_size} ids need more shared memory than there is");
        }
        let last = first + draws.len();
        if last > self.draws.len() {
            candle_core::bail!("there is room for {} draws, not for {last}", self.draws.len());
        }
        if draws.is_empty() {
            return Ok(());
        }
        self.device.memcpy_htod(draws, &mut self.draws.slice_mut(first..last))?;
        let stream = self.device.cuda_stream();
        let from = self.draws.slice(first..last).device_ptr(&stream).0;
        let to = address(&self.drawn.narrow(0, first, draws.len())?)?;
        let [count, vocabulary, allowed] = [draws.len(), vocab_size, allowed].map(|size| Count(size as u32));
        let arguments = [Address(address(logits)?), Address(from), Address(to), count, vocabulary, vocabulary, allowed];
        let shared_bytes = shared_bytes(vocab_size) as u32;
        let function = function(&self.device, Family::Sampling, "draw_tokens", SHARED_BYTES as u32)?;
        launch(&self.device, &function, Grid { blocks: draws.len(), threads: THREADS, shared_bytes }, &arguments)
    }

    /// Sends the first `count` tokens of the pass to the host, which does not wait for them. Gives them as they are on the
    /// card: they stay there until the next draw.
    ///
    /// # Errors
    /// If there are no more than that, or the card refuses.
    pub fn send(&mut self, count: usize) -> Result<Tensor> {
        let len = count * NUMBERS;
        let context = self.device.cuda_stream().context().clone();
        let mut copy = match self.spare.pop() {
            Some(copy) if copy.room() >= len => copy,
            _ => HostCopy::new(&context, len.next_power_of_two())?,
        };
        copy.start(&self.drawn, len)?;
        self.under_way.push_back(copy);
        Ok(self.drawn.clone())
    }

    /// Waits for the tokens of the oldest pass that were sent and not received.
    ///
    /// # Errors
    /// If there are none, or the card refuses.
    pub fn receive(&mut self) -> Result<Vec<DrawnToken>> {
        let Some(copy) = self.under_way.pop_front() else { candle_core::bail!("no tokens were sent to the host") };
        let token = |numbers: &[u32]| DrawnToken { id: numbers[0], log_prob: f32::from_bits(numbers[1]) };
        let tokens = copy.wait()?.chunks_exact(NUMBERS).map(token).collect();
        self.spare.push(copy);
        Ok(tokens)
    }
}

/// Writes ids that were drawn to where a pass reads them: `ids[row] = drawn[place].id` for each `(row, place)` of `pairs`, a
/// contiguous tensor of u32; 1 launch. `drawn` is what [`TokenDraws::send`] gave, with no draw since.
///
/// # Errors
/// If the tensors are not of u32 on one card, or the card refuses. The pairs are on the card: nobody looks whether they are
/// inside.
pub fn feed_tokens(drawn: &Tensor, pairs: &Tensor, ids: &Tensor) -> Result<()> {
    if [drawn, pairs, ids].iter().any(|tensor| tensor.dtype() != DType::U32) {
        candle_core::bail!("numbers are expected, not {drawn:?}, {pairs:?}, {ids:?}");
    }
    let (device, count) = (card(ids)?, pairs.elem_count() / 2);
    let addresses = [address(drawn)?, address(pairs)?, address(ids)?].map(Address);
    let function = function(device, Family::Sampling, "feed_tokens", 0)?;
    let grid = Grid { blocks: count.div_ceil(FEED_THREADS as usize), threads: FEED_THREADS, shared_bytes: 0 };
    launch(device, &function, grid, &[&addresses[..], &[Count(count as u32)]].concat())
}
