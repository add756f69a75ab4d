//! Log-probability of target tokens and entropy of their distributions, from hidden rows and the output head.
//!
//! With `z = h W^T / temperature`: `log p_t = z_t - logsumexp(z)` and `H = logsumexp(z) - sum(p z)`, in nats. Their
//! gradients are `d log p_t / d z_j = [j = t] - p_j` and `d H / d z_j = -p_j (log p_j + H)`. Logits exist for [`LOGIT_ROWS`]
//! rows at a time and are computed again in the backward: at a vocabulary of 151,936 all of them would be gigabytes.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;

use super::LOGIT_ROWS;
use super::log_prob_chunks::log_prob_chunks;
use crate::host::{Host, has_kernel, with_real};
use crate::vector::{Real, max, sum};

const NAME: &str = "log-prob";

/// For rows `hidden` `[R, d]` and the output head `[V, d]`: `[2, R]`, first the log-probabilities of `targets` at
/// `temperature`, then the entropies. Both are differentiable in both arguments.
///
/// # Errors
/// If shapes do not fit, a target is outside the vocabulary or the temperature is not positive.
pub fn log_prob(hidden: &Tensor, head: &Tensor, targets: &[u32], temperature: f64) -> Result<Tensor> {
    let ((rows, width), (vocabulary, head_width)) = (hidden.dims2()?, head.dims2()?);
    if rows != targets.len() || width != head_width {
        candle_core::bail!("{NAME}: hidden {:?}, head {:?}, {} targets", hidden.shape(), head.shape(), targets.len());
    }
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocabulary) {
        candle_core::bail!("{NAME}: target {target} is outside the vocabulary of {vocabulary}");
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        candle_core::bail!("{NAME}: temperature {temperature} is not positive");
    }
    #[cfg(feature = "cuda")]
    if crate::cuda::has_log_prob(hidden, head) {
        return crate::cuda::log_prob(&hidden.contiguous()?, &head.contiguous()?, targets, temperature);
    }
    if !has_kernel(hidden) {
        return log_prob_chunks(hidden, head, targets, temperature);
    }
    let op = LogProb { targets: targets.into(), temperature };
    hidden.contiguous()?.apply_op2(&head.contiguous()?, op)
}

/// The same, of candle's differentiable operations, with all logits.
///
/// # Errors
/// If the shapes do not fit.
pub fn naive_log_prob(hidden: &Tensor, head: &Tensor, targets: &[u32], temperature: f64) -> Result<Tensor> {
    let logits = (hidden.matmul(&head.t()?)? / temperature)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_p = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
    let targets = Tensor::new(targets, hidden.device())?.unsqueeze(1)?;
    let chosen = log_p.gather(&targets, 1)?.squeeze(1)?;
    let entropy = (log_p.exp()? * &log_p)?.sum(D::Minus1)?.neg()?;
    Tensor::stack(&[&chosen, &entropy], 0)
}

struct LogProb {
    targets: Arc<[u32]>,
    temperature: f64,
}

impl LogProb {
    /// Logits `[rows, V]`, not yet divided by the temperature, of rows from `first` on.
    fn logits<T: Real>(
        first: usize,
        rows: usize,
        (hidden, hidden_l): (&CpuStorage, &Layout),
        (head, head_l): (&CpuStorage, &Layout),
    ) -> Result<Vec<T>> {
        let (vocabulary, width) = head_l.shape().dims2()?;
        let hidden_l = hidden_l.narrow(0, first, rows)?;
        let logits = hidden.matmul(head, (1, rows, vocabulary, width), &hidden_l, &head_l.transpose(0, 1)?)?;
        T::cpu_storage_data(logits)
    }

    fn forward<T: Real>(&self, hidden: (&CpuStorage, &Layout), head: (&CpuStorage, &Layout)) -> Result<Vec<T>> {
        let num_rows = self.targets.len();
        let vocabulary = head.1.shape().dims()[0];
        let inverse = T::from_f64(1.0 / self.temperature);
        let mut out = vec![T::zero(); 2 * num_rows];
        let (log_probs, entropies) = out.split_at_mut(num_rows);
        for first in (0..num_rows).step_by(LOGIT_ROWS) {
            let rows = LOGIT_ROWS.min(num_rows - first);
            let mut logits = Self::logits::<T>(first, rows, hidden, head)?;
            let outputs = log_probs[first..].par_iter_mut().zip(&mut entropies[first..]);
            let tasks = logits.par_chunks_exact_mut(vocabulary).zip(outputs).zip(&self.targets[first..]);
            tasks.for_each(|((logits, (log_prob, entropy)), &target)| {
                let target = logits[target as usize];
                let row = softmax(logits, inverse);
                *log_prob = target.mul_add(inverse, T::zero() - row.log_sum);
                *entropy = row.entropy;
            });
        }
        Ok(out)
    }

    fn backward<T: Real>(&self, hidden: &Tensor, head: &Tensor, grad: &[T]) -> Result<(Tensor, Option<Tensor>)> {
        let num_rows = self.targets.len();
        let vocabulary = head.dim(0)?;
        let inverse = T::from_f64(1.0 / self.temperature);
        let (log_prob_grads, entropy_grads) = grad.split_at(num_rows);
        // `track_op` tells a head that is trained from a frozen one.
        let mut head_grad: Option<Tensor> = None;
        let (hidden_data, head_data) = (hidden.detach(), head.detach());
        let mut hidden_grads = Vec::new();
        for first in (0..num_rows).step_by(LOGIT_ROWS) {
            let rows = LOGIT_ROWS.min(num_rows - first);
            let mut slopes = {
                let (hidden_host, head_host) = (Host::new(&hidden_data), Host::new(&head_data));
                let (hidden, head) = ((hidden_host.cpu(NAME)?, hidden.layout()), (head_host.cpu(NAME)?, head.layout()));
                Self::logits::<T>(first, rows, hidden, head)?
            };
            let grads = log_prob_grads[first..].par_iter().zip(&entropy_grads[first..]);
            let tasks = slopes.par_chunks_exact_mut(vocabulary).zip(grads).zip(&self.targets[first..]);
            tasks.for_each(|((slopes, (&log_prob, &entropy)), &target)| {
                slope_row(slopes, inverse, target as usize, log_prob, entropy);
            });
            let slopes = Tensor::from_vec(slopes, (rows, vocabulary), hidden.device())?;
            if head.track_op() {
                let part = slopes.t()?.matmul(&hidden_data.narrow(0, first, rows)?)?;
                head_grad = Some(head_grad.map_or_else(|| Ok(part.clone()), |sum| sum + &part)?);
            }
            hidden_grads.push(slopes.matmul(&head_data)?);
        }
        let hidden_grad =
            if hidden_grads.is_empty() { hidden.zeros_like()?.detach() } else { Tensor::cat(&hidden_grads, 0)? };
        Ok((hidden_grad, head_grad))
    }
}

struct Row<T> {
    log_sum: T,
    entropy: T,
}

/// Turns logits into probabilities at the temperature whose inverse is given, in place.
#[inline(always)]
fn softmax<T: Real>(logits: &mut [T], inverse: T) -> Row<T> {
    let largest = max(logits) * inverse;
    let mut weighted = T::zero();
    // exp(z - m), and sum of exp(z - m) (z - m) for the entropy: H = log(sum) - weighted / sum.
    let mut parts = [T::zero(); 16];
    let mut chunks = logits.chunks_exact_mut(16);
    for chunk in &mut chunks {
        for (lane, part) in parts.iter_mut().enumerate() {
            let shifted = chunk[lane].mul_add(inverse, T::zero() - largest);
            let exponential = shifted.exp();
            *part = exponential.mul_add(shifted, *part);
            chunk[lane] = exponential;
        }
    }
    for logit in chunks.into_remainder() {
        let shifted = logit.mul_add(inverse, T::zero() - largest);
        let exponential = shifted.exp();
        weighted = exponential.mul_add(shifted, weighted);
        *logit = exponential;
    }
    parts.into_iter().for_each(|part| weighted += part);
    let total = sum(logits);
    let scale = T::one() / total;
    logits.iter_mut().for_each(|p| *p *= scale);
    let log_total = total.ln();
    Row { log_sum: largest + log_total, entropy: log_total - weighted * scale }
}

/// Replaces logits by the gradient of `log_prob_grad * log p_target + entropy_grad * H`.
#[inline(always)]
fn slope_row<T: Real>(logits: &mut [T], inverse: T, target: usize, log_prob_grad: T, entropy_grad: T) {
    if entropy_grad == T::zero() {
        softmax(logits, inverse);
        let factor = T::zero() - log_prob_grad * inverse;
        logits.iter_mut().for_each(|p| *p *= factor);
    } else {
        let scores: Vec<T> = logits.to_vec();
        let row = softmax(logits, inverse);
        for (p, score) in logits.iter_mut().zip(scores) {
            let log_p = score.mul_add(inverse, T::zero() - row.log_sum);
            *p *= (T::zero() - log_prob_grad - entropy_grad * (log_p + row.entropy)) * inverse;
        }
    }
    logits[target] += log_prob_grad * inverse;
}

impl CustomOp2 for LogProb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_l: &Layout,
        head: &CpuStorage,
        head_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_real!(hidden.dtype(), NAME, T => {
            let out = self.forward::<T>((hidden, hidden_l), (head, head_l))?;
            Ok((<T as WithDType>::to_cpu_storage_owned(out), (2, self.targets.len()).into()))
        })
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let grad_host = Host::new(&grad);
        with_real!(hidden.dtype(), NAME, T => {
            let (hidden_grad, head_grad) = self.backward::<T>(hidden, head, grad_host.slice(NAME)?)?;
            Ok((Some(hidden_grad), head_grad))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{check_against_twin, check_gradients, wave};
    use candle_core::{DType, Var};

    #[test]
    fn gradients_are_those_of_finite_differences_and_of_the_twin() -> Result<()> {
        let targets = [3, 0, 17, 16];
        let inputs = [wave(&[4, 5], DType::F64, 1.0)?, wave(&[18, 5], DType::F64, 2.0)?];
        check_gradients(|v| log_prob(&v[0], &v[1], &targets, 0.7), &inputs, 1e-7)?;
        let twin = |v: &[Tensor]| naive_log_prob(&v[0], &v[1], &targets, 0.7);
        check_against_twin(|v| log_prob(&v[0], &v[1], &targets, 0.7), twin, &inputs, 1e-11)
    }

    #[test]
    fn equals_the_twin_over_chunks() -> Result<()> {
        let targets: Vec<u32> = (0..LOGIT_ROWS as u32 + 77).map(|i| i * 7 % 500).collect();
        let inputs = [wave(&[targets.len(), 24], DType::F32, 1.0)?, wave(&[500, 24], DType::F32, 0.5)?];
        let twin = |v: &[Tensor]| naive_log_prob(&v[0], &v[1], &targets, 1.0);
        check_against_twin(|v| log_prob(&v[0], &v[1], &targets, 1.0), twin, &inputs, 2e-5)?;
        // The path without a gradient of the entropy.
        let chosen = |v: &[Tensor]| log_prob(&v[0], &v[1], &targets, 1.0)?.get(0);
        check_against_twin(chosen, |v| twin(v)?.get(0), &inputs, 2e-5)
    }

    #[test]
    fn a_frozen_head_gets_no_gradient_and_no_rows_are_no_error() -> Result<()> {
        let hidden = Var::from_tensor(&wave(&[2, 3], DType::F32, 1.0)?)?;
        let head = wave(&[9, 3], DType::F32, 2.0)?;
        let gradients = log_prob(&hidden, &head, &[1, 8], 1.0)?.sum_all()?.backward()?;
        assert!(gradients.get(&hidden).is_some() && gradients.get(&head).is_none());
        assert_eq!(log_prob(&hidden.narrow(0, 0, 0)?, &head, &[], 1.0)?.dims(), [2, 0]);
        assert!(log_prob(&hidden, &head, &[1, 9], 1.0).is_err());
        assert!(log_prob(&hidden, &head, &[1, 8], 0.0).is_err());
        Ok(())
    }
}
