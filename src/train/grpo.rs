//! A GRPO step over documents: read, ask, reward, update.

use std::time::Instant;

use anyhow::Context;

use super::documents::DocumentOrder;
use super::{StepContext, StepOutcome, Training};
use crate::agents::answer::last_boxed;
use crate::agents::prompts::PromptSet;
use crate::agents::reader::{DrawConfig, DrawRound, Reader, ReaderConfig, Turn};
use crate::grpo::loss::LossConfig;
use crate::grpo::trainer::{UpdateConfig, UpdatePlan, score_reference, train_on};
use crate::objectives::memtrain::{ChunkedDocument, Credit, GradedTrajectory, MemTrainConfig, assign_credit, roll_out};
use crate::policy::Decoder;
use crate::policy::PolicyTokenizer;
use crate::run::RolloutRow;
use crate::sampler::FinishReason;
use crate::sampler::local::LocalSampler;

/// Trains a reader with MemTrain's objective.
pub struct GrpoTraining<'a> {
    /// The policy's tokenizer.
    pub tokenizer: &'a PolicyTokenizer,
    /// Ids that end a response.
    pub stop_ids: &'a [u32],
    /// What the agent is shown.
    pub prompts: &'a PromptSet,
    /// Limits of the reader.
    pub reader: &'a ReaderConfig,
    /// How rollouts are drawn.
    pub draw: &'a DrawConfig,
    /// What is rewarded.
    pub objective: &'a MemTrainConfig,
    /// The loss.
    pub loss: &'a LossConfig,
    /// How a batch is cut into updates.
    pub update: &'a UpdateConfig,
    /// The frozen reference; none where β = 0.
    pub reference: Option<Decoder>,
    /// Documents in the order of training.
    pub documents: DocumentOrder,
    /// Documents a step.
    pub documents_per_step: usize,
    /// Further rounds of documents drawn when the zero-variance filter leaves fewer than `documents_per_step`.
    pub max_refills: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Number of documents drawn so far: where a resumed run goes on.
    pub cursor: u64,
}

/// Rollouts of one step, refills included.
#[derive(Default)]
struct Rollouts {
    documents: Vec<ChunkedDocument>,
    graded: Vec<Vec<GradedTrajectory>>,
    credit: Credit,
    too_long: usize,
}

impl Training for GrpoTraining<'_> {
    fn cursor(&self) -> u64 {
        self.cursor
    }

    fn set_cursor(&mut self, cursor: u64) {
        self.cursor = cursor;
    }

    fn headlines(&self) -> &'static [(&'static str, &'static str)] {
        &[("E2E", "reward/end_to_end/mean"), ("IMR", "reward/recall/mean"), ("entropy", "train/entropy")]
    }

    fn step(&mut self, context: StepContext<'_>) -> anyhow::Result<StepOutcome> {
        let started = Instant::now();
        let mut sampler = LocalSampler::with_ids(context.decoder, self.stop_ids, self.tokenizer.vocab_size())?;
        let mut rollouts = self.roll_out(&mut sampler, context.step)?;
        drop(sampler);
        let rolled_out = Instant::now();
        let mut conversations = std::mem::take(&mut rollouts.credit.conversations);
        let limits = self.update.limits(self.temperature());
        if let Some(reference) = &self.reference {
            score_reference(reference, &mut conversations, limits)?;
        }
        let scored = Instant::now();
        let num_conversations = conversations.len();
        if num_conversations == 0 {
            explain_no_gradient(context.step, &rollouts);
        }
        let plan = UpdatePlan {
            loss: self.loss,
            config: self.update,
            temperature: limits.temperature,
            learning_rate: context.learning_rate,
        };
        let report = train_on(context.decoder, context.optimizer, context.gradients, conversations, plan)
            .context("the update failed")?;
        let mut metrics = rollout_metrics(&rollouts);
        metrics.extend([
            ("train/loss", report.loss.loss),
            ("train/kl", report.loss.kl),
            ("train/entropy", report.loss.entropy),
            ("train/clip_ratio/low", report.loss.clip_low),
            ("train/clip_ratio/high", report.loss.clip_high),
            ("train/clip_ratio/dual", report.loss.clip_dual),
            ("train/mismatch_kl", report.loss.mismatch_kl),
            ("train/grad_norm", report.gradient_norm),
            ("train/learning_rate", context.learning_rate),
            ("train/updates", report.updates as f64),
            ("train/conversations", num_conversations as f64),
            ("train/response_tokens", report.loss.tokens as f64),
        ]);
        let timings = vec![
            ("time/rollout_s", (rolled_out - started).as_secs_f64()),
            ("time/reference_s", (scored - rolled_out).as_secs_f64()),
            ("time/update_s", scored.elapsed().as_secs_f64()),
        ];
        Ok(StepOutcome { metrics, timings, rollouts: rollout_rows(context.step, &rollouts, self.tokenizer)? })
    }
}

impl GrpoTraining<'_> {
    /// Responses drawn greedily are scored at temperature 1.
    fn temperature(&self) -> f64 {
        if self.draw.temperature > 0.0 { self.draw.temperature } else { 1.0 }
    }

    fn roll_out(&mut self, sampler: &mut LocalSampler, step: u64) -> anyhow::Result<Rollouts> {
        let reader = Reader {
            tokenizer: self.tokenizer,
            prompts: self.prompts,
            config: self.reader,
            draw: self.draw,
            round: DrawRound { seed: self.seed, step },
        };
        let mut rollouts = Rollouts::default();
        for _ in 0..=self.max_refills {
            let kept = rollouts.documents.len() - rollouts.credit.dropped_documents;
            let missing = self.documents_per_step.saturating_sub(kept);
            if missing == 0 {
                break;
            }
            let taken = self.documents.take(self.cursor, missing, &reader)?;
            let documents = taken.documents;
            self.cursor = taken.next;
            rollouts.too_long += taken.too_long;
            let graded = roll_out(&reader, sampler, &documents, self.objective)?;
            let credit = assign_credit(&graded, self.objective);
            rollouts.documents.extend(documents);
            rollouts.graded.extend(graded);
            rollouts.credit.extend(credit);
        }
        Ok(rollouts)
    }
}

/// Says why a step moved nothing. The three usual causes are told apart by their numbers.
fn explain_no_gradient(step: u64, rollouts: &Rollouts) {
    let turns: Vec<&Turn> = rollouts
        .graded
        .iter()
        .flatten()
        .flat_map(|graded| {
            graded.trajectory.turns.last().into_iter().chain(graded.recall.iter().flat_map(|recall| &recall.turns))
        })
        .collect();
    let share = |test: fn(&Turn) -> bool| 100 * turns.iter().filter(|turn| test(turn)).count() / turns.len().max(1);
    tracing::warn!(
        "step {step} gave no gradient: in every group all rewards are equal. Of the answers, {} % hold no \\boxed{{}} that can be \
         read, {} % were cut off by their limit; the rest are all wrong or all right",
        share(|turn| last_boxed(&turn.text).is_none()),
        share(|turn| turn.completion.finish == FinishReason::Length),
    );
}

/// What the rollouts of a step say about the policy.
fn rollout_metrics(rollouts: &Rollouts) -> Vec<(&'static str, f64)> {
    let trajectories = || rollouts.graded.iter().flatten();
    let rewards: Vec<f64> = trajectories().map(|graded| graded.reward).collect();
    let correct: Vec<f64> = trajectories().map(|graded| f64::from(u8::from(graded.correct))).collect();
    let recall: Vec<f64> = trajectories()
        .filter_map(|graded| graded.recall.as_ref())
        .flat_map(|recall| recall.rewards.iter().copied())
        .collect();
    let recall_groups = trajectories().filter(|graded| graded.recall.is_some()).count();
    let turns: Vec<&Turn> = trajectories()
        .flat_map(|graded| graded.trajectory.turns.iter().chain(graded.recall.iter().flat_map(|recall| &recall.turns)))
        .collect();
    let clipped: Vec<f64> =
        turns.iter().map(|turn| f64::from(u8::from(turn.completion.finish == FinishReason::Length))).collect();
    let lengths: Vec<f64> = turns.iter().map(|turn| turn.completion.token_ids.len() as f64).collect();
    let memories: Vec<f64> = trajectories()
        .filter_map(|graded| graded.trajectory.turns.iter().rev().nth(1))
        .map(|turn| turn.completion.token_ids.len() as f64)
        .collect();
    let share = |part: usize, all: usize| part as f64 / all.max(1) as f64;
    vec![
        ("reward/mean", mean(&rewards)),
        ("reward/std", deviation(&rewards)),
        ("reward/end_to_end/mean", mean(&correct)),
        ("reward/recall/mean", mean(&recall)),
        ("rollout/documents", rollouts.documents.len() as f64),
        ("rollout/documents_too_long", rollouts.too_long as f64),
        (
            "rollout/tokens",
            turns.iter().map(|turn| turn.prompt_ids.len() + turn.completion.token_ids.len()).sum::<usize>() as f64,
        ),
        ("rollout/trajectories", rewards.len() as f64),
        ("rollout/turns", turns.len() as f64),
        ("rollout/memory_tokens", mean(&memories)),
        ("completions/mean_length", mean(&lengths)),
        ("completions/clipped_ratio", mean(&clipped)),
        ("frac_reward_zero_std/end_to_end", share(rollouts.credit.dropped_documents, rollouts.documents.len())),
        ("frac_reward_zero_std/recall", share(rollouts.credit.dropped_recalls, recall_groups)),
    ]
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values);
    (values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// Every turn of the step, recall answers after the turns of their trajectory, what was dropped included.
fn rollout_rows(step: u64, rollouts: &Rollouts, tokenizer: &PolicyTokenizer) -> anyhow::Result<Vec<RolloutRow>> {
    let mut rows = Vec::new();
    for ((document, group), group_advantages) in
        rollouts.documents.iter().zip(&rollouts.graded).zip(&rollouts.credit.trajectory_advantages)
    {
        for (graded, &advantage) in group.iter().zip(group_advantages) {
            let row =
                |turn: &Turn, number: usize, target: &str, reward: f64, advantage: f64| -> anyhow::Result<RolloutRow> {
                    Ok(RolloutRow {
                        step,
                        document_id: document.document.id.clone(),
                        rollout: graded.trajectory.rollout as u32,
                        turn: number as u32,
                        kind: turn.kind,
                        prompt: tokenizer.decode(&turn.prompt_ids)?,
                        response: turn.text.clone(),
                        prompt_ids: turn.prompt_ids.clone(),
                        response_ids: turn.completion.token_ids.clone(),
                        log_probs: turn.completion.log_probs.clone(),
                        reward,
                        advantage,
                        target: target.to_owned(),
                        finish: turn.completion.finish,
                    })
                };
            let num_turns = graded.trajectory.turns.len();
            for (number, turn) in graded.trajectory.turns.iter().enumerate() {
                rows.push(row(turn, number, &document.document.answer, graded.reward, advantage)?);
            }
            let Some(recall) = &graded.recall else { continue };
            for (sample, (turn, &reward)) in recall.turns.iter().zip(&recall.rewards).enumerate() {
                rows.push(row(turn, num_turns + sample, &recall.question.target, reward, recall.advantages[sample])?);
            }
        }
    }
    Ok(rows)
}
