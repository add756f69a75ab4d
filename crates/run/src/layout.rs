//! Names of the files and folders of a run.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;

use super::Result;
use super::checkpoint::{step_name, step_of};

/// What the marker of a run directory says that it is for.
pub(super) const KIND: &str = "run";
pub(super) const CONFIG: &str = "config.toml";
pub(super) const LOCK: &str = ".lock";
pub(super) const ROLLOUTS: &str = "rollouts";
pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const LOGS: &str = "logs";
pub(super) const LATEST_LOG: &str = "latest.log";
/// The folders of a run.
pub(super) const FOLDERS: [&str; 4] = [ROLLOUTS, TENSORBOARD, LOGS, CHECKPOINTS];
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const TIMINGS: &str = "timings.jsonl";
pub(super) const EVALUATIONS: &str = "evaluations.jsonl";
pub(super) const ROLLOUT_TABLES: &str = "rollouts.jsonl";
pub(super) const TENSORBOARD: &str = "tb";
/// Files of a run that hold its records.
pub(super) const RECORDS: [&str; 4] = [METRICS, TIMINGS, EVALUATIONS, ROLLOUT_TABLES];
/// Those of them that have a line for each step.
pub(super) const OF_EACH_STEP: [&str; 2] = [METRICS, TIMINGS];

/// Where the rollouts of a step are.
pub(super) fn rollouts_path(root: &Path, step: u64) -> PathBuf {
    root.join(ROLLOUTS).join(format!("{}.parquet", step_name(step)))
}

/// The rollout tables that are there, by step.
pub(super) fn rollout_tables(root: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let folder = root.join(ROLLOUTS);
    let paths = if store::is_dir(&folder) { store::list(&folder)? } else { Vec::new() };
    let step = |path: &Path| step_of(path.file_name()?.to_str()?.strip_suffix(".parquet")?);
    Ok(paths.into_iter().filter_map(|path| Some((step(&path)?, path))).collect())
}

/// The number of the start whose log has this name.
pub(super) fn attempt_of(name: &str) -> Option<u32> {
    name.strip_prefix("attempt_")?.strip_suffix(".log")?.parse().ok()
}
