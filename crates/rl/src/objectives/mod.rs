//! Objectives: rewards and credit assignment. One small file a system; the trainer knows none of them.
//!
//! An [`Objective`] rolls out items (documents of the corpus, or tasks with labels) with the policy, rewards what was
//! said, and hands back every response with its advantage. What happens to them is the same for all systems
//! ([`crate::grpo`]), and so is what is written down of them.
//!
//! * [`memtrain`]: end-to-end reconstruction and intermediate recall, without labels
//! * [`memagent`]: a given question
//! * [`infomem`]: the same, and how much the memory tells about the answer
//! * [`finemem`]: a bank of items, rewards a chunk, credit to the step that wrote the evidence
//! * [`memalpha`]: a bank of three sections, four rewards
//! * [`mem1`]: search, with several questions at once
//!
//! [`registry`] has them by name; [`agent`] says who plays. [`trajectories`] is what those share that reward whole
//! trajectories, [`banks`] those with a bank.

pub mod agent;
pub mod banks;
pub mod config;
mod fields;
pub mod finemem;
pub mod infomem;
pub mod item;
pub mod mem1;
pub mod memagent;
pub mod memalpha;
pub mod memtrain;
pub mod questions;
pub mod registry;
pub mod rollout_group;
mod section;
pub mod trajectories;

pub use agent::{Agent, AnswerForm, QuestionMode, SampleCounts, TurnLimits};
pub use config::ObjectiveConfig;
pub use item::{ChunkedDocument, ChunkedTask, Item};
pub use registry::{Registration, register};
pub use rollout_group::{AnsweredBank, GroupCounts, Reason, RolloutGroup, ScoredSample};

use std::sync::Arc;

use memtrain_model::scoring::PromptResponse;

use crate::agents::bank::BankReading;
use crate::agents::bank::answerer::Answerer;
use crate::agents::reader::Reader;
use crate::agents::searcher::{SearcherConfig, SearcherPrompts};
use crate::grpo::advantage::RewardScale;
use crate::rollout::RolloutEngine;
use crate::rollout::retrieve::Retriever;

/// A metric's name and value.
pub type Metric = (std::borrow::Cow<'static, str>, f64);

/// Says how likely given responses are: teacher-forced log-probabilities of the response tokens, in nats. Nothing of it
/// is on a tape.
pub trait Scorer {
    /// Log-probabilities of each pair's response tokens.
    ///
    /// # Errors
    /// If the forward pass fails.
    fn log_probs(&self, pairs: &[PromptResponse<'_>]) -> anyhow::Result<Vec<Vec<f64>>>;
}

/// What a searcher works with.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// What it is shown.
    pub prompts: &'a SearcherPrompts,
    /// Its limits.
    pub config: &'a SearcherConfig,
    /// What finds passages.
    pub retriever: &'a Arc<dyn Retriever>,
}

/// What an objective rolls out with.
pub struct RolloutContext<'a> {
    /// Tokenizer, prompts, limits, and the seed and step of the draws.
    pub reader: Reader<'a>,
    /// How a bank is kept and read.
    pub bank: &'a BankReading,
    /// Where a searcher searches; there where [`Objective::agent`] searches.
    pub search: Option<Search<'a>>,
    /// Rolls out with the policy.
    pub engine: RolloutEngine<'a>,
    /// Who answers and judges: the frozen reference policy or a server; there where [`Objective::needs_reference`].
    pub frozen: Option<&'a mut dyn Answerer>,
    /// Scores with the policy.
    pub scorer: &'a dyn Scorer,
    /// Scores with the frozen reference; there where [`Objective::needs_reference`], unless a server answers.
    pub frozen_scorer: Option<&'a dyn Scorer>,
}

/// A system: what it rolls out, what it rewards, who gets the credit.
///
/// Implemented by the constants of the system, and registered by name ([`registry`]).
pub trait Objective: Send + Sync {
    /// Who plays.
    fn agent(&self) -> Agent;

    /// Rollouts an item.
    fn group_size(&self) -> usize;

    /// Whether groups of equal rewards are left out of training, so that further items are drawn for them.
    fn filters_groups(&self) -> bool;

    /// What centred rewards are divided by.
    fn reward_scale(&self) -> RewardScale;

    /// The metrics worth a glance while it runs, with short names.
    fn headlines(&self) -> &'static [(&'static str, &'static str)];

    /// Checks what no single constant shows; asked when a configuration is read.
    ///
    /// # Errors
    /// What contradicts what.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// Responses of a trajectory at most: what memory and time of a step are planned by.
    fn samples_per_trajectory(&self, limits: TurnLimits) -> SampleCounts {
        SampleCounts { turns: self.agent().most_turns(limits), recall_answers: 0 }
    }

    /// The score whose mean on held-out items is what checkpoints are compared by.
    fn held_out_score(&self) -> &'static str {
        rollout_group::TOTAL
    }

    /// The constants of MemTrain, where items are documents that are read and questioned by them, when held out too;
    /// elsewhere a held-out item is rolled out once, as in training.
    fn reconstruction(&self) -> Option<&memtrain::MemTrainConfig> {
        None
    }

    /// Whether the frozen reference policy answers, judges or scores.
    fn needs_reference(&self) -> bool {
        self.agent().bank_layout().is_some()
    }

    /// How the questions of tasks become items.
    fn question_mode(&self) -> QuestionMode {
        self.agent().question_mode()
    }

    /// Rolls out each item `group_size` times; what came of each, in their order.
    ///
    /// # Errors
    /// If a sampler, a scorer or the tokenizer fails, or an item is not of the kind that the objective can roll out.
    fn roll_out(
        &self,
        context: &mut RolloutContext<'_>,
        items: &[Item],
        group_size: usize,
    ) -> anyhow::Result<Vec<RolloutGroup>>;
}

/// Mean of the values of each name, in the order in which names first appear.
pub fn means<'a>(values: impl IntoIterator<Item = &'a (&'static str, f64)>) -> Vec<(&'static str, f64)> {
    let mut sums: Vec<(&'static str, f64, usize)> = Vec::new();
    for &(name, value) in values {
        match sums.iter_mut().find(|(known, _, _)| *known == name) {
            Some((_, sum, count)) => {
                *sum += value;
                *count += 1;
            }
            None => sums.push((name, value, 1)),
        }
    }
    sums.into_iter().map(|(name, sum, count)| (name, sum / count as f64)).collect()
}

/// Whether a constant is left out of what is written, so that runs that began before there was one go on.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
