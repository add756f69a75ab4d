//! AdamW: `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, then
//! `w = w (1 - lr * decay) - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`.
//!
//! Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2, without the schedule factor
//! on the decay (as PyTorch does it). Matrices decay; norms and biases, which have one dimension, do not.
//!
//! Parameters of 16 bits are the rounded copies of f32 masters that the optimizer keeps: an update of 1e-6 is far below
//! the spacing of bf16 numbers, 1.2e-4 at 0.02, and would be lost. After each step the copies are refreshed in place.
//!
//! Moments are f32 or bf16. In bf16 they are rounded stochastically, up or down with the probability that makes the mean
//! right: to the nearest, a second moment that decays by 0.1 % a step would never move. Draws are addressed by step,
//! parameter and place, so results do not depend on threads and resuming is exact.

use candle_core::{CpuStorage, DType, Device, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};
use half::bf16;
use memtrain_corpora::rng;
use rand::RngCore;
use rayon::prelude::*;

use super::ranks::Ranks;

/// Elements one task updates.
const TASK: usize = 16_384;

/// The type of the moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentType {
    /// 8 bytes a parameter for both.
    #[default]
    F32,
    /// 4 bytes a parameter for both, rounded stochastically.
    Bf16,
}

/// The constants of AdamW. Defaults are PyTorch's, as TRL and verl use them; the paper is silent.
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
    /// Type of the moments (f64 parameters have f64 moments whatever this says).
    pub moments: MomentType,
    /// Keeps the moments in the host's memory: they visit the device once a step.
    pub offload_moments: bool,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            moments: MomentType::F32,
            offload_moments: false,
        }
    }
}

/// The optimizer with its moments, and with f32 masters of 16-bit parameters.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use memtrain_model::optim::{AdamW, AdamWConfig};
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
    pub(super) ranks: Ranks,
    /// Numbers of the parameters that this rank owns: masters and moments are theirs, in this order.
    pub(super) owned: Vec<usize>,
    /// Of parameters of 16 bits.
    pub(super) masters: Vec<Option<Tensor>>,
    pub(super) first: Vec<Tensor>,
    pub(super) second: Vec<Tensor>,
    pub(super) num_steps: u64,
    config: AdamWConfig,
}

impl AdamW {
    /// An optimizer whose moments are zero. Updates are written into the variables' storage, so that every decoder that
    /// shares it sees them. Masters of 16-bit parameters start from their values; [`Self::set_masters`] knows better.
    ///
    /// # Errors
    /// If the device refuses the moments.
    pub fn new(parameters: Vec<(String, Var)>, config: AdamWConfig) -> Result<Self> {
        let ranks = Ranks::single(parameters.len());
        Self::across(parameters, config, ranks)
    }

    /// As [`Self::new`] on each of `ranks`, which keep masters and moments of the parameters that they own.
    ///
    /// # Errors
    /// If the device refuses the moments.
    pub fn across(parameters: Vec<(String, Var)>, config: AdamWConfig, ranks: Ranks) -> Result<Self> {
        let owned = ranks.owned();
        let zeros =
            || owned.iter().map(|&number| zero_moment(&parameters[number].1, &config)).collect::<Result<Vec<_>>>();
        let (first, second) = (zeros()?, zeros()?);
        let master = |&number: &usize| match &parameters[number].1 {
            parameter if is_narrow(parameter) => parameter.as_detached_tensor().to_dtype(DType::F32).map(Some),
            _ => Ok(None),
        };
        let masters = owned.iter().map(master).collect::<Result<_>>()?;
        Ok(Self { parameters, ranks, owned, masters, first, second, num_steps: 0, config })
    }

    /// Gives 16-bit parameters the masters that they were rounded from, by name, and rounds them again. The optimizer
    /// writes into the storage of what it is given. Masters of parameters that other ranks own are passed over.
    ///
    /// # Errors
    /// If a master is missing or has another shape; parameters that need none are passed over.
    pub fn set_masters(&mut self, masters: &[(String, Tensor)]) -> Result<()> {
        for place in 0..self.owned.len() {
            let (name, parameter) = &self.parameters[self.owned[place]];
            if !is_narrow(parameter) {
                continue;
            }
            let Some((_, master)) = masters.iter().find(|(own, _)| own == name) else {
                candle_core::bail!("adamw: no master of `{name}`");
            };
            self.set_master(place, master.detach().to_dtype(DType::F32)?.contiguous()?)?;
        }
        Ok(())
    }

    /// Gives the owned parameter at `place` the master that it was rounded from, and rounds it again.
    pub(super) fn set_master(&mut self, place: usize, master: Tensor) -> Result<()> {
        let parameter = &self.parameters[self.owned[place]].1;
        parameter.set(&master.to_dtype(parameter.dtype())?)?;
        self.masters[place] = Some(master);
        Ok(())
    }

    /// The variables it moves, with their names.
    pub fn parameters(&self) -> &[(String, Var)] {
        &self.parameters
    }

    /// The ranks that share the work.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Steps taken.
    pub fn num_steps(&self) -> u64 {
        self.num_steps
    }

    /// One step with gradients in the order of the parameters that this rank owns, which are all where it is alone, at learning
    /// rate `lr`. Gradients have the type of the parameters, or f32 for those of 16 bits. All ranks have the new weights then.
    ///
    /// # Errors
    /// If a gradient is missing or has another shape, and nothing is changed then; or if a rank is gone.
    pub fn step(&mut self, gradients: &[Tensor], lr: f64) -> Result<()> {
        self.step_owned(gradients, lr)?;
        self.ranks.gather_weights(&self.parameters)
    }

    fn step_owned(&mut self, gradients: &[Tensor], lr: f64) -> Result<()> {
        if gradients.len() != self.owned.len() {
            candle_core::bail!("adamw: {} gradients for {} parameters", gradients.len(), self.owned.len());
        }
        for (place, gradient) in gradients.iter().enumerate() {
            let (name, parameter) = &self.parameters[self.owned[place]];
            let dtype = self.masters[place].as_ref().map_or(parameter.dtype(), Tensor::dtype);
            if parameter.shape() != gradient.shape() || dtype != gradient.dtype() {
                let (expected, got) = (parameter.shape(), gradient.shape());
                candle_core::bail!(
                    "adamw: gradient of `{name}`: {dtype:?} {expected:?} expected, got {:?} {got:?}",
                    gradient.dtype()
                );
            }
        }
        self.num_steps += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay, .. } = self.config;
        let steps = self.num_steps as f64;
        let (correction1, correction2) = (1.0 - beta1.powf(steps), 1.0 - beta2.powf(steps));
        #[cfg(feature = "cuda")]
        if self.is_fused() {
            let steps = memtrain_kernels::cuda::AdamWStep {
                step: self.num_steps,
                beta1,
                beta2,
                keep: 1.0 - lr * weight_decay,
                rate: lr / correction1,
                root_correction: 1.0 / correction2.sqrt(),
                eps,
            };
            return self.step_fused(gradients, &steps);
        }
        for (place, gradient) in gradients.iter().enumerate() {
            let decay = if self.parameters[self.owned[place]].1.rank() >= 2 { weight_decay } else { 0.0 };
            let update = Update {
                keep: 1.0 - lr * decay,
                rate: lr / correction1,
                root_correction: 1.0 / correction2.sqrt(),
                eps,
            };
            self.step_one(place, &gradient.detach(), &update)?;
        }
        Ok(())
    }

    /// Whether the card's kernel takes all parameters with their moments.
    #[cfg(feature = "cuda")]
    fn is_fused(&self) -> bool {
        let weights = self.owned.iter().zip(&self.masters).zip(&self.first);
        !self.config.offload_moments
            && weights.into_iter().all(|((&number, master), first)| {
                let parameter = &self.parameters[number].1;
                let rounded = master.is_some().then_some(parameter.as_tensor());
                memtrain_kernels::cuda::has_adamw(master.as_ref().unwrap_or(parameter), rounded, first)
            })
    }

    /// The step of all parameters in one launch.
    #[cfg(feature = "cuda")]
    fn step_fused(&mut self, gradients: &[Tensor], step: &memtrain_kernels::cuda::AdamWStep) -> Result<()> {
        let gradients = gradients.iter().map(Tensor::contiguous).collect::<Result<Vec<_>>>()?;
        let mut tensors = Vec::with_capacity(gradients.len());
        for (place, &number) in self.owned.iter().enumerate() {
            let (parameter, master) = (&self.parameters[number].1, self.masters[place].as_ref());
            tensors.push(memtrain_kernels::cuda::AdamWTensor {
                weight: master.unwrap_or(parameter),
                rounded: master.map(|_| parameter.as_tensor()),
                gradient: &gradients[place],
                first: &self.first[place],
                second: &self.second[place],
                parameter: number,
                decays: parameter.rank() >= 2,
            });
        }
        memtrain_kernels::cuda::adamw(&tensors, step)
    }

    fn step_one(&mut self, place: usize, gradient: &Tensor, update: &Update) -> Result<()> {
        let number = self.owned[place];
        let parameter = &self.parameters[number].1;
        let device = parameter.device();
        let weight = self.masters[place].clone().unwrap_or_else(|| parameter.as_detached_tensor());
        // Where they are on the device already, this is the same storage.
        let (mut first, mut second) = (self.first[place].to_device(device)?, self.second[place].to_device(device)?);
        let AdamWConfig { beta1, beta2, .. } = self.config;
        if device.is_cpu() && matches!(weight.dtype(), DType::F32 | DType::F64) {
            let gradient = gradient.contiguous()?;
            let moment = |beta: f64, square: bool| Moment { beta, square, address: [self.num_steps, number as u64] };
            first.inplace_op2(&gradient, &moment(beta1, false))?;
            second.inplace_op2(&gradient, &moment(beta2, true))?;
            weight.inplace_op3(&first, &second, update)?;
            if self.masters[place].is_some() {
                parameter.set(&weight.to_dtype(parameter.dtype())?)?;
            }
        } else {
            let (moment, wide) = (first.dtype(), weight.dtype());
            first = ((first.to_dtype(wide)? * beta1)? + (gradient * (1.0 - beta1))?)?;
            second = ((second.to_dtype(wide)? * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
            let moved = update.composed(&weight, &first, &second)?;
            parameter.set(&moved.to_dtype(parameter.dtype())?)?;
            if self.masters[place].is_some() {
                self.masters[place] = Some(moved);
            }
            (first, second) = (first.to_dtype(moment)?, second.to_dtype(moment)?);
        }
        let home = if self.config.offload_moments { &Device::Cpu } else { device };
        (self.first[place], self.second[place]) = (first.to_device(home)?, second.to_device(home)?);
        Ok(())
    }
}

pub(super) fn is_narrow(tensor: &Tensor) -> bool {
    matches!(tensor.dtype(), DType::BF16 | DType::F16)
}

/// A moment of zeros, of the type and in the place that the configuration says.
fn zero_moment(parameter: &Var, config: &AdamWConfig) -> Result<Tensor> {
    let device = if config.offload_moments { &Device::Cpu } else { parameter.device() };
    Tensor::zeros(parameter.shape(), moment_type(parameter, config.moments), device)
}

fn moment_type(parameter: &Var, moments: MomentType) -> DType {
    match (parameter.dtype(), moments) {
        (DType::F64, _) => DType::F64,
        (_, MomentType::F32) => DType::F32,
        (_, MomentType::Bf16) => DType::BF16,
    }
}

impl AdamW {
    /// The type that the moments of parameter `number` have.
    pub(super) fn moment_type(&self, number: usize) -> DType {
        moment_type(&self.parameters[number].1, self.config.moments)
    }

    /// Where the moments of parameter `number` live.
    pub(super) fn moment_device(&self, number: usize) -> &Device {
        if self.config.offload_moments { &Device::Cpu } else { self.parameters[number].1.device() }
    }
}

struct Moment {
    beta: f64,
    square: bool,
    /// Step and parameter: what the draws of stochastic rounding are for.
    address: [u64; 2],
}

impl Moment {
    /// The update of a bf16 moment, in f32 and rounded stochastically.
    fn bf16(&self, state: &mut [bf16], gradient: &[f32]) {
        let (beta, rest) = (self.beta as f32, (1.0 - self.beta) as f32);
        let [step, parameter] = self.address;
        let tasks = state.par_chunks_mut(TASK).zip(gradient.par_chunks(TASK)).enumerate();
        tasks.for_each(|(task, (state, gradient))| {
            let address = [step, parameter, u64::from(self.square), task as u64];
            let mut draws = rng::keyed("optim/adamw/moments", 0, &address);
            for (state, gradient) in state.chunks_mut(2).zip(gradient.chunks(2)) {
                let draw = draws.next_u32();
                for ((state, &gradient), draw) in state.iter_mut().zip(gradient).zip([draw as u16, (draw >> 16) as u16])
                {
                    let term = if self.square { gradient * gradient } else { gradient };
                    *state = round_stochastically(beta.mul_add(state.to_f32(), rest * term), draw);
                }
            }
        });
    }
}

/// One of the two neighbours of `value` in bf16: `draw`, uniform over 16 bits, decides so that the mean is `value`.
fn round_stochastically(value: f32, draw: u16) -> bf16 {
    if !value.is_finite() {
        return bf16::from_f32(value);
    }
    // The low half of the bits is the distance to the lower neighbour in 65536ths.
    bf16::from_bits((value.to_bits().wrapping_add(u32::from(draw)) >> 16) as u16)
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
            (CpuStorage::BF16(state), CpuStorage::F32(gradient)) => {
                self.bf16(&mut state[to], &gradient[from]);
                Ok(())
            }
            _ => candle_core::bail!("adamw-moment: f32 or f64 expected"),
        }
    }
}

macro_rules! update_kernel {
    ($weight:expr, $first:expr, $second:expr, $update:expr, $T:ty, $widen:expr) => {{
        let Update { keep, rate, root_correction, eps } = $update;
        let (keep, rate, root, eps) = (*keep as $T, *rate as $T, *root_correction as $T, *eps as $T);
        let moments = $first.par_chunks(TASK).zip($second.par_chunks(TASK));
        $weight.par_chunks_mut(TASK).zip(moments).for_each(|(weight, (first, second))| {
            for ((w, &m), &v) in weight.iter_mut().zip(first).zip(second) {
                let (m, v) = ($widen(m), $widen(v));
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
                update_kernel!(weight[to], first[m], second[v], self, f32, std::convert::identity)
            }
            (CpuStorage::F64(weight), CpuStorage::F64(first), CpuStorage::F64(second)) => {
                update_kernel!(weight[to], first[m], second[v], self, f64, std::convert::identity)
            }
            (CpuStorage::F32(weight), CpuStorage::BF16(first), CpuStorage::BF16(second)) => {
                update_kernel!(weight[to], first[m], second[v], self, f32, bf16::to_f32)
            }
            _ => candle_core::bail!("{name}: f32 or f64 expected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use memtrain_kernels::nn::gradient_check::{assert_close, wave};

    #[test]
    fn two_steps_equal_those_by_hand() -> Result<()> {
        let w = Var::new(&[[2.0f64]], &Device::Cpu)?;
        let config = AdamWConfig { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, ..AdamWConfig::default() };
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

    #[test]
    fn updates_below_the_spacing_of_bf16_add_up_in_the_masters() -> Result<()> {
        let start = Tensor::new(&[[0.02f32, -0.5]], &Device::Cpu)?;
        let w = Var::from_tensor(&start.to_dtype(DType::BF16)?)?;
        let view = w.as_detached_tensor();
        let mut optimizer =
            AdamW::new(vec![("w".to_owned(), w)], AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() })?;
        optimizer.set_masters(&[("w".to_owned(), start.copy()?)])?;
        let gradient = [Tensor::new(&[[1f32, -1.0]], &Device::Cpu)?];
        for _ in 0..1000 {
            optimizer.step(&gradient, 1e-6)?;
        }
        // 1,000 steps of 1e-6 against the sign: 0.019 and -0.499, of which the view holds the nearest bf16 numbers.
        let expected = Tensor::new(&[[0.019f32, -0.499]], &Device::Cpu)?;
        let masters = optimizer.masters[0].clone().ok_or_else(|| candle_core::Error::msg("no master"))?;
        // f32 itself rounds each update at 0.5 by up to 1.3 %.
        assert_close(&masters, &expected, 2e-5)?;
        assert_close(&view.to_dtype(DType::F32)?, &expected.to_dtype(DType::BF16)?.to_dtype(DType::F32)?, 0.0)?;
        assert!(optimizer.set_masters(&[]).is_err());
        assert!(optimizer.step(&[gradient[0].to_dtype(DType::BF16)?], 1e-6).is_err());
        Ok(())
    }

    /// The first words of step 1, parameter 0, first moment, first task, as the kernel for cards has them in its tests
    /// (`crates/kernels/cuda/pointwise/test_optimizer.h`): a run that moves to a card goes on with the same draws.
    #[test]
    fn draws_are_those_of_the_kernel_for_cards() {
        let mut draws = rng::keyed("optim/adamw/moments", 0, &[1, 0, 0, 0]);
        assert_eq!([(); 4].map(|()| draws.next_u32()), [2501143924, 3038160915, 1372872456, 1985204928]);
    }

    #[test]
    fn stochastic_rounding_is_right_on_average_and_exact_where_it_can_be() {
        let value = 1.0f32 + 0.3 / 128.0;
        let mean = (0..=u16::MAX).map(|draw| f64::from(round_stochastically(value, draw).to_f32())).sum::<f64>();
        assert!((mean / 65_536.0 - f64::from(value)).abs() < 1e-6, "{mean}");
        for exact in [0.0f32, 1.0, -0.5, f32::INFINITY] {
            assert_eq!(round_stochastically(exact, 65_535).to_f32(), exact);
        }
        assert!(round_stochastically(f32::NAN, 3).is_nan());
        let negative = round_stochastically(-value, 40_000).to_f32();
        assert!(negative == -1.0 || negative == -1.007_812_5, "{negative}");
    }

    #[test]
    fn moments_of_16_bits_follow_those_of_32_and_offloading_changes_nothing() -> Result<()> {
        let run = |moments: MomentType, offload_moments: bool| -> Result<Vec<f32>> {
            let w = Var::from_tensor(&wave(&[60, 50], DType::F32, 1.0)?)?;
            let config = AdamWConfig { moments, offload_moments, beta2: 0.999, ..AdamWConfig::default() };
            let mut optimizer = AdamW::new(vec![("w".to_owned(), w.clone())], config)?;
            for step in 0..50 {
                optimizer.step(&[wave(&[60, 50], DType::F32, 0.01 * f64::from(1 + step % 5))?], 1e-3)?;
            }
            w.flatten_all()?.to_vec1()
        };
        let (wide, narrow) = (run(MomentType::F32, false)?, run(MomentType::Bf16, false)?);
        assert_eq!(run(MomentType::F32, true)?, wide);
        assert_eq!(run(MomentType::Bf16, true)?, narrow);
        assert_ne!(narrow, wide);
        // How far the weights went differs by a percent or so on average, and not systematically.
        let start: Vec<f32> = wave(&[60, 50], DType::F32, 1.0)?.flatten_all()?.to_vec1()?;
        let way: f32 = wide.iter().zip(&start).map(|(w, s)| (w - s).abs()).sum();
        let apart: f32 = narrow.iter().zip(&wide).map(|(a, b)| (a - b).abs()).sum();
        assert!(apart < 0.03 * way, "{apart} of {way}");
        Ok(())
    }
}
