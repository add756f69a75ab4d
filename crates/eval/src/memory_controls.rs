//! Control memories: the same questions, answered from the memory that a policy wrote and from others.
//!
//! A right answer may come from the memory, from what the policy knows by heart, or from the chunk shown with a
//! question. So each policy answers the same questions from several memories of the same documents ([`MemorySource`]):
//! its own, those of the other policies, and controls that no policy wrote. Where an empty memory does as well as the
//! own one, the memory is not needed; where random sentences do, keeping it is not learned.

use std::collections::HashSet;
use std::sync::Arc;

use memtrain_corpora::document::MASK;
use memtrain_corpora::rng;
use memtrain_engine::sampler::FinishReason;
use memtrain_rl::agents::answer::is_right;
use memtrain_rl::agents::answer::{Equality, last_boxed};
use memtrain_rl::agents::reader::{AnswerPrompt, Reader, RecallPrompt};
use memtrain_rl::agents::sentences::{ReadSentences, fitting, is_complete, sentences};
use memtrain_rl::objectives::ChunkedDocument;
use memtrain_rl::rollout::{RolloutEngine, Trajectory, Turn};
use memtrain_run::progress::Bar;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::interval::Estimate;
use super::reconstruction::{RecallQuery, reading_turns, scores};

/// Where the memories come from that questions are answered from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemorySource {
    /// The policy of this name.
    Policy(String),
    /// Nobody: the memory is empty.
    Empty,
    /// The answering policy, but of the next document.
    Another,
    /// Chance: sentences drawn at random from what was read, as many as fit the memory.
    Random,
    /// A rule of one line: the last sentences with the placeholder that fit the memory.
    LastPlaceholders,
    /// An oracle that knows the question: the sentences of the chunk that name what is asked, then others at random.
    /// There is no such memory for the hidden entity, which no sentence names.
    #[serde(rename = "told")]
    Oracle,
}

impl MemorySource {
    /// The name in a table.
    pub fn label(&self) -> String {
        match self {
            Self::Policy(name) => format!("memories of {name}"),
            Self::Empty => "empty memory".into(),
            Self::Another => "its memory of another document".into(),
            Self::Random => "random sentences that fit".into(),
            Self::LastPlaceholders => format!("last {MASK} sentences that fit"),
            Self::Oracle => "what names the answer".into(),
        }
    }
}

/// Answers from the memories of one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// Whose memories.
    #[serde(rename = "keeper")]
    pub source: MemorySource,
    /// Exact match of the hidden entity, a document each.
    pub end_to_end: Option<Estimate>,
    /// Exact match of recall questions, averaged per document.
    pub recall: Estimate,
}

/// How the memories of a policy read. Shares are averaged per document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Memories cut off by their limit.
    pub truncated: Estimate,
    /// Memories in which a sentence stands twice.
    pub repeated: Estimate,
    /// Complete sentences that stand word for word in what was read.
    pub verbatim: Estimate,
    /// Complete sentences of a memory.
    pub sentences: Estimate,
}

/// What came out for one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Its name.
    pub name: String,
    /// Its answers.
    pub answers: Vec<Answers>,
    /// Its memories.
    pub quality: Quality,
    /// Its reading of the first document.
    pub example: Option<Example>,
}

/// A reading of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Which document.
    pub document_id: String,
    /// The hidden entity.
    pub hidden: String,
    /// The last memory.
    pub memory: String,
    /// What was answered from it, where anything can be read out of the answer.
    pub answer: Option<String>,
    /// Every chunk with the memory after it; empty in reports of earlier versions.
    #[serde(default)]
    pub reading: Vec<ReadChunk>,
}

/// A chunk and what was remembered after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadChunk {
    /// What was read.
    pub chunk: String,
    /// The memory after it.
    pub memory: String,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Documents read.
    pub documents: usize,
    /// Recall questions asked.
    pub recall_questions: usize,
    /// A policy each, in the order given.
    pub policies: Vec<PolicyReport>,
}

/// A policy that reads and answers.
pub struct Contender<'a> {
    /// What it is called.
    pub name: String,
    /// How it reads.
    pub reader: Reader<'a>,
    /// Rolls out with it.
    pub engine: RolloutEngine<'a>,
}

/// Sources of memories that no policy wrote for the document, without the oracle.
const CONTROLS: usize = 4;

/// The memories of one source: a document each, and in it one after each chunk.
type Memories = Vec<Vec<String>>;

/// Lets every policy read the documents, and answer the same questions from its own memories, from those of the others and
/// from the controls. Documents and question numbers alone address questions and controls.
///
/// # Errors
/// If a sampler or a tokenizer fails, or somebody asks to stop.
pub fn evaluate(
    contenders: &mut [Contender<'_>],
    documents: &[ChunkedDocument],
    equality: Equality,
    asked: &[RecallQuery],
) -> anyhow::Result<MemoryReport> {
    let mut own: Vec<Memories> = Vec::new();
    let mut readings = Vec::new();
    // Each policy reads once, and answers from its own memories, from those of all others, and from the controls; the
    // oracle knows no hidden entity.
    let sources = contenders.len() + CONTROLS;
    let of_policy = reading_turns(documents) + sources * documents.len() + (sources + 1) * asked.len();
    let bar = Arc::new(Bar::new("evaluation", (contenders.len() * of_policy) as u64, 0));
    contenders.iter_mut().for_each(|contender| contender.engine.count_on(&bar));
    for contender in contenders.iter_mut() {
        let tasks: Vec<_> = documents.iter().map(ChunkedDocument::task).collect();
        let trajectories = contender.reader.read(&mut contender.engine, &tasks, 1)?.concat();
        readings.push((quality(&trajectories, documents), example(&trajectories, documents)));
        let memories = |trajectory: &Trajectory| {
            (1..trajectory.turns.len()).map(|read| trajectory.memory(read).to_owned()).collect()
        };
        own.push(trajectories.iter().map(memories).collect());
    }
    let names: Vec<String> = contenders.iter().map(|contender| contender.name.clone()).collect();
    let mut policies = Vec::new();
    for (number, (contender, (quality, example))) in contenders.iter_mut().zip(readings).enumerate() {
        let mut answers = Vec::new();
        let kept =
            names.iter().zip(&own).map(|(name, memories)| (MemorySource::Policy(name.clone()), memories.clone()));
        let controls: [_; CONTROLS] = [
            (MemorySource::Empty, of_all(documents, |_, _| Ok(contender.reader.prompts.empty.clone()))?),
            (MemorySource::Another, of_next(&own[number])),
            (MemorySource::Random, of_all(documents, |document, read| random(&contender.reader, document, read, &[]))?),
            (
                MemorySource::LastPlaceholders,
                of_all(documents, |document, read| last(&contender.reader, document, read))?,
            ),
        ];
        for (source, memories) in kept.chain(controls) {
            let last = memories.iter().map(|kept| kept.last().cloned().unwrap_or_default()).collect();
            let of = |asked: &RecallQuery| memories[asked.document][asked.question.memory_step - 1].clone();
            let right = contender.end_to_end(documents, equality, last)?;
            let recalled = contender.recall(documents, equality, asked, asked.iter().map(of).collect())?;
            answers.push(Answers { source, end_to_end: Some(right), recall: recalled });
        }
        let told = |asked: &RecallQuery| {
            let (document, question) = (&documents[asked.document], &asked.question);
            let naming: Vec<&str> = sentences(document.chunk(question.chunk_step - 1))
                .filter(|sentence| sentence.contains(&question.target))
                .collect();
            random(&contender.reader, document, question.memory_step, &naming)
        };
        let told = asked.iter().map(told).collect::<anyhow::Result<_>>()?;
        let recall = contender.recall(documents, equality, asked, told)?;
        answers.push(Answers { source: MemorySource::Oracle, end_to_end: None, recall });
        policies.push(PolicyReport { name: contender.name.clone(), answers, quality, example });
    }
    Ok(MemoryReport { documents: documents.len(), recall_questions: asked.len(), policies })
}

impl Contender<'_> {
    /// Answers for the hidden entity, each document from its memory.
    fn end_to_end(
        &mut self,
        documents: &[ChunkedDocument],
        equality: Equality,
        memories: Vec<String>,
    ) -> anyhow::Result<Estimate> {
        let prompt = |(document, memory): (&ChunkedDocument, String)| {
            let turn = document.chunks.len() as u64;
            AnswerPrompt { document: document.number, turn, memory }
        };
        let prompts: Vec<AnswerPrompt> = documents.iter().zip(memories).map(prompt).collect();
        let turns = self.reader.answer(&mut self.engine, &prompts)?;
        let is_right = |pair: &(&Turn, &ChunkedDocument)| is_right(&pair.0.text, &pair.1.document.answer, equality);
        Ok(Estimate::of_share(turns.iter().zip(documents).filter(is_right).count(), documents.len()))
    }

    /// Answers recall questions, each from its memory.
    fn recall(
        &mut self,
        documents: &[ChunkedDocument],
        equality: Equality,
        asked: &[RecallQuery],
        memories: Vec<String>,
    ) -> anyhow::Result<Estimate> {
        let prompts: Vec<RecallPrompt> =
            asked.iter().zip(memories).map(|(asked, memory)| asked.prompt(documents, memory)).collect();
        let answers = self.reader.recall(&mut self.engine, &prompts, 1)?;
        let shares = scores(documents.len(), asked, &answers, equality);
        Ok(Estimate::of_means(&shares.into_iter().flatten().collect::<Vec<_>>()))
    }
}

/// A memory of each document after each chunk.
fn of_all(
    documents: &[ChunkedDocument],
    keep: impl Fn(&ChunkedDocument, usize) -> anyhow::Result<String>,
) -> anyhow::Result<Memories> {
    documents.iter().map(|document| (1..=document.chunks.len()).map(|read| keep(document, read)).collect()).collect()
}

/// The memories of the next document for each, the last where it has fewer.
fn of_next(own: &[Vec<String>]) -> Memories {
    let mut memories: Memories = Vec::new();
    for (at, kept) in own.iter().enumerate() {
        let next = &own[(at + 1) % own.len()];
        let of_next = |read: usize| next.get(read).or(next.last()).cloned().unwrap_or_default();
        memories.push((0..kept.len()).map(of_next).collect());
    }
    memories
}

/// What a memory may hold: one token stays free for its end.
fn budget(reader: &Reader<'_>) -> usize {
    reader.config.memory_tokens.saturating_sub(1)
}

/// Random sentences of the first `read` chunks, those of `first` before all others.
fn random(reader: &Reader<'_>, document: &ChunkedDocument, read: usize, first: &[&str]) -> anyhow::Result<String> {
    let mut generator = rng::keyed("evaluate/random-sentences", reader.step_key.seed, &[document.number, read as u64]);
    let mut items: Vec<(usize, &str)> = said(document, read);
    items.shuffle(&mut generator);
    items.sort_by_key(|(_, sentence)| !first.contains(sentence));
    Ok(fitting(items, " ", reader.tokenizer, budget(reader))?.join(" "))
}

/// The last sentences with the placeholder of the first `read` chunks.
fn last(reader: &Reader<'_>, document: &ChunkedDocument, read: usize) -> anyhow::Result<String> {
    let items = said(document, read).into_iter().rev().filter(|(_, sentence)| sentence.contains(MASK));
    Ok(fitting(items, " ", reader.tokenizer, budget(reader))?.join(" "))
}

/// The sentences of the first `read` chunks with their places.
fn said(document: &ChunkedDocument, read: usize) -> Vec<(usize, &str)> {
    (0..read).flat_map(|chunk| sentences(document.chunk(chunk))).enumerate().collect()
}

/// The first reading.
fn example(trajectories: &[Trajectory], documents: &[ChunkedDocument]) -> Option<Example> {
    let (trajectory, document) = (trajectories.first()?, documents.first()?);
    let read_chunk = |chunk: usize| ReadChunk {
        chunk: document.chunk(chunk).to_owned(),
        memory: trajectory.memory(chunk + 1).to_owned(),
    };
    Some(Example {
        document_id: document.document.id.clone(),
        hidden: document.document.answer.clone(),
        memory: trajectory.memory(document.chunks.len()).to_owned(),
        answer: last_boxed(trajectory.answer()).map(str::to_owned),
        reading: (0..document.chunks.len()).map(read_chunk).collect(),
    })
}

/// How the memories of some readings read, one reading a document.
fn quality(trajectories: &[Trajectory], documents: &[ChunkedDocument]) -> Quality {
    let [mut truncated, mut repeated, mut verbatim, mut lengths] = [const { Vec::new() }; 4];
    for (trajectory, document) in trajectories.iter().zip(documents) {
        let Some((_, turns)) = trajectory.turns.split_last() else { continue };
        let (mut cut, mut twice, mut complete, mut supported) = (0, 0, 0, 0);
        let mut read = ReadSentences::default();
        for (chunk, turn) in turns.iter().enumerate() {
            read.extend(document.chunk(chunk));
            let whole: Vec<&str> = sentences(&turn.text).filter(|sentence| is_complete(sentence)).collect();
            cut += usize::from(turn.completion.finish == FinishReason::Length);
            twice += usize::from(whole.iter().collect::<HashSet<_>>().len() < whole.len());
            complete += whole.len();
            supported += whole.iter().filter(|sentence| read.supports(sentence)).count();
        }
        let share = |count: usize, of: usize| count as f64 / of as f64;
        truncated.push(share(cut, turns.len()));
        repeated.push(share(twice, turns.len()));
        lengths.push(share(complete, turns.len()));
        if complete > 0 {
            verbatim.push(share(supported, complete));
        }
    }
    let [truncated, repeated, verbatim, sentences] =
        [truncated, repeated, verbatim, lengths].map(|values| Estimate::of_means(&values));
    Quality { truncated, repeated, verbatim, sentences }
}
