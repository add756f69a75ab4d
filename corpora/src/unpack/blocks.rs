//! Block boundaries of a bzip2 file, at which it can be cut.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem;

use super::bzip2::{BLOCK, Blocks, mark_at};

/// How far a block is looked for: packed blocks have at most 900 kB and a little, so one of them lies in here as a whole.
const WINDOW_BYTES: u64 = 2 << 20;

/// The first place at or behind byte `from` where a stream or a block begins, as a bit of the file. Its block has been
/// decoded, and its checksum is right; bits that look like a mark by chance are passed over.
pub(crate) fn find_block(file: &mut (impl Read + Seek), from: u64) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(from))?;
    let mut window = Vec::new();
    file.by_ref().take(WINDOW_BYTES).read_to_end(&mut window)?;
    for start in marks(&window) {
        if !is_block(&window, start) {
            continue;
        }
        let byte = usize::try_from(start / 8).unwrap_or(usize::MAX);
        let header = byte.checked_sub(4).and_then(|header| window.get(header..byte));
        let begins_stream = start.is_multiple_of(8) && matches!(header, Some([b'B', b'Z', b'h', b'1'..=b'9']));
        return Ok(Some(from * 8 + if begins_stream { start - 32 } else { start }));
    }
    Ok(None)
}

/// Bits of a window where something looks like the mark of a block, in order.
fn marks(window: &[u8]) -> Vec<u64> {
    let mut found = Vec::new();
    for shift in 0..8u64 {
        // A mark that begins `shift` bits into a byte holds five whole bytes; these are what can be searched for.
        let inner = &((BLOCK >> shift) & 0xFF_FFFF_FFFF).to_be_bytes()[3..];
        for at in memmem::find_iter(window, inner) {
            let Some(bit) = (at as u64 * 8 + shift).checked_sub(8) else { continue };
            if bit + 48 <= window.len() as u64 * 8 && mark_at(window, bit) == BLOCK {
                found.push(bit);
            }
        }
    }
    found.sort_unstable();
    found
}

/// Whether a block with the right checksum begins at a bit of a window, and lies in it as a whole.
fn is_block(window: &[u8], start: u64) -> bool {
    let boundary = Arc::new(AtomicU64::new(u64::MAX));
    let from = usize::try_from(start / 8).unwrap_or(usize::MAX);
    let Ok(mut blocks) = Blocks::new(&window[from..], start, Some(start + 1), boundary.clone()) else { return false };
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = blocks.read(&mut buffer);
        if boundary.load(Ordering::Relaxed) != u64::MAX {
            return true;
        }
        if !matches!(read, Ok(1..)) {
            return false;
        }
    }
}
