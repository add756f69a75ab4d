//! Mem-α (arXiv 2509.25911): a memory of three sections, rewarded by what it can answer and by how it was written.
//!
//! Core, semantic and episodic memory are written chunk by chunk (insert, update, delete), each chunk an independent generation. For
//! rollout `i` of `G = 8` and chunk `t`:
//!
//! ```text
//! r1_i    = mean score of the questions after the last chunk: core and the 20 items that BM25 finds in each list, frozen answerer
//! r2_i,t  = calls that were done / calls            an insert of what is there already fails; 0 where nothing is called
//! r3_i    = 1 − memory tokens / chunk tokens        at least 0
//! r4_i,t  = calls whose content a judge accepts / calls
//! R_i,t   = r1_i + r2_i,t + 0.05·r3_i + 0.1·r4_i,t
//! A_i,t   = (R_i,t − mean) / (std + eps)            over all chunk rows of all rollouts of the item (released code)
//! ```
//!
//! With `grouping = "trajectory"` the group is the `G` means of `R` over a rollout's chunks, and each chunk gets its rollout's advantage: a
//! long context then does not weigh more in the mean (the released code's grouping is reported as a bias in its issue tracker).

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::banks::{Banks, Credit, compression, mean};
use super::questions::{QaResult, QuestionCounts};
use super::{Agent, Item, Objective, Reason, RolloutContext, RolloutGroup, rollout_group};
use crate::agents::answer::Equality;
use crate::agents::bank::answerer::{self, JudgedItem};
use crate::agents::bank::writer::{BankStep, BankTrajectory};
use crate::agents::bank::{Call, Layout};
use crate::grpo::advantage::RewardScale;

/// What a group is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// All chunk rows of all rollouts of an item: the released code.
    #[default]
    Rows,
    /// A reward a rollout, the mean over its chunks.
    Trajectory,
}

/// Who judges contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judge {
    /// The frozen reference policy, asked for yes or no. The released code asks a larger model.
    #[default]
    Reference,
    /// A rule: at least half of the content's words stand in the chunk. For policies that are too small to judge.
    Words,
    /// Nobody: `r4 = 0`.
    Off,
}

/// Constants of the objective. Defaults: Mem-α's released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemAlphaConfig {
    /// G, rollouts of an item. 8.
    pub group_size: usize,
    /// Questions of a document without labels; a task brings its own. Ours; 8.
    pub questions: usize,
    /// Weight of `r3`. 0.05.
    pub compression_weight: f64,
    /// Weight of `r4`. 0.1.
    pub content_weight: f64,
    /// Who judges contents.
    pub judge: Judge,
    /// What a group is.
    pub grouping: Grouping,
    /// When an answer is right.
    pub equality: Equality,
    /// What centred rewards are divided by: the group's deviation.
    pub reward_scale: RewardScale,
    /// Drop groups whose rewards are all equal.
    pub filter_groups: bool,
}

impl Default for MemAlphaConfig {
    fn default() -> Self {
        Self {
            group_size: 8,
            questions: 8,
            compression_weight: 0.05,
            content_weight: 0.1,
            judge: Judge::Reference,
            grouping: Grouping::Rows,
            equality: Equality::Strict,
            reward_scale: RewardScale::Group,
            filter_groups: true,
        }
    }
}

/// Branch of the groups: one an item.
pub const ROWS: &str = "rows";

/// The parts of one rollout's rewards, each in 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// `r1`.
    pub accuracy: f64,
    /// `r2` of each chunk.
    pub done: Vec<f64>,
    /// `r3`.
    pub compression: f64,
    /// `r4` of each chunk.
    pub content: Vec<f64>,
}

impl MemAlphaConfig {
    /// `R_t` of each chunk.
    ///
    /// ```
    /// use memtrain_rl::objectives::memalpha::{MemAlphaConfig, Parts};
    /// let parts = Parts { accuracy: 0.5, done: vec![1.0, 0.5], compression: 0.8, content: vec![1.0, 0.0] };
    /// let rewards = MemAlphaConfig::default().rewards(&parts);
    /// assert!((rewards[0] - 1.64).abs() < 1e-12 && (rewards[1] - 1.04).abs() < 1e-12);
    /// ```
    pub fn rewards(&self, parts: &Parts) -> Vec<f64> {
        let whole = parts.accuracy + self.compression_weight * parts.compression;
        let of_chunk = |(done, content): (&f64, &f64)| whole + done + self.content_weight * content;
        parts.done.iter().zip(&parts.content).map(of_chunk).collect()
    }

    /// Advantages of the rows of an item's rollouts, a vector a rollout, and whether they are trained on.
    pub fn credit(&self, rollout_group: &mut RolloutGroup, rewards: &[Vec<f64>]) -> (Vec<Vec<f64>>, bool) {
        match self.grouping {
            Grouping::Rows => {
                let rows: Vec<f64> = rewards.iter().flatten().copied().collect();
                let judged = rollout_group.group_advantages(ROWS, &rows, self.reward_scale, self.filter_groups);
                let mut advantages = judged.advantages.into_iter();
                let of_rollout = |rows: &Vec<f64>| advantages.by_ref().take(rows.len()).collect();
                (rewards.iter().map(of_rollout).collect(), judged.trained)
            }
            Grouping::Trajectory => {
                let means: Vec<f64> = rewards.iter().map(|rows| mean(rows.iter().copied())).collect();
                let judged = rollout_group.group_advantages(ROWS, &means, self.reward_scale, self.filter_groups);
                let copied =
                    rewards.iter().zip(&judged.advantages).map(|(rows, advantage)| vec![*advantage; rows.len()]);
                (copied.collect(), judged.trained)
            }
        }
    }

    /// Share of calls whose content is accepted, by item, rollout and chunk.
    fn contents(&self, context: &mut RolloutContext<'_>, banks: &Banks<'_>) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
        let mut written: Vec<JudgedItem<'_>> = Vec::new();
        for ((item, group), chunks) in banks.items.iter().zip(&banks.groups).zip(&banks.chunks) {
            let document = item.number();
            for (step, section) in group.iter().flat_map(|trajectory| trajectory.outcome.iter().zip(chunks)) {
                let contents = step.done().filter_map(Call::content);
                written.extend(contents.map(|content| JudgedItem { section, content, document }));
            }
        }
        let verdicts = match self.judge {
            Judge::Off => vec![false; written.len()],
            Judge::Words => written.iter().map(|item| is_from(item.content, item.section)).collect(),
            Judge::Reference => {
                let frozen = context.frozen.as_deref_mut();
                let frozen = frozen.ok_or_else(|| anyhow::anyhow!("there is no frozen policy to judge"))?;
                answerer::judge(&context.reader, context.bank, frozen, &written)?
            }
        };
        let mut verdicts = verdicts.into_iter();
        let mut of_step = |step: &BankStep| {
            let written = step.done().filter(|call| call.content().is_some()).count();
            let accepted = verdicts.by_ref().take(written).filter(|accepted| *accepted).count();
            accepted as f64 / step.outcomes.len().max(1) as f64
        };
        let mut of_item = |group: &Vec<BankTrajectory>| -> Vec<Vec<f64>> {
            group.iter().map(|trajectory| trajectory.outcome.iter().map(&mut of_step).collect()).collect()
        };
        Ok(banks.groups.iter().map(&mut of_item).collect())
    }

    fn rollout_group(&self, rollouts: Vec<(BankTrajectory, Vec<QaResult>, Parts)>) -> RolloutGroup {
        let mut rollout_group = RolloutGroup::default();
        let rewards: Vec<Vec<f64>> = rollouts.iter().map(|(_, _, parts)| self.rewards(parts)).collect();
        let (advantages, trained) = self.credit(&mut rollout_group, &rewards);
        for (place, (trajectory, scored, parts)) in rollouts.into_iter().enumerate() {
            rollout_group.scores.extend([("accuracy", parts.accuracy), ("compression", parts.compression)]);
            let mut credits = Vec::with_capacity(trajectory.turns.len());
            for (number, (&reward, &advantage)) in rewards[place].iter().zip(&advantages[place]).enumerate() {
                let (done, content) = (parts.done[number], parts.content[number]);
                rollout_group.scores.extend([(rollout_group::TOTAL, reward), ("calls", done), ("content", content)]);
                let reason = Reason::of(&[
                    ("accuracy", parts.accuracy),
                    ("calls", done),
                    ("compression", parts.compression),
                    ("content", content),
                ]);
                credits.push(Credit { reward, advantage, trained, reason });
            }
            rollout_group.add_bank_rollout(trajectory, scored, credits);
        }
        rollout_group
    }
}

/// Whether at least half of the content's different words stand in the chunk.
fn is_from(content: &str, chunk: &str) -> bool {
    let words =
        |text: &str| -> std::collections::BTreeSet<String> { text.unicode_words().map(str::to_lowercase).collect() };
    let (content, chunk) = (words(content), words(chunk));
    !content.is_empty() && 2 * content.intersection(&chunk).count() >= content.len()
}

impl Objective for MemAlphaConfig {
    fn agent(&self) -> Agent {
        Agent::MemoryWriter(Layout::Sections)
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
        &[("accuracy", "reward/accuracy/mean"), ("calls", "reward/calls/mean")]
    }

    fn held_out_score(&self) -> &'static str {
        "accuracy"
    }

    fn roll_out(
        &self,
        context: &mut RolloutContext<'_>,
        items: &[Item],
        group_size: usize,
    ) -> anyhow::Result<Vec<RolloutGroup>> {
        let counts = QuestionCounts { global: self.questions, of_chunk: 0 };
        let mut banks = Banks::write(context, items, group_size, Layout::Sections, counts, self.equality)?;
        let global = banks.ask_globally(context, self.equality)?;
        let contents = self.contents(context, &banks)?;
        let groups = std::mem::take(&mut banks.groups);
        let of_item = groups.into_iter().zip(global.into_iter().zip(contents)).zip(&banks.text_tokens);
        let credited = of_item.map(|((group, (global, contents)), &text_tokens)| {
            let rollouts = group.into_iter().zip(global.into_iter().zip(contents));
            let rollouts = rollouts.map(|(trajectory, (scored, content))| {
                let parts = Parts {
                    accuracy: mean(scored.iter().map(|scored| scored.score)),
                    done: trajectory.outcome.iter().map(BankStep::done_share).collect(),
                    compression: compression(trajectory.memory_tokens(), text_tokens),
                    content,
                };
                (trajectory, scored, parts)
            });
            self.rollout_group(rollouts.collect())
        });
        Ok(credited.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_group_by_hand() {
        // Two rollouts of two chunks. Rows 2, 1, 1, 0: mean 1, sample deviation √(2/3) = 0.8165.
        let rewards = [vec![2.0, 1.0], vec![1.0, 0.0]];
        let mut rollout_group = RolloutGroup::default();
        let (rows, trained) = MemAlphaConfig::default().credit(&mut rollout_group, &rewards);
        assert!(trained && (rows[0][0] - 1.0 / 0.816_597).abs() < 1e-4 && rows[0][1].abs() < 1e-12, "{rows:?}");
        // By trajectory: means 1.5 and 0.5, deviation √½.
        let config = MemAlphaConfig { grouping: Grouping::Trajectory, ..MemAlphaConfig::default() };
        let (copied, _) = config.credit(&mut rollout_group, &rewards);
        assert_eq!(copied[0][0], copied[0][1]);
        assert!((copied[0][0] - 0.5 / (0.5_f64.sqrt() + 1e-4)).abs() < 1e-9, "{copied:?}");
        assert_eq!(rollout_group.counts(ROWS).groups, 2);
        // A long rollout weighs by its rows in one, not in the other.
        let uneven = [vec![1.0, 1.0, 1.0], vec![0.0]];
        let by_rows = MemAlphaConfig::default().credit(&mut rollout_group, &uneven).0;
        let by_rollout = config.credit(&mut rollout_group, &uneven).0;
        assert!(by_rows[0][0] < -by_rows[1][0] && (by_rollout[0][0] + by_rollout[1][0]).abs() < 1e-9);
    }

    #[test]
    fn contents_are_judged_by_their_words() {
        assert!(is_from("Lorn is a river", "The river Lorn."));
        assert!(!is_from("Velm is a green city", "The river Lorn is old.") && !is_from("...", "..."));
    }

    proptest! {
        #[test]
        fn rewards_are_bounded_and_advantages_sum_to_zero(
            parts in prop::collection::vec((0.0_f64..=1.0, 0.0_f64..=1.0, prop::collection::vec((0.0_f64..=1.0, 0.0_f64..=1.0), 1..5)), 1..6),
            by_rollout in any::<bool>(),
        ) {
            let grouping = if by_rollout { Grouping::Trajectory } else { Grouping::Rows };
            let config = MemAlphaConfig { grouping, ..MemAlphaConfig::default() };
            let rewards: Vec<Vec<f64>> = parts.into_iter().map(|(accuracy, compression, chunks)| {
                let (done, content) = chunks.into_iter().unzip();
                config.rewards(&Parts { accuracy, done, compression, content })
            }).collect();
            prop_assert!(rewards.iter().flatten().all(|reward| (0.0..=2.15 + 1e-12).contains(reward)));
            let (advantages, _) = config.credit(&mut RolloutGroup::default(), &rewards);
            let sum: f64 = match grouping {
                Grouping::Rows => advantages.iter().flatten().sum(),
                Grouping::Trajectory => advantages.iter().map(|rows| rows[0]).sum(),
            };
            prop_assert!(sum.abs() < 1e-6, "{sum}");
        }
    }
}
