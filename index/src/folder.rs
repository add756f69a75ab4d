//! The folder of an index: the names in it, and the manifest that says it is whole.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use memtrain_corpora::store::{self, StoreError, Verifier};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{EmbedBackend, IndexConfig, IndexError, Language, Method};

/// The commit point.
pub(crate) const MANIFEST: &str = "index.json";
/// Which files were found whole, for an index whose files are not read at each opening.
const VERIFIED: &str = ".verified.json";
/// What the built-in embeddings have learned.
pub(crate) const EMBEDDER: &str = "embedder.bin";
pub(crate) const LEXICAL: &str = "lexical";
pub(crate) const CODES: &str = "codes.bin";
pub(crate) const SIGNATURES: &str = "signatures.bin";
/// Version of the folder's format.
const VERSION: u32 = 3;
/// Rows of a file of vectors: what is embedded anew when a build is killed is less than a file. A small neural model
/// needs some minutes for it on two cores.
pub(crate) const VECTORS_ROWS: usize = 16_384;

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexFile {
    /// Path inside the folder, with `/`.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub hash: String,
}

impl IndexFile {
    /// A file as it is now.
    pub(crate) fn of(dir: &Path, path: String) -> Result<Self, IndexError> {
        let full = dir.join(&path);
        Ok(Self { bytes: store::len(&full)?, hash: store::hash_file(&full)?, path })
    }

    /// Whether the file is there and as it was: [`IndexError::Corrupt`] if not.
    pub(crate) fn check(&self, dir: &Path, verifier: &Verifier) -> Result<(), IndexError> {
        let path = dir.join(&self.path);
        verifier.check(&path, self.bytes, &self.hash).map_err(|error| match error {
            StoreError::Corrupt { path, detail } => IndexError::Corrupt { path, detail },
            error if error.io_kind() == Some(ErrorKind::NotFound) => {
                IndexError::Corrupt { path, detail: "it is missing".to_owned() }
            }
            error => error.into(),
        })
    }
}

/// How the passages are cut into shards, and where each has its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    num_passages: u64,
    passages_per_shard: u64,
}

impl Layout {
    pub(crate) fn new(num_passages: u64, config: &IndexConfig) -> Self {
        Self { num_passages, passages_per_shard: config.passages_per_shard }
    }

    /// Number of shards, at least 1.
    pub(crate) fn num_shards(self) -> usize {
        self.num_passages.div_ceil(self.passages_per_shard).max(1) as usize
    }

    /// The passages of a shard.
    pub(crate) fn range(self, shard: usize) -> Range<u64> {
        let bound = |shard: usize| (shard as u64).saturating_mul(self.passages_per_shard).min(self.num_passages);
        bound(shard)..bound(shard + 1)
    }

    /// The folder of a shard, relative to that of the index.
    pub(crate) fn folder(self, shard: usize) -> String {
        format!("shard-{shard:05}-of-{:05}", self.num_shards())
    }

    /// The files of vectors of a shard, relative to the folder of the index, with their rows within the shard.
    pub(crate) fn vectors(self, shard: usize) -> Vec<(String, Range<usize>)> {
        let (range, folder) = (self.range(shard), self.folder(shard));
        let num_rows = (range.end - range.start) as usize;
        let file = |(number, first): (usize, usize)| {
            (format!("{folder}/vectors-{number:05}.bin"), first..num_rows.min(first + VECTORS_ROWS))
        };
        (0..num_rows).step_by(VECTORS_ROWS).enumerate().map(file).collect()
    }
}

/// `index.json`: written last, the one commit point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    version: u32,
    pub(crate) config: IndexConfig,
    config_hash: String,
    /// The language that `auto` meant.
    pub(crate) language: Language,
    pub(crate) num_passages: u64,
    pub(crate) files: Vec<IndexFile>,
}

/// The part of a manifest that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Manifest {
    pub(crate) fn new(
        config: &IndexConfig,
        language: Language,
        num_passages: u64,
        mut files: Vec<IndexFile>,
    ) -> Result<Self, IndexError> {
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        let config_hash = hash(config, Path::new(MANIFEST))?;
        Ok(Self { version: VERSION, config: config.clone(), config_hash, language, num_passages, files })
    }

    pub(crate) fn read(dir: &Path) -> Result<Self, IndexError> {
        let path = dir.join(MANIFEST);
        if !store::try_exists(&path)? {
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

    /// Puts the manifest in place, unless it is there already.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), IndexError> {
        if Self::read(dir).is_ok_and(|stored| stored == *self) {
            return Ok(());
        }
        Ok(store::write_json(&dir.join(MANIFEST), self)?)
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.num_passages, &self.config)
    }

    /// Whether there are vectors.
    pub(crate) fn has_vectors(&self) -> bool {
        self.config.method != Method::Lexical && self.num_passages > 0
    }

    /// Whether the embeddings are learned from the corpus.
    pub(crate) fn learns(config: &IndexConfig) -> bool {
        config.method != Method::Lexical && config.embed.backend == EmbedBackend::Builtin
    }

    /// Compares all files with their hashes, of a large index those that have changed since that was last done.
    pub(crate) fn check(&self, dir: &Path) -> Result<(), IndexError> {
        let bytes = self.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.bytes));
        self.compare(dir, &Verifier::new(&dir.join(VERIFIED), bytes))
    }

    /// Reads all files and compares their hashes.
    pub(crate) fn verify(&self, dir: &Path) -> Result<(), IndexError> {
        self.compare(dir, &Verifier::reading_all())
    }

    fn compare(&self, dir: &Path, verifier: &Verifier) -> Result<(), IndexError> {
        self.files.par_iter().try_for_each(|file| file.check(dir, verifier))
    }
}

fn hash(config: &IndexConfig, path: &Path) -> Result<String, IndexError> {
    let bytes = serde_json::to_vec(config)
        .map_err(|error| IndexError::Corrupt { path: path.to_path_buf(), detail: error.to_string() })?;
    Ok(store::hash_bytes(&bytes))
}
