//! How does a run go on from step to step?
//!
//! [`Loop`] is the same for warming up and for GRPO: take a step, record it, save now and then, stop when asked, and go on
//! where the newest checkpoint stands. What a step does is a [`Training`]: [`grpo::GrpoTraining`] or
//! [`warm_up::WarmUpTraining`].

pub mod documents;
pub mod grpo;
pub mod optimizer;
pub mod warm_up;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use memtrain_corpora::store;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use self::optimizer::OptimizerConfig;
use crate::optim::{AdamW, GradientBuffer};
use crate::policy::{Decoder, Policy, Precision, directory};
use crate::run::progress::Bar;
use crate::run::signal::StopRequest;
use crate::run::{Retention, RolloutRow, RunDirectory, TrainingState};

/// File of the optimizer's state in a checkpoint.
const OPTIMIZER: &str = "optimizer.safetensors";

/// How long a run trains and what it keeps. Defaults: MemTrain §4.1 where it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimizer batches. Default 300.
    pub steps: u64,
    /// Documents a step. Default 32.
    pub documents_per_step: usize,
    /// Further rounds of documents drawn when the zero-variance filter leaves fewer than `documents_per_step` (DAPO's
    /// dynamic sampling). Default 0.
    pub max_refills: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Newest checkpoints that stay; 0 keeps all.
    pub keep_last: usize,
    /// Checkpoints whose step is a multiple of this stay for good; 0 for none.
    pub keep_every: u64,
    /// Steps between rollout tables; 0 writes none.
    pub rollouts_every: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 300,
            documents_per_step: 32,
            max_refills: 0,
            checkpoint_every: 10,
            keep_last: 2,
            keep_every: 100,
            rollouts_every: 1,
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
}

/// What a step did.
#[derive(Debug, Default)]
pub struct StepOutcome {
    /// Functions of configuration and inputs alone.
    pub metrics: Vec<(&'static str, f64)>,
    /// What the clock said, in seconds.
    pub timings: Vec<(&'static str, f64)>,
    /// Conversations of the step.
    pub rollouts: Vec<RolloutRow>,
}

/// One kind of training.
pub trait Training {
    /// Takes a step.
    ///
    /// # Errors
    /// If sampling, the documents or the update fail.
    fn step(&mut self, context: StepContext<'_>) -> anyhow::Result<StepOutcome>;

    /// Documents drawn so far: saved with every checkpoint.
    fn cursor(&self) -> u64;

    /// Goes on from a checkpoint.
    fn set_cursor(&mut self, cursor: u64);

    /// The metrics worth a glance while it runs, with short names.
    fn headlines(&self) -> &'static [(&'static str, &'static str)];
}

/// A run's loop.
pub struct Loop<'a> {
    /// Where it is recorded.
    pub run: &'a RunDirectory,
    /// How long, and what is kept.
    pub config: &'a TrainConfig,
    /// How weights move.
    pub optimizer: &'a OptimizerConfig,
    /// What the weights are while they are trained.
    pub precision: Precision,
    /// Asked between steps.
    pub stop: &'a StopRequest,
}

impl Loop<'_> {
    /// Trains `policy` from the newest checkpoint of the run, or from where it is, to the last step. Gives the folder of the
    /// last checkpoint; there is none where no step was to be taken.
    ///
    /// # Errors
    /// If a checkpoint is damaged, a step fails, or something cannot be written; [`RunError::Stopped`](crate::run::RunError::Stopped) if a signal asked to
    /// stop, with everything saved.
    pub fn go(&self, policy: &mut Policy, training: &mut dyn Training) -> anyhow::Result<Option<PathBuf>> {
        let retention = Retention { last: self.config.keep_last, every: self.config.keep_every };
        let checkpoints = self.run.checkpoints(retention)?;
        let newest = checkpoints.newest()?;
        let mut done = 0;
        if let Some(checkpoint) = &newest {
            directory::restore(policy, &checkpoint.path)?;
            done = checkpoint.state.step;
            training.set_cursor(checkpoint.state.next_document);
        }
        let (decoder, masters) = policy.decoder.trainable(self.precision)?;
        policy.decoder = decoder;
        let mut optimizer = AdamW::new(policy.decoder.parameters()?, self.optimizer.adamw())?;
        if !masters.is_empty() {
            optimizer.set_masters(&masters)?;
        }
        if let Some(checkpoint) = &newest {
            let state = store::read(&checkpoint.training_state().join(OPTIMIZER))?;
            optimizer.restore(&state).context("the optimizer's state cannot be read")?;
        }
        let (mut metrics_log, mut timings_log) = self.run.rewind(done)?;
        let mut gradients = GradientBuffer::new(&policy.decoder.parameters()?)?;
        let bar = Bar::new("training", self.config.steps, done);
        let mut path = newest.map(|checkpoint| checkpoint.path);
        while done < self.config.steps {
            let started = Instant::now();
            let step = done + 1;
            let learning_rate = self.optimizer.learning_rate(step, self.config.steps);
            let context = StepContext {
                decoder: &policy.decoder,
                optimizer: &mut optimizer,
                gradients: &mut gradients,
                step,
                learning_rate,
            };
            let mut outcome = training.step(context).with_context(|| format!("step {step} failed"))?;
            done = step;
            outcome.timings.push(("time/step_s", started.elapsed().as_secs_f64()));
            bar.advance_to(done, &headline(training.headlines(), &outcome));
            metrics_log.append(step, &object(&outcome.metrics))?;
            timings_log.append(step, &object(&outcome.timings))?;
            if self.config.rollouts_every > 0
                && step.is_multiple_of(self.config.rollouts_every)
                && !outcome.rollouts.is_empty()
            {
                self.run.write_rollouts(step, outcome.rollouts)?;
            }
            let stopping = self.stop.requested();
            if stopping || done == self.config.steps || step.is_multiple_of(self.config.checkpoint_every.max(1)) {
                let state = TrainingState { step: done, next_document: training.cursor() };
                let write_policy = |folder: &Path| Ok(directory::save(policy, folder)?);
                let write_optimizer =
                    |folder: &Path| Ok(store::write_atomic(&folder.join(OPTIMIZER), optimizer.to_bytes()?)?);
                path = Some(checkpoints.save(&state, write_policy, write_optimizer)?.path);
            }
            if stopping {
                self.stop
                    .check()
                    .with_context(|| format!("step {done} is saved; run the same command again to go on"))?;
            }
        }
        bar.finish();
        Ok(path)
    }
}

fn headline(names: &[(&str, &str)], outcome: &StepOutcome) -> String {
    let value = |key: &str| outcome.metrics.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    names.iter().filter_map(|(short, key)| Some(format!("{short} {:.3}", value(key)?))).collect::<Vec<_>>().join("  ")
}

fn object(fields: &[(&'static str, f64)]) -> Map<String, Value> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Number::from_f64(*value).map_or(Value::Null, Value::Number)))
        .collect()
}
