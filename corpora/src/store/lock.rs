//! Locks between processes.
#![expect(clippy::disallowed_methods, reason = "the store is where std::fs is allowed")]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
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
/// The file says which process holds it: what it says is only worth something while somebody does.
///
/// The file stays when the lock is released: removing it would let two processes hold "the" lock on two different files.
pub fn lock(path: &Path) -> Result<LockGuard> {
    check_writable("open lock", path)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|source| StoreError::io("open lock", path, source))?;
    match file.try_lock() {
        Ok(()) => {
            sign(&mut file);
            Ok(LockGuard { _file: file })
        }
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::Locked { path: path.to_path_buf(), holder: signature(&mut file) })
        }
        Err(TryLockError::Error(source)) => Err(StoreError::io("lock", path, source)),
    }
}

/// The longest text of a lock file that is read.
const MAX_SIGNATURE: u64 = 200;

/// Writes into a lock file who holds it. That is a courtesy: a full disk must not keep anybody from a lock, and what somebody else has
/// written into a file of this name stays.
fn sign(file: &mut File) {
    let is_empty = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
    if !is_empty && signature(file).is_none() {
        return;
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let on = if host.trim().is_empty() { String::new() } else { format!(" on {}", host.trim()) };
    let text = format!("pid {}{on}\n", std::process::id());
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
}

/// Who says in a lock file that it holds it.
fn signature(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(MAX_SIGNATURE).read_to_string(&mut text).ok()?;
    let line = text.lines().next()?.trim();
    line.starts_with("pid ").then(|| line.to_owned())
}
