//! `config.json`: which architecture, how large, and which labels.

use std::path::Path;

use memtrain_corpora::store;
use serde_json::Value;

use crate::error::{EncoderError, Result};

const FILE: &str = "config.json";

/// Most labels of a classifier whose configuration does not name them.
const MAX_LABELS: usize = 1 << 16;

/// Architectures whose forward pass is the same and whose names and positions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Positions from 0, token types.
    Bert,
    /// RoBERTa, XLM-R, CamemBERT: positions begin after the padding id.
    Roberta,
    /// Positions from 0, no token types, names of its own.
    DistilBert,
}

impl Family {
    fn of(name: &str) -> Option<Self> {
        match name {
            "bert" => Some(Self::Bert),
            "roberta" | "xlm-roberta" | "camembert" => Some(Self::Roberta),
            "distilbert" => Some(Self::DistilBert),
            _ => None,
        }
    }

    /// By the name of a class, such as `XLMRobertaForTokenClassification`.
    fn of_class(class: &str) -> Option<Self> {
        const CLASSES: [(&str, Family); 5] = [
            ("Bert", Family::Bert),
            ("Roberta", Family::Roberta),
            ("XLMRoberta", Family::Roberta),
            ("Camembert", Family::Roberta),
            ("DistilBert", Family::DistilBert),
        ];
        let fits =
            |prefix: &str| class.strip_prefix(prefix).is_some_and(|rest| rest == "Model" || rest.starts_with("For"));
        CLASSES.into_iter().find(|(prefix, _)| fits(prefix)).map(|(_, family)| family)
    }
}

/// The non-linearity between the two layers of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// With the error function.
    Gelu,
    /// By its approximation with tanh.
    GeluTanh,
    Relu,
    Silu,
}

/// The shape of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) num_heads: usize,
    pub(crate) intermediate_size: usize,
    /// Rows of the position table.
    pub(crate) num_positions: usize,
    /// Position of the first token.
    pub(crate) first_position: usize,
    /// Rows of the token-type table; 0 for none.
    pub(crate) num_token_types: usize,
    pub(crate) layer_norm_eps: f32,
    pub(crate) activation: Activation,
    /// `id2label` in order; `LABEL_0` … where the file has none.
    pub(crate) labels: Vec<String>,
}

impl Config {
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        if !store::exists(&path) {
            return Err(EncoderError::lacks(directory, FILE, "is this the directory that `save_pretrained` wrote?"));
        }
        Fields { value: store::read_json(&path)?, path: &path }.config()
    }

    /// Most tokens of a sequence, special ones included.
    pub(crate) fn max_tokens(&self) -> usize {
        self.num_positions.saturating_sub(self.first_position)
    }
}

/// The file's content with its path, for errors.
struct Fields<'a> {
    value: Value,
    path: &'a Path,
}

impl Fields<'_> {
    fn unsupported(&self, what: String, hint: &'static str) -> EncoderError {
        EncoderError::Unsupported { path: self.path.to_owned(), what, hint }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.value.get(key).and_then(Value::as_str)
    }

    fn number(&self, key: &str, otherwise: usize) -> Result<usize> {
        match self.value.get(key) {
            None | Some(Value::Null) => Ok(otherwise),
            Some(value) => {
                value.as_u64().and_then(|number| usize::try_from(number).ok()).ok_or_else(|| EncoderError::Malformed {
                    path: self.path.to_owned(),
                    detail: format!("`{key}` must be a whole number, got {value}"),
                })
            }
        }
    }

    fn family(&self) -> Result<Family> {
        let class = self.value.get("architectures").and_then(|classes| classes.get(0)).and_then(Value::as_str);
        let named = match (self.text("model_type"), class) {
            (Some(name), _) => Family::of(name),
            (None, Some(class)) => Family::of_class(class),
            // Google's first files say neither.
            (None, None) => self.value.get("type_vocab_size").map(|_| Family::Bert),
        };
        let name = self.text("model_type").or(class).unwrap_or("not named").to_owned();
        named.ok_or_else(|| {
            self.unsupported(
                format!("architecture `{name}` is not among bert, roberta, xlm-roberta, camembert, distilbert"),
                "choose a model of one of these families",
            )
        })
    }

    fn activation(&self, key: &str) -> Result<Activation> {
        match self.text(key).unwrap_or("gelu") {
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            other => Err(self.unsupported(
                format!("activation `{other}` is not among gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu"),
                "choose another model",
            )),
        }
    }

    /// `id2label`, whose keys are numbers as text.
    fn labels(&self) -> Result<Vec<String>> {
        let malformed = |detail: String| EncoderError::Malformed { path: self.path.to_owned(), detail };
        let Some(map) = self.value.get("id2label").and_then(Value::as_object) else {
            let count = self.number("num_labels", self.number("_num_labels", 2)?)?;
            if count > MAX_LABELS {
                return Err(malformed(format!("at most {MAX_LABELS} labels can be told apart, got {count}")));
            }
            return Ok((0..count).map(|label| format!("LABEL_{label}")).collect());
        };
        let mut labels = vec![None; map.len()];
        for (key, name) in map {
            let place = key.parse::<usize>().ok().and_then(|id| labels.get_mut(id));
            match (place, name.as_str()) {
                (Some(place @ None), Some(name)) => *place = Some(name.to_owned()),
                _ => return Err(malformed(format!("`id2label` has an entry `{key}`: {name} among {}", map.len()))),
            }
        }
        Ok(labels.into_iter().flatten().collect())
    }

    fn config(&self) -> Result<Config> {
        let family = self.family()?;
        if let Some(kind) = self.text("position_embedding_type").filter(|kind| *kind != "absolute") {
            return Err(self.unsupported(
                format!("position embeddings of type `{kind}` are not supported, only `absolute`"),
                "choose another model",
            ));
        }
        let pad = self.number("pad_token_id", if family == Family::Roberta { 1 } else { 0 })?;
        let eps = self.value.get("layer_norm_eps").and_then(Value::as_f64).unwrap_or(1e-12);
        let distil = family == Family::DistilBert;
        let key = |distil_name: &'static str, name: &'static str| if distil { distil_name } else { name };
        let config = Config {
            family,
            vocab_size: self.number("vocab_size", 30_522)?,
            hidden_size: self.number(key("dim", "hidden_size"), 768)?,
            num_layers: self.number(key("n_layers", "num_hidden_layers"), if distil { 6 } else { 12 })?,
            num_heads: self.number(key("n_heads", "num_attention_heads"), 12)?,
            intermediate_size: self.number(key("hidden_dim", "intermediate_size"), 3072)?,
            num_positions: self.number("max_position_embeddings", 512)?,
            first_position: if family == Family::Roberta { pad.saturating_add(1) } else { 0 },
            num_token_types: if distil { 0 } else { self.number("type_vocab_size", 2)? },
            // DistilBERT's is written into its code.
            layer_norm_eps: if distil { 1e-12 } else { eps as f32 },
            activation: self.activation(key("activation", "hidden_act"))?,
            labels: self.labels()?,
        };
        if config.num_heads == 0 || !config.hidden_size.is_multiple_of(config.num_heads) || config.hidden_size == 0 {
            return Err(EncoderError::Malformed {
                path: self.path.to_owned(),
                detail: format!("{} heads do not divide {} dimensions", config.num_heads, config.hidden_size),
            });
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_positions_are_not_made_up_without_end() {
        let config = |value: Value| Fields { value, path: Path::new("config.json") }.config();
        let message = |value| config(value).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(
            config(json!({"model_type": "bert", "num_labels": 9})).map(|config| config.labels.len()).unwrap(),
            9
        );
        assert!(message(json!({"model_type": "bert", "num_labels": 1_000_000_000_000_u64})).contains("labels"));
        // Without a place for any token, which whoever opens the model is told.
        let far = config(json!({"model_type": "roberta", "pad_token_id": u64::MAX})).unwrap();
        assert_eq!(far.max_tokens(), 0);
    }
}
