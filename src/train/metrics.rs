//! What the rollouts of a step say about the policy, by TRL's and prime-rl's names.

use super::grpo::Rollouts;
use crate::agents::reader::Turn;
use crate::grpo::Conversation;
use crate::objectives::memtrain::GroupCounts;
use crate::run::RolloutKind;
use crate::sampler::FinishReason;

/// Every turn of the step: those of the readers, then the recall answers.
pub(super) fn turns(rollouts: &Rollouts) -> impl Iterator<Item = &Turn> {
    rollouts
        .graded
        .iter()
        .flatten()
        .flat_map(|graded| graded.trajectory.turns.iter().chain(graded.recall.iter().flat_map(|recall| &recall.turns)))
}

/// Rewards, lengths, groups.
pub(super) fn of_rollouts(rollouts: &Rollouts) -> Vec<(&'static str, f64)> {
    let trajectories = || rollouts.graded.iter().flatten();
    let rewards: Vec<f64> = trajectories().map(|graded| graded.reward).collect();
    let correct: Vec<f64> = trajectories().map(|graded| f64::from(u8::from(graded.correct))).collect();
    let recall: Vec<f64> = trajectories()
        .filter_map(|graded| graded.recall.as_ref())
        .flat_map(|recall| recall.rewards.iter().copied())
        .collect();
    let lengths: Vec<f64> = turns(rollouts).map(length).collect();
    let ended: Vec<f64> = turns(rollouts).filter(|turn| !is_clipped(turn)).map(length).collect();
    let clipped = |kind: Option<RolloutKind>| {
        mean(
            turns(rollouts).filter(|turn| kind.is_none_or(|kind| turn.kind == kind)).map(|turn| flag(is_clipped(turn))),
        )
    };
    let last_memories = trajectories().filter_map(|graded| graded.trajectory.turns.iter().rev().nth(1)).map(length);
    let (end_to_end, recalls) = (rollouts.credit.end_to_end, rollouts.credit.recall);
    let groups = end_to_end.groups + recalls.groups;
    let equal = end_to_end.without_variance() + recalls.without_variance();
    let mut metrics = vec![
        ("reward/mean", mean(rewards.iter().copied())),
        ("reward/std", deviation(&rewards)),
        ("reward/end_to_end/mean", mean(correct.iter().copied())),
        ("reward/end_to_end/std", deviation(&correct)),
        ("reward/recall/mean", mean(recall.iter().copied())),
        ("reward/recall/std", deviation(&recall)),
        ("frac_reward_zero_std", share(equal, groups)),
        ("frac_reward_zero_std/end_to_end", equal_share(end_to_end)),
        ("frac_reward_zero_std/recall", equal_share(recalls)),
        ("rollout/documents", rollouts.documents.len() as f64),
        ("rollout/documents_too_long", rollouts.too_long as f64),
        ("rollout/rounds", rollouts.rounds as f64),
        ("rollout/tokens", rollouts.tokens() as f64),
        ("rollout/trajectories", rewards.len() as f64),
        ("rollout/turns", lengths.len() as f64),
        ("rollout/memory_tokens", mean(last_memories)),
        ("completions/mean_length", mean(lengths.iter().copied())),
        ("completions/min_length", lengths.iter().copied().fold(f64::INFINITY, f64::min)),
        ("completions/max_length", lengths.iter().copied().fold(0.0, f64::max)),
        ("completions/mean_terminated_length", mean(ended.iter().copied())),
        ("completions/clipped_ratio", clipped(None)),
        ("completions/clipped_ratio/memory", clipped(Some(RolloutKind::Read))),
        ("completions/clipped_ratio/answer", clipped(Some(RolloutKind::Answer))),
    ];
    if recalls.groups > 0 {
        metrics.push(("completions/clipped_ratio/recall", clipped(Some(RolloutKind::Recall))));
    }
    metrics
}

/// Advantages of the conversations that are trained on, each counted once.
pub(super) fn of_advantages(conversations: &[Conversation]) -> Vec<(&'static str, f64)> {
    let advantages: Vec<f64> = conversations
        .iter()
        .filter_map(|conversation| conversation.advantages.first())
        .map(|&a| f64::from(a))
        .collect();
    if advantages.is_empty() {
        return Vec::new();
    }
    vec![
        ("advantage/mean", mean(advantages.iter().copied())),
        ("advantage/std", deviation(&advantages)),
        ("advantage/abs_mean", mean(advantages.iter().map(|advantage| advantage.abs()))),
        ("advantage/min", advantages.iter().copied().fold(f64::INFINITY, f64::min)),
        ("advantage/max", advantages.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    ]
}

pub(super) fn is_clipped(turn: &Turn) -> bool {
    turn.completion.finish == FinishReason::Length
}

pub(super) fn share(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64
}

fn equal_share(counts: GroupCounts) -> f64 {
    share(counts.without_variance(), counts.groups)
}

fn length(turn: &Turn) -> f64 {
    turn.completion.token_ids.len() as f64
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values.iter().copied());
    mean(values.iter().map(|value| (value - centre).powi(2))).sqrt()
}
