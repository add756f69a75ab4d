//! Which mentions of a pivot may be hidden, and in which split a pivot is.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use memtrain_corpora::mask::{Matching, is_whole_word, occurrences};
use memtrain_corpora::{Entity, EntityLabel, Passage, PassageEntities, Split, document, rng};
use rand::Rng;

use crate::config::{EligibleConfig, SynthesizeConfig};
use crate::error::Result;
use crate::stage::StageName;
use crate::tables::Mentions;

/// The rules of [`EligibleConfig`], ready to be applied.
pub(crate) struct Eligible {
    labels: HashSet<EntityLabel>,
    min_chars: usize,
    max_chars: usize,
    stop_list: HashSet<String>,
    min_passages: u32,
    max_passages: u32,
    /// Hash of a surface → passages that mention it; absent when there are no bounds.
    frequencies: Option<HashMap<u64, u32>>,
}

impl Eligible {
    /// Counts surfaces over the corpus where the configuration bounds them.
    pub(crate) fn open(config: &EligibleConfig, out: &Path) -> Result<Self> {
        let bounded = config.min_passages > 1 || config.max_passages > 0;
        let mut eligible = Self::without_frequencies(config);
        if bounded {
            let mut frequencies = HashMap::new();
            for row in Mentions::rows(out, StageName::Synthesize)? {
                let surfaces: HashSet<u64> = row?.entities.iter().map(|entity| key(&entity.surface)).collect();
                for surface in surfaces {
                    *frequencies.entry(surface).or_default() += 1;
                }
            }
            eligible.frequencies = Some(frequencies);
        }
        Ok(eligible)
    }

    /// The rules without bounds on frequencies.
    pub(crate) fn without_frequencies(config: &EligibleConfig) -> Self {
        Self {
            labels: config.labels.iter().copied().collect(),
            min_chars: config.min_chars,
            max_chars: config.max_chars,
            stop_list: config.stop_list.iter().map(|surface| surface.to_lowercase()).collect(),
            min_passages: config.min_passages,
            max_passages: if config.max_passages == 0 { u32::MAX } else { config.max_passages },
            frequencies: None,
        }
    }

    /// The eligible entities of a passage, each surface once, in order of first mention.
    pub(crate) fn of<'m>(&self, passage: &Passage, mentions: &'m PassageEntities) -> Vec<&'m Entity> {
        let mut seen = HashSet::new();
        let fits = |entity: &Entity| is_whole_word(&passage.text, &entity.span) && self.fits(entity);
        mentions.entities.iter().filter(|entity| fits(entity) && seen.insert(&entity.surface)).collect()
    }

    fn fits(&self, entity: &Entity) -> bool {
        let surface = &entity.surface;
        let chars = surface.chars().count();
        // Linked common nouns ("river") are no names; scripts without case pass.
        let lower_case = surface.chars().find(|c| c.is_alphabetic()).is_some_and(char::is_lowercase);
        let frequency = self.frequencies.as_ref().and_then(|counts| counts.get(&key(surface))).copied();
        self.labels.contains(&entity.label)
            && (self.min_chars..=self.max_chars).contains(&chars)
            && !lower_case
            && !surface.contains('\n')
            && !self.stop_list.contains(&surface.to_lowercase())
            && frequency.is_none_or(|count| (self.min_passages..=self.max_passages).contains(&count))
            && !is_in_placeholder(surface)
    }
}

/// Whether a surface occurs in a placeholder itself, so that hiding it would never end.
pub(crate) fn is_in_placeholder(surface: &str) -> bool {
    let placeholders = format!("{} {}", document::MASK, document::TARGET);
    !occurrences(&placeholders, surface, Matching { case_sensitive: false }).is_empty()
}

fn key(surface: &str) -> u64 {
    // The standard hasher has fixed keys; two surfaces that share a hash would only share a count.
    let mut hasher = DefaultHasher::new();
    surface.hash(&mut hasher);
    hasher.finish()
}

/// The split in which the passages of an article may be pivots.
pub(crate) fn split_of(article_id: u64, seed: u64, config: &SynthesizeConfig) -> Split {
    let share: f64 = rng::addressed("split", seed, &[article_id]).random();
    if share < config.heldout_fraction { Split::Heldout } else { Split::Train }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::EntitySource;

    use super::*;

    fn eligible(text: &str, surfaces: &[&str]) -> Vec<String> {
        let entities = surfaces
            .iter()
            .map(|surface| {
                let start = text.find(surface).unwrap();
                Entity {
                    span: start..start + surface.len(),
                    char_start: u32::try_from(text[..start].chars().count()).unwrap(),
                    surface: (*surface).to_owned(),
                    label: EntityLabel::Unknown,
                    source: EntitySource::Link,
                    target: None,
                }
            })
            .collect();
        let passage = Passage {
            id: 0,
            article_id: 0,
            url: String::new(),
            title: String::new(),
            section: String::new(),
            text: text.into(),
            span: 0..text.len(),
            char_start: 0,
            num_words: 0,
            revision_id: 0,
            links: Vec::new(),
        };
        let config = EligibleConfig { stop_list: vec!["paris".into()], ..EligibleConfig::default() };
        let mentions = PassageEntities { passage_id: 0, entities };
        let rules = Eligible::without_frequencies(&config);
        rules.of(&passage, &mentions).into_iter().map(|entity| entity.surface.clone()).collect()
    }

    #[test]
    fn names_only() {
        let text = "The Mask of Oslo and Paris by the river near Ut, Bergenser; 北京市 Oslo";
        let found = eligible(text, &["Mask", "Oslo", "Paris", "river", "Ut", "Bergen", "北京市", "Oslo"]);
        assert_eq!(found, ["Oslo", "北京市"]);
    }

    #[test]
    fn splits_are_stable_and_of_the_size_asked_for() {
        let config = SynthesizeConfig { heldout_fraction: 0.25, ..SynthesizeConfig::default() };
        let heldout = (0..4000).filter(|&id| split_of(id, 3, &config) == Split::Heldout).count();
        assert!((850..1150).contains(&heldout), "{heldout}");
        assert_eq!(split_of(17, 3, &config), split_of(17, 3, &config));
    }
}
