//! Material of documents, fetched for many documents at a time.

use std::path::Path;
use std::time::Instant;

use memtrain_corpora::{Mention, PassageArticle, PassageMentions, PassageText, Split};

use super::eligible::{Eligible, split_of};
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

/// A set of passages: one bit each.
pub(crate) struct PassageSet {
    bits: Vec<u64>,
}

impl PassageSet {
    /// None of so many passages.
    fn of(len: u64) -> Self {
        Self { bits: vec![0; usize::try_from(len.div_ceil(64)).unwrap_or(usize::MAX)] }
    }

    fn set(&mut self, number: usize, is_member: bool) {
        if let Some(word) = self.bits.get_mut(number / 64) {
            *word |= u64::from(is_member) << (number % 64);
        }
    }

    pub(crate) fn contains(&self, passage: u64) -> bool {
        let word = usize::try_from(passage / 64).ok().and_then(|at| self.bits.get(at)).copied().unwrap_or_default();
        word >> (passage % 64) & 1 == 1
    }

    /// The passages with an eligible entity. Reads all passages and mentions once.
    pub(crate) fn with_eligible(passages: &Passages, eligible: &Eligible, out: &Path) -> Result<Self> {
        let mut set = Self::of(passages.len());
        let mentions = Mentions::rows(out, StageName::Synthesize)?;
        for (number, (passage, mentions)) in (0_usize..).zip(passages.views::<PassageText>().zip(mentions)) {
            set.set(number, eligible.any(&passage?.text, &mentions?));
        }
        Ok(set)
    }
}

/// Which passages are of held-out articles.
pub(crate) struct HeldOut {
    passages: PassageSet,
    len: u64,
}

impl HeldOut {
    /// Draws the split of every article, as its passages come.
    pub(crate) fn open(passages: &Passages, seed: u64, config: &SynthesizeConfig) -> Result<Self> {
        let mut held_out = PassageSet::of(passages.len());
        let mut last = None;
        for (number, article) in (0_usize..).zip(passages.views::<PassageArticle>()) {
            let PassageArticle(article) = article?;
            // Passages of an article stand together, so that it is drawn once.
            let is_held_out = match last {
                Some((id, is_held_out)) if id == article => is_held_out,
                _ => split_of(article, seed, config) == Split::Heldout,
            };
            last = Some((article, is_held_out));
            held_out.set(number, is_held_out);
        }
        Ok(Self { passages: held_out, len: passages.len() })
    }

    /// Number of passages.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The split in which a passage may be a pivot.
    pub(crate) fn split(&self, passage: u64) -> Split {
        if self.passages.contains(passage) { Split::Heldout } else { Split::Train }
    }
}
