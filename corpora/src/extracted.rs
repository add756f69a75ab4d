//! Articles that somebody has already extracted: `wikimedia/wikipedia`-style Parquet and JSON lines (`id`, `url`, `title`, `text`), and
//! what WikiExtractor writes, as `<doc>` elements or as JSON.
//!
//! Such texts have no links and no markup; their sections are found again as far as the form tells ([`outline`]).
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
mod form;
mod json_lines;
mod lines;
mod outline;
mod parquet;

use std::path::Path;

use crate::dump;

pub use self::form::{Form, recognise};
pub use self::outline::{Outline, outline};
pub use crate::dump::DumpError;

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
    /// Each line is a paragraph, and headings end in a full stop: how WikiExtractor writes.
    pub lines_are_paragraphs: bool,
}

/// The texts of a file, streamed.
pub struct Texts {
    rows: Box<dyn Iterator<Item = Result<Text, DumpError>> + Send>,
}

/// Opens a file of extracted texts, its form told by its content.
pub fn open(path: &Path) -> Result<Texts, DumpError> {
    let rows: Box<dyn Iterator<Item = Result<Text, DumpError>> + Send> = match recognise(path)? {
        Form::Parquet => Box::new(parquet::rows(path)?),
        Form::JsonLines => Box::new(json_lines::rows(path)?),
        Form::Docs => Box::new(doc::rows(path)?),
        Form::MediaWiki => {
            let detail = "it is a MediaWiki export: its texts are still to be extracted".to_owned();
            return Err(DumpError::NotADump { path: path.to_path_buf(), detail });
        }
    };
    Ok(Texts { rows })
}

impl Iterator for Texts {
    type Item = Result<Text, DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next()
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

/// What a row gives, once its fields are found.
struct Fields {
    id: Option<String>,
    url: Option<String>,
    title: Option<String>,
    text: Option<String>,
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
        let id = self.id.unwrap_or_default();
        let id = match id.trim().parse::<u64>() {
            Ok(id) => id,
            Err(_) => made_id(if id.trim().is_empty() { &title } else { id.trim() }),
        };
        Ok(Text {
            id,
            url: self.url.unwrap_or_default(),
            title: title.trim().to_owned(),
            text,
            lines_are_paragraphs: false,
        })
    }
}

/// The error of one row; the rows after it are read.
fn malformed(path: &Path, number: u64, title: Option<String>, detail: String) -> DumpError {
    // What is wrong with a row may quote it.
    let detail = detail.chars().take(200).collect();
    DumpError::Malformed { path: path.to_path_buf(), number, title, detail }
}
