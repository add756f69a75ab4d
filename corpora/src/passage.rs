//! Passages: stretches of whole paragraphs or sentences of one section, the unit that documents are made of.

use crate::{Link, Span};

/// A passage of an article, never across a section boundary.
///
/// ```
/// use memtrain_corpora::{Passage, store::ScalarIndex};
/// let article = "Été in Évora.\n\nIt is warm.";
/// let span = 18..29;
/// let passage = Passage {
///     id: 0,
///     article_id: 7,
///     url: "https://example.org/wiki/Summer".into(),
///     title: "Summer".into(),
///     section: String::new(),
///     text: article[span.clone()].to_owned(),
///     char_start: ScalarIndex::new(article).to_scalar(span.start).unwrap().into(),
///     span,
///     num_words: 3,
///     revision_id: 70,
///     links: Vec::new(),
/// };
/// assert_eq!(passage.text, "It is warm.");
/// assert_eq!(passage.char_start, 15, "the byte offset is 18");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Dense number of the passage in the corpus, 0 … n−1 in dump order.
    pub id: u64,
    /// Page id of the article it comes from.
    pub article_id: u64,
    /// Address of the article.
    pub url: String,
    /// Title of the article.
    pub title: String,
    /// Heading of the section, empty for the lead.
    pub section: String,
    /// The passage's text.
    pub text: String,
    /// Byte range of `text` in the article's text.
    pub span: Span,
    /// Where `text` begins in the article's text, in Unicode scalars: what `span.start` is to a reader in Python.
    pub char_start: u64,
    /// Number of words (Unicode word segmentation).
    pub num_words: u32,
    /// Revision id of the article.
    pub revision_id: u64,
    /// Internal links, spans relative to `text`.
    pub links: Vec<Link>,
}

/// What a reader sees of a passage: the columns of the table that a document is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassageText {
    /// Title of the article.
    pub title: String,
    /// The text.
    pub text: String,
}

/// The article that a passage comes from, by [`Passage::article_id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassageArticle(pub u64);

/// Where a passage comes from, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassageHead {
    /// Title of the article.
    pub title: String,
    /// Heading of the section, empty for the lead.
    pub section: String,
    /// Address of the article.
    pub url: String,
}
