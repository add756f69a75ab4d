//! Mentions by the pipeline of the crate `rust-bert`, in builds with the feature of that name.
//!
//! rust-bert labels words; what labels mean and how they join to mentions is the same code as for the `bert` back-end.

use std::path::{Path, PathBuf};

use memtrain_corpora::{Entity, Passage, store};
use memtrain_encoder::{Device, Scheme, Word};
use memtrain_rust_bert::{Architecture, Files, LabelledWord, Recognizer, download};
use serde_json::Value;

use super::super::EntityBackend;
use super::super::bert::{Meanings, directory};
use super::super::config::EntitiesConfig;
use crate::error::{PipelineError, Result};

/// Texts of a forward pass; rust-bert fills all up to the longest.
const BATCH: usize = 16;

/// The `rust-bert` back-end.
pub struct RustBertBackend {
    model: Recognizer,
    /// `id2label` in order.
    labels: Vec<String>,
    scheme: Scheme,
    meanings: Meanings,
}

impl RustBertBackend {
    /// Loads the model that `config` names: a directory, or where there is none, a name on the Hugging Face hub, whose files
    /// are downloaded once.
    ///
    /// # Errors
    /// If a file is missing, or rust-bert cannot use it.
    pub fn open(config: &EntitiesConfig) -> Result<Self> {
        directory(config)?;
        let place = Place::of(Path::new(&config.model));
        let settings: Value = store::read_json(&place.file("config.json")?)?;
        let labels = labels(&settings);
        let meanings = Meanings::new(&config.bert);
        meanings.check(&labels)?;
        let device = match config.bert.device {
            Device::Cpu => memtrain_rust_bert::Device::Cpu,
            Device::Cuda(number) => memtrain_rust_bert::Device::Cuda(number),
        };
        let files = place.files(&settings)?;
        check_sizes(&settings, store::len(&files.weights)?)?;
        let model = Recognizer::open(files, device).map_err(PipelineError::RustBert)?;
        Ok(Self { model, scheme: Scheme::new(&labels), labels, meanings })
    }

    fn word(&self, word: LabelledWord) -> Word {
        let label = self.labels.iter().position(|label| *label == word.label);
        Word { span: word.span, label: label.unwrap_or(usize::MAX), score: word.score }
    }
}

impl EntityBackend for RustBertBackend {
    fn name(&self) -> &'static str {
        "rust-bert"
    }

    fn mentions(&self, passages: &[Passage]) -> Result<Vec<Vec<Entity>>> {
        let mut mentions = Vec::with_capacity(passages.len());
        for batch in passages.chunks(BATCH) {
            let texts: Vec<&str> = batch.iter().map(|passage| passage.text.as_str()).collect();
            let found = self.model.words(&texts).map_err(PipelineError::RustBert)?;
            for (passage, words) in batch.iter().zip(found) {
                let words: Vec<Word> = words.into_iter().map(|word| self.word(word)).collect();
                mentions.push(self.meanings.entities(passage, &self.scheme.spans(&words)));
            }
        }
        Ok(mentions)
    }
}

/// Checks that the weights can have the sizes that `config.json` says: rust-bert allocates what it says before it reads
/// them, and a number takes a byte of the file at least.
fn check_sizes(settings: &Value, weights_bytes: u64) -> Result<()> {
    let size = |keys: &[&str]| {
        let value = keys.iter().find_map(|key| settings.get(key)?.as_u64());
        u128::from(value.unwrap_or(1))
    };
    let width = size(&["hidden_size", "dim"]);
    let layer = (width.saturating_mul(width))
        .saturating_mul(4)
        .saturating_add(width.saturating_mul(size(&["intermediate_size", "hidden_dim"])).saturating_mul(2));
    let layers = size(&["num_hidden_layers", "n_layers"]).saturating_mul(layer);
    let tables = [size(&["vocab_size"]), size(&["max_position_embeddings"])];
    // ELECTRA's tables are narrower than its layers.
    let narrow = size(&["embedding_size", "hidden_size"]).min(width);
    let numbers = tables.iter().fold(layers, |sum, rows| sum.saturating_add(rows.saturating_mul(narrow)));
    if numbers > u128::from(weights_bytes) {
        return Err(PipelineError::Config {
            key: "corpus.entities.model",
            problem: format!("has a config.json that asks for {numbers} numbers, and weights of {weights_bytes} bytes"),
        });
    }
    Ok(())
}

/// `id2label` in the order of its numbers.
fn labels(settings: &Value) -> Vec<String> {
    let entries = settings.get("id2label").and_then(Value::as_object).into_iter().flatten();
    let mut labels: Vec<(u64, String)> =
        entries.filter_map(|(id, label)| Some((id.parse().ok()?, label.as_str()?.to_owned()))).collect();
    labels.sort_unstable();
    labels.into_iter().map(|(_, label)| label).collect()
}

/// Where a model's files are.
enum Place {
    Directory(PathBuf),
    Hub(String),
}

impl Place {
    fn of(model: &Path) -> Self {
        if store::is_dir(model) {
            Self::Directory(model.to_owned())
        } else {
            Self::Hub(model.to_string_lossy().into_owned())
        }
    }

    fn file(&self, name: &str) -> Result<PathBuf> {
        match self {
            Self::Directory(directory) => Ok(directory.join(name)),
            Self::Hub(model) => download(model, name).map_err(PipelineError::RustBert),
        }
    }

    fn files(&self, settings: &Value) -> Result<Files> {
        let name = settings.get("model_type").and_then(Value::as_str).unwrap_or("bert");
        let architecture = Architecture::from_model_type(name).ok_or_else(|| PipelineError::Config {
            key: "corpus.entities.model",
            problem: format!(
                "is of architecture `{name}`; rust-bert is used for bert, distilbert, electra, roberta and xlm-roberta"
            ),
        })?;
        // The cache of the hub has no file extensions, by which libtorch tells safetensors from its own format.
        let weights = match self {
            Self::Directory(directory) if !store::exists(&directory.join("rust_model.ot")) => "model.safetensors",
            _ => "rust_model.ot",
        };
        let (vocabulary, merges) = architecture.tokenizer_files();
        let needed = [Some(vocabulary), merges, Some(weights)];
        let missing =
            |directory: &Path| needed.into_iter().flatten().find(|name| !store::exists(&directory.join(name)));
        if let Self::Directory(directory) = self
            && let Some(missing) = missing(directory)
        {
            return Err(PipelineError::Config {
                key: "corpus.entities.model",
                problem: format!("names `{}`, which has no `{missing}`; rust-bert needs it", directory.display()),
            });
        }
        Ok(Files {
            architecture,
            weights: self.file(weights)?,
            config: self.file("config.json")?,
            vocabulary: self.file(vocabulary)?,
            merges: merges.map(|merges| self.file(merges)).transpose()?,
            lower_case: self.lower_case(architecture)?,
        })
    }

    /// As the tokenizer's settings say; without them, as BERT's tokenizer does.
    fn lower_case(&self, architecture: Architecture) -> Result<bool> {
        if matches!(architecture, Architecture::Roberta | Architecture::XlmRoberta) {
            return Ok(false);
        }
        let path = match self {
            Self::Directory(directory) => directory.join("tokenizer_config.json"),
            Self::Hub(_) => match self.file("tokenizer_config.json") {
                Ok(path) => path,
                Err(_) => return Ok(true),
            },
        };
        let settings: Value = if store::exists(&path) { store::read_json(&path)? } else { Value::Null };
        Ok(settings.get("do_lower_case").and_then(Value::as_bool).unwrap_or(true))
    }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::EntityLabel;

    use super::super::super::{BertBackend, plain_passage};
    use super::*;
    use crate::entities::BackendName;

    /// The same directory, the same mentions.
    #[test]
    fn mentions_are_those_of_the_bert_back_end() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/parity/bert");
        let copy = tempfile::tempdir()?;
        for path in store::list(&fixture)? {
            store::write_atomic(&copy.path().join(path.file_name().unwrap_or_default()), store::read(&path)?)?;
        }
        let tokenizer: Value = store::read_json(&fixture.join("tokenizer.json"))?;
        let mut tokens: Vec<(u64, &String)> = tokenizer["model"]["vocab"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(token, id)| Some((id.as_u64()?, token)))
            .collect();
        tokens.sort_unstable();
        let lines: String = tokens.iter().map(|(_, token)| format!("{token}\n")).collect();
        store::write_atomic(&copy.path().join("vocab.txt"), lines)?;
        let model = copy.path().to_string_lossy().into_owned();
        let config = EntitiesConfig { backend: BackendName::RustBert, model, ..EntitiesConfig::default() };
        let rows: Vec<Value> = store::read_json(&fixture.join("expected.json"))?;
        let passages: Vec<Passage> = rows.iter().filter_map(|row| Some(plain_passage(row["text"].as_str()?))).collect();
        let places = |found: Vec<Vec<Entity>>| -> Vec<Vec<(std::ops::Range<usize>, EntityLabel)>> {
            found
                .into_iter()
                .map(|found| found.into_iter().map(|entity| (entity.span, entity.label)).collect())
                .collect()
        };
        let ours = places(BertBackend::open(&config)?.mentions(&passages)?);
        assert!(ours.iter().flatten().count() > 30);
        assert_eq!(places(RustBertBackend::open(&config)?.mentions(&passages)?), ours);
        Ok(())
    }
}
