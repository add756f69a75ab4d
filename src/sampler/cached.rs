//! The forward pass over one new token a sequence, with keys and values cached.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::cache::{Block, Heads, attend};
use super::local::{Forward, Live};
use crate::nn::PackedBatch;
use crate::nn::ops::real::Host;
use crate::nn::ops::{self, Rotary};
use crate::policy::{Decoder, Projections};

/// Prompt tokens read in one pass: enough to fill the matrix products, few enough for their outputs to stay small.
const PREFILL_TOKENS: usize = 2048;

const NAME: &str = "sample";

pub(super) struct Cached<'a> {
    decoder: &'a Decoder,
    heads: Heads,
    /// By prompt, then by layer.
    prompts: Vec<Vec<Block>>,
    /// Angles of all positions of the wave, `[positions, D / 2]` each.
    angles: Option<Rotary>,
}

impl<'a> Cached<'a> {
    pub(super) fn new(decoder: &'a Decoder, heads: Heads) -> Self {
        Self { decoder, heads, prompts: Vec::new(), angles: None }
    }

    fn rotary(&self, positions: &[u32]) -> Result<Rotary> {
        match &self.angles {
            Some(angles) => {
                let rows = |table: &Tensor| ops::gather_rows(table, positions);
                Ok(Rotary { cos: rows(&angles.cos)?, sin: rows(&angles.sin)? })
            }
            None => Ok(self.decoder.rotary(positions)?),
        }
    }

    /// Reads some prompts and keeps their keys and values; hidden states of their last tokens.
    fn read_together(&mut self, prompts: &[&[u32]]) -> Result<Tensor> {
        let mut batch = PackedBatch::default();
        for prompt in prompts {
            batch.push(prompt, None);
        }
        let first = self.prompts.len();
        self.prompts.extend(prompts.iter().map(|_| Vec::with_capacity(self.decoder.layers().len())));
        let last_rows: Vec<u32> = batch.segments.iter().map(|segment| segment.rows.end as u32 - 1).collect();
        let rotary = self.rotary(&batch.position_ids)?;
        let mut x = self.decoder.embed(&batch.token_ids)?;
        let num_layers = self.decoder.layers().len();
        for (number, layer) in self.decoder.layers().enumerate() {
            let Projections { q, k, v } = layer.project(&x, &rotary)?;
            let (k, v) = (k.contiguous()?, v.contiguous()?);
            {
                let (keys, values, row) = (Host::new(&k), Host::new(&v), self.heads.row());
                let (keys, values) = (keys.slice::<f32>(NAME)?, values.slice::<f32>(NAME)?);
                for (blocks, segment) in self.prompts[first..].iter_mut().zip(&batch.segments) {
                    let mut block = Block::new(self.heads, segment.rows.len());
                    let elements = segment.rows.start * row..segment.rows.end * row;
                    block.append(&keys[elements.clone()], &values[elements]);
                    blocks.push(block);
                }
            }
            let mut attention = ops::attention(&q, &k, &v, &batch.segments)?;
            if number + 1 == num_layers {
                // Nothing but the last token's state is wanted of the last layer.
                let (tokens, width) = (batch.num_tokens(), self.heads.query * self.heads.width);
                attention = ops::gather_rows(&attention.reshape((tokens, width))?, &last_rows)?;
                attention = attention.reshape((last_rows.len(), self.heads.query, self.heads.width))?;
                x = ops::gather_rows(&x, &last_rows)?;
            }
            x = layer.finish(&x, &attention)?;
        }
        Ok(self.decoder.final_norm(&x)?)
    }
}

impl Forward for Cached<'_> {
    fn read(&mut self, prompts: &[&[u32]], max_tokens: usize) -> Result<Tensor> {
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0) + max_tokens;
        let positions: Vec<u32> = (0..longest as u32).collect();
        self.angles = Some(self.decoder.rotary(&positions)?);
        let mut hidden = Vec::new();
        let mut start = 0;
        while start < prompts.len() {
            let mut tokens = 0;
            let fits = |prompt: &&&[u32]| {
                tokens += prompt.len();
                tokens <= PREFILL_TOKENS
            };
            let count = prompts[start..].iter().take_while(fits).count().max(1);
            hidden.push(self.read_together(&prompts[start..start + count])?);
            start += count;
        }
        Ok(Tensor::cat(&hidden, 0)?)
    }

    fn room(&self, max_tokens: usize) -> Vec<Block> {
        self.decoder.layers().map(|_| Block::new(self.heads, max_tokens)).collect()
    }

    fn advance(&mut self, live: &mut [Live]) -> Result<Tensor> {
        let token_ids: Vec<u32> = live.iter().filter_map(|live| live.token_ids.last().copied()).collect();
        let positions: Vec<u32> = live.iter().map(|live| (live.prompt_len + live.token_ids.len() - 1) as u32).collect();
        let rotary = self.rotary(&positions)?;
        let mut x = self.decoder.embed(&token_ids)?;
        let (heads, row) = (self.heads, self.heads.row());
        for (number, layer) in self.decoder.layers().enumerate() {
            let Projections { q, k, v } = layer.project(&x, &rotary)?;
            let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
            let (queries, keys, values) = (Host::new(&q), Host::new(&k), Host::new(&v));
            let new = keys.slice::<f32>(NAME)?.chunks_exact(row).zip(values.slice::<f32>(NAME)?.chunks_exact(row));
            for (live, (key, value)) in live.iter_mut().zip(new) {
                live.blocks[number].append(key, value);
            }
            let contexts: Vec<_> =
                live.iter().map(|live| [&self.prompts[live.group][number], &live.blocks[number]]).collect();
            let out = attend(heads, queries.slice::<f32>(NAME)?, &contexts);
            let out = Tensor::from_vec(out, (live.len(), heads.query, heads.width), &Device::Cpu)?;
            x = layer.finish(&x, &out)?;
        }
        Ok(self.decoder.final_norm(&x)?)
    }
}
