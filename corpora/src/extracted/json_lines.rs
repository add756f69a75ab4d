//! A JSON object a line: `id`, `url`, `title`, `text`, or an article of Wikimedia Enterprise.

use std::path::Path;

use serde_json::{Map, Value};

use super::lines::Lines;
use super::{Fields, ID, Markup, TEXT, Text, enterprise, malformed};
use crate::dump::{DumpError, SiteInfo, unescape};
use crate::json;

pub(super) struct Rows {
    lines: Lines,
    site: SiteInfo,
    given: u64,
    finished: bool,
}

/// Opens the file; one whose first object has no title or no text is refused.
pub(super) fn rows(path: &Path) -> Result<Rows, DumpError> {
    let mut lines = Lines::open(path)?;
    let mut site = SiteInfo::default();
    while let Some(line) = lines.next()? {
        let Ok(line) = line else { break };
        if line.trim().is_empty() {
            continue;
        }
        let refused = |detail: String| Err(DumpError::NotADump { path: path.to_path_buf(), detail });
        match json::object(line) {
            Ok(row) if enterprise::is_article(&row) => {
                if !enterprise::has_text(&row) {
                    return refused(format!("its first article {}", enterprise::NO_TEXT));
                }
                site = enterprise::site(&row);
            }
            Ok(row) => {
                if let Some(detail) = what_is_missing(&row) {
                    return refused(detail);
                }
            }
            Err(error) if error.is_eof() && lines.complete => {
                return refused("its JSON objects go over several lines: write each on one (`jq -c .`)".to_owned());
            }
            Err(_) => {}
        }
        break;
    }
    Ok(Rows { lines: Lines::open(path)?, site, given: 0, finished: false })
}

impl Rows {
    /// What the first object says of the wiki.
    pub(super) fn site(&self) -> SiteInfo {
        self.site.clone()
    }
}

/// Why the first object of a file is no article.
fn what_is_missing(row: &Map<String, Value>) -> Option<String> {
    let is_there = |names: &[&str]| names.iter().any(|&name| row.contains_key(name));
    let missing = if !is_there(&["title"]) {
        "title"
    } else if !is_there(&TEXT) {
        "text"
    } else {
        let (name, value) = TEXT.iter().find_map(|&name| row.get(name).map(|value| (name, value)))?;
        let kind = match value {
            Value::Null | Value::String(_) => return None,
            Value::Array(_) if joined(value, "\n\n").is_some() => return None,
            Value::Array(_) => "a list of other things than text",
            Value::Object(_) => "an object",
            Value::Number(_) => "a number",
            Value::Bool(_) => "a truth value",
        };
        return Some(format!("the `{name}` of its first JSON object is {kind}, not text"));
    };
    let keys: Vec<String> = row.keys().map(|key| format!("`{key}`")).collect();
    let inside = row.iter().find(|(_, value)| value.get(missing).is_some());
    let inside = inside.map_or_else(String::new, |(key, _)| {
        format!("; there is one inside `{key}`: write the fields side by side (`jq -c '.{key}'`)")
    });
    Some(format!("its first JSON object has no `{missing}`, only {}{inside}", keys.join(", ")))
}

impl Iterator for Rows {
    type Item = Result<Text, DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished {
            let (text, number) = match self.lines.next() {
                Ok(None) => break,
                Ok(Some(Ok(line))) if line.trim().is_empty() => continue,
                Ok(Some(line)) => (line.and_then(parse), self.lines.number),
                Err(error) => {
                    self.finished = true;
                    return Some(Err(error.after(self.given)));
                }
            };
            return Some(match text {
                Ok(Ok(text)) => {
                    self.given += 1;
                    Ok(text)
                }
                Ok(Err((title, detail))) => Err(malformed(&self.lines.path, number, title, detail)),
                // The last line of a file that was cut off.
                Err(_) if !self.lines.complete => {
                    self.finished = true;
                    Err(self.lines.truncated(self.given, "the last line is not whole"))
                }
                Err(detail) => Err(malformed(&self.lines.path, number, None, detail)),
            });
        }
        None
    }
}

/// The outer error: it is no JSON object.
fn parse(line: &str) -> Result<Result<Text, (Option<String>, String)>, String> {
    let mut object = json::object(line).map_err(|error| error.to_string())?;
    if enterprise::is_article(&object) {
        return Ok(enterprise::article(object));
    }
    let mut string = |names: &[&str]| {
        names.iter().find_map(|&name| match object.remove(name)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    };
    let (id, url, title) = (string(&ID), string(&["url"]), string(&["title"]));
    let named = TEXT.into_iter().find(|&name| object.get(name).is_some_and(|value| !value.is_null()));
    let text = named.and_then(|name| object.remove(name));
    let (text, kind) = match text {
        Some(Value::String(text)) => (Some(text), None),
        Some(list @ Value::Array(_)) => (joined(&list, "\n\n"), Some("a list of other things than text")),
        Some(Value::Object(_)) => (None, Some("an object, not text")),
        Some(Value::Number(_) | Value::Bool(_)) => (None, Some("a number or truth value, not text")),
        Some(Value::Null) | None => (None, None),
    };
    if let (None, Some(kind), Some(name)) = (&text, kind, named) {
        return Ok(Err((title, format!("its `{name}` is {kind}"))));
    }
    // WikiExtractor tells the revision, and escapes what could be taken for HTML.
    let markup = match named {
        Some("markdown") => Markup::Markdown,
        _ if object.contains_key("revid") => Markup::WikiExtractor,
        _ => Markup::Plain,
    };
    let text = match text {
        Some(text) if markup == Markup::WikiExtractor => Some(unescape(&text).into_owned()),
        text => text,
    };
    Ok(Fields { id, url, title, text, markup }.text())
}

/// A text as it is, or the parts of a list one after the other: paragraphs, and in them sentences. `None` if there is anything else in it.
fn joined(value: &Value, between: &str) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => Some(String::new()),
        Value::Array(parts) => {
            let parts = parts.iter().map(|part| joined(part, " ")).collect::<Option<Vec<String>>>()?;
            let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
            Some(parts.join(between))
        }
        _ => None,
    }
}
