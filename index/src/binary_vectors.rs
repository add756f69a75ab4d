//! Binary quantization of vectors: sign bits after a random rotation, compared by Hamming distance.
//!
//! A vector is rotated at random, and of each of its values the sign is kept (Charikar, STOC 2002): the share of sign
//! bits in which two binary vectors differ is an estimate of the angle between the vectors. With 1,024 bits its
//! standard error is 0.05 or less, so the nearest by Hamming distance hold the nearest by cosine, and these few are
//! compared as they are. Before the rotation the mean of all vectors is subtracted, as encoders put all texts into a
//! narrow cone, where nearly all signs are the same. Short vectors are rotated several ways, each of which gives a bit
//! a value.
//!
//! A rotation is two rounds of random sign flips and the Walsh-Hadamard transform (Ailon, Chazelle, STOC 2006; Andoni
//! and others, NeurIPS 2015): n·log n sums, and a value that is large in all vectors is spread over all signs.
//!
//! The file is, in little endian: the magic `MTCODES\0`, the format version (u32), dimensions (u32), rows (u64), the
//! middle (f32, dimensions), and the sign bits (u64, rows × words). Any bits are valid, so it is safe to read whatever
//! it holds.

use std::io::Write;
use std::path::{Path, PathBuf};

use memtrain_corpora::rng::keyed;
use memtrain_corpora::store::{self, AtomicFile, StoreError};
use rand::Rng;
use rayon::prelude::*;

use crate::IndexError;
use crate::passages::Watch;
use crate::vectors::{Positioned, Rows, Vectors, VectorsReader};

const MAGIC: &[u8; 8] = b"MTCODES\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
/// Sign bits of a vector, at least.
const MIN_SIGNS: usize = 1_024;
/// Sign bits of a word.
const WORD: usize = u64::BITS as usize;
/// Rounds of a rotation: after one, what is large in few values of a vector is still large in few.
const ROUNDS: usize = 2;
/// Rows at even distances whose middle is taken.
const SAMPLE_ROWS: usize = 16_384;
/// Rows that are widened at a time.
const BLOCK_ROWS: usize = 256;
/// Rows whose sign bits are computed, or read, before the next: 1 MiB, inside a core's second cache.
pub(crate) const SLAB_ROWS: usize = 8_192;

/// Rotates vectors and keeps the signs.
struct BinaryQuantizer {
    centre: Vec<f32>,
    /// Values of a rotated vector, a power of two.
    width: usize,
    /// 1 or -1 a value, round after round, rotation after rotation.
    sign_flips: Vec<f32>,
}

impl BinaryQuantizer {
    fn new(centre: Vec<f32>) -> Self {
        let width = width(centre.len());
        let mut rng = keyed("index/codes", 0, &[]);
        let sign_flips = (0..num_signs(centre.len()) * ROUNDS).map(|_| if rng.random() { 1.0 } else { -1.0 }).collect();
        Self { centre, width, sign_flips }
    }

    fn sign_bits(&self, vector: &[f32]) -> Vec<u64> {
        let mut centred = vec![0.0; self.width];
        for (place, (value, middle)) in centred.iter_mut().zip(vector.iter().zip(&self.centre)) {
            *place = value - middle;
        }
        let mut sign_bits = Vec::with_capacity(self.sign_flips.len() / ROUNDS / WORD);
        for sign_flips in self.sign_flips.chunks_exact(ROUNDS * self.width) {
            let mut rotated = centred.clone();
            for sign_flips in sign_flips.chunks_exact(self.width) {
                rotated.iter_mut().zip(sign_flips).for_each(|(value, flip)| *value *= flip);
                walsh_hadamard(&mut rotated);
            }
            let word =
                |values: &[f32]| (0..).zip(values).fold(0, |word, (at, &value)| word | u64::from(value > 0.0) << at);
            sign_bits.extend(rotated.chunks_exact(WORD).map(word));
        }
        sign_bits
    }
}

/// Values that a vector is filled up to.
fn width(dimensions: usize) -> usize {
    dimensions.next_power_of_two().max(WORD)
}

/// Sign bits of a vector of so many values.
fn num_signs(dimensions: usize) -> usize {
    width(dimensions).max(MIN_SIGNS)
}

/// The Walsh-Hadamard transform of a power of two of values, not scaled.
fn walsh_hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (left, right) in left.iter_mut().zip(right) {
                (*left, *right) = (*left + *right, *left - *right);
            }
        }
        half *= 2;
    }
}

/// The mean of rows at even distances. The sums have an order, so they do not depend on threads.
fn centre(reader: &VectorsReader, num_rows: usize, dimensions: usize) -> Result<Vec<f32>, IndexError> {
    let count = num_rows.min(SAMPLE_ROWS);
    let (mut sums, mut room, mut wide) = (vec![0.0_f64; dimensions], Vec::new(), vec![0.0; BLOCK_ROWS * dimensions]);
    for first in (0..count).step_by(BLOCK_ROWS) {
        let rows: Vec<usize> = (first..count.min(first + BLOCK_ROWS)).map(|number| number * num_rows / count).collect();
        reader.gather(&rows, &mut room, &mut wide)?;
        for row in wide.chunks_exact(dimensions).take(rows.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
    }
    Ok(sums.into_iter().map(|sum| (sum / count.max(1) as f64) as f32).collect())
}

/// The binary vectors of a shard, read when they are asked for.
pub(crate) struct BinaryVectors {
    path: PathBuf,
    num_rows: usize,
    quantizer: BinaryQuantizer,
}

impl BinaryVectors {
    /// Quantizes the rows of a shard and puts the file in place.
    pub(crate) fn build(vectors: &Vectors, path: &Path, watch: &dyn Watch) -> Result<(), IndexError> {
        let (num_rows, dimensions) = (vectors.num_rows(), vectors.dimensions());
        let reader = vectors.reader(&(0..num_rows))?;
        let quantizer = BinaryQuantizer::new(centre(&reader, num_rows, dimensions)?);
        let mut header = Vec::with_capacity(HEADER_BYTES + 4 * dimensions);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(dimensions as u32).to_le_bytes());
        header.extend_from_slice(&(num_rows as u64).to_le_bytes());
        header.extend(quantizer.centre.iter().flat_map(|value| value.to_le_bytes()));
        let mut file = AtomicFile::create(path)?;
        let mut write = |bytes: &[u8]| {
            let failed = |source| StoreError::Io { action: "write", path: path.to_path_buf(), source };
            file.write_all(bytes).map_err(failed)
        };
        write(&header)?;
        for slab in (0..num_rows).step_by(SLAB_ROWS) {
            if watch.stopping() {
                return Err(IndexError::Stopped);
            }
            let end = num_rows.min(slab + SLAB_ROWS);
            let blocks: Vec<usize> = (slab..end).step_by(BLOCK_ROWS).collect();
            let binary_vectors = |&first: &usize| -> Result<Vec<u8>, IndexError> {
                let rows: Vec<usize> = (first..end.min(first + BLOCK_ROWS)).collect();
                let mut wide = vec![0.0; rows.len() * dimensions];
                reader.gather(&rows, &mut Vec::new(), &mut wide)?;
                let binary_vectors = wide.chunks_exact(dimensions).flat_map(|row| quantizer.sign_bits(row));
                Ok(binary_vectors.flat_map(u64::to_le_bytes).collect())
            };
            let binary_vectors: Vec<Vec<u8>> = blocks.par_iter().map(binary_vectors).collect::<Result<_, _>>()?;
            binary_vectors.iter().try_for_each(|binary_vectors| write(binary_vectors))?;
        }
        Ok(file.commit()?)
    }

    /// Opens the binary vectors of a shard of so many rows.
    pub(crate) fn open(path: &Path, dimensions: usize, num_rows: usize) -> Result<Self, IndexError> {
        let corrupt = |detail: String| IndexError::Corrupt { path: path.to_path_buf(), detail };
        let (file, bytes) = (Positioned::open(path)?, store::len(path)?);
        let mut header = [0; HEADER_BYTES];
        if bytes >= HEADER_BYTES as u64 {
            file.read_at(&mut header, 0)?;
        }
        if !header.starts_with(MAGIC) {
            return Err(corrupt("it is no file of codes".to_owned()));
        }
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if word(8) != VERSION {
            return Err(IndexError::Version { path: path.to_path_buf(), expected: VERSION, got: word(8) });
        }
        let rows = u64::from(word(16)) | u64::from(word(20)) << 32;
        let expected = (num_rows as u64).checked_mul(num_signs(dimensions) as u64 / 8);
        let expected = expected.and_then(|bytes| bytes.checked_add((HEADER_BYTES + 4 * dimensions) as u64));
        if word(12) as usize != dimensions || rows != num_rows as u64 || expected != Some(bytes) {
            return Err(corrupt(format!("it does not hold the codes of {num_rows} rows of {dimensions} values")));
        }
        let mut centre = vec![0; 4 * dimensions];
        file.read_at(&mut centre, HEADER_BYTES as u64)?;
        let (values, _) = centre.as_chunks::<4>();
        let quantizer = BinaryQuantizer::new(values.iter().map(|&value| f32::from_le_bytes(value)).collect());
        Ok(Self { path: path.to_path_buf(), num_rows, quantizer })
    }

    /// The sign bits of a vector, to be compared with those of the file.
    pub(crate) fn of(&self, vector: &[f32]) -> Vec<u64> {
        self.quantizer.sign_bits(vector)
    }

    /// Reads all binary vectors in order, [`SLAB_ROWS`] at a time: `see` is given the first row and the sign bits of
    /// the rows.
    pub(crate) fn each_slab(&self, mut see: impl FnMut(usize, &[u8])) -> Result<(), IndexError> {
        let file = Positioned::open(&self.path)?;
        let (row_bytes, start) = (self.row_bytes(), (HEADER_BYTES + 4 * self.quantizer.centre.len()) as u64);
        let mut slab = vec![0; SLAB_ROWS.min(self.num_rows) * row_bytes];
        for first in (0..self.num_rows).step_by(SLAB_ROWS) {
            let slab = &mut slab[..SLAB_ROWS.min(self.num_rows - first) * row_bytes];
            slab.par_chunks_mut(BLOCK_ROWS * row_bytes).enumerate().try_for_each(|(block, place)| {
                file.read_at(place, start + ((first + block * BLOCK_ROWS) * row_bytes) as u64)
            })?;
            see(first, slab);
        }
        Ok(())
    }

    /// Bytes of a binary vector.
    pub(crate) fn row_bytes(&self) -> usize {
        num_signs(self.quantizer.centre.len()) / 8
    }
}

/// Hamming distance of a vector's sign bits and those of one of the file.
pub(crate) fn hamming_distance(sign_bits: &[u64], bytes: &[u8]) -> u32 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().zip(sign_bits).map(|(&word, other)| (u64::from_le_bytes(word) ^ other).count_ones()).sum()
}

#[cfg(test)]
mod tests {
    use memtrain_kernels::vector::dot;
    use proptest::prelude::*;
    use rand::Rng;

    use super::*;
    use crate::vectors::VectorsWriter;

    /// Each value of a transform is a sum of all, with the sign that the bits common to both places give.
    #[test]
    fn walsh_hadamard_is_its_naive_twin() {
        let values: Vec<f32> = (0..64).map(|at| ((at * 37 % 64) as f32 - 31.5) / 64.0).collect();
        let mut transformed = values.clone();
        walsh_hadamard(&mut transformed);
        for (place, value) in transformed.iter().enumerate() {
            let sign = |at: usize| if (at & place).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
            let expected: f32 = values.iter().enumerate().map(|(at, value)| sign(at) * value).sum();
            assert!((value - expected).abs() < 1e-4, "{place}: {value}, {expected}");
        }
    }

    proptest! {
        /// The angle is π times the share of signs, within six standard errors of independent signs.
        #[test]
        fn signs_tell_the_angle(seed: u64, dimensions in 16_usize..1_100, mixed in 0.0_f32..1.0) {
            let mut rng = keyed("test/angle", seed, &[]);
            let mut draw = || -> Vec<f32> { (0..dimensions).map(|_| rng.random_range(-1.0..1.0)).collect() };
            let (centre, a, other) = (draw(), draw(), draw());
            let b: Vec<f32> = a.iter().zip(&other).map(|(a, b)| a * mixed + b * (1.0 - mixed)).collect();
            let angle = (dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()).clamp(-1.0, 1.0).acos();
            let quantizer = BinaryQuantizer::new(centre.clone());
            let moved = |vector: &[f32]| vector.iter().zip(&centre).map(|(a, b)| a + b).collect::<Vec<f32>>();
            let (a, b) = (quantizer.sign_bits(&moved(&a)), quantizer.sign_bits(&moved(&b)));
            prop_assert_eq!(64 * a.len(), num_signs(dimensions));
            let bytes: Vec<u8> = b.iter().flat_map(|word| word.to_le_bytes()).collect();
            let estimate = std::f32::consts::PI * hamming_distance(&a, &bytes) as f32 / (64 * a.len()) as f32;
            prop_assert!((estimate - angle).abs() < 0.3, "{} for {}", estimate, angle);
        }
    }

    #[test]
    fn files_that_do_not_fit_are_refused_and_any_bits_are_codes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors.bin");
        let mut writer = VectorsWriter::create(&path, 20, 300).unwrap();
        writer.push(&vec![vec![0.1; 20]; 300]).unwrap();
        writer.finish().unwrap();
        let binary_vectors = dir.path().join("codes.bin");
        BinaryVectors::build(&Vectors::open([path]).unwrap(), &binary_vectors, &()).unwrap();
        let whole = store::read(&binary_vectors).unwrap();
        for (dimensions, num_rows) in [(19, 300), (20, 299), (64, 300), (20, usize::MAX / 64)] {
            assert!(matches!(
                BinaryVectors::open(&binary_vectors, dimensions, num_rows),
                Err(IndexError::Corrupt { .. })
            ));
        }
        for bytes in [&whole[..10], &whole[..whole.len() - 1], b""] {
            store::write_atomic(&binary_vectors, bytes).unwrap();
            assert!(matches!(BinaryVectors::open(&binary_vectors, 20, 300), Err(IndexError::Corrupt { .. })));
        }
        let mut newer = whole.clone();
        newer[8] = 9;
        store::write_atomic(&binary_vectors, &newer).unwrap();
        assert!(matches!(BinaryVectors::open(&binary_vectors, 20, 300), Err(IndexError::Version { got: 9, .. })));
        let mut noise = whole;
        noise[HEADER_BYTES..].fill(0xff);
        store::write_atomic(&binary_vectors, &noise).unwrap();
        let opened = BinaryVectors::open(&binary_vectors, 20, 300).unwrap();
        let (sign_bits, mut seen) = (opened.of(&[0.1; 20]), 0);
        opened
            .each_slab(|_, slab| {
                seen += slab.chunks_exact(128).filter(|row| hamming_distance(&sign_bits, row) <= 1_024).count()
            })
            .unwrap();
        assert_eq!(seen, 300);
    }
}
