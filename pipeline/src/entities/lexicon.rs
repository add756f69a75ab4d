//! Lexicon of general facts on words and names, written for this project (`lexicon/`), that needs no corpus.

use std::collections::HashMap;
use std::sync::LazyLock;

use memtrain_corpora::EntityLabel;

/// What a word can be. One bit each.
pub(crate) mod flag {
    macro_rules! flags {
        ($($name:ident = $bit:literal;)*) => { $(pub(crate) const $name: u64 = 1 << $bit;)* };
    }
    flags! {
        FUNCTION = 0; COMMON = 1; VERB = 2; TITLE = 3; ROLE = 4; GIVEN = 5; GIVEN_OR_WORD = 6; SURNAME = 7;
        ORG = 8; GPE = 9; LOC = 10; FAC = 11; EVENT = 12; LAW = 13; WORK = 14; PRODUCT = 15; LANGUAGE = 16;
        OF_HEAD = 17; BEFORE_NAME = 18;
        TYPE_PERSON = 20; TYPE_NORP = 21; TYPE_ORG = 22; TYPE_GPE = 23; TYPE_LOC = 24; TYPE_FAC = 25; TYPE_EVENT = 26;
        TYPE_WORK = 27; TYPE_LAW = 28; TYPE_LANGUAGE = 29; TYPE_PRODUCT = 30;
        PHRASE = 32; DEMONYM = 33;
    }
    /// Any of the nouns that say what a thing is.
    pub(crate) const TYPES: u64 = (TYPE_PRODUCT << 1) - TYPE_PERSON;
    /// What holds in all languages.
    pub(crate) const NAMES: u64 = GIVEN | SURNAME | PHRASE | BEFORE_NAME;
    /// Any of the nouns that end a name.
    pub(crate) const HEADS: u64 = ORG | GPE | LOC | FAC | EVENT | LAW | WORK | PRODUCT | LANGUAGE;
}

/// The flag of each section of `words.txt`, and of the given and family names.
const SECTIONS: &[(&str, u64)] = &[
    ("function", flag::FUNCTION),
    ("common", flag::COMMON),
    ("verb", flag::VERB),
    ("title", flag::TITLE),
    ("role", flag::ROLE),
    ("given", flag::GIVEN),
    ("given-or-word", flag::GIVEN_OR_WORD),
    ("surname", flag::SURNAME),
    ("org", flag::ORG),
    ("gpe", flag::GPE),
    ("loc", flag::LOC),
    ("fac", flag::FAC),
    ("event", flag::EVENT),
    ("law", flag::LAW),
    ("work", flag::WORK),
    ("product", flag::PRODUCT),
    ("language", flag::LANGUAGE),
    ("of-head", flag::OF_HEAD),
    ("before-name", flag::BEFORE_NAME),
    ("type-person", flag::TYPE_PERSON),
    ("type-norp", flag::TYPE_NORP),
    ("type-org", flag::TYPE_ORG),
    ("type-gpe", flag::TYPE_GPE),
    ("type-loc", flag::TYPE_LOC),
    ("type-fac", flag::TYPE_FAC),
    ("type-event", flag::TYPE_EVENT),
    ("type-work", flag::TYPE_WORK),
    ("type-law", flag::TYPE_LAW),
    ("type-language", flag::TYPE_LANGUAGE),
    ("type-product", flag::TYPE_PRODUCT),
];

/// The labels that the type nouns stand for.
pub(crate) const TYPE_LABELS: &[(u64, EntityLabel)] = &[
    (flag::TYPE_PERSON, EntityLabel::Person),
    (flag::TYPE_NORP, EntityLabel::Norp),
    (flag::TYPE_ORG, EntityLabel::Org),
    (flag::TYPE_GPE, EntityLabel::Gpe),
    (flag::TYPE_LOC, EntityLabel::Loc),
    (flag::TYPE_FAC, EntityLabel::Fac),
    (flag::TYPE_EVENT, EntityLabel::Event),
    (flag::TYPE_WORK, EntityLabel::WorkOfArt),
    (flag::TYPE_LAW, EntityLabel::Law),
    (flag::TYPE_LANGUAGE, EntityLabel::Language),
    (flag::TYPE_PRODUCT, EntityLabel::Product),
];

/// Labels as bits, by their place in [`EntityLabel::ALL`].
pub(crate) type Labels = u32;

/// The bit of a label.
pub(crate) fn bit(label: EntityLabel) -> Labels {
    1 << label as u32
}

/// The words and names that are built in.
pub(crate) struct Lexicon {
    /// Lower-cased word → flags.
    words: HashMap<Box<str>, u64>,
    /// Name as it is written → what it can stand for.
    names: HashMap<Box<str>, Labels>,
    /// Most words of a name.
    pub(crate) most_words: usize,
}

/// The lexicon; read once.
pub(crate) static LEXICON: LazyLock<Lexicon> = LazyLock::new(Lexicon::read);

impl Lexicon {
    /// What a word can be; `word` in lower case.
    pub(crate) fn word(&self, word: &str) -> u64 {
        self.words.get(word).copied().unwrap_or(0)
    }

    /// What a name can stand for.
    pub(crate) fn name(&self, name: &str) -> Labels {
        self.names.get(name).copied().unwrap_or(0)
    }

    fn read() -> Lexicon {
        let mut lexicon = Lexicon { words: HashMap::new(), names: HashMap::new(), most_words: 1 };
        for file in [
            include_str!("lexicon/words.txt"),
            include_str!("lexicon/given_names.txt"),
            include_str!("lexicon/surnames.txt"),
        ] {
            for (section, line) in sections(file) {
                let flag = SECTIONS.iter().find(|(name, _)| *name == section).map_or(0, |(_, flag)| *flag);
                for word in line.split_whitespace() {
                    *lexicon.words.entry(word.to_lowercase().into()).or_default() |= flag;
                }
            }
        }
        for (section, line) in sections(include_str!("lexicon/names.txt")) {
            let label = EntityLabel::from_name(section).unwrap_or(EntityLabel::Unknown);
            for name in line.split(';') {
                lexicon.add(name.trim(), label, 0);
            }
        }
        for (_, line) in sections(include_str!("lexicon/countries.txt")) {
            let columns = line.split(';').zip([EntityLabel::Gpe, EntityLabel::Norp, EntityLabel::Language]);
            for (column, label) in columns {
                let flag = if label == EntityLabel::Norp { flag::DEMONYM } else { 0 };
                for name in column.split(',') {
                    lexicon.add(name.trim(), label, flag);
                }
            }
        }
        lexicon
    }

    fn add(&mut self, name: &str, label: EntityLabel, flags: u64) {
        let Some(first) = name.split(' ').next().filter(|first| !first.is_empty()) else { return };
        *self.names.entry(name.into()).or_default() |= bit(label);
        // Tokens end at a comma and before a possessive, the full stop of an abbreviation is their own.
        let first = super::tokens::tokens(first).first().map_or(first, |token| &first[token.start..token.end]);
        *self.words.entry(first.to_lowercase().into()).or_default() |= flag::PHRASE;
        if !name.contains(' ') {
            *self.words.entry(name.to_lowercase().into()).or_default() |= flags;
        }
        self.most_words = self.most_words.max(super::tokens::tokens(name).len());
    }
}

/// The lines of a lexicon file, each with the name of its section.
fn sections(file: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut section = "";
    file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(move |line| {
        match line.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(name) => {
                section = name;
                None
            }
            None => Some((section, line)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_known() {
        for file in [
            include_str!("lexicon/words.txt"),
            include_str!("lexicon/given_names.txt"),
            include_str!("lexicon/surnames.txt"),
        ] {
            for (section, _) in sections(file) {
                assert!(SECTIONS.iter().any(|(name, _)| *name == section), "{section}");
            }
        }
        for (section, _) in sections(include_str!("lexicon/names.txt")) {
            assert!(EntityLabel::from_name(section).is_some(), "{section}");
        }
    }

    #[test]
    fn words_and_names_are_there() {
        assert_eq!(LEXICON.word("the") & flag::FUNCTION, flag::FUNCTION);
        assert_eq!(LEXICON.word("john") & flag::GIVEN, flag::GIVEN);
        assert_eq!(LEXICON.name("Sri Lanka"), bit(EntityLabel::Gpe));
        assert_eq!(LEXICON.name("Georgian"), bit(EntityLabel::Norp) | bit(EntityLabel::Language));
        assert_eq!(LEXICON.name("Atlantis"), 0);
    }
}
