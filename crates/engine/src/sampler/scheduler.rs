//! Continuous batching: which sequences are running, and which tokens of each a forward pass computes.
//!
//! Requests wait in the order in which they came. The first one is admitted as soon as there is room for it to run to
//! its end, so that none is ever thrown out again and none is passed over for ever. In a pass every response under way
//! reads its newest token; prompts are read beside them, so many tokens at a time, in the order of admission. A prompt
//! that equals one that is about to be read waits for it and takes over its blocks and its first distribution.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use memtrain_kernels::nn::ops;
use memtrain_kernels::nn::ops::real::Host;
use memtrain_model::policy::Decoder;
use rayon::prelude::*;

use super::block_pool::{BLOCK_TOKENS, BlockId, BlockPool, BlockTable, blocks_of};
use super::cached::rows_alike;
use super::local::Counts;
use super::token_sampler::{self, SampledToken};
use super::{Completion, FinishReason, SampleError, SampleRequest, SampleStream};

/// Rows of logits that exist at a time.
const LOGIT_ROWS: usize = 256;

/// Tokens of a sequence that are scheduled for a forward pass.
pub(super) struct ScheduledTokens<'a> {
    /// The sequence up to the last token that is read.
    pub tokens: &'a [u32],
    /// Position of the first token that is read; those before it are in the cache.
    pub start: usize,
    /// Blocks of all positions.
    pub blocks: &'a [BlockId],
    /// Whether the hidden state of the last token is needed, for its logits.
    pub needs_logits: bool,
}

impl ScheduledTokens<'_> {
    /// Tokens that are read.
    pub(super) fn len(&self) -> usize {
        self.tokens.len() - self.start
    }

    /// Positions that are read.
    pub(super) fn positions(&self) -> Range<usize> {
        self.start..self.tokens.len()
    }
}

/// How hidden states of new tokens come about.
pub(super) trait Forward {
    /// Reads the scheduled tokens; hidden states `[W, d]` of the last tokens of those sequences that need logits, in
    /// their order. There may be rows beyond these, and if any are needed there are no fewer than [`rows_alike`].
    fn pass(&mut self, scheduled: &[ScheduledTokens<'_>]) -> Result<Tensor>;
    /// Copies a block in all layers.
    fn copy(&mut self, from: BlockId, to: BlockId) -> Result<()>;
}

/// What is the same for all requests of a stream.
#[derive(Clone, Debug)]
pub(super) struct SchedulerConfig {
    pub stop_ids: Vec<u32>,
    /// Ids from here on are never sampled.
    pub allowed: usize,
    /// Most sequences that are running at a time.
    pub max_sequences: usize,
    /// Prompt tokens read in a pass.
    pub prefill_tokens: usize,
    /// Bytes of a block in all layers.
    pub block_bytes: usize,
    pub counts: Arc<Counts>,
}

enum Phase {
    /// The prompt is known up to a position.
    Prompt(usize),
    /// Another sequence reads the same prompt.
    Follows(u64),
    /// The response is sampled.
    Response,
}

/// A sequence that has its place in the cache.
struct RunningSequence {
    serial: u64,
    ticket: usize,
    request: SampleRequest,
    prompt_len: usize,
    /// Prompt and response.
    tokens: Vec<u32>,
    log_probs: Vec<f32>,
    table: BlockTable,
    phase: Phase,
}

impl RunningSequence {
    fn response_len(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// What it reads in a pass that has room for so many prompt tokens.
    fn range(&self, room: usize) -> Option<Range<usize>> {
        match self.phase {
            Phase::Response => Some(self.tokens.len() - 1..self.tokens.len()),
            Phase::Prompt(known) if room > 0 => Some(known..self.prompt_len.min(known + room)),
            _ => None,
        }
    }
}

/// Positions of a request's sequence: the last token of a response is sampled and never read.
fn positions(request: &SampleRequest) -> usize {
    request.prompt_ids.len() + request.params.max_tokens - 1
}

/// Responses being sampled by a decoder.
pub(super) struct Scheduler<'a> {
    decoder: &'a Decoder,
    /// The output head, in f32 where the weights have fewer bits: logits are never rounded to 16.
    head: Tensor,
    rows_alike: usize,
    config: SchedulerConfig,
    forward: Box<dyn Forward + 'a>,
    blocks: BlockPool,
    waiting: VecDeque<(usize, SampleRequest)>,
    running: Vec<RunningSequence>,
    ended: VecDeque<(usize, Completion)>,
    serial: u64,
    has_failed: bool,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(
        decoder: &'a Decoder,
        config: SchedulerConfig,
        forward: Box<dyn Forward + 'a>,
        num_blocks: usize,
    ) -> Result<Self> {
        let head = match decoder.dtype() {
            DType::F64 => decoder.head().clone(),
            _ => decoder.head().to_dtype(DType::F32)?,
        };
        Ok(Self {
            decoder,
            head,
            rows_alike: rows_alike(decoder),
            config,
            forward,
            blocks: BlockPool::new(num_blocks),
            waiting: VecDeque::new(),
            running: Vec::new(),
            ended: VecDeque::new(),
            serial: 0,
            has_failed: false,
        })
    }

    /// Refuses what can never be answered.
    fn check(&self, request: usize, asked: &SampleRequest) -> Result<(), SampleError> {
        let config = &self.decoder.config;
        let SampleRequest { prompt_ids, params, .. } = asked;
        if prompt_ids.is_empty() {
            return Err(SampleError::EmptyPrompt { request });
        }
        if let Some(&id) = prompt_ids.iter().find(|&&id| id as usize >= config.vocab_size) {
            return Err(SampleError::OutsideVocabulary { request, id, vocab_size: config.vocab_size });
        }
        let (prompt, response) = (prompt_ids.len(), params.max_tokens);
        if prompt + response > config.max_position_embeddings {
            return Err(SampleError::TooLong { request, prompt, response, limit: config.max_position_embeddings });
        }
        params.check().map_err(|detail| SampleError::Params { request, detail })?;
        let needed = blocks_of(positions(asked));
        if needed > self.blocks.capacity() {
            let gib = |blocks: usize| (blocks * self.config.block_bytes) as f64 / f64::from(1 << 30);
            let (tokens, limit_gib) = (prompt + response, gib(self.blocks.capacity()));
            return Err(SampleError::CacheTooSmall { request, tokens, needed_gib: gib(needed), limit_gib });
        }
        Ok(())
    }

    /// Admits waiting requests, first come, first served.
    fn admit(&mut self) {
        while self.running.len() < self.config.max_sequences {
            let Some((_, request)) = self.waiting.front() else { return };
            let prompt = &request.prompt_ids;
            let leader = self
                .running
                .iter()
                .find(|running| matches!(running.phase, Phase::Prompt(_)) && running.request.prompt_ids == *prompt);
            let admitted = match leader {
                Some(leader) => self
                    .blocks
                    .fork(&leader.table, prompt.len(), positions(request))
                    .map(|table| (table, Phase::Follows(leader.serial))),
                None => {
                    self.blocks.allocate(prompt, positions(request)).map(|(table, known)| (table, Phase::Prompt(known)))
                }
            };
            let Some((table, phase)) = admitted else { return };
            let shared = match phase {
                Phase::Prompt(known) => known,
                _ => prompt.len(),
            };
            self.config.counts.tokens_shared.fetch_add(shared as u64, Ordering::Relaxed);
            let Some((ticket, request)) = self.waiting.pop_front() else { return };
            self.serial += 1;
            self.running.push(RunningSequence {
                serial: self.serial,
                ticket,
                prompt_len: request.prompt_ids.len(),
                tokens: request.prompt_ids.clone(),
                log_probs: Vec::new(),
                request,
                table,
                phase,
            });
        }
    }

    /// One forward pass: every running sequence goes on, and a token is sampled wherever one is due.
    fn step(&mut self) -> Result<()> {
        self.admit();
        let mut room = self.config.prefill_tokens;
        let mut reading = Vec::new();
        for (index, running) in self.running.iter_mut().enumerate() {
            let Some(range) = running.range(room) else { continue };
            if matches!(running.phase, Phase::Prompt(_)) {
                room -= range.len();
            }
            while running.table.blocks.len() < blocks_of(range.end) {
                self.blocks.append_block(&mut running.table);
            }
            reading.push((index, range));
        }
        let scheduled: Vec<ScheduledTokens<'_>> = reading
            .iter()
            .map(|(index, range)| {
                let running = &self.running[*index];
                let needs_logits = range.end >= running.prompt_len;
                ScheduledTokens {
                    tokens: &running.tokens[..range.end],
                    start: range.start,
                    blocks: &running.table.blocks,
                    needs_logits,
                }
            })
            .collect();
        self.config.counts.passes.fetch_add(1, Ordering::Relaxed);
        let tokens: usize = scheduled.iter().map(ScheduledTokens::len).sum();
        self.config.counts.tokens_read.fetch_add(tokens as u64, Ordering::Relaxed);
        let hidden = self.forward.pass(&scheduled)?;
        drop(scheduled);
        let rows = self.advance(&reading)?;
        self.sample(&hidden, rows)?;
        self.finish();
        Ok(())
    }

    /// Takes note of what was read, and starts those that waited for a prompt of another. Gives the row of hidden states
    /// from which each sequence that is due samples: rows ascend.
    fn advance(&mut self, reading: &[(usize, Range<usize>)]) -> Result<Vec<(usize, usize)>> {
        let mut rows = Vec::new();
        let mut row = 0;
        for (index, range) in reading {
            let running = &mut self.running[*index];
            if range.end < running.prompt_len {
                running.phase = Phase::Prompt(range.end);
                continue;
            }
            rows.push((*index, row));
            if matches!(running.phase, Phase::Prompt(_)) {
                running.phase = Phase::Response;
                let serial = running.serial;
                for follower in *index + 1..self.running.len() {
                    if matches!(self.running[follower].phase, Phase::Follows(leader) if leader == serial) {
                        self.take_over(*index, follower)?;
                        rows.push((follower, row));
                    }
                }
            }
            row += 1;
        }
        Ok(rows)
    }

    /// Copy-on-write: a follower gets a copy of the prompt's last block, which both will write into.
    fn take_over(&mut self, leader: usize, follower: usize) -> Result<()> {
        let prompt_len = self.running[leader].prompt_len;
        let shared = prompt_len / BLOCK_TOKENS;
        let copied = (!prompt_len.is_multiple_of(BLOCK_TOKENS)).then(|| self.running[leader].table.blocks[shared]);
        let running = &mut self.running[follower];
        running.phase = Phase::Response;
        if let Some(from) = copied {
            let to = self.blocks.append_block(&mut running.table);
            self.forward.copy(from, to)?;
        }
        Ok(())
    }

    /// Samples one token for each sequence from its row of `hidden`; rows ascend.
    fn sample(&mut self, hidden: &Tensor, rows: Vec<(usize, usize)>) -> Result<()> {
        let mut due: Vec<Option<usize>> = vec![None; self.running.len()];
        let num_rows = rows.last().map_or(0, |(_, row)| row + 1);
        rows.into_iter().for_each(|(index, row)| due[index] = Some(row));
        let mut drawing: Vec<(usize, &mut RunningSequence)> =
            self.running.iter_mut().zip(due).filter_map(|(running, row)| Some((row?, running))).collect();
        drawing.sort_by_key(|(row, _)| *row);
        let (mut rest, allowed) = (&mut drawing[..], self.config.allowed);
        for first in (0..num_rows).step_by(LOGIT_ROWS) {
            let (all, end) = (hidden.dim(0)?, num_rows.min(first + LOGIT_ROWS));
            let from = first.min(all.saturating_sub(self.rows_alike));
            let count = (end - from).max(self.rows_alike).min(all - from);
            let here = rest.partition_point(|(row, _)| *row < end);
            let (now, later) = std::mem::take(&mut rest).split_at_mut(here);
            rest = later;
            let rows = hidden.narrow(0, from, count)?.to_dtype(self.head.dtype())?;
            let logits = ops::linear(&rows, &self.head)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
            let (host, vocab_size) = (Host::new(&logits), logits.dim(1)?);
            let logits: &[f32] = host.slice("sample")?;
            now.par_iter_mut().try_for_each_init(token_sampler::Scratch::default, |scratch, (row, running)| {
                let logits = &logits[(*row - from) * vocab_size..][..vocab_size];
                let (request, position) = (running.ticket, running.response_len());
                let uniform = || token_sampler::uniform(&running.request.rng_key, position);
                let sampled = token_sampler::sample_token(logits, &running.request.params, allowed, uniform, scratch);
                let SampledToken { id, log_prob } = sampled.ok_or(SampleError::NotFinite { request, position })?;
                running.tokens.push(id);
                running.log_probs.push(log_prob);
                Ok::<_, SampleError>(())
            })?;
        }
        Ok(())
    }

    /// Lets go of the responses that have ended.
    fn finish(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            let running = &self.running[index];
            let stopped =
                running.response_len() > 0 && running.tokens.last().is_some_and(|id| self.config.stop_ids.contains(id));
            let full = running.response_len() >= running.request.params.max_tokens;
            if !stopped && !full {
                index += 1;
                continue;
            }
            let running = self.running.remove(index);
            let finish = if stopped { FinishReason::Stop } else { FinishReason::Length };
            let token_ids = running.tokens[running.prompt_len..].to_vec();
            self.ended.push_back((running.ticket, Completion { token_ids, log_probs: running.log_probs, finish }));
            self.blocks.free(running.table);
        }
    }
}

impl SampleStream for Scheduler<'_> {
    fn submit(&mut self, ticket: usize, request: SampleRequest) -> Result<()> {
        anyhow::ensure!(!self.has_failed, "the sampler has failed before");
        self.check(ticket, &request)?;
        self.waiting.push_back((ticket, request));
        Ok(())
    }

    fn poll(&mut self) -> Result<Poll<Option<(usize, Completion)>>> {
        anyhow::ensure!(!self.has_failed, "the sampler has failed before");
        if self.ended.is_empty() && !(self.running.is_empty() && self.waiting.is_empty()) {
            self.step().inspect_err(|_| self.has_failed = true)?;
            if self.ended.is_empty() {
                return Ok(Poll::Pending);
            }
        }
        Ok(Poll::Ready(self.ended.pop_front()))
    }
}
