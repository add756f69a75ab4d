//! Table `eval_turns`: every prompt and response of an evaluation.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Float32Type, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use memtrain_corpora::store::columns::{Columns, list, list_of, numbers, required, strings};
use memtrain_corpora::store::{Row, RowError};
use memtrain_engine::sampler::FinishReason;
use memtrain_rl::rollout::Turn;

use super::ItemKey;

/// One prompt and the response to it.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalTurn {
    /// The item.
    pub key: ItemKey,
    /// Number of the turn.
    pub turn: u32,
    /// What it was for: `read`, `answer`, `recall`, `search` or `write`.
    pub kind: String,
    /// The prompt as text.
    pub prompt: String,
    /// The response as text.
    pub response: String,
    /// Token ids of the prompt; empty, as those of the response, where a server was asked in words.
    pub prompt_ids: Vec<u32>,
    /// Token ids of the response.
    pub response_ids: Vec<u32>,
    /// Log-probability of each response id when it was drawn.
    pub log_probs: Vec<f32>,
    /// `stop` or `length`.
    pub finish: String,
}

impl EvalTurn {
    /// A turn of an item; `prompt` is the prompt's text.
    pub fn new(key: &ItemKey, number: usize, turn: &Turn, prompt: String) -> Self {
        let finish = match turn.completion.finish {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        };
        Self {
            key: key.clone(),
            turn: number as u32,
            kind: turn.kind.as_str().to_owned(),
            prompt,
            response: turn.text.clone(),
            prompt_ids: turn.prompt_ids.clone(),
            response_ids: turn.completion.token_ids.clone(),
            log_probs: turn.completion.log_probs.clone(),
            finish: finish.to_owned(),
        }
    }
}

impl Row for EvalTurn {
    const TABLE: &'static str = "eval_turns";
    const VERSION: u32 = 1;
    const BLOCK_ROWS: usize = 64;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            required("task", DataType::Utf8),
            required("length", DataType::UInt32),
            required("question", DataType::UInt32),
            required("method", DataType::Utf8),
            required("turn", DataType::UInt32),
            required("kind", DataType::Utf8),
            required("prompt", DataType::Utf8),
            required("response", DataType::Utf8),
            required("prompt_ids", list_of(DataType::UInt32)),
            required("response_ids", list_of(DataType::UInt32)),
            required("log_probs", list_of(DataType::Float32)),
            required("finish", DataType::Utf8),
        ]))
    }

    fn num_bytes(&self) -> usize {
        let ids = self.prompt_ids.len() + self.response_ids.len() + self.log_probs.len();
        self.prompt.len() + self.response.len() + 4 * ids + 96
    }

    fn to_batch(rows: &[Self]) -> Result<Result<RecordBatch, ArrowError>, RowError> {
        let text = |text: fn(&Self) -> &str| strings(rows.iter().map(text));
        let number = |value: fn(&Self) -> u32| numbers::<UInt32Type>(rows.iter().map(value));
        let ids = |ids: fn(&Self) -> &[u32]| {
            let items = numbers::<UInt32Type>(rows.iter().flat_map(ids).copied());
            list(rows.iter().map(|row| ids(row).len()), items)
        };
        let log_probs = numbers::<Float32Type>(rows.iter().flat_map(|row| &row.log_probs).copied());
        let columns = vec![
            text(|row| &row.key.task),
            number(|row| row.key.length),
            number(|row| row.key.question),
            text(|row| &row.key.method),
            number(|row| row.turn),
            text(|row| &row.kind),
            text(|row| &row.prompt),
            text(|row| &row.response),
            ids(|row| &row.prompt_ids),
            ids(|row| &row.response_ids),
            list(rows.iter().map(|row| row.log_probs.len()), log_probs),
            text(|row| &row.finish),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns))
    }

    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError> {
        let columns = Columns::of_batch(batch);
        let (task, method) = (columns.strings("task")?, columns.strings("method")?);
        let length = columns.numbers::<UInt32Type>("length")?;
        let question = columns.numbers::<UInt32Type>("question")?;
        let (turn, kind) = (columns.numbers::<UInt32Type>("turn")?, columns.strings("kind")?);
        let (prompt, response) = (columns.strings("prompt")?, columns.strings("response")?);
        let (prompt_ranges, prompt_ids) = columns.list_of_numbers::<UInt32Type>("prompt_ids")?;
        let (response_ranges, response_ids) = columns.list_of_numbers::<UInt32Type>("response_ids")?;
        let (log_prob_ranges, log_probs) = columns.list_of_numbers::<Float32Type>("log_probs")?;
        let finish = columns.strings("finish")?;
        let row = |row: usize| Self {
            key: ItemKey {
                task: task.value(row).to_owned(),
                length: length[row],
                question: question[row],
                method: method.value(row).to_owned(),
            },
            turn: turn[row],
            kind: kind.value(row).to_owned(),
            prompt: prompt.value(row).to_owned(),
            response: response.value(row).to_owned(),
            prompt_ids: prompt_ids[prompt_ranges.of(row)].to_vec(),
            response_ids: response_ids[response_ranges.of(row)].to_vec(),
            log_probs: log_probs[log_prob_ranges.of(row)].to_vec(),
            finish: finish.value(row).to_owned(),
        };
        Ok((0..batch.num_rows()).map(row).collect())
    }
}
