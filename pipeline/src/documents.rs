//! Reading finished documents.

use std::path::{Path, PathBuf};

use memtrain_corpora::store::read_table;
use memtrain_corpora::{Document, Split};

use crate::error::Result;
use crate::stage::{StageFolder, StageName};

/// The documents of a split in order of their names, a block of rows in memory at a time.
///
/// Only what stage `synthesize` has committed is read.
pub fn documents(out_dir: &Path, split: Split) -> Result<impl Iterator<Item = Result<Document>> + use<>> {
    Ok(files(out_dir, split)?.into_iter().flat_map(|path| {
        let (rows, error) = match read_table::<Document>(&path) {
            Ok(rows) => (Some(rows), None),
            Err(error) => (None, Some(Err(error.into()))),
        };
        error.into_iter().chain(rows.into_iter().flatten().map(|row| Ok(row?)))
    }))
}

/// The Parquet files of a split, in order.
pub fn files(out_dir: &Path, split: Split) -> Result<Vec<PathBuf>> {
    let manifest = StageFolder::committed(out_dir, StageName::Synthesize, StageName::Synthesize)?;
    let folder = StageFolder::new(out_dir, StageName::Synthesize);
    let prefix = format!("data/{}-", split.as_str());
    let files = manifest.shards.iter().flat_map(|shard| &shard.files);
    Ok(files.filter(|file| file.path.starts_with(&prefix)).map(|file| folder.join(&file.path)).collect())
}

/// The document of a name such as `heldout-00000007`, of whichever split; `None` when there is none.
pub fn document(out_dir: &Path, id: &str) -> Result<Option<Document>> {
    for split in [Split::Train, Split::Heldout] {
        for document in documents(out_dir, split)? {
            let document = document?;
            if document.id == id {
                return Ok(Some(document));
            }
        }
    }
    Ok(None)
}
