//! Credit of whole trajectories: readings scored by their answers, one advantage a trajectory, copied to all its turns.

use memtrain_rollout_types::RolloutKind;

use super::{Item, Reason, RolloutContext, RolloutGroup, ScoredSample, rollout_group};
use crate::agents::answer::{Equality, is_right, last_boxed};
use crate::grpo::advantage::RewardScale;
use crate::rollout::{Trajectory, Turn};

/// Branch of the groups, one an item.
pub const TRAJECTORY: &str = "trajectory";
/// Name of the score of right answers.
pub const CORRECT: &str = "correct";

/// The turns of one rollout and what they earned together.
#[derive(Clone, Debug)]
pub struct Rewarded {
    /// Number in the group.
    pub rollout: usize,
    /// The turns in order.
    pub turns: Vec<Turn>,
    /// For each turn whether it holds what its form asks for.
    pub readable: Vec<bool>,
    /// `R`.
    pub reward: f64,
    /// Why.
    pub reason: Reason,
}

impl Rewarded {
    /// A reading and what it earned.
    pub fn of(trajectory: Trajectory, reward: f64, reason: Reason) -> Self {
        let readable = trajectory.turns.iter().map(is_readable).collect();
        Self { rollout: trajectory.rollout, turns: trajectory.turns, readable, reward, reason }
    }
}

/// Reads every item `group_size` times; the readings of an item stand together. Second, whether each is right.
///
/// # Errors
/// If the sampler or the tokenizer fails, or an item has nothing to read.
pub fn read(
    context: &mut RolloutContext<'_>,
    items: &[Item],
    group_size: usize,
    equality: Equality,
) -> anyhow::Result<Vec<Vec<(Trajectory, bool)>>> {
    let tasks = Item::readings(items, context.reader.prompts)?;
    let groups = context.reader.read(&mut context.engine, &tasks, group_size)?;
    let scored = groups.into_iter().zip(items).map(|(group, item)| {
        let accepted = item.question(context.reader.prompts).answers;
        let is_right = |read: &Trajectory| accepted.iter().any(|answer| is_right(read.answer(), answer, equality));
        let scored = |read: Trajectory| {
            let right = is_right(&read);
            (read, right)
        };
        group.into_iter().map(scored).collect()
    });
    Ok(scored.collect())
}

/// Credit of a group of readings: one advantage a trajectory, copied to all its turns.
pub fn assign_credit(group: Vec<Rewarded>, target: &str, scale: RewardScale, filter_groups: bool) -> RolloutGroup {
    let mut rollout_group = RolloutGroup::default();
    let rewards: Vec<f64> = group.iter().map(|rewarded| rewarded.reward).collect();
    let judged = rollout_group.group_advantages(TRAJECTORY, &rewards, scale, filter_groups);
    for (rewarded, &advantage) in group.into_iter().zip(&judged.advantages) {
        let Rewarded { rollout, turns, readable, reward, reason } = rewarded;
        rollout_group.scores.push((rollout_group::TOTAL, reward));
        rollout_group.scores.extend(reason.parts.iter().copied());
        rollout_group.samples.extend(turns.into_iter().zip(readable).enumerate().map(|(number, (turn, readable))| {
            let (target, reason) = (target.to_owned(), reason.clone());
            ScoredSample { turn, rollout, number, target, reward, advantage, trained: judged.trained, readable, reason }
        }));
    }
    rollout_group
}

/// The first accepted answer, for records.
pub fn target(item: &Item, context: &RolloutContext<'_>) -> String {
    item.question(context.reader.prompts).answers.into_iter().next().unwrap_or_default()
}

/// Whether a response holds the box that its kind of turn asks for.
pub fn is_readable(turn: &Turn) -> bool {
    turn.kind == RolloutKind::Read || last_boxed(&turn.text).is_some()
}
