//! A branch: a new run that goes on from the newest checkpoint of another one, under a configuration of its own.
//!
//! The branch has copies of what was recorded up to the checkpoint, and of the checkpoint itself with the optimizer's state and
//! the place among the documents: from there on it is a run like any other. The run that it comes from is not changed.

use std::io::copy;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, AtomicFile, StoreError};

use super::change::{Change, KeyClass, class_of, differences, flat};
use super::checkpoint::{BEST, Checkpoint, step_name, step_of};
use super::directory::{check_out, make_ours};
use super::layout::{CHECKPOINTS, CONFIG, LOCK, MANIFEST, METRICS, RECORDS, ROLLOUTS, rollouts_path};
use super::manifest::{Branch, FORMAT, Manifest};
use super::records::RolloutTable;
use super::{Result, RunError, RunSetup, json_lines, records, trash};

/// Inputs that a branch has from the run that it comes from.
const KEPT_INPUTS: [&str; 2] = ["policy", "tokenizer"];

/// Makes the branch in `to` of the run in `from`, with the configuration and inputs of `setup`. Where a branch of that run is in
/// `to` already nothing is done: [`super::RunDirectory::open`] says whether it is this one.
///
/// # Errors
/// If another process trains in `from` or `to`; if a run is in `to` that is no branch of `from`; if the run has no checkpoint
/// or is damaged; if the policy or its tokenizer would be another one; if something else is in `to`. What has been copied then is
/// no run: the next attempt goes on with it where it is the same still, and else moves it aside.
pub fn branch(from: &Path, to: &Path, setup: &RunSetup) -> Result<()> {
    check_out(to)?;
    let name = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if is_made(from, to, &name)? {
        return Ok(());
    }
    let read = || Manifest::read(from)?.ok_or_else(|| RunError::NoRun { path: from.to_path_buf() });
    // Nothing is written into a folder that is no run, a lock neither.
    read()?;
    let _from = store::lock(&from.join(LOCK))?;
    let before = read()?;
    if !before.has_checksums() {
        return Err(RunError::Format { path: from.join(MANIFEST), got: before.format, expected: FORMAT });
    }
    let newest = newest_checkpoint(from)?.ok_or_else(|| RunError::NoCheckpoint { path: from.to_path_buf() })?;
    let settings = before.settings(from)?;
    let spellings = std::iter::once(&setup.config).chain(&setup.earlier_spellings);
    let keys = spellings.map(|config| differences(&settings.now(), &flat(config))).min_by_key(|keys| keys.len());
    let keys = keys.unwrap_or_default();
    let mut kept: Vec<String> =
        keys.keys().filter(|key| class_of(&setup.classes, key) == KeyClass::Origin).cloned().collect();
    let input = |manifest: &Manifest, name: &str| manifest.inputs.get(name).cloned();
    let wanted = Manifest::new(before.config_hash.clone(), setup.inputs.clone());
    kept.extend(
        KEPT_INPUTS
            .into_iter()
            .filter(|name| input(&before, name).is_some() && input(&before, name) != input(&wanted, name))
            .map(str::to_owned),
    );
    if !kept.is_empty() {
        return Err(RunError::NotBranched { path: from.to_path_buf(), differences: kept });
    }
    let step = newest.state.step;
    records::check_complete(from, &settings, step, true)?;
    make_ours(to)?;
    let _to = store::lock(&to.join(LOCK))?;
    // Somebody else may have made a run there until the lock was ours.
    if is_made(from, to, &name)? {
        return Ok(());
    }
    if !has_copies_alone(from, to, step)? {
        trash::put_aside(to, "")?;
    }
    copy_records(from, to, step)?;
    for name in std::iter::once(step_name(step)).chain(best(from, step)?) {
        copy_folder(&from.join(CHECKPOINTS).join(&name), &to.join(CHECKPOINTS).join(&name))?;
    }
    copy_file(&from.join(CONFIG), &to.join(CONFIG))?;
    let mut manifest = wanted;
    manifest.changes = before.gone_back_to(step).changes;
    if !keys.is_empty() {
        manifest.changes.push(Change { attempt: 1, version: manifest.version.clone(), step, keys });
    }
    manifest.branch = Some(Branch { run: name, step });
    // The manifest is what makes it a run: it comes last.
    manifest.sealed().write(to)?;
    tracing::info!("`{}` goes on from step {step} of `{}`", to.display(), from.display());
    Ok(())
}

/// Whether a branch of the run in `from`, which has this name, is in `to` already.
///
/// # Errors
/// If another run is there, also a branch of another run of that name: the branch was given the steps of the run that it comes from.
fn is_made(from: &Path, to: &Path, name: &str) -> Result<bool> {
    let other = || RunError::NoBranch { path: to.to_path_buf(), run: from.display().to_string() };
    let branch = match Manifest::read(to)?.map(|there| there.branch) {
        None => return Ok(false),
        Some(branch) => branch.filter(|branch| branch.run == name).ok_or_else(other)?,
    };
    let (theirs, ours) = (from.join(METRICS), to.join(METRICS));
    // A run may be gone once its branches are made.
    if store::exists(&theirs)
        && json_lines::bytes_up_to(&theirs, branch.step)? != json_lines::bytes_up_to(&ours, branch.step)?
    {
        return Err(other());
    }
    Ok(true)
}

/// Whether a folder has nothing but copies of what is in the run, as an attempt that was killed leaves them. Its hidden
/// temporaries are removed.
fn has_copies_alone(from: &Path, to: &Path, step: u64) -> Result<bool> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        store::sweep_temporaries(&to.join(&folder))?;
        for copy in store::list(&to.join(&folder))? {
            let name = folder.join(copy.file_name().unwrap_or_default());
            let of = from.join(&name);
            if folder.as_os_str().is_empty() && [LOCK, store::MARKER].map(Path::new).contains(&name.as_path()) {
                continue;
            }
            let is_same = match () {
                () if store::is_link(&copy) || !store::exists(&of) => false,
                () if store::is_dir(&copy) => {
                    folders.push(name);
                    true
                }
                () if RECORDS.map(Path::new).contains(&name.as_path()) => {
                    store::read(&copy)? == json_lines::bytes_up_to(&of, step)?
                }
                () => store::len(&copy)? == store::len(&of)? && store::hash_file(&copy)? == store::hash_file(&of)?,
            };
            if !is_same {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The newest checkpoint of a run, verified.
fn newest_checkpoint(run: &Path) -> Result<Option<Checkpoint>> {
    let folder = run.join(CHECKPOINTS);
    let names = if store::is_dir(&folder) { store::list(&folder)? } else { Vec::new() };
    let step = |path: &PathBuf| step_of(path.file_name()?.to_str()?);
    let newest = names.into_iter().filter_map(|path| Some((step(&path)?, path))).max();
    newest.map(|(_, path)| Checkpoint::open(&path)).transpose()
}

/// The name of the checkpoint with the best evaluation, where it is another one than the newest and still there.
fn best(run: &Path, newest: u64) -> Result<Option<String>> {
    let folder = run.join(CHECKPOINTS);
    let name = store::link_target(&folder.join(BEST))?.and_then(|target| target.to_str().map(str::to_owned));
    let is_there =
        |name: &String| step_of(name).is_some_and(|step| step != newest) && store::is_dir(&folder.join(name));
    Ok(name.filter(is_there))
}

/// Copies logs and rollout tables up to a step. Tables that somebody has removed are as missing in the branch as they are in the
/// run: nothing of the training depends on them.
fn copy_records(from: &Path, to: &Path, step: u64) -> Result<()> {
    for name in RECORDS {
        let path = from.join(name);
        if store::exists(&path) {
            store::write_atomic(&to.join(name), json_lines::bytes_up_to(&path, step)?)?;
        }
    }
    store::create_dir_all(&to.join(ROLLOUTS))?;
    let mut missing = 0_usize;
    for table in RolloutTable::all(to)? {
        let path = rollouts_path(from, table.step);
        if !store::exists(&path) {
            missing += 1;
            continue;
        }
        table.verify(&path)?;
        copy_file(&path, &rollouts_path(to, table.step))?;
    }
    if missing > 0 {
        tracing::warn!("{missing} rollout tables of `{}` are missing, in the branch as well", from.display());
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    store::create_dir_all(to)?;
    for path in store::list(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        match store::is_dir(&path) {
            true => copy_folder(&path, &target)?,
            false => copy_file(&path, &target)?,
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut file = AtomicFile::create(to)?;
    copy(&mut store::open(from)?, &mut file).map_err(|source| StoreError::io("copy", from, source))?;
    Ok(file.commit()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Checkpoints, Retention, RunDirectory, Schedule, TrainingState};
    use super::*;

    fn setup(rate: &str, policy: &str) -> RunSetup {
        let inputs = BTreeMap::from([("policy".to_owned(), policy.to_owned())]);
        let classes = [("policy.preset".to_owned(), KeyClass::Origin)].into();
        RunSetup { config: format!("[optimizer]\nrate = {rate}\n"), inputs, classes, ..RunSetup::default() }
    }

    fn checkpoints(run: &RunDirectory) -> Result<Checkpoints> {
        let schedule = Schedule { steps: 9, checkpoint_every: 2, evaluate_every: 0 };
        run.checkpoints(Retention { schedule, last: 0, every: 0 })
    }

    #[test]
    fn a_branch_has_the_steps_up_to_the_checkpoint_and_goes_on_by_itself() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let error = branch(&a, &b, &setup("1", "p")).expect_err("there is no run");
        assert!(matches!(error, RunError::NoRun { .. }), "{error}");
        let run = RunDirectory::open(&a, &setup("1", "p"))?;
        let mut records = run.rewind(0, false)?;
        let mut saved = checkpoints(&run)?;
        for step in 1..=3 {
            records.step(step, &[("rollout/turns", 1.0)], &[])?;
            records.rollouts(step, &run.write_rollouts(step, [])?)?;
            if step == 2 {
                let state = TrainingState { step, next_document: 7 };
                let weights = |folder: &Path| Ok(store::write_atomic(&folder.join("model.safetensors"), "weights")?);
                saved.save(&state, weights, |_| Ok(()))?;
            }
        }
        let error = branch(&a, &b, &setup("2", "p")).expect_err("somebody trains in it");
        assert!(matches!(error, RunError::Store(StoreError::Locked { .. })), "{error}");
        drop(run);
        let before = store::read(&a.join("metrics.jsonl"))?;
        let error = branch(&a, &b, &setup("2", "q")).expect_err("another policy");
        assert!(matches!(&error, RunError::NotBranched { differences, .. } if differences == &["policy"]), "{error}");
        branch(&a, &b, &setup("2", "p"))?;
        let run = RunDirectory::open(&b, &setup("2", "p"))?;
        assert!(!run.is_new());
        assert_eq!(run.manifest().branch, Some(Branch { run: "a".to_owned(), step: 2 }));
        assert_eq!(checkpoints(&run)?.newest()?.map(|checkpoint| checkpoint.state.next_document), Some(7));
        run.rewind(2, false)?.step(3, &[], &[])?;
        drop(run);
        assert_eq!(json_lines::read(&b.join("metrics.jsonl"), true)?.len(), 3);
        assert!(RunDirectory::open(&b, &setup("1", "p")).is_err(), "it is another run than the one it comes from");
        assert!(!store::exists(&rollouts_path(&b, 3)) && store::exists(&rollouts_path(&b, 2)));
        // Typed again, the same command goes on with the branch.
        branch(&a, &b, &setup("2", "p"))?;
        assert_eq!(json_lines::read(&b.join("metrics.jsonl"), true)?.len(), 3);
        assert_eq!(store::read(&a.join("metrics.jsonl"))?, before);
        // Another run of the same name is another run.
        let other = folder.path().join("elsewhere/a");
        let run = RunDirectory::open(&other, &setup("1", "p"))?;
        run.rewind(0, false)?.step(1, &[("rollout/turns", 3.0)], &[])?;
        checkpoints(&run)?.save(&TrainingState { step: 1, next_document: 1 }, |_| Ok(()), |_| Ok(()))?;
        drop(run);
        let error = branch(&other, &b, &setup("2", "p")).expect_err("a branch of another run");
        assert!(matches!(&error, RunError::NoBranch { run, .. } if run.ends_with("elsewhere/a")), "{error}");
        let found = crate::RunReader::open(&a)?.verify()?.damage;
        assert!(found.is_empty(), "{found:?}");
        Ok(())
    }

    #[test]
    fn a_run_whose_old_rollout_tables_are_gone_can_be_branched_and_one_whose_tables_have_changed_cannot() -> Result<()>
    {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let run = RunDirectory::open(&a, &setup("1", "p"))?;
        let mut records = run.rewind(0, false)?;
        for step in 1..=2 {
            records.step(step, &[("rollout/turns", 1.0)], &[])?;
            records.rollouts(step, &run.write_rollouts(step, [])?)?;
        }
        checkpoints(&run)?.save(&TrainingState { step: 2, next_document: 1 }, |_| Ok(()), |_| Ok(()))?;
        drop(records);
        drop(run);
        store::remove_file(&rollouts_path(&a, 1))?;
        branch(&a, &b, &setup("2", "p"))?;
        assert!(!store::exists(&rollouts_path(&b, 1)) && store::exists(&rollouts_path(&b, 2)));
        let run = RunDirectory::open(&b, &setup("2", "p"))?;
        run.rewind(2, false)?.step(3, &[], &[])?;
        store::write_atomic(&rollouts_path(&a, 2), "something else")?;
        let error = branch(&a, &folder.path().join("c"), &setup("2", "p")).expect_err("a table has changed");
        assert!(matches!(error, RunError::DamagedTable { .. }), "{error}");
        // No lock is left where no run is.
        let nothing = folder.path().join("nothing");
        store::create_dir_all(&nothing)?;
        branch(&nothing, &folder.path().join("d"), &setup("2", "p")).expect_err("no run");
        assert!(store::list(&nothing)?.is_empty());
        Ok(())
    }

    #[test]
    fn a_branch_goes_on_with_the_copies_of_an_attempt_that_was_killed() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let run = RunDirectory::open(&a, &setup("1", "p"))?;
        let mut records = run.rewind(0, false)?;
        records.step(1, &[], &[])?;
        checkpoints(&run)?.save(&TrainingState { step: 1, next_document: 1 }, |_| Ok(()), |_| Ok(()))?;
        records.step(2, &[], &[])?;
        drop(records);
        drop(run);
        let beside = || Ok::<_, RunError>(store::list(folder.path())?.len());
        let copied = ["manifest.json", "config.toml", "checkpoints/step_000001/checkpoint.json", "metrics.jsonl"];
        for killed_before in 0..copied.len() {
            branch(&a, &b, &setup("2", "p"))?;
            for name in &copied[..=killed_before] {
                store::remove_file(&b.join(name))?;
            }
            store::write_atomic(&b.join("checkpoints/step_000001/.state.json.1-1.memtrain-tmp"), "half")?;
            branch(&a, &b, &setup("2", "p"))?;
            assert_eq!(beside()?, 2, "nothing was moved aside");
            assert!(copied.iter().all(|name| store::exists(&b.join(name))));
            let names = |run: &Path| Ok::<_, RunError>(store::list(&run.join("checkpoints/step_000001"))?.len());
            assert_eq!(names(&b)?, names(&a)?, "no temporary stays");
        }
        // What is not a copy is somebody's.
        store::remove_file(&b.join(MANIFEST))?;
        store::write_atomic(&b.join("config.toml"), "mine")?;
        branch(&a, &b, &setup("2", "p"))?;
        assert_eq!(beside()?, 3, "the configuration was moved aside");
        Ok(())
    }

    #[test]
    fn what_a_kill_leaves_of_a_branch_is_no_run() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        drop(RunDirectory::open(&a, &setup("1", "p"))?);
        let error = branch(&a, &b, &setup("2", "p")).expect_err("nothing is saved");
        assert!(matches!(error, RunError::NoCheckpoint { .. }), "{error}");
        let run = RunDirectory::open(&a, &setup("1", "p"))?;
        let mut records = run.rewind(0, false)?;
        records.step(1, &[], &[])?;
        checkpoints(&run)?.save(&TrainingState { step: 1, next_document: 1 }, |_| Ok(()), |_| Ok(()))?;
        drop(run);
        branch(&a, &b, &setup("2", "p"))?;
        store::remove_file(&b.join(MANIFEST))?;
        assert!(RunDirectory::open(&b, &setup("5", "p"))?.is_new());
        store::remove_file(&b.join(MANIFEST))?;
        branch(&a, &b, &setup("2", "p"))?;
        assert!(!RunDirectory::open(&b, &setup("2", "p"))?.is_new());
        Ok(())
    }
}
