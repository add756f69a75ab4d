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
//! `banks` is what those with a bank share, [`recall`] the questions that MemTrain asks about a chunk.

mod banks;
pub mod config;
pub mod finemem;
pub mod infomem;
pub mod item;
pub mod mem1;
pub mod memagent;
pub mod memalpha;
pub mod memtrain;
pub mod questions;
pub mod recall;
pub mod rollout_group;

pub use config::{Kind, ObjectiveConfig};
pub use item::{ChunkedTask, Item};
pub use rollout_group::{AnsweredBank, GroupCounts, Reason, RolloutGroup, ScoredSample};

use std::sync::Arc;

use memtrain_model::scoring::PromptResponse;

use crate::agents::bank::answerer::Answerer;
use crate::agents::bank::{BankReading, Layout};
use crate::agents::reader::Reader;
use crate::agents::retrieve::Retriever;
use crate::agents::searcher::{SearcherConfig, SearcherPrompts};
use crate::rollout::RolloutEngine;

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
    /// Where a searcher searches; there where [`Objective::searches`].
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

/// How the questions of tasks become items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionMode {
    /// Each question is an item of its own.
    One,
    /// All questions about a context are asked of one trajectory.
    All,
    /// Questions of so many tasks are joined, where tasks have one each; their contexts are dropped.
    Joined(usize),
}

/// What the responses of an objective are expected to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerForm {
    /// `\boxed{…}`.
    #[default]
    Boxed,
    /// A function call.
    Call,
    /// A query or an answer in tags.
    Tags,
}

impl AnswerForm {
    /// What a sentence calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boxed => "\\boxed{}",
            Self::Call => "function call",
            Self::Tags => "query or answer",
        }
    }
}

/// A system: what it rolls out, what it rewards, who gets the credit.
pub trait Objective: Sync {
    /// Rollouts an item.
    fn group_size(&self) -> usize;

    /// Whether groups of equal rewards are left out of training, so that further items are drawn for them.
    fn filters_groups(&self) -> bool;

    /// The metrics worth a glance while it runs, with short names.
    fn headlines(&self) -> &'static [(&'static str, &'static str)];

    /// The score whose mean on held-out items is what checkpoints are compared by.
    fn held_out_score(&self) -> &'static str {
        rollout_group::TOTAL
    }

    /// The constants of MemTrain, where held-out documents are read and questioned by them; elsewhere a held-out item is
    /// rolled out once, as in training.
    fn reconstruction(&self) -> Option<&memtrain::MemTrainConfig> {
        None
    }

    /// The bank that its agent keeps, if it keeps one.
    fn bank_layout(&self) -> Option<Layout> {
        None
    }

    /// What its responses are expected to hold.
    fn form(&self) -> AnswerForm {
        if self.bank_layout().is_some() { AnswerForm::Call } else { AnswerForm::Boxed }
    }

    /// Whether the frozen reference policy answers, judges or scores.
    fn needs_reference(&self) -> bool {
        self.bank_layout().is_some()
    }

    /// How the questions of tasks become items.
    fn question_mode(&self) -> QuestionMode {
        if self.bank_layout().is_some() { QuestionMode::All } else { QuestionMode::One }
    }

    /// Whether it searches.
    fn searches(&self) -> bool {
        false
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
