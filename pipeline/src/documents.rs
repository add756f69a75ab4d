//! Reading finished documents.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{TableReader, read_table};
use memtrain_corpora::{Document, Split};

use crate::error::Result;
use crate::stage::{FileRecord, StageFolder, StageName};

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
///
/// # Errors
/// [`crate::PipelineError::NotReady`] if the stage is not finished, [`crate::PipelineError::Damaged`] if a file is not
/// what was written, of the documents or of the tokenizer that their lengths are counted with.
pub fn files(out_dir: &Path, split: Split) -> Result<Vec<PathBuf>> {
    let manifest = StageFolder::committed(out_dir, StageName::Synthesize, StageName::Synthesize)?;
    let folder = StageFolder::new(out_dir, StageName::Synthesize);
    let prefix = format!("data/{}-", split.as_str());
    let all = manifest.shards.iter().flat_map(|shard| &shard.files);
    let files: Vec<&FileRecord> = all.filter(|file| file.path.starts_with(&prefix)).collect();
    folder.verify(files.iter().copied())?;
    crate::tokenizer::file(out_dir)?;
    Ok(files.into_iter().map(|file| folder.join(&file.path)).collect())
}

/// The name of a split's document of a number, such as `heldout-00000007`.
pub fn name(split: Split, number: u64) -> String {
    format!("{}-{number:08}", split.as_str())
}

/// The document of a name such as `heldout-00000007`, of whichever split; `None` when there is none. A few rows are read.
pub fn document(out_dir: &Path, id: &str) -> Result<Option<Document>> {
    let Some(split) = id.rsplit_once('-').and_then(|(split, _)| Split::from_name(split)) else { return Ok(None) };
    for path in files(out_dir, split)? {
        let table = TableReader::<Document>::open(&path)?;
        let (mut low, mut high) = (0, table.len());
        // A file that ends before the name is passed over after one look.
        if high == 0 || table.get(high - 1)?.id.as_str() < id {
            continue;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            let document = table.get(middle)?;
            match document.id.as_str().cmp(id) {
                Ordering::Equal => return Ok(Some(document)),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        return Ok(None);
    }
    Ok(None)
}
