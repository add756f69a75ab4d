//! Names of languages as the wikis of the world give them to the words they quote.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A wiki's language a line: its code, how a language is introduced before words of it (`{}` its name), and the names of the
/// languages whose codes are in the first line. The names are those of the Unicode locale data, or the abbreviations that a wiki
/// uses in their place.
const NAMES: &str = include_str!("language_names.txt");

/// Names by wiki and by code, with the pattern of the wiki under an empty code.
static KNOWN: LazyLock<HashMap<&'static str, HashMap<&'static str, &'static str>>> = LazyLock::new(|| {
    let codes: Vec<&str> = NAMES.lines().next().unwrap_or_default().split('|').skip(1).collect();
    let row = |line: &'static str| {
        let (wiki, names) = line.split_once('|')?;
        let named = codes.iter().copied().zip(names.split('|'));
        Some((wiki, named.filter(|(_, name)| !name.is_empty()).collect()))
    };
    NAMES.lines().skip(1).filter_map(row).collect()
});

/// What the wiki of a language calls the language of a code, which may have a variant behind it.
pub(super) fn language_name(wiki: &str, code: &str) -> Option<&'static str> {
    let code = code.split(['-', '_']).next().filter(|code| !code.is_empty())?;
    KNOWN.get(wiki)?.get(code).copied()
}

/// What stands before a foreign word in the wiki of a language.
pub(super) fn label_of(wiki: &str, code: &str) -> Option<String> {
    let pattern = KNOWN.get(wiki)?.get("")?;
    Some(pattern.replace("{}", language_name(wiki, code)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_introduced_as_the_wiki_does_it() {
        for (wiki, code, label) in [
            ("en", "grc", "Ancient Greek: "),
            ("en", "zh-hans", "Chinese: "),
            ("de", "es", "spanisch "),
            ("ru", "en", "англ. "),
            ("el", "en", "Αγγλικά: "),
            ("ko", "en", "영어: "),
            ("vi", "de", "tiếng Đức: "),
            ("ar", "fr", "بالفرنسية: "),
        ] {
            assert_eq!(label_of(wiki, code).as_deref(), Some(label), "{code} in {wiki}");
        }
        assert_eq!(label_of("en", "xx"), None);
        assert_eq!(label_of("xx", "en"), None);
        assert_eq!(label_of("en", ""), None);
    }

    #[test]
    fn every_line_has_a_name_for_every_code_or_nothing() {
        let columns = NAMES.lines().next().unwrap_or_default().split('|').count();
        for line in NAMES.lines() {
            assert_eq!(line.split('|').count(), columns, "{line}");
        }
        assert!(KNOWN.values().all(|names| names[""].contains("{}")));
    }
}
