//! The stream of pages.

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem;

use super::revisions;
use super::{DumpError, Page, SiteInfo, page};
use crate::store::{self, StoreError};
use crate::unpack::{Foreign, Unpacked, unpack};

/// Pages above this size are malformed: MediaWiki's own limit is 2 MiB of text, and memory is bounded by this number.
const MAX_PAGE_BYTES: usize = 64 << 20;
/// The header lists namespaces; the largest are a few kilobytes.
const MAX_HEADER_BYTES: usize = 4 << 20;
/// Bytes asked of the decompressor at a time.
const CHUNK_BYTES: usize = 1 << 17;

/// From this size on, the older revisions of a page are dropped while it is read.
const THIN_BYTES: usize = 2 << 20;

/// Streams the pages of a dump. Memory is bounded by the largest page in one revision.
///
/// The elements are found by their tags, which a dump never has inside a text, and each is then parsed by itself: a broken
/// page cannot spoil the next one.
pub struct DumpReader {
    path: PathBuf,
    site: SiteInfo,
    bytes: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
    total: Option<u64>,
    buffer: Vec<u8>,
    /// How many unpacked bytes lie before the buffer.
    passed: u64,
    /// What lies before is done with.
    at: usize,
    /// How many unpacked bytes belong to the part that is read.
    boundary: Arc<AtomicU64>,
    /// The part begins in the middle of the dump and no page of its own has been met: what comes before it, up to the end of the
    /// export, belongs to the part before.
    begins_inside: bool,
    /// The next page belongs to the next part.
    at_boundary: bool,
    end: Ending,
    pages: u64,
    malformed: u64,
    /// The tail of an oversized page is still ahead.
    oversized: bool,
    finished: bool,
}

/// How the bytes ended.
enum Ending {
    /// There are more.
    NotYet,
    /// Without a complaint.
    Plain,
    /// The compressed stream stops in the middle.
    Cut,
    /// Something that is not packed follows the compressed stream.
    Foreign,
    /// The compressed stream is wrong.
    Damaged(String),
    /// The file could not be read.
    Failed(io::Error),
}

/// Opens a dump: MediaWiki XML, plain or packed with bzip2 (one stream or many), gzip, xz, lzma or zstd, in UTF-8 or UTF-16, told
/// by its content.
pub fn open(path: &Path) -> Result<DumpReader, DumpError> {
    let total = store::len(path)?;
    let file = store::open(path)?;
    let mut reader = DumpReader::new(unpack(file, path)?, path);
    reader.total = Some(total);
    reader.read_header()?;
    Ok(reader)
}

/// Reads a dump from any stream; `name` stands for the path in errors.
pub fn from_reader(stream: impl Read + Send + 'static, name: &str) -> Result<DumpReader, DumpError> {
    let path = Path::new(name);
    let mut reader = DumpReader::new(unpack(stream, path)?, path);
    reader.read_header()?;
    Ok(reader)
}

/// What the search for the next page came to.
enum Found {
    /// Its place in the buffer.
    Page(Range<usize>),
    /// It cannot even be delimited.
    Broken(&'static str),
    /// There is no further one.
    End,
}

impl DumpReader {
    fn new(source: Unpacked, path: &Path) -> DumpReader {
        DumpReader {
            path: path.to_path_buf(),
            site: SiteInfo::default(),
            bytes: source.bytes,
            count: source.count,
            total: None,
            buffer: Vec::new(),
            passed: 0,
            at: 0,
            boundary: source.boundary,
            begins_inside: false,
            at_boundary: false,
            end: Ending::NotYet,
            pages: 0,
            malformed: 0,
            oversized: false,
            finished: false,
        }
    }

    /// Reads a part in the middle of a dump, whose header said `site`.
    pub(super) fn inside(source: Unpacked, path: &Path, site: SiteInfo) -> DumpReader {
        DumpReader { site, begins_inside: true, ..DumpReader::new(source, path) }
    }

    /// Reads the first part of a dump.
    pub(super) fn beginning(source: Unpacked, path: &Path) -> Result<DumpReader, DumpError> {
        let mut reader = DumpReader::new(source, path);
        reader.read_header()?;
        Ok(reader)
    }

    /// What the dump says about its wiki.
    pub fn site_info(&self) -> &SiteInfo {
        &self.site
    }

    /// Bytes of the file (packed, if it is packed) that have been read so far: for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Size of the file in bytes; `None` for a stream.
    pub fn bytes_total(&self) -> Option<u64> {
        self.total
    }

    /// Whole pages given so far.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Malformed pages met so far.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Reads on; `false` if there is nothing more. What lies before `at` is let go, so positions must be kept relative to it.
    fn fill(&mut self) -> bool {
        if !matches!(self.end, Ending::NotYet) {
            return false;
        }
        if self.at >= self.buffer.len() / 2 {
            self.buffer.drain(..self.at);
            self.passed += self.at as u64;
            self.at = 0;
        }
        let filled = self.buffer.len();
        self.buffer.resize(filled + CHUNK_BYTES, 0);
        let read = loop {
            match self.bytes.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        self.end = match read {
            Ok(0) => Ending::Plain,
            Ok(_) => return true,
            Err(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof => Ending::Cut,
                _ if error.get_ref().is_some_and(|inner| inner.is::<Foreign>()) => Ending::Foreign,
                // What the system says has a number; all else is the decoder's word on the data.
                _ if error.raw_os_error().is_some() => Ending::Failed(error),
                _ => Ending::Damaged(error.to_string()),
            },
        };
        false
    }

    fn read_header(&mut self) -> Result<(), DumpError> {
        let mut searched = 0;
        loop {
            // Whichever comes first, so that it does not matter how much has arrived.
            let ends = [page_tag(&self.buffer, searched), find(&self.buffer, searched, CLOSING)];
            if let Some(end) = ends.into_iter().flatten().min() {
                self.at = end;
                break;
            }
            searched = self.buffer.len().saturating_sub(16);
            let known = find(&self.buffer, 0, OPENING).is_some();
            let hopeless = self.buffer.len() > if known { MAX_HEADER_BYTES } else { CHUNK_BYTES };
            if hopeless || !self.fill() {
                self.at = if known { self.buffer.len() } else { 0 };
                break;
            }
        }
        if find(&self.buffer[..self.at], 0, OPENING).is_some() {
            self.site = SiteInfo::parse(&self.buffer[..self.at]);
            return Ok(());
        }
        match self.ending() {
            Some(error) if !matches!(self.end, Ending::Plain | Ending::NotYet) => Err(error),
            _ => Err(DumpError::NotADump { path: self.path.clone(), detail: begins_with(&self.buffer) }),
        }
    }

    /// Finds the next page, reading as needed, and moves behind it.
    fn find_page(&mut self) -> Found {
        let mut ahead = 0;
        let start = loop {
            if let Some(start) = page_tag(&self.buffer, self.at + ahead) {
                break start;
            }
            ahead = (self.buffer.len() - self.at).saturating_sub(OVERLAP);
            if ahead > MAX_PAGE_BYTES {
                self.at += ahead;
                ahead = 0;
            }
            if !self.fill() {
                return Found::End;
            }
        };
        let orphan = find(&self.buffer[..start], self.at, PAGE_END).is_some();
        self.at = start;
        let begun_before = std::mem::take(&mut self.oversized) || self.begins_inside;
        if orphan && !begun_before {
            return Found::Broken("its beginning is missing");
        }
        if self.passed + start as u64 >= self.boundary.load(Ordering::Relaxed) {
            self.at_boundary = true;
            return Found::End;
        }
        self.begins_inside = false;
        self.find_end()
    }

    /// Finds the end of the page that begins at `at`.
    fn find_end(&mut self) -> Found {
        let mut ahead = PAGE_TAG.len();
        let mut thin_at = THIN_BYTES;
        loop {
            match boundary(&self.buffer, self.at + ahead) {
                Some(Boundary::End(end)) => {
                    let page = self.at..end;
                    self.at = end;
                    return Found::Page(page);
                }
                Some(Boundary::Page(inner)) => return self.broken_at(inner, "it is not closed before the next page"),
                None => {}
            }
            if self.buffer.len() - self.at >= thin_at {
                self.passed += revisions::thin(&mut self.buffer, self.at) as u64;
                // Each byte is looked at a bounded number of times, however long the history.
                thin_at = THIN_BYTES + 2 * (self.buffer.len() - self.at);
            }
            let length = self.buffer.len() - self.at;
            ahead = length.saturating_sub(OVERLAP).max(PAGE_TAG.len());
            let full = length > MAX_PAGE_BYTES;
            if full || !self.fill() {
                if full {
                    self.oversized = true;
                    return self.broken_at(self.buffer.len() - OVERLAP, "it is larger than 64 MiB");
                }
                return match find(&self.buffer, self.at, CLOSING) {
                    Some(closing) => self.broken_at(closing, "it is not closed before the end of the export"),
                    None => Found::End,
                };
            }
        }
    }

    fn broken_at(&mut self, resume: usize, detail: &'static str) -> Found {
        self.at = resume;
        Found::Broken(detail)
    }

    /// What the end of the bytes means, once all pages are given; `None` for a proper end.
    fn ending(&mut self) -> Option<DumpError> {
        let (path, pages) = (self.path.clone(), self.pages);
        // The end is told by the part that has the last page: it alone has read all that comes after it.
        if self.at_boundary || self.begins_inside && matches!(self.end, Ending::Plain | Ending::Foreign | Ending::Cut) {
            return None;
        }
        let byte = self.bytes_read();
        let closed = find(&self.buffer, self.at, CLOSING).is_some();
        // Bytes after a complete export do not matter; a checksum that is wrong does.
        if closed && matches!(self.end, Ending::Plain | Ending::Foreign) {
            return None;
        }
        Some(match &mut self.end {
            Ending::Cut => {
                let detail = format!("the compressed data stops in the middle, at byte {byte}");
                DumpError::Truncated { path, pages, detail }
            }
            Ending::Damaged(detail) => {
                let detail = format!("{} (before byte {byte} of the file)", std::mem::take(detail));
                DumpError::Damaged { path, pages, detail }
            }
            Ending::Failed(error) => {
                let error = std::mem::replace(error, io::ErrorKind::Other.into());
                DumpError::Store(StoreError::io("read", &path, error))
            }
            Ending::Foreign => {
                let detail =
                    format!("{Foreign}, and the closing `</mediawiki>` is missing (before byte {byte} of the file)");
                DumpError::Damaged { path, pages, detail }
            }
            Ending::NotYet | Ending::Plain => {
                DumpError::Truncated { path, pages, detail: "the closing `</mediawiki>` is missing".to_owned() }
            }
        })
    }

    fn malformed_page(&mut self, title: Option<String>, detail: String) -> DumpError {
        self.malformed += 1;
        DumpError::Malformed { path: self.path.clone(), number: self.pages + self.malformed, title, detail }
    }
}

impl Iterator for DumpReader {
    type Item = Result<Page, DumpError>;

    fn next(&mut self) -> Option<Result<Page, DumpError>> {
        if self.finished {
            return None;
        }
        match self.find_page() {
            Found::Page(range) => Some(match page::parse(&self.buffer[range], &self.site) {
                Ok(page) => {
                    self.pages += 1;
                    Ok(page)
                }
                Err((title, detail)) => Err(self.malformed_page(title, detail)),
            }),
            Found::Broken(detail) => Some(Err(self.malformed_page(None, detail.to_owned()))),
            Found::End => {
                self.finished = true;
                self.ending().map(Err)
            }
        }
    }
}

const OPENING: &[u8] = b"<mediawiki";
const CLOSING: &[u8] = b"</mediawiki>";
const PAGE_TAG: &[u8] = b"<page";
const PAGE_END: &[u8] = b"</page>";
/// A search begins again this far before the end of what was searched: more than any of the tags is long.
const OVERLAP: usize = 16;

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    memmem::find(bytes.get(from..)?, needle).map(|found| from + found)
}

/// The next `<page>` or `<page …>`, but not `<pages>`.
fn page_tag(bytes: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    loop {
        let start = find(bytes, from, PAGE_TAG)?;
        if is_page_tag(&bytes[start..]) {
            return Some(start);
        }
        from = start + PAGE_TAG.len();
    }
}

fn is_page_tag(bytes: &[u8]) -> bool {
    bytes.starts_with(PAGE_TAG) && matches!(bytes.get(PAGE_TAG.len()), Some(b'>' | b' ' | b'\t' | b'\r' | b'\n'))
}

/// Where a page ends, or another one begins too early.
enum Boundary {
    End(usize),
    Page(usize),
}

/// The next boundary. Looked for in one pass: a search for each of the two goes over the same bytes again and again where pages are not
/// closed. Texts hold no `<`, so that there are few to stop at.
fn boundary(bytes: &[u8], from: usize) -> Option<Boundary> {
    let rest = bytes.get(from..)?;
    memchr::memchr_iter(b'<', rest).find_map(|at| match &rest[at..] {
        tag if tag.starts_with(PAGE_END) => Some(Boundary::End(from + at + PAGE_END.len())),
        tag if is_page_tag(tag) => Some(Boundary::Page(from + at)),
        _ => None,
    })
}

/// What the file is instead, as far as its first bytes tell.
fn begins_with(bytes: &[u8]) -> String {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    let text = head.trim_start_matches(|character: char| character.is_whitespace() || character == '\u{feff}');
    let lower = text.get(..15).unwrap_or(text).to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return "it is an HTML page, perhaps the message of a download that failed".to_owned();
    }
    if text.is_empty() {
        return "it holds nothing but white space".to_owned();
    }
    let mut fields = text.splitn(3, ':');
    let number = |field: Option<&str>| field.is_some_and(|field| field.parse::<u64>().is_ok());
    if number(fields.next()) && number(fields.next()) {
        return "it is the index of a multistream dump: give the dump itself, the index is not needed".to_owned();
    }
    let head: String = text.chars().take(48).collect();
    format!("it has no <mediawiki> element and begins with `{}`", head.escape_debug())
}
