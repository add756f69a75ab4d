//! Models as they are named: a folder, `built-in:NAME`, or a name of the Hugging Face hub.

use std::path::{Path, PathBuf};

use anyhow::Context;
use memtrain_corpora::store;
use memtrain_hub::{Hub, Needed};
use memtrain_index::{EmbedBackend, IndexConfig, Method};
use memtrain_pipeline::CorpusConfig;
use memtrain_pipeline::config::EntitiesConfig;
use memtrain_pipeline::entities::ModelSource;
use tempfile::TempDir;

use crate::config::Config;
use crate::error::Usage;
use crate::policy::{PolicyError, built_in};

/// The folder of a model that is named by a path or as on the hub; what is not in the hub's cache is downloaded.
///
/// # Errors
/// If it is neither here nor to be had.
pub fn folder(source: &Path, needed: Needed) -> anyhow::Result<PathBuf> {
    if needed == Needed::Model && store::exists(source) && !store::is_dir(source) {
        return Err(PolicyError::File { path: source.to_path_buf() }.into());
    }
    let Some(name) = source.to_str() else { return Ok(source.to_path_buf()) };
    let hub = Hub::from_env();
    // A path that no model can have is left to its reader, whose message names the file that is missing.
    if Hub::is_name(name) { Ok(hub.resolve(name, needed)?) } else { Ok(source.to_path_buf()) }
}

/// The folder of a model. That of a built-in policy is gone with this value.
#[derive(Debug)]
pub struct ModelFolder {
    /// The folder.
    pub path: PathBuf,
    _temporary: Option<TempDir>,
}

impl ModelFolder {
    /// As [`Self::find`], of a path that need not be text.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn at(source: &Path, needed: Needed) -> anyhow::Result<Self> {
        source.to_str().map_or_else(
            || Ok(Self { path: source.to_path_buf(), _temporary: None }),
            |source| Self::find(source, needed),
        )
    }

    /// The folder of a model that is named by a path, as on the hub, or as `built-in:NAME`.
    ///
    /// # Errors
    /// As [`folder`], and if no built-in policy has the name or there is no room for it.
    pub fn find(source: &str, needed: Needed) -> anyhow::Result<Self> {
        let Some(name) = source.strip_prefix("built-in:") else {
            return Ok(Self { path: folder(Path::new(source), needed)?, _temporary: None });
        };
        let temporary = tempfile::tempdir().context("there is no room for the built-in policy")?;
        built_in::write(name, temporary.path())?;
        Ok(Self { path: temporary.path().to_path_buf(), _temporary: Some(temporary) })
    }
}

/// What is here of a model without asking anybody: its folder, or that of the hub's cache.
pub fn local_folder(source: &Path) -> PathBuf {
    let hub = Hub { offline: true, ..Hub::from_env() };
    let cached = source.to_str().and_then(|name| hub.resolve(name, Needed::Tokenizer).ok());
    cached.unwrap_or_else(|| source.to_path_buf())
}

/// Puts what is here of the models of a corpus where their names are. Nothing is written but a built-in tokenizer, whose folder is
/// gone with the value that is returned.
///
/// # Errors
/// If no built-in policy has the name, or there is no room for it.
pub fn place_locally(config: &mut CorpusConfig) -> anyhow::Result<Option<ModelFolder>> {
    let model = &mut config.index.embed.model;
    *model = local_folder(model);
    let source = &mut config.tokenizer.source;
    if source.starts_with("built-in:") {
        let folder = ModelFolder::find(source, Needed::Tokenizer)?;
        *source = folder.path.display().to_string();
        return Ok(Some(folder));
    }
    *source = local_folder(Path::new(source.as_str())).display().to_string();
    Ok(None)
}

/// Puts the models of a configuration where paths can name them: `built-in:NAME` becomes a folder beside the corpus, written
/// if it is not there, and a name of the hub its folder in the cache.
///
/// # Errors
/// If no built-in policy has the name, the folder cannot be written, or a model is not to be had.
pub fn place(config: &mut Config) -> anyhow::Result<()> {
    let corpus = config.run.corpus.clone();
    let place = |source: &mut String, needed: Needed| -> anyhow::Result<()> {
        let path = match source.strip_prefix("built-in:") {
            Some(name) => {
                let path = corpus.join(format!("policy-{name}"));
                built_in::write(name, &path)?;
                path
            }
            None => folder(Path::new(source.as_str()), needed)?,
        };
        *source = path.display().to_string();
        Ok(())
    };
    // What is not to be had is found before anything is written.
    place_recognizer(&mut config.corpus.entities)?;
    place_encoder(&mut config.corpus.index)?;
    place(&mut config.corpus.tokenizer.source, Needed::Tokenizer)?;
    config.policy.path.as_mut().map_or(Ok(()), |path| place(path, Needed::Model))
}

/// The configuration of a corpus with the models in place that are here already; others stay as they are named. Nothing is
/// written or asked for.
pub fn local(config: &Config) -> CorpusConfig {
    let mut corpus = config.corpus.clone();
    let source = &mut corpus.tokenizer.source;
    let here = match source.strip_prefix("built-in:") {
        Some(name) => config.run.corpus.join(format!("policy-{name}")),
        None => local_folder(Path::new(source.as_str())),
    };
    if store::exists(&here) {
        *source = here.display().to_string();
    }
    corpus.index.embed.model = local_folder(&corpus.index.embed.model);
    if corpus.entities.backend.model_source() == ModelSource::Folder {
        let model = local_folder(Path::new(&corpus.entities.model));
        corpus.entities.model = model.display().to_string();
    }
    corpus
}

/// Puts the folder of the model that recognizes entities where its name is.
///
/// # Errors
/// As [`folder`].
pub fn place_recognizer(config: &mut EntitiesConfig) -> anyhow::Result<()> {
    if config.backend.model_source() == ModelSource::Folder && !config.model.is_empty() {
        let model = folder(Path::new(&config.model), Needed::Model)?;
        if !store::is_dir(&model) {
            let named = format!("`corpus.entities.model` is `{}`, which is no folder", config.model);
            return Err(Usage(format!("{named} and no name of the hub, such as `dslim/bert-base-NER`")).into());
        }
        config.model = model.display().to_string();
    }
    Ok(())
}

/// Puts the folder of the encoder of an index where its name is.
///
/// # Errors
/// As [`folder`].
pub fn place_encoder(config: &mut IndexConfig) -> anyhow::Result<()> {
    let needed = match config.embed.backend {
        EmbedBackend::Builtin => return Ok(()),
        EmbedBackend::Candle => Needed::Model,
        EmbedBackend::Fastembed => Needed::Onnx,
    };
    if config.method != Method::Lexical {
        config.embed.model = folder(&config.embed.model, needed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_the_word_train_stay_as_they_are() -> anyhow::Result<()> {
        for path in ["train", "/models/a", "./models/a", "models/a/b", "a b/c"] {
            assert_eq!(folder(Path::new(path), Needed::Model)?, Path::new(path));
        }
        let here = tempfile::tempdir()?;
        assert_eq!(folder(here.path(), Needed::Model)?, here.path());
        Ok(())
    }
}
