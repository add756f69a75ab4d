//! Holes: places where the text of a sentence lacks what a template would have shown.
//!
//! A template that is dropped leaves a hole where its neighbours say that it was a word: in empty brackets or quotation marks,
//! between two separators, as the beginning or the end of a sentence, or between two words. What stands before or behind a whole
//! sentence, as notes on sources do, leaves none.

use super::clean::Cleaner;
use super::functions::is_page_name;
use super::opaque::Opaque;
use super::tokens::{Kind, Token};
use super::visibility::{Visible, visible};
use super::{WikiContext, bars};

/// A template that shows nothing where its sentence needs a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Name of the template in small letters, without its namespace.
    pub template: String,
    /// What of the sentence says that something is missing.
    pub kind: HoleKind,
    /// The line around it as it is written, at most some hundred bytes.
    pub excerpt: String,
}

/// What says that something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoleKind {
    /// Brackets with nothing else in them.
    Brackets,
    /// Quotation marks with nothing else in them.
    Quotes,
    /// A separator on each side.
    Separators,
    /// A sentence that goes on with a small letter and has no beginning.
    Beginning,
    /// A sentence that ends after a space.
    End,
    /// A word and a space on each side.
    Between,
}

impl HoleKind {
    /// All kinds, the surest first.
    pub const ALL: [HoleKind; 6] = [
        HoleKind::Brackets,
        HoleKind::Quotes,
        HoleKind::Separators,
        HoleKind::Beginning,
        HoleKind::End,
        HoleKind::Between,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            HoleKind::Brackets => "brackets",
            HoleKind::Quotes => "quotes",
            HoleKind::Separators => "separators",
            HoleKind::Beginning => "beginning",
            HoleKind::End => "end",
            HoleKind::Between => "between",
        }
    }
}

/// The most of a line that is looked at on each side, in bytes.
const REACH: usize = 60;

/// The holes of a page, in order.
///
/// ```
/// use memtrain_corpora::wikitext::{HoleKind, WikiContext, holes};
/// let found = holes("Mira ({{unknown|x}}) is a town.{{citation needed}}", &WikiContext::default());
/// assert_eq!((found[0].template.as_str(), found[0].kind), ("unknown", HoleKind::Brackets));
/// assert_eq!(found.len(), 1);
/// ```
pub fn holes(wikitext: &str, context: &WikiContext) -> Vec<Hole> {
    let text = bars::written_out(wikitext);
    let cleaner = Cleaner::new(&text, "", context);
    let mut found = Vec::new();
    let mut inside = 0;
    for token in &cleaner.tokens {
        if token.start() < inside {
            continue;
        }
        match token.kind {
            Kind::Template => {
                inside = token.end();
                if cleaner.shows_nothing(*token) {
                    found.extend(cleaner.hole(*token));
                }
            }
            Kind::Opaque(_) | Kind::Comment | Kind::Table | Kind::Parameter => inside = token.end(),
            Kind::Link | Kind::Variant | Kind::StrayBraces | Kind::StrayTable | Kind::Stray => {}
        }
    }
    found
}

impl Cleaner<'_> {
    /// The hole that a template leaves, if it leaves one.
    fn hole(&self, token: Token) -> Option<Hole> {
        let (template, _) =
            self.template_name(token.inner()).filter(|(name, _)| !name.is_empty() && !is_page_name(name))?;
        let behind = self.behind_what_shows_nothing(token.end());
        let before = self.line_before(token.start());
        let after = self.line_after(behind);
        let kind = kind(before, after)?;
        let start = token.start() - before.len();
        let excerpt = self.text[start..behind + after.len()].trim().to_owned();
        Some(Hole { template, kind, excerpt })
    }

    /// The end of references and comments right behind a place.
    fn behind_what_shows_nothing(&self, at: usize) -> usize {
        let mut end = at;
        let from = self.tokens.partition_point(|token| token.start() < at);
        for token in &self.tokens[from..] {
            match token.kind {
                Kind::Comment | Kind::Opaque(Opaque::Dropped) if token.start() == end => end = token.end(),
                _ => break,
            }
        }
        end
    }

    /// The end of the line before a place, without its beginning if that is far.
    fn line_before(&self, at: usize) -> &str {
        let before = &self.text[self.text.ceil_char_boundary(at.saturating_sub(REACH))..at];
        before.rsplit('\n').next().unwrap_or_default()
    }

    /// The beginning of what stands behind a place in its line.
    fn line_after(&self, at: usize) -> &str {
        let end = self.text.floor_char_boundary(at + REACH);
        self.text[at..end].split('\n').next().unwrap_or_default()
    }
}

/// The kind of the hole between two parts of a line.
fn kind(before: &str, after: &str) -> Option<HoleKind> {
    const BRACKETS: [(char, char); 4] = [('(', ')'), ('[', ']'), ('（', '）'), ('［', '］')];
    const QUOTES: [(char, char); 8] =
        [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('‘', '’'), ('「', '」'), ('『', '』'), ('《', '》')];
    const SEPARATORS: &[char] = &[',', ';', ':', '、', '，', '；', '：', '،', '؛'];
    const ENDS: &[char] = &['.', '!', '?', '。', '！', '？', '।', '؟'];
    let is_space = |letter: char| matches!(visible(letter), Visible::Space);
    let is_mark = |letter: char| letter == '\'' || is_space(letter);
    let (left, right) = (before.trim_end_matches(is_mark), after.trim_start_matches(is_mark));
    let is_apart = |text: &str, first: Option<char>| text.is_empty() || first.is_some_and(is_space);
    let (apart_before, apart_after) = (
        is_apart(before, before.trim_end_matches('\'').chars().next_back()),
        is_apart(after, after.trim_start_matches('\'').chars().next()),
    );
    let (last, next) = (left.chars().next_back(), right.chars().next());
    let pair = |pairs: &[(char, char)]| pairs.iter().any(|&(open, close)| last == Some(open) && next == Some(close));
    let is_in = |letter: Option<char>, list: &[char]| letter.is_some_and(|letter| list.contains(&letter));
    if pair(&BRACKETS) {
        return Some(HoleKind::Brackets);
    }
    if pair(&QUOTES) {
        return Some(HoleKind::Quotes);
    }
    if is_in(last, SEPARATORS) && (is_in(next, SEPARATORS) || is_in(next, ENDS) || matches!(next, Some(')' | '）'))) {
        return Some(HoleKind::Separators);
    }
    let begins_line = left.trim_start_matches(['*', '#', ':', ';', ' ']).is_empty();
    // A small letter goes on with something; a script without capitals does not tell.
    let goes_on = next.is_some_and(char::is_lowercase) && apart_after;
    if goes_on && (begins_line && before.len() < REACH - 4 || is_in(last, ENDS) && apart_before) {
        return Some(HoleKind::Beginning);
    }
    let is_word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == ']');
    if !is_word(last) || !apart_before {
        return None;
    }
    if is_in(next, ENDS) || is_in(next, SEPARATORS) {
        return Some(HoleKind::End);
    }
    let is_beginning = next.is_some_and(|letter| letter.is_alphanumeric() || letter == '[') && apart_after;
    is_beginning.then_some(HoleKind::Between)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(wikitext: &str) -> Vec<(String, HoleKind)> {
        holes(wikitext, &WikiContext::default()).into_iter().map(|hole| (hole.template, hole.kind)).collect()
    }

    #[test]
    fn neighbours_tell_a_word_from_a_note() {
        for (wikitext, kind) in [
            ("Mira ({{x|y}}) is.", Some(HoleKind::Brackets)),
            ("They say \"''{{x|y}}''\" here.", Some(HoleKind::Quotes)),
            ("彼は「{{x|y}}」と言う。", Some(HoleKind::Quotes)),
            ("Ost, {{x|y}}, and Velm", Some(HoleKind::Separators)),
            ("{{x|y}} says that it is old.", Some(HoleKind::Beginning)),
            ("It is old. {{x|y}} says so.", Some(HoleKind::Beginning)),
            ("* {{x|y}} won.", Some(HoleKind::Beginning)),
            ("It was met by {{x|y}}.", Some(HoleKind::End)),
            ("It was met by {{x|y}}<ref>r</ref>, and", Some(HoleKind::End)),
            ("Gold went to {{x|y}} in May.", Some(HoleKind::Between)),
            ("Gold went to {{x|y}} [[Ost]] in May.", Some(HoleKind::Between)),
            ("It is old.{{x|y}}", None),
            ("It is old{{x|y}}.", None),
            ("It is old.{{x|y}} It was new.", None),
            ("{{x|y}}\nIt is old.", None),
            ("{{x|y}} It is old.", None),
            ("a {{nowrap|b}} c {{convert|1|km}} d {{PAGENAME}} e {{lc:F}} g", None),
            ("a <ref>b {{x|y}} c</ref> d", None),
            ("{{z|b ({{x|y}}) c}}", None),
        ] {
            let expected: Vec<_> = kind.map(|kind| ("x".to_owned(), kind)).into_iter().collect();
            assert_eq!(kinds(wikitext), expected, "{wikitext}");
        }
    }

    #[test]
    fn excerpts_are_short_and_whole() {
        let line = "é".repeat(500);
        let found = holes(&format!("{line} ({{{{Template:Some_name|b}}}}) {line}"), &WikiContext::default());
        assert_eq!(found[0].template, "some name");
        assert!(found[0].excerpt.len() < 200 && found[0].excerpt.contains("({{Template:Some_name|b}})"));
    }
}
