//! Language of stemming and stop words.

use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};

/// Language of stemming and stop words, by name or ISO code. Languages that are not listed, and `none`, have neither:
/// their words are taken as they are, in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of the languages")]
pub enum Language {
    /// That of the wiki, by the address of the first passage; English where that says nothing.
    Auto,
    #[serde(alias = "ar")]
    Arabic,
    #[serde(alias = "da")]
    Danish,
    #[serde(alias = "nl")]
    Dutch,
    #[serde(alias = "en")]
    English,
    #[serde(alias = "fi")]
    Finnish,
    #[serde(alias = "fr")]
    French,
    #[serde(alias = "de")]
    German,
    #[serde(alias = "el")]
    Greek,
    #[serde(alias = "hu")]
    Hungarian,
    #[serde(alias = "it")]
    Italian,
    #[serde(alias = "no")]
    Norwegian,
    #[serde(alias = "pt")]
    Portuguese,
    #[serde(alias = "ro")]
    Romanian,
    #[serde(alias = "ru")]
    Russian,
    #[serde(alias = "es")]
    Spanish,
    #[serde(alias = "sv")]
    Swedish,
    #[serde(alias = "ta")]
    Tamil,
    #[serde(alias = "tr")]
    Turkish,
    /// Words as they are, in lower case.
    None,
}

impl Language {
    /// The language itself, or for [`Language::Auto`] that of a wiki by the address of one of its pages:
    /// `https://vi.wikipedia.org/wiki/…` is Vietnamese, for which there is no stemmer.
    ///
    /// ```
    /// use memtrain_index::Language;
    ///
    /// assert_eq!(Language::Auto.resolve("https://de.wikipedia.org/wiki/Haus"), Language::German);
    /// assert_eq!(Language::Auto.resolve("https://vi.wikipedia.org/wiki/Nh%C3%A0"), Language::None);
    /// assert_eq!(Language::Auto.resolve(""), Language::English);
    /// assert_eq!(Language::French.resolve("https://de.wikipedia.org/wiki/Haus"), Language::French);
    /// ```
    pub fn resolve(self, url: &str) -> Self {
        if self != Self::Auto {
            return self;
        }
        let host = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
        let mut labels = host.split('.');
        match (labels.next(), labels.next()) {
            (Some(code), Some(site)) if site.starts_with("wik") => Self::of_code(code),
            _ => Self::English,
        }
    }

    fn of_code(code: &str) -> Self {
        match code {
            "simple" | "www" | "m" => Self::English,
            "nb" | "nn" => Self::Norwegian,
            code => {
                let code: StrDeserializer<serde::de::value::Error> = code.into_deserializer();
                Self::deserialize(code).unwrap_or(Self::None)
            }
        }
    }
}
