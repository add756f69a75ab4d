//! The keeper: chunk by chunk, function calls on a bank.
//!
//! Turn `t` shows the bank `M_{t−1}` (the core and the newest items of each list) and chunk `c_t`; the calls of the response,
//! executed in order, make `M_t`. Each turn is a prompt of its own.

use memtrain_engine::sampler::Sampler;
use memtrain_model::policy::PromptText;
use memtrain_rollout_types::RolloutKind;

use super::{Accepted, Bank, BankReading, Call, Layout, Refusal, Section, call};
use crate::agents::reader::{Reader, ReadingTask, Turn};

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

/// A turn: what was said, what came of it, and the bank afterwards.
#[derive(Clone, Debug)]
pub struct KeeperTurn {
    /// Prompt and response.
    pub turn: Turn,
    /// The calls in order.
    pub outcomes: Vec<Outcome>,
    /// `M_t`.
    pub bank: Bank,
    /// Its size: tokens of the core and of all items.
    pub memory_tokens: usize,
}

impl KeeperTurn {
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

/// One reading of one item.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Index of the task it belongs to.
    pub task: usize,
    /// Number of the rollout in the task's group.
    pub rollout: usize,
    /// The turns, one a chunk.
    pub turns: Vec<KeeperTurn>,
}

impl Keeping {
    /// Tokens of the bank after the last turn; 0 where there was none.
    pub fn memory_tokens(&self) -> usize {
        self.turns.last().map_or(0, |turn| turn.memory_tokens)
    }

    /// The calls that were done, to make the bank again.
    pub fn log(&self) -> Vec<Accepted> {
        let of_turn = |(step, turn): (u32, &KeeperTurn)| -> Vec<Accepted> {
            turn.done().map(|call| Accepted { step, call: call.clone() }).collect()
        };
        (1..).zip(&self.turns).flat_map(of_turn).collect()
    }
}

/// Keeps banks with a policy.
pub struct Keeper<'a> {
    /// Tokenizer, limits, and how tokens are drawn.
    pub reader: &'a Reader<'a>,
    /// Limits and texts of banks.
    pub reading: &'a BankReading,
    /// Which bank.
    pub layout: Layout,
}

impl Keeper<'_> {
    /// Reads every task `group_size` times. All readings advance together, a chunk at a time.
    ///
    /// # Errors
    /// If the sampler or the tokenizer fails, or a chunk does not fit the context even beside an empty memory.
    pub fn keep(
        &self,
        sampler: &mut dyn Sampler,
        tasks: &[ReadingTask],
        group_size: usize,
    ) -> anyhow::Result<Vec<Keeping>> {
        let mut keepings: Vec<Keeping> = (0..tasks.len())
            .flat_map(|task| (0..group_size).map(move |rollout| Keeping { task, rollout, turns: Vec::new() }))
            .collect();
        let num_turns = tasks.iter().map(|task| task.chunks.len()).max().unwrap_or(0);
        let empty = Bank::new(self.layout);
        for turn in 0..num_turns {
            let mut live = Vec::new();
            let mut requests = Vec::new();
            for (index, keeping) in keepings.iter().enumerate() {
                let task = &tasks[keeping.task];
                let Some(chunk) = task.chunks.get(turn) else { continue };
                let bank = keeping.turns.last().map_or(&empty, |turn| &turn.bank);
                let user = self.prompt(bank, chunk)?;
                let address = (task.document, keeping.rollout as u64, turn as u64);
                requests.push(self.reader.request(&user, self.reader.config.memory_tokens, address)?);
                live.push(index);
            }
            let completions = sampler.sample(&requests)?;
            for ((index, request), completion) in live.into_iter().zip(requests).zip(completions) {
                let turn = self.reader.turn(RolloutKind::Write, request.prompt_ids, completion)?;
                let keeping = &mut keepings[index];
                let before = keeping.turns.last().map_or(&empty, |turn| &turn.bank).clone();
                let step = keeping.turns.len() as u32 + 1;
                keeping.turns.push(self.execute(turn, before, step)?);
            }
        }
        Ok(keepings)
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

    fn execute(&self, turn: Turn, mut bank: Bank, step: u32) -> anyhow::Result<KeeperTurn> {
        let mut outcomes = Vec::new();
        for parsed in call::parse(&turn.text, self.layout) {
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
        Ok(KeeperTurn { turn, outcomes, bank, memory_tokens })
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
