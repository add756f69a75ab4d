//! Prefixes of links to other wikis. A dump's header does not list them.

use super::context::Prefix;
use crate::languages;

/// Other wikis, sorted.
const PROJECTS: &[&str] = &[
    "b",
    "c",
    "commons",
    "d",
    "doi",
    "foundation",
    "gutenberg",
    "imdbname",
    "imdbtitle",
    "incubator",
    "iso",
    "m",
    "meta",
    "metawikipedia",
    "mw",
    "n",
    "nasa",
    "oeis",
    "outreach",
    "phab",
    "phabricator",
    "q",
    "rfc",
    "s",
    "sep11",
    "species",
    "specieswiki",
    "v",
    "voy",
    "w",
    "wikia",
    "wikibooks",
    "wikidata",
    "wikimedia",
    "wikinews",
    "wikiquote",
    "wikisource",
    "wikispecies",
    "wikiversity",
    "wikivoyage",
    "wikt",
    "wiktionary",
];

/// What a link's prefix means if it names another wiki.
pub(super) fn prefix(name: &str) -> Option<Prefix> {
    // The longest name has 13 letters, and none has other than ASCII letters, digits and hyphens.
    if name.is_empty() || name.len() > 13 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    if languages::is_wikipedia(&lower) {
        // `Ur: a town` is a title; links between languages are written small.
        return (lower == name).then_some(Prefix::Language);
    }
    PROJECTS.binary_search(&lower.as_str()).is_ok().then_some(Prefix::Project)
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_are_sorted() {
        assert!(super::PROJECTS.is_sorted());
    }
}
