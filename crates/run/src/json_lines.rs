//! A log of JSON objects, one a line, each with its step and a checksum: metrics, timings, evaluations.
//!
//! A line is `{"step":…,…,"crc32c":N}`, where `N` is the CRC-32C of all before `,"crc32c"`. Runs of layout version 1 have no
//! checksums, and get none when they go on.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError};
use serde_json::{Map, Value};

use super::crc32c::crc32c;
use super::{Result, RunError, read_if_there};

/// What stands between the fields of a line and its checksum.
const CHECKSUM: &str = ",\"crc32c\":";

/// A step and the fields of its line, without step and checksum where these were read from a file.
pub type Line = (u64, Map<String, Value>);

/// Appends lines `{"step": …, …}` to a file.
///
/// ```
/// use memtrain_run::JsonLines;
/// use serde_json::{Map, Value};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("metrics.jsonl");
/// let mut metrics = JsonLines::open(&path, 0, true)?;
/// metrics.append(1, &Map::from_iter([("train/loss".to_owned(), Value::from(0.5))]))?;
/// let text = memtrain_corpora::store::read_to_string(&path)?;
/// assert_eq!(text, "{\"step\":1,\"train/loss\":0.5,\"crc32c\":43740749}\n");
/// # Ok::<(), memtrain_run::RunError>(())
/// ```
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
    checked: bool,
    last_step: Option<u64>,
}

impl JsonLines {
    /// Opens the log to go on after a step: lines of later steps, and a line cut short by a kill, are dropped. Lines have
    /// checksums if `checked`.
    ///
    /// # Errors
    /// If the file cannot be read or written, or a line up to the step is damaged.
    pub fn open(path: &Path, last_step: u64, checked: bool) -> Result<Self> {
        let mut kept = ValidPrefix::default();
        if let Some(before) = read_if_there(path)? {
            kept = kept_up_to(path, &before, last_step, checked)?;
            if kept.bytes < before.len() {
                store::write_atomic(path, &before[..kept.bytes])?;
            }
        }
        Ok(Self { path: path.to_path_buf(), file: store::append(path)?, checked, last_step: kept.last_step() })
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
        if self.checked {
            seal(&mut bytes);
        }
        bytes.push(b'\n');
        // One write, so that a kill leaves a whole line or the beginning of one, never two half lines.
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|source| StoreError::io("append to", &self.path, source))?;
        self.last_step = Some(step);
        Ok(())
    }

    /// The step of the last line.
    pub fn last_step(&self) -> Option<u64> {
        self.last_step
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lines by step.
    ///
    /// # Errors
    /// If the file cannot be read or a line in it is damaged.
    pub fn read(&self) -> Result<Vec<Line>> {
        read(&self.path, self.checked)
    }
}

/// The lines of a log by step; none if there is no such file, and without a last line that is being written.
///
/// # Errors
/// If the file cannot be read or a line in it is damaged.
pub fn read(path: &Path, checked: bool) -> Result<Vec<Line>> {
    let bytes = read_if_there(path)?.unwrap_or_default();
    parse(path, &bytes, checked).map(|line| line.map(|(line, _)| line)).collect()
}

/// The lines that [`JsonLines::open`] would keep. Nothing is written.
///
/// # Errors
/// If the file cannot be read or a line up to the step is damaged.
pub(super) fn read_up_to(path: &Path, last_step: u64, checked: bool) -> Result<Vec<Line>> {
    let bytes = read_if_there(path)?.unwrap_or_default();
    Ok(kept_up_to(path, &bytes, last_step, checked)?.lines)
}

/// The bytes of the lines up to a step, which have checksums.
///
/// # Errors
/// If the file cannot be read or a line up to the step is damaged.
pub(super) fn bytes_up_to(path: &Path, last_step: u64) -> Result<Vec<u8>> {
    let mut bytes = store::read(path)?;
    let kept = kept_up_to(path, &bytes, last_step, true)?.bytes;
    bytes.truncate(kept);
    Ok(bytes)
}

/// The first of the steps, in ascending order, that has no line.
pub(super) fn first_without_line(steps: impl IntoIterator<Item = u64>, lines: &[Line]) -> Option<u64> {
    let mut left = lines.iter().map(|(step, _)| *step).peekable();
    steps.into_iter().find(|&step| {
        while left.next_if(|&of| of < step).is_some() {}
        left.peek() != Some(&step)
    })
}

/// The lines of a log's bytes, each with its length in bytes; damaged ones are errors, and those after them come all the
/// same.
pub(super) fn parse<'a>(
    path: &'a Path,
    bytes: &'a [u8],
    checked: bool,
) -> impl Iterator<Item = Result<(Line, usize)>> + 'a {
    let mut next_step = 1;
    bytes.split_inclusive(|&byte| byte == b'\n').enumerate().filter_map(move |(number, line)| {
        let damaged = |what: &str, step| RunError::DamagedRecord {
            path: path.to_path_buf(),
            detail: format!("line {} {what}", number + 1),
            step,
        };
        let Some(text) = line.strip_suffix(b"\n") else {
            // A line cut short by a kill has no byte behind its end; one with a damaged end has.
            let ends_early = line.iter().position(|&byte| byte == b'}').is_none_or(|end| end + 1 == line.len());
            return (!ends_early).then(|| Err(damaged("has no end", next_step)));
        };
        let Some(object) = unsealed(text, checked) else {
            return Some(Err(damaged("does not have the checksum that it was written with", next_step)));
        };
        let mut fields: Option<Map<String, Value>> = serde_json::from_slice(&object).ok();
        let step = fields.as_mut().and_then(|fields| fields.shift_remove("step")).as_ref().and_then(Value::as_u64);
        let Some((step, fields)) = step.zip(fields) else {
            return Some(Err(damaged("is not a JSON object with a `step`", next_step)));
        };
        // Steps rise from line to line: what is dropped at a start is dropped before its step is taken again.
        if step < next_step && number > 0 {
            let what =
                format!("is of step {step}, behind that of step {}: it is doubled, or out of its place", next_step - 1);
            return Some(Err(damaged(&what, step)));
        }
        next_step = step.saturating_add(1);
        Some(Ok(((step, fields), line.len())))
    })
}

/// Puts a checksum into a JSON object that has fields, as its last one.
pub fn seal(object: &mut Vec<u8>) {
    object.pop();
    let end = sealed_end(object);
    object.extend(end);
}

/// The end of a line whose beginning, without the closing brace, is given.
fn sealed_end(beginning: &[u8]) -> Vec<u8> {
    format!("{CHECKSUM}{}}}", crc32c(beginning)).into_bytes()
}

/// A line without its checksum, where lines have one (`checked`); `None` if it is missing or another one.
pub fn unsealed(line: &[u8], checked: bool) -> Option<Vec<u8>> {
    if !checked {
        return Some(line.to_vec());
    }
    let at = line.windows(CHECKSUM.len()).rposition(|window| window == CHECKSUM.as_bytes())?;
    let (beginning, end) = line.split_at(at);
    (end == sealed_end(beginning)).then(|| [beginning, b"}"].concat())
}

/// What of a log stays.
#[derive(Default)]
struct ValidPrefix {
    bytes: usize,
    lines: Vec<Line>,
}

impl ValidPrefix {
    fn last_step(&self) -> Option<u64> {
        self.lines.last().map(|(step, _)| *step)
    }
}

/// The leading lines up to a step. What follows the line of that step goes, whatever it is.
fn kept_up_to(path: &Path, bytes: &[u8], last_step: u64, checked: bool) -> Result<ValidPrefix> {
    let mut kept = ValidPrefix::default();
    for line in parse(path, bytes, checked) {
        if last_step == 0 || kept.last_step() == Some(last_step) {
            break;
        }
        let (line, length) = line?;
        if line.0 > last_step {
            break;
        }
        kept.bytes += length;
        kept.lines.push(line);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(value: f64) -> Map<String, Value> {
        Map::from_iter([("loss".to_owned(), value.into())])
    }

    fn written(path: &Path, steps: std::ops::Range<u64>, checked: bool) -> Result<()> {
        let mut log = JsonLines::open(path, steps.start - 1, checked)?;
        steps.into_iter().try_for_each(|step| log.append(step, &fields(step as f64 / 3.0)))
    }

    #[test]
    fn going_back_gives_the_file_of_an_undisturbed_run() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for checked in [false, true] {
            let (straight, broken) = (folder.path().join("straight"), folder.path().join("broken"));
            written(&straight, 1..7, checked)?;
            written(&broken, 1..6, checked)?;
            let mut bytes = store::read(&broken)?;
            bytes.truncate(bytes.len() - 4);
            store::write_atomic(&broken, bytes)?;
            assert_eq!(JsonLines::open(&broken, 3, checked)?.last_step(), Some(3));
            written(&broken, 4..7, checked)?;
            assert_eq!(store::read(&broken)?, store::read(&straight)?);
            store::remove_file(&straight)?;
            store::remove_file(&broken)?;
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_found_wherever_it_is(place in 0.0_f64..1.0, bit in 0_u8..8) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("metrics.jsonl");
            written(&path, 1..4, true)?;
            let mut bytes = store::read(&path)?;
            let at = (place * bytes.len() as f64) as usize;
            bytes[at] ^= 1_u8 << bit;
            let line = bytes[..at].iter().filter(|&&byte| byte == b'\n').count() as u64;
            store::write_atomic(&path, &bytes)?;
            let is_found = matches!(read(&path, true), Err(RunError::DamagedRecord { step, .. }) if step <= line + 1);
            prop_assert!(is_found);
            prop_assert!(JsonLines::open(&path, 3, true).is_err());
            // Behind the step that is gone back to, it does not matter: those lines are written anew.
            prop_assert_eq!(JsonLines::open(&path, line, true)?.last_step(), (line > 0).then_some(line));
            prop_assert_eq!(read(&path, true)?.len() as u64, line);
        }
    }

    #[test]
    fn the_first_step_without_a_line_is_found() {
        let lines: Vec<Line> = [1, 2, 4, 6].map(|step| (step, Map::new())).into();
        let first = |steps: &[u64]| first_without_line(steps.iter().copied(), &lines);
        assert_eq!((first(&[]), first(&[1, 2, 4, 6]), first(&[2, 6])), (None, None, None));
        assert_eq!((first(&[1, 2, 3, 4]), first(&[4, 5, 6]), first(&[6, 8])), (Some(3), Some(5), Some(8)));
    }

    #[test]
    fn a_line_that_is_doubled_or_moved_is_named_and_dropped_behind_the_step_gone_back_to() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for checked in [false, true] {
            let path = folder.path().join("metrics.jsonl");
            store::remove_file(&path)?;
            written(&path, 1..5, checked)?;
            let text = store::read_to_string(&path)?;
            let lines: Vec<&str> = text.lines().collect();
            for (order, named) in
                [(&[0, 1, 1, 2, 3][..], 3), (&[0, 2, 1, 3], 3), (&[0, 0, 1], 2), (&[0, 1, 2, 3, 0], 5)]
            {
                let text: String = order.iter().map(|&at| format!("{}\n", lines[at])).collect();
                store::write_atomic(&path, &text)?;
                let error = read(&path, checked).expect_err("doubled");
                assert!(error.to_string().contains(&format!("line {named} is of step")), "{order:?}: {error}");
                assert!(JsonLines::open(&path, 1, checked)?.last_step() == Some(1));
            }
        }
        Ok(())
    }

    #[test]
    fn a_foreign_line_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("metrics.jsonl");
        store::write_atomic(&path, "{\"step\":1}\nhello\n").expect("written");
        let error = JsonLines::open(&path, 9, false).expect_err("not JSON");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
