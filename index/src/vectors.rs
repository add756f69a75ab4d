//! Flat files of normalised vectors, in half precision, read where they are asked for.
//!
//! A file is, in little endian: the magic `MTVECTOR`, the format version (u32), the number of dimensions (u32), the
//! number of rows (u64), rows × dimensions values of IEEE half precision, and the BLAKE3 of all that. A row is the vector
//! of the passage at the same place. Half precision moves a cosine by less than 1e-3 and halves what is read. The hash
//! lets a build that was killed know which of its files are whole.
//!
//! The files are not mapped: the pages of a map that was looked through count as memory of the process, and with 25
//! million passages they are 51 GB.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use memtrain_corpora::store::{self, AtomicFile, StoreError};

use crate::IndexError;

const MAGIC: &[u8; 8] = b"MTVECTOR";
/// Version of the format.
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 24;
const HASH_BYTES: usize = 32;

/// Writes a file of vectors row by row.
pub(crate) struct VectorsWriter {
    file: AtomicFile,
    hasher: blake3::Hasher,
    path: PathBuf,
    dimensions: usize,
}

impl VectorsWriter {
    /// Begins a file of this many rows.
    pub(crate) fn create(path: &Path, dimensions: usize, num_rows: u64) -> Result<Self, IndexError> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(dimensions as u32).to_le_bytes());
        header.extend_from_slice(&num_rows.to_le_bytes());
        let (file, hasher) = (AtomicFile::create(path)?, blake3::Hasher::new());
        let mut writer = Self { file, hasher, path: path.to_path_buf(), dimensions };
        writer.write(&header)?;
        Ok(writer)
    }

    /// Appends rows, already normalised.
    pub(crate) fn push(&mut self, rows: &[Vec<f32>]) -> Result<(), IndexError> {
        let mut bytes = Vec::with_capacity(rows.len() * self.dimensions * 2);
        for row in rows {
            debug_assert_eq!(row.len(), self.dimensions);
            bytes.extend(row.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()));
        }
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), IndexError> {
        self.hasher.update(bytes);
        let path = &self.path;
        Ok(self.file.write_all(bytes).map_err(|source| StoreError::Io {
            action: "write",
            path: path.clone(),
            source,
        })?)
    }

    /// Puts the file in place.
    pub(crate) fn finish(mut self) -> Result<(), IndexError> {
        let hash = *self.hasher.finalize().as_bytes();
        self.write(&hash)?;
        Ok(self.file.commit()?)
    }
}

/// What gives rows of values to whoever compares them.
pub(crate) trait Rows: Sync {
    /// Widens rows one after another into `wide`; `room` is where their bytes are read to.
    fn gather(&self, rows: &[usize], room: &mut Vec<u8>, wide: &mut [f32]) -> Result<(), IndexError>;
}

/// A file that is read at positions.
pub(crate) struct Positioned {
    path: PathBuf,
    file: File,
}

impl Positioned {
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        Ok(Self { path: path.to_path_buf(), file: store::open(path)? })
    }

    /// Fills the buffer from a position on.
    pub(crate) fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<(), IndexError> {
        let mut done = 0;
        while done < buffer.len() {
            let read = match self.read_some(&mut buffer[done..], position + done as u64) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            let failed = |source| StoreError::Io { action: "read", path: self.path.clone(), source };
            done += read.map_err(failed)?;
        }
        Ok(())
    }

    #[cfg(unix)]
    fn read_some(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, position)
    }

    #[cfg(windows)]
    fn read_some(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buffer, position)
    }
}

/// One file of vectors.
#[derive(Clone, Debug)]
struct Piece {
    path: PathBuf,
    rows: Range<usize>,
}

/// The vectors of all passages, file after file.
#[derive(Debug)]
pub(crate) struct Vectors {
    dimensions: usize,
    num_rows: usize,
    pieces: Vec<Piece>,
}

impl Vectors {
    /// Looks at files that follow one another and refuses what is not whole by its length.
    pub(crate) fn open(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, IndexError> {
        let mut vectors = Self { dimensions: 0, num_rows: 0, pieces: Vec::new() };
        for path in paths {
            let (dimensions, num_rows) = header(&path)?;
            if vectors.dimensions != 0 && vectors.dimensions != dimensions {
                let detail = format!("its vectors have {dimensions} values, those before it {}", vectors.dimensions);
                return Err(IndexError::Corrupt { path, detail });
            }
            let rows = vectors.num_rows..vectors.num_rows + num_rows;
            (vectors.dimensions, vectors.num_rows) = (dimensions, rows.end);
            vectors.pieces.push(Piece { path, rows });
        }
        Ok(vectors)
    }

    /// Whether a file is there, whole, and holds so many rows; it is read through.
    pub(crate) fn is_whole(path: &Path, dimensions: usize, num_rows: usize) -> bool {
        let whole = || -> Result<bool, IndexError> {
            if header(path)? != (dimensions, num_rows) {
                return Ok(false);
            }
            let mut body = io::BufReader::new(store::open(path)?).take(store::len(path)? - HASH_BYTES as u64);
            let (mut hasher, mut hash) = (blake3::Hasher::new(), Vec::new());
            let read = |source| StoreError::Io { action: "read", path: path.to_path_buf(), source };
            hasher.update_reader(&mut body).map_err(read)?;
            body.into_inner().read_to_end(&mut hash).map_err(read)?;
            Ok(hasher.finalize().as_bytes() == hash.as_slice())
        };
        store::exists(path) && whole().unwrap_or(false)
    }

    pub(crate) fn num_rows(&self) -> usize {
        self.num_rows
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Opens the files that hold these rows.
    pub(crate) fn reader(&self, rows: &Range<usize>) -> Result<VectorsReader, IndexError> {
        let holding = self.pieces.iter().filter(|piece| piece.rows.start < rows.end && rows.start < piece.rows.end);
        let open = |piece: &Piece| Ok((piece.rows.clone(), Positioned::open(&piece.path)?));
        let pieces = holding.map(open).collect::<Result<_, IndexError>>()?;
        Ok(VectorsReader { dimensions: self.dimensions, pieces })
    }

    /// One row, widened.
    pub(crate) fn row(&self, row: usize) -> Result<Vec<f32>, IndexError> {
        let mut wide = vec![0.0; self.dimensions];
        self.reader(&(row..row + 1))?.gather(&[row], &mut Vec::new(), &mut wide)?;
        Ok(wide)
    }
}

/// Open files of vectors.
pub(crate) struct VectorsReader {
    dimensions: usize,
    pieces: Vec<(Range<usize>, Positioned)>,
}

impl VectorsReader {
    /// Reads rows as they are stored; neighbours in a file are read at once.
    pub(crate) fn read(&self, rows: &[usize], place: &mut [u8]) -> Result<(), IndexError> {
        let (row_bytes, mut rest) = (2 * self.dimensions, place);
        let mut at = 0;
        while at < rows.len() {
            let number = self.pieces.partition_point(|(piece, _)| piece.end <= rows[at]);
            let (piece, file) = &self.pieces[number];
            let next = |&(place, &row): &(usize, &usize)| row == rows[at] + place && row < piece.end;
            let count = rows[at..].iter().enumerate().take_while(next).count();
            let (run, behind) = rest.split_at_mut(count * row_bytes);
            file.read_at(run, (HEADER_BYTES + row_bytes * (rows[at] - piece.start)) as u64)?;
            (rest, at) = (behind, at + count);
        }
        Ok(())
    }
}

impl Rows for VectorsReader {
    fn gather(&self, rows: &[usize], room: &mut Vec<u8>, wide: &mut [f32]) -> Result<(), IndexError> {
        room.resize(rows.len() * 2 * self.dimensions, 0);
        self.read(rows, room)?;
        widen(room, wide);
        Ok(())
    }
}

/// Widens values as they are stored.
pub(crate) fn widen(bytes: &[u8], wide: &mut [f32]) {
    const AT_ONCE: usize = 64;
    let mut half = [f16::ZERO; AT_ONCE];
    for (bytes, wide) in bytes.chunks(2 * AT_ONCE).zip(wide.chunks_mut(AT_ONCE)) {
        let half = &mut half[..wide.len()];
        for (value, pair) in half.iter_mut().zip(bytes.chunks_exact(2)) {
            *value = f16::from_le_bytes([pair[0], pair[1]]);
        }
        half.convert_to_f32_slice(wide);
    }
}

/// Dimensions and rows of a file whose length fits them.
fn header(path: &Path) -> Result<(usize, usize), IndexError> {
    let corrupt = |detail: String| IndexError::Corrupt { path: path.to_path_buf(), detail };
    let bytes = store::len(path)?;
    if bytes < (HEADER_BYTES + HASH_BYTES) as u64 {
        return Err(corrupt("it has no whole header".to_owned()));
    }
    let mut header = [0; HEADER_BYTES];
    Positioned::open(path)?.read_at(&mut header, 0)?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if !header.starts_with(MAGIC) {
        return Err(corrupt("it is not a file of vectors".to_owned()));
    }
    if word(8) != VERSION {
        return Err(IndexError::Version { path: path.to_path_buf(), expected: VERSION, got: word(8) });
    }
    let (dimensions, num_rows) = (word(12) as usize, u64::from(word(16)) | u64::from(word(20)) << 32);
    let expected = (dimensions as u64).saturating_mul(num_rows).saturating_mul(2);
    let got = bytes - (HEADER_BYTES + HASH_BYTES) as u64;
    if dimensions == 0 || got != expected {
        let detail = format!("{num_rows} rows of {dimensions} values need {expected} bytes, it has {got}");
        return Err(corrupt(detail));
    }
    Ok((dimensions, num_rows as usize))
}
