//! Some columns of any Parquet table, as text.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;

use super::guard::{Batches, Selected};
use super::table_file::TableFile;
use super::table_reader::load;
use super::{Result, StoreError};

/// Rows decoded at a time: those of a text corpus can be large.
const BATCH_ROWS: usize = 16;

/// Rows of a Parquet table that anyone may have written: of the columns asked for, as text; `None` where a value is null, or is not
/// text ([`TextColumns::kind`] tells).
///
/// ```
/// use memtrain_corpora::store::{ColumnKind, TableWriter, text_columns};
/// use memtrain_corpora::Redirect;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("redirects.parquet");
/// # let mut writer = TableWriter::create(&path)?;
/// # writer.push(Redirect { id: 7, title: "UK".into(), target: "United Kingdom".into() })?;
/// # writer.finish()?;
/// let mut rows = text_columns(&path, &["title", "year"])?;
/// assert_eq!((rows.kind("title"), rows.kind("year")), (Some(ColumnKind::Text), None));
/// assert_eq!(rows.next().unwrap()?, [Some("UK".to_owned()), None]);
/// # Ok::<(), memtrain_corpora::store::StoreError>(())
/// ```
pub struct TextColumns {
    path: PathBuf,
    /// Names asked for; absent ones are all null.
    names: Vec<String>,
    /// The columns of the file.
    fields: Fields,
    batches: Option<Batches>,
    rows: std::vec::IntoIter<Vec<Option<String>>>,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text.
    Text,
    /// Lists of texts, or lists of such lists: the text of a row is that of its parts, apart by a blank line, of which each has its own
    /// parts apart by a space.
    Texts,
    /// Numbers, which become text as they are written.
    Number,
    /// A struct, with the names of its fields.
    Struct(Vec<String>),
    /// Anything else, by its Arrow type.
    Other(String),
}

impl ColumnKind {
    fn of(kind: &DataType) -> ColumnKind {
        match kind {
            DataType::Struct(fields) => ColumnKind::Struct(fields.iter().map(|field| field.name().clone()).collect()),
            kind if kind.is_numeric() => ColumnKind::Number,
            kind if is_text(kind) => ColumnKind::Text,
            kind if items_of(kind).is_some_and(|items| matches!(Self::of(items), Self::Text | Self::Texts)) => {
                ColumnKind::Texts
            }
            kind => ColumnKind::Other(kind.to_string()),
        }
    }
}

/// Tables of older writers do not tell text from other bytes.
fn is_text(kind: &DataType) -> bool {
    kind.is_string() || matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn items_of(kind: &DataType) -> Option<&DataType> {
    match kind {
        DataType::List(items) | DataType::LargeList(items) | DataType::FixedSizeList(items, _) => {
            Some(items.data_type())
        }
        _ => None,
    }
}

/// Reads columns of a Parquet table from the first row to the last, some rows in memory at a time.
pub fn text_columns(path: &Path, names: &[&str]) -> Result<TextColumns> {
    open(path, names).map_err(StoreError::of_others)
}

fn open(path: &Path, names: &[&str]) -> Result<TextColumns> {
    let file = TableFile::open(path)?;
    // The writer's Arrow schema may ask for arrays that share their buffers; Parquet's own types say all that is needed here.
    let metadata = load(path, &file, ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
    let fields = metadata.schema().fields().clone();
    let wanted =
        fields.iter().enumerate().filter(|(_, field)| names.contains(&field.name().as_str())).map(|(at, _)| at);
    let columns = ProjectionMask::roots(metadata.parquet_schema(), wanted.collect::<Vec<_>>());
    let batches = Batches::open(path, &file, &metadata, Selected { groups: None, rows: None, columns }, BATCH_ROWS)?;
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Ok(TextColumns { path: path.to_path_buf(), names, fields, batches: Some(batches), rows: Vec::new().into_iter() })
}

impl TextColumns {
    /// All columns of the file with what they hold.
    pub fn columns(&self) -> impl Iterator<Item = (&str, ColumnKind)> {
        self.fields.iter().map(|field| (field.name().as_str(), ColumnKind::of(field.data_type())))
    }

    /// What a column holds; `None` if the file does not have it.
    pub fn kind(&self, name: &str) -> Option<ColumnKind> {
        self.fields.find(name).map(|(_, field)| ColumnKind::of(field.data_type()))
    }

    fn decode(&self, batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>> {
        let mut rows = vec![Vec::with_capacity(self.names.len()); batch.num_rows()];
        for name in &self.names {
            let column = batch.column_by_name(name).map(|column| texts(column, "\n\n")).transpose();
            let column = column.map_err(|source| StoreError::Arrow {
                action: "read as text",
                path: self.path.clone(),
                source,
            })?;
            let mut values = column.unwrap_or_default().into_iter();
            for row in &mut rows {
                row.push(values.next().flatten());
            }
        }
        Ok(rows)
    }
}

/// The texts of an array, one a row; those of lists are put together with `between` between their parts.
fn texts(array: &ArrayRef, between: &str) -> std::result::Result<Vec<Option<String>>, ArrowError> {
    match ColumnKind::of(array.data_type()) {
        ColumnKind::Text | ColumnKind::Number => {
            let array = cast(array, &DataType::Utf8)?;
            let array = array.as_string::<i32>();
            Ok((0..array.len()).map(|row| array.is_valid(row).then(|| array.value(row).to_owned())).collect())
        }
        ColumnKind::Texts => {
            let items = items_of(array.data_type()).map_or(DataType::Null, DataType::clone);
            let list = DataType::LargeList(Arc::new(Field::new("item", items, true)));
            let array = cast(array, &list)?;
            let array = array.as_list::<i64>();
            let row = |row: usize| {
                if array.is_null(row) {
                    return Ok(None);
                }
                let parts = texts(&array.value(row), " ")?;
                let parts: Vec<&str> =
                    parts.iter().flatten().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
                Ok(Some(parts.join(between)))
            };
            (0..array.len()).map(row).collect()
        }
        ColumnKind::Struct(_) | ColumnKind::Other(_) => Ok(vec![None; array.len()]),
    }
}

impl Iterator for TextColumns {
    type Item = Result<Vec<Option<String>>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            let batch = self.batches.as_mut()?.next()?;
            match batch.and_then(|batch| self.decode(&batch)) {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(error) => {
                    self.batches = None;
                    return Some(Err(error.of_others()));
                }
            }
        }
    }
}
