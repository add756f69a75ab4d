//! Rollout engine: the loop that runs environments over a sampler's stream.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context;
use memtrain_engine::sampler::{SampleRequest, SampleStream, Sampler};
use memtrain_model::policy::PolicyTokenizer;
use memtrain_rollout_types::RolloutKind;
use memtrain_run::progress::Bar;
use memtrain_run::signal::StopRequest;
use memtrain_run::watch::Watch;

use super::lookups::{Lookups, SearchIn};
use super::{Environment, Observation, SingleTurn, Step, Trajectory, Turn};

/// How long passages are waited for before the engine looks whether to stop, where there is nothing to sample.
const PATIENCE: Duration = Duration::from_millis(100);

/// Runs environments with a policy.
///
/// Each environment goes on as soon as its own response has ended. A stop request is looked for between two forward
/// passes (ten times a second where a server samples), so it ends a rollout within a response; what was sampled is
/// sampled again, the same, when the work is taken up.
pub struct RolloutEngine<'a> {
    sampler: Box<dyn Sampler + 'a>,
    stop: StopRequest,
    watch: Watch,
    bar: Option<Arc<Bar>>,
}

/// An environment that is running.
struct Live<E> {
    environment: E,
    turns: Vec<Turn>,
    /// Kind and prompt of the turn under way.
    shown: (RolloutKind, Vec<u32>),
}

impl<'a> RolloutEngine<'a> {
    /// An engine that samples with this sampler and that nobody stops.
    pub fn new(sampler: impl Sampler + 'a) -> Self {
        Self { sampler: Box::new(sampler), stop: StopRequest::default(), watch: Watch::default(), bar: None }
    }

    /// Ends with [`memtrain_run::RunError::Stopped`] once this asks to.
    #[must_use]
    pub fn with_stop(mut self, stop: &StopRequest) -> Self {
        self.stop = stop.clone();
        self
    }

    /// Tells how many responses have ended.
    #[must_use]
    pub fn with_watch(mut self, watch: &Watch) -> Self {
        self.watch = watch.clone();
        self
    }

    /// From now on counts each response that has ended on this bar.
    pub fn count_on(&mut self, bar: &Arc<Bar>) {
        self.bar = Some(Arc::clone(bar));
    }

    /// The same engine, lent.
    pub fn reborrow(&mut self) -> RolloutEngine<'_> {
        let (stop, watch, bar) = (self.stop.clone(), self.watch.clone(), self.bar.clone());
        RolloutEngine { sampler: Box::new(&mut self.sampler), stop, watch, bar }
    }

    /// Runs every task `group_size` times; the trajectories of a task stand together. `environment` is given a task and
    /// the number of the rollout.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn groups<'t, T, E: Environment>(
        &mut self,
        tokenizer: &PolicyTokenizer,
        tasks: &'t [T],
        group_size: usize,
        search: Option<SearchIn<'_>>,
        environment: impl Fn(&'t T, usize) -> E,
    ) -> anyhow::Result<Vec<Vec<Trajectory<E::Outcome>>>> {
        let of_task = |task| (0..group_size).map(move |rollout| (task, rollout));
        let environments = tasks.iter().flat_map(of_task).map(|(task, rollout)| environment(task, rollout));
        let mut trajectories = self.run(tokenizer, environments.collect(), search)?.into_iter();
        Ok(tasks.iter().map(|_| trajectories.by_ref().take(group_size).collect()).collect())
    }

    /// Runs single turns; their responses in the same order.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn respond_all(&mut self, tokenizer: &PolicyTokenizer, prompts: Vec<SingleTurn>) -> anyhow::Result<Vec<Turn>> {
        Ok(self.run(tokenizer, prompts, None)?.into_iter().flat_map(|trajectory| trajectory.turns).collect())
    }

    /// As [`Self::run`] looks whether to stop, for work before it that takes long.
    ///
    /// # Errors
    /// [`memtrain_run::RunError::Stopped`] if somebody has asked to stop.
    pub(crate) fn check_stop(&self) -> anyhow::Result<()> {
        Ok(self.stop.check()?)
    }

    /// Runs environments to their ends; trajectories in the order of the environments.
    ///
    /// # Errors
    /// If the sampler, the tokenizer, the retriever or an environment fails;
    /// [`memtrain_run::RunError::Stopped`] if somebody has asked to stop.
    pub fn run<E: Environment>(
        &mut self,
        tokenizer: &PolicyTokenizer,
        environments: Vec<E>,
        search: Option<SearchIn<'_>>,
    ) -> anyhow::Result<Vec<Trajectory<E::Outcome>>> {
        let mut lookups = Lookups::new(search);
        let mut stream = self.sampler.stream()?;
        let (mut submitted, mut ended) = (0, 0);
        let mut live: Vec<Live<E>> = Vec::with_capacity(environments.len());
        for (place, mut environment) in environments.into_iter().enumerate() {
            self.stop.check()?;
            let step = environment.first()?;
            live.push(Live { environment, turns: Vec::new(), shown: (RolloutKind::Answer, Vec::new()) });
            submitted += live[place].take(step, place, &mut *stream, &mut lookups)?;
        }
        let mut patience = Duration::ZERO;
        loop {
            self.stop.check()?;
            for (place, passages) in lookups.found(patience)? {
                let step = live[place].environment.found(passages)?;
                submitted += live[place].take(step, place, &mut *stream, &mut lookups)?;
            }
            patience = Duration::ZERO;
            match stream.poll()? {
                Poll::Pending => {}
                Poll::Ready(Some((place, completion))) => {
                    ended += 1;
                    self.watch.progress(format_args!("{ended} of {submitted} responses have ended"));
                    if let Some(bar) = &self.bar {
                        bar.advance(1);
                    }
                    let live = &mut live[place];
                    let text = tokenizer.decode_response(&completion.token_ids);
                    let text = text.context("a response cannot be decoded")?.trim().to_owned();
                    let (kind, prompt_ids) = (live.shown.0, std::mem::take(&mut live.shown.1));
                    live.turns.push(Turn { kind, prompt_ids, completion, text });
                    let Some(turn) = live.turns.last_mut() else { continue };
                    let step = live.environment.next(turn)?;
                    submitted += live.take(step, place, &mut *stream, &mut lookups)?;
                }
                Poll::Ready(None) if lookups.none_under_way() => break,
                Poll::Ready(None) => patience = PATIENCE,
            }
        }
        Ok(live.into_iter().map(Live::trajectory).collect())
    }
}

impl<E: Environment> Live<E> {
    /// Takes a step; the number of requests that it submits.
    fn take(
        &mut self,
        step: Step,
        place: usize,
        stream: &mut dyn SampleStream,
        lookups: &mut Lookups,
    ) -> anyhow::Result<usize> {
        match step {
            Step::Observe(Observation { kind, prompt_ids, params }) => {
                let mut rng_key = self.environment.rng_key();
                rng_key.turn += self.turns.len() as u64;
                self.shown = (kind, prompt_ids.clone());
                stream.submit(place, SampleRequest { prompt_ids, params, rng_key })?;
                return Ok(1);
            }
            Step::Search(query) => lookups.ask(place, query)?,
            Step::End => {}
        }
        Ok(0)
    }

    fn trajectory(self) -> Trajectory<E::Outcome> {
        let rollout = self.environment.rng_key().rollout as usize;
        Trajectory { rollout, turns: self.turns, outcome: self.environment.outcome() }
    }
}
