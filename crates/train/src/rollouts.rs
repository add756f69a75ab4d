//! Rollouts of a step, and the rows that are kept of them.

use memtrain_model::policy::PolicyTokenizer;
use memtrain_rl::objectives::{Item, RolloutGroup, ScoredSample};
use memtrain_rl::rollout::Turn;
use memtrain_run::RolloutRow;

/// Rollouts of one step, refills included.
#[derive(Default)]
pub struct Rollouts {
    pub(super) items: Vec<Item>,
    pub(super) groups: Vec<RolloutGroup>,
    pub(super) too_long: usize,
    pub(super) shortened: usize,
    pub(super) rounds: usize,
    /// Documents drawn once they are.
    pub(super) next: u64,
    /// Seconds that they took.
    pub(super) seconds: f64,
    /// Updates between the weights that drew them and those that they train.
    pub(super) staleness: u64,
}

impl Rollouts {
    /// Every response of the step.
    pub(super) fn scored_samples(&self) -> impl Iterator<Item = &ScoredSample> {
        self.groups.iter().flat_map(|group| &group.samples)
    }

    /// Every turn of the step.
    pub(super) fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.scored_samples().map(|sample| &sample.turn)
    }

    /// Tokens of all prompts and responses.
    pub(super) fn tokens(&self) -> usize {
        self.turns().map(|turn| turn.prompt_ids.len() + turn.completion.token_ids.len()).sum()
    }

    /// Tokens of all responses.
    pub(super) fn response_tokens(&self) -> usize {
        self.turns().map(|turn| turn.completion.token_ids.len()).sum()
    }
}

/// Every response of the step in the order of its rollout, what was left out of training included.
pub(super) fn rollout_rows(
    step: u64,
    rollouts: &Rollouts,
    tokenizer: &PolicyTokenizer,
) -> anyhow::Result<Vec<RolloutRow>> {
    let mut rows = Vec::new();
    for (item, group) in rollouts.items.iter().zip(&rollouts.groups) {
        for sample in &group.samples {
            let turn = &sample.turn;
            rows.push(RolloutRow {
                step,
                document_id: item.id().to_owned(),
                rollout: sample.rollout as u32,
                turn: sample.number as u32,
                kind: turn.kind,
                prompt: tokenizer.decode(&turn.prompt_ids)?,
                response: turn.text.clone(),
                prompt_ids: turn.prompt_ids.clone(),
                response_ids: turn.completion.token_ids.clone(),
                log_probs: turn.completion.log_probs.clone(),
                reward: sample.reward,
                advantage: sample.advantage,
                target: sample.target.clone(),
                finish: turn.completion.finish,
                trained: sample.trained,
                reason: sample.reason.to_json(),
            });
        }
    }
    Ok(rows)
}
