//! SQuAD 1 and 2: articles with paragraphs, or the hub's table of one question a row.

use serde_json::{Map, Value};

use super::fields::{id, list, passage, question, text, texts};
use super::{Converted, Refused};
use crate::{ContextKind, Task};

/// The whole file, one article of it, or one question.
pub(super) fn article_or_row(row: &Map<String, Value>, source: &str, fallback: &str) -> Converted {
    let articles = match row.get("data") {
        Some(Value::Array(articles)) => articles.iter().filter_map(Value::as_object).collect(),
        _ if row.contains_key("paragraphs") => vec![row],
        _ => return vec![one(row, text(row, &["title"]), text(row, &["context"]), source, fallback)],
    };
    let mut tasks = Vec::new();
    for article in articles {
        let title = text(article, &["title"]).map(|title| title.replace('_', " "));
        for paragraph in objects(article.get("paragraphs")) {
            let context = text(&paragraph, &["context"]);
            for qa in objects(paragraph.get("qas")) {
                let fallback = format!("{fallback}-{:05}", tasks.len());
                tasks.push(one(&qa, title.clone(), context.clone(), source, &fallback));
            }
        }
    }
    tasks
}

fn objects(value: Option<&Value>) -> Vec<Map<String, Value>> {
    let object = |value: Value| if let Value::Object(object) = value { Some(object) } else { None };
    value.and_then(list).unwrap_or_default().into_iter().filter_map(object).collect()
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
    let missing = asked.answers.iter().find(|answer| !passage.text.contains(answer.as_str()));
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
