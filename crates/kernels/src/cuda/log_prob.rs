//! Log-probabilities of target tokens and entropies on a card, and their gradients: products by cuBLAS into f32, rows by the
//! kernels of `cuda/pointwise/log_prob.cuh`.
//!
//! The function is [`crate::nn::ops::log_prob()`]. Logits exist for [`LOGIT_ROWS`] rows at a time, in f32 out of the product, so
//! that they are not rounded; the backward computes them again. Slopes are rounded to the type of the inputs, as the other factors
//! of the products they go into; the gradient of the head is added up in f32.

use candle_core::cuda_backend::CudaDevice;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::Argument::{Address, Real};
use super::pointwise::count;
use super::product::{Output, linear, linear_input_gradient, linear_weight_gradient};
use super::{Family, Grid, NOTHING, address, card, function, launch_config, on_card_only, room_like};
use crate::nn::ops::{LOGIT_ROWS, graft};

const NAME: &str = "log-prob";

/// Threads that take a row of logits together.
const THREADS: u32 = 512;

/// Blocks that share a row of slopes.
const SLOPE_BLOCKS: u32 = 4;

/// Whether there are kernels for these rows.
pub(crate) fn has_log_prob(hidden: &Tensor, head: &Tensor) -> bool {
    hidden.device().is_cuda()
        && matches!(hidden.dtype(), DType::BF16 | DType::F32)
        && hidden.dtype() == head.dtype()
        && hidden.elem_count() > 0
        && head.elem_count() > 0
}

/// For contiguous `hidden` `[R, d]` and `head` `[V, d]` of one type: `[2, R]` in f32, first the log-probabilities, then the
/// entropies. On the tape.
pub(crate) fn log_prob(hidden: &Tensor, head: &Tensor, targets: &[u32], temperature: f64) -> Result<Tensor> {
    let rows = LogProbRows::forward(&hidden.detach(), &head.detach(), targets, temperature)?;
    hidden.apply_op2(head, Taped(rows))
}

/// Scored rows, and what their backward needs of the forward. Nothing is on a tape.
#[derive(Clone, Debug)]
pub struct LogProbRows {
    /// `[2, R]` in f32: log-probabilities of the targets, entropies.
    pub scores: Tensor,
    /// `[R]` in f32: logarithms of the sums of exponentials.
    log_sums: Tensor,
    /// `[R]`.
    targets: Tensor,
    inverse_temperature: f32,
}

impl LogProbRows {
    /// Scores rows `hidden` `[R, d]` under the output head `[V, d]`, contiguous tensors of one type (bf16 or f32) on one card.
    ///
    /// # Errors
    /// If shapes do not fit, a target is outside the vocabulary, there are no rows, or the card refuses.
    pub fn forward(hidden: &Tensor, head: &Tensor, targets: &[u32], temperature: f64) -> Result<Self> {
        let ((num_rows, _), (vocabulary, _)) = (hidden.dims2()?, head.dims2()?);
        if num_rows != targets.len() || num_rows == 0 || targets.iter().any(|&target| target as usize >= vocabulary) {
            candle_core::bail!("{NAME}: {} targets do not fit hidden {hidden:?} and head {head:?}", targets.len());
        }
        let device = card(hidden)?;
        let rows = Self {
            scores: room_like((2, num_rows), DType::F32, device)?,
            log_sums: room_like(num_rows, DType::F32, device)?,
            targets: Tensor::new(targets, hidden.device())?,
            inverse_temperature: (1.0 / temperature) as f32,
        };
        let logits = Logits::new(vocabulary, num_rows, device)?;
        let (log_probs, entropies) = (rows.scores.get(0)?, rows.scores.get(1)?);
        for (first, count_of_rows) in chunks(num_rows) {
            let of_chunk = |tensor: &Tensor| {
                Ok::<_, candle_core::Error>(Address(address(&tensor.narrow(0, first, count_of_rows)?)?))
            };
            let logits = logits.of(hidden, head, first, count_of_rows)?;
            let arguments = [
                Address(address(&logits)?),
                of_chunk(&rows.targets)?,
                of_chunk(&log_probs)?,
                of_chunk(&entropies)?,
                of_chunk(&rows.log_sums)?,
                count(count_of_rows)?,
                count(vocabulary)?,
                count(vocabulary)?,
                Real(rows.inverse_temperature),
            ];
            run(
                device,
                "log_prob_rows",
                Grid { blocks: count_of_rows, threads: THREADS, shared_bytes: 384 },
                1,
                &arguments,
            )?;
        }
        Ok(rows)
    }

    /// Writes the gradient of the rows, `[R, d]` in their type or f32, and adds up that of the head, `[V, d]` in f32, where they are
    /// asked for, for gradients `[R]` in f32 of the log-probabilities and of the entropies; without the latter those are zero.
    ///
    /// # Errors
    /// If a shape or type does not fit, or the card refuses.
    pub fn backward(
        &self,
        (hidden, head): (&Tensor, &Tensor),
        log_prob_gradients: &Tensor,
        entropy_gradients: Option<&Tensor>,
        hidden_gradient: &Tensor,
        head_gradient: Option<(&Tensor, Output)>,
    ) -> Result<()> {
        let ((num_rows, _), (vocabulary, _)) = (hidden.dims2()?, head.dims2()?);
        for gradients in [Some(log_prob_gradients), entropy_gradients].into_iter().flatten() {
            if gradients.dtype() != DType::F32 || gradients.elem_count() != num_rows {
                candle_core::bail!("{NAME}: {num_rows} gradients in f32 are expected, not {gradients:?}");
            }
        }
        let (device, dtype) = (card(hidden)?, hidden.dtype());
        let logits = Logits::new(vocabulary, num_rows, device)?;
        // Slopes in f32 take the place of their logits.
        let narrow = (dtype != DType::F32).then(|| room_like(logits.0.shape(), dtype, device)).transpose()?;
        let name = if dtype == DType::BF16 { "log_prob_slopes_bf16" } else { "log_prob_slopes_f32" };
        let entropies = self.scores.get(1)?;
        let mut head_gradient = head_gradient;
        for (first, rows) in chunks(num_rows) {
            let of_chunk = |tensor: &Tensor| tensor.narrow(0, first, rows);
            let place = |tensor: &Tensor| Ok::<_, candle_core::Error>(Address(address(&of_chunk(tensor)?)?));
            let logits = logits.of(hidden, head, first, rows)?;
            let slopes = narrow.as_ref().map_or(Ok(logits.clone()), |slopes| slopes.narrow(0, 0, rows))?;
            let arguments = [
                Address(address(&logits)?),
                place(&self.targets)?,
                place(log_prob_gradients)?,
                entropy_gradients.map_or(Ok(Address(NOTHING)), place)?,
                place(&self.log_sums)?,
                place(&entropies)?,
                Address(address(&slopes)?),
                count(rows)?,
                count(vocabulary)?,
                count(vocabulary)?,
                count(vocabulary)?,
                Real(self.inverse_temperature),
            ];
            run(device, name, Grid { blocks: rows, threads: THREADS, shared_bytes: 0 }, SLOPE_BLOCKS, &arguments)?;
            linear_input_gradient(&slopes, head, &of_chunk(hidden_gradient)?, 1.0, Output::Overwrite)?;
            if let Some((sum, output)) = &mut head_gradient {
                linear_weight_gradient(&slopes, &of_chunk(hidden)?, sum, 1.0, *output)?;
                *output = Output::Add;
            }
        }
        Ok(())
    }
}

/// Chunks of rows: the first row and how many.
fn chunks(num_rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..num_rows).step_by(LOGIT_ROWS).map(move |first| (first, LOGIT_ROWS.min(num_rows - first)))
}

/// Logits of a chunk, `[rows, V]` in f32.
struct Logits(Tensor);

impl Logits {
    fn new(vocabulary: usize, num_rows: usize, device: &CudaDevice) -> Result<Self> {
        Ok(Self(room_like((num_rows.min(LOGIT_ROWS), vocabulary), DType::F32, device)?))
    }

    fn of(&self, hidden: &Tensor, head: &Tensor, first: usize, rows: usize) -> Result<Tensor> {
        let logits = self.0.narrow(0, 0, rows)?;
        linear(&hidden.narrow(0, first, rows)?, head, &logits, 1.0, Output::Overwrite)?;
        Ok(logits)
    }
}

fn run(device: &CudaDevice, name: &str, grid: Grid, blocks_a_row: u32, arguments: &[super::Argument]) -> Result<()> {
    let Some(mut config) = grid.config()? else { return Ok(()) };
    config.grid_dim.1 = blocks_a_row;
    launch_config(device, &function(device, Family::Pointwise, name, grid.shared_bytes)?, config, arguments)
}

/// The scores as an operation of candle's tape.
struct Taped(LogProbRows);

impl CustomOp2 for Taped {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        on_card_only(NAME)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        graft::on_cuda(NAME, &self.0.scores)
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (grad, device) = (grad.contiguous()?, card(hidden)?);
        let hidden_gradient = room_like(hidden.shape(), hidden.dtype(), device)?;
        let head_gradient = head.track_op().then(|| room_like(head.shape(), DType::F32, device)).transpose()?;
        let sum = head_gradient.as_ref().map(|sum| (sum, Output::Overwrite));
        let inputs = (hidden.detach(), head.detach());
        self.0.backward((&inputs.0, &inputs.1), &grad.get(0)?, Some(&grad.get(1)?), &hidden_gradient, sum)?;
        let head_gradient = head_gradient.map(|sum| sum.to_dtype(head.dtype())).transpose()?;
        Ok((Some(hidden_gradient), head_gradient))
    }
}
