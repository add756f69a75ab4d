//! A fictional encyclopedia of any size, written as a genuine MediaWiki export.
//!
//! It is the input of the quickstart, small enough for a model of a million parameters to know by heart, and the
//! generator of the scale tests. Towns, rivers, people, companies, battles, guilds, books, mountains and festivals
//! come in *provinces* of 25 pages; inside a province each is joined to others by specific relations (this town lies
//! on this river and was founded by this person), and every fact is told on the pages of all who take part in it. An
//! entity whose name is hidden can therefore be told from what is said about it, by a reader who knows the world.
//!
//! With [`Annals`] it is another encyclopedia of the same names: the page of an entity says only what never changes, and
//! further pages say what happened to a person in a year. What happened is drawn for that page and written nowhere else,
//! so a reader who knows the whole world still has to remember it.
//!
//! A province is a pure function of the seed, the province's number and its size, so memory is bounded by one
//! province and time is linear in the number of pages. The text is a pure function of the [`WorldConfig`].

mod annals;
mod export;
mod names;
mod page;
mod phrases;
mod province;

use std::io::{self, Read, Write};
use std::path::Path;

use bzip2::Compression;
use bzip2::read::BzDecoder;
use bzip2::write::BzEncoder;
use serde::{Deserialize, Serialize};

use self::annals::Chronicler;
use self::names::Names;
use self::province::{Layout, Named, PROVINCE_SIZE, Province};
use crate::store::{self, AtomicFile, StoreError};

/// What an entity of the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Town,
    River,
    Person,
    Company,
    Battle,
    Guild,
    Book,
    Mountain,
    Festival,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Town,
        Self::River,
        Self::Person,
        Self::Company,
        Self::Battle,
        Self::Guild,
        Self::Book,
        Self::Mountain,
        Self::Festival,
    ];

    const fn noun(self) -> &'static str {
        match self {
            Self::Town => "town",
            Self::River => "river",
            Self::Person => "person",
            Self::Company => "company",
            Self::Battle => "battle",
            Self::Guild => "guild",
            Self::Book => "book",
            Self::Mountain => "mountain",
            Self::Festival => "festival",
        }
    }

    const fn plural(self) -> &'static str {
        match self {
            Self::Town => "Towns",
            Self::River => "Rivers",
            Self::Person => "People",
            Self::Company => "Companies",
            Self::Battle => "Battles",
            Self::Guild => "Guilds",
            Self::Book => "Books",
            Self::Mountain => "Mountains",
            Self::Festival => "Festivals",
        }
    }
}

/// A number of sentences or sections, drawn evenly between both ends; written as `[min, max]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u32; 2]", into = "[u32; 2]")]
pub struct Length {
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
}

impl From<[u32; 2]> for Length {
    fn from([min, max]: [u32; 2]) -> Self {
        Self { min, max }
    }
}

impl From<Length> for [u32; 2] {
    fn from(Length { min, max }: Length) -> Self {
        [min, max]
    }
}

/// Which world to write, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldConfig {
    /// Seed of everything.
    pub seed: u64,
    /// Articles of entities: pages of namespace 0 that are not redirects, without the annals.
    pub num_pages: u64,
    /// Sentences before the first heading.
    pub lead_sentences: Length,
    /// Sections after the lead.
    pub sections: Length,
    /// Sentences of a section.
    pub section_sentences: Length,
    /// Pages of what happened to a person in a year.
    pub annals: Annals,
}

/// Pages of what happened to a person in a year, beside the entities' own pages.
///
/// ```
/// use memtrain_corpora::world::{Annals, World, WorldConfig};
///
/// let annals = Annals { seed: 7, years: 2, ..Annals::default() };
/// let world = World::generate(WorldConfig { num_pages: 25, annals, ..WorldConfig::default() })?;
/// let years = world.pages().filter(|page| page.title.contains(" in 1")).count();
/// assert_eq!(years, 2 * 7, "a province has seven persons");
/// # Ok::<(), memtrain_corpora::world::WorldError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Annals {
    /// Seed of what happens: another one is other news of the same world.
    pub seed: u64,
    /// Years a person, each a page; with 0 there are no annals.
    pub years: u16,
    /// Seasons of a year, of four, that say once who is spoken of.
    pub signs: u8,
}

impl Default for Annals {
    fn default() -> Self {
        Self { seed: 0, years: 0, signs: 2 }
    }
}

impl Default for WorldConfig {
    /// The quickstart's world: 150 short pages.
    fn default() -> Self {
        Self {
            seed: 1,
            num_pages: 150,
            lead_sentences: Length { min: 2, max: 3 },
            sections: Length { min: 1, max: 2 },
            section_sentences: Length { min: 2, max: 4 },
            annals: Annals::default(),
        }
    }
}

impl WorldConfig {
    /// Pages of the length of real articles: sections of about 100 to 200 words.
    ///
    /// ```
    /// let config = memtrain_corpora::world::WorldConfig::long_pages(7, 10_000);
    /// assert!(config.check().is_ok());
    /// ```
    pub fn long_pages(seed: u64, num_pages: u64) -> Self {
        Self {
            seed,
            num_pages,
            lead_sentences: Length { min: 10, max: 16 },
            sections: Length { min: 2, max: 4 },
            section_sentences: Length { min: 13, max: 22 },
            annals: Annals::default(),
        }
    }

    /// Refuses a world without pages, pages without sentences, and ranges that end before they begin.
    pub fn check(&self) -> Result<(), WorldError> {
        if self.num_pages == 0 {
            return Err(WorldError::Empty { key: "num_pages" });
        }
        for (key, length, least) in [
            ("lead_sentences", self.lead_sentences, 1),
            ("sections", self.sections, 0),
            ("section_sentences", self.section_sentences, 1),
        ] {
            if length.min < least {
                return Err(WorldError::Empty { key });
            }
            if length.min > length.max {
                return Err(WorldError::Range { key, min: length.min, max: length.max });
            }
            if length.max > MAX_LENGTH {
                return Err(WorldError::TooLong { key, max: length.max });
            }
        }
        Ok(())
    }

    fn max_sentences(&self) -> usize {
        (self.lead_sentences.max + self.sections.max * self.section_sentences.max) as usize
    }
}

/// The most that a [`Length`] may be: beyond it a province of 25 has nothing new to tell.
const MAX_LENGTH: u32 = 100;

/// Why a world cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A number that must not be zero.
    #[error("`{key}` of the world must be at least 1")]
    Empty {
        /// Key of the configuration.
        key: &'static str,
    },
    /// A range whose minimum is above its maximum.
    #[error("`{key}` of the world is [{min}, {max}]: the first number must not be above the second")]
    Range {
        /// Key of the configuration.
        key: &'static str,
        /// First number.
        min: u32,
        /// Second number.
        max: u32,
    },
    /// More than there is to tell.
    #[error("`{key}` of the world is {max}: at most {MAX_LENGTH} are possible")]
    TooLong {
        /// Key of the configuration.
        key: &'static str,
        /// The number.
        max: u32,
    },
    /// The dump could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A page of the dump: an article, a redirect, or a page of another namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldPage {
    /// Title with the namespace prefix.
    pub title: String,
    /// Number of the namespace, 0 for articles and their redirects.
    pub ns: i32,
    /// Page id, rising in the order of the dump, with gaps.
    pub id: u64,
    /// Revision id.
    pub revision_id: u64,
    /// ISO 8601, UTC.
    pub timestamp: String,
    /// The title that a redirect points to.
    pub redirect: Option<String>,
    /// Wikitext.
    pub text: String,
}

/// What a written dump holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldSummary {
    /// Pages of all kinds.
    pub num_pages: u64,
    /// Articles.
    pub num_articles: u64,
    /// Redirects.
    pub num_redirects: u64,
    /// Bytes of XML before compression.
    pub xml_bytes: u64,
}

impl std::fmt::Display for WorldSummary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { num_pages, num_articles, num_redirects, xml_bytes } = self;
        write!(
            formatter,
            "{num_pages} pages, {num_articles} articles, {num_redirects} redirects, {xml_bytes} bytes of XML"
        )
    }
}

/// The fictional encyclopedia.
///
/// ```
/// use memtrain_corpora::world::{World, WorldConfig};
///
/// let world = World::generate(WorldConfig { num_pages: 30, ..WorldConfig::default() })?;
/// let articles = world.pages().filter(|page| page.ns == 0 && page.redirect.is_none());
/// assert_eq!(articles.count(), 30);
/// # Ok::<(), memtrain_corpora::world::WorldError>(())
/// ```
#[derive(Clone, Debug)]
pub struct World {
    config: WorldConfig,
    names: Names,
}

impl World {
    /// The world of this configuration; nothing is drawn before its pages are asked for.
    pub fn generate(config: WorldConfig) -> Result<Self, WorldError> {
        config.check()?;
        Ok(Self { names: Names::new(config.seed), config })
    }

    /// All pages in the order of the dump: templates, categories and other matter, then each article followed by its
    /// redirect and its talk page where it has them.
    pub fn pages(&self) -> impl Iterator<Item = WorldPage> {
        let front =
            export::front_matter().into_iter().map(|(ns, title, text)| Draft { title, ns, redirect: None, text });
        let layout = Layout { num_pages: self.config.num_pages };
        let articles = (0..layout.num_provinces()).flat_map(move |number| self.province_pages(number));
        front.chain(articles).zip(0_u64..).map(|(draft, number)| draft.publish(number))
    }

    fn province_pages(&self, number: u64) -> Vec<Draft> {
        if self.config.annals.years > 0 {
            let size = Layout { num_pages: self.config.num_pages }.size(number) as u64;
            let chronicler = Chronicler { config: &self.config, names: &self.names };
            let entities = (0..size).map(|slot| province::entity(&self.names, self.config.seed, number, slot));
            return entities
                .flat_map(|entity| {
                    let years = chronicler.years(&entity);
                    pages_of(&entity, chronicler.own_page(&entity)).chain(years).collect::<Vec<_>>()
                })
                .collect();
        }
        let province = Province::draw(&self.config, &self.names, number);
        (0..province.size)
            .flat_map(|slot| pages_of(&province.entities[slot], page::write(&self.config, &province, slot)))
            .collect()
    }

    /// Writes the export as XML, page by page.
    pub fn write_xml(&self, out: &mut impl Write) -> io::Result<WorldSummary> {
        let mut out = Counted { out, bytes: 0 };
        let mut summary = WorldSummary::default();
        export::open(&mut out)?;
        for page in self.pages() {
            export::page(&mut out, &page)?;
            summary.num_pages += 1;
            summary.num_articles += u64::from(page.ns == 0 && page.redirect.is_none());
            summary.num_redirects += u64::from(page.redirect.is_some());
        }
        export::close(&mut out)?;
        summary.xml_bytes = out.bytes;
        Ok(summary)
    }

    /// Writes the export as `.xml.bz2`.
    pub fn write_bz2(&self, out: impl Write) -> io::Result<WorldSummary> {
        let mut encoder = BzEncoder::new(out, Compression::best());
        let summary = self.write_xml(&mut encoder)?;
        encoder.finish()?.flush()?;
        Ok(summary)
    }
}

/// Writes the world's dump as `.xml.bz2` at `path`: whole or not at all.
///
/// # Errors
/// A configuration that [`WorldConfig::check`] refuses, or a file that cannot be written.
pub fn write_dump(path: &Path, config: &WorldConfig) -> Result<WorldSummary, WorldError> {
    let world = World::generate(*config)?;
    let mut file = AtomicFile::create(path)?;
    let summary = world.write_bz2(&mut file).map_err(|source| StoreError::io("write", path, source))?;
    file.commit()?;
    Ok(summary)
}

/// Whether a file is a dump that [`write_dump`] has written.
pub fn is_dump(path: &Path) -> bool {
    let mut head = String::new();
    let read = store::open(path).is_ok_and(|file| BzDecoder::new(file).take(1024).read_to_string(&mut head).is_ok());
    read && head.contains("<generator>memtrain world</generator>")
}

/// The article of an entity, its redirect and its talk page where it has them.
fn pages_of(entity: &Named, text: String) -> impl Iterator<Item = Draft> {
    let article = Draft { title: entity.name.clone(), ns: 0, redirect: None, text };
    let redirect = entity.alias.as_ref().map(|alias| Draft {
        title: alias.clone(),
        ns: 0,
        text: format!("#REDIRECT [[{}]]\n\n{{{{R from other name}}}}", entity.name),
        redirect: Some(entity.name.clone()),
    });
    let talk = entity.page.is_multiple_of(PROVINCE_SIZE / 2).then(|| Draft {
        title: format!("Talk:{}", entity.name),
        ns: 1,
        redirect: None,
        text: format!("== A question ==\nWho knows more about [[{}]]? ~~~~", entity.name),
    });
    [Some(article), redirect, talk].into_iter().flatten()
}

/// A page before it has its number.
struct Draft {
    title: String,
    ns: i32,
    redirect: Option<String>,
    text: String,
}

impl Draft {
    fn publish(self, number: u64) -> WorldPage {
        let Self { title, ns, redirect, text } = self;
        // One page every seven minutes from the first of January 2020, in a calendar of months of 28 days.
        let minutes = number * 7;
        let (day, month) = (minutes / 1440 % 28 + 1, minutes / (1440 * 28) % 12 + 1);
        let year = 2020 + minutes / (1440 * 28 * 12);
        let timestamp = format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:00Z", minutes / 60 % 24, minutes % 60);
        WorldPage { title, ns, id: 10 + 3 * number, revision_id: 1_000 + 7 * number, timestamp, redirect, text }
    }
}

/// Counts what passes through.
struct Counted<'a, W> {
    out: &'a mut W,
    bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
