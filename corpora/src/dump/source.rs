//! Bytes of a dump: what kind of file it is, unpacked and in UTF-8.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::bufread::MultiBzDecoder;

use super::DumpError;

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

/// Unpacked bytes, and how far in the packed ones the reading is.
pub(super) struct Source {
    pub(super) bytes: Box<dyn Read + Send>,
    pub(super) count: Arc<AtomicU64>,
}

const GET_BZ2: &str = "unpack it first, or fetch the .xml.bz2 of the same dump";

/// Recognises a file by its first bytes; what its name says does not matter.
pub(super) fn recognise(file: impl Read + Send + 'static, path: &Path) -> Result<Source, DumpError> {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: file, count: count.clone() };
    let (head, file) = peek(counted, 6).map_err(|source| read_error(path, source))?;
    let unsupported = |format| Err(DumpError::Unsupported { path: path.to_path_buf(), format, hint: GET_BZ2 });
    match head.as_slice() {
        [] => Err(DumpError::NotADump { path: path.to_path_buf(), detail: "the file is empty".to_owned() }),
        [b'7', b'z', 0xBC, 0xAF, ..] => unsupported("a 7z archive"),
        [0x1F, 0x8B, ..] => unsupported("packed with gzip"),
        [0xFD, b'7', b'z', b'X', b'Z', ..] => unsupported("packed with xz"),
        [0x5D, 0x00, 0x00, ..] => unsupported("packed with lzma"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => unsupported("packed with zstd"),
        [b'P', b'K', 3, 4, ..] => unsupported("a zip archive"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
            let decoder = MultiBzDecoder::new(BufReader::with_capacity(1 << 16, file));
            Ok(Source { bytes: utf8(decoder).map_err(|source| read_error(path, source))?, count })
        }
        _ => Ok(Source { bytes: utf8(file).map_err(|source| read_error(path, source))?, count }),
    }
}

fn read_error(path: &Path, source: io::Error) -> DumpError {
    DumpError::Store(crate::store::StoreError::io("read", path, source))
}

/// The first bytes of a stream, and the stream with them still in it. An error after the first bytes comes again later.
fn peek<R: Read + Send + 'static>(mut stream: R, length: usize) -> io::Result<(Vec<u8>, impl Read + Send + 'static)> {
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

/// The stream as UTF-8: one in UTF-16, with a byte-order mark or known by the zero bytes around its `<`, is transcoded.
fn utf8(stream: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let (head, stream) = peek(stream, 4)?;
    Ok(match head.as_slice() {
        [0xFF, 0xFE, ..] | [b'<', 0, ..] => Box::new(Utf16::new(stream, u16::from_le_bytes)),
        [0xFE, 0xFF, ..] | [0, b'<', ..] => Box::new(Utf16::new(stream, u16::from_be_bytes)),
        _ => Box::new(stream),
    })
}

/// Turns UTF-16 into UTF-8; an unpaired surrogate becomes U+FFFD.
struct Utf16<R> {
    stream: R,
    unit: fn([u8; 2]) -> u16,
    /// Raw bytes not yet decoded: at most half a character between reads.
    raw: Vec<u8>,
    decoded: Vec<u8>,
    given: usize,
}

impl<R: Read> Utf16<R> {
    fn new(stream: R, unit: fn([u8; 2]) -> u16) -> Self {
        Utf16 { stream, unit, raw: Vec::new(), decoded: Vec::new(), given: 0 }
    }

    /// Reads and decodes some more; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let kept = self.raw.len();
        self.raw.resize(kept + (1 << 15), 0);
        let read = match self.stream.read(&mut self.raw[kept..]) {
            Ok(read) => read,
            Err(error) => {
                self.raw.truncate(kept);
                return Err(error);
            }
        };
        self.raw.truncate(kept + read);
        self.decoded.clear();
        self.given = 0;
        if read == 0 && self.raw.len() < 2 {
            return Ok(false);
        }
        let mut units: Vec<u16> = self.raw.chunks_exact(2).map(|pair| (self.unit)([pair[0], pair[1]])).collect();
        // The first half of a pair waits for the second, unless there is no more.
        if read > 0 && units.last().is_some_and(|unit| (0xD800..0xDC00).contains(unit)) {
            units.pop();
        }
        self.raw.drain(..units.len() * 2);
        for character in char::decode_utf16(units) {
            let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(true)
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.decoded.len() {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let length = buffer.len().min(self.decoded.len() - self.given);
        buffer[..length].copy_from_slice(&self.decoded[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}
