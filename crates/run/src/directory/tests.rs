//! Opening a run's folder: which run goes on, which gives way, and what is left alone.

use super::super::json_lines;
use super::*;

fn setup(config: &str) -> RunSetup {
    let inputs = BTreeMap::from([("documents".into(), "aa".into())]);
    RunSetup { config: config.into(), inputs, ..RunSetup::default() }
}

/// Takes a step of a run, which no other may take the place of from then on.
fn step_taken(root: &Path, setup: &RunSetup) -> Result<()> {
    RunDirectory::open(root, setup)?.rewind(0, false)?.step(1, &[], &[])
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

    step_taken(&root, &setup(config))?;
    let error = RunDirectory::open(&root, &setup(&config.replace("0.1", "0.2"))).expect_err("another configuration");
    assert!(error.to_string().ends_with("mathematics: `train.learning_rate`"), "{error}");
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
    let renamed = RunSetup { earlier_spellings: vec![old.to_owned()], ..setup(new) };
    step_taken(&root, &renamed)?;
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
    assert!(error.to_string().ends_with("mathematics: `train.steps`"), "{error}");
    assert!(RunDirectory::open(&root, &setup(new)).is_err(), "without the earlier spelling it is another run");
    Ok(())
}

#[test]
fn keys_of_no_consequence_may_change_and_are_on_record_from_their_step_on() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("a");
    let text = |every: u64, corpus: &str| {
        format!("[run]\ncorpus = \"{corpus}\"\n[train]\nevaluate_every = {every}\nrollouts_every = {every}\n")
    };
    let classes = KeyClasses::from([
        ("train".to_owned(), KeyClass::Neutral),
        ("run.corpus".to_owned(), KeyClass::Place(&["documents"])),
    ]);
    let setup = |config: String| RunSetup { classes: classes.clone(), ..setup(&config) };
    let take = |config: String, from: u64, to: u64| -> Result<()> {
        let run = RunDirectory::open(&root, &setup(config))?;
        run.log_file()?;
        let mut records = run.rewind(from, false)?;
        for step in from + 1..=to {
            records.step(step, &[("rollout/turns", 1.0)], &[])?;
            let every = Manifest::read(&root)?.expect("a run").settings(&root)?.number_at("train.rollouts_every", step);
            if step.is_multiple_of(every) {
                records.rollouts(step, &run.write_rollouts(step, [])?)?;
                records.evaluation(step, &[])?;
            }
        }
        Ok(())
    };
    take(text(2, "here"), 0, 4)?;
    take(text(3, "there"), 4, 9)?;
    let manifest = Manifest::read(&root)?.expect("a run");
    let steps: Vec<(u32, u64)> = manifest.changes.iter().map(|change| (change.attempt, change.step)).collect();
    assert_eq!(steps, [(2, 4)]);
    assert_eq!(manifest.changes[0].keys["run.corpus"].to.as_deref(), Some("\"there\""));
    assert_eq!(flat(&crate::RunReader::open(&root)?.config()?), flat(&text(3, "there")));
    assert_eq!(store::read_to_string(&root.join(CONFIG))?, text(2, "here"), "it says what the run began with");
    // Going back to before a change takes the steps since under what holds now.
    take(text(3, "there"), 2, 6)?;
    assert_eq!(Manifest::read(&root)?.expect("a run").changes[0].step, 2);
    take(text(3, "there"), 6, 6)?;
    // Of inputs that are not on record a place tells nothing.
    let mut unknown = setup(text(3, "elsewhere"));
    unknown.inputs = BTreeMap::from([("documents".into(), "aa".into()), ("prompts".into(), "cc".into())]);
    unknown.classes.insert("run.corpus".into(), KeyClass::Place(&["documents", "prompts"]));
    let error = RunDirectory::open(&root, &unknown).expect_err("not on record");
    assert!(error.to_string().ends_with("`run.corpus`"), "{error}");
    unknown.classes.insert("run.corpus".into(), KeyClass::Place(&["documents"]));
    drop(RunDirectory::open(&root, &unknown)?);
    Ok(())
}

#[test]
fn a_run_that_took_no_step_gives_way_to_another() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("a");
    for config in ["a = 1", "a = 2", "b = 3"] {
        let run = RunDirectory::open(&root, &setup(config))?;
        assert!(run.is_new());
        run.log_file()?;
        run.rewind(0, false)?;
        assert_eq!(store::read_to_string(&root.join(CONFIG))?, config);
    }
    step_taken(&root, &setup("b = 3"))?;
    assert!(RunDirectory::open(&root, &setup("a = 1")).is_err());
    assert!(store::exists(&root.join("logs/attempt_1.log")), "its logs stay");
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
    let ours =
        [".config.toml.1-0.memtrain-tmp", "rollouts/.step_000001.parquet.7-3.memtrain-tmp", "logs/.a.1-0.memtrain-tmp"];
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
