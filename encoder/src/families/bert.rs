//! BERT, RoBERTa (with XLM-R and CamemBERT) and DistilBERT: embeddings and post-norm transformer layers, on packed rows.
//!
//! The three differ in names and positions only, so there is one forward pass. The tokens of all sequences of a batch stand
//! one after the other (no padding), and attention alone looks at where a sequence begins and ends. candle-transformers
//! has these families, too; there they compute on padded batches and take longer (figures in this crate's README).

use candle_core::{Device, Result, Tensor};

use super::{Architecture, Configured, Encoder, Family, Vocabulary};
use crate::config::{Activation, Fields, Spec};
use crate::error::{self, EncoderError};
use crate::ops::{self, Norm, Vector};
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::weights::Weights;

/// Positions from 0, token types.
pub(super) const BERT: Family = family(&["bert"], &["Bert"], Vocabulary::WordPiece, |fields| read(fields, Kind::Bert));

/// Positions begin after the padding id.
pub(super) const ROBERTA: Family = family(
    &["roberta", "xlm-roberta", "camembert"],
    &["Roberta", "XLMRoberta", "Camembert"],
    Vocabulary::BytePairs,
    |fields| read(fields, Kind::Roberta),
);

/// Positions from 0, no token types, names of its own.
pub(super) const DISTILBERT: Family =
    family(&["distilbert"], &["DistilBert"], Vocabulary::WordPiece, |fields| read(fields, Kind::DistilBert));

const fn family(
    names: &'static [&'static str],
    classes: &'static [&'static str],
    vocabulary: Vocabulary,
    read: fn(&Fields) -> error::Result<Configured>,
) -> Family {
    let anchor = "embeddings.word_embeddings.weight";
    Family { names, classes, positions: None, anchor, vocabulary, pooling: Pooling::Mean, read }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bert,
    Roberta,
    DistilBert,
}

/// The shape of an encoder of these families.
struct Config {
    kind: Kind,
    spec: Spec,
    num_layers: usize,
    num_heads: usize,
    intermediate_size: usize,
    /// Rows of the position table.
    num_positions: usize,
    /// Position of the first token.
    first_position: usize,
    /// Rows of the token-type table; 0 for none.
    num_token_types: usize,
    layer_norm_eps: f32,
    activation: Activation,
}

fn read(fields: &Fields, kind: Kind) -> error::Result<Configured> {
    if let Some(positions) = fields.text("position_embedding_type").filter(|kind| *kind != "absolute") {
        return Err(fields.unsupported(
            format!("position embeddings of type `{positions}` are not supported, only `absolute`"),
            "choose another model",
        ));
    }
    let pad = fields.number("pad_token_id", if kind == Kind::Roberta { 1 } else { 0 })?;
    let eps = fields.get("layer_norm_eps").and_then(serde_json::Value::as_f64).unwrap_or(1e-12);
    let distil = kind == Kind::DistilBert;
    let key = |distil_name: &'static str, name: &'static str| if distil { distil_name } else { name };
    let num_positions = fields.number("max_position_embeddings", 512)?;
    let first_position = if kind == Kind::Roberta { pad.saturating_add(1) } else { 0 };
    let config = Config {
        kind,
        spec: Spec {
            vocab_size: fields.number("vocab_size", 30_522)?,
            hidden_size: fields.number(key("dim", "hidden_size"), 768)?,
            max_tokens: num_positions.saturating_sub(first_position),
            labels: fields.labels()?,
        },
        num_layers: fields.number(key("n_layers", "num_hidden_layers"), if distil { 6 } else { 12 })?,
        num_heads: fields.number(key("n_heads", "num_attention_heads"), 12)?,
        intermediate_size: fields.number(key("hidden_dim", "intermediate_size"), 3072)?,
        num_positions,
        first_position,
        num_token_types: if distil { 0 } else { fields.number("type_vocab_size", 2)? },
        // DistilBERT's is written into its code.
        layer_norm_eps: if distil { 1e-12 } else { eps as f32 },
        activation: fields.activation(key("activation", "hidden_act"))?,
    };
    fields.check_heads(config.num_heads, config.spec.hidden_size)?;
    Ok((config.spec.clone(), Box::new(config)))
}

impl Architecture for Config {
    fn load(&self, weights: &Weights<'_>) -> error::Result<Box<dyn Encoder>> {
        let failed = weights.failure();
        let loader = Loader { weights, config: self, failed: &failed };
        let Spec { vocab_size, hidden_size, .. } = self.spec;
        let words = weights.get("embeddings.word_embeddings.weight", &[vocab_size, hidden_size])?;
        let positions = loader.positions()?;
        let embedding_norm = loader.norm("embeddings.LayerNorm")?;
        let mut layers = Vec::new();
        for number in 0..self.num_layers {
            layers.push(loader.layer(number)?);
        }
        Ok(Box::new(Bert {
            num_heads: self.num_heads,
            hidden_size,
            activation: self.activation,
            device: weights.device().clone(),
            words,
            positions,
            embedding_norm,
            layers,
            portable: false,
        }))
    }
}

/// A linear layer whose bias is added by the operation that comes next.
struct Linear {
    /// \[out, in\], as stored.
    weight: Tensor,
    bias: Vector,
}

impl Linear {
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight.t()?)
    }
}

struct Layer {
    /// Queries, keys and values in one: \[3 D, D\].
    qkv: Linear,
    output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

/// Names of a layer's parts.
struct LayerNames {
    layer: &'static str,
    qkv: [&'static str; 3],
    output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
}

const BERT_NAMES: LayerNames = LayerNames {
    layer: "encoder.layer",
    qkv: ["attention.self.query", "attention.self.key", "attention.self.value"],
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT_NAMES: LayerNames = LayerNames {
    layer: "transformer.layer",
    qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// An encoder of these families with its weights.
struct Bert {
    num_heads: usize,
    hidden_size: usize,
    activation: Activation,
    device: Device,
    /// \[V, D\]; the embedding of token type 0 is in each row of `positions`, as one text is all of type 0.
    words: Tensor,
    /// \[positions, D\], beginning with that of the first token.
    positions: Tensor,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    /// Computes with candle's operations alone, to be compared with.
    portable: bool,
}

impl Encoder for Bert {
    fn forward(&self, packed: &Packed) -> Result<Tensor> {
        let n = packed.ids().len();
        let (heads, d) = (self.num_heads, self.hidden_size);
        let positions: Vec<u32> = packed.lengths().iter().flat_map(|&length| 0..length as u32).collect();
        let ids = Tensor::from_slice(packed.ids(), n, &self.device)?;
        let positions = Tensor::from_vec(positions, n, &self.device)?;
        let embedded = (self.words.index_select(&ids, 0)? + self.positions.index_select(&positions, 0)?)?;
        let mut hidden = ops::layer_norm(embedded, &self.embedding_norm, self.portable)?;
        for layer in &self.layers {
            let qkv = ops::bias_then(layer.qkv.product(&hidden)?, &layer.qkv.bias, None, self.portable)?;
            let qkv = qkv.reshape((n, 3, heads, d / heads))?;
            let context = layer.output.product(&ops::attention(&qkv, packed.lengths(), self.portable)?)?;
            hidden = ops::add_then_norm(context, &layer.output.bias, &hidden, &layer.attention_norm, self.portable)?;
            let activation = Some(self.activation);
            let wide = ops::bias_then(layer.up.product(&hidden)?, &layer.up.bias, activation, self.portable)?;
            let narrow = layer.down.product(&wide)?;
            hidden = ops::add_then_norm(narrow, &layer.down.bias, &hidden, &layer.output_norm, self.portable)?;
        }
        Ok(hidden)
    }
    #[cfg(test)]
    fn use_portable(&mut self) {
        self.portable = true;
    }
}

/// Takes tensors by the names of the family.
struct Loader<'a, F> {
    weights: &'a Weights<'a>,
    config: &'a Config,
    failed: &'a F,
}

impl<F: Fn(candle_core::Error) -> EncoderError> Loader<'_, F> {
    fn vector(&self, name: &str, length: usize) -> error::Result<Vector> {
        let tensor = self.weights.get(name, &[length])?;
        Vector::new(tensor).map_err(self.failed)
    }

    fn norm(&self, name: &str) -> error::Result<Norm> {
        let d = self.config.spec.hidden_size;
        Ok(Norm {
            scale: self.vector(&format!("{name}.weight"), d)?,
            shift: self.vector(&format!("{name}.bias"), d)?,
            eps: self.config.layer_norm_eps,
        })
    }

    fn linear(&self, name: &str, from: usize, to: usize) -> error::Result<Linear> {
        let weight = self.weights.get(&format!("{name}.weight"), &[to, from])?;
        Ok(Linear { weight, bias: self.vector(&format!("{name}.bias"), to)? })
    }

    /// Positions from the first one on, with token type 0 added.
    fn positions(&self) -> error::Result<Tensor> {
        let Config { num_positions, first_position, num_token_types, .. } = *self.config;
        let d = self.config.spec.hidden_size;
        let table = self.weights.get("embeddings.position_embeddings.weight", &[num_positions, d])?;
        let types = match num_token_types {
            0 => None,
            _ => Some(self.weights.get("embeddings.token_type_embeddings.weight", &[num_token_types, d])?),
        };
        // A wrong size is told before memory is asked for by it.
        self.weights.finish()?;
        let first = first_position.min(num_positions);
        let positions = table.narrow(0, first, num_positions - first).map_err(self.failed)?;
        let Some(types) = types else { return Ok(positions) };
        types.get(0).and_then(|first| positions.broadcast_add(&first)).map_err(self.failed)
    }

    fn layer(&self, number: usize) -> error::Result<Layer> {
        let names = if self.config.kind == Kind::DistilBert { &DISTILBERT_NAMES } else { &BERT_NAMES };
        let intermediate_size = self.config.intermediate_size;
        let d = self.config.spec.hidden_size;
        let name = |part: &str| format!("{}.{number}.{part}", names.layer);
        let parts = names.qkv.map(|part| self.linear(&name(part), d, d));
        let [query, key, value] = parts;
        let (query, key, value) = (query?, key?, value?);
        let qkv = || -> Result<Linear> {
            let weight = Tensor::cat(&[&query.weight, &key.weight, &value.weight], 0)?;
            let bias = Tensor::cat(&[&query.bias.tensor, &key.bias.tensor, &value.bias.tensor], 0)?;
            Ok(Linear { weight, bias: Vector::new(bias)? })
        };
        let output = self.linear(&name(names.output), d, d)?;
        let attention_norm = self.norm(&name(names.attention_norm))?;
        let up = self.linear(&name(names.up), d, intermediate_size)?;
        let down = self.linear(&name(names.down), intermediate_size, d)?;
        let output_norm = self.norm(&name(names.output_norm))?;
        // What stands in for a missing tensor must not be multiplied out; and one layer is enough to tell what is wrong.
        self.weights.finish()?;
        Ok(Layer { qkv: qkv().map_err(self.failed)?, output, attention_norm, up, down, output_norm })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn padding_beyond_all_positions_leaves_room_for_no_token() {
        let fields = Fields::of(json!({"model_type": "roberta", "pad_token_id": u64::MAX}));
        assert_eq!((ROBERTA.read)(&fields).unwrap().0.max_tokens, 0);
    }
}
