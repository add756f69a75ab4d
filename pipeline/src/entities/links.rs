//! The back-end that needs no model: links, the corpus's own names, names by their shape, and rules.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memtrain_corpora::store::ScalarIndex;
use memtrain_corpora::{Entity, EntityLabel, EntitySource, Link, Passage};

use super::backend::{Backend, EntityBackend, ModelSource, without_overlaps};
use super::gazetteer::TargetId;
use super::locale::Locale;
use super::names::{self, Found};
use super::rules::{self, Amount};
use super::text::Text;
use super::titles::without_qualifier;
use super::{EntitiesConfig, Gazetteer, GazetteerBuilder, stop_words};
use crate::error::Result;
use crate::stage::StageName;

/// What a page that the text links to gains over others of the same name, in 255ths of a share.
const LINKED_HERE: i32 = 160;

/// Finds link anchors, then names of the [`Gazetteer`] and by their shape, then what the rules find.
pub struct LinksBackend {
    gazetteer: Gazetteer,
    stop_words: HashSet<String>,
    rules: bool,
    /// Of the corpus or the configuration; without, each text is looked at.
    locale: Option<Arc<Locale>>,
}

/// Links, a gazetteer of titles, redirects and anchors, and rules.
pub(super) const BACKEND: Backend = Backend {
    about: Some("Links, names, rules; no model"),
    model: ModelSource::None,
    check: |_| Ok(()),
    inputs: |_| Ok(Vec::new()),
    open: |config, corpus| Ok(Box::new(LinksBackend::open(config, corpus)?)),
};

impl LinksBackend {
    /// A back-end over the names of the corpus at `corpus`, or over none.
    pub(crate) fn open(config: &EntitiesConfig, corpus: Option<&Path>) -> Result<Self> {
        let Some(out) = corpus else {
            return Ok(Self::new(GazetteerBuilder::new(config).build(), config));
        };
        let config = super::with_language(config, out, StageName::Entities)?;
        let mut gazetteer = super::gazetteer(out, &config, StageName::Entities)?;
        super::count_links(&mut gazetteer, out)?;
        let bytes = gazetteer.bytes() / gazetteer.len().max(1);
        tracing::debug!(
            names = gazetteer.len(),
            bytes_per_name = bytes,
            language = config.language,
            "names of the corpus"
        );
        Ok(Self::new(gazetteer, &config))
    }

    /// A back-end over the names of a corpus.
    pub fn new(gazetteer: Gazetteer, config: &EntitiesConfig) -> Self {
        let locale = (!config.language.is_empty()).then(|| Locale::of(&config.language));
        Self { gazetteer, stop_words: stop_words(config), rules: config.rules, locale }
    }

    /// The mentions in the passages of one text.
    fn text(&self, passages: &[Passage], locale: &Locale) -> Vec<Vec<Entity>> {
        let mut texts: Vec<Text<'_>> = passages.iter().map(|passage| Text::new(&passage.text, locale)).collect();
        let amounts: Vec<Vec<Amount>> =
            texts.iter().map(|text| if self.rules { rules::find(text, locale) } else { Vec::new() }).collect();
        for (text, amounts) in texts.iter_mut().zip(&amounts) {
            // A bare number may be part of a name (`Apollo 11`), a date or an amount is none.
            let whole = amounts.iter().filter(|amount| amount.tokens.len() > 1 || amount.label == EntityLabel::Date);
            whole.for_each(|amount| text.take(&amount.tokens));
        }
        let names = names::find(&texts, locale, &self.gazetteer);
        let context = Context::new(&self.gazetteer, passages);
        let all = passages.iter().zip(&texts).zip(names).zip(amounts);
        all.map(|(((passage, text), names), amounts)| {
            let index = ScalarIndex::new(&passage.text);
            let names: Vec<Entity> = names
                .iter()
                .filter_map(|name| context.entity(&index, text.span(&name.tokens), name, passage))
                .collect();
            let kinds: HashMap<(usize, usize), EntityLabel> =
                names.iter().map(|name| ((name.span.start, name.span.end), name.label)).collect();
            let mut found: Vec<Entity> =
                passage.links.iter().filter_map(|link| self.link(&index, link, &kinds, locale)).collect();
            found.extend(names);
            found.extend(amounts.into_iter().filter_map(|amount| {
                Entity::new(&index, text.span(&amount.tokens), amount.label, EntitySource::Rule, None)
            }));
            without_overlaps(found)
        })
        .collect()
    }

    /// The anchor of a link; what its page is, or else what the words look like.
    fn link(
        &self,
        index: &ScalarIndex,
        link: &Link,
        kinds: &HashMap<(usize, usize), EntityLabel>,
        locale: &Locale,
    ) -> Option<Entity> {
        let anchor = index.text().get(link.span.clone())?;
        let surface = anchor.trim();
        let start = link.span.start + (anchor.len() - anchor.trim_start().len());
        let is_word = surface.chars().any(char::is_alphanumeric) && !surface.contains('\n');
        if !is_word || self.stop_words.contains(&surface.to_lowercase()) {
            return None;
        }
        let span = start..start + surface.len();
        let target = self.gazetteer.resolve(&link.target);
        let label = match self.gazetteer.label(target) {
            EntityLabel::Unknown => {
                let looks = kinds.get(&(span.start, span.end)).copied();
                looks.or_else(|| rules::classify(surface, locale)).unwrap_or(EntityLabel::Unknown)
            }
            label => label,
        };
        Entity::new(index, span, label, EntitySource::Link, Some(target.to_owned()))
    }
}

impl EntityBackend for LinksBackend {
    fn name(&self) -> &'static str {
        "links"
    }

    fn mentions(&self, passages: &[Passage]) -> Result<Vec<Vec<Entity>>> {
        let locale = self.locale.clone().unwrap_or_else(|| Locale::of(rules::language_of(passages)));
        Ok(texts(passages).into_iter().flat_map(|text| self.text(&passages[text], &locale)).collect())
    }
}

/// What a text links to, and so speaks of.
struct Context<'g> {
    gazetteer: &'g Gazetteer,
    linked: HashSet<TargetId>,
    /// Last word of a linked person's name → the person; `None` where two share it.
    persons: HashMap<String, Option<TargetId>>,
}

impl<'g> Context<'g> {
    fn new(gazetteer: &'g Gazetteer, passages: &[Passage]) -> Self {
        let mut context = Self { gazetteer, linked: HashSet::new(), persons: HashMap::new() };
        for passage in passages {
            for link in &passage.links {
                let Some(page) = gazetteer.page(&link.target) else { continue };
                context.linked.insert(page);
                let anchor = passage.text.get(link.span.clone()).unwrap_or_default();
                context.person(page, anchor);
            }
        }
        if let Some((first, page)) = passages.first().and_then(|first| Some((first, gazetteer.page(&first.title)?))) {
            context.linked.insert(page);
            context.person(page, without_qualifier(&first.title));
        }
        context
    }

    fn person(&mut self, page: TargetId, name: &str) {
        let mut words = name.split_whitespace();
        if self.gazetteer.label_of(page) == EntityLabel::Person
            && let (Some(_), Some(last)) = (words.next(), words.last())
        {
            let known = self.persons.entry(last.to_owned()).or_insert(Some(page));
            if *known != Some(page) {
                *known = None;
            }
        }
    }

    /// A name as an entity, with the page it means.
    fn entity(&self, index: &ScalarIndex, span: Range<usize>, name: &Found<'_>, passage: &Passage) -> Option<Entity> {
        let surface = index.text().get(span.clone())?;
        let is_own =
            !passage.title.is_empty() && (surface == passage.title || surface == without_qualifier(&passage.title));
        let own = is_own.then(|| self.gazetteer.page(&passage.title)).flatten();
        let page = own.or_else(|| self.best_page(name)).or_else(|| {
            let is_person = matches!(name.label, EntityLabel::Person | EntityLabel::Unknown);
            self.persons.get(surface).copied().flatten().filter(|_| is_person)
        });
        let label = match page.map(|page| self.gazetteer.label_of(page)) {
            Some(label) if own.is_some() || name.label == EntityLabel::Unknown => label,
            _ => name.label,
        };
        let source = if page.is_some() { EntitySource::Gazetteer } else { EntitySource::Shape };
        let target = page.map(|page| self.gazetteer.title(page).to_owned());
        Entity::new(index, span, label, source, target)
    }

    /// The page of the largest share among those of the name's kind; what the text links to comes first.
    fn best_page(&self, name: &Found<'_>) -> Option<TargetId> {
        let fits = |page: &TargetId| {
            let label = self.gazetteer.label_of(*page);
            label == EntityLabel::Unknown || name.label == EntityLabel::Unknown || label == name.label
        };
        let weight =
            |page: TargetId, share: u8| i32::from(share) + if self.linked.contains(&page) { LINKED_HERE } else { 0 };
        let mut best = None;
        for &(page, share) in name.pages.iter().filter(|(page, _)| fits(page)) {
            if best.is_none_or(|(_, most)| weight(page, share) > most) {
                best = Some((page, weight(page, share)));
            }
        }
        best.map(|(page, _)| page)
    }
}

/// Runs of passages of one article.
pub(crate) fn texts(passages: &[Passage]) -> Vec<Range<usize>> {
    let mut texts: Vec<Range<usize>> = Vec::new();
    for (at, passage) in passages.iter().enumerate() {
        match texts.last_mut() {
            Some(text) if passages[text.start].article_id == passage.article_id => text.end = at + 1,
            _ => texts.push(at..at + 1),
        }
    }
    texts
}

/// Counts the names of a passage, longest first, and those of them that are links.
pub(crate) fn count(gazetteer: &Gazetteer, passage: &Passage, counts: &mut [(u32, u32)]) {
    let text = &passage.text;
    let tokens = super::tokens::tokens(text);
    let links: HashMap<usize, usize> = passage.links.iter().map(|link| (link.span.start, link.span.end)).collect();
    let mut at = 0;
    while at < tokens.len() {
        let start = tokens[at].start;
        let most = gazetteer.most_words(&text[start..tokens[at].end]).min(tokens.len() - at);
        let longest = (1..=most).rev().find_map(|length| {
            let end = tokens[at + length - 1].end;
            Some((length, end, gazetteer.find(&text[start..end])?))
        });
        at += match longest {
            Some((length, end, meanings)) => {
                meanings.count(counts, links.get(&start) == Some(&end));
                length
            }
            None => 1,
        };
    }
}
