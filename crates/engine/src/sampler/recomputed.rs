//! Hidden states of new tokens by the forward pass over whole sequences, computed again for each token: slow, and what the
//! cache is tested against.

use anyhow::Result;
use candle_core::Tensor;
use memtrain_kernels::attention::paged::BlockId;
use memtrain_kernels::nn::PackedBatch;
use memtrain_model::policy::Decoder;

use super::row_padding::{filled_up, rows_alike};
use super::scheduler::{Forward, ScheduledTokens};

pub(super) struct Recomputed<'a> {
    pub(super) decoder: &'a Decoder,
}

impl Forward for Recomputed<'_> {
    fn pass(&mut self, scheduled: &[ScheduledTokens<'_>], _: Option<&Tensor>) -> Result<Tensor> {
        let mut batch = PackedBatch::default();
        let mut rows = Vec::new();
        for sequence in scheduled.iter().filter(|sequence| sequence.needs_logits) {
            let segment = batch.push(sequence.tokens, None);
            rows.push(batch.segments[segment].rows.end as u32 - 1);
        }
        let (decoder, rows) = (self.decoder, filled_up(rows, rows_alike(self.decoder)));
        if rows.is_empty() {
            return Ok(Tensor::zeros((1, decoder.config.hidden_size), decoder.compute_dtype(), decoder.device())?);
        }
        let hidden = decoder.hidden(&batch)?;
        Ok(hidden.index_select(&Tensor::new(rows, hidden.device())?, 0)?)
    }

    fn copy(&mut self, _: &[(BlockId, BlockId)]) -> Result<()> {
        Ok(())
    }
}
