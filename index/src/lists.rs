//! Approximate neighbours: the vectors of a shard in lists by the direction they point in (an inverted file, Sivic and
//! Zisserman, ICCV 2003; Jégou, Douze, Schmid, TPAMI 2011), of which a query looks into the nearest.
//!
//! A list is row numbers; the vectors stay where they are. `cluster` learns the directions. Why this and no graph, and no
//! library: `docs/lab/retrieval.md`.
//!
//! The file is, in little endian: the magic `MTLISTS\0`, the format version (u32), dimensions (u32), rows (u64), lists
//! (u64), the centroids (f32, lists × dimensions), where each list begins and the last one ends (u32, lists + 1), and the
//! rows list by list (u32). It is safe to read whatever it holds: numbers out of range are no rows.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use rayon::prelude::*;

use crate::cluster::{BLOCK_ROWS, Clusters};
use crate::passages::Watch;
use crate::vectors::{Positioned, Rows, Vectors};
use crate::{AnnConfig, IndexError};

const MAGIC: &[u8; 8] = b"MTLISTS\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;

/// The lists of a shard. Where they begin is held, all else is read when it is asked for.
pub(crate) struct Lists {
    path: PathBuf,
    dimensions: usize,
    num_rows: usize,
    starts: Vec<u32>,
}

/// Number of lists for so many rows: 4·√rows, so that looking for lists and looking through them cost alike.
fn num_lists(num_rows: usize, config: &AnnConfig) -> usize {
    let wanted = if config.lists > 0 { config.lists } else { (4.0 * (num_rows as f64).sqrt()).round() as usize };
    wanted.clamp(1, num_rows.max(1))
}

impl Lists {
    /// Sorts the rows of a shard into lists and puts the file in place.
    pub(crate) fn build(
        vectors: &Vectors,
        path: &Path,
        config: &AnnConfig,
        watch: &dyn Watch,
    ) -> Result<(), IndexError> {
        let (num_rows, dimensions) = (vectors.num_rows(), vectors.dimensions());
        let num_lists = num_lists(num_rows, config);
        let reader = vectors.reader(&(0..num_rows))?;
        let clusters = Clusters::learn(&reader, num_rows, dimensions, num_lists, watch)?;
        let blocks: Vec<usize> = (0..num_rows).step_by(BLOCK_ROWS).collect();
        let lists_of = |&start: &usize| -> Result<Vec<u32>, IndexError> {
            let rows: Vec<usize> = (start..num_rows.min(start + BLOCK_ROWS)).collect();
            let mut wide = vec![0.0; rows.len() * dimensions];
            reader.gather(&rows, &mut Vec::new(), &mut wide)?;
            Ok(clusters.nearest_of_each(&wide))
        };
        let lists: Vec<Vec<u32>> = blocks.par_iter().map(lists_of).collect::<Result<_, _>>()?;
        let lists = lists.concat();
        if watch.stopping() {
            return Err(IndexError::Stopped);
        }
        let mut starts = vec![0_u32; num_lists + 1];
        lists.iter().for_each(|&list| starts[list as usize + 1] += 1);
        for list in 0..num_lists {
            starts[list + 1] += starts[list];
        }
        let (mut next, mut rows) = (starts.clone(), vec![0_u32; num_rows]);
        for (row, &list) in (0..).zip(&lists) {
            rows[next[list as usize] as usize] = row;
            next[list as usize] += 1;
        }
        let centroids = clusters.centroids();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 4 * (centroids.len() + starts.len() + rows.len()));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(dimensions as u32).to_le_bytes());
        bytes.extend_from_slice(&(num_rows as u64).to_le_bytes());
        bytes.extend_from_slice(&(num_lists as u64).to_le_bytes());
        bytes.extend(centroids.iter().flat_map(|value| value.to_le_bytes()));
        bytes.extend(starts.iter().chain(&rows).flat_map(|value| value.to_le_bytes()));
        Ok(store::write_atomic(path, &bytes)?)
    }

    /// Opens the lists of a shard of so many rows.
    pub(crate) fn open(path: &Path, dimensions: usize, num_rows: usize) -> Result<Self, IndexError> {
        let corrupt = |detail: String| IndexError::Corrupt { path: path.to_path_buf(), detail };
        let (file, bytes) = (Positioned::open(path)?, store::len(path)?);
        let mut header = [0; HEADER_BYTES];
        if bytes >= HEADER_BYTES as u64 {
            file.read_at(&mut header, 0)?;
        }
        if !header.starts_with(MAGIC) {
            return Err(corrupt("it is no file of lists".to_owned()));
        }
        let word = |at: usize| word(&header[at..]);
        if word(8) != VERSION {
            return Err(IndexError::Version { path: path.to_path_buf(), expected: VERSION, got: word(8) });
        }
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let (rows, num_lists) = (long(16), long(24));
        let expected = num_lists.checked_mul(4 * dimensions as u64 + 4).and_then(|bytes| bytes.checked_add(4 * rows));
        let expected = expected.and_then(|bytes| bytes.checked_add(HEADER_BYTES as u64 + 4));
        if word(12) as usize != dimensions || rows != num_rows as u64 || expected != Some(bytes) {
            return Err(corrupt(format!("it does not hold {num_rows} rows of {dimensions} values")));
        }
        let mut starts = vec![0; 4 * (num_lists as usize + 1)];
        file.read_at(&mut starts, HEADER_BYTES as u64 + num_lists * 4 * dimensions as u64)?;
        let starts = starts.chunks_exact(4).map(crate::lists::word).collect();
        Ok(Self { path: path.to_path_buf(), dimensions, num_rows, starts })
    }

    /// Number of lists.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Opens the file.
    pub(crate) fn reader(&self) -> Result<ListsReader<'_>, IndexError> {
        Ok(ListsReader { lists: self, file: Positioned::open(&self.path)? })
    }
}

/// The open file of lists; as rows it gives the lists' directions.
pub(crate) struct ListsReader<'a> {
    lists: &'a Lists,
    file: Positioned,
}

impl ListsReader<'_> {
    /// The rows of a list, in order.
    pub(crate) fn rows(&self, list: usize) -> Result<Vec<usize>, IndexError> {
        let Lists { dimensions, num_rows, starts, .. } = self.lists;
        let end = (starts[list + 1] as usize).min(*num_rows);
        let start = (starts[list] as usize).min(end);
        let mut bytes = vec![0; 4 * (end - start)];
        let rows_at = HEADER_BYTES + 4 * self.lists.len() * dimensions + 4 * starts.len();
        self.file.read_at(&mut bytes, (rows_at + 4 * start) as u64)?;
        let mut rows: Vec<usize> = bytes.chunks_exact(4).map(|row| word(row) as usize).collect();
        rows.retain(|row| row < num_rows);
        Ok(rows)
    }
}

impl Rows for ListsReader<'_> {
    fn gather(&self, rows: &[usize], room: &mut Vec<u8>, wide: &mut [f32]) -> Result<(), IndexError> {
        let row_bytes = 4 * self.lists.dimensions;
        room.resize(rows.len() * row_bytes, 0);
        for (row, bytes) in rows.iter().zip(room.chunks_exact_mut(row_bytes)) {
            self.file.read_at(bytes, (HEADER_BYTES + row_bytes * row) as u64)?;
        }
        for (value, bytes) in wide.iter_mut().zip(room.chunks_exact(4)) {
            *value = f32::from_bits(word(bytes));
        }
        Ok(())
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
