//! The decoder: token ids in, hidden states and log-probabilities out, differentiable from end to end.
//!
//! Training, prefill and decoding with a cache share [`Decoder::embed`], [`Layer::project`], [`Layer::finish`] and
//! [`Decoder::final_norm`]; only what stands between projection and finish, the attention, differs.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::PolicyError;
use super::config::PolicyConfig;
use super::weights::{LayerWeights, Weights};
use crate::nn::PackedBatch;
use crate::nn::ops::{self, Rotary};

/// A Qwen2, Qwen2.5 or Qwen3 decoder.
///
/// ```
/// use candle_core::{DType, Device};
/// use memtrain::nn::{PackedBatch, tape};
/// use memtrain::policy::{Decoder, preset};
/// let decoder = Decoder::init(preset::tiny(64), 0, &Device::Cpu, DType::F32)?;
/// let mut batch = PackedBatch::default();
/// let prompt = batch.push(&[1, 2, 3], None);
/// let response = batch.push(&[4, 5], Some(prompt));
/// let hidden = decoder.hidden(&batch)?;
/// // Row 2, the prompt's last, predicts token 4; row 3 predicts token 5.
/// assert_eq!((batch.row_before(response), batch.segments[response].rows.start), (Some(2), 3));
/// let scored = decoder.log_probs(&hidden, &[2, 3], &[4, 5], 1.0)?;
/// let loss = scored.log_probs.sum_all()?.neg()?;
/// let gradients = tape::gradients(&loss, &decoder.parameters()?)?;
/// assert_eq!(gradients.len(), decoder.parameters()?.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Its shape.
    pub config: PolicyConfig,
    /// Its tensors; those of variables when it is trainable.
    pub weights: Weights,
}

/// Log-probabilities of given tokens and entropies of their distributions, in nats.
#[derive(Clone, Debug)]
pub struct ScoredTokens {
    /// `[R]`, differentiable.
    pub log_probs: Tensor,
    /// `[R]`, differentiable.
    pub entropy: Tensor,
}

/// What a layer's attention works on, normed and turned to position.
#[derive(Clone, Debug)]
pub struct Projections {
    /// `[N, H, D]`.
    pub q: Tensor,
    /// `[N, K, D]`.
    pub k: Tensor,
    /// `[N, K, D]`.
    pub v: Tensor,
}

/// One layer of a [`Decoder`].
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    config: &'a PolicyConfig,
    weights: &'a LayerWeights,
}

impl Decoder {
    /// A trainable decoder with fresh weights, which depend on the seed alone.
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn init(
        config: PolicyConfig,
        seed: u64,
        device: &Device,
        dtype: DType,
    ) -> std::result::Result<Self, PolicyError> {
        let weights = Weights::init(&config, seed, dtype, device)?;
        Ok(Self { config, weights })
    }

    /// The variables with their Hugging Face names, always in the same order; none if the decoder is frozen. They share
    /// storage with the decoder: what is written into them is what the decoder computes with.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn parameters(&self) -> Result<Vec<(String, Var)>> {
        let variables = self.weights.named().into_iter().filter(|(_, tensor)| tensor.is_variable());
        variables.map(|(name, tensor)| Ok((name, Var::from_tensor(tensor)?))).collect()
    }

    /// A view of the same storage without a tape: it follows every update of the original.
    ///
    /// # Errors
    /// Never on the CPU.
    pub fn frozen(&self) -> Result<Self> {
        self.with_weights(|tensor| Ok(tensor.detach()))
    }

    /// A copy with storage of its own and no tape: it stays as it is (the reference).
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn frozen_copy(&self) -> Result<Self> {
        self.with_weights(|tensor| Ok(tensor.copy()?.detach()))
    }

    /// A trainable copy with storage of its own.
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn trainable_copy(&self) -> Result<Self> {
        self.with_weights(|tensor| Ok(Var::from_tensor(&tensor.detach())?.into_inner()))
    }

    /// The decoder with its weights in another type, frozen.
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        self.with_weights(|tensor| tensor.detach().to_dtype(dtype))
    }

    fn with_weights(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { config: self.config.clone(), weights: self.weights.map(change)? })
    }

    /// Where its weights are.
    pub fn device(&self) -> &Device {
        self.weights.embed_tokens.device()
    }

    /// The type of its weights.
    pub fn dtype(&self) -> DType {
        self.weights.embed_tokens.dtype()
    }

    /// The output head `[V, d]`: its own or the embedding.
    pub fn head(&self) -> &Tensor {
        self.weights.lm_head.as_ref().unwrap_or(&self.weights.embed_tokens)
    }

    /// Embeddings `[N, d]` of token ids.
    ///
    /// # Errors
    /// If an id is outside the vocabulary.
    pub fn embed(&self, token_ids: &[u32]) -> Result<Tensor> {
        ops::gather_rows(&self.weights.embed_tokens, token_ids)
    }

    /// Rotary angles of explicit positions, to be shared by all layers.
    ///
    /// # Errors
    /// If the device refuses the tables.
    pub fn rotary(&self, positions: &[u32]) -> Result<Rotary> {
        Rotary::new(positions, self.config.head_dim, self.config.rope_theta, self.dtype(), self.device())
    }

    /// The layers from the first to the last.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = Layer<'_>> {
        self.weights.layers.iter().map(|weights| Layer { config: &self.config, weights })
    }

    /// The norm after the last layer, `[N, d]` to `[N, d]`.
    ///
    /// # Errors
    /// If the width is not `d`.
    pub fn final_norm(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, &self.weights.norm, self.config.rms_norm_eps)
    }

    /// Hidden states `[N, d]` after the final norm, of all rows of a batch.
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the batch's segments are inconsistent.
    pub fn hidden(&self, batch: &PackedBatch) -> Result<Tensor> {
        let rotary = self.rotary(&batch.position_ids)?;
        let mut x = self.embed(&batch.token_ids)?;
        for layer in self.layers() {
            let Projections { q, k, v } = layer.project(&x, &rotary)?;
            x = layer.finish(&x, &ops::attention(&q, &k, &v, &batch.segments)?)?;
        }
        self.final_norm(&x)
    }

    /// Logits `[R, V]` of hidden rows `[R, d]`.
    ///
    /// # Errors
    /// If the width is not `d`.
    pub fn logits(&self, hidden_rows: &Tensor) -> Result<Tensor> {
        ops::linear(hidden_rows, self.head())
    }

    /// Log-probabilities of `targets` at `rows` of `hidden` `[N, d]` (row `i` predicts the token after it), and entropies,
    /// at `temperature`. The head works on these rows alone.
    ///
    /// # Errors
    /// If rows and targets differ in number, or one is out of range, or the temperature is not positive.
    pub fn log_probs(&self, hidden: &Tensor, rows: &[u32], targets: &[u32], temperature: f64) -> Result<ScoredTokens> {
        let rows = ops::gather_rows(hidden, rows)?;
        let scores = ops::log_prob(&rows, self.head(), targets, temperature)?;
        Ok(ScoredTokens { log_probs: scores.get(0)?, entropy: scores.get(1)? })
    }
}

impl Layer<'_> {
    /// Queries, keys and values of rows `x` `[N, d]`: norm, projection, bias or head norm, rotation.
    ///
    /// # Errors
    /// If `x` and `rotary` differ in rows, or the width is not `d`.
    pub fn project(&self, x: &Tensor, rotary: &Rotary) -> Result<Projections> {
        let (config, weights) = (self.config, self.weights);
        let x = ops::rms_norm(x, &weights.input_norm, config.rms_norm_eps)?;
        let heads = |weight: &Tensor, bias: &Option<Tensor>, heads: usize| {
            let out = ops::linear_heads(&x, weight, heads)?;
            match bias {
                Some(bias) => out.broadcast_add(&bias.reshape((heads, config.head_dim))?),
                None => Ok(out),
            }
        };
        let head_norm = |x: Tensor, gain: &Option<Tensor>| match gain {
            Some(gain) => ops::rms_norm(&x, gain, config.rms_norm_eps),
            None => Ok(x),
        };
        let q = head_norm(heads(&weights.q_proj, &weights.q_bias, config.num_attention_heads)?, &weights.q_norm)?;
        let k = head_norm(heads(&weights.k_proj, &weights.k_bias, config.num_key_value_heads)?, &weights.k_norm)?;
        let v = heads(&weights.v_proj, &weights.v_bias, config.num_key_value_heads)?;
        Ok(Projections { q: ops::rope(&q, rotary)?, k: ops::rope(&k, rotary)?, v })
    }

    /// The rest of the layer for its input `x` `[N, d]` and the attention's output `[N, H, D]`: output projection,
    /// residual, feed-forward, residual.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn finish(&self, x: &Tensor, attention: &Tensor) -> Result<Tensor> {
        let weights = self.weights;
        let x = (x + ops::linear(attention, &weights.o_proj)?)?;
        let normed = ops::rms_norm(&x, &weights.post_norm, self.config.rms_norm_eps)?;
        let gate = ops::linear(&normed, &weights.gate_proj)?;
        let up = ops::linear(&normed, &weights.up_proj)?;
        &x + ops::linear(&ops::swiglu(&gate, &up)?, &weights.down_proj)?
    }
}
