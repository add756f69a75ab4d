//! Internal and external links.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use super::clean::{Cleaner, Layout, Walk};
use super::context::Prefix;
use super::output::Break;
use super::tokens::Token;
use super::visibility::{Visible, visible};
use super::{character_references, interwiki};
use crate::Link;

/// What follows `[` in an external link.
const SCHEMES: &[&str] = &[
    "http://",
    "https://",
    "//",
    "ftp://",
    "ftps://",
    "mailto:",
    "news:",
    "irc://",
    "ircs://",
    "gopher://",
    "tel:",
    "sms:",
    "magnet:",
    "svn://",
    "git://",
    "geo:",
    "urn:",
    "worldwind://",
    "xmpp:",
];

impl Cleaner<'_> {
    /// `[[…]]` and the letters that follow it; gives the place after both.
    pub(super) fn link(&mut self, token: Token, walk: &Walk) -> usize {
        let inner = token.inner();
        let bar = self.bar(inner.clone());
        let target = inner.start..bar.unwrap_or(inner.end);
        let label = bar.map(|bar| bar + 1..inner.end);
        let mut written = Cow::Borrowed(self.text[target.clone()].trim());
        // Comments and templates may be part of a title, links not: what is in a link is never read twice.
        let odd = is_no_title(&written);
        let composed = odd && written.contains(['<', '{']) && written.len() < 256 && !written.contains("[[");
        if composed && !matches!(self.prefix(&written), Some(Prefix::File)) {
            written = Cow::Owned(self.plain(target.clone()));
        }
        let address = if written.contains("//") { address_length(written.as_bytes()) } else { None };
        if let Some(length) = address {
            // An address in double brackets: what stands behind it is its label.
            self.out.dropped();
            match (label, written) {
                (Some(label), _) => self.walk(label, Layout::Inline),
                (None, Cow::Borrowed(_)) => {
                    let behind = (self.trimmed(target).start + length).min(inner.end)..inner.end;
                    self.walk(behind, Layout::Inline);
                }
                // The places of a composed one are not those of the page.
                (None, Cow::Owned(written)) => self.push_plain(&written[length..]),
            }
            return token.end();
        }
        let shown = written.starts_with(':');
        let name = written.trim_start_matches([':', ' ']);
        let prefix = self.prefix(name);
        match prefix {
            Some(Prefix::File | Prefix::Language) if !shown => {
                self.out.dropped();
                return token.end();
            }
            Some(Prefix::Category) if !shown => {
                self.category(name);
                self.out.dropped();
                return token.end();
            }
            _ => {}
        }
        if name.is_empty() || odd && is_no_title(name) {
            // Not a link; what it would have shown is text.
            self.walk(label.unwrap_or(inner), Layout::Inline);
            return token.end();
        }
        match prefix {
            None => return self.article_link(name, label, token, walk),
            Some(Prefix::Project) => {
                let rest = name.split_once(':').map_or(name, |(_, rest)| rest);
                self.anchor(rest, label);
            }
            Some(_) => self.anchor(name, label),
        }
        self.trail(token.end(), walk)
    }

    /// The bar between target and label: not one of a template in the target.
    fn bar(&self, inner: Range<usize>) -> Option<usize> {
        let mut bar = inner.start + memchr(b'|', &self.bytes[inner.clone()])?;
        if self.bytes[inner.start..bar].contains(&b'{') {
            let mut next = self.tokens.partition_point(|token| token.start() < inner.start);
            while let Some(token) = self.tokens.get(next).filter(|token| token.start() < bar) {
                if token.end() > bar && token.end() <= inner.end {
                    bar = token.end() + memchr(b'|', &self.bytes[token.end()..inner.end])?;
                }
                next += 1;
            }
        }
        Some(bar)
    }

    /// What the words before a title's first colon are; `None` if they are part of the title.
    pub(super) fn prefix(&self, name: &str) -> Option<Prefix> {
        let (prefix, _) = name.split_once(':')?;
        let prefix = prefix.trim();
        // No namespace has a name so long: this is the title of a book.
        if prefix.len() > 80 {
            return None;
        }
        let known = self.context.prefix(prefix).or_else(|| interwiki::prefix(prefix));
        // In a wiki whose names are not known a picture still looks like one.
        known.or_else(|| is_picture(name).then_some(Prefix::File))
    }

    fn category(&mut self, name: &str) {
        let name = name.split_once(':').map_or("", |(_, name)| name);
        let title = self.title(name);
        if !title.is_empty() && self.seen_categories.insert(title.clone()) {
            self.categories.push(title);
        }
    }

    fn article_link(&mut self, name: &str, label: Option<Range<usize>>, token: Token, walk: &Walk) -> usize {
        let num_links = self.out.links.len();
        self.out.begin_anchor();
        self.anchor(name, label);
        let end = self.trail(token.end(), walk);
        let Some(span) = self.out.end_anchor() else {
            return end;
        };
        let target = self.title(name.split('#').next().unwrap_or_default());
        // A link inside the label has taken its place.
        if !target.is_empty() && self.out.links.len() == num_links {
            self.out.links.push(Link { span, target });
        }
        end
    }

    /// The words a link shows.
    fn anchor(&mut self, name: &str, label: Option<Range<usize>>) {
        match label {
            // `[[a|]]` is short for the title without its qualifier; `[[a| ]]` shows nothing.
            Some(label) if label.is_empty() => self.push_words(pipe_trick(name)),
            Some(label) => self.walk(self.trimmed(label), Layout::Inline),
            None => self.push_words(name),
        }
    }

    /// Writes a title as it is shown.
    fn push_words(&mut self, title: &str) {
        let title = character_references::decode(title);
        let title = percent_decoded(&title);
        for (number, word) in title.split([' ', '_', '\t', '\u{A0}']).filter(|word| !word.is_empty()).enumerate() {
            if number > 0 {
                self.out.ask(Break::Space);
            }
            let quotes = if word.contains("''") { word.replace("'''", "").replace("''", "") } else { String::new() };
            self.push_decoded(if quotes.is_empty() { word } else { &quotes });
        }
    }

    /// Letters right after a link belong to its words; gives the place after them.
    fn trail(&mut self, at: usize, walk: &Walk) -> usize {
        let rest = &self.text[at..walk.end];
        // No word is longer than this; a page of letters without a space must not be read again for every link.
        let continues = |letter: &char| self.context.facts().continues(*letter);
        let length = rest.chars().take(100).take_while(continues).map(char::len_utf8).sum::<usize>();
        if length > 0 {
            self.out.push(&rest[..length]);
        }
        at + length
    }

    /// A title as the wiki keeps it: references and percent signs decoded, underscores as spaces, first letter a capital.
    pub(super) fn title(&self, written: &str) -> String {
        let is_plain = |(at, byte): (usize, &u8)| match byte {
            b' ' => !matches!(written.as_bytes().get(at + 1), None | Some(b' ')) && at > 0,
            b'&' | b'%' | b'_' => false,
            byte => (b'!'..0x7F).contains(byte),
        };
        // Nearly all are written as they are kept.
        if self.context.first_letter() && written.bytes().enumerate().all(|(at, byte)| is_plain((at, &byte))) {
            let mut title = written.to_owned();
            if let Some(first) = title.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            return title;
        }
        let decoded = character_references::decode(written);
        let decoded = percent_decoded(&decoded);
        let mut title = String::with_capacity(decoded.len());
        for word in decoded.split([' ', '_', '\t', '\u{A0}']).filter(|word| !word.is_empty()) {
            if !title.is_empty() {
                title.push(' ');
            }
            title.extend(word.chars().filter(|&character| !matches!(visible(character), Visible::No)));
        }
        let mut letters = title.chars();
        match letters.next() {
            Some(first) if self.context.first_letter() && first.is_lowercase() => {
                // One letter for one: `ß` has no capital in a title.
                let mut upper = first.to_uppercase();
                match (upper.next(), upper.next()) {
                    (Some(upper), None) => format!("{upper}{}", letters.as_str()),
                    _ => title,
                }
            }
            _ => title,
        }
    }

    /// `[http://… words]` shows its words; any other `[` is a bracket.
    pub(super) fn external_link(&mut self, at: usize, stop: usize, walk: &mut Walk) -> usize {
        let Some(length) = address_length(&self.bytes[at + 1..stop]) else {
            self.out.push("[");
            return at + 1;
        };
        let end = at + 1 + length;
        if self.bytes[..stop].get(end) == Some(&b']') {
            self.out.dropped();
            return end + 1;
        }
        walk.external += 1;
        // What stands right before the bracket and the label belong together, whatever is between address and label.
        end + self.bytes[end..stop].iter().take_while(|&&byte| byte == b' ').count()
    }
}

/// Whether a title ends as the names of pictures and recordings do.
fn is_picture(name: &str) -> bool {
    const ENDINGS: &[&str] =
        &["jpg", "jpeg", "png", "svg", "gif", "tif", "tiff", "webp", "ogg", "oga", "ogv", "webm", "mid"];
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending.trim_end());
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// Whether a text has a character that no title has.
fn is_no_title(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'\n' | b'<' | b'>' | b'[' | b']' | b'{' | b'}'))
}

/// Length of the address a text begins with, if it begins with one.
fn address_length(bytes: &[u8]) -> Option<usize> {
    let begins = |scheme: &&&str| {
        bytes.get(..scheme.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    let scheme = SCHEMES.iter().find(begins)?.len();
    let mut end = scheme;
    // A host of numbers stands in brackets of its own.
    if bytes.get(end) == Some(&b'[') {
        let host = bytes[end + 1..].iter().take_while(|&&byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        let host = host.count();
        if host == 0 || bytes.get(end + 1 + host) != Some(&b']') {
            return None;
        }
        end += host + 2;
    }
    while let Some(&byte) = bytes.get(end) {
        let ends = match byte {
            0..=b' ' | b'[' | b']' | b'<' | b'>' | b'"' | 0x7F => true,
            // Italics begin.
            b'\'' => bytes.get(end + 1) == Some(&b'\''),
            // An ideographic or another wide space.
            0xE3 => bytes[end..].starts_with("\u{3000}".as_bytes()),
            0xC2 => bytes.get(end + 1) == Some(&0xA0),
            _ => false,
        };
        if ends {
            break;
        }
        end += 1;
    }
    (end > scheme).then_some(end)
}

/// What `[[Boston (novel)|]]` and `[[Boston, Massachusetts|]]` show: the title without its qualifier.
fn pipe_trick(name: &str) -> &str {
    let name = name.rsplit_once(':').map_or(name, |(_, name)| name).trim();
    if name.ends_with(')')
        && let Some(open) = name.rfind('(')
        && open > 0
    {
        return name[..open].trim_end();
    }
    name.split_once(", ").map_or(name, |(name, _)| name)
}

/// `%41` as `A`; left alone where that gives no UTF-8.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |place: usize| bytes.get(place).and_then(|&byte| char::from(byte).to_digit(16));
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).map_or(text.into(), Into::into)
}
