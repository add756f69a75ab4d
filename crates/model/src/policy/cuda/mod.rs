//! Passes of a bf16 decoder on an NVIDIA card without candle's tape: hidden states, and the gradients of a training step.
//!
//! A pass takes its memory at the start: the inputs of the layers, one [`Workspace`], and [`Activations`] of as many layers as
//! [`Checkpointing`] says. Layers then launch kernels and products and allocate nothing. Gradients of weights are added up in the
//! f32 sums of the [`GradientBuffer`](crate::optim::GradientBuffer) by the products that make them. A layer whose activations
//! were not kept is computed again from its input by the same launches, so what is kept changes no number.
//!
//! Decoders of other types, and of heads that the attention's kernels do not take, go by the tape (`super::backward`), which is what
//! these passes are held against.

mod layer;

use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Device, Result, Tensor};
use memtrain_kernels::cuda::backward::{self, NormInput};
use memtrain_kernels::cuda::fused::{self, NormOutput};
use memtrain_kernels::cuda::{ForestAttention, LogProbRows, Output, room_like};
use memtrain_kernels::device::free_bytes_of_card;
use memtrain_kernels::nn::PackedBatch;

use self::layer::{Activations, BackwardSpace, CardLayer, Shared, Workspace};
use super::backward::{Checkpointing, GradientSink, ScoredRows};
use super::decoder::{Decoder, ScoredTokens};

const EMBEDDING: &str = "model.embed_tokens.weight";

/// Share of the free memory that kept activations may take: logits, the gradients of chosen rows and what an allocator rounds
/// up live in the rest.
const SHARE_OF_FREE: f64 = 0.9;

/// Whether these passes take a decoder and a batch.
pub(super) fn takes(decoder: &Decoder, batch: &PackedBatch) -> bool {
    decoder.device().is_cuda()
        && decoder.config.has_card_pass()
        && ForestAttention::takes(decoder.dtype(), decoder.config.head_dim)
        && batch.num_tokens() > 0
}

/// Hidden states `[N, d]` after the final norm.
///
/// # Errors
/// If an id is outside the vocabulary, the batch's segments are inconsistent, or the card refuses.
pub(super) fn hidden(decoder: &Decoder, batch: &PackedBatch) -> Result<Tensor> {
    let pass = Pass::new(decoder, batch, 1)?;
    pass.forward(batch)?;
    Ok(pass.work.normed)
}

/// As [`Decoder::backward`].
///
/// # Errors
/// As [`Decoder::backward`].
pub(super) fn backward(
    decoder: &Decoder,
    scored: &ScoredRows<'_>,
    checkpointing: Checkpointing,
    cotangent: &mut dyn FnMut(&ScoredTokens) -> Result<Tensor>,
    sink: &mut GradientSink<'_>,
) -> Result<()> {
    let layers = decoder.config.num_hidden_layers;
    let mut pass = Pass::new(decoder, scored.batch, layers + 1)?;
    let back = BackwardSpace::new(&decoder.config, pass.rows, &pass.shared.attention, pass.device)?;
    pass.keep(match checkpointing {
        Checkpointing::Off => layers,
        Checkpointing::Full => 0,
        Checkpointing::Selective => pass.layers_with_room(),
    })?;
    pass.forward(scored.batch)?;
    pass.backward_of_head(scored, &back, cotangent, sink)?;
    let lowest = if decoder.weights.embed_tokens.is_variable() { 0 } else { decoder.lowest_trained_layer() };
    for number in (lowest..layers).rev() {
        let (layer, activations, input) = (&pass.layers[number], pass.activations(number), pass.input(number));
        // Those of the last layer lie where they were written, kept or not.
        if number >= pass.kept.len() && number + 1 < layers {
            layer.norm_input(input, &pass.work)?;
            layer.forward(input, activations, &pass.work, &pass.shared)?;
        }
        layer.backward((input, activations), &pass.work, &back, &pass.shared, sink)?;
    }
    if decoder.weights.embed_tokens.is_variable() {
        let (sum, output) = sink.in_place(EMBEDDING)?;
        if output == Output::Overwrite {
            sum.zero_set()?;
        }
        backward::add_embedding_gradient(&scored.batch.token_ids, &back.gradient, &sum)?;
    }
    Ok(())
}

/// A decoder at work on a batch.
struct Pass<'a> {
    decoder: &'a Decoder,
    device: &'a CudaDevice,
    rows: usize,
    layers: Vec<CardLayer<'a>>,
    shared: Shared,
    /// Inputs of the layers, and the output of the last; or one for all of them, where there is no backward.
    inputs: Vec<Tensor>,
    /// Of the first layers.
    kept: Vec<Activations>,
    /// Of each of the others in turn.
    passing: Activations,
    work: Workspace,
}

impl<'a> Pass<'a> {
    fn new(decoder: &'a Decoder, batch: &PackedBatch, num_inputs: usize) -> Result<Self> {
        let Device::Cuda(device) = decoder.device() else { candle_core::bail!("a decoder on a card is expected") };
        let (config, rows) = (&decoder.config, batch.num_tokens());
        if let Some(id) = batch.token_ids.iter().find(|&&id| id as usize >= config.vocab_size) {
            candle_core::bail!("id {id} is outside the vocabulary of {}", config.vocab_size);
        }
        let mut rank = None;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for (number, weights) in decoder.weights.layers.iter().enumerate() {
            let adapters = weights.adapters.map(&|tensor: &Tensor| tensor.detach().to_dtype(DType::BF16))?;
            for target in super::Target::ALL {
                rank = rank.max(adapters.get(target).map(|adapter| adapter.a.dims()[0]));
            }
            layers.push(CardLayer { config, weights, adapters, prefix: format!("model.layers.{number}.") });
        }
        let passing = Activations::new(config, rows, device)?;
        let work = Workspace::new(config, rows, rank, device)?;
        let rotary = decoder.rotary(&batch.position_ids)?;
        let attention = passing.attention_of(&batch.segments)?;
        let input = |_: usize| room_like((rows, config.hidden_size), DType::BF16, device);
        let inputs = (0..num_inputs).map(input).collect::<Result<_>>()?;
        let shared = Shared { rotary, attention };
        Ok(Self { decoder, device, rows, layers, shared, inputs, kept: Vec::new(), passing, work })
    }

    /// Takes memory for the activations of the first layers. The last one's are where all the others' pass.
    fn keep(&mut self, num_layers: usize) -> Result<()> {
        let config = &self.decoder.config;
        let kept = num_layers.min(config.num_hidden_layers - 1);
        self.kept = (0..kept).map(|_| Activations::new(config, self.rows, self.device)).collect::<Result<_>>()?;
        Ok(())
    }

    /// Layers whose activations there is memory for.
    fn layers_with_room(&self) -> usize {
        let of_a_layer = self.decoder.config.kept_bytes_a_token() * self.rows as u64;
        let free = free_bytes_of_card(self.decoder.device()).unwrap_or(0) as f64 * SHARE_OF_FREE;
        (free / of_a_layer.max(1) as f64) as usize
    }

    fn input(&self, number: usize) -> &Tensor {
        &self.inputs[number.min(self.inputs.len() - 1)]
    }

    fn activations(&self, number: usize) -> &Activations {
        self.kept.get(number).unwrap_or(&self.passing)
    }

    /// From the ids to the final norm: the output of the last layer in its place, its norm in the workspace.
    fn forward(&self, batch: &PackedBatch) -> Result<()> {
        let weights = &self.decoder.weights;
        let ids = Tensor::new(&batch.token_ids[..], self.decoder.device())?;
        fused::gather_rows(&weights.embed_tokens, &ids, self.input(0))?;
        for (number, layer) in self.layers.iter().enumerate() {
            let (input, activations) = (self.input(number), self.activations(number));
            match number.checked_sub(1) {
                None => layer.norm_input(input, &self.work)?,
                Some(previous) => layer.norm_sum(&self.activations(previous).middle, input, &self.work)?,
            }
            layer.forward(input, activations, &self.work, &self.shared)?;
            layer.project(activations, &self.work)?;
        }
        let last = self.activations(self.layers.len() - 1);
        let to = NormOutput { out: &self.work.normed, inverse_rms: Some(&self.work.inverse_rms) };
        let (eps, sum) = (self.decoder.config.rms_norm_eps, self.input(self.layers.len()));
        fused::add_rms_norm(&last.middle, &self.work.down, &weights.norm, eps, sum, to)
    }

    /// From the log-probabilities down to the gradient of the last layer's output.
    fn backward_of_head(
        &self,
        scored: &ScoredRows<'_>,
        back: &BackwardSpace,
        cotangent: &mut dyn FnMut(&ScoredTokens) -> Result<Tensor>,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        let (decoder, weights) = (self.decoder, &self.decoder.weights);
        if let Some(row) = scored.rows.iter().find(|&&row| row as usize >= self.rows) {
            candle_core::bail!("row {row} of a batch of {} rows", self.rows);
        }
        let shape = (scored.rows.len(), decoder.config.hidden_size);
        let chosen = room_like(shape, DType::BF16, self.device)?;
        fused::gather_rows(&self.work.normed, &Tensor::new(scored.rows, decoder.device())?, &chosen)?;
        let head = decoder.head().detach();
        let rows = LogProbRows::forward(&chosen, &head, scored.targets, scored.temperature)?;
        let tokens = ScoredTokens { log_probs: rows.scores.get(0)?, entropy: rows.scores.get(1)? };
        let slopes = cotangent(&tokens)?.to_dtype(DType::F32)?;
        let name = if weights.lm_head.is_some() { "lm_head.weight" } else { EMBEDDING };
        let head_sum = decoder.head().is_variable().then(|| sink.in_place(name)).transpose()?;
        let head_sum = head_sum.as_ref().map(|(sum, output)| (sum, *output));
        let chosen_gradient = room_like(shape, DType::F32, self.device)?;
        rows.backward((&chosen, &head), &slopes, None, &chosen_gradient, head_sum)?;
        backward::gather_rows_gradient(scored.rows, &chosen_gradient, &back.normed)?;
        let sum = weights.norm.is_variable().then(|| sink.in_place("model.norm.weight")).transpose()?;
        let from =
            NormInput { x: self.input(self.layers.len()), gain: &weights.norm, inverse_rms: &self.work.inverse_rms };
        backward::rms_norm(from, &back.normed, None, &back.gradient, sum.as_ref().map(|sum| back.columns(sum)))
    }
}
