//! Sentence boundaries: those of Unicode's segmentation (UAX 29), found faster.
//!
//! A bound can only stand behind a character that may end a sentence. So the text is searched for one of those, and the library, which
//! looks at the class of every character in a table, is asked from the word before it on. Most full stops that end nothing
//! (`3.5`, `e.g. this`) need not even that.

use unicode_segmentation::UnicodeSegmentation;

/// The ends of the sentences of a text, in order; the last is the length of the text.
pub(super) fn ends(text: &str) -> Ends<'_> {
    Ends { text, start: 0 }
}

pub(super) struct Ends<'a> {
    text: &'a str,
    /// Where the sentence begins that comes next.
    start: usize,
}

impl Iterator for Ends<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.start == self.text.len() {
            return None;
        }
        let mut from = self.start;
        self.start = loop {
            let Some(mark) = next_mark(self.text, from) else { break self.text.len() };
            if goes_on(&self.text.as_bytes()[mark..]) {
                from = mark + 1;
                continue;
            }
            if ends_here(&self.text.as_bytes()[mark..]) {
                break mark + 2;
            }
            // The rules look back from a mark at the letter before it, past the marks attached to that.
            let sentence = &self.text[self.start..mark];
            let word = self.start + sentence.rfind(' ').unwrap_or(0);
            let bounds = self.text[word..].split_sentence_bound_indices();
            break bounds.map(|(at, part)| word + at + part.len()).find(|&end| end > mark).unwrap_or(self.text.len());
        };
        Some(self.start)
    }
}

/// The next character that may end a sentence.
fn next_mark(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        at +=
            bytes[at..].iter().position(|&byte| byte >= 0x80 || matches!(byte, b'.' | b'!' | b'?' | b'\n' | b'\r'))?;
        if bytes[at] < 0x80 {
            return Some(at);
        }
        let character = text[at..].chars().next()?;
        if !inside_sentences(character) {
            return Some(at);
        }
        at += character.len_utf8();
    }
}

/// Characters of common scripts that surely end no sentence; others are for the library to judge.
fn inside_sentences(character: char) -> bool {
    matches!(
        character,
        '\u{86}'..='\u{588}'
            | '\u{590}'..='\u{61B}'
            | '\u{620}'..='\u{6D3}'
            | '\u{900}'..='\u{963}'
            | '\u{966}'..='\u{1049}'
            | '\u{10A0}'..='\u{1361}'
            | '\u{1E00}'..='\u{2023}'
            | '\u{2025}'..='\u{2027}'
            | '\u{202A}'..='\u{203B}'
            | '\u{2070}'..='\u{2BFF}'
            | '\u{3003}'..='\u{A4FE}'
            | '\u{AC00}'..='\u{FE11}'
    )
}

/// Whether a full stop is followed by what certainly goes on with the sentence: rules SB6, SB8 and SB8a for plain letters.
fn goes_on(from_mark: &[u8]) -> bool {
    matches!(from_mark, [b'.', b'0'..=b'9' | b'a'..=b'z' | b',', ..] | [b'.', b' ', b'a'..=b'z' | b',', ..])
}

/// Whether a mark, a space and a letter certainly are the end of a sentence, the space included, and the beginning of another: rule SB11.
fn ends_here(from_mark: &[u8]) -> bool {
    matches!(from_mark, [b'.' | b'!' | b'?', b' ', b'A'..=b'Z', ..] | [b'!' | b'?', b' ', b'a'..=b'z' | b'0'..=b'9', ..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn twin(text: &str) -> Vec<usize> {
        text.split_sentence_bound_indices().map(|(at, sentence)| at + sentence.len()).collect()
    }

    #[test]
    fn every_character_that_is_passed_over_is_inside_sentences() {
        for character in (0..=char::MAX as u32).filter_map(char::from_u32).filter(|&c| inside_sentences(c)) {
            let text = format!("A{character}B a{character} C");
            assert_eq!(twin(&text), [text.len()], "U+{:04X}", character as u32);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn bounds_are_those_of_the_library(
            parts in proptest::collection::vec(
                prop_oneof![
                    "[ab] ?", "[AB] ?", "[.!?] ?", "[0-9]", "[,;:)\"'(-] ?", "\u{301}|\u{ad}|\u{200d}", "\n|\r\n|\r|\u{85}|\u{2028}",
                    "é|É|世|。|।|…|‼|\u{2024}|ا|۔|\u{a0}|\u{3000}|१|٣", " ",
                ],
                0..40,
            ),
        ) {
            let text = parts.concat();
            prop_assert_eq!(ends(&text).collect::<Vec<_>>(), twin(&text), "{:?}", text);
        }
    }
}
