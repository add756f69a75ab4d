//! A GRPO step: play items, reward, update. Which system it is, the objective alone knows.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use memtrain_collective::{Collective, Single};
use memtrain_engine::outbound::while_wanted;
use memtrain_engine::sampler::{self, ChatServer, HttpSampler, LocalSampler, Sampler, SamplerConfig, SamplerKind};
use memtrain_eval::held_out;
use memtrain_eval::reconstruction::{self, ReconstructionConfig};
use memtrain_model::optim::Ranks;
use memtrain_model::policy::{Decoder, Generation, Origin, Policy, PolicyTokenizer};
use memtrain_model::scoring::{PassLimits, PromptResponse, score_across};
use memtrain_rl::agents::bank::BankReading;
use memtrain_rl::agents::bank::answerer::{Answerer, ServerAnswerer};
use memtrain_rl::agents::prompts::PromptSet;
use memtrain_rl::agents::reader::{Reader, ReaderConfig, SamplingConfig, StepKey};
use memtrain_rl::grpo::TrainingSample;
use memtrain_rl::grpo::loss::LossConfig;
use memtrain_rl::grpo::trainer::{UpdateConfig, UpdatePlan, UpdateReport, score_old, score_reference, train_on};
use memtrain_rl::objectives::{Item, Metric, Objective, RolloutContext, RolloutGroup, Scorer, Search};
use memtrain_rl::reward::ExternalReward;
use memtrain_rl::rollout::RolloutEngine;
use memtrain_run::RunError;
use memtrain_run::signal::StopRequest;
use memtrain_run::watch::Watch;

use super::diagnosis::{Diagnosis, StepNumbers};
use super::items::ItemOrder;
use super::metrics;
use super::ranks::{agreed, gathered, own_items};
use super::rollouts::{Rollouts, rollout_rows};
use super::speed::{PassWork, peak_memory_gib};
use super::{Evaluation, HELD_OUT_REWARD, Overlap, Phases, StepContext, StepOutcome, Training};

/// Trains a policy with an objective.
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
    pub sampling: &'a SamplingConfig,
    /// Who draws them.
    pub sampler: &'a SamplerConfig,
    /// What is rewarded.
    pub objective: &'a dyn Objective,
    /// What scores trajectories besides the objective.
    pub reward: Option<Mutex<ExternalReward>>,
    /// How a bank is kept and read, by objectives with one.
    pub bank: &'a BankReading,
    /// A server that answers and judges, instead of the reference.
    pub answerer: Option<ChatServer>,
    /// Where a searcher searches, for objectives that do.
    pub search: Option<Search<'a>>,
    /// The loss.
    pub loss: &'a LossConfig,
    /// How a batch is cut into updates.
    pub update: &'a UpdateConfig,
    /// How held-out documents are asked.
    pub eval: &'a ReconstructionConfig,
    /// The frozen reference; none where neither a KL penalty nor the objective asks for it.
    pub reference: Option<Decoder>,
    /// Documents or tasks in the order of training.
    pub items: Mutex<ItemOrder>,
    /// What is evaluated on; nothing where evaluation is off.
    pub heldout: Vec<Item>,
    /// Documents or tasks a step.
    pub documents_per_step: usize,
    /// Further rounds of documents drawn when the zero-variance filter leaves fewer than `documents_per_step`.
    pub max_refills: usize,
    /// Operations a second that MFU is a share of.
    pub peak_flops: Option<f64>,
    /// Ends a step within a response of its rollouts, or a micro-batch of its update.
    pub stop: &'a StopRequest,
    /// Told what is waited for.
    pub watch: Watch,
    /// Seed of the run.
    pub seed: u64,
    /// Number of documents drawn so far: where a resumed run goes on.
    pub cursor: u64,
    /// What was said about steps that taught nothing.
    pub diagnosis: Diagnosis,
    /// The server that draws.
    pub served: Mutex<Served>,
    /// How far its log-probabilities were from the trainer's in the first step of this process, in nats a token.
    pub first_difference: Option<f64>,
    /// Whether rollouts are drawn while the step before is trained on.
    pub overlap: Overlap,
    /// Those of the next step, where they are drawn already.
    pub ahead: Option<Rollouts>,
}

/// A server that draws.
#[derive(Debug, Default)]
pub struct Served {
    /// There once it was given weights.
    server: Option<HttpSampler>,
    /// Whether it has the weights as they are now.
    is_current: bool,
}

/// Passes over micro-batches that a stop ends.
struct Stoppable<'a> {
    stop: &'a StopRequest,
    is_given_up: Cell<bool>,
}

impl<'a> Stoppable<'a> {
    fn by(stop: &'a StopRequest) -> Self {
        Self { stop, is_given_up: Cell::new(false) }
    }

    /// Whether the next micro-batch is to be computed.
    fn go_on(&self) -> bool {
        self.is_given_up.set(self.stop.requested());
        !self.is_given_up.get()
    }

    /// What a pass has given; where it was given up, the stop.
    fn stopped_or<T, E: Into<anyhow::Error>>(&self, result: Result<T, E>) -> anyhow::Result<T> {
        if self.is_given_up.get() {
            self.stop.check()?;
        }
        result.map_err(Into::into)
    }
}

/// Scores with a decoder, forward only.
struct DecoderScorer<'a> {
    decoder: &'a Decoder,
    limits: PassLimits,
    stop: &'a StopRequest,
}

impl Scorer for DecoderScorer<'_> {
    fn log_probs(&self, pairs: &[PromptResponse<'_>]) -> anyhow::Result<Vec<Vec<f64>>> {
        let passes = Stoppable::by(self.stop);
        let scored = score_across(&Ranks::single(0), self.decoder, pairs, self.limits, &|| passes.go_on());
        let scored = passes.stopped_or(scored)?;
        Ok(scored.into_iter().map(|tokens| tokens.into_iter().map(|token| token.log_prob).collect()).collect())
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
        self.objective.headlines()
    }

    fn step(&mut self, mut context: StepContext<'_>) -> anyhow::Result<StepOutcome> {
        let mut phases = Phases::start();
        let ranks = context.optimizer.ranks().clone();
        let collective = ranks.collective();
        let rollouts = match self.ahead.take() {
            Some(ahead) => ahead,
            None => {
                self.watch.begin(format_args!("the rollouts of step {}", context.step));
                self.roll_out(context.decoder, context.step, self.cursor, self.stop, collective)?
            }
        };
        self.cursor = rollouts.next;
        phases.end("time/rollout_s");
        let mut samples: Vec<TrainingSample> =
            rollouts.groups.iter().flat_map(RolloutGroup::training_samples).collect();
        let limits = self.update.limits(self.temperature());
        agreed(collective, self.check_stop())?;
        self.watch.begin(format_args!("the old policy's log-probabilities of step {}", context.step));
        // Until the first optimizer step a step can be given up: from there on weights move.
        let passes = Stoppable::by(self.stop);
        let goes_on = || passes.go_on();
        let scored = score_old(&ranks, context.decoder, &mut samples, limits, self.update, &goes_on);
        let old_mismatch = passes.stopped_or(scored)?;
        phases.end("time/old_log_probs_s");
        if let Some(reference) = self.reference.as_ref().filter(|_| self.loss.kl_beta > 0.0) {
            agreed(collective, self.check_stop())?;
            self.watch.begin(format_args!("the reference's log-probabilities of step {}", context.step));
            let scored = score_reference(&ranks, reference, &mut samples, limits, &goes_on);
            passes.stopped_or(scored)?;
        }
        phases.end("time/reference_s");
        agreed(collective, self.check_stop())?;
        let pairs: Vec<_> = samples.iter().map(TrainingSample::pair).collect();
        let work = PassWork::of(&context.decoder.config, &pairs, limits.micro_batch_tokens, limits.sharing);
        drop(pairs);
        let mut metrics = metrics::of_rollouts(&rollouts);
        metrics.extend(metrics::of_advantages(&samples));
        let num_samples = samples.len();
        let (temperature, learning_rate) = (limits.temperature, context.learning_rate);
        let plan = UpdatePlan { loss: self.loss, config: self.update, temperature, learning_rate };
        self.watch.begin(format_args!("the update of step {}", context.step));
        let update = |context: &mut StepContext<'_>| {
            let report = train_on(context.decoder, context.optimizer, context.gradients, samples, plan, &goes_on);
            passes.stopped_or(report.context("the update failed"))
        };
        let report = match self.overlap == Overlap::OneStep && !context.checkpoint_follows {
            true => self.update_and_draw(&mut context, &mut phases, update)?,
            false => {
                let report = update(&mut context)?;
                phases.end("time/update_s");
                report
            }
        };
        self.served.get_mut().unwrap_or_else(PoisonError::into_inner).is_current = false;
        self.explain(&rollouts, num_samples, &report, &context);
        if rollouts.staleness == 0 {
            self.compare_sampler(context.step, report.loss.sampler_difference);
        }
        metrics.extend(self.update_metrics(&report, old_mismatch));
        if self.overlap == Overlap::OneStep {
            metrics.push(("sampling/staleness".into(), rollouts.staleness as f64));
        }
        metrics.push(("train/learning_rate".into(), context.learning_rate));
        metrics.push(("train/conversations".into(), num_samples as f64));
        let timings = self.timings(&phases, &rollouts, work, ranks.world_size());
        // Of the rank that writes them.
        let is_writing = ranks.rank() == 0;
        let rows = is_writing.then(|| rollout_rows(context.step, &rollouts, self.tokenizer)).transpose()?;
        Ok(StepOutcome { metrics, timings, rollouts: rows.unwrap_or_default() })
    }

    fn evaluate(&mut self, decoder: &Decoder) -> anyhow::Result<Option<Evaluation>> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        self.watch.begin("the evaluation on held-out documents");
        let sampling = SamplingConfig { temperature: self.eval.temperature, ..SamplingConfig::default() };
        let (items, objective, eval) = (&self.heldout, self.objective, self.eval);
        let evaluated =
            self.with_rollout_context(decoder, &sampling, reconstruction::EVALUATION_STEP, self.stop, |context| {
                held_out::evaluate(objective, context, items, eval.recall_questions)
            })?;
        let mut metrics: Vec<Metric> = vec![(HELD_OUT_REWARD.into(), evaluated.reward)];
        metrics.extend(evaluated.metrics);
        Ok(Some(Evaluation { metrics }))
    }
}

impl GrpoTraining<'_> {
    fn check_stop(&self) -> anyhow::Result<()> {
        Ok(self.stop.check()?)
    }

    /// Responses drawn greedily are scored at temperature 1.
    fn temperature(&self) -> f64 {
        if self.sampling.temperature > 0.0 { self.sampling.temperature } else { 1.0 }
    }

    /// Rolls out with the configured sampler and the weights as they are now.
    fn engine(&self, decoder: &Decoder, stop: &StopRequest) -> anyhow::Result<RolloutEngine<'static>> {
        let (tokenizer, generation) = (self.tokenizer.clone(), self.generation.clone());
        let policy = Policy { decoder: decoder.frozen()?, tokenizer, generation, origin: self.origin.clone() };
        let sampler: Box<dyn Sampler> = match self.sampler.kind {
            SamplerKind::Local => sampler::of_policy(self.sampler, &policy, None, &|| Ok(stop.check()?))?,
            SamplerKind::Http => Box::new(self.server(policy, stop)?),
        };
        Ok(RolloutEngine::new(sampler).with_stop(stop).with_watch(&self.watch))
    }

    /// The server that draws, with a policy's weights. While it reads them a stop is heeded.
    fn server(&self, policy: Policy, stop: &StopRequest) -> anyhow::Result<HttpSampler> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let (server, is_current) = (served.server.take(), served.is_current);
        let (http, weights) = (self.sampler.http.clone(), self.weights.clone());
        let give = move || {
            let mut server = match server {
                Some(server) => server,
                None => {
                    let (stop_ids, allowed) = (&policy.generation.eos_token_ids, policy.tokenizer.vocab_size());
                    HttpSampler::connect(&http, stop_ids, allowed)?
                }
            };
            if !is_current {
                server.refresh(&policy, &weights)?;
            }
            anyhow::Ok(server)
        };
        let server = while_wanted(&|| Ok(stop.check()?), give)??;
        served.is_current = true;
        Ok(served.server.insert(server).clone())
    }

    /// Updates the policy while the rollouts of the next step are drawn with the weights from before.
    fn update_and_draw(
        &mut self,
        context: &mut StepContext<'_>,
        phases: &mut Phases,
        update: impl FnOnce(&mut StepContext<'_>) -> anyhow::Result<UpdateReport>,
    ) -> anyhow::Result<UpdateReport> {
        let (before, next) = (context.decoder.trainable_copy()?.frozen()?, context.step + 1);
        let this = &*self;
        // A server draws for one rank (`train_from` sees to it).
        let alone = &Single;
        let update = || {
            let report = update(context);
            phases.end("time/update_s");
            this.watch.begin(format_args!("the rollouts of step {next}"));
            report
        };
        let (report, drawn) = beside(this.stop, update, |stop| this.roll_out(&before, next, this.cursor, stop, alone));
        phases.end("time/wait_s");
        let report = report?;
        self.ahead = match drawn {
            Ok(rollouts) => Some(Rollouts { staleness: 1, ..rollouts }),
            // The update is done and counts; the loop sees that it was asked to stop.
            Err(error) if RunError::is_stop(&error) => None,
            Err(error) => return Err(error.context(format!("the rollouts of step {next}"))),
        };
        Ok(report)
    }

    /// Makes the context of rollouts with a policy: its sampler and scorer, and those of the reference where the
    /// objective asks for them.
    fn with_rollout_context<T>(
        &self,
        decoder: &Decoder,
        sampling: &SamplingConfig,
        step: u64,
        stop: &StopRequest,
        act: impl FnOnce(&mut RolloutContext<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let step_key = StepKey { seed: self.seed, step };
        let (tokenizer, prompts, config) = (self.tokenizer, self.prompts, self.reader);
        let limits = self.update.limits(1.0);
        let reference = self.reference.as_ref().filter(|_| self.objective.needs_reference());
        let engine = self.engine(decoder, stop)?;
        let watch = &self.watch;
        // A server that draws has the policy's weights; the reference is always asked in this process.
        let mut frozen: Option<Box<dyn Answerer>> = match (&self.answerer, reference) {
            (Some(server), _) => {
                Some(Box::new(ServerAnswerer { server: server.clone(), stop: stop.clone(), watch: watch.clone() }))
            }
            (None, Some(reference)) => {
                let (stop_ids, allowed) = (&self.generation.eos_token_ids, self.tokenizer.vocab_size());
                let sampler = LocalSampler::with_ids(reference, stop_ids, allowed)?;
                Some(Box::new(RolloutEngine::new(sampler).with_stop(stop).with_watch(watch)))
            }
            (None, None) => None,
        };
        let frozen_scorer = reference.map(|decoder| DecoderScorer { decoder, limits, stop });
        act(&mut RolloutContext {
            reader: Reader { tokenizer, prompts, config, sampling, step_key },
            bank: self.bank,
            search: self.search,
            engine,
            frozen: frozen.as_deref_mut().map(|frozen| frozen as &mut dyn Answerer),
            scorer: &DecoderScorer { decoder, limits, stop },
            frozen_scorer: frozen_scorer.as_ref().map(|scorer| scorer as &dyn Scorer),
        })
    }

    /// Draws and rewards the rollouts of a step, whose first item is number `cursor`. Each rank draws those of its share of the
    /// items, and all have them all.
    fn roll_out(
        &self,
        decoder: &Decoder,
        step: u64,
        cursor: u64,
        stop: &StopRequest,
        collective: &dyn Collective,
    ) -> anyhow::Result<Rollouts> {
        let started = Instant::now();
        let mut rollouts = Rollouts { next: cursor, ..Rollouts::default() };
        let (objective, sampling) = (self.objective, self.sampling);
        let (tokenizer, prompts, config) = (self.tokenizer, self.prompts, self.reader);
        let reader = Reader { tokenizer, prompts, config, sampling, step_key: StepKey { seed: self.seed, step } };
        for _ in 0..=self.max_refills {
            let teaching = |group: &&RolloutGroup| !objective.filters_groups() || group.has_reward_variance();
            let missing = self.documents_per_step.saturating_sub(rollouts.groups.iter().filter(teaching).count());
            if missing == 0 {
                break;
            }
            let taken = {
                let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
                agreed(collective, items.take(rollouts.next, missing, &reader, stop))?
            };
            rollouts.next = taken.next;
            rollouts.rounds += 1;
            rollouts.too_long += taken.too_long;
            rollouts.shortened += taken.shortened;
            let items = taken.items;
            let own = own_items(collective, &items);
            let groups = gathered(collective, self.roll_out_items(decoder, step, &own, stop), items.len())?;
            rollouts.groups.extend(groups);
            rollouts.items.extend(items);
        }
        rollouts.seconds = started.elapsed().as_secs_f64();
        Ok(rollouts)
    }

    /// Draws and rewards the rollouts of these items.
    fn roll_out_items(
        &self,
        decoder: &Decoder,
        step: u64,
        items: &[Item],
        stop: &StopRequest,
    ) -> anyhow::Result<Vec<RolloutGroup>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let objective = self.objective;
        let mut groups = self.with_rollout_context(decoder, self.sampling, step, stop, |rollout_context| {
            objective.roll_out(rollout_context, items, objective.group_size())
        })?;
        if let Some(reward) = &self.reward {
            let mut reward = reward.lock().unwrap_or_else(PoisonError::into_inner);
            self.watch.begin(format_args!("the scores from outside of step {step}"));
            reward.add(&mut groups, items, self.prompts, self.tokenizer, stop)?;
        }
        Ok(groups)
    }

    /// Says when a server's log-probabilities of what it drew are not the policy's: beyond the bound, or far beyond what they
    /// were at first, when the server had just read the weights.
    fn compare_sampler(&mut self, step: u64, difference: f64) {
        /// Times that of the first step.
        const GROWTH: f64 = 10.0;
        /// Rounding, where both compute in f32.
        const ROUNDING: f64 = 1e-3;
        let SamplerConfig { kind, http, .. } = self.sampler;
        if *kind != SamplerKind::Http || http.max_mismatch == 0.0 || difference == 0.0 {
            return;
        }
        let first = *self.first_difference.get_or_insert(difference);
        if difference > http.max_mismatch || difference > GROWTH * first.max(ROUNDING) {
            tracing::warn!(
                "step {step}: the log-probabilities of `{}` differ from the trainer's by {difference:.4} a token ({first:.4} at first): it draws with old weights, other ones, or otherwise than it was asked to",
                http.url
            );
        }
    }

    /// Says in a sentence why a step taught little or nothing.
    fn explain(&mut self, rollouts: &Rollouts, samples: usize, report: &UpdateReport, context: &StepContext<'_>) {
        let numbers = StepNumbers {
            samples,
            gradient_norm: report.gradient_norm,
            learning_rate: context.learning_rate,
            clipped_tokens: report.loss.clip_low + report.loss.clip_high + report.loss.clip_dual,
            group_size: self.objective.group_size(),
            is_greedy: self.sampling.temperature == 0.0 || self.sampling.top_k == 1,
            ..StepNumbers::of(rollouts, self.objective.agent().answer_form())
        };
        if let Some(sentence) = self.diagnosis.sentence(context.step, &numbers) {
            tracing::warn!("{sentence}");
        }
    }

    /// What the update came to; of one without any sample nothing was measured, and all but the counts is not a number.
    fn update_metrics(&self, report: &UpdateReport, old_mismatch: Option<f64>) -> Vec<Metric> {
        let loss = &report.loss;
        let mut metrics = vec![
            ("train/loss", loss.loss),
            ("train/policy_loss", loss.policy_loss),
            ("train/grad_norm", report.gradient_norm),
            ("train/grad_clipped", report.clipped),
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
        if self.loss.kl_beta > 0.0 {
            metrics.push(("kl", loss.kl));
        }
        let measured =
            metrics.iter_mut().filter(|(name, _)| !matches!(*name, "train/updates" | "train/response_tokens"));
        if loss.tokens == 0 {
            measured.for_each(|(_, value)| *value = f64::NAN);
        }
        metrics.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    /// What the clock says of a step that `world_size` ranks have taken together.
    fn timings(
        &self,
        phases: &Phases,
        rollouts: &Rollouts,
        work: PassWork,
        world_size: usize,
    ) -> Vec<(&'static str, f64)> {
        // Of no work there is no rate.
        let rate =
            |count: f64, phase: &str| if count > 0.0 { count / phases.seconds(phase).max(1e-9) } else { f64::NAN };
        // Phases that had nothing to do end as soon as they begin.
        let had_work = |phase: &str| match phase {
            "time/reference_s" => self.reference.is_some(),
            _ => self.update.needs_old_pass(),
        };
        let scored = |phase: &str| if had_work(phase) { work.tokens as f64 } else { 0.0 };
        let (update, epochs) = ("time/update_s", self.update.epochs as f64);
        let passes = phases.seconds("time/rollout_s") + phases.seconds(update) + phases.seconds("time/wait_s");
        let mut timings = phases.all().to_vec();
        timings.extend([
            ("perf/tokens_per_s", rollouts.tokens() as f64 / passes.max(1e-9)),
            ("perf/old_log_probs_tokens_per_s", rate(scored("time/old_log_probs_s"), "time/old_log_probs_s")),
            ("perf/reference_tokens_per_s", rate(scored("time/reference_s"), "time/reference_s")),
            ("perf/rollout_tokens_per_s", rollouts.response_tokens() as f64 / rollouts.seconds.max(1e-9)),
            ("perf/update_tokens_per_s", rate(work.tokens as f64 * epochs, update)),
            ("perf/update_tflops_per_s", rate(work.training_flops() * epochs, update) / 1e12),
        ]);
        let peak_flops = self.peak_flops.map(|peak| peak * world_size as f64);
        timings.extend(peak_flops.map(|peak| ("perf/mfu", rate(work.training_flops() * epochs, update) / peak)));
        timings.extend(peak_memory_gib().map(|gib| ("perf/peak_memory_gib", gib)));
        timings
    }
}

/// Draws on a thread of its own while this one updates. Nobody needs rollouts of a step after one that has failed: drawing is
/// asked to stop then.
fn beside<U, D: Send>(
    stop: &StopRequest,
    update: impl FnOnce() -> anyhow::Result<U>,
    draw: impl FnOnce(&StopRequest) -> D + Send,
) -> (anyhow::Result<U>, D) {
    let stop = stop.child();
    std::thread::scope(|scope| {
        let drawing = scope.spawn(|| draw(&stop));
        let updated = update().inspect_err(|_| stop.request());
        (updated, drawing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_failed_update_ends_the_drawing_beside_it_and_one_that_succeeds_does_not() {
        /// Draws until it is asked to stop, for a minute at most; whether it was asked.
        fn draw(stop: &StopRequest, most: Duration) -> bool {
            let started = Instant::now();
            while !stop.requested() && started.elapsed() < most {
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.requested()
        }
        let stop = StopRequest::default();
        let (report, was_asked) =
            beside(&stop, || anyhow::bail!("out of memory"), |stop| draw(stop, Duration::from_secs(60)));
        let report: anyhow::Result<()> = report;
        assert!(report.is_err() && was_asked && !stop.requested());
        let (report, was_asked) = beside(&stop, || Ok(7), |stop| draw(stop, Duration::from_millis(50)));
        assert_eq!((report.ok(), was_asked), (Some(7), false));
    }
}
