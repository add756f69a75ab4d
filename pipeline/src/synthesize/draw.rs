//! Drawing one document: pivot, hidden entity, related and random passages, order, token window.
//!
//! Every generator is keyed by the document's own seed, which comes from (run seed, split, number, attempt): nothing
//! depends on which other documents were made, or in what order.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Instant;

use memtrain_corpora::{Document, Entity, Mention, Passage, PassageEntities, PassageRole, Split, rng};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::assemble::{Hidden, Identity, assemble, is_leaking};
use super::eligible::{Ineligible, is_in_placeholder};
use super::evidence::{MAX_TARGETS, Target};
use super::material::{HeldOut, Material, PassageSet, fetch, threads};
use super::source::{Pivot, Source, is_in};
use crate::config::Selection;
use crate::error::{PipelineError, Result};
use crate::stage::{Progress, StageName};

/// Passages that are looked at before a pivot is given up on.
const MAX_PIVOT_DRAWS: usize = 20_000;
/// Drafts that may be rejected in a row: of one in two hundred that is good, so many are a matter of chance once in 20,000 times.
const MAX_REJECTED: u64 = 2_000;
/// A draft without a pivot counts as so many: each has looked at all its passages, and the next one will.
const OF_NO_PIVOT: u64 = 50;

/// Counts by name.
type Counts = BTreeMap<&'static str, u64>;

/// Why a drawn document is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// No passage of the split has an eligible entity.
    NoPivot,
    /// Too few passages mention any of the pivot's entities that were tried.
    NoEvidence,
    /// Retrieval gave fewer passages than asked for.
    TooFewRelated,
    /// The hidden words still stand in the text in another form.
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
            Self::NoEvidence => "rejected_no_evidence",
            Self::TooFewRelated => "rejected_too_few_related",
            Self::Leak => "rejected_leak",
            Self::TooShort => "rejected_too_short",
            Self::TooLong => "rejected_too_long",
        }
    }
}

/// The drafts of a shard that were rejected since the last good one.
#[derive(Default)]
pub(crate) struct RejectedInARow {
    weight: u64,
    causes: BTreeMap<&'static str, u64>,
}

impl RejectedInARow {
    /// Takes what became of a draft.
    ///
    /// # Errors
    /// [`PipelineError::Rejected`] when there were too many.
    fn take(&mut self, split: Split, rejection: Option<Rejection>) -> Result<()> {
        let Some(rejection) = rejection else {
            *self = Self::default();
            return Ok(());
        };
        self.weight += if rejection == Rejection::NoPivot { OF_NO_PIVOT } else { 1 };
        *self.causes.entry(rejection.cause()).or_default() += 1;
        if self.weight < MAX_REJECTED {
            return Ok(());
        }
        let causes = self.causes.iter().map(|(cause, count)| ((*cause).to_owned(), *count)).collect();
        Err(PipelineError::Rejected { split: split.as_str(), causes })
    }
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
    /// The documents of a round are looked up in the index together and their passages read together, which is much less
    /// work for each than alone.
    ///
    /// # Errors
    /// [`PipelineError::Rejected`] if too many drafts in a row are no good; [`PipelineError::Stopped`] between two rounds.
    pub(crate) fn documents(
        &self,
        split: Split,
        numbers: Range<u64>,
        in_a_row: &mut RejectedInARow,
        progress: &dyn Progress,
    ) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Outcome> = numbers.clone().map(|_| Outcome::default()).collect();
        for attempt in 0..self.config.max_attempts {
            let identity = |(number, outcome): (u64, &Outcome)| {
                let address = [u64::from(split == Split::Heldout), number, u64::from(attempt)];
                let seed = rng::keyed("document", self.seed, &address).random();
                let open = outcome.document.is_none() && !outcome.given_up;
                open.then_some(Identity { split, number, seed })
            };
            let open: Vec<Identity> = numbers.clone().zip(&outcomes).filter_map(identity).collect();
            if open.is_empty() {
                break;
            }
            if progress.stopping() {
                return Err(PipelineError::Stopped);
            }
            let mut rejected = 0;
            for (identity, (drawn, looks)) in open.iter().zip(self.round(&open, progress)?) {
                let at = usize::try_from(identity.number - numbers.start).unwrap_or(usize::MAX);
                in_a_row.take(split, drawn.as_ref().err().copied())?;
                rejected += u64::from(drawn.is_err());
                outcomes[at].take(drawn, self.config.num_random);
                *outcomes[at].counts.entry("attempts").or_default() += 1;
                for (cause, count) in looks {
                    *outcomes[at].counts.entry(cause).or_default() += count;
                }
            }
            progress.rejected(rejected);
        }
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.document.is_none()) {
            outcome.counts.insert("documents_missing", 1);
        }
        Ok(outcomes)
    }

    /// One attempt at each of some documents.
    fn round(
        &self,
        identities: &[Identity],
        progress: &dyn Progress,
    ) -> Result<Vec<(Result<Document, Rejection>, Counts)>> {
        let (pivots, looks) = self.pivots(identities, progress)?;
        let ids: Vec<Option<u64>> = pivots.iter().map(|pivot| pivot.as_ref().map(|pivot| pivot.id)).collect();
        let started = Instant::now();
        let targets = self.targets(pivots)?;
        progress.spent(StageName::Synthesize, "find evidence", started.elapsed() * threads());
        let chosen = ids.iter().zip(&targets).filter(|(_, target)| target.is_some());
        let chosen: Vec<u64> = chosen.filter_map(|(id, _)| *id).collect();
        let started = Instant::now();
        let num_similar = self.num_similar();
        let mut similar = self.retriever.related(&chosen, num_similar)?.into_iter();
        progress.spent(StageName::Synthesize, "find related", started.elapsed() * threads());
        let mut drafts: Vec<Result<Draft, Rejection>> = Vec::with_capacity(identities.len());
        for ((&identity, pivot), target) in identities.iter().zip(ids).zip(targets) {
            drafts.push(match (pivot, target) {
                (None, _) => Err(Rejection::NoPivot),
                (Some(_), None) => Err(Rejection::NoEvidence),
                (Some(pivot), Some(target)) => {
                    self.draft(identity, pivot, target, &similar.next().unwrap_or_default())?
                }
            });
        }
        let ids = drafts.iter().flatten().flat_map(|draft| draft.fixed.iter().chain(&draft.others.drawn).copied());
        let shared = fetch(&self.passages, &self.mentions, ids.collect(), progress)?;
        let documents: Vec<_> = drafts
            .into_par_iter()
            .map(|draft| match draft {
                Ok(draft) => self.fit(draft, &shared, progress),
                Err(rejection) => Ok(Err(rejection)),
            })
            .collect::<Result<_>>()?;
        Ok(documents.into_iter().zip(looks).collect())
    }

    /// For each document a random passage of its split that has an eligible entity, and one of its eligible entities. The
    /// candidates of a step are read together. Also says, for each document, how many passages were looked at in vain, and
    /// why mentions of the passages that were looked at could not be hidden.
    fn pivots(&self, identities: &[Identity], progress: &dyn Progress) -> Result<(Vec<Option<Pivot>>, Vec<Counts>)> {
        let mut looks = vec![Counts::new(); identities.len()];
        let mut pivots: Vec<Option<Pivot>> = identities.iter().map(|_| None).collect();
        let mut open: Vec<(usize, Candidates)> =
            identities.iter().map(|&identity| Candidates::new(identity)).enumerate().collect();
        loop {
            let mut asked: Vec<(u64, usize)> =
                open.iter_mut().filter_map(|(at, candidates)| Some((candidates.next(&self.held_out)?, *at))).collect();
            if asked.is_empty() {
                return Ok((pivots, looks));
            }
            if progress.stopping() {
                return Err(PipelineError::Stopped);
            }
            // Nothing is done yet, and this may take long where few passages will do.
            progress.rejected(0);
            asked.sort_unstable();
            let mut ids: Vec<u64> = asked.iter().map(|&(id, _)| id).collect();
            ids.dedup();
            let started = Instant::now();
            let passages = self.passages.get_many::<Passage>(&ids)?;
            let mentions = self.mentions.get_many::<PassageEntities>(&ids)?;
            progress.spent(StageName::Synthesize, "draw pivots", started.elapsed() * threads());
            for (id, at) in asked {
                let Ok(found) = ids.binary_search(&id) else { continue };
                let entities = self.entities(identities[at], &passages[found], &mentions[found], &mut looks[at]);
                pivots[at] = (!entities.is_empty()).then_some(Pivot { id, entities });
            }
            open.retain(|(at, _)| pivots[*at].is_none());
        }
    }

    /// Eligible entities of a pivot in the order in which they are tried as the target; counts why others are none.
    fn entities(
        &self,
        identity: Identity,
        passage: &Passage,
        mentions: &PassageEntities,
        counts: &mut Counts,
    ) -> Vec<Hidden> {
        let ruled_out = |cause: Ineligible| *counts.entry(cause.cause()).or_default() += 1;
        let mut eligible = self.eligible.of(passage, mentions, ruled_out);
        *counts.entry("mentions_looked_at").or_default() += mentions.entities.len() as u64;
        if eligible.is_empty() {
            *counts.entry("pivots_without_eligible").or_default() += 1;
            return Vec::new();
        }
        let mut rng = rng::keyed("entity", identity.seed, &[]);
        let first = rng.random_range(0..eligible.len());
        eligible.swap(0, first);
        eligible[1..].shuffle(&mut rng);
        eligible.truncate(if self.config.evidence.min_passages == 0 { 1 } else { MAX_TARGETS });
        let hidden = |entity: &Entity| {
            let names = entity.target.iter().flat_map(|title| self.aliases.of(title));
            let is_other = |name: &&str| *name != entity.surface && !is_in_placeholder(name);
            let aliases = names.filter(is_other).map(str::to_owned).collect();
            Hidden { answer: entity.surface.clone(), aliases, label: entity.label, inflected: self.inflected }
        };
        eligible.into_iter().map(hidden).collect()
    }

    /// A document's passages by number: pivot and related ones, and the first random ones.
    fn draft(
        &self,
        identity: Identity,
        pivot: u64,
        target: Target,
        similar: &[u64],
    ) -> Result<Result<Draft, Rejection>> {
        let mut taken = HashSet::from([pivot]);
        let related = self.choose_related(pivot, &target.mentioned_in, similar, &mut taken)?;
        if related.len() < self.config.num_related {
            return Ok(Err(Rejection::TooFewRelated));
        }
        let mut others = Others {
            total: self.held_out.len(),
            taken,
            rng: rng::keyed("random", identity.seed, &[]),
            drawn: Vec::new(),
        };
        others.draw(self.config.num_random, self.pool.as_ref());
        let fixed = std::iter::once(pivot).chain(related).collect();
        Ok(Ok(Draft { identity, hidden: target.hidden, fixed, others }))
    }

    /// Finds the number of random passages, from the configured one on, that brings the document into its window.
    /// Random passages are taken as a prefix of one sequence, so more of them is always longer. `shared` holds the
    /// passages of the draft, by number, among others.
    fn fit(&self, draft: Draft, shared: &[Material], progress: &dyn Progress) -> Result<Result<Document, Rejection>> {
        let Draft { identity, hidden, fixed, mut others } = draft;
        let mut more: Vec<Material> = Vec::new();
        // Numbers known to be too few and too many.
        let (mut too_few, mut too_many): (Option<usize>, Option<usize>) = (None, None);
        let mut num_random = self.config.num_random;
        let is_eligible = |mention: &Mention| self.eligible.check(&mention.surface, mention.label).is_ok();
        let listed = |mention: &Mention| self.config.entities == Selection::All || is_eligible(mention);
        loop {
            let random = others.draw(num_random, self.pool.as_ref());
            let num_random_there = random.len();
            let missing: Vec<u64> = random.iter().copied().filter(|&id| find(shared, &more, id).is_none()).collect();
            if !missing.is_empty() {
                more.extend(fetch(&self.passages, &self.mentions, missing, progress)?);
                more.sort_unstable_by_key(|material| material.id);
            }
            let mut order = places(&fixed, random, shared, &more);
            order.shuffle(&mut rng::keyed("order", identity.seed, &[num_random_there as u64]));
            let mut document = timed(progress, "mask", || assemble(&order, &hidden, identity, self.config, &listed));
            if timed(progress, "look for leaks", || is_leaking(&document)) {
                return Ok(Err(Rejection::Leak));
            }
            let tokens = timed(progress, "count tokens", || crate::tokenizer::count(&self.tokenizer, &document.text))?;
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

/// Runs a step and reports what it took.
fn timed<T>(progress: &dyn Progress, step: &'static str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    progress.spent(StageName::Synthesize, step, started.elapsed());
    result
}

/// A passage among those at hand, which rise by number.
fn find<'m>(shared: &'m [Material], more: &'m [Material], id: u64) -> Option<&'m Material> {
    [shared, more]
        .into_iter()
        .find_map(|materials| materials.binary_search_by_key(&id, |material| material.id).ok().map(|at| &materials[at]))
}

/// The passages of a document with their roles: pivot, related ones, random ones.
fn places<'m>(
    fixed: &[u64],
    random: &[u64],
    shared: &'m [Material],
    more: &'m [Material],
) -> Vec<(&'m Material, PassageRole)> {
    let roles = std::iter::once(PassageRole::Pivot).chain(std::iter::repeat(PassageRole::Related));
    let fixed = fixed.iter().zip(roles);
    let random = random.iter().map(|id| (id, PassageRole::Random));
    fixed.chain(random).filter_map(|(&id, role)| Some((find(shared, more, id)?, role))).collect()
}

/// A document whose passages are drawn but not read.
struct Draft {
    identity: Identity,
    hidden: Hidden,
    /// The pivot, then the related passages.
    fixed: Vec<u64>,
    others: Others,
}

/// The passages that are tried as pivot of a document, one after the other.
struct Candidates {
    identity: Identity,
    rng: ChaCha8Rng,
    left: usize,
}

impl Candidates {
    fn new(identity: Identity) -> Self {
        Self { identity, rng: rng::keyed("pivot", identity.seed, &[]), left: MAX_PIVOT_DRAWS }
    }

    /// The next passage of the document's split; `None` once enough were looked at.
    fn next(&mut self, held_out: &HeldOut) -> Option<u64> {
        while self.left > 0 && held_out.len() > 0 {
            self.left -= 1;
            let id = self.rng.random_range(0..held_out.len());
            if held_out.split(id) == self.identity.split {
                return Some(id);
            }
        }
        None
    }
}

/// The random passages of a document: one sequence without repetition, drawn as far as it is asked for.
struct Others {
    /// Passages of the corpus.
    total: u64,
    taken: HashSet<u64>,
    rng: ChaCha8Rng,
    drawn: Vec<u64>,
}

impl Others {
    /// The first `count` of the sequence that are in the pool; fewer when it has no more.
    fn draw(&mut self, count: usize, pool: Option<&PassageSet>) -> &[u64] {
        let total = self.total;
        while self.drawn.len() < count && (self.taken.len() as u64) < total {
            let id = if (self.taken.len() as u64) < total / 2 {
                self.rng.random_range(0..total)
            } else {
                // Most passages are taken: draw among the rest.
                let rest: Vec<u64> = (0..total).filter(|id| !self.taken.contains(id)).collect();
                rest[self.rng.random_range(0..rest.len())]
            };
            if self.taken.insert(id) && is_in(pool, id) {
                self.drawn.push(id);
            }
        }
        &self.drawn[..count.min(self.drawn.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_given_up_after_too_many_in_a_row() {
        let mut in_a_row = RejectedInARow::default();
        let mut take = |rejection: Option<Rejection>, times: u64| {
            (0..times).try_for_each(|_| in_a_row.take(Split::Heldout, rejection))
        };
        take(Some(Rejection::Leak), MAX_REJECTED - 1).unwrap();
        take(None, 1).unwrap();
        take(Some(Rejection::TooShort), MAX_REJECTED - 2 * OF_NO_PIVOT).unwrap();
        take(Some(Rejection::NoPivot), 1).unwrap();
        let error = take(Some(Rejection::NoPivot), 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the last 1902 drafts of heldout documents were rejected: too short 1900, no pivot 2"
        );
        assert!(error.hint().is_some_and(|hint| hint.starts_with("lower `corpus.synthesize.min_tokens`, or let ")));
    }
}
