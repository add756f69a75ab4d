//! Histories: pages with all their revisions are as long as one likes, and one revision of them is wanted.

use std::ops::Range;

use memchr::memmem;

use super::page::is_newer;

const OPENING: &[u8] = b"<revision";
const CLOSING: &[u8] = b"</revision>";

/// Drops all whole revisions of the page that begins at `page` but the one that counts so far; what is behind the last whole one
/// stays. Gives the number of bytes that have gone.
pub(super) fn thin(buffer: &mut Vec<u8>, page: usize) -> usize {
    let mut kept: Option<(Range<usize>, String)> = None;
    let mut first = None;
    let mut at = page;
    while let Some(revision) = next(buffer, at) {
        at = revision.end;
        first.get_or_insert(revision.start);
        let timestamp = timestamp(&buffer[revision.clone()]);
        if kept.as_ref().is_none_or(|(_, newest)| !is_newer(newest, &timestamp)) {
            kept = Some((revision, timestamp));
        }
    }
    let (Some(first), Some((kept, _))) = (first, kept) else { return 0 };
    let before = buffer.len();
    buffer.drain(kept.end..at);
    buffer.drain(first..kept.start);
    before - buffer.len()
}

/// The next whole revision.
fn next(buffer: &[u8], from: usize) -> Option<Range<usize>> {
    let mut from = from;
    loop {
        let start = from + memmem::find(buffer.get(from..)?, OPENING)?;
        from = start + OPENING.len();
        if matches!(buffer.get(from), Some(b'>' | b' ' | b'\t' | b'\r' | b'\n')) {
            let end = from + memmem::find(&buffer[from..], CLOSING)? + CLOSING.len();
            return Some(start..end);
        }
    }
}

/// The time of a revision as the dump has it; empty if it has none.
fn timestamp(revision: &[u8]) -> String {
    let head = &revision[..memmem::find(revision, b"<text").unwrap_or(revision.len())];
    let of = |bytes: &[u8], tag: &[u8]| memmem::find(bytes, tag);
    let inside = of(head, b"<timestamp>").map(|start| &head[start + b"<timestamp>".len()..]);
    let inside = inside.and_then(|inside| Some(&inside[..of(inside, b"</timestamp>")?]));
    String::from_utf8_lossy(inside.unwrap_or_default()).trim().to_owned()
}
