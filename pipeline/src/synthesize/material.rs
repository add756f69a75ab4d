//! What documents are made of, fetched for many documents at a time.

use std::time::Instant;

use memtrain_corpora::{Mention, PassageArticle, PassageMentions, PassageText, Split};

use super::eligible::split_of;
use crate::config::SynthesizeConfig;
use crate::error::Result;
use crate::stage::{Progress, StageName};
use crate::tables::{Mentions, Passages};

/// A passage as a document needs it.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    pub(crate) id: u64,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) mentions: Vec<Mention>,
}

/// Reads passages with their mentions. `ids` in any order, repeated or not; the answer rises by id, each once.
pub(crate) fn fetch(
    passages: &Passages,
    mentions: &Mentions,
    mut ids: Vec<u64>,
    progress: &dyn Progress,
) -> Result<Vec<Material>> {
    ids.sort_unstable();
    ids.dedup();
    let started = Instant::now();
    let texts = passages.get_many::<PassageText>(&ids)?;
    let found = mentions.get_many::<PassageMentions>(&ids)?;
    progress.spent(StageName::Synthesize, "read passages", started.elapsed() * threads());
    let whole = |((id, passage), mentions): ((u64, PassageText), PassageMentions)| {
        let PassageText { title, text } = passage;
        Material { id, title, text, mentions: mentions.0 }
    };
    Ok(ids.into_iter().zip(texts).zip(found).map(whole).collect())
}

/// Threads that share a parallel step, for its cost in thread time.
pub(crate) fn threads() -> u32 {
    u32::try_from(rayon::current_num_threads()).unwrap_or(u32::MAX)
}

/// Which passages are of held-out articles: one bit each.
pub(crate) struct HeldOut {
    bits: Vec<u64>,
    len: u64,
}

impl HeldOut {
    /// Draws the split of every article, as its passages come.
    pub(crate) fn open(passages: &Passages, seed: u64, config: &SynthesizeConfig) -> Result<Self> {
        let mut bits = vec![0; usize::try_from(passages.len().div_ceil(64)).unwrap_or(usize::MAX)];
        let mut last = None;
        for (number, article) in (0_usize..).zip(passages.views::<PassageArticle>()) {
            let PassageArticle(article) = article?;
            // Passages of an article stand together, so that it is drawn once.
            let is_held_out = match last {
                Some((id, is_held_out)) if id == article => is_held_out,
                _ => split_of(article, seed, config) == Split::Heldout,
            };
            last = Some((article, is_held_out));
            if let Some(word) = bits.get_mut(number / 64) {
                *word |= u64::from(is_held_out) << (number % 64);
            }
        }
        Ok(Self { bits, len: passages.len() })
    }

    /// Number of passages.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The split in which a passage may be a pivot.
    pub(crate) fn split(&self, passage: u64) -> Split {
        let word = usize::try_from(passage / 64).ok().and_then(|at| self.bits.get(at)).copied().unwrap_or_default();
        if word >> (passage % 64) & 1 == 1 { Split::Heldout } else { Split::Train }
    }
}
