//! Writing Parquet tables.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{AtomicFile, Result, RowError, StoreError};

/// What a row type gives so that tables of it can be written and read.
pub trait Row: Sized {
    /// Name of the table, kept in the file.
    const TABLE: &'static str;
    /// Version of the table's format, kept in the file. It goes up with every change of a column.
    const VERSION: u32;
    /// The oldest version that is still read. What it lacks is empty.
    const OLDEST: u32 = Self::VERSION;
    /// Rows a data page, which is also what random access decodes at a time: few for large rows, many for small ones.
    const BLOCK_ROWS: usize;

    /// The columns.
    fn schema() -> SchemaRef;
    /// The version that a column came with: files of former ones lack it.
    fn since(_column: &str) -> u32 {
        Self::OLDEST
    }
    /// Rough size of the row in memory, in bytes: what bounds row groups.
    fn num_bytes(&self) -> usize;
    /// Rows as a batch. The outer error is a row's, the inner one Arrow's.
    fn to_batch(rows: &[Self]) -> std::result::Result<std::result::Result<RecordBatch, ArrowError>, RowError>;
    /// A batch as rows.
    fn from_batch(batch: &RecordBatch) -> std::result::Result<Vec<Self>, RowError>;
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TableSummary {
    /// Number of rows.
    pub rows: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file, in hexadecimal.
    pub hash: String,
}

/// Key of the file's metadata under which the table's name stands.
pub(super) const TABLE_KEY: &str = "memtrain.table";
/// Key of the file's metadata under which the table's version stands.
pub(super) const VERSION_KEY: &str = "memtrain.version";

/// A row group ends at this many rows …
const ROWS_PER_GROUP: usize = 8192;
/// … or at this many bytes of rows in memory, whichever comes first: the writer holds one row group.
const BYTES_PER_GROUP: usize = 4 << 20;
/// Rows are handed to the encoder in batches of about this many bytes.
const BYTES_PER_BATCH: usize = 1 << 18;

/// Writes a table, one row at a time; the file appears under its name with [`TableWriter::finish`] and not before.
///
/// Same rows, same bytes: the file holds no time, no host, and a fixed writer name.
///
/// ```
/// use memtrain_corpora::store::{TableWriter, read_table};
/// use memtrain_corpora::Redirect;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("redirects.parquet");
/// let redirect = Redirect { id: 7, title: "UK".into(), target: "United Kingdom".into() };
/// let mut writer = TableWriter::create(&path)?;
/// writer.push(redirect.clone())?;
/// assert_eq!(writer.finish()?.rows, 1);
/// let rows: Vec<Redirect> = read_table(&path)?.collect::<Result<_, _>>()?;
/// assert_eq!(rows, [redirect]);
/// # Ok::<(), memtrain_corpora::store::StoreError>(())
/// ```
pub struct TableWriter<R: Row> {
    path: PathBuf,
    writer: ArrowWriter<HashingFile>,
    pending: Vec<R>,
    pending_bytes: usize,
    group_rows: usize,
    group_bytes: usize,
    rows: u64,
}

impl<R: Row> TableWriter<R> {
    /// Starts a table that will stand at `path`. The folder must be there.
    pub fn create(path: &Path) -> Result<TableWriter<R>> {
        let file = HashingFile::create(path)?;
        let writer =
            ArrowWriter::try_new(file, R::schema(), Some(properties::<R>())).map_err(|source| failed(path, source))?;
        Ok(TableWriter {
            path: path.to_path_buf(),
            writer,
            pending: Vec::new(),
            pending_bytes: 0,
            group_rows: 0,
            group_bytes: 0,
            rows: 0,
        })
    }

    /// Adds a row.
    pub fn push(&mut self, row: R) -> Result<()> {
        self.pending_bytes += row.num_bytes();
        self.pending.push(row);
        self.rows += 1;
        let group_full = self.group_rows + self.pending.len() >= ROWS_PER_GROUP
            || self.group_bytes + self.pending_bytes >= BYTES_PER_GROUP;
        if group_full || self.pending_bytes >= BYTES_PER_BATCH {
            self.encode()?;
        }
        if group_full {
            self.writer.flush().map_err(|source| failed(&self.path, source))?;
            self.group_rows = 0;
            self.group_bytes = 0;
        }
        Ok(())
    }

    /// Number of rows pushed so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Completes the file, makes it durable and gives it its name. A table without rows is a valid file too.
    pub fn finish(mut self) -> Result<TableSummary> {
        self.encode()?;
        let path = self.path;
        self.writer.into_inner().map_err(|source| failed(&path, source))?.commit(&path, self.rows)
    }

    fn encode(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let batch = R::to_batch(&self.pending)
            .map_err(|source| StoreError::Row { path: self.path.clone(), source })?
            .map_err(|source| StoreError::Arrow { action: "encode", path: self.path.clone(), source })?;
        self.writer.write(&batch).map_err(|source| failed(&self.path, source))?;
        self.group_rows += self.pending.len();
        self.group_bytes += self.pending_bytes;
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }
}

pub(super) fn failed(path: &Path, source: ParquetError) -> StoreError {
    match source {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(inner) => StoreError::io("write", path, *inner),
            Err(inner) => {
                StoreError::Parquet { action: "write", path: path.to_path_buf(), source: ParquetError::External(inner) }
            }
        },
        source => StoreError::Parquet { action: "write", path: path.to_path_buf(), source },
    }
}

pub(super) fn properties<R: Row>() -> WriterProperties {
    let pairs = vec![
        KeyValue::new(TABLE_KEY.to_owned(), R::TABLE.to_owned()),
        KeyValue::new(VERSION_KEY.to_owned(), R::VERSION.to_string()),
    ];
    WriterProperties::builder()
        .set_created_by("memtrain".to_owned())
        .set_key_value_metadata(Some(pairs))
        // Level 1: the English sample's tables are 6 % larger than with level 3, and packing them takes half the time.
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        // Short pages, so that reading one row decodes a block of rows and not the whole row group.
        .set_data_page_row_count_limit(R::BLOCK_ROWS)
        .set_write_batch_size(R::BLOCK_ROWS)
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .set_max_row_group_bytes(None)
        // Nobody searches these tables by value; the smallest and largest text of a page would only take room.
        .set_statistics_enabled(EnabledStatistics::None)
        // No two texts are the same: a dictionary would hold each once more.
        .set_column_dictionary_enabled(ColumnPath::from("text"), false)
        .set_column_dictionary_enabled(ColumnPath::from("id"), false)
        .build()
}

/// The file of a table, hashed as it is written.
pub(super) struct HashingFile {
    file: BufWriter<AtomicFile>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl HashingFile {
    pub(super) fn create(path: &Path) -> Result<HashingFile> {
        let file = BufWriter::with_capacity(1 << 18, AtomicFile::create(path)?);
        Ok(HashingFile { file, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Makes the file durable and gives it its name.
    pub(super) fn commit(mut self, path: &Path, rows: u64) -> Result<TableSummary> {
        self.file.flush().map_err(|source| StoreError::io("write", path, source))?;
        let HashingFile { file, hasher, bytes } = self;
        let file = file.into_inner().map_err(|error| StoreError::io("write", path, error.into_error()))?;
        file.commit()?;
        Ok(TableSummary { rows, bytes, hash: hasher.finalize().to_hex().to_string() })
    }
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
