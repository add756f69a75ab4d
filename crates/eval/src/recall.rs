//! Intermediate recall by distance and by the age of the memory.
//!
//! Each document is read once. Then every memory `m_k` is asked about every chunk `c_l` that came before it: an entity of
//! the chunk is hidden, and the policy answers from the memory (MemTrain §3.2). Answers are counted by the distance `k − l`
//! and by the memory's age `k`, the number of chunks it has gone through. Documents are the units of the intervals.

use std::collections::BTreeMap;

use memtrain_corpora::rng;
use memtrain_rl::agents::answer::is_right;
use memtrain_rl::agents::reader::{Reader, RecallPrompt};
use memtrain_rl::objectives::ChunkedDocument;
use memtrain_rl::objectives::memtrain::{MemTrainConfig, RecallQuestion, recall_at};
use memtrain_rl::rollout::RolloutEngine;
use serde::{Deserialize, Serialize};

use super::answered::AnsweredItems;
use super::interval::Estimate;
use super::record::ItemKey;

/// What was asked and how often the answer was right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecallCell {
    /// `k − l`, or `k`.
    pub at: usize,
    /// Exact match, averaged per document.
    pub recall: Estimate,
    /// Questions asked.
    pub questions: usize,
}

/// A memory and a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecallPair {
    /// `k`.
    pub memory_step: usize,
    /// `l`.
    pub chunk_step: usize,
    /// Questions asked.
    pub questions: usize,
    /// Right answers.
    pub right: usize,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecallReport {
    /// Documents read.
    pub documents: usize,
    /// Documents without any entity that could be asked for.
    pub documents_without_questions: usize,
    /// Questions asked.
    pub questions: usize,
    /// Pairs whose chunk has no entity to ask for.
    pub pairs_without_entity: usize,
    /// All questions of a document averaged.
    pub recall: Estimate,
    /// By `k − l`.
    pub by_distance: Vec<RecallCell>,
    /// By `k`.
    pub by_age: Vec<RecallCell>,
    /// By both.
    pub pairs: Vec<RecallPair>,
}

/// An answered question.
#[derive(Clone, Copy)]
struct Answered {
    document: usize,
    memory_step: usize,
    chunk_step: usize,
    right: bool,
}

/// Method of the items.
const METHOD: &str = "recall";

/// Purpose of the generators that draw the questions.
const PURPOSE: &str = "evaluate/recall-by-distance";

/// The questions of a document with the steps of their memory and chunk; none where the chunk has no entity to ask for. Document,
/// memory, chunk and number alone address a question, so two policies are asked the same.
fn drawn<'d>(
    document: &'d ChunkedDocument,
    objective: &'d MemTrainConfig,
    options: RecallOptions,
    seed: u64,
) -> impl Iterator<Item = (usize, usize, Option<RecallQuestion>)> + 'd {
    let pairs = pairs(document.chunks.len(), options.include_current).into_iter();
    pairs.flat_map(move |(memory_step, chunk_step)| {
        (0..options.questions as u64).map(move |question| {
            let address = [document.number, memory_step as u64, chunk_step as u64, question];
            let mut generator = rng::keyed(PURPOSE, seed, &address);
            (memory_step, chunk_step, recall_at(document, (memory_step, chunk_step), objective, &mut generator))
        })
    })
}

/// The item of a question; the length is the distance.
fn key(document: &ChunkedDocument, number: u64, memory_step: usize, chunk_step: usize) -> ItemKey {
    ItemKey {
        task: document.document.id.clone(),
        length: (memory_step - chunk_step) as u32,
        question: number as u32,
        method: METHOD.to_owned(),
    }
}

/// The items of an evaluation in their order.
pub fn keys(
    documents: &[ChunkedDocument],
    objective: &MemTrainConfig,
    options: RecallOptions,
    seed: u64,
) -> Vec<ItemKey> {
    let of_document = |document| {
        let asked = drawn(document, objective, options, seed).filter(|(_, _, question)| question.is_some());
        let key = |((memory, chunk, _), number): ((usize, usize, _), u64)| key(document, number, memory, chunk);
        asked.zip(0..).map(key).collect::<Vec<_>>()
    };
    documents.iter().flat_map(of_document).collect()
}

/// Reads each document and asks `questions` questions about every memory and earlier chunk; with `include_current` about
/// the chunk just read too (distance 0). `advanced` is told after each batch of documents how many are done, `kept` is given
/// every item in the order of [`keys`].
///
/// # Errors
/// If the sampler or the tokenizer fails, or somebody asks to stop.
pub fn evaluate(
    reader: &Reader<'_>,
    engine: &mut RolloutEngine<'_>,
    documents: &[ChunkedDocument],
    objective: &MemTrainConfig,
    options: RecallOptions,
    mut advanced: impl FnMut(usize),
    mut kept: Option<&mut AnsweredItems>,
) -> anyhow::Result<RecallReport> {
    let (mut answered, mut without_entity) = (Vec::new(), 0);
    for (batch, members) in documents.chunks(BATCH).enumerate() {
        let tasks: Vec<_> = members.iter().map(ChunkedDocument::task).collect();
        let trajectories = reader.read(engine, &tasks, 1)?.concat();
        let (mut prompts, mut asked) = (Vec::new(), Vec::new());
        for (at, (document, trajectory)) in members.iter().zip(&trajectories).enumerate() {
            let mut number = 0;
            for (memory_step, chunk_step, question) in drawn(document, objective, options, reader.step_key.seed) {
                let Some(question) = question else {
                    without_entity += 1;
                    continue;
                };
                prompts.push(RecallPrompt {
                    document: document.number,
                    rollout: number,
                    first_turn: trajectory.turns.len() as u64,
                    memory: trajectory.memory(memory_step).to_owned(),
                    masked_chunk: question.masked_chunk,
                });
                let key = key(document, number, memory_step, chunk_step);
                asked.push((batch * BATCH + at, memory_step, chunk_step, question.target, key));
                number += 1;
            }
        }
        let answers = reader.recall(engine, &prompts, 1)?;
        for ((document, memory_step, chunk_step, target, key), turns) in asked.into_iter().zip(answers) {
            let right = turns.iter().any(|turn| is_right(&turn.text, &target, objective.equality));
            answered.push(Answered { document, memory_step, chunk_step, right });
            if let Some(kept) = kept.as_deref_mut() {
                kept.add(key, (&target, right), objective.equality, &turns, reader.tokenizer)?;
            }
        }
        advanced(batch * BATCH + members.len());
    }
    Ok(report(&answered, documents.len(), without_entity))
}

/// Which questions are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecallOptions {
    /// Questions about each pair of a memory and a chunk.
    pub questions: usize,
    /// Whether a memory is asked about the chunk just read.
    pub include_current: bool,
}

/// Documents read together.
const BATCH: usize = 16;

/// Every memory with every chunk it may be asked about. A document of one chunk has one pair, as in training.
fn pairs(num_chunks: usize, include_current: bool) -> Vec<(usize, usize)> {
    if num_chunks == 1 {
        return vec![(1, 1)];
    }
    let last = |memory_step: usize| if include_current { memory_step } else { memory_step - 1 };
    (1..=num_chunks).flat_map(|memory| (1..=last(memory)).map(move |chunk| (memory, chunk))).collect()
}

fn report(answered: &[Answered], documents: usize, pairs_without_entity: usize) -> RecallReport {
    let mut pairs: BTreeMap<(usize, usize), (usize, usize)> = BTreeMap::new();
    for answer in answered {
        let (questions, right) = pairs.entry((answer.memory_step, answer.chunk_step)).or_default();
        *questions += 1;
        *right += usize::from(answer.right);
    }
    let (recall, asked_documents) = averaged(answered.iter());
    RecallReport {
        documents,
        documents_without_questions: documents - asked_documents,
        questions: answered.len(),
        pairs_without_entity,
        recall,
        by_distance: cells(answered, |answer| answer.memory_step - answer.chunk_step),
        by_age: cells(answered, |answer| answer.memory_step),
        pairs: pairs
            .into_iter()
            .map(|((memory_step, chunk_step), (questions, right))| RecallPair {
                memory_step,
                chunk_step,
                questions,
                right,
            })
            .collect(),
    }
}

fn cells(answered: &[Answered], at: impl Fn(&Answered) -> usize) -> Vec<RecallCell> {
    let mut groups: BTreeMap<usize, Vec<&Answered>> = BTreeMap::new();
    answered.iter().for_each(|answer| groups.entry(at(answer)).or_default().push(answer));
    groups
        .into_iter()
        .map(|(at, answers)| {
            let questions = answers.len();
            RecallCell { at, recall: averaged(answers.into_iter()).0, questions }
        })
        .collect()
}

/// The mean over documents of the share of right answers, and the number of documents.
fn averaged<'a>(answered: impl Iterator<Item = &'a Answered>) -> (Estimate, usize) {
    let mut documents: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for answer in answered {
        let (all, right) = documents.entry(answer.document).or_default();
        *all += 1;
        *right += usize::from(answer.right);
    }
    let shares: Vec<f64> = documents.values().map(|&(all, right)| right as f64 / all as f64).collect();
    (Estimate::of_means(&shares), shares.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_memory_is_asked_about_every_earlier_chunk() {
        assert_eq!(pairs(3, false), [(2, 1), (3, 1), (3, 2)]);
        assert_eq!(pairs(2, true), [(1, 1), (2, 1), (2, 2)]);
        assert_eq!(pairs(1, false), [(1, 1)]);
        assert!(pairs(0, true).is_empty());
        assert_eq!(pairs(8, false).len(), 28);
    }

    #[test]
    fn answers_are_counted_by_distance_and_age_and_averaged_by_document() {
        let answer = |document, memory_step, chunk_step, right| Answered { document, memory_step, chunk_step, right };
        let answered = [answer(0, 2, 1, true), answer(0, 3, 1, false), answer(0, 3, 2, true), answer(1, 2, 1, false)];
        let report = report(&answered, 3, 2);
        assert_eq!((report.questions, report.documents_without_questions), (4, 1));
        assert!((report.recall.mean - (2.0 / 3.0 + 0.0) / 2.0).abs() < 1e-12);
        let means = |cells: &[RecallCell]| {
            cells.iter().map(|cell| (cell.at, cell.recall.mean, cell.questions)).collect::<Vec<_>>()
        };
        // Distance 1: document 0 has 2 of 2, document 1 has 0 of 1.
        assert_eq!(means(&report.by_distance), [(1, 0.5, 3), (2, 0.0, 1)]);
        assert_eq!(means(&report.by_age), [(2, 0.5, 2), (3, 0.5, 2)]);
        assert_eq!(report.pairs[0], RecallPair { memory_step: 2, chunk_step: 1, questions: 2, right: 1 });
    }
}
