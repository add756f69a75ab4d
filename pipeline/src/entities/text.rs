//! A text as tokens, with what the lexicon knows of each.

use std::ops::Range;

use super::lexicon::{LEXICON, flag};
use super::locale::Locale;
use super::tokens::{Kind, Shape, Token, tokens};

/// A text cut into tokens, with what is known of each word.
pub(crate) struct Text<'t> {
    pub(crate) text: &'t str,
    pub(crate) tokens: Vec<Token>,
    /// Flags of [`flag`], a token each.
    pub(crate) flags: Vec<u64>,
    /// Tokens that belong to something else: no name holds them.
    pub(crate) taken: Vec<bool>,
}

impl<'t> Text<'t> {
    /// Cuts a text.
    pub(crate) fn new(text: &'t str, locale: &Locale) -> Self {
        let tokens = tokens(text);
        // Of the words, those of English mean nothing in other languages.
        let known = if locale.language == "en" { u64::MAX } else { flag::NAMES };
        let mut lower = String::new();
        let mut flags_of = |token: &Token| {
            if token.kind != Kind::Word {
                return 0;
            }
            lower.clear();
            let word = &text[token.start..token.end];
            if word.is_ascii() {
                lower.push_str(word);
                lower.make_ascii_lowercase();
            } else {
                lower.extend(word.chars().flat_map(char::to_lowercase));
            }
            let flags = LEXICON.word(&lower);
            known & if flags == 0 && lower.ends_with('.') { LEXICON.word(lower.trim_end_matches('.')) } else { flags }
        };
        let flags = tokens.iter().map(&mut flags_of).collect();
        let taken = vec![false; tokens.len()];
        Self { text, tokens, flags, taken }
    }

    /// The words of a token.
    pub(crate) fn word(&self, at: usize) -> &'t str {
        let token = &self.tokens[at];
        &self.text[token.start..token.end]
    }

    /// The words of a run of tokens.
    pub(crate) fn words(&self, range: &Range<usize>) -> &'t str {
        match (self.tokens.get(range.start), range.end.checked_sub(1).and_then(|last| self.tokens.get(last))) {
            (Some(first), Some(last)) if first.start <= last.end => &self.text[first.start..last.end],
            _ => "",
        }
    }

    /// The bytes of a run of tokens.
    pub(crate) fn span(&self, range: &Range<usize>) -> Range<usize> {
        let place = |at: usize| self.tokens.get(at).map(|token| (token.start, token.end)).unwrap_or_default();
        place(range.start).0..range.end.checked_sub(1).map_or(0, |last| place(last).1)
    }

    /// Keeps names away from a run of tokens.
    pub(crate) fn take(&mut self, range: &Range<usize>) {
        if let Some(tokens) = self.taken.get_mut(range.clone()) {
            tokens.fill(true);
        }
    }

    pub(super) fn has(&self, at: usize, flags: u64) -> bool {
        self.flags.get(at).is_some_and(|have| have & flags != 0)
    }

    pub(super) fn is_sign(&self, at: usize, signs: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Sign) && signs.contains(self.word(at))
    }

    pub(super) fn lower_is(&self, at: usize, words: &[&str]) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word)
            && words.iter().any(|word| word.eq_ignore_ascii_case(self.word(at)))
    }

    /// Whether the token is a word that begins as a name does, in its sentence.
    pub(super) fn is_capital(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word && token.shape.is_capital()) && !self.taken[at]
    }

    /// Whether the token is a word of a script without capitals.
    pub(super) fn is_caseless(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word && token.shape == Shape::Lower)
            && self.word(at).chars().next().is_some_and(|c| !c.is_lowercase() && c.is_alphabetic())
    }

    /// As [`Text::is_capital`], and of the same sentence as the token before.
    pub(super) fn goes_on(&self, at: usize) -> bool {
        (self.is_capital(at) || self.tokens.get(at).is_some_and(|token| token.shape == Shape::Inner && !self.taken[at]))
            && !self.tokens[at].begins
    }

    pub(super) fn starts(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.begins)
            || at.checked_sub(1).is_some_and(|quote| self.is_sign(quote, "\"“«„([:") && self.opens(quote))
    }

    /// Whether a sentence begins at the quotation mark or bracket.
    pub(super) fn opens(&self, at: usize) -> bool {
        at == 0
            || self.is_sign(at - 1, ".!?…")
            || self.text[self.tokens[at - 1].end..self.tokens[at].start].contains('\n')
    }
}
