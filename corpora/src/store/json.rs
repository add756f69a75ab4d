//! Small metadata files.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AtomicFile, Result, StoreError, read_at_most};

/// Writes a value as indented JSON with a newline at the end, atomically.
pub fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    let failed = |source| StoreError::Json { action: "write", path: path.to_path_buf(), source };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(failed)?;
    bytes.push(b'\n');
    let mut file = AtomicFile::create(path)?;
    file.write_all(&bytes).map_err(|source| StoreError::io("write", path, source))?;
    file.commit()
}

/// The largest JSON file that is read as one value, which takes many times as much memory.
const MAX_JSON_BYTES: u64 = 256 << 20;

/// Reads a value from a JSON file of at most 256 MiB.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_at_most(path, MAX_JSON_BYTES)?;
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    serde_json::from_slice(text).map_err(|source| StoreError::Json { action: "read", path: path.to_path_buf(), source })
}
