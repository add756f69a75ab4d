//! The built-in embeddings: random indexing of words in passages.
//!
//! This is no neural network and knows nothing but the corpus at hand. Each word has a random direction r, the same
//! whenever it is asked for (Johnson-Lindenstrauss: the directions of different words are nearly orthogonal). From a
//! sample of the corpus each frequent word also learns the direction c in which the passages it occurs in point, less
//! the direction that all passages share, so that words used in the same surroundings come to lie near each other
//! (Sahlgren, *An introduction to random indexing*, 2005). The vector of a word is (1 − γ)·r + γ·c with
//! γ = `embed.context`, that of a passage the sum over its words of (1 + ln count)·idf times the word's vector, less the
//! corpus mean, scaled to length 1. With γ = 0 it is a random projection of TF-IDF.

use std::collections::HashMap;
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use memtrain_corpora::store;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tantivy::tokenizer::TextAnalyzer;

use super::{Embedder, Role};
use crate::products::normalise;
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
    /// Known words and their rows.
    rows: HashMap<String, usize>,
    idf: Vec<f32>,
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

/// A passage of the sample: rows of known words and their weights.
type Bag = Vec<(usize, f32)>;

impl RandomIndexing {
    /// Learns from texts. A pure function of its arguments, whatever the number of threads.
    pub fn fit<S: AsRef<str> + Sync>(texts: &[S], config: &EmbedConfig, language: Language) -> Self {
        let analyzer = analysis::analyzer(language);
        let counts: Vec<Vec<(String, u32)>> = texts
            .par_iter()
            .map_init(|| analyzer.clone(), |analyzer, text| analysis::term_counts(analyzer, text.as_ref()))
            .collect();
        let vocabulary = vocabulary(&counts, config.max_terms);
        let idf_of = |frequency: u32| ((1.0 + texts.len() as f32) / (0.5 + frequency as f32)).ln().max(0.0);
        let idf: Vec<f32> = vocabulary.iter().map(|&(_, frequency)| idf_of(frequency)).collect();
        let rows: HashMap<String, usize> =
            vocabulary.into_iter().enumerate().map(|(row, (word, _))| (word.to_owned(), row)).collect();
        let header = Header {
            dimensions: config.dimensions,
            seed: config.seed,
            context: config.context,
            language,
            num_words: rows.len(),
            unknown_idf: idf_of(1),
        };
        let bags: Vec<Bag> = counts.par_iter().map(|counts| bag(counts, &rows, &idf)).collect();
        let words = learn(&header, &rows, &bags);
        let mean = mean(&bags, &words, config.dimensions);
        Self { header, analyzer, rows, idf, words, mean }
    }

    fn embed_one(&self, analyzer: &mut TextAnalyzer, text: &str) -> Vec<f32> {
        let dimensions = self.header.dimensions;
        let mut vector = vec![0.0; dimensions];
        let mut widened = vec![0.0; dimensions];
        for (word, count) in analysis::term_counts(analyzer, text) {
            let (weight, direction) = match self.rows.get(&word) {
                Some(&row) => {
                    self.words[row * dimensions..][..dimensions].convert_to_f32_slice(&mut widened);
                    (weight(count, self.idf[row]), &widened)
                }
                None => {
                    widened = random_direction(&self.header, &word);
                    (weight(count, self.header.unknown_idf), &widened)
                }
            };
            add_scaled(&mut vector, direction, weight);
        }
        normalise(&mut vector);
        if vector.iter().any(|&value| value != 0.0) {
            add_scaled(&mut vector, &self.mean, -1.0);
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

fn add_scaled(sum: &mut [f32], vector: &[f32], scale: f32) {
    for (sum, value) in sum.iter_mut().zip(vector) {
        *sum = value.mul_add(scale, *sum);
    }
}

/// The words in at least two passages with the number of passages, at most so many, the most frequent; in the order
/// of the words.
fn vocabulary(counts: &[Vec<(String, u32)>], max_terms: usize) -> Vec<(&str, u32)> {
    let mut frequencies: HashMap<&str, u32> = HashMap::new();
    for (word, _) in counts.iter().flatten() {
        *frequencies.entry(word).or_default() += 1;
    }
    let mut words: Vec<(&str, u32)> = frequencies.into_iter().filter(|&(_, count)| count >= MIN_PASSAGES).collect();
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    words.truncate(max_terms);
    words.sort_unstable();
    words
}

fn bag(counts: &[(String, u32)], rows: &HashMap<String, usize>, idf: &[f32]) -> Bag {
    let mut bag: Bag =
        counts.iter().filter_map(|(word, count)| rows.get(word).map(|&row| (row, weight(*count, idf[row])))).collect();
    let length = bag.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
    if length > 0.0 {
        bag.iter_mut().for_each(|(_, weight)| *weight /= length);
    }
    bag
}

/// Signs of ±1/√d from a hash of the seed and the word.
fn random_direction(header: &Header, word: &str) -> Vec<f32> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header.seed.to_le_bytes()).update(word.as_bytes());
    let mut bytes = vec![0_u8; header.dimensions.div_ceil(8)];
    hasher.finalize_xof().fill(&mut bytes);
    let size = (header.dimensions as f32).sqrt().recip();
    (0..header.dimensions).map(|at| if bytes[at / 8] >> (at % 8) & 1 == 1 { size } else { -size }).collect()
}

/// The sum of a bag's word vectors.
fn project(bag: &Bag, words: &[f16], dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dimensions];
    let mut widened = vec![0.0; dimensions];
    for &(row, weight) in bag {
        words[row * dimensions..][..dimensions].convert_to_f32_slice(&mut widened);
        add_scaled(&mut sum, &widened, weight);
    }
    sum
}

/// The vectors of the known words: random direction and learned context, mixed.
fn learn(header: &Header, rows: &HashMap<String, usize>, bags: &[Bag]) -> Vec<f16> {
    let dimensions = header.dimensions;
    let mut names: Vec<(&str, usize)> = rows.iter().map(|(word, &row)| (word.as_str(), row)).collect();
    names.sort_unstable_by_key(|&(_, row)| row);
    let random: Vec<f16> = names
        .par_iter()
        .flat_map_iter(|(word, _)| random_direction(header, word).into_iter().map(f16::from_f32))
        .collect();
    if header.context == 0.0 || bags.is_empty() {
        return random;
    }
    let passages: Vec<Vec<f32>> = bags.par_iter().map(|bag| project(bag, &random, dimensions)).collect();
    let mean = average(&passages, dimensions);
    let mut places: Vec<Vec<(usize, f32)>> = vec![Vec::new(); rows.len()];
    for (passage, bag) in bags.iter().enumerate() {
        for &(row, weight) in bag {
            places[row].push((passage, weight));
        }
    }
    // Each word sums over its own passages in their order, so threads do not change the sum.
    places
        .par_iter()
        .enumerate()
        .flat_map_iter(|(row, places)| {
            let mut own = vec![0.0; dimensions];
            random[row * dimensions..][..dimensions].convert_to_f32_slice(&mut own);
            let mut context = vec![0.0; dimensions];
            for &(passage, weight) in places {
                add_scaled(&mut context, &passages[passage], weight);
                add_scaled(&mut context, &mean, -weight);
                // The word itself is no surroundings of its own.
                add_scaled(&mut context, &own, -weight * weight);
            }
            normalise(&mut context);
            let mix = move |(own, context): (f32, f32)| f16::from_f32(own + header.context * (context - own));
            own.into_iter().zip(context).map(mix)
        })
        .collect()
}

fn average(vectors: &[Vec<f32>], dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dimensions];
    for vector in vectors {
        add_scaled(&mut sum, vector, 1.0 / vectors.len() as f32);
    }
    sum
}

/// The mean of the passages' vectors at length 1.
fn mean(bags: &[Bag], words: &[f16], dimensions: usize) -> Vec<f32> {
    let vectors: Vec<Vec<f32>> = bags
        .par_iter()
        .map(|bag| {
            let mut vector = project(bag, words, dimensions);
            normalise(&mut vector);
            vector
        })
        .collect();
    average(&vectors, dimensions)
}

/// Writing and reading `embedder.bin`; the format is in `index/README.md`.
impl RandomIndexing {
    pub(crate) fn write(&self, path: &Path) -> Result<(), IndexError> {
        let header = serde_json::to_vec(&self.header)
            .map_err(|error| IndexError::Corrupt { path: path.to_path_buf(), detail: error.to_string() })?;
        let mut bytes = Vec::with_capacity(self.words.len() * 2 + self.rows.len() * 16);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        let mut words: Vec<(&str, usize)> = self.rows.iter().map(|(word, &row)| (word.as_str(), row)).collect();
        words.sort_unstable_by_key(|&(_, row)| row);
        for (word, _) in words {
            bytes.extend_from_slice(&(word.len() as u32).to_le_bytes());
            bytes.extend_from_slice(word.as_bytes());
        }
        bytes.extend(self.idf.iter().chain(&self.mean).flat_map(|value| value.to_le_bytes()));
        bytes.extend(self.words.iter().flat_map(|value| value.to_le_bytes()));
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(store::write_atomic(path, &bytes)?)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, IndexError> {
        let bytes = store::read(path)?;
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
        Ok(Self { analyzer: analysis::analyzer(header.language), header, rows, idf, words, mean })
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
