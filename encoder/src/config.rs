//! `config.json`: its values, read with errors that name the file and the key.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use serde_json::Value;

use crate::error::{EncoderError, Result};

const FILE: &str = "config.json";

/// Most labels of a classifier whose configuration does not name them.
const MAX_LABELS: usize = 1 << 16;

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

/// What any encoder says of itself, whatever its family.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spec {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    /// Most tokens of a sequence, special ones included.
    pub(crate) max_tokens: usize,
    /// `id2label` in order; `LABEL_0` … where the file has none.
    pub(crate) labels: Vec<String>,
}

/// The content of a `config.json` with its path, for errors.
pub(crate) struct Fields {
    value: Value,
    path: PathBuf,
}

impl Fields {
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        if !store::exists(&path) {
            return Err(EncoderError::lacks(directory, FILE, "is this the directory that `save_pretrained` wrote?"));
        }
        Ok(Self { value: store::read_json(&path)?, path })
    }

    #[cfg(test)]
    pub(crate) fn of(value: Value) -> Self {
        Self { value, path: FILE.into() }
    }

    /// An error about what the file asks for.
    pub(crate) fn unsupported(&self, what: String, hint: &'static str) -> EncoderError {
        EncoderError::Unsupported { path: self.path.clone(), what, hint }
    }

    /// An error about what cannot be in the file.
    pub(crate) fn malformed(&self, detail: String) -> EncoderError {
        EncoderError::Malformed { path: self.path.clone(), detail }
    }

    /// The value at this key; nothing where it is missing or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The class that wrote the file, such as `XLMRobertaForTokenClassification`.
    pub(crate) fn class(&self) -> Option<&str> {
        self.get("architectures")?.get(0)?.as_str()
    }

    pub(crate) fn number(&self, key: &str, otherwise: usize) -> Result<usize> {
        match self.get(key) {
            None => Ok(otherwise),
            Some(value) => value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .ok_or_else(|| self.malformed(format!("`{key}` must be a whole number, got {value}"))),
        }
    }

    pub(crate) fn activation(&self, key: &str) -> Result<Activation> {
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
    pub(crate) fn labels(&self) -> Result<Vec<String>> {
        let Some(map) = self.get("id2label").and_then(Value::as_object) else {
            let count = self.number("num_labels", self.number("_num_labels", 2)?)?;
            if count > MAX_LABELS {
                return Err(self.malformed(format!("at most {MAX_LABELS} labels can be told apart, got {count}")));
            }
            return Ok((0..count).map(|label| format!("LABEL_{label}")).collect());
        };
        let mut labels = vec![None; map.len()];
        for (key, name) in map {
            let place = key.parse::<usize>().ok().and_then(|id| labels.get_mut(id));
            match (place, name.as_str()) {
                (Some(place @ None), Some(name)) => *place = Some(name.to_owned()),
                _ => return Err(self.malformed(format!("`id2label` has an entry `{key}`: {name} among {}", map.len()))),
            }
        }
        Ok(labels.into_iter().flatten().collect())
    }

    /// Refuses heads that do not divide the dimensions.
    pub(crate) fn check_heads(&self, heads: usize, dimensions: usize) -> Result<()> {
        if heads == 0 || dimensions == 0 || !dimensions.is_multiple_of(heads) {
            return Err(self.malformed(format!("{heads} heads do not divide {dimensions} dimensions")));
        }
        Ok(())
    }
}

/// What only the families of candle-transformers ask for.
#[cfg(feature = "candle-transformers")]
impl Fields {
    pub(crate) fn real(&self, key: &str, otherwise: f64) -> Result<f64> {
        match self.get(key) {
            None => Ok(otherwise),
            Some(value) => value
                .as_f64()
                .filter(|number| number.is_finite())
                .ok_or_else(|| self.malformed(format!("`{key}` must be a number, got {value}"))),
        }
    }

    pub(crate) fn flag(&self, key: &str, otherwise: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(otherwise),
            Some(value) => {
                value.as_bool().ok_or_else(|| self.malformed(format!("`{key}` must be true or false, got {value}")))
            }
        }
    }

    /// The first of these keys that the file has.
    pub(crate) fn first<'k>(&self, keys: [&'k str; 2]) -> &'k str {
        if self.get(keys[0]).is_some() { keys[0] } else { keys[1] }
    }

    /// Refuses settings other than the one that is computed, which is also what a missing key means. `expected` is compared
    /// as JSON.
    pub(crate) fn only(&self, settings: &[(&str, Value)]) -> Result<()> {
        for (key, expected) in settings {
            if let Some(value) = self.get(key).filter(|value| *value != expected) {
                return Err(self.unsupported(
                    format!("`{key}` = {value} is not supported for this architecture, only {expected}"),
                    "choose another model",
                ));
            }
        }
        Ok(())
    }

    /// The base θ of rotary positions: of `rope_parameters` (below `part`, where it has parts), else of the key that older
    /// files have.
    pub(crate) fn rope_theta(&self, part: Option<&str>, key: &str, otherwise: f64) -> Result<f64> {
        let all = self.get("rope_parameters").or_else(|| self.get("rope_scaling"));
        let parameters = all.map(|all| part.and_then(|part| all.get(part)).unwrap_or(all));
        let kind = parameters.and_then(|parameters| parameters.get("rope_type").or_else(|| parameters.get("type")));
        if let Some(kind) = kind.filter(|kind| *kind != "default") {
            return Err(self.unsupported(
                format!("rotary positions of type {kind} are not supported, only \"default\""),
                "choose another model",
            ));
        }
        let theta = match parameters.and_then(|parameters| parameters.get("rope_theta")).and_then(Value::as_f64) {
            Some(theta) => theta,
            None => self.real(key, otherwise)?,
        };
        if !theta.is_finite() || theta <= 0.0 {
            return Err(self.malformed(format!("the base of rotary positions must be above 0, got {theta}")));
        }
        Ok(theta)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_not_made_up_without_end() {
        assert_eq!(Fields::of(json!({"num_labels": 9})).labels().unwrap().len(), 9);
        let error = Fields::of(json!({"num_labels": 1_000_000_000_000_u64})).labels().unwrap_err();
        assert!(error.to_string().contains("labels"), "{error}");
    }
}
