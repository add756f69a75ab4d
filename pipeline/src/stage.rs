//! The contract of a stage: `plan` → `run_shard` → `finish`.
//!
//! A stage is a pure function of (shard number, plan). The plan fixes the list of shards together with the hashes of
//! what goes in, the part of the configuration that concerns the stage, and a format version. A shard is written once:
//! its files first, then a small record with their hashes, each through temp + fsync + rename. `finish` checks that all
//! are there and whole, and renames `manifest.json` into place: the only commit point. Whatever is asked for again is
//! done only where it is missing, damaged or stale, so a killed run is picked up where it was, to the same bytes.
//!
//! Folder of a stage (formats in this crate's `README.md`):
//!
//! ```text
//! <out>/<stage>/plan.json                       what is to be done
//! <out>/<stage>/data/…-00000-of-00004.parquet   what was done
//! <out>/<stage>/shards/00000-of-00004.json      the shard's record: hashes, rows, counts by cause
//! <out>/<stage>/shards/00000-of-00004.lock      held by the worker that is at it
//! <out>/<stage>/README.md                       what is in it, for people and the hub (`synthesize` only)
//! <out>/<stage>/manifest.json                   the commit
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memtrain_corpora::store::{self, LockGuard};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{PipelineError, Result};

/// The card of a stage, as the Hugging Face hub calls it.
const CARD: &str = "README.md";
/// Version of plans, records and manifests; a change makes every stage stale.
const FORMAT: u32 = 1;

/// The stages, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
    /// Dumps → articles, redirects, passages.
    Ingest,
    /// Passages → mentions.
    Entities,
    /// Passages → the policy's tokenizer.
    Tokenizer,
    /// Passages → retrieval index.
    Index,
    /// Everything → training documents.
    Synthesize,
}

impl StageName {
    /// All stages, in order.
    pub const ALL: [Self; 5] = [Self::Ingest, Self::Entities, Self::Tokenizer, Self::Index, Self::Synthesize];

    /// The name as it is typed, and as the stage's folder is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Entities => "entities",
            Self::Tokenizer => "tokenizer",
            Self::Index => "index",
            Self::Synthesize => "synthesize",
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for StageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|stage| format!("`{stage}`")).collect();
            format!("no stage `{text}`; the stages are {}", names.join(", "))
        })
    }
}

/// Something a stage reads: a dump, or the manifest of an earlier stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// File name of a dump, `<stage>/manifest.json`, or what else it is.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub hash: String,
}

impl Input {
    /// The file as an input, under a name that does not depend on the machine.
    pub(crate) fn of(path: &Path, name: String) -> Result<Self> {
        Ok(Self { name, bytes: store::len(path)?, hash: store::hash_file(path)? })
    }

    /// The manifest of an earlier stage, which must be committed.
    pub(crate) fn manifest(out: &Path, stage: StageName, needs: StageName) -> Result<Self> {
        let path = out.join(needs.as_str()).join("manifest.json");
        if !store::exists(&path) {
            return Err(PipelineError::NotReady { stage, needs });
        }
        Self::of(&path, format!("{needs}/manifest.json"))
    }
}

/// What one shard has to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedShard {
    /// Number of the shard, 0 … n−1.
    pub index: usize,
    /// The shard's work in the stage's own terms, for example a range of passages.
    pub work: Value,
}

/// What a stage is going to do: a pure function of the inputs and the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The stage.
    pub stage: StageName,
    /// Version of the plan, record and manifest files.
    pub format: u32,
    /// Version of what the stage computes and of the files it writes.
    pub version: u32,
    /// The part of the configuration that concerns the stage.
    pub configuration: Value,
    /// What it reads.
    pub inputs: Vec<Input>,
    /// What is to be done, in shards that can be done in any order, by any number of workers.
    pub shards: Vec<PlannedShard>,
}

impl Plan {
    /// A plan; `work` is one value a shard.
    pub(crate) fn new(
        stage: StageName,
        version: u32,
        configuration: Value,
        inputs: Vec<Input>,
        work: Vec<Value>,
    ) -> Self {
        let shards = work.into_iter().enumerate().map(|(index, work)| PlannedShard { index, work }).collect();
        Self { stage, format: FORMAT, version, configuration, inputs, shards }
    }

    /// BLAKE3 of the plan; ties shards to it.
    pub fn fingerprint(&self) -> String {
        fingerprint(self)
    }
}

/// A file a shard wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Path inside the stage's folder, with `/`.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub hash: String,
}

/// What a shard reports: files, rows a table, and counts of what was skipped or adjusted, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardOutput {
    /// Files written.
    pub files: Vec<FileRecord>,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// What was left out or adjusted, by cause.
    pub counts: BTreeMap<String, u64>,
    /// Whether the bytes of the files may differ from run to run though they answer alike (a tantivy folder); such
    /// hashes guard the files but stay out of the manifest.
    pub volatile: bool,
}

impl ShardOutput {
    /// Adds to a count.
    pub(crate) fn count(&mut self, cause: &str, times: u64) {
        if times > 0 {
            *self.counts.entry(cause.to_owned()).or_default() += times;
        }
    }
}

/// The record of a finished shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRecord {
    /// Fingerprint of the plan it belongs to.
    pub plan: String,
    /// Number of the shard.
    pub index: usize,
    /// Files written.
    pub files: Vec<FileRecord>,
    /// Whether the files' bytes may differ from run to run.
    pub volatile: bool,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// What was left out or adjusted, by cause.
    pub counts: BTreeMap<String, u64>,
    /// BLAKE3 of the record without this field.
    pub check: String,
}

impl ShardRecord {
    fn sealed(mut self) -> Self {
        self.check = String::new();
        self.check = fingerprint(&self);
        self
    }
}

/// One shard in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestShard {
    /// Files, empty where their bytes may differ from run to run.
    pub files: Vec<FileRecord>,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// What was left out or adjusted, by cause.
    pub counts: BTreeMap<String, u64>,
}

/// A committed stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The stage.
    pub stage: StageName,
    /// Version of the plan, record and manifest files.
    pub format: u32,
    /// Fingerprint of the plan.
    pub plan: String,
    /// Rows of each table, all shards together.
    pub rows: BTreeMap<String, u64>,
    /// What was left out or adjusted, by cause, all shards together.
    pub counts: BTreeMap<String, u64>,
    /// The shards in order.
    pub shards: Vec<ManifestShard>,
}

/// What a stage has to know to be run by the machinery here.
pub(crate) trait Stage: Sync {
    fn name(&self) -> StageName;
    /// The plan for the inputs and the configuration as they are now.
    fn plan(&self) -> Result<Plan>;
    /// Whether a stored plan still fits, without reading the inputs in full.
    fn fits(&self, stored: &Plan) -> Result<bool>;
    /// Loads what all shards share.
    fn open(&self) -> Result<Box<dyn ShardRunner + '_>>;
    /// What can only be done when all shards are there, in their order: gives the records of those it has written anew. Doing it
    /// again changes nothing.
    fn settle(&self, _folder: &StageFolder, _records: &[ShardRecord]) -> Result<Vec<ShardRecord>> {
        Ok(Vec::new())
    }
    /// The text of a `README.md` for the folder, where it is to be shown to others: a pure function of what was committed.
    fn card(&self, _plan: &Plan, _manifest: &Manifest) -> Result<Option<String>> {
        Ok(None)
    }
    /// A last look at the totals before they are committed.
    fn accept(&self, _manifest: &Manifest) -> Result<()> {
        Ok(())
    }
}

/// Does the work of one shard after another, from several threads.
pub(crate) trait ShardRunner: Sync {
    /// How many shards may be open at a time, however many threads there are: each takes memory. Further threads help with
    /// the open ones.
    fn most_open(&self) -> usize {
        usize::MAX
    }

    fn run(&self, shard: &PlannedShard, num_shards: usize, progress: &dyn Progress) -> Result<ShardOutput>;
}

/// Told what is going on; asked whether to stop. Every method has a default that does nothing; `()` is such a listener.
pub trait Progress: Sync {
    /// A stage begins: `pending` of its `shards` are to be done.
    fn stage_started(&self, _stage: StageName, _shards: usize, _pending: usize) {}
    /// A shard got on by so many `units` (pages, passages or documents).
    fn advanced(&self, _stage: StageName, _shard: usize, _units: u64) {}
    /// A step of a stage's work took so much time on one thread, or so much on each of the threads that shared it, together.
    fn spent(&self, _stage: StageName, _step: &'static str, _time: Duration) {}
    /// A shard is written.
    fn shard_finished(&self, _stage: StageName, _shard: usize) {}
    /// A stage is committed.
    fn stage_finished(&self, _summary: &StageSummary) {}
    /// Whether to stop at the next good moment; what is finished is kept.
    fn stopping(&self) -> bool {
        false
    }
}

impl Progress for () {}

/// What a stage did, and what it holds now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageSummary {
    /// The stage.
    pub stage: StageName,
    /// Shards of the plan.
    pub shards: usize,
    /// Shards that had to be written this time; 0 when all was there.
    pub written: usize,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// What was left out or adjusted, by cause.
    pub counts: BTreeMap<String, u64>,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageState {
    /// Nothing is there.
    Unplanned,
    /// What is there belongs to other inputs, another configuration or another version.
    Stale,
    /// Planned; shards or the commit are missing.
    Planned,
    /// Committed.
    Done,
}

impl fmt::Display for StageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unplanned => "unplanned",
            Self::Stale => "stale",
            Self::Planned => "planned",
            Self::Done => "done",
        })
    }
}

/// A line of `memtrain corpus status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageStatus {
    /// The stage.
    pub stage: StageName,
    /// How far it is.
    pub state: StageState,
    /// Shards of the plan.
    pub shards: usize,
    /// Shards that are written (their sizes are checked, their hashes are not).
    pub shards_done: usize,
    /// Rows of each table, in the shards that are written.
    pub rows: BTreeMap<String, u64>,
}

/// The folder of a stage.
pub(crate) struct StageFolder {
    path: PathBuf,
    stage: StageName,
}

impl StageFolder {
    pub(crate) fn new(out: &Path, stage: StageName) -> Self {
        Self { path: out.join(stage.as_str()), stage }
    }

    pub(crate) fn join(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    fn plan_path(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    fn manifest_path(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    fn record_path(&self, index: usize, shards: usize) -> PathBuf {
        self.path.join("shards").join(format!("{}.json", shard_name(index, shards)))
    }

    /// Keeps two processes from planning or committing the same stage at once.
    pub(crate) fn lock(&self) -> Result<LockGuard> {
        store::create_dir_all(&self.path)?;
        Ok(store::lock(&self.path.join("lock"))?)
    }

    pub(crate) fn stored_plan(&self) -> Option<Plan> {
        store::read_json(&self.plan_path()).ok()
    }

    /// Puts the plan in place. What another plan left is voided first, its commit before all else.
    pub(crate) fn store_plan(&self, plan: &Plan) -> Result<()> {
        if self.stored_plan().as_ref() == Some(plan) {
            return Ok(());
        }
        for path in [self.manifest_path(), self.plan_path()] {
            if store::exists(&path) {
                store::remove_file(&path)?;
            }
        }
        for path in store::list(&self.path)? {
            if path.ends_with("lock") {
                continue;
            }
            if store::is_dir(&path) { store::remove_dir_all(&path)? } else { store::remove_file(&path)? }
        }
        store::create_dir_all(&self.path.join("data"))?;
        store::create_dir_all(&self.path.join("shards"))?;
        Ok(store::write_json(&self.plan_path(), plan)?)
    }

    /// The record of a shard if it is there, belongs to the plan and its files are as it says; else what is wrong.
    pub(crate) fn check(&self, plan: &str, index: usize, shards: usize, hashes: bool) -> Result<ShardRecord, String> {
        let path = self.record_path(index, shards);
        if !store::exists(&path) {
            return Err("not written yet".to_owned());
        }
        let record: ShardRecord = store::read_json(&path).map_err(|error| error.to_string())?;
        if record.clone().sealed() != record {
            return Err("its record is damaged".to_owned());
        }
        if record.plan != plan || record.index != index {
            return Err("written for another plan".to_owned());
        }
        for file in &record.files {
            let path = self.join(&file.path);
            if !store::exists(&path) {
                return Err(format!("`{}` is missing", path.display()));
            }
            let bytes = store::len(&path).map_err(|error| error.to_string())?;
            if bytes != file.bytes {
                return Err(format!("`{}` has {bytes} bytes, expected {}", path.display(), file.bytes));
            }
            if hashes && store::hash_file(&path).map_err(|error| error.to_string())? != file.hash {
                return Err(format!("`{}` is damaged: its hash is not the one recorded", path.display()));
            }
        }
        Ok(record)
    }

    /// Runs one shard under its lock and writes its record.
    pub(crate) fn run(
        &self,
        plan: &Plan,
        index: usize,
        runner: &dyn ShardRunner,
        progress: &dyn Progress,
    ) -> Result<ShardRecord> {
        let shards = plan.shards.len();
        let shard = plan.shards.get(index).ok_or(PipelineError::NoSuchShard { stage: self.stage, index, shards })?;
        if progress.stopping() {
            return Err(PipelineError::Stopped);
        }
        let path = self.record_path(index, shards);
        let _lock = store::lock(&path.with_extension("lock"))?;
        let fingerprint = plan.fingerprint();
        if let Ok(record) = self.check(&fingerprint, index, shards, true) {
            return Ok(record);
        }
        let output = runner.run(shard, shards, progress)?;
        let record = ShardRecord {
            plan: fingerprint,
            index,
            files: output.files,
            volatile: output.volatile,
            rows: output.rows,
            counts: output.counts,
            check: String::new(),
        }
        .sealed();
        store::write_json(&path, &record)?;
        progress.shard_finished(self.stage, index);
        Ok(record)
    }

    /// Checks every shard and commits.
    pub(crate) fn finish(&self, plan: &Plan, stage: &dyn Stage) -> Result<Manifest> {
        let (fingerprint, shards) = (plan.fingerprint(), plan.shards.len());
        let mut records = Vec::with_capacity(shards);
        let mut missing = Vec::new();
        for index in 0..shards {
            match self.check(&fingerprint, index, shards, true) {
                Ok(record) => records.push(record),
                Err(problem) => missing.push((index, problem)),
            }
        }
        if !missing.is_empty() {
            return Err(PipelineError::Incomplete { stage: self.stage, shards, missing });
        }
        let mut manifest = self.manifest_of(&fingerprint, &records);
        if self.manifest().as_ref() != Some(&manifest) {
            for record in stage.settle(self, &records)? {
                let path = self.record_path(record.index, shards);
                let _lock = store::lock(&path.with_extension("lock"))?;
                let record = record.sealed();
                store::write_json(&path, &record)?;
                let index = record.index;
                records[index] = record;
            }
            manifest = self.manifest_of(&fingerprint, &records);
        }
        stage.accept(&manifest)?;
        if let Some(card) = stage.card(plan, &manifest)? {
            let path = self.path.join(CARD);
            // What somebody has written into the card of these very files stays.
            if !store::exists(&path) || self.manifest().as_ref() != Some(&manifest) {
                store::write_atomic(&path, card)?;
            }
        }
        if self.manifest().as_ref() != Some(&manifest) {
            store::write_json(&self.manifest_path(), &manifest)?;
        }
        store::sweep_temporaries(&self.path.join("data"))?;
        store::sweep_temporaries(&self.path.join("shards"))?;
        store::sweep_temporaries(&self.path)?;
        Ok(manifest)
    }

    fn manifest_of(&self, plan: &str, records: &[ShardRecord]) -> Manifest {
        let shard = |record: &ShardRecord| ManifestShard {
            files: if record.volatile { Vec::new() } else { record.files.clone() },
            rows: record.rows.clone(),
            counts: record.counts.clone(),
        };
        Manifest {
            stage: self.stage,
            format: FORMAT,
            plan: plan.to_owned(),
            rows: total(records.iter().map(|record| &record.rows)),
            counts: total(records.iter().map(|record| &record.counts)),
            shards: records.iter().map(shard).collect(),
        }
    }

    pub(crate) fn manifest(&self) -> Option<Manifest> {
        store::read_json(&self.manifest_path()).ok()
    }

    /// The manifest of a stage that another one reads.
    pub(crate) fn committed(out: &Path, needs: StageName, stage: StageName) -> Result<Manifest> {
        let folder = Self::new(out, needs);
        if !store::exists(&folder.manifest_path()) {
            return Err(PipelineError::NotReady { stage, needs });
        }
        Ok(store::read_json(&folder.manifest_path())?)
    }

    /// How far the stage is, without reading its data; `upstream_done`: whether all stages before it are.
    pub(crate) fn status(&self, stage: &dyn Stage, upstream_done: bool) -> Result<StageStatus> {
        let mut status = StageStatus {
            stage: self.stage,
            state: StageState::Unplanned,
            shards: 0,
            shards_done: 0,
            rows: BTreeMap::new(),
        };
        let Some(plan) = self.stored_plan() else { return Ok(status) };
        status.shards = plan.shards.len();
        if !upstream_done || !stage.fits(&plan)? {
            status.state = StageState::Stale;
            return Ok(status);
        }
        let fingerprint = plan.fingerprint();
        let records: Vec<ShardRecord> =
            (0..status.shards).filter_map(|index| self.check(&fingerprint, index, status.shards, false).ok()).collect();
        status.shards_done = records.len();
        status.rows = total(records.iter().map(|record| &record.rows));
        let committed = self.manifest().is_some_and(|manifest| manifest.plan == fingerprint);
        let whole = status.shards_done == status.shards;
        status.state = if committed && whole { StageState::Done } else { StageState::Planned };
        Ok(status)
    }
}

/// `00003-of-00012`.
pub(crate) fn shard_name(index: usize, shards: usize) -> String {
    format!("{index:05}-of-{shards:05}")
}

/// The record of a table's file.
pub(crate) fn file_record(folder: &StageFolder, relative: String) -> Result<FileRecord> {
    let path = folder.join(&relative);
    Ok(FileRecord { bytes: store::len(&path)?, hash: store::hash_file(&path)?, path: relative })
}

fn total<'a>(parts: impl Iterator<Item = &'a BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (key, value) in parts.flatten() {
        *sum.entry(key.clone()).or_default() += value;
    }
    sum
}

fn fingerprint<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    store::hash_bytes(text.as_bytes())
}

/// A value as JSON; the types here have string keys and finite numbers only.
pub(crate) fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// A shard's work as the stage's own type.
pub(crate) fn work_of<T: serde::de::DeserializeOwned>(shard: &PlannedShard, stage: StageName) -> Result<T> {
    serde_json::from_value(shard.work.clone()).map_err(|_| PipelineError::StalePlan { stage })
}
