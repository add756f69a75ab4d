//! Files of a model directory.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;

use crate::error::Result;
use crate::weights;

/// Files other than weights that change what a model says, if they are there.
const SETTINGS: [&str; 9] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
];

/// The files of a model directory that [`crate::Embeddings`] and [`crate::TokenClassifier`] read, as paths inside it; their
/// hashes say which model it is.
///
/// # Errors
/// If the directory has no weights, or an index of weights cannot be read.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let settings = SETTINGS.iter().map(PathBuf::from).filter(|file| store::exists(&directory.join(file)));
    Ok(settings.chain(weights::files(directory)?.into_iter().map(PathBuf::from)).collect())
}
