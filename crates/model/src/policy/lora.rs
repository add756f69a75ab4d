//! Low-rank adapters: `y = W x + scale B A x`, with `A` `[r, in]`, `B` `[out, r]` and `scale = alpha / r`.
//!
//! Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1. Only the adapters are
//! trained and kept: gradients, optimizer state and checkpoints are theirs alone, and without them the decoder is the
//! reference. Adapters stay in f32 whatever the type of the weights.

use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

/// A matrix of a layer that can carry an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// Queries.
    #[serde(rename = "q_proj")]
    Q,
    /// Keys.
    #[serde(rename = "k_proj")]
    K,
    /// Values.
    #[serde(rename = "v_proj")]
    V,
    /// Output of the attention.
    #[serde(rename = "o_proj")]
    O,
    /// Gate of the feed-forward.
    #[serde(rename = "gate_proj")]
    Gate,
    /// Feed-forward, upwards.
    #[serde(rename = "up_proj")]
    Up,
    /// Feed-forward, downwards.
    #[serde(rename = "down_proj")]
    Down,
}

impl Target {
    /// All of them, in the order of a layer.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Hugging Face name of the module.
    pub fn module(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// Path of the module inside a layer.
    pub fn path(self) -> String {
        let part = match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        };
        format!("{part}.{}", self.module())
    }
}

/// Which matrices get adapters, and how large. There is no dropout: rollouts and updates must be of the same policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank `r`. Default 16, TRL's.
    pub rank: usize,
    /// The adapter is scaled by `alpha / rank`. Default 32, TRL's.
    pub alpha: f64,
    /// The matrices. Default all seven of a layer (QLoRA §4: adapters everywhere are needed to match full training).
    pub targets: Vec<Target>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, targets: Target::ALL.to_vec() }
    }
}

/// The adapter of one matrix.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// `[r, in]`.
    pub a: Tensor,
    /// `[out, r]`.
    pub b: Tensor,
    /// What the product of both is multiplied by.
    pub scale: f64,
}

impl Adapter {
    /// `weight + scale B A`: in f32, rounded once to `dtype`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn added_to(&self, weight: &Tensor, dtype: DType) -> Result<Tensor> {
        let (a, b) = (self.a.detach().to_dtype(DType::F32)?, self.b.detach().to_dtype(DType::F32)?);
        let delta = (b.matmul(&a)? * self.scale)?;
        (weight.detach().to_dtype(DType::F32)? + delta)?.to_dtype(dtype)
    }
}

/// The adapters of one layer.
#[derive(Clone, Debug, Default)]
pub struct Adapters([Option<Adapter>; Target::ALL.len()]);

impl Adapters {
    /// The adapter of a matrix, if it has one.
    pub fn get(&self, target: Target) -> Option<&Adapter> {
        self.0[target as usize].as_ref()
    }

    /// Gives a matrix an adapter.
    pub fn set(&mut self, target: Target, adapter: Adapter) {
        self.0[target as usize] = Some(adapter);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Names inside the layer, `self_attn.q_proj.lora_A.weight` and so on, with the tensors.
    pub(super) fn named(&self) -> Vec<(String, &Tensor)> {
        let of = |target: Target| Some((target, self.get(target)?));
        let pairs = Target::ALL.into_iter().filter_map(of);
        pairs
            .flat_map(|(target, adapter)| {
                let name = |letter: char| format!("{}.lora_{letter}.weight", target.path());
                [(name('A'), &adapter.a), (name('B'), &adapter.b)]
            })
            .collect()
    }

    pub(super) fn map(&self, change: &impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let mut changed = Self::default();
        for target in Target::ALL {
            if let Some(Adapter { a, b, scale }) = self.get(target) {
                changed.set(target, Adapter { a: change(a)?, b: change(b)?, scale: *scale });
            }
        }
        Ok(changed)
    }
}
