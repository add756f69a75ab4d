//! Configuration of the optimizer.

use memtrain_model::optim::{AdamWConfig, Decay, MomentType, Schedule};
use serde::{Deserialize, Serialize};

/// AdamW and its learning rate. Defaults: MemTrain §4.1 for the rate; the paper is silent on the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Peak learning rate. MemTrain §4.1: 1e-6.
    pub learning_rate: f64,
    /// Steps of linear warm-up. MemAgent's 20.
    pub warmup_steps: u64,
    /// What follows the warm-up.
    pub decay: Decay,
    /// Factor of the learning rate at the end of the decay.
    pub last_factor: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment. PyTorch's 0.999, as TRL and verl use it.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay of matrices. verl's 0.01.
    pub weight_decay: f64,
    /// Type of the moments: `f32`, PyTorch's, or `bf16`, rounded stochastically, for half the memory.
    pub moments: MomentType,
    /// Keeps the moments in the host's memory instead of the device's (ZeRO-Offload, Ren et al. 2021).
    pub offload_moments: bool,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        let AdamWConfig { beta1, beta2, eps, weight_decay, moments, offload_moments } = AdamWConfig::default();
        Self {
            learning_rate: 1e-6,
            warmup_steps: 20,
            decay: Decay::Constant,
            last_factor: 0.0,
            beta1,
            beta2,
            eps,
            weight_decay,
            moments,
            offload_moments,
        }
    }
}

impl OptimizerConfig {
    /// The constants of AdamW.
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.weight_decay,
            moments: self.moments,
            offload_moments: self.offload_moments,
        }
    }

    /// Learning rate of `step` of `total_steps`, steps counted from 1.
    pub fn learning_rate(&self, step: u64, total_steps: u64) -> f64 {
        let schedule =
            Schedule { warmup_steps: self.warmup_steps, total_steps, decay: self.decay, last_factor: self.last_factor };
        self.learning_rate * schedule.factor(step.saturating_sub(1))
    }
}
