//! Table `entities`.
//!
//! A row has no text of its own, its spans refer to the passage's text; they are kept in both units, since one could not be
//! turned into the other here. The end follows from the start and the surface.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::store::columns::{Columns, list, list_of, optional_strings, parse_u64, required, strings, structs, u32s};
use crate::store::{Row, RowError, View};
use crate::{Entity, EntityLabel, EntitySource, Mention, PassageEntities, PassageMentions};
use arrow::array::Array;

fn entity_fields() -> Fields {
    Fields::from(vec![
        required("char_start", DataType::UInt32),
        required("char_end", DataType::UInt32),
        required("byte_start", DataType::UInt32),
        required("surface", DataType::Utf8),
        required("label", DataType::Utf8),
        required("source", DataType::Utf8),
        Field::new("target", DataType::Utf8, true),
    ])
}

impl Row for PassageEntities {
    const TABLE: &'static str = "entities";
    const VERSION: u32 = 1;
    const BLOCK_ROWS: usize = 64;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            required("id", DataType::Utf8),
            required("entities", list_of(DataType::Struct(entity_fields()))),
        ]))
    }

    fn num_bytes(&self) -> usize {
        let entities = self
            .entities
            .iter()
            .map(|entity| entity.surface.len() + entity.target.as_ref().map_or(0, String::len) + 40);
        entities.sum::<usize>() + 16
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let ids: Vec<String> = rows.iter().map(|row| row.passage_id.to_string()).collect();
        let mut byte_starts = Vec::new();
        let mut char_ends = Vec::new();
        for (row, entity) in
            rows.iter().enumerate().flat_map(|(row, of)| of.entities.iter().map(move |entity| (row, entity)))
        {
            let fits = entity.span.end.checked_sub(entity.span.start) == Some(entity.surface.len());
            let start = u32::try_from(entity.span.start).ok().filter(|_| fits);
            byte_starts.push(start.ok_or_else(|| RowError {
                column: "entities",
                row,
                detail: format!("{}..{} is no byte range of `{}`", entity.span.start, entity.span.end, entity.surface),
            })?);
            char_ends.push(entity.char_start + entity.surface.chars().count() as u32);
        }
        let entities = || rows.iter().flat_map(|row| &row.entities);
        let items = structs(
            &entity_fields(),
            vec![
                u32s(entities().map(|entity| entity.char_start)),
                u32s(char_ends.into_iter()),
                u32s(byte_starts.into_iter()),
                strings(entities().map(|entity| entity.surface.as_str())),
                strings(entities().map(|entity| entity.label.as_str())),
                strings(entities().map(|entity| entity.source.as_str())),
                optional_strings(entities().map(|entity| entity.target.as_deref())),
            ],
        );
        let columns =
            vec![strings(ids.iter().map(String::as_str)), list(rows.iter().map(|row| row.entities.len()), items)];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let id = columns.strings("id")?;
        let (ranges, items) = columns.list_of_structs("entities")?;
        let (char_start, byte_start) = (items.u32s("char_start")?, items.u32s("byte_start")?);
        let (surface, target) = (items.strings("surface")?, items.optional_strings("target")?);
        let (label, source) = (items.strings("label")?, items.strings("source")?);
        (0..batch.num_rows())
            .map(|row| {
                let entities = ranges.of(row).map(|item| {
                    let unknown =
                        |name: &str| RowError { column: "entities", row, detail: format!("unknown name `{name}`") };
                    let surface = surface.value(item);
                    let start = byte_start[item] as usize;
                    Ok(Entity {
                        span: start..start + surface.len(),
                        char_start: char_start[item],
                        surface: surface.to_owned(),
                        label: EntityLabel::from_name(label.value(item)).ok_or_else(|| unknown(label.value(item)))?,
                        source: EntitySource::from_name(source.value(item))
                            .ok_or_else(|| unknown(source.value(item)))?,
                        target: target.is_valid(item).then(|| target.value(item).to_owned()),
                    })
                });
                Ok(PassageEntities {
                    passage_id: parse_u64(id.value(row), "id", row)?,
                    entities: entities.collect::<Result<_, RowError>>()?,
                })
            })
            .collect()
    }
}

impl View<PassageEntities> for PassageMentions {
    const COLUMNS: &'static [&'static str] =
        &["entities.list.item.byte_start", "entities.list.item.surface", "entities.list.item.label"];

    fn view(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let (ranges, items) = Columns::of_batch(batch).list_of_structs("entities")?;
        let (start, surface, label) = (items.u32s("byte_start")?, items.strings("surface")?, items.strings("label")?);
        (0..batch.num_rows())
            .map(|row| {
                let mentions = ranges.of(row).map(|item| {
                    let (start, surface) = (start[item] as usize, surface.value(item));
                    let label = EntityLabel::from_name(label.value(item)).ok_or_else(|| RowError {
                        column: "entities",
                        row,
                        detail: format!("unknown name `{}`", label.value(item)),
                    })?;
                    Ok(Mention { span: start..start + surface.len(), surface: surface.to_owned(), label })
                });
                Ok(PassageMentions(mentions.collect::<Result<_, RowError>>()?))
            })
            .collect()
    }
}
