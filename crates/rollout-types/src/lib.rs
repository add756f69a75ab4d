//! Data types shared by engine, records and agents: sampling requests, responses, RNG keys, kinds of turns.
//!
//! Data alone: no model, no sampler, no file.

use serde::{Deserialize, Serialize};

/// Key of the random numbers of a response, in the manner of JAX's `fold_in`: each token's random number is a function
/// of this and its position alone, so a result does not depend on what else is in the batch, on threads or on resuming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RngKey {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer step (or a constant of its own for evaluation).
    pub step: u64,
    /// Document number.
    pub document: u64,
    /// Rollout number inside the document's group.
    pub rollout: u64,
    /// Turn number, recall samples counted on after the reader's turns.
    pub turn: u64,
}

/// How a token is sampled from the policy's distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus: the smallest set of most probable tokens whose probability reaches this; 1 keeps all.
    pub top_p: f64,
    /// Number of most probable tokens kept; 0 keeps all.
    pub top_k: usize,
    /// Longest response in tokens, the stop token counted.
    pub max_tokens: usize,
}

impl SamplingParams {
    /// Checks that the values make sense.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(format!("temperature {} is not a finite number of at least 0", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(format!("top-p {} is not in (0, 1]", self.top_p));
        }
        if self.max_tokens == 0 {
            return Err("max tokens 0: at least one token is drawn".to_owned());
        }
        Ok(())
    }
}

/// One response to sample.
#[derive(Clone, Debug)]
pub struct SampleRequest {
    /// Prompt token ids; requests with equal prompts share their prefill.
    pub prompt_ids: Vec<u32>,
    /// How to sample.
    pub params: SamplingParams,
    /// Key of its random numbers.
    pub rng_key: RngKey,
}

/// Why a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// A stop token was sampled; it is the last of the response's ids.
    Stop,
    /// The token limit was reached.
    Length,
}

/// One response.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Sampled ids, the stop token included.
    pub token_ids: Vec<u32>,
    /// Log-probability of each sampled id under the policy at the request's temperature (at 1 when greedy), before
    /// top-p and top-k cut the distribution.
    pub log_probs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// What a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutKind {
    /// A chunk is read and the memory written anew.
    Read,
    /// The question of the document is answered from the memory.
    Answer,
    /// The question of an intermediate recall is answered from a memory.
    Recall,
    /// Thoughts are written down and something is searched for.
    Search,
    /// A chunk is read and a bank written by function calls.
    Write,
}

impl RolloutKind {
    /// All kinds.
    pub const ALL: [RolloutKind; 5] =
        [RolloutKind::Read, RolloutKind::Answer, RolloutKind::Recall, RolloutKind::Write, RolloutKind::Search];

    /// Whether a text is read in it and a memory of it written.
    pub const fn is_reading(self) -> bool {
        matches!(self, RolloutKind::Read | RolloutKind::Write)
    }

    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            RolloutKind::Read => "read",
            RolloutKind::Answer => "answer",
            RolloutKind::Recall => "recall",
            RolloutKind::Write => "write",
            RolloutKind::Search => "search",
        }
    }
}
