//! Recall questions of MemTrain: which memory is asked about which chunk, and for which entity of it.
//!
//! With `T` memories of `T` chunks, both counted from 1:
//!
//! ```text
//! paper      k uniform over 2 … T,     l uniform over 1 … k − 1    a chunk that the memory has read, before the last one
//! released   k uniform over 1 … T − 1, l uniform over 2 … k + 1    a chunk too far at both ends
//! ```
//!
//! The policy is shown `m_k` and `c_l` with all occurrences of one of its entities hidden (§3.2). What the released code draws
//! never asks about the first chunk nor from the last memory, and asks about chunk `k + 1`, which `m_k` has not read, in
//! `H(T − 1) / (T − 1)` of its questions, `H` the harmonic number: 61 % at 4 chunks, 37 % at 8, 22 % at 16. Such a question can be
//! answered from the chunk around the gap alone, so that it trains cloze and adds noise to the trajectory's reward.

use std::cmp::Ordering;
use std::collections::HashSet;

use memtrain_corpora::Span;
use memtrain_corpora::document::TARGET;
use memtrain_corpora::mask::{self, Matching};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::super::ChunkedDocument;
use super::MemTrainConfig;

/// Which memory is asked about which chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecallDraw {
    /// A chunk before the last one that the memory has read, and any mention of it, each equally likely. A pair whose chunk
    /// has no entity that can be asked for is drawn again; a document of one chunk is asked about that one.
    #[default]
    Paper,
    /// As MemTrain's released code draws: see above. Different surfaces are equally likely, not mentions; those of more than
    /// 7 words or with more than 4 occurrences in the chunk are not asked for. Nothing is drawn again: a chunk without such
    /// an entity, or a document of one chunk, means no question.
    Released,
}

/// Number of draws of `(k, l)` before a document is taken to have no entity that can be asked for.
const RECALL_ATTEMPTS: usize = 32;
/// Most words of an entity that the released code asks for.
const RELEASED_WORDS: usize = 7;
/// Most occurrences in the chunk of an entity that the released code asks for.
const RELEASED_OCCURRENCES: usize = 4;

/// A recall question about one trajectory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallQuestion {
    /// `k`: the memory asked is the one after this many chunks.
    pub memory_step: usize,
    /// `l`: the chunk asked about, counted from 1.
    pub chunk_step: usize,
    /// `ỹ`, the entity asked for.
    pub target: String,
    /// The chunk with every occurrence of the target hidden.
    pub masked_chunk: String,
}

/// How a questioned chunk stands to the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The memory has not read it: `l > k`.
    Unread,
    /// It was read last: `l = k`.
    JustRead,
    /// It was read before the last one: `l < k`.
    Older,
}

impl RecallQuestion {
    /// How its chunk stands to its memory.
    pub fn standing(&self) -> Standing {
        match self.chunk_step.cmp(&self.memory_step) {
            Ordering::Greater => Standing::Unread,
            Ordering::Equal => Standing::JustRead,
            Ordering::Less => Standing::Older,
        }
    }
}

impl Standing {
    /// Name of the score of answers to such questions.
    pub(in crate::objectives) const fn score(self) -> &'static str {
        match self {
            Self::Unread => "recall_unread",
            Self::JustRead => "recall_just_read",
            Self::Older => "recall_older",
        }
    }

    /// Shares of questions by their standing: 1 for its own, 0 for the others.
    pub(in crate::objectives) fn gauges(self) -> [(&'static str, f64); 3] {
        let share = |standing| f64::from(u8::from(self == standing));
        [
            ("rollout/recall_unread", share(Self::Unread)),
            ("rollout/recall_just_read", share(Self::JustRead)),
            ("rollout/recall_older", share(Self::Older)),
        ]
    }
}

/// Draws a recall question as [`MemTrainConfig::recall_draw`] says; `None` where there is nothing to ask for.
pub fn draw_recall(
    document: &ChunkedDocument,
    config: &MemTrainConfig,
    generator: &mut impl Rng,
) -> Option<RecallQuestion> {
    let num_chunks = document.chunks.len();
    if config.recall_draw == RecallDraw::Released {
        if num_chunks < 2 {
            return None;
        }
        let memory_step = generator.random_range(1..num_chunks);
        let chunk_step = generator.random_range(2..=memory_step + 1);
        return recall_at(document, (memory_step, chunk_step), config, generator);
    }
    for _ in 0..RECALL_ATTEMPTS {
        let (memory_step, chunk_step) = match num_chunks {
            0 => return None,
            1 => (1, 1),
            _ if config.recall_includes_current => {
                let memory_step = generator.random_range(1..=num_chunks);
                (memory_step, generator.random_range(1..=memory_step))
            }
            _ => {
                let memory_step = generator.random_range(2..=num_chunks);
                (memory_step, generator.random_range(1..memory_step))
            }
        };
        if let Some(question) = recall_at(document, (memory_step, chunk_step), config, generator) {
            return Some(question);
        }
    }
    None
}

/// A recall question about chunk `chunk_step` for the memory after `memory_step` chunks, both counted from 1: an entity of
/// the chunk as [`MemTrainConfig::recall_draw`] says. `None` where it has none that can be asked for.
pub fn recall_at(
    document: &ChunkedDocument,
    (memory_step, chunk_step): (usize, usize),
    config: &MemTrainConfig,
    generator: &mut impl Rng,
) -> Option<RecallQuestion> {
    let mut askable = document.askable(chunk_step - 1, config.equality);
    let (mut attempts, mut most) = (1, usize::MAX);
    if config.recall_draw == RecallDraw::Released {
        let mut seen = HashSet::new();
        let is_short = |surface: &str| surface.split_whitespace().count() <= RELEASED_WORDS;
        askable.retain(|surface| is_short(surface) && seen.insert(surface.to_lowercase()));
        // Drawing on until one is within its bound is a draw among those that are.
        (attempts, most) = (askable.len(), RELEASED_OCCURRENCES);
    }
    let chunk = document.chunk(chunk_step - 1);
    for _ in 0..attempts.min(askable.len()) {
        let target = askable.swap_remove(generator.random_range(0..askable.len()));
        let occurrences = mask::occurrences(chunk, target, Matching { case_sensitive: true });
        if !occurrences.is_empty()
            && occurrences.len() <= most
            && are_in_passages(document, chunk_step - 1, &occurrences)
        {
            let (masked_chunk, _) = mask::replace(chunk, &occurrences, TARGET);
            return Some(RecallQuestion { memory_step, chunk_step, target: target.to_owned(), masked_chunk });
        }
    }
    None
}

/// Whether all these places of a chunk are in passages: the number of a heading could be read off its neighbours. A document
/// that does not say where its passages are has none.
fn are_in_passages(document: &ChunkedDocument, chunk: usize, places: &[Span]) -> bool {
    let (start, passages) = (document.chunks[chunk].start, &document.document.passages);
    let is_inside = |place: &Span| {
        let after = passages.partition_point(|passage| passage.span.start <= start + place.start);
        after.checked_sub(1).is_some_and(|last| start + place.end <= passages[last].span.end)
    };
    passages.is_empty() || places.iter().all(is_inside)
}
