//! The folder of a run: opened for one process at a time, and only for the run it was made for.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, LockGuard, Occupant, StoreError, TableSummary, TableWriter};

use super::checkpoint::{Checkpoints, Retention, step_name, step_of};
use super::manifest::Manifest;
use super::records::{self, Records, RolloutTable};
use super::rollouts::RolloutRow;
use super::{Result, RunError, links, trash};

/// What the marker of a run directory says that it is for.
pub(super) const KIND: &str = "run";
pub(super) const CONFIG: &str = "config.toml";
pub(super) const LOCK: &str = ".lock";
pub(super) const ROLLOUTS: &str = "rollouts";
pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const LOGS: &str = "logs";
pub(super) const LATEST_LOG: &str = "latest.log";
/// The folders of a run.
pub(super) const FOLDERS: [&str; 4] = [ROLLOUTS, records::TENSORBOARD, LOGS, CHECKPOINTS];

/// What a run is started from.
#[derive(Clone, Debug, Default)]
pub struct RunSetup {
    /// The resolved configuration as TOML, defaults included.
    pub config: String,
    /// The same configuration as earlier versions of the program wrote it: a run that began under one of these goes on.
    pub earlier_spellings: Vec<String>,
    /// BLAKE3 of each input (documents, starting policy, prompt templates), by name.
    pub inputs: BTreeMap<String, String>,
    /// Move a run that is there out of the way and start anew.
    pub clean: bool,
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
    /// Opens a folder for a new run, or to go on with the run in it. What killed processes have left under hidden names is
    /// removed.
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
        let before = Manifest::read(root)?;
        let is_new = before.is_none();
        let manifest = match before {
            Some(manifest) => accept(root, setup, manifest, &wanted)?,
            None => {
                trash::put_aside(root, &setup.config)?;
                store::write_atomic(&root.join(CONFIG), &setup.config)?;
                // The manifest is what makes it a run: it comes last.
                wanted.write(root)?;
                wanted
            }
        };
        links::check_own(root)?;
        sweep(root)?;
        links::check_links(root)?;
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
    /// If a file cannot be read, written or removed, or what was recorded up to the step is not whole; if a table of a later
    /// step is not one that the run has written.
    pub fn rewind(&self, step: u64, tensorboard: bool) -> Result<Records> {
        let checked = self.manifest.has_checksums();
        records::check_complete(&self.root, &self.manifest.config(&self.root)?, step, checked)?;
        // Before the logs, which tell what was written, forget it.
        self.remove_tables_after(step, checked)?;
        Records::open(&self.root, step, tensorboard, checked)
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
fn make_ours(root: &Path) -> Result<()> {
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

/// Checks that the run in the folder is the wanted one, and gives its manifest. The configuration stays as it was
/// written.
fn accept(root: &Path, setup: &RunSetup, manifest: Manifest, wanted: &Manifest) -> Result<Manifest> {
    let path = root.join(CONFIG);
    let spellings = || std::iter::once(&setup.config).chain(&setup.earlier_spellings);
    let same = spellings().find(|config| store::hash_bytes(config.as_bytes()) == manifest.config_hash);
    if let Some(config) = same.filter(|_| !store::exists(&path)) {
        store::write_atomic(&path, config)?;
    }
    let before = manifest.config(root)?;
    if same.is_none() {
        // Renamed keys are no differences: the nearest spelling has none of them.
        let differences =
            spellings().map(|config| differences(&before, config)).min_by_key(Vec::len).unwrap_or_default();
        return Err(RunError::ConfigChanged { path: root.to_path_buf(), differences });
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

/// Whether a file is a rollout table of this step.
fn is_table_of(path: &Path, step: u64) -> bool {
    let first = store::read_table::<RolloutRow>(path).map(|mut rows| rows.next().transpose());
    matches!(first, Ok(Ok(row)) if row.as_ref().is_none_or(|row| row.step == step))
}

fn log_name(attempt: u32) -> String {
    format!("attempt_{attempt}.log")
}

/// The number of the start whose log has this name.
pub(super) fn attempt_of(name: &str) -> Option<u32> {
    name.strip_prefix("attempt_")?.strip_suffix(".log")?.parse().ok()
}

/// The largest number of an earlier start.
fn attempts(root: &Path) -> Result<u32> {
    let logs = store::list(&root.join(LOGS))?;
    Ok(logs.iter().filter_map(|path| attempt_of(path.file_name()?.to_str()?)).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::json_lines;
    use super::*;

    fn setup(config: &str) -> RunSetup {
        let inputs = BTreeMap::from([("documents".into(), "aa".into())]);
        RunSetup { config: config.into(), inputs, ..RunSetup::default() }
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
    fn a_run_that_began_under_old_names_of_keys_goes_on_and_keeps_them() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("first");
        let (old, new) = ("[draw]\ntop_k = 3\n[train]\nsteps = 1\n", "[sampling]\ntop_k = 3\n[train]\nsteps = 1\n");
        drop(RunDirectory::open(&root, &setup(old))?);
        assert!(RunDirectory::open(&root, &setup(new)).is_err());
        let renamed = RunSetup { earlier_spellings: vec![old.to_owned()], ..setup(new) };
        for removed in [false, true] {
            if removed {
                store::remove_file(&root.join(CONFIG))?;
            }
            assert!(!RunDirectory::open(&root, &renamed)?.is_new());
            assert_eq!(store::read_to_string(&root.join(CONFIG))?, old);
        }
        let longer = |text: &str| text.replace("steps = 1", "steps = 2");
        let other = RunSetup { earlier_spellings: vec![longer(old)], ..setup(&longer(new)) };
        let error = RunDirectory::open(&root, &other).expect_err("another configuration");
        assert!(error.to_string().ends_with("different: `train.steps`"), "{error}");
        Ok(())
    }

    #[test]
    fn what_is_not_a_run_is_left_alone() -> Result<()> {
        for (name, text) in [
            ("thesis.tex", "text"),
            ("config.toml", "title = \"a site\"\n"),
            ("manifest.json", "{\"name\": \"an app\", \"format\": 1}"),
            ("manifest.json", "cut {"),
        ] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            store::write_atomic(&folder.path().join(name), text)?;
            for clean in [true, false] {
                let error = RunDirectory::open(folder.path(), &RunSetup { clean, ..setup("") }).expect_err("not a run");
                assert!(matches!(&error, RunError::Foreign { names, .. } if names == &[name]), "{error}");
            }
            assert_eq!(store::list(folder.path())?, [folder.path().join(name)], "nothing was added");
            assert_eq!(store::read_to_string(&folder.path().join(name))?, text);
        }
        Ok(())
    }

    #[test]
    fn a_start_that_was_killed_before_the_manifest_starts_again() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("a");
        drop(RunDirectory::open(&root, &setup("half = true"))?);
        for config in ["half = true", "a = 1"] {
            store::remove_file(&root.join("manifest.json"))?;
            assert!(RunDirectory::open(&root, &setup(config))?.is_new());
            assert_eq!(store::read_to_string(&root.join(CONFIG))?, config);
        }
        // The configuration of another start may as well be somebody's.
        assert_eq!(store::list(folder.path())?.len(), 2);
        Ok(())
    }

    #[test]
    fn a_mark_that_was_copied_into_a_folder_of_others_costs_them_nothing() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (run, theirs) = (folder.path().join("a"), folder.path().join("site"));
        drop(RunDirectory::open(&run, &setup("a = 1"))?);
        let texts = [
            ("config.toml", "title = \"a site\"\n"),
            ("metrics.jsonl", "{\"visits\": 7}\n"),
            ("rollouts/step_000001.parquet", "mine"),
            ("notes.txt", "mine, too"),
        ];
        for (name, text) in texts {
            store::create_dir_all(theirs.join(name).parent().expect("a folder"))?;
            store::write_atomic(&theirs.join(name), text)?;
        }
        store::write_atomic(&theirs.join(store::MARKER), store::read(&run.join(store::MARKER))?)?;
        let opened = RunDirectory::open(&theirs, &setup("a = 1"))?;
        assert!(opened.is_new());
        opened.rewind(0, true)?;
        let trash = store::list(folder.path())?.pop().expect("the trash");
        for (name, text) in texts {
            let path = if name == "notes.txt" { theirs.join(name) } else { trash.join(name) };
            assert_eq!(store::read_to_string(&path)?, text);
        }
        Ok(())
    }

    #[test]
    fn a_run_of_a_version_without_markers_goes_on() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hash = store::hash_bytes(b"a = 1");
        let manifest =
            serde_json::json!({"format": 1, "version": "0.1.0", "config_hash": hash, "inputs": {"documents": "aa"}});
        store::write_json(&folder.path().join("manifest.json"), &manifest)?;
        store::write_atomic(&folder.path().join(CONFIG), "a = 1")?;
        store::write_atomic(&folder.path().join("metrics.jsonl"), "{\"step\":1}\n{\"step\":2}\n")?;
        store::write_atomic(&folder.path().join("timings.jsonl"), "{\"step\":1}\n{\"step\":2}\n")?;
        for _ in 0..2 {
            let run = RunDirectory::open(folder.path(), &setup("a = 1"))?;
            run.rewind(1, false)?.step(2, &[], &[])?;
        }
        let metrics = store::read_to_string(&folder.path().join("metrics.jsonl"))?;
        assert_eq!(metrics, "{\"step\":1}\n{\"step\":2}\n", "no lines of two kinds in one file");
        Ok(())
    }

    #[test]
    fn a_changed_configuration_or_manifest_is_found() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        drop(RunDirectory::open(folder.path(), &setup("a = 1"))?);
        let path = folder.path().join(CONFIG);
        store::write_atomic(&path, "a = 3")?;
        let error = RunDirectory::open(folder.path(), &setup("a = 1")).expect_err("damaged");
        assert!(error.to_string().contains("config.toml") && error.hint().is_some(), "{error}");
        store::remove_file(&path)?;
        drop(RunDirectory::open(folder.path(), &setup("a = 1"))?);
        assert_eq!(store::read_to_string(&path)?, "a = 1", "one that was removed is written anew");
        let path = folder.path().join("manifest.json");
        let changed = store::read_to_string(&path)?.replace(env!("CARGO_PKG_VERSION"), "7.7.7");
        store::write_atomic(&path, changed)?;
        let error = RunDirectory::open(folder.path(), &setup("a = 1")).expect_err("damaged");
        assert!(error.to_string().contains("manifest.json"), "{error}");
        Ok(())
    }

    #[test]
    fn hidden_files_of_killed_processes_go_and_those_of_users_stay() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        drop(RunDirectory::open(folder.path(), &setup(""))?);
        let ours = [
            ".config.toml.1-0.memtrain-tmp",
            "rollouts/.step_000001.parquet.7-3.memtrain-tmp",
            "logs/.a.1-0.memtrain-tmp",
        ];
        let theirs = [".notes", "logs/.idea", "rollouts/.a.tmp"];
        for name in ours.iter().chain(&theirs) {
            store::write_atomic(&folder.path().join(name), "left behind")?;
        }
        drop(RunDirectory::open(folder.path(), &setup(""))?);
        assert!(ours.iter().all(|name| !store::exists(&folder.path().join(name))));
        assert!(theirs.iter().all(|name| store::exists(&folder.path().join(name))));
        Ok(())
    }

    #[test]
    fn rewinding_drops_what_came_after() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDirectory::open(folder.path(), &setup(""))?;
        let mut records = run.rewind(0, false)?;
        for step in 1..=4 {
            records.step(step, &[], &[])?;
            records.rollouts(step, &run.write_rollouts(step, [])?)?;
        }
        run.rewind(2, false)?;
        let lines = json_lines::read(&folder.path().join("metrics.jsonl"), true)?;
        assert_eq!(lines.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 2]);
        assert!(store::exists(&run.rollouts_path(2)) && !store::exists(&run.rollouts_path(3)));
        let tables = RolloutTable::all(folder.path())?;
        assert_eq!(tables.len(), 2);
        tables[1].verify(&run.rollouts_path(2))?;
        // Of a step that was cut off between its table and the table's line.
        run.rewind(2, false)?.step(3, &[], &[])?;
        run.write_rollouts(3, [])?;
        run.rewind(2, false)?;
        assert!(!store::exists(&run.rollouts_path(3)));
        // Steps that are done cannot be without a record.
        let error = run.rewind(3, false).expect_err("step 3 is not recorded");
        assert!(error.to_string().contains("line of step 3 is missing"), "{error}");
        Ok(())
    }

    #[test]
    fn going_back_removes_no_table_that_the_run_has_not_written() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDirectory::open(folder.path(), &setup(""))?;
        let mut records = run.rewind(0, false)?;
        for step in 1..=3 {
            records.step(step, &[], &[])?;
            records.rollouts(step, &run.write_rollouts(step, [])?)?;
        }
        let whole = store::read(&run.rollouts_path(3))?;
        for (step, bytes) in [(99, &b"mine"[..]), (3, b"changed"), (4, &whole)] {
            let before = if step == 3 { whole.clone() } else { Vec::new() };
            store::write_atomic(&run.rollouts_path(step), bytes)?;
            let error = run.rewind(1, false).expect_err("somebody's");
            assert!(matches!(&error, RunError::ForeignTable { path } if *path == run.rollouts_path(step)), "{error}");
            assert_eq!(store::read(&run.rollouts_path(step))?, bytes);
            assert!(store::exists(&run.rollouts_path(2)), "nothing was removed");
            match before.is_empty() {
                true => store::remove_file(&run.rollouts_path(step))?,
                false => store::write_atomic(&run.rollouts_path(step), before)?,
            }
        }
        run.rewind(1, false)?;
        assert_eq!(rollout_tables(folder.path())?.len(), 1);
        Ok(())
    }
}
