//! Folders of ours compared with the lists in their markers.

use std::path::{Component, Path, PathBuf};

use super::file::parent;
use super::owned::{MARKER, Marker, OwnedFile};
use super::{Result, StoreError, hash_file, len, open, read, try_exists};

/// Checks that a file is what the marker of its folder says. One that the marker does not list passes, as does any file of a
/// folder without a marker of ours: nothing is on record of them. A listed file is read once, from its first byte to its last.
///
/// ```
/// use memtrain_corpora::store::{self, StoreError};
/// # let parent = tempfile::tempdir().unwrap();
/// # let folder = parent.path().join("policy");
/// store::replace(&folder, "policy", |fresh| store::write_atomic(&fresh.join("weights"), "sound"))?;
/// store::check_as_written(&folder.join("weights"))?;
/// store::write_atomic(&folder.join("weights"), "wound")?;
/// assert!(matches!(store::check_as_written(&folder.join("weights")), Err(StoreError::NotAsWritten { .. })));
/// # Ok::<(), StoreError>(())
/// ```
///
/// # Errors
/// [`StoreError::NotAsWritten`] if the file is missing or different, or the marker is damaged.
pub fn check_as_written(path: &Path) -> Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let marker = Marker::read(parent(path))?;
    marker.and_then(|marker| marker.files.get(name).cloned()).map_or(Ok(()), |file| file.check(path))
}

/// All that is not as it was written in a folder that must bear a marker, of this kind if one is given: the marker, which is
/// compared byte for byte with what this program writes, and the files on its list.
pub fn differences(folder: &Path, kind: Option<&str>) -> Vec<StoreError> {
    match marker_as_written(folder, kind) {
        Ok(marker) => {
            let compare = |(name, file): (&String, &OwnedFile)| file.check(&inside(folder, name)?);
            marker.files.iter().filter_map(|listed| compare(listed).err()).collect()
        }
        Err(error) => vec![error],
    }
}

fn marker_as_written(folder: &Path, kind: Option<&str>) -> Result<Marker> {
    let path = folder.join(MARKER);
    let differs = |detail: &str| StoreError::NotAsWritten { path: path.clone(), detail: detail.to_owned() };
    if !try_exists(&path)? {
        return Err(differs("it is missing"));
    }
    let marker = Marker::read(folder)?.ok_or_else(|| differs("it is not a marker of memtrain"))?;
    kind.map_or(Ok(()), |kind| marker.expect_kind(folder, kind))?;
    if marker.to_bytes().ok() != Some(read(&path)?) {
        return Err(differs("it does not have the form in which memtrain writes it"));
    }
    Ok(marker)
}

/// The path of a listed file; a list leads to no other folder.
fn inside(folder: &Path, name: &str) -> Result<PathBuf> {
    let relative = Path::new(name);
    if name.is_empty() || !relative.components().all(|component| matches!(component, Component::Normal(_))) {
        let detail = format!("it lists `{name}`, which is no file of the folder");
        return Err(StoreError::NotAsWritten { path: folder.join(MARKER), detail });
    }
    Ok(folder.join(relative))
}

impl OwnedFile {
    /// Checks that a file is the one that was written. It is read once, unless its size tells already.
    ///
    /// # Errors
    /// [`StoreError::NotAsWritten`] if it is missing or another one; [`StoreError::Io`] if it cannot be read.
    pub fn check(&self, path: &Path) -> Result<()> {
        let differs = |detail| Err(StoreError::NotAsWritten { path: path.to_path_buf(), detail });
        if !try_exists(path)? {
            return differs("it is missing".to_owned());
        }
        // What stands there in place of a file says more than its size: a pointer of Git LFS, a pipe.
        open(path)?;
        let bytes = len(path)?;
        if bytes != self.bytes {
            return differs(format!("it has {bytes} bytes, {} are recorded", self.bytes));
        }
        let hash = hash_file(path)?;
        if hash != self.blake3 {
            return differs(format!("its BLAKE3 is {hash}, {} is recorded", self.blake3));
        }
        Ok(())
    }
}
