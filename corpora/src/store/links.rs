//! Symbolic links: what they point to, and what killed processes have left of them.
#![expect(clippy::disallowed_methods, reason = "the store is where std::fs is allowed")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::file::{list, remove_file};
use super::{Result, StoreError};

/// What a symbolic link points to, as it is written in it; `None` where nothing or something else is.
///
/// # Errors
/// If the path cannot be looked at.
pub fn link_target(path: &Path) -> Result<Option<PathBuf>> {
    match fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(None),
        Err(source) => Err(StoreError::io("read the link", path, source)),
    }
}

/// Removes links under the hidden names that [`link_durably`](super::link_durably) gives them first, and gives their
/// number. To be called where nobody else makes links in the folder: under a lock.
///
/// # Errors
/// If the folder cannot be listed or a link not be removed.
pub fn sweep_links(folder: &Path) -> Result<usize> {
    let mut removed = 0;
    for path in list(folder)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let process = name.strip_prefix('.').and_then(|name| name.strip_suffix(".link")?.rsplit_once('.'));
        let is_ours = process.is_some_and(|(_, id)| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
        if is_ours && link_target(&path)?.is_some() {
            remove_file(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::{exists, link_durably, write_atomic};
    use super::*;

    #[test]
    fn links_are_read_and_abandoned_ones_go() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|source| StoreError::io("create", Path::new("."), source))?;
        let (link, file) = (folder.path().join("latest"), folder.path().join(".notes.12.link"));
        link_durably(Path::new("step_000001"), &link)?;
        write_atomic(&file, "a user's file")?;
        for name in [".latest.77.link", ".latest.link", ".latest.7a.link"] {
            link_durably(Path::new("step_000002"), &folder.path().join(name))?;
        }
        assert_eq!(link_target(&link)?.as_deref(), Some(Path::new("step_000001")));
        assert_eq!((link_target(&file)?, link_target(&folder.path().join("absent"))?), (None, None));
        assert_eq!(sweep_links(folder.path())?, 1);
        assert!(exists(&file) && link_target(&folder.path().join(".latest.77.link"))?.is_none());
        assert_eq!(list(folder.path())?.len(), 4);
        for place in [&file, folder.path()] {
            let error = link_durably(Path::new("step_000001"), place).expect_err("no link");
            assert!(matches!(error, StoreError::ForeignFile { .. }), "{error}");
        }
        assert_eq!(list(folder.path())?.len(), 4, "nothing is left under a hidden name");
        Ok(())
    }
}
