//! Source of documents: the passages and entities that they are drawn from.

use tokenizers::Tokenizer;

use super::assemble::Hidden;
use super::eligible::Eligible;
use super::material::{HeldOut, PassageSet};
use crate::config::SynthesizeConfig;
use crate::entities::Aliases;
use crate::error::Result;
use crate::tables::{Mentions, Passages};

/// Gives the passages related to each of some, best first, without itself.
pub(crate) trait Retriever: Send + Sync {
    fn related(&self, passages: &[u64], k: usize) -> Result<Vec<Vec<u64>>>;

    /// For each pair of a passage and a name, up to `k` other passages with words of the name, best first.
    fn mentioning(&self, names: &[(u64, &str)], k: usize) -> Result<Vec<Vec<u64>>>;

    /// The article of a passage.
    fn article(&self, passage: u64) -> Result<u64>;
}

/// What all documents are drawn from.
pub(crate) struct Source<'a> {
    pub(crate) config: &'a SynthesizeConfig,
    pub(crate) seed: u64,
    pub(crate) passages: Passages,
    pub(crate) mentions: Mentions,
    pub(crate) held_out: HeldOut,
    /// The passages that documents are made of; absent where they are all.
    pub(crate) pool: Option<PassageSet>,
    pub(crate) retriever: Box<dyn Retriever>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) eligible: Eligible,
    /// Names have endings of cases in the corpus's language.
    pub(crate) inflected: bool,
    /// The names of every page.
    pub(crate) aliases: Aliases,
}

/// A pivot that was found, and its entities in the order in which they are tried as the target.
pub(super) struct Pivot {
    pub(super) id: u64,
    pub(super) entities: Vec<Hidden>,
}

/// Whether a passage may be in a document.
pub(super) fn is_in(pool: Option<&PassageSet>, passage: u64) -> bool {
    pool.is_none_or(|pool| pool.contains(passage))
}
