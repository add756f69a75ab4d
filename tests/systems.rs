//! Every system through the binary: it trains, it says why it rewarded what, and stopped and run again it ends with the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use memtrain::run::{RolloutKind, RolloutRow};
use memtrain_corpora::store;
use serde_json::{Value, json};

const CORPUS: &str = r#"
    [run]
    corpus = "corpus"
    [world]
    num_pages = 60
    [corpus.ingest]
    dumps = ["made/dump.xml.bz2"]
    min_words = 10
    max_words = 24
    short_passages = "drop"
    [corpus.synthesize]
    num_train = 40
    num_heldout = 8
    heldout_fraction = 0.25
    num_related = 2
    num_random = 2
    min_tokens = 40
    max_tokens = 288
    layout = "text"
    separator = " "
    [reader]
    prompts = "compact"
    chunk_tokens = 48
    max_chunks = 8
    memory_tokens = 32
    answer_tokens = 12
    context_tokens = 256
    cut_at = "sentence"
    [optimizer]
    learning_rate = 1e-3
    warmup_steps = 0
    [train]
    steps = 2
    documents_per_step = 2
    checkpoint_every = 1
    evaluate_every = 2
    [eval]
    documents = 4
    temperature = 1.0
"#;

/// A folder with a corpus for the policy that the program carries, and its configuration.
fn reader_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let own = "[corpus.tokenizer]\nsource = \"built-in:tiny\"\n[policy]\npath = \"built-in:tiny\"\n";
    store::write_atomic(&folder.path().join("c.toml"), format!("{CORPUS}{own}")).unwrap();
    succeeds(folder.path(), &["corpus", "build", "--config", "c.toml"], &[]);
    folder
}

fn memtrain(folder: &Path, arguments: &[&str], changes: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.current_dir(folder).args(arguments);
    for change in changes {
        command.args(["--set", change]);
    }
    command.output().unwrap()
}

/// Runs; what it said on stderr.
fn succeeds(folder: &Path, arguments: &[&str], changes: &[&str]) -> String {
    let output = memtrain(folder, arguments, changes);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?} {changes:?}: {said}");
    said
}

fn train(folder: &Path, name: &str, changes: &[&str]) -> String {
    let name = format!("run.name={name}");
    succeeds(folder, &["train", "--config", "c.toml"], &[&[name.as_str()][..], changes].concat())
}

/// Hashes of everything in a run that must not depend on time or on where it was stopped.
fn contents(run: &Path) -> BTreeMap<PathBuf, String> {
    let mut hashes = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in store::list(&folder).unwrap() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if store::is_dir(&path) {
                if !matches!(name.as_str(), "logs" | "latest" | "tb" | "best") {
                    folders.push(path);
                }
            } else if !matches!(name.as_str(), "timings.jsonl" | "config.toml" | "manifest.json")
                && !name.contains("lock")
            {
                hashes.insert(path.strip_prefix(run).unwrap().to_owned(), store::hash_file(&path).unwrap());
            }
        }
    }
    hashes
}

fn rollouts(folder: &Path, name: &str, step: u64) -> Vec<RolloutRow> {
    let path = folder.join(format!("runs/{name}/rollouts/step_{step:06}.parquet"));
    store::read_table::<RolloutRow>(&path).unwrap().collect::<Result<_, _>>().unwrap()
}

fn lines(folder: &Path, name: &str, file: &str) -> Vec<Value> {
    let text = store::read_to_string(&folder.join(format!("runs/{name}/{file}"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Trains two steps at once, and one after the other; checks that both leave the same and gives the rollouts.
fn trained_twice(folder: &Path, name: &str, changes: &[&str]) -> Vec<RolloutRow> {
    train(folder, name, changes);
    let resumed = format!("{name}-resumed");
    // Stopped after its first step, it goes on as somebody would who raises the number of steps.
    let stopped = succeeds_after_a_stop(folder, &resumed, changes);
    assert!(stopped, "the run was never stopped");
    let (whole, parts) = (contents(&folder.join("runs").join(name)), contents(&folder.join("runs").join(&resumed)));
    assert!(whole.keys().any(|path| path.ends_with("model.safetensors")), "{whole:?}");
    assert_eq!(whole, parts, "{name}: resumed differently");
    (1..=2).flat_map(|step| rollouts(folder, name, step)).collect()
}

/// Removes the second checkpoint of a finished copy of the run, and trains again from the first.
fn succeeds_after_a_stop(folder: &Path, name: &str, changes: &[&str]) -> bool {
    let one = [changes, &["train.keep_last=0"]].concat();
    train(folder, name, &one);
    let checkpoints = folder.join("runs").join(name).join("checkpoints");
    let last = checkpoints.join("step_000002");
    if !store::is_dir(&last) {
        return false;
    }
    store::remove_dir_all(&last).unwrap();
    train(folder, name, &one);
    true
}

fn reason(row: &RolloutRow) -> Value {
    serde_json::from_str(&row.reason).unwrap()
}

#[test]
fn readers_train_on_documents_and_on_tasks() {
    let folder = reader_folder();
    let path = folder.path();
    let small = ["objective.group_size=6", "train.keep_last=0"];
    for kind in ["memagent", "infomem"] {
        let kind_key = format!("objective.kind={kind}");
        let rows = trained_twice(path, kind, &[&[kind_key.as_str()][..], &small].concat());
        assert!(rows.iter().all(|row| matches!(row.kind, RolloutKind::Read | RolloutKind::Answer)));
        for row in &rows {
            let correct = reason(row)["correct"].as_f64().unwrap();
            match kind {
                "memagent" => assert_eq!(row.reward, correct),
                _ => assert_eq!(row.reward > 0.0, correct == 1.0, "a failure earns nothing: {row:?}"),
            }
            let gain = reason(row).get("gain").is_some();
            assert_eq!(gain, kind == "infomem" && correct == 1.0);
        }
        let metrics = lines(path, kind, "metrics.jsonl");
        assert_eq!(metrics.len(), 2);
        assert!(metrics[0]["reward/correct/mean"].is_number() && metrics[0]["frac_reward_zero_std"].is_number());
        let evaluation = &lines(path, kind, "evaluations.jsonl")[0];
        assert_eq!(evaluation["eval/reward/mean"], evaluation["eval/correct/mean"]);
    }

    // A question about two chunks, in two words of one text; the second task has two questions, each an item of its own.
    let task = |id: &str, questions: Vec<Value>| {
        json!({
            "version": 1, "id": id, "source": "test", "questions": questions, "kind": "text",
            "passages": [{"title": "", "text": "Aba met Bebo. ".repeat(60)}],
            "gold": [], "length": 0, "extra": {},
        })
    };
    let question = |text: &str| json!({"text": text, "answers": ["Aba", "Bebo"]});
    let text = [task("a", vec![question("who?")]), task("b", vec![question("whom?"), question("who else?")])];
    let text: String = text.iter().map(|task| format!("{task}\n")).collect();
    store::write_atomic(&path.join("tasks.jsonl"), text).unwrap();
    let on_tasks = [
        "objective.kind=memagent",
        "tasks.train=tasks.jsonl",
        "tasks.heldout=tasks.jsonl",
        "reader.max_chunks=3",
        "objective.group_size=2",
        "train.documents_per_step=3",
        "train.steps=1",
        "train.evaluate_every=1",
        "run.corpus=nowhere",
        &format!("policy.path={}", path.join("corpus/policy-tiny").display()),
    ];
    train(path, "tasks", &on_tasks);
    let rows = rollouts(path, "tasks", 1);
    let ids: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.document_id.as_str()).collect();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["a", "b/0", "b/1"]);
    assert_eq!(rows.len(), 3 * 2 * 4, "three chunks of the middle-less context, and an answer");
    assert!(rows.iter().any(|row| row.prompt.contains("who else?")) && rows.iter().all(|row| row.target == "Aba"));
    let metrics = &lines(path, "tasks", "metrics.jsonl")[0];
    assert_eq!(metrics["rollout/documents_shortened"], 3.0);
    assert!(metrics["train/conversations"].as_f64().unwrap() > 0.0, "groups are not filtered");

    let refused = memtrain(path, &["train", "--config", "c.toml"], &["tasks.train=tasks.jsonl"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("holds no document"), "{said}");
    for (change, word) in [
        ("objective.kind=infomem,objective.gain_weight=1", "gain_weight"),
        ("objective.kind=memagent,objective.recall_weight=1", "recall_weight"),
        ("objective.kind=nothing", "nothing"),
    ] {
        let refused = memtrain(path, &["train", "--config", "c.toml"], &change.split(',').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains(word), "{said}");
    }
}

#[test]
fn writers_of_banks_are_fine_tuned_and_train() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let own = r#"
        [corpus.tokenizer]
        source = "train"
        vocab_size = 1024
        added_words = ["[MASK]", "[TARGET]", "\\boxed{", '"}}', '{"name":"insert","arguments":{"content":"',
            '{"name":"insert","arguments":{"type":"core","content":"', '{"name":"insert","arguments":{"type":"semantic","content":"',
            '{"name":"insert","arguments":{"type":"episodic","content":"']
        [bank]
        prompts = "compact"
        core_tokens = 32
        recent_items = 2
        retrieved_items = 2
        [sft]
        steps = 50
        trajectories = 2
        texts = 2
    "#;
    let config = CORPUS.replace("memory_tokens = 32", "memory_tokens = 48");
    store::write_atomic(&path.join("c.toml"), format!("{config}{own}")).unwrap();
    succeeds(path, &["corpus", "build", "--config", "c.toml"], &[]);
    for (kind, parts) in [
        ("finemem", &["global", "evidence", "format", "chunk", "compression"][..]),
        ("memalpha", &["accuracy", "calls", "compression", "content"]),
    ] {
        let kind_key = format!("objective.kind={kind}");
        let warm = format!("warm-{kind}");
        succeeds(
            path,
            &["sft", "--config", "c.toml", "--out", &warm],
            &[
                "policy.preset=tiny",
                "optimizer.learning_rate=5e-3",
                "train.checkpoint_every=50",
                &kind_key,
                &format!("run.name={warm}"),
            ],
        );
        let policy = format!("policy.path={warm}");
        let changes =
            [policy.as_str(), &kind_key, "objective.group_size=4", "objective.questions=2", "train.keep_last=0"];
        let rows = trained_twice(path, kind, &changes);
        assert!(rows.iter().all(|row| row.kind == RolloutKind::Write && row.target.is_empty()));
        for row in &rows {
            let reason = reason(row);
            assert!(
                parts.iter().all(|part| reason[part].as_f64().is_some_and(|value| (0.0..=1.0).contains(&value))),
                "{reason}"
            );
            let expected = match kind {
                "finemem" => {
                    0.5f64.mul_add(part(&reason, "chunk"), part(&reason, "evidence") + part(&reason, "format"))
                        + 0.05 * part(&reason, "compression")
                }
                _ => {
                    part(&reason, "accuracy")
                        + part(&reason, "calls")
                        + 0.05 * part(&reason, "compression")
                        + 0.1 * part(&reason, "content")
                }
            };
            assert!((row.reward - expected).abs() < 1e-9, "{} is not made of {reason}", row.reward);
            let notes = reason["notes"].as_array().cloned().unwrap_or_default();
            let failed = part(&reason, if kind == "finemem" { "format" } else { "calls" }) < 1.0;
            assert!(!failed || !notes.is_empty(), "a call that failed is explained: {reason}");
        }
        let evaluated = memtrain(
            path,
            &["eval", "bank", "--config", "c.toml", "--out", kind, "--limit", "3", "--json"],
            &[policy.as_str(), &kind_key],
        );
        assert!(evaluated.status.success(), "{}", String::from_utf8_lossy(&evaluated.stderr));
        let report: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
        assert!(report["items"] == 3 && report["accuracy"]["mean"].is_number(), "{report}");
        let items = store::read_to_string(&path.join(kind).join("items.jsonl")).unwrap();
        let item: Value = serde_json::from_str(items.lines().next().unwrap()).unwrap();
        assert!(item["details"]["bank"]["layout"].is_string() && item["details"]["reasons"][0].is_object(), "{item}");
        let metrics = lines(path, kind, "metrics.jsonl");
        let conversations: f64 = metrics.iter().map(|line| line["train/conversations"].as_f64().unwrap()).sum();
        assert!(
            conversations > 0.0 && metrics.iter().any(|line| line["train/grad_norm"].as_f64() > Some(0.0)),
            "{metrics:?}"
        );
        assert!(
            metrics[0]["bank/calls"].is_number()
                && lines(path, kind, "evaluations.jsonl")[0]["eval/bank/items"].is_number()
        );
    }
    // A policy that has never seen a call: every reward is the same, and the run says so.
    let cold = ["policy.preset=tiny", "objective.kind=memalpha", "train.steps=1", "objective.group_size=2"];
    let said = train(path, "cold", &cold);
    assert!(said.contains("nothing was learned") && said.contains("function call"), "{said}");
}

#[test]
fn searchers_train_on_joined_questions() {
    let folder = reader_folder();
    let path = folder.path();
    let rows: String =
        (0..6).map(|row| format!("{{\"question\": \"who is {row}?\", \"answer\": [\"Aba\"]}}\n")).collect();
    store::write_atomic(&path.join("questions.jsonl"), rows).unwrap();
    store::create_dir_all(&path.join("prompts")).unwrap();
    let texts = [
        ("turn.txt", "{problem}\n{last_turn}\nAnswer:"),
        ("results.txt", "{results} {turns_left}"),
        ("last.txt", "last"),
        ("invalid.txt", "neither"),
    ];
    for (file, text) in texts {
        store::write_atomic(&path.join("prompts").join(file), text).unwrap();
    }
    let changes = [
        "objective.kind=mem1",
        "objective.group_size=2",
        "objective.filter_groups=false",
        "tasks.train=questions.jsonl",
        "tasks.heldout=questions.jsonl",
        "searcher.prompts=prompts",
        "searcher.max_turns=2",
        "searcher.response_tokens=24",
        "searcher.result_tokens=40",
        "searcher.context_tokens=256",
        "train.keep_last=0",
    ];
    let rows = trained_twice(path, "mem1", &changes);
    assert!(rows.iter().all(|row| row.document_id.contains('+') && row.target == "Aba; Aba" && row.trained));
    for row in &rows {
        assert_eq!(row.reward, part(&reason(row), "right"));
        assert_eq!(part(&reason(row), "questions"), 2.0);
    }
    let refused = memtrain(path, &["train", "--config", "c.toml"], &["objective.kind=mem1"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("tasks.train"), "{said}");
}

fn part(reason: &Value, name: &str) -> f64 {
    reason[name].as_f64().unwrap()
}
