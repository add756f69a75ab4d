//! Pooling of hidden states, and what a directory says of it.

use std::path::Path;

use memtrain_corpora::store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{EncoderError, Result};

/// How the hidden states of a text's tokens, special ones included, become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// As the directory says in `1_Pooling/config.json` (sentence-transformers); if it does not say, the mean, and the last
    /// token of a decoder.
    #[default]
    Model,
    /// Their mean.
    Mean,
    /// That of the first token.
    Cls,
    /// That of the last token.
    LastToken,
    /// The largest value of each dimension.
    Max,
}

impl Pooling {
    /// What sentence-transformers' files in a directory say about pooling: the mean if they do not say, never
    /// [`Pooling::Model`].
    ///
    /// # Errors
    /// Files that cannot be read, or pooling of a kind that cannot be computed.
    pub fn of(directory: &Path) -> Result<Self> {
        Ok(Self::stated(directory)?.unwrap_or(Self::Mean))
    }

    /// What the files say, if they say anything.
    pub(crate) fn stated(directory: &Path) -> Result<Option<Self>> {
        let modules = directory.join("modules.json");
        if store::exists(&modules) {
            let value: Value = store::read_json(&modules)?;
            let kinds = value.as_array().into_iter().flatten().filter_map(|module| module.get("type")?.as_str());
            for kind in kinds.map(|kind| kind.rsplit('.').next().unwrap_or(kind)) {
                if !["Transformer", "Pooling", "Normalize", "Dropout"].contains(&kind) {
                    return Err(EncoderError::Unsupported {
                        path: modules,
                        what: format!("the vectors pass through a module of kind `{kind}` after pooling"),
                        hint: "choose a model without it, or name the pooling to take the vectors before that module",
                    });
                }
            }
        }
        let path = directory.join("1_Pooling").join("config.json");
        if !store::exists(&path) {
            return Ok(None);
        }
        let value: Value = store::read_json(&path)?;
        const MODES: [(&str, &str, Pooling); 4] = [
            ("pooling_mode_cls_token", "cls", Pooling::Cls),
            ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
            ("pooling_mode_max_tokens", "max", Pooling::Max),
            ("pooling_mode_lasttoken", "lasttoken", Pooling::LastToken),
        ];
        let on = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
        let keys = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        let chosen: Vec<&str> = keys.filter(|key| key.starts_with("pooling_mode_") && on(key)).collect();
        let named = value.get("pooling_mode").and_then(Value::as_str);
        let known =
            MODES.into_iter().find(|(key, name, _)| chosen == [*key] || (chosen.is_empty() && named == Some(*name)));
        match known {
            Some((_, _, pooling)) => Ok(Some(pooling)),
            None => Err(EncoderError::Unsupported {
                path,
                what: format!(
                    "its pooling is {:?}; one of cls, mean, max, lasttoken can be computed",
                    named.map_or(chosen, |name| vec![name])
                ),
                hint: "name the pooling to use instead",
            }),
        }
    }
}
