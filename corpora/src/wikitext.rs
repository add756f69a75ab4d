//! From wikitext to clean prose with sections, link spans and categories.
//!
//! Two passes over the bytes, both linear whatever the text holds. `tokens` pairs what can nest (templates, links,
//! tables) with one stack and finds what is opaque (comments, `<ref>`, `<nowiki>`); `clean` then walks the text once, jumps
//! over what is dropped, and writes the rest to an output that keeps spacing, sections and spans right as it grows.

mod clean;
mod context;
mod html;
mod interwiki;
mod line;
mod link;
mod output;
mod quotes;
mod template;
mod template_names;
mod tokens;

pub use context::WikiContext;

use crate::{Link, Section};

/// A page without its markup.
///
/// ```
/// use memtrain_corpora::wikitext::{WikiContext, clean};
/// let page = clean("'''Mira''' is a [[town]]s' [[League (union)|league]].<ref>x</ref>\n== History ==\nFounded {{circa|1200}}.\n[[Category:Leagues]]", &WikiContext::default());
/// assert_eq!(page.text, "Mira is a towns' league.\n\nFounded c. 1200.");
/// assert_eq!(&page.text[page.links[0].span.clone()], "towns");
/// assert_eq!(page.links[1].target, "League (union)");
/// assert_eq!(&page.text[page.sections[1].span.clone()], "Founded c. 1200.");
/// assert_eq!(page.categories, ["Leagues"]);
/// ```
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
    clean::Cleaner::new(wikitext, context).run()
}

/// Whether a section of this title holds no prose of its own: references, links, reading lists.
pub fn is_boilerplate_section(title: &str) -> bool {
    const TITLES: &[&str] = &[
        "bibliography",
        "citations",
        "endnotes",
        "external link",
        "external links",
        "external references",
        "footnotes",
        "further reading",
        "gallery",
        "general references",
        "literature",
        "literature cited",
        "notes",
        "notes and references",
        "reading list",
        "reference",
        "references",
        "references and notes",
        "references and sources",
        "see also",
        "selected bibliography",
        "sources",
        "sources and references",
        "web links",
        "works cited",
    ];
    let lower = title.trim().to_lowercase();
    TITLES.binary_search(&lower.as_str()).is_ok()
}
