//! The reader: chunk by chunk with a text memory (MemTrain §3, MemAgent arXiv 2507.02259 §3).
//!
//! Turn `t < T` shows the problem, the memory `m_{t−1}` and chunk `c_t`; the whole response is the memory `m_t`. Turn `T`
//! shows the problem and `m_{T−1}`; the response is the answer. A recall question shows an earlier memory and a chunk
//! with one entity hidden.

use anyhow::Context;
use memtrain_engine::sampler::{Completion, DrawAddress, SampleRequest, Sampler, SamplingParams};
use memtrain_model::policy::{PolicyTokenizer, PromptText};
use memtrain_rollout_types::RolloutKind;
use serde::{Deserialize, Serialize};

use super::chunks::{self, CutAt};
use super::prompts::{EMPTY_MEMORY, PromptConfig, PromptSet};

/// How a reader reads. Defaults: MemTrain §4.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReaderConfig {
    /// Prompt set: `standard`, `compact` or a folder.
    pub prompts: String,
    /// Longest chunk in tokens.
    pub chunk_tokens: usize,
    /// Most chunks of a document; a longer document is passed over and counted.
    pub max_chunks: usize,
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
            memory_tokens: 1_024,
            answer_tokens: 1_024,
            context_tokens: 8_192,
            cut_at: CutAt::Token,
            prompt: PromptConfig::default(),
        }
    }
}

/// Temperature and truncation of the draws. Defaults: MemTrain trains at temperature 1 without truncation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrawConfig {
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus probability; 1 keeps all.
    pub top_p: f64,
    /// Most probable tokens kept; 0 keeps all.
    pub top_k: usize,
}

impl Default for DrawConfig {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0 }
    }
}

impl DrawConfig {
    /// Always the most probable token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, top_k: 0 };

    /// The sampler's parameters for responses of so many tokens.
    pub(super) fn params(&self, max_tokens: usize) -> SamplingParams {
        SamplingParams { temperature: self.temperature, top_p: self.top_p, top_k: self.top_k, max_tokens }
    }
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

/// A document to read: its chunks, and its number in draw addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadingTask {
    /// Number of the document, for draw addresses.
    pub document: u64,
    /// What is asked; the prompt set's own problem where nothing else is.
    pub problem: Option<String>,
    /// The chunks in order.
    pub chunks: Vec<String>,
}

/// One reading of one document: `T − 1` memory turns and an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// Index of the task it belongs to.
    pub task: usize,
    /// Number of the rollout in the task's group.
    pub rollout: usize,
    /// The turns in order; the last is the answer.
    pub turns: Vec<Turn>,
}

impl Trajectory {
    /// The memory after `num_chunks` chunks; the empty memory for 0.
    pub fn memory(&self, num_chunks: usize) -> &str {
        match num_chunks {
            0 => EMPTY_MEMORY,
            read => &self.turns[read - 1].text,
        }
    }

    /// The answer turn's text.
    pub fn answer(&self) -> &str {
        self.turns.last().map_or("", |turn| &turn.text)
    }
}

/// A recall question: a memory and a chunk it has seen, one entity hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallPrompt {
    /// Number of the document, for draw addresses.
    pub document: u64,
    /// Rollout whose memory is questioned.
    pub rollout: u64,
    /// First turn number of the samples' draw addresses.
    pub first_turn: u64,
    /// The memory `m_k`.
    pub memory: String,
    /// Chunk `c_l` with the target hidden.
    pub masked_chunk: String,
}

/// A memory that the answer is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerPrompt {
    /// Number of the document, for draw addresses.
    pub document: u64,
    /// Turn number of the draw address: the number of chunks, as in a reading.
    pub turn: u64,
    /// The memory.
    pub memory: String,
}

/// Seed and step of a round of draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawRound {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer step, or a constant of its own for evaluation.
    pub step: u64,
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
    /// How tokens are drawn.
    pub draw: &'a DrawConfig,
    /// Seed and step of the draws.
    pub round: DrawRound,
}

impl Reader<'_> {
    /// Cuts a document's text into this reader's chunks, as byte spans.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn chunk(&self, text: &str) -> anyhow::Result<Vec<memtrain_corpora::Span>> {
        Ok(chunks::split(text, self.tokenizer, self.config.chunk_tokens, self.config.cut_at)?)
    }

    /// Reads every task `group_size` times. Each reading goes on as soon as its own turn has ended, so that long turns and
    /// long documents keep none of the others waiting.
    ///
    /// # Errors
    /// If the sampler or the tokenizer fails, or a prompt does not fit the context.
    pub fn read(
        &self,
        sampler: &mut dyn Sampler,
        tasks: &[ReadingTask],
        group_size: usize,
    ) -> anyhow::Result<Vec<Trajectory>> {
        let mut trajectories: Vec<Trajectory> = (0..tasks.len())
            .flat_map(|task| (0..group_size).map(move |rollout| Trajectory { task, rollout, turns: Vec::new() }))
            .collect();
        let about = |task: &ReadingTask| task.problem.as_deref().map(|problem| self.prompts.about(problem));
        let own_prompts: Vec<Option<PromptSet>> = tasks.iter().map(about).collect();
        let next_request = |trajectory: &Trajectory| {
            let shown = own_prompts[trajectory.task].as_ref().unwrap_or(self.prompts);
            self.next_request(shown, trajectory, &tasks[trajectory.task])
        };
        let mut prompts: Vec<Vec<u32>> = vec![Vec::new(); trajectories.len()];
        let mut stream = sampler.stream()?;
        for (index, trajectory) in trajectories.iter().enumerate() {
            let request = next_request(trajectory)?;
            prompts[index].clone_from(&request.prompt_ids);
            stream.submit(index, request)?;
        }
        while let Some((index, completion)) = stream.next()? {
            let trajectory = &mut trajectories[index];
            let task = &tasks[trajectory.task];
            let is_answer = trajectory.turns.len() == task.chunks.len();
            let kind = if is_answer { RolloutKind::Answer } else { RolloutKind::Read };
            trajectory.turns.push(self.turn(kind, std::mem::take(&mut prompts[index]), completion)?);
            if !is_answer {
                let request = next_request(trajectory)?;
                prompts[index].clone_from(&request.prompt_ids);
                stream.submit(index, request)?;
            }
        }
        Ok(trajectories)
    }

    /// The request of a trajectory's next turn.
    fn next_request(
        &self,
        prompts: &PromptSet,
        trajectory: &Trajectory,
        task: &ReadingTask,
    ) -> anyhow::Result<SampleRequest> {
        let turn = trajectory.turns.len();
        let (user, max_tokens) = match task.chunks.get(turn) {
            Some(chunk) => (prompts.memory_turn(trajectory.memory(turn), chunk), self.config.memory_tokens),
            None => (prompts.answer_turn(trajectory.memory(turn)), self.config.answer_tokens),
        };
        self.request(&user, max_tokens, (task.document, trajectory.rollout as u64, turn as u64))
    }

    /// Answers every recall question `samples` times; the answers of a question stand together.
    ///
    /// # Errors
    /// If the sampler or the tokenizer fails, or a prompt does not fit the context.
    pub fn recall(
        &self,
        sampler: &mut dyn Sampler,
        questions: &[RecallPrompt],
        samples: usize,
    ) -> anyhow::Result<Vec<Vec<Turn>>> {
        let mut requests = Vec::with_capacity(questions.len() * samples);
        for question in questions {
            let user = self.prompts.recall_turn(&question.memory, &question.masked_chunk);
            for sample in 0..samples as u64 {
                let address = (question.document, question.rollout, question.first_turn + sample);
                requests.push(self.request(&user, self.config.answer_tokens, address)?);
            }
        }
        let completions = sampler.sample(&requests)?;
        let mut turns = requests
            .into_iter()
            .zip(completions)
            .map(|(request, completion)| self.turn(RolloutKind::Recall, request.prompt_ids, completion));
        questions.iter().map(|_| turns.by_ref().take(samples).collect()).collect()
    }

    /// Answers the reader's own question once from each memory.
    ///
    /// # Errors
    /// If the sampler or the tokenizer fails, or a prompt does not fit the context.
    pub fn answer(&self, sampler: &mut dyn Sampler, prompts: &[AnswerPrompt]) -> anyhow::Result<Vec<Turn>> {
        let request = |prompt: &AnswerPrompt| {
            let user = self.prompts.answer_turn(&prompt.memory);
            self.request(&user, self.config.answer_tokens, (prompt.document, 0, prompt.turn))
        };
        let requests: Vec<SampleRequest> = prompts.iter().map(request).collect::<anyhow::Result<_>>()?;
        let completions = sampler.sample(&requests)?;
        let turns = requests.into_iter().zip(completions);
        turns.map(|(request, completion)| self.turn(RolloutKind::Answer, request.prompt_ids, completion)).collect()
    }

    /// The request of one user message.
    ///
    /// # Errors
    /// If the prompt and its longest response do not fit the context.
    pub(super) fn request(
        &self,
        user: &PromptText,
        max_tokens: usize,
        (document, rollout, turn): (u64, u64, u64),
    ) -> anyhow::Result<SampleRequest> {
        let prompt_ids = self.tokenizer.chat_prompt_ids(user)?;
        let (prompt, limit) = (prompt_ids.len(), self.config.context_tokens);
        if prompt + max_tokens > limit {
            return Err(TooLong { prompt, max_tokens, limit }.into());
        }
        let DrawRound { seed, step } = self.round;
        let address = DrawAddress { seed, step, document, rollout, turn };
        Ok(SampleRequest { prompt_ids, params: self.draw.params(max_tokens), address })
    }

    /// A request and its completion as a turn.
    pub(super) fn turn(&self, kind: RolloutKind, prompt_ids: Vec<u32>, completion: Completion) -> anyhow::Result<Turn> {
        let text = self.tokenizer.decode_response(&completion.token_ids).context("a response cannot be decoded")?;
        Ok(Turn { kind, prompt_ids, completion, text: text.trim().to_owned() })
    }
}
