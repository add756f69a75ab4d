//! Sampling with the decoder in this process.
//!
//! Requests with equal prompts form a group: the prompt is read once, its keys and values are kept once, and its first
//! token is drawn from one row of logits. Groups are worked on in waves that fit the cache's memory. In a wave all live
//! responses advance together, one row each in one packed batch, and a response that has ended leaves the batch.
//!
//! On the CPU, which computes in f32 whatever the type of the weights, keys and values are cached. Elsewhere every step computes the whole sequences again: right, slow,
//! and also what the cache is tested against.

use std::collections::HashMap;

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::cache::{Block, Heads};
use super::cached::Cached;
use super::draw::{self, Drawn};
use super::recomputed::Recomputed;
use super::{Completion, FinishReason, SampleError, SampleRequest, Sampler};
use crate::nn::ops::real::Host;
use crate::policy::{Decoder, PolicyTokenizer};

/// Rows of logits that exist at a time.
const LOGIT_ROWS: usize = 256;

/// Default bound on the memory of cached keys and values.
pub const DEFAULT_CACHE_BYTES: usize = 2 << 30;

/// Draws from a [`Decoder`] in this process.
///
/// ```
/// use candle_core::{DType, Device};
/// use memtrain::policy::{Decoder, preset};
/// use memtrain::sampler::{DrawAddress, LocalSampler, SampleRequest, Sampler, SamplingParams};
/// let decoder = Decoder::init(preset::tiny(64), 0, &Device::Cpu, DType::F32)?;
/// let mut sampler = LocalSampler::with_ids(&decoder, &[0], 60)?;
/// let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 5 };
/// let request = SampleRequest { prompt_ids: vec![3, 4], params, address: DrawAddress::default() };
/// let completions = sampler.sample(&[request])?;
/// assert!(completions[0].token_ids.iter().all(|&id| id < 60));
/// assert_eq!(completions[0].token_ids.len(), completions[0].log_probs.len());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalSampler {
    decoder: Decoder,
    stop_ids: Vec<u32>,
    allowed: usize,
    cache_bytes: usize,
    recompute: bool,
}

/// Requests of one prompt, by their numbers.
struct Group {
    requests: Vec<usize>,
}

/// A response being drawn.
pub(super) struct Live {
    request: usize,
    /// Group of its prompt inside the wave.
    pub(super) group: usize,
    /// Tokens of its prompt.
    pub(super) prompt_len: usize,
    pub(super) token_ids: Vec<u32>,
    log_probs: Vec<f32>,
    /// Its own keys and values, one block a layer; empty where nothing is cached.
    pub(super) blocks: Vec<Block>,
}

/// How hidden states of the newest tokens come about.
pub(super) trait Forward {
    /// Reads the prompts of a wave, whose responses take up to `max_tokens` each; hidden states `[prompts, d]` of their last
    /// tokens.
    fn read(&mut self, prompts: &[&[u32]], max_tokens: usize) -> Result<Tensor>;
    /// Room for a response of up to so many tokens.
    fn room(&self, max_tokens: usize) -> Vec<Block>;
    /// Reads the newest token of each response; hidden states `[live, d]` of these.
    fn advance(&mut self, live: &mut [Live]) -> Result<Tensor>;
}

impl LocalSampler {
    /// A sampler that follows every update of the decoder's weights, draws the tokenizer's ids and stops where its
    /// configuration says.
    ///
    /// # Errors
    /// If the tokenizer has no ids, or the device refuses.
    pub fn new(decoder: &Decoder, tokenizer: &PolicyTokenizer) -> Result<Self> {
        Self::with_ids(decoder, tokenizer.eos_token_ids(), tokenizer.vocab_size())
    }

    /// A sampler that follows every update of the decoder's weights. Ids from `allowed_ids` on (rows of the embedding
    /// beyond the tokenizer) are never drawn; a stop id ends a response and is its last token.
    ///
    /// # Errors
    /// If no id is allowed, or the device refuses.
    pub fn with_ids(decoder: &Decoder, stop_ids: &[u32], allowed_ids: usize) -> Result<Self> {
        let allowed = allowed_ids.min(decoder.config.vocab_size);
        if allowed == 0 {
            return Err(SampleError::NothingAllowed.into());
        }
        let (decoder, stop_ids) = (decoder.frozen()?, stop_ids.to_vec());
        let recompute = !(decoder.device().is_cpu() && decoder.compute_dtype() == DType::F32);
        Ok(Self { decoder, stop_ids, allowed, cache_bytes: DEFAULT_CACHE_BYTES, recompute })
    }

    /// Bounds the memory of cached keys and values; at least one group member is always worked on. The bound changes
    /// how requests are split into waves, not what is drawn.
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Computes whole sequences again for each token instead of caching: slow, the twin of the cache in tests.
    #[must_use]
    pub fn recomputing(mut self) -> Self {
        self.recompute = true;
        self
    }

    fn heads(&self) -> Heads {
        let config = &self.decoder.config;
        Heads { query: config.num_attention_heads, key_value: config.num_key_value_heads, width: config.head_dim }
    }

    fn check(&self, requests: &[SampleRequest]) -> Result<(), SampleError> {
        let config = &self.decoder.config;
        for (request, SampleRequest { prompt_ids, params, .. }) in requests.iter().enumerate() {
            if prompt_ids.is_empty() {
                return Err(SampleError::EmptyPrompt { request });
            }
            if let Some(&id) = prompt_ids.iter().find(|&&id| id as usize >= config.vocab_size) {
                return Err(SampleError::OutsideVocabulary { request, id, vocab_size: config.vocab_size });
            }
            let tokens = prompt_ids.len() + params.max_tokens;
            if tokens > config.max_position_embeddings {
                let (prompt, response) = (prompt_ids.len(), params.max_tokens);
                return Err(SampleError::TooLong { request, prompt, response, limit: config.max_position_embeddings });
            }
            params.check().map_err(|detail| SampleError::Params { request, detail })?;
        }
        Ok(())
    }

    /// Groups of equal prompts in the order of their first requests, cut into waves that fit the cache.
    fn waves(&self, requests: &[SampleRequest]) -> Vec<Vec<Group>> {
        let mut numbers: HashMap<&[u32], usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            let group = *numbers.entry(&request.prompt_ids).or_insert_with(|| {
                groups.push(Group { requests: Vec::new() });
                groups.len() - 1
            });
            groups[group].requests.push(number);
        }
        let bytes = |tokens: usize| self.heads().bytes(tokens) * self.decoder.config.num_hidden_layers;
        let mut waves = vec![Vec::new()];
        let mut left = self.cache_bytes;
        for group in groups {
            let prompt = bytes(requests[group.requests[0]].prompt_ids.len());
            let mut part = Group { requests: Vec::new() };
            for request in group.requests {
                let own = bytes(requests[request].params.max_tokens);
                let needed = if part.requests.is_empty() { prompt + own } else { own };
                let wave_is_empty = part.requests.is_empty() && waves.last().is_none_or(Vec::is_empty);
                if needed > left && !wave_is_empty {
                    push_group(&mut waves, part);
                    waves.push(Vec::new());
                    part = Group { requests: Vec::new() };
                    left = self.cache_bytes.saturating_sub(prompt + own);
                } else {
                    left = left.saturating_sub(needed);
                }
                part.requests.push(request);
            }
            push_group(&mut waves, part);
        }
        waves
    }

    fn sample_wave(&self, requests: &[SampleRequest], groups: &[Group], done: &mut [Option<Completion>]) -> Result<()> {
        let mut forward: Box<dyn Forward> = match self.recompute {
            true => Box::new(Recomputed::new(&self.decoder)),
            false => Box::new(Cached::new(&self.decoder, self.heads())),
        };
        let prompts: Vec<&[u32]> = groups.iter().map(|group| &requests[group.requests[0]].prompt_ids[..]).collect();
        let max_tokens = |request: usize| requests[request].params.max_tokens;
        let longest = groups.iter().flat_map(|group| &group.requests).map(|&request| max_tokens(request)).max();
        let mut hidden = forward.read(&prompts, longest.unwrap_or(0))?;
        let mut live: Vec<Live> = Vec::new();
        for (number, (group, prompt)) in groups.iter().zip(&prompts).enumerate() {
            live.extend(group.requests.iter().map(|&request| Live {
                request,
                group: number,
                prompt_len: prompt.len(),
                token_ids: Vec::with_capacity(max_tokens(request)),
                log_probs: Vec::with_capacity(max_tokens(request)),
                // The last token of a response is drawn and never read.
                blocks: forward.room(max_tokens(request) - 1),
            }));
        }
        let mut rows: Vec<usize> = live.iter().map(|live| live.group).collect();
        loop {
            self.draw_next(requests, &hidden, &rows, &mut live)?;
            live.retain_mut(|live| match self.finish_of(live, max_tokens(live.request)) {
                Some(finish) => {
                    let token_ids = std::mem::take(&mut live.token_ids);
                    let log_probs = std::mem::take(&mut live.log_probs);
                    done[live.request] = Some(Completion { token_ids, log_probs, finish });
                    false
                }
                None => true,
            });
            if live.is_empty() {
                return Ok(());
            }
            hidden = forward.advance(&mut live)?;
            rows = (0..live.len()).collect();
        }
    }

    fn finish_of(&self, live: &Live, max_tokens: usize) -> Option<FinishReason> {
        if live.token_ids.last().is_some_and(|id| self.stop_ids.contains(id)) {
            Some(FinishReason::Stop)
        } else {
            (live.token_ids.len() >= max_tokens).then_some(FinishReason::Length)
        }
    }

    /// Draws one token for each live response from its row of `hidden`; `rows` ascends.
    fn draw_next(&self, requests: &[SampleRequest], hidden: &Tensor, rows: &[usize], live: &mut [Live]) -> Result<()> {
        let num_rows = hidden.dim(0)?;
        let mut rest = live;
        for first in (0..num_rows).step_by(LOGIT_ROWS) {
            let count = LOGIT_ROWS.min(num_rows - first);
            let here = rows.partition_point(|&row| row < first + count) - rows.partition_point(|&row| row < first);
            let (live, later) = std::mem::take(&mut rest).split_at_mut(here);
            rest = later;
            let logits = self.decoder.logits(&hidden.narrow(0, first, count)?)?.to_dtype(DType::F32)?;
            let logits = logits.to_device(&candle_core::Device::Cpu)?;
            let (host, vocab_size) = (Host::new(&logits), logits.dim(1)?);
            let logits: &[f32] = host.slice("sample")?;
            let rows = &rows[rows.partition_point(|&row| row < first)..];
            live.par_iter_mut().zip(rows).try_for_each_init(draw::Scratch::default, |scratch, (live, row)| {
                let row = &logits[(row - first) * vocab_size..][..vocab_size];
                let (request, position) = (&requests[live.request], live.token_ids.len());
                let uniform = || draw::uniform(&request.address, position);
                let drawn = draw::draw(row, &request.params, self.allowed, uniform, scratch);
                let Drawn { id, log_prob } = drawn.ok_or(SampleError::NotFinite { request: live.request, position })?;
                live.token_ids.push(id);
                live.log_probs.push(log_prob);
                Ok::<_, SampleError>(())
            })?;
        }
        Ok(())
    }
}

fn push_group(waves: &mut [Vec<Group>], group: Group) {
    if let Some(wave) = waves.last_mut()
        && !group.requests.is_empty()
    {
        wave.push(group);
    }
}

impl Sampler for LocalSampler {
    fn sample(&mut self, requests: &[SampleRequest]) -> Result<Vec<Completion>> {
        self.check(requests)?;
        let mut done = vec![None; requests.len()];
        for wave in self.waves(requests) {
            if !wave.is_empty() {
                self.sample_wave(requests, &wave, &mut done)?;
            }
        }
        done.into_iter().map(|completion| completion.context("a request was not answered")).collect()
    }
}
