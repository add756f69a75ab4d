//! Table `redirects`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::Redirect;
use crate::store::columns::{Columns, parse_u64, required, strings};
use crate::store::{Row, RowError};

impl Row for Redirect {
    const TABLE: &'static str = "redirects";
    const VERSION: u32 = 1;
    const BLOCK_ROWS: usize = 1024;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            required("id", DataType::Utf8),
            required("title", DataType::Utf8),
            required("target", DataType::Utf8),
        ]))
    }

    fn num_bytes(&self) -> usize {
        self.title.len() + self.target.len() + 16
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let ids: Vec<String> = rows.iter().map(|redirect| redirect.id.to_string()).collect();
        let columns = vec![
            strings(ids.iter().map(String::as_str)),
            strings(rows.iter().map(|redirect| redirect.title.as_str())),
            strings(rows.iter().map(|redirect| redirect.target.as_str())),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (id, title, target) = (columns.strings("id")?, columns.strings("title")?, columns.strings("target")?);
        (0..batch.num_rows())
            .map(|row| {
                Ok(Redirect {
                    id: parse_u64(id.value(row), "id", row)?,
                    title: title.value(row).to_owned(),
                    target: target.value(row).to_owned(),
                })
            })
            .collect()
    }
}
