//! Memories made of whole sentences: what oracles show and what a policy's memories are held against.

use std::collections::HashSet;

use memtrain_model::policy::{PolicyError, PolicyTokenizer};
use unicode_segmentation::UnicodeSegmentation;

/// The sentences of a text in order, without the space around them.
///
/// ```
/// use memtrain_rl::agents::sentences::sentences;
/// let all: Vec<&str> = sentences("It rained. [MASK] sold salt.\nThe end").collect();
/// assert_eq!(all, ["It rained.", "[MASK] sold salt.", "The end"]);
/// ```
pub fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(UnicodeSegmentation::split_sentence_bounds)
        .map(str::trim)
        .filter(|sentence| !sentence.is_empty())
}

/// Whether a sentence ends as sentences do. A memory that was cut off by its limit ends with one that does not.
pub fn is_complete(sentence: &str) -> bool {
    sentence.ends_with(['.', '!', '?'])
}

/// Sentences that were read so far: what those of a memory are held against. A sentence is supported where it stands word for
/// word in a chunk that was read.
///
/// ```
/// use memtrain_rl::agents::sentences::ReadSentences;
/// let mut read = ReadSentences::default();
/// read.extend("It rained. [MASK] sold salt.");
/// assert!(read.supports("[MASK] sold salt."));
/// assert!(!read.supports("[MASK] sold wine."));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ReadSentences<'a>(HashSet<&'a str>);

impl<'a> ReadSentences<'a> {
    /// A further chunk is read.
    pub fn extend(&mut self, chunk: &'a str) {
        self.0.extend(sentences(chunk));
    }

    /// Whether a sentence, as [`sentences`] gives it, stands in what was read.
    pub fn supports(&self, sentence: &str) -> bool {
        self.0.contains(sentence)
    }
}

/// Items to keep, each with its place in the order of reading: taken in the order given while they fit `budget` tokens,
/// none twice, and put back into the order of reading.
///
/// # Errors
/// If the tokenizer fails.
pub fn fitting<S: AsRef<str> + Ord>(
    items: impl IntoIterator<Item = (usize, S)>,
    separator: &str,
    tokenizer: &PolicyTokenizer,
    budget: usize,
) -> Result<Vec<S>, PolicyError> {
    let mut used = 0;
    let mut kept: Vec<(usize, S)> = Vec::new();
    for (place, item) in items {
        let cost = tokenizer.encode_text(format!("{separator}{}", item.as_ref()))?.len();
        if used + cost <= budget && !kept.iter().any(|(_, known)| known.as_ref() == item.as_ref()) {
            used += cost;
            kept.push((place, item));
        }
    }
    kept.sort();
    Ok(kept.into_iter().map(|(_, item)| item).collect())
}
