//! Entities that need no dictionary of names: dates, times, numbers, ordinals, percentages, money, quantities.
//!
//! A grammar over tokens. The words it knows come from the files of languages; signs and digits mean the same in
//! all. Digits may be of any script.

mod amounts;
mod dates;

use std::ops::Range;

use memtrain_corpora::{EntityLabel, Passage};

use super::locale::{Locale, language_of_text, word};
use super::text::Text;
use super::tokens::Kind;

/// The language that passages look to be in, by the first of them.
pub(crate) fn language_of(passages: &[Passage]) -> &'static str {
    let sample: Vec<&str> = passages.iter().take(100).map(|passage| passage.text.as_str()).collect();
    language_of_text(&sample.join("\n"))
}

/// What a rule has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Its tokens.
    pub(crate) tokens: Range<usize>,
    /// Its kind.
    pub(crate) label: EntityLabel,
}

/// All dates, numbers and amounts of a text, in order, without overlap.
pub(crate) fn find(text: &Text<'_>, locale: &Locale) -> Vec<Amount> {
    let grammar = Grammar::new(text, locale);
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.tokens.len() {
        match grammar.at(at) {
            Some((end, label)) if end > at => {
                found.push(Amount { tokens: at..end, label });
                at = end;
            }
            _ => at += 1,
        }
    }
    found
}

/// The kind of a surface that is a date, an amount or a number as a whole.
pub(crate) fn classify(surface: &str, locale: &Locale) -> Option<EntityLabel> {
    let text = Text::new(surface, locale);
    match find(&text, locale).as_slice() {
        [only] if only.tokens == (0..text.tokens.len()) => Some(only.label),
        _ => None,
    }
}

/// Where something ends, and its kind.
type Match = Option<(usize, EntityLabel)>;

struct Grammar<'a, 't> {
    text: &'a Text<'t>,
    locale: &'a Locale,
    /// What each token means.
    meanings: Vec<u32>,
}

impl<'a, 't> Grammar<'a, 't> {
    fn new(text: &'a Text<'t>, locale: &'a Locale) -> Self {
        let meaning = |at: usize| match text.tokens[at].kind {
            Kind::Word => locale.meaning(text.word(at)),
            _ => 0,
        };
        let meanings = (0..text.tokens.len()).map(meaning).collect();
        Self { text, locale, meanings }
    }

    fn is(&self, at: usize, meaning: u32) -> bool {
        self.meanings.get(at).is_some_and(|have| have & meaning != 0)
    }

    fn is_sign(&self, at: usize, signs: &str) -> bool {
        self.text.tokens.get(at).is_some_and(|token| token.kind == Kind::Sign) && signs.contains(self.text.word(at))
    }

    fn is_number(&self, at: usize) -> bool {
        self.text.tokens.get(at).is_some_and(|token| token.kind == Kind::Number)
    }

    fn is_glued(&self, at: usize) -> bool {
        self.text.tokens.get(at).is_some_and(|token| !token.spaced)
    }

    fn is_word(&self, at: usize, words: &[&str]) -> bool {
        self.text.tokens.get(at).is_some_and(|token| token.kind == Kind::Word) && words.contains(&self.text.word(at))
    }

    /// The value of a number without points and commas; `None` for others and beyond nine digits.
    fn integer(&self, at: usize) -> Option<u32> {
        if !self.is_number(at) {
            return None;
        }
        let mut value = 0u32;
        let digits = self.text.word(at);
        if digits.chars().count() > 9 {
            return None;
        }
        for digit in digits.chars() {
            value = value * 10 + digit_value(digit)?;
        }
        Some(value)
    }

    fn day(&self, at: usize) -> bool {
        self.integer(at).is_some_and(|day| (1..=31).contains(&day))
    }

    fn year(&self, at: usize) -> bool {
        self.integer(at).is_some_and(|year| (1000..=2100).contains(&year)) && self.text.word(at).chars().count() == 4
    }

    /// A year behind a date, where small ones are understood too.
    fn year_of_date(&self, at: usize) -> bool {
        let length = self.is_number(at).then(|| self.text.word(at).chars().count());
        self.integer(at).is_some() && matches!(length, Some(3 | 4))
    }

    fn at(&self, at: usize) -> Match {
        let token = &self.text.tokens[at];
        let is_word = token.kind == Kind::Word;
        let is_prefix = || self.is_glued(at + 1) && self.is_sign(at + 1, "$£€¥");
        if (is_word && self.meanings[at] == 0 && !self.is_roman(at) && !is_prefix()) || token.kind == Kind::Possessive {
            return None;
        }
        self.written_date(at)
            .or_else(|| self.date(at))
            .or_else(|| self.east_asian(at))
            .or_else(|| self.marked(at))
            .or_else(|| self.time(at))
            .or_else(|| self.money_by_sign(at))
            .or_else(|| self.century(at))
            .or_else(|| self.amount(at))
    }

    /// A Roman numeral of two letters or more; with the ordinal ending of French glued on.
    fn is_roman(&self, at: usize) -> bool {
        let Some(token) = self.text.tokens.get(at).filter(|token| token.kind == Kind::Word && token.shape.is_capital())
        else {
            return false;
        };
        let word = self.text.text[token.start..token.end].trim_end_matches(['e', 'è', 'm', 'º', 'ᵉ']);
        !word.is_empty() && word.len() < 8 && word.bytes().all(|byte| b"IVXLCDM".contains(&byte))
    }

    /// Digits, or number words: where they end.
    fn number(&self, at: usize) -> Option<usize> {
        if self.is_number(at) {
            return Some(at + 1);
        }
        let counts = word::NUMBER | word::MAGNITUDE | word::ONE;
        let is_one = self.is(at, word::ONE) && self.is(at + 1, word::MAGNITUDE);
        if !is_one && !self.is(at, word::NUMBER) {
            return None;
        }
        let mut end = at + 1;
        loop {
            let and = self.is_word(end, &["and", "und", "et", "y", "e"])
                && self.is(end - 1, word::MAGNITUDE)
                && self.is(end + 1, word::NUMBER);
            if self.is(end, counts) {
                end += 1;
            } else if and {
                end += 2;
            } else {
                return Some(end);
            }
        }
    }

    fn behind_magnitude(&self, at: usize) -> usize {
        let mut at = at;
        while self.is(at, word::MAGNITUDE) {
            at += 1;
        }
        at
    }

    /// Behind the letters that stand right behind a number for thousands, millions and so on: `20k`, `1.5mn`.
    fn behind_short_magnitude(&self, at: usize) -> usize {
        if self.is(at, word::SHORT_MAGNITUDE) && self.is_glued(at) { at + 1 } else { at }
    }

    /// Behind the second number of `10–20`.
    fn behind_range(&self, at: usize) -> usize {
        let is_range =
            self.is_sign(at, "-–—") && self.is_number(at + 1) && (self.is_glued(at) == self.is_glued(at + 1));
        let goes_on = self.is_sign(at + 2, "-–—:./") && self.is_glued(at + 2) && self.is_number(at + 3);
        if is_range && !goes_on { at + 2 } else { at }
    }
}

fn digit_value(digit: char) -> Option<u32> {
    digit.to_digit(10).or_else(|| {
        // Digits of other scripts stand in blocks of ten.
        const ZEROS: &[char] = &['०', '٠', '۰', '০', '੦', '૦', '୦', '௦', '౦', '೦', '൦', '๐', '０'];
        ZEROS.iter().map(|zero| u32::from(digit).wrapping_sub(u32::from(*zero))).find(|value| *value < 10)
    })
}

#[cfg(test)]
mod tests;
