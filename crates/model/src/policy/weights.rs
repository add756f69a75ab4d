//! The tensors of a decoder, under their Hugging Face names.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use rand::Rng;

use super::PolicyError;
use super::config::PolicyConfig;
use super::lora::{Adapters, Target};

/// The tensors of one layer. Matrices are `[out, in]`.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// `[d]`.
    pub input_norm: Tensor,
    /// `[H * D, d]`.
    pub q_proj: Tensor,
    /// `[K * D, d]`.
    pub k_proj: Tensor,
    /// `[K * D, d]`.
    pub v_proj: Tensor,
    /// `[d, H * D]`.
    pub o_proj: Tensor,
    /// `[H * D]`, Qwen2 only.
    pub q_bias: Option<Tensor>,
    /// `[K * D]`, Qwen2 only.
    pub k_bias: Option<Tensor>,
    /// `[K * D]`, Qwen2 only.
    pub v_bias: Option<Tensor>,
    /// `[D]`, Qwen3 only.
    pub q_norm: Option<Tensor>,
    /// `[D]`, Qwen3 only.
    pub k_norm: Option<Tensor>,
    /// `[d]`.
    pub post_norm: Tensor,
    /// `[F, d]`.
    pub gate_proj: Tensor,
    /// `[F, d]`.
    pub up_proj: Tensor,
    /// `[d, F]`.
    pub down_proj: Tensor,
    /// What is added to its matrices; none of them unless LoRA is used.
    pub adapters: Adapters,
}

/// All tensors of a decoder.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[V, d]`.
    pub embed_tokens: Tensor,
    /// One a layer.
    pub layers: Vec<LayerWeights>,
    /// `[d]`.
    pub norm: Tensor,
    /// `[V, d]`; `None` if tied to `embed_tokens`.
    pub lm_head: Option<Tensor>,
}

impl Weights {
    /// Asks `make` for each tensor that `config` implies, by name and shape, and checks the shape of what it gives.
    ///
    /// # Errors
    /// Whatever `make` returns, or [`PolicyError::Shape`].
    pub fn build(
        config: &PolicyConfig,
        mut make: impl FnMut(&str, &[usize]) -> Result<Tensor, PolicyError>,
    ) -> Result<Self, PolicyError> {
        let mut tensors = HashMap::new();
        for (name, expected) in config.tensor_shapes() {
            let tensor = make(&name, &expected)?;
            if tensor.dims() != expected {
                return Err(PolicyError::Shape { name, expected, got: tensor.dims().to_vec() });
            }
            tensors.insert(name, tensor);
        }
        let mut take = |name: String| tensors.remove(&name);
        let layers = (0..config.num_hidden_layers).map(|layer| LayerWeights::take(layer, &mut take));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self {
            embed_tokens: needed(&mut take, "model.embed_tokens.weight".to_owned())?,
            layers,
            norm: needed(&mut take, "model.norm.weight".to_owned())?,
            lm_head: take("lm_head.weight".to_owned()),
        })
    }

    /// Fresh variables: matrices and the embedding normal with standard deviation `initializer_range`, norms one, biases
    /// zero, as `transformers` does, with what `change` writes over them, given the name and the shape. Each tensor's
    /// numbers are drawn from the seed and its name alone.
    ///
    /// # Errors
    /// If the device refuses a tensor.
    pub fn init(
        config: &PolicyConfig,
        seed: u64,
        dtype: DType,
        device: &Device,
        change: impl Fn(&str, &[usize], &mut [f64]),
    ) -> Result<Self, PolicyError> {
        Self::build(config, |name, shape| {
            let len = shape.iter().product();
            let mut values = if name.ends_with("norm.weight") {
                vec![1.0; len]
            } else if name.ends_with(".bias") {
                vec![0.0; len]
            } else {
                normal(name, seed, len, config.initializer_range)
            };
            change(name, shape, &mut values);
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?;
            Ok(Var::from_tensor(&tensor)?.into_inner())
        })
    }

    /// Hugging Face names with their tensors, in the order of [`PolicyConfig::tensor_shapes`].
    pub fn named(&self) -> Vec<(String, &Tensor)> {
        let mut named = vec![("model.embed_tokens.weight".to_owned(), &self.embed_tokens)];
        for (layer, weights) in self.layers.iter().enumerate() {
            named.extend(weights.named().into_iter().map(|(name, t)| (format!("model.layers.{layer}.{name}"), t)));
        }
        named.push(("model.norm.weight".to_owned(), &self.norm));
        named.extend(self.lm_head.iter().map(|head| ("lm_head.weight".to_owned(), head)));
        named
    }

    /// Adapters with their names, `model.layers.0.self_attn.q_proj.lora_A.weight` and so on, layer by layer.
    pub fn named_adapters(&self) -> Vec<(String, &Tensor)> {
        let layers = self.layers.iter().enumerate();
        layers
            .flat_map(|(number, layer)| {
                let named = layer.adapters.named().into_iter();
                named.map(move |(name, tensor)| (format!("model.layers.{number}.{name}"), tensor))
            })
            .collect()
    }

    /// The same structure with each tensor replaced, adapters included.
    ///
    /// # Errors
    /// Whatever `change` returns.
    pub fn map(&self, change: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> candle_core::Result<Self> {
        Ok(Self {
            embed_tokens: change(&self.embed_tokens)?,
            layers: self.layers.iter().map(|layer| layer.map(&change)).collect::<candle_core::Result<_>>()?,
            norm: change(&self.norm)?,
            lm_head: self.lm_head.as_ref().map(&change).transpose()?,
        })
    }
}

fn needed(take: &mut impl FnMut(String) -> Option<Tensor>, name: String) -> Result<Tensor, PolicyError> {
    take(name.clone()).ok_or(PolicyError::MissingTensor { name, origin: "the configuration's list".to_owned() })
}

/// `len` draws of a normal distribution by the Box-Muller transform.
pub(super) fn normal(name: &str, seed: u64, len: usize, deviation: f64) -> Vec<f64> {
    let mut rng = memtrain_corpora::rng::keyed(&format!("policy/init/{name}"), seed, &[]);
    let mut values = Vec::with_capacity(len + 1);
    while values.len() < len {
        // In (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * deviation;
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        values.extend([radius * cos, radius * sin]);
    }
    values.truncate(len);
    values
}

impl LayerWeights {
    fn take(layer: usize, take: &mut impl FnMut(String) -> Option<Tensor>) -> Result<Self, PolicyError> {
        let path = |name: &str| format!("model.layers.{layer}.{name}");
        Ok(Self {
            input_norm: needed(take, path("input_layernorm.weight"))?,
            q_proj: needed(take, path("self_attn.q_proj.weight"))?,
            k_proj: needed(take, path("self_attn.k_proj.weight"))?,
            v_proj: needed(take, path("self_attn.v_proj.weight"))?,
            o_proj: needed(take, path("self_attn.o_proj.weight"))?,
            q_bias: take(path("self_attn.q_proj.bias")),
            k_bias: take(path("self_attn.k_proj.bias")),
            v_bias: take(path("self_attn.v_proj.bias")),
            q_norm: take(path("self_attn.q_norm.weight")),
            k_norm: take(path("self_attn.k_norm.weight")),
            post_norm: needed(take, path("post_attention_layernorm.weight"))?,
            gate_proj: needed(take, path("mlp.gate_proj.weight"))?,
            up_proj: needed(take, path("mlp.up_proj.weight"))?,
            down_proj: needed(take, path("mlp.down_proj.weight"))?,
            adapters: Adapters::default(),
        })
    }

    /// The matrix that an adapter of this target is added to.
    pub fn matrix(&self, target: Target) -> &Tensor {
        match target {
            Target::Q => &self.q_proj,
            Target::K => &self.k_proj,
            Target::V => &self.v_proj,
            Target::O => &self.o_proj,
            Target::Gate => &self.gate_proj,
            Target::Up => &self.up_proj,
            Target::Down => &self.down_proj,
        }
    }

    /// As [`Self::matrix`], to replace it.
    pub(super) fn matrix_mut(&mut self, target: Target) -> &mut Tensor {
        match target {
            Target::Q => &mut self.q_proj,
            Target::K => &mut self.k_proj,
            Target::V => &mut self.v_proj,
            Target::O => &mut self.o_proj,
            Target::Gate => &mut self.gate_proj,
            Target::Up => &mut self.up_proj,
            Target::Down => &mut self.down_proj,
        }
    }

    /// Its own tensors and its adapters' with their names inside the layer.
    pub(super) fn named_all(&self) -> Vec<(String, &Tensor)> {
        let own = self.named().into_iter().map(|(name, tensor)| (name.to_owned(), tensor));
        own.chain(self.adapters.named()).collect()
    }

    fn named(&self) -> Vec<(&'static str, &Tensor)> {
        let tensors = [
            ("input_layernorm.weight", Some(&self.input_norm)),
            ("self_attn.q_proj.weight", Some(&self.q_proj)),
            ("self_attn.k_proj.weight", Some(&self.k_proj)),
            ("self_attn.v_proj.weight", Some(&self.v_proj)),
            ("self_attn.o_proj.weight", Some(&self.o_proj)),
            ("self_attn.q_proj.bias", self.q_bias.as_ref()),
            ("self_attn.k_proj.bias", self.k_bias.as_ref()),
            ("self_attn.v_proj.bias", self.v_bias.as_ref()),
            ("self_attn.q_norm.weight", self.q_norm.as_ref()),
            ("self_attn.k_norm.weight", self.k_norm.as_ref()),
            ("post_attention_layernorm.weight", Some(&self.post_norm)),
            ("mlp.gate_proj.weight", Some(&self.gate_proj)),
            ("mlp.up_proj.weight", Some(&self.up_proj)),
            ("mlp.down_proj.weight", Some(&self.down_proj)),
        ];
        tensors.into_iter().filter_map(|(name, tensor)| Some((name, tensor?))).collect()
    }

    pub(super) fn map(&self, change: &impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> candle_core::Result<Self> {
        let optional = |tensor: &Option<Tensor>| tensor.as_ref().map(change).transpose();
        Ok(Self {
            input_norm: change(&self.input_norm)?,
            q_proj: change(&self.q_proj)?,
            k_proj: change(&self.k_proj)?,
            v_proj: change(&self.v_proj)?,
            o_proj: change(&self.o_proj)?,
            q_bias: optional(&self.q_bias)?,
            k_bias: optional(&self.k_bias)?,
            v_bias: optional(&self.v_bias)?,
            q_norm: optional(&self.q_norm)?,
            k_norm: optional(&self.k_norm)?,
            post_norm: change(&self.post_norm)?,
            gate_proj: change(&self.gate_proj)?,
            up_proj: change(&self.up_proj)?,
            down_proj: change(&self.down_proj)?,
            adapters: self.adapters.map(change)?,
        })
    }
}
