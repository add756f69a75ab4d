//! The built-in embeddings: random indexing of words in passages.
//!
//! This is no neural network and knows nothing but the corpus at hand. Each word has a random direction r, the same
//! whenever it is asked for (Johnson-Lindenstrauss: the directions of different words are nearly orthogonal). From a
//! sample of the corpus each frequent word also learns the direction c in which the passages it occurs in point, less
//! the direction that all passages share, so that words used in the same surroundings come to lie near each other
//! (Sahlgren, *An introduction to random indexing*, 2005). The vector of a word is (1 − γ)·r + γ·c with
//! γ = `embed.context`, that of a passage the sum over its words of (1 + ln count)·idf times the word's vector, less the
//! corpus mean, scaled to length 1. With γ = 0 it is a random projection of TF-IDF.

mod learn;

use std::collections::HashMap;
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use memtrain_corpora::store;
use memtrain_kernels::vector::{axpy, normalise};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tantivy::tokenizer::TextAnalyzer;

pub(crate) use self::learn::Sample;

use super::{Embedder, Role};
use crate::{EmbedConfig, IndexError, Language, analysis};

const MAGIC: &[u8; 8] = b"MTRNDIDX";
/// Version of the format of `embedder.bin`.
const VERSION: u32 = 2;
/// Bytes of the BLAKE3 at the end.
const HASH_BYTES: usize = 32;
/// A word must be in two passages to say something about the words around it.
const MIN_PASSAGES: u32 = 2;

/// The built-in back-end.
///
/// ```
/// use memtrain_index::embed::{Embedder, RandomIndexing, Role};
/// use memtrain_index::{EmbedConfig, Language};
///
/// let texts = ["the miller grinds wheat", "the baker buys wheat", "the river floods the town"];
/// let embedder = RandomIndexing::fit(&texts, &EmbedConfig::default(), Language::English);
/// let vectors = embedder.embed(&["wheat of the miller", texts[0], texts[2]], Role::Query)?;
/// let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
/// assert!(cosine(&vectors[0], &vectors[1]) > cosine(&vectors[0], &vectors[2]));
/// # Ok::<(), memtrain_index::IndexError>(())
/// ```
pub struct RandomIndexing {
    header: Header,
    analyzer: TextAnalyzer,
    vocabulary: Vocabulary,
    /// Vectors of the known words, one after another.
    words: Vec<f16>,
    mean: Vec<f32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    dimensions: usize,
    seed: u64,
    context: f32,
    language: Language,
    num_words: usize,
    /// The idf of a word that is not known.
    unknown_idf: f32,
}

/// The known words.
struct Vocabulary {
    /// Words and their rows.
    rows: HashMap<String, usize>,
    idf: Vec<f32>,
}

impl RandomIndexing {
    /// Learns from texts. A pure function of its arguments, whatever the number of threads.
    pub fn fit<S: AsRef<str> + Sync>(texts: &[S], config: &EmbedConfig, language: Language) -> Self {
        let mut sample = Sample::default();
        sample.extend(texts, &analysis::analyzer(language));
        Self::learn(sample, config, language)
    }

    /// [`Self::fit`] from texts whose words have been counted.
    pub(crate) fn learn(sample: Sample, config: &EmbedConfig, language: Language) -> Self {
        let num_texts = sample.len() as f32;
        let idf_of = |frequency: u32| ((1.0 + num_texts) / (0.5 + frequency as f32)).ln().max(0.0);
        let known = sample.vocabulary(config.max_terms);
        let names: Vec<String> = known.iter().map(|(word, _)| (*word).to_owned()).collect();
        let idf = known.iter().map(|&(_, frequency)| idf_of(frequency)).collect();
        let vocabulary = Vocabulary { rows: names.iter().cloned().zip(0..).collect(), idf };
        let header = Header {
            dimensions: config.dimensions,
            seed: config.seed,
            context: config.context,
            language,
            num_words: names.len(),
            unknown_idf: idf_of(1),
        };
        let bags = sample.into_bags(&vocabulary);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let words = learn::words(&header, &names, &bags);
        let mean = learn::mean(&bags, &words, config.dimensions);
        Self { header, analyzer: analysis::analyzer(language), vocabulary, words, mean }
    }

    fn embed_one(&self, analyzer: &mut TextAnalyzer, text: &str) -> Vec<f32> {
        let dimensions = self.header.dimensions;
        let mut vector = vec![0.0; dimensions];
        let mut widened = vec![0.0; dimensions];
        for (word, count) in analysis::term_counts(analyzer, text) {
            let (weight, direction) = match self.vocabulary.rows.get(&word) {
                Some(&row) => {
                    self.words[row * dimensions..][..dimensions].convert_to_f32_slice(&mut widened);
                    (weight(count, self.vocabulary.idf[row]), &widened)
                }
                None => {
                    widened = random_direction(&self.header, &word);
                    (weight(count, self.header.unknown_idf), &widened)
                }
            };
            axpy(&mut vector, weight, direction);
        }
        normalise(&mut vector);
        if vector.iter().any(|&value| value != 0.0) {
            axpy(&mut vector, -1.0, &self.mean);
            normalise(&mut vector);
        }
        vector
    }
}

impl Embedder for RandomIndexing {
    fn dimensions(&self) -> usize {
        self.header.dimensions
    }

    fn embed(&self, texts: &[&str], _: Role) -> Result<Vec<Vec<f32>>, IndexError> {
        let embed = |analyzer: &mut TextAnalyzer, text: &&str| self.embed_one(analyzer, text);
        Ok(texts.par_iter().map_init(|| self.analyzer.clone(), embed).collect())
    }
}

fn weight(count: u32, idf: f32) -> f32 {
    (1.0 + (count as f32).ln()) * idf
}

/// The signs of a word's random direction, lowest bit first, from a hash of the seed and the word.
fn random_signs(header: &Header, word: &str) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header.seed.to_le_bytes()).update(word.as_bytes());
    let mut bytes = vec![0_u8; header.dimensions.div_ceil(8)];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// What each value of a random direction is but for its sign, so that the direction has length 1.
fn sign_size(dimensions: usize) -> f16 {
    f16::from_f32((dimensions as f32).sqrt().recip())
}

/// Values of ±1/√d.
fn random_direction(header: &Header, word: &str) -> Vec<f32> {
    let (bytes, size) = (random_signs(header, word), (header.dimensions as f32).sqrt().recip());
    (0..header.dimensions).map(|at| if bytes[at / 8] >> (at % 8) & 1 == 1 { size } else { -size }).collect()
}

/// The sum of a bag's word vectors.
fn project(bag: &[(u32, f32)], words: &[f16], dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dimensions];
    let mut widened = vec![0.0; dimensions];
    for &(row, weight) in bag {
        words[row as usize * dimensions..][..dimensions].convert_to_f32_slice(&mut widened);
        axpy(&mut sum, weight, &widened);
    }
    sum
}

/// Writing and reading `embedder.bin`; the format is in `index/README.md`.
impl RandomIndexing {
    pub(crate) fn write(&self, path: &Path) -> Result<(), IndexError> {
        let header = serde_json::to_vec(&self.header)
            .map_err(|error| IndexError::Corrupt { path: path.to_path_buf(), detail: error.to_string() })?;
        let mut bytes = Vec::with_capacity(self.words.len() * 2 + self.vocabulary.rows.len() * 16);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        let mut words: Vec<(&str, usize)> =
            self.vocabulary.rows.iter().map(|(word, &row)| (word.as_str(), row)).collect();
        words.sort_unstable_by_key(|&(_, row)| row);
        for (word, _) in words {
            bytes.extend_from_slice(&(word.len() as u32).to_le_bytes());
            bytes.extend_from_slice(word.as_bytes());
        }
        bytes.extend(self.vocabulary.idf.iter().chain(&self.mean).flat_map(|value| value.to_le_bytes()));
        bytes.extend(self.words.iter().flat_map(|value| value.to_le_bytes()));
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(store::write_atomic(path, &bytes)?)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, IndexError> {
        let bytes = store::read_at_most(path, store::MAX_WEIGHTS_BYTES)?;
        let end = bytes.len().saturating_sub(HASH_BYTES);
        let mut source = Source { path, rest: &bytes[..end] };
        if source.take(MAGIC.len())? != MAGIC {
            return Err(source.corrupt("it is not a file of word vectors"));
        }
        let got = source.number()?;
        if got != VERSION {
            return Err(IndexError::Version { path: path.to_path_buf(), expected: VERSION, got });
        }
        if blake3::hash(&bytes[..end]).as_bytes() != &bytes[end..] {
            return Err(source.corrupt("its hash is not that of its contents"));
        }
        let header_bytes = source.number()? as usize;
        let header: Header =
            serde_json::from_slice(source.take(header_bytes)?).map_err(|error| source.corrupt(&error.to_string()))?;
        let mut rows = HashMap::new();
        for row in 0..header.num_words {
            let word_bytes = source.number()? as usize;
            let word =
                std::str::from_utf8(source.take(word_bytes)?).map_err(|error| source.corrupt(&error.to_string()))?;
            rows.insert(word.to_owned(), row);
        }
        let idf = source.floats(header.num_words)?;
        let mean = source.floats(header.dimensions)?;
        let words = source.take(header.num_words.saturating_mul(header.dimensions).saturating_mul(2))?;
        let words = words.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]])).collect();
        if !source.rest.is_empty() || rows.len() != header.num_words || header.dimensions == 0 {
            return Err(source.corrupt("its parts do not fit together"));
        }
        let vocabulary = Vocabulary { rows, idf };
        Ok(Self { analyzer: analysis::analyzer(header.language), header, vocabulary, words, mean })
    }
}

/// Bytes read from the front.
struct Source<'a> {
    path: &'a Path,
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    fn corrupt(&self, detail: &str) -> IndexError {
        IndexError::Corrupt { path: self.path.to_path_buf(), detail: detail.to_owned() }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], IndexError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.corrupt("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, IndexError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, IndexError> {
        let bytes = self.take(count.saturating_mul(4))?;
        Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
    }
}
