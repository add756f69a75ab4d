//! A GRPO step over documents: read, ask, reward, update.

use std::path::PathBuf;

use anyhow::Context;

use super::diagnosis::{Diagnosis, StepNumbers};
use super::documents::DocumentOrder;
use super::interrupt::Interruptible;
use super::metrics;
use super::speed::{PassWork, peak_memory_gib};
use super::{Evaluation, HELD_OUT_REWARD, Phases, StepContext, StepOutcome, Training};
use crate::agents::prompts::PromptSet;
use crate::agents::reader::{DrawConfig, DrawRound, Reader, ReaderConfig, Turn};
use crate::eval::reconstruction::{self, ReconstructionConfig};
use crate::grpo::Conversation;
use crate::grpo::loss::LossConfig;
use crate::grpo::trainer::{UpdateConfig, UpdatePlan, UpdateReport, score_old, score_reference, train_on};
use crate::objectives::memtrain::{
    ChunkedDocument, Credit, GradedTrajectory, MemTrainConfig, Variant, assign_credit, roll_out,
};
use crate::policy::{Decoder, Generation, Origin, Policy, PolicyTokenizer};
use crate::run::RolloutRow;
use crate::run::signal::StopRequest;
use crate::run::watch::Watch;
use crate::sampler::{self, Sampler, SamplerConfig};

/// Trains a reader with MemTrain's objective.
pub struct GrpoTraining<'a> {
    /// The policy's tokenizer.
    pub tokenizer: &'a PolicyTokenizer,
    /// What ends a response.
    pub generation: &'a Generation,
    /// The directory that the policy was read from, for weights that are written for a server.
    pub origin: Option<Origin>,
    /// Where these go.
    pub weights: PathBuf,
    /// What the agent is shown.
    pub prompts: &'a PromptSet,
    /// Limits of the reader.
    pub reader: &'a ReaderConfig,
    /// How rollouts are drawn.
    pub draw: &'a DrawConfig,
    /// Who draws them.
    pub sampler: &'a SamplerConfig,
    /// What is rewarded.
    pub objective: &'a MemTrainConfig,
    /// The loss.
    pub loss: &'a LossConfig,
    /// How a batch is cut into updates.
    pub update: &'a UpdateConfig,
    /// How held-out documents are asked.
    pub eval: &'a ReconstructionConfig,
    /// The frozen reference; none where β = 0.
    pub reference: Option<Decoder>,
    /// Documents in the order of training.
    pub documents: DocumentOrder,
    /// Documents that are evaluated on; none where evaluation is off.
    pub heldout: Vec<ChunkedDocument>,
    /// Documents a step.
    pub documents_per_step: usize,
    /// Further rounds of documents drawn when the zero-variance filter leaves fewer than `documents_per_step`.
    pub max_refills: usize,
    /// Operations a second that MFU is a share of.
    pub peak_flops: f64,
    /// Asked between the turns of rollouts.
    pub stop: &'a StopRequest,
    /// Told what is waited for.
    pub watch: Watch,
    /// Seed of the run.
    pub seed: u64,
    /// Number of documents drawn so far: where a resumed run goes on.
    pub cursor: u64,
    /// What was said about steps that taught nothing.
    pub diagnosis: Diagnosis,
}

/// Rollouts of one step, refills included.
#[derive(Default)]
pub(super) struct Rollouts {
    pub(super) documents: Vec<ChunkedDocument>,
    pub(super) graded: Vec<Vec<GradedTrajectory>>,
    pub(super) credit: Credit,
    pub(super) too_long: usize,
    pub(super) rounds: usize,
}

impl Rollouts {
    /// Tokens of all prompts and responses.
    pub(super) fn tokens(&self) -> usize {
        metrics::turns(self).map(|turn| turn.prompt_ids.len() + turn.completion.token_ids.len()).sum()
    }

    fn response_tokens(&self) -> usize {
        metrics::turns(self).map(|turn| turn.completion.token_ids.len()).sum()
    }
}

impl Training for GrpoTraining<'_> {
    fn cursor(&self) -> u64 {
        self.cursor
    }

    fn set_cursor(&mut self, cursor: u64) {
        self.cursor = cursor;
    }

    fn headlines(&self) -> &'static [(&'static str, &'static str)] {
        &[("E2E", "reward/end_to_end/mean"), ("IMR", "reward/recall/mean"), ("entropy", "entropy")]
    }

    fn step(&mut self, context: StepContext<'_>) -> anyhow::Result<StepOutcome> {
        let mut phases = Phases::start();
        self.watch.begin(format_args!("the rollouts of step {}", context.step));
        let mut rollouts = self.roll_out(&context)?;
        phases.end("time/rollout_s");
        let mut conversations = std::mem::take(&mut rollouts.credit.conversations);
        let limits = self.update.limits(self.temperature());
        self.stop.check()?;
        self.watch.begin(format_args!("the old policy's log-probabilities of step {}", context.step));
        let old_mismatch = score_old(context.decoder, &mut conversations, limits, self.update)?;
        phases.end("time/old_log_probs_s");
        if let Some(reference) = &self.reference {
            self.stop.check()?;
            self.watch.begin(format_args!("the reference's log-probabilities of step {}", context.step));
            score_reference(reference, &mut conversations, limits)?;
        }
        phases.end("time/reference_s");
        // The last moment at which a step can be given up: from here on weights move.
        self.stop.check()?;
        let pairs: Vec<_> = conversations.iter().map(Conversation::pair).collect();
        let work = PassWork::of(&context.decoder.config, &pairs, limits.micro_batch_tokens, limits.sharing);
        drop(pairs);
        let mut metrics = metrics::of_rollouts(&rollouts);
        metrics.extend(metrics::of_advantages(&conversations));
        let num_conversations = conversations.len();
        let (temperature, learning_rate) = (limits.temperature, context.learning_rate);
        let plan = UpdatePlan { loss: self.loss, config: self.update, temperature, learning_rate };
        self.watch.begin(format_args!("the update of step {}", context.step));
        let report = train_on(context.decoder, context.optimizer, context.gradients, conversations, plan)
            .context("the update failed")?;
        phases.end("time/update_s");
        self.explain(&rollouts, num_conversations, &report, &context);
        metrics.extend(self.update_metrics(&report, old_mismatch));
        metrics.push(("train/learning_rate", context.learning_rate));
        metrics.push(("train/conversations", num_conversations as f64));
        let timings = self.timings(&phases, &rollouts, work);
        Ok(StepOutcome { metrics, timings, rollouts: rollout_rows(context.step, &rollouts, self.tokenizer)? })
    }

    fn evaluate(&mut self, decoder: &Decoder) -> anyhow::Result<Option<Evaluation>> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        self.watch.begin("the evaluation on held-out documents");
        let draw = DrawConfig { temperature: self.eval.temperature, ..DrawConfig::default() };
        let reader = self.reader_of(&draw, reconstruction::EVALUATION_STEP);
        let mut sampler = self.sampler(decoder, &self.watch)?;
        let questions = self.eval.recall_questions;
        let report = reconstruction::evaluate(&reader, &mut sampler, &self.heldout, self.objective, questions)?;
        let weight = if self.objective.variant == Variant::EndToEnd { 0.0 } else { self.objective.recall_weight };
        let recall = if report.recall.count == 0 { 0.0 } else { report.recall.mean };
        Ok(Some(Evaluation {
            metrics: vec![
                (HELD_OUT_REWARD, report.end_to_end.mean + weight * recall),
                ("eval/end_to_end/mean", report.end_to_end.mean),
                ("eval/recall/mean", report.recall.mean),
                ("eval/memory_tokens", report.memory_tokens),
                ("eval/clipped_ratio/memory", report.truncated_memories),
                ("eval/documents", report.documents as f64),
            ],
        }))
    }
}

impl<'a> GrpoTraining<'a> {
    /// Responses drawn greedily are scored at temperature 1.
    fn temperature(&self) -> f64 {
        if self.draw.temperature > 0.0 { self.draw.temperature } else { 1.0 }
    }

    /// The configured sampler, with the weights as they are now.
    fn sampler<'w>(&self, decoder: &Decoder, watch: &'w Watch) -> anyhow::Result<Interruptible<'w, Box<dyn Sampler>>>
    where
        'a: 'w,
    {
        let (tokenizer, generation) = (self.tokenizer.clone(), self.generation.clone());
        let policy = Policy { decoder: decoder.frozen()?, tokenizer, generation, origin: self.origin.clone() };
        let sampler = sampler::of_policy(self.sampler, &policy, &self.weights)?;
        Ok(Interruptible { sampler, stop: self.stop, watch })
    }

    fn reader_of<'b>(&'b self, draw: &'b DrawConfig, step: u64) -> Reader<'b> {
        let round = DrawRound { seed: self.seed, step };
        Reader { tokenizer: self.tokenizer, prompts: self.prompts, config: self.reader, draw, round }
    }

    fn roll_out(&mut self, context: &StepContext<'_>) -> anyhow::Result<Rollouts> {
        let round = DrawRound { seed: self.seed, step: context.step };
        let (tokenizer, prompts, config, draw) = (self.tokenizer, self.prompts, self.reader, self.draw);
        let reader = Reader { tokenizer, prompts, config, draw, round };
        let watch = self.watch.clone();
        let mut sampler = self.sampler(context.decoder, &watch)?;
        let mut rollouts = Rollouts::default();
        for _ in 0..=self.max_refills {
            let dropped = if self.objective.filter_groups { rollouts.credit.end_to_end.without_variance() } else { 0 };
            let kept = rollouts.documents.len() - dropped;
            let missing = self.documents_per_step.saturating_sub(kept);
            if missing == 0 {
                break;
            }
            let taken = self.documents.take(self.cursor, missing, &reader)?;
            let documents = taken.documents;
            self.cursor = taken.next;
            rollouts.rounds += 1;
            rollouts.too_long += taken.too_long;
            let graded = roll_out(&reader, &mut sampler, &documents, self.objective)?;
            let credit = assign_credit(&graded, self.objective);
            rollouts.documents.extend(documents);
            rollouts.graded.extend(graded);
            rollouts.credit.extend(credit);
        }
        Ok(rollouts)
    }

    /// Says in a sentence why a step taught little or nothing.
    fn explain(&mut self, rollouts: &Rollouts, conversations: usize, report: &UpdateReport, context: &StepContext<'_>) {
        let numbers = StepNumbers {
            conversations,
            gradient_norm: report.gradient_norm,
            learning_rate: context.learning_rate,
            ..StepNumbers::of(rollouts)
        };
        if let Some(sentence) = self.diagnosis.sentence(context.step, &numbers) {
            tracing::warn!("{sentence}");
        }
    }

    fn update_metrics(&self, report: &UpdateReport, old_mismatch: Option<f64>) -> Vec<(&'static str, f64)> {
        let loss = &report.loss;
        let mut metrics = vec![
            ("train/loss", loss.loss),
            ("train/policy_loss", loss.policy_loss),
            ("train/grad_norm", report.gradient_norm),
            ("train/ratio", loss.ratio),
            ("train/updates", report.updates as f64),
            ("train/response_tokens", loss.tokens as f64),
            ("entropy", loss.entropy),
            ("clip_ratio/low_mean", loss.clip_low),
            ("clip_ratio/high_mean", loss.clip_high),
            ("clip_ratio/dual_mean", loss.clip_dual),
            ("mismatch_kl", old_mismatch.unwrap_or(loss.mismatch_kl)),
            ("sampling/sampling_logp_difference/mean", loss.sampler_difference),
            ("sampling/sampling_logp_difference/max", loss.largest_sampler_difference),
            ("sampling/importance_sampling_ratio/mean", loss.importance),
            ("sampling/importance_sampling_ratio/capped", loss.importance_capped),
        ];
        if self.reference.is_some() {
            metrics.push(("kl", loss.kl));
        }
        metrics
    }

    fn timings(&self, phases: &Phases, rollouts: &Rollouts, work: PassWork) -> Vec<(&'static str, f64)> {
        let rate = |count: f64, phase: &str| if count > 0.0 { count / phases.seconds(phase).max(1e-9) } else { 0.0 };
        // Phases that had nothing to do end as soon as they begin.
        let had_work = |phase: &str| match phase {
            "time/reference_s" => self.reference.is_some(),
            _ => self.update.needs_old_pass(),
        };
        let scored = |phase: &str| if had_work(phase) { work.tokens as f64 } else { 0.0 };
        let (update, epochs) = ("time/update_s", self.update.epochs as f64);
        let passes = phases.seconds("time/rollout_s") + phases.seconds(update);
        let mut timings = phases.all().to_vec();
        timings.extend([
            ("perf/tokens_per_s", rollouts.tokens() as f64 / passes.max(1e-9)),
            ("perf/old_log_probs_tokens_per_s", rate(scored("time/old_log_probs_s"), "time/old_log_probs_s")),
            ("perf/reference_tokens_per_s", rate(scored("time/reference_s"), "time/reference_s")),
            ("perf/rollout_tokens_per_s", rate(rollouts.response_tokens() as f64, "time/rollout_s")),
            ("perf/update_tokens_per_s", rate(work.tokens as f64 * epochs, update)),
            ("perf/update_tflops_per_s", rate(work.training_flops() * epochs, update) / 1e12),
            ("perf/mfu", rate(work.training_flops() * epochs, update) / self.peak_flops),
        ]);
        timings.extend(peak_memory_gib().map(|gib| ("perf/peak_memory_gib", gib)));
        timings
    }
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
