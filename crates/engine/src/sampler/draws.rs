//! Tokens from hidden states: the product with the output head, and a draw from each row of logits.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use memtrain_kernels::host::Host;
use memtrain_kernels::nn::ops;
use memtrain_model::policy::Decoder;
use rayon::prelude::*;

use super::row_padding::rows_alike;
use super::token_sampler::{SampledToken, Scratch, sample_token, uniform};
use super::{RngKey, SamplingParams};

/// Rows of logits that exist at a time.
pub(super) const LOGIT_ROWS: usize = 256;

/// A token that is to be drawn.
pub(super) struct DueToken<'a> {
    /// Row of the hidden states.
    pub row: usize,
    pub params: &'a SamplingParams,
    pub rng_key: &'a RngKey,
    /// Its place in its response.
    pub position: usize,
}

/// Draws tokens.
pub(super) trait Draws {
    /// Begins to draw a token for each of `due`, whose rows of `hidden` `[W, d]` ascend. A device on which they can be read
    /// before the host has them gives them there, `[count, 2]` of ids and what else it likes, until it draws again.
    fn begin(&mut self, hidden: &Tensor, due: &[DueToken<'_>]) -> Result<Option<Tensor>>;
    /// The tokens that were begun first and not taken yet; `None` where the logits are not finite.
    fn end(&mut self) -> Result<Vec<Option<SampledToken>>>;
}

/// Those whose rows are among the next [`LOGIT_ROWS`] from `first` on.
pub(super) fn split_at_rows<'a, 'b>(due: &'a [DueToken<'b>], first: usize) -> (&'a [DueToken<'b>], &'a [DueToken<'b>]) {
    due.split_at(due.partition_point(|due| due.row < first + LOGIT_ROWS))
}

/// Draws on the CPU, from logits in f32 that are copied there.
pub(super) struct HostDraws {
    /// The output head, in f32 where the weights have fewer bits: logits are never rounded to 16.
    head: Tensor,
    rows_alike: usize,
    /// Ids from here on are never drawn.
    allowed: usize,
    drawn: VecDeque<Vec<Option<SampledToken>>>,
}

impl HostDraws {
    pub(super) fn new(decoder: &Decoder, allowed: usize) -> Result<Self> {
        let head = match decoder.dtype() {
            DType::F64 => decoder.head().clone(),
            _ => decoder.head().to_dtype(DType::F32)?,
        };
        Ok(Self { head, rows_alike: rows_alike(decoder), allowed, drawn: VecDeque::new() })
    }
}

impl Draws for HostDraws {
    fn begin(&mut self, hidden: &Tensor, due: &[DueToken<'_>]) -> Result<Option<Tensor>> {
        let (mut rest, mut drawn) = (due, Vec::with_capacity(due.len()));
        let num_rows = due.last().map_or(0, |due| due.row + 1);
        for first in (0..num_rows).step_by(LOGIT_ROWS) {
            let (all, end) = (hidden.dim(0)?, num_rows.min(first + LOGIT_ROWS));
            let from = first.min(all.saturating_sub(self.rows_alike));
            let count = (end - from).max(self.rows_alike).min(all - from);
            let (now, later) = split_at_rows(rest, first);
            rest = later;
            let rows = hidden.narrow(0, from, count)?.to_dtype(self.head.dtype())?;
            let logits = ops::linear(&rows, &self.head)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
            let (host, vocab_size) = (Host::new(&logits), logits.dim(1)?);
            let logits: &[f32] = host.slice("sample")?;
            drawn.par_extend(now.par_iter().map_init(Scratch::default, |scratch, due| {
                let logits = &logits[(due.row - from) * vocab_size..][..vocab_size];
                sample_token(logits, due.params, self.allowed, || uniform(due.rng_key, due.position), scratch)
            }));
        }
        self.drawn.push_back(drawn);
        Ok(None)
    }

    fn end(&mut self) -> Result<Vec<Option<SampledToken>>> {
        self.drawn.pop_front().context("tokens are taken that were not drawn")
    }
}
