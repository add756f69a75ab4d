//! Reading what earlier stages have committed: in order, or one row at a time without loading the corpus.

use std::ops::Range;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{Row, TableReader, View, read_table};
use memtrain_corpora::{Article, Passage, PassageEntities, Redirect};
use rayon::prelude::*;

use crate::error::{PipelineError, Result};
use crate::stage::{FileRecord, Manifest, ManifestShard, StageFolder, StageName};

/// Up to this many rows a table is held in memory as a whole: below it, random access would decode the same blocks over
/// and over. 65,536 passages of 200 words are about 100 MB.
const HELD_ROWS: u64 = 1 << 16;

/// The files of a table in order, with the number of rows of each, as the manifest has them. Each is what was written: its
/// hash is compared with the one on record.
fn files(out: &Path, needs: StageName, stage: StageName, table: &str) -> Result<Vec<(PathBuf, u64)>> {
    let manifest = StageFolder::committed(out, needs, stage)?;
    let folder = StageFolder::new(out, needs);
    let prefix = format!("data/{table}-");
    let of_shard = |shard: &ManifestShard| {
        let rows = shard.rows.get(table).copied().unwrap_or_default();
        shard.files.iter().find(|file| file.path.starts_with(&prefix)).map(|file| (file.clone(), rows))
    };
    let files: Vec<(FileRecord, u64)> = manifest.shards.iter().filter_map(of_shard).collect();
    folder.verify(files.iter().map(|(file, _)| file))?;
    Ok(files.into_iter().map(|(file, rows)| (folder.join(&file.path), rows)).collect())
}

/// What a stage has committed; `None` where it has committed nothing.
pub fn manifest(out_dir: &Path, stage: StageName) -> Result<Option<Manifest>> {
    match StageFolder::committed(out_dir, stage, stage) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(PipelineError::NotReady { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The files of a table that a stage has committed, in order.
pub fn files_of<R: Row>(out_dir: &Path, stage: StageName) -> Result<Vec<PathBuf>> {
    Ok(files(out_dir, stage, stage, R::TABLE)?.into_iter().map(|(path, _)| path).collect())
}

/// All rows of a committed table, in order.
fn rows<R: Row + Clone>(
    out: &Path,
    needs: StageName,
    stage: StageName,
) -> Result<impl Iterator<Item = Result<R>> + use<R>> {
    let files = files(out, needs, stage, R::TABLE)?;
    Ok(files.into_iter().flat_map(|(path, _)| {
        let (rows, error) = match read_table::<R>(&path) {
            Ok(rows) => (Some(rows), None),
            Err(error) => (None, Some(Err(error.into()))),
        };
        error.into_iter().chain(rows.into_iter().flatten().map(|row| Ok(row?)))
    }))
}

/// The articles of ingest, in dump order.
pub(crate) fn articles(out: &Path, stage: StageName) -> Result<impl Iterator<Item = Result<Article>> + use<>> {
    rows::<Article>(out, StageName::Ingest, stage)
}

/// The redirects of ingest, in dump order.
pub(crate) fn redirects(out: &Path, stage: StageName) -> Result<impl Iterator<Item = Result<Redirect>> + use<>> {
    rows::<Redirect>(out, StageName::Ingest, stage)
}

/// A table over several files, its rows numbered through.
struct Numbered<R: Row> {
    /// First number of each file, with its reader.
    files: Vec<(u64, TableReader<R>)>,
    len: u64,
    held: Vec<R>,
}

impl<R: Row + Clone + Send + Sync> Numbered<R> {
    fn open(out: &Path, needs: StageName, stage: StageName) -> Result<Self> {
        let mut len = 0;
        let mut opened = Vec::new();
        for (path, num_rows) in files(out, needs, stage, R::TABLE)? {
            opened.push((len, TableReader::open(&path)?));
            len += num_rows;
        }
        Ok(Self { files: opened, len, held: Vec::new() })
    }

    /// Loads the table where it is small.
    fn hold(mut self) -> Result<Self> {
        if self.len <= HELD_ROWS {
            self.held = self.read(0..self.len)?.into_iter().map(|(_, row)| row).collect();
        }
        Ok(self)
    }

    fn get(&self, number: u64) -> Result<R> {
        if let Some(row) = usize::try_from(number).ok().and_then(|number| self.held.get(number)) {
            return Ok(row.clone());
        }
        let file = self.files.partition_point(|(first, _)| *first <= number).saturating_sub(1);
        let (first, reader) = &self.files[file];
        Ok(reader.get(usize::try_from(number - first).unwrap_or(usize::MAX))?)
    }

    /// Some columns of the rows of some numbers, which rise; read from the files on all threads, whatever is held.
    fn get_many<V: View<R> + Send>(&self, numbers: &[u64]) -> Result<Vec<V>> {
        // Few enough pieces that most blocks of rows are decoded once, many enough for all threads.
        let piece = numbers.len().div_ceil(4 * rayon::current_num_threads()).max(64);
        let read = |numbers: &[u64]| {
            let mut found = Vec::with_capacity(numbers.len());
            let mut rest = numbers;
            while let Some(&number) = rest.first() {
                let file = self.files.partition_point(|(first, _)| *first <= number).saturating_sub(1);
                let (first, reader) = &self.files[file];
                let end = first + reader.len() as u64;
                // A number beyond the last file stays with it, which refuses it.
                let in_file = rest.partition_point(|&number| number < end);
                let (here, beyond) = rest.split_at(if in_file == 0 { rest.len() } else { in_file });
                let local = |number: &u64| usize::try_from(number - first).unwrap_or(usize::MAX);
                found.extend(reader.get_many(&here.iter().map(local).collect::<Vec<_>>())?);
                rest = beyond;
            }
            Ok(found)
        };
        Ok(numbers.par_chunks(piece).map(read).collect::<Result<Vec<Vec<V>>>>()?.into_iter().flatten().collect())
    }

    /// Some columns of all rows, in order.
    fn views<V: View<R>>(&self) -> impl Iterator<Item = Result<V>> {
        self.files.iter().flat_map(|(_, reader)| {
            let (views, error) = match reader.views::<V>() {
                Ok(views) => (Some(views), None),
                Err(error) => (None, Some(Err(error.into()))),
            };
            error.into_iter().chain(views.into_iter().flatten().map(|view| Ok(view?)))
        })
    }

    /// Rows with their numbers.
    fn read(&self, range: Range<u64>) -> Result<Vec<(u64, R)>> {
        let mut found = Vec::new();
        for (first, reader) in &self.files {
            let end = first + reader.len() as u64;
            let (from, to) = (range.start.max(*first), range.end.min(end));
            if from < to {
                let local = usize::try_from(from - first).unwrap_or(usize::MAX)
                    ..usize::try_from(to - first).unwrap_or(usize::MAX);
                found.extend((from..to).zip(reader.read_rows(local)?));
            }
        }
        Ok(found)
    }
}

/// The passages of a corpus by number, 0 … n−1 in dump order.
///
/// Tables of version 1 number the passages of each file from 0; here the rows of the files before it are added, as the tables
/// themselves have it since.
pub struct Passages {
    table: Numbered<Passage>,
}

impl Passages {
    /// Opens the passages that ingest has committed under `out`.
    pub(crate) fn open(out: &Path, stage: StageName) -> Result<Self> {
        let table: Numbered<Passage> = Numbered::open(out, StageName::Ingest, stage)?;
        if table.files.len() > 1 && table.files.iter().any(|(_, reader)| reader.version() == 1) {
            tracing::warn!(
                "the tables of passages in `{}` are of an old version: their `id` and `passage_id` begin anew in every file, so that \
                 `entities` and `documents` cannot be joined with them; `memtrain corpus build` writes them anew",
                StageFolder::new(out, StageName::Ingest).join("data").display()
            );
        }
        Ok(Self { table })
    }

    /// As [`Passages::open`], for access in any order.
    pub(crate) fn open_random(out: &Path, stage: StageName) -> Result<Self> {
        Ok(Self { table: Self::open(out, stage)?.table.hold()? })
    }

    /// Number of passages.
    pub fn len(&self) -> u64 {
        self.table.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.len == 0
    }

    /// One passage; `id` is below [`Passages::len`].
    pub fn get(&self, id: u64) -> Result<Passage> {
        Ok(Passage { id, ..self.table.get(id)? })
    }

    /// The passages of a range.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Passage>> {
        Ok(self.table.read(range)?.into_iter().map(|(id, row)| Passage { id, ..row }).collect())
    }

    /// The first passage of each file that has any.
    pub(crate) fn first_of_files(&self) -> impl Iterator<Item = u64> {
        self.table.files.iter().filter(|(_, reader)| !reader.is_empty()).map(|(first, _)| *first)
    }

    /// Some columns of the passages of some numbers, which rise. Reads each block of rows once: for many passages much
    /// less work for each than [`Passages::get`].
    pub fn get_many<V: View<Passage> + Send>(&self, ids: &[u64]) -> Result<Vec<V>> {
        self.table.get_many(ids)
    }

    /// Some columns of all passages, in order.
    pub fn views<V: View<Passage>>(&self) -> impl Iterator<Item = Result<V>> {
        self.table.views()
    }

    /// All passages in order, some thousands in memory at a time.
    pub fn iter(&self) -> impl Iterator<Item = Result<Passage>> + '_ {
        const BATCH: u64 = 2048;
        (0..self.len().div_ceil(BATCH)).flat_map(move |batch| {
            let range = batch * BATCH..((batch + 1) * BATCH).min(self.len());
            let (passages, error) = match self.read(range) {
                Ok(passages) => (passages, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            error.into_iter().chain(passages.into_iter().map(Ok))
        })
    }
}

/// Opens the passages of a corpus for access in any order.
pub fn passages(out_dir: &Path) -> Result<Passages> {
    Passages::open_random(out_dir, StageName::Synthesize)
}

/// The mentions of each passage, by the passage's number.
pub struct Mentions {
    table: Numbered<PassageEntities>,
}

impl Mentions {
    pub(crate) fn open(out: &Path, stage: StageName) -> Result<Self> {
        Ok(Self { table: Numbered::open(out, StageName::Entities, stage)? })
    }

    pub(crate) fn open_random(out: &Path, stage: StageName) -> Result<Self> {
        Ok(Self { table: Numbered::open(out, StageName::Entities, stage)?.hold()? })
    }

    /// Some columns of the mentions of some passages, whose numbers rise; as [`Passages::get_many`].
    pub fn get_many<V: View<PassageEntities> + Send>(&self, passage_ids: &[u64]) -> Result<Vec<V>> {
        self.table.get_many(passage_ids)
    }

    /// The mentions of one passage.
    pub fn get(&self, passage_id: u64) -> Result<PassageEntities> {
        self.table.get(passage_id)
    }

    /// All mentions, passage by passage.
    pub(crate) fn rows(out: &Path, stage: StageName) -> Result<impl Iterator<Item = Result<PassageEntities>> + use<>> {
        rows::<PassageEntities>(out, StageName::Entities, stage)
    }
}

/// Opens the mentions of a corpus for access in any order.
pub fn mentions(out_dir: &Path) -> Result<Mentions> {
    Mentions::open_random(out_dir, StageName::Synthesize)
}
