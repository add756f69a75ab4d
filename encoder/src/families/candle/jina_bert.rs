//! Jina's BERT (arXiv 2310.19923), of jina-embeddings-v2: BERT with GEGLU, and ALiBi both ways instead of positions.

use candle_core::{Device, Module, Result, Tensor};
use candle_nn::{Activation as TheirActivation, VarBuilder};
use candle_transformers::models::jina_bert::{BertModel, Config as Theirs, PositionEmbeddingType};
use serde_json::json;

use super::super::{Architecture, Configured, Encoder, Family, Vocabulary};
use super::{MAX_TOKENS, Tensors, by_length};
use crate::config::{Fields, Spec};
use crate::error;
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::weights::Weights;

pub(super) const FAMILY: Family = Family {
    names: &["bert"],
    classes: &["JinaBert"],
    positions: Some("alibi"),
    anchor: "embeddings.word_embeddings.weight",
    vocabulary: Vocabulary::WordPiece,
    pooling: Pooling::Mean,
    read,
};

fn read(fields: &Fields) -> error::Result<Configured> {
    // Without the key, Jina's code has BERT's own feed-forward block, which candle-transformers has not.
    let feed_forward = fields.text("feed_forward_type").unwrap_or("original");
    if feed_forward != "geglu" {
        return Err(fields.unsupported(
            format!("`feed_forward_type` = \"{feed_forward}\" is not supported for this architecture, only \"geglu\""),
            "choose another model",
        ));
    }
    fields.only(&[("hidden_act", json!("gelu"))])?;
    let theirs = Theirs {
        vocab_size: fields.number("vocab_size", 30_528)?,
        hidden_size: fields.number("hidden_size", 768)?,
        num_hidden_layers: fields.number("num_hidden_layers", 12)?,
        num_attention_heads: fields.number("num_attention_heads", 12)?,
        intermediate_size: fields.number("intermediate_size", 3_072)?,
        hidden_act: TheirActivation::Gelu,
        // Each forward pass sets it to its own length.
        max_position_embeddings: 0,
        type_vocab_size: fields.number("type_vocab_size", 2)?,
        initializer_range: 0.02,
        layer_norm_eps: fields.real("layer_norm_eps", 1e-12)?,
        pad_token_id: 0,
        position_embedding_type: PositionEmbeddingType::Alibi,
    };
    fields.check_heads(theirs.num_attention_heads, theirs.hidden_size)?;
    let spec = Spec {
        vocab_size: theirs.vocab_size,
        hidden_size: theirs.hidden_size,
        max_tokens: fields.number("max_position_embeddings", 8_192)?.min(MAX_TOKENS),
        labels: fields.labels()?,
    };
    Ok((spec, Box::new(theirs)))
}

impl Architecture for Theirs {
    fn load(&self, weights: &Weights<'_>) -> error::Result<Box<dyn Encoder>> {
        let Theirs { vocab_size, hidden_size: d, num_hidden_layers, intermediate_size, type_vocab_size, .. } = *self;
        let mut tensors = Tensors::new(weights, "");
        tensors.take("embeddings.word_embeddings.weight", &[vocab_size, d])?;
        tensors.take("embeddings.token_type_embeddings.weight", &[type_vocab_size, d])?;
        tensors.norm("embeddings.LayerNorm", d, true)?;
        tensors.layers(num_hidden_layers, |tensors, number| {
            let name = |part: &str| format!("encoder.layer.{number}.{part}");
            for part in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
            {
                tensors.linear(&name(part), d, d, true)?;
            }
            tensors.norm(&name("attention.output.LayerNorm"), d, true)?;
            tensors.linear(&name("mlp.gated_layers"), d, intermediate_size.saturating_mul(2), false)?;
            tensors.linear(&name("mlp.wo"), intermediate_size, d, true)?;
            tensors.norm(&name("mlp.layernorm"), d, true)
        })?;
        Ok(Box::new(Jina { tensors: tensors.builder(), theirs: self.clone(), device: weights.device().clone() }))
    }
}

/// candle-transformers writes the slopes of all pairs of positions down when it makes a model, 3.2 GB of them for 8,192
/// positions and 12 heads. So a model is made for each length; it shares the tensors.
struct Jina {
    tensors: VarBuilder<'static>,
    theirs: Theirs,
    device: Device,
}

impl Encoder for Jina {
    fn forward(&self, packed: &Packed) -> Result<Tensor> {
        by_length(packed, &self.device, usize::MAX, |ids| {
            let config = Theirs { max_position_embeddings: ids.dim(1)?, ..self.theirs.clone() };
            BertModel::new(self.tensors.clone(), &config)?.forward(ids)
        })
    }
}
