//! References of XML, and what they stand for.

use std::borrow::Cow;

use memchr::memchr;
use quick_xml::escape::resolve_predefined_entity;

/// Adds what an XML reference stands for; an unknown one is kept as it is written.
pub(super) fn push_reference(text: &mut String, name: &str) {
    if let Some(resolved) = resolve_predefined_entity(name) {
        text.push_str(resolved);
    } else if let Some(character) = character_reference(name) {
        text.push(character);
    } else {
        text.push('&');
        text.push_str(name);
        text.push(';');
    }
}

/// The character of `#65` or `#x41`; control characters that XML does not allow are none.
pub(crate) fn character_reference(name: &str) -> Option<char> {
    let digits = name.strip_prefix('#')?;
    let code = match digits.strip_prefix(['x', 'X']) {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
        None => digits.parse().ok()?,
    };
    char::from_u32(code).filter(|&character| !character.is_control() || matches!(character, '\t' | '\n' | '\r'))
}

/// XML text with its references resolved and its line ends made `\n`.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    let bytes = raw.as_bytes();
    let Some(first) = memchr::memchr2(b'&', b'\r', bytes) else {
        return Cow::Borrowed(raw);
    };
    let mut text = String::with_capacity(raw.len());
    let mut copied = 0;
    let mut at = first;
    loop {
        text.push_str(&raw[copied..at]);
        copied = at + 1;
        if bytes[at] == b'\r' {
            if bytes.get(at + 1) != Some(&b'\n') {
                text.push('\n');
            }
        } else {
            // The longest reference is that of a character in hexadecimal; whatever is longer is a stray ampersand.
            let end = (at + 12).min(bytes.len());
            match memchr(b';', &bytes[at..end]) {
                Some(length) => {
                    push_reference(&mut text, &raw[at + 1..at + length]);
                    copied = at + length + 1;
                }
                None => text.push('&'),
            }
        }
        match memchr::memchr2(b'&', b'\r', &bytes[copied..]) {
            Some(next) => at = copied + next,
            None => break,
        }
    }
    text.push_str(&raw[copied..]);
    Cow::Owned(text)
}
