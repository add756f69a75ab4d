//! A GRPO step: conversations in, weights moved.

use candle_core::Result;
use serde::{Deserialize, Serialize};

use super::Conversation;
use super::loss::LossConfig;
use super::update::{LossStatistics, PassLimits, accumulate_loss, apply, score};
use crate::optim::{AdamW, GradientBuffer};
use crate::policy::decoder::Decoder;

/// How an optimizer step is cut up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateConfig {
    /// Optimizer steps taken on each batch of rollouts; the conversations are dealt out among them. MemTrain is silent; 1
    /// is fully on-policy, and then the sampler's log-probabilities need no second pass.
    pub updates_per_batch: usize,
    /// Most tokens of a forward and backward pass: bounds the memory of activations, not the result.
    pub micro_batch_tokens: usize,
    /// Keep the inputs of the layers alone and compute the rest again in the backward: one more forward pass for a
    /// fraction of the memory, the same gradient. Off by default, since small policies fit without; verl's and TRL's
    /// recipes for large ones have it on.
    pub activation_checkpointing: bool,
    /// Gradients are scaled down to this global norm. MemTrain is silent; 1.0 as in TRL, verl, MemAgent.
    pub max_gradient_norm: f64,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            updates_per_batch: 1,
            micro_batch_tokens: 16_384,
            activation_checkpointing: false,
            max_gradient_norm: 1.0,
        }
    }
}

impl UpdateConfig {
    /// Limits of its passes over responses drawn at `temperature`.
    pub fn limits(&self, temperature: f64) -> PassLimits {
        PassLimits {
            micro_batch_tokens: self.micro_batch_tokens,
            temperature,
            activation_checkpointing: self.activation_checkpointing,
        }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpdateReport {
    /// Averages over the updates of the step.
    pub loss: LossStatistics,
    /// Norm of the gradient before clipping, averaged over the updates.
    pub gradient_norm: f64,
    /// Optimizer steps taken: fewer than asked for where there was nothing to train on or a gradient was not finite.
    pub updates: usize,
}

/// Fills in the log-probabilities of the frozen reference.
///
/// # Errors
/// If the forward pass fails.
pub fn score_reference(reference: &Decoder, conversations: &mut [Conversation], limits: PassLimits) -> Result<()> {
    let pairs: Vec<_> = conversations.iter().map(Conversation::pair).collect();
    let scored = score(reference, &pairs, limits)?;
    for (conversation, tokens) in conversations.iter_mut().zip(scored) {
        conversation.reference_log_probs = Some(tokens.into_iter().map(|token| token.log_prob as f32).collect());
    }
    Ok(())
}

/// How a batch of conversations is trained on.
#[derive(Clone, Copy, Debug)]
pub struct UpdatePlan<'a> {
    /// The loss.
    pub loss: &'a LossConfig,
    /// How the batch is cut up.
    pub config: &'a UpdateConfig,
    /// Temperature the responses were drawn at.
    pub temperature: f64,
    /// Learning rate of its optimizer steps.
    pub learning_rate: f64,
}

/// Trains on `conversations`: `updates_per_batch` optimizer steps, conversation `i` in update `i mod updates_per_batch`.
/// Without conversations nothing moves.
///
/// # Errors
/// If a forward or backward pass or the optimizer fails.
pub fn train_on(
    decoder: &Decoder,
    optimizer: &mut AdamW,
    gradients: &mut GradientBuffer,
    conversations: Vec<Conversation>,
    plan: UpdatePlan<'_>,
) -> Result<UpdateReport> {
    let UpdatePlan { loss, config, temperature, learning_rate } = plan;
    let mut report = UpdateReport::default();
    if conversations.is_empty() {
        return Ok(report);
    }
    let limits = config.limits(temperature);
    let updates = config.updates_per_batch.clamp(1, conversations.len());
    let mut shares: Vec<Vec<Conversation>> = (0..updates).map(|_| Vec::new()).collect();
    for (index, conversation) in conversations.into_iter().enumerate() {
        shares[index % updates].push(conversation);
    }
    for share in &shares {
        let statistics = accumulate_loss(decoder, optimizer.parameters(), share, loss, limits, gradients)?;
        let norm = apply(optimizer, gradients, config.max_gradient_norm, learning_rate)?;
        report.loss.add(&statistics, 1.0 / updates as f64);
        report.gradient_norm += norm / updates as f64;
        report.updates += usize::from(norm.is_finite());
    }
    Ok(report)
}
