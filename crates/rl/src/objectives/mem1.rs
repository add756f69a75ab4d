//! MEM1 (arXiv 2506.15841): several questions at once, answered by searching, with nothing kept but the last turn.
//!
//! For a task with questions `q` of accepted answers `Y_q`, trajectory `i` of `G`, one turn after the other a conversation of
//! its own with exactly the ids that were sampled:
//!
//! ```text
//! R_i = Σ_q 1[ŷ_iq ∈ Y_q]          ŷ_iq the q-th of the answers, which are separated by ";"
//! A_i = R_i − mean_i' R_i'          copied to every token of every turn of trajectory i
//! ```
//!
//! In training an answer that is missing is wrong and one too many is ignored, as in the released trainers of MEM1 and MemTrain
//! (`answer_count = "positional"`); MEM1's evaluation takes all answers for wrong where their number is another (`exact`).
//!
//! The paper trains by PPO on one long sequence with a mask, which hides the memory that it should show; MemTrain's downstream
//! recipe (200 steps, batch 32, update batch 8, learning rate 5e-7) says nothing of the group, so G is open.

use anyhow::Context;
use memtrain_tasks::Question;
use serde::{Deserialize, Serialize};

use super::trajectories::{Rewarded, assign_credit};
use super::{Agent, Item, Objective, QuestionMode, Reason, RolloutContext, RolloutGroup, is_default};
use crate::agents::answer::Equality;
use crate::agents::searcher::{Action, SearchOutcome, SearchTask, SearchTrajectory, Searcher};
use crate::grpo::advantage::RewardScale;

/// What is made of another number of answers than of questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerCount {
    /// Each answer counts at its place: one that is missing is wrong, one too many is ignored.
    #[default]
    Positional,
    /// All answers are wrong.
    Exact,
}

/// Constants of the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mem1Config {
    /// G, attempts at a task. Open; 8.
    pub group_size: usize,
    /// Questions that are asked together where tasks have one each. MEM1 trains on 2.
    pub objectives: usize,
    /// What another number of answers than of questions is worth. Left out of a run's configuration at its default, so that
    /// runs from before the key go on.
    #[serde(skip_serializing_if = "is_default")]
    pub answer_count: AnswerCount,
    /// When an answer is right. MEM1's exact match is SQuAD's.
    pub equality: Equality,
    /// What centred rewards are divided by.
    pub reward_scale: RewardScale,
    /// Drop groups whose rewards are all equal.
    pub filter_groups: bool,
}

impl Default for Mem1Config {
    fn default() -> Self {
        Self {
            group_size: 8,
            objectives: 2,
            answer_count: AnswerCount::Positional,
            equality: Equality::Squad,
            reward_scale: RewardScale::None,
            filter_groups: true,
        }
    }
}

/// Number of questions answered exactly. Answers are compared in the order of the questions.
///
/// ```
/// use memtrain_rl::agents::answer::Equality;
/// use memtrain_rl::objectives::mem1::{AnswerCount, num_right};
/// use memtrain_tasks::Question;
/// let asked = |answer: &str| Question { text: "?".into(), answers: vec![answer.into(), "x".into()] };
/// let questions = [asked("Lorn"), asked("Velm")];
/// let right = |answers: &[&str], count| {
///     let answers: Vec<String> = answers.iter().map(|answer| answer.to_string()).collect();
///     num_right(&answers, &questions, count, Equality::Squad)
/// };
/// assert_eq!(right(&["the Lorn", "X"], AnswerCount::Exact), 2);
/// assert_eq!(right(&["Velm", "Lorn"], AnswerCount::Positional), 0);
/// // Too few and too many.
/// assert_eq!([right(&["Lorn"], AnswerCount::Positional), right(&["Lorn"], AnswerCount::Exact)], [1, 0]);
/// let more = ["Lorn", "Velm", "more"];
/// assert_eq!([right(&more, AnswerCount::Positional), right(&more, AnswerCount::Exact)], [2, 0]);
/// ```
pub fn num_right(answers: &[String], questions: &[Question], count: AnswerCount, equality: Equality) -> usize {
    let right =
        |(answer, question): &(&String, &Question)| question.answers.iter().any(|gold| equality.holds(answer, gold));
    let counts = count == AnswerCount::Positional || answers.len() == questions.len();
    if counts { answers.iter().zip(questions).filter(right).count() } else { 0 }
}

impl Mem1Config {
    fn reward(&self, outcome: &SearchOutcome, questions: &[Question]) -> (f64, Reason) {
        let right =
            outcome.answers().map_or(0, |answers| num_right(answers, questions, self.answer_count, self.equality));
        let searches = outcome.actions.iter().filter(|action| matches!(action, Action::Search(_))).count();
        let reason = Reason {
            parts: vec![("right", right as f64), ("questions", questions.len() as f64), ("searches", searches as f64)],
            notes: outcome.failure.iter().cloned().collect(),
        };
        (right as f64, reason)
    }
}

impl Objective for Mem1Config {
    fn agent(&self) -> Agent {
        Agent::Searcher
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
        &[("right", "reward/right/mean"), ("searches", "reward/searches/mean")]
    }

    fn question_mode(&self) -> QuestionMode {
        QuestionMode::Joined(self.objectives)
    }

    fn roll_out(
        &self,
        context: &mut RolloutContext<'_>,
        items: &[Item],
        group_size: usize,
    ) -> anyhow::Result<Vec<RolloutGroup>> {
        let search = context.search.context("there is nothing to search in")?;
        let reader = &context.reader;
        let questions: Vec<&[Question]> = items
            .iter()
            .map(|item| match item {
                Item::Task(task) => Ok(task.questions.as_slice()),
                Item::Document(document) => anyhow::bail!(
                    "`{}` is a document: `objective.kind = \"mem1\"` needs questions in `[tasks]`",
                    document.document.id
                ),
            })
            .collect::<anyhow::Result<_>>()?;
        let tasks: Vec<SearchTask> = items
            .iter()
            .zip(&questions)
            .map(|(item, questions)| SearchTask {
                number: item.number(),
                questions: questions.iter().map(|question| question.text.clone()).collect(),
            })
            .collect();
        let searcher = Searcher {
            tokenizer: reader.tokenizer,
            prompts: search.prompts,
            config: search.config,
            sampling: reader.sampling,
            step_key: reader.step_key,
        };
        let groups = searcher.search(&mut context.engine, search.retriever, &tasks, group_size)?;
        let credited = groups.into_iter().zip(questions).map(|(group, questions)| {
            let rewarded = group.into_iter().map(|SearchTrajectory { rollout, turns, outcome }| {
                let (reward, reason) = self.reward(&outcome, questions);
                let readable = outcome.actions.iter().map(|action| *action != Action::None).collect();
                Rewarded { rollout, turns, readable, reward, reason }
            });
            let rewarded = rewarded.collect();
            let golds = questions.iter().filter_map(|question| question.answers.first().map(String::as_str));
            let target = golds.collect::<Vec<_>>().join("; ");
            assign_credit(rewarded, &target, self.reward_scale, self.filter_groups)
        });
        Ok(credited.collect())
    }
}
