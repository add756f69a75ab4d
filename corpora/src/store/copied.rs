//! Tables of which some columns are written anew and the others copied as they are stored.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use parquet::arrow::add_encoded_arrow_schema_to_metadata;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::writer::SerializedFileWriter;

use super::table::{HashingFile, Row, TableSummary, failed, properties};
use super::table_file::TableFile;
use super::table_reader::{check_table, load};
use super::{Result, StoreError};

/// Writes a table anew with other values in some columns that are neither lists nor structs: `values` gives them for a range of
/// rows, in the order of `columns`. What the file holds of the other columns, packed as it is, goes over byte for byte.
///
/// # Errors
/// If the file is no table of these rows in their newest version, or cannot be read or written.
pub(super) fn with_columns<R: Row>(
    path: &Path,
    columns: &[&str],
    values: impl Fn(Range<u64>) -> Vec<ArrayRef>,
) -> Result<TableSummary> {
    let file = TableFile::open(path)?;
    let options = ArrowReaderOptions::new()
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Optional);
    let metadata = load(path, &file, options)?;
    let version = check_table::<R>(path, metadata.metadata())?;
    if version != R::VERSION {
        let (expected, got) = (format!("version {} of table `{}`", R::VERSION, R::TABLE), format!("version {version}"));
        return Err(StoreError::Schema { path: path.to_path_buf(), expected, got });
    }
    let metadata = metadata.metadata();
    let failed = |source| failed(path, source);
    let mut properties = properties::<R>();
    add_encoded_arrow_schema_to_metadata(&R::schema(), &mut properties);
    let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
    let mut writer =
        SerializedFileWriter::new(HashingFile::create(path)?, schema, Arc::new(properties)).map_err(failed)?;
    let factory = ArrowRowGroupWriterFactory::new(&writer, R::schema());
    let mut rows = 0;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let until = rows + u64::try_from(group.num_rows()).unwrap_or(0);
        let fresh: Vec<(&str, ArrayRef)> = columns.iter().copied().zip(values(rows..until)).collect();
        let encoders = factory.create_column_writers(number).map_err(failed)?;
        let mut written = writer.next_row_group().map_err(failed)?;
        for (at, encoder) in encoders.into_iter().enumerate() {
            let name = group.column(at).column_path().string();
            match fresh.iter().find(|(column, _)| *column == name) {
                Some((_, array)) => encoded::<R>(encoder, &name, array)
                    .and_then(|chunk| chunk.append_to_row_group(&mut written))
                    .map_err(failed)?,
                None => written.append_column(&file, as_it_is(metadata, number, at)).map_err(failed)?,
            }
        }
        written.close().map_err(failed)?;
        rows = until;
    }
    writer.into_inner().map_err(failed)?.commit(path, rows)
}

fn encoded<R: Row>(
    mut encoder: ArrowColumnWriter,
    name: &str,
    array: &ArrayRef,
) -> std::result::Result<parquet::arrow::arrow_writer::ArrowColumnChunk, ParquetError> {
    for leaf in compute_leaves(R::schema().field_with_name(name)?, array)? {
        encoder.write(&leaf)?;
    }
    encoder.close()
}

/// What is known of a column of a row group, for its bytes to be taken over.
fn as_it_is(metadata: &ParquetMetaData, group: usize, column: usize) -> ColumnCloseResult {
    let chunk = metadata.row_group(group).column(column);
    ColumnCloseResult {
        bytes_written: u64::try_from(chunk.compressed_size()).unwrap_or(0),
        rows_written: u64::try_from(metadata.row_group(group).num_rows()).unwrap_or(0),
        metadata: chunk.clone(),
        bloom_filter: None,
        column_index: None,
        offset_index: metadata.page_index_for_row_group(group).offset_index(column).cloned(),
    }
}
