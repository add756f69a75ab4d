//! Common words: a numbered list in which ten words come often and all others rarely. The ten are asked for.
//!
//! RULER's words are English where the list is short. Here they are made of syllables at every length, so that a longer list
//! differs in nothing but its length, and no word is contained in another.

use std::collections::HashSet;
use std::fmt::Write;

use rand::seq::SliceRandom;

use super::words::syllables;
use super::{Built, Draw, Family};

/// A task of this family.
pub(super) struct CommonWords {
    /// Words that are asked for.
    common: usize,
}

pub(super) const CWE: CommonWords = CommonWords { common: 10 };

/// How often a common word comes and how often another, for lengths from [`LONG`] on.
const TIMES: (usize, usize) = (30, 3);
/// The same for shorter ones.
const TIMES_SHORT: (usize, usize) = (6, 1);
/// RULER's shortest length.
const LONG: u32 = 4_096;

impl Family for CommonWords {
    fn answer_tokens(&self) -> usize {
        120
    }

    fn fewest_units(&self) -> usize {
        self.common + 1
    }

    /// Of the million words that there are, so many are drawn without trying again and again.
    fn most_units(&self) -> usize {
        900_000
    }

    /// A unit is a word, however often it comes.
    fn build(&self, draw: &Draw<'_>, units: usize) -> Built {
        let (often, rarely) = if draw.length < LONG { TIMES_SHORT } else { TIMES };
        let mut generator = draw.of_item("words");
        let (mut taken, mut words) = (HashSet::new(), Vec::with_capacity(units));
        while words.len() < units {
            let word = syllables(&mut generator);
            if taken.insert(word.clone()) {
                words.push(word);
            }
        }
        let times = |place: usize| if place < self.common { often } else { rarely };
        let mut list: Vec<&String> =
            words.iter().enumerate().flat_map(|(place, word)| std::iter::repeat_n(word, times(place))).collect();
        list.shuffle(&mut draw.of_length("order"));
        let mut context = String::with_capacity(16 * list.len());
        for (word, number) in list.into_iter().zip(1..) {
            let space = if number == 1 { "" } else { " " };
            let _ = write!(context, "{space}{number}. {word}");
        }
        let question = format!(
            "The text is a numbered list of words, of which {} come far more often than the others. Which? Name all of them.",
            self.common
        );
        words.truncate(self.common);
        Built { context, question, answers: words, occurrences: Vec::new() }
    }
}
