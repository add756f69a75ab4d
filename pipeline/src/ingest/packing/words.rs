//! How many words a text has.

use unicode_segmentation::UnicodeSegmentation;

/// Words of a text by Unicode segmentation. Scripts that put no spaces between words are counted by characters: what takes two
/// of them in Chinese and Japanese, or four syllables in Thai, is about a word elsewhere.
pub(super) fn count(text: &str) -> u32 {
    if text.is_ascii() {
        return u32::try_from(count_ascii(text.as_bytes())).unwrap_or(u32::MAX);
    }
    if !text.chars().any(|letter| width(letter) > 1) {
        return u32::try_from(text.unicode_words().count()).unwrap_or(u32::MAX);
    }
    let mut words = 0u32;
    // Characters of a run without spaces, and how many of them are a word.
    let (mut run, mut run_width) = (0u32, 1);
    for segment in text.split_word_bounds() {
        let width = segment.chars().next().map_or(0, width);
        if run > 0 && width != run_width {
            words = words.saturating_add(run.div_ceil(run_width));
            run = 0;
        }
        match width {
            0 => {}
            1 => words = words.saturating_add(u32::from(segment.chars().any(char::is_alphanumeric))),
            // A word of katakana is one segment.
            _ => run = run.saturating_add(u32::try_from(segment.graphemes(true).count()).unwrap_or(u32::MAX)),
        }
        run_width = width.max(1);
    }
    words.saturating_add(run.div_ceil(run_width))
}

/// How many characters like this one are about a word: one for most scripts, which have spaces; 0 for what is no letter.
fn width(letter: char) -> u32 {
    match letter {
        '\u{E00}'..='\u{EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' if letter.is_alphabetic() => 4,
        '\u{3041}'..='\u{30FF}'
        | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{323AF}' => 2,
        _ if letter.is_whitespace() || letter.is_ascii_punctuation() => 0,
        _ => 1,
    }
}

/// Unicode's words of an ASCII text, without the library's tables.
fn count_ascii(text: &[u8]) -> usize {
    let mut count = 0;
    let mut inside = false;
    let mut counted = false;
    for (at, &byte) in text.iter().enumerate() {
        if byte.is_ascii_alphanumeric() {
            count += usize::from(!counted);
            (inside, counted) = (true, true);
        } else if byte == b'_' {
            inside = true;
        } else if inside && !joins(text, at) {
            (inside, counted) = (false, false);
        }
    }
    count
}

/// Whether a sign stands inside a word: between letters (`o'clock`), or between digits (`3.5`).
fn joins(text: &[u8], at: usize) -> bool {
    let (Some(before), Some(&after)) = (at.checked_sub(1).map(|before| text[before]), text.get(at + 1)) else {
        return false;
    };
    match text[at] {
        b'.' | b'\'' if before.is_ascii_digit() => after.is_ascii_digit(),
        b',' | b';' => before.is_ascii_digit() && after.is_ascii_digit(),
        b'.' | b'\'' | b':' => before.is_ascii_alphabetic() && after.is_ascii_alphabetic(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn words_are_those_of_the_library(text in "([a-cA-C]|[0-9]|[_.,;:'\"]|[ -~]|\n){0,30}") {
            prop_assert_eq!(count(&text) as usize, text.unicode_words().count(), "{:?}", text);
        }
    }
}
