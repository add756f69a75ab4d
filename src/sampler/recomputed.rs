//! The forward pass over whole sequences, computed again for each token.

use anyhow::Result;
use candle_core::Tensor;

use super::cache::Block;
use super::local::{Forward, Live};
use crate::nn::PackedBatch;
use crate::policy::Decoder;

pub(super) struct Recomputed<'a> {
    decoder: &'a Decoder,
    prompts: Vec<Vec<u32>>,
}

impl<'a> Recomputed<'a> {
    pub(super) fn new(decoder: &'a Decoder) -> Self {
        Self { decoder, prompts: Vec::new() }
    }

    fn last_states(&self, batch: &PackedBatch, segments: &[usize]) -> Result<Tensor> {
        let rows: Vec<u32> = segments.iter().map(|&segment| batch.segments[segment].rows.end as u32 - 1).collect();
        let hidden = self.decoder.hidden(batch)?;
        Ok(hidden.index_select(&Tensor::new(rows, hidden.device())?, 0)?)
    }
}

impl Forward for Recomputed<'_> {
    fn read(&mut self, prompts: &[&[u32]], _: usize) -> Result<Tensor> {
        self.prompts = prompts.iter().map(|prompt| prompt.to_vec()).collect();
        let mut batch = PackedBatch::default();
        let segments: Vec<usize> = prompts.iter().map(|prompt| batch.push(prompt, None)).collect();
        self.last_states(&batch, &segments)
    }

    fn room(&self, _: usize) -> Vec<Block> {
        Vec::new()
    }

    fn advance(&mut self, live: &mut [Live]) -> Result<Tensor> {
        let mut batch = PackedBatch::default();
        let mut prompts: Vec<Option<usize>> = vec![None; self.prompts.len()];
        let mut segments = Vec::with_capacity(live.len());
        for live in live.iter() {
            let prompt = *prompts[live.group].get_or_insert_with(|| batch.push(&self.prompts[live.group], None));
            segments.push(batch.push(&live.token_ids, Some(prompt)));
        }
        self.last_states(&batch, &segments)
    }
}
