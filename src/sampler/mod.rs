//! How are tokens drawn? Token ids in, token ids and log-probabilities out.
//!
//! [`LocalSampler`] draws with the decoder in this process.

mod cache;
mod cached;
mod draw;
pub mod local;
mod recomputed;

#[cfg(test)]
mod tests;

pub use local::LocalSampler;

/// What a draw is for. Each token's random number is a function of this and its position alone, so a result does not
/// depend on what else is in the batch, on threads or on resuming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DrawAddress {
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

/// How a token is drawn from the policy's distribution.
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

/// Why nothing can be drawn. Requests are counted from 0.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A prompt without tokens.
    #[error("request {request}: the prompt is empty, there is nothing to go on from")]
    EmptyPrompt {
        /// Number of the request.
        request: usize,
    },
    /// A prompt with an id that the policy has no embedding for.
    #[error("request {request}: token id {id} is outside the vocabulary of {vocab_size} ids")]
    OutsideVocabulary {
        /// Number of the request.
        request: usize,
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// Prompt and response would be longer than what the policy is made for.
    #[error(
        "request {request}: {prompt} prompt tokens and up to {response} new ones exceed the policy's {limit} positions"
    )]
    TooLong {
        /// Number of the request.
        request: usize,
        /// Tokens of the prompt.
        prompt: usize,
        /// Most tokens of the response.
        response: usize,
        /// The policy's `max_position_embeddings`.
        limit: usize,
    },
    /// Parameters that make no sense.
    #[error("request {request}: {detail}")]
    Params {
        /// Number of the request.
        request: usize,
        /// What is wrong.
        detail: String,
    },
    /// A sampler that may draw nothing.
    #[error("the tokenizer has no tokens: nothing can be drawn")]
    NothingAllowed,
    /// The policy gave logits that are no distribution.
    #[error(
        "request {request}: the logits at position {position} of the response are not finite; the weights have diverged"
    )]
    NotFinite {
        /// Number of the request.
        request: usize,
        /// Position in the response.
        position: usize,
    },
}

/// One response to draw.
#[derive(Clone, Debug)]
pub struct SampleRequest {
    /// Prompt token ids; requests with equal prompts share their prefill.
    pub prompt_ids: Vec<u32>,
    /// How to draw.
    pub params: SamplingParams,
    /// What the draw is for.
    pub address: DrawAddress,
}

/// Why a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// A stop token was drawn; it is the last of the response's ids.
    Stop,
    /// The token limit was reached.
    Length,
}

/// One response.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Drawn ids, the stop token included.
    pub token_ids: Vec<u32>,
    /// Log-probability of each drawn id under the policy at the request's temperature (at 1 when greedy), before top-p
    /// and top-k cut the distribution.
    pub log_probs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// Draws responses from a policy.
pub trait Sampler {
    /// Draws one response a request, in the order of the requests.
    ///
    /// # Errors
    /// If the policy cannot be evaluated, or a prompt is empty or holds an id outside the vocabulary.
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>>;
}
