//! Tags whose content is not wikitext of the page, and where tags end.

use std::ops::Range;

use memchr::{memchr, memchr3, memmem};

use super::tokens::{Kind, Scanner};

/// Tags whose content is looked at separately or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opaque {
    /// Shown as it is.
    Nowiki,
    /// Shown as it is, line by line.
    Pre,
    /// Shown if it is simple.
    Math,
    /// Program text: shown where it is part of a line.
    Source,
    /// Not prose.
    Dropped,
}

/// The tag of references.
const REFERENCE: &str = "ref";

/// Names of opaque tags, what becomes of them. The place in the list numbers the flags of [`Scanner::unclosed`].
pub(super) const OPAQUE: &[(&str, Opaque)] = &[
    (REFERENCE, Opaque::Dropped),
    ("nowiki", Opaque::Nowiki),
    ("math", Opaque::Math),
    ("references", Opaque::Dropped),
    ("gallery", Opaque::Dropped),
    ("pre", Opaque::Pre),
    ("source", Opaque::Source),
    ("syntaxhighlight", Opaque::Source),
    ("timeline", Opaque::Dropped),
    ("imagemap", Opaque::Dropped),
    ("score", Opaque::Dropped),
    ("graph", Opaque::Dropped),
    ("mapframe", Opaque::Dropped),
    ("maplink", Opaque::Dropped),
    ("hiero", Opaque::Dropped),
    ("templatedata", Opaque::Dropped),
    ("templatestyles", Opaque::Dropped),
    ("inputbox", Opaque::Dropped),
    ("includeonly", Opaque::Dropped),
    ("chem", Opaque::Math),
    ("ce", Opaque::Math),
    ("categorytree", Opaque::Dropped),
    ("indicator", Opaque::Dropped),
    ("section", Opaque::Dropped),
    ("style", Opaque::Dropped),
    ("script", Opaque::Dropped),
    ("rp", Opaque::Dropped),
    ("pages", Opaque::Dropped),
    ("pagelist", Opaque::Dropped),
    ("pagequality", Opaque::Dropped),
    ("dynamicpagelist", Opaque::Dropped),
    ("dpl", Opaque::Dropped),
    ("charinsert", Opaque::Dropped),
    ("quiz", Opaque::Dropped),
    ("poll", Opaque::Dropped),
    ("rss", Opaque::Dropped),
    ("feed", Opaque::Dropped),
    ("slideshow", Opaque::Dropped),
    ("randomimage", Opaque::Dropped),
    ("createbox", Opaque::Dropped),
    ("forum", Opaque::Dropped),
    ("comments", Opaque::Dropped),
    ("ask", Opaque::Dropped),
    ("bibtex", Opaque::Dropped),
    ("biblio", Opaque::Dropped),
    ("graphviz", Opaque::Dropped),
    ("plot", Opaque::Dropped),
    ("uml", Opaque::Dropped),
    ("mermaid", Opaque::Dropped),
    ("abc", Opaque::Dropped),
    ("lilypond", Opaque::Dropped),
    ("chess", Opaque::Dropped),
    ("video", Opaque::Dropped),
    ("audio", Opaque::Dropped),
    ("youtube", Opaque::Dropped),
    ("embedvideo", Opaque::Dropped),
    ("googlemap", Opaque::Dropped),
    ("display_map", Opaque::Dropped),
    ("display_point", Opaque::Dropped),
    ("display_points", Opaque::Dropped),
    ("display_line", Opaque::Dropped),
    ("maplayer", Opaque::Dropped),
    ("mapsources", Opaque::Dropped),
    ("jsonschema", Opaque::Dropped),
    ("abschnitt", Opaque::Dropped),
    ("קטע", Opaque::Dropped),
    ("trecho", Opaque::Dropped),
    ("rating", Opaque::Dropped),
    ("votes", Opaque::Dropped),
    ("newsletter", Opaque::Dropped),
    ("noembed", Opaque::Dropped),
    ("noscript", Opaque::Dropped),
    ("iframe", Opaque::Dropped),
    ("object", Opaque::Dropped),
];

impl Scanner<'_> {
    /// An opaque tag from its `<` to the end of its closing tag.
    pub(super) fn opaque(&mut self, at: usize, name_end: usize, number: usize) -> usize {
        let Some(content) = tag_end(self.bytes, name_end) else {
            return at + 1;
        };
        let (name, kind) = OPAQUE[number];
        if self.bytes[content - 2] == b'/' {
            self.push_with_inner(Kind::Opaque(kind), at..content, content - 1..content - 1);
            return content;
        }
        if self.unclosed[number] {
            return at + 1;
        }
        let closing = if name == REFERENCE { self.reference_end(content) } else { self.closing(content, number) };
        let Some(closing) = closing else { return at + 1 };
        self.push_with_inner(Kind::Opaque(kind), at..closing.end, content..closing.start);
        closing.end
    }

    /// The tag that closes an opaque one whose content begins at a place.
    fn closing(&mut self, content: usize, number: usize) -> Option<Range<usize>> {
        let mut from = content;
        while let Some(found) = memmem::find(&self.bytes[from..], b"</") {
            let close = from + found;
            let name = name_at(self.bytes, close + 2);
            if name.eq_ignore_ascii_case(OPAQUE[number].0.as_bytes()) {
                return Some(close..self.closing_end(close + 2 + name.len()));
            }
            from = close + 2;
        }
        self.unclosed[number] = true;
        None
    }

    /// The tag that closes a reference. Where another one begins before it, it is that one's: the first is not closed, as if the
    /// slash of `<ref name="a">` had been forgotten, but for a reference inside a reference, where a second one follows.
    fn reference_end(&mut self, content: usize) -> Option<Range<usize>> {
        let first = self.reference_tag(content);
        let second = first.as_ref().and_then(|(_, tag)| self.reference_tag(tag.end));
        match (first, second) {
            (Some((true, closing)), _) => Some(closing),
            (Some((false, _)), Some((true, inner))) => {
                self.reference_tag(inner.end).and_then(|(closes, closing)| closes.then_some(closing))
            }
            (Some((false, _)), Some((false, _))) => None,
            (None, _) | (_, None) => {
                self.unclosed[0] = true;
                None
            }
        }
    }

    /// The next tag from a place on that opens or closes a reference, and whether it closes one.
    fn reference_tag(&self, from: usize) -> Option<(bool, Range<usize>)> {
        let mut at = from;
        while let Some(found) = memchr(b'<', &self.bytes[at..]) {
            let start = at + found;
            let closes = self.bytes.get(start + 1) == Some(&b'/');
            let name_start = start + 1 + usize::from(closes);
            let name = name_at(self.bytes, name_start);
            at = start + 1;
            if !name.eq_ignore_ascii_case(REFERENCE.as_bytes()) {
                continue;
            }
            let name_end = name_start + name.len();
            if closes {
                return Some((true, start..self.closing_end(name_end)));
            }
            if let Some(end) = tag_end(self.bytes, name_end) {
                if self.bytes[end - 2] != b'/' {
                    return Some((false, start..end));
                }
                at = end;
            }
        }
        None
    }

    /// The end of a closing tag whose name ends at a place; its `>` may be missing.
    fn closing_end(&self, name_end: usize) -> usize {
        let spaces = self.bytes[name_end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if self.bytes.get(name_end + spaces) == Some(&b'>') { name_end + spaces + 1 } else { name_end }
    }
}

/// The letters and digits at a place: the name of a tag.
pub(super) fn name_at(bytes: &[u8], at: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    // No tag has a name longer than `syntaxhighlight`; a longer word need not be read to its end.
    // One that begins with a letter of another script is written in it.
    let is_foreign = rest.first().is_some_and(|&byte| byte >= 0x80);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || is_foreign && byte >= 0x80;
    let length = rest.iter().take(20).take_while(|&&byte| is_letter(byte)).count();
    &rest[..length]
}

/// The end of a tag whose attributes begin at a place: the first `>` that is in no quotation marks. `None` if another tag begins
/// before.
pub(super) fn tag_end(bytes: &[u8], attributes: usize) -> Option<usize> {
    let mut at = attributes;
    loop {
        let place = at + memchr3(b'>', b'<', b'=', &bytes[at..])?;
        match bytes[place] {
            b'>' => return Some(place + 1),
            b'=' => at = quoted_end(bytes, place + 1).unwrap_or(place + 1),
            _ => return None,
        }
    }
}

/// The end of an attribute's value in quotation marks that follows an equals sign. `None` if there is none, or if what looks like
/// its end is the beginning of another: one mark was forgotten.
pub(super) fn quoted_end(bytes: &[u8], at: usize) -> Option<usize> {
    // No value is longer; without a limit every tag on a line with one mark would look at all of the line.
    let window = &bytes[at..bytes.len().min(at + 1000)];
    let spaces = window.iter().take_while(|&&byte| byte == b' ').count();
    let mark = window.get(spaces).copied().filter(|mark| matches!(mark, b'"' | b'\''))?;
    let value = &window[spaces + 1..];
    let length = memchr(mark, value)?;
    let is_whole = !value[..length].contains(&b'\n') && memmem::find(&value[..length], b"</ref").is_none();
    let ends = matches!(value.get(length + 1), None | Some(b' ' | b'\t' | b'\n' | b'/' | b'>'));
    (is_whole && ends).then_some(at + spaces + length + 2)
}
