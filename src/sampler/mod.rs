//! How are tokens drawn? Token ids in, token ids and log-probabilities out.

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
