//! Frequent words: a coded text whose words are as frequent as Zipf's law says, `n k⁻² / ζ(2)` for the word of rank `k`. The
//! first rank is dots, which count for nothing; the three after it are asked for.

use std::collections::HashSet;

use rand::seq::SliceRandom;

use super::words::letters;
use super::{Built, Draw, Family};

/// A task of this family.
pub(super) struct FrequentWords;

pub(super) const FWE: FrequentWords = FrequentWords;

/// What stands for the word of the first rank.
pub(super) const DOTS: &str = "...";
/// Words that are asked for: ranks 2 to 4.
const ASKED: usize = 3;
/// Letters of a word.
const WORD_LETTERS: usize = 6;
/// Tokens of the room that a word of the vocabulary has.
const TOKENS_A_WORD: usize = 50;
/// `ζ(2)`.
const ZETA_2: f64 = std::f64::consts::PI * std::f64::consts::PI / 6.0;

impl Family for FrequentWords {
    fn answer_tokens(&self) -> usize {
        50
    }

    /// From here on rank 4 always comes more often than rank 5.
    fn fewest_units(&self) -> usize {
        160
    }

    /// A unit is a word of the text, but for what rounding takes away.
    fn build(&self, draw: &Draw<'_>, units: usize) -> Built {
        let room = (draw.length as usize).saturating_sub(self.answer_tokens());
        let ranks = (room / TOKENS_A_WORD).max(ASKED + 2);
        let mut generator = draw.of_item("words");
        let (mut taken, mut answers, mut text) = (HashSet::new(), Vec::with_capacity(ASKED), Vec::with_capacity(units));
        for rank in 1..=ranks {
            let times = (units as f64 / ZETA_2 / (rank * rank) as f64) as usize;
            if times == 0 {
                break;
            }
            let word = loop {
                let word = if rank == 1 { DOTS.to_owned() } else { letters(&mut generator, 'a', WORD_LETTERS) };
                if taken.insert(word.clone()) {
                    break word;
                }
            };
            if (2..2 + ASKED).contains(&rank) {
                answers.push(word.clone());
            }
            text.extend(std::iter::repeat_n(word, times));
        }
        text.shuffle(&mut draw.of_length("order"));
        let question = format!(
            "The text is in code. Dots count for nothing. Which {ASKED} words come most often? Name all of them, without an \
             explanation."
        );
        Built { context: text.join(" "), question, answers, occurrences: Vec::new() }
    }
}
