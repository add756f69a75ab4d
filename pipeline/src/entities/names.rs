//! Names by how they are written and what stands around them.
//!
//! A name is a run of capitalised words, with the small words that join them (`Bank of England`, `Ludwig van
//! Beethoven`). What it stands for is weighed: known names, the last word (`… University`, `… River`), the first
//! (`Ana …`), titles and callings before it, what it does behind it, a definition (`X is a river`). All occurrences of a
//! name in a text are weighed together, and a family name alone takes part in what is known of the full name. The
//! weights are chosen by hand: 10 is as good as certain, 5 decides where nothing speaks against it, 1 is a leaning.

mod candidates;
mod weigh;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use memtrain_corpora::EntityLabel;

use self::candidates::Sentences;
use super::gazetteer::{Gazetteer, TargetId};
use super::lexicon::{Labels, TYPE_LABELS, bit, flag};
use super::locale::Locale;
use super::text::Text;
use super::tokens::{Kind, Shape};

/// The labels that are weighed.
const LABELS: [EntityLabel; 11] = {
    use EntityLabel::*;
    [Person, Norp, Fac, Org, Gpe, Loc, Product, Event, WorkOfArt, Law, Language]
};

/// A weight for each of [`LABELS`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weights([i32; LABELS.len()]);

impl Weights {
    pub(crate) fn add(&mut self, label: EntityLabel, weight: i32) {
        if let Some(at) = LABELS.iter().position(|known| *known == label) {
            self.0[at] += weight;
        }
    }

    /// Adds to each label of a set.
    fn add_all(&mut self, labels: Labels, weight: i32) {
        for label in LABELS {
            if labels & bit(label) != 0 {
                self.add(label, weight);
            }
        }
    }

    fn add_types(&mut self, flags: u64, weight: i32) {
        for (flag, label) in TYPE_LABELS {
            if flags & flag != 0 {
                self.add(*label, weight);
            }
        }
    }

    fn join(&mut self, other: &Weights) {
        for (sum, weight) in self.0.iter_mut().zip(other.0) {
            *sum += weight;
        }
    }

    /// The label of the largest weight with it; the first of equal ones.
    pub(crate) fn best(&self) -> (EntityLabel, i32) {
        let mut best = (EntityLabel::Unknown, 0);
        for (label, weight) in LABELS.into_iter().zip(self.0) {
            if weight > best.1 {
                best = (label, weight);
            }
        }
        best
    }
}

/// A name that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found<'g> {
    /// Its tokens.
    pub(crate) tokens: Range<usize>,
    /// What it stands for.
    pub(crate) label: EntityLabel,
    /// Pages of the corpus it can mean, with their shares in 255ths.
    pub(crate) pages: &'g [(TargetId, u8)],
}

/// A run that may be a name.
struct Candidate<'g> {
    passage: usize,
    /// Pages of the corpus it can mean.
    pages: &'g [(TargetId, u8)],
    tokens: Range<usize>,
    /// What the name itself says.
    own: Weights,
    /// What its neighbours say.
    around: Weights,
    /// Whether the beginning of a sentence alone may explain its capital.
    doubtful: bool,
    /// Whether it is a common word, which only what is said elsewhere can make a name.
    common: bool,
}

/// The names of a text that comes in passages, a list each.
pub(crate) fn find<'g>(passages: &[Text<'_>], locale: &Locale, gazetteer: &'g Gazetteer) -> Vec<Vec<Found<'g>>> {
    let mut candidates = Vec::new();
    let lower = small_words(passages, locale);
    for (number, passage) in passages.iter().enumerate() {
        Sentences { text: passage, passage: number, locale, lower: &lower, gazetteer }.candidates(&mut candidates);
    }
    let evidence = Evidence::new(passages, lower, &candidates);
    let mut found = vec![Vec::new(); passages.len()];
    for candidate in &candidates {
        let text = &passages[candidate.passage];
        if let Some(label) = evidence.decide(text, candidate) {
            found[candidate.passage].push(Found { tokens: candidate.tokens.clone(), label, pages: candidate.pages });
        }
    }
    found
}

/// The words that stand in small letters somewhere in a text, and the most frequent ones of its language.
fn small_words<'t>(passages: &[Text<'t>], locale: &Locale) -> HashSet<&'t str> {
    let mut lower: HashSet<&'t str> = locale.small_words.iter().copied().collect();
    for text in passages {
        let words = text.tokens.iter().filter(|token| token.kind == Kind::Word && token.shape == Shape::Lower);
        lower.extend(words.map(|token| &text.text[token.start..token.end]));
    }
    lower
}

/// What a whole text says about its names.
struct Evidence<'t> {
    /// Words that stand in small letters somewhere.
    lower: HashSet<&'t str>,
    /// Names with the weights of all their occurrences, and whether one of them is beyond doubt.
    names: HashMap<&'t str, (Weights, bool)>,
    /// Words of the names of persons.
    persons: HashMap<&'t str, u32>,
    /// First letters of the names of several words → what these stand for.
    acronyms: HashMap<String, EntityLabel>,
    /// Last words of longer names, which stand for these: "the League".
    heads: HashMap<&'t str, EntityLabel>,
}

impl<'t> Evidence<'t> {
    fn new(passages: &[Text<'t>], lower: HashSet<&'t str>, candidates: &[Candidate<'_>]) -> Self {
        let mut evidence = Self {
            lower,
            names: HashMap::new(),
            persons: HashMap::new(),
            acronyms: HashMap::new(),
            heads: HashMap::new(),
        };
        for candidate in candidates {
            let name = passages[candidate.passage].words(&candidate.tokens);
            // The name says the same wherever it stands, and so it counts once; each place has neighbours of its own.
            let is_new = !evidence.names.contains_key(name);
            let (weights, certain) = evidence.names.entry(name).or_default();
            if is_new {
                weights.join(&candidate.own);
                weights.join(&candidate.own);
            }
            weights.join(&candidate.around);
            *certain |= !candidate.doubtful && !candidate.common;
        }
        for candidate in candidates.iter().filter(|candidate| candidate.tokens.len() > 1) {
            let text = &passages[candidate.passage];
            let (label, weight) = evidence.names[text.words(&candidate.tokens)].0.best();
            if label == EntityLabel::Person && weight >= 3 {
                for at in candidate.tokens.clone().filter(|at| text.is_capital(*at)) {
                    *evidence.persons.entry(text.word(at)).or_default() += 1;
                }
            } else if weight >= 3 {
                let first = |at: usize| text.word(at).chars().next().filter(|c| c.is_uppercase());
                let letters: String = candidate.tokens.clone().filter_map(first).collect();
                let last = candidate.tokens.end - 1;
                if text.has(last, flag::HEADS) && label != EntityLabel::WorkOfArt {
                    evidence.heads.entry(text.word(last)).or_insert(label);
                }
                if letters.chars().count() > 1 {
                    evidence.acronyms.entry(letters).or_insert(label);
                }
            }
        }
        evidence
    }

    /// What a candidate stands for; `None` if it is no name.
    fn decide(&self, text: &Text<'_>, candidate: &Candidate<'_>) -> Option<EntityLabel> {
        let name = text.words(&candidate.tokens);
        let (sum, certain) = self.names.get(name)?;
        let mut weights = *sum;
        // What stands at this very place counts twice.
        weights.join(&candidate.around);
        if candidate.common {
            let named = self.names.get(name).filter(|(_, named)| *named).map(|(weights, _)| weights.best());
            return match (named, self.heads.get(name)) {
                (Some((label, weight)), _) if weight >= 3 => Some(label),
                (_, Some(label)) => Some(*label),
                _ if self.persons.contains_key(name) => Some(EntityLabel::Person),
                _ => None,
            };
        }
        if candidate.tokens.len() == 1 {
            if self.persons.contains_key(name) {
                weights.add(EntityLabel::Person, 8);
            }
            if let Some(label) = self.acronyms.get(name) {
                weights.add(*label, 8);
            }
            if candidate.doubtful && !self.persons.contains_key(name) {
                let lower = name.to_lowercase();
                if self.lower.contains(lower.as_str()) || (!certain && weights.best().1 < 3) {
                    return None;
                }
            }
        }
        let (label, weight) = weights.best();
        Some(if weight < 1 { EntityLabel::Unknown } else { label })
    }
}
