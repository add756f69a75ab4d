//! The names that a corpus itself gives: titles, redirects and anchor texts, and the pages they stand for.
//!
//! Names are kept as hashes of 64 bits in one sorted table: a lookup is one search by interpolation and needs none of the
//! letters, and among 25 million names two share a hash with a probability of 2·10⁻⁵. See [`Gazetteer::bytes`] for what
//! that takes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use memtrain_corpora::{Article, EntityLabel, Redirect};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_segmentation::UnicodeSegmentation;

use super::config::EntitiesConfig;
use super::locale::Locale;
use super::titles::without_qualifier;
use super::{labels, rules};

/// A page's own title outweighs any number of links that use the words for another page; a redirect comes next.
const TITLE_WEIGHT: u32 = 1 << 24;
const REDIRECT_WEIGHT: u32 = 1 << 16;
/// A title without its `(qualifier)` is the weakest sign.
const BARE_TITLE_WEIGHT: u32 = 1;
/// Pages a name can stand for that are kept, the most frequent first.
const MOST_TARGETS: usize = 4;
/// Pairs of name and page that are gathered before equal ones are joined.
const PAIRS: usize = 1 << 20;

/// Number of a page in [`Gazetteer`].
pub(crate) type TargetId = u32;

/// A name: its hash, and where its pages are listed.
#[derive(Clone, Copy)]
struct Name {
    hash: u64,
    first: u32,
    len: u8,
    /// How often it is a link where it stands, in 255ths; what was never looked for has [`UNCOUNTED`].
    linked: u8,
}

/// A name that does not stand in the pages that were counted.
const UNCOUNTED: u8 = 255;

/// Names and what they stand for.
pub struct Gazetteer {
    /// Sorted by hash.
    names: Vec<Name>,
    /// Page and its share of the name's uses in 255ths, lists of names one after the other, the largest share first.
    meanings: Vec<(TargetId, u8)>,
    /// Hash of a first word → most words of a name that begins with it.
    first_words: HashMap<u64, u8>,
    /// Titles one after the other, and where each ends.
    titles: String,
    title_ends: Vec<u32>,
    labels: Vec<EntityLabel>,
    /// Hash of a title or redirect → page.
    pages: HashMap<u64, TargetId>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meanings<'g> {
    /// Pages with their shares in 255ths, the largest first.
    pub(crate) pages: &'g [(TargetId, u8)],
    /// How often the name is a link where it stands, in 255ths; `None` where it was not counted.
    pub(crate) linked: Option<u8>,
    /// Place of the name in the table.
    place: usize,
}

/// Collects names, then weighs them.
pub struct GazetteerBuilder<'c> {
    config: &'c EntitiesConfig,
    locale: std::sync::Arc<Locale>,
    stop_words: HashSet<String>,
    gazetteer: Gazetteer,
    /// Redirects by hash of title, to the title's place in `redirect_targets`.
    redirects: HashMap<u64, u64>,
    redirect_names: Vec<(u64, u64)>,
    /// Hash of a name, page, weight.
    pairs: Vec<(u64, TargetId, u32)>,
    sorted: usize,
}

impl<'c> GazetteerBuilder<'c> {
    /// An empty builder. Redirects must come before articles, so that links through them are resolved.
    pub fn new(config: &'c EntitiesConfig) -> Self {
        let gazetteer = Gazetteer {
            names: Vec::new(),
            meanings: Vec::new(),
            first_words: HashMap::new(),
            titles: String::new(),
            title_ends: Vec::new(),
            labels: Vec::new(),
            pages: HashMap::new(),
        };
        Self {
            config,
            locale: Locale::of(&config.language),
            stop_words: super::stop_words(config),
            gazetteer,
            redirects: HashMap::new(),
            redirect_names: Vec::new(),
            pairs: Vec::new(),
            sorted: 0,
        }
    }

    /// Another name of a page.
    pub fn redirect(&mut self, redirect: &Redirect) {
        let (from, to) = (hash(&redirect.title), hash(&redirect.target));
        self.redirects.insert(from, to);
        // The page may have no article and no link of its own: its title is kept.
        self.target(&redirect.target);
        if let Some(name) = self.noted(&redirect.title) {
            self.redirect_names.push((name, from));
        }
    }

    /// A page: its title and the names it uses for others.
    pub fn article(&mut self, article: &Article) {
        let id = self.target(&article.title);
        self.gazetteer.labels[id as usize] = labels::infer(article, self.locale.language);
        self.name(&article.title, id, TITLE_WEIGHT);
        let bare = without_qualifier(&article.title);
        if bare != article.title {
            self.name(bare, id, BARE_TITLE_WEIGHT);
        }
        for link in &article.links {
            let Some(surface) = article.text.get(link.span.clone()) else { continue };
            let id = match self.resolved(hash(&link.target)) {
                Some(id) => id,
                None => self.target(&link.target),
            };
            self.name(surface, id, 1);
        }
    }

    /// The page at the end of a chain of redirects; `None` if the title is no redirect.
    fn resolved(&self, title: u64) -> Option<TargetId> {
        let mut at = title;
        for _ in 0..4 {
            match self.redirects.get(&at) {
                Some(target) => at = *target,
                None => break,
            }
        }
        (at != title).then(|| self.gazetteer.pages.get(&at).copied()).flatten()
    }

    /// The gazetteer: the pages of each name by weight, in the order of their titles where equal.
    pub fn build(mut self) -> Gazetteer {
        for (name, title) in std::mem::take(&mut self.redirect_names) {
            if let Some(id) = self.resolved(title) {
                self.pair(name, id, REDIRECT_WEIGHT);
            }
        }
        let titles: Vec<u64> = self.redirects.keys().copied().collect();
        for title in titles {
            if let Some(id) = self.resolved(title) {
                // A redirect that others lead to is no page of its own.
                self.gazetteer.pages.insert(title, id);
            }
        }
        self.join();
        let pairs = std::mem::take(&mut self.pairs);
        let mut gazetteer = self.gazetteer;
        for of_name in pairs.chunk_by(|a, b| a.0 == b.0) {
            let total: u32 = of_name.iter().fold(0, |sum, pair| sum.saturating_add(pair.2));
            if total < self.config.min_anchor_count {
                continue;
            }
            let mut ranked: Vec<(TargetId, u32)> = of_name.iter().map(|pair| (pair.1, pair.2)).collect();
            ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| gazetteer.title(a.0).cmp(gazetteer.title(b.0))));
            ranked.truncate(MOST_TARGETS);
            let first = u32::try_from(gazetteer.meanings.len()).unwrap_or(u32::MAX);
            let share = |weight: u32| u8::try_from(u64::from(weight) * 255 / u64::from(total.max(1))).unwrap_or(255);
            gazetteer.meanings.extend(ranked.iter().map(|(id, weight)| (*id, share(*weight))));
            let len = u8::try_from(ranked.len()).unwrap_or(u8::MAX);
            gazetteer.names.push(Name { hash: of_name[0].0, first, len, linked: UNCOUNTED });
        }
        gazetteer.names.shrink_to_fit();
        gazetteer.meanings.shrink_to_fit();
        gazetteer
    }

    fn target(&mut self, title: &str) -> TargetId {
        let gazetteer = &mut self.gazetteer;
        let next = TargetId::try_from(gazetteer.labels.len()).unwrap_or(TargetId::MAX);
        let id = *gazetteer.pages.entry(hash(title)).or_insert(next);
        if id == next {
            gazetteer.titles.push_str(title);
            gazetteer.title_ends.push(u32::try_from(gazetteer.titles.len()).unwrap_or(u32::MAX));
            gazetteer.labels.push(EntityLabel::Unknown);
        }
        id
    }

    fn name(&mut self, surface: &str, target: TargetId, weight: u32) {
        if let Some(name) = self.noted(surface) {
            self.pair(name, target, weight);
        }
    }

    /// The hash of a surface that can be a name; its first word is taken note of.
    fn noted(&mut self, surface: &str) -> Option<u64> {
        let surface = normal(surface.trim());
        let words = words_of_name(&surface, self.config, &self.stop_words, &self.locale)?;
        let first = self.gazetteer.first_words.entry(words.0).or_default();
        *first = words.1.max(*first);
        Some(hash(&surface))
    }

    fn pair(&mut self, name: u64, target: TargetId, weight: u32) {
        self.pairs.push((name, target, weight));
        if self.pairs.len() >= self.sorted * 2 + PAIRS {
            self.join();
        }
    }

    /// Sorts the pairs and joins equal ones.
    fn join(&mut self) {
        self.pairs.sort_unstable_by_key(|pair| (pair.0, pair.1));
        self.pairs.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            if same {
                kept.2 = kept.2.saturating_add(next.2);
            }
            same
        });
        self.sorted = self.pairs.len();
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

    /// Memory of the tables in bytes, without what the allocator adds.
    pub fn bytes(&self) -> usize {
        self.names.capacity() * size_of::<Name>()
            + self.meanings.capacity() * size_of::<(TargetId, u8)>()
            + self.first_words.capacity() * (size_of::<(u64, u8)>() + 1)
            + self.titles.capacity()
            + self.title_ends.capacity() * size_of::<u32>()
            + self.labels.capacity()
            + self.pages.capacity() * (size_of::<(u64, TargetId)>() + 1)
    }

    /// The page a title leads to, through redirects.
    pub fn resolve<'t>(&'t self, title: &'t str) -> &'t str {
        self.page(title).map_or(title, |id| self.title(id))
    }

    /// The kind of a page, by title.
    pub fn label(&self, title: &str) -> EntityLabel {
        self.page(title).map_or(EntityLabel::Unknown, |id| self.label_of(id))
    }

    /// The page of a title or redirect.
    pub(crate) fn page(&self, title: &str) -> Option<TargetId> {
        self.pages.get(&hash(title)).copied()
    }

    /// The title of a page.
    pub(crate) fn title(&self, id: TargetId) -> &str {
        let end = |at: usize| self.title_ends.get(at).map_or(0, |end| *end as usize);
        let start = (id as usize).checked_sub(1).map_or(0, end);
        self.titles.get(start..end(id as usize)).unwrap_or_default()
    }

    /// The kind of a page.
    pub(crate) fn label_of(&self, id: TargetId) -> EntityLabel {
        self.labels.get(id as usize).copied().unwrap_or(EntityLabel::Unknown)
    }

    /// Most words of a name that begins with a word; 0 where none does.
    pub(crate) fn most_words(&self, first: &str) -> usize {
        if self.first_words.is_empty() {
            return 0;
        }
        self.first_words.get(&hash(&normal(first))).map_or(0, |most| usize::from(*most))
    }

    /// What a surface stands for.
    pub(crate) fn find(&self, surface: &str) -> Option<Meanings<'_>> {
        let hash = hash(&normal(surface));
        let place = self.names.binary_search_by_key(&hash, |name| name.hash).ok()?;
        let name = self.names[place];
        let pages = self.meanings.get(name.first as usize..name.first as usize + usize::from(name.len))?;
        Some(Meanings { pages, linked: (name.linked != UNCOUNTED).then_some(name.linked), place })
    }

    /// Takes note of how often names are links where they stand: `counts` has the occurrences and the links of each name
    /// of [`Gazetteer::len`], as [`Meanings::count`] gathers them.
    pub(crate) fn set_linked(&mut self, counts: &[(u32, u32)]) {
        for (name, (all, links)) in self.names.iter_mut().zip(counts) {
            if *all > 0 {
                let share = u64::from((*links).min(*all)) * 254 / u64::from(*all);
                name.linked = u8::try_from(share).unwrap_or(254);
            }
        }
    }
}

impl Meanings<'_> {
    /// Adds an occurrence to the counts of names.
    pub(crate) fn count(&self, counts: &mut [(u32, u32)], is_link: bool) {
        if let Some((all, links)) = counts.get_mut(self.place) {
            *all += 1;
            *links += u32::from(is_link);
        }
    }
}

/// 64 bits of a text, the same on every machine. FNV-1a with a final mix, so that high bits are spread evenly too.
pub(crate) fn hash(text: &str) -> u64 {
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Words with their places, cut at apostrophes too, so that a name ends before a possessive `'s`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.unicode_words().flat_map(|word| word.split(['\'', '’'])).filter(|part| !part.is_empty())
}

pub(crate) fn normal(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// Whether words can be a name without a link to say so: long enough, no common word, no number or date, and
/// capitalised where the script has capitals. Gives the hash of the first token and the number of tokens.
fn words_of_name(
    surface: &str,
    config: &EntitiesConfig,
    stop_words: &HashSet<String>,
    locale: &Locale,
) -> Option<(u64, u8)> {
    let words: Vec<&str> = words(surface).collect();
    let is_stop = |word: &&str| stop_words.contains(&word.to_lowercase());
    let first = words.first()?;
    let is_short = surface.chars().count() < config.min_chars && surface.is_ascii();
    if is_short || words.len() > config.max_words || surface.contains(['\n', '[', ']', '|']) {
        return None;
    }
    let initial = surface.chars().find(|c| c.is_alphanumeric())?;
    let is_number = !surface.chars().any(char::is_alphabetic) || rules::classify(surface, locale).is_some();
    if initial.is_lowercase() || is_number || words.iter().all(is_stop) || (words.len() == 1 && is_stop(first)) {
        return None;
    }
    let tokens = super::tokens::tokens(surface);
    let head = tokens.first().map(|token| &surface[token.start..token.end])?;
    Some((hash(head), u8::try_from(tokens.len()).unwrap_or(u8::MAX)))
}

/// Whether words can be a name, as [`words_of_name`] has it.
pub(crate) fn is_name(surface: &str, config: &EntitiesConfig, stop_words: &HashSet<String>, locale: &Locale) -> bool {
    words_of_name(&normal(surface), config, stop_words, locale).is_some()
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::Link;

    use super::*;

    fn article(id: u64, title: &str, text: &str, links: &[(&str, &str)]) -> Article {
        let place = |anchor: &str| text.find(anchor).map(|start| start..start + anchor.len()).unwrap();
        Article {
            id,
            url: String::new(),
            title: title.into(),
            text: text.into(),
            revision_id: 1,
            timestamp: String::new(),
            sections: Vec::new(),
            links: links
                .iter()
                .map(|(anchor, target)| Link { span: place(anchor), target: (*target).into() })
                .collect(),
            categories: Vec::new(),
            infoboxes: Vec::new(),
        }
    }

    fn redirect(title: &str, target: &str) -> Redirect {
        Redirect { id: 0, title: title.into(), target: target.into() }
    }

    fn titles(gazetteer: &Gazetteer, name: &str) -> Vec<String> {
        let pages = gazetteer.find(name).map_or(&[][..], |meanings| meanings.pages);
        pages.iter().map(|(id, _)| gazetteer.title(*id).to_owned()).collect()
    }

    #[test]
    fn titles_come_before_redirects_before_links() {
        let config = EntitiesConfig::default();
        let mut builder = GazetteerBuilder::new(&config);
        builder.redirect(&redirect("The Port", "Velmora"));
        builder.redirect(&redirect("Old Port", "The Port"));
        builder.article(&article(1, "Velmora", "Velmora is a city on the Ost.", &[("Ost", "Ost (river)")]));
        builder.article(&article(2, "Ost (river)", "The Ost is a river near the Harbour.", &[("Harbour", "Old Port")]));
        builder.article(&article(
            3,
            "Ost Hill",
            "Ost Hill and the Ost.",
            &[("Ost", "Ost Hill"), ("Ost Hill", "Ost Hill")],
        ));
        let gazetteer = builder.build();
        assert_eq!(titles(&gazetteer, "The Port"), ["Velmora"]);
        assert_eq!(titles(&gazetteer, "Old Port"), ["Velmora"]);
        assert_eq!(titles(&gazetteer, "Harbour"), ["Velmora"]);
        assert_eq!(
            titles(&gazetteer, "Ost"),
            ["Ost (river)", "Ost Hill"],
            "a link and the bare title against one link"
        );
        assert_eq!(gazetteer.resolve("Old Port"), "Velmora");
        assert_eq!(gazetteer.resolve("Nowhere"), "Nowhere");
        assert_eq!(gazetteer.label("Velmora"), EntityLabel::Gpe);
        assert_eq!(gazetteer.label("The Port"), EntityLabel::Gpe);
        assert_eq!(gazetteer.label("Ost (river)"), EntityLabel::Loc);
        assert_eq!(gazetteer.most_words("Ost"), 4, "`Ost (river)` is cut into four");
        assert_eq!(gazetteer.most_words("Harb"), 0);
    }

    #[test]
    fn common_words_and_numbers_are_no_names() {
        let config = EntitiesConfig::default();
        let mut builder = GazetteerBuilder::new(&config);
        for title in ["The", "1984", "12 May", "river", "Ost"] {
            builder.article(&article(1, title, "", &[]));
        }
        let gazetteer = builder.build();
        assert_eq!(gazetteer.len(), 1);
        assert_eq!(titles(&gazetteer, "Ost"), ["Ost"]);
    }

    #[test]
    fn redirect_loops_end() {
        let config = EntitiesConfig::default();
        let mut builder = GazetteerBuilder::new(&config);
        builder.redirect(&redirect("A", "B"));
        builder.redirect(&redirect("B", "A"));
        let gazetteer = builder.build();
        assert!(["A", "B"].contains(&gazetteer.resolve("A")));
    }

    #[test]
    fn a_name_takes_few_bytes() {
        let config = EntitiesConfig::default();
        let mut builder = GazetteerBuilder::new(&config);
        for number in 0..20_000 {
            builder.article(&article(number, &format!("Velmora {number} of Ost"), "", &[]));
        }
        let gazetteer = builder.build();
        assert_eq!(gazetteer.len(), 20_000);
        // 16 for the name, 8 for its meaning, its title, 5 for place and label, and at most 2 × 17 for the page.
        assert!(gazetteer.bytes() / 20_000 < 16 + 8 + 2 * 24 + 2 * 5 + 2 * 17, "{}", gazetteer.bytes() / 20_000);
    }
}
