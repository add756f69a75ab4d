//! `<doc id=… url=… title=…>`, text, `</doc>`: what WikiExtractor writes.

use std::path::Path;

use super::lines::Lines;
use super::{Fields, Markup, Text, malformed};
use crate::dump::DumpError;
use crate::dump::unescape;

/// A text above this size is left out: memory is bounded by it.
const MAX_TEXT_BYTES: usize = 64 << 20;

struct Rows {
    lines: Lines,
    /// The opening line of the element that comes next, where it was read too early.
    opening: Option<String>,
    given: u64,
    finished: bool,
}

pub(super) fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Text, DumpError>> + use<>, DumpError> {
    Ok(Rows { lines: Lines::open(path)?, opening: None, given: 0, finished: false })
}

/// How an element ended.
enum End {
    Closed,
    /// At the opening of the next one, or because it cannot be used.
    Broken(&'static str),
    /// At the end of the file.
    Cut,
}

impl Rows {
    /// The line that opens the next element; what stands between elements is passed over.
    fn find_opening(&mut self) -> Result<Option<String>, DumpError> {
        if let Some(opening) = self.opening.take() {
            return Ok(Some(opening));
        }
        while let Some(line) = self.lines.next()? {
            match line {
                Ok(line) if line.trim_start().starts_with("<doc ") => return Ok(Some(line.to_owned())),
                Ok(_) => {}
                // It may be the opening, or the title in it.
                Err(detail) => return Err(malformed(&self.lines.path, self.given + 1, None, detail)),
            }
        }
        Ok(None)
    }

    fn read_text(&mut self, text: &mut String) -> Result<End, DumpError> {
        let mut broken = None;
        loop {
            let line = match self.lines.next()? {
                None => return Ok(End::Cut),
                Some(Err(_)) => {
                    broken =
                        Some("a line of it is longer than 64 MiB or not UTF-8, which `iconv -t utf-8` makes of it");
                    continue;
                }
                Some(Ok(line)) => line,
            };
            if line.trim_end() == "</doc>" {
                return Ok(broken.map_or(End::Closed, End::Broken));
            }
            if line.starts_with("<doc ") && line.contains(" title=\"") {
                self.opening = Some(line.to_owned());
                return Ok(End::Broken("it is not closed before the next one"));
            }
            if text.len() + line.len() > MAX_TEXT_BYTES {
                broken = Some("it is larger than 64 MiB");
            }
            if broken.is_none() {
                text.push_str(line);
                text.push('\n');
            }
        }
    }

    fn next_row(&mut self) -> Result<Option<Text>, DumpError> {
        let Some(opening) = self.find_opening()? else { return Ok(None) };
        let number = self.given + 1;
        let mut text = String::new();
        let end = self.read_text(&mut text)?;
        let title = attribute(&opening, "title");
        match end {
            End::Cut => return Err(self.lines.truncated(self.given, "the last `<doc>` is not closed")),
            End::Broken(detail) => return Err(malformed(&self.lines.path, number, title, detail.to_owned())),
            End::Closed => {}
        }
        // The title stands once more above the text.
        let body = unescape(&text);
        let (first, rest) = body.split_once('\n').unwrap_or((&body, ""));
        let body = if title.as_deref().is_some_and(|title| title.trim() == first.trim()) { rest } else { &body };
        let id = attribute(&opening, "id");
        let (url, text) = (attribute(&opening, "url"), Some(body.trim().to_owned()));
        let fields = Fields { id, url, title, text, markup: Markup::WikiExtractor };
        let text = fields.text().map_err(|(title, detail)| malformed(&self.lines.path, number, title, detail))?;
        self.given += 1;
        Ok(Some(text))
    }
}

impl Iterator for Rows {
    type Item = Result<Text, DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        match self.next_row() {
            Err(error) if !error.is_skippable() => {
                self.finished = true;
                Some(Err(error.after(self.given)))
            }
            row => row.transpose(),
        }
    }
}

/// The value of an attribute. Quotation marks inside a title are not escaped, so the title, which comes last, ends with the tag.
fn attribute(opening: &str, name: &str) -> Option<String> {
    let (_, rest) = opening.split_once(&format!(" {name}=\""))?;
    let value = match name {
        "title" => rest.trim_end().strip_suffix('>').map(|rest| rest.strip_suffix('"').unwrap_or(rest))?,
        _ => &rest[..rest.find('"')?],
    };
    Some(unescape(value).into_owned())
}
