//! Second pass: walks the text and writes what is prose.

use std::collections::HashSet;
use std::ops::Range;

use super::opaque::Opaque;
use super::output::{Break, Output};
use super::quotes::QuoteLine;
use super::tokens::{Kind, Token, scan};
use super::visibility::{Visible, visible};
use super::{CleanPage, WikiContext, character_references};

/// Templates in links in templates …: below this depth the content is dropped, which keeps the stack small.
const MAX_DEPTH: usize = 40;

/// State of the walk over one page.
pub(super) struct Cleaner<'page> {
    pub(super) text: &'page str,
    pub(super) bytes: &'page [u8],
    pub(super) context: &'page WikiContext,
    /// Title of the page, empty if it is not known.
    pub(super) page_title: &'page str,
    pub(super) tokens: Vec<Token>,
    pub(super) out: Output,
    pub(super) categories: Vec<String>,
    /// Those that have been seen: a page may have any number.
    pub(super) seen_categories: HashSet<String>,
    pub(super) infoboxes: Vec<String>,
    /// Whether the last line of text was an item of a list.
    pub(super) in_list: bool,
    /// Inside `<poem>`, where line ends are kept.
    pub(super) in_poem: bool,
    /// Inside an HTML table that is kept.
    pub(super) in_table: bool,
    /// What closes the brackets of the reading that is being written.
    pub(super) reading: Option<&'static str>,
    quotes: QuoteLine,
    depth: usize,
}

/// How the stretch being walked is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Lines with headings, lists and paragraphs.
    Block,
    /// Part of a line: newlines are spaces.
    Inline,
}

/// Where the walk is.
pub(super) struct Walk {
    pub(super) end: usize,
    pub(super) layout: Layout,
    /// The next byte begins a line.
    pub(super) line_start: bool,
    /// External links `[http://… words]` whose `]` is still ahead in this line.
    pub(super) external: usize,
    /// The colon of `; term : meaning`, if it is ahead in this line.
    pub(super) colon: Option<usize>,
    /// Before this place no heading begins: its line has been looked at.
    pub(super) no_heading: usize,
    next_token: usize,
}

/// Bytes that may need more than copying.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    let others = b" '[]<&_\x7F\xC2\xE2\xE3\xEF";
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
};

impl<'page> Cleaner<'page> {
    pub(super) fn new(text: &'page str, page_title: &'page str, context: &'page WikiContext) -> Self {
        Cleaner {
            text,
            bytes: text.as_bytes(),
            context,
            page_title,
            tokens: scan(text),
            out: Output::new(),
            categories: Vec::new(),
            seen_categories: HashSet::new(),
            infoboxes: Vec::new(),
            in_list: false,
            in_poem: false,
            in_table: false,
            reading: None,
            quotes: QuoteLine::default(),
            depth: 0,
        }
    }

    pub(super) fn run(mut self) -> CleanPage {
        self.walk(0..self.bytes.len(), Layout::Block);
        let (text, sections, links) = self.out.finish();
        CleanPage { text, sections, links, categories: self.categories, infoboxes: self.infoboxes }
    }

    /// Writes the prose of a stretch of the page.
    pub(super) fn walk(&mut self, range: Range<usize>, layout: Layout) {
        if self.depth >= MAX_DEPTH {
            self.out.dropped();
            return;
        }
        self.depth += 1;
        let next_token = self.tokens.partition_point(|token| token.start() < range.start);
        let line_start = layout == Layout::Block;
        let mut walk = Walk { end: range.end, layout, line_start, external: 0, colon: None, no_heading: 0, next_token };
        let mut at = range.start;
        while at < walk.end {
            at = if walk.line_start { self.begin_line(at, &mut walk) } else { self.step(at, &mut walk) };
        }
        self.depth -= 1;
    }

    /// Whether what is being read stands on the page itself, not inside something else.
    pub(super) fn on_page(&self) -> bool {
        self.depth <= 1
    }

    /// The same, before the page's prose.
    pub(super) fn at_top(&self) -> bool {
        self.on_page() && self.out.text.is_empty()
    }

    /// The first token at or after a place that has been walked to.
    pub(super) fn token_from(&self, at: usize, walk: &mut Walk) -> Option<Token> {
        while self.tokens.get(walk.next_token).is_some_and(|token| token.start() < at) {
            walk.next_token += 1;
        }
        self.tokens.get(walk.next_token).copied().filter(|token| token.start() < walk.end)
    }

    /// One token, or the text up to the next thing that is not just copied.
    fn step(&mut self, at: usize, walk: &mut Walk) -> usize {
        let token = self.token_from(at, walk);
        let mut stop = token.map_or(walk.end, |token| token.start());
        if let Some(colon) = walk.colon {
            if colon == at {
                return self.meaning(at, walk);
            }
            if colon > at {
                stop = stop.min(colon);
            }
        }
        match token {
            Some(token) if token.start() == at => self.token(token, walk),
            _ => self.run_of_text(at, stop, walk),
        }
    }

    /// Copies ordinary bytes and handles the special one they end at.
    fn run_of_text(&mut self, at: usize, stop: usize, walk: &mut Walk) -> usize {
        let bytes = self.bytes;
        let mut end = at;
        while end < stop {
            let byte = bytes[end];
            if !SPECIAL[usize::from(byte)] {
                end += 1;
                continue;
            }
            let next = bytes[..stop].get(end + 1).copied();
            // The frequent harmless cases: one space between words, one apostrophe, one underscore, a dash.
            let harmless = match byte {
                b' ' => next != Some(b' '),
                b'\'' => next != Some(b'\''),
                b'_' => next != Some(b'_'),
                0xC2 => next.is_none_or(|next| next > 0xA0 && next != 0xAD),
                0xE2 => next.is_none_or(|next| next > 0x81),
                0xE3 => next != Some(0x80) || bytes.get(end + 2) != Some(&0x80),
                0xEF => next != Some(0xBB),
                _ => false,
            };
            if !harmless {
                break;
            }
            end += 1;
        }
        if end > at {
            self.out.push(&self.text[at..end]);
            return end;
        }
        self.special(at, stop, walk)
    }

    /// One special byte at `at`; gives the place after what it stands for.
    fn special(&mut self, at: usize, stop: usize, walk: &mut Walk) -> usize {
        match self.bytes[at] {
            b'\n' => self.newline(at, walk),
            b' ' | b'\t' | b'\r' => {
                self.out.ask(Break::Space);
                at + 1
            }
            b'\'' => {
                let length = self.bytes[at..stop].iter().take_while(|&&byte| byte == b'\'').count();
                let shown = self.quotes.shown(self.bytes, at, length);
                self.out.push(&self.text[at..at + shown]);
                at + length
            }
            b'[' => self.external_link(at, stop, walk),
            b']' => {
                if walk.external > 0 {
                    walk.external -= 1;
                } else {
                    self.out.push("]");
                }
                at + 1
            }
            b'<' => self.tag(at, walk),
            b'&' => {
                let (decoded, end) = character_references::reference(&self.text[at..stop]);
                self.push_decoded(decoded.as_deref().unwrap_or("&"));
                at + end
            }
            b'_' => self.switch(at, stop),
            byte if byte < 0x20 || byte == 0x7F => at + 1,
            _ => self.unusual(at),
        }
    }

    /// A character outside ASCII that may be a space or invisible.
    fn unusual(&mut self, at: usize) -> usize {
        let Some(character) = self.text[at..].chars().next() else {
            return at + 1;
        };
        let end = at + character.len_utf8();
        match visible(character) {
            Visible::Yes => self.out.push(&self.text[at..end]),
            Visible::Space => self.out.ask(Break::Space),
            Visible::No => {}
        }
        end
    }

    /// Writes what a reference stands for, a space as a break.
    pub(super) fn push_decoded(&mut self, decoded: &str) {
        for character in decoded.chars() {
            match visible(character) {
                Visible::Yes => self.out.push(character.encode_utf8(&mut [0; 4])),
                Visible::Space => self.out.ask(Break::Space),
                Visible::No => {}
            }
        }
    }

    /// `__NOTOC__` and the like; anything else that begins with two underscores is text.
    fn switch(&mut self, at: usize, stop: usize) -> usize {
        if let Some(end) = switch_end(&self.text[at..stop]) {
            self.out.dropped();
            return at + end;
        }
        let underscores = self.bytes[at..stop].iter().take_while(|&&byte| byte == b'_').count();
        self.out.push(&self.text[at..at + underscores]);
        at + underscores
    }

    fn token(&mut self, token: Token, walk: &mut Walk) -> usize {
        // Nothing can reach beyond the stretch it begins in but what was cut by something broken around it.
        if token.end() > walk.end {
            self.out.dropped();
            return walk.end.min(token.start() + 2);
        }
        match token.kind {
            Kind::Comment => return self.comment(token, walk),
            Kind::Opaque(kind) => self.opaque(kind, token),
            Kind::Template => {
                self.template(token);
                // What begins with a template that shows nothing begins the line.
                walk.line_start = walk.layout == Layout::Block && !self.out.wrote && !self.in_list;
            }
            Kind::Variant => self.variant(token.inner()),
            Kind::Parameter => self.parameter(token),
            Kind::Link => return self.link(token, walk),
            Kind::Table => self.table(token),
            Kind::StrayBraces | Kind::StrayTable | Kind::Stray => return self.stray(token, walk),
        }
        token.end()
    }

    /// A comment alone in its lines takes the line with it.
    pub(super) fn comment(&mut self, token: Token, walk: &mut Walk) -> usize {
        let before = self.bytes[..token.start()].iter().rev().find(|byte| !matches!(byte, b' ' | b'\t'));
        let after = self.bytes[token.end()..walk.end].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let line_end = token.end() + after;
        if before.is_none_or(|&byte| byte == b'\n') && self.bytes.get(line_end) == Some(&b'\n') && line_end < walk.end {
            walk.line_start = walk.layout == Layout::Block;
            return line_end + 1;
        }
        token.end()
    }

    fn opaque(&mut self, kind: Opaque, token: Token) {
        match kind {
            Opaque::Dropped => self.out.dropped(),
            Opaque::Nowiki => self.literal(token.inner(), Break::Space),
            Opaque::Pre => {
                self.out.ask(Break::Paragraph);
                self.preformatted(token.inner());
                self.out.ask(Break::Paragraph);
            }
            Opaque::Source => {
                let tag = &self.text[token.start()..token.inner().start];
                let inline = tag.split([' ', '\n', '>', '/']).any(|attribute| attribute.starts_with("inline"));
                if inline { self.literal(token.inner(), Break::Space) } else { self.out.dropped() }
            }
            Opaque::Math => {
                let formula = character_references::decode(self.text[token.inner()].trim());
                match self.context.options().math.show(&formula) {
                    Some(shown) => self.out.push(&shown),
                    None => self.out.dropped(),
                }
            }
        }
    }

    /// The lines of `<pre>`: `<nowiki>` is markup there too, from the time when it had to be written.
    fn preformatted(&mut self, range: Range<usize>) {
        let mut at = range.start;
        while let Some(found) = self.text[at..range.end].find("<nowiki>") {
            let content = at + found + "<nowiki>".len();
            let Some(length) = self.text[content..range.end].find("</nowiki>") else { break };
            self.literal(at..at + found, Break::Line);
            self.literal(content..content + length, Break::Line);
            at = content + length + "</nowiki>".len();
        }
        self.literal(at..range.end, Break::Line);
    }

    /// Writes text without looking for markup; its line ends become the given break.
    fn literal(&mut self, range: Range<usize>, line_end: Break) {
        let mut at = range.start;
        while at < range.end {
            let byte = self.bytes[at];
            match byte {
                b'\n' => self.out.ask(line_end),
                b'&' => {
                    let (decoded, length) = character_references::reference(&self.text[at..range.end]);
                    self.push_decoded(decoded.as_deref().unwrap_or("&"));
                    at += length;
                    continue;
                }
                0..0x20 | b' ' | 0x7F => self.out.ask(Break::Space),
                0x80.. => {
                    at = self.unusual(at);
                    continue;
                }
                _ => {
                    let ordinary = |byte: &&u8| !matches!(byte, 0..=0x20 | b'&' | 0x7F..);
                    let length = self.bytes[at..range.end].iter().take_while(ordinary).count();
                    self.out.push(&self.text[at..at + length]);
                    at += length;
                    continue;
                }
            }
            at += 1;
        }
    }
}

/// Length of the behaviour switch a text begins with, `__NOTOC__` and its like in any language.
pub(super) fn switch_end(text: &str) -> Option<usize> {
    // Those that the software takes in small letters too; Python has `__init__`.
    const SMALL: &[&str] = &[
        "archivedtalk",
        "disambig",
        "expectunusedcategory",
        "forcetoc",
        "hiddencat",
        "index",
        "newsectionlink",
        "nocc",
        "nocontentconvert",
        "noeditsection",
        "nogallery",
        "noindex",
        "nonewsectionlink",
        "notalk",
        "notc",
        "notitleconvert",
        "notoc",
        "staticredirect",
        "toc",
    ];
    let word = text.strip_prefix("__").filter(|word| !word.starts_with('_'))?;
    // The longest of any language is below this.
    let window = word.get(..word.len().min(120)).or_else(|| word.get(..word.char_indices().nth(30)?.0))?;
    let name = &window[..window.find("__")?];
    let capital = |letter: char| {
        letter == '_' || !letter.is_lowercase() && (letter.is_alphabetic() || matches!(letter, '\u{900}'..='\u{DFF}'))
    };
    let known =
        name.chars().count() >= 3 && (name.chars().all(capital) || SMALL.contains(&&*name.to_ascii_lowercase()));
    known.then_some(name.len() + 4)
}
