//! Paragraphs and headings of plain text.

use super::{Markup, Text};
use crate::Section;

/// Most characters of a heading.
const MAX_HEADING_CHARS: usize = 80;
/// Most words of a heading.
const MAX_HEADING_WORDS: usize = 10;
/// Level of the headings that are found again: plain text does not tell which stands below which.
const LEVEL: u8 = 2;

/// A text as an article has it: paragraphs, and the sections they stand in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Paragraphs separated by a blank line, lines inside one by a newline, without headings.
    pub text: String,
    /// Sections in order, the lead first (present even when empty), covering the text but for the blank lines between them.
    pub sections: Vec<Section>,
}

/// Finds the sections of an extracted text.
///
/// A heading is a short line by itself, with another line after it, that begins like a title: with a full stop at its end and none before
/// where WikiExtractor wrote it, without one elsewhere. Short lines that are no heading stay where they are.
///
/// ```
/// use memtrain_corpora::extracted::{Text, outline};
/// let text = Text { text: "Mira is a town.\n\nHistory\n\nIt is old.\nVery old.".into(), ..Text::default() };
/// let found = outline(&text);
/// assert_eq!(found.text, "Mira is a town.\n\nIt is old.\nVery old.");
/// assert_eq!(found.sections[1].title, "History");
/// ```
pub fn outline(source: &Text) -> Outline {
    let wiki_extractor = source.markup == Markup::WikiExtractor;
    let paragraphs = paragraphs(source);
    let mut found = Outline::default();
    let mut open = Section { title: String::new(), level: 1, span: 0..0 };
    for (at, paragraph) in paragraphs.iter().enumerate() {
        let next = paragraphs.get(at + 1);
        let title = next.and_then(|_| heading(paragraph, wiki_extractor));
        // Text that begins with a short line has lost its first sentence: that line is no heading.
        if let Some(title) = title.filter(|_| at > 0) {
            found.sections.push(open);
            open = Section { title: title.to_owned(), level: LEVEL, span: found.text.len()..found.text.len() };
            continue;
        }
        if !found.text.is_empty() {
            found.text.push_str("\n\n");
        }
        if open.span.is_empty() {
            open.span = found.text.len()..found.text.len();
        }
        found.text.push_str(paragraph);
        open.span.end = found.text.len();
    }
    found.sections.push(open);
    // A section without text begins where the text before it ends.
    let end = found.text.len();
    for section in &mut found.sections {
        section.span = section.span.start.min(end)..section.span.end.min(end);
    }
    found
}

/// Paragraphs, the white space around their lines removed.
fn paragraphs(source: &Text) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    let mut open = false;
    // Where blank lines are rare, each line is a paragraph: many extractors write so.
    let blank = source.text.matches("\n\n").count();
    let breaks = source.text.matches('\n').count();
    let by_line = source.markup == Markup::WikiExtractor || blank * 6 < breaks;
    for line in source.text.lines() {
        let line = line.trim();
        if line.is_empty() {
            open = false;
            continue;
        }
        match paragraphs.last_mut().filter(|_| open && !by_line) {
            Some(paragraph) => {
                paragraph.push('\n');
                paragraph.push_str(line);
            }
            None => paragraphs.push(line.to_owned()),
        }
        open = true;
    }
    paragraphs
}

/// The heading that a paragraph is, if it is one.
fn heading(paragraph: &str, wiki_extractor: bool) -> Option<&str> {
    let title = if wiki_extractor { paragraph.strip_suffix('.')? } else { paragraph };
    let first = title.chars().next()?;
    let last = title.chars().next_back()?;
    let begins = (first.is_alphanumeric() && !first.is_lowercase()) || matches!(first, '"' | '“' | '«' | '¿' | '¡');
    let ends =
        last.is_alphanumeric() || matches!(last, ')' | '"' | '”' | '»' | '\'' | '’') || wiki_extractor && last == '.';
    let short = title.len() <= MAX_HEADING_CHARS * 4
        && title.chars().count() <= MAX_HEADING_CHARS
        && title.split_whitespace().count() <= MAX_HEADING_WORDS;
    let one_phrase = !title.contains(['\n', '|', '=', '{', '}', '<']) && !title.contains(". ") && !title.contains("; ");
    (begins && ends && short && one_phrase && !is_sentence(title, wiki_extractor)).then_some(title)
}

/// Where headings end like sentences, a short sentence is told by its finite verb, as far as English goes.
fn is_sentence(title: &str, wiki_extractor: bool) -> bool {
    const VERBS: [&str; 22] = [
        "is", "are", "was", "were", "has", "have", "had", "died", "became", "won", "wrote", "lives", "lived", "can",
        "may", "will", "would", "could", "does", "did", "married", "includes",
    ];
    wiki_extractor && title.split_whitespace().skip(1).any(|word| VERBS.contains(&word))
}
