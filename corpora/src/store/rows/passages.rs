//! Table `passages`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::{LinkColumn, links_column, links_type};
use crate::store::columns::{Columns, required, strings, u32s, u64s};
use crate::store::copied::with_columns;
use crate::store::{Result as StoreResult, Row, RowError, ScalarIndex, TableSummary, View};
use crate::{Passage, PassageArticle, PassageHead, PassageText, Span};

impl Row for Passage {
    const TABLE: &'static str = "passages";
    const VERSION: u32 = 2;
    /// Version 1 has the same columns, but numbers the passages of each file from 0.
    const OLDEST: u32 = 1;
    const BLOCK_ROWS: usize = 32;

    /// The passage's place in its article is kept in both units, since the article's text, by which one could be turned into
    /// the other, is not in this table.
    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            required("id", DataType::Utf8),
            required("url", DataType::Utf8),
            required("title", DataType::Utf8),
            required("text", DataType::Utf8),
            required("passage_id", DataType::UInt64),
            required("article_id", DataType::UInt64),
            required("section", DataType::Utf8),
            required("char_start", DataType::UInt64),
            required("char_end", DataType::UInt64),
            required("byte_start", DataType::UInt64),
            required("num_words", DataType::UInt32),
            required("revision_id", DataType::UInt64),
            required("links", links_type()),
        ]))
    }

    fn num_bytes(&self) -> usize {
        let links: usize = self.links.iter().map(|link| link.target.len() + 12).sum();
        self.text.len() + links + 160
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let ids: Vec<String> = rows.iter().map(|passage| passage.id.to_string()).collect();
        let columns = vec![
            strings(ids.iter().map(String::as_str)),
            strings(rows.iter().map(|passage| passage.url.as_str())),
            strings(rows.iter().map(|passage| passage.title.as_str())),
            strings(rows.iter().map(|passage| passage.text.as_str())),
            u64s(rows.iter().map(|passage| passage.id)),
            u64s(rows.iter().map(|passage| passage.article_id)),
            strings(rows.iter().map(|passage| passage.section.as_str())),
            u64s(rows.iter().map(|passage| passage.char_start)),
            u64s(rows.iter().map(|passage| passage.char_start + passage.text.chars().count() as u64)),
            u64s(rows.iter().map(|passage| passage.span.start as u64)),
            u32s(rows.iter().map(|passage| passage.num_words)),
            u64s(rows.iter().map(|passage| passage.revision_id)),
            links_column(rows.iter().map(|passage| (passage.text.as_str(), passage.links.as_slice())))?,
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (id, article_id) = (columns.u64s("passage_id")?, columns.u64s("article_id")?);
        let (url, title) = (columns.strings("url")?, columns.strings("title")?);
        let (text, section) = (columns.strings("text")?, columns.strings("section")?);
        let (char_start, byte_start) = (columns.u64s("char_start")?, columns.u64s("byte_start")?);
        let (num_words, revision_id) = (columns.u32s("num_words")?, columns.u64s("revision_id")?);
        let links = LinkColumn::new(&columns)?;
        (0..batch.num_rows())
            .map(|row| {
                Ok(Passage {
                    id: id[row],
                    article_id: article_id[row],
                    url: url.value(row).to_owned(),
                    title: title.value(row).to_owned(),
                    section: section.value(row).to_owned(),
                    text: text.value(row).to_owned(),
                    span: span_of(byte_start[row], text.value(row), row)?,
                    char_start: char_start[row],
                    num_words: num_words[row],
                    revision_id: revision_id[row],
                    links: links.row(row, &ScalarIndex::new(text.value(row)))?,
                })
            })
            .collect()
    }
}

/// Numbers the passages of a table `first`, `first` + 1 … in place. All other columns are copied as they are stored, so this costs
/// little more than reading and writing the file. It appears under its name as a whole; killed before that, it is as it was.
///
/// # Errors
/// If it is no table of passages of the newest version, or cannot be read or written.
pub fn number_passages(path: &Path, first: u64) -> StoreResult<TableSummary> {
    with_columns::<Passage>(path, &["id", "passage_id"], |rows: Range<u64>| {
        let numbers = first + rows.start..first + rows.end;
        let ids: Vec<String> = numbers.clone().map(|number| number.to_string()).collect();
        vec![strings(ids.iter().map(String::as_str)), u64s(numbers)]
    })
}

impl View<Passage> for PassageText {
    const COLUMNS: &'static [&'static str] = &["title", "text"];

    fn view(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (title, text) = (columns.strings("title")?, columns.strings("text")?);
        let of = |row| PassageText { title: title.value(row).to_owned(), text: text.value(row).to_owned() };
        Ok((0..batch.num_rows()).map(of).collect())
    }
}

impl View<Passage> for PassageHead {
    const COLUMNS: &'static [&'static str] = &["url", "title", "section"];

    fn view(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (url, title) = (columns.strings("url")?, columns.strings("title")?);
        let section = columns.strings("section")?;
        let of = |row| PassageHead {
            title: title.value(row).to_owned(),
            section: section.value(row).to_owned(),
            url: url.value(row).to_owned(),
        };
        Ok((0..batch.num_rows()).map(of).collect())
    }
}

impl View<Passage> for PassageArticle {
    const COLUMNS: &'static [&'static str] = &["article_id"];

    fn view(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        Ok(Columns::of_batch(batch).u64s("article_id")?.iter().copied().map(PassageArticle).collect())
    }
}

/// Byte range of a passage that starts at `start`; an error where a damaged file makes it overflow.
fn span_of(start: u64, text: &str, row: usize) -> Result<Span, RowError> {
    let start = usize::try_from(start).ok();
    let end = start.and_then(|start| start.checked_add(text.len()));
    match (start, end) {
        (Some(start), Some(end)) => Ok(start..end),
        _ => Err(RowError { column: "byte_start", row, detail: "out of range".into() }),
    }
}
