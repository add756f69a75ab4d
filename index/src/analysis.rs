//! From text to the words that are indexed: split at what is neither letter nor digit, lower case, stop words out,
//! stems. The lexical index and the built-in embeddings see the same words.

use tantivy::tokenizer::{
    Language as Tongue, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
};

use crate::Language;

/// The longest word in bytes; longer ones are not words.
const MAX_WORD_BYTES: usize = 64;

/// The analyzer of a language.
pub(crate) fn analyzer(language: Language) -> TextAnalyzer {
    let lower = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(MAX_WORD_BYTES))
        .filter(LowerCaser);
    let Some(tongue) = tongue(language) else { return lower.build() };
    let stemmer = Stemmer::new(tongue);
    match StopWordFilter::new(tongue) {
        Some(stop_words) => lower.filter(stop_words).filter(stemmer).build(),
        None => lower.filter(stemmer).build(),
    }
}

const fn tongue(language: Language) -> Option<Tongue> {
    Some(match language {
        Language::Danish => Tongue::Danish,
        Language::Dutch => Tongue::Dutch,
        Language::English => Tongue::English,
        Language::Finnish => Tongue::Finnish,
        Language::French => Tongue::French,
        Language::German => Tongue::German,
        Language::Hungarian => Tongue::Hungarian,
        Language::Italian => Tongue::Italian,
        Language::Norwegian => Tongue::Norwegian,
        Language::Portuguese => Tongue::Portuguese,
        Language::Russian => Tongue::Russian,
        Language::Spanish => Tongue::Spanish,
        Language::Swedish => Tongue::Swedish,
        Language::None => return None,
    })
}

/// The different words of a text with their counts, in the order of the words.
pub(crate) fn term_counts(analyzer: &mut TextAnalyzer, text: &str) -> Vec<(String, u32)> {
    let mut terms = Vec::new();
    analyzer.token_stream(text).process(&mut |token| terms.push(token.text.clone()));
    terms.sort_unstable();
    let mut counts: Vec<(String, u32)> = Vec::with_capacity(terms.len());
    for term in terms {
        match counts.last_mut() {
            Some((last, count)) if *last == term => *count += 1,
            _ => counts.push((term, 1)),
        }
    }
    counts
}
