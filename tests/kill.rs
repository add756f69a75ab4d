//! Killed at any moment and run again, a run leaves the bytes of an undisturbed one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use memtrain_corpora::{rng, store};
use rand::Rng;

/// A quickstart of seconds: every stage and a few steps of training.
const SMALL: [&str; 12] = [
    "world.num_pages=60",
    "corpus.synthesize.num_train=60",
    "corpus.synthesize.num_heldout=16",
    "corpus.synthesize.documents_per_shard=20",
    "train.steps=4",
    "train.documents_per_step=2",
    "train.checkpoint_every=1",
    "train.evaluate_every=2",
    "objective.group_size=2",
    "objective.recall_samples=2",
    "eval.documents=8",
    "eval.recall_questions=2",
];

fn quickstart(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.current_dir(folder).arg("quickstart").stdout(Stdio::null()).stderr(Stdio::null());
    for change in SMALL {
        command.args(["--set", change]);
    }
    command
}

/// Hashes of all files that must not depend on time: no logs, no timings, no lock files, no record of the seconds it took.
fn contents(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut hashes = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for path in store::list(&current).unwrap() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let relative = path.strip_prefix(folder).unwrap().to_owned();
            if store::is_dir(&path) {
                if !matches!(name.as_str(), "logs" | "latest" | "tb") {
                    folders.push(path);
                }
            } else if !matches!(name.as_str(), "timings.jsonl" | "report.html" | "quickstart.json" | "lock" | ".lock")
                && !name.ends_with(".lock")
            {
                hashes.insert(relative, store::hash_file(&path).unwrap());
            }
        }
    }
    hashes
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_bytes() {
    let undisturbed = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    assert!(quickstart(undisturbed.path()).status().unwrap().success());
    let whole = started.elapsed();

    let disturbed = tempfile::tempdir().unwrap();
    let mut generator = rng::keyed("test/kill", 1, &[]);
    let mut kills = 0;
    for _ in 0..8 {
        let mut child = quickstart(disturbed.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(generator.random_range(0.05..0.6) * whole.as_secs_f64()));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        // In turn without warning, and by a signal that asks it to save and end.
        if kills % 2 == 0 {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
            let code = child.wait().unwrap().code();
            assert!(asked.success() && matches!(code, Some(75 | 0)), "ended with {code:?}");
        }
        kills += 1;
    }
    assert!(kills > 0, "no run was killed");
    assert!(quickstart(disturbed.path()).status().unwrap().success());

    let (expected, got) = (contents(undisturbed.path()), contents(disturbed.path()));
    for trace in ["model.safetensors", "evaluations.jsonl"] {
        assert!(expected.keys().any(|path| path.ends_with(trace)), "nothing was trained: no {trace}");
    }
    assert_eq!(expected.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>());
    for (path, hash) in &expected {
        assert_eq!(hash, &got[path], "{} differs after {kills} kills", path.display());
    }
}

#[test]
fn a_second_start_says_that_all_is_done() {
    let folder = tempfile::tempdir().unwrap();
    assert!(quickstart(folder.path()).status().unwrap().success());
    let again = quickstart(folder.path()).stdout(Stdio::piped()).output().unwrap();
    assert!(again.status.success());
    let said = String::from_utf8(again.stdout).unwrap();
    assert!(said.contains("All is done"), "{said}");
}
