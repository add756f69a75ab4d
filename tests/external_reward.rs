//! Scores of a command and of a server in a training run, through the binary.

#![cfg(unix)]

mod small_world;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::Duration;

use memtrain_corpora::store;
use memtrain_run::{RolloutKind, RolloutRow};
use serde_json::Value;

const CONFIG: &str = r#"
    [reader]
    prompts = "compact"
    chunk_tokens = 48
    max_chunks = 8
    memory_tokens = 8
    answer_tokens = 4
    context_tokens = 256
    [objective]
    group_size = 3
    recall_samples = 2
    [optimizer]
    warmup_steps = 0
    [train]
    steps = 1
    documents_per_step = 2
    peak_tflops = 1.0
"#;

/// Answers every batch with 1, 2, 3 …
const SCORER: &str = r#"while read -r line; do
    n=$(printf '%s' "$line" | grep -o '"rollout":' | wc -l)
    echo "batch of $n" >&2
    printf '{"rewards": [%s]}\n' "$(seq -s, 1 "$n")"
done"#;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stderr[..], &output.stdout].concat()).into_owned()
}

/// A folder with a corpus, and a configuration with the lines of `[reward]` at its end.
fn built() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), CONFIG);
    let output = memtrain(folder.path(), &["corpus", "build", "small.toml"]);
    assert!(output.status.success(), "{}", said(&output));
    folder
}

fn train(folder: &Path, name: &str, reward: &str) -> Output {
    store::write_atomic(&folder.join("reward.toml"), format!("include = [\"small.toml\"]\n[reward]\n{reward}\n"))
        .unwrap();
    memtrain(folder, &["train", "reward.toml", "--set", &format!("run.name={name}")])
}

fn first_line(run: &Path) -> Value {
    let text = store::read_to_string(&run.join("metrics.jsonl")).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn scores_of_a_command_are_added_and_recorded() {
    let folder = built();
    let words = serde_json::json!(["sh", "-c", SCORER]);
    // Six trajectories: a batch of four and one of two.
    let output = train(folder.path(), "a", &format!("command = {words}\nweight = 10.0\nbatch = 4"));
    assert!(output.status.success(), "{}", said(&output));
    let batches: Vec<String> =
        said(&output).lines().filter(|line| line.starts_with("batch of")).map(str::to_owned).collect();
    assert_eq!(batches, ["batch of 4", "batch of 2"], "{}", said(&output));
    let run = folder.path().join("runs/a");
    let scores = [[1.0, 2.0, 3.0], [4.0, 1.0, 2.0]];
    let metrics = first_line(&run);
    assert_eq!(metrics["reward/external/mean"], 13.0 / 6.0, "{metrics}");
    let rows: Vec<RolloutRow> =
        store::read_table(&run.join("rollouts/step_000001.parquet")).unwrap().collect::<Result<_, _>>().unwrap();
    let documents: Vec<&String> = rows.iter().map(|row| &row.document_id).collect();
    let first = documents[0].clone();
    let mut totals = Vec::new();
    for row in &rows {
        let reason: Value = serde_json::from_str(&row.reason).unwrap();
        if row.kind == RolloutKind::Recall {
            assert!(reason.get("external").is_none() && row.reward <= 1.0, "{reason}");
            continue;
        }
        let group = scores[usize::from(row.document_id != first)];
        let score = group[row.rollout as usize];
        assert_eq!(reason["external"], score);
        // What the objective gives: the answer, and half of the recall.
        let own = reason["end_to_end"].as_f64().unwrap() + 0.5 * reason["recall"].as_f64().unwrap_or(0.0);
        assert!((row.reward - (own + 10.0 * score)).abs() < 1e-9, "{} of {reason}", row.reward);
        assert!(row.trained, "scores differ in every group");
        if row.kind == RolloutKind::Answer {
            totals.push(row.reward);
        }
    }
    let mean = totals.iter().sum::<f64>() / totals.len() as f64;
    assert!(
        totals.len() == 6 && (metrics["reward/mean"].as_f64().unwrap() - mean).abs() < 1e-9,
        "{totals:?} {metrics}"
    );
}

#[test]
fn a_command_that_fails_ends_the_step_with_a_reason_and_one_that_is_not_there_leaves_no_run() {
    let folder = built();
    let path = folder.path();
    let output = train(path, "a", "command = [\"no-such-program\"]");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("no-such-program") && !store::exists(&path.join("runs/a")), "{}", said(&output));
    let output = train(path, "a", "command = [\"true\"]\nretries = 1\nbackoff_s = 0.01");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for part in ["step 1 failed", "`reward.command`, `true`, ended before it answered", "asked again"] {
        assert!(said(&output).contains(part), "`{part}` is not in {}", said(&output));
    }
    // What it has started does not outlive the training.
    let script =
        "(while sleep 0.02; do echo alive >> alive; done) </dev/null >/dev/null 2>&1 & read -r line; sleep 100; true";
    let words = serde_json::json!(["sh", "-c", script]);
    let output = train(path, "a", &format!("command = {words}\nretries = 0\ntimeout_s = 0.5"));
    assert!(output.status.code() == Some(1) && said(&output).contains("gave no answer"), "{}", said(&output));
    let length = store::len(&path.join("alive")).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(store::len(&path.join("alive")).unwrap(), length);
    let output =
        train(path, "a", "command = [\"sh\", \"-c\", \"while read -r line; do echo '{\\\"rewards\\\": []}'; done\"]");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("0 rewards for 6 trajectories"), "{}", said(&output));
    let output = train(path, "a", "command = [\"true\"]\nurl = \"http://127.0.0.1:9\"");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    // Weights of scores that nobody gives.
    for key in ["weight = 2.0", "built_in_weight = 0.0"] {
        let output = train(path, "a", key);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("neither `reward.command` nor `reward.url`"), "{}", said(&output));
    }
}

#[test]
fn scores_of_a_server_are_asked_for_again_when_that_may_help() {
    let folder = built();
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let url = format!("http://{}/score", server.server_addr());
    let (sender, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for number in 0.. {
            let Ok(mut request) = server.recv() else { return };
            let mut body = String::new();
            request.as_reader().read_to_string(&mut body).unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            let count = body["trajectories"].as_array().unwrap().len();
            let (status, answer) = match number {
                0 => (503, "warming up".to_owned()),
                1 => (200, serde_json::json!({"rewards": vec![0.5; count]}).to_string()),
                _ => (404, "no such thing".to_owned()),
            };
            let _ = request.respond(tiny_http::Response::from_string(answer).with_status_code(status));
            if sender.send(body).is_err() {
                return;
            }
        }
    });
    let reward = format!("url = \"{url}\"\nbackoff_s = 0.01\nbuilt_in_weight = 0.0");
    let output = train(folder.path(), "a", &reward);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("answers 503: warming up; asked again"), "{}", said(&output));
    let metrics = first_line(&folder.path().join("runs/a"));
    assert_eq!((&metrics["reward/external/mean"], &metrics["reward/mean"]), (&0.5.into(), &0.5.into()), "{metrics}");
    let (first, again) = (asked.recv().unwrap(), asked.recv().unwrap());
    assert_eq!(first, again);
    let trajectory = &again["trajectories"][0];
    let turns = trajectory["turns"].as_array().unwrap();
    assert_eq!((&trajectory["rollout"], &turns[0]["kind"]), (&0.into(), &"read".into()), "{trajectory}");
    assert_eq!(turns.last().unwrap()["kind"], "answer");
    assert!(!trajectory["answers"][0].as_str().unwrap().is_empty() && !turns[0]["prompt"].as_str().unwrap().is_empty());
    // What will not pass is not asked again.
    let output = train(folder.path(), "b", &reward);
    assert!(
        output.status.code() == Some(1) && said(&output).contains("status 404: no such thing"),
        "{}",
        said(&output)
    );
    assert_eq!(asked.try_iter().count(), 1);
}
