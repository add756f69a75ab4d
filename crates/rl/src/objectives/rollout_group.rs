//! Rollout group: all responses to an item, their rewards, their advantages, and why.
//!
//! Groups are formed of rewards before anything is expanded to turns ([`RolloutGroup::group_advantages`]); what is
//! trained on is exactly the responses that are marked as trained, with the ids that were sampled.

use serde_json::{Map, Value};

use super::questions::QaResult;
use crate::agents::bank::Bank;
use crate::grpo::TrainingSample;
use crate::grpo::advantage::{RewardScale, advantages, has_zero_variance};
use crate::rollout::Turn;

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

    /// Whether rewards differ in any of its main groups, those of the first branch: only then is there a gradient.
    pub fn has_reward_variance(&self) -> bool {
        self.counts.first().is_some_and(|(_, counts)| counts.without_variance() < counts.groups)
    }

    /// What the trainer is given.
    pub fn training_samples(&self) -> impl Iterator<Item = TrainingSample> {
        self.samples.iter().filter(|sample| sample.trained).map(ScoredSample::training_sample)
    }
}
