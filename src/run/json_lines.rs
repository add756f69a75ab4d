//! A log of JSON objects, one a line, each with its step: metrics and timings.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError};
use serde_json::{Map, Value};

use super::{Result, RunError};

/// Appends lines `{"step": …, …}` to a file.
///
/// ```
/// use memtrain::run::JsonLines;
/// use serde_json::{Map, Value};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("metrics.jsonl");
/// let mut metrics = JsonLines::open(&path, 0)?;
/// metrics.append(1, &Map::from_iter([("train/loss".to_owned(), Value::from(0.5))]))?;
/// assert_eq!(memtrain_corpora::store::read_to_string(&path)?, "{\"step\":1,\"train/loss\":0.5}\n");
/// # Ok::<(), memtrain::run::RunError>(())
/// ```
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens the log to go on after a step: lines of later steps, and a line cut short by a kill, are dropped.
    ///
    /// # Errors
    /// If the file cannot be read or written, or a whole line in it is not such an object.
    pub fn open(path: &Path, last_step: u64) -> Result<Self> {
        if store::exists(path) {
            let before = store::read(path)?;
            let kept = lines_up_to(path, &before, last_step)?;
            if kept.len() < before.len() {
                store::write_atomic(path, kept)?;
            }
        }
        Ok(Self { path: path.to_path_buf(), file: store::append(path)? })
    }

    /// Appends a line, and returns when it is on the disk. Numbers that are not finite become `null`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(&mut self, step: u64, fields: &Map<String, Value>) -> Result<()> {
        let mut line = Map::with_capacity(fields.len() + 1);
        line.insert("step".into(), step.into());
        line.extend(fields.iter().map(|(key, value)| (key.clone(), value.clone())));
        let mut bytes = Value::Object(line).to_string().into_bytes();
        bytes.push(b'\n');
        // One write, so that a kill leaves a whole line or the beginning of one, never two half lines.
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        Ok(written.map_err(|source| StoreError::io("append to", &self.path, source))?)
    }
}

impl JsonLines {
    /// The lines by step.
    ///
    /// # Errors
    /// If the file cannot be read or a line in it is not such an object.
    pub fn read(&self) -> Result<Vec<(u64, Map<String, Value>)>> {
        read(&self.path)
    }
}

/// The lines of a log by step; none if there is no such file, and without a last line that is being written.
///
/// # Errors
/// If the file cannot be read or a line in it is not a JSON object with a `step`.
pub fn read(path: &Path) -> Result<Vec<(u64, Map<String, Value>)>> {
    if !store::exists(path) {
        return Ok(Vec::new());
    }
    let bytes = store::read(path)?;
    let whole = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.last() == Some(&b'\n'));
    let mut lines = Vec::new();
    for (number, line) in whole.enumerate() {
        let line: Option<Map<String, Value>> = serde_json::from_slice(line).ok();
        let step = line.as_ref().and_then(|line| line.get("step")).and_then(Value::as_u64);
        match (line, step) {
            (Some(line), Some(step)) => lines.push((step, line)),
            _ => return Err(foreign(path, number)),
        }
    }
    Ok(lines)
}

fn foreign(path: &Path, number: usize) -> RunError {
    let detail = format!("line {} is not a JSON object with a `step`", number + 1);
    StoreError::Corrupt { path: path.to_path_buf(), detail }.into()
}

/// The leading whole lines whose step is not beyond the last one.
fn lines_up_to<'a>(path: &Path, bytes: &'a [u8], last_step: u64) -> Result<&'a [u8]> {
    let mut kept = 0;
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        let value: Option<Value> = serde_json::from_slice(line).ok();
        let step = value.as_ref().and_then(|value| value.get("step")).and_then(Value::as_u64);
        let Some(step) = step else { return Err(foreign(path, number)) };
        if step > last_step {
            break;
        }
        kept += line.len();
    }
    Ok(&bytes[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: f64) -> Map<String, Value> {
        Map::from_iter([("loss".to_owned(), value.into())])
    }

    #[test]
    fn going_back_gives_the_file_of_an_undisturbed_run() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (straight, broken) = (folder.path().join("straight"), folder.path().join("broken"));
        let mut log = JsonLines::open(&straight, 0)?;
        for step in 0..6 {
            log.append(step, &fields(step as f64 / 3.0))?;
        }
        let mut log = JsonLines::open(&broken, 0)?;
        for step in 0..5 {
            log.append(step, &fields(step as f64 / 3.0))?;
        }
        drop(log);
        let mut bytes = store::read(&broken)?;
        bytes.truncate(bytes.len() - 4);
        store::write_atomic(&broken, bytes)?;
        let mut log = JsonLines::open(&broken, 2)?;
        for step in 3..6 {
            log.append(step, &fields(step as f64 / 3.0))?;
        }
        assert_eq!(store::read(&broken)?, store::read(&straight)?);
        Ok(())
    }

    #[test]
    fn a_foreign_line_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("metrics.jsonl");
        store::write_atomic(&path, "{\"step\":1}\nhello\n").expect("written");
        let error = JsonLines::open(&path, 9).expect_err("not JSON");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
