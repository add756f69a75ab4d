//! Choice of the back-end that finds the mentions, by its name in the configuration.

use std::path::Path;

use memtrain_corpora::{Entity, EntitySource, Passage};

use super::{bert, links};
use crate::config::{BackendName, EntitiesConfig};
use crate::error::{PipelineError, Result};

/// Finds the mentions in passages: links, names and rules here, token-classification models elsewhere.
pub trait EntityBackend: Send + Sync {
    /// Name, as in the configuration.
    fn name(&self) -> &'static str;

    /// The mentions of each passage, in order and without overlap (see [`without_overlaps`]).
    ///
    /// Passages that follow one another and share their `article_id` are one text: what is said at one place of it may
    /// be used at another. Callers hand over whole articles where they can.
    fn mentions(&self, passages: &[Passage]) -> Result<Vec<Vec<Entity>>>;
}

/// Opens the back-end that `config` names. `corpus` is the folder of a corpus whose ingest is committed; the `links`
/// back-end takes its names from there, and works without one by the words it knows.
///
/// # Errors
/// If the corpus or the model cannot be read, or the back-end is not in this build.
pub fn open_backend(config: &EntitiesConfig, corpus: Option<&Path>) -> Result<Box<dyn EntityBackend>> {
    match config.backend {
        BackendName::Links => Ok(Box::new(links::LinksBackend::open(config, corpus)?)),
        BackendName::Bert => Ok(Box::new(bert::BertBackend::open(config)?)),
        BackendName::Spans => Err(PipelineError::Config {
            key: "entities.backend",
            problem: "is `spans`: the file has the mentions of the corpus's passages, and of no other text".into(),
        }),
        #[cfg(feature = "rust-bert")]
        BackendName::RustBert => Ok(Box::new(super::rust_bert::RustBertBackend::open(config)?)),
        #[cfg(not(feature = "rust-bert"))]
        BackendName::RustBert => Err(PipelineError::Config {
            key: "corpus.entities.backend",
            problem: "names `rust-bert`, which is not in this build: build with `--features rust-bert` and libtorch \
                      (rust-bert/README.md), or take `bert`, which needs neither"
                .into(),
        }),
    }
}

/// Keeps mentions that do not overlap, in order of their places: the longest first; of equally long ones a link before a
/// model's find before a name before a rule before a shape; then the earliest.
pub fn without_overlaps(mut found: Vec<Entity>) -> Vec<Entity> {
    let rank = |source: EntitySource| match source {
        EntitySource::Link => 0,
        EntitySource::Model => 1,
        EntitySource::Gazetteer => 2,
        EntitySource::Rule => 3,
        EntitySource::Shape => 4,
    };
    found.sort_by_key(|entity| (std::cmp::Reverse(entity.span.len()), rank(entity.source), entity.span.start));
    let mut kept: std::collections::BTreeMap<usize, Entity> = std::collections::BTreeMap::new();
    for entity in found {
        let before = kept.range(..entity.span.end).next_back();
        if before.is_none_or(|(_, other)| other.span.end <= entity.span.start) && !entity.span.is_empty() {
            kept.insert(entity.span.start, entity);
        }
    }
    kept.into_values().collect()
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::EntityLabel;
    use proptest::prelude::*;

    use super::*;

    fn entity(start: usize, end: usize, source: EntitySource) -> Entity {
        let char_start = u32::try_from(start).unwrap();
        Entity {
            span: start..end,
            char_start,
            surface: "x".repeat(end - start),
            label: EntityLabel::Unknown,
            source,
            target: None,
        }
    }

    #[test]
    fn longest_then_link_then_earliest() {
        use EntitySource::{Gazetteer, Link, Rule};
        let kept = without_overlaps(vec![
            entity(0, 4, Rule),
            entity(0, 4, Link),
            entity(2, 9, Gazetteer),
            entity(9, 10, Rule),
            entity(4, 6, Link),
        ]);
        let spans: Vec<_> = kept.iter().map(|e| (e.span.clone(), e.source)).collect();
        assert_eq!(spans, [(2..9, Gazetteer), (9..10, Rule)]);
        let kept = without_overlaps(vec![entity(0, 4, Rule), entity(0, 4, Link)]);
        assert_eq!(kept[0].source, Link);
    }

    proptest! {
        #[test]
        fn nothing_overlaps_and_nothing_free_is_lost(spans in proptest::collection::vec((0usize..40, 1usize..9), 0..20)) {
            let all: Vec<_> = spans.iter().map(|&(at, len)| entity(at, at + len, EntitySource::Rule)).collect();
            let kept = without_overlaps(all.clone());
            for pair in kept.windows(2) {
                prop_assert!(pair[0].span.end <= pair[1].span.start);
            }
            for entity in all {
                prop_assert!(kept.iter().any(|k| k.span.start < entity.span.end && entity.span.start < k.span.end
                    && k.span.len() >= entity.span.len()));
            }
        }
    }
}
