//! Hidden states of new tokens over a paged KV cache: prefill and decoding in one forward pass.
//!
//! A row's result is the same to the bit whatever else is in the pass: attention adds in the order of the positions, and
//! products round every row alike from [`rows_alike`] on, so there are never fewer.

use anyhow::Result;
use candle_core::Tensor;
use memtrain_kernels::attention::paged::{BlockId, KvCache, SequenceRows};
use memtrain_kernels::nn::ops::{self, Rotary};
use memtrain_model::policy::{Decoder, Qkv};

use super::row_padding::{filled_up, rows_alike};
use super::scheduler::{Forward, ScheduledTokens};

/// Rows of the scheduled sequences, one after the other.
pub(super) fn sequence_rows<'a>(scheduled: &[ScheduledTokens<'a>]) -> Vec<SequenceRows<'a>> {
    let mut end = 0;
    let rows = scheduled.iter().map(|sequence| {
        let first = end;
        end += sequence.len();
        SequenceRows { rows: first..end, position: sequence.start, blocks: sequence.blocks }
    });
    rows.collect()
}

/// Passes of a decoder over a paged KV cache.
pub(super) struct Cached<'a, C> {
    decoder: &'a Decoder,
    rows_alike: usize,
    cache: C,
    /// Angles of the positions from 0 on, `[positions, D / 2]` each.
    angles: Option<Rotary>,
}

impl<'a, C: KvCache> Cached<'a, C> {
    pub(super) fn new(decoder: &'a Decoder, cache: C) -> Self {
        Self { decoder, rows_alike: rows_alike(decoder), cache, angles: None }
    }

    fn rotary(&mut self, positions: &[u32]) -> Result<Rotary> {
        let needed = positions.iter().max().map_or(0, |&last| last as usize + 1);
        let there = self.angles.as_ref().map_or(Ok(0), |angles| angles.cos.dim(0))?;
        if needed > there {
            let all: Vec<u32> = (0..needed.max(2 * there).max(512) as u32).collect();
            self.angles = Some(self.decoder.rotary(&all)?);
        }
        match &self.angles {
            Some(angles) => {
                let rows = |table: &Tensor| ops::gather_rows(table, positions);
                Ok(Rotary { cos: rows(&angles.cos)?, sin: rows(&angles.sin)? })
            }
            None => Ok(self.decoder.rotary(positions)?),
        }
    }
}

impl<C: KvCache> Forward for Cached<'_, C> {
    fn pass(&mut self, scheduled: &[ScheduledTokens<'_>], _: Option<&Tensor>) -> Result<Tensor> {
        let (mut ids, mut positions) = (Vec::new(), Vec::new());
        let (sequences, mut last_rows, mut last_sequences) = (sequence_rows(scheduled), Vec::new(), Vec::new());
        for sequence in scheduled {
            ids.extend_from_slice(&sequence.tokens[sequence.start..]);
            positions.extend(sequence.positions().map(|position| position as u32));
            if sequence.needs_logits {
                let (row, position) = (last_rows.len(), sequence.tokens.len() - 1);
                last_sequences.push(SequenceRows { rows: row..row + 1, position, blocks: sequence.blocks });
                last_rows.push(ids.len() as u32 - 1);
            }
        }
        let least = self.rows_alike;
        let (ids, positions) = (filled_up(ids, least), filled_up(positions, least));
        let last_rows = filled_up(last_rows, least);
        let rotary = self.rotary(&positions)?;
        let mut x = self.decoder.embed(&ids)?;
        let decoder = self.decoder;
        let num_layers = decoder.layers().len();
        for (number, layer) in decoder.layers().enumerate() {
            let Qkv { mut q, k, v } = layer.qkv(&x, &rotary)?;
            self.cache.store(number, &k.contiguous()?, &v.contiguous()?, &sequences)?;
            let mut seen_by = &sequences;
            if number + 1 == num_layers {
                if last_rows.is_empty() {
                    // A prompt that goes on in the next pass: its keys and values are all that was wanted.
                    return Ok(x);
                }
                let (_, heads, width) = q.dims3()?;
                q = ops::gather_rows(&q.contiguous()?.reshape((ids.len(), heads * width))?, &last_rows)?.reshape((
                    last_rows.len(),
                    heads,
                    width,
                ))?;
                x = ops::gather_rows(&x, &last_rows)?;
                seen_by = &last_sequences;
            }
            let attention = self.cache.attend(number, &q.contiguous()?, seen_by)?;
            x = layer.attention_output_and_mlp(&x, &attention)?;
        }
        Ok(decoder.final_norm(&x)?)
    }

    fn copy(&mut self, pairs: &[(BlockId, BlockId)]) -> Result<()> {
        Ok(pairs.iter().try_for_each(|&(from, to)| self.cache.copy(from, to))?)
    }
}
