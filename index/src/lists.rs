//! Approximate neighbours: the vectors of a shard in lists by the direction they point in (an inverted file, Sivic and
//! Zisserman, ICCV 2003; Jégou, Douze, Schmid, TPAMI 2011), of which a query looks into the nearest.
//!
//! Directions are learned by spherical k-means from vectors at even distances, whose first centroids are vectors at even
//! distances too: no chance is involved and every sum has an order, so the same vectors give the same file whatever the
//! number of threads. A list is row numbers; the vectors stay where they are. Why this and no graph, and no library:
//! `docs/lab/retrieval.md`.
//!
//! The file is, in little endian: the magic `MTLISTS\0`, the format version (u32), dimensions (u32), rows (u64), lists
//! (u64), the centroids (f32, lists × dimensions), where each list begins and the last one ends (u32, lists + 1), and the
//! rows list by list (u32). It is safe to read whatever it holds: numbers out of range are no rows.

use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::Mmap;
use memtrain_corpora::store;
use rayon::prelude::*;

use crate::passages::Watch;
use crate::products::{GROUP, dot, dots, normalise};
use crate::vectors::{Vectors, map};
use crate::{AnnConfig, IndexError};

const MAGIC: &[u8; 8] = b"MTLISTS\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
/// Rows that are widened at a time.
const BLOCK_ROWS: usize = 64;
/// Centroids that a block of rows is compared with while they lie in the cache: with 512 dimensions 64 KiB.
const BLOCK_LISTS: usize = 32;
/// Rounds of k-means; more move hardly any row to another list.
const ROUNDS: usize = 6;
/// Rows a list that k-means learns from.
const SAMPLE_PER_LIST: usize = 24;

/// The lists of a shard, mapped into memory.
pub(crate) struct Lists {
    num_rows: usize,
    dimensions: usize,
    centroids: Vec<f32>,
    starts: Vec<u32>,
    map: Mmap,
    rows_at: usize,
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
        let centroids = learn(vectors, num_lists, watch)?;
        let blocks: Vec<usize> = (0..num_rows).step_by(BLOCK_ROWS).collect();
        let lists = blocks.par_iter().flat_map_iter(|&start| {
            let rows: Vec<usize> = (start..num_rows.min(start + BLOCK_ROWS)).collect();
            let (mut half, mut wide) = (vec![f16::ZERO; dimensions], vec![0.0; rows.len() * dimensions]);
            vectors.gather(&rows, &mut half, &mut wide);
            nearest_of_each(&wide, &centroids, dimensions)
        });
        let lists: Vec<u32> = lists.collect();
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
        let map = map(path)?;
        let corrupt = |detail: String| IndexError::Corrupt { path: path.to_path_buf(), detail };
        if map.len() < HEADER_BYTES || !map.starts_with(MAGIC) {
            return Err(corrupt("it is no file of lists".to_owned()));
        }
        let word = |at: usize| word(&map, at);
        if word(8) != VERSION {
            return Err(IndexError::Version { path: path.to_path_buf(), expected: VERSION, got: word(8) });
        }
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let (rows, num_lists) = (long(16), long(24));
        let expected = num_lists.checked_mul(4 * dimensions as u64 + 4).and_then(|bytes| bytes.checked_add(4 * rows));
        let expected = expected.and_then(|bytes| bytes.checked_add(HEADER_BYTES as u64 + 4));
        if word(12) as usize != dimensions || rows != num_rows as u64 || expected != Some(map.len() as u64) {
            return Err(corrupt(format!("it does not hold {num_rows} rows of {dimensions} values")));
        }
        let num_lists = num_lists as usize;
        let starts_at = HEADER_BYTES + 4 * num_lists * dimensions;
        let centroids = (HEADER_BYTES..starts_at).step_by(4).map(|at| f32::from_bits(word(at))).collect();
        let starts = (0..=num_lists).map(|list| word(starts_at + 4 * list)).collect();
        let rows_at = starts_at + 4 * (num_lists + 1);
        Ok(Self { num_rows, dimensions, centroids, starts, map, rows_at })
    }

    /// The lists nearest to a vector, at most so many, in any order.
    pub(crate) fn nearest(&self, vector: &[f32], num_lists: usize) -> Vec<usize> {
        let mut scored: Vec<(f32, usize)> = products(vector, &self.centroids, self.dimensions).zip(0..).collect();
        if num_lists < scored.len() {
            scored.select_nth_unstable_by(num_lists, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            scored.truncate(num_lists);
        }
        scored.into_iter().map(|(_, list)| list).collect()
    }

    /// The rows of a list, in order.
    pub(crate) fn rows(&self, list: usize) -> impl Iterator<Item = usize> + '_ {
        let end = (self.starts[list + 1] as usize).min(self.num_rows);
        (self.starts[list] as usize..end)
            .map(|at| word(&self.map, self.rows_at + 4 * at) as usize)
            .filter(|&row| row < self.num_rows)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The products of a vector and each of the rows.
fn products<'a>(vector: &'a [f32], rows: &'a [f32], dimensions: usize) -> impl Iterator<Item = f32> + 'a {
    let groups = rows.chunks_exact(GROUP * dimensions);
    let rest = groups.remainder().chunks_exact(dimensions).map(|row| dot(vector, row));
    groups.flat_map(|rows| dots(vector, rows)).chain(rest)
}

/// The nearest centroid of each row, the first of equals.
fn nearest_of_each(rows: &[f32], centroids: &[f32], dimensions: usize) -> Vec<u32> {
    let mut best = vec![(f32::NEG_INFINITY, 0_u32); rows.len() / dimensions];
    for (block, centroids) in centroids.chunks(BLOCK_LISTS * dimensions).enumerate() {
        let first = (block * BLOCK_LISTS) as u32;
        for (row, best) in rows.chunks_exact(dimensions).zip(&mut best) {
            for (product, list) in products(row, centroids, dimensions).zip(first..) {
                if product > best.0 {
                    *best = (product, list);
                }
            }
        }
    }
    best.into_iter().map(|(_, list)| list).collect()
}

/// The directions of the lists.
fn learn(vectors: &Vectors, num_lists: usize, watch: &dyn Watch) -> Result<Vec<f32>, IndexError> {
    let (num_rows, dimensions) = (vectors.num_rows(), vectors.dimensions());
    let num_sampled = num_rows.min(num_lists * SAMPLE_PER_LIST);
    let mut sample = vec![f16::ZERO; num_sampled * dimensions];
    sample.par_chunks_mut(dimensions).enumerate().for_each(|(number, place)| {
        place.copy_from_slice(&vectors.half_row(number * num_rows / num_sampled));
    });
    let widened = |number: usize, place: &mut [f32]| {
        sample[number * dimensions..][..dimensions].convert_to_f32_slice(place);
    };
    let mut centroids = vec![0.0; num_lists * dimensions];
    for (list, place) in centroids.chunks_exact_mut(dimensions).enumerate() {
        widened(list * num_sampled / num_lists, place);
    }
    for _ in 0..ROUNDS {
        if watch.stopping() {
            return Err(IndexError::Stopped);
        }
        let blocks: Vec<usize> = (0..num_sampled).step_by(BLOCK_ROWS).collect();
        let of_block = |&start: &usize| {
            let end = num_sampled.min(start + BLOCK_ROWS);
            let mut wide = vec![0.0; (end - start) * dimensions];
            sample[start * dimensions..end * dimensions].convert_to_f32_slice(&mut wide);
            nearest_of_each(&wide, &centroids, dimensions)
        };
        let lists: Vec<u32> = blocks.par_iter().flat_map_iter(of_block).collect();
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); num_lists];
        lists.iter().enumerate().for_each(|(number, &list)| members[list as usize].push(number));
        centroids.par_chunks_exact_mut(dimensions).zip(&members).for_each(|(centroid, members)| {
            // A list of nobody stays where it is.
            if members.is_empty() {
                return;
            }
            let mut wide = vec![0.0; dimensions];
            centroid.fill(0.0);
            for &member in members {
                widened(member, &mut wide);
                centroid.iter_mut().zip(&wide).for_each(|(sum, value)| *sum += value);
            }
            normalise(centroid);
        });
    }
    Ok(centroids)
}
