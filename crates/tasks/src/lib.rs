//! Tasks: questions with their accepted answers and the context to answer them from.
//!
//! * [`Task`] is a row of a task table; [`read`] and [`TaskWriter`] know the table as Parquet and as JSON lines
//! * [`import`] turns other people's question sets into tasks
//! * [`compose`] builds long contexts of many passages around the same questions
//! * [`ruler`] makes RULER's synthetic tasks of any length from a seed
//! * [`documents`] writes documents with a hidden entity as rows for other trainers
//! * [`verl`] writes tasks as rows that verl trains on
//!
//! The formats are written down in `docs/formats.md`.

pub mod compose;
pub mod documents;
pub mod import;
mod lines;
pub mod ruler;
mod table;
pub mod verl;

use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use lines::TaskWriter;

/// Version of the task table, in Parquet and in JSON lines.
pub const VERSION: u32 = 1;

/// Key of [`Task::extra`]: the metric that the set counts its answers by. Of some sets all accepted answers are wanted.
pub const METRIC: &str = "metric";
/// Key of [`Task::extra`]: the kind of task or question, by which the set tells its results apart.
pub const CATEGORY: &str = "category";
/// Key of [`Task::extra`]: a list with an object for each question, whose [`METRIC`] and [`CATEGORY`] come before the task's.
pub const ASKED: &str = "asked";

/// A question and every answer that is accepted for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The question.
    pub text: String,
    /// Accepted answers, the first one the usual form. At least one.
    pub answers: Vec<String>,
}

/// A stretch of context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextPassage {
    /// Title; empty where there is none.
    pub title: String,
    /// Text.
    pub text: String,
}

/// What the context of a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextKind {
    /// There is none: the answer has to be searched for.
    None,
    /// One text.
    Text,
    /// Passages that are read as one text, numbered.
    Passages,
    /// Chunks that come one after another, each a turn of its own (Mem-α, arXiv 2509.25911).
    Chunks,
}

impl ContextKind {
    const ALL: [Self; 4] = [Self::None, Self::Text, Self::Passages, Self::Chunks];

    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Text => "text",
            Self::Passages => "passages",
            Self::Chunks => "chunks",
        }
    }
}

/// Questions about one context.
///
/// ```
/// use memtrain_tasks::{ContextKind, ContextPassage, Question, Task};
/// let passage = |title: &str, text: &str| ContextPassage { title: title.into(), text: text.into() };
/// let task = Task {
///     id: "1".into(),
///     source: "mine".into(),
///     questions: vec![Question { text: "Where is Lorn?".into(), answers: vec!["Velmora".into()] }],
///     kind: ContextKind::Passages,
///     passages: vec![passage("Lorn", "A river in Velmora."), passage("", "A guild.")],
///     gold: vec![0],
///     length: 0,
///     extra: Default::default(),
/// };
/// assert_eq!(task.context(), "Document 1:\nLorn\nA river in Velmora.\n\nDocument 2:\nA guild.");
/// assert!(task.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Name of the item, unique in a table; composed lengths of one item share it.
    pub id: String,
    /// The set it comes from.
    pub source: String,
    /// What is asked, at least one question. Several are objectives of one search, or questions about the same chunks.
    pub questions: Vec<Question>,
    /// What the context is.
    pub kind: ContextKind,
    /// The context.
    #[serde(default)]
    pub passages: Vec<ContextPassage>,
    /// Places in `passages` of those that answer the questions, where that is known.
    #[serde(default)]
    pub gold: Vec<u32>,
    /// What the context was made to: passages where it was composed, tokens of [`ruler`]'s; 0 where it was not made.
    #[serde(default)]
    pub length: u32,
    /// Whatever else the source says, and the number of tokens where one was counted.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

impl Task {
    /// The context as one text: passages numbered as RULER's question answering does (arXiv 2404.06654), chunks apart by
    /// a blank line.
    pub fn context(&self) -> String {
        let blocks: Vec<String> = match self.kind {
            ContextKind::None => Vec::new(),
            ContextKind::Text | ContextKind::Chunks => self.passages.iter().map(ContextPassage::shown).collect(),
            ContextKind::Passages => {
                let numbered = self.passages.iter().zip(1..);
                numbered.map(|(passage, number)| format!("Document {number}:\n{}", passage.shown())).collect()
            }
        };
        blocks.join("\n\n")
    }

    /// The metric that a question is to be counted by, where the set has one of its own.
    pub fn metric(&self, question: usize) -> Option<&str> {
        self.said_of(question, METRIC)
    }

    /// The kind of a question, by which the results of a set are told apart: the set's name where nothing else is said.
    pub fn category(&self, question: usize) -> &str {
        self.said_of(question, CATEGORY).unwrap_or(&self.source)
    }

    fn said_of(&self, question: usize, key: &str) -> Option<&str> {
        let of_question = self.extra.get(ASKED).and_then(|asked| asked.get(question)?.get(key));
        of_question.or_else(|| self.extra.get(key)).and_then(Value::as_str)
    }

    /// Checks what a table must hold.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.id.trim().is_empty() {
            return Err("the id is empty".to_owned());
        }
        if self.questions.is_empty() {
            return Err("there is no question".to_owned());
        }
        for question in &self.questions {
            if question.text.trim().is_empty() {
                return Err("a question is empty".to_owned());
            }
            if question.answers.iter().all(|answer| answer.trim().is_empty()) {
                return Err(format!("no answer is accepted for `{}`", question.text));
            }
        }
        if (self.kind == ContextKind::None) != self.passages.is_empty() {
            return Err(format!("a context of kind `{}` with {} passages", self.kind.as_str(), self.passages.len()));
        }
        match self.gold.iter().find(|&&place| place as usize >= self.passages.len()) {
            Some(place) => Err(format!("passage {place} is named as gold, but there are {}", self.passages.len())),
            None => Ok(()),
        }
    }
}

impl ContextPassage {
    /// Title and text as they are read.
    pub fn shown(&self) -> String {
        if self.title.is_empty() { self.text.clone() } else { format!("{}\n{}", self.title, self.text) }
    }
}

/// Why tasks cannot be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A file.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A line or row of a file is not what it should be.
    #[error("{}:{line}: {detail}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line or row, from 1.
        line: usize,
        /// What is wrong.
        detail: String,
    },
    /// Nobody knows what the file is.
    #[error("`{}` is no question set that is known here: {detail}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Contexts of a length cannot be made.
    #[error("{detail}")]
    Compose {
        /// What is missing.
        detail: String,
    },
}

impl TaskError {
    /// What can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Line { .. } => Some("`memtrain tasks import` turns other formats into a task table".to_owned()),
            Self::Unknown { .. } => Some(format!("say which with `--format`: {}", import::Format::names().join(", "))),
            Self::Compose { .. } => None,
        }
    }
}

/// The tasks of a table, in order, some in memory at a time: Parquet or JSON lines, told apart by their first bytes.
/// Every task is checked. A table in a folder that memtrain has written must be as it was written.
///
/// # Errors
/// If the file is no task table, or of another version, or has changed.
pub fn read(path: &Path) -> Result<Box<dyn Iterator<Item = Result<Task, TaskError>>>, TaskError> {
    store::check_as_written(path)?;
    if !import::is_parquet(path)? {
        return Ok(Box::new(lines::read(path)?));
    }
    let (rows, path) = (store::read_table::<Task>(path)?, path.to_path_buf());
    Ok(Box::new(rows.zip(1..).map(move |(task, line)| {
        let task = task?;
        task.check().map_err(|detail| TaskError::Line { path: path.clone(), line, detail })?;
        Ok(task)
    })))
}

/// All tasks of a table, or of a set of another format, which is found out; of the latter what was left out is told too.
/// `source` names a set that does not name itself.
///
/// # Errors
/// If the file cannot be read, or nobody knows what it is.
pub fn load(path: &Path, source: Option<&str>) -> Result<(Vec<Task>, Option<import::ImportReport>), TaskError> {
    if import::is_parquet(path)? && store::read_table::<Task>(path).is_ok() {
        return Ok((read(path)?.collect::<Result<_, _>>()?, None));
    }
    let mut tasks = Vec::new();
    let config = import::ImportConfig { source: source.map(str::to_owned), ..import::ImportConfig::default() };
    let report = import::import(path, &config, |task| {
        tasks.push(task);
        Ok(())
    })?;
    Ok((tasks, Some(report)))
}
