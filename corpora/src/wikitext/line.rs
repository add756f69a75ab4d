//! Beginnings and ends of lines: headings, lists, paragraphs, and what is left of broken tables and templates.

use memchr::{memchr, memchr2, memmem};

use super::clean::{Cleaner, Layout, Walk, switch_end};
use super::context::Prefix;
use super::opaque::{Opaque, name_at};
use super::output::{Break, Output};
use super::template_names::Shows;
use super::tokens::{Kind, Token};

impl Cleaner<'_> {
    /// The marks at the beginning of a line; gives the place of what follows them.
    pub(super) fn begin_line(&mut self, at: usize, walk: &mut Walk) -> usize {
        walk.line_start = false;
        walk.colon = None;
        self.out.wrote = false;
        let mut at = at;
        loop {
            while at < walk.end && matches!(self.bytes[at], b' ' | b'\t' | b'\r') {
                at += 1;
            }
            match self.transparent(at, walk) {
                Some(end) => at = end,
                None => break,
            }
        }
        walk.line_start = false;
        if at >= walk.end {
            return at;
        }
        let marked = match self.bytes[at] {
            b'\n' => {
                self.out.ask(Break::Paragraph);
                walk.line_start = true;
                return at + 1;
            }
            b'=' if at >= walk.no_heading => match self.heading(at, walk) {
                Some(end) => return end,
                None => false,
            },
            b'*' | b'#' | b':' | b';' => {
                let mut last = 0;
                while at < walk.end && matches!(self.bytes[at], b'*' | b'#' | b':' | b';' | b' ') {
                    last = if self.bytes[at] == b' ' { last } else { self.bytes[at] };
                    at += 1;
                }
                if last == b';' {
                    walk.colon = self.colon(at, walk.end);
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

    /// What may stand before the marks of a line without being seen: comments, tags of inclusion, behaviour switches. Gives
    /// its end.
    fn transparent(&mut self, at: usize, walk: &mut Walk) -> Option<usize> {
        match self.bytes[..walk.end].get(at)? {
            b'<' => {
                let token = self.token_from(at, walk).filter(|token| token.start() == at);
                match token {
                    Some(token) if token.kind == Kind::Comment => Some(self.comment(token, walk).min(walk.end)),
                    Some(token) if token.kind == Kind::Opaque(Opaque::Dropped) && token.end() <= walk.end => {
                        self.out.dropped();
                        Some(token.end())
                    }
                    Some(_) => None,
                    None => inclusion_tag(&self.bytes[at..walk.end]).map(|length| at + length),
                }
            }
            b'_' => switch_end(&self.text[at..walk.end]).map(|length| at + length),
            _ => None,
        }
    }

    /// The colon between term and meaning in the line from `at`: not one in a link, a tag or an address.
    fn colon(&self, at: usize, end: usize) -> Option<usize> {
        let mut next = self.tokens.partition_point(|token| token.start() < at);
        let mut depth = 0usize;
        let mut at = at;
        while at < end {
            if let Some(token) = self.tokens.get(next).filter(|token| token.start() <= at) {
                next += 1;
                if token.start() == at && token.end() > at {
                    at = token.end();
                }
                continue;
            }
            match self.bytes[at] {
                b'\n' => return None,
                b':' if depth == 0 && !self.bytes[at..].starts_with(b"://") => return Some(at),
                b'[' if depth == 0 => {
                    let line = memchr2(b']', b'\n', &self.bytes[at..end]);
                    if let Some(found) = line.filter(|found| self.bytes[at + found] == b']') {
                        at += found;
                    }
                }
                b'<' if self.bytes.get(at + 1) == Some(&b'/') => depth = depth.saturating_sub(1),
                b'<' if self.bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic) => {
                    let rest = &self.bytes[at..end];
                    let alone = rest[1..].get(..2).is_some_and(|name| name.eq_ignore_ascii_case(b"br"));
                    let closed = memchr(b'>', rest).is_some_and(|found| rest[found - 1] == b'/');
                    depth += usize::from(!alone && !closed);
                }
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// The colon that ends a term: what follows is a line of its own.
    pub(super) fn meaning(&mut self, at: usize, walk: &mut Walk) -> usize {
        walk.colon = None;
        self.out.ask(if walk.layout == Layout::Block { Break::Line } else { Break::Space });
        at + self.bytes[at..walk.end].iter().take_while(|&&byte| byte == b':').count()
    }

    pub(super) fn newline(&mut self, at: usize, walk: &mut Walk) -> usize {
        walk.external = 0;
        walk.colon = None;
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
        walk.line_start = walk.layout == Layout::Block;
        self.out.ask(Break::Paragraph);
        (line_end + 1).min(walk.end)
    }

    /// A heading that begins at `at`, if the line is one; gives the place after the line.
    fn heading(&mut self, at: usize, walk: &mut Walk) -> Option<usize> {
        let first = self.tokens.partition_point(|token| token.start() < at);
        let line_end = self.heading_end(at, first, walk)?;
        // A line is looked at once, however often something that shows nothing begins it anew.
        walk.no_heading = line_end;
        let end = self.heading_marks_end(at, first, line_end);
        let line = &self.text[at..end];
        let opening = line.bytes().take_while(|&byte| byte == b'=').count();
        let closing = line.bytes().rev().take_while(|&byte| byte == b'=').count();
        let marks = match opening.min(closing) {
            // A line of nothing else is a heading whose title is what the marks leave.
            all if all == line.len() => (all.saturating_sub(1) / 2).min(6),
            marks => marks.min(6),
        };
        if marks == 0 {
            return self.broken_heading(at, line_end, walk);
        }
        let title = self.plain(at + marks..end - marks);
        self.in_list = false;
        // One mark is the title of the page by rights; where it is used it is meant as a section.
        self.out.begin_section(title, (marks as u8).max(2));
        walk.line_start = true;
        Some((line_end + 1).min(walk.end))
    }

    /// A line that begins as a heading and does not end as one: `== Title == and words`, `== Title`. The wiki shows it as it
    /// stands; what is meant is a heading.
    fn broken_heading(&mut self, at: usize, line_end: usize, walk: &mut Walk) -> Option<usize> {
        let line = &self.bytes[at..line_end];
        let marks = line.iter().take_while(|&&byte| byte == b'=').count();
        if !(2..=6).contains(&marks) {
            return None;
        }
        let behind = &line[marks..];
        let closing = memmem::find(behind, &line[..marks]).filter(|&length| length > 0);
        // A title has at most some dozen letters; without closing marks the whole line must be one.
        let length = closing.unwrap_or(behind.len());
        if length > 200 || behind[..length].iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let title = self.plain(at + marks..at + marks + length);
        self.in_list = false;
        self.out.begin_section(title, marks as u8);
        let mut end = at + marks + length;
        while end < line_end && self.bytes[end] == b'=' {
            end += 1;
        }
        walk.line_start = end == line_end;
        Some(if end < line_end { end } else { (line_end + 1).min(walk.end) })
    }

    /// Where the line of a heading ends: a comment, `<nowiki>` or template in it may go over several lines of text. `None`
    /// if that is no heading any more.
    fn heading_end(&self, at: usize, first: usize, walk: &Walk) -> Option<usize> {
        let line_end_from = |at: usize| memchr(b'\n', &self.bytes[at..walk.end]).map_or(walk.end, |found| at + found);
        let mut line_end = line_end_from(at);
        let mut inside = at;
        for token in &self.tokens[first..] {
            if token.start() >= line_end {
                break;
            }
            if token.start() < inside || token.end() <= line_end || token.end() > walk.end {
                continue;
            }
            inside = token.end();
            match token.kind {
                Kind::Comment | Kind::Opaque(_) | Kind::Template | Kind::Parameter => line_end = line_end_from(inside),
                Kind::StrayTable | Kind::StrayBraces | Kind::Stray => {}
                Kind::Link | Kind::Table | Kind::Variant => return None,
            }
            // No title is so long.
            if line_end > at + 4096 {
                return None;
            }
        }
        Some(line_end)
    }

    /// The end of a heading's closing marks. Comments may stand behind them by rights; references, anchors and the like
    /// stand there often enough.
    fn heading_marks_end(&self, at: usize, first: usize, line_end: usize) -> usize {
        let tokens = &self.tokens[first..];
        let mut next = tokens.partition_point(|token| token.start() < line_end);
        let mut end = line_end;
        loop {
            end = at + self.text[at..end].trim_end().len();
            if let Some(start) = self.text[at..end].rfind('<')
                && inclusion_tag(&self.bytes[at + start..end]) == Some(end - at - start)
            {
                end = at + start;
                continue;
            }
            if !matches!(self.bytes[..end].last(), Some(b'>' | b'}')) {
                return end;
            }
            let behind = tokens[..next].iter().rposition(|token| token.end() == end);
            let Some(token) = behind.map(|place| (place, tokens[place])) else { return end };
            match token.1.kind {
                Kind::Comment | Kind::Opaque(Opaque::Dropped) => {}
                Kind::Template if self.shows_nothing(token.1) => {}
                _ => return end,
            }
            (next, end) = (token.0, token.1.start());
        }
    }

    /// The words of a stretch, without the markup and without writing them.
    pub(super) fn plain(&mut self, range: std::ops::Range<usize>) -> String {
        let written = std::mem::replace(&mut self.out, Output::new());
        let reading = self.reading.take();
        self.walk(range, Layout::Inline);
        self.end_reading();
        self.reading = reading;
        std::mem::replace(&mut self.out, written).text
    }

    /// Brackets that have no partner are dropped; of a template or table that is never closed so are the lines that are
    /// plainly its own.
    pub(super) fn stray(&mut self, token: Token, walk: &mut Walk) -> usize {
        self.out.dropped();
        let at_line_start = token.start() == 0 || self.bytes[token.start() - 1] == b'\n';
        match token.kind {
            Kind::Stray if self.bytes[token.start()] == b'[' => self.stray_link(token, walk),
            Kind::StrayBraces => self.stray_template(token, at_line_start && walk.layout == Layout::Block, walk),
            Kind::StrayTable if self.bytes[token.start()] == b'{' => self.skip_table(token.end(), walk),
            _ => token.end(),
        }
    }

    /// `{{` that nothing closes. Its name and arguments go; words that stand in the line behind its last bar are kept, where
    /// the template shows words or these are a sentence. A template that goes over several lines has none.
    fn stray_template(&mut self, token: Token, is_alone: bool, walk: &mut Walk) -> usize {
        /// No template of a sentence has a longer name and arguments.
        const REACH: usize = 400;
        let at = token.end();
        // Without a limit each of many on a line would look at all of it.
        let end = self.text.floor_char_boundary(walk.end.min(at + REACH));
        let line_end = memchr(b'\n', &self.bytes[at..end]).map(|found| at + found);
        let end = line_end.unwrap_or(end);
        let mut bars = (0..8).scan(at, |from, _| {
            let bar = self.next_bar(*from..end)?;
            *from = bar + 1;
            Some(bar)
        });
        let Some(first) = bars.next() else {
            let is_words = is_sentence(self.text.get(at..end).unwrap_or_default());
            return if is_alone && !is_words { self.skip_line(at, walk) } else { at };
        };
        let last = bars.last().unwrap_or(first);
        let goes_on = line_end.is_some_and(|line_end| matches!(self.bytes.get(line_end + 1), Some(b'|' | b'}')));
        let words = self.text.get(last + 1..end).unwrap_or_default();
        let named = words.split_once('=').filter(|(name, _)| !name.trim().contains([' ', '<', '[', '/']));
        let start = named.map_or(last + 1, |(_, value)| end - value.len());
        let shows_words = || match self.template_name(at..first) {
            Some((name, _)) => self.shows(&name, at..first) != Shows::Nothing && named.is_none(),
            None => false,
        };
        let is_kept = !words.trim().is_empty() && !goes_on && (is_sentence(words) || shows_words());
        match (is_kept, is_alone) {
            (true, _) => start,
            (false, true) => self.skip_line(at, walk),
            (false, false) => line_end.filter(|_| named.is_some()).unwrap_or(start),
        }
    }

    /// `[[` that nothing closes. Of a file or category the rest of the line goes, of another link the title before the bar.
    fn stray_link(&mut self, token: Token, walk: &mut Walk) -> usize {
        let at = token.end();
        let window = &self.bytes[at..walk.end.min(at + 300)];
        let length = window.iter().position(|byte| matches!(byte, b'|' | b'\n' | b'[' | b']' | b'{' | b'}' | b'<'));
        let name = &self.text[at..at + length.unwrap_or(0)];
        match self.prefix(name.trim_start()) {
            Some(Prefix::File | Prefix::Category) => self.skip_line(at, walk),
            _ if length.is_some_and(|length| window[length] == b'|') && !name.trim().is_empty() => at + name.len() + 1,
            _ => at,
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

/// Whether a sentence ends in a line, or with it.
fn is_sentence(line: &str) -> bool {
    const ENDS: [char; 7] = ['.', '!', '?', '。', '।', '۔', '։'];
    // A name, a number or a list of arguments has a few words at most.
    let is_long =
        line.split_whitespace().nth(2).is_some() || line.chars().filter(|letter| *letter > '\u{2E80}').nth(5).is_some();
    is_long && (line.trim_end().ends_with(ENDS) || line.contains(". ") || line.contains(['。', '।', '։']))
}

/// Length of the tag a text begins with, if it is one that says what a template's page shows to whom.
pub(super) fn inclusion_tag(bytes: &[u8]) -> Option<usize> {
    let name_start = 1 + usize::from(bytes.get(1) == Some(&b'/'));
    let name = name_at(bytes, name_start);
    let known = ["noinclude", "includeonly", "onlyinclude"].iter().any(|tag| name.eq_ignore_ascii_case(tag.as_bytes()));
    let end = name_start + name.len();
    (known && bytes.first() == Some(&b'<') && bytes.get(end) == Some(&b'>')).then_some(end + 1)
}
