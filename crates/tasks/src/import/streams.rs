//! Long contexts: RULER and MemAgent, Mem-α's chunks, verl's rows.

use serde_json::{Map, Value};

use super::Refused;
use super::fields::{first, id, list, name, others, question, text, text_of, texts};
use crate::{ContextKind, ContextPassage, Question, Task};

/// Names of a question beside a context.
const ASKED: [&str; 3] = ["question", "query", "input"];

fn one_text(text: String) -> Vec<ContextPassage> {
    vec![ContextPassage { title: String::new(), text }]
}

/// A row of RULER, whose `input` holds context and question, or of MemAgent's, where they are apart.
pub(super) fn ruler(row: &Map<String, Value>, source: &str, fallback: &str) -> Result<Task, Refused> {
    let answers = first(row, &["outputs", "answers", "answer", "golden_answers"]).map(texts).unwrap_or_default();
    let (context, asked) = match (text(row, &["context"]), text(row, &ASKED)) {
        (Some(context), asked) => (context, asked),
        (None, Some(input)) => {
            let (context, asked) = apart(&input).ok_or_else(|| Refused::new("no context before the question", ""))?;
            (context.to_owned(), Some(asked.to_owned()))
        }
        (None, None) => return Err(Refused::new("no context", "")),
    };
    let asked = question(asked, answers)?;
    if context.trim().is_empty() {
        return Err(Refused::new("no context", ""));
    }
    let named = name(row, &["_id", "id", "index"]);
    Ok(Task {
        id: named.map_or_else(|| fallback.to_owned(), |name| format!("{source}-{name}")),
        source: source.to_owned(),
        questions: vec![asked],
        kind: ContextKind::Text,
        passages: one_text(context),
        gold: Vec::new(),
        length: row.get("num_docs").and_then(Value::as_u64).and_then(|length| u32::try_from(length).ok()).unwrap_or(0),
        extra: others(row, &["_id", "id", "question", "query", "input", "context", "outputs", "answers", "num_docs"]),
    })
}

/// Context and question of an input that holds both: the question is the last paragraph, or the last line.
fn apart(input: &str) -> Option<(&str, &str)> {
    let input = input.trim();
    let question_from = input.rfind("\n\nQuestion:").or_else(|| input.rfind("\n\n")).or_else(|| input.rfind('\n'))?;
    let (context, asked) = input.split_at(question_from);
    let asked = asked.trim();
    let asked = asked.strip_prefix("Question:").unwrap_or(asked).trim();
    // RULER's cue for the answer is no part of the question.
    let asked = asked.strip_suffix("Answer:").unwrap_or(asked).trim();
    (!context.trim().is_empty() && !asked.is_empty()).then_some((context.trim(), asked))
}

/// An instance of Mem-α: chunks and the questions about all of them. Tables keep both lists as text.
pub(super) fn memalpha(row: &Map<String, Value>, source: &str, fallback: &str) -> Result<Task, Refused> {
    let chunks = first(row, &["chunks"]).and_then(list).ok_or_else(|| Refused::new("no list of chunks", ""))?;
    let chunk = |value: &Value| text_of(value).or_else(|| text(value.as_object()?, &["text", "content", "chunk"]));
    let passages: Vec<ContextPassage> = chunks
        .iter()
        .filter_map(chunk)
        .filter(|text| !text.trim().is_empty())
        .map(|text| ContextPassage { title: String::new(), text })
        .collect();
    if passages.is_empty() || passages.len() < chunks.len() {
        return Err(Refused::new(
            "a chunk without text",
            format!("{} of {}", chunks.len() - passages.len(), chunks.len()),
        ));
    }
    let asked = first(row, &["questions_and_answers", "questions", "qa_pairs", "qas", "qa"])
        .and_then(list)
        .ok_or_else(|| Refused::new("no list of questions", ""))?;
    let questions = asked.iter().map(asked_of).collect::<Result<Vec<Question>, _>>()?;
    let taken = ["id", "_id", "instance_id", "chunks", "questions_and_answers", "questions", "qa_pairs", "qas", "qa"];
    Ok(Task {
        id: id(row, fallback),
        source: text(row, &["data_source", "sub_source"]).unwrap_or_else(|| source.to_owned()),
        questions,
        kind: ContextKind::Chunks,
        passages,
        gold: Vec::new(),
        length: 0,
        extra: others(row, &taken),
    })
}

fn asked_of(value: &Value) -> Result<Question, Refused> {
    let row = value.as_object().ok_or_else(|| Refused::new("a question that is no object", ""))?;
    question(text(row, &["question", "q"]), first(row, &["answers", "answer", "a"]).map(texts).unwrap_or_default())
}

/// A row of verl: the question is in `extra_info`, or the last user message.
pub(super) fn verl(row: &Map<String, Value>, source: &str, fallback: &str) -> Result<Task, Refused> {
    let object = |key: &str| row.get(key).and_then(Value::as_object);
    let truth = object("reward_model").and_then(|model| first(model, &["ground_truth"]));
    let truth = match truth {
        Some(Value::Object(truth)) => first(truth, &["target"]),
        truth => truth,
    };
    let messages = row.get("prompt").and_then(list).unwrap_or_default();
    let said = messages
        .iter()
        .rev()
        .filter_map(Value::as_object)
        .find(|message| message.get("role").and_then(Value::as_str) == Some("user"));
    let asked = object("extra_info")
        .and_then(|extra| text(extra, &["question"]))
        .or_else(|| said.and_then(|message| text(message, &["content"])));
    let asked = question(asked, truth.map(texts).unwrap_or_default())?;
    let context = text(row, &["context"]).filter(|context| !context.trim().is_empty());
    let index = object("extra_info").and_then(|extra| name(extra, &["index"]));
    let split = object("extra_info").and_then(|extra| text(extra, &["split"]));
    let length = object("extra_info").and_then(|extra| extra.get("num_docs")).and_then(Value::as_u64);
    let source = text(row, &["data_source"]).unwrap_or_else(|| source.to_owned());
    // An index counts the rows of a source's split.
    let id = index
        .map(|index| [Some(source.clone()), split, Some(index)].into_iter().flatten().collect::<Vec<_>>().join("-"));
    Ok(Task {
        id: id.unwrap_or_else(|| fallback.to_owned()),
        source,
        questions: vec![asked],
        kind: if context.is_some() { ContextKind::Text } else { ContextKind::None },
        passages: context.map(one_text).unwrap_or_default(),
        gold: Vec::new(),
        length: length.and_then(|length| u32::try_from(length).ok()).unwrap_or(0),
        extra: others(row, &["data_source", "prompt", "context", "reward_model"]),
    })
}
