//! BM25 over the items of a bank.
//!
//! For question terms `q` (each counted once) and item `d` of `|d|` terms among `N` items of mean length `L`, `n_q` of them with `q`:
//!
//! ```text
//! score = Σ_q ln(1 + (N − n_q + ½) / (n_q + ½)) · f·(k1 + 1) / (f + k1·(1 − b + b·|d|/L))        k1 = 1.2, b = 0.75
//! ```
//!
//! `f` is how often `q` stands in `d` (Robertson and Zaragoza 2009, in Lucene's form without negative weights). A bank holds tens of items, so each question
//! counts them anew: an index would cost more than it saves.

use std::collections::{BTreeSet, HashMap};

use unicode_segmentation::UnicodeSegmentation;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Lower-cased words.
fn terms(text: &str) -> Vec<String> {
    text.unicode_words().map(str::to_lowercase).collect()
}

/// Places of the `count` best texts for a question, best first, with their scores; of equals the later text. Texts that
/// share no term with the question are never among them.
///
/// ```
/// use memtrain_rl::agents::bank::retrieval::best;
/// let texts = ["Lorn is a river", "Velm is a city", "a river by the name of Lorn"];
/// let places: Vec<usize> = best("the river Lorn", &texts, 2).into_iter().map(|(place, _)| place).collect();
/// assert_eq!(places, [2, 0]);
/// assert!(best("mountain", &texts, 2).is_empty());
/// ```
pub fn best(question: &str, texts: &[&str], count: usize) -> Vec<(usize, f64)> {
    let words: Vec<Vec<String>> = texts.iter().map(|text| terms(text)).collect();
    let total: usize = words.iter().map(Vec::len).sum();
    let mean_length = (total as f64 / texts.len().max(1) as f64).max(1.0);
    let frequencies: Vec<HashMap<&str, f64>> = words
        .iter()
        .map(|words| {
            let mut counts = HashMap::new();
            words.iter().for_each(|word| *counts.entry(word.as_str()).or_insert(0.0) += 1.0);
            counts
        })
        .collect();
    // In the order of the terms, so that sums are the same to the bit.
    let asked: BTreeSet<String> = terms(question).into_iter().collect();
    let mut scores = vec![0.0; texts.len()];
    for term in &asked {
        let holding = frequencies.iter().filter(|counts| counts.contains_key(term.as_str())).count() as f64;
        let weight = (1.0 + (texts.len() as f64 - holding + 0.5) / (holding + 0.5)).ln();
        for ((score, counts), words) in scores.iter_mut().zip(&frequencies).zip(&words) {
            if let Some(frequency) = counts.get(term.as_str()) {
                let length = 1.0 - B + B * words.len() as f64 / mean_length;
                *score += weight * frequency * (K1 + 1.0) / (frequency + K1 * length);
            }
        }
    }
    let mut found: Vec<(usize, f64)> = scores.into_iter().enumerate().filter(|(_, score)| *score > 0.0).collect();
    found.sort_by(|(left, a), (right, b)| b.total_cmp(a).then(right.cmp(left)));
    found.truncate(count);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        // Three texts of 2, 4 and 3 terms: mean length 3. `lorn` stands in two of them: ln(1 + 1.5/2.5) = 0.470004;
        // `river` in one: ln(1 + 2.5/1.5) = 0.980829.
        let found = best("Lorn RIVER lorn", &["lorn river", "lorn lorn is old", "a green city"], 9);
        // Text 0: length factor 0.25 + 0.75·2/3 = 0.75, each term 2.2/(1 + 0.9) = 1.157895.
        let first = (0.470_003_629 + 0.980_829_253) * 2.2 / 1.9;
        // Text 1: 0.25 + 0.75·4/3 = 1.25, frequency 2: 4.4/(2 + 1.5) = 1.257143.
        let second = 0.470_003_629 * 4.4 / 3.5;
        assert_eq!(found.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 1]);
        assert!((found[0].1 - first).abs() < 1e-8 && (found[1].1 - second).abs() < 1e-8, "{found:?}");
    }

    #[test]
    fn of_equals_the_later_is_first_and_nothing_is_found_in_nothing() {
        let found = best("lorn", &["lorn", "velm", "Lorn"], 1);
        assert_eq!(found[0].0, 2);
        assert!(
            best("lorn", &[], 3).is_empty() && best("", &["lorn"], 3).is_empty() && best("x", &["", ""], 3).is_empty()
        );
    }
}
