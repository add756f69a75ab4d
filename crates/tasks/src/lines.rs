//! A task table as JSON lines, and the writer of both forms.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, AtomicFile, StoreError, TableWriter};
use memtrain_corpora::{json, unpack};
use serde_json::{Map, Value};

use super::{Task, TaskError, VERSION};

/// Key of the version in a line.
const VERSION_KEY: &str = "version";

/// Writes a task table: Parquet, or JSON lines where the name ends in `.jsonl`. The file appears whole with
/// [`TaskWriter::finish`] and not before.
pub enum TaskWriter {
    /// As Parquet.
    Parquet(Box<TableWriter<Task>>),
    /// As JSON lines.
    Lines {
        /// Where it goes.
        path: PathBuf,
        /// The file.
        file: BufWriter<AtomicFile>,
        /// Rows so far.
        rows: u64,
    },
}

impl TaskWriter {
    /// Starts a table at `path`. The folder must be there.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path) -> Result<Self, TaskError> {
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let file = BufWriter::new(AtomicFile::create(path)?);
            return Ok(Self::Lines { path: path.to_path_buf(), file, rows: 0 });
        }
        Ok(Self::Parquet(Box::new(TableWriter::create(path)?)))
    }

    /// Adds a task.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn push(&mut self, task: Task) -> Result<(), TaskError> {
        match self {
            Self::Parquet(writer) => Ok(writer.push(task)?),
            Self::Lines { path, file, rows } => {
                let mut line = line(&task).into_bytes();
                line.push(b'\n');
                file.write_all(&line).map_err(|source| StoreError::Io {
                    action: "write",
                    path: path.clone(),
                    source,
                })?;
                *rows += 1;
                Ok(())
            }
        }
    }

    /// Finishes the file; number of rows. A table in Parquet is replaced; JSON lines say nothing of who wrote them, and stay.
    ///
    /// # Errors
    /// If it cannot be written, or other JSON lines stand there.
    pub fn finish(self) -> Result<u64, TaskError> {
        match self {
            Self::Parquet(writer) => Ok(writer.finish()?.rows),
            Self::Lines { path, file, rows } => {
                let failed = |source| StoreError::Io { action: "write", path: path.clone(), source };
                let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
                file.commit_new()?;
                Ok(rows)
            }
        }
    }
}

/// A task as a line, its version first.
fn line(task: &Task) -> String {
    let mut fields = Map::from_iter([(VERSION_KEY.to_owned(), Value::from(VERSION))]);
    // A struct of strings, numbers and maps with string keys always becomes an object.
    if let Ok(Value::Object(own)) = serde_json::to_value(task) {
        fields.extend(own);
    }
    Value::Object(fields).to_string()
}

/// A task of a line's object.
pub(super) fn parse(mut fields: Map<String, Value>) -> Result<Task, String> {
    match fields.remove(VERSION_KEY).as_ref().and_then(Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => return Err(format!("a task of version {version}; this program knows version {VERSION}")),
        None => return Err(format!("no task: it has no `{VERSION_KEY}`")),
    }
    let task: Task = serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())?;
    task.check()?;
    Ok(task)
}

/// Reads JSON lines; blank ones are passed over.
pub(super) fn read(path: &Path) -> Result<impl Iterator<Item = Result<Task, TaskError>> + use<>, TaskError> {
    let lines = store::lines(unpack::open(path)?).zip(1..);
    let path = path.to_path_buf();
    Ok(lines.filter_map(move |(text, line)| {
        let failed = |detail: String| TaskError::Line { path: path.clone(), line, detail };
        let text = match text {
            Ok(text) if text.trim().is_empty() => return None,
            Ok(text) => text,
            Err(error) => return Some(Err(failed(error.to_string()))),
        };
        let fields = json::object(&text).map_err(|error| error.to_string());
        Some(fields.and_then(parse).map_err(failed))
    }))
}
