//! Files compared with the hashes that were recorded when they were written.
//!
//! A flipped bit in a compressed table often decodes to other words without an error, and the writer of the `parquet`
//! crate gives pages no checksum. So a file is hashed as a whole when it is opened. Files of less than 1 GiB together are
//! hashed at each opening; for larger ones a small file remembers which were found whole, by size, times and inode, and
//! only what has changed since is read again.
#![expect(clippy::disallowed_methods, reason = "the store is where std::fs is allowed")]

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::file::parent;
use super::{Result, StoreError, hash_file, read_json, write_json};

/// Files of fewer bytes together are hashed whenever they are opened: a second at most.
const ALWAYS_BYTES: u64 = 1 << 30;
/// The times of a file that was changed in the last moments may stay the same with the next change.
const SETTLED: Duration = Duration::from_secs(2);

/// Compares files with their recorded sizes and hashes. It can be shared between threads.
///
/// ```
/// use memtrain_corpora::store::{self, Verifier};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("table");
/// store::write_atomic(&path, b"sang")?;
/// let recorded = store::hash_file(&path)?;
/// let verifier = Verifier::new(&folder.path().join("verified.json"), 4);
/// verifier.check(&path, 4, &recorded)?;
/// store::write_atomic(&path, b"dang")?;
/// let error = verifier.check(&path, 4, &recorded).unwrap_err();
/// assert!(error.to_string().contains("is damaged: its BLAKE3 is "), "{error}");
/// # Ok::<(), store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct Verifier {
    /// Where it is kept what was found whole; `None` where each file is read.
    cache: Option<PathBuf>,
    known: Mutex<Known>,
}

/// What was found whole.
#[derive(Debug, Default)]
struct Known {
    files: BTreeMap<String, Whole>,
    changed: bool,
}

/// A file that had the hash when its stamp was this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Whole {
    stamp: String,
    blake3: String,
}

impl Verifier {
    /// For files of `total_bytes` together. Of many bytes `cache` keeps what was found whole, in the same folder as the
    /// files or above them; one that is absent or damaged means that all are read.
    pub fn new(cache: &Path, total_bytes: u64) -> Verifier {
        if total_bytes < ALWAYS_BYTES {
            return Verifier::reading_all();
        }
        let files = read_json(cache).unwrap_or_default();
        Verifier { cache: Some(cache.to_path_buf()), known: Mutex::new(Known { files, changed: false }) }
    }

    /// Reads each file, whatever is known of it.
    pub fn reading_all() -> Verifier {
        Verifier { cache: None, known: Mutex::default() }
    }

    /// Compares a file with what was recorded of it: size in bytes, BLAKE3 in hexadecimal.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where they differ; [`StoreError::Io`] if the file is missing or cannot be read.
    pub fn check(&self, path: &Path, bytes: u64, hash: &str) -> Result<()> {
        let corrupt = |detail| StoreError::Corrupt { path: path.to_path_buf(), detail };
        let metadata = fs::metadata(path).map_err(|source| StoreError::io("look at", path, source))?;
        if metadata.len() != bytes {
            return Err(corrupt(format!("it has {} bytes, {bytes} are recorded", metadata.len())));
        }
        let name = self.cache.as_deref().map(|cache| {
            let name = path.strip_prefix(parent(cache)).unwrap_or(path);
            (name.to_string_lossy().into_owned(), Whole { stamp: stamp(&metadata), blake3: hash.to_owned() })
        });
        if let Some((name, whole)) = &name
            && self.known.lock().unwrap_or_else(PoisonError::into_inner).files.get(name) == Some(whole)
        {
            return Ok(());
        }
        let got = hash_file(path)?;
        if got != hash {
            return Err(corrupt(format!("its BLAKE3 is {got}, {hash} is recorded")));
        }
        if let Some((name, whole)) = name
            && SystemTime::now().duration_since(changed(&metadata)).is_ok_and(|age| age >= SETTLED)
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.files.insert(name, whole);
            known.changed = true;
        }
        Ok(())
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = self.cache.as_deref().filter(|_| known.changed) {
            // Where it cannot be kept, on a read-only file system for example, the files are read again the next time.
            let _ = write_json(cache, &known.files);
        }
    }
}

/// What changes with a file. The time of the last change of the inode cannot be set back as that of the contents can.
#[cfg(unix)]
fn stamp(metadata: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    let (modified, changed) = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    format!("{}.{:09} {}.{:09} {}", modified.0, modified.1, changed.0, changed.1, metadata.ino())
}

/// What changes with a file.
#[cfg(not(unix))]
fn stamp(metadata: &Metadata) -> String {
    format!("{:?}", metadata.modified().ok())
}

/// When a file was last changed, as far as the system tells.
fn changed(metadata: &Metadata) -> SystemTime {
    let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or_default() + 1);
        modified.max(SystemTime::UNIX_EPOCH + changed)
    }
    #[cfg(not(unix))]
    modified
}

/// Whether a file was last changed, by its contents or otherwise, before another one was, as far as the system tells. A user cannot set
/// the time of a change back.
///
/// # Errors
/// If one of them is missing.
pub fn is_older(path: &Path, other: &Path) -> Result<bool> {
    let changed = |path: &Path| -> Result<(i64, i64)> {
        let metadata = fs::metadata(path).map_err(|source| StoreError::io("look at", path, source))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Ok((metadata.ctime(), metadata.ctime_nsec()))
        }
        #[cfg(not(unix))]
        {
            let since = changed(&metadata).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Ok((since.as_secs() as i64, i64::from(since.subsec_nanos())))
        }
    };
    Ok(changed(path)? <= changed(other)?)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A verifier that remembers, as one of many bytes does.
    fn remembering(cache: &Path) -> Verifier {
        Verifier::new(cache, ALWAYS_BYTES)
    }

    #[test]
    fn what_was_found_whole_is_read_again_only_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, cache) = (folder.path().join("data/table"), folder.path().join("verified.json"));
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(&path, b"sang").unwrap();
        let hash = hash_file(&path).unwrap();
        remembering(&cache).check(&path, 4, &hash).unwrap();
        assert!(!cache.exists(), "a file that is still warm is not remembered");

        std::thread::sleep(SETTLED + Duration::from_millis(1100));
        remembering(&cache).check(&path, 4, &hash).unwrap();
        let known: BTreeMap<String, Whole> = read_json(&cache).unwrap();
        assert_eq!(known.keys().collect::<Vec<_>>(), ["data/table"]);
        assert_eq!(known["data/table"].blake3, hash);

        // Another hash is asked for: what is remembered says nothing of it.
        let other = "0".repeat(64);
        assert!(matches!(remembering(&cache).check(&path, 4, &other), Err(StoreError::Corrupt { .. })));

        // Changed in place, and its time set back: the inode tells.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, b"dang").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let error = remembering(&cache).check(&path, 4, &hash).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");

        // A damaged memory is no memory.
        fs::write(&cache, b"{").unwrap();
        assert!(remembering(&cache).check(&path, 4, &hash).is_err());
    }

    #[test]
    fn sizes_are_compared_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        fs::write(&path, b"sang").unwrap();
        let error = Verifier::reading_all().check(&path, 5, "").unwrap_err();
        assert!(error.to_string().ends_with("is damaged: it has 4 bytes, 5 are recorded"), "{error}");
        let error = Verifier::reading_all().check(&folder.path().join("none"), 5, "").unwrap_err();
        assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
    }
}
