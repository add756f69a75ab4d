//! Back-ends for entities: the trait, what one finds, and how it is checked and opened.

use std::path::Path;

use memtrain_corpora::{Entity, EntitySource, Passage};

use super::config::EntitiesConfig;
use crate::error::Result;
use crate::stage::Input;

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

/// Where the model of a back-end comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// It has none.
    None,
    /// A folder: whoever names a model of the hub puts its folder in place first.
    Folder,
    /// A folder, or a name that it fetches itself.
    FetchesItself,
}

/// A back-end as configurations choose it. Each is defined in a file of its own, and has a name in `backend_name` and a line in
/// `registry`.
pub(super) struct Backend {
    /// What the command line says of it; nothing where it finds nothing in other texts than a corpus's.
    pub(super) about: Option<&'static str>,
    pub(super) model: ModelSource,
    /// Checks its keys before any work.
    pub(super) check: fn(&EntitiesConfig) -> Result<()>,
    /// The files that it reads: where one of them is another one, what the stage has done is stale.
    pub(super) inputs: fn(&EntitiesConfig) -> Result<Vec<Input>>,
    /// Opens it, for a corpus whose ingest is committed where there is one.
    pub(super) open: Open,
}

/// Opens a back-end by its keys, for a corpus folder where there is one.
type Open = fn(&EntitiesConfig, Option<&Path>) -> Result<Box<dyn EntityBackend>>;

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
