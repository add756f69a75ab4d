//! Tokens drawn from rows of logits on a card: launches of the kernel of `cuda/sampling`.
//!
//! A draw goes up as 32 bytes and comes back as 8: token id and log-probability. The logits stay where they are.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{DType, Device, Result, Tensor};

use super::Argument::{Address, Count};
use super::{Family, Grid, address, function, launch};

const THREADS: u32 = 512;

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

/// A token that was drawn; laid out as `sampling::DrawnToken`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrawnToken {
    /// Its id; `u32::MAX` if the logits are not finite.
    pub id: u32,
    /// Its log-probability at the scale, over the whole vocabulary and before any cut.
    pub log_prob: f32,
}

// Plain numbers in C's layout.
unsafe impl DeviceRepr for Draw {}
unsafe impl DeviceRepr for DrawnToken {}

const _: () = assert!(size_of::<Draw>() == 32 && size_of::<DrawnToken>() == 8);

/// Whether tokens of a vocabulary are drawn on this device: some 387,000 at most.
pub fn has_token_draws(device: &Device, vocab_size: usize) -> bool {
    device.is_cuda() && shared_bytes(vocab_size) <= SHARED_BYTES
}

fn shared_bytes(vocab_size: usize) -> usize {
    SCRATCH_BYTES + size_of::<f64>() * (vocab_size.div_ceil(BLOCK) + 1)
}

/// Draws of one device, with room for those of a pass.
#[derive(Debug)]
pub struct TokenDraws {
    device: CudaDevice,
    draws: CudaSlice<Draw>,
    drawn: CudaSlice<DrawnToken>,
}

impl TokenDraws {
    /// Room for so many draws; it grows where more are asked for.
    ///
    /// # Errors
    /// If the device is no card or refuses.
    pub fn new(device: &Device, count: usize) -> Result<Self> {
        let device = device.as_cuda_device()?.clone();
        // Nothing of it is read before it is written.
        let (draws, drawn) = unsafe { (device.alloc(count.max(1))?, device.alloc(count.max(1))?) };
        Ok(Self { device, draws, drawn })
    }

    /// One token for each draw from `logits` `[R, V]` in f32, contiguous; ids from `allowed` on are never drawn.
    ///
    /// # Errors
    /// If a draw names no row or keeps no token, the vocabulary is empty or too large, or the card refuses.
    pub fn draw(&mut self, logits: &Tensor, draws: &[Draw], allowed: usize) -> Result<Vec<DrawnToken>> {
        let (rows, vocab_size) = logits.dims2()?;
        let fits = |draw: &Draw| (draw.row as usize) < rows && (1..=allowed).contains(&(draw.top_k as usize));
        if logits.dtype() != DType::F32 || !(1..=vocab_size).contains(&allowed) || !draws.iter().all(fits) {
            candle_core::bail!("draws from {logits:?} of the first {allowed} ids name other rows or keep nothing");
        }
        if shared_bytes(vocab_size) > SHARED_BYTES {
            candle_core::bail!("draws of {vocab_size} ids need more shared memory than there is");
        }
        if draws.is_empty() {
            return Ok(Vec::new());
        }
        if draws.len() > self.draws.len() {
            *self = Self::new(&Device::Cuda(self.device.clone()), draws.len().next_power_of_two())?;
        }
        self.device.memcpy_htod(draws, &mut self.draws)?;
        let stream = self.device.cuda_stream();
        let (from, to) = (self.draws.device_ptr(&stream).0, self.drawn.device_ptr(&stream).0);
        let [count, vocabulary, allowed] = [draws.len(), vocab_size, allowed].map(|size| Count(size as u32));
        let arguments = [Address(address(logits)?), Address(from), Address(to), count, vocabulary, vocabulary, allowed];
        let shared_bytes = shared_bytes(vocab_size) as u32;
        let function = function(&self.device, Family::Sampling, "draw_tokens", SHARED_BYTES as u32)?;
        launch(&self.device, &function, Grid { blocks: draws.len(), threads: THREADS, shared_bytes }, &arguments)?;
        stream.clone_dtoh(&self.drawn.slice(..draws.len())).w()
    }
}
