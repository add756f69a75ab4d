//! Running text as a haystack.

use std::ops::Range;

/// Longest word: items are made of whole ones.
const MAX_WORD_BYTES: usize = 1_024;

/// A word in pieces of [`MAX_WORD_BYTES`] at most.
fn pieces(mut word: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = word.split_at(word.floor_char_boundary(MAX_WORD_BYTES));
        word = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Words of a text with one space between two. It begins anew where it ends, so that it is never too short.
#[derive(Clone, Debug, Default)]
pub struct Essay {
    text: String,
    /// Byte after each word.
    ends: Vec<usize>,
}

impl Essay {
    /// Number of words.
    pub fn num_words(&self) -> usize {
        self.ends.len()
    }

    /// Adds the words of a text while there are fewer than `max_words`; whether there is room for more. A run of letters of more than
    /// `MAX_WORD_BYTES` is cut into several.
    pub fn add(&mut self, text: &str, max_words: usize) -> bool {
        let words = text.split_whitespace().flat_map(pieces);
        for word in words.take(max_words.saturating_sub(self.ends.len())) {
            if !self.text.is_empty() {
                self.text.push(' ');
            }
            self.text.push_str(word);
            self.ends.push(self.text.len());
        }
        self.ends.len() < max_words
    }

    /// Word `place` of the endless text.
    fn word(&self, place: usize) -> &str {
        let place = place % self.ends.len();
        &self.text[self.start(place)..self.ends[place]]
    }

    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before] + 1)
    }

    /// Adds the words of these places to `out`, a space before each but where `out` is empty.
    pub(super) fn write(&self, places: Range<usize>, out: &mut String) {
        let (mut from, words) = (places.start, self.ends.len());
        while from < places.end {
            let first = from % words;
            let last = (first + (places.end - from)).min(words);
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(&self.text[self.start(first)..self.ends[last - 1]]);
            from += last - first;
        }
    }

    /// Whether a sentence ends with this word.
    pub(super) fn ends_sentence(&self, place: usize) -> bool {
        let word = self.word(place).trim_end_matches(['"', '\'', ')', ']', '\u{201d}', '\u{2019}', '»']);
        word.ends_with(['.', '!', '?', '。', '…'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_anew_where_it_ends() {
        let mut essay = Essay::default();
        assert!(essay.add("One  two.\nThree", 5));
        assert!(!essay.add("four \"five!\" six", 5));
        assert_eq!(essay.num_words(), 5);
        let written = |places| {
            let mut out = String::new();
            essay.write(places, &mut out);
            out
        };
        assert_eq!(written(0..5), "One two. Three four \"five!\"");
        assert_eq!(written(3..12), "four \"five!\" One two. Three four \"five!\" One two.");
        assert_eq!(written(6..6), "");
        assert_eq!((0..6).filter(|&place| essay.ends_sentence(place)).collect::<Vec<_>>(), [1, 4]);
        let mut unspaced = Essay::default();
        assert!(!unspaced.add(&"\u{5c71}".repeat(10_000), 8));
        assert!(unspaced.ends.iter().zip(1..).all(|(&end, place)| end == place * 1_023 + place - 1));
    }
}
