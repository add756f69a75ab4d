//! Metrics of a step's rollouts, by TRL's and prime-rl's names.

use std::collections::HashMap;

use memtrain_engine::sampler::FinishReason;
use memtrain_rl::grpo::TrainingSample;
use memtrain_rl::objectives::rollout_group::TOTAL;
use memtrain_rl::objectives::{GroupCounts, Metric, ScoredSample, means};
use memtrain_rl::rollout::Turn;
use memtrain_rollout_types::RolloutKind;

use super::rollouts::Rollouts;

/// Every response of the step.
pub(super) fn scored_samples(rollouts: &Rollouts) -> impl Iterator<Item = &ScoredSample> {
    rollouts.groups.iter().flat_map(|group| &group.samples)
}

/// Every turn of the step.
pub(super) fn turns(rollouts: &Rollouts) -> impl Iterator<Item = &Turn> {
    scored_samples(rollouts).map(|sample| &sample.turn)
}

/// Groups of the step by branch.
pub(super) fn groups(rollouts: &Rollouts) -> Vec<(&'static str, GroupCounts)> {
    let mut branches: Vec<(&'static str, GroupCounts)> = Vec::new();
    for (branch, counts) in rollouts.groups.iter().flat_map(|group| &group.counts) {
        match branches.iter_mut().find(|(known, _)| known == branch) {
            Some((_, sum)) => sum.add(*counts),
            None => branches.push((branch, *counts)),
        }
    }
    branches
}

/// Rewards and their parts, groups, lengths.
pub(super) fn of_rollouts(rollouts: &Rollouts) -> Vec<Metric> {
    let mut metrics = of_rewards(rollouts);
    let branches = groups(rollouts);
    let all: usize = branches.iter().map(|(_, counts)| counts.groups).sum();
    let equal: usize = branches.iter().map(|(_, counts)| counts.without_variance()).sum();
    metrics.push(("frac_reward_zero_std".into(), share(equal, all)));
    metrics.extend(branches.iter().map(|(branch, counts)| {
        (format!("frac_reward_zero_std/{branch}").into(), share(counts.without_variance(), counts.groups))
    }));
    let trajectories: usize = rollouts
        .groups
        .iter()
        .map(|group| group.samples.iter().map(|sample| sample.rollout + 1).max().unwrap_or(0))
        .sum();
    let last_memories = last_memories(rollouts);
    metrics.extend([
        ("rollout/documents".into(), rollouts.items.len() as f64),
        ("rollout/documents_too_long".into(), rollouts.too_long as f64),
        ("rollout/documents_shortened".into(), rollouts.shortened as f64),
        ("rollout/rounds".into(), rollouts.rounds as f64),
        ("rollout/tokens".into(), rollouts.tokens() as f64),
        ("rollout/trajectories".into(), trajectories as f64),
        ("rollout/turns".into(), turns(rollouts).count() as f64),
    ]);
    if !last_memories.is_empty() {
        metrics.push(("rollout/memory_tokens".into(), mean(last_memories.into_iter())));
    }
    let gauges = means(rollouts.groups.iter().flat_map(|group| &group.gauges));
    metrics.extend(gauges.into_iter().map(|(name, value)| (name.into(), value)));
    metrics.extend(of_lengths(rollouts));
    metrics
}

/// Mean and deviation of each score; the whole reward first.
fn of_rewards(rollouts: &Rollouts) -> Vec<Metric> {
    let mut names: Vec<&'static str> = vec![TOTAL];
    let mut samples: HashMap<&'static str, Vec<f64>> = HashMap::new();
    for &(name, value) in rollouts.groups.iter().flat_map(|group| &group.scores) {
        if !names.contains(&name) {
            names.push(name);
        }
        samples.entry(name).or_default().push(value);
    }
    let of_name = |name: &'static str| {
        let values = samples.get(name).map_or(&[][..], Vec::as_slice);
        let key = |measure: &str| match name {
            TOTAL => format!("reward/{measure}"),
            part => format!("reward/{part}/{measure}"),
        };
        [(key("mean").into(), mean(values.iter().copied())), (key("std").into(), deviation(values))]
    };
    names.into_iter().flat_map(of_name).collect()
}

/// Length of the last memory that each reader wrote.
fn last_memories(rollouts: &Rollouts) -> Vec<f64> {
    let of_item = |samples: &[ScoredSample]| -> Vec<f64> {
        let rollouts = samples.iter().map(|sample| sample.rollout + 1).max().unwrap_or(0);
        let last = |rollout: usize| {
            samples.iter().rev().find(|sample| sample.rollout == rollout && sample.turn.kind == RolloutKind::Read)
        };
        (0..rollouts).filter_map(last).map(|sample| length(&sample.turn)).collect()
    };
    rollouts.groups.iter().flat_map(|group| of_item(&group.samples)).collect()
}

fn of_lengths(rollouts: &Rollouts) -> Vec<Metric> {
    let lengths: Vec<f64> = turns(rollouts).map(length).collect();
    let ended: Vec<f64> = turns(rollouts).filter(|turn| !is_clipped(turn)).map(length).collect();
    let clipped = |kind: Option<RolloutKind>| {
        let of_kind = turns(rollouts).filter(|turn| kind.is_none_or(|kind| turn.kind == kind));
        mean(of_kind.map(|turn| f64::from(u8::from(is_clipped(turn)))))
    };
    let mut metrics: Vec<Metric> = vec![
        ("completions/mean_length".into(), mean(lengths.iter().copied())),
        ("completions/min_length".into(), lengths.iter().copied().fold(f64::INFINITY, f64::min)),
        ("completions/max_length".into(), lengths.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("completions/mean_terminated_length".into(), mean(ended.iter().copied())),
        ("completions/clipped_ratio".into(), clipped(None)),
    ];
    for (kind, name) in [
        (RolloutKind::Read, "memory"),
        (RolloutKind::Answer, "answer"),
        (RolloutKind::Recall, "recall"),
        (RolloutKind::Write, "write"),
        (RolloutKind::Search, "search"),
    ] {
        if turns(rollouts).any(|turn| turn.kind == kind) {
            metrics.push((format!("completions/clipped_ratio/{name}").into(), clipped(Some(kind))));
        }
    }
    metrics
}

/// Advantages of the samples that are trained on, each counted once.
pub(super) fn of_advantages(samples: &[TrainingSample]) -> Vec<Metric> {
    let advantages: Vec<f64> =
        samples.iter().filter_map(|sample| sample.advantages.first()).map(|&a| f64::from(a)).collect();
    if advantages.is_empty() {
        return Vec::new();
    }
    vec![
        ("advantage/mean".into(), mean(advantages.iter().copied())),
        ("advantage/std".into(), deviation(&advantages)),
        ("advantage/abs_mean".into(), mean(advantages.iter().map(|advantage| advantage.abs()))),
        ("advantage/min".into(), advantages.iter().copied().fold(f64::INFINITY, f64::min)),
        ("advantage/max".into(), advantages.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    ]
}

pub(super) fn is_clipped(turn: &Turn) -> bool {
    turn.completion.finish == FinishReason::Length
}

pub(super) fn share(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64
}

fn length(turn: &Turn) -> f64 {
    turn.completion.token_ids.len() as f64
}

/// Not a number of nothing, which is written as null.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    sum / count as f64
}

fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values.iter().copied());
    mean(values.iter().map(|value| (value - centre).powi(2))).sqrt()
}
