//! Evidence of the hidden entity: the target and the related passages of a document are chosen together.
//!
//! The paper draws any entity of the pivot and takes the passages that are most like the pivot ([`EvidenceConfig`] with
//! `min_passages = 0`). On real text a third of such documents mention the hidden entity in the pivot alone, so that
//! nothing else in 30,000 tokens bears on the answer. Here an entity is a target only if a lexical search for its words
//! finds enough passages that mention it; these become related passages, the most similar ones fill up the rest.

use std::collections::{HashMap, HashSet};

use memtrain_corpora::PassageText;
use memtrain_corpora::mask::{Matching, occurrences};
use rayon::prelude::*;

use super::assemble::Hidden;
use super::source::{Pivot, Source, is_in};
use crate::config::EvidenceConfig;
use crate::error::Result;

/// Entities of a pivot that are searched for before another pivot is drawn.
pub(super) const MAX_TARGETS: usize = 4;

/// Passages that are searched for, for each that may be taken: most hits hold the words of a name elsewhere.
const HITS_PER_PASSAGE: usize = 4;

/// What is hidden in a document, and passages beside the pivot that mention it, best first.
pub(super) struct Target {
    pub(super) hidden: Hidden,
    pub(super) mentioned_in: Vec<u64>,
}

impl Source<'_> {
    /// For each pivot the first of its entities that enough passages mention; `None` where none of them is.
    pub(super) fn targets(&self, pivots: Vec<Option<Pivot>>) -> Result<Vec<Option<Target>>> {
        let config = &self.config.evidence;
        if config.min_passages == 0 {
            let first = |pivot: Pivot| pivot.entities.into_iter().next();
            let target = |hidden| Target { hidden, mentioned_in: Vec::new() };
            return Ok(pivots.into_iter().map(|pivot| pivot.and_then(first).map(target)).collect());
        }
        let enough = self.enough_evidence();
        let mut targets: Vec<Option<Target>> = pivots.iter().map(|_| None).collect();
        for turn in 0..MAX_TARGETS {
            let mut asked: Vec<(usize, u64, &Hidden)> = Vec::new();
            for (at, pivot) in pivots.iter().enumerate().filter(|(at, _)| targets[*at].is_none()) {
                let entity = pivot.as_ref().and_then(|pivot| Some((at, pivot.id, pivot.entities.get(turn)?)));
                asked.extend(entity);
            }
            let queries: Vec<(u64, &str)> = asked.iter().map(|(_, id, hidden)| (*id, hidden.answer.as_str())).collect();
            let hits = self.retriever.mentioning(&queries, HITS_PER_PASSAGE * config.max_passages)?;
            let mut ids: Vec<u64> = hits.iter().flatten().copied().collect();
            ids.sort_unstable();
            ids.dedup();
            let texts: HashMap<u64, PassageText> =
                ids.iter().copied().zip(self.passages.get_many::<PassageText>(&ids)?).collect();
            let matching = Matching { case_sensitive: self.config.case_sensitive };
            let found: Vec<Vec<u64>> = asked
                .par_iter()
                .zip(hits)
                .map(|((_, _, hidden), hits)| {
                    let mentions = |id: &u64| {
                        texts
                            .get(id)
                            .is_some_and(|passage| !occurrences(&passage.text, &hidden.answer, matching).is_empty())
                    };
                    hits.into_iter().filter(mentions).take(config.max_passages).collect()
                })
                .collect();
            for ((at, _, hidden), mentioned_in) in asked.iter().zip(found) {
                if mentioned_in.len() >= enough {
                    targets[*at] = Some(Target { hidden: (*hidden).clone(), mentioned_in });
                }
            }
        }
        Ok(targets)
    }

    /// Fewest related passages that mention the target.
    pub(super) fn enough_evidence(&self) -> usize {
        self.config.evidence.min_passages.min(self.config.num_related)
    }

    /// Similar passages that retrieval is asked for, so that `num_related` are left without those of one article and those
    /// outside the pool.
    pub(super) fn num_similar(&self) -> usize {
        let is_bounded = self.config.evidence.max_same_article < 1.0;
        let times = if is_bounded {
            4
        } else if self.pool.is_some() {
            2
        } else {
            1
        };
        times * self.config.num_related
    }

    /// The related passages of a document: those that mention the target, then the most similar ones, at most
    /// `num_related`. Beyond the first ones, which are enough evidence, no more are of the pivot's own article than its
    /// share. All of them are added to `taken`.
    pub(super) fn choose_related(
        &self,
        pivot: u64,
        mentioned_in: &[u64],
        similar: &[u64],
        taken: &mut HashSet<u64>,
    ) -> Result<Vec<u64>> {
        let wanted = self.config.num_related;
        let mut of_own_article = self.config.evidence.most_of_own_article(wanted);
        let article = if of_own_article < wanted { Some(self.retriever.article(pivot)?) } else { None };
        let mut chosen = Vec::with_capacity(wanted);
        for &id in mentioned_in.iter().chain(similar) {
            if chosen.len() == wanted {
                break;
            }
            if taken.contains(&id) || !is_in(self.pool.as_ref(), id) {
                continue;
            }
            if article.is_some() && Some(self.retriever.article(id)?) == article {
                let is_needed = chosen.len() < self.enough_evidence();
                if of_own_article == 0 && !is_needed {
                    continue;
                }
                of_own_article = of_own_article.saturating_sub(1);
            }
            taken.insert(id);
            chosen.push(id);
        }
        Ok(chosen)
    }
}

impl EvidenceConfig {
    /// Most related passages of the pivot's own article among `num_related`.
    fn most_of_own_article(&self, num_related: usize) -> usize {
        (self.max_same_article * num_related as f64).floor() as usize
    }
}
