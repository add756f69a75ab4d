//! Patterns of what templates show: words with `{…}` for arguments.
//!
//! In the braces stand numbers and names of arguments, `|` between them: the first that has a value is shown. What follows a `=` is
//! written where none has. A part in `‹…›` is left out where one of its arguments has no value; a pattern of whose arguments outside of
//! such parts none has one shows nothing.

use super::clean::Cleaner;
use super::template::Argument;

/// A piece of a pattern.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'pattern> {
    Words(&'pattern str),
    /// The arguments to choose from, and what stands for them.
    Value(&'pattern str, &'pattern str),
    /// A part that may be left out.
    Part(&'pattern str),
}

/// The pieces of a pattern, in order.
fn pieces(pattern: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let closing = match first {
            '{' => '}',
            '‹' => '›',
            _ => {
                let (words, behind) = rest.split_at(rest.find(['{', '‹']).unwrap_or(rest.len()));
                rest = behind;
                return Some(Piece::Words(words));
            }
        };
        let (inner, behind) = rest[first.len_utf8()..].split_once(closing)?;
        rest = behind;
        Some(match first {
            '{' => {
                let (names, default) = inner.split_once('=').unwrap_or((inner, ""));
                Piece::Value(names, default)
            }
            _ => Piece::Part(inner),
        })
    })
}

/// Whether all marks of a pattern have their partners, and it has an argument.
#[cfg(test)]
pub(super) fn is_sound(pattern: &str) -> bool {
    let pieces: Vec<Piece> = pieces(pattern).collect();
    let words = |piece: &Piece| matches!(piece, Piece::Words(words) if words.contains(['}', '›']));
    let part = |piece: &Piece| matches!(piece, Piece::Part(part) if !is_sound(part));
    let has_argument = pieces.iter().any(|piece| !matches!(piece, Piece::Words(_)));
    let length: usize = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Words(words) => words.len(),
            Piece::Value(names, "") => names.len() + 2,
            Piece::Value(names, default) => names.len() + default.len() + 3,
            Piece::Part(part) => part.len() + 2 * '‹'.len_utf8(),
        })
        .sum();
    has_argument && length == pattern.len() && !pieces.iter().any(|piece| words(piece) || part(piece))
}

/// A pattern with what a function gives for each name; a part of which that is nothing is left out.
pub(super) fn filled(pattern: &str, value: impl Fn(&str) -> String + Copy) -> String {
    let mut text = String::new();
    for piece in pieces(pattern) {
        match piece {
            Piece::Words(words) => text.push_str(words),
            Piece::Value(name, _) => text.push_str(&value(name)),
            Piece::Part(part) => {
                let empty = |piece: Piece| matches!(piece, Piece::Value(name, _) if value(name).is_empty());
                if !pieces(part).any(empty) {
                    text.push_str(&filled(part, value));
                }
            }
        }
    }
    text
}

impl Cleaner<'_> {
    /// Shows the words of a pattern and the arguments among them.
    pub(super) fn show_pattern(&mut self, pattern: &'static str, arguments: &[Argument]) {
        let is_outside = |piece: &Piece| matches!(piece, Piece::Value(..));
        let needs = pieces(pattern).any(|piece| is_outside(&piece));
        if needs && !pieces(pattern).any(|piece| is_outside(&piece) && self.has_value(&piece, arguments, false)) {
            return self.out.dropped();
        }
        let mark = self.out.mark();
        let mut has_shown = !needs;
        for piece in pieces(pattern) {
            match piece {
                Piece::Words(words) => self.out.push(words),
                Piece::Value(names, default) => has_shown |= self.show_choice(names, default, arguments),
                Piece::Part(part) => {
                    if pieces(part).all(|piece| self.has_value(&piece, arguments, true)) {
                        has_shown |= self.show_pattern_part(part, arguments);
                    }
                }
            }
        }
        // What has a value may still show nothing.
        if !has_shown && self.out.text.len() > mark.length {
            self.out.take_back(&mark);
        }
    }

    /// A part all of whose arguments have values.
    fn show_pattern_part(&mut self, part: &'static str, arguments: &[Argument]) -> bool {
        let mark = self.out.mark();
        let mut has_shown = false;
        for piece in pieces(part) {
            match piece {
                Piece::Words(words) => self.out.push(words),
                Piece::Value(names, default) => has_shown |= self.show_choice(names, default, arguments),
                Piece::Part(_) => {}
            }
        }
        if !has_shown {
            self.out.take_back(&mark);
        }
        has_shown
    }

    /// Whether a piece has what it shows; `with_default`: words that stand for a missing argument count.
    fn has_value(&self, piece: &Piece<'static>, arguments: &[Argument], with_default: bool) -> bool {
        match piece {
            Piece::Words(_) | Piece::Part(_) => true,
            Piece::Value(names, default) => {
                with_default && !default.is_empty() || self.choice(names, arguments).is_some()
            }
        }
    }

    /// Shows the first of some arguments that has a value, or what stands for them; whether that was anything.
    fn show_choice(&mut self, names: &'static str, default: &'static str, arguments: &[Argument]) -> bool {
        let length = self.out.text.len();
        match self.choice(names, arguments) {
            Some(value) => self.show_value(Some(value)),
            None => self.out.push(default),
        }
        self.out.text.len() > length
    }

    fn choice(&self, names: &'static str, arguments: &[Argument]) -> Option<std::ops::Range<usize>> {
        names.split('|').find_map(|name| self.named_range(arguments, &[name]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wikitext::{WikiContext, clean};

    #[test]
    fn patterns_are_taken_apart() {
        let pieces: Vec<Piece> = pieces("a {1|b}‹ ({2})›{3=c}").collect();
        let expected = [Piece::Words("a "), Piece::Value("1|b", ""), Piece::Part(" ({2})"), Piece::Value("3", "c")];
        assert_eq!(pieces, expected);
        assert!(is_sound("a {1|b}‹ ({2})›{3=c}"));
        for broken in ["a", "{1", "‹{1}", "{1}›", "‹a›", "{1}}"] {
            assert!(!is_sound(broken), "{broken}");
        }
    }

    #[test]
    fn what_has_no_value_takes_its_words_with_it() {
        let shown = |text: &str| clean(text, &WikiContext::default()).text;
        assert_eq!(shown("x {{flagathlete|[[Ola]]|NOR}} y"), "x Ola (NOR) y");
        assert_eq!(shown("x {{flagathlete|[[Ola]]}} y"), "x Ola y");
        assert_eq!(shown("x {{flagathlete|[[Ola]]|{{z}}}} y"), "x Ola y");
        assert_eq!(shown("x {{AD|{{z}}}} y {{AD}}"), "x y");
        assert_eq!(shown("x {{sic}} {{sic|y}}"), "x [sic] y [sic]");
    }
}
