//! A JSON object a line: `id`, `url`, `title`, `text`.

use std::path::Path;

use serde_json::Value;

use super::lines::Lines;
use super::{Fields, Text, malformed};
use crate::dump::DumpError;
use crate::dump::unescape;
use crate::json;

struct Rows {
    lines: Lines,
    given: u64,
    finished: bool,
}

/// Opens the file; one whose first object has no `title` or no `text` is refused.
pub(super) fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Text, DumpError>> + use<>, DumpError> {
    let mut lines = Lines::open(path)?;
    while let Some(line) = lines.next()? {
        let Ok(line) = line else { break };
        if line.trim().is_empty() {
            continue;
        }
        let refused = |detail: String| Err(DumpError::NotADump { path: path.to_path_buf(), detail });
        match json::object(line) {
            Ok(object) => {
                if let Some(missing) = ["title", "text"].into_iter().find(|&key| !object.contains_key(key)) {
                    let keys: Vec<String> = object.keys().map(|key| format!("`{key}`")).collect();
                    return refused(format!("its first JSON object has no `{missing}`, only {}", keys.join(", ")));
                }
            }
            Err(error) if error.is_eof() && lines.complete => {
                return refused("its JSON objects go over several lines: write each on one (`jq -c .`)".to_owned());
            }
            Err(_) => {}
        }
        break;
    }
    Ok(Rows { lines: Lines::open(path)?, given: 0, finished: false })
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
    let mut string = |key: &str| match object.remove(key) {
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let fields = Fields { id: string("id"), url: string("url"), title: string("title"), text: string("text") };
    // WikiExtractor tells the revision, and nobody else does. It escapes what could be taken for HTML.
    let is_wiki_extractor = object.contains_key("revid");
    Ok(fields.text().map(|text| Text {
        lines_are_paragraphs: is_wiki_extractor,
        text: if is_wiki_extractor { unescape(&text.text).into_owned() } else { text.text },
        ..text
    }))
}
