//! Passes and draws on a card: fused kernels, and of each token 8 bytes that come back. A pass reads the tokens of the one
//! before where they were drawn; the host sees them while it runs.

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use memtrain_kernels::attention::paged::{BlockId, Heads, KvCache, SequenceRows, TensorKvCache};
use memtrain_kernels::cuda::{
    Draw, DrawnToken, KvPool, Output, PagedTables, TokenDraws, has_paged_attention, has_token_draws, linear, room_like,
};
use memtrain_model::policy::Decoder;
use memtrain_model::policy::inference::{CachedAttention, FedRows, Inference, PassRows};

use super::cached::sequence_rows;
use super::draws::{Draws, DueToken, LOGIT_ROWS, split_at_rows};
use super::scheduler::{Forward, ScheduledTokens};
use super::token_sampler::{SampledToken, uniform};

/// Keys and values on the card.
enum CardCache {
    /// Read where they lie, by kernels: bf16, and heads of a width that they know.
    Paged { pool: KvPool, tables: Box<PagedTables> },
    /// Gathered for each layer, by candle's operations.
    Gathered(TensorKvCache),
}

/// Hidden states by the fused kernels, over a KV cache on the card.
pub(super) struct CardForward<'a> {
    decoder: &'a Decoder,
    inference: Inference<'a>,
    cache: CardCache,
}

impl<'a> CardForward<'a> {
    /// With room for so many blocks.
    pub(super) fn new(decoder: &'a Decoder, heads: Heads, num_blocks: usize) -> Result<Self> {
        let (device, dtype, num_layers) = (decoder.device(), decoder.dtype(), decoder.config.num_hidden_layers);
        let cache = if dtype == DType::BF16 && has_paged_attention(device, heads) {
            let pool = KvPool::new(device, num_layers, num_blocks.max(1), heads)?;
            CardCache::Paged { pool, tables: Box::new(PagedTables::new(device, heads)?) }
        } else {
            CardCache::Gathered(TensorKvCache::new(heads, num_layers, num_blocks, device, dtype)?)
        };
        Ok(Self { decoder, inference: Inference::new(decoder)?, cache })
    }
}

impl Forward for CardForward<'_> {
    fn pass(&mut self, scheduled: &[ScheduledTokens<'_>], drawn: Option<&Tensor>) -> Result<Tensor> {
        let (mut ids, mut positions, mut wanted, mut pairs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for sequence in scheduled {
            ids.extend_from_slice(&sequence.tokens[sequence.start..]);
            positions.extend(sequence.positions().map(|position| position as u32));
            if sequence.needs_logits {
                wanted.push(ids.len() as u32 - 1);
            }
            if let Some(place) = sequence.pending {
                pairs.extend([ids.len() as u32 - 1, place]);
            }
        }
        let fed = (!pairs.is_empty()).then(|| drawn.context("a pass reads tokens that were not drawn")).transpose()?;
        let fed = fed.map(|drawn| FedRows { drawn, pairs: &pairs });
        let read = PassRows { ids: &ids, positions: &positions, wanted: &wanted, fed };
        let sequences = sequence_rows(scheduled);
        let hidden = match &mut self.cache {
            CardCache::Paged { pool, tables } => {
                tables.fill(&sequences, ids.len())?;
                self.inference.pass(&read, &mut Paged { pool, tables })
            }
            CardCache::Gathered(cache) => self.inference.pass(&read, &mut Gathered { cache, sequences }),
        }?;
        let (hidden_size, dtype) = (self.decoder.config.hidden_size, self.decoder.dtype());
        Ok(hidden.map_or_else(|| Tensor::zeros((1, hidden_size), dtype, self.decoder.device()), Ok)?)
    }

    fn reads_drawn(&self) -> bool {
        true
    }

    fn copy(&mut self, pairs: &[(BlockId, BlockId)]) -> Result<()> {
        match &mut self.cache {
            CardCache::Paged { .. } if pairs.is_empty() => Ok(()),
            CardCache::Paged { pool, .. } => Ok(pool.copy_blocks(pairs)?),
            CardCache::Gathered(cache) => Ok(pairs.iter().try_for_each(|&(from, to)| cache.copy(from, to))?),
        }
    }
}

/// Attention of one pass over blocks where they lie.
struct Paged<'p> {
    pool: &'p KvPool,
    tables: &'p PagedTables,
}

impl CachedAttention for Paged<'_> {
    fn store(&mut self, layer: usize, k: &Tensor, v: &Tensor) -> candle_core::Result<()> {
        self.pool.write(layer, k, v, self.tables)
    }

    fn attend(&mut self, layer: usize, q: &Tensor, out: &Tensor) -> candle_core::Result<()> {
        self.pool.attend(layer, q, self.tables, out)
    }
}

/// Attention of one pass over keys and values that are gathered for it.
struct Gathered<'p> {
    cache: &'p mut TensorKvCache,
    sequences: Vec<SequenceRows<'p>>,
}

impl CachedAttention for Gathered<'_> {
    fn store(&mut self, layer: usize, k: &Tensor, v: &Tensor) -> candle_core::Result<()> {
        self.cache.store(layer, k, v, &self.sequences)
    }

    fn attend(&mut self, layer: usize, q: &Tensor, out: &Tensor) -> candle_core::Result<()> {
        out.slice_set(&self.cache.attend(layer, q, &self.sequences)?, 0, 0)
    }
}

/// Draws where the hidden states are, from logits in f32 of a head in its own type.
pub(super) struct CardDraws {
    head: Tensor,
    logits: Tensor,
    draws: TokenDraws,
    /// Ids from here on are never drawn.
    allowed: usize,
}

impl CardDraws {
    /// Whether there are kernels for it.
    pub(super) fn takes(decoder: &Decoder) -> bool {
        has_token_draws(decoder.device(), decoder.config.vocab_size)
            && matches!(decoder.dtype(), DType::BF16 | DType::F32)
    }

    pub(super) fn new(decoder: &Decoder, allowed: usize) -> Result<Self> {
        let device = decoder.device();
        let logits = room_like((1, decoder.config.vocab_size), DType::F32, device.as_cuda_device()?)?;
        Ok(Self { head: decoder.head().clone(), logits, draws: TokenDraws::new(device, 1)?, allowed })
    }

    /// As the kernel takes it.
    fn draw_of(&self, due: &DueToken<'_>, first: usize) -> Draw {
        let params = due.params;
        let greedy = params.temperature <= 0.0;
        Draw {
            uniform: if greedy { 0.0 } else { uniform(due.rng_key, due.position) },
            top_p: params.top_p,
            row: (due.row - first) as u32,
            top_k: if params.top_k == 0 { self.allowed } else { params.top_k.min(self.allowed) } as u32,
            scale: if greedy { 1.0 } else { (1.0 / params.temperature) as f32 },
            greedy: u32::from(greedy),
        }
    }
}

impl Draws for CardDraws {
    fn begin(&mut self, hidden: &Tensor, due: &[DueToken<'_>]) -> Result<Option<Tensor>> {
        let mut rest = due;
        self.draws.reserve(due.len())?;
        let num_rows = due.last().map_or(0, |due| due.row + 1);
        if num_rows.min(LOGIT_ROWS) > self.logits.dim(0)? {
            let rows = num_rows.next_power_of_two().min(LOGIT_ROWS);
            self.logits = room_like((rows, self.logits.dim(1)?), DType::F32, self.logits.device().as_cuda_device()?)?;
        }
        for first in (0..num_rows).step_by(LOGIT_ROWS) {
            let count = LOGIT_ROWS.min(num_rows - first);
            let (now, later) = split_at_rows(rest, first);
            rest = later;
            let logits = self.logits.narrow(0, 0, count)?;
            linear(&hidden.narrow(0, first, count)?, &self.head, &logits, 1.0, Output::Overwrite)?;
            let draws: Vec<Draw> = now.iter().map(|due| self.draw_of(due, first)).collect();
            self.draws.draw(due.len() - rest.len() - now.len(), &logits, &draws, self.allowed)?;
        }
        Ok(Some(self.draws.send(due.len())?))
    }

    fn end(&mut self) -> Result<Vec<Option<SampledToken>>> {
        let token = |token: DrawnToken| {
            (token.id != u32::MAX).then_some(SampledToken { id: token.id, log_prob: token.log_prob })
        };
        Ok(self.draws.receive()?.into_iter().map(token).collect())
    }
}
