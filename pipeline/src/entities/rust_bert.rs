//! The `rust-bert` back-end: registered in every build, so that a configuration with its name is understood, and there in builds
//! with the feature of that name.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;

use super::backend::{Backend, EntityBackend, ModelSource};
use super::bert::{directory, input};
use super::config::EntitiesConfig;
use crate::error::Result;
use crate::stage::Input;

#[cfg(feature = "rust-bert")]
mod recognizer;
#[cfg(feature = "rust-bert")]
pub use recognizer::RustBertBackend;

/// The pipeline of the crate `rust-bert`.
pub(super) const BACKEND: Backend = Backend {
    about: Some("The pipeline of the crate `rust-bert`, in builds that have it"),
    model: ModelSource::FetchesItself,
    check: directory,
    inputs,
    open,
};

/// The files of a directory; a model on the hub, which `rust-bert` fetches itself, is known by its name alone.
fn inputs(config: &EntitiesConfig) -> Result<Vec<Input>> {
    const FILES: [&str; 8] = [
        "config.json",
        "tokenizer_config.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "sentencepiece.bpe.model",
        "model.safetensors",
        "rust_model.ot",
    ];
    let directory = Path::new(&config.model);
    if !store::is_dir(directory) {
        let name = format!("hub/{}", config.model);
        return Ok(vec![Input { hash: store::hash_bytes(name.as_bytes()), bytes: 0, name }]);
    }
    let mut inputs = Vec::with_capacity(FILES.len());
    for file in FILES.map(PathBuf::from) {
        if store::try_exists(&directory.join(&file))? {
            inputs.push(input(directory, &file)?);
        }
    }
    Ok(inputs)
}

#[cfg(feature = "rust-bert")]
fn open(config: &EntitiesConfig, _corpus: Option<&Path>) -> Result<Box<dyn EntityBackend>> {
    Ok(Box::new(RustBertBackend::open(config)?))
}

#[cfg(not(feature = "rust-bert"))]
fn open(_config: &EntitiesConfig, _corpus: Option<&Path>) -> Result<Box<dyn EntityBackend>> {
    Err(crate::error::PipelineError::Config {
        key: "corpus.entities.backend",
        problem: "names `rust-bert`, which is not in this build: build with `--features rust-bert` and libtorch \
                  (rust-bert/README.md), or take `bert`, which needs neither"
            .into(),
    })
}
