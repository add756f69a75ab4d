//! Mentions by a token-classification model: any Hugging Face directory that `memtrain-encoder` reads.
//!
//! The model alone says what is a mention. A link whose anchor is exactly a mention's words gives it its target.

use std::collections::BTreeMap;
use std::path::Path;

use memtrain_corpora::store::ScalarIndex;
use memtrain_corpora::{Entity, EntityLabel, EntitySource, Passage};
use memtrain_encoder::{LabelledSpan, Options, TokenClassifier};

use super::backend::{Backend, EntityBackend, ModelSource};
use super::config::{BertConfig, EntitiesConfig};
use super::evaluation::label_of;
use crate::error::{PipelineError, Result};
use crate::stage::Input;

/// The `bert` back-end.
pub struct BertBackend {
    model: TokenClassifier,
    meanings: Meanings,
}

impl BertBackend {
    /// Reads the model directory that `config` names.
    ///
    /// # Errors
    /// If there is none, it cannot be used, or its labels have none for what is outside of any entity.
    pub fn open(config: &EntitiesConfig) -> Result<Self> {
        let bert = &config.bert;
        let options = Options {
            max_tokens: Some(bert.max_tokens).filter(|&tokens| tokens > 0),
            batch_tokens: bert.batch_tokens,
            device: bert.device,
            aggregation: bert.aggregation,
        };
        directory(config)?;
        let model = TokenClassifier::open(Path::new(&config.model), &options)?;
        let meanings = Meanings::new(bert);
        meanings.check(model.labels())?;
        Ok(Self { model, meanings })
    }
}

impl EntityBackend for BertBackend {
    fn name(&self) -> &'static str {
        "bert"
    }

    fn mentions(&self, passages: &[Passage]) -> Result<Vec<Vec<Entity>>> {
        let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
        let found = self.model.classify(&texts)?;
        Ok(passages.iter().zip(found).map(|(passage, spans)| self.meanings.entities(passage, &spans)).collect())
    }
}

/// What the labels of a model mean, and how sure it must be.
pub(super) struct Meanings {
    /// By the configuration; `None` leaves the label out.
    configured: BTreeMap<String, Option<EntityLabel>>,
    min_score: f32,
}

impl Meanings {
    pub(super) fn new(config: &BertConfig) -> Self {
        let meaning = |(name, label): (&String, &String)| (name.clone(), EntityLabel::from_name(label));
        Self { configured: config.labels.iter().map(meaning).collect(), min_score: config.min_score }
    }

    /// A model without a label for the outside would make one mention of every text.
    pub(super) fn check(&self, labels: &[String]) -> Result<()> {
        let is_outside = |label: &String| label == "O" || self.configured.get(label).is_some_and(Option::is_none);
        if labels.iter().any(is_outside) {
            return Ok(());
        }
        let first: Vec<&str> = labels.iter().take(6).map(String::as_str).collect();
        Err(PipelineError::Config {
            key: "corpus.entities.bert.labels",
            problem: format!(
                "must say which label of the model is outside of entities (`{{ LABEL_0 = \"\" }}`), as none is called `O` \
                 among {} labels: {} …",
                labels.len(),
                first.join(", ")
            ),
        })
    }

    /// The meaning of a label without its prefix; `None` leaves it out.
    fn of(&self, label: &str) -> Option<EntityLabel> {
        match self.configured.get(label) {
            Some(meaning) => *meaning,
            None => Some(label_of(label).unwrap_or(EntityLabel::Unknown)),
        }
    }

    /// What a model found in a passage, as mentions.
    pub(super) fn entities(&self, passage: &Passage, spans: &[LabelledSpan]) -> Vec<Entity> {
        let index = ScalarIndex::new(&passage.text);
        let sure = spans.iter().filter(|found| found.score >= self.min_score);
        let entity = |found: &LabelledSpan| {
            let link = passage.links.iter().find(|link| link.span == found.span);
            let target = link.map(|link| link.target.clone());
            Entity::new(&index, found.span.clone(), self.of(&found.label)?, EntitySource::Model, target)
        };
        sure.filter_map(entity).collect()
    }
}

/// A token-classification model from a Hugging Face directory.
pub(super) const BACKEND: Backend = Backend {
    about: Some("A token-classification model: BERT, RoBERTa, DeBERTa, ModernBERT …"),
    model: ModelSource::Folder,
    check: directory,
    inputs: |config| {
        let directory = Path::new(&config.model);
        memtrain_encoder::files(directory)?.iter().map(|file| input(directory, file)).collect()
    },
    open: |config, _corpus| Ok(Box::new(BertBackend::open(config)?)),
};

/// Checks that a model is named.
pub(super) fn directory(config: &EntitiesConfig) -> Result<()> {
    if config.model.is_empty() {
        return Err(PipelineError::Config {
            key: "corpus.entities.model",
            problem: format!("is empty: the back-end `{}` needs the directory of a model", config.backend.as_str()),
        });
    }
    Ok(())
}

/// A file of the model as an input of the stage: with another model, what the stage has done is stale.
pub(super) fn input(directory: &Path, file: &Path) -> Result<Input> {
    Input::of(&directory.join(file), format!("model/{}", file.to_string_lossy().replace('\\', "/")))
}
