//! From the pages of an input, whatever its form, to articles with their passages.

use std::path::Path;

use memtrain_corpora::dump::{self, DumpError, DumpReader, Page, SiteInfo};
use memtrain_corpora::extracted::{self, Form, Markup, Text, Texts};
use memtrain_corpora::mask::escape_placeholders;
use memtrain_corpora::wikitext::{self, CleanOptions, WikiContext};
use memtrain_corpora::{Article, Redirect};

use super::inputs::Piece;
use super::packing::{self, Packing};
use super::wikis::Numbering;
use crate::config::IngestConfig;
use crate::stage::ShardOutput;

/// Pages cleaned at a time, in parallel, …
const BATCH_PAGES: usize = 256;
/// … or as many as have so many bytes of markup together.
const BATCH_BYTES: usize = 1 << 18;

/// Malformed pages of a piece that are named in the log. All are counted.
const NAMED_PAGES: u64 = 50;

/// A page as the input has it.
pub(super) enum Raw {
    Page(Page),
    Text(Text),
}

/// What a page has become.
pub(super) enum Cleaned {
    Article(Box<Article>, Packing),
    Redirect(Redirect),
    Empty,
}

/// The pages of a piece, streamed.
pub(super) struct Pages {
    rows: Rows,
    malformed: u64,
    context: Context,
}

enum Rows {
    Dump(Box<DumpReader>),
    Texts(Box<Texts>),
}

/// What is needed to clean a page.
pub(super) struct Context {
    site: SiteInfo,
    wiki: WikiContext,
    numbering: Numbering,
}

/// Some pages, and whether they are the last.
pub(super) struct Batch {
    pub(super) pages: Vec<Raw>,
    pub(super) at_end: bool,
    /// Everything that was read, and what was left out while reading.
    pub(super) counts: ShardOutput,
}

impl Pages {
    /// Opens a piece; `options` say what is kept of markup, `site` gives what the header of its file says.
    pub(super) fn open(
        path: &Path,
        piece: &Piece,
        options: CleanOptions,
        numbering: Numbering,
        site: impl FnOnce() -> Result<SiteInfo, DumpError>,
    ) -> Result<Pages, DumpError> {
        let rows = match piece.form {
            Form::MediaWiki if piece.part == dump::Part::WHOLE => Rows::Dump(Box::new(dump::open(path)?)),
            Form::MediaWiki => Rows::Dump(Box::new(dump::open_part(path, piece.part, &site()?)?)),
            _ => Rows::Texts(Box::new(extracted::open(path)?)),
        };
        let site = match &rows {
            Rows::Dump(reader) => reader.site_info().clone(),
            Rows::Texts(texts) => texts.site_info().clone(),
        };
        let wiki = WikiContext::from_site(&site).with_options(options);
        Ok(Pages { rows, malformed: 0, context: Context { wiki, site, numbering } })
    }

    pub(super) fn split(&mut self) -> (&Context, Reading<'_>) {
        (&self.context, Reading { rows: &mut self.rows, malformed: &mut self.malformed })
    }
}

/// The side of [`Pages`] that reads, while the other cleans.
pub(super) struct Reading<'a> {
    rows: &'a mut Rows,
    /// Pages so far that are malformed.
    malformed: &'a mut u64,
}

impl Reading<'_> {
    /// The next pages of namespace 0.
    pub(super) fn next_batch(&mut self) -> Result<Batch, DumpError> {
        let mut batch = Batch { pages: Vec::new(), at_end: false, counts: ShardOutput::default() };
        let mut bytes = 0;
        while batch.pages.len() < BATCH_PAGES && bytes < BATCH_BYTES {
            match self.next(&mut batch.counts) {
                None => {
                    batch.at_end = true;
                    break;
                }
                Some(Ok(Some(page))) => {
                    bytes += page.num_bytes();
                    batch.pages.push(page);
                }
                Some(Ok(None)) => {}
                Some(Err(error)) if error.is_skippable() => {
                    *self.malformed += 1;
                    match *self.malformed {
                        ..NAMED_PAGES => tracing::warn!("skipped: {error}"),
                        NAMED_PAGES => tracing::warn!("skipped: {error}; more of this file are counted and not named"),
                        _ => {}
                    }
                    batch.counts.count("malformed_pages", 1);
                }
                Some(Err(error @ DumpError::Truncated { .. })) => {
                    tracing::warn!("taken as far as it goes: {error}");
                    batch.counts.count("truncated_dumps", 1);
                    batch.at_end = true;
                    break;
                }
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(batch)
    }

    /// The next page; the inner `None` if it is none of the articles.
    fn next(&mut self, counts: &mut ShardOutput) -> Option<Result<Option<Raw>, DumpError>> {
        let page = match self.rows {
            Rows::Dump(reader) => match reader.next()? {
                Ok(page) => page,
                Err(error) => return Some(Err(error)),
            },
            Rows::Texts(texts) => {
                return Some(texts.next()?.map(|text| {
                    counts.count("pages", 1);
                    if text.namespace != 0 {
                        counts.count("pages_of_other_namespaces", 1);
                        return None;
                    }
                    Some(Raw::Text(text))
                }));
            }
        };
        counts.count("pages", 1);
        if page.ns != 0 {
            counts.count("pages_of_other_namespaces", 1);
        } else if page.redirect.is_none() && !matches!(page.model.as_str(), "" | "wikitext") {
            counts.count("pages_not_wikitext", 1);
        } else {
            return Some(Ok(Some(Raw::Page(page))));
        }
        Some(Ok(None))
    }
}

impl Raw {
    fn num_bytes(&self) -> usize {
        match self {
            Raw::Page(page) => page.text.len(),
            Raw::Text(text) => text.text.len(),
        }
    }

    /// Cleans the page and cuts it into passages.
    pub(super) fn clean(self, context: &Context, config: &IngestConfig) -> Cleaned {
        let article = match self {
            Raw::Page(Page { redirect: Some(target), id, title, .. }) => {
                let id = context.numbering.id(id, &context.site.base);
                let (title, target) = (escaped(title), escaped(target));
                return Cleaned::Redirect(Redirect { id, title, target });
            }
            Raw::Page(page) => article_of_page(page, context),
            Raw::Text(text) => match redirect_of_text(&text) {
                Some(target) => {
                    let id = context.numbering.id(text.id, &text.url);
                    return Cleaned::Redirect(Redirect { id, title: escaped(text.title), target: escaped(target) });
                }
                None => article_of_text(text, context),
            },
        };
        if article.text.trim().is_empty() {
            return Cleaned::Empty;
        }
        let packing = packing::pack(&article, config);
        Cleaned::Article(Box::new(article), packing)
    }
}

fn article_of_page(page: Page, context: &Context) -> Article {
    let clean = wikitext::clean_titled(&page.text, &page.title, &context.wiki);
    Article {
        id: context.numbering.id(page.id, &context.site.base),
        url: context.site.page_url(&page.title),
        title: escaped(page.title),
        text: escaped(clean.text),
        revision_id: page.revision_id,
        timestamp: page.timestamp,
        sections: clean.sections,
        links: clean.links,
        categories: clean.categories,
        infoboxes: clean.infoboxes,
    }
}

/// Where a page leads whose wikitext says that it is a redirect.
fn redirect_of_text(text: &Text) -> Option<String> {
    if text.markup == Markup::Wikitext { wikitext::redirect_target(&text.text) } else { None }
}

fn article_of_text(text: Text, context: &Context) -> Article {
    let clean = extracted::clean(&text, &context.wiki);
    Article {
        id: context.numbering.id(text.id, &text.url),
        url: text.url,
        title: escaped(text.title),
        text: escaped(clean.text),
        revision_id: text.revision_id,
        timestamp: text.timestamp,
        sections: clean.sections,
        links: clean.links,
        categories: clean.categories,
        infoboxes: clean.infoboxes,
    }
}

/// Without what would be taken for a placeholder; the length stays.
fn escaped(text: String) -> String {
    match escape_placeholders(&text) {
        std::borrow::Cow::Owned(escaped) => escaped,
        std::borrow::Cow::Borrowed(_) => text,
    }
}
