//! Encoders from Hugging Face directories, by candle.

use std::path::PathBuf;

use memtrain_encoder::{Embeddings, EncoderError, Options};

use super::{Embedder, Role};
use crate::{EmbedConfig, IndexError};

/// A neural encoder (MiniLM, BGE, E5, GTE …).
pub struct Neural {
    embeddings: Embeddings,
    model: PathBuf,
    query_prefix: String,
    passage_prefix: String,
}

impl Neural {
    /// Opens the configured model.
    ///
    /// # Errors
    /// [`IndexError::Embedding`] if the directory is missing or holds no model that can be run.
    pub fn open(config: &EmbedConfig) -> Result<Self, IndexError> {
        let options = Options {
            max_tokens: (config.max_tokens > 0).then_some(config.max_tokens),
            batch_tokens: config.batch_tokens,
            device: config.device,
            ..Options::default()
        };
        let embeddings = Embeddings::open(&config.model, config.pooling, true, &options);
        Ok(Self {
            embeddings: embeddings.map_err(failed(&config.model))?,
            model: config.model.clone(),
            query_prefix: config.query_prefix.clone(),
            passage_prefix: config.passage_prefix.clone(),
        })
    }
}

fn failed(model: &std::path::Path) -> impl Fn(EncoderError) -> IndexError {
    move |source| IndexError::Encoder { model: model.to_path_buf(), source: Box::new(source) }
}

/// The texts with the words that the model wants before them.
pub(super) fn prefixed(prefix: &str, texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| format!("{prefix}{text}")).collect()
}

impl Embedder for Neural {
    fn dimensions(&self) -> usize {
        self.embeddings.dimensions()
    }

    fn embed(&self, texts: &[&str], role: Role) -> Result<Vec<Vec<f32>>, IndexError> {
        let prefix = match role {
            Role::Query => &self.query_prefix,
            Role::Passage => &self.passage_prefix,
        };
        let texts = prefixed(prefix, texts);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.embeddings.embed(&texts).map_err(failed(&self.model))
    }
}
