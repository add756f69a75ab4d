//! Text files of others, packed or not.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{peek, unpack};
use crate::dump::DumpError;
use crate::store::{self, StoreError};

/// Opens a text file that is plain or packed with anything that dumps may be packed with, told by its content; UTF-16 comes as UTF-8.
/// A pipe that the process was handed is taken too.
///
/// # Errors
/// If it cannot be opened, or is packed in a way that is not read here.
pub fn open(path: &Path) -> Result<impl BufRead + use<>, StoreError> {
    let failed = |source| StoreError::io("read", path, source);
    let (head, file) = peek(store::open_stream(path)?, 1).map_err(failed)?;
    let bytes: Box<dyn Read + Send> = match head.is_empty() {
        true => Box::new(file),
        false => unpack(file, path).map_err(as_a_file)?.bytes,
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
    let bytes = store::read_stream(path, open(path)?, max_bytes)?;
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
