//! Exact nearest neighbours over a flat file of normalised vectors.
//!
//! The file `vectors.bin` is, in little endian: the magic `MTVECTOR`, the format version (u32), the number of
//! dimensions (u32), the number of rows (u64), then rows × dimensions values of IEEE half precision. A row is the
//! vector of the passage at the same place in the order of passage ids. Half precision moves a cosine by less than
//! 1e-3 and halves what is read.

use std::cmp::Ordering;
use std::io::Write;
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use memtrain_corpora::store::{self, AtomicFile, StoreError};
use rayon::prelude::*;

use crate::IndexError;

const MAGIC: &[u8; 8] = b"MTVECTOR";
/// Version of the format of `vectors.bin`.
pub(crate) const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
/// Rows that are widened to f32 at a time: with 512 dimensions 512 KiB, inside a core's cache.
const BLOCK_ROWS: usize = 256;

/// Writes `vectors.bin` row by row.
pub(crate) struct VectorsWriter {
    file: AtomicFile,
    path: std::path::PathBuf,
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
        let mut writer = Self { file: AtomicFile::create(path)?, path: path.to_path_buf(), dimensions };
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
        let path = &self.path;
        Ok(self.file.write_all(bytes).map_err(|source| StoreError::Io {
            action: "write",
            path: path.clone(),
            source,
        })?)
    }

    /// Puts the file in place.
    pub(crate) fn finish(self) -> Result<(), IndexError> {
        Ok(self.file.commit()?)
    }
}

/// The vectors of all passages, in memory.
#[derive(Debug)]
pub(crate) struct Vectors {
    dimensions: usize,
    values: Vec<f16>,
}

/// A row and its cosine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Near {
    pub(crate) row: usize,
    pub(crate) cosine: f32,
}

impl Near {
    fn best_first(&self, other: &Self) -> Ordering {
        other.cosine.total_cmp(&self.cosine).then(self.row.cmp(&other.row))
    }
}

impl Vectors {
    /// Reads `vectors.bin` and refuses what is not whole.
    pub(crate) fn read(path: &Path) -> Result<Self, IndexError> {
        let bytes = store::read(path)?;
        let corrupt = |detail: &str| IndexError::Corrupt { path: path.to_path_buf(), detail: detail.to_owned() };
        let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| corrupt("it has no whole header"))?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if !header.starts_with(MAGIC) {
            return Err(corrupt("it is not a file of vectors"));
        }
        if word(8) != VERSION {
            return Err(IndexError::Version { path: path.to_path_buf(), expected: VERSION, got: word(8) });
        }
        let dimensions = word(12) as usize;
        let num_rows = u64::from(word(16)) | u64::from(word(20)) << 32;
        let expected = (dimensions as u64).saturating_mul(num_rows).saturating_mul(2);
        if dimensions == 0 || body.len() as u64 != expected {
            return Err(corrupt(&format!(
                "{num_rows} rows of {dimensions} values need {expected} bytes, it has {}",
                body.len()
            )));
        }
        let values = body.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]])).collect();
        Ok(Self { dimensions, values })
    }

    pub(crate) fn num_rows(&self) -> usize {
        self.values.len() / self.dimensions
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// One row, widened.
    pub(crate) fn row(&self, row: usize) -> Vec<f32> {
        self.values[row * self.dimensions..][..self.dimensions].to_f32_vec()
    }

    /// The nearest `num_hits` rows of each query by cosine, best first, equals by row; `skip(query, row)` leaves rows out.
    ///
    /// Blocks of rows are shared out over the threads and each block is widened once for all queries. A row's cosine
    /// depends on the row and the query alone, so the answer does not depend on the number of threads.
    pub(crate) fn nearest(
        &self,
        queries: &[Vec<f32>],
        num_hits: usize,
        skip: impl Fn(usize, usize) -> bool + Sync,
    ) -> Vec<Vec<Near>> {
        let block_values = BLOCK_ROWS * self.dimensions;
        self.values
            .par_chunks(block_values)
            .enumerate()
            .fold(
                || (vec![Vec::new(); queries.len()], vec![0.0_f32; block_values]),
                |(mut best, mut buffer), (number, values)| {
                    let block = &mut buffer[..values.len()];
                    values.convert_to_f32_slice(block);
                    for (query, (vector, best)) in queries.iter().zip(&mut best).enumerate() {
                        let rows = block.chunks_exact(self.dimensions).enumerate();
                        let scored =
                            rows.map(|(at, row)| Near { row: number * BLOCK_ROWS + at, cosine: dot(vector, row) });
                        best.extend(scored.filter(|near| !skip(query, near.row)));
                        keep_best(best, num_hits);
                    }
                    (best, buffer)
                },
            )
            .map(|(best, _)| best)
            .reduce(
                || vec![Vec::new(); queries.len()],
                |mut left, right| {
                    for (left, right) in left.iter_mut().zip(right) {
                        left.extend(right);
                        keep_best(left, num_hits);
                    }
                    left
                },
            )
            .into_iter()
            .map(|mut best| {
                best.sort_unstable_by(Near::best_first);
                best
            })
            .collect()
    }
}

/// Drops all but the best, in any order.
fn keep_best(found: &mut Vec<Near>, num_hits: usize) {
    if found.len() > num_hits {
        if num_hits > 0 {
            found.select_nth_unstable_by(num_hits - 1, Near::best_first);
        }
        found.truncate(num_hits);
    }
}

/// The scalar product, summed in eight lanes so that it compiles to vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane = a.mul_add(*b, *lane);
        }
    }
    lanes.iter().sum()
}

/// Scales a vector to length 1; the zero vector stays.
pub(crate) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::rng::addressed;
    use proptest::prelude::*;
    use rand::Rng;

    use super::*;

    /// One row after another, f64, all sorted.
    fn naive(vectors: &Vectors, query: &[f32], skip: impl Fn(usize) -> bool) -> Vec<(usize, f64)> {
        let mut all: Vec<(usize, f64)> = (0..vectors.num_rows())
            .filter(|&row| !skip(row))
            .map(|row| {
                let cosine = vectors.row(row).iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                (row, cosine)
            })
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn blocked_search_is_its_naive_twin(seed: u64, rows in 1_usize..900, eighths in 1_usize..5, num_hits in 0_usize..40) {
            let dimensions = 8 * eighths;
            let mut rng = addressed("test/dense", seed, &[]);
            let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-1.0..1.0)).collect() };
            let values = draw(rows * dimensions).into_iter().map(f16::from_f32).collect();
            let vectors = Vectors { dimensions, values };
            let queries = vec![draw(dimensions), draw(dimensions)];
            let found = vectors.nearest(&queries, num_hits, |query, row| (row + query) % 7 == 0);
            for (number, (query, found)) in queries.iter().zip(&found).enumerate() {
                let expected = naive(&vectors, query, |row| (row + number) % 7 == 0);
                prop_assert_eq!(found.len(), num_hits.min(expected.len()));
                for (near, (_, cosine)) in found.iter().zip(&expected) {
                    prop_assert!((f64::from(near.cosine) - cosine).abs() < 1e-5);
                    prop_assert!((near.row + number) % 7 != 0);
                }
            }
        }
    }

    #[test]
    fn equals_are_ordered_by_row() {
        let vectors = Vectors { dimensions: 8, values: vec![f16::from_f32(0.5); 8 * 1_000] };
        let rows: Vec<usize> =
            vectors.nearest(&[vec![1.0; 8]], 5, |_, row| row == 1)[0].iter().map(|near| near.row).collect();
        assert_eq!(rows, [0, 2, 3, 4, 5]);
    }
}
