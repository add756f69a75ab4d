//! Opaque tags among the tokens: from the `<` to the end of the tag that closes them.

use std::ops::Range;

use memchr::{memchr, memmem};

use super::super::opaque::{OPAQUE, REFERENCE, name_at, tag_end};
use super::{Kind, Scanner};

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
