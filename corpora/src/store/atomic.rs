//! Files that appear whole or not at all.
#![expect(clippy::disallowed_methods, reason = "the store is where std::fs is allowed")]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::file::{check_place_of_file, check_writable, hash_file, list, parent, sync_folder};
use super::{LockGuard, Result, StoreError};

/// A file being written under a temporary name in the same folder; [`AtomicFile::commit`] gives it its name.
///
/// Dropped without a commit, the temporary file is removed and what stood under the name before is untouched. A process
/// killed in between leaves a temporary file, which [`sweep_temporaries`] removes later: the writer holds a lock on it as
/// long as it lives, so that an abandoned one can be told from one in use.
///
/// ```
/// use memtrain_corpora::store::{self, AtomicFile};
/// use std::io::Write;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("notes.txt");
/// let mut file = AtomicFile::create(&path)?;
/// file.write_all(b"whole").unwrap();
/// assert!(!store::exists(&path));
/// file.commit()?;
/// assert_eq!(store::read(&path)?, b"whole");
/// # Ok::<(), store::StoreError>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
}

/// Makes temporary names unique within the process; the process id makes them unique on the machine.
static COUNTER: AtomicU64 = AtomicU64::new(0);

const SUFFIX: &str = ".memtrain-tmp";

impl AtomicFile {
    /// Starts a file that will stand at `path`. The folder must be there.
    pub fn create(path: &Path) -> Result<AtomicFile> {
        let name =
            path.file_name().ok_or_else(|| StoreError::io("create", path, io::ErrorKind::InvalidFilename.into()))?;
        // A rename puts a file in the place of whatever is there, also of `/dev/null` or the link `/dev/stdout`.
        check_place_of_file(path, |_| true)?;
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{number}{SUFFIX}", std::process::id()));
            let temporary = parent(path).join(hidden);
            let file = match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(StoreError::io("create", path, source)),
            };
            // A file system without locks is no reason to fail: only sweeping becomes impossible there. A sweeper may
            // have come between the two calls; it then holds the lock, or has removed the file already.
            let taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            if !taken && temporary.exists() {
                return Ok(AtomicFile { path: path.to_path_buf(), temporary, file: Some(file) });
            }
        }
    }

    /// The name the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes to the disk, renames into place and flushes the folder. An error leaves the old file.
    pub fn commit(self) -> Result<()> {
        self.commit_locked().map(drop)
    }

    /// As [`AtomicFile::commit`], for files without a mark of who wrote them: what stands under the name stays, and must be
    /// empty or the same bytes, as a command leaves them that is run once more.
    ///
    /// # Errors
    /// [`StoreError::ForeignFile`] if it is anything else.
    pub fn commit_new(mut self) -> Result<()> {
        self.flush().map_err(|source| StoreError::io("write", &self.path, source))?;
        if fs::metadata(&self.path).is_ok_and(|there| there.len() > 0) {
            if hash_file(&self.path)? == hash_file(&self.temporary)? {
                return Ok(());
            }
            let what = "is there already with other contents, and such a file does not say who wrote it";
            return Err(StoreError::ForeignFile { path: self.path.clone(), what });
        }
        self.commit()
    }

    /// As [`AtomicFile::commit`]; the lock on the file is held until the guard is dropped.
    pub(super) fn commit_locked(mut self) -> Result<LockGuard> {
        let Some(file) = self.file.take() else {
            return Err(StoreError::io("write", &self.path, io::ErrorKind::BrokenPipe.into()));
        };
        let placed = file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path));
        if let Err(source) = placed {
            self.file = Some(file);
            return Err(StoreError::io("write", &self.path, source));
        }
        sync_folder(parent(&self.path))?;
        Ok(LockGuard::of(file))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Nothing can be done about a failure here, and the name itself was never touched.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a whole file atomically and durably.
pub fn write_atomic(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes.as_ref()).map_err(|source| StoreError::io("write", path, source))?;
    file.commit()
}

/// Checks that a file may be written at `path`: nothing is there, or an empty file, or one that `is_ours` knows as written
/// by this program. What killed processes have left of this very file is removed.
///
/// # Errors
/// [`StoreError::ForeignFile`] otherwise; for a link too, since either it or what is behind it would be lost.
pub fn check_file(path: &Path, is_ours: impl FnOnce(&Path) -> bool) -> Result<()> {
    check_place_of_file(path, is_ours)?;
    // A folder that may be written and not be listed is no reason to fail.
    let _ = sweep_temporaries_of(path);
    Ok(())
}

/// Removes temporary files in a folder that killed processes have left, and gives their number. Those of living writers,
/// of this process or another, are left alone; so is everything on a file system without locks.
pub fn sweep_temporaries(folder: &Path) -> Result<usize> {
    Ok(sweep(list(folder)?))
}

/// As [`sweep_temporaries`], only those of one file: for folders that are not ours. The folder may be absent.
pub fn sweep_temporaries_of(path: &Path) -> Result<usize> {
    let entries = match list(parent(path)) {
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(0),
        entries => entries?,
    };
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let is_of = |entry: &PathBuf| entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
    Ok(sweep(entries.into_iter().filter(is_of).collect()))
}

fn sweep(entries: Vec<PathBuf>) -> usize {
    let mut removed = 0;
    for path in entries {
        if !is_temporary(&path) {
            continue;
        }
        if check_writable("open", &path).is_err() {
            continue;
        }
        let Ok(file) = OpenOptions::new().write(true).open(&path) else {
            continue;
        };
        if file.try_lock().is_ok() && fs::remove_file(&path).is_ok() {
            removed += 1;
        }
    }
    removed
}

/// Whether a path is that of an [`AtomicFile`] that is not committed: a file with such a name. A folder or a link of that name
/// is somebody's.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with('.') && name.ends_with(SUFFIX))
        && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}
