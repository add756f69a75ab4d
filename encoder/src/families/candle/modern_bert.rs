//! ModernBERT (arXiv 2412.13663): pre-norm layers with GeGLU and rotary positions, all but every third of them with
//! attention to a window.

use candle_core::{Device, Result, Tensor};
use candle_transformers::models::modernbert::{Config as Theirs, ModernBert};
use serde_json::json;

use super::super::{Architecture, Configured, Encoder, Family, Head, Vocabulary};
use super::{MAX_TOKENS, Tensors, padded};
use crate::config::{Fields, Spec};
use crate::error;
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::weights::Weights;

pub(super) const FAMILY: Family = Family {
    names: &["modernbert"],
    classes: &["ModernBert"],
    positions: None,
    anchor: "embeddings.tok_embeddings.weight",
    vocabulary: Vocabulary::None,
    pooling: Pooling::Mean,
    read,
};

fn read(fields: &Fields) -> error::Result<Configured> {
    let off = json!(false);
    fields.only(&[
        ("hidden_activation", json!("gelu")),
        ("classifier_activation", json!("gelu")),
        ("norm_bias", off.clone()),
        ("attention_bias", off.clone()),
        ("mlp_bias", off.clone()),
        ("classifier_bias", off),
    ])?;
    let num_hidden_layers = fields.number("num_hidden_layers", 22)?;
    let global_attn_every_n_layers = every_nth(fields, num_hidden_layers)?;
    let max_tokens = fields.number("max_position_embeddings", 8_192)?.min(MAX_TOKENS);
    let theirs = Theirs {
        vocab_size: fields.number("vocab_size", 50_368)?,
        hidden_size: fields.number("hidden_size", 768)?,
        num_hidden_layers,
        num_attention_heads: fields.number("num_attention_heads", 12)?,
        intermediate_size: fields.number("intermediate_size", 1_152)?,
        max_position_embeddings: max_tokens,
        layer_norm_eps: fields.real(fields.first(["norm_eps", "layer_norm_eps"]), 1e-5)?,
        pad_token_id: 0,
        global_attn_every_n_layers,
        global_rope_theta: fields.rope_theta(Some("full_attention"), "global_rope_theta", 160_000.0)?,
        local_attention: fields.number("local_attention", 128)?.min(2 * MAX_TOKENS),
        local_rope_theta: fields.rope_theta(Some("sliding_attention"), "local_rope_theta", 10_000.0)?,
        classifier_config: None,
    };
    // Rotary positions turn pairs of values.
    fields.check_heads(theirs.num_attention_heads.saturating_mul(2), theirs.hidden_size)?;
    let spec =
        Spec { vocab_size: theirs.vocab_size, hidden_size: theirs.hidden_size, max_tokens, labels: fields.labels()? };
    Ok((spec, Box::new(theirs)))
}

/// Every how many layers one attends to the whole text, beginning with the first: said so, or by `layer_types`.
fn every_nth(fields: &Fields, num_layers: usize) -> error::Result<usize> {
    let Some(types) = fields.get("layer_types").and_then(serde_json::Value::as_array) else {
        let every = fields.number("global_attn_every_n_layers", 3)?;
        return if every == 0 {
            Err(fields.malformed("`global_attn_every_n_layers` is 0".to_owned()))
        } else {
            Ok(every)
        };
    };
    let is_full = |kind: &serde_json::Value| kind == "full_attention";
    let every = types.iter().skip(1).position(is_full).map_or(types.len().max(1), |place| place + 1);
    let regular = types.iter().enumerate().all(|(number, kind)| {
        let expected = if number % every == 0 { "full_attention" } else { "sliding_attention" };
        kind == expected
    });
    if !regular || types.len() != num_layers {
        return Err(fields.unsupported(
            "`layer_types` must begin with \"full_attention\" and repeat it at regular places, once a layer".to_owned(),
            "choose another model",
        ));
    }
    Ok(every)
}

impl Architecture for Theirs {
    fn load(&self, weights: &Weights<'_>) -> error::Result<Box<dyn Encoder>> {
        let Theirs { vocab_size, hidden_size: d, intermediate_size, num_hidden_layers, .. } = *self;
        let mut tensors = Tensors::new(weights, "model.");
        tensors.take("embeddings.tok_embeddings.weight", &[vocab_size, d])?;
        tensors.norm("embeddings.norm", d, false)?;
        tensors.norm("final_norm", d, false)?;
        tensors.layers(num_hidden_layers, |tensors, number| {
            let name = |part: &str| format!("layers.{number}.{part}");
            // The first has no norm before its attention. candle-transformers takes a missing or misshaped one for none.
            if number > 0 {
                tensors.norm(&name("attn_norm"), d, false)?;
            }
            tensors.linear(&name("attn.Wqkv"), d, d.saturating_mul(3), false)?;
            tensors.linear(&name("attn.Wo"), d, d, false)?;
            tensors.norm(&name("mlp_norm"), d, false)?;
            tensors.linear(&name("mlp.Wi"), d, intermediate_size.saturating_mul(2), false)?;
            tensors.linear(&name("mlp.Wo"), intermediate_size, d, false)
        })?;
        let model = ModernBert::load(tensors.builder(), self).map_err(weights.failure())?;
        Ok(Box::new(Modern { model, device: weights.device().clone() }))
    }

    fn head(&self, weights: &Weights<'_>) -> error::Result<Option<Head>> {
        let d = self.hidden_size;
        let dense = weights.get_full("head.dense.weight", &[d, d])?;
        let scale = weights.get_full("head.norm.weight", &[d])?;
        weights.finish()?;
        let norm = candle_nn::LayerNorm::new_no_bias(scale, self.layer_norm_eps);
        Ok(Some(Box::new(move |hidden| hidden.matmul(&dense.t()?)?.gelu_erf()?.apply(&norm))))
    }
}

struct Modern {
    model: ModernBert,
    device: Device,
}

impl Encoder for Modern {
    fn forward(&self, packed: &Packed) -> Result<Tensor> {
        padded(packed, &self.device, |ids, mask| self.model.forward(ids, mask))
    }
}
