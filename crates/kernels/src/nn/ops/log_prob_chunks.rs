//! Log-probabilities and entropies chunk by chunk, of candle's operations: for devices that have no kernel of ours.
//!
//! The same function as [`super::log_prob()`]. The output is computed outside the tape for [`LOGIT_ROWS`] rows at a time and
//! grafted into it; what is kept is a logarithm of a sum and an entropy a row. The backward computes the logits of a chunk
//! again and turns them into slopes
//! `dz_j = ([j = t] - p_j) g / temperature - p_j (log p_j + H) g_H / temperature`
//! for the gradients `g` of the log-probability and `g_H` of the entropy. Logits are widened to f32 out of the product; slopes
//! are rounded to the type of the inputs, as the other factors of the products they go into.

use std::sync::Arc;

use candle_core::{CpuStorage, CudaStorage, CustomOp2, D, DType, Layout, Result, Shape, Tensor};

use super::LOGIT_ROWS;
use super::graft::{self, accumulated};

const NAME: &str = "log-prob by chunks";

/// For rows `hidden` `[R, d]` and the output head `[V, d]`: `[2, R]` in f32 (f64 of f64), first the log-probabilities of
/// `targets` at `temperature`, then the entropies.
///
/// # Errors
/// If the device refuses; the shapes are checked by the caller.
pub(super) fn log_prob_chunks(hidden: &Tensor, head: &Tensor, targets: &[u32], temperature: f64) -> Result<Tensor> {
    let (hidden, head) = (hidden.contiguous()?, head.contiguous()?);
    let inputs = Inputs::new(&hidden, &head, targets, temperature)?;
    let (out, log_sums) = inputs.forward()?;
    hidden.apply_op2(&head, Graft { out, log_sums, targets: targets.into(), temperature })
}

/// Puts an output into the tape that was computed outside of it.
struct Graft {
    out: Tensor,
    /// `[R]`.
    log_sums: Tensor,
    targets: Arc<[u32]>,
    temperature: f64,
}

impl CustomOp2 for Graft {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        graft::on_cpu(NAME, &self.out)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        graft::on_cuda(NAME, &self.out)
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let inputs = Inputs::new(hidden, head, &self.targets, self.temperature)?;
        let (hidden_grad, head_grad) =
            inputs.backward(&self.log_sums, &out.get(1)?.detach(), &grad.detach(), head.track_op())?;
        Ok((Some(hidden_grad), head_grad))
    }
}

/// Inputs without a tape.
struct Inputs {
    /// `[R, d]`.
    hidden: Tensor,
    /// `[V, d]`.
    head: Tensor,
    /// `[R, 1]`.
    targets: Tensor,
    temperature: f64,
}

impl Inputs {
    fn new(hidden: &Tensor, head: &Tensor, targets: &[u32], temperature: f64) -> Result<Self> {
        let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
        Ok(Self { hidden: hidden.detach(), head: head.detach(), targets, temperature })
    }

    fn num_rows(&self) -> usize {
        self.hidden.dims()[0]
    }

    /// Chunks of rows: the first row and how many.
    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let num_rows = self.num_rows();
        (0..num_rows).step_by(LOGIT_ROWS).map(move |first| (first, LOGIT_ROWS.min(num_rows - first)))
    }

    /// Logits `[rows, V]` at the temperature.
    fn logits(&self, first: usize, rows: usize) -> Result<Tensor> {
        let logits = self.hidden.narrow(0, first, rows)?.matmul(&self.head.t()?)?;
        let logits = logits.to_dtype(accumulated(logits.dtype()))?;
        if self.temperature == 1.0 { Ok(logits) } else { logits / self.temperature }
    }

    /// Log-probabilities and entropies `[2, R]`, and the logarithms of the sums of exponentials `[R]`.
    fn forward(&self) -> Result<(Tensor, Tensor)> {
        let (mut log_probs, mut entropies, mut log_sums) = (Vec::new(), Vec::new(), Vec::new());
        for (first, rows) in self.chunks() {
            let logits = self.logits(first, rows)?;
            let chosen = logits.gather(&self.targets.narrow(0, first, rows)?, 1)?;
            let largest = logits.max_keepdim(D::Minus1)?;
            let shifted = logits.broadcast_sub(&largest)?;
            drop(logits);
            let exponentials = shifted.exp()?;
            let total = exponentials.sum_keepdim(D::Minus1)?;
            let weighted = (exponentials * shifted)?.sum_keepdim(D::Minus1)?;
            let log_total = total.log()?;
            let log_sum = (largest + &log_total)?;
            log_probs.push((chosen - &log_sum)?.flatten_all()?);
            entropies.push((log_total - (weighted / total)?)?.flatten_all()?);
            log_sums.push(log_sum.flatten_all()?);
        }
        if log_sums.is_empty() {
            let dtype = accumulated(self.hidden.dtype());
            let empty = |shape: &[usize]| Tensor::zeros(shape, dtype, self.hidden.device());
            return Ok((empty(&[2, 0])?, empty(&[0])?));
        }
        let joined = |parts: Vec<Tensor>| Tensor::cat(&parts, 0);
        Ok((Tensor::stack(&[joined(log_probs)?, joined(entropies)?], 0)?, joined(log_sums)?))
    }

    /// Gradients of the hidden rows, and of the head where that is trained. `grad` is `[2, R]`.
    fn backward(
        &self,
        log_sums: &Tensor,
        entropies: &Tensor,
        grad: &Tensor,
        head_is_trained: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let column = |x: Tensor| x.contiguous()?.reshape((self.num_rows(), 1));
        let (log_prob_grads, entropy_grads) = (column(grad.get(0)?)?, column(grad.get(1)?)?);
        // Read once a batch: slopes without an entropy take fewer passes over each chunk.
        let has_entropy = entropy_grads.abs()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()? != 0.0;
        let inverse = 1.0 / self.temperature;
        let of_entropy = (&entropy_grads * &column(entropies.clone())?)?;
        let slopes = Slopes {
            log_sums: column(log_sums.clone())?,
            of_target: (&log_prob_grads * inverse)?,
            constant: ((log_prob_grads + of_entropy)? * -inverse)?,
            of_log_p: if has_entropy { Some((entropy_grads * -inverse)?) } else { None },
        };
        let mut hidden_grads = Vec::new();
        let mut head_grad = head_is_trained.then(|| HeadGradient::new(&self.head));
        for (first, rows) in self.chunks() {
            let targets = self.targets.narrow(0, first, rows)?.contiguous()?;
            let slopes = slopes.of_chunk(self.logits(first, rows)?, first, &targets)?.to_dtype(self.hidden.dtype())?;
            hidden_grads.push(slopes.matmul(&self.head)?);
            if let Some(head_grad) = &mut head_grad {
                head_grad.add(slopes, self.hidden.narrow(0, first, rows)?)?;
            }
        }
        let hidden_grad = match hidden_grads.is_empty() {
            true => self.hidden.zeros_like()?,
            false => Tensor::cat(&hidden_grads, 0)?,
        };
        Ok((hidden_grad, head_grad.map(|head_grad| head_grad.finish(&self.head)).transpose()?))
    }
}

/// What the slopes of the logits are made of, columns `[R, 1]`: `dz_j = p_j (constant + of_log_p log p_j) + [j = t] of_target`.
struct Slopes {
    log_sums: Tensor,
    of_target: Tensor,
    constant: Tensor,
    /// Nothing where no entropy has a gradient.
    of_log_p: Option<Tensor>,
}

impl Slopes {
    /// The slopes `[rows, V]` of the logits of rows from `first` on.
    fn of_chunk(&self, logits: Tensor, first: usize, targets: &Tensor) -> Result<Tensor> {
        let rows = targets.dim(0)?;
        let of_chunk = |x: &Tensor| x.narrow(0, first, rows)?.contiguous();
        let log_p = logits.broadcast_sub(&of_chunk(&self.log_sums)?)?;
        drop(logits);
        let constant = of_chunk(&self.constant)?;
        let slopes = match &self.of_log_p {
            Some(of_log_p) => {
                let factor = log_p.broadcast_mul(&of_chunk(of_log_p)?)?.broadcast_add(&constant)?;
                (log_p.exp()? * factor)?
            }
            None => log_p.exp()?.broadcast_mul(&constant)?,
        };
        slopes.scatter_add_set(targets, &of_chunk(&self.of_target)?, 1)?;
        Ok(slopes)
    }
}

/// The gradient of the head, `dW = sum dz^T h`: of as many rows in one product as take no more memory than the head, so that
/// their sum is not rounded. Sums of products are f32.
struct HeadGradient {
    /// Rows of one product, at least.
    enough: usize,
    rows: usize,
    slopes: Vec<Tensor>,
    hidden: Vec<Tensor>,
    sum: Option<Tensor>,
}

impl HeadGradient {
    fn new(head: &Tensor) -> Self {
        let width = head.dims().last().copied().unwrap_or(1);
        Self { enough: width, rows: 0, slopes: Vec::new(), hidden: Vec::new(), sum: None }
    }

    /// Adds the part of some rows, with slopes `[rows, V]` and hidden rows `[rows, d]`.
    fn add(&mut self, slopes: Tensor, hidden: Tensor) -> Result<()> {
        self.rows += hidden.dim(0)?;
        self.slopes.push(slopes);
        self.hidden.push(hidden);
        if self.rows < self.enough {
            return Ok(());
        }
        let product = self.product()?;
        let product = product.to_dtype(accumulated(product.dtype()))?;
        self.sum = Some(match self.sum.take() {
            Some(sum) => (sum + product)?,
            None => product,
        });
        Ok(())
    }

    /// The product of the rows that were kept for it.
    fn product(&mut self) -> Result<Tensor> {
        let product = Tensor::cat(&self.slopes, 0)?.t()?.matmul(&Tensor::cat(&self.hidden, 0)?)?;
        self.rows = 0;
        self.slopes.clear();
        self.hidden.clear();
        Ok(product)
    }

    /// The gradient in the type of the head.
    fn finish(mut self, head: &Tensor) -> Result<Tensor> {
        let last = if self.slopes.is_empty() { None } else { Some(self.product()?) };
        match (self.sum, last) {
            (None, None) => head.zeros_like(),
            (None, Some(only)) => Ok(only),
            (Some(sum), None) => sum.to_dtype(head.dtype()),
            (Some(sum), Some(last)) => {
                let last = last.to_dtype(sum.dtype())?;
                (sum + last)?.to_dtype(head.dtype())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, check_against_twin, check_gradients, wave};
    use crate::nn::ops::{log_prob, naive_log_prob};
    use candle_core::Var;

    #[test]
    fn gradients_are_those_of_finite_differences_and_of_the_twin() -> Result<()> {
        let targets = [3, 0, 17, 16];
        let inputs = [wave(&[4, 5], DType::F64, 1.0)?, wave(&[18, 5], DType::F64, 2.0)?];
        for temperature in [0.7, 1.0] {
            let function = |v: &[Tensor]| log_prob_chunks(&v[0], &v[1], &targets, temperature);
            check_gradients(function, &inputs, 1e-7)?;
            let twin = |v: &[Tensor]| naive_log_prob(&v[0], &v[1], &targets, temperature);
            check_against_twin(function, twin, &inputs, 1e-11)?;
        }
        Ok(())
    }

    /// Widths below and above a chunk: the head's gradient as the sum of several products and as one.
    #[test]
    fn equals_the_kernel_over_chunks() -> Result<()> {
        let targets: Vec<u32> = (0..3 * LOGIT_ROWS as u32 + 77).map(|i| i * 7 % 300).collect();
        for (width, dtype, tolerance) in [(24, DType::F64, 1e-11), (24, DType::F32, 5e-5), (600, DType::F64, 1e-11)] {
            let inputs = [wave(&[targets.len(), width], dtype, 1.0)?, wave(&[300, width], dtype, 0.5)?];
            let function = |v: &[Tensor]| log_prob_chunks(&v[0], &v[1], &targets, 0.9);
            let kernel = |v: &[Tensor]| log_prob(&v[0], &v[1], &targets, 0.9);
            check_against_twin(function, kernel, &inputs, tolerance)?;
            // The path without a gradient of the entropy.
            check_against_twin(|v| function(v)?.get(0), |v| kernel(v)?.get(0), &inputs, tolerance)?;
        }
        Ok(())
    }

    /// Of 16 bits, logits are rounded once, out of the product, and everything after it is f32.
    #[test]
    fn sixteen_bits_round_the_logits_and_nothing_else() -> Result<()> {
        let targets: Vec<u32> = (0..300).map(|i| i * 7 % 90).collect();
        // Of the two types the one that the CPU can multiply.
        let narrow = |dims: &[usize], scale| wave(dims, DType::F32, scale)?.to_dtype(DType::F16);
        let (hidden, head) = (narrow(&[300, 16], 1.0)?, narrow(&[90, 16], 0.5)?);
        let got = log_prob_chunks(&hidden, &head, &targets, 1.0)?;
        assert_eq!(got.dtype(), DType::F32);
        let wide = |x: &Tensor| x.to_dtype(DType::F32);
        let exact = naive_log_prob(&wide(&hidden)?, &wide(&head)?, &targets, 1.0)?;
        // The rounding of a logit below 8.
        assert_close(&got, &exact, 1.0 / 512.0)
    }

    #[test]
    fn a_frozen_head_gets_no_gradient_and_no_rows_are_no_error() -> Result<()> {
        let hidden = Var::from_tensor(&wave(&[2, 3], DType::F32, 1.0)?)?;
        let head = wave(&[9, 3], DType::F32, 2.0)?;
        let gradients = log_prob_chunks(&hidden, &head, &[1, 8], 1.0)?.sum_all()?.backward()?;
        assert!(gradients.get(&hidden).is_some() && gradients.get(&head).is_none());
        assert_eq!(log_prob_chunks(&hidden.narrow(0, 0, 0)?, &head, &[], 1.0)?.dims(), [2, 0]);
        Ok(())
    }
}
