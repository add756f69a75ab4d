//! The names that the corpus itself gives: titles, redirects and anchor texts, and the pages they stand for.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use memtrain_corpora::mask::is_whole_word;
use memtrain_corpora::store::ScalarIndex;
use memtrain_corpora::{Article, Entity, EntityLabel, EntitySource, Redirect};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_segmentation::UnicodeSegmentation;

use super::{labels, rules};
use crate::config::EntitiesConfig;

/// A page's own title outweighs any number of links that use the words for another page; a redirect comes next.
const TITLE_WEIGHT: u32 = 1 << 24;
const REDIRECT_WEIGHT: u32 = 1 << 16;
/// A title without its `(qualifier)` is the weakest sign.
const BARE_TITLE_WEIGHT: u32 = 1;

/// Number of a target in [`Gazetteer::targets`].
type TargetId = u32;

/// Names and what they stand for. In memory: about 60 bytes a name on top of its letters.
///
/// Names are looked up by words, longest first, in a hash table: for the tens of millions of names of a full Wikipedia
/// an automaton over all of them would need several times the memory, and a lookup only happens behind a word that
/// begins some name.
pub struct Gazetteer {
    names: HashMap<Box<str>, TargetId>,
    /// First word of a name → most words of a name that begins with it.
    first_words: HashMap<Box<str>, u8>,
    targets: Vec<Target>,
    redirects: HashMap<Box<str>, Box<str>>,
    ids: HashMap<Box<str>, TargetId>,
}

struct Target {
    title: Box<str>,
    label: EntityLabel,
}

/// Collects names, then weighs them.
pub struct GazetteerBuilder<'c> {
    config: &'c EntitiesConfig,
    stop_words: HashSet<String>,
    gazetteer: Gazetteer,
    weights: HashMap<Box<str>, Vec<(TargetId, u32)>>,
}

impl<'c> GazetteerBuilder<'c> {
    /// An empty builder. Redirects must come before articles, so that links through them are resolved.
    pub fn new(config: &'c EntitiesConfig) -> Self {
        let stop_words = super::stop_words(config);
        let gazetteer = Gazetteer {
            names: HashMap::new(),
            first_words: HashMap::new(),
            targets: Vec::new(),
            redirects: HashMap::new(),
            ids: HashMap::new(),
        };
        Self { config, stop_words, gazetteer, weights: HashMap::new() }
    }

    /// Another name of a page.
    pub fn redirect(&mut self, redirect: &Redirect) {
        self.gazetteer.redirects.insert(redirect.title.as_str().into(), redirect.target.as_str().into());
    }

    /// A page: its title and the names it uses for others.
    pub fn article(&mut self, article: &Article) {
        let id = self.target(&article.title);
        self.gazetteer.targets[id as usize].label = labels::infer(article);
        self.name(&article.title, id, TITLE_WEIGHT);
        let bare = without_qualifier(&article.title);
        if bare != article.title {
            self.name(bare, id, BARE_TITLE_WEIGHT);
        }
        for link in &article.links {
            let Some(surface) = article.text.get(link.span.clone()) else { continue };
            let title = self.gazetteer.resolve(&link.target).to_owned();
            let id = self.target(&title);
            self.name(surface, id, 1);
        }
    }

    /// The gazetteer: every name stands for the page with the largest weight, the first in the alphabet where equal.
    pub fn build(mut self) -> Gazetteer {
        let redirects: Vec<_> = self.gazetteer.redirects.keys().cloned().collect();
        for title in redirects {
            let resolved = self.gazetteer.resolve(&title).to_owned();
            let id = self.target(&resolved);
            self.name(&title, id, REDIRECT_WEIGHT);
        }
        let min_weight = self.config.min_anchor_count;
        for (name, mut candidates) in self.weights {
            let total: u32 = candidates.iter().map(|&(_, weight)| weight).fold(0, u32::saturating_add);
            if total < min_weight {
                continue;
            }
            let title = |id: TargetId| &self.gazetteer.targets[id as usize].title;
            candidates.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| title(a.0).cmp(title(b.0))));
            let Some(&(best, _)) = candidates.first() else { continue };
            let mut words = words(&name).map(|(_, word)| word);
            let Some(first) = words.next() else { continue };
            let num_words = u8::try_from(1 + words.count()).unwrap_or(u8::MAX);
            let most = self.gazetteer.first_words.entry(first.into()).or_default();
            *most = num_words.max(*most);
            self.gazetteer.names.insert(name, best);
        }
        self.gazetteer
    }

    fn target(&mut self, title: &str) -> TargetId {
        if let Some(&id) = self.gazetteer.ids.get(title) {
            return id;
        }
        let id = TargetId::try_from(self.gazetteer.targets.len()).unwrap_or(TargetId::MAX);
        self.gazetteer.targets.push(Target { title: title.into(), label: EntityLabel::Unknown });
        self.gazetteer.ids.insert(title.into(), id);
        id
    }

    fn name(&mut self, surface: &str, target: TargetId, weight: u32) {
        let surface = normal(surface.trim());
        if !is_name(&surface, self.config, &self.stop_words) {
            return;
        }
        let candidates = self.weights.entry(surface.as_ref().into()).or_default();
        match candidates.iter_mut().find(|(id, _)| *id == target) {
            Some((_, sum)) => *sum = sum.saturating_add(weight),
            None => candidates.push((target, weight)),
        }
    }
}

impl Gazetteer {
    /// Number of names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The page a title leads to, through at most four redirects.
    pub fn resolve<'t>(&'t self, title: &'t str) -> &'t str {
        let mut title = title;
        for _ in 0..4 {
            match self.redirects.get(title) {
                Some(target) => title = target,
                None => break,
            }
        }
        title
    }

    /// The kind of a page, by title.
    pub fn label(&self, title: &str) -> EntityLabel {
        self.ids.get(title).map_or(EntityLabel::Unknown, |&id| self.targets[id as usize].label)
    }

    /// All names of every page, in alphabetical order: redirects, anchors, the title itself.
    pub fn names_by_target(&self) -> HashMap<&str, Vec<&str>> {
        let mut names: HashMap<&str, Vec<&str>> = HashMap::new();
        for (name, &id) in &self.names {
            names.entry(&self.targets[id as usize].title).or_default().push(name);
        }
        for list in names.values_mut() {
            list.sort_unstable();
        }
        names
    }

    /// Names in a text, the longest at each word; overlapping ones are left to the caller. In a page's own passages its
    /// title stands for the page itself, whatever it stands for elsewhere.
    pub fn find(&self, index: &ScalarIndex, own_title: &str) -> Vec<Entity> {
        let text = index.text();
        let words: Vec<(usize, usize)> = words(text).map(|(at, word)| (at, at + word.len())).collect();
        let own_bare = without_qualifier(own_title);
        let mut found = Vec::new();
        let mut at = 0;
        while at < words.len() {
            match self.longest_at(text, &words[at..]) {
                Some((span, num_words, id)) => {
                    let surface = &text[span.clone()];
                    let own = surface == own_title || surface == own_bare;
                    let title = if own { own_title } else { &*self.targets[id as usize].title };
                    let (label, target) = (self.label(title), Some(title.to_owned()));
                    found.extend(Entity::new(index, span, label, EntitySource::Gazetteer, target));
                    at += num_words;
                }
                None => at += 1,
            }
        }
        found
    }

    /// The longest name that begins with the first of `words`.
    fn longest_at(&self, text: &str, words: &[(usize, usize)]) -> Option<(memtrain_corpora::Span, usize, TargetId)> {
        let (start, end) = *words.first()?;
        let most = usize::from(*self.first_words.get(normal(&text[start..end]).as_ref())?);
        for num_words in (1..=most.min(words.len())).rev() {
            let end = words[num_words - 1].1;
            // "Inc.", "Louis (band)", "Yahoo!": the last sign belongs to the name, not to the word.
            let with_sign = text[end..].chars().next().filter(|sign| ".)!?'\"".contains(*sign));
            for end in with_sign.map(|sign| end + sign.len_utf8()).into_iter().chain([end]) {
                let span = start..end;
                if let Some(&id) = self.names.get(normal(&text[span.clone()]).as_ref())
                    && is_whole_word(text, &span)
                {
                    return Some((span, num_words, id));
                }
            }
        }
        None
    }

    /// Counts for the log: names by the number of their words.
    pub fn sizes(&self) -> BTreeMap<usize, usize> {
        let mut sizes = BTreeMap::new();
        for name in self.names.keys() {
            *sizes.entry(words(name).count()).or_default() += 1;
        }
        sizes
    }
}

/// Words with their places, cut at apostrophes too, so that a name ends before a possessive `'s`.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.unicode_word_indices().flat_map(|(at, word)| {
        let parts = word.split(['\'', '’']);
        parts
            .map(move |part| (at + (part.as_ptr() as usize - word.as_ptr() as usize), part))
            .filter(|(_, part)| !part.is_empty())
    })
}

/// `Mercury (planet)` → `Mercury`.
pub(crate) fn without_qualifier(title: &str) -> &str {
    match title.rfind(" (") {
        Some(at) if at > 0 && title.ends_with(')') => &title[..at],
        _ => title,
    }
}

fn normal(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// Whether words can be a name without a link to say so: long enough, no common word, no number or date, and
/// capitalised or of several words.
fn is_name(surface: &str, config: &EntitiesConfig, stop_words: &HashSet<String>) -> bool {
    let words: Vec<&str> = words(surface).map(|(_, word)| word).collect();
    let is_stop = |word: &&str| stop_words.contains(&word.to_lowercase());
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return false };
    if surface.chars().count() < config.min_chars
        || words.len() > config.max_words
        || surface.contains(['\n', '[', ']', '|'])
    {
        return false;
    }
    if !surface.chars().any(char::is_alphabetic) || rules::classify(surface).is_some() {
        return false;
    }
    if words.len() == 1 {
        return surface.chars().next().is_some_and(char::is_uppercase) && !is_stop(first);
    }
    let capitalised = |word: &&str| word.chars().next().is_some_and(char::is_uppercase);
    (capitalised(first) && !words.iter().all(is_stop)) || (!is_stop(first) && !is_stop(last))
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::Link;

    use super::*;

    fn article(title: &str, text: &str, links: &[(&str, &str)]) -> Article {
        let links = links
            .iter()
            .map(|(anchor, target)| {
                let start = text.find(anchor).unwrap();
                Link { span: start..start + anchor.len(), target: (*target).to_owned() }
            })
            .collect();
        Article {
            id: 1,
            url: String::new(),
            title: title.into(),
            text: text.into(),
            revision_id: 1,
            timestamp: String::new(),
            sections: Vec::new(),
            links,
            categories: Vec::new(),
        }
    }

    fn gazetteer() -> Gazetteer {
        let config = EntitiesConfig::default();
        let mut builder = GazetteerBuilder::new(&config);
        builder.redirect(&Redirect { id: 9, title: "The Port".into(), target: "Velmora".into() });
        builder.article(&article(
            "Velmora",
            "Velmora is a town near Ost Hill and Ost.",
            &[("Ost Hill", "Ost Hill (peak)")],
        ));
        builder.article(&article(
            "Ost (river)",
            "Ost is a river. It was seen on Monday in the Port.",
            &[("the Port", "The Port")],
        ));
        builder.article(&article("The", "The is a word of 1984.", &[("1984", "1984")]));
        builder.build()
    }

    #[test]
    fn longest_name_wins_and_stands_for_its_page() {
        let gazetteer = gazetteer();
        let text = "The Port lies below Ost Hill, by the Ost; Oster and Velmora's port.";
        let found: Vec<_> =
            gazetteer.find(&ScalarIndex::new(text), "X").into_iter().map(|e| (e.surface, e.target.unwrap())).collect();
        let expected =
            [("The Port", "Velmora"), ("Ost Hill", "Ost Hill (peak)"), ("Ost", "Ost (river)"), ("Velmora", "Velmora")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(gazetteer.label("Velmora"), EntityLabel::Gpe);
        assert_eq!(gazetteer.label("Ost (river)"), EntityLabel::Loc);
        assert_eq!(gazetteer.names_by_target()["Velmora"], ["The Port", "Velmora"]);
    }

    #[test]
    fn common_words_and_numbers_are_no_names() {
        let gazetteer = gazetteer();
        assert!(gazetteer.find(&ScalarIndex::new("The 1984 word"), "X").is_empty());
    }

    #[test]
    fn own_title_stands_for_the_page_itself() {
        let found = gazetteer().find(&ScalarIndex::new("Ost Hill is high."), "Ost Hill");
        assert_eq!(found[0].target.as_deref(), Some("Ost Hill"));
    }

    #[test]
    fn redirect_loops_end() {
        let config = EntitiesConfig::default();
        let mut builder = GazetteerBuilder::new(&config);
        builder.redirect(&Redirect { id: 1, title: "A".into(), target: "B".into() });
        builder.redirect(&Redirect { id: 2, title: "B".into(), target: "A".into() });
        assert_eq!(builder.build().resolve("A"), "A");
    }
}
