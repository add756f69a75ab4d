//! Drawing one document: pivot, hidden entity, related and random passages, order, token window.
//!
//! Every draw is addressed by the document's own seed, which comes from (run seed, split, number, attempt): nothing
//! depends on which other documents were made, or in what order.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use memtrain_corpora::{Document, PassageRole, Split, rng};
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use tokenizers::Tokenizer;

use super::assemble::{Drawn, Hidden, Identity, assemble, is_leaking};
use super::eligible::{Eligible, Ineligible, is_in_placeholder, split_of};
use crate::config::SynthesizeConfig;
use crate::entities::Aliases;
use crate::error::Result;
use crate::tables::{Mentions, Passages};

/// Passages that are looked at before a pivot is given up on.
const MAX_PIVOT_DRAWS: usize = 20_000;

/// Gives the passages related to each of some, best first, without itself.
pub(crate) trait Retriever: Send + Sync {
    fn related(&self, passages: &[u64], k: usize) -> Result<Vec<Vec<u64>>>;
}

/// Counts by name.
type Counts = BTreeMap<&'static str, u64>;

/// Why a drawn document is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// No passage of the split has an eligible entity.
    NoPivot,
    /// Retrieval gave fewer passages than asked for.
    TooFewRelated,
    /// The hidden words still stand in the text in another dress.
    Leak,
    /// The window cannot be met: all passages of the corpus are too few tokens.
    TooShort,
    /// The window cannot be met: pivot and related passages alone are too many tokens, or one passage more leads from
    /// too short to too long.
    TooLong,
}

impl Rejection {
    fn cause(self) -> &'static str {
        match self {
            Self::NoPivot => "rejected_no_pivot",
            Self::TooFewRelated => "rejected_too_few_related",
            Self::Leak => "rejected_leak",
            Self::TooShort => "rejected_too_short",
            Self::TooLong => "rejected_too_long",
        }
    }
}

/// What all documents are drawn from.
pub(crate) struct Source<'a> {
    pub(crate) config: &'a SynthesizeConfig,
    pub(crate) seed: u64,
    pub(crate) passages: Passages,
    pub(crate) mentions: Mentions,
    pub(crate) retriever: Box<dyn Retriever>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) eligible: Eligible,
    /// The names of every page.
    pub(crate) aliases: Aliases,
}

/// A document with what happened on the way to it.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) document: Option<Document>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    given_up: bool,
}

impl Outcome {
    fn take(&mut self, drawn: Result<Document, Rejection>, planned_random: usize) {
        match drawn {
            Ok(document) => {
                let random = document.passages.iter().filter(|p| p.role == PassageRole::Random).count();
                if random < planned_random {
                    self.counts.insert("documents_with_fewer_random", 1);
                    self.counts.insert("random_passages_left_out", (planned_random - random) as u64);
                } else if random > planned_random {
                    self.counts.insert("documents_with_more_random", 1);
                    self.counts.insert("random_passages_added", (random - planned_random) as u64);
                }
                self.document = Some(document);
            }
            Err(rejection) => {
                *self.counts.entry(rejection.cause()).or_default() += 1;
                // Another draw would look at the same passages and find none again.
                self.given_up = rejection == Rejection::NoPivot;
            }
        }
    }
}

impl Source<'_> {
    /// Draws the documents of some numbers; a rejected one again and again until it is good or the attempts are used up.
    /// The documents of a round are looked up in the index together, which is much less work for each than alone.
    pub(crate) fn documents(&self, split: Split, numbers: Range<u64>) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Outcome> = numbers.clone().map(|_| Outcome::default()).collect();
        for attempt in 0..self.config.max_attempts {
            let identity = |(number, outcome): (u64, &Outcome)| {
                let address = [u64::from(split == Split::Heldout), number, u64::from(attempt)];
                let seed = rng::addressed("document", self.seed, &address).random();
                let open = outcome.document.is_none() && !outcome.given_up;
                open.then_some(Identity { split, number, seed })
            };
            let open: Vec<Identity> = numbers.clone().zip(&outcomes).filter_map(identity).collect();
            if open.is_empty() {
                break;
            }
            for (identity, (drawn, looks)) in open.iter().zip(self.round(&open)?) {
                let at = usize::try_from(identity.number - numbers.start).unwrap_or(usize::MAX);
                outcomes[at].take(drawn, self.config.num_random);
                *outcomes[at].counts.entry("attempts").or_default() += 1;
                for (cause, count) in looks {
                    *outcomes[at].counts.entry(cause).or_default() += count;
                }
            }
        }
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.document.is_none()) {
            outcome.counts.insert("documents_missing", 1);
        }
        Ok(outcomes)
    }

    /// One attempt at each of some documents.
    fn round(&self, identities: &[Identity]) -> Result<Vec<(Result<Document, Rejection>, Counts)>> {
        let (pivots, looks): (Vec<Option<(Drawn, Hidden)>>, Vec<Counts>) = identities
            .par_iter()
            .map(|&identity| self.pivot(identity))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let ids: Vec<u64> = pivots.iter().flatten().map(|(pivot, _)| pivot.passage.id).collect();
        let mut related = self.retriever.related(&ids, self.config.num_related)?.into_iter();
        let drawn: Vec<_> = identities
            .iter()
            .zip(pivots)
            .map(|(&identity, pivot)| {
                (identity, pivot.map(|(pivot, hidden)| (pivot, hidden, related.next().unwrap_or_default())))
            })
            .collect();
        let documents: Vec<_> = drawn
            .into_par_iter()
            .map(|(identity, drawn)| match drawn {
                None => Ok(Err(Rejection::NoPivot)),
                Some((pivot, hidden, related)) => self.attempt(identity, pivot, &hidden, related),
            })
            .collect::<Result<_>>()?;
        Ok(documents.into_iter().zip(looks).collect())
    }

    fn attempt(
        &self,
        identity: Identity,
        pivot: Drawn,
        hidden: &Hidden,
        mut related: Vec<u64>,
    ) -> Result<Result<Document, Rejection>> {
        let mut taken = HashSet::from([pivot.passage.id]);
        related.retain(|id| taken.insert(*id));
        if related.len() < self.config.num_related {
            return Ok(Err(Rejection::TooFewRelated));
        }
        let mut fixed = vec![pivot];
        for id in related {
            fixed.push(self.drawn(id, PassageRole::Related)?);
        }
        let others =
            Others { source: self, taken, rng: rng::addressed("random", identity.seed, &[]), drawn: Vec::new() };
        self.fit(&fixed, others, hidden, identity)
    }

    /// A random passage of the split that has an eligible entity, and one of its eligible entities.
    /// Also says how many passages were looked at in vain, and why mentions of the passages that were looked at could
    /// not be hidden.
    fn pivot(&self, identity: Identity) -> Result<(Option<(Drawn, Hidden)>, Counts)> {
        let mut counts = Counts::new();
        if self.passages.is_empty() {
            return Ok((None, counts));
        }
        let mut draws = rng::addressed("pivot", identity.seed, &[]);
        for _ in 0..MAX_PIVOT_DRAWS {
            let passage = self.passages.get(draws.random_range(0..self.passages.len()))?;
            if split_of(passage.article_id, self.seed, self.config) != identity.split {
                continue;
            }
            let mentions = self.mentions.get(passage.id)?;
            let ruled_out = |cause: Ineligible| *counts.entry(cause.cause()).or_default() += 1;
            let eligible = self.eligible.of(&passage, &mentions, ruled_out);
            *counts.entry("mentions_looked_at").or_default() += mentions.entities.len() as u64;
            if eligible.is_empty() {
                *counts.entry("pivots_without_eligible").or_default() += 1;
                continue;
            }
            let choice = rng::addressed("entity", identity.seed, &[]).random_range(0..eligible.len());
            let entity = eligible[choice].clone();
            let names = entity.target.iter().flat_map(|title| self.aliases.of(title));
            let is_other = |name: &&str| *name != entity.surface && !is_in_placeholder(name);
            let aliases = names.filter(is_other).map(str::to_owned).collect();
            let hidden = Hidden { answer: entity.surface, aliases, label: entity.label };
            return Ok((Some((Drawn { passage, mentions, role: PassageRole::Pivot }, hidden)), counts));
        }
        Ok((None, counts))
    }

    fn drawn(&self, id: u64, role: PassageRole) -> Result<Drawn> {
        Ok(Drawn { passage: self.passages.get(id)?, mentions: self.mentions.get(id)?, role })
    }

    /// Finds the number of random passages, from the configured one on, that brings the document into its window.
    /// Random passages are taken as a prefix of one sequence, so more of them is always longer.
    fn fit(
        &self,
        fixed: &[Drawn],
        mut others: Others<'_>,
        hidden: &Hidden,
        identity: Identity,
    ) -> Result<Result<Document, Rejection>> {
        // Numbers known to be too few and too many.
        let (mut too_few, mut too_many): (Option<usize>, Option<usize>) = (None, None);
        let mut num_random = self.config.num_random;
        loop {
            let random = others.first(num_random)?;
            let num_random_there = random.len();
            let mut order: Vec<&Drawn> = fixed.iter().chain(random).collect();
            order.shuffle(&mut rng::addressed("order", identity.seed, &[num_random_there as u64]));
            let mut document = assemble(&order, hidden, identity, self.config);
            if is_leaking(&document) {
                return Ok(Err(Rejection::Leak));
            }
            let tokens = crate::tokenizer::count(&self.tokenizer, &document.text)?;
            let per_passage = (tokens / order.len()).max(1);
            if tokens < self.config.min_tokens {
                if num_random_there < num_random {
                    return Ok(Err(Rejection::TooShort));
                }
                too_few = Some(num_random);
                num_random += ((self.config.min_tokens - tokens) / per_passage).max(1);
            } else if tokens > self.config.max_tokens {
                if num_random_there == 0 {
                    return Ok(Err(Rejection::TooLong));
                }
                too_many = Some(num_random_there);
                num_random = num_random_there.saturating_sub(((tokens - self.config.max_tokens) / per_passage).max(1));
            } else {
                document.num_tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
                return Ok(Ok(document));
            }
            if let (Some(few), Some(many)) = (too_few, too_many) {
                if many <= few + 1 {
                    return Ok(Err(Rejection::TooLong));
                }
                num_random = num_random.clamp(few + 1, many - 1);
            }
        }
    }
}

/// The random passages of a document: one sequence without repetition, drawn as far as it is asked for.
struct Others<'a> {
    source: &'a Source<'a>,
    taken: HashSet<u64>,
    rng: rand_chacha::ChaCha8Rng,
    drawn: Vec<Drawn>,
}

impl Others<'_> {
    /// The first `count` of the sequence; fewer when the corpus has no more.
    fn first(&mut self, count: usize) -> Result<&[Drawn]> {
        let total = self.source.passages.len();
        while self.drawn.len() < count && (self.taken.len() as u64) < total {
            let id = if (self.taken.len() as u64) < total / 2 {
                self.rng.random_range(0..total)
            } else {
                // Most passages are taken: draw among the rest.
                let rest: Vec<u64> = (0..total).filter(|id| !self.taken.contains(id)).collect();
                rest[self.rng.random_range(0..rest.len())]
            };
            if self.taken.insert(id) {
                self.drawn.push(self.source.drawn(id, PassageRole::Random)?);
            }
        }
        Ok(&self.drawn[..count.min(self.drawn.len())])
    }
}
