//! GRPO trainer: a batch of training samples to optimizer steps, mini-batch by mini-batch.

use std::collections::HashMap;

use candle_core::Result;
use memtrain_model::optim::{AdamW, GradientBuffer, Ranks};
use memtrain_model::policy::decoder::Decoder;
use memtrain_model::scoring::{PassLimits, Sharing, score_across};
use serde::{Deserialize, Serialize};

use super::TrainingSample;
use super::loss::LossConfig;
use super::update::{LossStatistics, accumulate_loss, apply, mismatch};

/// Where the log-probabilities of the old policy come from when a batch gets several updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OldLogProbs {
    /// A forward pass of the trainer before the first update. With a single update they are the policy's own and the pass
    /// is skipped (TRL).
    #[default]
    Trainer,
    /// What the sampler said when it drew the tokens, without a pass (verl's bypass mode). Ratios then hold the mismatch
    /// between sampler and trainer too.
    Sampler,
}

/// How a batch of rollouts becomes optimizer steps: `minibatches × epochs` of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateConfig {
    /// Mini-batches that a batch is split into, an optimizer step each (verl's `ppo_mini_batch_size` is the size of
    /// one). Samples with equal prompts stay together. MemTrain is silent; 1 is fully on-policy.
    pub minibatches: usize,
    /// Passes over the batch: GRPO's μ, TRL's `num_iterations`, verl's `ppo_epochs`. MemTrain is silent; 1.
    pub epochs: usize,
    /// Where old log-probabilities come from.
    pub old_log_probs: OldLogProbs,
    /// Most tokens of a forward and backward pass: bounds the memory of activations, not the result.
    pub micro_batch_tokens: usize,
    /// Keep the inputs of the layers alone and compute the rest again in the backward: one more forward pass for a
    /// fraction of the memory, the same gradient. On a card layers for which there is memory keep what is dear to compute. Off by default, since small policies fit without; verl's and TRL's
    /// recipes for large ones have it on.
    pub activation_checkpointing: bool,
    /// Gradients are scaled down to this global norm, `inf` for none. MemTrain is silent; 1.0 as in TRL, verl, MemAgent.
    pub max_gradient_norm: f64,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            minibatches: 1,
            epochs: 1,
            old_log_probs: OldLogProbs::Trainer,
            micro_batch_tokens: 16_384,
            activation_checkpointing: false,
            max_gradient_norm: 1.0,
        }
    }
}

impl UpdateConfig {
    /// Limits of its passes over responses sampled at `temperature`.
    pub fn limits(&self, temperature: f64) -> PassLimits {
        PassLimits {
            micro_batch_tokens: self.micro_batch_tokens,
            temperature,
            activation_checkpointing: self.activation_checkpointing,
            sharing: Sharing::default(),
        }
    }

    /// Whether the old policy's log-probabilities take a pass of their own.
    pub fn needs_old_pass(&self) -> bool {
        self.old_log_probs == OldLogProbs::Trainer && self.minibatches * self.epochs > 1
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpdateReport {
    /// Averages over the updates of the step.
    pub loss: LossStatistics,
    /// Norm of the gradient before clipping, averaged over the updates.
    pub gradient_norm: f64,
    /// Share of the updates whose gradient was clipped.
    pub clipped: f64,
    /// Optimizer steps taken: fewer than asked for where there was nothing to train on or a gradient was not finite.
    pub updates: usize,
}

/// Fills in the log-probabilities of the frozen reference, each of `ranks` a share of them. A single rank asks `goes_on` before each
/// micro-batch.
///
/// # Errors
/// If the forward pass fails, or `goes_on` says no.
pub fn score_reference(
    ranks: &Ranks,
    reference: &Decoder,
    samples: &mut [TrainingSample],
    limits: PassLimits,
    goes_on: &dyn Fn() -> bool,
) -> Result<()> {
    let scored = log_probs(ranks, reference, samples, limits, goes_on)?;
    for (sample, log_probs) in samples.iter_mut().zip(scored) {
        sample.reference_log_probs = Some(log_probs);
    }
    Ok(())
}

/// Fills in the log-probabilities that ratios are taken to, as `config` says, each of `ranks` a share of them. Gives the mean mismatch between trainer and
/// sampler where a pass was made for them. A single rank asks `goes_on` before each micro-batch.
///
/// # Errors
/// If the forward pass fails, or `goes_on` says no.
pub fn score_old(
    ranks: &Ranks,
    decoder: &Decoder,
    samples: &mut [TrainingSample],
    limits: PassLimits,
    config: &UpdateConfig,
    goes_on: &dyn Fn() -> bool,
) -> Result<Option<f64>> {
    if config.old_log_probs == OldLogProbs::Sampler {
        for sample in samples {
            sample.old_log_probs = sample.sampler_log_probs.clone();
        }
        return Ok(None);
    }
    if !config.needs_old_pass() {
        return Ok(None);
    }
    let (mut sum, mut count) = (0.0, 0_usize);
    let scored = log_probs(ranks, decoder, samples, limits, goes_on)?;
    for (sample, old) in samples.iter_mut().zip(scored) {
        for (&trainer, &sampler) in old.iter().zip(sample.sampler_log_probs.iter().flatten()) {
            sum += mismatch(f64::from(trainer), f64::from(sampler));
            count += 1;
        }
        sample.old_log_probs = Some(old);
    }
    Ok((count > 0).then(|| sum / count as f64))
}

fn log_probs(
    ranks: &Ranks,
    decoder: &Decoder,
    samples: &[TrainingSample],
    limits: PassLimits,
    goes_on: &dyn Fn() -> bool,
) -> Result<Vec<Vec<f32>>> {
    let pairs: Vec<_> = samples.iter().map(TrainingSample::pair).collect();
    let scored = score_across(ranks, decoder, &pairs, limits, goes_on)?;
    Ok(scored.into_iter().map(|tokens| tokens.into_iter().map(|token| token.log_prob as f32).collect()).collect())
}

/// How a batch of samples is trained on.
#[derive(Clone, Copy, Debug)]
pub struct UpdatePlan<'a> {
    /// The loss.
    pub loss: &'a LossConfig,
    /// How the batch is cut up.
    pub config: &'a UpdateConfig,
    /// Temperature the responses were sampled at.
    pub temperature: f64,
    /// Learning rate of its optimizer steps.
    pub learning_rate: f64,
}

/// Trains on `samples`: `epochs` passes over `minibatches` parts, an optimizer step each. Without samples
/// nothing moves. `goes_on` is asked before each micro-batch of the first optimizer step, until which no weight has moved.
///
/// # Errors
/// If a forward or backward pass or the optimizer fails, or `goes_on` says no: then weights and optimizer are as they were.
pub fn train_on(
    decoder: &Decoder,
    optimizer: &mut AdamW,
    gradients: &mut GradientBuffer,
    samples: Vec<TrainingSample>,
    plan: UpdatePlan<'_>,
    goes_on: &dyn Fn() -> bool,
) -> Result<UpdateReport> {
    let UpdatePlan { loss, config, temperature, learning_rate } = plan;
    let limits = config.limits(temperature);
    let parts = split_into_mini_batches(samples, config.minibatches);
    let updates = parts.len() * config.epochs;
    let mut report = UpdateReport::default();
    for (part, number) in std::iter::repeat_n(&parts, config.epochs).flatten().zip(0..) {
        let goes_on = || number > 0 || goes_on();
        let statistics = accumulate_loss(decoder, optimizer.parameters(), part, loss, limits, gradients, &goes_on)?;
        let norm = apply(optimizer, gradients, config.max_gradient_norm, learning_rate)?;
        report.loss.add(&statistics, 1.0 / updates as f64);
        report.gradient_norm += norm / updates as f64;
        report.clipped += f64::from(u8::from(norm > config.max_gradient_norm)) / updates as f64;
        report.updates += usize::from(norm.is_finite());
    }
    Ok(report)
}

/// Splits samples into at most `parts` non-empty parts. Those with equal prompts stay together, since they share the
/// prompt's computation; each such group goes to the part with the fewest samples so far.
fn split_into_mini_batches(samples: Vec<TrainingSample>, parts: usize) -> Vec<Vec<TrainingSample>> {
    let mut groups: Vec<Vec<TrainingSample>> = Vec::new();
    let mut group_of_prompt: HashMap<Vec<u32>, usize> = HashMap::new();
    for sample in samples {
        let group = *group_of_prompt.entry(sample.prompt_ids.clone()).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(sample);
    }
    let mut mini_batches: Vec<Vec<TrainingSample>> =
        (0..parts.clamp(1, groups.len().max(1))).map(|_| Vec::new()).collect();
    for group in groups {
        if let Some(smallest) = mini_batches.iter_mut().min_by_key(|part| part.len()) {
            smallest.extend(group);
        }
    }
    mini_batches.retain(|part| !part.is_empty());
    mini_batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn mini_batches_lose_nothing_and_keep_prompts_together(
            prompts in prop::collection::vec(0_u32..5, 0..30), parts in 1_usize..6,
        ) {
            let samples: Vec<TrainingSample> = prompts
                .iter()
                .enumerate()
                .map(|(number, &prompt)| TrainingSample {
                    prompt_ids: vec![prompt],
                    response_ids: vec![number as u32],
                    sampler_log_probs: None,
                    old_log_probs: None,
                    reference_log_probs: None,
                    advantages: vec![1.0],
                })
                .collect();
            let mini_batches = split_into_mini_batches(samples, parts);
            prop_assert!(mini_batches.len() <= parts && mini_batches.iter().all(|part| !part.is_empty()));
            let mut seen: Vec<u32> = mini_batches.iter().flatten().map(|sample| sample.response_ids[0]).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..prompts.len() as u32).collect::<Vec<_>>());
            for prompt in 0..5 {
                let holds = |part: &&Vec<TrainingSample>| part.iter().any(|one| one.prompt_ids == [prompt]);
                let holding = mini_batches.iter().filter(holds).count();
                prop_assert!(holding <= 1);
            }
        }
    }
}
