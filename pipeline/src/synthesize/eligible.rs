//! Eligible mentions of a pivot, which may be hidden, and the split that a pivot is in.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use memtrain_corpora::mask::{Matching, is_whole_word, occurrences};
use memtrain_corpora::{Entity, EntityLabel, Passage, PassageEntities, Split, document, rng};
use rand::Rng;
use unicode_width::UnicodeWidthChar;

use super::forms::is_beside_capital;
use crate::config::{EligibleConfig, SynthesizeConfig};
use crate::entities::{Locale, classify};
use crate::error::PipelineError;
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
    max_words: usize,
    max_in_passage: usize,
    small_letters: bool,
    whole_names: bool,
    /// The words of dates in the corpus's language, where pages of dates are no pivots.
    date_pages: Option<Arc<Locale>>,
    /// Hash of a surface → passages that mention it; absent when there are no bounds.
    frequencies: Option<HashMap<u64, u32>>,
}

/// Why a mention may not be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ineligible {
    /// Its label is not asked for.
    Label,
    /// Too few or too many characters, or too many words.
    Length,
    /// A name that begins with a small letter: a linked common noun.
    SmallLetter,
    /// It is on the stop list.
    StopList,
    /// Too few or too many passages of the corpus mention it.
    Frequency,
    /// It stands too often in its passage.
    Repeated,
    /// In the pivot or its title it stands beside another word with a capital: a part of a longer name.
    Part,
    /// Its page is called by a date or a number.
    DatePage,
    /// It is part of a word, has a line break, or stands in the placeholders themselves.
    Words,
}

impl Ineligible {
    /// The name of its count.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Label => "ineligible_label",
            Self::Length => "ineligible_length",
            Self::SmallLetter => "ineligible_small_letter",
            Self::StopList => "ineligible_stop_list",
            Self::Frequency => "ineligible_frequency",
            Self::Repeated => "ineligible_repeated",
            Self::Part => "ineligible_part_of_name",
            Self::DatePage => "ineligible_date_page",
            Self::Words => "ineligible_words",
        }
    }
}

impl Eligible {
    /// Counts surfaces over the corpus where the configuration bounds them. Only those that nothing else rules out are
    /// counted. `locale` has the words of the corpus's language.
    pub(crate) fn open(config: &EligibleConfig, locale: Arc<Locale>, out: &Path) -> Result<Self, PipelineError> {
        let bounded = config.min_passages > 1 || config.max_passages > 0;
        let mut eligible = Self::without_frequencies(config, locale);
        if bounded {
            let mut frequencies = HashMap::new();
            for row in Mentions::rows(out, StageName::Synthesize)? {
                let row = row?;
                let fitting =
                    row.entities.iter().filter(|entity| eligible.check(&entity.surface, entity.label).is_ok());
                let surfaces: HashSet<u64> = fitting.map(|entity| key(&entity.surface)).collect();
                for surface in surfaces {
                    *frequencies.entry(surface).or_default() += 1;
                }
            }
            eligible.frequencies = Some(frequencies);
        }
        Ok(eligible)
    }

    /// The rules without bounds on frequencies.
    pub(crate) fn without_frequencies(config: &EligibleConfig, locale: Arc<Locale>) -> Self {
        Self {
            labels: config.labels.iter().copied().collect(),
            min_chars: config.min_chars,
            max_chars: config.max_chars,
            stop_list: config.stop_list.iter().map(|surface| surface.to_lowercase()).collect(),
            min_passages: config.min_passages,
            max_passages: if config.max_passages == 0 { u32::MAX } else { config.max_passages },
            max_words: if config.max_words == 0 { usize::MAX } else { config.max_words },
            max_in_passage: if config.max_in_passage == 0 { usize::MAX } else { config.max_in_passage },
            small_letters: config.small_letters,
            whole_names: config.whole_names,
            date_pages: config.skip_date_pages.then_some(locale),
            frequencies: None,
        }
    }

    /// The eligible entities of a passage, each surface once, in order of first mention; `ruled_out` hears of the others.
    pub(crate) fn of<'m>(
        &self,
        passage: &Passage,
        mentions: &'m PassageEntities,
        mut ruled_out: impl FnMut(Ineligible),
    ) -> Vec<&'m Entity> {
        let mut seen = HashSet::new();
        let is_date_page = self.date_pages.as_ref().is_some_and(|locale| classify(&passage.title, locale).is_some());
        // What a passage says of a name is the same for all its mentions.
        let mut names: HashMap<(&str, EntityLabel), Result<(), Ineligible>> = HashMap::new();
        let mut check = |entity: &'m Entity| {
            if is_date_page {
                return Err(Ineligible::DatePage);
            }
            self.check_mention(&passage.text, entity)?;
            let of_name = || {
                self.check_name(&passage.text, entity)?;
                if self.is_part(&passage.title, entity) { Err(Ineligible::Part) } else { Ok(()) }
            };
            *names.entry((entity.surface.as_str(), entity.label)).or_insert_with(of_name)
        };
        let mut fits = |entity: &'m Entity| match check(entity) {
            Ok(()) => true,
            Err(cause) => {
                ruled_out(cause);
                false
            }
        };
        mentions.entities.iter().filter(|entity| fits(entity) && seen.insert(&entity.surface)).collect()
    }

    /// Whether a passage has an eligible entity.
    pub(crate) fn any(&self, passage: &str, mentions: &PassageEntities) -> bool {
        mentions
            .entities
            .iter()
            .any(|entity| self.check_mention(passage, entity).and_then(|()| self.check_name(passage, entity)).is_ok())
    }

    /// What does not depend on other mentions of the name.
    fn check_mention(&self, passage: &str, entity: &Entity) -> Result<(), Ineligible> {
        self.check(&entity.surface, entity.label)?;
        if is_whole_word(passage, &entity.span) { Ok(()) } else { Err(Ineligible::Words) }
    }

    /// What a passage says of a name, wherever it is mentioned.
    fn check_name(&self, passage: &str, entity: &Entity) -> Result<(), Ineligible> {
        let is_repeated = self.max_in_passage < usize::MAX
            && occurrences(passage, &entity.surface, Matching::default()).len() > self.max_in_passage;
        if is_repeated {
            return Err(Ineligible::Repeated);
        }
        if self.is_part(passage, entity) { Err(Ineligible::Part) } else { Ok(()) }
    }

    /// Whether the name of an entity is a part of a longer one in a text, where parts are left out.
    fn is_part(&self, text: &str, entity: &Entity) -> bool {
        // Scripts without capitals have no words that stand out.
        let is_name = entity.surface.chars().next().is_some_and(char::is_uppercase) && !is_amount(entity.label);
        let names = || occurrences(text, &entity.surface, Matching::default());
        self.whole_names && is_name && names().iter().any(|span| is_beside_capital(text, span))
    }

    /// What does not depend on where the mention stands.
    pub(crate) fn check(&self, surface: &str, label: EntityLabel) -> Result<(), Ineligible> {
        let frequency = self.frequencies.as_ref().map(|counts| counts.get(&key(surface)).copied().unwrap_or(0));
        // Linked common nouns ("river") are no names; scripts without case pass, and so do numbers and dates.
        let small = surface.chars().find(|c| c.is_alphabetic()).is_some_and(char::is_lowercase);
        let broken = surface.contains('\n') || is_in_placeholder(surface);
        let tests = [
            (self.labels.contains(&label), Ineligible::Label),
            ((self.min_chars..=self.max_chars).contains(&length(surface)), Ineligible::Length),
            (surface.split_whitespace().nth(self.max_words).is_none(), Ineligible::Length),
            (!small || self.small_letters || is_amount(label), Ineligible::SmallLetter),
            (!self.stop_list.contains(&surface.to_lowercase()), Ineligible::StopList),
            (!broken, Ineligible::Words),
            (
                frequency.is_none_or(|count| (self.min_passages..=self.max_passages).contains(&count)),
                Ineligible::Frequency,
            ),
        ];
        tests.into_iter().find(|(passed, _)| !passed).map_or(Ok(()), |(_, cause)| Err(cause))
    }
}

/// Characters of a name; those that fill two columns (ideographs, kana, hangul) count twice: 東京 says as much as "Rome".
fn length(surface: &str) -> usize {
    surface.chars().map(|c| if c.width() == Some(2) { 2 } else { 1 }).sum()
}

/// Whether a label is of numbers, dates and amounts.
fn is_amount(label: EntityLabel) -> bool {
    use EntityLabel::*;
    matches!(label, Date | Time | Percent | Money | Quantity | Ordinal | Cardinal)
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
    let share: f64 = rng::keyed("split", seed, &[article_id]).random();
    if share < config.heldout_fraction { Split::Heldout } else { Split::Train }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::EntitySource;

    use super::*;

    fn eligible(text: &str, surfaces: &[&str]) -> Vec<String> {
        eligible_on("A page", text, surfaces)
    }

    fn eligible_on(title: &str, text: &str, surfaces: &[&str]) -> Vec<String> {
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
            title: title.to_owned(),
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
        let rules = Eligible::without_frequencies(&config, Locale::of("en"));
        rules.of(&passage, &mentions, |_| {}).into_iter().map(|entity| entity.surface.clone()).collect()
    }

    #[test]
    fn names_only() {
        let text = "The Mask of Oslo and Paris by the river near Ut, Bergenser; 北京市 Oslo";
        let found = eligible(text, &["Mask", "Oslo", "Paris", "river", "Ut", "Bergen", "北京市", "Oslo"]);
        assert_eq!(found, ["Oslo", "北京市"]);
    }

    #[test]
    fn names_of_two_ideographs_are_long_enough() {
        assert_eq!(
            eligible("日本 、東京 、京 。서울 Ut", &["日本", "東京", "京", "서울", "Ut"]),
            ["日本", "東京", "서울"]
        );
    }

    #[test]
    fn parts_of_names_and_pages_of_dates_are_left_out() {
        let text = "In Rome the Atari Games of Oslo met Bergen.";
        assert_eq!(eligible(text, &["Rome", "Atari", "Oslo"]), ["Rome", "Oslo"]);
        for title in ["1990s", "5 May", "May 5", "1066"] {
            assert!(eligible_on(title, text, &["Oslo"]).is_empty(), "{title}");
        }
        assert_eq!(eligible_on("Apollo 11", text, &["Oslo"]), ["Oslo"]);
        assert!(eligible_on("Oslo Airport", text, &["Oslo"]).is_empty());
        assert!(eligible("Oslo grew. The Oslo Fjord did not.", &["Oslo"]).is_empty());
    }

    #[test]
    fn every_cause_has_its_name() {
        let config = EligibleConfig {
            labels: vec![EntityLabel::Gpe, EntityLabel::Date],
            stop_list: vec!["Oslo".into()],
            min_passages: 2,
            max_passages: 3,
            ..EligibleConfig::default()
        };
        let mut rules = Eligible::without_frequencies(&config, Locale::of("en"));
        let counts = [("Bergen", 2), ("Rome", 4), ("Ost", 1), ("19th century", 3)];
        rules.frequencies = Some(counts.map(|(surface, count)| (key(surface), count)).into_iter().collect());
        let check = |surface: &str, label| rules.check(surface, label);
        assert_eq!(check("Bergen", EntityLabel::Gpe), Ok(()));
        assert_eq!(check("19th century", EntityLabel::Date), Ok(()), "dates begin with any letter");
        assert_eq!(check("Bergen", EntityLabel::Person), Err(Ineligible::Label));
        assert_eq!(check("Bo", EntityLabel::Gpe), Err(Ineligible::Length));
        assert_eq!(check("river", EntityLabel::Gpe), Err(Ineligible::SmallLetter));
        assert_eq!(check("OSLO", EntityLabel::Gpe), Err(Ineligible::StopList));
        assert_eq!(check("Mask", EntityLabel::Gpe), Err(Ineligible::Words));
        for surface in ["Rome", "Ost", "Nowhere"] {
            assert_eq!(check(surface, EntityLabel::Gpe), Err(Ineligible::Frequency), "{surface}");
        }
    }

    #[test]
    fn splits_are_stable_and_of_the_size_asked_for() {
        let config = SynthesizeConfig { heldout_fraction: 0.25, ..SynthesizeConfig::default() };
        let heldout = (0..4000).filter(|&id| split_of(id, 3, &config) == Split::Heldout).count();
        assert!((850..1150).contains(&heldout), "{heldout}");
        assert_eq!(split_of(17, 3, &config), split_of(17, 3, &config));
    }
}
