//! Reading Parquet tables, in order or one row at a time.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::guard::{Batches, Selected, check_footer};
use super::table::{Row, TABLE_KEY, VERSION_KEY};
use super::table_file::{TableFile, failed};
use super::{Result, RowError, StoreError};

/// Blocks of decoded rows that a reader keeps: enough that neighbours in a document, which often come from the same article,
/// are decoded once; little enough that a hundred open shards stay small.
const CACHED_BLOCKS: usize = 8;

/// Rows of a row group of our own tables, with room to spare: the writer makes groups of 8192 at most.
const MAX_ROWS_PER_GROUP: usize = 1 << 16;

/// Some columns of a table's rows, for readers that need no more: only those are read and decoded.
pub trait View<R: Row>: Sized {
    /// The columns, with dots into structs and lists (`entities.list.item.surface`). A name stands for all below it, and no
    /// name at all for every column.
    const COLUMNS: &'static [&'static str];

    /// The rows of a batch of these columns.
    fn view(batch: &RecordBatch) -> std::result::Result<Vec<Self>, RowError>;
}

impl<R: Row> View<R> for R {
    const COLUMNS: &'static [&'static str] = &[];

    fn view(batch: &RecordBatch) -> std::result::Result<Vec<Self>, RowError> {
        R::from_batch(batch)
    }
}

/// Random access to the rows of a table. It can be shared between threads.
///
/// ```
/// use memtrain_corpora::store::{TableReader, TableWriter};
/// use memtrain_corpora::Redirect;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("redirects.parquet");
/// let mut writer = TableWriter::create(&path)?;
/// for id in 0..5000 {
///     writer.push(Redirect { id, title: format!("Name {id}"), target: "Thing".into() })?;
/// }
/// writer.finish()?;
/// let reader = TableReader::<Redirect>::open(&path)?;
/// assert_eq!(reader.len(), 5000);
/// assert_eq!(reader.get(4321)?.title, "Name 4321");
/// # Ok::<(), memtrain_corpora::store::StoreError>(())
/// ```
pub struct TableReader<R: Row> {
    path: PathBuf,
    file: TableFile,
    metadata: ArrowReaderMetadata,
    version: u32,
    /// First row of each row group, and the number of rows at the end.
    group_starts: Vec<usize>,
    cache: Mutex<VecDeque<(usize, Arc<Vec<R>>)>>,
}

impl<R: Row + Clone> TableReader<R> {
    /// Opens a table; another table or version is refused.
    pub fn open(path: &Path) -> Result<TableReader<R>> {
        let file = TableFile::open(path)?;
        let options = ArrowReaderOptions::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = load(path, &file, options)?;
        let version = check_table::<R>(path, metadata.metadata())?;
        check_schema::<R>(path, version, &metadata)?;
        let mut group_starts = vec![0];
        let mut rows = 0;
        for (number, group) in metadata.metadata().row_groups().iter().enumerate() {
            let in_group = usize::try_from(group.num_rows()).ok().filter(|&rows| rows <= MAX_ROWS_PER_GROUP);
            // Readers make room by the number of rows.
            let claim = || format!("row group {number} claims {} rows", group.num_rows());
            rows += in_group.ok_or_else(|| StoreError::Corrupt { path: path.to_path_buf(), detail: claim() })?;
            group_starts.push(rows);
        }
        Ok(TableReader { path: path.to_path_buf(), file, metadata, version, group_starts, cache: Mutex::default() })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.group_starts.last().copied().unwrap_or(0)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Version of the table's format that the file has: [`Row::VERSION`], or a former one that is still read.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Size of the rows before compression, as the file says it.
    pub fn uncompressed_bytes(&self) -> u64 {
        let groups = self.metadata.metadata().row_groups();
        groups.iter().map(|group| u64::try_from(group.total_byte_size()).unwrap_or(0)).sum()
    }

    /// One row. Costs the decoding of one block of rows, or nothing where that block was read lately.
    pub fn get(&self, row: usize) -> Result<R> {
        if row >= self.len() {
            return Err(StoreError::OutOfRange { path: self.path.clone(), row, num_rows: self.len() });
        }
        let group = self.group_starts.partition_point(|&start| start <= row) - 1;
        let within = row - self.group_starts[group];
        let first = self.group_starts[group] + within / R::BLOCK_ROWS * R::BLOCK_ROWS;
        let block = self.block(first, self.group_starts[group + 1])?;
        block.get(row - first).cloned().ok_or_else(|| self.short(row))
    }

    /// The rows of a range, in order. Ranges are read through without filling the cache.
    pub fn read_rows(&self, range: Range<usize>) -> Result<Vec<R>> {
        if range.start > range.end || range.end > self.len() {
            return Err(StoreError::OutOfRange { path: self.path.clone(), row: range.end, num_rows: self.len() });
        }
        let mut rows = Vec::with_capacity(range.len());
        for group in 0..self.group_starts.len() - 1 {
            let (start, end) = (self.group_starts[group], self.group_starts[group + 1]);
            let wanted = range.start.max(start)..range.end.min(end);
            if wanted.start < wanted.end {
                rows.extend(self.decode(group, wanted.start - start, wanted.len())?);
            }
        }
        if rows.len() == range.len() { Ok(rows) } else { Err(self.short(range.start + rows.len())) }
    }

    /// Some columns of some rows, which are named in rising order, each once.
    ///
    /// Costs the decoding of the blocks of rows that hold them, each once. For thousands of rows this is several times
    /// cheaper than [`TableReader::get`] for each.
    pub fn get_many<V: View<R>>(&self, rows: &[usize]) -> Result<Vec<V>> {
        if let Some(row) = rows.last().copied().filter(|&row| row >= self.len()) {
            return Err(StoreError::OutOfRange { path: self.path.clone(), row, num_rows: self.len() });
        }
        debug_assert!(rows.is_sorted_by(|a, b| a < b), "rows out of order");
        let mut found = Vec::with_capacity(rows.len());
        let mut rest = rows;
        while let Some(&first) = rest.first() {
            let group = self.group_starts.partition_point(|&start| start <= first) - 1;
            let (start, end) = (self.group_starts[group], self.group_starts[group + 1]);
            let (here, beyond) = rest.split_at(rest.partition_point(|&row| row < end));
            let batches = self.batches(Some(group), Some(selection(here, start)), V::COLUMNS, here.len())?;
            for batch in batches {
                let views = V::view(&batch?);
                found.extend(views.map_err(|source| StoreError::Row { path: self.path.clone(), source })?);
            }
            rest = beyond;
        }
        if found.len() == rows.len() { Ok(found) } else { Err(self.short(rows[found.len().min(rows.len() - 1)])) }
    }

    /// Some columns of all rows in order, a batch in memory at a time. Names as in [`View::COLUMNS`].
    pub fn columns(&self, names: &[&str]) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<R>> {
        self.batches(None, None, names, COLUMN_ROWS)
    }

    /// Some columns of all rows in order, as [`View`]s.
    pub fn views<'r, V: View<R>>(&'r self) -> Result<impl Iterator<Item = Result<V>> + use<'r, R, V>> {
        Ok(self.columns(V::COLUMNS)?.flat_map(|batch| {
            let views = batch.and_then(|batch| {
                V::view(&batch).map_err(|source| StoreError::Row { path: self.path.clone(), source })
            });
            let (views, error) = match views {
                Ok(views) => (views, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            error.into_iter().chain(views.into_iter().map(Ok))
        }))
    }

    fn batches(
        &self,
        group: Option<usize>,
        rows: Option<RowSelection>,
        names: &[&str],
        batch_rows: usize,
    ) -> Result<Batches> {
        let columns = match names {
            [] => ProjectionMask::all(),
            names => ProjectionMask::columns(self.metadata.parquet_schema(), names.iter().copied()),
        };
        let selected = Selected { groups: group.map(|group| vec![group]), rows, columns };
        Batches::open(&self.path, &self.file, &self.metadata, selected, batch_rows)
    }

    /// All rows in order, a batch in memory at a time.
    pub fn into_rows(self) -> Result<TableRows<R>> {
        let batches = self.batches(None, None, &[], batch_rows::<R>())?;
        Ok(TableRows { path: self.path, batches: Some(batches), rows: Vec::new().into_iter(), kind: PhantomData })
    }

    fn block(&self, first: usize, group_end: usize) -> Result<Arc<Vec<R>>> {
        // A thread that panicked with the lock held leaves a cache of whole entries: it is still good.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cache.iter().position(|(start, _)| *start == first);
        if let Some(entry) = cached.and_then(|at| cache.remove(at)) {
            let block = entry.1.clone();
            cache.push_back(entry);
            return Ok(block);
        }
        drop(cache);
        let group = self.group_starts.partition_point(|&start| start <= first) - 1;
        let rows = self.decode(group, first - self.group_starts[group], R::BLOCK_ROWS.min(group_end - first))?;
        let block = Arc::new(rows);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        while cache.len() >= CACHED_BLOCKS {
            cache.pop_front();
        }
        cache.push_back((first, block.clone()));
        Ok(block)
    }

    fn decode(&self, group: usize, skip: usize, take: usize) -> Result<Vec<R>> {
        let selection = RowSelection::from(vec![RowSelector::skip(skip), RowSelector::select(take)]);
        let batches = self.batches(Some(group), Some(selection), &[], take.clamp(1, batch_rows::<R>()))?;
        let mut rows = Vec::with_capacity(take);
        for batch in batches {
            rows.extend(R::from_batch(&batch?).map_err(|source| StoreError::Row { path: self.path.clone(), source })?);
        }
        Ok(rows)
    }

    fn short(&self, row: usize) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), detail: format!("row {row} is missing") }
    }
}

/// The rows of a table in order, as [`read_table`] gives them.
pub struct TableRows<R: Row> {
    path: PathBuf,
    batches: Option<Batches>,
    rows: std::vec::IntoIter<R>,
    kind: PhantomData<R>,
}

impl<R: Row> Iterator for TableRows<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            let batch = self.batches.as_mut()?.next()?;
            let rows = batch.and_then(|batch| {
                R::from_batch(&batch).map_err(|source| StoreError::Row { path: self.path.clone(), source })
            });
            match rows {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(error) => {
                    // After an error the decoder's place is unknown: the table ends here.
                    self.batches = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Reads a table from the first row to the last, a batch in memory at a time; another table or version is refused.
pub fn read_table<R: Row + Clone>(path: &Path) -> Result<TableRows<R>> {
    TableReader::open(path)?.into_rows()
}

/// Rows a batch of [`TableReader::columns`]; a document may have thousands of entities.
const COLUMN_ROWS: usize = 1024;

/// The selection of rows of a group that begins at row `start` of the table.
fn selection(rows: &[usize], start: usize) -> RowSelection {
    let mut selectors = Vec::with_capacity(2 * rows.len());
    let mut at = start;
    for &row in rows {
        if row > at {
            selectors.push(RowSelector::skip(row - at));
        }
        selectors.push(RowSelector::select(1));
        at = row + 1;
    }
    RowSelection::from(selectors)
}

fn batch_rows<R: Row>() -> usize {
    (R::BLOCK_ROWS * 8).min(1024)
}

/// The footer of a table, checked before it is parsed and after.
pub(super) fn load(path: &Path, file: &TableFile, options: ArrowReaderOptions) -> Result<ArrowReaderMetadata> {
    let failed = |source| failed(path, source);
    check_footer(file).map_err(failed)?;
    let metadata = ArrowReaderMetadata::load(file, options).map_err(failed)?;
    check_places(path, metadata.metadata(), file.len)?;
    Ok(metadata)
}

/// Every column chunk must lie inside the file: the decoder takes the footer's word for it and panics. Together they must not
/// be larger: a hundred thousand row groups may all be the same one.
fn check_places(path: &Path, metadata: &ParquetMetaData, len: u64) -> Result<()> {
    let inside = |start: i64, length: i64| {
        let end = start.checked_add(length);
        start >= 0 && length >= 0 && end.is_some_and(|end| end as u64 <= len)
    };
    let mut bytes = 0u64;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let whole = group.num_rows() >= 0
            && group.columns().iter().all(|column| {
                let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
                column.num_values() >= 0
                    && (column.compressed_size() > 0 || group.num_rows() == 0)
                    && inside(start, column.compressed_size())
                    && inside(column.data_page_offset(), 0)
            });
        if !whole {
            let detail = format!("row group {number} claims to lie outside the file");
            return Err(StoreError::Corrupt { path: path.to_path_buf(), detail });
        }
        let chunks = group.columns().iter().map(|column| u64::try_from(column.compressed_size()).unwrap_or(0));
        bytes = chunks.fold(bytes, u64::saturating_add);
        if bytes > len {
            let detail = format!("the first {} row groups claim more bytes than the file has", number + 1);
            return Err(StoreError::Corrupt { path: path.to_path_buf(), detail });
        }
    }
    Ok(())
}

/// The version of a table of these rows.
pub(super) fn check_table<R: Row>(path: &Path, metadata: &ParquetMetaData) -> Result<u32> {
    let pairs = metadata.file_metadata().key_value_metadata();
    let value = |key: &str| {
        pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == key)).and_then(|pair| pair.value.clone())
    };
    let (table, version) = (value(TABLE_KEY), value(VERSION_KEY));
    let number = version.as_deref().and_then(|version| version.parse::<u32>().ok());
    if table.as_deref() == Some(R::TABLE)
        && let Some(number) = number.filter(|number| (R::OLDEST..=R::VERSION).contains(number))
    {
        return Ok(number);
    }
    let got = match (table, version) {
        (Some(table), Some(version)) => format!("table `{table}` version {version}"),
        _ => "a Parquet table that memtrain did not write".to_owned(),
    };
    let versions = match R::OLDEST {
        oldest if oldest < R::VERSION => format!("versions {oldest} to {}", R::VERSION),
        _ => format!("version {}", R::VERSION),
    };
    Err(StoreError::Schema { path: path.to_path_buf(), expected: format!("table `{}` {versions}", R::TABLE), got })
}

/// Columns may be in any order and there may be more of them; those the row type needs must be there with their types, if the
/// file's version has them.
fn check_schema<R: Row>(path: &Path, version: u32, metadata: &ArrowReaderMetadata) -> Result<()> {
    let schema = R::schema();
    for wanted in schema.fields().iter().filter(|column| R::since(column.name()) <= version) {
        let got = match metadata.schema().field_with_name(wanted.name()) {
            Ok(field) if field.data_type() == wanted.data_type() => continue,
            Ok(field) => format!("column `{}` of type {}", wanted.name(), field.data_type()),
            Err(_) => format!("no column `{}`", wanted.name()),
        };
        let expected = format!("column `{}` of type {}", wanted.name(), wanted.data_type());
        return Err(StoreError::Schema { path: path.to_path_buf(), expected, got });
    }
    Ok(())
}
