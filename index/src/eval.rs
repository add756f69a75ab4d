//! Retrieval metrics of an index on questions whose answers are known.
//!
//! The measures are those of trec_eval, computed a question and averaged over the questions:
//!
//! * **nDCG@k**: Σ grade/log₂(rank + 1) over the first k hits, divided by the same sum of the best ranking there could be.
//!   The gain is the grade itself (trec_eval's `ndcg_cut`), not 2^grade − 1; grades below 0 count as 0.
//! * **Recall@k**: share of the relevant passages (grade 1 or more) among the first k hits.
//! * **Full@k**: 1 if all relevant passages are among the first k hits, else 0.
//! * **MRR@10**: 1/rank of the first relevant passage, 0 if it is not among the first ten.
//!
//! As in trec_eval, a judged passage that the corpus lacks counts as one that was not found.

mod beir;

use std::collections::HashMap;
use std::time::Instant;

pub use self::beir::{Beir, BeirError};

use crate::{Index, IndexError};

/// Hits that are asked for.
const DEPTH: usize = 100;
/// Ranks at which recall is measured.
const RECALL_AT: [usize; 5] = [1, 5, 10, 29, 100];
/// Ranks at which it is measured whether all relevant passages are there.
const FULL_AT: [usize; 4] = [5, 10, 29, 100];
/// Questions that are asked together.
const BATCH: usize = 64;

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Passages in the index.
    pub passages: u64,
    /// Questions that count.
    pub queries: usize,
    /// Questions without judgements, left out.
    pub queries_without_qrels: usize,
    /// Questions whose judgements name no relevant passage, left out.
    pub queries_without_relevant: usize,
    /// Judgements of passages that the corpus lacks.
    pub qrels_without_passage: usize,
    /// Judgements of questions that the set lacks.
    pub qrels_without_query: usize,
    /// Mean nDCG of the first ten hits.
    pub ndcg_at_10: f64,
    /// Mean reciprocal rank of the first relevant passage among ten.
    pub mrr_at_10: f64,
    /// Mean share of the relevant passages among the first k hits, by k.
    pub recall: Vec<AtRank>,
    /// Share of questions all of whose relevant passages are among the first k hits, by k.
    pub full: Vec<AtRank>,
    /// Questions answered a second, embeddings of the questions included.
    pub queries_per_second: f64,
}

/// A measure at a rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AtRank {
    /// The rank.
    pub k: usize,
    /// The value, 0 to 1.
    pub value: f64,
}

/// The measures of one ranking.
#[derive(Clone, Debug, PartialEq)]
struct Measures {
    ndcg: f64,
    mrr: f64,
    recall: [f64; RECALL_AT.len()],
    full: [f64; FULL_AT.len()],
}

/// Asks an index of the set's passages all its questions. With `ignore_identical`, a passage with the id of the question
/// is no hit, as BEIR has it for sets whose questions are passages.
///
/// # Errors
/// If the index cannot answer.
pub fn evaluate(index: &Index, set: &Beir, ignore_identical: bool) -> Result<Report, IndexError> {
    let judged: Vec<(&str, &str, &HashMap<String, i64>)> = set
        .queries
        .iter()
        .filter_map(|(id, text)| Some((id.as_str(), text.as_str(), set.qrels.get(id)?)))
        .filter(|(.., grades)| grades.values().any(|&grade| grade > 0))
        .collect();
    let start = Instant::now();
    let mut all = Vec::with_capacity(judged.len());
    for batch in judged.chunks(BATCH) {
        let texts: Vec<&str> = batch.iter().map(|(_, text, _)| *text).collect();
        let found = index.search_many(&texts, DEPTH + usize::from(ignore_identical))?;
        for ((query, _, grades), hits) in batch.iter().zip(found) {
            let ids = hits.iter().map(|hit| set.doc_ids[hit.passage_id as usize].as_str());
            let ids: Vec<&str> = ids.filter(|id| !(ignore_identical && id == query)).collect();
            all.push(measure(&ids, grades));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let mean = |value: &dyn Fn(&Measures) -> f64| all.iter().map(value).sum::<f64>() / (all.len().max(1)) as f64;
    let at = |ranks: &[usize], value: &dyn Fn(&Measures, usize) -> f64| {
        (0..).zip(ranks).map(|(at, &k)| AtRank { k, value: mean(&|measures| value(measures, at)) }).collect()
    };
    let without_qrels = set.queries.iter().filter(|(id, _)| !set.qrels.contains_key(id)).count();
    Ok(Report {
        passages: index.num_passages(),
        queries: judged.len(),
        queries_without_qrels: without_qrels,
        queries_without_relevant: set.queries.len() - without_qrels - judged.len(),
        qrels_without_passage: set.qrels_without_passage,
        qrels_without_query: set.qrels_without_query,
        ndcg_at_10: mean(&|measures| measures.ndcg),
        mrr_at_10: mean(&|measures| measures.mrr),
        recall: at(&RECALL_AT, &|measures, at| measures.recall[at]),
        full: at(&FULL_AT, &|measures, at| measures.full[at]),
        queries_per_second: judged.len() as f64 / seconds.max(1e-9),
    })
}

/// The measures of a ranking of passages against their grades, of which one at least is above 0.
fn measure(ranking: &[&str], grades: &HashMap<String, i64>) -> Measures {
    let grade = |id: &&str| grades.get(*id).copied().unwrap_or(0).max(0);
    let dcg = |grades: &mut dyn Iterator<Item = i64>| -> f64 {
        grades.take(10).zip(2_u32..).map(|(grade, rank)| grade as f64 / f64::from(rank).log2()).sum()
    };
    let mut ideal: Vec<i64> = grades.values().copied().filter(|&grade| grade > 0).collect();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    let num_relevant = ideal.len();
    let found = |k: usize| ranking.iter().take(k).filter(|id| grade(id) > 0).count();
    let first = ranking.iter().take(10).position(|id| grade(id) > 0);
    Measures {
        ndcg: dcg(&mut ranking.iter().map(grade)) / dcg(&mut ideal.into_iter()),
        mrr: first.map_or(0.0, |place| 1.0 / (place + 1) as f64),
        recall: RECALL_AT.map(|k| found(k) as f64 / num_relevant as f64),
        full: FULL_AT.map(|k| f64::from(u8::from(found(k) == num_relevant))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grades(grades: &[(&str, i64)]) -> HashMap<String, i64> {
        grades.iter().map(|(id, grade)| ((*id).to_owned(), *grade)).collect()
    }

    /// Computed by hand.
    #[test]
    fn measures_are_those_of_trec_eval() {
        let found =
            measure(&["x", "b", "a", "y", "-", "d"], &grades(&[("a", 2), ("b", 1), ("c", 3), ("y", 0), ("d", -1)]));
        // Gains 0, 1, 2 at ranks 1, 2, 3; the best order is 3, 2, 1.
        let dcg = 1.0 / 3.0_f64.log2() + 2.0 / 2.0;
        let ideal = 3.0 + 2.0 / 3.0_f64.log2() + 1.0 / 2.0;
        assert!((found.ndcg - dcg / ideal).abs() < 1e-12, "{}", found.ndcg);
        assert!((found.ndcg - 0.342_498_5).abs() < 1e-6, "{}", found.ndcg);
        assert_eq!(found.mrr, 0.5);
        assert_eq!(found.recall, [0.0, 2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]);
        assert_eq!(found.full, [0.0; 4], "c is nowhere");
    }

    #[test]
    fn a_perfect_ranking_has_ones_and_an_empty_one_noughts() {
        let judged = grades(&[("a", 1), ("b", 1)]);
        let perfect = measure(&["b", "a", "c"], &judged);
        assert_eq!((perfect.ndcg, perfect.mrr, perfect.full), (1.0, 1.0, [1.0; 4]));
        assert_eq!(perfect.recall, [0.5, 1.0, 1.0, 1.0, 1.0]);
        let empty = measure(&[], &judged);
        assert_eq!((empty.ndcg, empty.mrr, empty.full), (0.0, 0.0, [0.0; 4]));
    }

    #[test]
    fn what_comes_after_the_tenth_place_does_not_count_for_ndcg() {
        let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let ranking: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = measure(&ranking, &grades(&[("10", 1), ("30", 1)]));
        assert_eq!((found.ndcg, found.mrr), (0.0, 0.0));
        assert_eq!(found.recall, [0.0, 0.0, 0.0, 0.5, 1.0]);
        assert_eq!(found.full, [0.0, 0.0, 0.0, 1.0]);
    }
}
