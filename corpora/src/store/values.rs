//! The rows of any Parquet table as JSON objects.

use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, Float64Type, Int64Type, UInt64Type};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use serde_json::{Map, Value};

use super::guard::{Batches, Selected};
use super::table_file::TableFile;
use super::table_reader::load;
use super::{Result, StoreError};

/// Rows decoded at a time: those of question sets can be large.
const BATCH_ROWS: usize = 16;
/// What these rows may take as JSON.
const MAX_BYTES: u64 = 1 << 30;
/// What an object takes beside its values: room for some pairs.
const OBJECT_BYTES: u64 = 640;

/// Rows of a Parquet table that anyone may have written, each as a JSON object.
///
/// Lists become arrays, structs objects, absent values `null`; what has no form in JSON (times, decimals) becomes text.
///
/// ```
/// use memtrain_corpora::store::{TableWriter, json_rows};
/// use memtrain_corpora::Redirect;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("redirects.parquet");
/// # let mut writer = TableWriter::create(&path)?;
/// # writer.push(Redirect { id: 7, title: "UK".into(), target: "United Kingdom".into() })?;
/// # writer.finish()?;
/// let row = json_rows(&path)?.next().unwrap()?;
/// assert_eq!(row["title"], "UK");
/// # Ok::<(), memtrain_corpora::store::StoreError>(())
/// ```
pub struct JsonRows {
    path: PathBuf,
    batches: Option<Batches>,
    rows: std::vec::IntoIter<Map<String, Value>>,
}

/// Reads a Parquet table from the first row to the last, some rows in memory at a time.
pub fn json_rows(path: &Path) -> Result<JsonRows> {
    open(path).map_err(StoreError::of_others)
}

fn open(path: &Path) -> Result<JsonRows> {
    let file = TableFile::open(path)?;
    // The writer's Arrow schema may ask for arrays that share their buffers; Parquet's own types say all that is needed here.
    let metadata = load(path, &file, ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
    let selected = Selected { groups: None, rows: None, columns: ProjectionMask::all() };
    let batches = Batches::open(path, &file, &metadata, selected, BATCH_ROWS)?;
    Ok(JsonRows { path: path.to_path_buf(), batches: Some(batches), rows: Vec::new().into_iter() })
}

impl JsonRows {
    fn decode(&self, batch: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
        let fields = batch.schema_ref().fields();
        let rows = objects_bytes(fields, batch.num_rows());
        let bytes = batch.columns().iter().fold(rows, |bytes, column| bytes.saturating_add(json_bytes(column)));
        if bytes > MAX_BYTES {
            let detail = format!("{BATCH_ROWS} rows at a time take more than 1 GiB as JSON");
            return Err(StoreError::Unreadable { path: self.path.clone(), detail });
        }
        let mut rows = vec![Map::new(); batch.num_rows()];
        for (field, column) in fields.iter().zip(batch.columns()) {
            let column = values(column).map_err(|source| StoreError::Arrow {
                action: "read as JSON",
                path: self.path.clone(),
                source,
            })?;
            for (row, value) in rows.iter_mut().zip(column) {
                row.insert(field.name().clone(), value);
            }
        }
        Ok(rows)
    }
}

impl Iterator for JsonRows {
    type Item = Result<Map<String, Value>>;

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

/// What so many objects of the same fields take without their values: each has the names anew.
fn objects_bytes(fields: &Fields, objects: usize) -> u64 {
    let names = fields.iter().map(|field| (field.name().len() + size_of::<String>()) as u64).sum::<u64>();
    (objects as u64).saturating_mul(names.saturating_add(OBJECT_BYTES))
}

/// What the values of an array take as JSON, without the text in them: that is bounded when it is decoded.
fn json_bytes(array: &ArrayRef) -> u64 {
    let inner = match array.data_type() {
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter();
            columns.fold(objects_bytes(fields, array.len()), |bytes, column| bytes.saturating_add(json_bytes(column)))
        }
        DataType::List(_) => json_bytes(array.as_list::<i32>().values()),
        DataType::LargeList(_) => json_bytes(array.as_list::<i64>().values()),
        _ => 0,
    };
    // Values of structs are copied into their objects.
    inner.saturating_add((array.len() * size_of::<Value>() * 2) as u64)
}

/// The values of an array, one a row.
fn values(array: &ArrayRef) -> std::result::Result<Vec<Value>, ArrowError> {
    let valid = |row: usize| array.is_valid(row);
    let rows = 0..array.len();
    let nested =
        |row: usize, items: ArrayRef| if valid(row) { values(&items).map(Value::Array) } else { Ok(Value::Null) };
    Ok(match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            rows.map(|row| if valid(row) { array.value(row).into() } else { Value::Null }).collect()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(values).collect::<std::result::Result<Vec<_>, _>>()?;
            let object = |row: usize| {
                let pairs =
                    fields.iter().zip(&columns).map(|(field, column)| (field.name().clone(), column[row].clone()));
                Value::Object(pairs.collect())
            };
            rows.map(|row| if valid(row) { object(row) } else { Value::Null }).collect()
        }
        DataType::List(_) => {
            let array = array.as_list::<i32>();
            rows.map(|row| nested(row, array.value(row))).collect::<std::result::Result<_, _>>()?
        }
        DataType::LargeList(_) => {
            let array = array.as_list::<i64>();
            rows.map(|row| nested(row, array.value(row))).collect::<std::result::Result<_, _>>()?
        }
        DataType::Null => vec![Value::Null; array.len()],
        kind if kind.is_unsigned_integer() => {
            let array = cast(array, &DataType::UInt64)?;
            let array = array.as_primitive::<UInt64Type>();
            rows.map(|row| if valid(row) { array.value(row).into() } else { Value::Null }).collect()
        }
        kind if kind.is_integer() => {
            let array = cast(array, &DataType::Int64)?;
            let array = array.as_primitive::<Int64Type>();
            rows.map(|row| if valid(row) { array.value(row).into() } else { Value::Null }).collect()
        }
        kind if kind.is_floating() => {
            let array = cast(array, &DataType::Float64)?;
            let array = array.as_primitive::<Float64Type>();
            rows.map(|row| if valid(row) { array.value(row).into() } else { Value::Null }).collect()
        }
        _ => {
            let array = cast(array, &DataType::Utf8)?;
            let array = array.as_string::<i32>();
            rows.map(|row| if array.is_valid(row) { array.value(row).into() } else { Value::Null }).collect()
        }
    })
}
