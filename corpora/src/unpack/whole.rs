//! Text files of others, packed or not.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{Unpacked, peek, unpack};
use crate::dump_error::DumpError;
use crate::store::{self, StoreError};

/// What a packed text may come to, beside what its file has: its readers keep most of it, …
const FREE_BYTES: u64 = 256 << 20;
/// … as a multiple of it. Texts pack to a tenth, the same row over and over to a hundredth.
const MAX_RATE: u64 = 200;

/// Unpacked bytes, as many as a file of its size may come to.
struct Bounded {
    source: Unpacked,
    given: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.bytes.read(buffer)?;
        self.given += read as u64;
        let packed = self.source.count.load(Ordering::Relaxed);
        if self.given > FREE_BYTES.saturating_add(packed.saturating_mul(MAX_RATE)) {
            let detail = format!("it grows more than {MAX_RATE} times when it is unpacked");
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
        Ok(read)
    }
}

/// Opens a text file that is plain or packed with anything that dumps may be packed with, told by its content; UTF-16 comes as UTF-8.
/// A pipe that the process was handed is taken too. Reading fails where a packed text grows more than 200 times, from 256 MiB on.
///
/// # Errors
/// If it cannot be opened, or is packed in a way that is not read here.
pub fn open(path: &Path) -> Result<impl BufRead + use<>, StoreError> {
    let failed = |source| StoreError::io("read", path, source);
    let (head, file) = peek(store::open_stream(path)?, 1).map_err(failed)?;
    let bytes: Box<dyn Read + Send> = match head.is_empty() {
        true => Box::new(file),
        false => Box::new(Bounded { source: unpack(file, path).map_err(as_a_file)?, given: 0 }),
    };
    let (head, bytes) = peek(bytes, 4).map_err(failed)?;
    if head == b"PAR1" {
        let (format, hint) = ("a packed Parquet table".to_owned(), "unpack it first: Parquet is compressed in itself");
        return Err(StoreError::Unsupported { path: path.to_path_buf(), format, hint });
    }
    Ok(BufReader::with_capacity(1 << 17, bytes))
}

/// The whole text of a file that [`open`] takes, without a byte-order mark, if it has at most `max_bytes`.
///
/// ```
/// use memtrain_corpora::unpack;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("questions.jsonl.zst");
/// # std::fs::write(&path, zstd::encode_all(&b"{\"question\": \"Where?\"}"[..], 1).unwrap()).unwrap();
/// assert_eq!(unpack::read_to_string(&path, 1 << 20)?, r#"{"question": "Where?"}"#);
/// # Ok::<(), memtrain_corpora::store::StoreError>(())
/// ```
///
/// # Errors
/// As [`open`]; if it is damaged, larger, or no UTF-8.
pub fn read_to_string(path: &Path, max_bytes: u64) -> Result<String, StoreError> {
    let text = open(path)?;
    // UTF-16 may become half as long, nothing becomes shorter: before any of it is held.
    if store::len(path)? / 2 > max_bytes {
        return Err(StoreError::TooLarge { path: path.to_path_buf(), max_bytes });
    }
    let bytes = store::read_stream(path, text, max_bytes)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| StoreError::NotUtf8 { path: path.to_path_buf(), byte: error.utf8_error().valid_up_to() })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The error of unpacking, told of a file that need not be a dump.
fn as_a_file(error: DumpError) -> StoreError {
    match error {
        DumpError::Store(error) => error,
        DumpError::Unsupported { path, format, hint } => StoreError::Unsupported { path, format, hint },
        DumpError::NotADump { path, detail }
        | DumpError::Damaged { path, detail, .. }
        | DumpError::Truncated { path, detail, .. }
        | DumpError::Malformed { path, detail, .. } => StoreError::Unreadable { path, detail },
    }
}
