//! Gradients of the GRPO loss over a set of samples.
//!
//! The loss reaches the policy through the log-probabilities of response tokens alone, so a micro-batch is: forward,
//! read the log-probabilities, work out `∂loss/∂log π` a token, and send that backward
//! ([`memtrain_model::scoring::accumulate`]). Weights of tokens are fixed over the whole step beforehand.

use candle_core::Var;
use memtrain_model::optim::{AdamW, GradientBuffer};
use memtrain_model::policy::decoder::Decoder;
use memtrain_model::scoring::{PassLimits, PromptResponse, ScoredToken, accumulate};

use super::TrainingSample;
use super::loss::{LossConfig, Totals};

/// Clips what was accumulated and takes an optimizer step; returns the norm before clipping. A norm that is not finite
/// moves nothing: one bad batch must not destroy the weights.
///
/// # Errors
/// If the optimizer fails.
pub fn apply(
    optimizer: &mut AdamW,
    gradients: &mut GradientBuffer,
    max_norm: f64,
    learning_rate: f64,
) -> candle_core::Result<f64> {
    let mut sums = gradients.take()?;
    let norm = optimizer.ranks().clip_global_norm(&mut sums, max_norm)?;
    if norm.is_finite() {
        optimizer.step(&sums, learning_rate)?;
    }
    Ok(norm)
}

/// What happened to the tokens of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossStatistics {
    /// The loss: weighted sum over tokens.
    pub loss: f64,
    /// Its part without the KL penalty.
    pub policy_loss: f64,
    /// Mean estimate of the KL divergence to the reference.
    pub kl: f64,
    /// Mean entropy in nats.
    pub entropy: f64,
    /// Mean ratio to the old policy.
    pub ratio: f64,
    /// Share of tokens clipped from below.
    pub clip_low: f64,
    /// Share of tokens clipped from above.
    pub clip_high: f64,
    /// Share of tokens held by the dual clip.
    pub clip_dual: f64,
    /// Mean `r − log r − 1` between trainer and sampler: 0 where both compute the same.
    pub mismatch_kl: f64,
    /// Mean `|log π_old − log π_sampler|`.
    pub sampler_difference: f64,
    /// Largest such difference.
    pub largest_sampler_difference: f64,
    /// Mean importance weight.
    pub importance: f64,
    /// Share of tokens whose importance weight was cut off.
    pub importance_capped: f64,
    /// Response tokens.
    pub tokens: usize,
}

/// Adds the gradients of the GRPO loss over `samples` (all those of one optimizer step), micro-batch by micro-batch while
/// `goes_on` says so.
///
/// # Errors
/// If the forward or backward pass fails, or is given up.
pub fn accumulate_loss(
    decoder: &Decoder,
    parameters: &[(String, Var)],
    samples: &[TrainingSample],
    loss: &LossConfig,
    limits: PassLimits,
    gradients: &mut GradientBuffer,
    goes_on: &dyn Fn() -> bool,
) -> candle_core::Result<LossStatistics> {
    let pairs: Vec<PromptResponse<'_>> = samples.iter().map(TrainingSample::pair).collect();
    let tokens: usize = pairs.iter().map(|pair| pair.response_ids.len()).sum();
    let totals = Totals { samples: samples.len(), tokens };
    let of_token = |scored: ScoredToken| {
        let sample = &samples[scored.sample];
        let given = |log_probs: &Option<Vec<f32>>| log_probs.as_ref().map(|values| f64::from(values[scored.token]));
        let old = given(&sample.old_log_probs).unwrap_or(scored.log_prob);
        let reference = given(&sample.reference_log_probs);
        let sampler = given(&sample.sampler_log_probs);
        let importance = loss.importance(old, sampler);
        let advantage = f64::from(sample.advantages[scored.token]);
        let token = loss.weighted_token(scored.log_prob, old, reference, advantage, importance);
        let weight = loss.token_weight(sample.response_ids.len(), totals);
        (token, weight, importance, old, sampler)
    };
    let tokens_scored = accumulate(decoder, parameters, &pairs, limits, gradients, goes_on, |scored| {
        let (token, weight, ..) = of_token(scored);
        weight * token.gradient
    })?;
    // After the pass, since a rank is given the tokens of the others then.
    let mut sum = LossStatistics { tokens, ..LossStatistics::default() };
    for scored in tokens_scored {
        let (token, weight, importance, old, sampler) = of_token(scored);
        sum.loss += weight * token.loss;
        sum.policy_loss += weight * token.policy_loss;
        sum.kl += token.kl;
        sum.entropy += scored.entropy;
        sum.ratio += token.ratio;
        sum.clip_low += f64::from(u8::from(token.clipped_low));
        sum.clip_high += f64::from(u8::from(token.clipped_high));
        sum.clip_dual += f64::from(u8::from(token.clipped_dual));
        sum.importance += importance;
        if let Some(sampler) = sampler {
            let difference = (old - sampler).abs();
            sum.mismatch_kl += mismatch(scored.log_prob, sampler);
            sum.sampler_difference += difference;
            sum.largest_sampler_difference = sum.largest_sampler_difference.max(difference);
            sum.importance_capped +=
                f64::from(u8::from(loss.importance_cap > 0.0 && importance >= loss.importance_cap));
        }
    }
    let count = tokens.max(1) as f64;
    sum.token_means().into_iter().for_each(|mean| *mean /= count);
    Ok(sum)
}

/// `r − log r − 1` of one token, `r` the ratio of the trainer's probability to the sampler's: an estimate of the KL
/// divergence between the two.
pub fn mismatch(trainer_log_prob: f64, sampler_log_prob: f64) -> f64 {
    let log_ratio = trainer_log_prob - sampler_log_prob;
    log_ratio.exp() - log_ratio - 1.0
}

impl LossStatistics {
    /// The fields that are means over tokens.
    fn token_means(&mut self) -> [&mut f64; 10] {
        [
            &mut self.kl,
            &mut self.entropy,
            &mut self.ratio,
            &mut self.clip_low,
            &mut self.clip_high,
            &mut self.clip_dual,
            &mut self.mismatch_kl,
            &mut self.sampler_difference,
            &mut self.importance,
            &mut self.importance_capped,
        ]
    }

    /// Adds `share` of another update's averages; token counts add up.
    pub fn add(&mut self, other: &Self, share: f64) {
        let mut other = *other;
        self.loss += share * other.loss;
        self.policy_loss += share * other.policy_loss;
        for (mean, other) in self.token_means().into_iter().zip(other.token_means()) {
            *mean += share * *other;
        }
        self.largest_sampler_difference = self.largest_sampler_difference.max(other.largest_sampler_difference);
        self.tokens += other.tokens;
    }
}

impl TrainingSample {
    /// The token ids, to be scored or packed.
    pub fn pair(&self) -> PromptResponse<'_> {
        PromptResponse { prompt_ids: &self.prompt_ids, response_ids: &self.response_ids }
    }
}
