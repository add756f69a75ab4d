//! All names of each page, for documents that list or hide them.

use std::collections::HashMap;
use std::ops::Range;

use memtrain_corpora::{Article, Redirect};

use super::config::EntitiesConfig;
use super::gazetteer::{hash, is_name};
use super::locale::Locale;
use super::stop_words;
use super::titles::without_qualifier;

/// Names by page: letters once, 16 bytes a name on top.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    letters: String,
    /// Hash of the page's title, place of the name; sorted.
    names: Vec<(u64, u32, u32)>,
}

impl Aliases {
    /// Reads redirects, then articles. Anchor texts in small letters are descriptions ("the theory of sex"), no names.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn read<E>(
        config: &EntitiesConfig,
        redirects: impl Iterator<Item = Result<Redirect, E>>,
        articles: impl Iterator<Item = Result<Article, E>>,
    ) -> Result<Aliases, E> {
        let (stop_words, locale) = (stop_words(config), Locale::of(&config.language));
        let fits = |name: &str| is_name(name, config, &stop_words, &locale);
        let (mut aliases, mut leads) = (Aliases::default(), HashMap::new());
        let mut pending = Vec::new();
        for redirect in redirects {
            let redirect = redirect?;
            let from = hash(&redirect.title);
            leads.insert(from, hash(&redirect.target));
            if fits(&redirect.title) {
                pending.push((from, aliases.letter(&redirect.title)));
            }
        }
        let resolve = |title: u64| {
            let mut at = title;
            for _ in 0..4 {
                at = *leads.get(&at).unwrap_or(&at);
            }
            at
        };
        for (title, place) in pending {
            aliases.names.push((resolve(title), place.start, place.end));
        }
        let mut seen: HashMap<(u64, u64), ()> = HashMap::new();
        for article in articles {
            let article = article?;
            let page = hash(&article.title);
            let own = [article.title.as_str(), without_qualifier(&article.title)].map(|name| (page, name));
            let links = article
                .links
                .iter()
                .filter_map(|link| Some((resolve(hash(&link.target)), article.text.get(link.span.clone())?.trim())));
            for (page, name) in own.into_iter().chain(links) {
                if fits(name) && seen.insert((page, hash(name)), ()).is_none() {
                    let place = aliases.letter(name);
                    aliases.names.push((page, place.start, place.end));
                }
            }
        }
        let Aliases { letters, names } = &mut aliases;
        let name = |&(_, start, end): &(u64, u32, u32)| letters.get(start as usize..end as usize).unwrap_or_default();
        names.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| name(a).cmp(name(b))));
        names.dedup_by(|a, b| a.0 == b.0 && name(a) == name(b));
        Ok(aliases)
    }

    /// The names of a page in alphabetical order, its title among them.
    pub(crate) fn of(&self, title: &str) -> impl Iterator<Item = &str> {
        let page = hash(title);
        let first = self.names.partition_point(|name| name.0 < page);
        let names = self.names[first..].iter().take_while(move |name| name.0 == page);
        names.map(|&(_, start, end)| self.letters.get(start as usize..end as usize).unwrap_or_default())
    }

    fn letter(&mut self, name: &str) -> Range<u32> {
        let at = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let start = at(self.letters.len());
        self.letters.push_str(name);
        start..at(self.letters.len())
    }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::Link;

    use super::*;

    #[test]
    fn names_come_from_titles_redirects_and_anchors() {
        let text = "The Harbour and the old town of the Velm.";
        let link = |anchor: &str, target: &str| {
            let start = text.find(anchor).unwrap();
            Link { span: start..start + anchor.len(), target: target.into() }
        };
        let article = |title: &str, links: Vec<Link>| Article {
            id: 1,
            url: String::new(),
            title: title.into(),
            text: text.into(),
            revision_id: 1,
            timestamp: String::new(),
            sections: Vec::new(),
            links,
            categories: Vec::new(),
            infoboxes: Vec::new(),
        };
        let redirect = |title: &str, target: &str| Redirect { id: 0, title: title.into(), target: target.into() };
        let redirects = [redirect("Old Port", "Port (town)"), redirect("Haven", "Old Port")].map(Ok::<_, ()>);
        let articles = [
            article("Ost", vec![link("Harbour", "Haven"), link("old town", "Haven"), link("Velm", "Velm")]),
            article("Port (town)", Vec::new()),
        ];
        let aliases =
            Aliases::read(&EntitiesConfig::default(), redirects.into_iter(), articles.map(Ok).into_iter()).unwrap();
        let names = |title| aliases.of(title).collect::<Vec<_>>();
        assert_eq!(names("Port (town)"), ["Harbour", "Haven", "Old Port", "Port", "Port (town)"]);
        assert_eq!(names("Velm"), ["Velm"]);
        assert!(names("Old Port").is_empty());
    }
}
