//! The index that is searched.

use std::path::Path;

use memtrain_corpora::store;
use memtrain_index::Index;
use memtrain_pipeline::PipelineError;

use crate::error::WithHint;

/// Opens the index of a corpus, or a folder that is an index itself.
///
/// # Errors
/// If there is none, or it is damaged.
pub fn open(folder: &Path) -> anyhow::Result<Index> {
    if !store::exists(folder) {
        return Err(PipelineError::NoCorpus { path: folder.to_path_buf() }.into());
    }
    let alone = store::exists(&folder.join("index.json"));
    let opened = if alone { Ok(Index::open(folder)?) } else { memtrain_pipeline::index::open(folder) };
    opened.hint(|| "`memtrain corpus build` makes the index of a corpus, and mends it where it is damaged".to_owned())
}
