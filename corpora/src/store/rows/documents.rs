//! Table `documents`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::{to_bytes, to_scalars};
use crate::store::columns::{Columns, list, list_of, required, string_items, strings, structs, u32s, u64s};
use crate::store::{Row, RowError, ScalarIndex};
use crate::{Document, DocumentEntity, DocumentPassage, EntityLabel, PassageRole, Split};

fn passage_fields() -> Fields {
    Fields::from(vec![
        required("passage_id", DataType::UInt64),
        required("role", DataType::Utf8),
        required("char_start", DataType::UInt32),
        required("char_end", DataType::UInt32),
    ])
}

fn entity_fields() -> Fields {
    Fields::from(vec![
        required("char_start", DataType::UInt32),
        required("char_end", DataType::UInt32),
        required("surface", DataType::Utf8),
        required("label", DataType::Utf8),
    ])
}

/// The `passages` and `entities` columns: both need the scalar positions of the same texts.
fn span_columns(rows: &[Document]) -> Result<(ArrayRef, ArrayRef), RowError> {
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    let (mut entity_starts, mut entity_ends) = (Vec::new(), Vec::new());
    for (row, document) in rows.iter().enumerate() {
        let index = ScalarIndex::new(&document.text);
        for passage in &document.passages {
            let (start, end) = to_scalars(&index, &passage.span, "passages", row)?;
            starts.push(start);
            ends.push(end);
        }
        for entity in &document.entities {
            let (start, end) = to_scalars(&index, &entity.span, "entities", row)?;
            entity_starts.push(start);
            entity_ends.push(end);
        }
    }
    let passages = || rows.iter().flat_map(|document| &document.passages);
    let passage_items = structs(
        &passage_fields(),
        vec![
            u64s(passages().map(|passage| passage.passage_id)),
            strings(passages().map(|passage| passage.role.as_str())),
            u32s(starts.into_iter()),
            u32s(ends.into_iter()),
        ],
    );
    let entities = || rows.iter().flat_map(|document| &document.entities);
    let entity_items = structs(
        &entity_fields(),
        vec![
            u32s(entity_starts.into_iter()),
            u32s(entity_ends.into_iter()),
            strings(entities().map(|entity| entity.surface.as_str())),
            strings(entities().map(|entity| entity.label.as_str())),
        ],
    );
    Ok((
        list(rows.iter().map(|document| document.passages.len()), passage_items),
        list(rows.iter().map(|document| document.entities.len()), entity_items),
    ))
}

impl Row for Document {
    const TABLE: &'static str = "documents";
    const VERSION: u32 = 1;
    const BLOCK_ROWS: usize = 4;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            required("id", DataType::Utf8),
            required("text", DataType::Utf8),
            required("answer", DataType::Utf8),
            required("aliases", list_of(DataType::Utf8)),
            required("label", DataType::Utf8),
            required("split", DataType::Utf8),
            required("passages", list_of(DataType::Struct(passage_fields()))),
            required("entities", list_of(DataType::Struct(entity_fields()))),
            required("num_masks", DataType::UInt32),
            required("num_tokens", DataType::UInt32),
            required("seed", DataType::UInt64),
        ]))
    }

    fn num_bytes(&self) -> usize {
        self.text.len() + 32 * self.passages.len() + 48 * self.entities.len() + 128
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let aliases = strings(rows.iter().flat_map(|document| &document.aliases).map(String::as_str));
        let (passages, entities) = span_columns(rows)?;
        let columns = vec![
            strings(rows.iter().map(|document| document.id.as_str())),
            strings(rows.iter().map(|document| document.text.as_str())),
            strings(rows.iter().map(|document| document.answer.as_str())),
            list(rows.iter().map(|document| document.aliases.len()), aliases),
            strings(rows.iter().map(|document| document.label.as_str())),
            strings(rows.iter().map(|document| document.split.as_str())),
            passages,
            entities,
            u32s(rows.iter().map(|document| document.num_masks)),
            u32s(rows.iter().map(|document| document.num_tokens)),
            u64s(rows.iter().map(|document| document.seed)),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (id, text, answer) = (columns.strings("id")?, columns.strings("text")?, columns.strings("answer")?);
        let (alias_ranges, aliases) = columns.list_of_strings("aliases")?;
        let (label, split) = (columns.strings("label")?, columns.strings("split")?);
        let (num_masks, num_tokens) = (columns.u32s("num_masks")?, columns.u32s("num_tokens")?);
        let seed = columns.u64s("seed")?;
        let passages = PassageColumn::new(&columns)?;
        let entities = EntityColumn::new(&columns)?;
        (0..batch.num_rows())
            .map(|row| {
                let index = ScalarIndex::new(text.value(row));
                Ok(Document {
                    id: id.value(row).to_owned(),
                    text: text.value(row).to_owned(),
                    answer: answer.value(row).to_owned(),
                    aliases: string_items(aliases, alias_ranges.of(row)),
                    label: label_of(label.value(row), "label", row)?,
                    passages: passages.row(row, &index)?,
                    entities: entities.row(row, &index)?,
                    num_masks: num_masks[row],
                    num_tokens: num_tokens[row],
                    seed: seed[row],
                    split: Split::from_name(split.value(row))
                        .ok_or_else(|| unknown_name(split.value(row), "split", row))?,
                })
            })
            .collect()
    }
}

fn label_of(name: &str, column: &'static str, row: usize) -> Result<EntityLabel, RowError> {
    EntityLabel::from_name(name).ok_or_else(|| unknown_name(name, column, row))
}

fn unknown_name(name: &str, column: &'static str, row: usize) -> RowError {
    RowError { column, row, detail: format!("unknown name `{name}`") }
}

struct PassageColumn<'batch> {
    ranges: crate::store::columns::Ranges<'batch>,
    passage_ids: &'batch [u64],
    roles: &'batch arrow::array::StringArray,
    starts: &'batch [u32],
    ends: &'batch [u32],
}

impl<'batch> PassageColumn<'batch> {
    fn new(columns: &Columns<'batch>) -> Result<Self, RowError> {
        let (ranges, items) = columns.list_of_structs("passages")?;
        Ok(PassageColumn {
            ranges,
            passage_ids: items.u64s("passage_id")?,
            roles: items.strings("role")?,
            starts: items.u32s("char_start")?,
            ends: items.u32s("char_end")?,
        })
    }

    fn row(&self, row: usize, index: &ScalarIndex) -> Result<Vec<DocumentPassage>, RowError> {
        let items = self.ranges.of(row).map(|item| {
            let role = self.roles.value(item);
            Ok(DocumentPassage {
                passage_id: self.passage_ids[item],
                role: PassageRole::from_name(role).ok_or_else(|| unknown_name(role, "passages", row))?,
                span: to_bytes(index, self.starts[item], self.ends[item], "passages", row)?,
            })
        });
        items.collect()
    }
}

struct EntityColumn<'batch> {
    ranges: crate::store::columns::Ranges<'batch>,
    starts: &'batch [u32],
    ends: &'batch [u32],
    surfaces: &'batch arrow::array::StringArray,
    labels: &'batch arrow::array::StringArray,
}

impl<'batch> EntityColumn<'batch> {
    fn new(columns: &Columns<'batch>) -> Result<Self, RowError> {
        let (ranges, items) = columns.list_of_structs("entities")?;
        Ok(EntityColumn {
            ranges,
            starts: items.u32s("char_start")?,
            ends: items.u32s("char_end")?,
            surfaces: items.strings("surface")?,
            labels: items.strings("label")?,
        })
    }

    fn row(&self, row: usize, index: &ScalarIndex) -> Result<Vec<DocumentEntity>, RowError> {
        let items = self.ranges.of(row).map(|item| {
            Ok(DocumentEntity {
                span: to_bytes(index, self.starts[item], self.ends[item], "entities", row)?,
                surface: self.surfaces.value(item).to_owned(),
                label: label_of(self.labels.value(item), "entities", row)?,
            })
        });
        items.collect()
    }
}
