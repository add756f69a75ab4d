//! The folder of an evaluation: what was asked of whom, which items are done, every turn.
//!
//! ```text
//! run.json                 what is evaluated and how; another evaluation is refused
//! items.jsonl              one line an item that is done with its checksum, in the order of the items
//! turns/batch-000007.parquet   the turns of a batch, until all are done
//! turns.parquet            all turns
//! report.json              the result, written last
//! ```
//!
//! Items are worked on in batches whose members depend on the list of items alone. A batch is done when its lines stand in
//! `items.jsonl`, which are written after its turns; so an evaluation that was killed goes on with the first batch that
//! is not done, and ends with the bytes of one that was not disturbed. Once all are done, the marker of the folder has the hashes of
//! its files, and whoever reads them compares them.

mod turns;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, LockGuard, Occupant, OwnedFile, StoreError, TableWriter};
use memtrain_engine::sampler::FinishReason;
use memtrain_rl::rollout::Turn;
use memtrain_run::{json_lines, trash};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::turns::EvalTurn;
use super::metrics::Scores;

/// Version of the folder.
const FORMAT: u32 = 2;
/// The version from which on lines of items have checksums.
const CHECKED_FROM: u32 = 2;
/// What the marker of the folder says that it is for.
const KIND: &str = "evaluation";
const LOCK: &str = ".lock";
const RUN: &str = "run.json";
const ITEMS: &str = "items.jsonl";
const TURNS: &str = "turns";
const ALL_TURNS: &str = "turns.parquet";
/// The result of an evaluation in its folder.
pub const REPORT: &str = "report.json";

/// The files of an evaluation that is done.
const FILES: [&str; 4] = [RUN, ITEMS, ALL_TURNS, REPORT];

/// Which item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemKey {
    /// Id of the task.
    pub task: String,
    /// Passages or tokens that its context was made to, or objectives of a search; 0 where nothing was asked for.
    pub length: u32,
    /// Number of the question in the task.
    pub question: u32,
    /// How it was answered, for example `reader`.
    pub method: String,
}

impl ItemKey {
    /// A number for the addresses of the item's draws: they depend on nothing else in the list.
    pub fn number(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for part in [self.task.as_bytes(), self.method.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(&self.length.to_le_bytes());
        hasher.update(&self.question.to_le_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    }
}

/// An item that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// Which one.
    #[serde(flatten)]
    pub key: ItemKey,
    /// The set it comes from.
    pub source: String,
    /// The answer as it was compared.
    pub answer: String,
    /// Accepted answers, a list for each objective.
    pub accepted: Vec<Vec<String>>,
    /// Why there is no answer; such an item is wrong.
    pub failure: Option<String>,
    /// How right it is.
    pub scores: Scores,
    /// Turns it took.
    pub turns: u32,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all responses.
    pub response_tokens: u64,
    /// Responses cut off by their limit.
    pub clipped: u32,
    /// Tokens of the context that were left out because it did not fit.
    pub dropped_tokens: u64,
    /// What the benchmark says besides.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

impl ItemRecord {
    /// An item before it is answered: wrong, without a turn.
    pub fn new(key: ItemKey, source: &str, accepted: Vec<Vec<String>>) -> Self {
        Self {
            key,
            source: source.to_owned(),
            answer: String::new(),
            accepted,
            failure: None,
            scores: Scores::default(),
            turns: 0,
            prompt_tokens: 0,
            response_tokens: 0,
            clipped: 0,
            dropped_tokens: 0,
            details: Map::new(),
        }
    }

    /// Counts turns and tokens.
    pub(super) fn count<'t>(&mut self, turns: impl Iterator<Item = &'t Turn> + Clone) {
        self.turns = turns.clone().count() as u32;
        self.prompt_tokens = turns.clone().map(|turn| turn.prompt_ids.len() as u64).sum();
        self.response_tokens = turns.clone().map(|turn| turn.completion.token_ids.len() as u64).sum();
        self.clipped = turns.filter(|turn| turn.completion.finish == FinishReason::Length).count() as u32;
    }
}

/// What is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunNote {
    /// Version of the folder.
    pub format: u32,
    /// The benchmark, for example `long-qa`.
    pub benchmark: String,
    /// Everything that decides the result.
    pub settings: Map<String, Value>,
}

impl RunNote {
    /// A note of this version.
    pub fn new(benchmark: &str, settings: Map<String, Value>) -> Self {
        Self { format: FORMAT, benchmark: benchmark.to_owned(), settings }
    }
}

/// Why an evaluation's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds another evaluation.
    #[error("`{}` holds another evaluation: {differs} differ", folder.display())]
    Other {
        /// The folder.
        folder: PathBuf,
        /// The settings.
        differs: String,
    },
    /// It holds something else.
    #[error("`{}` holds other things than an evaluation", folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
    },
    /// Turns that were recorded are gone.
    #[error("`{}` is missing: the turns of {items} items that are done are not there any more", path.display())]
    TurnsMissing {
        /// Where they should be.
        path: PathBuf,
        /// How many items are done.
        items: usize,
    },
    /// It is no evaluation.
    #[error("there is no evaluation in `{}`", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A line of its items is not what was written.
    #[error("`{}` is damaged: line {line} {what}", path.display())]
    DamagedItem {
        /// The list of items.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another process writes it.
    #[error("another process is evaluating into `{}`", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// Its lock, which names the process.
        source: StoreError,
    },
}

impl RecordError {
    /// What can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Other { .. } => Some("name another folder, or begin anew with `--clean`".to_owned()),
            Self::Foreign { .. } => Some("name another folder".to_owned()),
            Self::TurnsMissing { path, .. } => Some(format!(
                "restore it from a copy; or begin anew with `--clean`; or remove `{}`, and the items are answered again",
                path.ancestors()
                    .map(|above| above.join(ITEMS))
                    .find(|items| store::exists(items))
                    .unwrap_or_default()
                    .display()
            )),
            Self::DamagedItem { .. } => {
                Some("take it from a copy, or begin anew with `--clean`, which moves what is there aside".to_owned())
            }
            Self::Missing { .. } => Some("name a folder that `memtrain eval` wrote".to_owned()),
            Self::Busy { .. } => Some("wait for it, or name another folder".to_owned()),
        }
    }
}

/// An evaluation that is being worked on.
pub struct Record {
    folder: PathBuf,
    items: Vec<ItemKey>,
    batch: usize,
    done: Vec<ItemRecord>,
    file: File,
    _lock: LockGuard,
}

impl Record {
    /// Opens the folder for these items, to begin or to go on. `batch` items are done together.
    ///
    /// # Errors
    /// If the folder holds anything else, turns that were recorded are gone, a file is not as it was written, or another process
    /// writes it.
    pub fn open(
        folder: &Path,
        note: &RunNote,
        items: Vec<ItemKey>,
        batch: usize,
        clean: bool,
    ) -> Result<Self, RecordError> {
        let (folder, batch) = (folder.to_path_buf(), batch.max(1));
        make_ours(&folder)?;
        let lock = store::lock(&folder.join(LOCK)).map_err(|error| match error {
            source @ StoreError::Locked { .. } => RecordError::Busy { folder: folder.clone(), source },
            error => error.into(),
        })?;
        // Behind a link they are somebody's; and the note comes before the first batch.
        let is_begun = store::exists(&folder.join(RUN));
        if store::is_link(&folder.join(TURNS)) || !is_begun && !batches(&folder)?.is_empty() {
            return Err(RecordError::Foreign { folder: folder.join(TURNS) });
        }
        if is_begun {
            if !clean {
                check_files(&folder)?;
            }
            let found: RunNote = store::read_json(&folder.join(RUN))?;
            if clean {
                // Of what is moved nothing is on record here any more.
                store::mark(&folder, KIND, BTreeMap::new())?;
                // The note last: killed amid this, the folder still is that of an evaluation.
                let mut entries: Vec<PathBuf> = [ITEMS, REPORT, ALL_TURNS].map(PathBuf::from).into();
                entries.extend(
                    batches(&folder)?.iter().filter_map(|path| path.strip_prefix(&folder).ok()).map(Path::to_path_buf),
                );
                entries.push(RUN.into());
                trash::move_aside(&folder, &entries)?;
            } else if found != *note {
                return Err(RecordError::Other { differs: differences(&found, note), folder });
            }
        }
        if !store::exists(&folder.join(RUN)) {
            // The note comes first: without it, these are somebody's, whatever mark was copied there.
            let theirs: Vec<PathBuf> = [ITEMS, REPORT, ALL_TURNS]
                .map(PathBuf::from)
                .into_iter()
                .filter(|name| store::exists(&folder.join(name)))
                .collect();
            if !theirs.is_empty() {
                trash::move_aside(&folder, &theirs)?;
            }
        }
        store::create_dir_all(&folder.join(TURNS))?;
        for folder in [&folder, &folder.join(TURNS)] {
            store::sweep_temporaries(folder)?;
        }
        store::write_json(&folder.join(RUN), note)?;
        let done = whole_batches(&folder.join(ITEMS), &items, batch)?;
        if done.len() < items.len() {
            store::mark(&folder, KIND, BTreeMap::new())?;
        }
        let file = store::append(&folder.join(ITEMS))?;
        let record = Self { folder, items, batch, done, file, _lock: lock };
        // Before hours of work that would end in the same error.
        record.check_turns()?;
        Ok(record)
    }

    /// Checks that the turns of all items that are done are there: in the tables of their batches, or in that of all.
    fn check_turns(&self) -> Result<(), RecordError> {
        let is_all_done = self.done.len() == self.items.len();
        let is_lost = |batch: &usize| !store::exists(&self.turns_of(*batch));
        let Some(lost) = (0..self.done.len().div_ceil(self.batch)).find(is_lost) else { return Ok(()) };
        let all = self.folder.join(ALL_TURNS);
        match is_all_done {
            true if store::exists(&all) => Ok(()),
            true => Err(RecordError::TurnsMissing { path: all, items: self.done.len() }),
            false => Err(RecordError::TurnsMissing { path: self.turns_of(lost), items: self.done.len() }),
        }
    }

    /// All items in their order.
    pub fn items(&self) -> &[ItemKey] {
        &self.items
    }

    /// Items that are done.
    pub fn done(&self) -> &[ItemRecord] {
        &self.done
    }

    /// The items to do next; empty when all are done.
    pub fn next_batch(&self) -> std::ops::Range<usize> {
        self.done.len()..(self.done.len() + self.batch).min(self.items.len())
    }

    /// Keeps a batch that is done: its turns, then its items.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, records: Vec<ItemRecord>, turns: Vec<EvalTurn>) -> Result<(), RecordError> {
        let mut writer = TableWriter::create(&self.turns_of(self.done.len() / self.batch))?;
        for turn in turns {
            writer.push(turn)?;
        }
        writer.finish()?;
        let mut lines = Vec::new();
        for record in &records {
            let failed = |error: serde_json::Error| StoreError::io("write", &self.folder.join(ITEMS), error.into());
            let mut line = serde_json::to_vec(record).map_err(failed)?;
            json_lines::seal(&mut line);
            lines.extend(line);
            lines.push(b'\n');
        }
        // Read from what is written: a number may come back with another last digit, and the report must not depend on whether
        // its items were done before or after a kill.
        let records = parsed(&lines, &self.folder.join(ITEMS), true)?;
        // One write, so that a kill leaves the beginning of it at most, which is dropped when the evaluation goes on.
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        written.map_err(|source| StoreError::Io { action: "append to", path: self.folder.join(ITEMS), source })?;
        self.done.extend(records);
        Ok(())
    }

    /// Puts all turns into one table and writes the report.
    ///
    /// # Errors
    /// If something cannot be read or written.
    pub fn finish(self, report: &impl Serialize) -> Result<Vec<ItemRecord>, RecordError> {
        let all = self.folder.join(ALL_TURNS);
        let tables: Vec<PathBuf> = (0..self.num_batches()).map(|batch| self.turns_of(batch)).collect();
        // Removed one by one once all turns are in one table: where one is gone, that table was written.
        if tables.iter().all(|path| store::exists(path)) {
            let mut writer = TableWriter::create(&all)?;
            for path in &tables {
                for turn in store::read_table::<EvalTurn>(path)? {
                    writer.push(turn?)?;
                }
            }
            writer.finish()?;
        }
        store::write_json(&self.folder.join(REPORT), report)?;
        self.seal()?;
        Ok(self.done)
    }

    /// Puts the hashes of the files of an evaluation that is done on record, unless they are, and removes the tables of its
    /// batches, whose turns are in the table of all: a kill may have left them.
    ///
    /// # Errors
    /// If a file cannot be read, or the record not be written.
    pub fn seal(&self) -> Result<(), RecordError> {
        let mut files = BTreeMap::new();
        for name in FILES {
            files.insert(name.to_owned(), OwnedFile::of(&self.folder.join(name))?);
        }
        match store::occupant(&self.folder)? {
            Occupant::Ours(marker) if marker.files == files => {}
            _ => store::mark(&self.folder, KIND, files)?,
        }
        (0..self.num_batches()).try_for_each(|batch| store::remove_file(&self.turns_of(batch)))?;
        let turns = self.folder.join(TURNS);
        store::sweep_temporaries(&turns)?;
        Ok(store::remove_empty_dir(&turns)?)
    }

    fn num_batches(&self) -> usize {
        self.items.len().div_ceil(self.batch)
    }

    fn turns_of(&self, batch: usize) -> PathBuf {
        self.folder.join(TURNS).join(format!("batch-{batch:06}.parquet"))
    }
}

/// Checks that the files of an evaluation that are there are those that were written, as far as they are on record.
fn check_files(folder: &Path) -> Result<(), RecordError> {
    for path in FILES.map(|name| folder.join(name)).iter().filter(|path| store::exists(path)) {
        store::check_as_written(path)?;
    }
    Ok(())
}

/// The note and the items of an evaluation, done or not.
///
/// # Errors
/// If there is none, or it is damaged.
pub fn load(folder: &Path) -> Result<(RunNote, Vec<ItemRecord>), RecordError> {
    if !store::exists(&folder.join(RUN)) {
        return Err(RecordError::Missing { folder: folder.to_path_buf() });
    }
    check_files(folder)?;
    let note: RunNote = store::read_json(&folder.join(RUN))?;
    let path = folder.join(ITEMS);
    let bytes = if store::exists(&path) { store::read(&path)? } else { Vec::new() };
    let records = parsed(&bytes, &path, note.format >= CHECKED_FROM)?;
    Ok((note, records))
}

/// The records of whole lines. The beginning of a line, as a kill leaves it, is none.
fn parsed(lines: &[u8], path: &Path, checked: bool) -> Result<Vec<ItemRecord>, RecordError> {
    let lines = lines.split(|&byte| byte == b'\n').zip(1..);
    let mut records = Vec::new();
    let mut lines = lines.peekable();
    while let Some((text, line)) = lines.next() {
        // What stands behind the last end of a line.
        if lines.peek().is_none() {
            break;
        }
        let damaged = |what| RecordError::DamagedItem { path: path.to_path_buf(), line, what };
        let object = json_lines::unsealed(text, checked);
        let object = object.ok_or_else(|| damaged("does not have the checksum that it was written with"))?;
        records.push(serde_json::from_slice(&object).map_err(|_| damaged("is no item"))?);
    }
    Ok(records)
}

/// Marks a folder as that of an evaluation. Evaluations of versions without markers are known by their note.
fn make_ours(folder: &Path) -> Result<(), RecordError> {
    if let Occupant::Foreign(names) = store::occupant(folder)? {
        let is_note =
            |path: &Path| store::read_json::<RunNote>(path).is_ok_and(|note| (1..=FORMAT).contains(&note.format));
        let is_begun = names.iter().all(|name| name == LOCK || name == "turns/") && turns_in(folder)?.is_empty();
        if !is_note(&folder.join(RUN)) && !is_begun {
            return Err(RecordError::Foreign { folder: folder.to_path_buf() });
        }
        return Ok(store::mark(folder, KIND, BTreeMap::new())?);
    }
    Ok(store::claim(folder, KIND)?)
}

/// The tables of turns of single batches.
fn batches(folder: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let mut paths = turns_in(folder)?;
    paths.retain(|path| is_batch(path));
    Ok(paths)
}

fn turns_in(folder: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let turns = folder.join(TURNS);
    Ok(if store::is_dir(&turns) { store::list(&turns)? } else { Vec::new() })
}

fn is_batch(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix("batch-")?.strip_suffix(".parquet"));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The names of the settings that differ.
fn differences(found: &RunNote, wanted: &RunNote) -> String {
    let mut names: Vec<&str> = Vec::new();
    if found.benchmark != wanted.benchmark {
        names.push("benchmark");
    }
    if found.format != wanted.format {
        names.push("format");
    }
    let keys = found.settings.keys().chain(wanted.settings.keys().filter(|key| !found.settings.contains_key(*key)));
    names.extend(keys.filter(|key| found.settings.get(*key) != wanted.settings.get(*key)).map(String::as_str));
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The leading records that make whole batches of `items`; those of a batch that a kill has cut off are dropped.
fn whole_batches(path: &Path, items: &[ItemKey], batch: usize) -> Result<Vec<ItemRecord>, RecordError> {
    if !store::exists(path) {
        return Ok(Vec::new());
    }
    let bytes = store::read(path)?;
    let mut records = parsed(&bytes, path, true)?;
    let damaged = |line, what| RecordError::DamagedItem { path: path.to_path_buf(), line, what };
    for (record, line) in records.iter().zip(1..) {
        if items.get(line - 1) != Some(&record.key) {
            return Err(damaged(line, "is not of the item that stands there: it is doubled, or out of its place"));
        }
    }
    if records.len() < items.len() {
        records.truncate(records.len() / batch * batch);
    }
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').take(records.len());
    let end = lines.map(<[u8]>::len).sum();
    if end < bytes.len() {
        store::write_atomic(path, &bytes[..end])?;
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
