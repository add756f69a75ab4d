//! From wikitext to clean prose with sections, link spans and categories.
//!
//! Two passes over the bytes, both linear whatever the text holds. `tokens` pairs what can nest (templates, links,
//! tables) with one stack and finds what is opaque (comments, `<ref>`, `<nowiki>`); `clean` then walks the text once, jumps
//! over what is dropped, and writes the rest to an output that keeps spacing, sections and spans right as it grows.

mod bars;
mod bio;
mod character_references;
mod citations;
mod clean;
mod context;
mod dates;
mod expression;
mod functions;
mod holes;
mod html;
mod infobox;
mod interwiki;
mod language;
mod line;
mod link;
mod math;
mod measure;
mod numerals;
mod opaque;
mod options;
mod output;
mod quotes;
mod ruby;
mod sections;
mod ships;
mod table;
mod template;
mod template_names;
mod template_pattern;
mod template_show;
mod time;
mod tokens;
mod unit_symbols;
mod units;
mod visibility;

pub use context::WikiContext;
pub use holes::{Hole, HoleKind, holes};
pub use options::{CleanOptions, Keep, Math};
pub use sections::{is_boilerplate_heading, is_boilerplate_section};

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
/// assert_eq!(clean("{{Infobox town | area = 7}}'''Mira''' is.", &WikiContext::default()).infoboxes, ["Infobox town"]);
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
    /// Names of the templates on the page that are boxes of facts, in order, each once, at most eight.
    pub infoboxes: Vec<String>,
}

impl CleanPage {
    /// The text with its headings, as `## Heading` between blank lines.
    ///
    /// ```
    /// use memtrain_corpora::wikitext::{WikiContext, clean};
    /// let page = clean("Mira is a town.\n== History ==\nIt is old.", &WikiContext::default());
    /// assert_eq!(page.text_with_headings(), "Mira is a town.\n\n## History\n\nIt is old.");
    /// ```
    pub fn text_with_headings(&self) -> String {
        let mut parts = Vec::new();
        for section in &self.sections {
            if !section.title.is_empty() {
                parts.push(format!("{} {}", "#".repeat(section.level.into()), section.title));
            }
            let text = &self.text[section.span.clone()];
            if !text.is_empty() {
                parts.push(text.to_owned());
            }
        }
        parts.join("\n\n")
    }
}

/// Cleans the wikitext of one page. Never fails: broken markup costs words of that page at worst, and time is linear in the
/// length of the page whatever it holds.
pub fn clean(wikitext: &str, context: &WikiContext) -> CleanPage {
    clean_titled(wikitext, "", context)
}

/// The same for the page of a title, which `{{PAGENAME}}` stands for.
///
/// ```
/// use memtrain_corpora::wikitext::{WikiContext, clean_titled};
/// let page = clean_titled("'''{{PAGENAME}}''' is a town.", "Mira", &WikiContext::default());
/// assert_eq!(page.text, "Mira is a town.");
/// ```
pub fn clean_titled(wikitext: &str, title: &str, context: &WikiContext) -> CleanPage {
    clean::Cleaner::new(&bars::written_out(wikitext), title, context).run()
}

/// Where a page leads whose text says that it is a redirect, in the words of any Wikipedia: `#REDIRECT [[Target]]`.
///
/// ```
/// use memtrain_corpora::wikitext::redirect_target;
/// assert_eq!(redirect_target("#WEITERLEITUNG [[Mira_(Stadt)#Lage]]").as_deref(), Some("Mira (Stadt)"));
/// assert_eq!(redirect_target("# first [[item]]"), None);
/// ```
pub fn redirect_target(wikitext: &str) -> Option<String> {
    crate::dump::redirect_target(wikitext)
}
