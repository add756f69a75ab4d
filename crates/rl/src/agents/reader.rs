//! The reader: chunk by chunk with a text memory (MemTrain §3, MemAgent arXiv 2507.02259 §3).
//!
//! Turn `t < T` shows the problem, the memory `m_{t−1}` and chunk `c_t`; the whole response is the memory `m_t`. Turn `T`
//! shows the problem and `m_{T−1}`; the response is the answer. A recall question shows an earlier memory and a chunk
//! with one entity hidden.

use memtrain_engine::sampler::SamplingParams;
use memtrain_model::policy::{PolicyTokenizer, PromptText};
use memtrain_rollout_types::RolloutKind;
use serde::{Deserialize, Serialize};

use super::chunks::{self, CutAt};
use super::prompts::{PromptConfig, PromptSet};
use crate::rollout::{Environment, Observation, RngKey, RolloutEngine, SingleTurn, Step, Trajectory, Turn};

/// What becomes of a document of more than [`ReaderConfig::max_chunks`] chunks in training. Tasks always keep head and tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncation {
    /// It is passed over and counted.
    #[default]
    None,
    /// The first and the last half of as many tokens as fit its chunks are read (verl's and MemAgent's name for it); it is passed
    /// over where all that is hidden stands between.
    Center,
}

impl Truncation {
    /// Left out of a run's configuration then, so that runs from before the key go on.
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// How a reader reads. Defaults: MemTrain §4.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReaderConfig {
    /// Prompt set: `standard`, `compact` or a folder.
    pub prompts: String,
    /// Longest chunk in tokens.
    pub chunk_tokens: usize,
    /// Most chunks of a document.
    pub max_chunks: usize,
    /// What becomes of a longer document in training.
    #[serde(skip_serializing_if = "Truncation::is_none")]
    pub truncation: Truncation,
    /// Longest memory in tokens: the response limit of a memory turn.
    pub memory_tokens: usize,
    /// Response limit of the answer turn and of recall answers.
    pub answer_tokens: usize,
    /// Context length everything must fit: instructions, chunk, memory and response.
    pub context_tokens: usize,
    /// Where a chunk may end.
    pub cut_at: CutAt,
    /// How the set's parts are put together.
    pub prompt: PromptConfig,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            prompts: "standard".to_owned(),
            chunk_tokens: 5_120,
            max_chunks: 8,
            truncation: Truncation::None,
            memory_tokens: 1_024,
            answer_tokens: 1_024,
            context_tokens: 8_192,
            cut_at: CutAt::Token,
            prompt: PromptConfig::default(),
        }
    }
}

/// Temperature and truncation of the samples. Defaults: MemTrain trains at temperature 1 without truncation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus probability; 1 keeps all.
    pub top_p: f64,
    /// Most probable tokens kept; 0 keeps all.
    pub top_k: usize,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0 }
    }
}

impl SamplingConfig {
    /// Always the most probable token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, top_k: 0 };

    /// The sampler's parameters for responses of so many tokens.
    pub(super) fn params(&self, max_tokens: usize) -> SamplingParams {
        SamplingParams { temperature: self.temperature, top_p: self.top_p, top_k: self.top_k, max_tokens }
    }
}

/// A document to read: its chunks, and its number in RNG keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadingTask {
    /// Number of the document, for RNG keys.
    pub document: u64,
    /// What is asked; the prompt set's own problem where nothing else is.
    pub problem: Option<String>,
    /// The chunks in order.
    pub chunks: Vec<String>,
}

/// A reading of a document: `T − 1` memory turns and an answer.
impl Trajectory {
    /// The memory after `num_chunks` chunks, at least one.
    pub fn memory(&self, num_chunks: usize) -> &str {
        &self.turns[num_chunks - 1].text
    }

    /// The answer turn's text.
    pub fn answer(&self) -> &str {
        self.turns.last().map_or("", |turn| &turn.text)
    }
}

/// A recall question: a memory and a chunk it has seen, one entity hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallPrompt {
    /// Number of the document, for RNG keys.
    pub document: u64,
    /// Rollout whose memory is questioned.
    pub rollout: u64,
    /// First turn number of the samples' RNG keys.
    pub first_turn: u64,
    /// The memory `m_k`.
    pub memory: String,
    /// Chunk `c_l` with the target hidden.
    pub masked_chunk: String,
}

/// A memory that the answer is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerPrompt {
    /// Number of the document, for RNG keys.
    pub document: u64,
    /// Turn number of the RNG key: the number of chunks, as in a reading.
    pub turn: u64,
    /// The memory.
    pub memory: String,
}

/// Seed and step that all RNG keys of a step begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepKey {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer step, or a constant of its own for evaluation.
    pub step: u64,
}

impl StepKey {
    /// The key of a rollout's first turn.
    pub(super) fn fold_in(self, document: u64, rollout: u64) -> RngKey {
        RngKey { seed: self.seed, step: self.step, document, rollout, turn: 0 }
    }
}

/// A prompt that leaves no room for its longest response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a prompt of {prompt} tokens and a response of up to {max_tokens} exceed `context_tokens` = {limit}")]
pub struct TooLong {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Most tokens of the response.
    pub max_tokens: usize,
    /// `reader.context_tokens`.
    pub limit: usize,
}

/// Reads documents with a policy.
pub struct Reader<'a> {
    /// The policy's tokenizer.
    pub tokenizer: &'a PolicyTokenizer,
    /// What the agent is shown.
    pub prompts: &'a PromptSet,
    /// Limits.
    pub config: &'a ReaderConfig,
    /// How tokens are sampled.
    pub sampling: &'a SamplingConfig,
    /// Seed and step of the RNG keys.
    pub step_key: StepKey,
}

impl Reader<'_> {
    /// Cuts a document's text into this reader's chunks, as byte spans.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn chunk(&self, text: &str) -> anyhow::Result<Vec<memtrain_corpora::Span>> {
        Ok(chunks::split(text, self.tokenizer, self.config.chunk_tokens, self.config.cut_at)?)
    }

    /// Reads every task `group_size` times; the readings of a task stand together.
    ///
    /// # Errors
    /// If the sampler or the tokenizer fails, a prompt does not fit the context, or somebody asks to stop.
    pub fn read(
        &self,
        engine: &mut RolloutEngine<'_>,
        tasks: &[ReadingTask],
        group_size: usize,
    ) -> anyhow::Result<Vec<Vec<Trajectory>>> {
        let about = |task: &ReadingTask| task.problem.as_deref().map(|problem| self.prompts.about(problem));
        let tasks: Vec<(&ReadingTask, Option<PromptSet>)> = tasks.iter().map(|task| (task, about(task))).collect();
        engine.groups(self.tokenizer, &tasks, group_size, None, |(task, own_prompts), rollout| {
            let prompts = own_prompts.as_ref().unwrap_or(self.prompts);
            self.reading(prompts, (task.document, rollout), task.chunks.iter().map(String::as_str))
        })
    }

    /// The environment in which chunks are read one after the other with these prompts, and their problem is answered.
    /// `document` and `rollout` are those of the RNG keys.
    pub fn reading<'a>(
        &'a self,
        prompts: &'a PromptSet,
        (document, rollout): (u64, usize),
        chunks: impl Iterator<Item = &'a str> + 'a,
    ) -> Reading<'a> {
        let rng_key = self.step_key.fold_in(document, rollout as u64);
        let (chunks, memory) = (Box::new(chunks), prompts.empty.clone());
        Reading { reader: self, prompts, rng_key, chunks, memory, answers: true }
    }

    /// Answers every recall question `samples` times; the answers of a question stand together.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn recall(
        &self,
        engine: &mut RolloutEngine<'_>,
        questions: &[RecallPrompt],
        samples: usize,
    ) -> anyhow::Result<Vec<Vec<Turn>>> {
        let mut prompts = Vec::with_capacity(questions.len() * samples);
        for question in questions {
            engine.check_stop()?;
            let user = self.prompts.recall_turn(&question.memory, &question.masked_chunk);
            let observation = self.observation(RolloutKind::Recall, &user, self.config.answer_tokens)?;
            let key = self.step_key.fold_in(question.document, question.rollout);
            prompts.extend((0..samples as u64).map(|sample| {
                SingleTurn::new(RngKey { turn: question.first_turn + sample, ..key }, observation.clone())
            }));
        }
        let mut turns = engine.respond_all(self.tokenizer, prompts)?.into_iter();
        Ok(questions.iter().map(|_| turns.by_ref().take(samples).collect()).collect())
    }

    /// Answers the reader's own question once from each memory.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn answer(&self, engine: &mut RolloutEngine<'_>, prompts: &[AnswerPrompt]) -> anyhow::Result<Vec<Turn>> {
        let prompt = |prompt: &AnswerPrompt| {
            let user = self.prompts.answer_turn(&prompt.memory);
            self.single_turn(RolloutKind::Answer, &user, (prompt.document, 0, prompt.turn))
        };
        engine.respond_all(self.tokenizer, prompts.iter().map(prompt).collect::<anyhow::Result<_>>()?)
    }

    /// A user message that is answered with at most `answer_tokens` tokens.
    ///
    /// # Errors
    /// As [`Self::observation`].
    pub(super) fn single_turn(
        &self,
        kind: RolloutKind,
        user: &PromptText,
        (document, rollout, turn): (u64, u64, u64),
    ) -> anyhow::Result<SingleTurn> {
        let observation = self.observation(kind, user, self.config.answer_tokens)?;
        Ok(SingleTurn::new(RngKey { turn, ..self.step_key.fold_in(document, rollout) }, observation))
    }

    /// What the policy is shown by a user message.
    ///
    /// # Errors
    /// If the prompt and its longest response do not fit the context.
    pub(super) fn observation(
        &self,
        kind: RolloutKind,
        user: &PromptText,
        max_tokens: usize,
    ) -> anyhow::Result<Observation> {
        let prompt_ids = self.tokenizer.chat_prompt_ids(user)?;
        let (prompt, limit) = (prompt_ids.len(), self.config.context_tokens);
        if prompt + max_tokens > limit {
            return Err(TooLong { prompt, max_tokens, limit }.into());
        }
        Ok(Observation { kind, prompt_ids, params: self.sampling.params(max_tokens) })
    }
}

/// A text that is being read, see [`Reader::reading`].
pub struct Reading<'a> {
    reader: &'a Reader<'a>,
    prompts: &'a PromptSet,
    rng_key: RngKey,
    chunks: Box<dyn Iterator<Item = &'a str> + 'a>,
    memory: String,
    answers: bool,
}

impl Reading<'_> {
    /// The same reading, which ends with the memory of the last chunk.
    #[must_use]
    pub fn without_answer(self) -> Self {
        Self { answers: false, ..self }
    }
}

impl Environment for Reading<'_> {
    type Outcome = ();

    fn rng_key(&self) -> RngKey {
        self.rng_key
    }

    fn first(&mut self) -> anyhow::Result<Step> {
        let limits = self.reader.config;
        let (kind, user, max_tokens) = match self.chunks.next() {
            Some(chunk) => (RolloutKind::Read, self.prompts.memory_turn(&self.memory, chunk), limits.memory_tokens),
            None if self.answers => (RolloutKind::Answer, self.prompts.answer_turn(&self.memory), limits.answer_tokens),
            None => return Ok(Step::End),
        };
        Ok(Step::Observe(self.reader.observation(kind, &user, max_tokens)?))
    }

    fn next(&mut self, turn: &mut Turn) -> anyhow::Result<Step> {
        if turn.kind == RolloutKind::Answer {
            return Ok(Step::End);
        }
        self.memory.clone_from(&turn.text);
        self.first()
    }

    fn outcome(self) {}
}
