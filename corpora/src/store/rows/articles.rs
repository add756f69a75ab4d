//! Table `articles`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::{LinkColumn, links_column, links_type, to_bytes, to_scalars};
use crate::store::columns::{
    Columns, list, list_of, parse_u64, required, string_items, strings, structs, u8s, u32s, u64s,
};
use crate::store::{Row, RowError, ScalarIndex};
use crate::{Article, Section};

fn section_fields() -> Fields {
    Fields::from(vec![
        required("title", DataType::Utf8),
        required("level", DataType::UInt8),
        required("char_start", DataType::UInt32),
        required("char_end", DataType::UInt32),
    ])
}

fn sections_column(rows: &[Article]) -> Result<ArrayRef, RowError> {
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for (row, article) in rows.iter().enumerate() {
        let index = ScalarIndex::new(&article.text);
        for section in &article.sections {
            let (start, end) = to_scalars(&index, &section.span, "sections", row)?;
            starts.push(start);
            ends.push(end);
        }
    }
    let sections = || rows.iter().flat_map(|article| &article.sections);
    let items = structs(
        &section_fields(),
        vec![
            strings(sections().map(|section| section.title.as_str())),
            u8s(sections().map(|section| section.level)),
            u32s(starts.into_iter()),
            u32s(ends.into_iter()),
        ],
    );
    Ok(list(rows.iter().map(|article| article.sections.len()), items))
}

impl Row for Article {
    const TABLE: &'static str = "articles";
    const VERSION: u32 = 2;
    const OLDEST: u32 = 1;
    const BLOCK_ROWS: usize = 16;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            required("id", DataType::Utf8),
            required("url", DataType::Utf8),
            required("title", DataType::Utf8),
            required("text", DataType::Utf8),
            required("revision_id", DataType::UInt64),
            required("timestamp", DataType::Utf8),
            required("sections", list_of(DataType::Struct(section_fields()))),
            required("links", links_type()),
            required("categories", list_of(DataType::Utf8)),
            required("infoboxes", list_of(DataType::Utf8)),
        ]))
    }

    fn since(column: &str) -> u32 {
        if column == "infoboxes" { 2 } else { Self::OLDEST }
    }

    fn num_bytes(&self) -> usize {
        let links: usize = self.links.iter().map(|link| link.target.len() + 12).sum();
        self.text.len() + links + 256
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let ids: Vec<String> = rows.iter().map(|article| article.id.to_string()).collect();
        let categories = strings(rows.iter().flat_map(|article| &article.categories).map(String::as_str));
        let infoboxes = strings(rows.iter().flat_map(|article| &article.infoboxes).map(String::as_str));
        let columns = vec![
            strings(ids.iter().map(String::as_str)),
            strings(rows.iter().map(|article| article.url.as_str())),
            strings(rows.iter().map(|article| article.title.as_str())),
            strings(rows.iter().map(|article| article.text.as_str())),
            u64s(rows.iter().map(|article| article.revision_id)),
            strings(rows.iter().map(|article| article.timestamp.as_str())),
            sections_column(rows)?,
            links_column(rows.iter().map(|article| (article.text.as_str(), article.links.as_slice())))?,
            list(rows.iter().map(|article| article.categories.len()), categories),
            list(rows.iter().map(|article| article.infoboxes.len()), infoboxes),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (id, url) = (columns.strings("id")?, columns.strings("url")?);
        let (title, text) = (columns.strings("title")?, columns.strings("text")?);
        let (revision_id, timestamp) = (columns.u64s("revision_id")?, columns.strings("timestamp")?);
        let (section_ranges, items) = columns.list_of_structs("sections")?;
        let (section_title, section_level) = (items.strings("title")?, items.u8s("level")?);
        let (section_start, section_end) = (items.u32s("char_start")?, items.u32s("char_end")?);
        let links = LinkColumn::new(&columns)?;
        let (category_ranges, categories) = columns.list_of_strings("categories")?;
        let infoboxes = match batch.column_by_name("infoboxes") {
            Some(_) => Some(columns.list_of_strings("infoboxes")?),
            None => None,
        };
        (0..batch.num_rows())
            .map(|row| {
                let index = ScalarIndex::new(text.value(row));
                let sections = section_ranges.of(row).map(|item| {
                    Ok(Section {
                        title: section_title.value(item).to_owned(),
                        level: section_level[item],
                        span: to_bytes(&index, section_start[item], section_end[item], "sections", row)?,
                    })
                });
                Ok(Article {
                    id: parse_u64(id.value(row), "id", row)?,
                    url: url.value(row).to_owned(),
                    title: title.value(row).to_owned(),
                    text: text.value(row).to_owned(),
                    revision_id: revision_id[row],
                    timestamp: timestamp.value(row).to_owned(),
                    sections: sections.collect::<Result<_, RowError>>()?,
                    links: links.row(row, &index)?,
                    categories: string_items(categories, category_ranges.of(row)),
                    infoboxes: infoboxes
                        .as_ref()
                        .map_or_else(Vec::new, |(ranges, items)| string_items(items, ranges.of(row))),
                })
            })
            .collect()
    }
}
