//! Rollouts of one step.

use memtrain_rl::objectives::{Item, RolloutGroup, ScoredSample};
use memtrain_rl::rollout::Turn;

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
