//! Symbols of units by language. The metric ones are the same nearly everywhere; English ones abbreviate English words.
//!
//! The forms in the files of languages are mostly the short ones of the Unicode CLDR (<https://cldr.unicode.org>).

use std::borrow::Cow;

use crate::languages::{self, Language};

/// What stands behind a number written in a language: the symbol of a unit as the language has it, behind a space where one belongs.
pub(super) fn behind(number: &str, symbol: &'static str, language: &'static Language) -> String {
    let written = if language.code == "en" { symbol.into() } else { written(number, symbol, language) };
    let joins = written.starts_with(|first: char| first == '/' || is_han(first));
    if joins { written.into_owned() } else { format!(" {written}") }
}

fn written(number: &str, symbol: &'static str, language: &'static Language) -> Cow<'static, str> {
    // In place of English words, for all languages but English.
    let symbol =
        languages::everywhere().units.get(symbol).and_then(|forms| forms.first()).map_or(symbol, String::as_str);
    if let Some(forms) = language.units.get(symbol) {
        return form(forms, number).into();
    }
    // By its parts, if all that are letters are known and none is inflected: `km/h`.
    let mut parts = String::new();
    let mut rest = symbol;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|letter: char| !letter.is_alphabetic()).unwrap_or(rest.len()).max(first.len_utf8());
        let (part, after) = rest.split_at(end);
        match language.units.get(part).map(Vec::as_slice) {
            Some([known]) => parts.push_str(known),
            None if !first.is_alphabetic() => parts.push_str(part),
            _ => return symbol.into(),
        }
        rest = after;
    }
    parts.into()
}

/// The form that goes with a number, by the rules that Russian and Ukrainian share.
fn form(forms: &'static [String], number: &str) -> &'static str {
    let [one, few, many, ..] = forms else { return forms.first().map_or("", String::as_str) };
    let last = number.rsplit(['–', '×', '±']).next().unwrap_or_default();
    if last.contains([',', '⁄']) {
        return forms.get(3).unwrap_or(few);
    }
    let mut digits = last.chars().rev().filter_map(|digit| digit.to_digit(10));
    let (units, tens) = (digits.next(), digits.next());
    match units {
        Some(1) if tens != Some(1) => one,
        Some(2..=4) if tens != Some(1) => few,
        _ => many,
    }
}

fn is_han(letter: char) -> bool {
    ('\u{4E00}'..='\u{9FFF}').contains(&letter)
}

#[cfg(test)]
mod tests {
    use super::super::units;
    use super::*;

    fn behind(number: &str, symbol: &'static str, language: &str) -> String {
        super::behind(number, symbol, languages::of(language))
    }

    /// A key with a slip of the pen would never be found.
    #[test]
    fn keys_are_symbols_of_units_or_parts_of_them() {
        let symbols: Vec<&'static str> = units::symbols().collect();
        let anywhere = &languages::everywhere().units;
        for key in anywhere.keys() {
            assert!(symbols.contains(&key.as_str()), "`{key}` is no symbol of a unit");
        }
        let replaced: Vec<&str> =
            symbols.iter().map(|symbol| anywhere.get(*symbol).map_or(*symbol, |forms| forms[0].as_str())).collect();
        for language in languages::codes() {
            for key in languages::of(language).units.keys() {
                let part = |symbol: &&str| symbol.split(|letter: char| !letter.is_alphabetic()).any(|part| part == key);
                let known = replaced.contains(&key.as_str()) || replaced.iter().any(part);
                assert!(known, "{language}: `{key}` is neither a symbol nor part of one");
            }
        }
        assert!(replaced.iter().all(|symbol| !symbol.contains("sq ") && !symbol.contains("cu ")));
    }

    #[test]
    fn words_are_inflected_by_the_number_before_them() {
        let miles = |number| behind(number, "mi", "ru");
        assert_eq!(
            ["1", "21", "1,5", "2", "12", "111", "5", "1–2"].map(miles),
            [" миля", " миля", " мили", " мили", " миль", " миль", " миль", " мили"]
        );
        assert_eq!(["3", "3,5", "30"].map(|number| behind(number, "ft", "uk")), [" фути", " фута", " футів"]);
    }

    #[test]
    fn parts_are_written_as_the_whole_is() {
        assert_eq!(behind("5", "km/h", "ru"), " км/ч");
        assert_eq!(behind("5", "kg/m³", "uk"), " кг/м³");
        assert_eq!(behind("5", "/km²", "zh"), "/平方公里");
        assert_eq!(behind("5", "ft⋅lbf", "ru"), " ft⋅lbf");
        assert_eq!(behind("5", "sq mi", "de"), " mi²");
        assert_eq!(behind("5", "sq mi", "en"), " sq mi");
    }
}
