//! Near-duplicate detection by MinHash signatures.
//!
//! Each passage has a signature: for 64 hash functions the smallest hash of its word triples, of which one byte is kept
//! (MinHash, Broder 1997; b-bit minwise hashing, Li and König, WWW 2010). The share of equal bytes of two passages,
//! corrected for chance, estimates the Jaccard similarity of their sets of triples, with a standard error of 0.05 at
//! 0.8. Near duplicates are recognised when an answer is put together, by comparing what was found with the pivot and
//! with what was found before it; so no pass over all pairs is needed, and the cost of a passage is 64 bytes.
//!
//! The file is, in little endian: the magic `MTCOPIES`, the format version (u32), bytes a signature (u32), the number of
//! rows (u64), and the signatures.

use std::io::Write;
use std::path::Path;

use memmap2::Mmap;
use memtrain_corpora::store::{self, AtomicFile, StoreError};

use crate::IndexError;

const MAGIC: &[u8; 8] = b"MTCOPIES";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
/// Hash functions, and bytes of a signature.
const SIGNATURE_BYTES: usize = 64;
/// Words that are hashed together.
const SHINGLE: usize = 3;
/// Chance that two unrelated bytes are equal.
const CHANCE: f32 = 1.0 / 256.0;

pub(crate) type Signature = [u8; SIGNATURE_BYTES];

/// The signature of a text: words are runs of letters and digits, in lower case.
pub(crate) fn signature(text: &str) -> Signature {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let hashes: Vec<u64> = words.map(|word| hash_of(word.chars().flat_map(char::to_lowercase))).collect();
    let mut least = [u64::MAX; SIGNATURE_BYTES];
    let mut see = |words: &[u64]| {
        let triple = words.iter().fold(SEED, |state, word| mix(state ^ word));
        for (number, least) in (1_u64..).zip(&mut least) {
            *least = (*least).min(mix(triple ^ number.wrapping_mul(SEED)));
        }
    };
    if hashes.len() < SHINGLE {
        see(&hashes);
    }
    hashes.windows(SHINGLE).for_each(&mut see);
    least.map(|hash| hash as u8)
}

/// 2⁶⁴ divided by the golden ratio, odd.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn hash_of(chars: impl Iterator<Item = char>) -> u64 {
    chars.fold(SEED, |state, c| mix(state ^ u64::from(u32::from(c))))
}

/// The finisher of splitmix64: every bit of the input changes every bit of the output with even chances.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Estimated Jaccard similarity of the sets of word triples, 0 to 1.
pub(crate) fn similarity(a: &[u8], b: &[u8]) -> f32 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count() as f32 / SIGNATURE_BYTES as f32;
    ((equal - CHANCE) / (1.0 - CHANCE)).max(0.0)
}

/// Writes the signatures of a shard.
pub(crate) fn write(path: &Path, signatures: &[Signature]) -> Result<(), IndexError> {
    let mut file = AtomicFile::create(path)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + signatures.len() * SIGNATURE_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(SIGNATURE_BYTES as u32).to_le_bytes());
    bytes.extend_from_slice(&(signatures.len() as u64).to_le_bytes());
    signatures.iter().for_each(|signature| bytes.extend_from_slice(signature));
    let failed = |source| StoreError::Io { action: "write", path: path.to_path_buf(), source };
    file.write_all(&bytes).map_err(failed)?;
    Ok(file.commit()?)
}

/// Maps a file into memory.
fn map(path: &Path) -> Result<Mmap, IndexError> {
    let file = store::open(path)?;
    #[expect(unsafe_code, reason = "a memory map; see SAFETY")]
    // SAFETY: files of an index are written under another name, renamed into place and never changed in place, so the
    // bytes under the map stay as they are. Who truncates one from outside while it is open gets SIGBUS, as with any
    // mapped file.
    let map = unsafe { Mmap::map(&file) };
    map.map_err(|source| IndexError::Store(StoreError::Io { action: "map", path: path.to_path_buf(), source }))
}

/// The signatures of a shard, mapped into memory.
#[derive(Debug)]
pub(crate) struct Signatures {
    map: Mmap,
}

impl Signatures {
    /// Opens the file of so many rows.
    pub(crate) fn open(path: &Path, num_rows: usize) -> Result<Self, IndexError> {
        let map = map(path)?;
        let corrupt = |detail: &str| IndexError::Corrupt { path: path.to_path_buf(), detail: detail.to_owned() };
        let word = |at: usize| map.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if !map.starts_with(MAGIC) {
            return Err(corrupt("it is not a file of signatures"));
        }
        match word(8) {
            Some(VERSION) => {}
            Some(got) => return Err(IndexError::Version { path: path.to_path_buf(), expected: VERSION, got }),
            None => return Err(corrupt("it has no whole header")),
        }
        let expected = HEADER_BYTES + num_rows * SIGNATURE_BYTES;
        if map.len() != expected || word(12) != Some(SIGNATURE_BYTES as u32) {
            return Err(corrupt(&format!("{num_rows} passages need {expected} bytes, it has {}", map.len())));
        }
        Ok(Self { map })
    }

    /// The signature of a row of the shard.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        &self.map[HEADER_BYTES + row * SIGNATURE_BYTES..][..SIGNATURE_BYTES]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use memtrain_corpora::rng::keyed;
    use rand::Rng;

    use super::*;

    fn jaccard(a: &[String], b: &[String]) -> f32 {
        let [a, b] = [a, b].map(|words| words.windows(SHINGLE).map(<[String]>::to_vec).collect::<HashSet<_>>());
        a.intersection(&b).count() as f32 / a.union(&b).count() as f32
    }

    #[test]
    fn the_estimate_is_near_the_jaccard_similarity() {
        let mut rng = keyed("test/copies", 3, &[]);
        let (mut error, mut worst) = (0.0, 0.0_f32);
        for case in 0..200 {
            let words: Vec<String> = (0..150).map(|_| format!("w{}", rng.random_range(0..900))).collect();
            let mut changed = words.clone();
            for _ in 0..case / 5 {
                let at = rng.random_range(0..changed.len());
                changed[at] = "other".to_owned();
            }
            let estimate = similarity(&signature(&words.join(" ")), &signature(&changed.join(", ").to_uppercase()));
            let difference = estimate - jaccard(&words, &changed);
            error += difference / 200.0;
            worst = worst.max(difference.abs());
        }
        assert!(error.abs() < 0.02, "biased by {error}");
        assert!(worst < 0.25, "off by {worst}");
    }

    #[test]
    fn texts_of_nothing_and_of_one_word_have_signatures() {
        assert_eq!(similarity(&signature(""), &signature(" ... ")), 1.0);
        assert_eq!(similarity(&signature("Ash"), &signature("ash")), 1.0);
        assert!(similarity(&signature("ash"), &signature("oak")) < 0.3);
    }
}
