//! Beginnings and ends of lines: headings, lists, paragraphs, and what is left of broken tables and templates.

use memchr::memchr;

use super::clean::{Cleaner, Layout, Walk};
use super::output::{Break, Output};
use super::tokens::{Kind, Token};

impl Cleaner<'_> {
    /// The marks at the beginning of a line; gives the place of what follows them.
    pub(super) fn begin_line(&mut self, at: usize, walk: &mut Walk) -> usize {
        walk.line_start = false;
        self.out.wrote = false;
        let mut at = at;
        while at < walk.end && matches!(self.bytes[at], b' ' | b'\t' | b'\r') {
            at += 1;
        }
        if at >= walk.end {
            return at;
        }
        let marked = match self.bytes[at] {
            b'\n' => {
                self.out.ask(Break::Paragraph);
                walk.line_start = true;
                return at + 1;
            }
            b'=' => match self.heading(at, walk) {
                Some(end) => return end,
                None => false,
            },
            b'*' | b'#' | b':' | b';' => {
                while at < walk.end && matches!(self.bytes[at], b'*' | b'#' | b':' | b';' | b' ') {
                    at += 1;
                }
                true
            }
            b'-' if self.text[at..walk.end].starts_with("----") => {
                self.out.ask(Break::Paragraph);
                while at < walk.end && self.bytes[at] == b'-' {
                    at += 1;
                }
                false
            }
            // No prose begins with a bar: this is left of a table or template whose beginning a template made.
            b'|' => return self.skip_line(at, walk),
            _ => false,
        };
        match (marked, self.in_list) {
            (true, true) => self.out.ask(Break::Line),
            (true, false) | (false, true) => self.out.ask(Break::Paragraph),
            (false, false) => {}
        }
        self.in_list = marked;
        at
    }

    pub(super) fn newline(&mut self, at: usize, walk: &mut Walk) -> usize {
        walk.external = 0;
        if walk.layout == Layout::Inline {
            self.out.ask(Break::Space);
            return at + 1;
        }
        // A line of which nothing is left stood between two blocks.
        self.out.ask(match (self.out.wrote, self.in_poem) {
            (false, _) => Break::Paragraph,
            (true, true) => Break::Line,
            (true, false) => Break::Space,
        });
        walk.line_start = true;
        at + 1
    }

    /// Skips to the end of the line, over whatever begins in it.
    fn skip_line(&mut self, at: usize, walk: &mut Walk) -> usize {
        let line_end_from = |at: usize| memchr(b'\n', &self.bytes[at..walk.end]).map_or(walk.end, |found| at + found);
        let mut line_end = line_end_from(at);
        let mut next = self.tokens.partition_point(|token| token.start() < at);
        while let Some(token) =
            self.tokens.get(next).filter(|token| token.start() < line_end && token.end() <= walk.end)
        {
            if token.end() > line_end {
                line_end = line_end_from(token.end());
            }
            next += 1;
        }
        walk.line_start = true;
        self.out.ask(Break::Paragraph);
        (line_end + 1).min(walk.end)
    }

    /// A heading that begins at `at`, if the line is one; gives the place after the line.
    fn heading(&mut self, at: usize, walk: &mut Walk) -> Option<usize> {
        let line_end = memchr(b'\n', &self.bytes[at..walk.end]).map_or(walk.end, |found| at + found);
        let crosses =
            |token: Token| token.start() < line_end && token.end() > line_end && token.kind != Kind::StrayTable;
        if self.tokens[self.tokens.partition_point(|token| token.start() < at)..]
            .iter()
            .take_while(|token| token.start() < line_end)
            .any(|&token| crosses(token))
        {
            return None;
        }
        let mut line = self.text[at..line_end].trim_end();
        // Comments and a stray reference may stand after the closing marks.
        while line.ends_with("-->") {
            line = line[..line.rfind("<!--")?].trim_end();
        }
        let opening = line.bytes().take_while(|&byte| byte == b'=').count();
        let closing = line.bytes().rev().take_while(|&byte| byte == b'=').count();
        let marks = opening.min(closing).min(6);
        if marks == 0 || line.len() <= 2 * marks || opening == line.len() {
            return None;
        }
        let title = self.plain(at + marks..at + line.len() - marks);
        self.in_list = false;
        // One mark is the title of the page by rights; where it is used it is meant as a section.
        self.out.begin_section(title, (marks as u8).max(2));
        walk.line_start = true;
        Some((line_end + 1).min(walk.end))
    }

    /// The words of a stretch, without the markup and without writing them.
    pub(super) fn plain(&mut self, range: std::ops::Range<usize>) -> String {
        let written = std::mem::replace(&mut self.out, Output::new());
        self.walk(range, Layout::Inline);
        std::mem::replace(&mut self.out, written).text
    }

    /// Brackets that have no partner are dropped; of a template or table that is never closed so are the lines that are
    /// plainly its own.
    pub(super) fn stray(&mut self, token: Token, walk: &mut Walk) -> usize {
        self.out.dropped();
        let at_line_start = token.start() == 0 || self.bytes[token.start() - 1] == b'\n';
        match token.kind {
            Kind::StrayBraces if at_line_start && walk.layout == Layout::Block => self.skip_line(token.end(), walk),
            Kind::StrayTable if self.bytes[token.start()] == b'{' => self.skip_table(token.end(), walk),
            _ => token.end(),
        }
    }

    /// A table that nothing closes ends before the next heading.
    fn skip_table(&mut self, at: usize, walk: &mut Walk) -> usize {
        let mut at = at;
        while let Some(found) = memchr(b'\n', &self.bytes[at..walk.end]) {
            at += found + 1;
            if self.bytes[at..walk.end].starts_with(b"==") {
                break;
            }
            if at >= walk.end {
                return walk.end;
            }
        }
        if self.bytes[at..walk.end].starts_with(b"==") {
            walk.line_start = walk.layout == Layout::Block;
            self.out.ask(Break::Paragraph);
            return at;
        }
        walk.end
    }
}
