//! The memory writer: chunk by chunk, function calls on a bank.
//!
//! Turn `t` shows the bank `M_{t−1}` (the core and the newest items of each list) and chunk `c_t`; the calls of the response,
//! executed in order, make `M_t`. Each turn is a prompt of its own.

use memtrain_model::policy::PromptText;
use memtrain_rollout_types::RolloutKind;

use super::{Bank, BankReading, Call, Layout, Refusal, Section, call};
use crate::agents::reader::{Reader, ReadingTask};
use crate::rollout::{Environment, RngKey, RolloutEngine, Step, Trajectory, Turn};

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done(Call),
    /// It was well formed, but could not be done.
    Refused(Call, Refusal),
    /// It was no call.
    Malformed(call::CallError),
}

impl Outcome {
    /// Whether it was done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// What went wrong, in words; nothing where all went well.
    pub fn complaint(&self) -> Option<String> {
        match self {
            Self::Done(_) => None,
            Self::Refused(call, refusal) => Some(format!("{}: {refusal}", call.name())),
            Self::Malformed(error) => Some(error.to_string()),
        }
    }
}

/// What came of a turn.
#[derive(Clone, Debug)]
pub struct BankStep {
    /// The calls in order.
    pub outcomes: Vec<Outcome>,
    /// `M_t`.
    pub bank: Bank,
    /// Its size: tokens of the core and of all items.
    pub memory_tokens: usize,
}

impl BankStep {
    /// Share of calls that were done; 0 where nothing was called.
    pub fn done_share(&self) -> f64 {
        share(self.outcomes.iter().filter(|outcome| outcome.is_done()).count(), self.outcomes.len())
    }

    /// Share of calls that fit their schema; 0 where nothing was called.
    pub fn formed_share(&self) -> f64 {
        let formed = |outcome: &&Outcome| !matches!(outcome, Outcome::Malformed(_));
        share(self.outcomes.iter().filter(formed).count(), self.outcomes.len())
    }

    /// Calls that were done.
    pub fn done(&self) -> impl Iterator<Item = &Call> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Done(call) => Some(call),
            Outcome::Refused(..) | Outcome::Malformed(_) => None,
        })
    }
}

fn share(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64
}

/// One reading of one item: a turn and a step of the bank for each chunk.
pub type BankTrajectory = Trajectory<Vec<BankStep>>;

impl BankTrajectory {
    /// Tokens of the bank after the last turn; 0 where there was none.
    pub fn memory_tokens(&self) -> usize {
        self.outcome.last().map_or(0, |step| step.memory_tokens)
    }
}

/// Writes banks with a policy.
pub struct MemoryWriter<'a> {
    /// Tokenizer, limits, and how tokens are sampled.
    pub reader: &'a Reader<'a>,
    /// Limits and texts of banks.
    pub reading: &'a BankReading,
    /// Which bank.
    pub layout: Layout,
}

impl MemoryWriter<'_> {
    /// Reads every task `group_size` times; the rollouts of a task stand together.
    ///
    /// # Errors
    /// If the sampler or the tokenizer fails, a chunk does not fit the context even beside an empty memory, or somebody
    /// asks to stop.
    pub fn write(
        &self,
        engine: &mut RolloutEngine<'_>,
        tasks: &[ReadingTask],
        group_size: usize,
    ) -> anyhow::Result<Vec<Vec<BankTrajectory>>> {
        let writing = |task, rollout| Writing { writer: self, task, rollout, steps: Vec::new() };
        engine.groups(self.reader.tokenizer, tasks, group_size, None, writing)
    }

    /// The prompt with as many of the newest items as fit.
    fn prompt(&self, bank: &Bank, chunk: &str) -> anyhow::Result<PromptText> {
        let limits = self.reader.config;
        let mut recent = self.reading.config.recent_items.min(bank.entries().len());
        loop {
            let user = self.reading.prompts.writing_turn(self.layout, &bank.shown(recent), chunk);
            let tokens = self.reader.tokenizer.chat_prompt_ids(&user)?.len();
            if recent == 0 || tokens + limits.memory_tokens <= limits.context_tokens {
                return Ok(user);
            }
            recent /= 2;
        }
    }

    /// Does what a response calls, as step `step` of the bank.
    fn execute(&self, response: &str, mut bank: Bank, step: u32) -> anyhow::Result<BankStep> {
        let mut outcomes = Vec::new();
        for parsed in call::parse(response, self.layout) {
            outcomes.push(match parsed {
                Err(error) => Outcome::Malformed(error),
                Ok(call) => match self.check_core(&call)?.map_or_else(|| bank.apply(&call, step), Err) {
                    Ok(()) => Outcome::Done(call),
                    Err(refusal) => Outcome::Refused(call, refusal),
                },
            });
        }
        let mut memory_tokens = 0;
        for content in bank.contents() {
            memory_tokens += self.reader.tokenizer.encode_text(content)?.len();
        }
        Ok(BankStep { outcomes, bank, memory_tokens })
    }

    /// Refuses a core that is too long.
    fn check_core(&self, call: &Call) -> anyhow::Result<Option<Refusal>> {
        let (Call::Insert { section: Section::Core, content } | Call::Update { section: Section::Core, content, .. }) =
            call
        else {
            return Ok(None);
        };
        let (tokens, limit) = (self.reader.tokenizer.encode_text(content)?.len(), self.reading.config.core_tokens);
        Ok((tokens > limit).then_some(Refusal::CoreTooLong { tokens, limit }))
    }
}

/// A bank that is being written.
struct Writing<'a> {
    writer: &'a MemoryWriter<'a>,
    task: &'a ReadingTask,
    rollout: usize,
    steps: Vec<BankStep>,
}

impl Writing<'_> {
    fn bank(&self) -> Bank {
        self.steps.last().map_or_else(|| Bank::new(self.writer.layout), |step| step.bank.clone())
    }
}

impl Environment for Writing<'_> {
    type Outcome = Vec<BankStep>;

    fn rng_key(&self) -> RngKey {
        self.writer.reader.step_key.fold_in(self.task.document, self.rollout as u64)
    }

    fn first(&mut self) -> anyhow::Result<Step> {
        let Some(chunk) = self.task.chunks.get(self.steps.len()) else { return Ok(Step::End) };
        let (reader, user) = (self.writer.reader, self.writer.prompt(&self.bank(), chunk)?);
        Ok(Step::Observe(reader.observation(RolloutKind::Write, &user, reader.config.memory_tokens)?))
    }

    fn next(&mut self, turn: &mut Turn) -> anyhow::Result<Step> {
        let step = self.steps.len() as u32 + 1;
        self.steps.push(self.writer.execute(&turn.text, self.bank(), step)?);
        self.first()
    }

    fn outcome(self) -> Vec<BankStep> {
        self.steps
    }
}
