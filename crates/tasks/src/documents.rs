//! Documents with a hidden entity as rows for other trainers.
//!
//! [`DocumentRow`] has the columns, names and types of the rows that MemTrain's released trainer reads, so that files of both
//! can be concatenated: signed numbers, fields of structs in alphabetical order where its writer has them so. [`ChatRow`] is a
//! conversation, as trainers of the Hugging Face libraries take it. A document is checked before it becomes a row: a text in
//! which nothing is hidden, or whose answer can be read in it, is trained on without a word elsewhere.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Fields, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use memtrain_corpora::document::MASK;
use memtrain_corpora::store::columns::{Columns, list, list_of, numbers, required, string_items, strings, structs};
use memtrain_corpora::store::{Row, RowError};
use memtrain_corpora::{Document, PassageRole, mask};
use serde::Serialize;

use super::verl::{ABILITY, STYLE, schema};

/// The name of the set that MemTrain's released trainer has a reward for; rows with another one fail there.
pub const RELEASED_SOURCE: &str = "hotpotqa";

/// Why a document is no row for another trainer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("document `{id}` cannot be exported: {detail}")]
pub struct NotExportable {
    /// [`Document::id`].
    pub id: String,
    /// What is wrong with it.
    pub detail: String,
}

/// Checks what a trainer takes for granted: there is an answer, something is hidden, and the answer stands nowhere in the text.
///
/// # Errors
/// The first thing that is not so.
pub fn check(document: &Document) -> Result<(), NotExportable> {
    let refuse = |detail: String| Err(NotExportable { id: document.id.clone(), detail });
    let masks = document.text.matches(MASK).count();
    if document.answer.trim().is_empty() {
        return refuse("it has no answer".to_owned());
    }
    if masks == 0 || masks != document.num_masks as usize {
        return refuse(format!(
            "`{MASK}` stands {masks} times in its text, {} times by its record",
            document.num_masks
        ));
    }
    match mask::leaks(&document.text, &document.answer) {
        true => refuse(format!("its answer `{}` can be read in its text", document.answer)),
        false => Ok(()),
    }
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// What is said.
    pub content: String,
    /// Who says it.
    pub role: &'static str,
}

/// What a document is rewarded by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// Accepted answers: the hidden entity.
    pub ground_truth: Vec<String>,
    /// The kind of reward: a rule, no model.
    pub style: &'static str,
}

/// Where a document comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Number of the row.
    pub index: i64,
    /// Passages of the document.
    pub num_docs: i64,
    /// Id of the passage whose entity is hidden.
    pub anchor_idx: i64,
    /// Ids of all passages in the order of the text.
    pub retrieved_indices: Vec<i64>,
    /// The question.
    pub question: String,
}

/// A row of MemTrain's released trainer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DocumentRow {
    /// Name of the set, by which the reward is chosen.
    pub data_source: String,
    /// One user message: the question.
    pub prompt: Vec<ChatMessage>,
    /// The text with the hidden entity.
    pub context: String,
    /// What is rewarded.
    pub ability: &'static str,
    /// The answer.
    pub reward_model: Truth,
    /// The rest.
    pub extra_info: Origin,
}

const USER: &str = "user";
const ASSISTANT: &str = "assistant";

impl DocumentRow {
    /// The row of a document, which is asked this question; `index` is its number.
    ///
    /// # Errors
    /// As [`check`], and if an id is larger than the trainer's numbers.
    pub fn of(document: &Document, index: u64, question: &str, data_source: &str) -> Result<Self, NotExportable> {
        check(document)?;
        let signed = |number: u64| {
            let detail = format!("its passage has the id {number}, which is no signed number of 64 bits");
            i64::try_from(number).map_err(|_| NotExportable { id: document.id.clone(), detail })
        };
        let ids = document.passages.iter().map(|passage| signed(passage.passage_id));
        let pivot = document.passages.iter().find(|passage| passage.role == PassageRole::Pivot);
        let no_pivot = || NotExportable { id: document.id.clone(), detail: "it has no pivot".to_owned() };
        Ok(Self {
            data_source: data_source.to_owned(),
            prompt: vec![ChatMessage { content: question.to_owned(), role: USER }],
            context: document.text.clone(),
            ability: ABILITY,
            reward_model: Truth { ground_truth: vec![document.answer.clone()], style: STYLE },
            extra_info: Origin {
                index: signed(index)?,
                num_docs: signed(document.passages.len() as u64)?,
                anchor_idx: signed(pivot.ok_or_else(no_pivot)?.passage_id)?,
                retrieved_indices: ids.collect::<Result<_, _>>()?,
                question: question.to_owned(),
            },
        })
    }

    fn question(&self) -> &str {
        &self.extra_info.question
    }
}

fn message_fields() -> Fields {
    Fields::from(vec![required("content", DataType::Utf8), required("role", DataType::Utf8)])
}

fn reward_fields() -> Fields {
    Fields::from(vec![required("ground_truth", list_of(DataType::Utf8)), required("style", DataType::Utf8)])
}

fn extra_fields() -> Fields {
    Fields::from(vec![
        required("index", DataType::Int64),
        required("num_docs", DataType::Int64),
        required("anchor_idx", DataType::Int64),
        required("retrieved_indices", list_of(DataType::Int64)),
        required("question", DataType::Utf8),
    ])
}

impl Row for DocumentRow {
    const TABLE: &'static str = "verl_documents";
    const VERSION: u32 = 1;
    const BLOCK_ROWS: usize = 8;

    fn schema() -> SchemaRef {
        schema(message_fields(), reward_fields(), extra_fields())
    }

    fn num_bytes(&self) -> usize {
        self.context.len() + 2 * self.question().len() + 8 * self.extra_info.retrieved_indices.len() + 128
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let messages = || rows.iter().flat_map(|row| &row.prompt);
        let said = vec![
            strings(messages().map(|message| message.content.as_str())),
            strings(messages().map(|message| message.role)),
        ];
        let truths = || rows.iter().map(|row| &row.reward_model);
        let answers = strings(truths().flat_map(|truth| &truth.ground_truth).map(String::as_str));
        let rewards = vec![
            list(truths().map(|truth| truth.ground_truth.len()), answers),
            strings(truths().map(|truth| truth.style)),
        ];
        let extra = || rows.iter().map(|row| &row.extra_info);
        let ids = numbers::<Int64Type>(extra().flat_map(|extra| extra.retrieved_indices.iter().copied()));
        let extra = vec![
            numbers::<Int64Type>(extra().map(|extra| extra.index)),
            numbers::<Int64Type>(extra().map(|extra| extra.num_docs)),
            numbers::<Int64Type>(extra().map(|extra| extra.anchor_idx)),
            list(extra().map(|extra| extra.retrieved_indices.len()), ids),
            strings(rows.iter().map(Self::question)),
        ];
        let columns = vec![
            strings(rows.iter().map(|row| row.data_source.as_str())),
            list(rows.iter().map(|row| row.prompt.len()), structs(&message_fields(), said)),
            strings(rows.iter().map(|row| row.context.as_str())),
            strings(rows.iter().map(|row| row.ability)),
            structs(&reward_fields(), rewards),
            structs(&extra_fields(), extra),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (source, context) = (columns.strings("data_source")?, columns.strings("context")?);
        let (said, messages) = columns.list_of_structs("prompt")?;
        let content = messages.strings("content")?;
        let (truth_ranges, truths) = columns.structs("reward_model")?.list_of_strings("ground_truth")?;
        let extra = columns.structs("extra_info")?;
        let number = |name| extra.numbers::<Int64Type>(name);
        let (index, num_docs, anchor) = (number("index")?, number("num_docs")?, number("anchor_idx")?);
        let (id_ranges, ids) = extra.list_of_numbers::<Int64Type>("retrieved_indices")?;
        let question = extra.strings("question")?;
        let row = |row: usize| Self {
            data_source: source.value(row).to_owned(),
            prompt: said.of(row).map(|at| ChatMessage { content: content.value(at).to_owned(), role: USER }).collect(),
            context: context.value(row).to_owned(),
            ability: ABILITY,
            reward_model: Truth { ground_truth: string_items(truths, truth_ranges.of(row)), style: STYLE },
            extra_info: Origin {
                index: index[row],
                num_docs: num_docs[row],
                anchor_idx: anchor[row],
                retrieved_indices: ids[id_ranges.of(row)].to_vec(),
                question: question.value(row).to_owned(),
            },
        };
        Ok((0..batch.num_rows()).map(row).collect())
    }
}

/// A document as a conversation: all of it and the question in one message, the answer in the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatRow {
    /// [`Document::id`].
    pub id: String,
    /// What the user says.
    pub user: String,
    /// What is to be answered.
    pub assistant: String,
}

impl Row for ChatRow {
    const TABLE: &'static str = "chat";
    const VERSION: u32 = 1;
    const BLOCK_ROWS: usize = 8;

    fn schema() -> SchemaRef {
        let messages = list_of(DataType::Struct(message_fields()));
        Arc::new(Schema::new(vec![required("id", DataType::Utf8), required("messages", messages)]))
    }

    fn num_bytes(&self) -> usize {
        self.user.len() + self.assistant.len() + 64
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let said = vec![
            strings(rows.iter().flat_map(|row| [row.user.as_str(), row.assistant.as_str()])),
            strings(rows.iter().flat_map(|_| [USER, ASSISTANT])),
        ];
        let columns = vec![
            strings(rows.iter().map(|row| row.id.as_str())),
            list(rows.iter().map(|_| 2), structs(&message_fields(), said)),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let id = columns.strings("id")?;
        let (said, messages) = columns.list_of_structs("messages")?;
        let content = messages.strings("content")?;
        let row = |row: usize| {
            let mut said = string_items(content, said.of(row)).into_iter();
            match (said.next(), said.next(), said.next()) {
                (Some(user), Some(assistant), None) => Ok(Self { id: id.value(row).to_owned(), user, assistant }),
                _ => Err(RowError { column: "messages", row, detail: "two messages are expected".into() }),
            }
        };
        (0..batch.num_rows()).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtrain_corpora::store::{TableWriter, json_rows, read_table};
    use memtrain_corpora::{DocumentPassage, EntityLabel, Split};

    fn document(text: &str, answer: &str) -> Document {
        let passage = |passage_id, role, span| DocumentPassage { passage_id, role, span };
        Document {
            id: "train-00000003".into(),
            text: text.into(),
            answer: answer.into(),
            aliases: vec![],
            label: EntityLabel::Person,
            passages: vec![passage(7, PassageRole::Random, 0..3), passage(4, PassageRole::Pivot, 4..7)],
            entities: vec![],
            num_masks: text.matches(MASK).count() as u32,
            num_tokens: 9,
            seed: 1,
            split: Split::Train,
        }
    }

    #[test]
    fn a_row_is_that_of_the_released_trainer_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.parquet");
        let row = DocumentRow::of(&document("A man. [MASK] ruled Ebi.", "Gogo"), 5, "Who?", RELEASED_SOURCE).unwrap();
        let mut writer = TableWriter::create(&path).unwrap();
        writer.push(row.clone()).unwrap();
        writer.finish().unwrap();
        let back: Vec<DocumentRow> = read_table(&path).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(back, std::slice::from_ref(&row));
        let expected = serde_json::json!({
            "data_source": "hotpotqa",
            "prompt": [{"content": "Who?", "role": "user"}],
            "context": "A man. [MASK] ruled Ebi.",
            "ability": "memory",
            "reward_model": {"ground_truth": ["Gogo"], "style": "rule"},
            "extra_info": {"index": 5, "num_docs": 2, "anchor_idx": 4, "retrieved_indices": [7, 4], "question": "Who?"},
        });
        let first = serde_json::Value::Object(json_rows(&path).unwrap().next().unwrap().unwrap());
        // To the order of the keys, in the table and as a line of JSON.
        assert_eq!(first.to_string(), expected.to_string());
        assert_eq!(serde_json::to_string(&row).unwrap(), expected.to_string());
        let DataType::Struct(extra) = DocumentRow::schema().field_with_name("extra_info").unwrap().data_type().clone()
        else {
            panic!("no struct")
        };
        assert!(extra.iter().take(3).all(|field| *field.data_type() == DataType::Int64));
    }

    #[test]
    fn conversations_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.parquet");
        let row = |id: &str| ChatRow { id: id.into(), user: format!("Read {id}"), assistant: "\\boxed{Gogo}".into() };
        let mut writer = TableWriter::create(&path).unwrap();
        ["a", "b"].into_iter().for_each(|id| writer.push(row(id)).unwrap());
        writer.finish().unwrap();
        let back: Vec<ChatRow> = read_table(&path).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(back, [row("a"), row("b")]);
        let second = json_rows(&path).unwrap().nth(1).unwrap().unwrap();
        let messages = serde_json::json!([
            {"content": "Read b", "role": "user"}, {"content": "\\boxed{Gogo}", "role": "assistant"}]);
        assert_eq!(second["messages"], messages);
    }

    #[test]
    fn what_would_teach_nothing_is_refused() {
        let told = |document: &Document| {
            DocumentRow::of(document, 0, "Who?", RELEASED_SOURCE).map_err(|error| error.to_string()).unwrap_err()
        };
        assert!(told(&document("Nothing is hidden.", "Gogo")).contains("stands 0 times"));
        assert!(told(&document("[MASK] was Gogo.", "Gogo")).contains("`Gogo` can be read in its text"));
        assert!(told(&document("[MASK].", " ")).contains("no answer"));
        let mut other = document("[MASK].", "Gogo");
        other.num_masks = 2;
        assert!(told(&other).contains("2 times by its record"));
        let mut other = document("[MASK].", "Gogo");
        other.passages[0].passage_id = u64::MAX;
        assert!(told(&other).contains("18446744073709551615"));
        other.passages.clear();
        assert!(told(&other).contains("no pivot"));
    }
}
