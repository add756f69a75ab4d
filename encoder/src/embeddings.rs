//! One vector a text.

use std::path::Path;

use candle_core::Tensor;
use memtrain_corpora::store;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batches;
use crate::error::{EncoderError, Result};
use crate::model::{Model, Packed};
use crate::options::Options;
use crate::tokens::TextTokenizer;

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
    fn stated(directory: &Path) -> Result<Option<Self>> {
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

/// An encoder that turns texts into vectors.
///
/// ```no_run
/// use memtrain_encoder::{Embeddings, Options, Pooling};
/// let model = Embeddings::open("all-MiniLM-L6-v2".as_ref(), Pooling::Model, true, &Options::default())?;
/// let vectors = model.embed(&["The town lies on a river.", "A river runs through the town."])?;
/// assert_eq!(vectors[0].len(), model.dimensions());
/// # Ok::<(), memtrain_encoder::EncoderError>(())
/// ```
pub struct Embeddings {
    model: Model,
    tokenizer: TextTokenizer,
    pooling: Pooling,
    normalize: bool,
    /// Most tokens of a text, special ones left out.
    max_content: usize,
    options: Options,
}

impl Embeddings {
    /// Reads a Hugging Face or sentence-transformers directory. `normalize` scales vectors to length 1.
    pub fn open(directory: &Path, pooling: Pooling, normalize: bool, options: &Options) -> Result<Self> {
        let device = options.device.open()?;
        let (model, ()) = Model::open(directory, &device, |_, _| Ok(()))?;
        let tokenizer = TextTokenizer::open(directory, model.vocabulary)?;
        let pooling = match pooling {
            Pooling::Model => Pooling::stated(directory)?.unwrap_or(model.pooling),
            named => named,
        };
        let max_content = model.max_content(&tokenizer, options)?;
        Ok(Self { model, tokenizer, pooling, normalize, max_content, options: options.clone() })
    }

    /// Numbers of a vector.
    pub fn dimensions(&self) -> usize {
        self.model.spec.hidden_size
    }

    /// Most tokens of a text, special ones included; what is longer is cut at the end.
    pub fn max_tokens(&self) -> usize {
        self.max_content + self.tokenizer.num_special()
    }

    /// The vector of each text, in the order given.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let ids: Vec<Vec<u32>> = texts
            .par_iter()
            .map(|text| {
                let mut ids = self.tokenizer.ids(text)?;
                ids.truncate(self.max_content);
                Ok(ids)
            })
            .collect::<Result<_>>()?;
        let lengths: Vec<usize> = ids.iter().map(|ids| ids.len() + self.tokenizer.num_special()).collect();
        let batches = batches::by_length(&lengths, self.options.batch_tokens);
        let of_batch = |batch: &Vec<usize>| {
            let mut packed = Packed::default();
            for &text in batch {
                packed.push(self.tokenizer.sequence(&ids[text]));
            }
            self.vectors(&packed)
        };
        let found = self.model.each_batch(&batches, of_batch)?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for (place, vector) in batches.into_iter().flatten().zip(found.into_iter().flatten()) {
            vectors[place] = vector;
        }
        Ok(vectors)
    }

    fn vectors(&self, packed: &Packed) -> Result<Vec<Vec<f32>>> {
        let hidden = self.model.hidden(packed)?;
        let pooled = self.pooled(&hidden, packed).map_err(EncoderError::tensor(&self.model.directory))?;
        Ok(pooled)
    }

    /// `hidden` is \[N, D\].
    fn pooled(&self, hidden: &Tensor, packed: &Packed) -> candle_core::Result<Vec<Vec<f32>>> {
        packed
            .rows()
            .map(|rows| {
                // No word of the text is known, and nothing stands around it.
                if rows.is_empty() {
                    return Ok(vec![0.0; self.dimensions()]);
                }
                let states = hidden.narrow(0, rows.start, rows.len())?;
                let pooled = match self.pooling {
                    Pooling::Mean | Pooling::Model => states.mean(0)?,
                    Pooling::Cls => states.get(0)?,
                    Pooling::LastToken => states.get(rows.len() - 1)?,
                    Pooling::Max => states.max(0)?,
                };
                let mut vector: Vec<f32> = pooled.to_vec1()?;
                if self.normalize {
                    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
                    vector.iter_mut().for_each(|x| *x /= norm);
                }
                Ok(vector)
            })
            .collect()
    }
}
