//! `scripts/log_metrics.py` with loggers that write down what they are given.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use memtrain_corpora::store;
use serde_json::{Value, json};

/// A module that stands for all three loggers: each call is a line of `calls.jsonl`.
const RECORDER: &str = r#"
import json, os

def write(*call):
    with open(os.environ["CALLS"], "a") as file:
        file.write(json.dumps(call) + "\n")

class Run:
    def define_metric(self, name, step_metric=None): write("define_metric", name, step_metric)
    def log(self, numbers): write("log", numbers)
    def finish(self): write("finish")

def init(project, name, config):
    write("init", project, name, config)
    return Run()
def log(numbers, step): write("log", step, numbers)
def finish(): write("finish")
def set_experiment(name): write("set_experiment", name)
def start_run(run_name): write("start_run", run_name)
def log_params(parameters): write("log_params", parameters)
def log_metrics(numbers, step): write("log", step, numbers)
def end_run(): write("finish")
"#;

fn script(folder: &Path, arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/log_metrics.py");
    let mut command = Command::new("python3");
    command.arg(script).args(arguments).current_dir(folder);
    command.env("PYTHONPATH", folder.join("modules")).env("CALLS", folder.join("calls.jsonl"));
    command.output().unwrap()
}

/// Whether there is a Python that reads TOML.
fn is_there() -> bool {
    let found =
        Command::new("python3").args(["-c", "import tomllib"]).output().is_ok_and(|found| found.status.success());
    if !found {
        println!("skipped: no python3 from 3.11 on");
    }
    found
}

fn calls(folder: &Path) -> Vec<Value> {
    let text = store::read_to_string(&folder.join("calls.jsonl")).unwrap();
    // The last one may be being written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn write(folder: &Path) {
    for name in ["wandb", "mlflow", "trackio"] {
        store::create_dir_all(&folder.join("modules")).unwrap();
        store::write_atomic(&folder.join(format!("modules/{name}.py")), RECORDER).unwrap();
    }
    let run = folder.join("runs/one");
    store::create_dir_all(&run).unwrap();
    store::write_atomic(&run.join("manifest.json"), "{}").unwrap();
    store::write_atomic(&run.join("config.toml"), "[train]\nsteps = 2\nevaluate_every = 2\n").unwrap();
    let metrics = "{\"step\":1,\"reward/mean\":0.5,\"entropy\":null,\"crc32c\":7}\n{\"step\":2,\"reward/mean\":0.75,\"crc32c\":8}\n";
    store::write_atomic(&run.join("metrics.jsonl"), metrics).unwrap();
    store::write_atomic(
        &run.join("timings.jsonl"),
        "{\"step\":1,\"time/step_s\":2.5,\"time/unix_s\":1e9,\"crc32c\":9}\n{\"step\":2,\"ti",
    )
    .unwrap();
    store::write_atomic(&run.join("evaluations.jsonl"), "{\"step\":2,\"eval/reward/mean\":0.25,\"crc32c\":1}\n")
        .unwrap();
}

#[test]
fn every_logger_is_given_each_whole_line_once() {
    if !is_there() {
        return;
    }
    for to in ["wandb", "mlflow", "trackio"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let output = script(folder.path(), &["runs/one", "--to", to, "--once"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let calls = calls(folder.path());
        let logged: Vec<(Value, Value)> = calls
            .iter()
            .filter(|call| call[0] == "log")
            .map(|call| match to {
                "wandb" => {
                    let mut numbers = call[1].clone();
                    (numbers.as_object_mut().unwrap().remove("step").unwrap(), numbers)
                }
                _ => (call[1].clone(), call[2].clone()),
            })
            .collect();
        let expected = [
            (json!(1), json!({"reward/mean": 0.5})),
            (json!(2), json!({"reward/mean": 0.75})),
            (json!(1), json!({"time/step_s": 2.5})),
            (json!(2), json!({"eval/reward/mean": 0.25})),
        ];
        assert_eq!(logged, expected, "{to}");
        assert_eq!(calls.last().unwrap()[0], "finish", "{to}");
        let told = serde_json::to_string(&calls).unwrap();
        assert!(told.contains("one") && told.contains("evaluate_every"), "{told}");
    }
}

#[test]
fn a_run_is_followed_to_its_last_step_and_taken_back_lines_are_not_sent_twice() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let path = folder.path().to_path_buf();
    let follower = std::thread::spawn(move || script(&path, &["runs/one", "--to", "trackio", "--every", "0.1"]));
    let timings = folder.path().join("runs/one/timings.jsonl");
    let has_first = || store::exists(&folder.path().join("calls.jsonl")) && calls(folder.path()).len() > 4;
    while !has_first() && !follower.is_finished() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // The run was killed amid its second line, and goes on from its beginning.
    store::write_atomic(&timings, "").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut file = store::append(&timings).unwrap();
    for step in 1..=2 {
        writeln!(file, "{{\"step\":{step},\"time/step_s\":{step}.5,\"crc32c\":1}}").unwrap();
    }
    let output = follower.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let calls = calls(folder.path());
    let steps: Vec<&Value> =
        calls.iter().filter(|call| call[2].get("time/step_s").is_some()).map(|call| &call[1]).collect();
    assert_eq!(steps, [1, 2]);
}

#[test]
fn a_folder_that_is_no_run_and_a_package_that_is_missing_are_named() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = script(folder.path(), &["runs/one", "--to", "wandb"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("`runs/one` is not a run directory"), "{said}");
    write(folder.path());
    store::write_atomic(
        &folder.path().join("modules/wandb.py"),
        "raise ModuleNotFoundError(\"No module named 'wandb'\")",
    )
    .unwrap();
    let output = script(folder.path(), &["runs/one", "--to", "wandb"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("hint: `pip install wandb`"), "{said}");
}
