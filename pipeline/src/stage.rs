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
//! <out>/<stage>/.memtrain.json                  the mark of a folder of ours; no other one is written to
//! <out>/<stage>/plan.json                       what is to be done
//! <out>/<stage>/data/…-00000-of-00004.parquet   what was done
//! <out>/<stage>/shards/00000-of-00004.json      the shard's record: hashes, rows, counts by cause
//! <out>/<stage>/shards/00000-of-00004.lock      held by the worker that is at it
//! <out>/<stage>/README.md                       what is in it, for people and the hub (`synthesize` only)
//! <out>/<stage>/manifest.json                   the commit
//! <out>/<stage>/next/                           the same for another plan, until it is finished and takes the place
//! ```
//!
//! Data is replaced by finished data only: a changed plan is carried out in `next/`, and what it replaces stays readable
//! until then. A file that cannot be read is an error; one that is absent or damaged is written anew from what is known.

mod folder;
mod plan;
mod record;
mod replace;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub(crate) use self::folder::{CARD, Checked, StageFolder, Stored, shard_name};
pub use self::plan::{Input, Plan, PlannedShard};
pub(crate) use self::plan::{to_value, work_of};
pub use self::record::{FileRecord, Manifest, ManifestShard, ShardOutput, ShardRecord};
use crate::error::Result;
pub use crate::names::StageName;

/// Version of plans, records and manifests; a change makes every stage stale.
const FORMAT: u32 = 1;

/// What a stage has to know to be run by the machinery here.
pub(crate) trait Stage: Sync {
    fn name(&self) -> StageName;
    /// The part of the configuration that changes what is written, as the plan keeps it.
    fn configuration(&self) -> serde_json::Value;
    /// The plan for the inputs and the configuration as they are now.
    fn plan(&self) -> Result<Plan>;
    /// Whether a stored plan still fits, without reading the inputs in full.
    fn fits(&self, stored: &Plan) -> Result<bool>;
    /// Loads what all shards share; they are written into `folder`.
    fn open(&self, folder: &StageFolder) -> Result<Box<dyn ShardRunner + '_>>;
    /// What can only be done when all shards are there, in their order: writes some anew ([`StageFolder::rewrite`]) and keeps their
    /// records up to date. Doing it again changes nothing.
    fn finalize(&self, _folder: &StageFolder, _records: &mut [ShardRecord]) -> Result<()> {
        Ok(())
    }
    /// The text of a `README.md` for the folder, where it is to be shown to others: a pure function of what was committed.
    fn card(&self, _folder: &StageFolder, _plan: &Plan, _manifest: &Manifest) -> Result<Option<String>> {
        Ok(None)
    }
    /// A last look at the totals before they are committed.
    fn accept(&self, _folder: &StageFolder, _manifest: &Manifest) -> Result<()> {
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
    /// So many drafts of documents were rejected, and others are drawn in their place.
    fn rejected(&self, _drafts: u64) {}
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
    /// Its `plan.json` cannot be understood. What is written stays, and planning the stage again repairs it.
    Damaged,
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
            Self::Damaged => "damaged",
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
    /// Numbers of the shards of the plan that are not written.
    pub missing: Vec<usize>,
    /// Rows of each table, in the shards that are written.
    pub rows: BTreeMap<String, u64>,
}
