//! Folders that this program may replace or remove: those that it has marked as its own.
//!
//! A folder is ours if the file [`MARKER`] in it says so: program, version, what the folder is for (its kind), and which
//! files were written into it, with sizes and hashes. Only these files are ever removed, and only as they were written: a
//! file that is not listed, or is no longer what was written, is somebody's work, and the folder stays as it is.
//! [`StoreError::Foreign`] then names what was found.
//!
//! * [`occupant`] says whose a folder is; [`claim`] marks a new or empty one, [`mark`] lists what was written into it.
//! * [`replace`] writes a folder as a whole or not at all, over one of the same kind. It uses hidden folders beside the
//!   target, [`hidden_sibling`], so that no rename crosses file systems. Killed at any moment, the next call for the same
//!   target finishes or undoes what it has begun.
//! * [`check_replaceable`] tells before hours of work what [`replace`] would refuse after them.
//! * [`remove_owned`] removes a folder file by file.
//!
//! `as_written` compares a folder with its marker.
//!
//! Lists are compared with what is found by walking the folder, links not followed. A list never leads to a path by itself:
//! a marker with `../thesis.tex` in it, from whomever it comes, reaches nothing.
//!
//! Folders of versions without markers are read as before. They are not ours here: who can tell such a folder by its
//! contents may [`mark`] it.
#![expect(clippy::disallowed_methods, reason = "the store is where std::fs is allowed")]

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic::is_temporary;
use super::file::parent;
use super::resolve::is_mount_point;
use super::{
    AtomicFile, LockGuard, Result, StoreError, hash_bytes, hash_file, is_link, list, remove_dir_all, rename_durably,
    resolve, sweep_temporaries, write_json,
};

/// Name of the file that makes a folder ours.
pub const MARKER: &str = ".memtrain.json";

const PROGRAM: &str = "memtrain";
/// Version of the marker.
const FORMAT: u32 = 1;
/// Far more than any list of files needs. Markers come with downloaded models, too.
const MAX_MARKER_BYTES: u64 = 16 << 20;
/// Kind of a folder that [`replace`] has not finished, or that somebody else under the store writes part by part.
pub const UNFINISHED: &str = "unfinished";

/// Contents of a [`MARKER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// Version of the marker's format.
    pub format: u32,
    /// `memtrain`.
    pub program: String,
    /// Version of the program that wrote the folder.
    pub version: String,
    /// What the folder is for, for example `policy`.
    pub kind: String,
    /// Files that were written, by their path in the folder with `/` as separator; the marker itself is not among them.
    pub files: BTreeMap<String, OwnedFile>,
    /// BLAKE3 of the marker without this field, as JSON without spaces; absent in markers of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// What tells a marker of ours and its version.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    program: Option<String>,
    #[serde(default)]
    format: Option<u64>,
}

/// What is known of a file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedFile {
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the contents, hexadecimal.
    pub blake3: String,
}

/// Whose a folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// Nothing is there.
    Absent,
    /// A folder without contents is there.
    Empty,
    /// Ours, as the marker says.
    Ours(Marker),
    /// Somebody else's: the names of what is in it.
    Foreign(Vec<String>),
}

impl Marker {
    fn new(kind: &str, files: BTreeMap<String, OwnedFile>) -> Self {
        let (program, version) = (PROGRAM.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let mut marker = Self { format: FORMAT, program, version, kind: kind.to_owned(), files, check: None };
        marker.check = Some(marker.checksum());
        marker
    }

    fn checksum(&self) -> String {
        hash_bytes(&serde_json::to_vec(&Self { check: None, ..self.clone() }).unwrap_or_default())
    }

    /// The bytes of the file.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The marker of a folder; `None` where there is none of ours.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MARKER);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::io("look at", &path, source)),
            Ok(metadata) if !metadata.is_file() => return Ok(None),
            Ok(_) => {}
        }
        let bytes = super::read_at_most(&path, MAX_MARKER_BYTES)?;
        let damaged = |source| StoreError::Json { action: "read", path: path.clone(), source };
        // Whatever else another program or another version says is not kept in memory.
        let head = match serde_json::from_slice::<Head>(&bytes) {
            Err(error) if error.is_data() => return Ok(None),
            head => head.map_err(damaged)?,
        };
        if head.program.as_deref() != Some(PROGRAM) {
            return Ok(None);
        }
        let marker = serde_json::from_slice::<Self>(&bytes);
        // Before the format: a digit of it may be what is damaged.
        if let Ok(marker) = &marker
            && marker.check.as_ref().is_some_and(|check| *check != marker.checksum())
        {
            let detail = "its checksum is not that of what it says".to_owned();
            return Err(StoreError::NotAsWritten { path, detail });
        }
        if let Some(format) = head.format.filter(|format| *format != u64::from(FORMAT)) {
            let (expected, got) = (format!("format {FORMAT}"), format!("a marker of format {format}"));
            return Err(StoreError::Schema { path, expected, got });
        }
        marker.map(Some).map_err(damaged)
    }

    /// Checks that `folder`, which this is the marker of, is for `kind`.
    ///
    /// # Errors
    /// [`StoreError::OtherKind`] otherwise.
    pub fn expect_kind(&self, folder: &Path, kind: &str) -> Result<()> {
        if self.kind == kind {
            return Ok(());
        }
        let (path, expected) = (folder.to_path_buf(), kind.to_owned());
        Err(StoreError::OtherKind { path, expected, got: self.kind.clone() })
    }

    /// Names of what is in the folder and not on the list, or not as it was written. With `hashes` contents are compared,
    /// else sizes alone.
    fn unlisted(&self, folder: &Path, hashes: bool) -> Result<Vec<String>> {
        let mut unlisted = Vec::new();
        for (path, name, found) in self.walk(folder)? {
            match found {
                Found::Folder => {}
                Found::Other => unlisted.push(name),
                Found::Listed(file) if file.is_still(&path, hashes)? => {}
                Found::Listed(_) => unlisted.push(format!("{name} (changed)")),
            }
        }
        Ok(unlisted)
    }

    /// What is in the folder besides the marker and unfinished files, with its name on the list; a folder before what is in it.
    fn walk(&self, folder: &Path) -> Result<Vec<(PathBuf, String, Found<'_>)>> {
        let mut walked = Vec::new();
        let mut folders = vec![(folder.to_path_buf(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for path in list(&folder)? {
                if (prefix.is_empty() && path.ends_with(MARKER)) || is_temporary(&path) {
                    continue;
                }
                let mut name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
                let metadata =
                    fs::symlink_metadata(&path).map_err(|source| StoreError::io("look at", &path, source))?;
                let mut found = Found::Other;
                if metadata.is_dir() {
                    name.push('/');
                    if self.files.range(name.clone()..).next().is_some_and(|(file, _)| file.starts_with(&name)) {
                        found = Found::Folder;
                        folders.push((path.clone(), name.clone()));
                    }
                } else if let Some(file) = self.files.get(&name).filter(|_| metadata.is_file()) {
                    found = Found::Listed(file);
                }
                walked.push((path, name, found));
            }
        }
        Ok(walked)
    }
}

/// What of a folder of ours is found in it.
enum Found<'a> {
    /// A file that is on the list.
    Listed(&'a OwnedFile),
    /// A folder in which files of the list belong.
    Folder,
    /// What is not on the list; of a folder all that is in it.
    Other,
}

impl OwnedFile {
    /// Size and hash of a file as it is.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        Ok(Self { bytes: super::len(path)?, blake3: hash_file(path)? })
    }

    fn is_still(&self, path: &Path, hashes: bool) -> Result<bool> {
        if super::len(path).map_or(true, |now| now != self.bytes) {
            return Ok(false);
        }
        Ok(!hashes || hash_file(path)? == self.blake3)
    }
}

/// Whose the folder at `path` is. A link is followed. Files that an [`AtomicFile`] has left do not count.
///
/// # Errors
/// If `path` is no folder, or it or its marker cannot be read.
pub fn occupant(path: &Path) -> Result<Occupant> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Occupant::Absent),
        Err(source) => return Err(StoreError::io("look at", path, source)),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(StoreError::ForeignFile {
                path: path.to_path_buf(),
                what: "is a file where a folder is needed",
            });
        }
        Ok(_) => {}
    }
    if let Some(marker) = Marker::read(path)? {
        return Ok(Occupant::Ours(marker));
    }
    let mut names = Vec::new();
    for entry in list(path)?.iter().filter(|entry| !is_temporary(entry)) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        names.push(if super::is_dir(entry) { format!("{name}/") } else { name.into_owned() });
    }
    Ok(if names.is_empty() { Occupant::Empty } else { Occupant::Foreign(names) })
}

/// Makes a folder ours: creates it, or marks one that is empty. One of the same kind is left as it is.
///
/// ```
/// use memtrain_corpora::store::{self, Occupant, StoreError};
/// # let parent = tempfile::tempdir().unwrap();
/// # let folder = parent.path().join("index");
/// store::claim(&folder, "index")?;
/// assert!(matches!(store::occupant(&folder)?, Occupant::Ours(marker) if marker.kind == "index"));
/// // A file that nobody has listed keeps the folder from being removed.
/// store::write_atomic(&folder.join("thesis.tex"), "years of work")?;
/// assert!(matches!(store::remove_owned(&folder, "index"), Err(StoreError::Foreign { .. })));
/// # Ok::<(), StoreError>(())
/// ```
///
/// # Errors
/// [`StoreError::Foreign`] if others have put something into it, [`StoreError::OtherKind`] if we have for something else.
pub fn claim(folder: &Path, kind: &str) -> Result<()> {
    match occupant(folder)? {
        Occupant::Ours(marker) => marker.expect_kind(folder, kind),
        Occupant::Foreign(names) => Err(foreign(folder, kind, names)),
        Occupant::Absent | Occupant::Empty => {
            super::create_dir_all(folder)?;
            mark(folder, kind, BTreeMap::new())
        }
    }
}

/// Writes the marker of a folder: what it is for, and which files in it were written by this program.
///
/// # Errors
/// If it cannot be written.
pub fn mark(folder: &Path, kind: &str, files: BTreeMap<String, OwnedFile>) -> Result<()> {
    write_json(&folder.join(MARKER), &Marker::new(kind, files))
}

/// Checks that [`replace`] would replace `folder`: it is absent, empty, or ours of that kind with nothing else in it. The
/// contents of all files are compared with their hashes.
///
/// # Errors
/// [`StoreError::Foreign`] and [`StoreError::OtherKind`] as [`claim`], [`StoreError::ForeignFile`] for a link.
pub fn check_replaceable(folder: &Path, kind: &str) -> Result<()> {
    check_place(folder)?;
    check(folder, kind, true)
}

fn check(folder: &Path, kind: &str, hashes: bool) -> Result<()> {
    let names = match occupant(folder)? {
        Occupant::Absent | Occupant::Empty => return Ok(()),
        Occupant::Foreign(names) => names,
        Occupant::Ours(marker) => {
            marker.expect_kind(folder, kind)?;
            marker.unlisted(folder, hashes)?
        }
    };
    if names.is_empty() { Ok(()) } else { Err(foreign(folder, kind, names)) }
}

fn foreign(folder: &Path, kind: &str, names: Vec<String>) -> StoreError {
    StoreError::Foreign { path: folder.to_path_buf(), kind: kind.to_owned(), names }
}

/// Removes a folder of ours with the files that its marker lists; one that is absent is fine. Killed amid this, the folder
/// is still ours and can be removed again.
///
/// # Errors
/// As [`check_replaceable`]; then nothing is removed.
pub fn remove_owned(folder: &Path, kind: &str) -> Result<()> {
    check_replaceable(folder, kind)?;
    remove_listed(folder)
}

fn remove_listed(folder: &Path) -> Result<()> {
    let Some(marker) = Marker::read(folder)? else { return Ok(()) };
    for (path, _, found) in marker.walk(folder)?.into_iter().rev() {
        match found {
            Found::Listed(_) => super::remove_file(&path)?,
            Found::Folder => remove_empty(&path)?,
            Found::Other => {}
        }
    }
    super::remove_file(&folder.join(MARKER))?;
    remove_empty(folder)
}

/// Removes a folder in which nothing is but unfinished files.
fn remove_empty(folder: &Path) -> Result<()> {
    sweep_temporaries(folder)?;
    fs::remove_dir(folder).map_err(|source| StoreError::io("remove folder", folder, source))
}

/// What a hidden folder beside another one is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sibling {
    /// It is being written, and will take the other one's place.
    New,
    /// It was the other one, and is being removed.
    Old,
}

/// The hidden folder beside `folder`: `.NAME.memtrain-new` or `.NAME.memtrain-old`, on the same file system.
pub fn hidden_sibling(folder: &Path, sibling: Sibling) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(match sibling {
        Sibling::New => ".memtrain-new",
        Sibling::Old => ".memtrain-old",
    });
    folder.with_file_name(name)
}

/// Writes the folder `target` by `write`, which gets an empty folder, as a whole or not at all. A folder of the same kind
/// that was there is replaced.
///
/// ```
/// use memtrain_corpora::store::{self, StoreError};
/// # let parent = tempfile::tempdir().unwrap();
/// let target = parent.path().join("tables");
/// for text in ["first", "second"] {
///     store::replace(&target, "tables", |folder| store::write_atomic(&folder.join("a.txt"), text))?;
/// }
/// assert_eq!(store::read(&target.join("a.txt"))?, b"second");
/// # Ok::<(), StoreError>(())
/// ```
///
/// # Errors
/// As [`check_replaceable`]; [`StoreError::Locked`] if another process is writing the same folder; the error of `write`.
/// What was there stays.
pub fn replace<E: From<StoreError>>(
    target: &Path,
    kind: &str,
    write: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let replacement = Replacement::begin(target, kind)?;
    write(&replacement.fresh)?;
    Ok(replacement.commit()?)
}

/// A folder on its way to the place of another one; dropped without a commit, it is removed.
struct Replacement<'a> {
    /// Resolved, so that nothing depends on links or the current folder any more.
    target: PathBuf,
    kind: &'a str,
    fresh: PathBuf,
    /// Tells other processes that the one that writes is alive.
    lock: Option<LockGuard>,
}

impl<'a> Replacement<'a> {
    fn begin(target: &Path, kind: &'a str) -> Result<Self> {
        check_place(target)?;
        let target = resolve(target)?;
        recover(&target, kind)?;
        check(&target, kind, true)?;
        let fresh = hidden_sibling(&target, Sibling::New);
        clear_unfinished(&fresh, kind)?;
        super::create_dir_all(parent(&target))?;
        match fs::create_dir(&fresh) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(StoreError::Locked { path: fresh, holder: None });
            }
            created => created.map_err(|source| StoreError::io("create folder", &fresh, source))?,
        }
        let mut begun = Self { target, kind, fresh, lock: None };
        // Whoever begins at the same moment takes a folder without a mark for one that a kill has left, and removes it.
        let marked = begun.mark(&Marker::new(UNFINISHED, BTreeMap::new())).map_err(|error| match error.io_kind() {
            Some(ErrorKind::NotFound) => StoreError::Locked { path: begun.fresh.clone(), holder: None },
            _ => error,
        });
        begun.lock = Some(marked?);
        Ok(begun)
    }

    /// Writes the marker of the new folder and keeps it locked.
    fn mark(&self, marker: &Marker) -> Result<LockGuard> {
        let path = self.fresh.join(MARKER);
        let failed = |source| StoreError::Json { action: "write", path: path.clone(), source };
        let bytes = marker.to_bytes().map_err(failed)?;
        let mut file = AtomicFile::create(&path)?;
        file.write_all(&bytes).map_err(|source| StoreError::io("write", &path, source))?;
        file.commit_locked()
    }

    fn commit(mut self) -> Result<()> {
        let marker = Marker::new(self.kind, files_in(&self.fresh)?);
        let _lock = self.mark(&marker)?;
        // Writing may have taken hours.
        check(&self.target, self.kind, false)?;
        let old = hidden_sibling(&self.target, Sibling::Old);
        if matches!(occupant(&self.target)?, Occupant::Ours(_)) {
            rename_durably(&self.target, &old)?;
        } else if super::exists(&self.target) {
            sweep_temporaries(&self.target)?;
        }
        if let Err(error) = rename_durably(&self.fresh, &self.target) {
            // The first error is the one to report; the next call would put it back, too.
            let _ = recover(&self.target, self.kind);
            return Err(error);
        }
        self.lock = None;
        if super::exists(&old) {
            check(&old, self.kind, false)?;
            remove_listed(&old)?;
        }
        Ok(())
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // The error that has led here is the one to report; a full disk may also refuse the removal.
            let _ = remove_unfinished(&self.fresh);
        }
    }
}

/// The files in a folder, hashed; the marker is not among them.
fn files_in(folder: &Path) -> Result<BTreeMap<String, OwnedFile>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for path in list(&folder)? {
            let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
            if super::is_dir(&path) {
                folders.push((path, format!("{name}/")));
            } else if name != MARKER {
                files.insert(name, OwnedFile::of(&path)?);
            }
        }
    }
    Ok(files)
}

/// A folder that is replaced must be a name in another folder, and no link: the link would be replaced, or what is behind
/// it, and either may be wanted. The system refuses to rename a mount point, after the work.
fn check_place(target: &Path) -> Result<()> {
    let refuse = |what| Err(StoreError::ForeignFile { path: target.to_path_buf(), what });
    if is_link(target) {
        return refuse("is a link, and will not be replaced");
    }
    let resolved = resolve(target)?;
    if resolved.file_name().is_none() {
        return refuse("is the root of the file system, and will not be replaced");
    }
    if is_mount_point(&resolved) {
        return refuse("is a mount point, which cannot be replaced: name a folder inside it");
    }
    Ok(())
}

/// Ends a replacement that was cut off between its two renames or after them.
fn recover(target: &Path, kind: &str) -> Result<()> {
    let old = hidden_sibling(target, Sibling::Old);
    check_place(&old)?;
    if matches!(occupant(&old)?, Occupant::Absent) {
        return Ok(());
    }
    check(&old, kind, false)?;
    if matches!(occupant(target)?, Occupant::Ours(_)) {
        return remove_listed(&old);
    }
    rename_durably(&old, target)
}

/// Removes the hidden folder of a replacement that was cut off. While it is being written its marker says so, and all that is
/// in it is ours. Once it is whole its marker lists what was written, and it may as well be somebody's whom its name pleased:
/// then the same holds for it as for the folder that it was to be.
///
/// # Errors
/// [`StoreError::Foreign`] names what is somebody's; [`StoreError::Locked`] if another process is writing it.
pub fn clear_unfinished(fresh: &Path, kind: &str) -> Result<()> {
    check_place(fresh)?;
    let marker = match occupant(fresh)? {
        Occupant::Absent => return Ok(()),
        Occupant::Foreign(names) => return Err(foreign(fresh, UNFINISHED, names)),
        Occupant::Empty => {
            return remove_empty(fresh).map_err(|error| match error.io_kind() {
                // Another process is about to mark it.
                Some(ErrorKind::DirectoryNotEmpty) => StoreError::Locked { path: fresh.to_path_buf(), holder: None },
                _ => error,
            });
        }
        Occupant::Ours(marker) => marker,
    };
    if let Some(Err(TryLockError::WouldBlock)) = File::open(fresh.join(MARKER)).ok().map(|file| file.try_lock()) {
        return Err(StoreError::Locked { path: fresh.to_path_buf(), holder: None });
    }
    if marker.kind != UNFINISHED {
        check(fresh, kind, true)?;
        return remove_listed(fresh);
    }
    remove_unfinished(fresh)
}

/// Removes a folder whose marker says that it is unfinished. The marker goes last: killed amid this, the folder is still ours.
fn remove_unfinished(fresh: &Path) -> Result<()> {
    for path in list(fresh)?.iter().filter(|path| !path.ends_with(MARKER)) {
        match fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            true => remove_dir_all(path)?,
            false => super::remove_file(path)?,
        }
    }
    super::remove_file(&fresh.join(MARKER))?;
    fs::remove_dir(fresh).map_err(|source| StoreError::io("remove folder", fresh, source))
}
