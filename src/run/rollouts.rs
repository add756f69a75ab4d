//! The rollout table: every conversation of a step, with its token ids as they were drawn.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, ListArray, RecordBatch, StringArray,
    UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, SchemaRef, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use memtrain_corpora::store::{Row, RowError};

use crate::sampler::FinishReason;

/// What a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutKind {
    /// A chunk is read and the memory written anew.
    Read,
    /// The question of the document is answered from the memory.
    Answer,
    /// The question of an intermediate recall is answered from a memory.
    Recall,
    /// Thoughts are written down and something is searched for.
    Search,
    /// A chunk is read and a bank written by function calls.
    Write,
}

impl RolloutKind {
    const ALL: [RolloutKind; 5] =
        [RolloutKind::Read, RolloutKind::Answer, RolloutKind::Recall, RolloutKind::Write, RolloutKind::Search];

    /// Whether a text is read in it and a memory of it written.
    pub const fn is_reading(self) -> bool {
        matches!(self, RolloutKind::Read | RolloutKind::Write)
    }

    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            RolloutKind::Read => "read",
            RolloutKind::Answer => "answer",
            RolloutKind::Recall => "recall",
            RolloutKind::Write => "write",
            RolloutKind::Search => "search",
        }
    }
}

const fn finish_name(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// One conversation: a prompt and the response that was drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutRow {
    /// Optimizer step.
    pub step: u64,
    /// Id of the document.
    pub document_id: String,
    /// Rollout inside the document's group.
    pub rollout: u32,
    /// Turn inside the rollout; recall samples count on after the reader's turns.
    pub turn: u32,
    /// What the conversation is.
    pub kind: RolloutKind,
    /// The prompt as text, for reading.
    pub prompt: String,
    /// The response as text, for reading.
    pub response: String,
    /// Token ids of the prompt: what was given to the policy.
    pub prompt_ids: Vec<u32>,
    /// Token ids of the response: what was drawn and is trained on.
    pub response_ids: Vec<u32>,
    /// Log-probability of each response id when it was drawn.
    pub log_probs: Vec<f32>,
    /// Reward of the trajectory or of the recall sample.
    pub reward: f64,
    /// Advantage, the same for all tokens of the response.
    pub advantage: f64,
    /// The right answer.
    pub target: String,
    /// Why the response ended.
    pub finish: FinishReason,
    /// Whether it was trained on; a response of a group without any difference in reward may be left out.
    pub trained: bool,
    /// Why it was rewarded as it was: a JSON object of the reward's parts, with notes where there are any.
    pub reason: String,
}

const STRINGS: [&str; 7] = ["document_id", "kind", "prompt", "response", "target", "finish", "reason"];

fn list_type(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

fn list(lengths: impl Iterator<Item = usize>, items: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", items.data_type().clone(), false));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), items, None))
}

impl Row for RolloutRow {
    const TABLE: &'static str = "rollouts";
    const VERSION: u32 = 2;
    const BLOCK_ROWS: usize = 64;

    fn schema() -> SchemaRef {
        let required = |name: &str, kind| Field::new(name, kind, false);
        Arc::new(Schema::new(vec![
            required("step", DataType::UInt64),
            required("document_id", DataType::Utf8),
            required("rollout", DataType::UInt32),
            required("turn", DataType::UInt32),
            required("kind", DataType::Utf8),
            required("prompt", DataType::Utf8),
            required("response", DataType::Utf8),
            required("prompt_ids", list_type(DataType::UInt32)),
            required("response_ids", list_type(DataType::UInt32)),
            required("log_probs", list_type(DataType::Float32)),
            required("reward", DataType::Float64),
            required("advantage", DataType::Float64),
            required("target", DataType::Utf8),
            required("finish", DataType::Utf8),
            required("trained", DataType::Boolean),
            required("reason", DataType::Utf8),
        ]))
    }

    fn num_bytes(&self) -> usize {
        let ids = self.prompt_ids.len() + self.response_ids.len() + self.log_probs.len();
        self.prompt.len()
            + self.response.len()
            + self.target.len()
            + self.document_id.len()
            + self.reason.len()
            + 4 * ids
            + 64
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let uneven = rows.iter().position(|row| row.log_probs.len() != row.response_ids.len());
        if let Some(row) = uneven {
            let detail = format!("{} for {} response ids", rows[row].log_probs.len(), rows[row].response_ids.len());
            return Err(RowError { column: "log_probs", row, detail });
        }
        let strings =
            |text: fn(&Self) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(text))) };
        let u32s =
            |value: fn(&Self) -> u32| -> ArrayRef { Arc::new(UInt32Array::from_iter_values(rows.iter().map(value))) };
        let f64s =
            |value: fn(&Self) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.iter().map(value))) };
        let ids = |ids: fn(&Self) -> &[u32]| {
            let items = Arc::new(UInt32Array::from_iter_values(rows.iter().flat_map(ids).copied()));
            list(rows.iter().map(|row| ids(row).len()), items)
        };
        let log_probs = Arc::new(Float32Array::from_iter_values(rows.iter().flat_map(|row| &row.log_probs).copied()));
        let columns = vec![
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.step))) as ArrayRef,
            strings(|row| &row.document_id),
            u32s(|row| row.rollout),
            u32s(|row| row.turn),
            strings(|row| row.kind.as_str()),
            strings(|row| &row.prompt),
            strings(|row| &row.response),
            ids(|row| &row.prompt_ids),
            ids(|row| &row.response_ids),
            list(rows.iter().map(|row| row.log_probs.len()), log_probs),
            f64s(|row| row.reward),
            f64s(|row| row.advantage),
            strings(|row| &row.target),
            strings(|row| finish_name(row.finish)),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.trained)))),
            strings(|row| &row.reason),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns { batch };
        let [document_id, kind, prompt, response, target, finish, reason] = STRINGS.map(|name| columns.strings(name));
        let (document_id, kind, prompt, response) = (document_id?, kind?, prompt?, response?);
        let (target, finish, reason) = (target?, finish?, reason?);
        let trained = columns.get("trained", |array| array.as_boolean_opt())?;
        let steps = columns.get("step", |array| array.as_primitive_opt::<UInt64Type>())?.values();
        let rollouts = columns.get("rollout", |array| array.as_primitive_opt::<UInt32Type>())?.values();
        let turns = columns.get("turn", |array| array.as_primitive_opt::<UInt32Type>())?.values();
        let rewards = columns.get("reward", |array| array.as_primitive_opt::<Float64Type>())?.values();
        let advantages = columns.get("advantage", |array| array.as_primitive_opt::<Float64Type>())?.values();
        let (prompt_ids, response_ids) = (columns.lists("prompt_ids")?, columns.lists("response_ids")?);
        let log_probs = columns.lists("log_probs")?;
        (0..batch.num_rows())
            .map(|row| {
                Ok(RolloutRow {
                    step: steps[row],
                    document_id: document_id.value(row).to_owned(),
                    rollout: rollouts[row],
                    turn: turns[row],
                    kind: named(RolloutKind::ALL, RolloutKind::as_str, kind.value(row), "kind", row)?,
                    prompt: prompt.value(row).to_owned(),
                    response: response.value(row).to_owned(),
                    prompt_ids: items::<UInt32Type>(&prompt_ids.value(row), "prompt_ids", row)?,
                    response_ids: items::<UInt32Type>(&response_ids.value(row), "response_ids", row)?,
                    log_probs: items::<Float32Type>(&log_probs.value(row), "log_probs", row)?,
                    reward: rewards[row],
                    advantage: advantages[row],
                    target: target.value(row).to_owned(),
                    finish: named(
                        [FinishReason::Stop, FinishReason::Length],
                        finish_name,
                        finish.value(row),
                        "finish",
                        row,
                    )?,
                    trained: trained.value(row),
                    reason: reason.value(row).to_owned(),
                })
            })
            .collect()
    }
}

/// The columns of a batch whose schema has been checked.
struct Columns<'a> {
    batch: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    fn get<T>(&self, name: &'static str, cast: impl Fn(&'a ArrayRef) -> Option<&'a T>) -> Result<&'a T, RowError> {
        let problem = |detail: String| RowError { column: name, row: 0, detail };
        let array = self.batch.column_by_name(name).ok_or_else(|| problem("the column is missing".into()))?;
        if array.null_count() > 0 {
            return Err(problem("a null where none may be".into()));
        }
        cast(array).ok_or_else(|| problem(format!("unexpected type {}", array.data_type())))
    }

    fn strings(&self, name: &'static str) -> Result<&'a StringArray, RowError> {
        self.get(name, |array| array.as_string_opt::<i32>())
    }

    fn lists(&self, name: &'static str) -> Result<&'a ListArray, RowError> {
        self.get(name, |array| array.as_list_opt::<i32>())
    }
}

fn items<T: arrow::array::ArrowPrimitiveType>(
    array: &ArrayRef,
    column: &'static str,
    row: usize,
) -> Result<Vec<T::Native>, RowError> {
    match array.as_primitive_opt::<T>() {
        Some(items) => Ok(items.values().to_vec()),
        None => Err(RowError { column, row, detail: format!("unexpected items of type {}", array.data_type()) }),
    }
}

fn named<T: Copy, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
    wanted: &str,
    column: &'static str,
    row: usize,
) -> Result<T, RowError> {
    let found = all.into_iter().find(|&value| name(value) == wanted);
    found.ok_or_else(|| RowError { column, row, detail: format!("unknown value `{wanted}`") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtrain_corpora::store::{self, TableWriter, read_table};

    fn row(turn: u32) -> RolloutRow {
        RolloutRow {
            step: 3,
            document_id: "12".into(),
            rollout: 1,
            turn,
            kind: RolloutKind::ALL[turn as usize % 5],
            prompt: "Section: Ünï".into(),
            response: format!("memory {turn}"),
            prompt_ids: (0..turn + 4).collect(),
            response_ids: (0..turn).collect(),
            log_probs: (0..turn).map(|i| -0.1 * i as f32).collect(),
            reward: 1.0 / 3.0,
            advantage: -0.25,
            target: "Arnmouth".into(),
            finish: if turn.is_multiple_of(2) { FinishReason::Stop } else { FinishReason::Length },
            trained: turn.is_multiple_of(3),
            reason: format!("{{\"correct\":{turn}}}"),
        }
    }

    #[test]
    fn rows_come_back_as_they_were_written_and_the_bytes_are_always_the_same() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows: Vec<_> = (0..7).map(row).collect();
        let write = |name: &str| {
            let path = folder.path().join(name);
            let mut writer = TableWriter::create(&path).expect("created");
            rows.iter().for_each(|row| writer.push(row.clone()).expect("pushed"));
            (path, writer.finish().expect("finished"))
        };
        let (path, summary) = write("a.parquet");
        assert_eq!(summary, write("b.parquet").1);
        assert_eq!(summary.hash, store::hash_file(&path).expect("hashed"));
        let back: Vec<RolloutRow> = read_table(&path).expect("opened").collect::<Result<_, _>>().expect("read");
        assert_eq!(back, rows);
    }

    #[test]
    fn a_row_with_a_missing_log_probability_is_refused() {
        let broken = RolloutRow { log_probs: Vec::new(), ..row(2) };
        let error = RolloutRow::to_batch(&[row(1), broken]).expect_err("uneven");
        assert_eq!((error.column, error.row), ("log_probs", 1));
    }
}
