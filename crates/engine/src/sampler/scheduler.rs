//! Continuous batching: which sequences are running, and which tokens of each a forward pass computes.
//!
//! Requests wait in the order in which they came. The first one is admitted as soon as there is room for it to run to
//! its end, so that none is ever thrown out again and none is passed over for ever. In a pass every response under way
//! reads its newest token; prompts are read beside them, so many tokens at a time, in the order of admission. A prompt
//! that equals one that is about to be read waits for it and takes over its blocks and its first distribution.
//!
//! Where a pass can read the tokens that the one before has drawn on its device, the host learns of them one pass late: it
//! begins a pass, then takes the tokens of the one before. Places, lengths and keys are known without them. A response that
//! has drawn a stop token has asked for one token more by then, which is thrown away.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use anyhow::Result;
use candle_core::Tensor;
use memtrain_kernels::attention::paged::{BLOCK_TOKENS, BlockId};
use memtrain_model::policy::Decoder;

use super::block_pool::{BlockPool, BlockTable, blocks_of};
use super::draws::{Draws, DueToken};
use super::token_sampler::SampledToken;
use super::{Completion, FinishReason, SampleError, SampleRequest, SampleStream};

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
    /// Place of the last token among those drawn last, if the host has not seen it: the last of `tokens` is no token then.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "only draws on a card are pending"))]
    pub pending: Option<u32>,
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
    /// Reads the scheduled tokens, those that are pending from what [`Draws::begin`] gave last; hidden states `[W, d]` of the last tokens of those sequences that need logits, in
    /// their order. There may be rows beyond these, and on the CPU, if any are needed, there are no fewer than
    /// [`rows_alike`](super::row_padding::rows_alike).
    fn pass(&mut self, scheduled: &[ScheduledTokens<'_>], drawn: Option<&Tensor>) -> Result<Tensor>;
    /// Whether tokens may be pending.
    fn reads_drawn(&self) -> bool {
        false
    }
    /// Copies blocks, from the first to the second of each pair, in all layers. No block is written twice or read after.
    fn copy(&mut self, pairs: &[(BlockId, BlockId)]) -> Result<()>;
}

/// What sampling took so far, all streams of a sampler and of its clones together.
#[derive(Debug, Default)]
pub struct Counts {
    /// Forward passes: each reads all weights once.
    pub passes: AtomicU64,
    /// Tokens that went through the layers.
    pub tokens_read: AtomicU64,
    /// Prompt tokens whose keys and values were there already.
    pub tokens_shared: AtomicU64,
}

/// What is the same for all requests of a stream.
#[derive(Clone, Debug)]
pub(super) struct SchedulerConfig {
    pub stop_ids: Vec<u32>,
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
    /// Prompt and response. Of a token that has been asked for and not come there is [`PENDING`].
    tokens: Vec<u32>,
    /// Of the tokens that have come.
    log_probs: Vec<f32>,
    /// Place of the last token among those drawn last, if it has not come.
    pending: Option<u32>,
    finish: Option<FinishReason>,
    table: BlockTable,
    phase: Phase,
}

/// Stands for a token that has not come: an id of any vocabulary.
const PENDING: u32 = 0;

/// Tokens that have been asked for.
struct AskedTokens {
    /// Serial of each sequence, and the token's place in it.
    due: Vec<(u64, usize)>,
    /// Where the next pass reads them before the host has them.
    drawn: Option<Tensor>,
}

impl RunningSequence {
    fn response_len(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// What it reads in a pass that has room for so many prompt tokens.
    fn range(&self, room: usize) -> Option<Range<usize>> {
        match self.phase {
            // Of a response that is full the last token may still be on its way.
            Phase::Response => {
                (self.response_len() < self.request.params.max_tokens).then(|| self.tokens.len() - 1..self.tokens.len())
            }
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
    config: SchedulerConfig,
    forward: Box<dyn Forward + 'a>,
    draws: Box<dyn Draws + 'a>,
    /// What the host takes when the next pass has begun.
    asked: Option<AskedTokens>,
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
        draws: Box<dyn Draws + 'a>,
        num_blocks: usize,
    ) -> Self {
        Self {
            decoder,
            config,
            forward,
            draws,
            asked: None,
            blocks: BlockPool::new(num_blocks),
            waiting: VecDeque::new(),
            running: Vec::new(),
            ended: VecDeque::new(),
            serial: 0,
            has_failed: false,
        }
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
                pending: None,
                finish: None,
                request,
                table,
                phase,
            });
        }
    }

    /// One forward pass: every running sequence goes on, and a token is sampled wherever one is due.
    fn step(&mut self) -> Result<()> {
        self.admit();
        let reading = self.choose();
        let asked = if reading.is_empty() { None } else { self.pass(&reading)? };
        if let Some(before) = std::mem::replace(&mut self.asked, asked) {
            self.take(before)?;
        }
        if let Some(now) = self.asked.take_if(|asked| asked.drawn.is_none()) {
            self.take(now)?;
        }
        self.finish();
        Ok(())
    }

    /// What each sequence reads in the next pass, in their order; blocks for it are taken.
    fn choose(&mut self) -> Vec<(usize, Range<usize>)> {
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
        reading
    }

    /// Reads, and asks for the tokens that are due.
    fn pass(&mut self, reading: &[(usize, Range<usize>)]) -> Result<Option<AskedTokens>> {
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
                    pending: running.pending,
                }
            })
            .collect();
        self.config.counts.passes.fetch_add(1, Ordering::Relaxed);
        let tokens: usize = scheduled.iter().map(ScheduledTokens::len).sum();
        self.config.counts.tokens_read.fetch_add(tokens as u64, Ordering::Relaxed);
        let drawn = self.asked.as_ref().and_then(|asked| asked.drawn.as_ref());
        let hidden = self.forward.pass(&scheduled, drawn)?;
        drop(scheduled);
        let rows = self.advance(reading)?;
        if rows.is_empty() { Ok(None) } else { self.ask(&hidden, rows).map(Some) }
    }

    /// Takes note of what was read, and starts those that waited for a prompt of another. Gives the row of hidden states
    /// from which each sequence that is due samples: rows ascend.
    fn advance(&mut self, reading: &[(usize, Range<usize>)]) -> Result<Vec<(usize, usize)>> {
        let (mut rows, mut copies) = (Vec::new(), Vec::new());
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
                        copies.extend(self.take_over(*index, follower));
                        rows.push((follower, row));
                    }
                }
            }
            row += 1;
        }
        self.forward.copy(&copies)?;
        Ok(rows)
    }

    /// Copy-on-write: a follower gets a copy of the prompt's last block, which both will write into. Gives the two blocks.
    fn take_over(&mut self, leader: usize, follower: usize) -> Option<(BlockId, BlockId)> {
        let prompt_len = self.running[leader].prompt_len;
        let shared = prompt_len / BLOCK_TOKENS;
        let copied = (!prompt_len.is_multiple_of(BLOCK_TOKENS)).then(|| self.running[leader].table.blocks[shared]);
        let running = &mut self.running[follower];
        running.phase = Phase::Response;
        copied.map(|from| (from, self.blocks.append_block(&mut running.table)))
    }

    /// Asks for one token for each sequence from its row of `hidden`; rows ascend.
    fn ask(&mut self, hidden: &Tensor, rows: Vec<(usize, usize)>) -> Result<AskedTokens> {
        let mut due: Vec<Option<usize>> = vec![None; self.running.len()];
        rows.into_iter().for_each(|(index, row)| due[index] = Some(row));
        let mut drawing: Vec<(usize, &mut RunningSequence)> =
            self.running.iter_mut().zip(due).filter_map(|(running, row)| Some((row?, running))).collect();
        drawing.sort_by_key(|(row, _)| *row);
        let due = drawing.iter().map(|(row, running)| {
            let (request, position) = (&running.request, running.response_len());
            DueToken { row: *row, params: &request.params, rng_key: &request.rng_key, position }
        });
        let drawn = self.draws.begin(hidden, &due.collect::<Vec<_>>())?.filter(|_| self.forward.reads_drawn());
        let is_late = drawn.is_some();
        let due = drawing.into_iter().enumerate().map(|(place, (_, running))| {
            running.pending = is_late.then_some(place as u32);
            running.tokens.push(PENDING);
            (running.serial, running.tokens.len() - 1)
        });
        Ok(AskedTokens { due: due.collect(), drawn })
    }

    /// Takes tokens that were asked for, and says which responses end with them.
    fn take(&mut self, asked: AskedTokens) -> Result<()> {
        for ((serial, place), sampled) in asked.due.into_iter().zip(self.draws.end()?) {
            // Serials ascend. Whoever has ended meanwhile has asked for one token too many.
            let Ok(index) = self.running.binary_search_by_key(&serial, |running| running.serial) else { continue };
            let running = &mut self.running[index];
            let (request, position) = (running.ticket, place - running.prompt_len);
            let SampledToken { id, log_prob } = sampled.ok_or(SampleError::NotFinite { request, position })?;
            running.tokens[place] = id;
            running.log_probs.push(log_prob);
            if self.config.stop_ids.contains(&id) {
                running.tokens.truncate(place + 1);
                running.finish = Some(FinishReason::Stop);
            } else if position + 1 >= running.request.params.max_tokens {
                running.finish = Some(FinishReason::Length);
            }
        }
        Ok(())
    }

    /// Lets go of the responses that have ended.
    fn finish(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            let Some(finish) = self.running[index].finish else {
                index += 1;
                continue;
            };
            let running = self.running.remove(index);
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
