//! The decoder's forward pass on a card where nothing is differentiated: fused kernels, into buffers that stay from pass to pass.
//!
//! A pass copies ids, positions and rows to the card once, takes ids that were drawn there and makes the tables of rotation. A layer is seven products and, beside
//! the attention, four launches (norm, rotation, norm of a sum, activation), more where there are biases; an adapter is two products more.
//! Nothing is allocated once a pass as large has been.

use candle_core::{DType, Result, Tensor};
use memtrain_kernels::cuda::fused::{self, NormOutput, QueriesAndKeys};
use memtrain_kernels::cuda::{Output, feed_tokens, fill_words, linear, room_like};
use memtrain_kernels::nn::ops::Rotary;

use super::Decoder;
use super::lora::{Adapter, Target};
use super::weights::LayerWeights;

/// Widest rows of the norms, and widest heads, that the kernels take.
const WIDEST_ROW: usize = 8192;
const WIDEST_HEAD: usize = 256;

/// Keys and values of what was read, and attention over them. `N` rows of a pass, `H` query heads, `K` key/value heads of width `D`.
pub trait CachedAttention {
    /// Keeps `k`, `v` `[N, K, D]` of a layer.
    ///
    /// # Errors
    /// If the device refuses.
    fn store(&mut self, layer: usize, k: &Tensor, v: &Tensor) -> Result<()>;

    /// Attention of `q` `[N, H, D]` over what each row may see, into `out` of the same shape.
    ///
    /// # Errors
    /// If the device refuses.
    fn attend(&mut self, layer: usize, q: &Tensor, out: &Tensor) -> Result<()>;
}

/// What a pass reads: a token for each row.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassRows<'p> {
    /// Ids; of rows that are fed, anything of the vocabulary.
    pub ids: &'p [u32],
    /// Positions in their sequences.
    pub positions: &'p [u32],
    /// Rows whose hidden states are wanted.
    pub wanted: &'p [u32],
    /// Rows whose ids the host has not seen.
    pub fed: Option<FedRows<'p>>,
}

/// Ids that lie on the card since they were drawn.
#[derive(Clone, Copy, Debug)]
pub struct FedRows<'p> {
    /// `[count, 2]` as [`TokenDraws::send`](memtrain_kernels::cuda::TokenDraws::send) gives it.
    pub drawn: &'p Tensor,
    /// A row of the pass, then its place among those drawn, and so on.
    pub pairs: &'p [u32],
}

impl PassRows<'_> {
    /// Refuses what would read or write beside the tables.
    fn check(&self, vocab_size: usize) -> Result<()> {
        let rows = self.ids.len();
        let inside = |numbers: &[u32], end: usize| numbers.iter().all(|&number| (number as usize) < end);
        let is_fed_soundly = |fed: &FedRows<'_>| {
            let (drawn, pairs) = (fed.drawn.dims().first().copied().unwrap_or(0), fed.pairs.chunks_exact(2));
            pairs.remainder().is_empty()
                && fed.pairs.len() <= 2 * rows
                && fed.drawn.dims().get(1) == Some(&2)
                && pairs.clone().all(|pair| (pair[0] as usize) < rows && (pair[1] as usize) < drawn)
        };
        let is_sound = self.positions.len() == rows
            && inside(self.ids, vocab_size)
            && self.wanted.len() <= rows
            && inside(self.wanted, rows)
            && self.fed.as_ref().is_none_or(is_fed_soundly);
        if !is_sound {
            let (positions, wanted) = (self.positions.len(), self.wanted.len());
            candle_core::bail!("a pass of {rows} ids, {positions} positions and {wanted} rows is not sound");
        }
        Ok(())
    }
}

/// Forward passes of a decoder on a card.
#[derive(Debug)]
pub struct Inference<'a> {
    decoder: &'a Decoder,
    /// Of each layer, in the type of the weights.
    adapters: Vec<Vec<(Target, Adapter)>>,
    /// `[D / 2]` in f64.
    frequencies: Tensor,
    buffers: Option<Buffers>,
}

/// What passes compute into: tensors of as many rows as the largest had.
#[derive(Debug)]
struct Buffers {
    rows: usize,
    /// Ids, positions, rows whose hidden states are wanted, and pairs of rows that are fed.
    words: Tensor,
    rotary: Rotary,
    residual: Tensor,
    normed: Tensor,
    branch: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    turned_q: Tensor,
    turned_k: Tensor,
    attention: Tensor,
    gate: Tensor,
    up: Tensor,
    activation: Tensor,
    /// Between the two matrices of an adapter.
    inner: Tensor,
    /// Rows of the last layer that go on.
    last_residual: Tensor,
    last_attention: Tensor,
}

/// A norm after which no backward follows.
fn into(out: &Tensor) -> NormOutput<'_> {
    NormOutput { out, inverse_rms: None }
}

/// The first rows of a buffer.
fn first(buffer: &Tensor, rows: usize) -> Result<Tensor> {
    buffer.narrow(0, 0, rows)
}

impl<'a> Inference<'a> {
    /// Whether the kernels take the decoder: bf16 or f32 on a card, of a width that they know.
    pub fn takes(decoder: &Decoder) -> bool {
        let config = &decoder.config;
        decoder.device().is_cuda()
            && matches!(decoder.dtype(), DType::BF16 | DType::F32)
            && config.hidden_size <= WIDEST_ROW
            && config.head_dim <= WIDEST_HEAD
            && config.head_dim.is_multiple_of(2)
    }

    /// Passes with the weights as they are; adapters as they are now.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn new(decoder: &'a Decoder) -> Result<Self> {
        let dtype = decoder.dtype();
        let cast = |layer: &LayerWeights| {
            let there = Target::ALL.into_iter().filter_map(|target| Some((target, layer.adapters.get(target)?)));
            let cast = there.map(|(target, adapter)| {
                let of = |tensor: &Tensor| tensor.detach().to_dtype(dtype);
                Ok((target, Adapter { a: of(&adapter.a)?, b: of(&adapter.b)?, scale: adapter.scale }))
            });
            cast.collect::<Result<Vec<_>>>()
        };
        let adapters = decoder.weights.layers.iter().map(cast).collect::<Result<_>>()?;
        let frequencies = Tensor::new(decoder.config.rotary_frequencies(), decoder.device())?;
        Ok(Self { decoder, adapters, frequencies, buffers: None })
    }

    /// Hidden states `[W, d]` after the final norm of the rows that are wanted; `None` if none are: keys and values of all layers are
    /// kept then. They are in a buffer: the next pass overwrites them.
    ///
    /// # Errors
    /// If ids and positions differ in number, an id is outside the vocabulary, a row is none of the pass, or the device refuses.
    pub fn pass(&mut self, read: &PassRows<'_>, attention: &mut dyn CachedAttention) -> Result<Option<Tensor>> {
        let (decoder, rows, wanted) = (self.decoder, read.ids.len(), read.wanted);
        let config = &decoder.config;
        read.check(config.vocab_size)?;
        let attention_width = config.num_attention_heads * config.head_dim;
        self.reserve(rows)?;
        let Some(buffers) = &self.buffers else { candle_core::bail!("a pass without buffers") };
        let pairs = read.fed.map_or(&[][..], |fed| fed.pairs);
        fill_words(&buffers.words, &[read.ids, read.positions, wanted, pairs].concat())?;
        let word = |at: usize, len: usize| buffers.words.narrow(0, at, len);
        if let Some(fed) = read.fed {
            feed_tokens(fed.drawn, &word(2 * rows + wanted.len(), pairs.len())?, &word(0, rows)?)?;
        }
        let rotary = Rotary { cos: first(&buffers.rotary.cos, rows)?, sin: first(&buffers.rotary.sin, rows)? };
        fused::rotary_table(&word(rows, rows)?, &self.frequencies, &rotary)?;
        let (mut residual, mut normed) = (first(&buffers.residual, rows)?, first(&buffers.normed, rows)?);
        let mut branch = first(&buffers.branch, rows)?;
        let [q, turned_q] = [&buffers.q, &buffers.turned_q].map(|buffer| first(buffer, rows));
        let [k, v, turned_k] = [&buffers.k, &buffers.v, &buffers.turned_k].map(|buffer| first(buffer, rows));
        let (q, turned_q, k, v, turned_k) = (q?, turned_q?, k?, v?, turned_k?);
        let mut attended = first(&buffers.attention, rows)?;
        let [mut gate, mut up, mut activation] =
            [first(&buffers.gate, rows)?, first(&buffers.up, rows)?, first(&buffers.activation, rows)?];

        let eps = config.rms_norm_eps;
        let layers = &decoder.weights.layers;
        fused::gather_rows(&decoder.weights.embed_tokens, &word(0, rows)?, &residual)?;
        let gain = layers.first().map_or(&decoder.weights.norm, |layer| &layer.input_norm);
        fused::rms_norm(&residual, gain, eps, into(&normed))?;
        for (number, layer) in layers.iter().enumerate() {
            let product = |target, x: &Tensor, out: &Tensor| self.product(number, target, x, out, &buffers.inner);
            for (target, out, bias) in [(Target::Q, &q, &layer.q_bias), (Target::K, &k, &layer.k_bias)] {
                product(target, &normed, out)?;
                // A norm comes after the bias; a rotation adds it itself.
                if let (Some(bias), Some(_)) = (bias, &layer.q_norm) {
                    fused::add_bias(out, bias)?;
                }
            }
            product(Target::V, &normed, &v)?;
            layer.v_bias.as_ref().map_or(Ok(()), |bias| fused::add_bias(&v, bias))?;
            let (from, to) = (QueriesAndKeys { q: &q, k: &k }, QueriesAndKeys { q: &turned_q, k: &turned_k });
            match (&layer.q_norm, &layer.k_norm) {
                (Some(of_q), Some(of_k)) => fused::qk_norm_rope(from, [of_q, of_k], eps, &rotary, to)?,
                _ => fused::qk_bias_rope(from, [layer.q_bias.as_ref(), layer.k_bias.as_ref()], &rotary, to)?,
            }
            attention.store(number, &turned_k, &v)?;
            let next = layers.get(number + 1);
            if next.is_none() && wanted.is_empty() {
                return Ok(None);
            }
            attention.attend(number, &turned_q, &attended)?;
            // Only the wanted rows go on, unless they are all there are.
            if next.is_none() && !wanted.iter().copied().eq(0..rows as u32) {
                let (chosen, count) = (word(2 * rows, wanted.len())?, wanted.len());
                let [to_residual, to_attention] = [&buffers.last_residual, &buffers.last_attention];
                let (to_residual, to_attention) = (first(to_residual, count)?, first(to_attention, count)?);
                fused::gather_rows(&residual, &chosen, &to_residual)?;
                fused::gather_rows(&attended.reshape((rows, attention_width))?, &chosen, &to_attention)?;
                (residual, attended) = (to_residual, to_attention);
                for buffer in [&mut normed, &mut branch, &mut gate, &mut up, &mut activation] {
                    *buffer = first(buffer, count)?;
                }
            }
            product(Target::O, &attended, &branch)?;
            fused::add_rms_norm(&residual, &branch, &layer.post_norm, eps, &residual, into(&normed))?;
            product(Target::Gate, &normed, &gate)?;
            product(Target::Up, &normed, &up)?;
            fused::swiglu(&gate, &up, &activation)?;
            product(Target::Down, &activation, &branch)?;
            let gain = next.map_or(&decoder.weights.norm, |next| &next.input_norm);
            fused::add_rms_norm(&residual, &branch, gain, eps, &residual, into(&normed))?;
        }
        Ok(Some(normed))
    }

    /// `x` times a matrix of a layer, with its adapter if it has one.
    fn product(&self, layer: usize, target: Target, x: &Tensor, out: &Tensor, inner: &Tensor) -> Result<()> {
        linear(x, self.decoder.weights.layers[layer].matrix(target), out, 1.0, Output::Overwrite)?;
        let Some((_, adapter)) = self.adapters[layer].iter().find(|(of, _)| *of == target) else { return Ok(()) };
        let (rows, rank) = (x.dim(0)?, adapter.a.dim(0)?);
        let inner = inner.narrow(0, 0, rows * rank)?.reshape((rows, rank))?;
        linear(x, &adapter.a, &inner, 1.0, Output::Overwrite)?;
        linear(&inner, &adapter.b, out, adapter.scale as f32, Output::Add)
    }

    /// Makes buffers of so many rows at least.
    fn reserve(&mut self, rows: usize) -> Result<()> {
        if self.buffers.as_ref().is_none_or(|buffers| buffers.rows < rows) {
            // Those that are too small go first.
            self.buffers = None;
            self.buffers = Some(self.allocate(rows.next_power_of_two())?);
        }
        Ok(())
    }

    fn allocate(&self, rows: usize) -> Result<Buffers> {
        let (config, dtype) = (&self.decoder.config, self.decoder.dtype());
        let device = self.decoder.device().as_cuda_device()?;
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let (heads, kv_heads, width) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let ranks = self.adapters.iter().flatten().map(|(_, adapter)| adapter.a.dim(0));
        let rank = ranks.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0);
        let matrix = |width: usize| room_like((rows, width), dtype, device);
        let of_heads = |heads: usize| room_like((rows, heads, width), dtype, device);
        let table = || room_like((rows, width / 2), DType::F32, device);
        Ok(Buffers {
            rows,
            words: room_like(5 * rows, DType::U32, device)?,
            rotary: Rotary { cos: table()?, sin: table()? },
            residual: matrix(hidden)?,
            normed: matrix(hidden)?,
            branch: matrix(hidden)?,
            q: of_heads(heads)?,
            k: of_heads(kv_heads)?,
            v: of_heads(kv_heads)?,
            turned_q: of_heads(heads)?,
            turned_k: of_heads(kv_heads)?,
            attention: of_heads(heads)?,
            gate: matrix(wide)?,
            up: matrix(wide)?,
            activation: matrix(wide)?,
            inner: room_like(rows * rank.max(1), dtype, device)?,
            last_residual: matrix(hidden)?,
            last_attention: matrix(heads * width)?,
        })
    }
}
