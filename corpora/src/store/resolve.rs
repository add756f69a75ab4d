//! Path resolution: the target of a path, and equality of two paths by their targets.
#![expect(clippy::disallowed_methods, reason = "the store is where std::fs is allowed")]

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::{Result, StoreError};

/// Links that are followed one after the other before a path counts as a circle, as Linux does.
const MAX_LINKS: usize = 40;

/// How what two paths lead to lies to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Neither is in the other.
    Apart,
    /// They are the same.
    Same,
    /// The first is somewhere in the second.
    Inside,
    /// The second is somewhere in the first.
    Around,
}

/// The absolute path without links and `..` that `path` leads to. What is not there yet keeps its name, so a path that is
/// about to be made has one, too.
///
/// ```
/// use memtrain_corpora::store;
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = &store::resolve(folder.path()).unwrap();
/// assert_eq!(store::resolve(&folder.join("new/../other/."))?, folder.join("other"));
/// # Ok::<(), store::StoreError>(())
/// ```
///
/// # Errors
/// If a part of it cannot be looked at, is a file where a folder is needed, or links lead in a circle.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|source| StoreError::io("resolve", path, source))?;
    follow(&absolute, path, MAX_LINKS)
}

/// `path` is absolute; `asked` is what errors name.
fn follow(path: &Path, asked: &Path, links: usize) -> Result<PathBuf> {
    let failed = |source| StoreError::io("resolve", asked, source);
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            // What stands before it is free of links, so that its parent is the folder it lies in.
            Component::ParentDir => drop(resolved.pop()),
            Component::Prefix(_) | Component::RootDir => resolved.push(component),
            Component::Normal(name) => {
                resolved.push(name);
                match fs::symlink_metadata(&resolved) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(source) => return Err(failed(source)),
                    Ok(metadata) if metadata.is_symlink() => {
                        let target = fs::read_link(&resolved).map_err(failed)?;
                        resolved.pop();
                        let links = links
                            .checked_sub(1)
                            .ok_or_else(|| failed(std::io::Error::other("links lead in a circle")))?;
                        resolved = follow(&resolved.join(target), asked, links)?;
                    }
                    Ok(_) => {}
                }
            }
        }
    }
    Ok(resolved)
}

/// Whether a link stands under this name. Unlike the system's calls, a `/` or `/.` at the end does not follow it.
pub fn is_link(path: &Path) -> bool {
    let bare: PathBuf = path.components().collect();
    fs::symlink_metadata(bare).is_ok_and(|metadata| metadata.is_symlink())
}

/// Whether another file system, or another folder of this one, is mounted at a folder. Such a folder cannot be renamed or
/// removed. `path` is as [`resolve`] gives it.
#[cfg(unix)]
pub fn is_mount_point(path: &Path) -> bool {
    let Some((here, above)) = identity(path).zip(path.parent().and_then(identity)) else { return false };
    // A folder of the same file system that is mounted a second time is on the same device; Linux lists it.
    here.0 != above.0 || fs::read("/proc/self/mountinfo").is_ok_and(|table| lists_mount(&table, path))
}

/// Whether something is mounted at a folder.
#[cfg(not(unix))]
pub fn is_mount_point(_: &Path) -> bool {
    false
}

/// Whether the system's table has a folder in its fifth column, where blanks and backslashes are octal escapes.
#[cfg(unix)]
fn lists_mount(table: &[u8], path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let mut wanted = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => wanted.extend(format!("\\{byte:03o}").bytes()),
            byte => wanted.push(byte),
        }
    }
    let lines = table.split(|&byte| byte == b'\n');
    lines.filter_map(|line| line.split(|&byte| byte == b' ').nth(4)).any(|mounted| mounted == wanted)
}

/// How two paths lie to each other by what they lead to: through links, `..`, and folders that are mounted twice.
///
/// # Errors
/// As [`resolve`].
pub fn relation(path: &Path, other: &Path) -> Result<Relation> {
    let (path, other) = (resolve(path)?, resolve(other)?);
    Ok(match (is_within(&path, &other), is_within(&other, &path)) {
        (true, true) => Relation::Same,
        (true, false) => Relation::Inside,
        (false, true) => Relation::Around,
        (false, false) => Relation::Apart,
    })
}

/// Checks that writing `out` cannot touch what is read from `input`: neither is the other or in the other.
///
/// # Errors
/// [`StoreError::Overlap`] otherwise.
pub fn refuse_overlap(out: &Path, input: &Path) -> Result<()> {
    match relation(out, input)? {
        Relation::Apart => Ok(()),
        _ => Err(StoreError::Overlap { path: out.to_path_buf(), input: input.to_path_buf() }),
    }
}

/// Both are resolved.
fn is_within(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder) || identity(folder).is_some_and(|id| path.ancestors().any(|up| identity(up) == Some(id)))
}

/// What the file system knows a file or folder by; `None` if it is not there.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_known() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(folder.path()) && !is_mount_point(&folder.path().join("new")));
        let table = b"21 29 0:20 / /sys rw - sysfs sysfs rw\n99 29 8:1 /data/a /mnt/my\\040disk rw,relatime - ext4 /dev/sda1 rw\n";
        assert!(lists_mount(table, Path::new("/mnt/my disk")) && lists_mount(table, Path::new("/sys")));
        assert!(!lists_mount(table, Path::new("/mnt/my")) && !lists_mount(table, Path::new("/data/a")));
    }
}
