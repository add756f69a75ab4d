//! Character references: `&eacute;`, `&#233;`, `&#xE9;`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use memchr::memchr;

use crate::dump::character_reference;

/// The names of the HTML standard (<https://html.spec.whatwg.org/multipage/named-characters.html>) that end in a semicolon, each with
/// its characters in hexadecimal. MediaWiki knows no others and needs the semicolon. `scripts/character_references.py` writes the file.
const NAMED: &str = include_str!("character_references.txt");

/// Names of the right-to-left mark that MediaWiki knows besides.
const ALIASES: [(&str, &str); 2] = [("רלמ", "\u{200F}"), ("رلم", "\u{200F}")];

/// Characters that browsers show for the numbers from 128 to 159: those of Windows-1252, as the HTML standard says.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

static CHARACTERS: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    let of_codes = |codes: &str| {
        codes.split('+').filter_map(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?)).collect::<String>()
    };
    let named = NAMED.split_ascii_whitespace().filter_map(|entry| entry.split_once('='));
    let named = named.map(|(name, codes)| (name, of_codes(codes)));
    named.chain(ALIASES.map(|(name, characters)| (name, characters.to_owned()))).collect()
});

/// Decodes the reference a text begins with, and gives its length; `None` and 1 if the `&` is just an `&`.
pub(super) fn reference(text: &str) -> (Option<Cow<'static, str>>, usize) {
    // The longest name has 31 letters.
    let end = text.len().min(34);
    let Some(length) = memchr(b';', &text.as_bytes()[..end]) else {
        return (None, 1);
    };
    let name = &text[1..length];
    if name.is_empty() || !name.chars().all(|letter| letter.is_alphanumeric() || letter == '#') {
        return (None, 1);
    }
    let decoded = match CHARACTERS.get(name) {
        Some(named) => Some(Cow::Borrowed(named.as_str())),
        None => numbered(name).map(|character| Cow::Owned(character.to_string())),
    };
    match decoded {
        Some(decoded) => (Some(decoded), length + 1),
        None => (None, 1),
    }
}

/// The character of `#65` or `#x41`.
fn numbered(name: &str) -> Option<char> {
    let of_windows = || {
        let digits = name.strip_prefix('#')?;
        let code: usize = match digits.strip_prefix(['x', 'X']) {
            Some(hexadecimal) => usize::from_str_radix(hexadecimal, 16).ok()?,
            None => digits.parse().ok()?,
        };
        WINDOWS_1252.get(code.checked_sub(0x80)?).copied().filter(|character| !character.is_control())
    };
    character_reference(name).or_else(of_windows)
}

/// A text with all its references decoded.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = memchr(b'&', &text.as_bytes()[at..]) {
        decoded.push_str(&text[at..at + found]);
        at += found;
        let (character, length) = reference(&text[at..]);
        decoded.push_str(character.as_deref().unwrap_or("&"));
        at += length;
    }
    decoded.push_str(&text[at..]);
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_the_table_is_a_name_and_its_characters() {
        let entries: Vec<&str> = NAMED.split_ascii_whitespace().collect();
        assert_eq!(entries.len(), 2125);
        assert_eq!(CHARACTERS.len(), 2125 + ALIASES.len(), "a name stands twice");
        for entry in entries {
            let (name, codes) = entry.split_once('=').unwrap();
            let written: Vec<String> =
                CHARACTERS[name].chars().map(|letter| format!("{:x}", u32::from(letter))).collect();
            assert_eq!(written.join("+"), codes, "{name}");
            assert_eq!(reference(&format!("&{name};x")), (Some(CHARACTERS[name].as_str().into()), name.len() + 2));
            assert_eq!(reference(&format!("&{name} x")), (None, 1), "a name needs its semicolon");
        }
    }
}
