//! Some columns of any Parquet table, as text.

use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;

use super::guard::{Batches, Selected};
use super::table_reader::{TableFile, load};
use super::{Result, StoreError};

/// Rows decoded at a time: those of a text corpus can be large.
const BATCH_ROWS: usize = 16;

/// Rows of a Parquet table that anyone may have written: of the columns asked for, as text; `None` where a value is null.
///
/// ```
/// use memtrain_corpora::store::{TableWriter, text_columns};
/// use memtrain_corpora::Redirect;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("redirects.parquet");
/// # let mut writer = TableWriter::create(&path)?;
/// # writer.push(Redirect { id: 7, title: "UK".into(), target: "United Kingdom".into() })?;
/// # writer.finish()?;
/// let mut rows = text_columns(&path, &["title", "year"])?;
/// assert_eq!(rows.missing(), ["year"]);
/// assert_eq!(rows.next().unwrap()?, [Some("UK".to_owned()), None]);
/// # Ok::<(), memtrain_corpora::store::StoreError>(())
/// ```
pub struct TextColumns {
    path: PathBuf,
    /// Names asked for, each with the name in the file's own order; absent ones are all null.
    names: Vec<String>,
    known: Vec<String>,
    batches: Option<Batches>,
    rows: std::vec::IntoIter<Vec<Option<String>>>,
}

/// Reads columns of a Parquet table from the first row to the last, some rows in memory at a time.
pub fn text_columns(path: &Path, names: &[&str]) -> Result<TextColumns> {
    let file = TableFile::open(path)?;
    // The writer's Arrow schema may ask for arrays that share their buffers; Parquet's own types say all that is needed here.
    let metadata = load(path, &file, ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
    let known: Vec<String> = metadata.schema().fields().iter().map(|field| field.name().clone()).collect();
    let wanted = known.iter().enumerate().filter(|(_, name)| names.contains(&name.as_str())).map(|(at, _)| at);
    let columns = ProjectionMask::roots(metadata.parquet_schema(), wanted.collect::<Vec<_>>());
    let batches = Batches::open(path, &file, &metadata, Selected { groups: None, rows: None, columns }, BATCH_ROWS)?;
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Ok(TextColumns { path: path.to_path_buf(), names, known, batches: Some(batches), rows: Vec::new().into_iter() })
}

impl TextColumns {
    /// All columns of the file.
    pub fn known(&self) -> &[String] {
        &self.known
    }

    /// Columns that were asked for and that the file has not.
    pub fn missing(&self) -> Vec<&str> {
        self.names.iter().filter(|name| !self.known.contains(name)).map(String::as_str).collect()
    }

    fn decode(&self, batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>> {
        let mut rows = vec![Vec::with_capacity(self.names.len()); batch.num_rows()];
        for name in &self.names {
            let column = batch.column_by_name(name).map(|column| cast(column, &DataType::Utf8)).transpose();
            let column = column.map_err(|source| StoreError::Arrow {
                action: "read as text",
                path: self.path.clone(),
                source,
            })?;
            let column = column.as_ref().and_then(|column| column.as_string_opt::<i32>());
            for (at, row) in rows.iter_mut().enumerate() {
                let value = column.filter(|column| column.is_valid(at)).map(|column| column.value(at).to_owned());
                row.push(value);
            }
        }
        Ok(rows)
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
                    return Some(Err(error));
                }
            }
        }
    }
}
