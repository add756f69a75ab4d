//! Which sequences are live, and what each reads next.
//!
//! Requests wait in the order in which they came. The first one becomes live as soon as there is room for it to run to its
//! end, so that none is ever thrown out again and none is passed over for ever. In a pass every response under way reads
//! its newest token; prompts are read beside them, so many tokens at a time, in the order in which they became live. A
//! prompt that equals one that is about to be read waits for it and takes over its blocks and its first distribution.

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

use super::blocks::{BLOCK_TOKENS, BlockId, Blocks, Table, blocks_of};
use super::cached::rows_alike;
use super::draw::{self, Drawn};
use super::local::Counts;
use super::{Completion, FinishReason, SampleError, SampleRequest, SampleStream};

/// Rows of logits that exist at a time.
const LOGIT_ROWS: usize = 256;

/// What a sequence reads in a pass.
pub(super) struct Stretch<'a> {
    /// The sequence up to the last token that is read.
    pub tokens: &'a [u32],
    /// Position of the first token that is read; those before it are in the cache.
    pub start: usize,
    /// Blocks of all positions.
    pub blocks: &'a [BlockId],
    /// Whether the hidden state of the last token is wanted.
    pub wanted: bool,
}

impl Stretch<'_> {
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
    /// Reads new tokens; hidden states `[W, d]` of the last tokens of those stretches where they are wanted, in their
    /// order. There may be rows beyond these, and if any are wanted there are no fewer than [`rows_alike`].
    fn pass(&mut self, stretches: &[Stretch<'_>]) -> Result<Tensor>;
    /// Copies a block in all layers.
    fn copy(&mut self, from: BlockId, to: BlockId) -> Result<()>;
}

/// Rules of drawing that are the same for all requests.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub stop_ids: Vec<u32>,
    /// Ids from here on are never drawn.
    pub allowed: usize,
    /// Most sequences that are live at a time.
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
    /// The response is drawn.
    Response,
}

/// A sequence that has its place in the cache.
struct Live {
    serial: u64,
    ticket: usize,
    request: SampleRequest,
    prompt_len: usize,
    /// Prompt and response.
    tokens: Vec<u32>,
    log_probs: Vec<f32>,
    table: Table,
    phase: Phase,
}

impl Live {
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

/// Positions of a request's sequence: the last token of a response is drawn and never read.
fn positions(request: &SampleRequest) -> usize {
    request.prompt_ids.len() + request.params.max_tokens - 1
}

/// Responses being drawn by a decoder.
pub(super) struct Scheduler<'a> {
    decoder: &'a Decoder,
    /// The output head, in f32 where the weights have fewer bits: logits are never rounded to 16.
    head: Tensor,
    rows_alike: usize,
    rules: Rules,
    forward: Box<dyn Forward + 'a>,
    blocks: Blocks,
    waiting: VecDeque<(usize, SampleRequest)>,
    live: Vec<Live>,
    ended: VecDeque<(usize, Completion)>,
    serial: u64,
    has_failed: bool,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(
        decoder: &'a Decoder,
        rules: Rules,
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
            rules,
            forward,
            blocks: Blocks::new(num_blocks),
            waiting: VecDeque::new(),
            live: Vec::new(),
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
            let gib = |blocks: usize| (blocks * self.rules.block_bytes) as f64 / f64::from(1 << 30);
            let (tokens, limit_gib) = (prompt + response, gib(self.blocks.capacity()));
            return Err(SampleError::CacheTooSmall { request, tokens, needed_gib: gib(needed), limit_gib });
        }
        Ok(())
    }

    /// Lets waiting requests become live, the first first.
    fn admit(&mut self) {
        while self.live.len() < self.rules.max_sequences {
            let Some((_, request)) = self.waiting.front() else { return };
            let prompt = &request.prompt_ids;
            let leader = self
                .live
                .iter()
                .find(|live| matches!(live.phase, Phase::Prompt(_)) && live.request.prompt_ids == *prompt);
            let admitted = match leader {
                Some(leader) => self
                    .blocks
                    .follow(&leader.table, prompt.len(), positions(request))
                    .map(|table| (table, Phase::Follows(leader.serial))),
                None => {
                    self.blocks.admit(prompt, positions(request)).map(|(table, known)| (table, Phase::Prompt(known)))
                }
            };
            let Some((table, phase)) = admitted else { return };
            let shared = match phase {
                Phase::Prompt(known) => known,
                _ => prompt.len(),
            };
            self.rules.counts.tokens_shared.fetch_add(shared as u64, Ordering::Relaxed);
            let Some((ticket, request)) = self.waiting.pop_front() else { return };
            self.serial += 1;
            self.live.push(Live {
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

    /// One pass: everything live goes on, and a token is drawn wherever one is due.
    fn step(&mut self) -> Result<()> {
        self.admit();
        let mut room = self.rules.prefill_tokens;
        let mut reading = Vec::new();
        for (index, live) in self.live.iter_mut().enumerate() {
            let Some(range) = live.range(room) else { continue };
            if matches!(live.phase, Phase::Prompt(_)) {
                room -= range.len();
            }
            while live.table.blocks.len() < blocks_of(range.end) {
                self.blocks.grow(&mut live.table);
            }
            reading.push((index, range));
        }
        let stretches: Vec<Stretch<'_>> = reading
            .iter()
            .map(|(index, range)| {
                let live = &self.live[*index];
                let wanted = range.end >= live.prompt_len;
                Stretch { tokens: &live.tokens[..range.end], start: range.start, blocks: &live.table.blocks, wanted }
            })
            .collect();
        self.rules.counts.passes.fetch_add(1, Ordering::Relaxed);
        let tokens: usize = stretches.iter().map(Stretch::len).sum();
        self.rules.counts.tokens_read.fetch_add(tokens as u64, Ordering::Relaxed);
        let hidden = self.forward.pass(&stretches)?;
        drop(stretches);
        let rows = self.advance(&reading)?;
        self.draw(&hidden, rows)?;
        self.finish();
        Ok(())
    }

    /// Takes note of what was read, and starts those that waited for a prompt of another. Gives the row of hidden states
    /// from which each sequence that is due draws: rows ascend.
    fn advance(&mut self, reading: &[(usize, Range<usize>)]) -> Result<Vec<(usize, usize)>> {
        let mut rows = Vec::new();
        let mut row = 0;
        for (index, range) in reading {
            let live = &mut self.live[*index];
            if range.end < live.prompt_len {
                live.phase = Phase::Prompt(range.end);
                continue;
            }
            rows.push((*index, row));
            if matches!(live.phase, Phase::Prompt(_)) {
                live.phase = Phase::Response;
                let serial = live.serial;
                for follower in *index + 1..self.live.len() {
                    if matches!(self.live[follower].phase, Phase::Follows(leader) if leader == serial) {
                        self.take_over(*index, follower)?;
                        rows.push((follower, row));
                    }
                }
            }
            row += 1;
        }
        Ok(rows)
    }

    /// A follower gets a copy of the prompt's last block, which both will write into.
    fn take_over(&mut self, leader: usize, follower: usize) -> Result<()> {
        let prompt_len = self.live[leader].prompt_len;
        let shared = prompt_len / BLOCK_TOKENS;
        let copied = (!prompt_len.is_multiple_of(BLOCK_TOKENS)).then(|| self.live[leader].table.blocks[shared]);
        let live = &mut self.live[follower];
        live.phase = Phase::Response;
        if let Some(from) = copied {
            let to = self.blocks.grow(&mut live.table);
            self.forward.copy(from, to)?;
        }
        Ok(())
    }

    /// Draws one token for each sequence from its row of `hidden`; rows ascend.
    fn draw(&mut self, hidden: &Tensor, rows: Vec<(usize, usize)>) -> Result<()> {
        let mut due: Vec<Option<usize>> = vec![None; self.live.len()];
        let num_rows = rows.last().map_or(0, |(_, row)| row + 1);
        rows.into_iter().for_each(|(index, row)| due[index] = Some(row));
        let mut drawing: Vec<(usize, &mut Live)> =
            self.live.iter_mut().zip(due).filter_map(|(live, row)| Some((row?, live))).collect();
        drawing.sort_by_key(|(row, _)| *row);
        let (mut rest, allowed) = (&mut drawing[..], self.rules.allowed);
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
            now.par_iter_mut().try_for_each_init(draw::Scratch::default, |scratch, (row, live)| {
                let logits = &logits[(*row - from) * vocab_size..][..vocab_size];
                let (request, position) = (live.ticket, live.response_len());
                let uniform = || draw::uniform(&live.request.address, position);
                let drawn = draw::draw(logits, &live.request.params, allowed, uniform, scratch);
                let Drawn { id, log_prob } = drawn.ok_or(SampleError::NotFinite { request, position })?;
                live.tokens.push(id);
                live.log_probs.push(log_prob);
                Ok::<_, SampleError>(())
            })?;
        }
        Ok(())
    }

    /// Lets go of the responses that have ended.
    fn finish(&mut self) {
        let mut index = 0;
        while index < self.live.len() {
            let live = &self.live[index];
            let stopped =
                live.response_len() > 0 && live.tokens.last().is_some_and(|id| self.rules.stop_ids.contains(id));
            let full = live.response_len() >= live.request.params.max_tokens;
            if !stopped && !full {
                index += 1;
                continue;
            }
            let live = self.live.remove(index);
            let finish = if stopped { FinishReason::Stop } else { FinishReason::Length };
            let token_ids = live.tokens[live.prompt_len..].to_vec();
            self.ended.push_back((live.ticket, Completion { token_ids, log_probs: live.log_probs, finish }));
            self.blocks.release(live.table);
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
        if self.ended.is_empty() && !(self.live.is_empty() && self.waiting.is_empty()) {
            self.step().inspect_err(|_| self.has_failed = true)?;
            if self.ended.is_empty() {
                return Ok(Poll::Pending);
            }
        }
        Ok(Poll::Ready(self.ended.pop_front()))
    }
}
