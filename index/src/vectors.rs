//! Flat files of normalised vectors, in half precision, mapped into memory.
//!
//! A file is, in little endian: the magic `MTVECTOR`, the format version (u32), the number of dimensions (u32), the
//! number of rows (u64), rows × dimensions values of IEEE half precision, and the BLAKE3 of all that. A row is the vector
//! of the passage at the same place. Half precision moves a cosine by less than 1e-3 and halves what is read. The hash
//! lets a build that was killed know which of its files are whole.

use std::io::Write;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::Mmap;
use memtrain_corpora::store::{self, AtomicFile, StoreError};

use crate::IndexError;

const MAGIC: &[u8; 8] = b"MTVECTOR";
/// Version of the format.
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 24;
const HASH_BYTES: usize = 32;

/// Maps a file into memory.
pub(crate) fn map(path: &Path) -> Result<Mmap, IndexError> {
    let file = store::open(path)?;
    #[expect(unsafe_code, reason = "a memory map; see SAFETY")]
    // SAFETY: files of an index are written under another name, renamed into place and never changed in place, so the
    // bytes under the map stay as they are. Who truncates one from outside while it is open gets SIGBUS, as with any
    // mapped file.
    let map = unsafe { Mmap::map(&file) };
    map.map_err(|source| IndexError::Store(StoreError::Io { action: "map", path: path.to_path_buf(), source }))
}

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

/// One mapped file of vectors.
#[derive(Debug)]
struct Piece {
    first_row: usize,
    num_rows: usize,
    map: Mmap,
}

/// The vectors of all passages, file after file, mapped into memory.
#[derive(Debug)]
pub(crate) struct Vectors {
    dimensions: usize,
    num_rows: usize,
    pieces: Vec<Piece>,
}

impl Vectors {
    /// Maps files that follow one another and refuses what is not whole by its length.
    pub(crate) fn open(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, IndexError> {
        let mut vectors = Self { dimensions: 0, num_rows: 0, pieces: Vec::new() };
        for path in paths {
            let (piece, dimensions) = open_piece(&path, vectors.num_rows)?;
            if vectors.dimensions != 0 && vectors.dimensions != dimensions {
                let detail = format!("its vectors have {dimensions} values, those before it {}", vectors.dimensions);
                return Err(IndexError::Corrupt { path, detail });
            }
            vectors.dimensions = dimensions;
            vectors.num_rows += piece.num_rows;
            vectors.pieces.push(piece);
        }
        Ok(vectors)
    }

    /// Whether a file is there, whole, and holds so many rows; it is read through.
    pub(crate) fn is_whole(path: &Path, dimensions: usize, num_rows: usize) -> bool {
        if !store::exists(path) {
            return false;
        }
        let Ok((piece, found)) = open_piece(path, 0) else { return false };
        let (body, hash) = piece.map.split_at(piece.map.len() - HASH_BYTES);
        found == dimensions && piece.num_rows == num_rows && blake3::hash(body).as_bytes() == hash
    }

    pub(crate) fn num_rows(&self) -> usize {
        self.num_rows
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// One row, widened.
    pub(crate) fn row(&self, row: usize) -> Vec<f32> {
        self.half_row(row).to_f32_vec()
    }

    /// One row as it is stored.
    pub(crate) fn half_row(&self, row: usize) -> Vec<f16> {
        let mut half = vec![f16::ZERO; self.dimensions];
        self.read(row, &mut half);
        half
    }

    /// Widens rows one after another into `wide`; `half` is room for one.
    pub(crate) fn gather(&self, rows: &[usize], half: &mut [f16], wide: &mut [f32]) {
        for (&row, place) in rows.iter().zip(wide.chunks_exact_mut(self.dimensions)) {
            self.read(row, half);
            half.convert_to_f32_slice(place);
        }
    }

    /// Copies a row as it is stored.
    fn read(&self, row: usize, half: &mut [f16]) {
        let piece = &self.pieces[self.pieces.partition_point(|piece| piece.first_row <= row) - 1];
        let start = HEADER_BYTES + 2 * (row - piece.first_row) * self.dimensions;
        let bytes = &piece.map[start..][..2 * self.dimensions];
        for (value, pair) in half.iter_mut().zip(bytes.chunks_exact(2)) {
            *value = f16::from_le_bytes([pair[0], pair[1]]);
        }
    }
}

fn open_piece(path: &Path, first_row: usize) -> Result<(Piece, usize), IndexError> {
    let corrupt = |detail: String| IndexError::Corrupt { path: path.to_path_buf(), detail };
    if store::len(path)? < (HEADER_BYTES + HASH_BYTES) as u64 {
        return Err(corrupt("it has no whole header".to_owned()));
    }
    let map = map(path)?;
    let word = |at: usize| u32::from_le_bytes([map[at], map[at + 1], map[at + 2], map[at + 3]]);
    if !map.starts_with(MAGIC) {
        return Err(corrupt("it is not a file of vectors".to_owned()));
    }
    if word(8) != VERSION {
        return Err(IndexError::Version { path: path.to_path_buf(), expected: VERSION, got: word(8) });
    }
    let (dimensions, num_rows) = (word(12) as usize, u64::from(word(16)) | u64::from(word(20)) << 32);
    let expected = (dimensions as u64).saturating_mul(num_rows).saturating_mul(2);
    let got = map.len() - HEADER_BYTES - HASH_BYTES;
    if dimensions == 0 || got as u64 != expected {
        let detail = format!("{num_rows} rows of {dimensions} values need {expected} bytes, it has {got}");
        return Err(corrupt(detail));
    }
    Ok((Piece { first_row, num_rows: num_rows as usize, map }, dimensions))
}
