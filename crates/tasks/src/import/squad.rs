//! SQuAD 1 and 2: articles with paragraphs, or the hub's table of one question a row.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::fields::{id, list, passage, question, text, texts};
use super::{Refused, Sink};
use crate::{ContextKind, Task, TaskError};

/// So many answers of a question are looked for in its paragraph, far more than sets have: each takes a pass over the text.
const ANSWERS_LOOKED_FOR: usize = 64;

/// The whole file, one article of it, or one question. A paragraph goes with each of its questions, so they are handed over one by one.
pub(super) fn article_or_row(
    row: &Map<String, Value>,
    source: &str,
    fallback: &str,
    task: &mut Sink<'_>,
) -> Result<(), TaskError> {
    let articles = match row.get("data") {
        Some(Value::Array(articles)) => articles.iter().filter_map(Value::as_object).collect(),
        _ if row.contains_key("paragraphs") => vec![row],
        _ => return task(one(row, text(row, &["title"]), text(row, &["context"]), source, fallback)),
    };
    let mut number = 0;
    for article in articles {
        let title = text(article, &["title"]).map(|title| title.replace('_', " "));
        for paragraph in listed(article, "paragraphs").iter().filter_map(Value::as_object) {
            let context = text(paragraph, &["context"]);
            for qa in listed(paragraph, "qas").iter().filter_map(Value::as_object) {
                let fallback = format!("{fallback}-{number:05}");
                task(one(qa, title.clone(), context.clone(), source, &fallback))?;
                number += 1;
            }
        }
    }
    Ok(())
}

fn listed<'row>(row: &'row Map<String, Value>, name: &str) -> Cow<'row, [Value]> {
    row.get(name).and_then(list).unwrap_or_default()
}

fn one(
    qa: &Map<String, Value>,
    title: Option<String>,
    context: Option<String>,
    source: &str,
    fallback: &str,
) -> Result<Task, Refused> {
    if qa.get("is_impossible") == Some(&Value::Bool(true)) {
        return Err(Refused::new("not answerable", id(qa, fallback)));
    }
    let answers = match qa.get("answers") {
        Some(Value::Object(columns)) => columns.get("text").map(texts).unwrap_or_default(),
        Some(Value::Array(answers)) => {
            let text = |answer: &Value| answer.get("text").cloned().unwrap_or(Value::Null);
            texts(&Value::Array(answers.iter().map(text).collect()))
        }
        _ => Vec::new(),
    };
    if answers.is_empty() && qa.contains_key("answers") {
        return Err(Refused::new("not answerable", id(qa, fallback)));
    }
    let asked = question(text(qa, &["question"]), answers)?;
    let passage = passage(title, context.unwrap_or_default()).ok_or_else(|| Refused::new("no context", ""))?;
    let missing = asked.answers.iter().take(ANSWERS_LOOKED_FOR).find(|answer| !passage.text.contains(answer.as_str()));
    if let Some(answer) = missing {
        return Err(Refused::new("an answer that is not in the paragraph", format!("`{answer}`")));
    }
    Ok(Task {
        id: id(qa, fallback),
        source: source.to_owned(),
        questions: vec![asked],
        kind: ContextKind::Passages,
        passages: vec![passage],
        gold: vec![0],
        length: 0,
        extra: Map::new(),
    })
}
