//! Articles that somebody has already extracted: `wikimedia/wikipedia`-style Parquet and JSON lines (`id`, `url`, `title`, `text`), what
//! WikiExtractor writes, as `<doc>` elements or as JSON, Markdown in either table, and the NDJSON of Wikimedia Enterprise.
//!
//! Plain texts have no links and no markup; their sections are found again as far as the form tells ([`outline`]). Markdown, HTML and
//! wikitext become what a page of a dump becomes ([`clean`]).
//!
//! ```
//! use memtrain_corpora::extracted;
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("wiki_00");
//! # std::fs::write(&path, "<doc id=\"7\" url=\"u\" title=\"Mira\">\nMira\n\nMira is a town.\n</doc>\n").unwrap();
//! for text in extracted::open(&path)? {
//!     let text = text?;
//!     assert_eq!((text.id, text.title.as_str(), text.text.as_str()), (7, "Mira", "Mira is a town."));
//! }
//! # Ok::<(), extracted::DumpError>(())
//! ```

mod doc;
mod enterprise;
mod form;
mod html;
mod json_lines;
mod lines;
mod markdown;
mod outline;
#[cfg(feature = "tables")]
mod parquet;

use std::collections::VecDeque;
use std::path::Path;

use crate::dump::{self, SiteInfo};
use crate::wikitext::{CleanPage, WikiContext, clean_titled};

pub use self::form::{Form, recognise};
pub use self::outline::{Outline, outline};
pub use crate::dump::DumpError;

/// How a text is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Markup {
    /// Paragraphs, and headings that look like short ones.
    #[default]
    Plain,
    /// As WikiExtractor writes: each line is a paragraph, and headings end in a full stop.
    WikiExtractor,
    /// Markdown.
    Markdown,
    /// A page of HTML; no table of articles is told to be in it.
    Html,
    /// HTML as Parsoid makes it of a page of a wiki.
    Parsoid,
    /// The wikitext of the page.
    Wikitext,
}

/// An article as it was extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Page id. Where the source has none that is a number, one is made of what it has (see [`made_id`]).
    pub id: u64,
    /// Address; empty where the source has none.
    pub url: String,
    /// Title.
    pub title: String,
    /// The text with line breaks as the source has them.
    pub text: String,
    /// How it is written.
    pub markup: Markup,
    /// Namespace of the page; 0, that of the articles, where the source does not say.
    pub namespace: i64,
    /// Id of the revision; 0 where the source does not say.
    pub revision_id: u64,
    /// Time of the revision (ISO 8601, UTC); empty where the source does not say.
    pub timestamp: String,
}

/// The prose of a text with its sections; `context` says what is kept of markup, and in which language wikitext is.
///
/// ```
/// use memtrain_corpora::extracted::{Markup, Text, clean};
/// use memtrain_corpora::wikitext::WikiContext;
/// let text = "Mira is a [town](https://example.org/town).\n\n## History\n\nIt is **old**.";
/// let text = Text { text: text.into(), markup: Markup::Markdown, ..Text::default() };
/// let page = clean(&text, &WikiContext::default());
/// assert_eq!(page.text, "Mira is a town.\n\nIt is old.");
/// assert_eq!(page.sections[1].title, "History");
/// ```
pub fn clean(text: &Text, context: &WikiContext) -> CleanPage {
    match text.markup {
        Markup::Plain | Markup::WikiExtractor => {
            let Outline { text, sections } = outline(text);
            CleanPage { text, sections, ..CleanPage::default() }
        }
        Markup::Markdown => clean_titled(&markdown::wikitext(text), &text.title, context),
        Markup::Html => clean_titled(&html::wikitext(&text.text), &text.title, context),
        Markup::Parsoid => clean_titled(&html::wikitext_of_page(&text.text), &text.title, context),
        Markup::Wikitext => clean_titled(&text.text, &text.title, context),
    }
}

type Rows = Box<dyn Iterator<Item = Result<Text, DumpError>> + Send>;

/// The texts of a file, streamed.
pub struct Texts {
    rows: Rows,
    site: SiteInfo,
    /// The first rows, by which it was told whether the file is in Markdown.
    first: VecDeque<Result<Text, DumpError>>,
    /// Whether it is.
    markdown: bool,
}

/// Texts that are looked at to tell whether a file is in Markdown, and how many bytes of them at most.
const SAMPLE: (usize, usize) = (64, 1 << 20);
/// A file is in Markdown if one text in so many, of those that are looked at, shows it.
const ONE_IN: usize = 4;

/// Checks that a file of this form has articles, as far as its columns or its first object tell.
///
/// # Errors
/// What it has instead, or that it cannot be read.
pub fn check(path: &Path, form: Form) -> Result<(), DumpError> {
    match form {
        Form::MediaWiki => Ok(()),
        form => rows(path, form).map(drop),
    }
}

/// Opens a file of extracted texts, its form told by its content.
pub fn open(path: &Path) -> Result<Texts, DumpError> {
    let (rows, site) = rows(path, recognise(path)?)?;
    Ok(Texts { rows, site, first: VecDeque::new(), markdown: false }.sampled())
}

fn rows(path: &Path, form: Form) -> Result<(Rows, SiteInfo), DumpError> {
    let mut site = SiteInfo::default();
    let rows: Rows = match form {
        #[cfg(feature = "tables")]
        Form::Parquet => Box::new(parquet::rows(path)?),
        #[cfg(not(feature = "tables"))]
        Form::Parquet => {
            let detail = "it is a Parquet table, which this build does not read".to_owned();
            return Err(DumpError::NotADump { path: path.to_path_buf(), detail });
        }
        Form::JsonLines => {
            let rows = json_lines::rows(path)?;
            site = rows.site();
            Box::new(rows)
        }
        Form::Docs => Box::new(doc::rows(path)?),
        Form::MediaWiki => {
            let detail = "it is a MediaWiki export: its texts are still to be extracted".to_owned();
            return Err(DumpError::NotADump { path: path.to_path_buf(), detail });
        }
    };
    Ok((rows, site))
}

impl Texts {
    /// What the source says of the wiki; most fields are empty.
    pub fn site_info(&self) -> &SiteInfo {
        &self.site
    }

    /// Looks at the first texts. Plain ones may have a mark of Markdown here and there, a file of Markdown has many.
    fn sampled(mut self) -> Texts {
        let (mut plain, mut marked, mut bytes) = (0, 0, 0);
        while self.first.len() < SAMPLE.0
            && bytes < SAMPLE.1
            && let Some(row) = self.rows.next()
        {
            if let Ok(text) = &row {
                bytes += text.text.len();
                let is_plain = text.markup == Markup::Plain && !text.text.trim().is_empty();
                plain += usize::from(is_plain);
                marked += usize::from(is_plain && markdown::is_shown_by(&text.text));
            }
            self.first.push_back(row);
        }
        self.markdown = marked > 0 && marked * ONE_IN >= plain;
        self
    }
}

impl Iterator for Texts {
    type Item = Result<Text, DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut row = self.first.pop_front().or_else(|| self.rows.next())?;
        if let Ok(text) = &mut row
            && self.markdown
            && text.markup == Markup::Plain
        {
            text.markup = Markup::Markdown;
        }
        Some(row)
    }
}

/// The number for an article without a numeric id: from the hash of its id, or of its title; above all ids of real wikis.
///
/// ```
/// use memtrain_corpora::extracted::made_id;
/// assert_eq!(made_id("Q42"), made_id("Q42"));
/// assert!(made_id("Q42") >= 1 << 63);
/// ```
pub fn made_id(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    let mut eight = [0; 8];
    eight.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(eight) | 1 << 63
}

/// The names that a text's columns may have, the better one first.
const TEXT: [&str; 2] = ["text", "markdown"];
/// The names that the column of page ids may have, the better one first: in some corpora `id` holds the wiki's name, too.
const ID: [&str; 3] = ["page_id", "pageid", "id"];

/// What a row gives, once its fields are found.
#[derive(Default)]
struct Fields {
    id: Option<String>,
    url: Option<String>,
    title: Option<String>,
    text: Option<String>,
    markup: Markup,
}

impl Fields {
    /// The row as an article; else what is missing.
    fn text(self) -> Result<Text, (Option<String>, String)> {
        let title = self.title.filter(|title| !title.trim().is_empty());
        let Some(title) = title else { return Err((None, "no title".to_owned())) };
        if let Some(detail) =
            dump::too_long("title", &title).or_else(|| dump::too_long("address", self.url.as_deref()?))
        {
            return Err((None, detail));
        }
        let Some(text) = self.text else { return Err((Some(title), "no text".to_owned())) };
        // Tables of numbers with gaps have `NaN` in them.
        let is_gap = |id: &str| id.parse().is_ok_and(|number: f64| !number.is_finite());
        let id = self.id.as_deref().map(str::trim).filter(|id| !id.is_empty() && !is_gap(id));
        let id = id.and_then(number).unwrap_or_else(|| made_id(id.unwrap_or(&title)));
        Ok(Text {
            id,
            url: self.url.unwrap_or_default(),
            title: title.trim().to_owned(),
            text,
            markup: self.markup,
            ..Text::default()
        })
    }
}

/// The number that an id is, also where a table of numbers with gaps has made it a floating-point one.
fn number(id: &str) -> Option<u64> {
    let whole = match id.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        _ => id,
    };
    whole.parse().ok()
}

/// The error of one row; the rows after it are read.
fn malformed(path: &Path, number: u64, title: Option<String>, detail: String) -> DumpError {
    // What is wrong with a row may quote it.
    let detail = detail.chars().take(200).collect();
    DumpError::Malformed { path: path.to_path_buf(), number, title, detail }
}
