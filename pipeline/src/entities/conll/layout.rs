//! Column layout of a file of tagged tokens, told by all of its lines.

use std::collections::HashSet;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Ends a sentence.
    Blank,
    /// Begins a document.
    Document,
    /// Says something about the text, or numbers what is no token.
    Comment,
    /// A token with its tag.
    Token { token: &'a str, tag: &'a str },
    /// It has one column, where a token and a tag are expected.
    OneColumn,
}

/// Which columns hold the token and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The token first, the tag last.
    TokenFirst,
    /// Two columns, the tag first.
    TagFirst,
    /// The number of the token in its sentence, then the token; the tag in this column, or in the last.
    Numbered { tag: Option<usize> },
}

/// The layout of a file.
pub(super) struct Layout<'a> {
    order: Order,
    /// Numbers of columns that lines have, by whether tabs part them.
    widths: HashSet<(bool, usize)>,
    /// What stands between the first column and the last, with the number of its column.
    between: HashSet<(usize, &'a str)>,
    untyped: bool,
}

/// The columns of a line: apart by tabs if it has one, else by spaces. Other white space, which Unicode has plenty of, is part of a token.
fn columns(line: &str) -> Vec<&str> {
    match line.contains('\t') {
        true => line.split('\t').map(|column| column.trim_matches(|c: char| c.is_ascii_whitespace())).collect(),
        false => line.split_ascii_whitespace().collect(),
    }
}

/// The marks of documents: of CoNLL-2003, OntoNotes and CoNLL-U.
fn is_document(line: &str) -> bool {
    let comment = line.strip_prefix('#').map(str::trim_start);
    let begins = |word: &str| {
        comment
            .and_then(|comment| comment.strip_prefix(word))
            .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    line.starts_with("-DOCSTART-") || begins("begin document") || begins("newdoc")
}

/// Whether a word is a tag of any scheme but the one of bare types.
fn is_tag(word: &str) -> bool {
    word == "O" || super::is_bare(word) || (word.len() > 2 && super::is_prefix(word.as_bytes()))
}

/// Number of a token in its sentence; ranges (`3-4`) and empty nodes (`8.1`) of CoNLL-U count, and are no tokens.
fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
        && word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

/// What is counted over all lines that are surely tokens.
#[derive(Default)]
struct Seen {
    lines: usize,
    /// Lines of two columns; of these with a tag first, with a tag last, with `O` first, with `O` last.
    pairs: usize,
    tag_first: usize,
    tag_last: usize,
    o_first: usize,
    o_last: usize,
    /// Lines whose first column counts the tokens of the sentence.
    numbered: usize,
    /// Lines of four columns, the last two of which are tags.
    two_tags: usize,
}

impl<'a> Layout<'a> {
    pub(super) fn of(text: &'a str) -> Layout<'a> {
        let mut seen = Seen::default();
        let (mut widths, mut between) = (HashSet::new(), HashSet::new());
        let mut next = None;
        let has_hashes = text.lines().any(|line| line.starts_with('#'));
        for line in text.lines() {
            if line.trim().is_empty() {
                next = None;
                continue;
            }
            if line.starts_with('#') || is_document(line) {
                continue;
            }
            let columns = columns(line);
            let (first, last) = (columns[0], columns[columns.len() - 1]);
            seen.lines += 1;
            if has_hashes {
                widths.insert((line.contains('\t'), columns.len()));
                between.extend(columns.iter().copied().enumerate().skip(1).take(columns.len().saturating_sub(2)));
            }
            if columns.len() == 2 {
                seen.pairs += 1;
                seen.tag_first += usize::from(is_tag(first));
                seen.tag_last += usize::from(is_tag(last));
                seen.o_first += usize::from(first == "O");
                seen.o_last += usize::from(last == "O");
            }
            if columns.len() > 2 && is_number(first) {
                let number = first.parse::<usize>().ok();
                let counts = match (number, next) {
                    (None, _) => true,
                    (Some(number), None) => number <= 1,
                    (Some(number), Some(next)) => number == next,
                };
                seen.numbered += usize::from(counts);
                next = number.map(|number| number + 1).or(next);
            }
            seen.two_tags += usize::from(columns.len() == 4 && is_tag(columns[2]) && is_tag(last));
        }
        let mut layout = Layout { order: seen.order(), widths, between, untyped: false };
        let tags = || {
            text.lines()
                .filter_map(|line| if let Line::Token { tag, .. } = layout.read(line) { Some(tag) } else { None })
        };
        layout.untyped =
            tags().all(|tag| tag == "O" || super::is_bare(tag)) && tags().any(|tag| matches!(tag, "B" | "I"));
        layout
    }

    /// Whether the tags are prefixes without types.
    pub(super) fn untyped(&self) -> bool {
        self.untyped
    }

    pub(super) fn read(&self, line: &'a str) -> Line<'a> {
        if line.trim().is_empty() {
            return Line::Blank;
        }
        if is_document(line) {
            return Line::Document;
        }
        let columns = columns(line);
        let last = columns[columns.len() - 1];
        if line.starts_with('#') && !self.is_token(line, &columns) {
            return Line::Comment;
        }
        if columns.len() < 2 {
            return Line::OneColumn;
        }
        let (token, tag) = match self.order {
            Order::TokenFirst => (columns[0], last),
            Order::TagFirst => (last, columns[0]),
            Order::Numbered { .. } if columns[0].contains(['-', '.']) => return Line::Comment,
            Order::Numbered { tag } => (columns[1], tag.map_or(last, |tag| columns[tag.min(columns.len() - 1)])),
        };
        Line::Token { token, tag }
    }

    /// Whether a line that begins with `#` is a token and no comment: it has as many columns as others have, ends in a tag, and what is
    /// in the middle stands there elsewhere, too.
    fn is_token(&self, line: &str, columns: &[&'a str]) -> bool {
        let tag = match self.order {
            Order::TokenFirst => columns[columns.len() - 1],
            // There the first column is a tag or a number.
            Order::TagFirst | Order::Numbered { .. } => return false,
        };
        let known = |(at, column): (usize, &&'a str)| self.between.contains(&(at, *column));
        columns.len() > 1
            && is_tag(tag)
            && self.widths.contains(&(line.contains('\t'), columns.len()))
            && columns.iter().enumerate().skip(1).take(columns.len() - 2).all(known)
    }
}

impl Seen {
    fn order(&self) -> Order {
        let all = |count: usize| count == self.lines && count > 0;
        if all(self.numbered) {
            return Order::Numbered { tag: all(self.two_tags).then_some(2) };
        }
        // Tags are all of a kind; among words `O` is rare.
        let first_are_tags = self.tag_first == self.pairs && self.tag_last < self.pairs;
        let first_are_types = self.o_last == 0 && 2 * self.o_first > self.pairs;
        if all(self.pairs) && (first_are_tags || first_are_types) {
            return Order::TagFirst;
        }
        Order::TokenFirst
    }
}
