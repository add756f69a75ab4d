//! Learning of the built-in embeddings from the passages of a corpus.
//!
//! Passages and words are taken a slice of dimensions at a time: the directions of 100,000 passages and as many words in
//! full would be a gigabyte. Every sum is taken in the order of the passages, so neither threads nor slices change it.

use std::collections::HashMap;

use half::f16;
use memtrain_kernels::vector::{axpy, normalise};
use rayon::prelude::*;
use tantivy::tokenizer::TextAnalyzer;

use super::{Header, MIN_PASSAGES, Vocabulary, random_signs, sign_size, weight};
use crate::analysis;

/// Texts whose words are counted at a time.
const TEXTS: usize = 4_096;
/// Values of a slice of all passages; with 100,000 of them a slice is 128 dimensions wide.
const SLICE_VALUES: usize = 1 << 24;
/// Passages that are summed at a time for the mean.
const PASSAGES: usize = 1_024;

/// The words of the texts to learn from, each word as a number.
#[derive(Default)]
pub(crate) struct Sample {
    numbers: HashMap<String, u32>,
    /// In how many texts a word stands, by number.
    frequencies: Vec<u32>,
    /// Word and count, text after text.
    words: Vec<(u32, u32)>,
    /// Where each text ends in `words`.
    ends: Vec<usize>,
}

impl Sample {
    /// Adds texts; the numbers of their words follow the order of the texts.
    pub(crate) fn extend<S: AsRef<str> + Sync>(&mut self, texts: &[S], analyzer: &TextAnalyzer) {
        for texts in texts.chunks(TEXTS) {
            let count = |analyzer: &mut TextAnalyzer, text: &S| analysis::term_counts(analyzer, text.as_ref());
            let counted: Vec<Vec<(String, u32)>> = texts.par_iter().map_init(|| analyzer.clone(), count).collect();
            for counts in counted {
                for (word, count) in counts {
                    let next = self.frequencies.len() as u32;
                    let number = *self.numbers.entry(word).or_insert(next);
                    if number == next {
                        self.frequencies.push(0);
                    }
                    self.frequencies[number as usize] += 1;
                    self.words.push((number, count));
                }
                self.ends.push(self.words.len());
            }
        }
    }

    /// Number of texts.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The words in at least two texts, at most so many, the most frequent; in the order of the words.
    pub(super) fn vocabulary(&self, max_terms: usize) -> Vec<(&str, u32)> {
        let known = self.numbers.iter().map(|(word, &number)| (word.as_str(), self.frequencies[number as usize]));
        let mut words: Vec<(&str, u32)> = known.filter(|&(_, frequency)| frequency >= MIN_PASSAGES).collect();
        words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        words.truncate(max_terms);
        words.sort_unstable();
        words
    }

    /// The texts as known words and their weights, each text at length 1.
    pub(super) fn into_bags(self, vocabulary: &Vocabulary) -> Bags {
        let mut rows = vec![None; self.frequencies.len()];
        for (word, number) in &self.numbers {
            rows[*number as usize] = vocabulary.rows.get(word).map(|&row| row as u32);
        }
        drop(self.numbers);
        let mut bags = Bags { entries: Vec::with_capacity(self.words.len()), starts: vec![0] };
        let mut start = 0;
        for end in self.ends {
            let first = bags.entries.len();
            let known = self.words[start..end].iter().filter_map(|&(number, count)| {
                let row = rows[number as usize]?;
                Some((row, weight(count, vocabulary.idf[row as usize])))
            });
            bags.entries.extend(known);
            let length = bags.entries[first..].iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
            if length > 0.0 {
                bags.entries[first..].iter_mut().for_each(|(_, weight)| *weight /= length);
            }
            bags.starts.push(bags.entries.len());
            start = end;
        }
        bags
    }
}

/// Lists of numbers with weights, one after another.
pub(super) struct Bags {
    entries: Vec<(u32, f32)>,
    starts: Vec<usize>,
}

impl Bags {
    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn bag(&self, number: usize) -> &[(u32, f32)] {
        &self.entries[self.starts[number]..self.starts[number + 1]]
    }

    /// For each word the texts it stands in, in their order.
    fn transposed(&self, num_words: usize) -> Self {
        let mut starts = vec![0; num_words + 1];
        self.entries.iter().for_each(|&(word, _)| starts[word as usize + 1] += 1);
        for word in 0..num_words {
            starts[word + 1] += starts[word];
        }
        let (mut next, mut entries) = (starts.clone(), vec![(0, 0.0); self.entries.len()]);
        for text in 0..self.len() {
            for &(word, weight) in self.bag(text) {
                entries[next[word as usize]] = (text as u32, weight);
                next[word as usize] += 1;
            }
        }
        Self { entries, starts }
    }
}

/// The signs of a byte as ±1, lowest bit first.
fn signs() -> Vec<[f32; 8]> {
    (0..256).map(|byte| std::array::from_fn(|bit| if byte >> bit & 1 == 1 { 1.0 } else { -1.0 })).collect()
}

/// The random directions of all words as bits.
struct Directions {
    bits: Vec<u8>,
    bytes: usize,
    signs: Vec<[f32; 8]>,
    size: f32,
}

impl Directions {
    fn new(header: &Header, words: &[&str]) -> Self {
        let bits = words.par_iter().flat_map_iter(|word| random_signs(header, word)).collect();
        Self { bits, bytes: header.dimensions.div_ceil(8), signs: signs(), size: sign_size(header.dimensions).to_f32() }
    }

    /// Adds a slice of a word's direction times a weight; the slice begins at a byte.
    fn add(&self, sum: &mut [f32], word: usize, first: usize, weight: f32) {
        let bits = &self.bits[word * self.bytes + first / 8..];
        for (sum, &byte) in sum.chunks_mut(8).zip(bits) {
            for (sum, sign) in sum.iter_mut().zip(&self.signs[usize::from(byte)]) {
                *sum = (sign * self.size).mul_add(weight, *sum);
            }
        }
    }
}

/// The vectors of the known words, one after another: random direction and learned context, mixed.
pub(super) fn words(header: &Header, names: &[&str], bags: &Bags) -> Vec<f16> {
    let dimensions = header.dimensions;
    let directions = Directions::new(header, names);
    if header.context == 0.0 || bags.len() == 0 {
        let mut words = vec![f16::ZERO; names.len() * dimensions];
        words.par_chunks_mut(dimensions).enumerate().for_each(|(word, place)| {
            let mut own = vec![0.0; dimensions];
            directions.add(&mut own, word, 0, 1.0);
            place.iter_mut().zip(own).for_each(|(place, own)| *place = f16::from_f32(own));
        });
        return words;
    }
    let places = bags.transposed(names.len());
    let wanted = SLICE_VALUES / bags.len() / 8 * 8;
    let slice = wanted.clamp(8, dimensions);
    let mut words = vec![f16::ZERO; names.len() * dimensions];
    // Sums of squares, first dimension first. Where more than one slice is needed, contexts wait for theirs in half
    // precision, scaled to what it can hold.
    let mut squares = vec![0.0_f32; names.len()];
    for first in (0..dimensions).step_by(slice) {
        let width = slice.min(dimensions - first);
        let of_texts = texts(bags, &directions, first, width);
        let mean = average(of_texts.chunks_exact(width), bags.len(), width);
        let rows = words.par_chunks_mut(dimensions).zip(&mut squares).enumerate();
        rows.for_each_init(
            || (vec![0.0; width], vec![0.0; width]),
            |(own, context), (word, (place, squares))| {
                own.fill(0.0);
                context.fill(0.0);
                directions.add(own, word, first, 1.0);
                let mut scale = 0.0_f32;
                for &(text, weight) in places.bag(word) {
                    axpy(context, weight, &of_texts[text as usize * width..][..width]);
                    axpy(context, -weight, &mean);
                    // The word itself is no surroundings of its own.
                    axpy(context, -weight * weight, own);
                    scale += weight;
                }
                if width == dimensions {
                    normalise(context);
                    mix(place, own.iter().zip(&*context), header.context);
                } else {
                    let scale = scale.max(f32::MIN_POSITIVE).recip();
                    for (place, context) in place[first..].iter_mut().zip(&*context) {
                        *place = f16::from_f32(context * scale);
                        *squares += place.to_f32() * place.to_f32();
                    }
                }
            },
        );
    }
    if slice < dimensions {
        let rows = words.par_chunks_mut(dimensions).zip(&squares).enumerate();
        rows.for_each(|(word, (place, squares))| {
            let length = if *squares > 0.0 { squares.sqrt() } else { 1.0 };
            let mut own = vec![0.0; dimensions];
            directions.add(&mut own, word, 0, 1.0);
            let context: Vec<f32> = place.iter().map(|value| value.to_f32() / length).collect();
            mix(place, own.iter().zip(&context), header.context);
        });
    }
    words
}

fn mix<'a>(place: &mut [f16], values: impl Iterator<Item = (&'a f32, &'a f32)>, share: f32) {
    for (place, (own, context)) in place.iter_mut().zip(values) {
        *place = f16::from_f32(own + share * (context - own));
    }
}

/// A slice of the vector of each text: the sum of its words' random directions.
fn texts(bags: &Bags, directions: &Directions, first: usize, width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; bags.len() * width];
    sums.par_chunks_mut(width).enumerate().for_each(|(text, sum)| {
        for &(word, weight) in bags.bag(text) {
            directions.add(sum, word as usize, first, weight);
        }
    });
    sums
}

fn average<'a>(vectors: impl Iterator<Item = &'a [f32]>, num_vectors: usize, dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dimensions];
    for vector in vectors {
        axpy(&mut sum, 1.0 / num_vectors as f32, vector);
    }
    sum
}

/// The mean of the texts' vectors at length 1.
pub(super) fn mean(bags: &Bags, words: &[f16], dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dimensions];
    let all: Vec<usize> = (0..bags.len()).collect();
    for block in all.chunks(PASSAGES) {
        let vectors: Vec<Vec<f32>> = block
            .par_iter()
            .map(|&text| {
                let mut vector = super::project(bags.bag(text), words, dimensions);
                normalise(&mut vector);
                vector
            })
            .collect();
        for vector in vectors {
            axpy(&mut sum, 1.0 / bags.len() as f32, &vector);
        }
    }
    sum
}
