//! Training documents by number: those of a corpus, or rows of another trainer.

use std::path::Path;

use anyhow::Context;
use memtrain_corpora::document::MASK;
use memtrain_corpora::store::TableReader;
use memtrain_corpora::{Document, DocumentEntity, EntityLabel, Split};
use memtrain_pipeline::config::EntitiesConfig;
use memtrain_pipeline::entities::{EntityBackend, open_backend, tag_text};
use memtrain_rl::agents::reader::Reader;
use memtrain_rl::objectives::ChunkedDocument;
use memtrain_tasks::Task;

/// Documents by number, made when they are asked for.
pub struct DocumentSet {
    source: Source,
    split: Split,
    len: usize,
}

enum Source {
    /// Tables in order, each with the number of its first document.
    Tables(Vec<(usize, TableReader<Document>)>),
    /// Tasks whose context has something hidden, and what finds the entities that can be asked for.
    Tasks(Vec<Task>, Box<dyn EntityBackend>),
}

impl DocumentSet {
    /// Opens the documents that the corpus in `corpus` has finished.
    ///
    /// # Errors
    /// If the corpus is not built, or a table cannot be read.
    pub fn open(corpus: &Path, split: Split) -> anyhow::Result<Self> {
        let mut tables = Vec::new();
        let mut len = 0;
        for path in memtrain_pipeline::documents::files(corpus, split)? {
            let table = TableReader::open(&path)?;
            let first = len;
            len += table.len();
            tables.push((first, table));
        }
        Ok(Self { source: Source::Tables(tables), split, len })
    }

    /// Takes the tasks of a file for documents: rows of verl as MemTrain's released code and `memtrain corpus export` write them,
    /// or a task table of the same. Each has one question, whose first accepted answer reads `[MASK]` in its context; rows
    /// without a placeholder are left out with a warning. Entities are found by the `links` back-end without a corpus.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no such row.
    pub fn of_tasks(path: &Path, split: Split) -> anyhow::Result<Self> {
        let (mut tasks, _) = memtrain_tasks::load(path, None)?;
        let all = tasks.len();
        let is_document = |task: &Task| {
            matches!(task.questions.as_slice(), [question] if !question.answers.is_empty())
                && task.context().contains(MASK)
        };
        tasks.retain(is_document);
        let (name, len) = (path.display(), tasks.len());
        anyhow::ensure!(
            len > 0,
            "`{name}` holds no document: `objective.kind = \"memtrain\"` needs rows with one question and `{MASK}` in their context"
        );
        if len < all {
            tracing::warn!("`{name}`: {} of {all} rows are left out: nothing is hidden in them", all - len);
        }
        let backend = open_backend(&EntitiesConfig::default(), None)?;
        Ok(Self { source: Source::Tasks(tasks, backend), split, len })
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Document `number`, counted from 0 in the order of the tables.
    ///
    /// # Errors
    /// If there is no such document or it cannot be read.
    pub fn get(&self, number: usize) -> anyhow::Result<Document> {
        let found: Option<anyhow::Result<Document>> = match &self.source {
            Source::Tables(tables) => {
                let place = tables.partition_point(|(first, _)| *first <= number);
                let table = place.checked_sub(1).and_then(|place| tables.get(place)).filter(|_| number < self.len);
                table.map(|(first, table)| Ok(table.get(number - first)?))
            }
            Source::Tasks(tasks, backend) => tasks.get(number).map(|task| document_of(task, self.split, &**backend)),
        };
        found.with_context(|| format!("there is no document {number}: the split has {}", self.len))?
    }
}

/// A task as a document.
fn document_of(task: &Task, split: Split, backend: &dyn EntityBackend) -> anyhow::Result<Document> {
    let text = task.context();
    let mut answers = task.questions.first().map(|question| question.answers.clone()).unwrap_or_default().into_iter();
    let entity = |entity: memtrain_corpora::Entity| DocumentEntity {
        span: entity.span,
        surface: entity.surface,
        label: entity.label,
    };
    Ok(Document {
        id: task.id.clone(),
        entities: tag_text(backend, &text)?.into_iter().map(entity).collect(),
        num_masks: u32::try_from(text.matches(MASK).count()).unwrap_or(u32::MAX),
        text,
        answer: answers.next().unwrap_or_default(),
        aliases: answers.collect(),
        label: EntityLabel::Unknown,
        passages: Vec::new(),
        num_tokens: 0,
        seed: 0,
        split,
    })
}

/// Cuts a document into the reader's chunks, however many these are.
///
/// # Errors
/// If the tokenizer fails.
pub fn chunked(number: u64, document: Document, reader: &Reader<'_>) -> anyhow::Result<ChunkedDocument> {
    let chunks = reader.chunk(&document.text)?;
    Ok(ChunkedDocument { number, document, chunks })
}

/// The first `count` documents of a split that the reader can read, cut into its chunks.
///
/// # Errors
/// If a document cannot be read.
pub fn first(documents: &DocumentSet, count: usize, reader: &Reader<'_>) -> anyhow::Result<Vec<ChunkedDocument>> {
    let mut first = Vec::new();
    for number in 0..documents.len() {
        if first.len() == count {
            break;
        }
        let document = chunked(number as u64, documents.get(number)?, reader)?;
        first.extend(Some(document).filter(|document| document.chunks.len() <= reader.config.max_chunks));
    }
    Ok(first)
}
