//! The folder of a run: opened for one process at a time, and only for the run it was made for.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, LockGuard, Occupant, StoreError, TableSummary, TableWriter};

use super::change::{Change, ChangedKey, KeyClass, KeyClasses, class_of, differences, flat};
use super::checkpoint::{Checkpoints, Retention, step_of};
use super::layout::{
    CHECKPOINTS, CONFIG, FOLDERS, KIND, LATEST_LOG, LOCK, LOGS, MANIFEST, RECORDS, ROLLOUTS, attempt_of,
    rollout_tables, rollouts_path,
};
use super::manifest::Manifest;
use super::records::{self, Records, RolloutTable};
use super::rollouts::RolloutRow;
use super::{Result, RunError, links, trash};

/// What a run is started from.
#[derive(Clone, Debug, Default)]
pub struct RunSetup {
    /// The resolved configuration as TOML, defaults included.
    pub config: String,
    /// The same configuration as earlier versions of the program wrote it: a run that began under one of these goes on.
    pub earlier_spellings: Vec<String>,
    /// BLAKE3 of each input (documents, starting policy, prompt templates), by name.
    pub inputs: BTreeMap<String, String>,
    /// What another value of a key does to a run that is there.
    pub classes: KeyClasses,
    /// Move a run that is there out of the way and start anew.
    pub clean: bool,
}

/// A run directory, held by this process until dropped.
#[derive(Debug)]
pub struct RunDirectory {
    root: PathBuf,
    manifest: Manifest,
    /// What this start changes in the configuration: on record from the step on that it goes on from.
    changed: BTreeMap<String, ChangedKey>,
    attempt: u32,
    is_new: bool,
    _lock: LockGuard,
}

/// What is in a folder, compared with the run that is wanted.
enum Found {
    /// The run, and the keys that this start changes.
    Same(Manifest, BTreeMap<String, ChangedKey>),
    /// Another run that has not taken a step.
    NotBegun,
}

impl RunDirectory {
    /// Opens a folder for a new run, or to go on with the run in it, whose configuration may differ in keys that leave the run
    /// what it is. A run that has not taken a step gives way to any other. What killed processes have left under hidden names
    /// is removed.
    ///
    /// # Errors
    /// If another process holds it; if it holds a run of another configuration or other inputs and `clean` is not set;
    /// if it holds something that is not a run, which is left as it is; if a folder of the run is a link to elsewhere, or
    /// something else stands where a link belongs.
    pub fn open(root: &Path, setup: &RunSetup) -> Result<Self> {
        make_ours(root)?;
        let lock = store::lock(&root.join(LOCK))?;
        if setup.clean {
            trash::discard(root)?;
        }
        let wanted = Manifest::new(store::hash_bytes(setup.config.as_bytes()), setup.inputs.clone());
        let found = Manifest::read(root)?.map(|before| accept(root, setup, before, &wanted)).transpose()?;
        let is_new = !matches!(found, Some(Found::Same(..)));
        match &found {
            Some(Found::Same(..)) => {}
            // Without logs it is what is left of a run that was being moved away.
            Some(Found::NotBegun) if attempts(root)? == 0 => trash::discard(root)?,
            Some(Found::NotBegun) => {
                tracing::info!("the run in `{}` took no step: this one begins in its place", root.display());
                // Killed from here on, the folder holds no run, and the next start begins one.
                store::remove_file(&root.join(MANIFEST))?;
            }
            None => trash::put_aside(root, &setup.config)?,
        }
        let (manifest, changed) = match found {
            Some(Found::Same(manifest, changed)) => (manifest, changed),
            _ => {
                store::write_atomic(&root.join(CONFIG), &setup.config)?;
                // The manifest is what makes it a run: it comes last.
                wanted.write(root)?;
                (wanted, BTreeMap::new())
            }
        };
        links::check_own(root)?;
        sweep(root)?;
        links::check_links(root)?;
        store::create_dir_all(&root.join(ROLLOUTS))?;
        store::create_dir_all(&root.join(LOGS))?;
        let attempt = attempts(root)? + 1;
        Ok(Self { root: root.to_path_buf(), manifest, changed, attempt, is_new, _lock: lock })
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
        let settings = self.manifest.settings(&self.root)?;
        let now = settings.now();
        let steps_of = |key: &str| self.changed.get(key).and_then(|key| key.to.as_ref()).or(now.get(key)).cloned();
        let is_of = |key: &&str| steps_of(key).is_some_and(|steps| steps == retention.schedule.steps.to_string());
        let steps = ["train.steps", "sft.steps"].into_iter().find(is_of).unwrap_or("train.steps");
        Ok(Checkpoints::open(&self.root.join(CHECKPOINTS), retention)?.with_earlier(settings.schedules(steps)))
    }

    /// Goes back to a step, 0 for the start: what was recorded of later steps is dropped, so that they are recorded anew, and
    /// what this start changes in the configuration is on record from there on. Gives the records to go on with, those for
    /// TensorBoard too if they are wanted.
    ///
    /// # Errors
    /// If a file cannot be read, written or removed, or what was recorded up to the step is not whole; if a table of a later
    /// step is not one that the run has written.
    pub fn rewind(&self, step: u64, tensorboard: bool) -> Result<Records> {
        let checked = self.manifest.has_checksums();
        records::check_complete(&self.root, &self.manifest.settings(&self.root)?, step, checked)?;
        // Before the logs, which tell what was written, forget it.
        self.remove_tables_after(step, checked)?;
        let records = Records::open(&self.root, step, tensorboard, checked)?;
        // After all that was recorded under the settings before is dropped, and before anything is under the new ones.
        self.record_changes(step)?;
        Ok(records)
    }

    fn record_changes(&self, step: u64) -> Result<()> {
        let mut manifest = self.manifest.clone().gone_back_to(step);
        if !self.changed.is_empty() {
            let (version, keys) = (env!("CARGO_PKG_VERSION").to_owned(), self.changed.clone());
            manifest.changes.push(Change { attempt: self.attempt, version, step, keys });
        }
        if manifest.changes == self.manifest.changes { Ok(()) } else { manifest.sealed().write(&self.root) }
    }

    /// Removes the tables of later steps: those on record with the contents that are recorded, and that of the last step, which
    /// may have been written before its line. Of layout version 1 no table is on record.
    fn remove_tables_after(&self, step: u64, checked: bool) -> Result<()> {
        let known = if checked { RolloutTable::whole(&self.root)? } else { Vec::new() };
        let last = records::last_step(&self.root, checked)?;
        let mut ours = Vec::new();
        for (of, path) in rollout_tables(&self.root)?.into_iter().filter(|(of, _)| *of > step) {
            let is_ours = match known.iter().find(|table| table.step == of) {
                Some(table) => match table.verify(&path) {
                    Err(RunError::DamagedTable { .. }) => false,
                    verified => verified.map(|()| true)?,
                },
                None => (!checked || last == Some(of)) && is_table_of(&path, of),
            };
            if !is_ours || store::is_link(&path) {
                return Err(RunError::ForeignTable { path });
            }
            ours.push(path);
        }
        Ok(ours.iter().try_for_each(|path| store::remove_file(path))?)
    }

    /// Where the rollouts of a step are.
    pub fn rollouts_path(&self, step: u64) -> PathBuf {
        rollouts_path(&self.root, step)
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
        store::link_durably(Path::new(&name), &self.root.join(LOGS).join(LATEST_LOG))?;
        Ok(file)
    }
}

/// Checks that a folder can be that of a run: there is nothing, or a run. Runs of versions without markers are known by
/// their manifest. Nothing is written.
///
/// # Errors
/// If it holds something else, or cannot be read.
pub fn check_out(root: &Path) -> Result<()> {
    match occupant(root)? {
        Occupant::Absent | Occupant::Empty => Ok(()),
        Occupant::Ours(marker) => Ok(marker.expect_kind(root, KIND)?),
        Occupant::Foreign(names) => match Manifest::read(root) {
            Ok(Some(_)) => Ok(()),
            Ok(None) if names == [LOCK] => Ok(()),
            Err(error @ RunError::Store(StoreError::Io { .. })) => Err(error),
            _ => Err(RunError::Foreign { path: root.to_path_buf(), names }),
        },
    }
}

/// Whose the folder is. A run whose mark is damaged counts as one without: its manifest tells whose it is.
fn occupant(root: &Path) -> Result<Occupant> {
    match store::occupant(root) {
        Err(StoreError::NotAsWritten { .. } | StoreError::Json { .. })
            if matches!(Manifest::read(root), Ok(Some(_))) =>
        {
            Ok(Occupant::Foreign(vec![store::MARKER.to_owned()]))
        }
        occupant => Ok(occupant?),
    }
}

/// Marks a folder as that of a run.
pub(super) fn make_ours(root: &Path) -> Result<()> {
    check_out(root)?;
    match occupant(root)? {
        Occupant::Foreign(_) => Ok(store::mark(root, KIND, BTreeMap::new())?),
        _ => Ok(store::claim(root, KIND)?),
    }
}

/// Removes what killed processes have left under hidden names; what of it is a folder [`Checkpoints::open`] removes.
fn sweep(root: &Path) -> Result<()> {
    for folder in std::iter::once(root.to_path_buf()).chain(FOLDERS.map(|name| root.join(name))) {
        if store::is_dir(&folder) {
            store::sweep_temporaries(&folder)?;
            store::sweep_links(&folder)?;
        }
    }
    Ok(())
}

/// Compares the run in a folder with the wanted one. The configuration stays as it was written.
fn accept(root: &Path, setup: &RunSetup, mut manifest: Manifest, wanted: &Manifest) -> Result<Found> {
    let path = root.join(CONFIG);
    let spellings = || std::iter::once(&setup.config).chain(&setup.earlier_spellings);
    let same = spellings().find(|config| store::hash_bytes(config.as_bytes()) == manifest.config_hash);
    if let Some(config) = same.filter(|_| !store::exists(&path)) {
        store::write_atomic(&path, config)?;
    }
    let before = manifest.settings(root)?.now();
    // Renamed keys are no differences: the nearest spelling has none of them.
    let changed = spellings().map(|config| differences(&before, &flat(config))).min_by_key(BTreeMap::len);
    let mut changed = changed.unwrap_or_default();
    let names = manifest.inputs.keys().filter(|&name| wanted.inputs.contains_key(name));
    let other_input = names.into_iter().find(|&name| manifest.inputs.get(name) != wanted.inputs.get(name)).cloned();
    let is_refused = |(name, key): &(&String, &ChangedKey)| match class_of(&setup.classes, name) {
        KeyClass::Neutral | KeyClass::Rounding => false,
        KeyClass::Place(inputs) => {
            // What was asked nowhere is no place.
            let is_empty = |value: &Option<String>| value.as_deref() == Some("\"\"");
            let is_on_record =
                |input: &&str| !wanted.inputs.contains_key(*input) || manifest.inputs.contains_key(*input);
            key.from.is_none()
                || key.to.is_none()
                || is_empty(&key.from) != is_empty(&key.to)
                || !inputs.iter().all(is_on_record)
        }
        KeyClass::Mathematics | KeyClass::Origin => true,
    };
    let refused: Vec<String> = changed.iter().filter(is_refused).map(|(name, _)| name.clone()).collect();
    // Layout version 1 knows no changes; how documents were made is no part of the run, which compares them by their hash.
    let refused = if manifest.has_checksums() {
        refused
    } else {
        changed.retain(|name, _| !name.starts_with("corpus."));
        changed.keys().cloned().collect()
    };
    if refused.is_empty() && other_input.is_none() {
        if !changed.is_empty() {
            tell(&changed, &setup.classes);
            // What is needed from now on, such as documents to evaluate on.
            let added = wanted.inputs.iter().filter(|(name, _)| !manifest.inputs.contains_key(*name));
            let added: Vec<_> = added.map(|(name, hash)| (name.clone(), hash.clone())).collect();
            manifest.inputs.extend(added);
        }
        return Ok(Found::Same(manifest, changed));
    }
    match other_input {
        _ if !has_steps(root)? => Ok(Found::NotBegun),
        Some(input) if refused.is_empty() => Err(RunError::InputChanged { path: root.to_path_buf(), input }),
        _ => Err(RunError::ConfigChanged { path: root.to_path_buf(), differences: refused }),
    }
}

/// Says what this start changes, and what that does to the run.
fn tell(changed: &BTreeMap<String, ChangedKey>, classes: &KeyClasses) {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let told =
        |(name, key): (&String, &ChangedKey)| format!("`{name}` from {} to {}", value(&key.from), value(&key.to));
    let told: Vec<String> = changed.iter().map(told).collect();
    let rounds = changed.keys().any(|name| class_of(classes, name) == KeyClass::Rounding);
    let effect =
        if rounds { "the steps to come are the same up to rounding" } else { "the steps to come are the same" };
    tracing::info!("the configuration of the run changes: {}; {effect}", told.join(", "));
}

/// Whether a step of the run in a folder was recorded or saved.
fn has_steps(root: &Path) -> Result<bool> {
    let mut logs = RECORDS.iter().map(|name| root.join(name)).filter(|path| store::exists(path));
    let checkpoints = root.join(CHECKPOINTS);
    let names = if store::is_dir(&checkpoints) { store::list(&checkpoints)? } else { Vec::new() };
    let is_saved = |path: &PathBuf| path.file_name().and_then(|name| step_of(name.to_str()?)).is_some();
    let is_logged = logs.try_fold(false, |any, path| store::len(&path).map(|bytes| any || bytes > 0))?;
    Ok(is_logged || names.iter().any(is_saved) || !rollout_tables(root)?.is_empty())
}

/// Whether a file is a rollout table of this step.
fn is_table_of(path: &Path, step: u64) -> bool {
    let first = store::read_table::<RolloutRow>(path).map(|mut rows| rows.next().transpose());
    matches!(first, Ok(Ok(row)) if row.as_ref().is_none_or(|row| row.step == step))
}

fn log_name(attempt: u32) -> String {
    format!("attempt_{attempt}.log")
}

/// The largest number of an earlier start.
fn attempts(root: &Path) -> Result<u32> {
    let folder = root.join(LOGS);
    let logs = if store::is_dir(&folder) { store::list(&folder)? } else { Vec::new() };
    Ok(logs.iter().filter_map(|path| attempt_of(path.file_name()?.to_str()?)).max().unwrap_or(0))
}

#[cfg(test)]
mod tests;
