//! Tags whose content is not wikitext of the page, and where tags end.

use memchr::{memchr, memchr3, memmem};

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
pub(super) const REFERENCE: &str = "ref";

/// Names of opaque tags, what becomes of them. The place in the list numbers the scanner's flags of tags that nothing closes.
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
