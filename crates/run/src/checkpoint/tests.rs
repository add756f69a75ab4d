//! Tests of checkpoints: kills amid writing and removing, retention, damage, what others have put there.

use super::*;

const SCHEDULE: Schedule = Schedule { steps: 1000, checkpoint_every: 1, evaluate_every: 0 };
const KEEP_TWO: Retention = Retention { schedule: SCHEDULE, last: 2, every: 10 };

fn save(checkpoints: &mut Checkpoints, step: u64) -> Result<Checkpoint> {
    let state = TrainingState { step, next_document: step * 8 };
    let policy = |folder: &Path| {
        store::create_dir_all(folder)?;
        Ok(store::write_atomic(&folder.join("model.safetensors"), format!("weights {step}"))?)
    };
    let optimizer = |folder: &Path| Ok(store::write_atomic(&folder.join("optimizer.safetensors"), "moments")?);
    checkpoints.save(&state, policy, optimizer)
}

#[test]
fn the_newest_is_found_and_old_ones_go() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
    assert_eq!(checkpoints.newest()?, None);
    for step in [5, 10, 15, 20, 25, 30] {
        assert_eq!(save(&mut checkpoints, step)?.state.step, step);
    }
    assert_eq!(checkpoints.steps()?, [10, 20, 25, 30]);
    let newest = checkpoints.newest()?.expect("there");
    assert_eq!(newest.state, TrainingState { step: 30, next_document: 240 });
    assert!(store::exists(&newest.training_state().join("optimizer.safetensors")));
    assert_eq!(store::read(&folder.path().join("latest/model.safetensors"))?, b"weights 30");
    Ok(())
}

#[test]
fn the_best_one_stays_until_another_is_better() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut checkpoints = Checkpoints::open(folder.path(), Retention { schedule: SCHEDULE, last: 1, every: 0 })?;
    for (step, best) in [(1, 1), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5)] {
        save(&mut checkpoints, step)?;
        checkpoints.update_links_and_prune(Some(best))?;
    }
    assert_eq!(checkpoints.steps()?, [5, 6]);
    assert_eq!(store::read(&folder.path().join("best/model.safetensors"))?, b"weights 5");
    checkpoints.update_links_and_prune(Some(4))?;
    assert_eq!(checkpoints.steps()?, [5, 6], "a step without a checkpoint changes nothing");
    Ok(())
}

#[test]
fn a_failure_or_a_kill_leaves_no_checkpoint_and_the_old_one_stays() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
    save(&mut checkpoints, 1)?;
    let state = TrainingState { step: 2, next_document: 0 };
    let policy = |folder: &Path| Ok(store::create_dir_all(folder)?);
    let error = checkpoints.save(&state, policy, |_| anyhow::bail!("the disk is full")).expect_err("fails");
    assert!(matches!(error, RunError::Save { step: 2, .. }));
    // What a kill would leave.
    store::create_dir_all(&folder.path().join(".step_000002.partial/training_state"))?;
    for name in [".step_000000.removed", "..step_000002.partial.memtrain-new", ".step_000009.new"] {
        store::create_dir_all(&folder.path().join(name))?;
    }
    store::link_durably(Path::new("step_000001"), &folder.path().join(".latest.77.link"))?;
    // Amid the writing, before the list and after it; amid a removal.
    for (name, is_listed) in [(".step_000003.partial", false), (".step_000004.partial", true)] {
        let partial = folder.path().join(name);
        store::create_dir_all(&partial)?;
        store::write_atomic(&partial.join("model.safetensors"), "weights")?;
        store::mark(&partial, store::UNFINISHED, BTreeMap::new())?;
        if is_listed {
            let weights = FileContents { bytes: 7, blake3: store::hash_bytes(b"weights") };
            let gone = FileContents { bytes: 1, blake3: String::new() };
            let files = BTreeMap::from([("model.safetensors".into(), weights), ("gone".into(), gone)]);
            store::write_json(&partial.join(CONTENTS), &Contents { format: FORMAT, step: 4, files })?;
        }
    }
    // Of a version without marks.
    store::create_dir_all(&folder.path().join(".step_000005.partial"))?;
    store::write_atomic(&folder.path().join(".step_000005.partial/model.safetensors"), "weights")?;
    let checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
    assert_eq!(checkpoints.newest()?.expect("there").state.step, 1);
    assert_eq!(store::list(folder.path())?.len(), 2, "the checkpoint and `latest`");
    Ok(())
}

#[test]
fn a_stop_off_the_schedule_leaves_nothing_in_the_end() -> Result<()> {
    let schedule = Schedule { steps: 10, checkpoint_every: 4, evaluate_every: 0 };
    let retention = Retention { schedule, last: 2, every: 3 };
    let steps = |stops: &[u64]| -> Result<(Vec<u64>, Option<PathBuf>)> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for step in (1..=10).filter(|step| stops.contains(step) || schedule.saves_after(*step)) {
            // Each stop is followed by a new start.
            let mut checkpoints = Checkpoints::open(folder.path(), retention)?;
            save(&mut checkpoints, step)?;
            assert_eq!(checkpoints.steps()?.last(), Some(&step), "the newest always stays");
        }
        let checkpoints = Checkpoints::open(folder.path(), retention)?;
        Ok((checkpoints.steps()?, store::link_target(&folder.path().join(LATEST))?))
    };
    let undisturbed = steps(&[])?;
    assert_eq!(undisturbed, (vec![8, 10], Some("step_000010".into())));
    for stops in [&[1][..], &[9], &[3, 6, 9], &[1, 2, 3, 5, 6, 7, 9]] {
        assert_eq!(steps(stops)?, undisturbed, "stopped after {stops:?}");
    }
    Ok(())
}

#[test]
fn what_was_saved_by_an_earlier_schedule_stays() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let before = Schedule { steps: 30, checkpoint_every: 10, evaluate_every: 0 };
    let all = |schedule| Retention { schedule, last: 0, every: 0 };
    let mut checkpoints = Checkpoints::open(folder.path(), all(before))?;
    for step in [10, 20, 30] {
        save(&mut checkpoints, step)?;
    }
    let now = Schedule { steps: 45, checkpoint_every: 15, ..before };
    let mut checkpoints = Checkpoints::open(folder.path(), all(now))?.with_earlier(vec![before]);
    for step in [37, 45] {
        save(&mut checkpoints, step)?;
    }
    assert_eq!(checkpoints.steps()?, [10, 20, 30, 45]);
    Ok(())
}

#[test]
fn links_that_a_kill_has_left_behind_are_mended() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
    for step in 1..=3 {
        save(&mut checkpoints, step)?;
    }
    let link = |name: &str| store::link_target(&folder.path().join(name));
    store::link_durably(Path::new("step_000001"), &folder.path().join(LATEST))?;
    store::link_durably(Path::new("step_000001"), &folder.path().join(BEST))?;
    Checkpoints::open(folder.path(), KEEP_TWO)?.update_links_and_prune(Some(2))?;
    assert_eq!(link(LATEST)?.as_deref(), Some(Path::new("step_000003")));
    assert_eq!(link(BEST)?.as_deref(), Some(Path::new("step_000002")));
    // Where nothing is evaluated, nothing is best.
    Checkpoints::open(folder.path(), KEEP_TWO)?.update_links_and_prune(None)?;
    assert_eq!(link(BEST)?, None);
    Ok(())
}

#[test]
fn what_a_user_has_put_into_a_checkpoint_stays() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
    let path = save(&mut checkpoints, 1)?.path;
    store::write_atomic(&path.join("notes.txt"), "worth keeping")?;
    // Of the same size.
    let edited = save(&mut checkpoints, 2)?.path.join("model.safetensors");
    let own: Vec<u8> = store::read(&edited)?.iter().map(|byte| byte ^ 1).collect();
    store::write_atomic(&edited, &own)?;
    for step in 3..=5 {
        save(&mut checkpoints, step)?;
    }
    assert_eq!(checkpoints.steps()?, [1, 2, 4, 5]);
    assert!(store::exists(&path.join("notes.txt")));
    assert_eq!(store::read(&edited)?, own);
    Ok(())
}

#[test]
fn what_a_user_has_under_a_hidden_name_stays_and_is_named() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = save(&mut Checkpoints::open(folder.path(), KEEP_TWO)?, 1)?.path;
    let hidden = folder.path().join(".step_000099.old");
    let refused = || {
        let error = Checkpoints::open(folder.path(), KEEP_TWO).expect_err("somebody's");
        assert!(error.to_string().contains("notes.txt"), "{error}");
        assert_eq!(store::read(&hidden.join("notes.txt")).expect("still there"), b"worth keeping");
    };
    store::create_dir_all(&hidden)?;
    store::write_atomic(&hidden.join("notes.txt"), "worth keeping")?;
    refused();
    for file in [CONTENTS, "model.safetensors"] {
        store::write_atomic(&hidden.join(file), store::read(&path.join(file))?)?;
    }
    refused();
    store::remove_file(&hidden.join("notes.txt"))?;
    Checkpoints::open(folder.path(), KEEP_TWO)?;
    assert!(!store::exists(&hidden) && store::exists(&path));
    Ok(())
}

#[test]
fn damage_is_named() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
    let path = save(&mut checkpoints, 7)?.path;
    store::write_atomic(&path.join("model.safetensors"), "weights 8")?;
    let error = checkpoints.newest().expect_err("other contents");
    assert!(error.to_string().contains("`model.safetensors` has other contents"), "{error}");
    store::write_atomic(&path.join("model.safetensors"), "weights")?;
    assert!(checkpoints.newest().expect_err("shorter").to_string().contains("7 bytes instead of 9"));
    store::remove_file(&path.join("model.safetensors"))?;
    assert!(checkpoints.newest().expect_err("missing").to_string().contains("is missing"));
    store::remove_file(&path.join(CONTENTS))?;
    assert!(checkpoints.newest().expect_err("no list").to_string().contains("`checkpoint.json` is missing"));
    Ok(())
}

#[test]
fn names_of_steps_sort_and_come_back() {
    for step in [0, 7, 999_999, 1_000_000] {
        assert_eq!(step_of(&step_name(step)), Some(step));
    }
    for name in ["step_7", "step_00000a", ".step_000007.partial", "latest"] {
        assert_eq!(step_of(name), None, "{name}");
    }
}
