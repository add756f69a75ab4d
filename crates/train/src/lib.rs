//! The training loop, the same for SFT and for GRPO.
//!
//! [`Loop`] goes from step to step: take a step, record it, save now and then, stop when asked, and go on
//! where the newest checkpoint stands. What a step does is a [`Training`]: [`grpo::GrpoTraining`] or
//! [`sft::SftTraining`].

pub mod diagnosis;
mod divergence;
pub mod documents;
pub mod grpo;
pub mod items;
mod metrics;
mod observer;
pub mod optimizer;
mod ranks;
mod rollouts;
mod sample;
pub mod sft;
pub mod speed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use memtrain_collective::Collective;
use memtrain_model::optim::{AdamW, GradientBuffer, GradientSums, Ranks};
use memtrain_model::policy::{Decoder, Policy, Precision, directory};
use memtrain_rl::objectives::Metric;
use memtrain_run::log;
use memtrain_run::signal::StopRequest;
use memtrain_run::{
    Checkpoint, Checkpoints, Records, Retention, RolloutRow, RunDirectory, RunError, Schedule, TrainingState,
};
use serde::{Deserialize, Serialize};

pub use memtrain_run::records::HELD_OUT_REWARD;

pub use self::observer::{Observer, StepEvent};
use self::optimizer::OptimizerConfig;

/// File of the optimizer's state in a checkpoint.
const OPTIMIZER: &str = "optimizer.safetensors";

/// Whether rollouts are drawn while the step before is trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Each step is drawn with the weights that it trains.
    #[default]
    None,
    /// A step is drawn with the weights from before the last update. The first step after a checkpoint is not, so that a
    /// checkpoint is all that is needed to go on.
    OneStep,
}

impl Overlap {
    /// Left out of a run's configuration then, so that runs from before the key go on.
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_by_micro_batches(sums: &GradientSums) -> bool {
    *sums == GradientSums::MicroBatches
}

/// How long a run trains and what it keeps. Defaults: MemTrain §4.1 where it says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimizer batches. Default 300.
    pub steps: u64,
    /// Documents a step. Default 32.
    pub documents_per_step: usize,
    /// Further rounds of documents drawn when the zero-variance filter leaves fewer than `documents_per_step` (DAPO's
    /// dynamic sampling). Default 0.
    pub max_refills: usize,
    /// Whether rollouts are drawn while the step before is trained on, one step off-policy: `none` or `one-step`.
    #[serde(skip_serializing_if = "Overlap::is_none")]
    pub overlap: Overlap,
    /// The order in which gradients of several processes are added up: `micro-batches`, as one process adds them, or `ranks`, which
    /// takes fewer exchanges. Default `micro-batches`, left out of a run's configuration then, so that runs from before the key go on.
    #[serde(skip_serializing_if = "is_by_micro_batches")]
    pub gradient_sums: GradientSums,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Newest checkpoints that stay; 0 keeps all.
    pub keep_last: usize,
    /// Checkpoints whose step is a multiple of this stay for good; 0 for none.
    pub keep_every: u64,
    /// Steps between evaluations on held-out documents, which come with a checkpoint each; the best one stays. 0 for none.
    pub evaluate_every: u64,
    /// Steps between rollout tables; 0 writes none.
    pub rollouts_every: u64,
    /// Steps between rollouts that are shown in the log; 0 shows none. Default 0, left out of a run's configuration then, so
    /// that runs from before the key go on.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_samples: u64,
    /// Write event files for TensorBoard beside the JSON lines.
    pub tensorboard: bool,
    /// Seconds without any movement after which the log says what is waited for.
    pub watch_after_s: u64,
    /// What the device can do at most, in 10¹² floating-point operations a second: what MFU is a share of. 0 takes the dense
    /// bf16 rate of a card that is known by its name, and on the processor measures a matrix product at the start.
    pub peak_tflops: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 300,
            documents_per_step: 32,
            max_refills: 0,
            overlap: Overlap::None,
            gradient_sums: GradientSums::MicroBatches,
            checkpoint_every: 10,
            keep_last: 2,
            keep_every: 100,
            evaluate_every: 0,
            rollouts_every: 1,
            log_samples: 0,
            tensorboard: true,
            watch_after_s: 600,
            peak_tflops: 0.0,
        }
    }
}

/// What a step may use and change.
pub struct StepContext<'a> {
    /// The policy.
    pub decoder: &'a Decoder,
    /// Its optimizer.
    pub optimizer: &'a mut AdamW,
    /// Gradient accumulators, shaped like the policy.
    pub gradients: &'a mut GradientBuffer,
    /// Number of the step, from 1.
    pub step: u64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Whether a checkpoint is written after the step.
    pub checkpoint_follows: bool,
    /// Asks to give the step up, which it may before a weight moves.
    pub stop: &'a StopRequest,
}

/// What a step did.
#[derive(Debug, Default)]
pub struct StepOutcome {
    /// Functions of configuration and inputs alone.
    pub metrics: Vec<Metric>,
    /// What the clock said, in seconds.
    pub timings: Vec<(&'static str, f64)>,
    /// Samples of the step.
    pub rollouts: Vec<RolloutRow>,
}

/// How a policy does on held-out documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// [`HELD_OUT_REWARD`] among them.
    pub metrics: Vec<Metric>,
}

/// The phases of a step by the clock.
#[derive(Clone, Debug)]
pub struct Phases {
    last: Instant,
    seconds: Vec<(&'static str, f64)>,
}

impl Phases {
    /// The first phase begins.
    pub fn start() -> Self {
        Self { last: Instant::now(), seconds: Vec::new() }
    }

    /// A phase ends and the next begins.
    pub fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.seconds.push((name, (now - self.last).as_secs_f64()));
        self.last = now;
    }

    /// All phases in order, in seconds.
    pub fn all(&self) -> &[(&'static str, f64)] {
        &self.seconds
    }

    /// Seconds of a phase; 0 if there was none of this name.
    pub fn seconds(&self, name: &str) -> f64 {
        self.seconds.iter().find(|(of, _)| *of == name).map_or(0.0, |(_, seconds)| *seconds)
    }
}

/// One kind of training.
pub trait Training {
    /// Takes a step.
    ///
    /// # Errors
    /// If sampling, the documents or the update fail; [`RunError::Stopped`] if somebody asked to stop while nothing had
    /// moved yet, so that the step can be taken anew.
    fn step(&mut self, context: StepContext<'_>) -> anyhow::Result<StepOutcome>;

    /// Documents drawn so far: saved with every checkpoint.
    fn cursor(&self) -> u64;

    /// Goes on from a checkpoint.
    fn set_cursor(&mut self, cursor: u64);

    /// The metrics worth a glance while it runs, with short names.
    fn headlines(&self) -> &'static [(&'static str, &'static str)];

    /// How the policy does on held-out documents, a function of its weights alone; nothing where there are none.
    ///
    /// # Errors
    /// If sampling fails, or [`RunError::Stopped`].
    fn evaluate(&mut self, _decoder: &Decoder) -> anyhow::Result<Option<Evaluation>> {
        Ok(None)
    }
}

/// A run's loop, the same on each of its ranks.
pub struct Loop<'a> {
    /// The ranks that train together.
    pub collective: Arc<dyn Collective>,
    /// Where it is recorded: by rank 0, and by no other.
    pub run: Option<&'a RunDirectory>,
    /// How long, and what is kept.
    pub config: &'a TrainConfig,
    /// How weights move.
    pub optimizer: &'a OptimizerConfig,
    /// What the weights are while they are trained.
    pub precision: Precision,
    /// Told what happens.
    pub observer: &'a dyn Observer,
    /// Asked between steps.
    pub stop: &'a StopRequest,
}

/// A loop under way.
struct LoopState<'a> {
    on: &'a Loop<'a>,
    policy: &'a mut Policy,
    training: &'a mut dyn Training,
    optimizer: AdamW,
    gradients: GradientBuffer,
    /// Of rank 0.
    recording: Option<Recording<'a>>,
    done: u64,
    /// The step of the newest checkpoint.
    saved: u64,
    path: Option<PathBuf>,
}

/// What is written of a run.
struct Recording<'a> {
    run: &'a RunDirectory,
    checkpoints: Checkpoints,
    records: Records,
}

impl Loop<'_> {
    /// Trains `policy` from the newest checkpoint of the run, or from where it is, to the last step. Gives the folder of the
    /// last checkpoint; there is none where no step was to be taken.
    ///
    /// # Errors
    /// If a checkpoint is damaged, a step fails, or something cannot be written; [`RunError::Stopped`] if a signal asked to
    /// stop, with everything saved.
    pub fn run(&self, policy: &mut Policy, training: &mut dyn Training) -> anyhow::Result<Option<PathBuf>> {
        let mut state = self.begin(policy, training)?;
        state.run()?;
        Ok(state.path)
    }

    /// Everything as the newest checkpoint has it.
    fn begin<'a>(&'a self, policy: &'a mut Policy, training: &'a mut dyn Training) -> anyhow::Result<LoopState<'a>> {
        let retention =
            Retention { schedule: self.schedule(), last: self.config.keep_last, every: self.config.keep_every };
        let checkpoints = self.run.map(|run| run.checkpoints(retention)).transpose()?;
        let newest = checkpoints.as_ref().map(Checkpoints::newest).transpose()?.flatten();
        let newest = self.of_first_rank(newest)?;
        let mut done = 0;
        if let Some(checkpoint) = &newest {
            directory::restore(policy, &checkpoint.path)?;
            done = checkpoint.state.step;
            training.set_cursor(checkpoint.state.next_document);
            match done < self.config.steps {
                true => tracing::info!("going on from step {done} of {}", self.config.steps),
                false => tracing::info!("all {done} steps are done"),
            }
        }
        let (decoder, masters) = policy.decoder.trainable(self.precision)?;
        policy.decoder = decoder;
        let parameters = policy.decoder.parameters()?;
        let ranks = Ranks::new(Arc::clone(&self.collective), &parameters, self.config.gradient_sums);
        let gradients = GradientBuffer::across(&parameters, ranks.clone())?;
        let mut optimizer = AdamW::across(parameters, self.optimizer.adamw(), ranks)?;
        if !masters.is_empty() {
            optimizer.set_masters(&masters)?;
        }
        if let Some(checkpoint) = &newest {
            // Opening the checkpoint has checked the length and the hash of this file.
            let state = checkpoint.training_state().join(OPTIMIZER);
            optimizer.restore_state(&state).context("the optimizer's state cannot be read")?;
        }
        if let Some(detail) = divergence::of(optimizer.parameters())? {
            return Err(match newest {
                Some(checkpoint) => RunError::DamagedCheckpoint { path: checkpoint.path, detail }.into(),
                None => anyhow::anyhow!("the policy to start from cannot be trained: {detail}"),
            });
        }
        let recording = match (self.run, checkpoints) {
            (Some(run), Some(mut checkpoints)) => {
                let records = run.rewind(done, self.config.tensorboard)?;
                checkpoints.update_links_and_prune(records.best(HELD_OUT_REWARD).map(|(best, _)| best))?;
                Some(Recording { run, checkpoints, records })
            }
            _ => None,
        };
        let path = newest.map(|checkpoint| checkpoint.path);
        Ok(LoopState { on: self, policy, training, optimizer, gradients, recording, done, saved: done, path })
    }

    /// The checkpoint that rank 0 has found and verified, on all ranks.
    fn of_first_rank(&self, found: Option<Checkpoint>) -> anyhow::Result<Option<Checkpoint>> {
        if self.collective.world_size() == 1 {
            return Ok(found);
        }
        let told = serde_json::to_vec(&found.map(|Checkpoint { path, state }| (path, state)))?;
        let told: Option<(PathBuf, TrainingState)> = serde_json::from_slice(&self.collective.broadcast(0, &told)?)?;
        Ok(told.map(|(path, state)| Checkpoint { path, state }))
    }

    fn schedule(&self) -> Schedule {
        let TrainConfig { steps, checkpoint_every, evaluate_every, .. } = *self.config;
        Schedule { steps, checkpoint_every, evaluate_every }
    }
}

impl LoopState<'_> {
    fn run(&mut self) -> anyhow::Result<()> {
        let (config, stop) = (self.on.config, self.on.stop);
        self.on.observer.begins(self.done, config.steps);
        // A run that was stopped between a checkpoint and its evaluation goes on with the evaluation.
        self.evaluate()?;
        while self.done < config.steps {
            let outcome = self.step()?;
            self.on.observer.stepped(&StepEvent {
                step: self.done,
                steps: config.steps,
                metrics: &outcome.metrics,
                timings: &outcome.timings,
                headlines: self.training.headlines(),
            });
            // A signal to one rank stops all, after the same step.
            let is_stopping = self.on.collective.any(stop.requested())?;
            if self.on.schedule().saves_after(self.done) {
                self.save()?;
            } else if is_stopping {
                self.save_off_schedule()?;
            }
            if is_stopping {
                return Err(self.stopped());
            }
            self.evaluate()?;
        }
        self.on.observer.ends();
        Ok(())
    }

    /// Takes a step and records it. A step that is given up leaves everything as it was, and that is saved.
    fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let started = Instant::now();
        let (step, cursor) = (self.done + 1, self.training.cursor());
        let context = StepContext {
            decoder: &self.policy.decoder,
            optimizer: &mut self.optimizer,
            gradients: &mut self.gradients,
            step,
            learning_rate: self.on.optimizer.learning_rate(step, self.on.config.steps),
            checkpoint_follows: self.on.schedule().saves_after(step),
            stop: self.on.stop,
        };
        let mut outcome = match self.training.step(context) {
            Ok(outcome) => outcome,
            Err(error) if RunError::is_stop(&error) => {
                self.training.set_cursor(cursor);
                if self.done > 0 {
                    self.save_off_schedule()?;
                }
                return Err(self.stopped());
            }
            Err(error) if divergence::is_of(&error) => {
                return Err(self.diverged(step, error.root_cause().to_string(), self.done));
            }
            Err(error) => return Err(error.context(format!("step {step} failed"))),
        };
        if let Some(detail) = divergence::of(self.optimizer.parameters())? {
            return Err(self.diverged(step, detail, step));
        }
        self.done = step;
        outcome.timings.push(("time/step_s", started.elapsed().as_secs_f64()));
        let Some(Recording { run, records, .. }) = &mut self.recording else { return Ok(outcome) };
        records.step(step, &borrowed(&outcome.metrics), &outcome.timings)?;
        let every = self.on.config.log_samples;
        if every > 0 && step.is_multiple_of(every) {
            sample::lines(step, &outcome.rollouts).iter().for_each(|line| log::line(line, true));
        }
        let every = self.on.config.rollouts_every;
        if every > 0 && step.is_multiple_of(every) && !outcome.rollouts.is_empty() {
            let table = run.write_rollouts(step, std::mem::take(&mut outcome.rollouts))?;
            records.rollouts(step, &table)?;
        }
        Ok(outcome)
    }

    /// Saves what a stop would lose. Where steps overlap it is lost: what was drawn ahead is not saved, and the next step,
    /// drawn anew, would be another one than that of the undisturbed run.
    fn save_off_schedule(&mut self) -> anyhow::Result<()> {
        match self.on.config.overlap {
            Overlap::None => self.save(),
            Overlap::OneStep => Ok(()),
        }
    }

    /// Saves the policy as it is now, unless it is. Rank 0 writes, what the others keep of the optimizer comes to it.
    fn save(&mut self) -> anyhow::Result<()> {
        if self.saved == self.done {
            return Ok(());
        }
        let state = TrainingState { step: self.done, next_document: self.training.cursor() };
        let (policy, optimizer) = (&*self.policy, &self.optimizer);
        match &mut self.recording {
            Some(Recording { checkpoints, .. }) => {
                // Without a marker: a checkpoint lists its files itself, and nothing but a run may replace it.
                let write_policy = |folder: &Path| Ok(directory::write(policy, folder)?);
                let write_optimizer = |folder: &Path| Ok(optimizer.save_state(&folder.join(OPTIMIZER))?);
                self.path = Some(checkpoints.save(&state, write_policy, write_optimizer)?.path);
            }
            None => optimizer.send_state()?,
        }
        self.saved = self.done;
        Ok(())
    }

    /// Evaluates the policy where that is due and has not been done, after its checkpoint was written. The other ranks wait for
    /// rank 0.
    fn evaluate(&mut self) -> anyhow::Result<()> {
        if !self.on.schedule().evaluates_after(self.done) {
            return Ok(());
        }
        let is_here = |recording: &Recording<'_>| !recording.records.is_evaluated(self.done);
        let outcome = match self.recording.as_ref().is_some_and(is_here) {
            true => self.evaluate_here(),
            false => Ok(()),
        };
        match ranks::agreed(&*self.on.collective, outcome) {
            Err(error) if RunError::is_stop(&error) => Err(self.stopped()),
            outcome => outcome,
        }
    }

    fn evaluate_here(&mut self) -> anyhow::Result<()> {
        let step = self.done;
        let started = Instant::now();
        let evaluation = match self.training.evaluate(&self.policy.decoder) {
            Ok(Some(evaluation)) => evaluation,
            Ok(None) => return Ok(()),
            Err(error) if RunError::is_stop(&error) => return Err(error),
            Err(error) if divergence::is_of(&error) => {
                return Err(self.diverged(step, error.root_cause().to_string(), step));
            }
            Err(error) => return Err(error.context(format!("the evaluation after step {step} failed"))),
        };
        let Some(Recording { checkpoints, records, .. }) = &mut self.recording else { return Ok(()) };
        records.evaluation(step, &borrowed(&evaluation.metrics))?;
        self.on.observer.evaluated(step, &evaluation.metrics);
        let reward = |name: &str| evaluation.metrics.iter().find(|(key, _)| key == name).map_or(f64::NAN, |(_, v)| *v);
        let Some((best, highest)) = records.best(HELD_OUT_REWARD) else { return Ok(()) };
        checkpoints.update_links_and_prune(Some(best))?;
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(
            "step {step}: held-out reward {:.3} in {seconds:.1} s; the best is {highest:.3} of step {best}",
            reward(HELD_OUT_REWARD)
        );
        Ok(())
    }

    /// The end of a run whose policy has diverged: nothing of the step is recorded or saved. Checkpoints from step
    /// `broken_from` on are as little use.
    fn diverged(&self, step: u64, detail: String, broken_from: u64) -> anyhow::Error {
        let sound = self.recording.as_ref().and_then(|Recording { checkpoints, .. }| {
            // If they cannot be listed, that is not the error to report.
            let steps = checkpoints.steps().unwrap_or_default();
            steps.into_iter().rfind(|&saved| saved < broken_from).map(|saved| checkpoints.path(saved))
        });
        RunError::Diverged { step, detail, sound }.into()
    }

    /// The end of a run that was asked to stop.
    fn stopped(&self) -> anyhow::Error {
        let told = match (self.saved, self.done) {
            (0, 0) => "stopped by a signal: no step is done yet, so nothing of the training is saved".to_owned(),
            (0, _) => {
                "stopped by a signal: no checkpoint is written yet, so nothing of the training is saved".to_owned()
            }
            (saved, _) => format!("stopped by a signal: step {saved} is saved"),
        };
        // The cause is told once: its words are in these.
        anyhow::Error::from(RunError::Stopped).context(told)
    }
}

/// Metrics as the records take them.
fn borrowed(metrics: &[Metric]) -> Vec<(&str, f64)> {
    metrics.iter().map(|(name, value)| (name.as_ref(), *value)).collect()
}
