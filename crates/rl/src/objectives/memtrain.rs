//! MemTrain (arXiv 2606.03197): end-to-end reconstruction and intermediate memory recall, rewarded together.
//!
//! For document with hidden entity `y`, trajectory `i` of `G1`, recall sample `j` of `G2` about entity `ỹ_i`:
//!
//! ```text
//! R^I_ij = 1[ŷ_ij = ỹ_i]
//! R^E_i  = 1[ŷ_i = y] + λ · mean_j R^I_ij − penalties of the memories' form, 0 by default
//! A^E_i  = R^E_i − mean_i' R^E_i'         copied to every token of every turn of trajectory i
//! A^I_ij = R^I_ij − mean_j' R^I_ij'       copied to every token of recall sample j
//! ```
//!
//! The recall question of trajectory `i` is drawn after it is complete (`memtrain/recall.rs`). With several questions a
//! trajectory, each has `G2` samples and a group of its own, and `R^E` takes the mean over all of them.

mod recall;

use std::collections::HashSet;

use memtrain_corpora::rng;
use memtrain_rollout_types::FinishReason;
use serde::{Deserialize, Serialize};

use super::trajectories::is_readable;
use super::{
    Agent, ChunkedDocument, Item, Objective, Reason, RolloutContext, RolloutGroup, SampleCounts, ScoredSample,
    TurnLimits, is_default, rollout_group,
};
use crate::agents::answer::{Equality, is_right};
use crate::agents::reader::{Reader, ReadingTask, RecallPrompt};
use crate::agents::sentences::{ReadSentences, sentences};
use crate::grpo::advantage::RewardScale;
use crate::rollout::{RolloutEngine, Trajectory, Turn};
pub use recall::{RecallDraw, RecallQuestion, draw_recall, recall_at};

/// Which parts of the objective are trained (MemTrain §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Both branches, recall also feeding the trajectory's reward.
    #[default]
    Full,
    /// No recall at all.
    EndToEnd,
    /// Recall is trained but does not feed the trajectory's reward: λ = 0.
    Decoupled,
}

/// Constants of the objective. Defaults: MemTrain §4.1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemTrainConfig {
    /// Which parts are trained.
    pub variant: Variant,
    /// λ, weight of recall in the trajectory's reward.
    pub recall_weight: f64,
    /// G1, readings of a document.
    pub group_size: usize,
    /// Recall questions of a trajectory. The paper asks one; more estimate what a memory holds with less variance.
    pub recall_questions: usize,
    /// Ask all readings of a document the same recall questions, so that their rewards differ by what they remember and
    /// not by what they were asked. The paper draws anew for each reading.
    pub recall_shared: bool,
    /// G2, answers to each recall question.
    pub recall_samples: usize,
    /// Taken from the trajectory's reward, times the share of its memories that were cut off by their limit (after DAPO's
    /// overlong punishment, arXiv 2503.14476 §3.4).
    pub overlong_penalty: f64,
    /// Taken from the trajectory's reward, times the mean share of a memory's sentences that it holds already (after the
    /// n-gram repetition penalty of arXiv 2502.03373).
    pub repetition_penalty: f64,
    /// Taken from the trajectory's reward, times the mean share of a memory's sentences that do not stand word for word in
    /// what was read (the complement of the density of extractive summaries, arXiv 1804.11283 §4.1, in whole sentences).
    pub unsupported_penalty: f64,
    /// Which memory is asked about which chunk. It came later than the others and is left out of a run's configuration at its
    /// default, so that runs without it go on.
    #[serde(skip_serializing_if = "is_default")]
    pub recall_draw: RecallDraw,
    /// Whether the questioned chunk may be the one just read (`l ≤ k`). The paper asks for earlier ones. Of the paper's draw
    /// alone.
    pub recall_includes_current: bool,
    /// When an answer is right. The paper is silent.
    pub equality: Equality,
    /// What centred rewards are divided by.
    pub reward_scale: RewardScale,
    /// Drop groups whose rewards are all equal (DAPO §3.2; verl's `filter_groups`). The paper drops documents whose
    /// rewards are all zero or all one. Kept, they give no policy gradient, but count in the denominators and in the KL
    /// penalty.
    pub filter_groups: bool,
}

impl Default for MemTrainConfig {
    fn default() -> Self {
        Self {
            variant: Variant::Full,
            recall_weight: 0.5,
            group_size: 8,
            recall_questions: 1,
            recall_shared: false,
            recall_samples: 8,
            overlong_penalty: 0.0,
            repetition_penalty: 0.0,
            unsupported_penalty: 0.0,
            recall_draw: RecallDraw::Paper,
            recall_includes_current: false,
            equality: Equality::Strict,
            reward_scale: RewardScale::None,
            filter_groups: true,
        }
    }
}

/// A trajectory with everything it was asked and how it was rewarded.
#[derive(Clone, Debug)]
pub struct ScoredTrajectory {
    /// The reading.
    pub trajectory: Trajectory,
    /// Whether the final answer is the hidden entity.
    pub correct: bool,
    /// The recall questions and their answers.
    pub recalls: Vec<ScoredRecall>,
    /// The form of its memories.
    pub form: MemoryForm,
    /// `R^E`.
    pub reward: f64,
}

/// A recall question, its answers, and their rewards `R^I`.
#[derive(Clone, Debug)]
pub struct ScoredRecall {
    /// What was asked.
    pub question: RecallQuestion,
    /// The answers.
    pub turns: Vec<Turn>,
    /// `R^I`: 1 where right, 0 where not.
    pub rewards: Vec<f64>,
}

/// Purpose of the generators that draw recall questions.
const RECALL_PURPOSE: &str = "memtrain/recall-question";

/// Reads every document `group_size` times, asks the recall questions and grades all answers.
///
/// Returns the trajectories a document, in the order of `documents`.
///
/// # Errors
/// If the sampler or the tokenizer fails.
pub fn roll_out(
    reader: &Reader<'_>,
    engine: &mut RolloutEngine<'_>,
    documents: &[ChunkedDocument],
    config: &MemTrainConfig,
) -> anyhow::Result<Vec<Vec<ScoredTrajectory>>> {
    let tasks: Vec<ReadingTask> = documents.iter().map(ChunkedDocument::task).collect();
    let groups = reader.read(engine, &tasks, config.group_size)?;
    let mut questions = Vec::new();
    let mut prompts = Vec::new();
    for (document, group) in documents.iter().zip(&groups) {
        for trajectory in group {
            let asked = recall_questions(reader, document, trajectory, config);
            prompts.extend(asked.iter().enumerate().map(|(number, question)| RecallPrompt {
                document: document.number,
                rollout: trajectory.rollout as u64,
                first_turn: (trajectory.turns.len() + number * config.recall_samples) as u64,
                memory: trajectory.memory(question.memory_step).to_owned(),
                masked_chunk: question.masked_chunk.clone(),
            }));
            questions.push(asked);
        }
    }
    let mut answers = reader.recall(engine, &prompts, config.recall_samples)?.into_iter();
    let mut questions = questions.into_iter();
    let mut scored = |document: &ChunkedDocument, trajectory: Trajectory| {
        let asked = questions.next().unwrap_or_default().into_iter();
        let recalls: Vec<ScoredRecall> = asked
            .map(|question| {
                let turns = answers.next().unwrap_or_default();
                let reward = |turn: &Turn| f64::from(u8::from(is_right(&turn.text, &question.target, config.equality)));
                let rewards = turns.iter().map(reward).collect();
                ScoredRecall { question, turns, rewards }
            })
            .collect();
        let correct = is_right(trajectory.answer(), &document.document.answer, config.equality);
        let form = MemoryForm::of(&trajectory, document);
        let recalled: Vec<f64> = recalls.iter().flat_map(|recall| recall.rewards.iter().copied()).collect();
        let reward = trajectory_reward(correct, &recalled, config) - form.penalty(config);
        ScoredTrajectory { trajectory, correct, recalls, form, reward }
    };
    let of_document = documents.iter().zip(groups);
    let of_document =
        of_document.map(|(document, group)| group.into_iter().map(|read| scored(document, read)).collect());
    Ok(of_document.collect())
}

/// The recall questions that a trajectory is asked.
fn recall_questions(
    reader: &Reader<'_>,
    document: &ChunkedDocument,
    trajectory: &Trajectory,
    config: &MemTrainConfig,
) -> Vec<RecallQuestion> {
    if config.variant == Variant::EndToEnd {
        return Vec::new();
    }
    let drawn_for = if config.recall_shared { 0 } else { trajectory.rollout as u64 };
    let mut generator =
        rng::keyed(RECALL_PURPOSE, reader.step_key.seed, &[reader.step_key.step, document.number, drawn_for]);
    let drawn = (0..config.recall_questions).map_while(|_| draw_recall(document, config, &mut generator));
    drawn.collect()
}

/// The form of a trajectory's memories: means over its memory turns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryForm {
    /// Share of a memory's sentences that it holds already.
    pub repeated: f64,
    /// Share of a memory's sentences that do not stand word for word in what was read.
    pub unsupported: f64,
    /// Share of memories cut off by their limit.
    pub cut_off: f64,
}

impl MemoryForm {
    /// The form of the memories that a reading of this document wrote.
    pub fn of(trajectory: &Trajectory, document: &ChunkedDocument) -> Self {
        let mut form = Self::default();
        let Some((_answer, turns)) = trajectory.turns.split_last() else { return form };
        let mut read = ReadSentences::default();
        for (chunk, turn) in turns.iter().enumerate() {
            read.extend(document.chunk(chunk));
            let all: Vec<&str> = sentences(&turn.text).collect();
            let distinct: HashSet<&str> = all.iter().copied().collect();
            let unsupported = all.iter().filter(|sentence| !read.supports(sentence)).count();
            let share = |count: usize, of: usize| count as f64 / of.max(1) as f64 / turns.len() as f64;
            form.repeated += share(all.len() - distinct.len(), all.len());
            form.unsupported += share(unsupported, all.len());
            form.cut_off += share(usize::from(turn.completion.finish == FinishReason::Length), 1);
        }
        form
    }

    /// What is taken from the trajectory's reward.
    pub fn penalty(&self, config: &MemTrainConfig) -> f64 {
        config.repetition_penalty * self.repeated
            + config.unsupported_penalty * self.unsupported
            + config.overlong_penalty * self.cut_off
    }
}

/// `R^E` of a trajectory before penalties.
///
/// ```
/// use memtrain_rl::objectives::memtrain::{MemTrainConfig, trajectory_reward};
/// let config = MemTrainConfig::default();
/// assert_eq!(trajectory_reward(true, &[1.0, 0.0], &config), 1.25);
/// ```
pub fn trajectory_reward(correct: bool, recall_rewards: &[f64], config: &MemTrainConfig) -> f64 {
    let weight = if config.variant == Variant::Full { config.recall_weight } else { 0.0 };
    let recalled = recall_rewards.iter().sum::<f64>() / recall_rewards.len().max(1) as f64;
    f64::from(u8::from(correct)) + weight * recalled
}

/// Branch of the end-to-end groups, one a document.
pub const END_TO_END: &str = "end_to_end";
/// Branch of the recall groups, one a questioned trajectory.
pub const RECALL: &str = "recall";
/// Part of a trajectory's reward that the form of its memories takes away.
pub const FORM: &str = "form";

/// Turns the rewards of a document's readings into credit. Groups are formed per trajectory, before turns are expanded;
/// with `filter_groups` a group of zero variance is dropped, the two branches separately.
pub fn assign_credit(group: Vec<ScoredTrajectory>, answer: &str, config: &MemTrainConfig) -> RolloutGroup {
    let mut rollout_group = RolloutGroup::default();
    let rewards: Vec<f64> = group.iter().map(|scored| scored.reward).collect();
    let judged = rollout_group.group_advantages(END_TO_END, &rewards, config.reward_scale, config.filter_groups);
    for (scored, &advantage) in group.into_iter().zip(&judged.advantages) {
        let correct = f64::from(u8::from(scored.correct));
        rollout_group.scores.extend([(rollout_group::TOTAL, scored.reward), (END_TO_END, correct)]);
        let mut reason = Reason::of(&[(END_TO_END, correct)]);
        let penalty = scored.form.penalty(config);
        if penalty != 0.0 {
            rollout_group.scores.push((FORM, -penalty));
            reason.parts.push((FORM, -penalty));
        }
        rollout_group.gauges.extend([
            ("rollout/memory_repeated", scored.form.repeated),
            ("rollout/memory_unsupported", scored.form.unsupported),
        ]);
        let recalled: Vec<f64> = scored.recalls.iter().flat_map(|recall| recall.rewards.iter().copied()).collect();
        if !recalled.is_empty() {
            rollout_group.scores.extend(recalled.iter().map(|&reward| (RECALL, reward)));
            reason.parts.push((RECALL, recalled.iter().sum::<f64>() / recalled.len() as f64));
        }
        let rollout = scored.trajectory.rollout;
        let num_turns = scored.trajectory.turns.len();
        rollout_group.samples.extend(scored.trajectory.turns.into_iter().enumerate().map(|(number, turn)| {
            let (target, reason) = (answer.to_owned(), reason.clone());
            let (reward, trained, readable) = (scored.reward, judged.trained, is_readable(&turn));
            ScoredSample { turn, rollout, number, target, reward, advantage, trained, readable, reason }
        }));
        let mut number = num_turns;
        for ScoredRecall { question, turns, rewards } in scored.recalls {
            if config.recall_draw == RecallDraw::Released {
                let standing = question.standing();
                rollout_group.scores.extend(rewards.iter().map(|&reward| (standing.score(), reward)));
                rollout_group.gauges.extend(standing.gauges());
            }
            let of_recall = rollout_group.group_advantages(RECALL, &rewards, config.reward_scale, config.filter_groups);
            let credited = turns.into_iter().zip(rewards).zip(of_recall.advantages);
            for ((turn, reward), advantage) in credited {
                let reason = Reason {
                    parts: vec![(RECALL, reward)],
                    notes: vec![format!("memory {}, chunk {}", question.memory_step, question.chunk_step)],
                };
                let (target, readable, trained) = (question.target.clone(), is_readable(&turn), of_recall.trained);
                rollout_group.samples.push(ScoredSample {
                    turn,
                    rollout,
                    number,
                    target,
                    reward,
                    advantage,
                    trained,
                    readable,
                    reason,
                });
                number += 1;
            }
        }
    }
    rollout_group
}

impl Objective for MemTrainConfig {
    fn agent(&self) -> Agent {
        Agent::Reader
    }

    fn validate(&self) -> Result<(), String> {
        match self.recall_draw == RecallDraw::Released && self.recall_includes_current {
            true => {
                Err("`recall_includes_current` belongs to `recall_draw = \"paper\"`: the released draw reaches the \
                         current chunk and the next one by itself"
                    .to_owned())
            }
            false => Ok(()),
        }
    }

    fn samples_per_trajectory(&self, limits: TurnLimits) -> SampleCounts {
        let answers = self.recall_questions.saturating_mul(self.recall_samples);
        let recall_answers = if self.variant == Variant::EndToEnd { 0 } else { answers };
        SampleCounts { turns: self.agent().most_turns(limits), recall_answers }
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
        &[("E2E", "reward/end_to_end/mean"), ("IMR", "reward/recall/mean")]
    }

    fn roll_out(
        &self,
        context: &mut RolloutContext<'_>,
        items: &[Item],
        group_size: usize,
    ) -> anyhow::Result<Vec<RolloutGroup>> {
        let documents = documents(items)?;
        let config = Self { group_size, ..self.clone() };
        let scored = roll_out(&context.reader, &mut context.engine, &documents, &config)?;
        let credited = scored.into_iter().zip(&documents);
        Ok(credited.map(|(group, document)| assign_credit(group, &document.document.answer, &config)).collect())
    }

    fn reconstruction(&self) -> Option<&MemTrainConfig> {
        Some(self)
    }
}

/// The documents among items.
///
/// # Errors
/// If one is a task.
pub fn documents(items: &[Item]) -> anyhow::Result<Vec<ChunkedDocument>> {
    items.iter().map(|item| Ok(item.document()?.clone())).collect()
}
