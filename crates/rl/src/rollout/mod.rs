//! Rollouts: environments in which a policy acts, and the engine that runs them.
//!
//! An [`Environment`] is one trajectory in the making. It shows the policy an observation (a prompt and the limits of the
//! response), takes the response, and shows the next observation or ends. Environments know nothing of each other. The
//! [`RolloutEngine`] keeps a request of each of them in the sampler's stream, so that none waits for the response of another.
//!
//! Responses are keyed by (seed, step, document, rollout, turn), and trajectories come back in the order of their
//! environments. So neither depends on the order in which responses end.

mod engine;
mod lookups;
pub mod retrieve;

pub use self::engine::RolloutEngine;
pub use memtrain_rollout_types::{RngKey, RolloutKind};

use memtrain_engine::sampler::{Completion, SamplingParams};

use self::retrieve::Found;

/// What the policy is shown: a prompt, and how its response is sampled.
#[derive(Clone, Debug)]
pub struct Observation {
    /// What the turn is for.
    pub kind: RolloutKind,
    /// Token ids of the prompt.
    pub prompt_ids: Vec<u32>,
    /// How the response is sampled, and its longest length.
    pub params: SamplingParams,
}

/// One prompt and the policy's response to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What it was for.
    pub kind: RolloutKind,
    /// Token ids of the prompt.
    pub prompt_ids: Vec<u32>,
    /// What the sampler returned: the ids that are trained on.
    pub completion: Completion,
    /// The response as text, special tokens dropped.
    pub text: String,
}

/// The turns of one rollout, and what else its environment has to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory<T = ()> {
    /// Number of the rollout in its group.
    pub rollout: usize,
    /// The turns in order.
    pub turns: Vec<Turn>,
    /// Beside the turns: banks, actions.
    pub outcome: T,
}

/// What an environment does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// It shows the policy something.
    Observe(Observation),
    /// It looks for passages, and goes on with [`Environment::found`].
    Search(String),
    /// The trajectory is complete.
    End,
}

/// One trajectory in the making. An error of any of its methods ends all rollouts that run with it.
pub trait Environment {
    /// What it knows at its end.
    type Outcome;

    /// RNG key of the first turn; the turns are counted from there.
    fn rng_key(&self) -> RngKey;

    /// The first step.
    ///
    /// # Errors
    /// If the tokenizer fails, or a prompt does not fit.
    fn first(&mut self) -> anyhow::Result<Step>;

    /// The step after a turn. It may say anew what the turn was for.
    ///
    /// # Errors
    /// As [`Self::first`].
    fn next(&mut self, turn: &mut Turn) -> anyhow::Result<Step>;

    /// The step after a search.
    ///
    /// # Errors
    /// As [`Self::first`].
    fn found(&mut self, _passages: Vec<Found>) -> anyhow::Result<Step> {
        anyhow::bail!("an environment that asks for no passages was given some")
    }

    /// What is known when it has ended.
    fn outcome(self) -> Self::Outcome;
}

/// An environment of one turn: a question and the response to it.
#[derive(Clone, Debug)]
pub struct SingleTurn {
    rng_key: RngKey,
    observation: Option<Observation>,
}

impl SingleTurn {
    /// Shows this, and ends with the response to it.
    pub fn new(rng_key: RngKey, observation: Observation) -> Self {
        Self { rng_key, observation: Some(observation) }
    }
}

impl Environment for SingleTurn {
    type Outcome = ();

    fn rng_key(&self) -> RngKey {
        self.rng_key
    }

    fn first(&mut self) -> anyhow::Result<Step> {
        Ok(self.observation.take().map_or(Step::End, Step::Observe))
    }

    fn next(&mut self, _turn: &mut Turn) -> anyhow::Result<Step> {
        Ok(Step::End)
    }

    fn outcome(self) {}
}

/// An environment whose turns somebody follows: each is handed over once the next step is taken, and what is removed from it
/// then is not kept in the trajectory either.
pub struct Followed<E, F> {
    environment: E,
    follow: F,
}

impl<E: Environment, F: FnMut(&mut Turn) -> anyhow::Result<()>> Followed<E, F> {
    /// The environment with who follows it.
    pub fn new(environment: E, follow: F) -> Self {
        Self { environment, follow }
    }
}

impl<E: Environment, F: FnMut(&mut Turn) -> anyhow::Result<()>> Environment for Followed<E, F> {
    type Outcome = E::Outcome;

    fn rng_key(&self) -> RngKey {
        self.environment.rng_key()
    }

    fn first(&mut self) -> anyhow::Result<Step> {
        self.environment.first()
    }

    fn next(&mut self, turn: &mut Turn) -> anyhow::Result<Step> {
        let step = self.environment.next(turn)?;
        (self.follow)(turn)?;
        Ok(step)
    }

    fn found(&mut self, passages: Vec<Found>) -> anyhow::Result<Step> {
        self.environment.found(passages)
    }

    fn outcome(self) -> E::Outcome {
        self.environment.outcome()
    }
}
