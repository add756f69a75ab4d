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

use serde::{Deserialize, Serialize};

use super::trajectories::{CORRECT, Rewarded, assign_credit, read, target};
use super::{Agent, Item, Objective, Reason, RolloutContext, RolloutGroup};
use crate::agents::answer::Equality;
use crate::grpo::advantage::RewardScale;

/// Constants of the objective. Defaults: MemAgent's released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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

impl Objective for MemAgentConfig {
    fn agent(&self) -> Agent {
        Agent::Reader
    }

    fn group_size(&self) -> usize {
        self.group_size
    }

    fn filters_groups(&self) -> bool {
        self.filter_groups
    }

    fn reward_scale(&self) -> RewardScale {
        self.reward_scale
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
