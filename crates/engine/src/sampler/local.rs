//! Sampling with the decoder in this process.
//!
//! All requests of a stream advance together, each at its own place: a pass reads the newest token of every response
//! and some prompts beside them (continuous batching). The KV cache is paged; prompts that begin alike share blocks
//! (prefix caching), and equal prompts that come together are read once. On the CPU, which computes in f32 whatever the
//! type of the weights, the cache is plain memory and a response is the same to the bit in any company; on other
//! devices it is made of tensors.
//!
//! In types that no cache is made for (f64) every token computes its whole sequence again: right, slow, and also what the
//! caches are tested against.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use candle_core::{DType, Device};
use memtrain_corpora::store;
use memtrain_kernels::attention::paged::{BLOCK_TOKENS, CpuKvCache, Heads, TensorKvCache};
use memtrain_kernels::device::free_bytes_of_card;
#[cfg(feature = "cuda")]
use memtrain_model::policy::inference::Inference;
use memtrain_model::policy::{Decoder, PolicyTokenizer};

use super::block_pool::blocks_of;
use super::cached::Cached;
#[cfg(feature = "cuda")]
use super::card::{CardDraws, CardForward};
use super::config::SamplerConfig;
use super::draws::{Draws, HostDraws};
use super::recomputed::Recomputed;
use super::scheduler::{Counts, Forward, Scheduler, SchedulerConfig};
use super::{Completion, SampleError, SampleRequest, SampleStream, Sampler, sample_batch};

/// Prompt tokens read in one pass: enough to fill the matrix products, few enough for their outputs to stay small.
const PREFILL_TOKENS: usize = 2048;

/// Memory of keys and values where the system does not say what is free.
const FALLBACK_CACHE_BYTES: usize = 2 << 30;

/// Samples from a [`Decoder`] in this process.
///
/// ```
/// use candle_core::{DType, Device};
/// use memtrain_model::policy::{Decoder, preset};
/// use memtrain_engine::sampler::{RngKey, LocalSampler, SampleRequest, Sampler, SamplingParams};
/// let decoder = Decoder::init(preset::tiny(64), 0, &Device::Cpu, DType::F32)?;
/// let mut sampler = LocalSampler::with_ids(&decoder, &[0], 60)?;
/// let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 5 };
/// let request = SampleRequest { prompt_ids: vec![3, 4], params, rng_key: RngKey::default() };
/// let completions = sampler.sample(&[request])?;
/// assert!(completions[0].token_ids.iter().all(|&id| id < 60));
/// assert_eq!(completions[0].token_ids.len(), completions[0].log_probs.len());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalSampler {
    decoder: Decoder,
    /// The decoder with its adapters added into its matrices, as they were when the last stream began.
    merged: Option<Decoder>,
    stop_ids: Vec<u32>,
    allowed: usize,
    cache_bytes: Option<usize>,
    max_sequences: usize,
    prefill_tokens: usize,
    cache: CacheKind,
    counts: Arc<Counts>,
}

/// Which KV cache there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CacheKind {
    Cpu,
    Tensors,
    None,
}

impl LocalSampler {
    /// A sampler as [`Self::with_ids`] makes it, which samples the tokenizer's ids and stops where its configuration says.
    ///
    /// # Errors
    /// If the tokenizer has no ids, or the device refuses.
    pub fn new(decoder: &Decoder, tokenizer: &PolicyTokenizer) -> Result<Self> {
        Self::with_ids(decoder, tokenizer.eos_token_ids(), tokenizer.vocab_size())
    }

    /// A sampler that follows every update of the decoder's weights; of adapters, those before a stream begins. Ids from
    /// `allowed_ids` on (rows of the embedding beyond the tokenizer) are never sampled; a stop id ends a response and is its
    /// last token.
    ///
    /// # Errors
    /// If no id is allowed, or the device refuses.
    pub fn with_ids(decoder: &Decoder, stop_ids: &[u32], allowed_ids: usize) -> Result<Self> {
        let allowed = allowed_ids.min(decoder.config.vocab_size);
        if allowed == 0 {
            return Err(SampleError::NothingAllowed.into());
        }
        let (decoder, stop_ids) = (decoder.frozen()?, stop_ids.to_vec());
        let cache = match (decoder.device().is_cpu(), decoder.compute_dtype()) {
            (_, DType::F64) => CacheKind::None,
            (true, _) => CacheKind::Cpu,
            (false, _) => CacheKind::Tensors,
        };
        let max_sequences = SamplerConfig::default().max_sequences;
        let prefill_tokens = PREFILL_TOKENS;
        Ok(Self {
            decoder,
            merged: None,
            stop_ids,
            allowed,
            cache_bytes: None,
            max_sequences,
            prefill_tokens,
            cache,
            counts: Arc::default(),
        })
    }

    /// The means that a configuration gives it.
    #[must_use]
    pub fn with_config(mut self, config: &SamplerConfig) -> Self {
        self.cache_bytes = config.cache_bytes();
        self.max_sequences = config.max_sequences.max(1);
        self
    }

    /// What sampling took so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Bounds the memory of keys and values, which is half of what is free otherwise. The bound changes what is sampled
    /// together, not what is sampled; a sequence that needs more is an error.
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// Bounds the prompt tokens that are read in one pass. It changes how long the others wait, not what is sampled.
    #[must_use]
    pub fn with_prefill_tokens(mut self, tokens: usize) -> Self {
        self.prefill_tokens = tokens.max(1);
        self
    }

    /// Computes whole sequences again for each token instead of caching: slow, the twin of the caches in tests.
    #[must_use]
    pub fn recomputing(mut self) -> Self {
        self.cache = CacheKind::None;
        self
    }

    /// Keeps keys and values in tensors, as on devices other than the CPU.
    #[must_use]
    pub fn with_tensor_cache(mut self) -> Self {
        self.cache = CacheKind::Tensors;
        self
    }

    fn heads(&self) -> Heads {
        let config = &self.decoder.config;
        Heads { query: config.num_attention_heads, key_value: config.num_key_value_heads, width: config.head_dim }
    }

    /// Bytes of keys and values of a block in all layers.
    pub(super) fn block_bytes(&self) -> usize {
        let element = if self.cache == CacheKind::Tensors { self.decoder.compute_dtype().size_in_bytes() } else { 4 };
        2 * self.decoder.config.num_hidden_layers * self.heads().row() * BLOCK_TOKENS * element
    }

    /// Begins with the weights as they are now. Adapters are added into their matrices first: as products of their own they
    /// would be two more for each matrix and token.
    fn begin(&mut self) -> Result<Scheduler<'_>> {
        let merges = self.decoder.has_adapters() && self.cache != CacheKind::None;
        // The last sum goes before the next is made.
        self.merged = None;
        self.merged = merges.then(|| self.decoder.merged_lora_as(self.decoder.compute_dtype())).transpose()?;
        let (heads, decoder) = (self.heads(), self.merged.as_ref().unwrap_or(&self.decoder));
        let bytes = self
            .cache_bytes
            .unwrap_or_else(|| free_bytes(decoder.device()).map_or(FALLBACK_CACHE_BYTES, |free| free / 2));
        let num_blocks = match self.cache {
            // A pool on a card is made whole: it is no larger than what can be used at a time.
            CacheKind::Tensors => (bytes / self.block_bytes())
                .min(self.max_sequences.saturating_mul(blocks_of(decoder.config.max_position_embeddings))),
            _ => bytes / self.block_bytes(),
        };
        let num_layers = decoder.config.num_hidden_layers;
        let forward: Box<dyn Forward + '_> = match self.cache {
            CacheKind::None => Box::new(Recomputed { decoder }),
            CacheKind::Cpu => Box::new(Cached::new(decoder, CpuKvCache::new(heads, num_layers))),
            CacheKind::Tensors => over_tensors(decoder, heads, num_blocks)?,
        };
        let draws = draws(decoder, self.allowed)?;
        let config = SchedulerConfig {
            stop_ids: self.stop_ids.clone(),
            max_sequences: self.max_sequences,
            prefill_tokens: self.prefill_tokens,
            block_bytes: self.block_bytes(),
            counts: Arc::clone(&self.counts),
        };
        Ok(Scheduler::new(decoder, config, forward, draws, num_blocks))
    }
}

/// Passes over a cache of tensors: with fused kernels where there are any.
fn over_tensors(decoder: &Decoder, heads: Heads, num_blocks: usize) -> Result<Box<dyn Forward + '_>> {
    #[cfg(feature = "cuda")]
    if Inference::takes(decoder) {
        return Ok(Box::new(CardForward::new(decoder, heads, num_blocks)?));
    }
    let (num_layers, dtype) = (decoder.config.num_hidden_layers, decoder.compute_dtype());
    let cache = TensorKvCache::new(heads, num_layers, num_blocks, decoder.device(), dtype)?;
    Ok(Box::new(Cached::new(decoder, cache)))
}

/// Draws where the hidden states are, if there is a kernel for it, else on the CPU.
fn draws(decoder: &Decoder, allowed: usize) -> Result<Box<dyn Draws>> {
    #[cfg(feature = "cuda")]
    if CardDraws::takes(decoder) {
        return Ok(Box::new(CardDraws::new(decoder, allowed)?));
    }
    Ok(Box::new(HostDraws::new(decoder, allowed)?))
}

/// Free memory of a device; nothing where it does not say.
pub fn free_bytes(device: &Device) -> Option<usize> {
    match device {
        Device::Cpu => {
            let text = store::read_to_string(Path::new("/proc/meminfo")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
            let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        }
        _ => free_bytes_of_card(device),
    }
}

impl Sampler for LocalSampler {
    fn sample(&mut self, requests: &[SampleRequest]) -> Result<Vec<Completion>> {
        sample_batch(&mut self.begin()?, requests)
    }

    fn stream(&mut self) -> Result<Box<dyn SampleStream + '_>> {
        Ok(Box::new(self.begin()?))
    }
}
