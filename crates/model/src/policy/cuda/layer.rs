//! A layer forward and backward on an NVIDIA card, by kernels that write into memory that is there: no tape, no allocation.
//!
//! With `x` the input, `n(.)` a norm and `r` a rotation to positions:
//!
//! ```text
//! a = n(x)    q, k, v = a Wq^T, a Wk^T, a Wv^T    t = attention(r(n(q)), r(n(k)), v)    m = x + t Wo^T
//! b = n(m)    g, u = b Wg^T, b Wu^T               y = m + (silu(g) u) Wd^T
//! ```
//!
//! What a backward needs and is dear to compute again is [`Activations`]: products and attention. Norms, rotations and the gated
//! activation are computed again from them in one launch each. The sum `y` is taken by the norm of the next layer in its launch.

use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Result, Tensor};
use memtrain_kernels::cuda::backward::{self, ColumnSums, NormInput};
use memtrain_kernels::cuda::fused::{self, NormOutput, QueriesAndKeys};
use memtrain_kernels::cuda::{
    AttentionScratch, ForestAttention, Output, linear, linear_input_gradient, linear_weight_gradient, room_like,
};
use memtrain_kernels::nn::Segment;
use memtrain_kernels::nn::ops::Rotary;

use crate::policy::backward::GradientSink;
use crate::policy::lora::{Adapters, Target};
use crate::policy::{LayerWeights, PolicyConfig};

/// What a layer's backward needs of its forward beside its input, for `N` rows.
pub(super) struct Activations {
    /// `[N, H, D]`, before norm, bias and rotation, which are cheaper to repeat than this product.
    q: Tensor,
    /// `[N, K, D]`, likewise.
    k: Tensor,
    /// `[N, K, D]`.
    v: Tensor,
    /// Output of the attention, `[N, H, D]`.
    attention: Tensor,
    /// Logarithms of the sums of its exponentials, `[H, N]` in f32.
    log_sum_exp: Tensor,
    /// Sum of the input and the attention's projection, `[N, d]`.
    pub middle: Tensor,
    /// `[N, F]`.
    gate: Tensor,
    /// `[N, F]`.
    up: Tensor,
}

impl Activations {
    pub fn new(config: &PolicyConfig, rows: usize, device: &CudaDevice) -> Result<Self> {
        let (heads, kv_heads, width) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let of_heads = |heads: usize| room_like((rows, heads, width), DType::BF16, device);
        let of_width = |width: usize| room_like((rows, width), DType::BF16, device);
        Ok(Self {
            q: of_heads(heads)?,
            k: of_heads(kv_heads)?,
            v: of_heads(kv_heads)?,
            attention: of_heads(heads)?,
            log_sum_exp: room_like((heads, rows), DType::F32, device)?,
            middle: of_width(config.hidden_size)?,
            gate: of_width(config.intermediate_size)?,
            up: of_width(config.intermediate_size)?,
        })
    }

    /// The attention over a forest of these rows.
    pub fn attention_of(&self, segments: &[Segment]) -> Result<ForestAttention> {
        ForestAttention::new(&self.q, &self.k, segments)
    }
}

/// Memory that all layers of a pass work in, one after the other.
pub(super) struct Workspace {
    /// Output of a norm, `[N, d]`.
    pub normed: Tensor,
    /// `1 / rms` of its rows, `[N]` in f32.
    pub inverse_rms: Tensor,
    /// A layer's last projection, `[N, d]`: the term of the residual sum that the next norm takes.
    pub down: Tensor,
    /// The gated activation, `[N, F]`.
    gated: Tensor,
    /// Queries after norm, bias and rotation, `[N, H, D]`.
    q: Tensor,
    /// Keys, likewise, `[N, K, D]`.
    k: Tensor,
    /// Products with the inner matrices of adapters, `[N, r]`.
    inner: Option<Tensor>,
}

/// Memory of the backward, beside the [`Workspace`].
pub(super) struct BackwardSpace {
    /// Gradient of the output of the layer at hand, `[N, d]`; of its input afterwards.
    pub gradient: Tensor,
    /// Gradient of the output of a norm, `[N, d]`.
    pub normed: Tensor,
    /// Gradient of the attention's output, `[N, H, D]`.
    attention: Tensor,
    /// Gradients of turned queries `[N, H, D]`, turned keys and values `[N, K, D]`.
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scratch: AttentionScratch,
    /// Parts of sums over rows.
    pub parts: Tensor,
}

impl Workspace {
    /// `rank` is the largest of the adapters.
    pub fn new(config: &PolicyConfig, rows: usize, rank: Option<usize>, device: &CudaDevice) -> Result<Self> {
        let of_heads = |heads: usize| room_like((rows, heads, config.head_dim), DType::BF16, device);
        let of_width = |width: usize| room_like((rows, width), DType::BF16, device);
        Ok(Self {
            normed: of_width(config.hidden_size)?,
            inverse_rms: room_like(rows, DType::F32, device)?,
            down: of_width(config.hidden_size)?,
            gated: of_width(config.intermediate_size)?,
            q: of_heads(config.num_attention_heads)?,
            k: of_heads(config.num_key_value_heads)?,
            inner: rank.map(of_width).transpose()?,
        })
    }

    fn norm_output(&self) -> NormOutput<'_> {
        NormOutput { out: &self.normed, inverse_rms: Some(&self.inverse_rms) }
    }
}

impl BackwardSpace {
    pub fn new(config: &PolicyConfig, rows: usize, attention: &ForestAttention, device: &CudaDevice) -> Result<Self> {
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let of_heads = |heads: usize| room_like((rows, heads, config.head_dim), DType::BF16, device);
        let of_width = |width: usize| room_like((rows, width), DType::BF16, device);
        let widest = config.hidden_size.max(heads * config.head_dim).max(2 * config.head_dim);
        Ok(Self {
            gradient: of_width(config.hidden_size)?,
            normed: of_width(config.hidden_size)?,
            attention: of_heads(heads)?,
            q: of_heads(heads)?,
            k: of_heads(kv_heads)?,
            v: of_heads(kv_heads)?,
            scratch: attention.scratch(device)?,
            parts: room_like(backward::parts_of(widest), DType::F32, device)?,
        })
    }
}

/// What all layers of a batch share.
pub(super) struct Shared {
    pub rotary: Rotary,
    pub attention: ForestAttention,
}

/// A layer whose weights are bf16 tensors on a card.
pub(super) struct CardLayer<'a> {
    pub config: &'a PolicyConfig,
    pub weights: &'a LayerWeights,
    /// Its adapters in the type of the weights.
    pub adapters: Adapters,
    /// What the names of its parameters begin with, `model.layers.N.`.
    pub prefix: String,
}

impl CardLayer<'_> {
    /// Its first norm, of an input that lies there.
    pub fn norm_input(&self, input: &Tensor, work: &Workspace) -> Result<()> {
        fused::rms_norm(input, &self.weights.input_norm, self.config.rms_norm_eps, work.norm_output())
    }

    /// Its first norm, of the sum of two terms, which is written to `input`.
    pub fn norm_sum(&self, middle: &Tensor, input: &Tensor, work: &Workspace) -> Result<()> {
        let eps = self.config.rms_norm_eps;
        fused::add_rms_norm(middle, &work.down, &self.weights.input_norm, eps, input, work.norm_output())
    }

    /// From the output of the first norm to the activations.
    pub fn forward(&self, input: &Tensor, to: &Activations, work: &Workspace, shared: &Shared) -> Result<()> {
        for (target, out) in [(Target::Q, &to.q), (Target::K, &to.k), (Target::V, &to.v)] {
            self.product(target, &work.normed, out, work)?;
        }
        if let Some(bias) = &self.weights.v_bias {
            fused::add_bias(&to.v, bias)?;
        }
        self.turn(to, work, shared)?;
        shared.attention.forward([&work.q, &work.k, &to.v], &to.attention, &to.log_sum_exp)?;
        self.product(Target::O, &to.attention, &work.down, work)?;
        let (gain, eps) = (&self.weights.post_norm, self.config.rms_norm_eps);
        fused::add_rms_norm(input, &work.down, gain, eps, &to.middle, work.norm_output())?;
        self.product(Target::Gate, &work.normed, &to.gate, work)?;
        self.product(Target::Up, &work.normed, &to.up, work)
    }

    /// The last projection, whose sum with `middle` is the layer's output.
    pub fn project(&self, from: &Activations, work: &Workspace) -> Result<()> {
        fused::swiglu(&from.gate, &from.up, &work.gated)?;
        self.product(Target::Down, &work.gated, &work.down, work)
    }

    /// Queries and keys of the activations, normed or with their biases, and turned to their positions.
    fn turn(&self, from: &Activations, work: &Workspace, shared: &Shared) -> Result<()> {
        let raw = QueriesAndKeys { q: &from.q, k: &from.k };
        let to = QueriesAndKeys { q: &work.q, k: &work.k };
        match (&self.weights.q_norm, &self.weights.k_norm) {
            (Some(q), Some(k)) => fused::qk_norm_rope(raw, [q, k], self.config.rms_norm_eps, &shared.rotary, to),
            _ => {
                let biases = [self.weights.q_bias.as_ref(), self.weights.k_bias.as_ref()];
                fused::qk_bias_rope(raw, biases, &shared.rotary, to)
            }
        }
    }

    /// Adds up the gradients of what is trained, and turns the gradient of the layer's output into that of its input. The
    /// activations are used up.
    pub fn backward(
        &self,
        (input, from): (&Tensor, &Activations),
        work: &Workspace,
        back: &BackwardSpace,
        shared: &Shared,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        self.backward_of_feed_forward(from, work, back, sink)?;
        self.backward_of_attention(from, work, back, shared, sink)?;
        self.norm_input(input, work)?;
        let gradients = [(Target::Q, &work.q), (Target::K, &work.k), (Target::V, &back.v)];
        for (target, gradient) in gradients {
            self.weight_gradients(target, gradient, &work.normed, work, sink)?;
        }
        let mut output = Output::Overwrite;
        for (target, gradient) in gradients {
            self.input_gradient(target, gradient, &back.normed, output, work)?;
            output = Output::Add;
        }
        self.norm_gradient("input_layernorm.weight", &self.weights.input_norm, input, work, back, sink)
    }

    /// To the gradient of `middle`.
    fn backward_of_feed_forward(
        &self,
        from: &Activations,
        work: &Workspace,
        back: &BackwardSpace,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        self.input_gradient(Target::Down, &back.gradient, &work.gated, Output::Overwrite, work)?;
        // The gradients of gate and up take their places, and the forward's result that of its gradient.
        let gates = [&from.gate, &from.up];
        backward::swiglu(gates, &work.gated, gates, Some(&work.gated))?;
        self.weight_gradients(Target::Down, &back.gradient, &work.gated, work, sink)?;
        fused::rms_norm(&from.middle, &self.weights.post_norm, self.config.rms_norm_eps, work.norm_output())?;
        self.weight_gradients(Target::Gate, &from.gate, &work.normed, work, sink)?;
        self.weight_gradients(Target::Up, &from.up, &work.normed, work, sink)?;
        self.input_gradient(Target::Gate, &from.gate, &back.normed, Output::Overwrite, work)?;
        self.input_gradient(Target::Up, &from.up, &back.normed, Output::Add, work)?;
        self.norm_gradient("post_attention_layernorm.weight", &self.weights.post_norm, &from.middle, work, back, sink)
    }

    /// From the gradient of `middle` to those of queries and keys, in the places of turned queries and keys, and of values.
    fn backward_of_attention(
        &self,
        from: &Activations,
        work: &Workspace,
        back: &BackwardSpace,
        shared: &Shared,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        self.weight_gradients(Target::O, &back.gradient, &from.attention, work, sink)?;
        self.input_gradient(Target::O, &back.gradient, &back.attention, Output::Overwrite, work)?;
        self.turn(from, work, shared)?;
        let inputs = [&work.q, &work.k, &from.v];
        let forward = (&from.attention, &from.log_sum_exp);
        let gradients = [&back.q, &back.k, &back.v];
        shared.attention.backward(inputs, forward, &back.attention, gradients, &back.scratch)?;
        let turned = QueriesAndKeys { q: &back.q, k: &back.k };
        let to = QueriesAndKeys { q: &work.q, k: &work.k };
        let LayerWeights { q_norm, k_norm, q_bias, k_bias, v_bias, .. } = self.weights;
        match (q_norm, k_norm) {
            (Some(q), Some(k)) => {
                let of_queries = self.sum("self_attn.q_norm.weight", q, sink)?;
                let of_keys = self.sum("self_attn.k_norm.weight", k, sink)?;
                let sums = match (&of_queries, &of_keys) {
                    (Some(of_queries), Some(of_keys)) => Some([of_queries, of_keys].map(|sum| back.columns(sum))),
                    (None, None) => None,
                    _ => candle_core::bail!("{}: one of the two norms of heads is trained", self.prefix),
                };
                let raw = QueriesAndKeys { q: &from.q, k: &from.k };
                let eps = self.config.rms_norm_eps;
                backward::qk_norm_rope(raw, [q, k], eps, &shared.rotary, turned, to, sums)?;
            }
            _ => backward::qk_rope(&shared.rotary, turned, to)?,
        }
        for (name, bias, gradient) in [("q", q_bias, to.q), ("k", k_bias, to.k), ("v", v_bias, &back.v)] {
            let Some(bias) = bias else { continue };
            if let Some(sum) = self.sum(&format!("self_attn.{name}_proj.bias"), bias, sink)? {
                backward::bias_gradient(gradient, back.columns(&sum))?;
            }
        }
        Ok(())
    }

    /// Back through a norm, and past it by the residual.
    fn norm_gradient(
        &self,
        name: &str,
        gain: &Tensor,
        x: &Tensor,
        work: &Workspace,
        back: &BackwardSpace,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        let sum = self.sum(name, gain, sink)?;
        let from = NormInput { x, gain, inverse_rms: &work.inverse_rms };
        let sums = sum.as_ref().map(|sum| back.columns(sum));
        backward::rms_norm(from, &back.normed, Some(&back.gradient), &back.gradient, sums)
    }

    /// Where the gradient of a parameter is added up, if it is trained.
    fn sum(&self, name: &str, tensor: &Tensor, sink: &mut GradientSink<'_>) -> Result<Option<(Tensor, Output)>> {
        tensor.is_variable().then(|| sink.in_place(&format!("{}{name}", self.prefix))).transpose()
    }

    /// `x` times a matrix, with its adapter if it has one.
    fn product(&self, target: Target, x: &Tensor, out: &Tensor, work: &Workspace) -> Result<()> {
        linear(x, self.weights.matrix(target), out, 1.0, Output::Overwrite)?;
        let Some(adapter) = self.adapters.get(target) else { return Ok(()) };
        let inner = work.inner(&adapter.a)?;
        linear(x, &adapter.a, &inner, 1.0, Output::Overwrite)?;
        linear(&inner, &adapter.b, out, adapter.scale as f32, Output::Add)
    }

    /// The gradient of the input of a product.
    fn input_gradient(
        &self,
        target: Target,
        out_gradient: &Tensor,
        x_gradient: &Tensor,
        output: Output,
        work: &Workspace,
    ) -> Result<()> {
        linear_input_gradient(out_gradient, self.weights.matrix(target), x_gradient, 1.0, output)?;
        let Some(adapter) = self.adapters.get(target) else { return Ok(()) };
        let inner = work.inner(&adapter.a)?;
        linear_input_gradient(out_gradient, &adapter.b, &inner, adapter.scale as f32, Output::Overwrite)?;
        linear_input_gradient(&inner, &adapter.a, x_gradient, 1.0, Output::Add)
    }

    /// Adds up the gradients of a matrix and of its adapter, as far as they are trained: `dW = dY^T X`, and with `Z = X A^T`
    /// `dB = s dY^T Z`, `dA = s (dY B)^T X`.
    fn weight_gradients(
        &self,
        target: Target,
        out_gradient: &Tensor,
        x: &Tensor,
        work: &Workspace,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        let path = target.path();
        if let Some((sum, output)) = self.sum(&format!("{path}.weight"), self.weights.matrix(target), sink)? {
            linear_weight_gradient(out_gradient, x, &sum, 1.0, output)?;
        }
        let (Some(adapter), Some(own)) = (self.adapters.get(target), self.weights.adapters.get(target)) else {
            return Ok(());
        };
        let (inner, scale) = (work.inner(&adapter.a)?, adapter.scale as f32);
        if let Some((sum, output)) = self.sum(&format!("{path}.lora_B.weight"), &own.b, sink)? {
            linear(x, &adapter.a, &inner, 1.0, Output::Overwrite)?;
            linear_weight_gradient(out_gradient, &inner, &sum, scale, output)?;
        }
        if let Some((sum, output)) = self.sum(&format!("{path}.lora_A.weight"), &own.a, sink)? {
            linear_input_gradient(out_gradient, &adapter.b, &inner, scale, Output::Overwrite)?;
            linear_weight_gradient(&inner, x, &sum, 1.0, output)?;
        }
        Ok(())
    }
}

impl Workspace {
    /// `[N, r]` for an adapter's inner matrix `[r, in]`.
    fn inner(&self, a: &Tensor) -> Result<Tensor> {
        let Some(inner) = &self.inner else { candle_core::bail!("there is no memory for adapters") };
        let (rows, rank) = (inner.dim(0)?, a.dim(0)?);
        inner.flatten_all()?.narrow(0, 0, rows * rank)?.reshape((rows, rank))
    }
}

impl BackwardSpace {
    pub fn columns<'a>(&'a self, (sum, output): &'a (Tensor, Output)) -> ColumnSums<'a> {
        ColumnSums { parts: &self.parts, sum, output: *output }
    }
}
