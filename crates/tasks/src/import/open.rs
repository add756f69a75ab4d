//! Questions without context, one or several a row.

use serde_json::{Map, Value};

use super::Refused;
use super::fields::{self, first, id, others, question, text, texts};
use crate::{ContextKind, Question, Task};

/// Names of the question.
pub(super) const QUESTIONS: [&str; 4] = ["question", "query", "Question", "problem"];
/// Names of its accepted answers.
pub(super) const ANSWERS: [&str; 8] =
    ["golden_answers", "answers", "answer", "possible_answers", "Answer", "target", "ground_truth", "ground_truths"];

/// What stands between the objectives of a question and between their answers (MEM1, arXiv 2506.15841).
const BETWEEN: char = ';';

/// A question, or several objectives in one: `q1; q2` with a list of lists of answers, or with answers `a1; a2`.
pub(super) fn question_parts(asked: &str, answers: &Value) -> Result<Vec<Question>, Refused> {
    let parts: Vec<String> =
        asked.split(BETWEEN).map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    let lists = fields::answers(answers).unwrap_or_default();
    let nested = !lists.is_empty() && lists.iter().all(|item| fields::answers(item).is_some());
    if nested && lists.len() > 1 {
        if parts.len() != lists.len() {
            let detail = format!("{} objectives and answers to {}", parts.len(), lists.len());
            return Err(Refused::new("objectives and answers do not match", detail));
        }
        return parts
            .into_iter()
            .zip(lists.iter())
            .map(|(part, answers)| question(Some(part), texts(answers)))
            .collect();
    }
    let accepted = texts(answers);
    let split = |answer: &String| -> Vec<String> { answer.split(BETWEEN).map(|part| part.trim().to_owned()).collect() };
    let several = parts.len() > 1
        && parts.iter().all(|part| part.ends_with('?'))
        && !accepted.is_empty()
        && accepted.iter().all(|answer| split(answer).len() == parts.len());
    if !several {
        return Ok(vec![question(Some(asked.trim().to_owned()), accepted)?]);
    }
    let columns: Vec<Vec<String>> = accepted.iter().map(split).collect();
    let of = |at: usize| texts(&columns.iter().map(|column| column[at].clone()).collect::<Vec<_>>().into());
    parts.into_iter().zip(0..).map(|(part, at)| question(Some(part), of(at))).collect()
}

/// A row of NQ-open, TriviaQA, PopQA, Bamboogle, or of a set for searching agents.
pub(super) fn question_row(row: &Map<String, Value>, source: &str, fallback: &str) -> Result<Task, Refused> {
    let asked = text(row, &QUESTIONS).ok_or_else(|| Refused::new("no question", ""))?;
    let answers = match first(row, &ANSWERS) {
        // TriviaQA's original: the value and its aliases.
        Some(Value::Object(answer)) => {
            let named = ["Value", "value", "Aliases", "aliases"];
            Value::Array(named.iter().filter_map(|name| answer.get(*name).cloned()).collect())
        }
        Some(answers) => answers.clone(),
        None => return Err(Refused::new("no accepted answer", format!("to `{asked}`"))),
    };
    let answers = match answers {
        // An alias list inside a list is one objective's.
        Value::Array(items) if row.get("Answer").is_some() => Value::from(texts(&Value::Array(items))),
        answers => answers,
    };
    Ok(Task {
        id: id(row, fallback),
        source: text(row, &["data_source"]).unwrap_or_else(|| source.to_owned()),
        questions: question_parts(&asked, &answers)?,
        kind: ContextKind::None,
        passages: Vec::new(),
        gold: Vec::new(),
        length: 0,
        extra: others(
            row,
            &[&["_id", "id", "qid", "question_id", "QuestionId", "data_source"][..], &QUESTIONS, &ANSWERS].concat(),
        ),
    })
}

/// Whether a row is one of KILT: each output of it has an answer, passages of Wikipedia that show it, or both.
pub(super) fn is_kilt(row: &Map<String, Value>) -> bool {
    let is_output = |value: &Value| value.get("answer").is_some() || value.get("provenance").is_some();
    let outputs = row.get("output").and_then(Value::as_array);
    row.contains_key("input") && outputs.is_some_and(|outputs| outputs.iter().all(is_output))
}

/// A row of KILT. Where its answers stand in Wikipedia goes with it.
pub(super) fn kilt(row: &Map<String, Value>, source: &str, fallback: &str) -> Result<Task, Refused> {
    let outputs = row.get("output").and_then(Value::as_array).into_iter().flatten();
    let answers: Vec<Value> = outputs.filter_map(|output| output.get("answer").cloned()).collect();
    Ok(Task {
        id: id(row, fallback),
        source: source.to_owned(),
        questions: vec![question(text(row, &["input"]), texts(&answers.into()))?],
        kind: ContextKind::None,
        passages: Vec::new(),
        gold: Vec::new(),
        length: 0,
        extra: others(row, &["id", "input"]),
    })
}
