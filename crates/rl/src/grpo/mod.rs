//! GRPO update: advantages, clipped policy-gradient loss, gradient accumulation, optimizer steps.
//!
//! Blind to algorithms: what arrives here are [`TrainingSample`]s, token ids with a stream of per-token numbers. Which
//! system they come from, and how their advantages were made, is the business of [`crate::objectives`].
//!
//! * [`advantage`]: rewards of a group to advantages
//! * [`loss`]: the clipped objective, its value and its gradient a token
//! * [`update`]: gradients of a set of samples
//! * [`trainer`]: the optimizer steps on a batch of samples

pub mod advantage;
pub mod loss;
pub mod trainer;
pub mod update;

/// One prompt, the response sampled for it, and what training needs to know of each response token.
///
/// ```
/// use memtrain_rl::grpo::TrainingSample;
/// let sample = TrainingSample {
///     prompt_ids: vec![1, 2, 3],
///     response_ids: vec![4, 5],
///     sampler_log_probs: Some(vec![-0.5, -1.5]),
///     old_log_probs: None,
///     reference_log_probs: None,
///     advantages: vec![0.25; 2],
/// };
/// assert_eq!(sample.response_ids.len(), sample.advantages.len());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSample {
    /// Token ids the policy was shown.
    pub prompt_ids: Vec<u32>,
    /// Token ids the sampler drew, exactly.
    pub response_ids: Vec<u32>,
    /// Log-probabilities as the sampler that drew them gave them, where it did.
    pub sampler_log_probs: Option<Vec<f32>>,
    /// Log-probabilities under the policy before the step, what ratios are taken to; without them the policy is its own
    /// old one and every ratio is 1.
    pub old_log_probs: Option<Vec<f32>>,
    /// Log-probabilities under the frozen reference, where a KL penalty asks for them.
    pub reference_log_probs: Option<Vec<f32>>,
    /// Advantage of each response token.
    pub advantages: Vec<f32>,
}
