//! Word counts of texts.

use unicode_segmentation::UnicodeSegmentation;

/// Words of a text by Unicode segmentation. Scripts that put no spaces between words are counted by characters: what takes two
/// of them in Chinese and Japanese, or four syllables in Thai, is about a word elsewhere.
pub(super) fn count(text: &str) -> u32 {
    if let Some(words) = count_simple(text) {
        return words;
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

/// What a character is to the rules of words (UAX 29), as far as they are needed for plain text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    /// Joins what stands beside it, without being a word itself.
    Underscore,
    /// Joins letters: `:`.
    Colon,
    /// Joins digits: `3,5`.
    Comma,
    /// Joins either: `3.5`, `o'clock`.
    Point,
    Other,
    /// The library has to be asked.
    Unknown,
}

const ASCII: [Class; 128] = {
    let mut classes = [Class::Other; 128];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'_' => Class::Underscore,
            b':' => Class::Colon,
            b',' | b';' => Class::Comma,
            b'.' | b'\'' => Class::Point,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

fn class(letter: char) -> Class {
    match letter {
        '\0'..='\u{7F}' => ASCII[letter as usize],
        '\u{D7}' | '\u{F7}' | '\u{A0}'..='\u{A9}' | '\u{AB}' | '\u{B0}' | '\u{B1}' => Class::Other,
        '\u{C0}'..='\u{24F}' | '\u{400}'..='\u{481}' | '\u{48A}'..='\u{52F}' | '\u{1E00}'..='\u{1EFF}' => Class::Letter,
        '\u{386}' | '\u{388}'..='\u{38A}' | '\u{38E}'..='\u{3A1}' | '\u{3A3}'..='\u{3CE}' => Class::Letter,
        '\u{2018}' | '\u{2019}' => Class::Point,
        '\u{2010}'..='\u{2017}' | '\u{201C}'..='\u{201F}' | '\u{2022}' | '\u{2026}' | '\u{20AC}' => Class::Other,
        _ => Class::Unknown,
    }
}

/// Unicode's words of a text in a common alphabet, without the library's tables; `None` where it has any other character.
fn count_simple(text: &str) -> Option<u32> {
    let mut count = 0;
    let (mut inside, mut counted) = (false, false);
    let mut before = Class::Other;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let class = class(letter);
        match class {
            Class::Letter | Class::Digit => {
                count += u32::from(!counted);
                (inside, counted) = (true, true);
            }
            Class::Underscore => inside = true,
            Class::Unknown => return None,
            _ if inside && !joins(before, class, letters.as_str()) => (inside, counted) = (false, false),
            _ => {}
        }
        before = class;
    }
    Some(count)
}

/// Whether a sign stands inside a word: between letters (`o'clock`), or between digits (`3.5`).
fn joins(before: Class, sign: Class, rest: &str) -> bool {
    let joined = match before {
        Class::Letter => matches!(sign, Class::Point | Class::Colon),
        Class::Digit => matches!(sign, Class::Point | Class::Comma),
        _ => false,
    };
    joined && rest.chars().next().is_some_and(|after| class(after) == before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_are_those_of_the_library() {
        for letter in (0x80..=0x2FFF).filter_map(char::from_u32).filter(|&letter| class(letter) != Class::Unknown) {
            for text in [
                format!("a{letter}b"),
                format!("1{letter}2"),
                format!("a {letter} {letter}{letter} 1"),
                format!("a{letter}1"),
            ] {
                assert_eq!(
                    count_simple(&text),
                    u32::try_from(text.unicode_words().count()).ok(),
                    "U+{:04X} in {text}",
                    letter as u32
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn words_are_those_of_the_library(text in "([a-cA-C]|[0-9]|[_.,;:'\"]|[ -~]|\n|[éßЖжα’–“°ếĐ]|[\u{A0}-\u{52F}]|[\u{2010}-\u{2030}]){0,30}") {
            prop_assert_eq!(count(&text) as usize, text.unicode_words().count(), "{:?}", text);
        }
    }
}
