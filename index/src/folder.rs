//! The folder of an index: building it, and the manifest that says it is whole.

use std::path::{Path, PathBuf};

use memtrain_corpora::{Passage, store};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dense::VectorsWriter;
use crate::embed::{Embedder, RandomIndexing};
use crate::lexical::{self, Lexical};
use crate::{EmbedBackend, IndexConfig, IndexError, Method};

pub(crate) const MANIFEST: &str = "index.json";
pub(crate) const LEXICAL: &str = "lexical";
pub(crate) const VECTORS: &str = "vectors.bin";
pub(crate) const EMBEDDER: &str = "embedder.bin";
/// Version of the folder's format.
const VERSION: u32 = 1;
/// Passages that are read, embedded and written at a time.
const EMBED_BATCH: usize = 1_024;

/// What was built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexSummary {
    /// Passages indexed.
    pub num_passages: u64,
    /// Passages that the embeddings learned from; 0 without embeddings.
    pub num_fitted: u64,
    /// BLAKE3 of `vectors.bin`, which is the same for every build of the same passages; `None` without embeddings.
    pub vectors_hash: Option<String>,
}

/// A file of the folder and its BLAKE3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileHash {
    file: String,
    hash: String,
}

/// `index.json`: written last, the one commit point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    version: u32,
    pub(crate) config: IndexConfig,
    config_hash: String,
    pub(crate) num_passages: u64,
    pub(crate) vectors: Option<FileHash>,
    pub(crate) embedder: Option<FileHash>,
}

/// The part of a manifest that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Manifest {
    pub(crate) fn read(dir: &Path) -> Result<Self, IndexError> {
        let path = dir.join(MANIFEST);
        if !store::exists(&path) {
            return Err(IndexError::Unfinished { path: dir.to_path_buf() });
        }
        let bytes = store::read(&path)?;
        let corrupt = |error: serde_json::Error| IndexError::Corrupt { path: path.clone(), detail: error.to_string() };
        let Versioned { version } = serde_json::from_slice(&bytes).map_err(corrupt)?;
        if version != VERSION {
            return Err(IndexError::Version { path, expected: VERSION, got: version });
        }
        let manifest: Self = serde_json::from_slice(&bytes).map_err(corrupt)?;
        if manifest.config_hash != hash(&manifest.config, &path)? {
            let detail = "its configuration is not the one that the index was built with".to_owned();
            return Err(IndexError::Corrupt { path, detail });
        }
        Ok(manifest)
    }

    pub(crate) fn verify(&self, dir: &Path) -> Result<(), IndexError> {
        for FileHash { file, hash } in [&self.vectors, &self.embedder].into_iter().flatten() {
            let path = dir.join(file);
            if store::hash_file(&path)? != *hash {
                return Err(IndexError::Corrupt { path, detail: "its hash is not the one in `index.json`".to_owned() });
            }
        }
        Ok(())
    }
}

fn hash(config: &IndexConfig, path: &Path) -> Result<String, IndexError> {
    let bytes = serde_json::to_vec(config)
        .map_err(|error| IndexError::Corrupt { path: path.to_path_buf(), detail: error.to_string() })?;
    Ok(store::hash_bytes(&bytes))
}

/// Builds the index of passages, which come in rising order of their ids, into `dir`, replacing an index that is
/// there, whole or not.
///
/// The passages are read once and never held together in memory; what is held is the tantivy writer's memory, the
/// sample that the embeddings learn from, and their words.
///
/// # Errors
/// The first error of the passages, a configuration that [`IndexConfig::check`] refuses, or a file that cannot be
/// written. The folder then has no `index.json`, and [`crate::Index::open`] refuses it.
pub fn build<E>(
    passages: impl Iterator<Item = Result<Passage, E>>,
    dir: &Path,
    config: &IndexConfig,
) -> Result<IndexSummary, IndexError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    config.check()?;
    clear(dir)?;
    store::create_dir_all(dir)?;
    let num_passages = lexical::build(passages, &dir.join(LEXICAL), config)?;
    let (mut vectors, mut embedder, mut num_fitted) = (None, None, 0);
    if config.method != Method::Lexical {
        num_fitted = embed(dir, config)?;
        let hashed = |file: &str| -> Result<FileHash, IndexError> {
            Ok(FileHash { file: file.to_owned(), hash: store::hash_file(&dir.join(file))? })
        };
        vectors = Some(hashed(VECTORS)?);
        embedder = Some(hashed(EMBEDDER)?);
    }
    let path = dir.join(MANIFEST);
    let config_hash = hash(config, &path)?;
    let vectors_hash = vectors.as_ref().map(|file| file.hash.clone());
    let manifest = Manifest { version: VERSION, config: config.clone(), config_hash, num_passages, vectors, embedder };
    store::write_json(&path, &manifest)?;
    Ok(IndexSummary { num_passages, num_fitted, vectors_hash })
}

/// Removes what an earlier build left, the manifest first, so that the folder is unfinished from here on.
fn clear(dir: &Path) -> Result<(), IndexError> {
    for file in [MANIFEST, VECTORS, EMBEDDER] {
        let path = dir.join(file);
        if store::exists(&path) {
            store::remove_file(&path)?;
        }
    }
    let lexical: PathBuf = dir.join(LEXICAL);
    if store::exists(&lexical) {
        store::remove_dir_all(&lexical)?;
    }
    Ok(())
}

/// Learns embeddings from the passages of the lexical index and writes the vectors of all; returns how many it
/// learned from.
fn embed(dir: &Path, config: &IndexConfig) -> Result<u64, IndexError> {
    let lexical = Lexical::open(&dir.join(LEXICAL), config.language)?;
    let num_passages = lexical.num_passages();
    let num_fitted = num_passages.min(config.embed.fit_passages);
    let sample: Vec<usize> = (0..num_fitted).map(|number| number * num_passages / num_fitted).collect();
    let texts = read(&lexical, &sample)?;
    let embedder = match config.embed.backend {
        EmbedBackend::Builtin => RandomIndexing::fit(&texts, &config.embed, config.language),
    };
    drop(texts);
    embedder.write(&dir.join(EMBEDDER))?;
    let mut writer = VectorsWriter::create(&dir.join(VECTORS), embedder.dimensions(), num_passages as u64)?;
    for start in (0..num_passages).step_by(EMBED_BATCH) {
        let rows: Vec<usize> = (start..num_passages.min(start + EMBED_BATCH)).collect();
        let texts = read(&lexical, &rows)?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        writer.push(&embedder.embed(&texts)?)?;
    }
    writer.finish()?;
    Ok(num_fitted as u64)
}

fn read(lexical: &Lexical, rows: &[usize]) -> Result<Vec<String>, IndexError> {
    rows.par_iter().map(|&row| lexical.text(row)).collect()
}
