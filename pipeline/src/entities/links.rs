//! The back-end that needs no model: links, the corpus's own names, and rules.

use std::collections::HashSet;

use memtrain_corpora::store::ScalarIndex;
use memtrain_corpora::{Entity, EntityLabel, EntitySource, Link, Passage};

use std::path::Path;

use super::{EntityBackend, Gazetteer, GazetteerBuilder, rules, stop_words, without_overlaps};
use crate::config::EntitiesConfig;
use crate::error::Result;
use crate::stage::StageName;

/// Finds link anchors, then names of the [`Gazetteer`], then what the rules find.
pub struct LinksBackend {
    gazetteer: Gazetteer,
    stop_words: HashSet<String>,
    rules: bool,
}

impl LinksBackend {
    /// A back-end over the names of the corpus at `corpus`, or over none.
    pub(crate) fn open(config: &EntitiesConfig, corpus: Option<&Path>) -> Result<Self> {
        let gazetteer = match corpus {
            Some(out) => super::gazetteer(out, config, StageName::Entities)?,
            None => GazetteerBuilder::new(config).build(),
        };
        tracing::info!(names = gazetteer.len(), "gazetteer of the corpus");
        Ok(Self::new(gazetteer, config))
    }

    /// A back-end over the names of a corpus.
    pub fn new(gazetteer: Gazetteer, config: &EntitiesConfig) -> Self {
        Self { gazetteer, stop_words: stop_words(config), rules: config.rules }
    }

    fn passage(&self, passage: &Passage) -> Vec<Entity> {
        let index = ScalarIndex::new(&passage.text);
        let mut found: Vec<Entity> = passage.links.iter().filter_map(|link| self.link(&index, link)).collect();
        found.extend(self.gazetteer.find(&index, &passage.title));
        if self.rules {
            found.extend(rules::find(&index));
        }
        without_overlaps(found)
    }

    fn link(&self, index: &ScalarIndex, link: &Link) -> Option<Entity> {
        let anchor = index.text().get(link.span.clone())?;
        let surface = anchor.trim();
        let start = link.span.start + (anchor.len() - anchor.trim_start().len());
        let is_word = surface.chars().any(char::is_alphanumeric) && !surface.contains('\n');
        if !is_word || self.stop_words.contains(&surface.to_lowercase()) {
            return None;
        }
        let target = self.gazetteer.resolve(&link.target);
        let label = match self.gazetteer.label(target) {
            EntityLabel::Unknown => rules::classify(surface).unwrap_or(EntityLabel::Unknown),
            label => label,
        };
        Entity::new(index, start..start + surface.len(), label, EntitySource::Link, Some(target.to_owned()))
    }
}

impl EntityBackend for LinksBackend {
    fn name(&self) -> &'static str {
        "links"
    }

    fn mentions(&self, passages: &[Passage]) -> Result<Vec<Vec<Entity>>> {
        Ok(passages.iter().map(|passage| self.passage(passage)).collect())
    }
}
