//! NomicBERT (arXiv 2402.01613), of nomic-embed-text: BERT with rotary positions and SwiGLU.

use candle_core::{Device, Result, Tensor};
use candle_transformers::models::nomic_bert::{Config as Theirs, NomicBertModel};
use serde_json::json;

use super::super::{Architecture, Configured, Encoder, Family, Vocabulary};
use super::{MAX_TOKENS, Tensors, padded};
use crate::config::{Fields, Spec};
use crate::error;
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::weights::Weights;

pub(super) const FAMILY: Family = Family {
    names: &["nomic_bert"],
    classes: &["NomicBert"],
    positions: None,
    anchor: "embeddings.word_embeddings.weight",
    vocabulary: Vocabulary::WordPiece,
    pooling: Pooling::Mean,
    read,
};

/// Keys are those of the files on the hub, or those that transformers writes.
fn read(fields: &Fields) -> error::Result<Configured> {
    let off = json!(false);
    fields.only(&[
        ("activation_function", json!("swiglu")),
        ("hidden_act", json!("silu")),
        ("prenorm", off.clone()),
        ("rotary_emb_interleaved", off.clone()),
        ("qkv_proj_bias", off.clone()),
        ("mlp_fc1_bias", off.clone()),
        ("mlp_fc2_bias", off.clone()),
        ("use_rms_norm", off.clone()),
        ("parallel_block", off),
        ("num_experts", json!(0)),
    ])?;
    if fields.real("rotary_emb_fraction", 1.0)? != 1.0 {
        return Err(fields.unsupported("`rotary_emb_fraction` must be 1".to_owned(), "choose another model"));
    }
    let number = |keys: [&str; 2], otherwise| fields.number(fields.first(keys), otherwise);
    // Scaled rotary positions (`rotary_scaling_factor`) begin beyond the lengths of training.
    let trained = fields.number("max_trained_positions", 2_048)?;
    let max_tokens = number(["n_positions", "max_position_embeddings"], 2_048)?.min(trained).min(MAX_TOKENS);
    let theirs = Theirs {
        vocab_size: fields.number("vocab_size", 30_528)?,
        n_embd: number(["n_embd", "hidden_size"], 768)?,
        n_head: number(["n_head", "num_attention_heads"], 12)?,
        n_layer: number(["n_layer", "num_hidden_layers"], 12)?,
        n_inner: number(["n_inner", "intermediate_size"], 3_072)?,
        n_positions: max_tokens,
        type_vocab_size: fields.number("type_vocab_size", 2)?,
        layer_norm_epsilon: fields.real(fields.first(["layer_norm_epsilon", "layer_norm_eps"]), 1e-12)?,
        rotary_emb_fraction: 1.0,
        rotary_emb_base: fields.rope_theta(None, "rotary_emb_base", 1_000.0)?,
        rotary_emb_interleaved: false,
        qkv_proj_bias: false,
        mlp_fc1_bias: false,
        mlp_fc2_bias: false,
        activation_function: "swiglu".to_owned(),
        prenorm: false,
        model_type: None,
    };
    // Rotary positions turn pairs of values.
    fields.check_heads(theirs.n_head.saturating_mul(2), theirs.n_embd)?;
    if fields.number("head_dim", theirs.n_embd / theirs.n_head)? != theirs.n_embd / theirs.n_head {
        return Err(fields
            .unsupported("`head_dim` must be hidden_size / num_attention_heads".to_owned(), "choose another model"));
    }
    let spec = Spec { vocab_size: theirs.vocab_size, hidden_size: theirs.n_embd, max_tokens, labels: fields.labels()? };
    Ok((spec, Box::new(theirs)))
}

impl Architecture for Theirs {
    fn load(&self, weights: &Weights<'_>) -> error::Result<Box<dyn Encoder>> {
        let Theirs { vocab_size, n_embd: d, n_layer, n_inner, type_vocab_size, .. } = *self;
        let mut tensors = Tensors::new(weights, "");
        tensors.take("embeddings.word_embeddings.weight", &[vocab_size, d])?;
        if type_vocab_size > 0 {
            tensors.take("embeddings.token_type_embeddings.weight", &[type_vocab_size, d])?;
        }
        tensors.norm("emb_ln", d, true)?;
        tensors.layers(n_layer, |tensors, number| {
            let name = |part: &str| format!("encoder.layers.{number}.{part}");
            tensors.linear(&name("attn.Wqkv"), d, d.saturating_mul(3), false)?;
            tensors.linear(&name("attn.out_proj"), d, d, false)?;
            tensors.linear(&name("mlp.fc11"), d, n_inner, false)?;
            tensors.linear(&name("mlp.fc12"), d, n_inner, false)?;
            tensors.linear(&name("mlp.fc2"), n_inner, d, false)?;
            tensors.norm(&name("norm1"), d, true)?;
            tensors.norm(&name("norm2"), d, true)
        })?;
        let model = NomicBertModel::load(tensors.builder(), self).map_err(weights.failure())?;
        Ok(Box::new(Nomic { model, device: weights.device().clone() }))
    }
}

struct Nomic {
    model: NomicBertModel,
    device: Device,
}

impl Encoder for Nomic {
    fn forward(&self, packed: &Packed) -> Result<Tensor> {
        padded(packed, &self.device, |ids, mask| self.model.forward(ids, None, Some(mask)))
    }
}
