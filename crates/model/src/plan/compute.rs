//! Floating-point operations of a step: a multiplication and an addition are two.
//!
//! Matrix products and attention are counted, elementwise work is not, as in PaLM's appendix B (Chowdhery et al. 2022),
//! but with attention over the keys that are really seen, and on scored rows alone the head and, but for a card's own pass,
//! what follows the last layer's attention.

use super::Setting;
use crate::policy::Target;

/// Conversations of one kind in a step: all of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversations {
    /// What they are.
    pub name: &'static str,
    /// How many.
    pub count: u64,
    /// Tokens of a prompt.
    pub prompt_tokens: u64,
    /// Tokens of a response.
    pub response_tokens: u64,
    /// Conversations that have the same prompt, which is then computed once.
    pub shared_by: u64,
    /// Tokens that more prompts begin with than are equal.
    pub prefix_tokens: u64,
    /// Conversations whose prompts begin with them.
    pub prefix_shared_by: u64,
}

impl Conversations {
    /// Different prompts.
    fn prompts(&self) -> u64 {
        self.count.div_ceil(self.shared_by.max(1))
    }

    /// Different beginnings of prompts.
    fn prefixes(&self) -> u64 {
        self.count.div_ceil(self.prefix_shared_by.max(self.shared_by).max(1))
    }

    /// Tokens that go through the layers when prompts, and what they begin with, are computed once.
    pub fn packed_tokens(&self) -> u64 {
        let own = self.prompt_tokens - self.prefix_tokens.min(self.prompt_tokens);
        self.prefixes() * (self.prompt_tokens - own) + self.prompts() * own + self.count * self.response_tokens
    }

    /// Keys that all tokens together look at.
    fn seen_keys(&self) -> f64 {
        let triangle = |tokens: u64| tokens as f64 * (tokens as f64 + 1.0) / 2.0;
        let prefix = self.prefix_tokens.min(self.prompt_tokens);
        let prefixes = self.prefixes() as f64 * triangle(prefix);
        let prompts = prefixes + self.prompts() as f64 * (triangle(self.prompt_tokens) - triangle(prefix));
        let own = self.response_tokens as f64 * self.prompt_tokens as f64 + triangle(self.response_tokens);
        prompts + self.count as f64 * own
    }
}

/// Operations of the phases of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct ComputePlan {
    /// Reading prompts and drawing responses.
    pub sampling: f64,
    /// Log-probabilities under the old policy, where a pass is made for them.
    pub old_policy: f64,
    /// Log-probabilities under the reference, where there is one.
    pub reference: f64,
    /// The forward pass of the update.
    pub forward: f64,
    /// The backward pass.
    pub backward: f64,
    /// What the backward computes again.
    pub recompute: f64,
    /// Tokens through the layers in the update, shared prompts once.
    pub tokens: u64,
}

impl ComputePlan {
    /// The operations of a step that trains on `conversations` `epochs` times; `old_pass` if the old policy is scored.
    pub fn new(setting: &Setting, conversations: &[Conversations], epochs: u64, old_pass: bool) -> Self {
        let forward = Parts::of(setting, conversations);
        let epochs = epochs as f64;
        let all = forward.linear + forward.adapters + forward.attention + forward.head;
        // The gradients of an input and of a weight cost a product each; a frozen weight has none. Attention computes its
        // scores again and makes four products where the forward makes two; the head computes its logits again.
        let weight_gradients = if setting.lora.is_some() { 0.0 } else { 1.0 };
        let backward = forward.linear * (1.0 + weight_gradients)
            + forward.adapters * 2.0
            + forward.attention * 2.5
            + forward.head * (2.0 + weight_gradients);
        let recompute = match (setting.kept_in_card_pass(), setting.activation_checkpointing) {
            (Some(kept), _) => {
                // What the last projection gives is not needed, and the last layer's activations are never lost.
                let layers = setting.policy.num_hidden_layers as f64;
                let share = (layers - 1.0 - kept as f64).max(0.0) / layers;
                share * (forward.linear - forward.down + forward.adapters + forward.attention)
            }
            (None, true) => all - forward.head,
            (None, false) => 0.0,
        };
        Self {
            sampling: all,
            old_policy: if old_pass { all } else { 0.0 },
            reference: if setting.reference { all - forward.adapters } else { 0.0 },
            forward: epochs * all,
            backward: epochs * backward,
            recompute: epochs * recompute,
            tokens: conversations.iter().map(Conversations::packed_tokens).sum(),
        }
    }

    /// Phases with their names, those that do nothing left out.
    pub fn phases(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("sampling", self.sampling),
            ("old policy", self.old_policy),
            ("reference", self.reference),
            ("forward", self.forward),
            ("backward", self.backward),
            ("recompute", self.recompute),
        ];
        all.into_iter().filter(|(_, operations)| *operations > 0.0).collect()
    }

    /// Operations of the step.
    pub fn total(&self) -> f64 {
        self.phases().iter().map(|(_, operations)| operations).sum()
    }

    /// Seconds at a share `mfu` of `peak_tflops` 10¹² operations a second.
    pub fn seconds(operations: f64, mfu: f64, peak_tflops: f64) -> f64 {
        operations / (mfu * peak_tflops * 1e12)
    }
}

/// A forward pass by what is done.
struct Parts {
    linear: f64,
    /// The last projections, a part of `linear`.
    down: f64,
    adapters: f64,
    attention: f64,
    head: f64,
}

impl Parts {
    fn of(setting: &Setting, conversations: &[Conversations]) -> Self {
        let policy = &setting.policy;
        let layers = policy.num_hidden_layers as f64;
        let tokens: f64 = conversations.iter().map(|kind| kind.packed_tokens() as f64).sum();
        let keys: f64 = conversations.iter().map(Conversations::seen_keys).sum();
        let scored: f64 = conversations.iter().map(|kind| (kind.count * kind.response_tokens) as f64).sum();
        let adapters = if setting.lora.is_some() { setting.num_trained() as f64 } else { 0.0 };
        let width = (policy.num_attention_heads * policy.head_dim) as f64;
        let size = |target: Target| {
            let (out, width) = policy.matrix_shape(target);
            (out * width) as f64
        };
        let matrices: f64 = Target::ALL.into_iter().map(size).sum();
        let down = size(Target::Down);
        let after_attention: f64 = [Target::O, Target::Gate, Target::Up, Target::Down].map(size).iter().sum();
        // A card's own pass leaves nothing out.
        let left_out = if setting.kept_in_card_pass().is_some() { 0.0 } else { tokens - scored };
        Self {
            linear: 2.0 * (tokens * layers * matrices - left_out * after_attention),
            down: 2.0 * tokens * layers * down,
            adapters: 2.0 * tokens * adapters,
            // Scores and their sum of values, a multiplication and an addition each.
            attention: 4.0 * keys * layers * width,
            head: 2.0 * scored * (policy.hidden_size * policy.vocab_size) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::MomentType;
    use crate::plan::Device;
    use crate::policy::{LoraConfig, Precision, preset};

    fn setting() -> Setting {
        Setting {
            policy: preset::qwen3_4b(),
            precision: Precision::Bf16,
            lora: None,
            moments: MomentType::F32,
            offload_moments: false,
            reference: false,
            activation_checkpointing: false,
            kept_layers: 0,
            ranks: 1,
            micro_batch_tokens: 8_192,
            scored_rows: 1_024,
            context_tokens: 8_192,
            live_sequences: 1,
            device: Device::Card,
        }
    }

    const ONE: Conversations = Conversations {
        name: "turns",
        count: 1,
        prompt_tokens: 7_168,
        response_tokens: 1_024,
        shared_by: 1,
        prefix_tokens: 0,
        prefix_shared_by: 1,
    };

    #[test]
    fn one_sequence_of_8192_tokens_by_hand() {
        let plan = ComputePlan::new(&setting(), &[ONE], 1, false);
        // Layers of 100.9 million weights, 36 of them, on 8,192 tokens; 8,192 * 8,193 / 2 keys at width 4,096, in 36
        // layers; a head of 2,560 * 151,936 on 1,024 rows.
        let linear = 2.0 * 8_192.0 * 36.0 * (2_560.0 * (2.0 * 4_096.0 + 2.0 * 1_024.0) + 3.0 * 2_560.0 * 9_728.0);
        let attention = 4.0 * 4_096.0 * 36.0 * 8_192.0 * 8_193.0 / 2.0;
        let head = 2.0 * 1_024.0 * 2_560.0 * 151_936.0;
        assert!((plan.forward - (linear + attention + head)).abs() < 1.0);
        assert!((8.0e13..8.3e13).contains(&plan.forward), "{:e}", plan.forward);
        assert_eq!(plan.backward, 2.0 * linear + 2.5 * attention + 3.0 * head);
        assert_eq!((plan.recompute, plan.reference, plan.old_policy), (0.0, 0.0, 0.0));
        assert_eq!(plan.tokens, 8_192);
        assert!((ComputePlan::seconds(plan.forward, 0.5, 100.0) - plan.forward / 5e13).abs() < 1e-9);
    }

    #[test]
    fn passes_and_shared_prompts_count_once_each() {
        let base = setting();
        let full = Setting { activation_checkpointing: true, reference: true, ..base.clone() };
        let (one, more) = (ComputePlan::new(&base, &[ONE], 1, false), ComputePlan::new(&full, &[ONE], 2, true));
        assert_eq!((more.reference, more.old_policy, more.forward), (one.forward, one.forward, 2.0 * one.forward));
        // All layers but the last, without the head and their last projections of 9,728 x 2,560.
        let all = one.forward - 2.0 * 1_024.0 * 2_560.0 * 151_936.0;
        let again = 35.0 / 36.0 * (all - 2.0 * 8_192.0 * 36.0 * 9_728.0 * 2_560.0);
        assert!((more.recompute / (2.0 * again) - 1.0).abs() < 1e-12, "{:e} and {again:e}", more.recompute);
        let kept = ComputePlan::new(&Setting { kept_layers: 35, ..full.clone() }, &[ONE], 2, true);
        assert_eq!(kept.recompute, 0.0);
        // By the tape a whole forward but for the head, and what follows the last layer's attention of 1,024 rows alone.
        let tape = ComputePlan::new(&Setting { precision: Precision::F32, ..full }, &[ONE], 2, true);
        let unscored = 2.0 * 7_168.0 * 2_560.0 * (4_096.0 + 3.0 * 9_728.0);
        assert!((tape.recompute / (2.0 * (all - unscored)) - 1.0).abs() < 1e-12);
        assert_eq!(more.phases().len(), 6);
        let eight = Conversations { count: 8, ..ONE };
        let (apart, shared) = (eight.packed_tokens(), Conversations { shared_by: 8, ..eight }.packed_tokens());
        assert_eq!((apart, shared), (8 * 8_192, 7_168 + 8 * 1_024));
        let of = |kind| ComputePlan::new(&base, &[kind], 1, false).forward;
        assert!(of(Conversations { shared_by: 8, ..eight }) < 0.4 * of(eight));
        // What prompts begin with is between the two: as all of the prompt if it is, as nothing if it is none.
        let begun = |tokens| Conversations { prefix_tokens: tokens, prefix_shared_by: 8, ..eight };
        assert_eq!(begun(6_144).packed_tokens(), 6_144 + 8 * (1_024 + 1_024));
        assert_eq!(of(begun(7_168)), of(Conversations { shared_by: 8, ..eight }));
        assert_eq!(of(begun(0)), of(eight));
        assert!(of(begun(6_144)) < 0.4 * of(eight));
        // Frozen weights cost half of the backward.
        let lora = Setting { lora: Some(LoraConfig::default()), ..base };
        let adapted = ComputePlan::new(&lora, &[ONE], 1, false);
        assert!(adapted.backward < 0.7 * one.backward, "{} of {}", adapted.backward, one.backward);
    }
}
