//! Errors of file operations, each with its path and a hint.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the store. [`StoreError::hint`] says what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("could not {action} `{}`: {source}", path.display())]
    Io {
        /// What was being done, as a verb: `read`, `write`, `create folder`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A pipe, a socket or a device stands where a file is expected.
    #[error("`{}` is {kind}, not a file", path.display())]
    NotAFile {
        /// What was to be opened.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// The file is larger than what is read as a whole.
    #[error("`{}` has more than {max_bytes} bytes, the most that are read of such a file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        max_bytes: u64,
    },
    /// The pointer that a clone without Git LFS has in place of the file.
    #[error("`{}` is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`", path.display())]
    LfsPointer {
        /// The pointer.
        path: PathBuf,
    },
    /// The file is packed in a way that is not read here.
    #[error("`{}` is {format}, which is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is, with its article: `a zip archive`.
        format: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// A text is in another encoding.
    #[error("`{}` is not UTF-8 from byte {byte} on", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first byte that is none of UTF-8.
        byte: usize,
    },
    /// A Parquet table of others cannot be read.
    #[error("`{}` cannot be read: {detail}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A file of ours is there but its contents are not what they must be.
    #[error("`{}` is damaged: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file holds another table, or another version of it.
    #[error("`{}` holds {got}, expected {expected}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What the caller wanted to read.
        expected: String,
        /// What the file says it is.
        got: String,
    },
    /// The Parquet library refused.
    #[cfg(feature = "tables")]
    #[error("could not {action} the Parquet table `{}`: {source}", path.display())]
    Parquet {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The library's answer.
        source: parquet::errors::ParquetError,
    },
    /// The Arrow library refused.
    #[cfg(feature = "tables")]
    #[error("could not {action} rows of `{}`: {source}", path.display())]
    Arrow {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The library's answer.
        source: arrow::error::ArrowError,
    },
    /// A value of a row is impossible.
    #[error("`{}`: {source}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Which value, and why.
        source: RowError,
    },
    /// A row number beyond the end of a table.
    #[error("row {row} of `{}` was asked for, which has {num_rows} rows", path.display())]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// The row asked for.
        row: usize,
        /// How many there are.
        num_rows: usize,
    },
    /// A JSON file could not be read or written.
    #[error("could not {action} the JSON file `{}`: {source}", path.display())]
    Json {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Where and why, with line and column.
        source: serde_json::Error,
    },
    /// A folder that is to be written, replaced or removed holds what we did not write, or what was changed since.
    #[error("`{}` holds what memtrain did not write there: {}", path.display(), named(names))]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What it was wanted for.
        kind: String,
        /// Names of what is in it, folders with `/`.
        names: Vec<String>,
    },
    /// A folder of ours is for something else.
    #[error("`{}` was written by memtrain as `{got}`, not as `{expected}`", path.display())]
    OtherKind {
        /// The folder.
        path: PathBuf,
        /// What it was wanted for.
        expected: String,
        /// What it is for.
        got: String,
    },
    /// A file in a folder with our marker is not what the marker says, or the marker is not what was written.
    #[error("`{}` is not as memtrain has written it: {detail}", path.display())]
    NotAsWritten {
        /// The file.
        path: PathBuf,
        /// How it differs.
        detail: String,
    },
    /// What stands under a name must not be replaced.
    #[error("`{}` {what}", path.display())]
    ForeignFile {
        /// The file, link or folder.
        path: PathBuf,
        /// What it is, as the rest of a sentence.
        what: &'static str,
    },
    /// What is to be written would replace what is read.
    #[error("writing `{}` would touch `{}`, which is read", path.display(), input.display())]
    Overlap {
        /// What is to be written.
        path: PathBuf,
        /// What is read.
        input: PathBuf,
    },
    /// Another process holds the lock.
    #[error("`{}` is locked by another process{}", path.display(), in_brackets(holder))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Number and machine of the process that holds it, `pid 123 on host`, as far as it has said so.
        holder: Option<String>,
    },
}

fn in_brackets(holder: &Option<String>) -> String {
    holder.as_ref().map_or_else(String::new, |holder| format!(" ({holder})"))
}

/// A value of a row that cannot be stored or understood.
#[derive(Debug, thiserror::Error)]
#[error("column `{column}`, row {row}: {detail}")]
pub struct RowError {
    /// Column name.
    pub column: &'static str,
    /// Row number in the batch.
    pub row: usize,
    /// What is wrong.
    pub detail: String,
}

impl StoreError {
    /// An [`StoreError::Io`] for the path.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { action, path: path.to_path_buf(), source }
    }

    /// What the user can do, one sentence without a full stop at the end; `None` where nothing general can be said.
    ///
    /// ```
    /// use memtrain_corpora::store;
    /// let error = store::read(std::path::Path::new("/no/such/file")).unwrap_err();
    /// assert_eq!(error.to_string(), "could not read `/no/such/file`: No such file or directory (os error 2)");
    /// assert!(error.hint().unwrap().starts_with("check the path"));
    /// ```
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            StoreError::Io { source, .. } => io_hint(source),
            #[cfg(feature = "tables")]
            StoreError::Parquet { source, .. } => parquet_io(source).and_then(io_hint).or(Some(REBUILD)),
            StoreError::Json { source, .. } => match source.io_error_kind() {
                Some(kind) => kind_hint(kind),
                None => Some(
                    "if a command has written the file, move it away and run that command again; else mend it, or take it from where it comes from",
                ),
            },
            #[cfg(feature = "tables")]
            StoreError::Arrow { .. } => Some(REBUILD),
            StoreError::Corrupt { .. } | StoreError::Row { .. } => Some(REBUILD),
            StoreError::Schema { .. } => Some(
                "the file was written by another stage or another version; build it again, or point at the right file",
            ),
            StoreError::Foreign { .. } => Some("name another folder, or move away what is in it; nothing was changed"),
            StoreError::OtherKind { .. } => Some("name another folder; nothing was changed"),
            StoreError::NotAsWritten { .. } => Some(
                "have the folder written anew, or take it from a copy; if somebody has changed it on purpose, remove its list \
                 of what was written, `.memtrain.json` or `checkpoint.json`: then it is read as it is",
            ),
            StoreError::ForeignFile { .. } => {
                Some("name another path, or move away what is there; nothing was changed")
            }
            StoreError::Overlap { .. } => Some("name another place to write to; nothing was changed"),
            StoreError::Locked { .. } => Some("another worker is at it; wait for it to finish, or stop it"),
            StoreError::NotAFile { .. } => Some(
                "name a regular file; where one input is read from beginning to end, `/dev/stdin` and `<(…)` are taken too",
            ),
            StoreError::LfsPointer { .. } => {
                Some("run `git lfs install` and `git lfs pull` in the clone, or fetch the file by itself")
            }
            StoreError::Unsupported { hint, .. } => Some(hint),
            StoreError::NotUtf8 { .. } => Some(TO_UTF8),
            StoreError::Unreadable { .. } => {
                Some("take the file once more from where it comes from, and compare its size or checksum")
            }
            StoreError::TooLarge { .. } => Some("check that it is the right file"),
            StoreError::OutOfRange { .. } => None,
        }
    }

    /// The same of a table that others have written: what is wrong with it is nothing that a stage of ours could mend.
    #[cfg(feature = "tables")]
    pub(super) fn of_others(self) -> StoreError {
        match self {
            StoreError::Corrupt { path, detail } => StoreError::Unreadable { path, detail },
            StoreError::Parquet { path, source, .. } if parquet_io(&source).is_none() => {
                StoreError::Unreadable { path, detail: source.to_string() }
            }
            StoreError::Arrow { path, source, .. } => StoreError::Unreadable { path, detail: source.to_string() },
            error => error,
        }
    }

    /// The kind of the system's error, where there is one underneath.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            StoreError::Io { source, .. } => Some(source.kind()),
            #[cfg(feature = "tables")]
            StoreError::Parquet { source, .. } => parquet_io(source).map(io::Error::kind),
            StoreError::Json { source, .. } => source.io_error_kind(),
            _ => None,
        }
    }
}

/// The first names of a list, and how many more there are.
fn named(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// What to do with a text in another encoding.
pub const TO_UTF8: &str = "convert the file from the encoding it has: `iconv -f LATIN1 -t UTF-8 FILE > NEW-FILE`";

const REBUILD: &str = "delete the file and run the stage that writes it again";

/// The I/O error inside a Parquet error: a full disk met while a row group is flushed arrives this way.
#[cfg(feature = "tables")]
fn parquet_io(error: &parquet::errors::ParquetError) -> Option<&io::Error> {
    match error {
        parquet::errors::ParquetError::External(inner) => inner.downcast_ref::<io::Error>(),
        _ => None,
    }
}

fn io_hint(error: &io::Error) -> Option<&'static str> {
    // Kinds that the standard library has no stable names for.
    match error.raw_os_error() {
        Some(5) if cfg!(unix) => {
            Some("the disk does not give it; try again, and if it stays so, take the file from a copy")
        }
        Some(23 | 24) if cfg!(unix) => {
            Some("too many files are open; raise the limit (`ulimit -n 4096`) and try again")
        }
        _ => kind_hint(error.kind()),
    }
}

fn kind_hint(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    match kind {
        Kind::StorageFull => {
            Some("the disk is full; free some space or choose another folder, then run the command again")
        }
        Kind::QuotaExceeded => {
            Some("your quota is used up; free some space or choose another folder, then run the command again")
        }
        Kind::FileTooLarge => Some("the file system does not take files of this size; choose another folder"),
        Kind::PermissionDenied => {
            Some("you have no right to do this there; change the rights of the folder or choose another one")
        }
        Kind::ResourceBusy | Kind::CrossesDevices => {
            Some("this is a mount point, which cannot be replaced; name a folder inside it")
        }
        Kind::ReadOnlyFilesystem => Some("the file system is mounted read-only; choose another folder"),
        Kind::NotFound => Some("check the path: nothing is there"),
        Kind::NotADirectory => Some("a part of the path is a file, not a folder; choose another path"),
        Kind::IsADirectory => Some("this is a folder; name a file"),
        Kind::UnexpectedEof => Some("the file ends early; fetch or build it again"),
        _ => None,
    }
}
