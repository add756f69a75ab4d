//! Pages and batches of rows of a table, in bounded memory.

use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, RowGroups, RowSelection};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescPtr;

use super::super::table_file::{TableCursor, TableFile, failed};
use super::super::{Result, StoreError};
use super::content::{self, Decoded};
use super::footer::STATISTICS;
use super::thrift::Value::{Bool, Of, Struct};
use super::thrift::{I32, Known, Walk, Wrong};

/// The largest page before compression. Writers make pages of one MiB, and larger ones only where single values are.
const MAX_PAGE_BYTES: u64 = 256 << 20;
/// Pages up to this size may be packed as well as they can be, …
const SMALL_PAGE_BYTES: u64 = 32 << 20;
/// … larger ones up to this rate. Text packs to a tenth.
const MAX_PAGE_RATE: u64 = 256;
/// What the pages and the values of a batch of rows may take.
const MAX_BATCH_BYTES: u64 = 512 << 20;
/// What a table may come to, beside what its file has, …
const FREE_BYTES: u64 = 256 << 20;
/// … as a multiple of its file. Passages that stand beside each of their questions again come to some tens.
const MAX_RATE: u64 = 200;
/// What a value of a list, and a row, takes at least.
const VALUE_BYTES: u64 = 32;
/// The longest header of a page; it may hold the least and the greatest value.
const MAX_HEADER_BYTES: usize = 16 << 20;

const PAGE: Known = &[
    (1, Of(I32)),
    (UNPACKED, Of(I32)),
    (PACKED, Of(I32)),
    (4, Of(I32)),
    (5, Struct(&[(1, Of(I32)), (2, Of(I32)), (3, Of(I32)), (4, Of(I32)), (5, Struct(STATISTICS))])),
    (6, Struct(&[])),
    (7, Struct(&[(1, Of(I32)), (2, Of(I32)), (3, Bool)])),
    (
        8,
        Struct(&[
            (1, Of(I32)),
            (2, Of(I32)),
            (3, Of(I32)),
            (4, Of(I32)),
            (5, Of(I32)),
            (6, Of(I32)),
            (7, Bool),
            (8, Struct(STATISTICS)),
        ]),
    ),
];
const UNPACKED: i16 = 2;
const PACKED: i16 = 3;

fn wrong(detail: String) -> ParquetError {
    ParquetError::General(detail)
}

/// Checks the page header at the beginning of some bytes.
fn check_header(bytes: &[u8]) -> std::result::Result<(), Wrong> {
    let (mut unpacked, mut packed) = (0, 0);
    Walk::new(bytes).known(PAGE, &mut |id, value| match id {
        UNPACKED => unpacked = value,
        PACKED => packed = value,
        _ => {}
    })?;
    // Sizes below zero are refused by the decoder.
    let (unpacked, packed) = (u64::try_from(unpacked).unwrap_or(0), u64::try_from(packed).unwrap_or(0));
    if unpacked > MAX_PAGE_BYTES {
        return Err(Wrong::Claim("a page of more than 256 MiB"));
    }
    if unpacked > SMALL_PAGE_BYTES && unpacked / MAX_PAGE_RATE > packed {
        return Err(Wrong::Claim("a page that grows more than 256 times when it is unpacked"));
    }
    Ok(())
}

fn header_error(wrong: Wrong) -> ParquetError {
    self::wrong(match wrong {
        Wrong::Short => "a page header ends early".to_owned(),
        Wrong::Claim(what) => format!("a page header tells of {what}"),
    })
}

/// A file as the reader of one column's pages sees it.
pub(super) struct PageFile {
    file: TableFile,
    /// Whether the footer tells where each page is. Then a page is read with its header; else the header is read before it, by
    /// [`ChunkReader::get_read`].
    located: bool,
}

/// A page header that is checked when it is read. Not before: the reader also asks for one where it has read the header already, and
/// then leaves it.
pub(super) struct HeaderReader {
    file: TableFile,
    start: u64,
    header: Option<BufReader<TableCursor>>,
}

impl Read for HeaderReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let header = match self.header.take() {
            Some(header) => header,
            None => checked_header(&self.file, self.start).map_err(io::Error::other)?,
        };
        self.header.insert(header).read(buffer)
    }
}

fn checked_header(file: &TableFile, start: u64) -> std::result::Result<BufReader<TableCursor>, ParquetError> {
    let mut bytes = Vec::new();
    let mut reader = file.get_read(start)?;
    let mut checked = Err(Wrong::Short);
    while checked == Err(Wrong::Short) && bytes.len() < MAX_HEADER_BYTES {
        let more = (bytes.len() * 4).max(1 << 9);
        if (&mut reader).take(more as u64).read_to_end(&mut bytes)? == 0 {
            break;
        }
        checked = check_header(&bytes);
    }
    checked.map_err(header_error)?;
    file.get_read(start)
}

impl Length for PageFile {
    fn len(&self) -> u64 {
        self.file.len
    }
}

impl ChunkReader for PageFile {
    type T = HeaderReader;

    fn get_read(&self, start: u64) -> std::result::Result<Self::T, ParquetError> {
        Ok(HeaderReader { file: self.file.clone(), start, header: None })
    }

    fn get_bytes(&self, start: u64, length: usize) -> std::result::Result<Bytes, ParquetError> {
        let bytes = self.file.get_bytes(start, length)?;
        if self.located {
            check_header(&bytes).map_err(header_error)?;
        }
        Ok(bytes)
    }
}

/// What a batch of rows may still take.
struct Budget {
    left: AtomicU64,
    batch_rows: u64,
}

impl Budget {
    fn charge(&self, bytes: u64) -> std::result::Result<(), ParquetError> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| {
            wrong(format!("{} rows at a time take more than 512 MiB when they are decoded", self.batch_rows))
        })
    }
}

/// Pages of one column of one row group.
struct CheckedPages {
    pages: SerializedPageReader<PageFile>,
    column: ColumnDescPtr,
    budget: Arc<Budget>,
    /// Lengths of the texts of the dictionary.
    lengths: Vec<u32>,
}

impl CheckedPages {
    fn check(&mut self, page: &Page) -> std::result::Result<(), ParquetError> {
        self.budget.charge(page.buffer().len() as u64)?;
        if let Page::DictionaryPage { buf, num_values, .. } = page {
            self.lengths = content::dictionary(buf, *num_values, &self.column)?;
            return Ok(());
        }
        let Decoded { bytes, longest } = content::data(page, &self.column, &self.lengths)?;
        // Of a list, any number of values may be in one row. Of other columns a batch has one value a row.
        match self.column.max_rep_level() {
            0 => self.budget.charge(bytes.min(longest.saturating_mul(self.budget.batch_rows))),
            _ => self.budget.charge(bytes.saturating_add(u64::from(page.num_values()) * VALUE_BYTES)),
        }
    }

    fn checked(
        &mut self,
        page: std::result::Result<Option<Page>, ParquetError>,
    ) -> std::result::Result<Option<Page>, ParquetError> {
        let page = page?;
        if let Some(page) = &page {
            self.check(page)?;
        }
        Ok(page)
    }
}

impl Iterator for CheckedPages {
    type Item = std::result::Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> std::result::Result<Option<Page>, ParquetError> {
        let page = self.pages.get_next_page();
        self.checked(page)
    }

    fn peek_next_page(&mut self) -> std::result::Result<Option<PageMetadata>, ParquetError> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> std::result::Result<(), ParquetError> {
        self.pages.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.pages.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> std::result::Result<Option<Page>, ParquetError> {
        let page = self.pages.take_deferred_dictionary();
        self.checked(page)
    }

    fn at_record_boundary(&mut self) -> std::result::Result<bool, ParquetError> {
        self.pages.at_record_boundary()
    }
}

/// Row groups that are read.
#[derive(Clone)]
struct Groups {
    file: TableFile,
    metadata: Arc<ParquetMetaData>,
    groups: Vec<usize>,
    budget: Arc<Budget>,
}

impl RowGroups for Groups {
    fn num_rows(&self) -> usize {
        self.row_groups().fold(0, |rows, group| rows.saturating_add(usize::try_from(group.num_rows()).unwrap_or(0)))
    }

    fn column_chunks(&self, column: usize) -> std::result::Result<Box<dyn PageIterator>, ParquetError> {
        Ok(Box::new(Chunks { groups: self.clone(), column, next: 0 }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.groups.iter().map(|&group| self.metadata.row_group(group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The pages of a column, row group by row group.
struct Chunks {
    groups: Groups,
    column: usize,
    next: usize,
}

impl Chunks {
    fn pages(&self, group: usize) -> std::result::Result<Box<dyn PageReader>, ParquetError> {
        let Groups { file, metadata, budget, .. } = &self.groups;
        let index = metadata.page_index();
        let locations = index.and_then(|index| index.page_locations(group, self.column).cloned());
        let (group, located) = (metadata.row_group(group), locations.is_some());
        let chunk = group.column(self.column);
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let file = Arc::new(PageFile { file: file.clone(), located });
        let pages = SerializedPageReader::new(file, chunk, rows, locations)?;
        let (column, budget) = (chunk.column_descr_ptr(), budget.clone());
        Ok(Box::new(CheckedPages { pages, column, budget, lengths: Vec::new() }))
    }
}

impl Iterator for Chunks {
    type Item = std::result::Result<Box<dyn PageReader>, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = *self.groups.groups.get(self.next)?;
        self.next += 1;
        Some(self.pages(group))
    }
}

impl PageIterator for Chunks {}

/// Which part of a table is read.
pub(in super::super) struct Selected {
    /// The row groups; all of them without.
    pub(in super::super) groups: Option<Vec<usize>>,
    /// The rows of these groups; all of them without.
    pub(in super::super) rows: Option<RowSelection>,
    /// The columns.
    pub(in super::super) columns: ProjectionMask,
}

/// Batches of rows of a table.
pub(in super::super) struct Batches {
    path: PathBuf,
    batches: Option<ParquetRecordBatchReader>,
    budget: Arc<Budget>,
    /// What the table may still come to.
    left: u64,
}

impl Batches {
    /// Reads what is selected, `batch_rows` rows at a time.
    pub(in super::super) fn open(
        path: &Path,
        file: &TableFile,
        metadata: &ArrowReaderMetadata,
        selected: Selected,
        batch_rows: usize,
    ) -> Result<Batches> {
        let failed = |source| failed(path, source);
        let fields = metadata.schema().fields();
        let levels = parquet_to_arrow_field_levels(metadata.parquet_schema(), selected.columns, Some(fields));
        let levels = levels.map_err(failed)?;
        let groups = selected.groups.unwrap_or_else(|| (0..metadata.metadata().num_row_groups()).collect());
        let budget = Arc::new(Budget { left: AtomicU64::new(MAX_BATCH_BYTES), batch_rows: batch_rows as u64 });
        let groups =
            Groups { file: file.clone(), metadata: metadata.metadata().clone(), groups, budget: budget.clone() };
        // Buffers are made for a batch; a small table has not even that many rows.
        let batch_rows = batch_rows.min(groups.num_rows());
        let batches = ParquetRecordBatchReader::try_new_with_row_groups(&levels, &groups, batch_rows, selected.rows);
        let left = file.len.saturating_mul(MAX_RATE).saturating_add(FREE_BYTES);
        Ok(Batches { path: path.to_path_buf(), batches: Some(batches.map_err(failed)?), budget, left })
    }

    fn corrupt(&self, detail: &str) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), detail: detail.to_owned() }
    }

    /// The decoder still panics on some damaged pages; that is an error of the file, not of the program.
    fn read(&mut self) -> Option<Result<RecordBatch>> {
        let batches = self.batches.as_mut()?;
        self.budget.left.store(MAX_BATCH_BYTES, Ordering::Relaxed);
        let batch = match catch_unwind(AssertUnwindSafe(|| batches.next())) {
            Ok(batch) => batch?,
            Err(_) => return Some(Err(self.corrupt("the Parquet decoder gave up on a page"))),
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(source) => return Some(Err(StoreError::Arrow { action: "read", path: self.path.clone(), source })),
        };
        let bytes = batch.get_array_memory_size() as u64 + batch.num_rows() as u64 * VALUE_BYTES;
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return Some(Err(self.corrupt("its rows come to more than 200 times the file"))),
        }
        Some(Ok(batch))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.read();
        // After an error the decoder's place is unknown: the table ends here.
        if !matches!(batch, Some(Ok(_))) {
            self.batches = None;
        }
        batch
    }
}
