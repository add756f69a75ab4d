//! The passages that contexts are filled with.

use std::collections::HashSet;
use std::path::Path;

use memtrain_corpora::store;
use serde_json::Value;

use super::super::import::{fields, is_parquet};
use super::super::{ContextPassage, Task, TaskError, read};
use super::comparable;

/// Passages without repetition, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    passages: Vec<ContextPassage>,
    seen: HashSet<(String, [u8; 32])>,
    repeated: usize,
    unusable: usize,
}

impl Pool {
    /// The passages.
    pub fn passages(&self) -> &[ContextPassage] {
        &self.passages
    }

    /// Passages that came more than once.
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// Entries that are no passage.
    pub fn unusable(&self) -> usize {
        self.unusable
    }

    /// Adds a passage, unless it is there or has no text.
    pub fn add(&mut self, passage: ContextPassage) {
        let text = comparable(&passage.text);
        if text.is_empty() {
            self.unusable += 1;
        } else if self.seen.insert((comparable(&passage.title), *blake3::hash(text.as_bytes()).as_bytes())) {
            self.passages.push(passage);
        } else {
            self.repeated += 1;
        }
    }

    /// Adds the contexts of a task.
    pub fn add_task(&mut self, task: &Task) {
        task.passages.iter().for_each(|passage| self.add(passage.clone()));
    }

    /// Adds all passages of a source: the folder of a corpus, a task table, or a JSON file of passages: lines, a list,
    /// or an object of titles, with `title` and `text` (or `contents`, `paragraph_text`, sentences).
    ///
    /// # Errors
    /// If it cannot be read, or holds no passage.
    pub fn add_source(&mut self, path: &Path) -> Result<(), TaskError> {
        let before = self.passages.len() + self.repeated;
        if store::is_dir(path) {
            self.add_corpus(path)?;
        } else if is_parquet(path)? || is_task_table(path)? {
            for task in read(path)? {
                self.add_task(&task?);
            }
        } else {
            self.add_json(&store::read_to_string(path)?);
        }
        if self.passages.len() + self.repeated == before {
            let detail = format!("there are no passages in `{}`", path.display());
            return Err(TaskError::Compose { detail });
        }
        Ok(())
    }

    fn add_corpus(&mut self, folder: &Path) -> Result<(), TaskError> {
        let failed = |error: memtrain_pipeline::PipelineError| TaskError::Compose { detail: error.to_string() };
        let passages = memtrain_pipeline::passages(folder).map_err(failed)?;
        for passage in passages.iter() {
            let passage = passage.map_err(failed)?;
            self.add(ContextPassage { title: passage.title, text: passage.text });
        }
        Ok(())
    }

    fn add_json(&mut self, text: &str) {
        let text = text.trim_start_matches('\u{feff}').trim();
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(entries)) => entries.into_iter().for_each(|entry| self.add_entry(None, &entry)),
            // An object is one passage, or titles with what stands under them.
            Ok(Value::Object(object)) if object.get("text").is_none() && object.get("contents").is_none() => {
                object.iter().for_each(|(title, entry)| self.add_entry(Some(title), entry));
            }
            Ok(entry) => self.add_entry(None, &entry),
            Err(_) => {
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    match serde_json::from_str::<Value>(line) {
                        Ok(entry) => self.add_entry(None, &entry),
                        Err(_) => self.unusable += 1,
                    }
                }
            }
        }
    }

    fn add_entry(&mut self, title: Option<&str>, entry: &Value) {
        let found = match entry {
            Value::Object(object) => {
                let named = fields::text(object, &["title"]).or_else(|| title.map(str::to_owned));
                let text = fields::text(object, &["text", "paragraph_text", "contents", "content"]);
                text.and_then(|text| match named {
                    // `contents` of retrieval corpora open with the title on a line of its own.
                    None => match text.split_once('\n') {
                        Some((title, text)) => {
                            fields::passage(Some(title.trim_matches('"').to_owned()), text.to_owned())
                        }
                        None => fields::passage(None, text),
                    },
                    Some(title) => fields::passage(Some(title), text),
                })
            }
            Value::Array(_) => {
                let sentences: Vec<String> =
                    entry.as_array().into_iter().flatten().filter_map(fields::text_of).collect();
                fields::passage(title.map(str::to_owned), fields::joined(&sentences))
            }
            value => fields::text_of(value).and_then(|text| fields::passage(title.map(str::to_owned), text)),
        };
        match found {
            Some(passage) => self.add(passage),
            None => self.unusable += 1,
        }
    }
}

/// Whether the first line of a file is a task of ours.
fn is_task_table(path: &Path) -> Result<bool, TaskError> {
    Ok(path.extension().is_some_and(|extension| extension == "jsonl")
        && read(path)?.next().is_some_and(|task| task.is_ok()))
}
