//! Encyclopedia articles: the output of ingest.

use crate::Span;

/// A section of an [`Article`]: a heading and the stretch of text below it, up to the next heading of any level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Heading as clean text; empty for the lead.
    pub title: String,
    /// Heading level, 2 to 6; 1 for the lead.
    pub level: u8,
    /// Byte range in [`Article::text`], heading excluded.
    pub span: Span,
}

/// An internal link: the words that carry it and the title it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Byte range of the anchor in the text that carries it.
    pub span: Span,
    /// Target title, first letter upper-cased, underscores as spaces, without the `#section` part.
    pub target: String,
}

/// One page of namespace 0 that is not a redirect, as clean prose.
///
/// ```
/// use memtrain_corpora::{Article, wikitext::{WikiContext, clean}};
/// let page = clean("'''Mira''' is a [[town]].\n== History ==\nIt is old.", &WikiContext::default());
/// let article = Article {
///     id: 7,
///     url: "https://example.org/wiki/Mira".into(),
///     title: "Mira".into(),
///     text: page.text,
///     revision_id: 70,
///     timestamp: "2026-01-02T03:04:05Z".into(),
///     sections: page.sections,
///     links: page.links,
///     categories: page.categories,
///     infoboxes: page.infoboxes,
/// };
/// let history = &article.sections[1];
/// assert_eq!((history.title.as_str(), &article.text[history.span.clone()]), ("History", "It is old."));
/// assert_eq!(&article.text[article.links[0].span.clone()], "town");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Article {
    /// Page id of the wiki.
    pub id: u64,
    /// Address of the page, from the dump's `<base>`.
    pub url: String,
    /// Page title.
    pub title: String,
    /// Prose: paragraphs separated by a blank line, headings not included.
    pub text: String,
    /// Revision id.
    pub revision_id: u64,
    /// Revision timestamp as the dump has it (ISO 8601, UTC).
    pub timestamp: String,
    /// Sections in order; their spans cover the text without overlap.
    pub sections: Vec<Section>,
    /// Internal links in order of their spans.
    pub links: Vec<Link>,
    /// Category names without the namespace prefix.
    pub categories: Vec<String>,
    /// Names of the page's boxes of facts, such as `Infobox settlement`: they tell what kind of thing it is about.
    pub infoboxes: Vec<String>,
}

/// A redirect page: another name of an article.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Page id of the redirect.
    pub id: u64,
    /// Title of the redirect page.
    pub title: String,
    /// Title it points to.
    pub target: String,
}
