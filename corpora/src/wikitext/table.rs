//! Tables, where they are kept: a line a row.

use std::ops::Range;

use memchr::memchr;

use super::clean::{Cleaner, Layout};
use super::html::CELL;
use super::options::Keep;
use super::output::Break;
use super::tokens::Token;

impl Cleaner<'_> {
    /// Shows or drops `{|…|}` or `<table>…</table>`.
    pub(super) fn table(&mut self, token: Token) {
        if self.context.options().tables == Keep::Drop {
            self.out.dropped();
            self.out.ask(Break::Paragraph);
            return;
        }
        self.out.ask(Break::Paragraph);
        if self.bytes[token.start()] == b'{' {
            self.wiki_table(token.inner());
        } else {
            let outer = std::mem::replace(&mut self.in_table, true);
            self.out.wrote = false;
            self.walk(token.inner(), Layout::Block);
            self.in_table = outer;
        }
        self.in_list = false;
        self.out.ask(Break::Paragraph);
    }

    /// The rows of a table in wiki markup. The first line is about how it looks.
    fn wiki_table(&mut self, inner: Range<usize>) {
        let mut cells: Vec<Range<usize>> = Vec::new();
        let mut at = self.table_line_end(inner.start, inner.end);
        while at < inner.end {
            let line = at + self.bytes[at..inner.end].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let end = self.table_line_end(line, inner.end);
            match self.bytes[line..inner.end].first() {
                Some(b'|') if self.bytes[line..].starts_with(b"|-") => self.row(&mut cells),
                Some(b'|') if self.bytes[line..].starts_with(b"|+") => {
                    self.row(&mut cells);
                    cells.push(line + 2..end);
                    self.row(&mut cells);
                }
                Some(&mark @ (b'|' | b'!')) => self.cells(line + 1..end, mark == b'!', &mut cells),
                // Another line of the last cell.
                _ => match cells.last_mut() {
                    Some(last) => last.end = end,
                    None => cells.push(line..end),
                },
            }
            at = end + 1;
        }
        self.row(&mut cells);
    }

    /// The end of the line from `at`, over what begins in it.
    fn table_line_end(&self, at: usize, end: usize) -> usize {
        let line_end_from = |at: usize| memchr(b'\n', &self.bytes[at..end]).map_or(end, |found| at + found);
        let mut line_end = line_end_from(at);
        let mut next = self.tokens.partition_point(|token| token.start() < at);
        while let Some(token) = self.tokens.get(next).filter(|token| token.start() < line_end && token.end() <= end) {
            if token.end() > line_end {
                line_end = line_end_from(token.end());
            }
            next += 1;
        }
        line_end
    }

    /// The cells of a line, `a || b`; of a line of headings `a !! b` too.
    fn cells(&self, line: Range<usize>, headings: bool, cells: &mut Vec<Range<usize>>) {
        let mut next = self.tokens.partition_point(|token| token.start() < line.start);
        let (mut start, mut at) = (line.start, line.start);
        while at < line.end {
            if let Some(token) = self.tokens.get(next).filter(|token| token.start() <= at) {
                at = at.max(token.end());
                next += 1;
                continue;
            }
            let pair = &self.bytes[at..line.end.min(at + 2)];
            if pair == b"||" || headings && pair == b"!!" {
                cells.push(start..at);
                at += 2;
                start = at;
            } else {
                at += 1;
            }
        }
        cells.push(start.min(line.end)..line.end);
    }

    /// Writes the cells of a row, if any has words, as a line.
    fn row(&mut self, cells: &mut Vec<Range<usize>>) {
        let mut first = true;
        for cell in cells.drain(..) {
            // What stands before a single bar is about how the cell looks.
            let content = match self.next_bar(cell.clone()) {
                Some(bar) if self.bytes.get(bar + 1) != Some(&b'|') => bar + 1..cell.end,
                _ => cell,
            };
            let content = self.trimmed(content);
            if content.is_empty() {
                continue;
            }
            let before = self.out.mark();
            if first {
                self.out.ask(Break::Line);
            } else {
                self.out.push(CELL);
            }
            let separated = self.out.text.len();
            self.walk(content, Layout::Inline);
            if self.out.text.len() > separated {
                first = false;
            } else if !first {
                // Nothing was shown: the separator goes too.
                self.out.take_back(&before);
            }
        }
    }
}
