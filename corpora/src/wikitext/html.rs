//! Tags.

use memchr::{memchr, memchr3};

use super::clean::{Cleaner, Layout, Walk};
use super::line::inclusion_tag;
use super::opaque::{name_at, quoted_end};
use super::output::Break;
use super::tokens::Kind;

/// Between the cells of a table's row.
pub(super) const CELL: &str = " | ";

/// What a tag does to the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Begins or ends a paragraph.
    Paragraph,
    /// Begins or ends a line.
    Line,
    /// None.
    Nothing,
    /// Begins or ends a cell of a table.
    Cell,
    Superscript,
    Poem,
    /// A reference whose end is missing.
    Reference,
    /// How what stands before it is read.
    Reading,
    /// Words with their readings.
    Ruby,
    /// It is no tag.
    Text,
}

fn effect(name: &[u8]) -> Effect {
    let mut lower = [0; 20];
    let lower = &mut lower[..name.len()];
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    match &*lower {
        b"p" | b"div" | b"blockquote" | b"center" | b"ul" | b"ol" | b"dl" | b"table" | b"caption" | b"hr" | b"h1"
        | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => Effect::Paragraph,
        b"br" | b"li" | b"dd" | b"dt" | b"tr" => Effect::Line,
        b"td" | b"th" => Effect::Cell,
        b"sup" => Effect::Superscript,
        b"poem" => Effect::Poem,
        b"ref" | b"references" => Effect::Reference,
        b"rt" => Effect::Reading,
        b"ruby" => Effect::Ruby,
        b"a" | b"abbr" | b"b" | b"bdi" | b"bdo" | b"big" | b"cite" | b"code" | b"data" | b"del" | b"dfn" | b"em"
        | b"font" | b"i" | b"ins" | b"kbd" | b"mark" | b"q" | b"rb" | b"rp" | b"rtc" | b"s" | b"samp" | b"small"
        | b"span" | b"strike" | b"strong" | b"sub" | b"time" | b"tt" | b"u" | b"var" | b"wbr" | b"noinclude"
        | b"includeonly" | b"onlyinclude" | b"nowiki" | b"pre" | b"gallery" | b"math" | b"source"
        | b"syntaxhighlight" | b"timeline" | b"imagemap" | b"score" | b"hiero" | b"section" | b"img" | b"thead"
        | b"tbody" | b"tfoot" | b"col" | b"colgroup" | b"noglossary" | b"langconvert" | b"chem" | b"ce"
        | b"indicator" | b"nobr" | b"translate" | b"tvar" | b"languages" | b"dir" | b"link" | b"meta" | b"phonos"
        | b"spoiler" | b"tabber" | b"tabview" | b"option" | b"lst" => Effect::Nothing,
        _ => Effect::Text,
    }
}

impl Cleaner<'_> {
    /// A `<` that no token begins with: a tag, or the sign.
    pub(super) fn tag(&mut self, at: usize, walk: &mut Walk) -> usize {
        let name_start = at + 1 + usize::from(self.bytes.get(at + 1) == Some(&b'/'));
        let name = name_at(&self.bytes[..walk.end], name_start);
        let effect = effect(name);
        if name.is_empty() || effect == Effect::Text {
            self.out.push("<");
            return at + 1;
        }
        let name_end = name_start + name.len();
        let end = match self.tag_end(name_end, walk.end) {
            Some(end) => end,
            // Of a reference that is not closed the name goes; anything else is the sign and a word: `a<b`.
            None if effect == Effect::Reference => name_end,
            None => {
                self.out.push("<");
                return at + 1;
            }
        };
        let closing = name_start > at + 1;
        let inline = walk.layout == Layout::Inline;
        match effect {
            Effect::Paragraph if !inline => self.out.ask(Break::Paragraph),
            Effect::Line if !inline => {
                self.out.ask(Break::Line);
                self.out.wrote &= !self.in_table;
            }
            Effect::Cell if !closing && self.out.wrote && self.in_table => self.out.push(CELL),
            Effect::Paragraph | Effect::Line | Effect::Cell => self.out.ask(Break::Space),
            Effect::Superscript if !closing => return self.superscript(end, walk),
            Effect::Poem => {
                self.in_poem = !closing && !inline;
                self.out.ask(if inline { Break::Space } else { Break::Paragraph });
            }
            Effect::Reference => self.out.dropped(),
            Effect::Reading if !closing => self.begin_reading(),
            Effect::Reading | Effect::Ruby => self.end_reading(),
            Effect::Superscript | Effect::Nothing | Effect::Text => {}
        }
        end
    }

    /// The end of a tag whose attributes begin at `at`; comments, templates and the like may be among them, and what is in quotation
    /// marks does not end it.
    fn tag_end(&self, at: usize, end: usize) -> Option<usize> {
        let bytes = &self.bytes[..end];
        let mut at = at;
        let mut next = self.tokens.partition_point(|token| token.start() < at);
        loop {
            let place = memchr3(b'>', b'<', b'=', &bytes[at..]).map_or(end, |found| at + found);
            let token = self.tokens.get(next).filter(|token| token.start() <= place && token.end() <= end);
            match (token, bytes.get(place)) {
                (Some(token), _) => {
                    next += 1;
                    at = if token.start() >= at && !matches!(token.kind, Kind::Link) { token.end() } else { at };
                }
                (None, Some(b'>')) => return Some(place + 1),
                (None, Some(b'=')) => at = quoted_end(bytes, place + 1).unwrap_or(place + 1),
                (None, _) => at = place + inclusion_tag(&bytes[place..])?,
            }
        }
    }

    /// Digits and signs between `<sup>` and `</sup>` become superscript characters, so that 10⁶ does not read 106.
    fn superscript(&mut self, content: usize, walk: &Walk) -> usize {
        let window = &self.bytes[content..walk.end.min(content + 24)];
        let Some(length) = memchr(b'<', window) else {
            return content;
        };
        let raised: Option<String> = self.text.get(content..content + length).and_then(raise);
        match raised {
            Some(raised) if window[length..].starts_with(b"</sup") => {
                self.out.push(&raised);
                content + length
            }
            _ => content,
        }
    }
}

/// A number as superscript characters; `None` if there are none for it.
pub(super) fn raise(text: &str) -> Option<String> {
    let text = text.trim().replace("&minus;", "-");
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.chars().map(superscript_character).collect()
}

fn superscript_character(character: char) -> Option<char> {
    Some(match character {
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        '+' => '⁺',
        '-' | '−' | '–' => '⁻',
        _ => return None,
    })
}
