//! Training and evaluation with a server that draws: it reads the weights that the trainer writes, and answers with what the policy says.

mod drawing_server;
mod small_world;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use drawing_server::{Fault, Server};
use memtrain::policy::{adapter, built_in};
use memtrain_corpora::store;
use serde_json::{Value, json};

const MORE: &str = r#"
    [reader]
    prompts = "compact"
    chunk_tokens = 48
    max_chunks = 8
    memory_tokens = 24
    answer_tokens = 8
    context_tokens = 256
    cut_at = "sentence"
    [optimizer]
    learning_rate = 1e-2
    warmup_steps = 0
    [train]
    steps = 2
    documents_per_step = 2
    evaluate_every = 1
    [eval]
    documents = 2
    [sampler]
    kind = "http"
"#;

fn memtrain(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// Trains two steps, with the server's weights checked to `max_mismatch`; what was said, and the mean mismatch between
/// server and trainer of each step: 0 of one that trained on nothing, which measures none.
fn train(
    folder: &Path,
    server: &Server,
    weights: &Path,
    name: &str,
    max_mismatch: f64,
    more: &[&str],
) -> (Result<String, String>, Vec<f64>) {
    let changes = [
        format!("sampler.http.url=\"{}\"", server.url),
        format!("sampler.http.weights=\"{}\"", weights.display()),
        format!("sampler.http.max_mismatch={max_mismatch}"),
        format!("run.name={name}"),
    ];
    let changes = changes.iter().map(String::as_str).chain(more.iter().copied());
    let changes = changes.flat_map(|change| ["--set", change]);
    let arguments: Vec<&str> = ["train", "--config", "small.toml"].into_iter().chain(changes).collect();
    let said = memtrain(folder, &arguments);
    let lines = store::read_to_string(&folder.join(format!("runs/{name}/metrics.jsonl"))).unwrap_or_default();
    let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (said, rows.map(|row| row["mismatch_kl"].as_f64().unwrap_or(0.0)).collect())
}

#[test]
fn the_server_draws_with_the_weights_of_each_step_and_gets_them_once() {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), MORE);
    memtrain(folder.path(), &["corpus", "build", "--config", "small.toml"]).unwrap();
    let weights = folder.path().join("weights");
    let server = Server::start(None, Fault::None);
    // Both compute the same: the bound may be that of rounding.
    let (said, followed) = train(folder.path(), &server, &weights, "followed", 1e-4, &[]);
    said.unwrap();
    // A step that trains on nothing measures nothing.
    assert!(!followed.is_empty() && followed.iter().all(|kl| kl.abs() < 1e-8), "{followed:?}");
    // At first and after each step, not for each evaluation in between.
    assert_eq!(server.reloads.load(SeqCst), 3);
    // A server that stays behind is found when it was told to read the weights of the first step, one that stays behind
    // altogether also where the bound is far wider than what a step moves.
    for (fault, bound, complaint) in [
        (Fault::Half, 1e-3, "does not draw with the policy's weights"),
        (Fault::Stale, 1e3, "still draws with the weights from before"),
    ] {
        let behind = Server::start(None, fault);
        let (said, shown) = train(folder.path(), &behind, &weights, &format!("behind-{bound}"), bound, &[]);
        let said = said.unwrap_err();
        assert!(said.contains(complaint) && said.contains("hint:"), "{said}");
        assert!(shown.iter().all(|kl| kl.abs() < 1e-8), "{shown:?}");
    }
    // One that scores no prompts is warned of, and the metric shows it.
    let silent = Server::start(None, Fault::StaleAndSilent);
    let (said, shown) = train(folder.path(), &silent, &weights, "silent", 1e-2, &[]);
    let said = said.unwrap();
    assert!(said.contains("scores no prompts") && said.contains("step 2: the log-probabilities of"), "{said}");
    assert!(shown[0].abs() < 1e-8 && shown[1] > 1e-5, "{shown:?}");
    // One with a penalty that nobody asked for draws nothing that is trained on.
    let penalizing = Server::start(None, Fault::Penalty(1.1));
    let (said, shown) = train(folder.path(), &penalizing, &weights, "penalizing", 1e-2, &[]);
    let said = said.unwrap_err();
    assert!(said.contains("does not draw what it was asked to") && said.contains("--generation-config"), "{said}");
    assert!(shown.is_empty(), "{shown:?}");
}

#[test]
fn a_server_gets_adapters_alone_and_keeps_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), MORE);
    memtrain(folder.path(), &["corpus", "build", "--config", "small.toml"]).unwrap();
    let (weights, base) = (folder.path().join("weights"), folder.path().join("base"));
    built_in::write("tiny", &base).unwrap();
    let lora = ["policy.path=\"base\"", "policy.lora.rank=4"];
    let server = Server::start(Some(&base), Fault::None);
    let (said, followed) = train(folder.path(), &server, &weights, "followed", 1e-4, &lora);
    said.unwrap();
    // A step that trains on nothing measures nothing.
    assert!(!followed.is_empty() && followed.iter().all(|kl| kl.abs() < 1e-8), "{followed:?}");
    assert_eq!((server.reloads.load(SeqCst), server.adapters.lock().unwrap().len()), (3, 1));
    assert!(adapter::is_adapter(&weights), "no whole weights are written");
    // One that keeps the adapter from before, and one that takes none.
    let behind = Server::start(Some(&base), Fault::Stale);
    let said = train(folder.path(), &behind, &weights, "behind", 1e3, &lora).0.unwrap_err();
    assert!(said.contains("still draws with the weights from before"), "{said}");
    let refusing = Server::start(Some(&base), Fault::NoAdapters);
    let said = train(folder.path(), &refusing, &weights, "refusing", 1e-4, &lora).0.unwrap_err();
    assert!(
        said.contains("does not take the policy's adapter: it answers 404") && said.contains("`--enable-lora`"),
        "{said}"
    );
    // Asked to, it gets whole weights.
    let whole = [&lora[..], &["sampler.http.lora=\"merged\""]].concat();
    let weights = folder.path().join("whole");
    let (said, followed) = train(folder.path(), &refusing, &weights, "whole", 1e-4, &whole);
    said.unwrap();
    // A step that trains on nothing measures nothing.
    assert!(!followed.is_empty() && followed.iter().all(|kl| kl.abs() < 1e-8), "{followed:?}");
}

/// Four steps that overlap, with a checkpoint after two.
fn overlapping(folder: &Path, server: &Server, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.current_dir(folder).args(["train", "--config", "small.toml"]);
    for change in ["steps=4", "checkpoint_every=2", "evaluate_every=0", "overlap=\"one-step\""] {
        command.args(["--set", &format!("train.{change}")]);
    }
    command.args(["--set", "optimizer.learning_rate=1e-3", "--set", "sampler.http.max_mismatch=1e-4"]);
    command.args(["--set", &format!("sampler.http.url={}", server.url), "--set", &format!("run.name={name}")]);
    command
}

fn finish(folder: &Path, server: &Server, name: &str) {
    let output = overlapping(folder, server, name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn metrics(folder: &Path, name: &str) -> Vec<Value> {
    let text = store::read_to_string(&folder.join(format!("runs/{name}/metrics.jsonl"))).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a run has come to: its metrics, its rollouts and its last checkpoint, state of the optimizer included.
fn outcome(folder: &Path, name: &str) -> BTreeMap<String, String> {
    let run = folder.join(format!("runs/{name}"));
    let mut files = vec![run.join("metrics.jsonl")];
    for place in ["rollouts", "checkpoints/step_000004", "checkpoints/step_000004/training_state"] {
        files.extend(store::list(&run.join(place)).unwrap().into_iter().filter(|path| !store::is_dir(path)));
    }
    let named = |file: std::path::PathBuf| {
        let name = file.strip_prefix(&run).unwrap().display().to_string();
        (name, store::hash_file(&file).unwrap())
    };
    files.into_iter().map(named).collect()
}

#[test]
fn steps_are_drawn_one_ahead_and_a_disturbed_run_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small_world::write(folder, MORE);
    memtrain(folder, &["corpus", "build", "--config", "small.toml"]).unwrap();
    let server = Server::start(None, Fault::None);
    finish(folder, &server, "undisturbed");
    // Weights of the start, and of the checkpoint after two steps: the second and the fourth step are drawn with those of the
    // step before.
    assert_eq!(server.reloads.load(SeqCst), 2);
    let rows = metrics(folder, "undisturbed");
    let values = |key: &str| rows.iter().map(|row| row[key].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(values("sampling/staleness"), [0.0, 1.0, 0.0, 1.0]);
    let off = values("sampling/sampling_logp_difference/mean");
    assert!(off[0] < 1e-5 && off[1] > 1e-4 && off[2] < 1e-5 && off[3] > 1e-4, "{off:?}");
    let undisturbed = outcome(folder, "undisturbed");
    assert!(undisturbed.len() > 8, "{undisturbed:?}");

    let responses = server.asked.load(SeqCst);
    for (signal, code) in [("KILL", None), ("TERM", Some(75))] {
        let name = format!("disturbed-{signal}");
        // The last response of the fourth step, which is asked for while the third step trains.
        server.asked.store(0, SeqCst);
        server.withheld.store(responses - 1, SeqCst);
        let mut child = overlapping(folder, &server, &name).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while server.asked.load(SeqCst) < responses {
            assert!(begun.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success()
        );
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), code, "{said}");
        assert!(code.is_none() || said.contains("step 2 is saved"), "{said}");
        server.withheld.store(usize::MAX, SeqCst);
        finish(folder, &server, &name);
        assert_eq!(outcome(folder, &name), undisturbed, "{signal}");
    }
}

#[test]
fn long_questions_are_answered_by_a_server_with_the_policy_as_in_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let row = |number: u32| {
        let said = (0..6).map(|hall| format!("The guild {number} met in Hall {hall} once.")).collect::<Vec<_>>();
        json!({
            "_id": format!("q{number}"), "question": format!("Where did the guild {number} meet?"), "answer": "Hall 3",
            "supporting_facts": [["Guild", 0]], "context": [["Guild", said]],
        })
    };
    store::write_json(&path.join("set.json"), &(0..4).map(row).collect::<Vec<_>>()).unwrap();
    memtrain(path, &["tasks", "import", "set.json", "--out", "t.parquet"]).unwrap();
    built_in::write("tiny", &path.join("base")).unwrap();
    let server = Server::start(Some(&path.join("base")), Fault::None);
    let limits = ["prompts=compact", "chunk_tokens=48", "memory_tokens=16", "answer_tokens=12", "context_tokens=256"];
    let limits = limits.map(|limit| format!("reader.{limit}"));
    let eval = |out: &str, more: &[&str]| {
        let fixed = ["eval", "long-qa", "t.parquet", "--policy", "built-in:tiny", "--out", out];
        let greedy = ["--full-context-tokens", "120", "--temperature", "0", "--batch", "3"];
        let limits = limits.iter().flat_map(|limit| ["--set", limit]);
        let arguments: Vec<&str> = fixed.into_iter().chain(greedy).chain(limits).chain(more.iter().copied()).collect();
        memtrain(path, &arguments)
    };
    let items = |out: &str| store::read_to_string(&path.join(out).join("items.jsonl")).unwrap_or_default();
    let url = server.url.clone();
    let at_server = ["--server", url.as_str(), "--set", "sampler.http.retries=0"];
    eval("here", &[]).unwrap();
    eval("there", &at_server).unwrap();
    assert_eq!((items("there"), items("here").lines().count()), (items("here"), 8));
    // It has the policy: nothing is sent to it. Run again it is asked for nothing.
    let asked = server.asked.load(SeqCst);
    assert!(asked > 0 && server.reloads.load(SeqCst) == 0, "{asked}");
    eval("there", &at_server).unwrap();
    assert_eq!(server.asked.load(SeqCst), asked);
    // A folder of answers from here is not gone on with from there.
    let said = eval("here", &at_server).unwrap_err();
    assert!(said.contains("`here`") && said.contains("hint: "), "{said}");
    // A server that is gone: nothing is counted as wrong.
    drop(server);
    let said = eval("gone", &at_server).unwrap_err();
    assert!(said.contains("does not answer") && said.contains("hint: Start the server"), "{said}");
    assert_eq!(items("gone"), "");
}
