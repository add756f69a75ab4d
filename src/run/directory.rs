//! The folder of a run: opened for one process at a time, and only for the run it was made for.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, LockGuard, TableSummary, TableWriter};
use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoints, Retention, step_name, step_of};
use super::records::{self, Records};
use super::rollouts::RolloutRow;
use super::{Result, RunError};

/// Version of the layout of a run directory.
const FORMAT: u32 = 1;
const CONFIG: &str = "config.toml";
const MANIFEST: &str = "manifest.json";
const LOCK: &str = ".lock";
const ROLLOUTS: &str = "rollouts";
const CHECKPOINTS: &str = "checkpoints";
const LOGS: &str = "logs";

/// What a run is started from.
#[derive(Clone, Debug, Default)]
pub struct RunSetup {
    /// The resolved configuration as TOML, defaults included.
    pub config: String,
    /// BLAKE3 of each input (documents, starting policy, prompt templates), by name.
    pub inputs: BTreeMap<String, String>,
    /// Remove a run that is there and start anew.
    pub clean: bool,
}

/// What `manifest.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the layout.
    pub format: u32,
    /// Version of the program that started the run.
    pub version: String,
    /// BLAKE3 of `config.toml`.
    pub config_hash: String,
    /// BLAKE3 of each input, by name.
    pub inputs: BTreeMap<String, String>,
}

/// A run directory, held by this process until dropped.
#[derive(Debug)]
pub struct RunDirectory {
    root: PathBuf,
    manifest: Manifest,
    attempt: u32,
    is_new: bool,
    _lock: LockGuard,
}

impl RunDirectory {
    /// Opens a folder for a new run, or to go on with the run in it.
    ///
    /// # Errors
    /// If another process holds it; if it holds a run of another configuration or other inputs and `clean` is not set;
    /// if it holds something that is not a run, which is never removed.
    pub fn open(root: &Path, setup: &RunSetup) -> Result<Self> {
        store::create_dir_all(root)?;
        let lock = store::lock(&root.join(LOCK))?;
        let manifest_path = root.join(MANIFEST);
        if !store::exists(&manifest_path) && !only_our_files(root)? {
            return Err(RunError::Foreign { path: root.to_path_buf() });
        }
        if setup.clean {
            remove_run(root)?;
        }
        let is_new = !store::exists(&manifest_path);
        let wanted = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            config_hash: store::hash_bytes(setup.config.as_bytes()),
            inputs: setup.inputs.clone(),
        };
        let manifest = if is_new {
            store::write_atomic(&root.join(CONFIG), &setup.config)?;
            // The manifest is what makes the folder a run: it comes last.
            store::write_json(&manifest_path, &wanted)?;
            wanted
        } else {
            accept(root, &setup.config, wanted)?
        };
        store::create_dir_all(&root.join(ROLLOUTS))?;
        store::create_dir_all(&root.join(LOGS))?;
        let attempt = attempts(root)? + 1;
        Ok(Self { root: root.to_path_buf(), manifest, attempt, is_new, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What the run was started from.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// True if there was no run before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Number of this start, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The checkpoints, with what killed processes left removed.
    ///
    /// # Errors
    /// If their folder cannot be used.
    pub fn checkpoints(&self, retention: Retention) -> Result<Checkpoints> {
        Checkpoints::open(&self.root.join(CHECKPOINTS), retention)
    }

    /// Goes back to a step, 0 for the start: what was recorded of later steps is dropped, so that they are recorded anew.
    /// Gives the records to go on with, those for TensorBoard too if they are wanted.
    ///
    /// # Errors
    /// If a file cannot be read, written or removed.
    pub fn rewind(&self, step: u64, tensorboard: bool) -> Result<Records> {
        let rollouts = self.root.join(ROLLOUTS);
        store::sweep_temporaries(&rollouts)?;
        for path in store::list(&rollouts)? {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if step_of(stem).is_some_and(|recorded| recorded > step) {
                store::remove_file(&path)?;
            }
        }
        Records::open(&self.root, step, tensorboard)
    }

    /// Where the rollouts of a step are.
    pub fn rollouts_path(&self, step: u64) -> PathBuf {
        self.root.join(ROLLOUTS).join(format!("{}.parquet", step_name(step)))
    }

    /// Writes the rollouts of a step.
    ///
    /// # Errors
    /// If the table cannot be written; then nothing stands under its name.
    pub fn write_rollouts(&self, step: u64, rows: impl IntoIterator<Item = RolloutRow>) -> Result<TableSummary> {
        let mut writer = TableWriter::create(&self.rollouts_path(step))?;
        for row in rows {
            writer.push(row)?;
        }
        Ok(writer.finish()?)
    }

    /// The file that takes this start's log.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn log_file(&self) -> Result<File> {
        let name = log_name(self.attempt);
        let file = store::append(&self.root.join(LOGS).join(&name))?;
        store::link_durably(Path::new(&name), &self.root.join(LOGS).join("latest.log"))?;
        Ok(file)
    }
}

/// Checks that the run in the folder is the wanted one, and gives its manifest.
fn accept(root: &Path, config: &str, wanted: Manifest) -> Result<Manifest> {
    let path = root.join(MANIFEST);
    // The format first and by itself: the rest may look different in another one.
    let value: serde_json::Value = store::read_json(&path)?;
    let got = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0) as u32;
    if got != FORMAT {
        return Err(RunError::Format { path, got, expected: FORMAT });
    }
    let manifest: Manifest = store::read_json(&path)?;
    if manifest.config_hash != wanted.config_hash {
        let before = store::read_to_string(&root.join(CONFIG))?;
        return Err(RunError::ConfigChanged { path: root.to_path_buf(), differences: differences(&before, config) });
    }
    let names = manifest.inputs.keys().chain(wanted.inputs.keys());
    let changed = names.into_iter().find(|&name| manifest.inputs.get(name) != wanted.inputs.get(name));
    match changed {
        Some(input) => Err(RunError::InputChanged { path: root.to_path_buf(), input: input.clone() }),
        None => Ok(manifest),
    }
}

/// Keys of two TOML texts whose values differ.
fn differences(before: &str, after: &str) -> Vec<String> {
    let flat = |text: &str| {
        let mut keys = BTreeMap::new();
        if let Ok(table) = text.parse::<toml::Table>() {
            flatten(&toml::Value::Table(table), "", &mut keys);
        }
        keys
    };
    let (before, after) = (flat(before), flat(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter(|&name| before.get(name) != after.get(name)).cloned().collect()
}

fn flatten(value: &toml::Value, name: &str, keys: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(value, &name, keys);
            }
        }
        value => {
            keys.insert(name.to_owned(), value.to_string());
        }
    }
}

/// True if the folder holds only what a run that was killed at its very start leaves.
fn only_our_files(root: &Path) -> Result<bool> {
    store::sweep_temporaries(root)?;
    let names = store::list(root)?;
    Ok(names.iter().filter_map(|path| path.file_name()).all(|name| name == LOCK || name == CONFIG))
}

/// Removes the run in the folder, its manifest last: killed amid this, the folder still is a run and can be cleaned again.
fn remove_run(root: &Path) -> Result<()> {
    for name in [CHECKPOINTS, ROLLOUTS, LOGS].into_iter().chain(records::FOLDERS) {
        store::remove_dir_all(&root.join(name))?;
    }
    for name in records::FILES.into_iter().chain([MANIFEST, CONFIG]) {
        store::remove_file(&root.join(name))?;
    }
    Ok(())
}

fn log_name(attempt: u32) -> String {
    format!("attempt_{attempt}.log")
}

/// The largest number of an earlier start.
fn attempts(root: &Path) -> Result<u32> {
    let number = |path: &PathBuf| -> Option<u32> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("attempt_")?.strip_suffix(".log")?.parse().ok()
    };
    Ok(store::list(&root.join(LOGS))?.iter().filter_map(number).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(config: &str) -> RunSetup {
        RunSetup { config: config.into(), inputs: BTreeMap::from([("documents".into(), "aa".into())]), clean: false }
    }

    #[test]
    fn the_same_run_goes_on_and_another_one_is_refused() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("runs/first");
        let config = "[train]\nsteps = 3\nlearning_rate = 0.1\n";
        let run = RunDirectory::open(&root, &setup(config))?;
        assert!(run.is_new() && run.attempt() == 1);
        run.log_file()?;
        let held = RunDirectory::open(&root, &setup(config)).expect_err("held by this one");
        assert!(held.hint().is_some_and(|hint| hint.contains("another process")), "{held}");
        drop(run);
        let run = RunDirectory::open(&root, &setup(config))?;
        assert!(!run.is_new() && run.attempt() == 2);
        drop(run);

        let error =
            RunDirectory::open(&root, &setup(&config.replace("0.1", "0.2"))).expect_err("another configuration");
        assert!(error.to_string().ends_with("different: `train.learning_rate`"), "{error}");
        let other = RunSetup { inputs: BTreeMap::from([("documents".into(), "bb".into())]), ..setup(config) };
        let error = RunDirectory::open(&root, &other).expect_err("other documents");
        assert!(error.to_string().ends_with("another documents"), "{error}");
        let clean = RunSetup { clean: true, ..other };
        assert!(RunDirectory::open(&root, &clean)?.is_new());
        Ok(())
    }

    #[test]
    fn what_is_not_a_run_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        store::write_atomic(&folder.path().join("thesis.tex"), "text").expect("written");
        let error = RunDirectory::open(folder.path(), &RunSetup { clean: true, ..setup("") }).expect_err("not a run");
        assert!(matches!(error, RunError::Foreign { .. }));
        assert!(store::exists(&folder.path().join("thesis.tex")));
    }

    #[test]
    fn a_start_that_was_killed_before_the_manifest_starts_again() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        store::write_atomic(&folder.path().join(CONFIG), "half = true")?;
        assert!(RunDirectory::open(folder.path(), &setup("a = 1"))?.is_new());
        assert_eq!(store::read_to_string(&folder.path().join(CONFIG))?, "a = 1");
        Ok(())
    }

    #[test]
    fn rewinding_drops_what_came_after() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDirectory::open(folder.path(), &setup(""))?;
        let mut records = run.rewind(0, false)?;
        for step in 1..=4 {
            records.step(step, &[], &[])?;
            run.write_rollouts(step, [])?;
        }
        run.rewind(2, false)?;
        assert_eq!(store::read_to_string(&folder.path().join("metrics.jsonl"))?, "{\"step\":1}\n{\"step\":2}\n");
        assert!(store::exists(&run.rollouts_path(2)) && !store::exists(&run.rollouts_path(3)));
        Ok(())
    }
}
