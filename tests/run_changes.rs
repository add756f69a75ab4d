//! Changes of a run between two starts, branches, and the remains of a start that failed.

mod small_reader;
mod small_world;

use std::path::Path;
use std::process::{Command, Output};

use memtrain_corpora::store;
use serde_json::Value;
use small_reader::READER;

const CONFIG: &str = r#"
    [objective]
    group_size = 4
    recall_samples = 2
    [optimizer]
    learning_rate = 1e-3
    warmup_steps = 0
    [train]
    steps = 4
    documents_per_step = 2
    checkpoint_every = 1
    evaluate_every = 2
    peak_tflops = 1.0
    [eval]
    documents = 1
    recall_questions = 1
"#;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap()
}

/// Trains with changes of the configuration.
fn train(folder: &Path, set: &[&str], more: &[&str]) -> Output {
    let set = set.iter().flat_map(|change| ["--set", *change]);
    memtrain(folder, &["train", "small.toml"].into_iter().chain(set).chain(more.iter().copied()).collect::<Vec<_>>())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stderr[..], &output.stdout].concat()).into_owned()
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}

fn built() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), &[READER, CONFIG].concat());
    succeeds(&memtrain(folder.path(), &["corpus", "build", "small.toml"]));
    folder
}

#[test]
fn a_run_that_is_moved_and_changed_in_what_is_no_mathematics_stays_exact() {
    let folder = built();
    let path = folder.path();
    succeeds(&train(path, &["run.name=straight"], &[]));
    succeeds(&train(path, &["run.name=bent", "train.steps=2"], &[]));
    store::rename_durably(&path.join("runs/bent"), &path.join("moved")).unwrap();
    store::rename_durably(&path.join("corpus"), &path.join("elsewhere")).unwrap();
    let set = [
        "run.runs=.",
        "run.name=moved",
        "run.corpus=elsewhere",
        "train.steps=4",
        "train.checkpoint_every=3",
        "train.evaluate_every=4",
        "train.keep_last=1",
        "train.rollouts_every=3",
        "train.tensorboard=false",
        "sampler.cache_gib=0.5",
        "sampler.max_sequences=3",
        "update.activation_checkpointing=true",
        "corpus.workers=1",
        "sft.steps=7",
    ];
    let output = train(path, &set, &[]);
    succeeds(&output);
    let told = said(&output);
    assert!(told.contains("`train.steps` from 2 to 4") && told.contains("the steps to come are the same"), "{told}");
    let (straight, bent) = (path.join("runs/straight"), path.join("moved"));
    for name in [
        "metrics.jsonl",
        "evaluations.jsonl",
        "rollouts/step_000003.parquet",
        "checkpoints/step_000004/model.safetensors",
        "checkpoints/step_000004/training_state/optimizer.safetensors",
    ] {
        assert_eq!(
            store::hash_file(&bent.join(name)).unwrap(),
            store::hash_file(&straight.join(name)).unwrap(),
            "{name}"
        );
    }
    assert!(!store::exists(&bent.join("rollouts/step_000004.parquet")), "tables come every three steps now");
    let manifest: Value = store::read_json(&bent.join("manifest.json")).unwrap();
    let changes = manifest["changes"].as_array().unwrap();
    assert_eq!((changes.len(), &changes[0]["step"], &changes[0]["attempt"]), (1, &2.into(), &2.into()), "{manifest}");
    assert_eq!(changes[0]["keys"]["run.corpus"]["to"], "\"elsewhere\"");
    succeeds(&memtrain(path, &["run", "verify", "moved"]));
    succeeds(&memtrain(path, &["report", "moved"]));
    // Nothing is on record of a start that changes nothing.
    succeeds(&train(path, &set, &[]));
    assert_eq!(store::read_json::<Value>(&bent.join("manifest.json")).unwrap(), manifest);
    // What reads a policy of the run takes what holds now; a longer run may be made shorter again.
    succeeds(&train(path, &[&set[..], &["train.steps=3"]].concat(), &[]));
    succeeds(&memtrain(path, &["run", "verify", "moved"]));
}

#[test]
fn mathematics_is_refused_by_name_and_possible_in_a_branch() {
    let folder = built();
    let path = folder.path();
    succeeds(&train(path, &["run.name=a", "train.steps=2"], &[]));
    let metrics = store::read(&path.join("runs/a/metrics.jsonl")).unwrap();
    let set = ["run.name=a", "train.steps=3", "optimizer.learning_rate=2e-3", "reader.memory_tokens=12"];
    let output = train(path, &set, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for part in ["`optimizer.learning_rate`, `reader.memory_tokens`", "--branch NAME"] {
        assert!(said(&output).contains(part), "`{part}` is not in {}", said(&output));
    }
    assert!(!said(&output).contains("`train.steps`"), "{}", said(&output));
    for _ in 0..2 {
        succeeds(&train(path, &set, &["--branch", "b"]));
    }
    let branched = store::read(&path.join("runs/b/metrics.jsonl")).unwrap();
    assert_eq!(&branched[..metrics.len()], &metrics[..], "the steps before are those of the run that it comes from");
    let rate = |line: &str| serde_json::from_str::<Value>(line).unwrap()["train/learning_rate"].as_f64().unwrap();
    let rates: Vec<f64> = std::str::from_utf8(&branched).unwrap().lines().map(rate).collect();
    assert_eq!(rates, [1e-3, 1e-3, 2e-3]);
    // From here on it is a run under its own name.
    let own = ["run.name=b", "train.steps=3", "optimizer.learning_rate=2e-3", "reader.memory_tokens=12"];
    succeeds(&train(path, &own, &[]));
    for run in ["runs/a", "runs/b"] {
        succeeds(&memtrain(path, &["run", "verify", run]));
    }
    assert_eq!(store::read(&path.join("runs/a/metrics.jsonl")).unwrap(), metrics);
    // A decay ends at the last step, so that another last step is other mathematics.
    succeeds(&train(path, &["run.name=c", "train.steps=1", "optimizer.decay=linear"], &[]));
    let output = train(path, &["run.name=c", "train.steps=2", "optimizer.decay=linear"], &[]);
    assert!(said(&output).contains("other mathematics: `train.steps`"), "{}", said(&output));
    for name in ["../d", "a/b", "a\u{1b}[31m"] {
        let output = train(path, &["run.name=a"], &["--branch", name]);
        let is_told = said(&output).contains("must be the name of one folder");
        assert!(is_told && output.status.code() == Some(2), "{}", said(&output));
    }
    let output = train(path, &["run.name=nowhere"], &["--branch", "e"]);
    assert!(output.status.code() == Some(2) && !store::exists(&path.join("runs/e")), "{}", said(&output));
}

#[test]
fn a_start_that_fails_before_its_first_step_is_in_nobodys_way() {
    let folder = built();
    let path = folder.path();
    // Nothing listens there: what is asked before training fails before there is a folder, what is asked in it leaves a run.
    let server = "bank.answerer={url=\"http://127.0.0.1:9\", retries=0}";
    let output =
        train(path, &["run.name=a", "objective={kind=\"memalpha\", group_size=2}", "bank.core_tokens=64", server], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!store::exists(&path.join("runs/a")), "{}", said(&output));
    let unreachable =
        ["run.name=a", "sampler.kind=http", "sampler.http.url=http://127.0.0.1:9", "sampler.http.retries=0"];
    let output = train(path, &unreachable, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(store::exists(&path.join("runs/a/manifest.json")), "{}", said(&output));
    let output = train(path, &["run.name=a", "run.seed=2", "train.steps=1"], &[]);
    succeeds(&output);
    assert!(said(&output).contains("took no step: this one begins in its place"), "{}", said(&output));
    assert_eq!(store::list(&path.join("runs")).unwrap().len(), 1, "nothing had to be moved away");
    succeeds(&memtrain(path, &["run", "verify", "runs/a"]));
}
