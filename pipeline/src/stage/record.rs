//! Records and manifests: what a stage has done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::fingerprint;
use super::{FORMAT, StageName};

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
    /// With its check.
    pub(super) fn sealed(mut self) -> Self {
        self.check = String::new();
        self.check = fingerprint(&self);
        self
    }

    /// Whether its check is that of its contents.
    pub(crate) fn is_whole(&self) -> bool {
        self.clone().sealed() == *self
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

impl Manifest {
    /// The manifest of a stage whose shards have these records, in order: nothing else is in it.
    pub(crate) fn of(stage: StageName, plan: &str, records: &[ShardRecord]) -> Manifest {
        let shard = |record: &ShardRecord| ManifestShard {
            files: if record.volatile { Vec::new() } else { record.files.clone() },
            rows: record.rows.clone(),
            counts: record.counts.clone(),
        };
        Manifest {
            stage,
            format: FORMAT,
            plan: plan.to_owned(),
            rows: total(records.iter().map(|record| &record.rows)),
            counts: total(records.iter().map(|record| &record.counts)),
            shards: records.iter().map(shard).collect(),
        }
    }
}

/// The sums of counts by their names.
pub(super) fn total<'a>(parts: impl Iterator<Item = &'a BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (key, value) in parts.flatten() {
        *sum.entry(key.clone()).or_default() += value;
    }
    sum
}
