//! End-to-end reconstruction and intermediate recall on held-out documents: the two things MemTrain trains.

use std::sync::Arc;

use memtrain_corpora::rng;
use memtrain_rl::agents::answer::Equality;
use memtrain_rl::agents::answer::is_right;
use memtrain_rl::agents::reader::{Reader, RecallPrompt};
use memtrain_rl::objectives::ChunkedDocument;
use memtrain_rl::objectives::memtrain::{MemTrainConfig, RecallQuestion, draw_recall};
use memtrain_rl::rollout::{RolloutEngine, Turn};
use memtrain_run::progress::Bar;
use serde::{Deserialize, Serialize};

use super::answered::AnsweredItems;
use super::interval::Estimate;
use super::record::ItemKey;

/// How to evaluate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconstructionConfig {
    /// Held-out documents to read.
    pub documents: usize,
    /// Recall questions a document; the same for every policy that is evaluated with one seed.
    pub recall_questions: usize,
    /// Temperature of the draws; 0 is greedy.
    pub temperature: f64,
}

impl Default for ReconstructionConfig {
    fn default() -> Self {
        Self { documents: 256, recall_questions: 4, temperature: 0.0 }
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReconstructionReport {
    /// Exact match of the hidden entity, a document each.
    pub end_to_end: Estimate,
    /// Exact match of recall questions, averaged per document.
    pub recall: Estimate,
    /// Sum of the two, per document.
    pub sum: Estimate,
    /// Documents read.
    pub documents: usize,
    /// Recall questions asked.
    pub recall_questions: usize,
    /// Documents without any entity that could be asked for.
    pub documents_without_recall: usize,
    /// Mean length of the last memory in tokens.
    pub memory_tokens: f64,
    /// Share of memory turns cut off by their limit.
    pub truncated_memories: f64,
}

/// Step of the draws of an evaluation: none that training ever reaches.
pub const EVALUATION_STEP: u64 = u64::MAX;

/// Purpose of the generators that draw evaluation questions.
const EVALUATION_PURPOSE: &str = "evaluate/recall-question";

/// A recall question of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallQuery {
    /// Index of its document among those evaluated.
    pub document: usize,
    /// Number among the questions of its document.
    pub number: u64,
    /// What is asked.
    pub question: RecallQuestion,
}

impl RecallQuery {
    /// The prompt that asks this of a memory.
    pub(super) fn prompt(&self, documents: &[ChunkedDocument], memory: String) -> RecallPrompt {
        let document = &documents[self.document];
        RecallPrompt {
            document: document.number,
            rollout: self.number,
            first_turn: document.chunks.len() as u64 + 1,
            memory,
            masked_chunk: self.question.masked_chunk.clone(),
        }
    }
}

/// Methods of the items: the hidden entity from the last memory, and recall questions.
const END_TO_END: &str = "end-to-end";
const RECALL: &str = "recall";

fn key(document: &ChunkedDocument, method: &str, question: u64) -> ItemKey {
    ItemKey { task: document.document.id.clone(), length: 0, question: question as u32, method: method.to_owned() }
}

/// The items of an evaluation: the documents, then these questions.
pub fn keys(documents: &[ChunkedDocument], asked: &[RecallQuery]) -> Vec<ItemKey> {
    let recall = asked.iter().map(|asked| key(&documents[asked.document], RECALL, asked.number));
    documents.iter().map(|document| key(document, END_TO_END, 0)).chain(recall).collect()
}

/// The recall questions of some documents, up to `recall_questions` each. Seed, document and question number alone address
/// them, so that two policies are asked the same.
pub fn questions(
    documents: &[ChunkedDocument],
    objective: &MemTrainConfig,
    recall_questions: usize,
    seed: u64,
) -> Vec<RecallQuery> {
    let mut asked = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        for number in 0..recall_questions as u64 {
            let mut generator = rng::keyed(EVALUATION_PURPOSE, seed, &[document.number, number]);
            let Some(question) = draw_recall(document, objective, &mut generator) else { continue };
            asked.push(RecallQuery { document: index, number, question });
        }
    }
    asked
}

/// The share of right answers a document; `None` where nothing was asked.
pub(super) fn scores(
    documents: usize,
    asked: &[RecallQuery],
    answers: &[Vec<Turn>],
    equality: Equality,
) -> Vec<Option<f64>> {
    let mut counts = vec![(0_usize, 0_usize); documents];
    for (asked, turns) in asked.iter().zip(answers) {
        let right = turns.iter().any(|turn| is_right(&turn.text, &asked.question.target, equality));
        counts[asked.document].0 += 1;
        counts[asked.document].1 += usize::from(right);
    }
    counts.iter().map(|&(all, right)| (all > 0).then(|| right as f64 / all as f64)).collect()
}

/// Responses of one reading of each document: a memory a chunk, and the answer.
pub(super) fn reading_turns(documents: &[ChunkedDocument]) -> usize {
    documents.iter().map(|document| document.chunks.len() + 1).sum()
}

/// Reads each document once and asks it `recall_questions` recall questions. `kept` is given every item, in the order of [`keys`].
///
/// # Errors
/// If the sampler or the tokenizer fails, or somebody asks to stop.
pub fn evaluate(
    reader: &Reader<'_>,
    engine: &mut RolloutEngine<'_>,
    documents: &[ChunkedDocument],
    objective: &MemTrainConfig,
    recall_questions: usize,
    kept: Option<&mut AnsweredItems>,
) -> anyhow::Result<ReconstructionReport> {
    let asked = questions(documents, objective, recall_questions, reader.step_key.seed);
    let bar = Arc::new(Bar::new("evaluation", (reading_turns(documents) + asked.len()) as u64, 0));
    engine.count_on(&bar);
    let tasks: Vec<_> = documents.iter().map(ChunkedDocument::task).collect();
    let trajectories = reader.read(engine, &tasks, 1)?.concat();
    let memory = |asked: &RecallQuery| trajectories[asked.document].memory(asked.question.memory_step).to_owned();
    let prompts: Vec<RecallPrompt> = asked.iter().map(|asked| asked.prompt(documents, memory(asked))).collect();
    let answers = reader.recall(engine, &prompts, 1)?;
    let recalls = scores(documents.len(), &asked, &answers, objective.equality);
    let correct: Vec<bool> = documents
        .iter()
        .zip(&trajectories)
        .map(|(document, trajectory)| is_right(trajectory.answer(), &document.document.answer, objective.equality))
        .collect();
    if let Some(kept) = kept {
        for ((document, trajectory), &right) in documents.iter().zip(&trajectories).zip(&correct) {
            let target = (document.document.answer.as_str(), right);
            let key = key(document, END_TO_END, 0);
            kept.add(key, target, objective.equality, &trajectory.turns, reader.tokenizer)?;
        }
        for (asked, turns) in asked.iter().zip(&answers) {
            let target = asked.question.target.as_str();
            let right = turns.iter().any(|turn| is_right(&turn.text, target, objective.equality));
            let key = key(&documents[asked.document], RECALL, asked.number);
            kept.add(key, (target, right), objective.equality, turns, reader.tokenizer)?;
        }
    }
    let sums: Vec<f64> = correct
        .iter()
        .zip(&recalls)
        .filter_map(|(&right, recall)| Some(f64::from(u8::from(right)) + (*recall)?))
        .collect();
    let memory_turns =
        || trajectories.iter().flat_map(|trajectory| trajectory.turns.split_last().map_or(&[][..], |(_, read)| read));
    let truncated =
        memory_turns().filter(|turn| turn.completion.finish == memtrain_engine::sampler::FinishReason::Length).count();
    let last_memories: Vec<usize> = trajectories
        .iter()
        .filter_map(|trajectory| trajectory.turns.iter().rev().nth(1))
        .map(|turn| turn.completion.token_ids.len())
        .collect();
    Ok(ReconstructionReport {
        end_to_end: Estimate::of_share(correct.iter().filter(|&&right| right).count(), documents.len()),
        recall: Estimate::of_means(&recalls.iter().flatten().copied().collect::<Vec<_>>()),
        sum: Estimate::of_means(&sums),
        documents: documents.len(),
        recall_questions: asked.len(),
        documents_without_recall: recalls.iter().filter(|recall| recall.is_none()).count(),
        memory_tokens: last_memories.iter().sum::<usize>() as f64 / last_memories.len().max(1) as f64,
        truncated_memories: truncated as f64 / memory_turns().count().max(1) as f64,
    })
}
