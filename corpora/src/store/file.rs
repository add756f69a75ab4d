//! Plain reading, listing, removing, hashing; each error names its path.
#![expect(clippy::disallowed_methods, reason = "the store is where std::fs is allowed")]

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::LazyLock;

use super::{Result, StoreError};

/// What [`read`], [`read_to_string`] and [`read_json`](super::read_json) take at most: far more than any file that is read as a
/// whole needs, and little enough to be held in memory. Weights are larger: their readers name a bound of their own.
pub const MAX_READ_BYTES: u64 = 1 << 30;

/// The largest file of weights that is read as a whole.
pub const MAX_WEIGHTS_BYTES: u64 = 32 << 30;

/// Opens a regular file for reading, also through links. Anything else is [`StoreError::NotAFile`], told before it is opened:
/// a pipe without a writer would hold the process for ever, as may a file of the kernel's, and a device might never end. What
/// Git LFS leaves in place of a file is [`StoreError::LfsPointer`].
pub fn open(path: &Path) -> Result<File> {
    open_to("open", path, false)
}

/// Opens what is read once from its first byte to its last: a regular file, or a pipe or terminal that this process was
/// handed: `/dev/stdin`, `/dev/fd/N`, and with them `<(…)` of a shell.
pub fn open_stream(path: &Path) -> Result<File> {
    open_to("open", path, true)
}

fn open_to(action: &'static str, path: &Path, stream: bool) -> Result<File> {
    let failed = |source| StoreError::io(action, path, source);
    check_kind(action, path, &fs::metadata(path).map_err(failed)?, stream)?;
    let file = File::open(path).map_err(failed)?;
    // What stands under the name may have changed in between.
    let metadata = file.metadata().map_err(failed)?;
    check_kind(action, path, &metadata, stream)?;
    if metadata.is_file() && metadata.len() < LFS_POINTER_BYTES && is_lfs_pointer(&file).map_err(failed)? {
        return Err(StoreError::LfsPointer { path: path.to_path_buf() });
    }
    Ok(file)
}

/// Pointers of Git LFS are smaller than this, by their specification.
const LFS_POINTER_BYTES: u64 = 1024;

/// Whether a file begins as the pointers of Git LFS do. The file stands at its beginning before and after.
fn is_lfs_pointer(mut file: &File) -> io::Result<bool> {
    const BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/";
    let mut head = Vec::with_capacity(BEGINNING.len());
    file.take(BEGINNING.len() as u64).read_to_end(&mut head)?;
    file.seek(io::SeekFrom::Start(0))?;
    Ok(head == BEGINNING)
}

/// Refuses what is no regular file. The null device passes: it is an empty file to all who use it.
fn check_kind(action: &'static str, path: &Path, metadata: &Metadata, stream: bool) -> Result<()> {
    if metadata.is_dir() {
        return Err(StoreError::io(action, path, io::ErrorKind::IsADirectory.into()));
    }
    match kind(metadata).or_else(|| may_wait(path, metadata).then_some(OF_KERNEL)) {
        Some(kind) if path != Path::new("/dev/null") && !(stream && is_handed(path, kind)) => {
            Err(StoreError::NotAFile { path: path.to_path_buf(), kind })
        }
        _ => Ok(()),
    }
}

const PIPE: &str = "a pipe";
const OF_KERNEL: &str = "what the kernel tells, which may have no end";

/// What is not a regular file, in words; `None` for one that is.
fn kind(metadata: &Metadata) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return Some(PIPE);
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    if metadata.is_file() { None } else { Some("a device") }
}

/// Folders in which the kernel shows itself as regular files that tell no length. Some of them, such as `/proc/kmsg`, wait for what
/// happens next.
#[cfg(unix)]
const OF_THE_KERNEL: [&str; 3] = ["/proc", "/sys/kernel/tracing", "/sys/kernel/debug"];

/// Whether a regular file is one of the kernel's, and not known to end: as what it tells of a process or the machine does.
#[cfg(unix)]
fn may_wait(path: &Path, metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    static DEVICES: LazyLock<Vec<u64>> = LazyLock::new(|| {
        let device = |folder: &Path| fs::metadata(folder).ok().map(|metadata| metadata.dev());
        let mounted = |folder: &Path| device(folder).filter(|here| folder.parent().and_then(device) != Some(*here));
        OF_THE_KERNEL.iter().filter_map(|folder| mounted(Path::new(folder))).collect()
    });
    let is_plain = path.components().all(|part| part != std::path::Component::ParentDir);
    let ends = || {
        let told = path.strip_prefix("/proc").ok().and_then(|told| told.iter().next()?.to_str());
        told.is_some_and(|told| {
            matches!(told, "self" | "thread-self" | "meminfo" | "cpuinfo")
                || told.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    metadata.is_file() && metadata.len() == 0 && DEVICES.contains(&metadata.dev()) && !(is_plain && ends())
}

/// Elsewhere the kernel has no such files.
#[cfg(not(unix))]
fn may_wait(_: &Path, _: &Metadata) -> bool {
    false
}

/// Whether a path names a pipe or the terminal that this process was started with.
fn is_handed(path: &Path, kind: &str) -> bool {
    let is_stdin = path == Path::new("/dev/stdin");
    let inside = |folder| path.strip_prefix(folder).is_ok_and(|rest| rest.components().count() == 1);
    match kind {
        PIPE => is_stdin || inside("/dev/fd") || inside("/proc/self/fd"),
        _ => is_stdin && io::stdin().is_terminal(),
    }
}

/// Refuses to write to what is there already and is no regular file: opening a pipe for writing waits for a reader.
pub(super) fn check_writable(action: &'static str, path: &Path) -> Result<()> {
    fs::metadata(path).map_or(Ok(()), |metadata| check_kind(action, path, &metadata, false))
}

/// Opens a file for appending, creating it. Each write lands at the end, whatever else was written meanwhile.
pub fn append(path: &Path) -> Result<File> {
    check_writable("open", path)?;
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|source| StoreError::io("open", path, source))
}

/// The whole contents of a file, or of a pipe as [`open_stream`] takes it, up to [`MAX_READ_BYTES`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, MAX_READ_BYTES)
}

/// The first bytes of a file, `most` at most.
pub fn head(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most).read_to_end(&mut bytes).map_err(|source| StoreError::io("read", path, source))?;
    Ok(bytes)
}

/// As [`read`], up to `max_bytes`; more is [`StoreError::TooLarge`].
pub fn read_at_most(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let failed = |source| StoreError::io("read", path, source);
    let file = open_to("read", path, true)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > max_bytes {
        return Err(StoreError::TooLarge { path: path.to_path_buf(), max_bytes });
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX)).map_err(|error| failed(error.into()))?;
    // Files of `/proc` tell no length, and any file may grow: the bound holds for what is read, too.
    read_into(bytes, path, file, max_bytes)
}

/// All of a stream up to `max_bytes`; `name` stands for the path in errors.
pub fn read_stream(name: &Path, stream: impl Read, max_bytes: u64) -> Result<Vec<u8>> {
    read_into(Vec::new(), name, stream, max_bytes)
}

fn read_into(mut bytes: Vec<u8>, name: &Path, stream: impl Read, max_bytes: u64) -> Result<Vec<u8>> {
    let read = stream.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| StoreError::io("read", name, source))?;
    match bytes.len() as u64 > max_bytes {
        true => Err(StoreError::TooLarge { path: name.to_path_buf(), max_bytes }),
        false => Ok(bytes),
    }
}

/// The whole contents of a UTF-8 file, read as by [`read`], without a byte-order mark at its beginning.
pub fn read_to_string(path: &Path) -> Result<String> {
    read_to_string_at_most(path, MAX_READ_BYTES)
}

/// The whole contents of a UTF-8 file, read as by [`read_at_most`].
pub fn read_to_string_at_most(path: &Path, max_bytes: u64) -> Result<String> {
    let text = String::from_utf8(read_at_most(path, max_bytes)?)
        .map_err(|error| StoreError::NotUtf8 { path: path.to_path_buf(), byte: error.utf8_error().valid_up_to() })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Whether something is there; a path that cannot be looked at counts as absent.
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Whether something is there, where it matters that it is not merely out of sight: a path that cannot be looked at is an
/// error.
pub fn try_exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|source| StoreError::io("look at", path, source))
}

/// Whether a folder is there.
pub fn is_dir(path: &Path) -> bool {
    path.is_dir()
}

/// Length of a file in bytes.
pub fn len(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).map_err(|source| StoreError::io("look at", path, source))?;
    Ok(metadata.len())
}

/// As [`check_file`](super::check_file); nothing is removed.
pub(super) fn check_place_of_file(path: &Path, is_ours: impl FnOnce(&Path) -> bool) -> Result<()> {
    let refuse = |what| Err(StoreError::ForeignFile { path: path.to_path_buf(), what });
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::io("create", path, source)),
        Ok(there) if there.is_dir() => Err(StoreError::io("create", path, io::ErrorKind::IsADirectory.into())),
        Ok(there) if there.is_symlink() => refuse("is a link"),
        Ok(there) if !there.is_file() => refuse("is a device, a pipe or a socket"),
        Ok(there) if there.len() == 0 || is_ours(path) => Ok(()),
        Ok(_) => refuse("is there already, and this command did not write it"),
    }
}

/// Creates a folder and those above it; one that is there already is fine.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| StoreError::io("create folder", path, source))
}

/// The entries of a folder, full paths, sorted by name.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| StoreError::io("list", folder, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Removes a folder with everything in it; one that is absent is fine.
pub fn remove_dir_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove folder", path, source)),
        _ => Ok(()),
    }
}

/// Removes a folder if nothing is in it.
pub fn remove_empty_dir(path: &Path) -> Result<()> {
    use std::io::ErrorKind;
    match fs::remove_dir(path) {
        Err(source) if !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(StoreError::io("remove folder", path, source))
        }
        _ => Ok(()),
    }
}

/// Removes a file; one that is absent is fine.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, source)),
        _ => Ok(()),
    }
}

/// Renames a file or folder over `to`, and makes the new name survive a power cut.
pub fn rename_durably(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|source| StoreError::io("rename into", to, source))?;
    sync_folder(parent(to))?;
    if parent(from) != parent(to) {
        sync_folder(parent(from))?;
    }
    Ok(())
}

/// Makes `link` a symbolic link to `target` (a path as seen from the link's folder), replacing a link that is there in
/// one step. Where there are no symbolic links this does nothing: links are a convenience, nothing reads them.
///
/// # Errors
/// [`StoreError::ForeignFile`] if something is there that is no link; if the link cannot be made.
pub fn link_durably(target: &Path, link: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let failed = |source| StoreError::io("link", link, source);
        if fs::symlink_metadata(link).is_ok_and(|there| !there.is_symlink()) {
            let what = "is not a link, and will not be replaced by one";
            return Err(StoreError::ForeignFile { path: link.to_path_buf(), what });
        }
        let name = link.file_name().unwrap_or_default().to_string_lossy();
        let temporary = parent(link).join(format!(".{name}.{}.link", std::process::id()));
        remove_file(&temporary)?;
        std::os::unix::fs::symlink(target, &temporary).map_err(failed)?;
        if let Err(source) = fs::rename(&temporary, link) {
            remove_file(&temporary)?;
            return Err(failed(source));
        }
        sync_folder(parent(link))?;
    }
    #[cfg(not(unix))]
    let _ = (target, link);
    Ok(())
}

/// Most zero bytes in a row of an input: no table of numbers has as many in one page.
const MAX_ZEROS: u64 = 1 << 30;

/// BLAKE3 of a file as 64 hexadecimal digits. A file of which fewer bytes come than it has is an error, not another file.
pub fn hash_file(path: &Path) -> Result<String> {
    hash_with_at_most(path, u64::MAX)
}

/// As [`hash_file`], of a file that others wrote: one that is mostly a hole is refused before its whole size is gone through.
pub fn hash_input(path: &Path) -> Result<String> {
    hash_with_at_most(path, MAX_ZEROS)
}

fn hash_with_at_most(path: &Path, max_zeros: u64) -> Result<String> {
    let mut file = open(path)?;
    let bytes = file.metadata().map_err(|source| StoreError::io("look at", path, source))?.len();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0u8; 1 << 17];
    let mut zeros = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) if hasher.count() < bytes => {
                return Err(StoreError::io("read", path, io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(0) => return Ok(hasher.finalize().to_hex().to_string()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                zeros = if buffer[..n].iter().all(|byte| *byte == 0) { zeros + n as u64 } else { 0 };
                if zeros > max_zeros {
                    let detail = "more than 1 GiB in a row is zero: it has a hole, or was not fetched to its end";
                    return Err(StoreError::Unreadable { path: path.to_path_buf(), detail: detail.to_owned() });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(StoreError::io("read", path, source)),
        }
    }
}

/// BLAKE3 of bytes as 64 hexadecimal digits.
pub fn hash_bytes(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The folder a path lies in; a bare file name lies in `.`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Flushes a folder's entries to the disk. Windows cannot open a folder as a file and needs no such flush.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        let failed = |source| StoreError::io("flush folder", folder, source);
        File::open(folder).map_err(failed)?.sync_all().map_err(failed)?;
    }
    Ok(())
}
