//! Articles of Wikimedia Enterprise: a JSON object a line with the page's `name` and its `article_body`, as wikitext and as HTML.
//!
//! The wikitext is what a dump has, and becomes the same. HTML alone is not read.

use serde_json::{Map, Value};

use super::{Fields, Markup, Text};
use crate::dump::{self, MAX_FIELD_BYTES, SiteInfo};

/// Whether an object is an article of this kind.
pub(super) fn is_article(row: &Map<String, Value>) -> bool {
    row.contains_key("name") && row.get("article_body").is_some_and(Value::is_object)
}

/// What is wrong with an article that has no wikitext.
pub(super) const NO_WIKITEXT: &str =
    "it has no `article_body.wikitext`, and HTML is not read here: fetch snapshots whose `fields` name it";

/// Whether the article has its wikitext.
pub(super) fn has_wikitext(row: &Map<String, Value>) -> bool {
    row.get("article_body").is_some_and(|body| body.get("wikitext").is_some_and(Value::is_string))
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
    let wikitext = match row.get_mut("article_body").and_then(|body| body.get_mut("wikitext")).map(Value::take) {
        Some(Value::String(wikitext)) => wikitext,
        _ => return Err((row.get("name").and_then(text), NO_WIKITEXT.to_owned())),
    };
    let fields = Fields {
        id: row.get("identifier").and_then(text),
        url: row.get("url").and_then(text),
        title: row.get("name").and_then(text),
        text: Some(wikitext),
        markup: Markup::Wikitext,
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
