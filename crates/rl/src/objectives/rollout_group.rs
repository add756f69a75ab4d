//! Rollout group: all responses to an item, their rewards, their advantages, and why.
//!
//! Groups are formed of rewards before anything is expanded to turns ([`RolloutGroup::group_advantages`]); what is
//! trained on is exactly the responses that are marked as trained, with the ids that were sampled.

use serde_json::{Map, Value};

use super::questions::QaResult;
use crate::agents::bank::Bank;
use crate::grpo::TrainingSample;
use crate::grpo::advantage::{RewardScale, advantages, has_zero_variance};
use crate::rollout::{RolloutKind, Turn};

/// Branch of the groups of scores from outside, and name of such a score.
pub const EXTERNAL: &str = "external";

/// The name of the whole reward among scores: its metrics are `reward/mean` and `reward/std`.
pub const TOTAL: &str = "total";

/// Why a response was rewarded as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reason {
    /// The parts of the reward by name, as they were before weighting.
    pub parts: Vec<(&'static str, f64)>,
    /// What else is worth knowing: a call that failed, a question that was asked.
    pub notes: Vec<String>,
}

impl Reason {
    /// A reason of parts alone.
    pub fn of(parts: &[(&'static str, f64)]) -> Self {
        Self { parts: parts.to_vec(), notes: Vec::new() }
    }

    /// As a JSON object: a number a part, and the notes where there are any.
    ///
    /// ```
    /// use memtrain_rl::objectives::rollout_group::Reason;
    /// assert_eq!(Reason::of(&[("correct", 1.0), ("gain", 0.25)]).to_json(), r#"{"correct":1.0,"gain":0.25}"#);
    /// ```
    pub fn to_json(&self) -> String {
        let mut object: Map<String, Value> =
            self.parts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        if !self.notes.is_empty() {
            object.insert("notes".to_owned(), self.notes.clone().into());
        }
        Value::Object(object).to_string()
    }
}

/// A response, its reward and its advantage.
#[derive(Clone, Debug)]
pub struct ScoredSample {
    /// Prompt and response.
    pub turn: Turn,
    /// Rollout inside the item's group.
    pub rollout: usize,
    /// Number of the turn inside the rollout.
    pub number: usize,
    /// The right answer, where there is one.
    pub target: String,
    /// Its reward.
    pub reward: f64,
    /// Its advantage.
    pub advantage: f64,
    /// Whether it is trained on; a response of a group without reward variance may be left out.
    pub trained: bool,
    /// Whether it holds what its form asks for: an answer, a call. Responses without a form always do.
    pub readable: bool,
    /// Why.
    pub reason: Reason,
}

impl ScoredSample {
    /// What the trainer is given: the ids as they were sampled, the advantage copied to each.
    pub fn training_sample(&self) -> TrainingSample {
        let completion = &self.turn.completion;
        TrainingSample {
            prompt_ids: self.turn.prompt_ids.clone(),
            response_ids: completion.token_ids.clone(),
            sampler_log_probs: Some(completion.log_probs.clone()),
            old_log_probs: None,
            reference_log_probs: None,
            advantages: vec![self.advantage as f32; completion.token_ids.len()],
        }
    }
}

/// How many groups there are, and how many of them have no reward variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// All groups.
    pub groups: usize,
    /// Groups whose rewards are all 0.
    pub all_zero: usize,
    /// Groups whose rewards are all equal, but not 0.
    pub all_equal: usize,
}

impl GroupCounts {
    /// Groups without any difference in reward: no gradient.
    pub fn without_variance(self) -> usize {
        self.all_zero + self.all_equal
    }

    /// Appends other counts.
    pub fn add(&mut self, other: Self) {
        self.groups += other.groups;
        self.all_zero += other.all_zero;
        self.all_equal += other.all_equal;
    }
}

/// Advantages of a group, and whether it is trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupAdvantages {
    /// An advantage a member; all 0 where the rewards are all equal.
    pub advantages: Vec<f64>,
    /// False where the rewards are all equal and such groups are filtered.
    pub trained: bool,
}

/// A bank at the end of its rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct AnsweredBank {
    /// The bank.
    pub bank: Bank,
    /// The questions that it was asked, with their answers.
    pub asked: Vec<QaResult>,
}

/// All responses to one item.
#[derive(Clone, Debug, Default)]
pub struct RolloutGroup {
    /// Every response in order, what is not trained on included.
    pub samples: Vec<ScoredSample>,
    /// Groups by branch; the first branch decides whether the item counts as one with reward variance.
    pub counts: Vec<(&'static str, GroupCounts)>,
    /// Rewards and their parts by name, a sample each: mean and deviation become metrics.
    pub scores: Vec<(&'static str, f64)>,
    /// Other measurements by metric, averaged over the step.
    pub gauges: Vec<(&'static str, f64)>,
    /// The last bank of each rollout and what it was asked, where banks are kept.
    pub banks: Vec<AnsweredBank>,
}

impl RolloutGroup {
    /// Forms a group of `rewards` in `branch`: counts it, gives its advantages, and says whether it is trained on. With
    /// `filter` a group of equal rewards is not.
    pub fn group_advantages(
        &mut self,
        branch: &'static str,
        rewards: &[f64],
        scale: RewardScale,
        filter: bool,
    ) -> GroupAdvantages {
        let equal = has_zero_variance(rewards);
        let zero = rewards.first().is_none_or(|reward| reward.abs() < 1e-9);
        let counts = self.counts_mut(branch);
        counts.add(GroupCounts {
            groups: 1,
            all_zero: usize::from(equal && zero),
            all_equal: usize::from(equal && !zero),
        });
        // Of equal rewards the mean is the reward itself only up to rounding.
        let advantages = if equal { vec![0.0; rewards.len()] } else { advantages(rewards, scale) };
        GroupAdvantages { advantages, trained: !(equal && filter) }
    }

    fn counts_mut(&mut self, branch: &'static str) -> &mut GroupCounts {
        let place = self.counts.iter().position(|(name, _)| *name == branch).unwrap_or_else(|| {
            self.counts.push((branch, GroupCounts::default()));
            self.counts.len() - 1
        });
        &mut self.counts[place].1
    }

    /// The groups of a branch.
    pub fn counts(&self, branch: &str) -> GroupCounts {
        self.counts.iter().find(|(name, _)| *name == branch).map_or_else(GroupCounts::default, |(_, counts)| *counts)
    }

    /// Whether rewards differ in any of its main groups, those of the first branch and of scores from outside: only then is
    /// there a gradient.
    pub fn has_reward_variance(&self) -> bool {
        let varies = |counts: GroupCounts| counts.without_variance() < counts.groups;
        self.counts.first().is_some_and(|(_, counts)| varies(*counts)) || varies(self.counts(EXTERNAL))
    }

    /// Trajectories in it.
    pub fn trajectories(&self) -> usize {
        self.samples.iter().map(|sample| sample.rollout + 1).max().unwrap_or(0)
    }

    /// Adds a score of each trajectory to its reward and advantage; `weights` are those of what is there and of the scores
    /// ([`crate::reward`] has the formula).
    pub fn add_external_reward(&mut self, scores: &[f64], weights: (f64, f64), scale: RewardScale, filter: bool) {
        let (own, external) = weights;
        let judged = self.group_advantages(EXTERNAL, scores, scale, filter);
        if own == 0.0 {
            // What is there decides nothing any more.
            self.counts.retain(|(branch, _)| *branch == EXTERNAL);
        }
        let num_trajectories = self.trajectories();
        for sample in &mut self.samples {
            let is_recall = sample.turn.kind == RolloutKind::Recall;
            let (score, advantage) = match scores.get(sample.rollout).zip(judged.advantages.get(sample.rollout)) {
                Some((&score, &advantage)) if !is_recall => (score, advantage),
                _ => (0.0, 0.0),
            };
            sample.reward = own * sample.reward + external * score;
            sample.advantage = own * sample.advantage + external * advantage;
            sample.trained = own != 0.0 && sample.trained || !is_recall && external != 0.0 && judged.trained;
            if !is_recall {
                sample.reason.parts.push((EXTERNAL, score));
            }
        }
        // Whole rewards stand there once a trajectory, or once a turn where turns are rewarded each by itself.
        let turns = || self.samples.iter().filter(|sample| sample.turn.kind != RolloutKind::Recall);
        let is_total = |(name, _): &&(&'static str, f64)| *name == TOTAL;
        let of_trajectory = self.scores.iter().filter(is_total).count() == num_trajectories;
        let last = |rollout: usize| turns().rev().find(|sample| sample.rollout == rollout);
        let totals: Vec<f64> = match of_trajectory {
            true => (0..num_trajectories).filter_map(last).map(|sample| sample.reward).collect(),
            false => turns().map(|sample| sample.reward).collect(),
        };
        self.scores.retain(|(name, _)| *name != TOTAL);
        self.scores.extend(totals.into_iter().map(|total| (TOTAL, total)));
        self.scores.extend(scores.iter().map(|&score| (EXTERNAL, score)));
    }

    /// What the trainer is given.
    pub fn training_samples(&self) -> impl Iterator<Item = TrainingSample> {
        self.samples.iter().filter(|sample| sample.trained).map(ScoredSample::training_sample)
    }
}

#[cfg(test)]
mod tests {
    use memtrain_engine::sampler::{Completion, FinishReason};
    use proptest::prelude::*;

    use super::*;

    fn sample(kind: RolloutKind, rollout: usize, reward: f64, judged: (f64, bool)) -> ScoredSample {
        let completion = Completion { token_ids: vec![1], log_probs: vec![-1.0], finish: FinishReason::Length };
        let turn = Turn { kind, prompt_ids: vec![1], completion, text: String::new() };
        let (advantage, trained) = judged;
        let (target, reason) = (String::new(), Reason::default());
        ScoredSample { turn, rollout, number: 0, target, reward, advantage, trained, readable: true, reason }
    }

    /// A group of trajectories of two turns with a recall answer each, as an objective forms it.
    fn group(rewards: &[f64], scale: RewardScale, filter: bool) -> RolloutGroup {
        let mut group = RolloutGroup::default();
        let judged = group.group_advantages("end_to_end", rewards, scale, filter);
        for (rollout, &reward) in rewards.iter().enumerate() {
            let judged = (judged.advantages[rollout], judged.trained);
            group.scores.push((TOTAL, reward));
            for kind in [RolloutKind::Read, RolloutKind::Answer] {
                group.samples.push(sample(kind, rollout, reward, judged));
            }
            group.samples.push(sample(RolloutKind::Recall, rollout, 1.0, (0.25, true)));
        }
        group
    }

    proptest! {
        #[test]
        fn without_scaling_the_sum_of_advantages_is_that_of_the_summed_rewards(
            pairs in prop::collection::vec((0.0_f64..2.0, -1.0_f64..1.0), 2..9), own in 0.1_f64..2.0, external in 0.1_f64..2.0,
        ) {
            let (rewards, scores): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let mut added = group(&rewards, RewardScale::None, false);
            added.add_external_reward(&scores, (own, external), RewardScale::None, false);
            let summed: Vec<f64> = rewards.iter().zip(&scores).map(|(r, s)| own * r + external * s).collect();
            let expected = advantages(&summed, RewardScale::None);
            for sample in added.samples.iter().filter(|sample| sample.turn.kind != RolloutKind::Recall) {
                prop_assert!((sample.advantage - expected[sample.rollout]).abs() < 1e-9);
                prop_assert!((sample.reward - summed[sample.rollout]).abs() < 1e-9);
            }
            let totals: Vec<f64> = added.scores.iter().filter(|(name, _)| *name == TOTAL).map(|(_, total)| *total).collect();
            prop_assert_eq!(totals.len(), summed.len());
            prop_assert!(totals.iter().zip(&summed).all(|(a, b)| (a - b).abs() < 1e-9));
        }
    }

    #[test]
    fn scores_teach_where_the_own_rewards_are_equal_and_nothing_is_lost_of_recall() {
        let mut equal = group(&[1.0, 1.0], RewardScale::None, true);
        assert!(!equal.has_reward_variance());
        equal.add_external_reward(&[0.0, 0.5], (1.0, 2.0), RewardScale::None, true);
        assert!(equal.has_reward_variance());
        let told: Vec<(f64, bool)> = equal.samples.iter().map(|sample| (sample.advantage, sample.trained)).collect();
        assert_eq!(told, [(-0.5, true), (-0.5, true), (0.25, true), (0.5, true), (0.5, true), (0.25, true)]);
        assert_eq!(equal.samples[0].reason.to_json(), r#"{"external":0.0}"#);
        assert_eq!(equal.samples[2].reason.to_json(), "{}");
        // Alone: the objective's own rewards and its recall train nothing.
        let mut alone = group(&[1.0, 0.0], RewardScale::None, true);
        alone.add_external_reward(&[3.0, 3.0], (0.0, 1.0), RewardScale::None, true);
        assert!(!alone.has_reward_variance() && alone.samples.iter().all(|sample| !sample.trained));
        // Each scaled by its own deviation.
        let mut scaled = group(&[1.0, 0.0], RewardScale::Group, false);
        scaled.add_external_reward(&[100.0, 0.0], (1.0, 1.0), RewardScale::Group, false);
        assert!((scaled.samples[0].advantage - 2.0 / 2.0_f64.sqrt()).abs() < 1e-3, "{}", scaled.samples[0].advantage);
    }
}
