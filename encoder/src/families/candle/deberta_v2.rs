//! DeBERTa-v2 and v3 (arXiv 2006.03654, 2111.09543): attention by content and, apart from it, by relative positions.

use candle_core::{Device, Result, Tensor};
use candle_transformers::models::debertav2::{Config as Theirs, DebertaV2Model, HiddenAct};
use serde_json::{Value, json};

use super::super::{Architecture, Configured, Encoder, Family, Vocabulary};
use super::{MAX_TOKENS, Tensors, by_length, padded};
use crate::config::{Activation, Fields, Spec};
use crate::error;
use crate::packed::Packed;
use crate::pooling::Pooling;
use crate::weights::Weights;

pub(super) const FAMILY: Family = Family {
    names: &["deberta-v2"],
    classes: &["DebertaV2"],
    positions: None,
    anchor: "embeddings.word_embeddings.weight",
    vocabulary: Vocabulary::None,
    pooling: Pooling::Mean,
    read,
};

struct Config {
    theirs: Theirs,
    /// Rows of the table of relative positions; 0 for none.
    num_relative: usize,
}

fn read(fields: &Fields) -> error::Result<Configured> {
    // A convolution after the first layer (v2-xlarge, v2-xxlarge) stops candle-transformers.
    fields.only(&[("conv_kernel_size", json!(0))])?;
    let (vocab_size, hidden_size) = (fields.number("vocab_size", 128_100)?, fields.number("hidden_size", 1_536)?);
    let num_attention_heads = fields.number("num_attention_heads", 24)?;
    fields.check_heads(num_attention_heads, hidden_size)?;
    fields.only(&[
        ("embedding_size", json!(hidden_size)),
        ("attention_head_size", json!(hidden_size / num_attention_heads)),
    ])?;
    let norm = fields.text("norm_rel_ebd").unwrap_or("none");
    if !["none", "layer_norm"].contains(&norm) {
        return Err(fields.unsupported(
            format!("`norm_rel_ebd` = \"{norm}\" is not among none, layer_norm"),
            "choose another model",
        ));
    }
    let hidden_act = match fields.activation("hidden_act")? {
        Activation::Gelu => HiddenAct::Gelu,
        Activation::GeluTanh => HiddenAct::GeluApproximate,
        Activation::Relu => HiddenAct::Relu,
        Activation::Silu => {
            return Err(
                fields.unsupported("activation `silu` is not supported for DeBERTa".to_owned(), "choose another model")
            );
        }
    };
    let num_positions = fields.number("max_position_embeddings", 512)?;
    let relative = Relative::read(fields, num_positions)?;
    let position_biased_input = fields.flag("position_biased_input", true)?;
    let max_tokens = num_positions.min(MAX_TOKENS);
    let theirs = Theirs {
        vocab_size,
        hidden_size,
        num_hidden_layers: fields.number("num_hidden_layers", 24)?,
        num_attention_heads,
        intermediate_size: fields.number("intermediate_size", 6_144)?,
        hidden_act,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        // The table has them all; without one, this is how many numbers are written down.
        max_position_embeddings: if position_biased_input { num_positions } else { max_tokens },
        type_vocab_size: fields.number("type_vocab_size", 0)?,
        initializer_range: 0.02,
        layer_norm_eps: fields.real("layer_norm_eps", 1e-7)?,
        relative_attention: relative.is_on,
        max_relative_positions: relative.max_distance as isize,
        pad_token_id: None,
        position_biased_input,
        pos_att_type: kinds(fields)?,
        position_buckets: (relative.buckets > 0).then_some(relative.buckets as isize),
        share_att_key: Some(fields.flag("share_att_key", false)?),
        attention_head_size: None,
        embedding_size: None,
        norm_rel_ebd: Some(norm.to_owned()),
        conv_kernel_size: None,
        conv_groups: None,
        conv_act: None,
        id2label: None,
        label2id: None,
        pooler_dropout: None,
        pooler_hidden_act: None,
        pooler_hidden_size: None,
        cls_dropout: None,
    };
    let spec = Spec { vocab_size, hidden_size, max_tokens, labels: fields.labels()? };
    Ok((spec, Box::new(Config { theirs, num_relative: relative.rows() })))
}

/// Relative positions: distances up to a largest one, as they are or in buckets that widen with the distance.
struct Relative {
    is_on: bool,
    buckets: usize,
    max_distance: usize,
}

impl Relative {
    fn read(fields: &Fields, num_positions: usize) -> error::Result<Self> {
        // −1 stands for none.
        let number = |key: &str, otherwise: usize| match fields.get(key).and_then(Value::as_i64) {
            Some(negative) if negative < 1 => Ok(otherwise),
            _ => fields.number(key, otherwise),
        };
        let buckets = number("position_buckets", 0)?;
        let max_distance = number("max_relative_positions", num_positions)?;
        let is_on = fields.flag("relative_attention", false)?;
        // Half of the buckets are single distances, the other half share the rest.
        let fits = buckets == 0 || (buckets >= 4 && max_distance > buckets / 2 + 1);
        if is_on && (!fits || max_distance == 0 || max_distance.max(buckets) > isize::MAX as usize / 2) {
            return Err(fields.malformed(format!("{buckets} buckets cannot hold distances up to {max_distance}")));
        }
        Ok(Self { is_on, buckets, max_distance })
    }

    /// Rows of their table: both directions.
    fn rows(&self) -> usize {
        match (self.is_on, self.buckets) {
            (false, _) => 0,
            (true, 0) => 2 * self.max_distance,
            (true, buckets) => 2 * buckets,
        }
    }
}

/// `pos_att_type`: a list, or a text with `|` between its parts.
fn kinds(fields: &Fields) -> error::Result<Vec<String>> {
    let of_list = |list: &Vec<Value>| list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let kinds: Vec<String> = match fields.get("pos_att_type") {
        Some(Value::String(text)) => text.to_lowercase().split('|').map(|kind| kind.trim().to_owned()).collect(),
        Some(Value::Array(list)) => of_list(list),
        _ => Vec::new(),
    };
    match kinds.iter().find(|kind| !["c2p", "p2c"].contains(&kind.as_str())) {
        Some(other) => Err(fields
            .unsupported(format!("`pos_att_type` has `{other}`, which is not among c2p, p2c"), "choose another model")),
        None => Ok(kinds),
    }
}

impl Architecture for Config {
    fn load(&self, weights: &Weights<'_>) -> error::Result<Box<dyn Encoder>> {
        let theirs = &self.theirs;
        let (d, inner) = (theirs.hidden_size, theirs.intermediate_size);
        let has = |kind: &str| theirs.pos_att_type.iter().any(|own| own == kind);
        let own_keys = theirs.relative_attention && theirs.share_att_key != Some(true);
        let mut tensors = Tensors::new(weights, "");
        tensors.take("embeddings.word_embeddings.weight", &[theirs.vocab_size, d])?;
        if theirs.position_biased_input {
            tensors.take("embeddings.position_embeddings.weight", &[theirs.max_position_embeddings, d])?;
        }
        if theirs.type_vocab_size > 0 {
            tensors.take("embeddings.token_type_embeddings.weight", &[theirs.type_vocab_size, d])?;
        }
        tensors.norm("embeddings.LayerNorm", d, true)?;
        if theirs.relative_attention {
            tensors.take("encoder.rel_embeddings.weight", &[self.num_relative, d])?;
        }
        if theirs.norm_rel_ebd.as_deref() == Some("layer_norm") {
            tensors.norm("encoder.LayerNorm", d, true)?;
        }
        tensors.layers(theirs.num_hidden_layers, |tensors, number| {
            let name = |part: &str| format!("encoder.layer.{number}.{part}");
            for part in ["query_proj", "key_proj", "value_proj"] {
                tensors.linear(&name(&format!("attention.self.{part}")), d, d, true)?;
            }
            for (kind, part) in [("c2p", "pos_key_proj"), ("p2c", "pos_query_proj")] {
                if own_keys && has(kind) {
                    tensors.linear(&name(&format!("attention.self.{part}")), d, d, true)?;
                }
            }
            tensors.linear(&name("attention.output.dense"), d, d, true)?;
            tensors.norm(&name("attention.output.LayerNorm"), d, true)?;
            tensors.linear(&name("intermediate.dense"), d, inner, true)?;
            tensors.linear(&name("output.dense"), inner, d, true)?;
            tensors.norm(&name("output.LayerNorm"), d, true)
        })?;
        let model = DebertaV2Model::load(tensors.builder(), theirs).map_err(weights.failure())?;
        let one_at_a_time = theirs.position_biased_input;
        Ok(Box::new(Deberta { model, one_at_a_time, device: weights.device().clone() }))
    }
}

struct Deberta {
    model: DebertaV2Model,
    /// candle-transformers adds absolute positions to a batch of one sequence alone.
    one_at_a_time: bool,
    device: Device,
}

impl Encoder for Deberta {
    fn forward(&self, packed: &Packed) -> Result<Tensor> {
        if self.one_at_a_time {
            return by_length(packed, &self.device, 1, |ids| self.model.forward(ids, None, None));
        }
        padded(packed, &self.device, |ids, mask| self.model.forward(ids, None, Some(mask.clone())))
    }
}
