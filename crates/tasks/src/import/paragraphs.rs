//! Sets whose context is a list of paragraphs: HotpotQA, 2WikiMultihopQA, MuSiQue.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::Refused;
use super::fields::{first, id, joined, list, others, passage, question, text, text_of, texts_of};
use crate::{ContextKind, ContextPassage, Task};

/// A question of HotpotQA or 2WikiMultihopQA, in the original layout (pairs) or that of the hub's tables (columns).
pub(super) fn hotpotqa(row: &Map<String, Value>, source: &str, fallback: &str) -> Result<Task, Refused> {
    let answers = texts_of(
        [first(row, &["answer", "answers"]), first(row, &["answer_aliases", "aliases"])].into_iter().flatten(),
    );
    let asked = question(text(row, &["question"]), answers)?;
    let context = pairs(row.get("context"), "sentences").ok_or_else(|| Refused::new("no context", ""))?;
    // Somebody's own questions and published test sets do not say which paragraphs answer.
    let facts = match first(row, &["supporting_facts"]) {
        Some(facts) => pairs(Some(facts), "sent_id").ok_or_else(|| Refused::new("no supporting facts", ""))?,
        None => Vec::new(),
    };
    let supporting: HashSet<String> = facts.into_iter().map(|(title, _)| title).collect();
    let (mut passages, mut gold, mut named): (Vec<ContextPassage>, Vec<u32>, HashSet<String>) = Default::default();
    for (title, sentences) in context {
        let Some(passage) = passage(Some(title.clone()), joined(&texts_kept(&sentences))) else { continue };
        if supporting.contains(&title) {
            gold.push(passages.len() as u32);
            named.insert(title);
        }
        passages.push(passage);
    }
    if passages.is_empty() {
        return Err(Refused::new("no context", "every paragraph is empty"));
    }
    if let Some(missing) = supporting.iter().filter(|title| !named.contains(*title)).min() {
        return Err(Refused::new("a supporting paragraph is not in the context", format!("`{missing}`")));
    }
    Ok(Task {
        id: id(row, fallback),
        source: source.to_owned(),
        questions: vec![asked],
        kind: ContextKind::Passages,
        passages,
        gold,
        length: 0,
        extra: others(row, &["_id", "id", "question", "answer", "answers", "context"]),
    })
}

/// Sentences as they are: repeated ones stay.
fn texts_kept(value: &Value) -> Vec<String> {
    list(value).map_or_else(|| text_of(value).into_iter().collect(), |items| items.iter().filter_map(text_of).collect())
}

/// `[[title, x], …]`, or `{"title": […], "<other>": […]}`.
fn pairs(value: Option<&Value>, other: &str) -> Option<Vec<(String, Value)>> {
    match value? {
        Value::Object(columns) => {
            let titles = list(columns.get("title")?)?;
            let others = list(columns.get(other)?)?;
            let pairs = titles.iter().zip(others.into_owned());
            Some(pairs.filter_map(|(title, other)| Some((text_of(title)?, other))).collect())
        }
        value => {
            let pair = |entry: &Value| match entry.as_array()?.as_slice() {
                [title, other, ..] => Some((text_of(title)?, other.clone())),
                _ => None,
            };
            list(value)?.iter().map(pair).collect()
        }
    }
}

/// A question of MuSiQue. Those without an answer in their paragraphs are left out.
pub(super) fn musique(row: &Map<String, Value>, source: &str, fallback: &str) -> Result<Task, Refused> {
    if row.get("answerable") == Some(&Value::Bool(false)) {
        return Err(Refused::new("not answerable", id(row, fallback)));
    }
    let answers = texts_of([first(row, &["answer"]), first(row, &["answer_aliases"])].into_iter().flatten());
    let asked = question(text(row, &["question"]), answers)?;
    let paragraphs = first(row, &["paragraphs"]).and_then(list).unwrap_or_default();
    let (mut passages, mut gold) = (Vec::new(), Vec::new());
    for paragraph in paragraphs.iter().filter_map(Value::as_object) {
        let words = text(paragraph, &["paragraph_text", "text"]).unwrap_or_default();
        let Some(passage) = passage(text(paragraph, &["title"]), words) else { continue };
        if paragraph.get("is_supporting") == Some(&Value::Bool(true)) {
            gold.push(passages.len() as u32);
        }
        passages.push(passage);
    }
    if passages.is_empty() {
        return Err(Refused::new("no context", ""));
    }
    Ok(Task {
        id: id(row, fallback),
        source: source.to_owned(),
        questions: vec![asked],
        kind: ContextKind::Passages,
        passages,
        gold,
        length: 0,
        extra: others(row, &["id", "question", "answer", "answer_aliases", "paragraphs"]),
    })
}
