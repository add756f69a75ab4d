//! Articles of Wikimedia Enterprise: a JSON object a line with the page's `name` and its `article_body`, as wikitext and as HTML.
//!
//! The wikitext is what a dump has, and becomes the same. Where there is none the HTML is read, in which templates are evaluated.

use serde_json::{Map, Value};

use super::{Fields, Markup, Text};
use crate::dump::{self, MAX_FIELD_BYTES, SiteInfo};

/// Whether an object is an article of this kind.
pub(super) fn is_article(row: &Map<String, Value>) -> bool {
    row.contains_key("name") && row.get("article_body").is_some_and(Value::is_object)
}

/// What is wrong with an article that has no text.
pub(super) const NO_TEXT: &str =
    "has neither `article_body.wikitext` nor `article_body.html`: fetch snapshots whose `fields` name one of them";

/// Where the text of an article may stand, the better one first, and how it is written.
const BODIES: [(&str, Markup); 2] = [("wikitext", Markup::Wikitext), ("html", Markup::Parsoid)];

/// Whether the article has its text.
pub(super) fn has_text(row: &Map<String, Value>) -> bool {
    let is_text = |body: &Value, key: &str| body.get(key).is_some_and(Value::is_string);
    row.get("article_body").is_some_and(|body| BODIES.iter().any(|(key, _)| is_text(body, key)))
}

/// What an article says of its wiki.
pub(super) fn site(row: &Map<String, Value>) -> SiteInfo {
    let field = |value: Option<&Value>| value.and_then(text).filter(|text| text.len() <= MAX_FIELD_BYTES);
    let dbname = field(inside(row, "is_part_of")).unwrap_or_default();
    SiteInfo {
        base: field(row.get("url")).unwrap_or_default(),
        language: field(inside(row, "in_language")).unwrap_or_default(),
        case: if dbname.ends_with("wiktionary") { "case-sensitive" } else { "first-letter" }.to_owned(),
        dbname,
        ..SiteInfo::default()
    }
}

/// The article; else its title and what is wrong with it.
pub(super) fn article(mut row: Map<String, Value>) -> Result<Text, (Option<String>, String)> {
    let mut body = row.get_mut("article_body").map(Value::take).unwrap_or_default();
    let found = BODIES.into_iter().find_map(|(key, markup)| match body.get_mut(key).map(Value::take) {
        Some(Value::String(text)) => Some((text, markup)),
        _ => None,
    });
    let Some((body, markup)) = found else {
        return Err((row.get("name").and_then(text), format!("it {NO_TEXT}")));
    };
    let fields = Fields {
        id: row.get("identifier").and_then(text),
        url: row.get("url").and_then(text),
        title: row.get("name").and_then(text),
        text: Some(body),
        markup,
    };
    let timestamp = row.get("date_modified").and_then(text).unwrap_or_default();
    if let Some(detail) = dump::too_long("timestamp", &timestamp) {
        return Err((fields.title, detail));
    }
    Ok(Text {
        namespace: inside(&row, "namespace").and_then(Value::as_i64).unwrap_or(0),
        revision_id: inside(&row, "version").and_then(Value::as_u64).unwrap_or(0),
        timestamp,
        ..fields.text()?
    })
}

/// The `identifier` of an object under a key.
fn inside<'row>(row: &'row Map<String, Value>, key: &str) -> Option<&'row Value> {
    row.get(key)?.get("identifier")
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
