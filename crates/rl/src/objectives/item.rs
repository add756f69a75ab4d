//! Items that an objective rolls out: a document of the corpus, or a task with labels.

use anyhow::Context;
use memtrain_corpora::document::{MASK, TARGET};
use memtrain_corpora::{Document, Span};
use memtrain_tasks::{ContextKind, Question, Task};

use crate::agents::answer::Equality;
use crate::agents::prompts::PromptSet;
use crate::agents::reader::{Reader, ReadingTask};

/// A task whose context is cut into chunks. The number addresses all its draws.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkedTask {
    /// Number of the item in its file.
    pub number: u64,
    /// Its name.
    pub id: String,
    /// The set it comes from.
    pub source: String,
    /// Passages that its context was composed to; 0 where it was not.
    pub length: u32,
    /// What is asked, at least one question.
    pub questions: Vec<Question>,
    /// The context in order; none where the answer has to be searched for.
    pub chunks: Vec<String>,
}

impl ChunkedTask {
    /// Cuts a task's context into the reader's chunks. Where the context comes in chunks, those are kept apart.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn new(number: u64, task: &Task, reader: &Reader<'_>) -> anyhow::Result<Self> {
        let texts: Vec<String> = match task.kind {
            ContextKind::None => Vec::new(),
            ContextKind::Chunks => task.passages.iter().map(memtrain_tasks::ContextPassage::shown).collect(),
            ContextKind::Text | ContextKind::Passages => vec![task.context()],
        };
        let mut chunks = Vec::new();
        for text in &texts {
            chunks.extend(reader.chunk(text)?.into_iter().map(|span| text[span].to_owned()));
        }
        let Task { id, source, length, questions, .. } = task.clone();
        Ok(Self { number, id, source, length, questions, chunks })
    }

    /// Keeps the head and the tail of a context of more than `max_chunks` chunks, the larger half in front; true where
    /// something was left out. As MemAgent does in training (arXiv 2507.02259, released code).
    ///
    /// ```
    /// use memtrain_rl::objectives::ChunkedTask;
    /// let chunks = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    /// let mut task = ChunkedTask { chunks, ..ChunkedTask::default() };
    /// assert!(task.keep_head_and_tail(3));
    /// assert_eq!(task.chunks, ["a", "b", "e"]);
    /// ```
    pub fn keep_head_and_tail(&mut self, max_chunks: usize) -> bool {
        if self.chunks.len() <= max_chunks {
            return false;
        }
        let tail = max_chunks / 2;
        let cut = self.chunks.len() - tail;
        self.chunks.drain(max_chunks - tail..cut);
        true
    }
}

/// A document cut into chunks.
///
/// The number addresses all its draws; the spans are those of [`Reader::chunk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkedDocument {
    /// Number of the document in its split.
    pub number: u64,
    /// The document.
    pub document: Document,
    /// Chunk spans: in order, covering the text once.
    pub chunks: Vec<Span>,
}

impl ChunkedDocument {
    /// Text of chunk `chunk`, counted from 0.
    pub fn chunk(&self, chunk: usize) -> &str {
        &self.document.text[self.chunks[chunk].clone()]
    }

    /// The reading task of this document.
    pub fn task(&self) -> ReadingTask {
        let chunks = (0..self.chunks.len()).map(|chunk| self.chunk(chunk).to_owned()).collect();
        ReadingTask { document: self.number, problem: None, chunks }
    }

    /// Entities of a chunk that can be asked for: wholly inside it, not the hidden one, no placeholder.
    pub fn askable(&self, chunk: usize, equality: Equality) -> Vec<&str> {
        let span = &self.chunks[chunk];
        let hidden = equality.normalise(&self.document.answer);
        self.document
            .entities
            .iter()
            .filter(|entity| span.start <= entity.span.start && entity.span.end <= span.end)
            .map(|entity| entity.surface.as_str())
            .filter(|surface| {
                !surface.contains(MASK) && !surface.contains(TARGET) && equality.normalise(surface) != hidden
            })
            .collect()
    }
}

/// What an objective is given to roll out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A document with one entity hidden.
    Document(ChunkedDocument),
    /// A task with labels.
    Task(ChunkedTask),
}

impl Item {
    /// Name in records.
    pub fn id(&self) -> &str {
        match self {
            Self::Document(document) => &document.document.id,
            Self::Task(task) => &task.id,
        }
    }

    /// Number in RNG keys.
    pub fn number(&self) -> u64 {
        match self {
            Self::Document(document) => document.number,
            Self::Task(task) => task.number,
        }
    }

    /// The chunks in order.
    pub fn chunks(&self) -> Vec<String> {
        match self {
            Self::Document(document) => document.task().chunks,
            Self::Task(task) => task.chunks.clone(),
        }
    }

    /// The question: of a document which entity is hidden, of a task its first one.
    pub fn question(&self, prompts: &PromptSet) -> Question {
        match self {
            Self::Document(document) => {
                Question { text: prompts.problem.clone(), answers: vec![document.document.answer.clone()] }
            }
            Self::Task(task) => {
                task.questions.first().cloned().unwrap_or(Question { text: String::new(), answers: Vec::new() })
            }
        }
    }

    /// As the reader reads it.
    pub fn reading(&self, prompts: &PromptSet) -> ReadingTask {
        let problem = match self {
            Self::Document(_) => None,
            Self::Task(_) => Some(self.question(prompts).text),
        };
        ReadingTask { document: self.number(), problem, chunks: self.chunks() }
    }

    /// The items as the reader reads them.
    ///
    /// # Errors
    /// If one has nothing to read.
    pub(super) fn readings(items: &[Self], prompts: &PromptSet) -> anyhow::Result<Vec<ReadingTask>> {
        let tasks: Vec<ReadingTask> = items.iter().map(|item| item.reading(prompts)).collect();
        if let Some(empty) = tasks.iter().position(|task| task.chunks.is_empty()) {
            let id = items[empty].id();
            anyhow::bail!("`{id}` has no context to read: such tasks are for `objective.kind = \"mem1\"`");
        }
        Ok(tasks)
    }

    /// The document, where it is one.
    ///
    /// # Errors
    /// If it is a task.
    pub fn document(&self) -> anyhow::Result<&ChunkedDocument> {
        let document = match self {
            Self::Document(document) => Some(document),
            Self::Task(_) => None,
        };
        document.with_context(|| {
            format!("`{}` is a task with labels, but `objective.kind = \"memtrain\"` reads documents", self.id())
        })
    }
}
