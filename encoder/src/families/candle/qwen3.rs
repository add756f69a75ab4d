//! Qwen3 as an embedder (arXiv 2506.05176): a causal decoder whose last token stands for the text.

use candle_core::{Device, Result, Tensor};
use candle_nn::Activation as TheirActivation;
use candle_transformers::models::qwen3::{Config as Theirs, Model};
use serde_json::json;

use super::super::{Architecture, Configured, Encoder, Family, Vocabulary};
use super::{MAX_TOKENS, Tensors, padded};
use crate::config::{Fields, Spec};
use crate::error;
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::weights::Weights;

pub(super) const FAMILY: Family = Family {
    names: &["qwen3"],
    classes: &["Qwen3"],
    positions: None,
    anchor: "embed_tokens.weight",
    vocabulary: Vocabulary::None,
    pooling: Pooling::LastToken,
    read,
};

fn read(fields: &Fields) -> error::Result<Configured> {
    fields.only(&[
        ("hidden_act", json!("silu")),
        ("use_sliding_window", json!(false)),
        ("is_causal", json!(true)),
        ("use_bidirectional_attention", json!(false)),
    ])?;
    let types = fields.get("layer_types").and_then(serde_json::Value::as_array);
    if types.into_iter().flatten().any(|kind| kind != "full_attention") {
        return Err(
            fields.unsupported("`layer_types` may name \"full_attention\" alone".to_owned(), "choose another model")
        );
    }
    let num_attention_heads = fields.number("num_attention_heads", 32)?;
    let max_tokens = fields.number("max_position_embeddings", 32_768)?.min(MAX_TOKENS);
    let theirs = Theirs {
        vocab_size: fields.number("vocab_size", 151_936)?,
        hidden_size: fields.number("hidden_size", 4_096)?,
        intermediate_size: fields.number("intermediate_size", 22_016)?,
        num_hidden_layers: fields.number("num_hidden_layers", 32)?,
        num_attention_heads,
        head_dim: fields.number("head_dim", 128)?,
        attention_bias: fields.flag("attention_bias", false)?,
        num_key_value_heads: fields.number("num_key_value_heads", num_attention_heads)?,
        max_position_embeddings: max_tokens,
        sliding_window: None,
        max_window_layers: 0,
        tie_word_embeddings: true,
        rope_theta: fields.rope_theta(None, "rope_theta", 10_000.0)?,
        rms_norm_eps: fields.real("rms_norm_eps", 1e-6)?,
        use_sliding_window: false,
        hidden_act: TheirActivation::Silu,
    };
    fields.check_heads(theirs.num_key_value_heads, num_attention_heads)?;
    // Rotary positions turn pairs of values.
    fields.check_heads(2, theirs.head_dim)?;
    let spec =
        Spec { vocab_size: theirs.vocab_size, hidden_size: theirs.hidden_size, max_tokens, labels: fields.labels()? };
    Ok((spec, Box::new(theirs)))
}

impl Architecture for Theirs {
    fn load(&self, weights: &Weights<'_>) -> error::Result<Box<dyn Encoder>> {
        let Theirs { vocab_size, hidden_size: d, intermediate_size, head_dim, attention_bias, .. } = *self;
        let queries = self.num_attention_heads.saturating_mul(head_dim);
        let keys = self.num_key_value_heads.saturating_mul(head_dim);
        let mut tensors = Tensors::new(weights, "model.");
        tensors.take("embed_tokens.weight", &[vocab_size, d])?;
        tensors.norm("norm", d, false)?;
        tensors.layers(self.num_hidden_layers, |tensors, number| {
            let name = |part: &str| format!("layers.{number}.{part}");
            tensors.norm(&name("input_layernorm"), d, false)?;
            tensors.linear(&name("self_attn.q_proj"), d, queries, attention_bias)?;
            tensors.linear(&name("self_attn.k_proj"), d, keys, attention_bias)?;
            tensors.linear(&name("self_attn.v_proj"), d, keys, attention_bias)?;
            tensors.linear(&name("self_attn.o_proj"), queries, d, attention_bias)?;
            tensors.norm(&name("self_attn.q_norm"), head_dim, false)?;
            tensors.norm(&name("self_attn.k_norm"), head_dim, false)?;
            tensors.norm(&name("post_attention_layernorm"), d, false)?;
            tensors.linear(&name("mlp.gate_proj"), d, intermediate_size, false)?;
            tensors.linear(&name("mlp.up_proj"), d, intermediate_size, false)?;
            tensors.linear(&name("mlp.down_proj"), intermediate_size, d, false)
        })?;
        let model = Model::new(self, tensors.builder()).map_err(weights.failure())?;
        Ok(Box::new(Qwen3 { model, device: weights.device().clone() }))
    }
}

struct Qwen3 {
    /// Never run itself: its cache of keys and values stays empty.
    model: Model,
    device: Device,
}

impl Encoder for Qwen3 {
    /// No token attends to those after it, so what fills a sequence up at its end needs no mask.
    fn forward(&self, packed: &Packed) -> Result<Tensor> {
        // A copy has caches of its own and shares the tensors.
        padded(packed, &self.device, |ids, _| self.model.clone().forward(ids, 0))
    }
}
