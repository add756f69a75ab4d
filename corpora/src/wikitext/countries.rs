//! Names of countries by the codes that their flags are named by.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// A country a line: its codes (of ISO 3166, the Olympic committee and FIFA), then its names in the languages of the first line.
/// The names are facts of the Unicode locale data, changed where Wikipedias call a country otherwise.
const COUNTRIES: &str = include_str!("countries.txt");

static ROWS: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let rows = COUNTRIES.lines().skip(1).filter_map(|line| line.split_once('|'));
    rows.flat_map(|(codes, names)| codes.split(' ').map(move |code| (code, names))).collect()
});

static LANGUAGES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| COUNTRIES.lines().next().unwrap_or_default().split('|').skip(1).collect());

/// What a wiki of a language calls the country of a code in capitals, if both are known.
pub(super) fn country(code: &str, language: &str) -> Option<&'static str> {
    let is_code = (2..=4).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_uppercase());
    let names = ROWS.get(code).filter(|_| is_code)?;
    let language = if matches!(language, "nb" | "nn") { "no" } else { language };
    let place = LANGUAGES.iter().position(|listed| *listed == language)?;
    names.split('|').nth(place).filter(|name| !name.is_empty())
}

/// A country by what the wiki of a language calls it, as it is written there.
pub(super) fn country_of_name(name: &str, language: &str) -> Option<&'static str> {
    static NAMES: LazyLock<HashMap<&'static str, HashSet<&'static str>>> = LazyLock::new(|| {
        let rows = || COUNTRIES.lines().skip(1).filter_map(|line| line.split_once('|'));
        let of = |place: usize| rows().filter_map(move |(_, names)| names.split('|').nth(place)).collect();
        LANGUAGES.iter().enumerate().map(|(place, &language)| (language, of(place))).collect()
    });
    NAMES.get(language)?.get(name).copied().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_known_by_codes_of_several_lists() {
        assert_eq!(country("USA", "en"), Some("United States"));
        assert_eq!(country("DEU", "de"), Some("Deutschland"));
        assert_eq!(country("GER", "fr"), Some("Allemagne"));
        assert_eq!(country("RUS", "bg"), Some("Русия"));
        assert_eq!(country("VIE", "vi"), Some("Việt Nam"));
        assert_eq!(country("NOR", "nn"), Some("Norge"));
        assert_eq!(country("XYZ", "en"), None);
        assert_eq!(country("usa", "en"), None);
        assert_eq!(country("USA", "xx"), None);
        assert_eq!(country_of_name("Norvège", "fr"), Some("Norvège"));
        assert_eq!((country_of_name("norvège", "fr"), country_of_name("", "fr")), (None, None));
    }

    #[test]
    fn every_country_has_a_name_in_every_language() {
        for line in COUNTRIES.lines().skip(1) {
            let (codes, names) = line.split_once('|').unwrap();
            assert!(codes.split(' ').all(|code| code.len() >= 2 && ROWS[code] == names), "{codes} is listed twice");
            assert_eq!(names.split('|').filter(|name| !name.is_empty()).count(), LANGUAGES.len(), "{codes}");
        }
    }
}
