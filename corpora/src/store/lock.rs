//! Locks between processes.
#![expect(clippy::disallowed_methods, reason = "the store is where std::fs is allowed")]

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::file::check_writable;
use super::{Result, StoreError};

/// Holds a lock until dropped; the operating system releases it when the process dies, however it dies.
#[derive(Debug)]
pub struct LockGuard {
    _file: File,
}

impl LockGuard {
    /// Holds the lock that was taken on a file.
    pub(super) fn of(file: File) -> Self {
        Self { _file: file }
    }
}

/// Takes the exclusive lock of a lock file, creating the file; [`StoreError::Locked`] if another holder has it.
///
/// The file stays when the lock is released: removing it would let two processes hold "the" lock on two different files.
pub fn lock(path: &Path) -> Result<LockGuard> {
    check_writable("open lock", path)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|source| StoreError::io("open lock", path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(LockGuard { _file: file }),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(StoreError::io("lock", path, source)),
    }
}
