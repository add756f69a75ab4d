//! AdamW: `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, then
//! `w = w (1 - lr * decay) - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`.
//!
//! Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2, without the schedule factor
//! on the decay (as PyTorch does it). Matrices decay; norms and biases, which have one dimension, do not.

use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};
use rayon::prelude::*;

/// Elements one task updates.
const TASK: usize = 16_384;

/// The constants of AdamW. Defaults are PyTorch's except the second beta, 0.95, usual for language models.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay of matrices, a step at learning rate `lr` takes away `lr * weight_decay` of each weight.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// The optimizer with its moments, which have the type of the parameters (f32 masters, f32 moments).
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use memtrain::optim::{AdamW, AdamWConfig};
/// let w = Var::new(&[1f32, -1.0], &Device::Cpu)?;
/// let mut optimizer = AdamW::new(vec![("w".to_owned(), w.clone())], AdamWConfig::default())?;
/// optimizer.step(&[Tensor::new(&[0.5f32, 0.5], &Device::Cpu)?], 0.1)?;
/// // The first step moves each weight by the learning rate against its gradient's sign.
/// assert!((w.to_vec1::<f32>()?[0] - 0.9).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AdamW {
    pub(super) parameters: Vec<(String, Var)>,
    pub(super) first: Vec<Tensor>,
    pub(super) second: Vec<Tensor>,
    pub(super) num_steps: u64,
    config: AdamWConfig,
}

impl AdamW {
    /// An optimizer whose moments are zero. Updates are written into the variables' storage, so that every decoder that
    /// shares it sees them.
    ///
    /// # Errors
    /// If the device refuses the moments.
    pub fn new(parameters: Vec<(String, Var)>, config: AdamWConfig) -> Result<Self> {
        let zeros = || parameters.iter().map(|(_, parameter)| parameter.zeros_like()).collect::<Result<Vec<_>>>();
        let (first, second) = (zeros()?, zeros()?);
        Ok(Self { parameters, first, second, num_steps: 0, config })
    }

    /// The variables it moves, with their names.
    pub fn parameters(&self) -> &[(String, Var)] {
        &self.parameters
    }

    /// Steps taken.
    pub fn num_steps(&self) -> u64 {
        self.num_steps
    }

    /// One step with gradients in the order of the parameters, at learning rate `lr`.
    ///
    /// # Errors
    /// If a gradient is missing or has another shape; nothing is changed then.
    pub fn step(&mut self, gradients: &[Tensor], lr: f64) -> Result<()> {
        if gradients.len() != self.parameters.len() {
            candle_core::bail!("adamw: {} gradients for {} parameters", gradients.len(), self.parameters.len());
        }
        for ((name, parameter), gradient) in self.parameters.iter().zip(gradients) {
            if parameter.shape() != gradient.shape() || parameter.dtype() != gradient.dtype() {
                let (expected, got) = (parameter.shape(), gradient.shape());
                candle_core::bail!("adamw: gradient of `{name}`: {expected:?} expected, got {got:?}");
            }
        }
        self.num_steps += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let steps = self.num_steps as f64;
        let (correction1, correction2) = (1.0 - beta1.powf(steps), 1.0 - beta2.powf(steps));
        for (index, ((_, parameter), gradient)) in self.parameters.iter().zip(gradients).enumerate() {
            let decay = if parameter.rank() >= 2 { weight_decay } else { 0.0 };
            let update = Update {
                keep: 1.0 - lr * decay,
                rate: lr / correction1,
                root_correction: 1.0 / correction2.sqrt(),
                eps,
            };
            let (first, second) = (&mut self.first[index], &mut self.second[index]);
            let gradient = gradient.detach();
            if parameter.device().is_cpu() && matches!(parameter.dtype(), DType::F32 | DType::F64) {
                let gradient = gradient.contiguous()?;
                first.inplace_op2(&gradient, &Moment { beta: beta1, square: false })?;
                second.inplace_op2(&gradient, &Moment { beta: beta2, square: true })?;
                parameter.inplace_op3(first, second, &update)?;
            } else {
                *first = ((&*first * beta1)? + (&gradient * (1.0 - beta1))?)?;
                *second = ((&*second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
                parameter.set(&update.composed(&parameter.as_detached_tensor(), first, second)?)?;
            }
        }
        Ok(())
    }
}

struct Moment {
    beta: f64,
    square: bool,
}

struct Update {
    keep: f64,
    rate: f64,
    root_correction: f64,
    eps: f64,
}

impl Update {
    fn composed(&self, weight: &Tensor, first: &Tensor, second: &Tensor) -> Result<Tensor> {
        let step = (first * self.rate)?.div(&((second.sqrt()? * self.root_correction)? + self.eps)?)?;
        (weight * self.keep)? - step
    }
}

fn range(name: &str, layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => candle_core::bail!("{name}: a contiguous tensor is expected"),
    }
}

macro_rules! moment_kernel {
    ($state:expr, $gradient:expr, $beta:expr, $square:expr, $T:ty) => {{
        let (beta, rest) = ($beta as $T, (1.0 - $beta) as $T);
        let tasks = $state.par_chunks_mut(TASK).zip($gradient.par_chunks(TASK));
        if $square {
            tasks.for_each(|(state, gradient)| {
                state.iter_mut().zip(gradient).for_each(|(s, &g)| *s = beta * *s + rest * g * g);
            });
        } else {
            tasks.for_each(|(state, gradient)| {
                state.iter_mut().zip(gradient).for_each(|(s, &g)| *s = beta * *s + rest * g);
            });
        }
        Ok(())
    }};
}

impl InplaceOp2 for Moment {
    fn name(&self) -> &'static str {
        "adamw-moment"
    }

    fn cpu_fwd(
        &self,
        state: &mut CpuStorage,
        state_l: &Layout,
        gradient: &CpuStorage,
        gradient_l: &Layout,
    ) -> Result<()> {
        let (to, from) = (range("adamw-moment", state_l)?, range("adamw-moment", gradient_l)?);
        match (state, gradient) {
            (CpuStorage::F32(state), CpuStorage::F32(gradient)) => {
                moment_kernel!(state[to], gradient[from], self.beta, self.square, f32)
            }
            (CpuStorage::F64(state), CpuStorage::F64(gradient)) => {
                moment_kernel!(state[to], gradient[from], self.beta, self.square, f64)
            }
            _ => candle_core::bail!("adamw-moment: f32 or f64 expected"),
        }
    }
}

macro_rules! update_kernel {
    ($weight:expr, $first:expr, $second:expr, $update:expr, $T:ty) => {{
        let Update { keep, rate, root_correction, eps } = $update;
        let (keep, rate, root, eps) = (*keep as $T, *rate as $T, *root_correction as $T, *eps as $T);
        let moments = $first.par_chunks(TASK).zip($second.par_chunks(TASK));
        $weight.par_chunks_mut(TASK).zip(moments).for_each(|(weight, (first, second))| {
            for ((w, &m), &v) in weight.iter_mut().zip(first).zip(second) {
                *w = keep * *w - rate * m / (v.sqrt() * root + eps);
            }
        });
        Ok(())
    }};
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adamw-update"
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        weight_l: &Layout,
        first: &CpuStorage,
        first_l: &Layout,
        second: &CpuStorage,
        second_l: &Layout,
    ) -> Result<()> {
        let name = "adamw-update";
        let (to, m, v) = (range(name, weight_l)?, range(name, first_l)?, range(name, second_l)?);
        match (weight, first, second) {
            (CpuStorage::F32(weight), CpuStorage::F32(first), CpuStorage::F32(second)) => {
                update_kernel!(weight[to], first[m], second[v], self, f32)
            }
            (CpuStorage::F64(weight), CpuStorage::F64(first), CpuStorage::F64(second)) => {
                update_kernel!(weight[to], first[m], second[v], self, f64)
            }
            _ => candle_core::bail!("{name}: f32 or f64 expected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, wave};
    use candle_core::Device;

    #[test]
    fn two_steps_equal_those_by_hand() -> Result<()> {
        let w = Var::new(&[[2.0f64]], &Device::Cpu)?;
        let config = AdamWConfig { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 };
        let mut optimizer = AdamW::new(vec![("w".to_owned(), w.clone())], config)?;
        optimizer.step(&[Tensor::new(&[[3.0f64]], &Device::Cpu)?], 0.5)?;
        // 2 (1 - 0.05) - 0.5 * 3 / (3 + 1e-8).
        assert!((w.to_vec2::<f64>()?[0][0] - 1.4).abs() < 1e-8);
        optimizer.step(&[Tensor::new(&[[-1.0f64]], &Device::Cpu)?], 0.5)?;
        // m = 0.9 * 0.3 - 0.1 = 0.17, over 0.19; v = 0.99 * 0.09 + 0.01 = 0.0991, over 0.0199.
        let expected = 1.4 * 0.95 - 0.5 * (0.17 / 0.19) / (0.0991f64 / 0.0199).sqrt();
        assert!((w.to_vec2::<f64>()?[0][0] - expected).abs() < 1e-7);
        Ok(())
    }

    #[test]
    fn the_kernel_equals_the_composed_update_and_vectors_do_not_decay() -> Result<()> {
        let config = AdamWConfig { weight_decay: 0.3, ..AdamWConfig::default() };
        for dims in [&[300usize, 70][..], &[70]] {
            let start = wave(dims, DType::F64, 1.0)?;
            let w = Var::from_tensor(&start)?;
            let mut optimizer = AdamW::new(vec![("w".to_owned(), w.clone())], config)?;
            let (mut m, mut v, mut expected) = (start.zeros_like()?, start.zeros_like()?, start.clone());
            for step in 1..=3 {
                let g = wave(dims, DType::F64, f64::from(step))?;
                optimizer.step(std::slice::from_ref(&g), 0.01)?;
                m = ((m * config.beta1)? + (&g * (1.0 - config.beta1))?)?;
                v = ((v * config.beta2)? + (g.sqr()? * (1.0 - config.beta2))?)?;
                let m_hat = (&m / (1.0 - config.beta1.powi(step)))?;
                let v_hat = (&v / (1.0 - config.beta2.powi(step)))?;
                let decay = if dims.len() > 1 { config.weight_decay } else { 0.0 };
                expected = ((&expected * (1.0 - 0.01 * decay))? - (m_hat / (v_hat.sqrt()? + config.eps)?)? * 0.01)?;
            }
            assert_close(&w.as_detached_tensor(), &expected, 1e-12)?;
            assert_eq!(optimizer.num_steps(), 3);
        }
        Ok(())
    }

    #[test]
    fn a_wrong_gradient_changes_nothing() -> Result<()> {
        let w = Var::new(&[1f32, 2.0], &Device::Cpu)?;
        let view = w.as_detached_tensor();
        let mut optimizer = AdamW::new(vec![("w".to_owned(), w)], AdamWConfig::default())?;
        assert!(optimizer.step(&[Tensor::new(&[1f32], &Device::Cpu)?], 0.1).is_err());
        assert!(optimizer.step(&[], 0.1).is_err());
        assert_eq!((view.to_vec1::<f32>()?, optimizer.num_steps()), (vec![1.0, 2.0], 0));
        optimizer.step(&[Tensor::new(&[1f32, 1.0], &Device::Cpu)?], 0.1)?;
        assert_ne!(view.to_vec1::<f32>()?, [1.0, 2.0]);
        Ok(())
    }
}
