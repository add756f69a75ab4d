//! AdamW on a card: one launch for all parameters that live there, of the kernels of `cuda/pointwise`.
//!
//! The arithmetic is the CPU's of `memtrain_model::optim::AdamW`, operation by operation, and moments of bf16 are rounded by
//! the same draws, so both give the same bits.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::{DType, Result, Tensor};

use super::Argument::{Address, Long, Real};
use super::gradients::chunks;
use super::{Family, Grid, NOTHING, address, card, function, launch};

/// A parameter, its gradient and its moments: contiguous tensors of one shape on one card.
#[derive(Clone, Copy, Debug)]
pub struct AdamWTensor<'a> {
    /// The parameter in f32, or the master of one in bf16; is updated.
    pub weight: &'a Tensor,
    /// Where the master is rounded to bf16.
    pub rounded: Option<&'a Tensor>,
    /// In f32.
    pub gradient: &'a Tensor,
    /// First moment in f32 or bf16; is updated.
    pub first: &'a Tensor,
    /// Second moment, likewise.
    pub second: &'a Tensor,
    /// Index of the parameter, which addresses the draws of stochastic rounding.
    pub parameter: usize,
    /// Whether weights decay.
    pub decays: bool,
}

/// What is the same for all parameters of a step.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Number of the step, from 1.
    pub step: u64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// `1 - lr * weight_decay`.
    pub keep: f64,
    /// `lr / (1 - beta1^step)`.
    pub rate: f64,
    /// `1 / sqrt(1 - beta2^step)`.
    pub root_correction: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// Whether [`adamw`] takes a parameter with these moments.
pub fn has_adamw(weight: &Tensor, rounded: Option<&Tensor>, moment: &Tensor) -> bool {
    let is_bf16 = rounded.is_none_or(|rounded| rounded.dtype() == DType::BF16);
    let is_moment = matches!(moment.dtype(), DType::F32 | DType::BF16);
    weight.device().is_cuda() && weight.dtype() == DType::F32 && is_bf16 && is_moment
}

/// One step in place. All moments have one type.
///
/// # Errors
/// If the device refuses.
pub fn adamw(tensors: &[AdamWTensor<'_>], step: &AdamWStep) -> Result<()> {
    let Some(one) = tensors.first() else { return Ok(()) };
    let (device, moments) = (card(one.weight)?, one.first.dtype());
    let mut table = Vec::with_capacity(8 * tensors.len());
    for tensor in tensors {
        let count = tensor.weight.elem_count();
        if [tensor.first, tensor.second].iter().any(|moment| moment.dtype() != moments || moment.elem_count() != count)
        {
            candle_core::bail!("adamw: moments of parameter {} do not fit", tensor.parameter);
        }
        let addresses = [tensor.weight, tensor.gradient, tensor.first, tensor.second].map(address);
        let [weight, gradient, first, second] = addresses;
        let rounded = tensor.rounded.map_or(Ok(NOTHING), address)?;
        let numbers = [count as u64, tensor.parameter as u64, u64::from(tensor.decays)];
        table.extend([weight?, rounded, gradient?, first?, second?].into_iter().chain(numbers));
    }
    let chunks = chunks(tensors.iter().map(|tensor| tensor.weight.elem_count()));
    run(device, &table, &chunks, moments, step)
}

fn run(device: &CudaDevice, table: &[u64], chunks: &[u32], moments: DType, step: &AdamWStep) -> Result<()> {
    if chunks.is_empty() {
        return Ok(());
    }
    // The kernel of bf16 moments keeps the draws of a chunk in shared memory.
    let (name, shared_bytes) =
        if moments == DType::BF16 { ("adamw_bf16_moments", 32_896) } else { ("adamw_f32_moments", 0) };
    let function = function(device, Family::Pointwise, name, shared_bytes)?;
    let stream = device.cuda_stream();
    let (table, blocks) = (device.clone_htod(table)?, chunks.len() / 2);
    let chunks = device.clone_htod(chunks)?;
    let real = |number: f64| Real(number as f32);
    let arguments = [
        Address(table.device_ptr(&stream).0),
        Address(chunks.device_ptr(&stream).0),
        Address(NOTHING),
        Long(step.step),
        real(step.beta1),
        real(1.0 - step.beta1),
        real(step.beta2),
        real(1.0 - step.beta2),
        real(step.keep),
        real(step.rate),
        real(step.root_correction),
        real(step.eps),
    ];
    launch(device, &function, Grid { blocks, threads: 256, shared_bytes }, &arguments)
}
