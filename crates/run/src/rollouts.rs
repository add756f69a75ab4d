//! The rollout table: every conversation of a step, with its token ids as they were drawn.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use memtrain_corpora::store::columns::{Columns, list, list_of, numbers, required, strings, u32s, u64s};
use memtrain_corpora::store::{Row, RowError};
use memtrain_rollout_types::{FinishReason, RolloutKind};

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

impl Row for RolloutRow {
    const TABLE: &'static str = "rollouts";
    const VERSION: u32 = 2;
    const BLOCK_ROWS: usize = 64;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            required("step", DataType::UInt64),
            required("document_id", DataType::Utf8),
            required("rollout", DataType::UInt32),
            required("turn", DataType::UInt32),
            required("kind", DataType::Utf8),
            required("prompt", DataType::Utf8),
            required("response", DataType::Utf8),
            required("prompt_ids", list_of(DataType::UInt32)),
            required("response_ids", list_of(DataType::UInt32)),
            required("log_probs", list_of(DataType::Float32)),
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
        let ids = |ids: fn(&Self) -> &[u32]| {
            list(rows.iter().map(|row| ids(row).len()), u32s(rows.iter().flat_map(ids).copied()))
        };
        let log_probs = numbers::<Float32Type>(rows.iter().flat_map(|row| &row.log_probs).copied());
        let columns = vec![
            u64s(rows.iter().map(|row| row.step)),
            strings(rows.iter().map(|row| row.document_id.as_str())),
            u32s(rows.iter().map(|row| row.rollout)),
            u32s(rows.iter().map(|row| row.turn)),
            strings(rows.iter().map(|row| row.kind.as_str())),
            strings(rows.iter().map(|row| row.prompt.as_str())),
            strings(rows.iter().map(|row| row.response.as_str())),
            ids(|row| &row.prompt_ids),
            ids(|row| &row.response_ids),
            list(rows.iter().map(|row| row.log_probs.len()), log_probs),
            numbers::<Float64Type>(rows.iter().map(|row| row.reward)),
            numbers::<Float64Type>(rows.iter().map(|row| row.advantage)),
            strings(rows.iter().map(|row| row.target.as_str())),
            strings(rows.iter().map(|row| finish_name(row.finish))),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.trained)))),
            strings(rows.iter().map(|row| row.reason.as_str())),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (document_id, kind) = (columns.strings("document_id")?, columns.strings("kind")?);
        let (prompt, response) = (columns.strings("prompt")?, columns.strings("response")?);
        let (target, finish, reason) =
            (columns.strings("target")?, columns.strings("finish")?, columns.strings("reason")?);
        let (steps, rollouts, turns) = (columns.u64s("step")?, columns.u32s("rollout")?, columns.u32s("turn")?);
        let rewards = columns.numbers::<Float64Type>("reward")?;
        let advantages = columns.numbers::<Float64Type>("advantage")?;
        let (prompts, prompt_ids) = columns.list_of_numbers::<UInt32Type>("prompt_ids")?;
        let (responses, response_ids) = columns.list_of_numbers::<UInt32Type>("response_ids")?;
        let (drawn, log_probs) = columns.list_of_numbers::<Float32Type>("log_probs")?;
        let trained = columns.booleans("trained")?;
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
                    prompt_ids: prompt_ids[prompts.of(row)].to_vec(),
                    response_ids: response_ids[responses.of(row)].to_vec(),
                    log_probs: log_probs[drawn.of(row)].to_vec(),
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
