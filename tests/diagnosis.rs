//! Diagnosis of training steps that teach nothing, in the log of the binary: one step of each wrong configuration.

mod small_reader;
mod small_world;

use std::path::Path;
use std::process::{Command, Output};

use memtrain_corpora::store;
use serde_json::Value;
use small_reader::READER;

const CONFIG: &str = r#"
    [objective]
    variant = "end-to-end"
    group_size = 2
    [train]
    steps = 1
    documents_per_step = 2
    checkpoint_every = 1
    log_samples = 1
    peak_tflops = 1.0
"#;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.current_dir(folder).args(arguments).env_remove("RUST_LOG").output().unwrap()
}

#[test]
fn the_log_names_the_cause_in_every_configuration() {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), &[READER, CONFIG].concat());
    let built = memtrain(folder.path(), &["corpus", "build", "small.toml"]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let train = |name: &str, set: &[&str]| {
        let name = format!("run.name={name}");
        let mut arguments = vec!["train", "small.toml", "--set", &name];
        arguments.extend(set.iter().flat_map(|set| ["--set", set]));
        let output = memtrain(folder.path(), &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    for (name, set, cause) in [
        ("greedy", &["sampling.temperature=0.0"][..], "`sampling.temperature` is 0"),
        ("greedy-kept", &["sampling.temperature=0.0", "objective.filter_groups=false"], "`sampling.temperature` is 0"),
        ("one", &["objective.group_size=1"], "`objective.group_size` must be 2 or more"),
        (
            "one-kept",
            &["objective.group_size=1", "objective.filter_groups=false"],
            "`objective.group_size` must be 2 or more",
        ),
        ("short", &["reader.answer_tokens=1"], "cut off by `reader.answer_tokens` without a \\boxed{}"),
        ("short-kept", &["reader.answer_tokens=1", "objective.filter_groups=false"], "without a \\boxed{}"),
    ] {
        let said = train(name, set);
        assert!(said.contains("step 1: ") && said.contains(cause), "{name}: {said}");
        // Kept groups may move weights by a penalty.
        assert!(said.contains("step 1: nothing was learned: ") || name.ends_with("-kept"), "{name}: {said}");
    }
    // Where some rewards differ, nothing but the rate stands in the way.
    let said = train("still", &["optimizer.learning_rate=0.0", "train.documents_per_step=6", "objective.group_size=8"]);
    assert!(said.contains("the learning rate is 0") || said.contains("of groups have equal rewards"), "{said}");

    // What was not measured is null, what was counted is 0.
    let metrics = store::read_to_string(&folder.path().join("runs/greedy/metrics.jsonl")).unwrap();
    let line: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    for (key, value) in [
        ("entropy", Value::Null),
        ("train/loss", Value::Null),
        ("train/grad_norm", Value::Null),
        ("sampling/importance_sampling_ratio/mean", Value::Null),
        ("train/updates", 0.0.into()),
        ("train/conversations", 0.0.into()),
        ("train/response_tokens", 0.0.into()),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    // A line a step and a rollout, in the log of the run as on stderr.
    let log = store::read_to_string(&folder.path().join("runs/greedy/logs/attempt_1.log")).unwrap();
    for part in
        ["Z step 1/1 E2E ", " var 0% ", " tok/s", "sample of step 1: train-0000", "  last memory: ", "  answer: "]
    {
        assert!(log.contains(part), "`{part}` is missing from {log}");
    }
}
