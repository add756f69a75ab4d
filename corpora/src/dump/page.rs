//! One `<page>` element.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;
use memchr::memmem;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::redirect;
use super::references::{push_reference, unescape};
use super::site::{SiteInfo, attribute};

/// A title, an address and the like stand in many rows of the corpus. MediaWiki's titles have at most 255 bytes, and browsers take
/// addresses of some thousand.
const MAX_NAME_BYTES: usize = 4096;
/// Elements inside one another; those of an export have 5 levels.
const MAX_DEPTH: usize = 64;

/// What is wrong with a title, an address or the like that is too long.
pub(crate) fn too_long(what: &str, name: &str) -> Option<String> {
    (name.len() > MAX_NAME_BYTES).then(|| format!("its {what} has {} bytes, more than {MAX_NAME_BYTES}", name.len()))
}

/// A page of a dump, in its newest revision.
///
/// ```
/// # let xml = r#"<mediawiki><page><title>Mira</title><ns>0</ns><id>7</id><revision><id>70</id>
/// # <timestamp>2026-01-01T00:00:00Z</timestamp><text>'''Mira''' is a town.</text></revision></page></mediawiki>"#;
/// let pages: Vec<_> = memtrain_corpora::dump::from_reader(xml.as_bytes(), "example.xml").unwrap().collect();
/// let page = pages[0].as_ref().unwrap();
/// assert_eq!((page.id, page.ns, page.title.as_str()), (7, 0, "Mira"));
/// assert_eq!(page.text, "'''Mira''' is a town.");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Page id.
    pub id: u64,
    /// Namespace; 0 is that of the articles. Where the schema has no `<ns>` it follows from the title.
    pub ns: i32,
    /// Title with its namespace prefix.
    pub title: String,
    /// Where the page redirects to: from `<redirect title>`, or from the text where the dump does not say.
    pub redirect: Option<String>,
    /// Id of the revision.
    pub revision_id: u64,
    /// Time of the revision (ISO 8601, UTC).
    pub timestamp: String,
    /// Content model: `wikitext`, `css`, `Scribunto`, …; empty in schemas before 0.8.
    pub model: String,
    /// Wikitext. Empty if the revision's text was deleted.
    pub text: String,
}

/// Where an element stands: which revision it belongs to decides what is kept.
#[derive(Default)]
struct Parsed {
    title: Option<String>,
    ns: Option<i32>,
    id: Option<u64>,
    is_redirect: bool,
    redirect: Option<String>,
    /// The newest revision so far.
    newest: Option<Revision>,
}

#[derive(Default)]
struct Revision {
    id: u64,
    timestamp: String,
    model: String,
    text: String,
    /// Content of the text element still to be unescaped: a range of the page.
    raw: Option<Range<usize>>,
}

/// Parses the bytes from `<page` to `</page>`. The error is what is wrong, with the title if it was reached.
pub(super) fn parse(bytes: &[u8], site: &SiteInfo) -> Result<Page, (Option<String>, String)> {
    let xml = match std::str::from_utf8(bytes) {
        Ok(xml) => xml,
        Err(error) => {
            let detail = format!("not UTF-8 at byte {} of the page; {}", error.valid_up_to(), crate::store::TO_UTF8);
            return Err((None, detail));
        }
    };
    // The texts, which are nearly all of a page, are taken out first: they hold no elements of the export, and a search
    // for their end is many times faster than an event for every reference in them.
    let (skeleton, texts) = without_texts(xml);
    let mut parsed = Parsed::default();
    if let Err(detail) = parsed.read(&skeleton, &texts) {
        return Err((parsed.title, detail));
    }
    parsed.finish(xml, site)
}

/// The page without the contents of its text elements, and where those were.
fn without_texts(xml: &str) -> (Cow<'_, str>, Vec<Range<usize>>) {
    let bytes = xml.as_bytes();
    let close = memmem::Finder::new("</text>");
    let mut skeleton = String::new();
    let mut texts = Vec::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(found) = memmem::find(&bytes[at..], b"<text") {
        let open = at + found;
        let Some(tag_end) = memchr(b'>', &bytes[open..]).map(|end| open + end + 1) else {
            break;
        };
        at = tag_end;
        let is_text = matches!(bytes.get(open + 5), Some(b' ' | b'>' | b'\t' | b'\n' | b'\r'));
        if !is_text || bytes[tag_end - 2] == b'/' {
            continue;
        }
        let Some(end) = close.find(&bytes[tag_end..]).map(|end| tag_end + end) else {
            break;
        };
        at = end;
        // Some exporters do not escape the tags of the wikitext: it is what stands between those of the element, all of it.
        if !xml[tag_end..end].trim_start().starts_with("<![CDATA[") {
            skeleton.push_str(&xml[kept..tag_end]);
            texts.push(tag_end..end);
            kept = end;
        }
    }
    if texts.is_empty() {
        return (Cow::Borrowed(xml), texts);
    }
    skeleton.push_str(&xml[kept..]);
    (Cow::Owned(skeleton), texts)
}

impl Parsed {
    /// Walks the elements. `texts` are the contents that were taken out, for the text elements that are now empty, in order.
    fn read(&mut self, skeleton: &str, texts: &[Range<usize>]) -> Result<(), String> {
        let mut reader = Reader::from_str(skeleton);
        let mut texts = texts.iter().peekable();
        let mut removed = 0;
        let mut path: Vec<String> = Vec::new();
        let mut revision = Revision::default();
        let mut content = String::new();
        loop {
            match reader.read_event().map_err(|error| error.to_string())? {
                Event::Start(start) => {
                    if path.len() == MAX_DEPTH {
                        return Err(format!("elements inside one another, more than {MAX_DEPTH} deep"));
                    }
                    path.push(start.local_name().into_inner().to_owned());
                    self.open(&start);
                    content.clear();
                    let place = reader.buffer_position() as usize + removed;
                    if start.local_name().into_inner() == "text"
                        && let Some(range) = texts.next_if(|range| range.start == place)
                    {
                        removed += range.len();
                        // Deeper ones are further slots of a revision (`<content>`), which are no article.
                        if path.len() == 3 {
                            revision.raw = Some(range.clone());
                        }
                    }
                }
                Event::Empty(start) => self.open(&start),
                Event::Text(text) => content.push_str(&text),
                Event::CData(text) => content.push_str(&text),
                Event::GeneralRef(name) => push_reference(&mut content, &name),
                Event::End(_) => {
                    let names: Vec<&str> = path.iter().map(String::as_str).collect();
                    self.close(&names, &content, &mut revision)?;
                    path.pop();
                    content.clear();
                }
                Event::Eof if path.is_empty() => return Ok(()),
                Event::Eof => return Err("an element is not closed".to_owned()),
                _ => {}
            }
        }
    }

    fn open(&mut self, start: &BytesStart) {
        if start.local_name().into_inner() == "redirect" {
            self.is_redirect = true;
            self.redirect = attribute(start, "title").filter(|title| !title.is_empty());
        }
    }

    fn close(&mut self, path: &[&str], content: &str, revision: &mut Revision) -> Result<(), String> {
        match path {
            ["page", "title"] => self.title = Some(content.to_owned()),
            ["page", "ns"] => self.ns = Some(number(content, "ns")?),
            ["page", "id"] => self.id = Some(number(content, "id")?),
            ["page", "revision", "id"] => revision.id = number(content, "revision id")?,
            ["page", "revision", "timestamp"] => revision.timestamp = content.trim().to_owned(),
            ["page", "revision", "model"] => revision.model = content.trim().to_owned(),
            ["page", "revision", "text"] if revision.raw.is_none() => revision.text = content.to_owned(),
            ["page", "revision"] => {
                let revision = std::mem::take(revision);
                if self.newest.as_ref().is_none_or(|newest| !is_newer(&newest.timestamp, &revision.timestamp)) {
                    self.newest = Some(revision);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, xml: &str, site: &SiteInfo) -> Result<Page, (Option<String>, String)> {
        let title = match self.title {
            Some(title) if !title.trim().is_empty() => title,
            _ => return Err((None, "no title".to_owned())),
        };
        if let Some(detail) = too_long("title", &title) {
            return Err((None, detail));
        }
        let (Some(id), Some(revision)) = (self.id, self.newest) else {
            let missing = if self.id.is_none() { "no id" } else { "no revision" };
            return Err((Some(title), missing.to_owned()));
        };
        let text = revision.raw.map_or(revision.text, |range| unescape(&xml[range]).into_owned());
        let redirect = match self.redirect {
            None if self.is_redirect || text.trim_start().starts_with(['#', '＃']) => redirect::target(&text),
            given => given,
        };
        let names = [("redirect", redirect.as_deref().unwrap_or_default()), ("timestamp", &revision.timestamp)];
        if let Some(detail) = names.into_iter().find_map(|(what, name)| too_long(what, name)) {
            return Err((Some(title), detail));
        }
        Ok(Page {
            id,
            ns: self.ns.unwrap_or_else(|| site.namespace_of(&title)),
            title,
            redirect,
            revision_id: revision.id,
            timestamp: revision.timestamp,
            model: revision.model,
            text,
        })
    }
}

/// Whether a revision is newer than one that comes after it in the dump. Exports list the oldest first, but can be asked for the
/// other order; without a time of both, the order is what counts.
pub(super) fn is_newer(timestamp: &str, later: &str) -> bool {
    !later.is_empty() && timestamp > later
}

fn number<T: std::str::FromStr>(content: &str, name: &str) -> Result<T, String> {
    let content = content.trim();
    content.parse().map_err(|_| format!("{name} `{}` is not a number", content.chars().take(40).collect::<String>()))
}
