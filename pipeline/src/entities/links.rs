//! The back-end that needs no model: links, the corpus's own names, and rules.

use std::collections::HashSet;

use memtrain_corpora::store::ScalarIndex;
use memtrain_corpora::{Entity, EntityLabel, EntitySource, Link, Passage};

use std::path::Path;

use super::names::{self, Text};
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
        let mut found: Vec<Vec<Entity>> = passages.iter().map(|passage| self.passage(passage)).collect();
        for group in groups(passages) {
            let texts: Vec<Text<'_>> = passages[group.clone()].iter().map(|passage| Text::new(&passage.text)).collect();
            for (at, names) in group.zip(names::find(&texts).into_iter().zip(&texts)) {
                let index = ScalarIndex::new(&passages[at].text);
                let (names, text) = names;
                for name in names {
                    let span = text.tokens[name.tokens.start].start..text.tokens[name.tokens.end - 1].end;
                    found[at].extend(Entity::new(&index, span, name.label, EntitySource::Gazetteer, None));
                }
                found[at] = without_overlaps(std::mem::take(&mut found[at]));
            }
        }
        Ok(found)
    }
}

/// Runs of passages of one article.
fn groups(passages: &[Passage]) -> Vec<std::ops::Range<usize>> {
    let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, passage) in passages.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if passages[group.start].article_id == passage.article_id => group.end = at + 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}
