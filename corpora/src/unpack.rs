//! Decompression and character sets: the packing of a file, and its bytes unpacked and in UTF-8.
//!
//! Told by the first bytes; what the name says does not matter. Memory is bounded whatever a file claims: nothing is unpacked
//! further than it is read, and what asks for a larger dictionary than common tools write is refused.

mod blocks;
mod bzip2;
mod gzip;
mod utf16;
mod whole;

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

pub(crate) use self::blocks::find_block;
use self::bzip2::Blocks;
use self::gzip::Members;
use self::utf16::Utf16;
pub use self::whole::{open, read_to_string};
use crate::dump_error::DumpError;
use crate::store::StoreError;

/// Memory an xz or lzma file may ask for: `xz -9` needs 65 MiB.
const MAX_XZ_BYTES: u64 = 160 << 20;
/// The largest window of a zstd file, as a power of two: what `zstd` itself takes without being asked.
const MAX_ZSTD_WINDOW: u32 = 27;
/// How many bytes are looked at: a tar archive says what it is at byte 257.
const HEAD_BYTES: usize = 512;
const BUFFER_BYTES: usize = 1 << 16;
/// Most blanks in a row, empty lines and zero bytes included: as many bytes as a page or a line may have. What has more is a hole, of a
/// download for example that was begun and not finished, and a few packed bytes can claim any number.
const MAX_BLANKS: u64 = 64 << 20;

/// How the bytes of a file are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// bzip2, one stream or many.
    Bzip2,
    /// gzip, one member or many.
    Gzip,
    /// xz, one stream or many.
    Xz,
    /// The older `.lzma`.
    Lzma,
    /// Zstandard, one frame or many.
    Zstd,
}

impl Packing {
    /// The packing that the first bytes of a file tell; any other is an error that says what to do. The name is for the error.
    fn of(head: &[u8], path: &Path) -> Result<Packing, DumpError> {
        let refused =
            |what: &str, hint| Err(DumpError::Unsupported { path: path.to_path_buf(), format: what.to_owned(), hint });
        match head {
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Ok(Packing::Bzip2),
            [0x1F, 0x8B, ..] => Ok(Packing::Gzip),
            [0xFD, b'7', b'z', b'X', b'Z', ..] => Ok(Packing::Xz),
            // Properties, then the size of the dictionary: a power of two, or the sum of two, so its low bytes are zero.
            [0x5D, 0x00, 0x00, _, _, ..] => Ok(Packing::Lzma),
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Ok(Packing::Zstd),
            [b'7', b'z', 0xBC, 0xAF, ..] => refused("a 7z archive", GET_BZ2),
            [b'P', b'K', 3 | 5, 4 | 6, ..] => refused("a zip archive", "unpack it first: `unzip FILE`"),
            [b'R', b'a', b'r', b'!', ..] => refused("a rar archive", "unpack it first: `unrar x FILE`"),
            [b'L', b'Z', b'I', b'P', ..] => refused("packed with lzip", "unpack it first: `lzip -d FILE`"),
            [0x04, 0x22, 0x4D, 0x18, ..] => refused("packed with lz4", "unpack it first: `lz4 -d FILE`"),
            _ => Ok(Packing::Plain),
        }
    }
}

const GET_BZ2: &str = "unpack it first (`7z x FILE`), or fetch the .xml.bz2 of the same dump";
const UNTAR: &str = "unpack it first (`tar -xf FILE`) and give the files in it, or their folder";

/// What follows the packed data is not packed: padding, or something that was appended. It is no damage where the data was complete.
#[derive(Debug, thiserror::Error)]
#[error("something else follows the packed data")]
pub(crate) struct Foreign;

impl From<Foreign> for io::Error {
    fn from(foreign: Foreign) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, foreign)
    }
}

/// Counts the bytes that are read through it.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Fails where nothing but blanks follow each other for too long.
struct WithoutHoles<R> {
    inner: R,
    blanks: u64,
}

impl<R: Read> Read for WithoutHoles<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let is_blank = buffer[..read].iter().all(|byte| matches!(byte, 0 | b' ' | b'\t' | b'\n' | b'\r'));
        self.blanks = if is_blank { self.blanks + read as u64 } else { 0 };
        if self.blanks > MAX_BLANKS {
            let detail = "more than 64 MiB in a row are blank or zero: it has a hole, or was not fetched to its end";
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
        Ok(read)
    }
}

/// Unpacked bytes.
pub(crate) struct Unpacked {
    pub(crate) bytes: Box<dyn Read + Send>,
    /// How many packed bytes have been read.
    pub(crate) count: Arc<AtomicU64>,
    pub(crate) packing: Packing,
    /// Whether the unpacked bytes are not what they were: they have been transcoded from UTF-16.
    pub(crate) transcoded: bool,
    /// How many unpacked bytes belong to the part that is read; `u64::MAX` until that is known.
    pub(crate) boundary: Arc<AtomicU64>,
}

/// How a file is packed.
pub(crate) fn packing(path: &Path) -> Result<Packing, DumpError> {
    let (head, _) = peek(crate::store::open(path)?, HEAD_BYTES).map_err(|source| read_error(path, source))?;
    Packing::of(&head, path)
}

/// Unpacks a file from its first byte on.
pub(crate) fn unpack(file: impl Read + Send + 'static, path: &Path) -> Result<Unpacked, DumpError> {
    let failed = |source| read_error(path, source);
    let count = Arc::new(AtomicU64::new(0));
    let (head, file) = peek(Counted { inner: file, count: count.clone() }, HEAD_BYTES).map_err(failed)?;
    if head.is_empty() {
        return Err(DumpError::NotADump { path: path.to_path_buf(), detail: "it is empty".to_owned() });
    }
    let packing = Packing::of(&head, path)?;
    let boundary = Arc::new(AtomicU64::new(u64::MAX));
    let bytes = decoder(packing, file, &boundary).map_err(failed)?;
    // Nothing that the decoder stumbles over is known before it is read: then it is an error of the reader, with its place.
    let (head, bytes) = peek(WithoutHoles { inner: bytes, blanks: 0 }, HEAD_BYTES).map_err(failed)?;
    let packed = packing != Packing::Plain;
    if head.get(257..262) == Some(b"ustar") {
        let format = if packed { "a packed tar archive" } else { "a tar archive" }.to_owned();
        return Err(DumpError::Unsupported { path: path.to_path_buf(), format, hint: UNTAR });
    }
    if packed && !matches!(Packing::of(&head, path), Ok(Packing::Plain)) {
        let format = "packed twice".to_owned();
        return Err(DumpError::Unsupported {
            path: path.to_path_buf(),
            format,
            hint: "unpack it once, and give the result",
        });
    }
    let order: Option<fn([u8; 2]) -> u16> = match head.as_slice() {
        [0xFF, 0xFE, ..] | [b'<' | b'{', 0, ..] => Some(u16::from_le_bytes),
        [0xFE, 0xFF, ..] | [0, b'<' | b'{', ..] => Some(u16::from_be_bytes),
        _ => None,
    };
    let bytes: Box<dyn Read + Send> = match order {
        Some(order) => Box::new(Utf16::new(bytes, order)),
        None => Box::new(bytes),
    };
    Ok(Unpacked { bytes, count, packing, transcoded: order.is_some(), boundary })
}

fn decoder(
    packing: Packing,
    file: impl Read + Send + 'static,
    boundary: &Arc<AtomicU64>,
) -> io::Result<Box<dyn Read + Send>> {
    let buffered = |file| BufReader::with_capacity(BUFFER_BYTES, file);
    Ok(match packing {
        Packing::Plain => Box::new(file),
        Packing::Bzip2 => Box::new(Blocks::new(file, 0, None, boundary.clone())?),
        Packing::Gzip => Box::new(Members::new(buffered(file))),
        Packing::Xz => {
            let stream = Stream::new_stream_decoder(MAX_XZ_BYTES, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(buffered(file), stream))
        }
        Packing::Lzma => Box::new(XzDecoder::new_stream(buffered(file), Stream::new_lzma_decoder(MAX_XZ_BYTES)?)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered(file))?;
            decoder.window_log_max(MAX_ZSTD_WINDOW)?;
            Box::new(decoder)
        }
    })
}

/// Unpacks what follows bit `start` of a file that is plain or bzip2; `file` stands at the byte that bit is in. The part ends
/// at bit `stop`, which the boundary tells; the bytes go on.
pub(crate) fn unpack_part(
    file: impl Read + Send + 'static,
    packing: Packing,
    start: u64,
    stop: Option<u64>,
    path: &Path,
) -> Result<Unpacked, DumpError> {
    let count = Arc::new(AtomicU64::new(0));
    let boundary = Arc::new(AtomicU64::new(u64::MAX));
    let counted = Counted { inner: file, count: count.clone() };
    let bytes: Box<dyn Read + Send> = match packing {
        Packing::Bzip2 => {
            let blocks = Blocks::new(counted, start, stop, boundary.clone());
            Box::new(blocks.map_err(|source| read_error(path, source))?)
        }
        _ => {
            boundary.store(stop.map_or(u64::MAX, |stop| (stop - start) / 8), Ordering::Relaxed);
            Box::new(counted)
        }
    };
    let bytes = Box::new(WithoutHoles { inner: bytes, blanks: 0 });
    Ok(Unpacked { bytes, count, packing, transcoded: false, boundary })
}

fn read_error(path: &Path, source: io::Error) -> DumpError {
    DumpError::Store(StoreError::io("read", path, source))
}

/// The first bytes of a stream, and the stream with them still in it. An error after the first bytes comes again later.
pub(crate) fn peek<R: Read + Send + 'static>(
    mut stream: R,
    length: usize,
) -> io::Result<(Vec<u8>, impl Read + Send + 'static)> {
    let mut head = vec![0; length];
    let mut filled = 0;
    let mut failure = None;
    while filled < length {
        match stream.read(&mut head[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    head.truncate(filled);
    let rest = Rest { stream, failure };
    Ok((head.clone(), io::Cursor::new(head).chain(rest)))
}

/// A stream whose next read may already have failed.
struct Rest<R> {
    stream: R,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Rest<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.failure.take() {
            Some(error) => Err(error),
            None => self.stream.read(buffer),
        }
    }
}
