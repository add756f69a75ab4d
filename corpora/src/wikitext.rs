//! From wikitext to clean prose with sections, link spans and categories.

mod context;

pub use context::WikiContext;

use crate::{Link, Section};

/// A page without its markup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanPage {
    /// Paragraphs separated by a blank line, lines of a list by a newline; headings are not in it.
    pub text: String,
    /// Sections in order, the lead first (present even when empty); apart from the blank lines between them their spans
    /// cover the text without overlap.
    pub sections: Vec<Section>,
    /// Links to pages of the main namespace, in order of their spans.
    pub links: Vec<Link>,
    /// Names of the page's categories in order, each once.
    pub categories: Vec<String>,
}

/// Cleans the wikitext of one page. Never fails: broken markup costs words of that page at worst, and time is linear in the
/// length of the page whatever it holds.
pub fn clean(wikitext: &str, context: &WikiContext) -> CleanPage {
    let _ = (wikitext, context);
    CleanPage::default()
}

/// Whether a section of this title holds no prose of its own: references, links, reading lists.
pub fn is_boilerplate_section(title: &str) -> bool {
    const TITLES: &[&str] = &[
        "bibliography", "citations", "endnotes", "external link", "external links", "external references", "footnotes",
        "further reading", "general references", "literature", "literature cited", "notes", "notes and references",
        "reading list", "reference", "references", "references and notes", "references and sources", "see also", "selected bibliography",
        "sources", "sources and references", "web links", "works cited",
    ];
    let lower = title.trim().to_lowercase();
    TITLES.binary_search(&lower.as_str()).is_ok()
}
