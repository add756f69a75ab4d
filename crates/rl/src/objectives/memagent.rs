//! MemAgent (arXiv 2507.02259): a given question, read chunk by chunk, rewarded by the answer alone.
//!
//! For task with accepted answers `Y`, trajectory `i` of `G`:
//!
//! ```text
//! R_i = 1[ŷ_i ∈ Y]                ŷ_i the last \boxed{} of the answer turn
//! A_i = R_i − mean_i' R_i'        copied to every token of every turn of trajectory i
//! ```
//!
//! 16 rollouts, no division by the deviation, token-mean loss with clip 0.2/0.2 and k3 KL 1e-3 (released code; the loss is
//! `[loss]`'s business). A context of more than `reader.max_chunks` chunks keeps its head and tail, in training only.

use super::memtrain::{is_readable, is_right};
use super::{Item, Objective, Reason, RolloutContext, RolloutGroup, ScoredSample, rollout_group};
use crate::agents::answer::Equality;
use crate::grpo::advantage::RewardScale;
use crate::rollout::{Trajectory, Turn};

/// Constants of the objective. Defaults: MemAgent's released code.
#[derive(Clone, Debug, PartialEq)]
pub struct MemAgentConfig {
    /// G, readings of a task. 16.
    pub group_size: usize,
    /// When an answer is right. MemAgent's training verifier compares the boxed text, lower-cased.
    pub equality: Equality,
    /// What centred rewards are divided by: nothing.
    pub reward_scale: RewardScale,
    /// Drop groups whose rewards are all equal. Not described; off, so that they count in the token mean and in the KL.
    pub filter_groups: bool,
}

impl Default for MemAgentConfig {
    fn default() -> Self {
        Self { group_size: 16, equality: Equality::Strict, reward_scale: RewardScale::None, filter_groups: false }
    }
}

/// Branch of the groups, one a task.
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
pub(super) fn read(
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
pub(super) fn target(item: &Item, context: &RolloutContext<'_>) -> String {
    item.question(context.reader.prompts).answers.into_iter().next().unwrap_or_default()
}

impl Objective for MemAgentConfig {
    fn group_size(&self) -> usize {
        self.group_size
    }

    fn filters_groups(&self) -> bool {
        self.filter_groups
    }

    fn headlines(&self) -> &'static [(&'static str, &'static str)] {
        &[("correct", "reward/correct/mean")]
    }

    fn roll_out(
        &self,
        context: &mut RolloutContext<'_>,
        items: &[Item],
        group_size: usize,
    ) -> anyhow::Result<Vec<RolloutGroup>> {
        let groups = read(context, items, group_size, self.equality)?;
        let credited = groups.into_iter().zip(items).map(|(group, item)| {
            let rewarded = group.into_iter().map(|(trajectory, right)| {
                let reward = f64::from(u8::from(right));
                Rewarded::of(trajectory, reward, Reason::of(&[(CORRECT, reward)]))
            });
            assign_credit(rewarded.collect(), &target(item, context), self.reward_scale, self.filter_groups)
        });
        Ok(credited.collect())
    }
}
