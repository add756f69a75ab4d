//! The decoder: token ids in, hidden states and log-probabilities out, differentiable from end to end.
//!
//! Training, prefill and decoding with a cache share [`Decoder::embed`], [`Layer::qkv`],
//! [`Layer::attention_output_and_mlp`] and [`Decoder::final_norm`]; only what stands between the two, the attention,
//! differs.

use candle_core::{DType, Device, Result, Tensor, Var};
use memtrain_kernels::attention::{Layout, attention};
use memtrain_kernels::nn::ops::{self, Rotary};
use memtrain_kernels::nn::{PackedBatch, Segment};

use super::PolicyError;
use super::config::PolicyConfig;
use super::copying::{CopyingInit, Lookup};
use super::lora::Target;
use super::weights::{LayerWeights, Weights};

/// A Qwen2, Qwen2.5, Qwen3 or Llama decoder.
///
/// It computes in [`Decoder::compute_dtype`]: weights stored in 16 bits are widened where they are used, so that on the
/// CPU a bf16 policy is the f32 arithmetic of rounded weights.
///
/// ```
/// use candle_core::{DType, Device};
/// use memtrain_kernels::nn::{PackedBatch, tape};
/// use memtrain_model::policy::{Decoder, preset};
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

/// What the weights of a policy in training are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32: the weights are trained themselves.
    #[default]
    F32,
    /// bf16, shared by trainer and sampler; the optimizer keeps f32 masters and rounds them after each step.
    Bf16,
}

impl Precision {
    /// The type of the weights.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
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
pub struct Qkv {
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
    pub(super) config: &'a PolicyConfig,
    pub(super) weights: &'a LayerWeights,
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
        let weights = Weights::init(&config, seed, dtype, device, |_, _, _| {})?;
        Ok(Self { config, weights })
    }

    /// As [`Self::init`], with heads that copy and look up ([`super::copying`]).
    ///
    /// # Errors
    /// If the shape has no room for them, or the device refuses a tensor.
    pub fn init_copying(
        config: PolicyConfig,
        seed: u64,
        device: &Device,
        dtype: DType,
        lookup: Lookup,
    ) -> std::result::Result<Self, PolicyError> {
        let copying = CopyingInit::new(&config, seed, lookup)?;
        let change = |name: &str, shape: &[usize], values: &mut [f64]| copying.apply(name, shape, values);
        let weights = Weights::init(&config, seed, dtype, device, change)?;
        Ok(Self { config, weights })
    }

    /// The variables with their Hugging Face names, always in the same order; none if the decoder is frozen. They share
    /// storage with the decoder: what is written into them is what the decoder computes with.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn parameters(&self) -> Result<Vec<(String, Var)>> {
        let named = self.weights.named().into_iter().chain(self.weights.named_adapters());
        let variables = named.filter(|(_, tensor)| tensor.is_variable());
        variables.map(|(name, tensor)| Ok((name, Var::from_tensor(tensor)?))).collect()
    }

    /// Whether nothing of it is trained.
    #[cfg(feature = "cuda")]
    fn is_frozen(&self) -> bool {
        let all = self.weights.named().into_iter().chain(self.weights.named_adapters());
        !all.into_iter().any(|(_, tensor)| tensor.is_variable())
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

    /// A trainable copy with storage of its own. Where there are adapters, they alone are copied and trainable; the rest
    /// stays shared and frozen.
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn trainable_copy(&self) -> Result<Self> {
        let variable = |tensor: &Tensor| Ok(Var::from_tensor(&tensor.detach())?.into_inner());
        if !self.has_adapters() {
            return self.with_weights(variable);
        }
        let mut copy = self.frozen()?;
        for (layer, own) in copy.weights.layers.iter_mut().zip(&self.weights.layers) {
            layer.adapters = own.adapters.map(&variable)?;
        }
        Ok(copy)
    }

    /// A trainable copy at a precision, and what the optimizer's masters are to start from: the weights by name, where they
    /// were rounded. Adapters stay in f32 and need none.
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn trainable(&self, precision: Precision) -> Result<(Self, Vec<(String, Tensor)>)> {
        if precision.dtype() == self.dtype() {
            return Ok((self.trainable_copy()?, Vec::new()));
        }
        let rounded = self.to_dtype(precision.dtype())?.trainable_copy()?;
        if self.has_adapters() {
            return Ok((rounded, Vec::new()));
        }
        let named = self.weights.named().into_iter();
        let masters = named.map(|(name, tensor)| Ok((name, tensor.detach().to_dtype(DType::F32)?.copy()?)));
        Ok((rounded, masters.collect::<Result<_>>()?))
    }

    /// The decoder with its weights in another type, frozen. Adapters keep theirs.
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let mut changed = self.with_weights(|tensor| tensor.detach().to_dtype(dtype))?;
        for (layer, own) in changed.weights.layers.iter_mut().zip(&self.weights.layers) {
            layer.adapters = own.adapters.map(&|tensor| Ok(tensor.detach()))?;
        }
        Ok(changed)
    }

    pub(super) fn with_weights(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
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

    /// The type of its activations: that of the weights, but f32 for 16-bit weights on the CPU, which has no arithmetic
    /// for them.
    pub fn compute_dtype(&self) -> DType {
        match self.dtype() {
            DType::BF16 | DType::F16 if self.device().is_cpu() => DType::F32,
            other => other,
        }
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
        ops::gather_rows(&self.weights.embed_tokens, token_ids)?.to_dtype(self.compute_dtype())
    }

    /// Rotary angles of explicit positions, to be shared by all layers.
    ///
    /// # Errors
    /// If the device refuses the tables.
    pub fn rotary(&self, positions: &[u32]) -> Result<Rotary> {
        Rotary::new(positions, &self.config.rotary_frequencies(), self.compute_dtype(), self.device())
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
        ops::rms_norm(x, &self.weights.norm.to_dtype(x.dtype())?, self.config.rms_norm_eps)
    }

    /// Hidden states `[N, d]` after the final norm, of all rows of a batch.
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the batch's segments are inconsistent.
    pub fn hidden(&self, batch: &PackedBatch) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if self.is_frozen() && super::cuda::takes(self, batch) {
            return super::cuda::hidden(self, batch);
        }
        let rotary = self.rotary(&batch.position_ids)?;
        let mut x = self.embed(&batch.token_ids)?;
        for layer in self.layers() {
            x = layer.forward(&x, &rotary, &batch.segments)?;
        }
        self.final_norm(&x)
    }

    /// The same at `rows` alone, `[R, d]`. The last layer's keys and values are needed of all rows, what follows its attention
    /// of these only.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, a row outside the batch, or the batch's segments are inconsistent.
    pub fn hidden_at(&self, batch: &PackedBatch, rows: &[u32]) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if self.is_frozen() && super::cuda::takes(self, batch) {
            return ops::gather_rows(&super::cuda::hidden(self, batch)?, rows);
        }
        let rotary = self.rotary(&batch.position_ids)?;
        let mut x = self.embed(&batch.token_ids)?;
        for (number, layer) in self.layers().enumerate() {
            x = match number + 1 == self.weights.layers.len() {
                true => layer.forward_at(&x, &rotary, &batch.segments, rows)?,
                false => layer.forward(&x, &rotary, &batch.segments)?,
            };
        }
        self.final_norm(&x)
    }

    /// Logits `[R, V]` of hidden rows `[R, d]`.
    ///
    /// # Errors
    /// If the width is not `d`.
    pub fn logits(&self, hidden_rows: &Tensor) -> Result<Tensor> {
        ops::linear(hidden_rows, &self.head().to_dtype(hidden_rows.dtype())?)
    }

    /// Log-probabilities of `targets` at `rows` of `hidden` `[N, d]` (row `i` predicts the token after it), and entropies,
    /// at `temperature`. The head works on these rows alone.
    ///
    /// # Errors
    /// If rows and targets differ in number, or one is out of range, or the temperature is not positive.
    pub fn log_probs(&self, hidden: &Tensor, rows: &[u32], targets: &[u32], temperature: f64) -> Result<ScoredTokens> {
        self.log_probs_of(&ops::gather_rows(hidden, rows)?, targets, temperature)
    }

    /// As [`Self::log_probs`], of hidden rows `[R, d]` that predict the targets one by one ([`Self::hidden_at`]).
    ///
    /// # Errors
    /// If rows and targets differ in number, or the temperature is not positive.
    pub fn log_probs_of(&self, hidden_rows: &Tensor, targets: &[u32], temperature: f64) -> Result<ScoredTokens> {
        let scores = ops::log_prob(hidden_rows, &self.head().to_dtype(hidden_rows.dtype())?, targets, temperature)?;
        Ok(ScoredTokens { log_probs: scores.get(0)?, entropy: scores.get(1)? })
    }
}

impl Layer<'_> {
    /// The layer over a whole packed batch: `[N, d]` to `[N, d]`.
    ///
    /// # Errors
    /// If shapes do not fit or the segments are inconsistent.
    pub fn forward(&self, x: &Tensor, rotary: &Rotary, segments: &[Segment]) -> Result<Tensor> {
        let Qkv { q, k, v } = self.qkv(x, rotary)?;
        self.attention_output_and_mlp(x, &attention(&q, &k, &v, Layout::causal(segments))?)
    }

    /// As [`Self::forward`], at `rows` of the output alone: `[N, d]` to `[R, d]`.
    ///
    /// # Errors
    /// If shapes do not fit, the segments are inconsistent, or a row is outside of `x`.
    pub fn forward_at(&self, x: &Tensor, rotary: &Rotary, segments: &[Segment], rows: &[u32]) -> Result<Tensor> {
        let Qkv { q, k, v } = self.qkv(x, rotary)?;
        let attention = attention(&q, &k, &v, Layout::causal(segments))?.flatten_from(1)?;
        self.attention_output_and_mlp(&ops::gather_rows(x, rows)?, &ops::gather_rows(&attention, rows)?)
    }

    /// Queries, keys and values of rows `x` `[N, d]`: norm, projection, bias or head norm, rotation.
    ///
    /// # Errors
    /// If `x` and `rotary` differ in rows, or the width is not `d`.
    pub fn qkv(&self, x: &Tensor, rotary: &Rotary) -> Result<Qkv> {
        let (config, weights) = (self.config, self.weights);
        let x = self.norm(x, &weights.input_norm)?;
        let heads = |target: Target, bias: &Option<Tensor>, heads: usize| {
            let out = self.product(target, &x, Some(heads))?;
            match bias {
                Some(bias) => ops::add_bias(&out, &bias.to_dtype(out.dtype())?),
                None => Ok(out),
            }
        };
        let head_norm = |x: Tensor, gain: &Option<Tensor>| match gain {
            Some(gain) => self.norm(&x, gain),
            None => Ok(x),
        };
        let q = head_norm(heads(Target::Q, &weights.q_bias, config.num_attention_heads)?, &weights.q_norm)?;
        let k = head_norm(heads(Target::K, &weights.k_bias, config.num_key_value_heads)?, &weights.k_norm)?;
        let v = heads(Target::V, &weights.v_bias, config.num_key_value_heads)?;
        Ok(Qkv { q: ops::rope(&q, rotary)?, k: ops::rope(&k, rotary)?, v })
    }

    /// The rest of the layer for its input `x` `[N, d]` and the attention's output `[N, H, D]`: output projection,
    /// residual, feed-forward, residual.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn attention_output_and_mlp(&self, x: &Tensor, attention: &Tensor) -> Result<Tensor> {
        let x = (x + self.product(Target::O, attention, None)?)?;
        let normed = self.norm(&x, &self.weights.post_norm)?;
        let gate = self.product(Target::Gate, &normed, None)?;
        let up = self.product(Target::Up, &normed, None)?;
        &x + self.product(Target::Down, &ops::swiglu(&gate, &up)?, None)?
    }

    fn norm(&self, x: &Tensor, gain: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, &gain.to_dtype(x.dtype())?, self.config.rms_norm_eps)
    }

    /// `x` times a matrix of the layer, with its adapter if it has one; cut into `heads` if asked to.
    fn product(&self, target: Target, x: &Tensor, heads: Option<usize>) -> Result<Tensor> {
        let linear = |x: &Tensor, weight: &Tensor| {
            let weight = weight.to_dtype(x.dtype())?;
            match heads {
                Some(heads) => ops::linear_heads(x, &weight, heads),
                None => ops::linear(x, &weight),
            }
        };
        let out = linear(x, self.weights.matrix(target))?;
        match self.weights.adapters.get(target) {
            None => Ok(out),
            Some(adapter) => {
                let inner = ops::linear(x, &adapter.a.to_dtype(x.dtype())?)?;
                out + (linear(&inner, &adapter.b)? * adapter.scale)?
            }
        }
    }
}
