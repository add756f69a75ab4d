//! Tasks as rows that verl's loader and MemAgent's recipe read.
//!
//! verl takes a row without `reward_model` without a word and fails only when the first reward is computed, so every row
//! is complete here, and the reward function is written beside the data.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use memtrain_corpora::store::columns::{Columns, list, list_of, numbers, required, string_items, strings, structs};
use memtrain_corpora::store::{Row, RowError};

use super::Task;

/// The reward function that belongs to the rows: Python, the metric `strict_boxed`.
pub const REWARD: &str = include_str!("../../../integrations/verl/reward.py");

/// A row for verl: a question, its context and the accepted answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerlRow {
    /// The set.
    pub data_source: String,
    /// The question: the one user message of `prompt`.
    pub question: String,
    /// The context; empty where there is none.
    pub context: String,
    /// Accepted answers.
    pub ground_truth: Vec<String>,
    /// Number of the row.
    pub index: u64,
    /// Id of the task.
    pub task_id: String,
    /// Passages of the context.
    pub num_docs: u64,
}

impl VerlRow {
    /// A row for each question of a task; `first` is the number of the first.
    pub fn of_task(task: &Task, first: u64) -> Vec<Self> {
        let context = task.context();
        let row = |(question, index): (&super::Question, u64)| Self {
            data_source: task.source.clone(),
            question: question.text.clone(),
            context: context.clone(),
            ground_truth: question.answers.clone(),
            index,
            task_id: task.id.clone(),
            num_docs: task.passages.len() as u64,
        };
        task.questions.iter().zip(first..).map(row).collect()
    }
}

fn message_fields() -> Fields {
    Fields::from(vec![required("role", DataType::Utf8), required("content", DataType::Utf8)])
}

fn reward_fields() -> Fields {
    Fields::from(vec![required("style", DataType::Utf8), required("ground_truth", list_of(DataType::Utf8))])
}

fn extra_fields() -> Fields {
    Fields::from(vec![
        required("index", DataType::UInt64),
        required("question", DataType::Utf8),
        required("num_docs", DataType::UInt64),
        required("task_id", DataType::Utf8),
    ])
}

/// What is rewarded: verl groups its metrics by it.
pub(crate) const ABILITY: &str = "memory";
/// The kind of reward: a rule, no model.
pub(crate) const STYLE: &str = "rule";

/// The columns of a row for verl with a context, by the fields of a message, of the reward and of what comes beside them.
pub(crate) fn schema(message: Fields, reward: Fields, extra: Fields) -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("data_source", DataType::Utf8),
        required("prompt", list_of(DataType::Struct(message))),
        required("context", DataType::Utf8),
        required("ability", DataType::Utf8),
        required("reward_model", DataType::Struct(reward)),
        required("extra_info", DataType::Struct(extra)),
    ]))
}

impl Row for VerlRow {
    const TABLE: &'static str = "verl";
    const VERSION: u32 = 1;
    const BLOCK_ROWS: usize = 8;

    fn schema() -> SchemaRef {
        schema(message_fields(), reward_fields(), extra_fields())
    }

    fn num_bytes(&self) -> usize {
        self.context.len() + 2 * self.question.len() + self.ground_truth.iter().map(String::len).sum::<usize>() + 64
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        if let Some(row) = rows.iter().position(|row| row.ground_truth.is_empty()) {
            return Err(RowError { column: "reward_model", row, detail: "no accepted answer".into() });
        }
        let questions = || strings(rows.iter().map(|row| row.question.as_str()));
        let repeated = |text: &'static str| strings(rows.iter().map(move |_| text));
        let truths = strings(rows.iter().flat_map(|row| &row.ground_truth).map(String::as_str));
        let truths = list(rows.iter().map(|row| row.ground_truth.len()), truths);
        let messages = structs(&message_fields(), vec![repeated("user"), questions()]);
        let extra = vec![
            numbers::<UInt64Type>(rows.iter().map(|row| row.index)),
            questions(),
            numbers::<UInt64Type>(rows.iter().map(|row| row.num_docs)),
            strings(rows.iter().map(|row| row.task_id.as_str())),
        ];
        let columns = vec![
            strings(rows.iter().map(|row| row.data_source.as_str())),
            list(rows.iter().map(|_| 1), messages),
            strings(rows.iter().map(|row| row.context.as_str())),
            repeated(ABILITY),
            structs(&reward_fields(), vec![repeated(STYLE), truths]),
            structs(&extra_fields(), extra),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (source, context) = (columns.strings("data_source")?, columns.strings("context")?);
        let reward = columns.structs("reward_model")?;
        let (truth_ranges, truths) = reward.list_of_strings("ground_truth")?;
        let extra = columns.structs("extra_info")?;
        let (index, num_docs) = (extra.numbers::<UInt64Type>("index")?, extra.numbers::<UInt64Type>("num_docs")?);
        let (question, task_id) = (extra.strings("question")?, extra.strings("task_id")?);
        let row = |row: usize| Self {
            data_source: source.value(row).to_owned(),
            question: question.value(row).to_owned(),
            context: context.value(row).to_owned(),
            ground_truth: string_items(truths, truth_ranges.of(row)),
            index: index[row],
            task_id: task_id.value(row).to_owned(),
            num_docs: num_docs[row],
        };
        Ok((0..batch.num_rows()).map(row).collect())
    }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::store::{self, TableWriter, json_rows, read_table};

    use super::*;
    use crate::{ContextKind, ContextPassage, Question};

    #[test]
    fn rows_have_the_form_that_verl_reads_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.parquet");
        let question = |text: &str| Question { text: text.into(), answers: vec!["a".into(), "b".into()] };
        let task = Task {
            id: "t".into(),
            source: "set".into(),
            questions: vec![question("one?"), question("two?")],
            kind: ContextKind::Text,
            passages: vec![ContextPassage { title: String::new(), text: "Words.".into() }],
            gold: vec![],
            length: 0,
            extra: Default::default(),
        };
        let rows = VerlRow::of_task(&task, 5);
        let mut writer = TableWriter::create(&path).unwrap();
        rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
        writer.finish().unwrap();
        let back: Vec<VerlRow> = read_table(&path).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(back, rows);
        let second = json_rows(&path).unwrap().nth(1).unwrap().unwrap();
        let expected = serde_json::json!({
            "data_source": "set",
            "prompt": [{"role": "user", "content": "two?"}],
            "context": "Words.",
            "ability": "memory",
            "reward_model": {"style": "rule", "ground_truth": ["a", "b"]},
            "extra_info": {"index": 6, "question": "two?", "num_docs": 1, "task_id": "t"},
        });
        assert_eq!(serde_json::Value::Object(second), expected);
        let empty = VerlRow { ground_truth: vec![], ..rows[0].clone() };
        assert!(VerlRow::to_batch(&[empty]).is_err());
        assert!(store::exists(&path));
    }
}
