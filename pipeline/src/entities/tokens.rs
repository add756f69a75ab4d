//! Words, numbers and signs of a text with their places and shapes, in one pass.

use std::collections::HashSet;
use std::sync::LazyLock;

use memtrain_corpora::languages;

/// What a token is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Letters, with marks, hyphens and apostrophes inside.
    Word,
    /// Digits, with points and commas between them.
    Number,
    /// A possessive `'s` or `’s`, or the apostrophe alone behind an s.
    Possessive,
    /// Anything else, one character each.
    Sign,
}

/// How a word uses capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Begins with a small letter, or is of a script without capitals.
    Lower,
    /// `Title`, also `McDonald` and `Jean-Paul`.
    Title,
    /// Two capitals or more and no small letter: `NATO`, `U.S.`.
    Upper,
    /// A capital and perhaps a full stop: `J.`.
    Initial,
    /// Begins small and has a capital: `iPhone`.
    Inner,
}

impl Shape {
    /// Whether the word begins as a name does.
    pub(crate) fn is_capital(self) -> bool {
        !matches!(self, Shape::Lower | Shape::Inner)
    }
}

/// A token: where it stands, and what it looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    /// Whether a sentence begins here.
    pub(crate) begins: bool,
    /// Whether white space or the beginning of the text stands before it.
    pub(crate) spaced: bool,
}

/// Abbreviations, of all languages together, whose full stop belongs to them and ends no sentence.
static ABBREVIATIONS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    languages::having("entities")
        .flat_map(|language| language.entities.abbreviations.iter().map(String::as_str))
        .collect()
});

/// Whether a full stop behind a word belongs to it.
pub(crate) fn is_abbreviation(word: &str) -> bool {
    word.len() <= 12 && ABBREVIATIONS.contains(word.to_lowercase().as_str())
}

/// Whether a character is written without spaces between words, so that each is a token.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x2E80..=0x2FDF | 0x3005..=0x3007
        | 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2FA1F)
}

/// Spaces that stand inside numbers and nowhere else between them.
fn is_group_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{202f}' | '\u{2009}')
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || unicode_normalization::char::is_combining_mark(c) || matches!(c, '\u{200c}' | '\u{200d}')
}

/// Cuts a text into tokens.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut scanner = Scanner { text, at: 0, tokens: Vec::with_capacity(text.len() / 5), spaced: true, begins: true };
    scanner.run();
    scanner.tokens
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token>,
    spaced: bool,
    /// Whether the next word begins a sentence.
    begins: bool,
}

impl Scanner<'_> {
    fn peek(&self, at: usize) -> Option<char> {
        match self.text.as_bytes().get(at) {
            Some(byte) if byte.is_ascii() => Some(char::from(*byte)),
            Some(_) => self.text.get(at..)?.chars().next(),
            None => None,
        }
    }

    fn run(&mut self) {
        while let Some(c) = self.peek(self.at) {
            if c.is_whitespace() {
                self.begins |= c == '\n';
                self.spaced = true;
                self.at += c.len_utf8();
            } else if c.is_numeric() && !is_unspaced(c) {
                self.number();
            } else if is_unspaced(c) {
                self.push(self.at + c.len_utf8(), Kind::Word, Shape::Lower);
            } else if is_letter(c) {
                self.word();
            } else if !self.possessive(c) {
                self.sign(c);
            }
        }
    }

    fn push(&mut self, end: usize, kind: Kind, shape: Shape) {
        let is_text = matches!(kind, Kind::Word | Kind::Number);
        let begins = self.begins && is_text;
        self.tokens.push(Token { start: self.at, end, kind, shape, begins, spaced: self.spaced });
        self.begins &= !is_text;
        self.spaced = false;
        self.at = end;
    }

    /// Whether a space that does not break parts three digits from at most three before it: `416 219`.
    fn is_group(&self, at: usize, space: char) -> bool {
        let before = self.text[self.at..at].chars().rev().take_while(|c| c.is_numeric()).count();
        let behind = self.text[at + space.len_utf8()..].chars().take(4).take_while(|c| c.is_numeric()).count();
        (1..=3).contains(&before) && behind == 3
    }

    fn number(&mut self) {
        let mut end = self.at;
        while let Some(c) = self.peek(end) {
            let is_inside =
                matches!(c, '.' | ',' | '٫' | '٬') && self.peek(end + c.len_utf8()).is_some_and(char::is_numeric);
            let is_digit = c.is_numeric() && !is_unspaced(c);
            let is_gap = is_group_space(c) && self.is_group(end, c);
            if !is_digit && !is_inside && !is_gap {
                break;
            }
            end += c.len_utf8();
        }
        self.push(end, Kind::Number, Shape::Lower);
    }

    fn word(&mut self) {
        let start = self.at;
        let mut end = start;
        while let Some(c) = self.peek(end) {
            let next = || self.peek(end + c.len_utf8());
            let goes_on = match c {
                _ if is_unspaced(c) => false,
                _ if is_letter(c) => true,
                _ if c.is_numeric() => true,
                '-' | '‐' | '‑' => next().is_some_and(|c| is_letter(c) || c.is_numeric()),
                '\'' | '’' | 'ʼ' => self.apostrophe_joins(start, end, c),
                '.' => self.stop_joins(start, end),
                '&' => {
                    end - start <= 2
                        && self.text[start..end].chars().all(char::is_uppercase)
                        && next().is_some_and(char::is_uppercase)
                }
                _ => false,
            };
            if !goes_on {
                break;
            }
            end += c.len_utf8();
            if matches!(c, '\'' | '’') && self.is_elision(start, end) {
                break;
            }
        }
        let shape = shape(&self.text[start..end]);
        self.push(end, Kind::Word, shape);
    }

    /// `O'Brien` and `don't` are words, the `'s` of `Ana's` is not.
    fn apostrophe_joins(&self, start: usize, at: usize, c: char) -> bool {
        let after = at + c.len_utf8();
        let Some(next) = self.peek(after).filter(|next| is_letter(*next)) else { return false };
        let behind = self.peek(after + next.len_utf8());
        let is_possessive = matches!(next, 's' | 'S') && !behind.is_some_and(|c| is_letter(c) || c.is_numeric());
        at > start && !is_possessive
    }

    /// `l'Europe`, `d'Artagnan`, `dell'Arte`: an article of its own before a name.
    fn is_elision(&self, start: usize, end: usize) -> bool {
        let word = self.text[start..end].trim_end_matches(['\'', '’']);
        let known = matches!(
            word,
            "l" | "d" | "L" | "D" | "qu" | "Qu" | "dell" | "nell" | "all" | "sull" | "dall" | "s" | "n" | "j" | "c"
        );
        known && self.peek(end).is_some_and(char::is_uppercase) && !matches!(word, "D" | "L")
    }

    /// The full stops of `J.`, `U.S.` and `Mr.` belong to the word.
    fn stop_joins(&self, start: usize, at: usize) -> bool {
        let word = &self.text[start..at];
        let last = word.rsplit('.').next().unwrap_or(word);
        let mut letters = last.chars();
        let single = letters.next().filter(|_| letters.next().is_none());
        let follows = self.peek(at + 1);
        match single {
            Some(letter) if letter.is_uppercase() => true,
            Some(_) => word.contains('.') || follows.is_some_and(char::is_alphabetic),
            None => is_abbreviation(word) && !follows.is_some_and(is_letter),
        }
    }

    fn possessive(&mut self, c: char) -> bool {
        if !matches!(c, '\'' | '’') || self.spaced || self.tokens.last().is_none_or(|token| token.kind != Kind::Word)
        {
            return false;
        }
        let after = self.at + c.len_utf8();
        let letter = |c: Option<char>| c.is_some_and(|c| is_letter(c) || c.is_numeric());
        let end = match self.peek(after) {
            Some('s' | 'S') if !letter(self.peek(after + 1)) => after + 1,
            next if !letter(next) && self.text[..self.at].ends_with(['s', 'z', 'x']) => after,
            _ => return false,
        };
        self.push(end, Kind::Possessive, Shape::Lower);
        true
    }

    fn sign(&mut self, c: char) {
        let end = self.at + c.len_utf8();
        let ends_sentence = matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '।' | '॥' | '؟' | '•');
        self.push(end, Kind::Sign, Shape::Lower);
        self.begins |= ends_sentence;
    }
}

fn shape(word: &str) -> Shape {
    let mut letters = word.chars().filter(|c| c.is_alphabetic());
    let Some(first) = letters.next() else { return Shape::Lower };
    let (mut upper, mut lower) = (0, 0);
    for letter in letters {
        upper += u32::from(letter.is_uppercase());
        lower += u32::from(letter.is_lowercase());
    }
    match (first.is_uppercase(), upper, lower) {
        (true, 0, 0) => Shape::Initial,
        (true, _, 0) => Shape::Upper,
        (true, ..) => Shape::Title,
        (false, 0, _) => Shape::Lower,
        (false, ..) if first.is_lowercase() => Shape::Inner,
        _ => Shape::Lower,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).iter().map(|token| &text[token.start..token.end]).collect()
    }

    #[test]
    fn words_numbers_and_signs() {
        assert_eq!(words("Ana's U.S. visit, 3.5km."), ["Ana", "'s", "U.S.", "visit", ",", "3.5", "km", "."]);
        assert_eq!(words("Mr. J. R. O'Brien"), ["Mr.", "J.", "R.", "O'Brien"]);
        assert_eq!(words("Jean-Paul won’t go – AT&T"), ["Jean-Paul", "won’t", "go", "–", "AT&T"]);
        assert_eq!(words("l'Europe d’Artagnan"), ["l'", "Europe", "d’", "Artagnan"]);
        assert_eq!(words("2020年5月 2020년"), ["2020", "年", "5", "月", "2020", "년"]);
        assert_eq!(words("the states' rights"), ["the", "states", "'", "rights"]);
    }

    #[test]
    fn sentences_begin_after_full_stops_and_line_breaks() {
        let text = "Mr. Lund left. He met J. Ost.\nNew line";
        let begins: Vec<_> = tokens(text).into_iter().filter(|t| t.begins).map(|t| &text[t.start..t.end]).collect();
        assert_eq!(begins, ["Mr.", "He", "New"]);
    }

    #[test]
    fn shapes() {
        let of = |word: &str| tokens(word)[0].shape;
        assert_eq!(
            (of("McDonald"), of("NATO"), of("J."), of("iPhone")),
            (Shape::Title, Shape::Upper, Shape::Initial, Shape::Inner)
        );
        assert_eq!(
            (of("Évora"), of("river"), of("город"), of("北")),
            (Shape::Title, Shape::Lower, Shape::Lower, Shape::Lower)
        );
    }

    proptest! {
        #[test]
        fn tokens_are_in_order_and_cover_all_but_white_space(text in "[\\PC \\n.'’-]{0,80}") {
            let mut end = 0;
            for token in tokens(&text) {
                prop_assert!(token.start >= end && token.end > token.start);
                prop_assert!(text[end..token.start].trim().is_empty());
                end = token.end;
            }
            prop_assert!(text[end..].trim().is_empty());
        }
    }
}
