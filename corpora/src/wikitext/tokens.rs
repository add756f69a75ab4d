//! First pass: what opens and where it closes.

mod opaque_tags;

use std::ops::Range;

use memchr::{memchr, memmem};

use super::opaque::{OPAQUE, Opaque, name_at, tag_end};

/// What lies between `start` and `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Comment,
    /// `<name>…</name>` or `<name/>` whose content is not wikitext of the page.
    Opaque(Opaque),
    /// `{{…}}`
    Template,
    /// `{{{…}}}`
    Parameter,
    /// `[[…]]`
    Link,
    /// `{|…|}` or `<table>…</table>`
    Table,
    /// `-{…}-`: a choice between ways of writing a language.
    Variant,
    /// `{{` or `{{{` that nothing closes.
    StrayBraces,
    /// `{|` that nothing closes.
    StrayTable,
    /// `[[` that nothing closes, or `]]` or `}}` that nothing opens.
    Stray,
}

/// A stretch of the text with its markup: `inner` is what lies between the opening and the closing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) inner_start: u32,
    pub(super) inner_end: u32,
}

impl Token {
    pub(super) fn start(&self) -> usize {
        self.start as usize
    }

    pub(super) fn end(&self) -> usize {
        self.end as usize
    }

    pub(super) fn inner(&self) -> Range<usize> {
        self.inner_start as usize..self.inner_end as usize
    }
}

/// What is open, by how it was opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    Braces2,
    Braces3,
    Brackets,
    Table,
    HtmlTable,
    Variant,
}

struct Open {
    opening: Opening,
    token: usize,
    /// Single `[` inside that nothing has closed: the first of three `]` is theirs.
    singles: u32,
}

/// Finds all tokens of a text, in order of their starts. Texts of 4 GiB and more have none.
pub(super) fn scan(text: &str) -> Vec<Token> {
    if u32::try_from(text.len()).is_err() {
        return Vec::new();
    }
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        tokens: Vec::with_capacity(text.len() / 64),
        open: Vec::new(),
        num_braces: 0,
        num_tables: 0,
        num_html_tables: 0,
        num_variants: 0,
        unclosed: [false; OPAQUE.len()],
    };
    scanner.run();
    scanner.tokens
}

pub(super) struct Scanner<'text> {
    bytes: &'text [u8],
    tokens: Vec<Token>,
    open: Vec<Open>,
    /// How many of `open` are braces: without any, `}}` need not look for them.
    num_braces: usize,
    num_tables: usize,
    num_html_tables: usize,
    num_variants: usize,
    /// Opaque tags that are not closed from here to the end, so that the end is searched for once and not for each of them.
    unclosed: [bool; OPAQUE.len()],
}

/// Bytes at which something can begin or end.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    table[b'<' as usize] = true;
    table[b'{' as usize] = true;
    table[b'}' as usize] = true;
    table[b'[' as usize] = true;
    table[b']' as usize] = true;
    table[b'\n' as usize] = true;
    table
};

impl Scanner<'_> {
    fn run(&mut self) {
        let mut at = 0;
        while let Some(&byte) = self.bytes.get(at) {
            at = match byte {
                _ if !SPECIAL[usize::from(byte)] => at + 1,
                b'<' => self.angle(at),
                b'{' => self.open_braces(at),
                b'}' => self.close_braces(at),
                b'[' => self.open_brackets(at),
                b'\n' => self.line_end(at),
                _ => self.close_brackets(at),
            };
        }
    }

    /// The end of a line. What is still open before a heading is never closed: it must not take the section with it. A table may
    /// have headings in it.
    fn line_end(&mut self, at: usize) -> usize {
        if self.bytes[at + 1..].starts_with(b"==") && !self.open.is_empty() {
            let rest = &self.bytes[at + 1..];
            let line = rest[..memchr(b'\n', rest).unwrap_or(rest.len())].trim_ascii_end();
            let is_heading = line.ends_with(b"==") && !line.iter().all(|&byte| byte == b'=');
            while is_heading
                && matches!(
                    self.open.last(),
                    Some(Open { opening: Opening::Braces2 | Opening::Braces3 | Opening::Brackets, .. })
                )
            {
                self.pop();
            }
        }
        at + 1
    }

    /// Length of the run of the byte at `at`.
    fn run_length(&self, at: usize) -> usize {
        let byte = self.bytes[at];
        self.bytes[at..].iter().take_while(|&&other| other == byte).count()
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        self.push_with_inner(kind, start..end, end..end);
    }

    fn push_with_inner(&mut self, kind: Kind, outer: Range<usize>, inner: Range<usize>) {
        // `scan` has seen to it that all positions fit.
        self.tokens.push(Token {
            kind,
            start: outer.start as u32,
            end: outer.end as u32,
            inner_start: inner.start as u32,
            inner_end: inner.end as u32,
        });
    }

    /// Notes an opening as stray until it is closed.
    fn open(&mut self, opening: Opening, start: usize, length: usize) {
        let kind = match opening {
            Opening::Braces2 | Opening::Braces3 => Kind::StrayBraces,
            Opening::Brackets | Opening::Variant => Kind::Stray,
            Opening::Table | Opening::HtmlTable => Kind::StrayTable,
        };
        self.num_braces += usize::from(kind == Kind::StrayBraces);
        self.num_tables += usize::from(opening == Opening::Table);
        self.num_html_tables += usize::from(opening == Opening::HtmlTable);
        self.num_variants += usize::from(opening == Opening::Variant);
        self.open.push(Open { opening, token: self.tokens.len(), singles: 0 });
        self.push(kind, start, start + length);
    }

    /// Takes the innermost opening, closed or not.
    fn pop(&mut self) -> Option<Open> {
        let open = self.open.pop()?;
        match open.opening {
            Opening::Braces2 | Opening::Braces3 => self.num_braces -= 1,
            Opening::Table => self.num_tables -= 1,
            Opening::HtmlTable => self.num_html_tables -= 1,
            Opening::Variant => self.num_variants -= 1,
            Opening::Brackets => {}
        }
        Some(open)
    }

    fn close(&mut self, open: &Open, kind: Kind, inner_end: usize, end: usize) {
        let token = &mut self.tokens[open.token];
        token.kind = kind;
        token.inner_start = token.end;
        token.inner_end = inner_end as u32;
        token.end = end as u32;
    }

    fn angle(&mut self, at: usize) -> usize {
        let rest = &self.bytes[at..];
        if rest.starts_with(b"<!--") {
            let end = memmem::find(&rest[4..], b"-->").map_or(self.bytes.len(), |found| at + 4 + found + 3);
            self.push(Kind::Comment, at, end);
            return end;
        }
        let closing = rest.get(1) == Some(&b'/');
        let name_start = at + 1 + usize::from(closing);
        let name = name_at(self.bytes, name_start);
        if name.eq_ignore_ascii_case(b"table") {
            self.html_table(at, name_start + name.len(), closing);
        } else if !closing
            && let Some(number) = OPAQUE.iter().position(|(tag, _)| name.eq_ignore_ascii_case(tag.as_bytes()))
        {
            return self.opaque(at, name_start + name.len(), number);
        }
        at + 1
    }

    fn html_table(&mut self, at: usize, name_end: usize, closing: bool) {
        let Some(end) = tag_end(self.bytes, name_end) else {
            return;
        };
        if !closing {
            self.open(Opening::HtmlTable, at, end - at);
            return;
        }
        while matches!(self.open.last(), Some(Open { opening: Opening::Brackets, .. })) && self.num_html_tables > 0 {
            self.pop();
        }
        if matches!(self.open.last(), Some(Open { opening: Opening::HtmlTable, .. }))
            && let Some(open) = self.pop()
        {
            self.close(&open, Kind::Table, at, end);
        }
    }

    fn open_braces(&mut self, at: usize) -> usize {
        let length = self.run_length(at);
        if length == 1 {
            if self.bytes.get(at + 1) == Some(&b'|') && self.begins_line(at) {
                self.open(Opening::Table, at, 2);
                return at + 2;
            }
            if at > 0 && self.bytes[at - 1] == b'-' {
                self.open(Opening::Variant, at - 1, 2);
            }
            return at + 1;
        }
        let mut start = at;
        let mut left = length;
        while left >= 2 {
            if left == 3 {
                self.open(Opening::Braces3, start, 3);
                break;
            }
            self.open(Opening::Braces2, start, 2);
            start += 2;
            left -= 2;
        }
        at + length
    }

    fn close_braces(&mut self, at: usize) -> usize {
        let mut left = self.run_length(at);
        let end = at + left;
        let mut place = at;
        if at > 0
            && self.bytes[at - 1] == b'|'
            && self.num_tables > 0
            && self.begins_line(at - 1)
            && self.closes_table(left)
        {
            while let Some(open) = self.pop() {
                if open.opening == Opening::Table {
                    self.close(&open, Kind::Table, at - 1, at + 1);
                    break;
                }
            }
            place += 1;
            left -= 1;
        }
        while left >= 2 && self.num_braces > 0 {
            let Some(open) = self.pop() else { break };
            let (kind, length) = match open.opening {
                Opening::Braces3 if left >= 3 => (Kind::Parameter, 3),
                Opening::Braces3 => {
                    self.tokens[open.token].start += 1;
                    (Kind::Template, 2)
                }
                Opening::Braces2 => (Kind::Template, 2),
                // A link or table left open inside a template does not keep it from closing.
                Opening::Brackets | Opening::Table | Opening::HtmlTable | Opening::Variant => continue,
            };
            self.close(&open, kind, place, place + length);
            place += length;
            left -= length;
        }
        if left == 1 && self.num_variants > 0 && self.bytes.get(end) == Some(&b'-') {
            return self.close_variant(place);
        }
        if left >= 2 {
            self.push(Kind::Stray, place, end);
        }
        end
    }

    /// `}-`, the `}` of which is at `at`; only links may have been left open inside.
    fn close_variant(&mut self, at: usize) -> usize {
        while matches!(self.open.last(), Some(Open { opening: Opening::Brackets, .. })) {
            self.pop();
        }
        if matches!(self.open.last(), Some(Open { opening: Opening::Variant, .. }))
            && let Some(open) = self.pop()
        {
            self.close(&open, Kind::Variant, at, at + 2);
            return at + 2;
        }
        at + 1
    }

    /// Whether `|}` with so many braces at the beginning of a line ends a table: `|}}` ends a template whose last argument is
    /// empty, `|}}}` a table and then a template.
    fn closes_table(&self, braces: usize) -> bool {
        // So many links left open in one cell are no table any more; without a limit each `|}` would look at all of them.
        let innermost = self.open.iter().rev().take(64).find(|open| open.opening != Opening::Brackets);
        let in_table = innermost.is_some_and(|open| open.opening == Opening::Table);
        match braces {
            1 => true,
            2 => in_table && self.num_braces == 0,
            _ => in_table,
        }
    }

    /// Whether only spaces, colons, list marks and comments stand before this place in its line.
    fn begins_line(&self, at: usize) -> bool {
        let mut at = at;
        for comment in self.tokens.iter().rev().map(Some).chain([None]) {
            let marks = |byte: &&u8| matches!(byte, b' ' | b'\t' | b':' | b'*' | b'#');
            at -= self.bytes[..at].iter().rev().take_while(marks).count();
            match comment.filter(|token| token.kind == Kind::Comment && token.end() == at) {
                Some(comment) => at = comment.start(),
                None => break,
            }
        }
        at == 0 || self.bytes[at - 1] == b'\n'
    }

    fn open_brackets(&mut self, at: usize) -> usize {
        let length = self.run_length(at);
        if length % 2 == 1
            && let Some(open) = self.open.last_mut()
        {
            open.singles += 1;
        }
        let mut start = at + length % 2;
        while start < at + length {
            self.open(Opening::Brackets, start, 2);
            start += 2;
        }
        at + length
    }

    fn close_brackets(&mut self, at: usize) -> usize {
        let end = at + self.run_length(at);
        let mut place = at;
        while place < end {
            let left = end - place;
            let singles = self.open.last_mut().map(|open| &mut open.singles);
            if left % 2 == 1
                && let Some(singles) = singles.filter(|singles| **singles > 0)
            {
                *singles -= 1;
                place += 1;
                continue;
            }
            if left < 2 {
                break;
            }
            if matches!(self.open.last(), Some(Open { opening: Opening::Brackets, .. }))
                && let Some(open) = self.pop()
            {
                self.close(&open, Kind::Link, place, place + 2);
            } else {
                self.push(Kind::Stray, place, place + 2);
            }
            place += 2;
        }
        end
    }
}
