//! Memory and compute plan of a run: pure arithmetic on a configuration, before anything is loaded.
//!
//! * [`memory`]: bytes a tensor class, by the phase of a step in which they exist
//! * [`compute`]: floating-point operations of a step
//!
//! Letters as in [`memtrain_kernels::nn`]: `N` tokens of a packed batch, `R` scored rows, `d` model width, `H` query heads, `K`
//! key/value heads, `D` head width, `F` feed-forward width, `V` vocabulary, `L` layers, `P` parameters.

pub mod compute;
pub mod memory;

pub use compute::{ComputePlan, Conversations};
pub use memory::{Class, MemoryPlan, Place};

use crate::optim::{MomentType, owners};
use crate::policy::{LoraConfig, PolicyConfig, Precision};

/// Where the arithmetic is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// This machine's processor: activations in f32, everything in one memory.
    Cpu,
    /// A card: activations in the type of the weights, its own memory beside the host's.
    Card,
}

/// What a plan is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Shape of the policy.
    pub policy: PolicyConfig,
    /// Type of the trained weights.
    pub precision: Precision,
    /// Adapters instead of the weights.
    pub lora: Option<LoraConfig>,
    /// Type of the moments.
    pub moments: MomentType,
    /// Moments live in the host's memory.
    pub offload_moments: bool,
    /// A frozen reference is needed (β > 0).
    pub reference: bool,
    /// Inputs of layers are kept, the rest is computed again.
    pub activation_checkpointing: bool,
    /// Layers that keep their activations all the same, where a card has passes for that ([`memory::kept_layers`] says how many
    /// fit).
    pub kept_layers: usize,
    /// Most tokens `N` of a forward and backward pass.
    pub micro_batch_tokens: usize,
    /// Most scored rows `R` of a pass.
    pub scored_rows: usize,
    /// Longest sequence in tokens.
    pub context_tokens: usize,
    /// Sequences whose keys and values are cached at one time, each as long as the context
    /// ([`memory::live_sequences`] says how many fit); 0 where nothing is sampled.
    pub live_sequences: usize,
    /// Where it runs.
    pub device: Device,
    /// Processes that train together, each with such a device.
    pub ranks: usize,
}

/// Bytes of a gibibyte.
pub const GIB: f64 = (1u64 << 30) as f64;

impl Setting {
    /// Bytes of a stored weight.
    pub(crate) fn weight_bytes(&self) -> u64 {
        match self.precision {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        }
    }

    /// Bytes of an activation: the CPU computes in f32 whatever the weights are.
    pub(crate) fn activation_bytes(&self) -> u64 {
        match (self.device, self.precision) {
            (Device::Card, Precision::Bf16) => 2,
            _ => 4,
        }
    }

    /// Layers that keep their activations in a pass of a card's own; nothing where it goes by the tape.
    pub(crate) fn kept_in_card_pass(&self) -> Option<u64> {
        let is_taken = self.device == Device::Card && self.precision == Precision::Bf16 && self.policy.has_card_pass();
        let layers = self.policy.num_hidden_layers;
        let kept = if self.activation_checkpointing { self.kept_layers.min(layers) } else { layers };
        is_taken.then_some(kept as u64)
    }

    /// Trained parameters: all, or those of the adapters.
    pub(crate) fn num_trained(&self) -> u64 {
        match &self.lora {
            None => self.policy.num_parameters() as u64,
            Some(lora) => self.policy.num_hidden_layers as u64 * self.num_adapter_parameters_of_a_layer(lora),
        }
    }

    /// Trained parameters whose masters and moments one rank keeps: of the rank with the most.
    pub(crate) fn num_owned(&self) -> u64 {
        let ranks = self.ranks.max(1);
        if ranks == 1 || self.lora.is_some() {
            return self.num_trained().div_ceil(ranks as u64);
        }
        let shapes = self.policy.tensor_shapes();
        let elements: Vec<usize> = shapes.iter().map(|(_, shape)| shape.iter().product()).collect();
        let mut loads = vec![0_u64; ranks];
        owners(&elements, ranks).into_iter().zip(elements).for_each(|(rank, elements)| loads[rank] += elements as u64);
        loads.into_iter().max().unwrap_or(0)
    }

    /// Parameters of the adapters of one layer.
    fn num_adapter_parameters_of_a_layer(&self, lora: &LoraConfig) -> u64 {
        let sizes = lora.targets.iter().map(|target| {
            let (out, width) = self.policy.matrix_shape(*target);
            (lora.rank * (out + width)) as u64
        });
        sizes.sum()
    }

    /// Parameters of one layer, the adapters left out.
    pub(crate) fn num_layer_parameters(&self) -> u64 {
        self.policy.num_layer_parameters() as u64
    }

    /// Trained parameters of one layer.
    pub(crate) fn num_trained_of_a_layer(&self) -> u64 {
        match &self.lora {
            None => self.num_layer_parameters(),
            Some(lora) => self.num_adapter_parameters_of_a_layer(lora),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::preset;

    #[test]
    fn ranks_share_masters_and_moments_and_nothing_else() {
        let policy = preset::by_name("qwen3-4b", 0).unwrap();
        let alone = Setting {
            policy,
            precision: Precision::Bf16,
            lora: None,
            moments: MomentType::F32,
            offload_moments: false,
            reference: false,
            activation_checkpointing: true,
            kept_layers: 0,
            micro_batch_tokens: 8_192,
            scored_rows: 1_024,
            context_tokens: 8_192,
            live_sequences: 8,
            device: Device::Card,
            ranks: 1,
        };
        let whole = MemoryPlan::new(&alone);
        let parameters = alone.num_trained();
        for ranks in [2, 4, 8] {
            let plan = MemoryPlan::new(&Setting { ranks, ..alone.clone() });
            let owned = plan.bytes_of("masters") / 4;
            // The matrices of a layer are small beside what a rank keeps: all keep nearly as much.
            assert!(owned >= parameters / ranks as u64 && owned < parameters * 21 / (20 * ranks as u64), "{owned}");
            assert_eq!(plan.bytes_of("moments"), 8 * owned);
            assert_eq!(plan.bytes_of("gradients of all ranks"), 4 * owned);
            let shared = ["masters", "moments", "gradients of all ranks"];
            let rest = |plan: &MemoryPlan| -> Vec<Class> {
                plan.classes.iter().filter(|class| !shared.contains(&class.name)).cloned().collect()
            };
            assert_eq!(rest(&plan), rest(&whole));
        }
        // The embedding is kept whole by one of them.
        let many = Setting { ranks: 64, ..alone.clone() };
        assert_eq!(many.num_owned(), (alone.policy.vocab_size * alone.policy.hidden_size) as u64);
        assert_eq!((whole.bytes_of("masters"), whole.bytes_of("gradients of all ranks")), (4 * parameters, 0));
    }
}
