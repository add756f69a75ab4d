//! `memtrain policy gradient` against TRL's and verl's own loss functions and torch's gradients of them. The fixtures are
//! written by `scripts/loss_fixtures.py`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use memtrain_corpora::store;
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/loss")
}

fn gradient(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.args(["policy", "gradient", "--model"]).arg(fixtures()).args(arguments).output().unwrap()
}

/// The conversations of the fixture with or without what a case does not use.
fn batch(case: &Value, path: &Path) {
    let lines = store::read_to_string(&fixtures().join("batch.jsonl")).unwrap();
    let mut text = String::new();
    for line in lines.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let object = line.as_object_mut().unwrap();
        for (flag, key) in [("old", "old_logprobs"), ("ref", "ref_logprobs")] {
            if case[flag] == json!(false) {
                object.remove(key);
            }
        }
        text.push_str(&format!("{line}\n"));
    }
    store::write_atomic(path, text).unwrap();
}

fn f32s(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn close(name: &str, what: &str, got: f64, expected: f64) {
    assert!((got - expected).abs() <= 1e-4 * expected.abs().max(1e-2), "{name}: {what} is {got}, expected {expected}");
}

#[test]
fn losses_and_gradients_are_those_of_trl_and_verl() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, written) = (folder.path().join("batch.jsonl"), folder.path().join("gradients.safetensors"));
    let cases: Vec<Value> = store::read_json(&fixtures().join("cases.json")).unwrap();
    let reference = store::read(&fixtures().join("gradients.safetensors")).unwrap();
    let reference = SafeTensors::deserialize(&reference).unwrap();
    assert_eq!(cases.len(), 21);
    let (mut clipped, mut held) = (0, 0);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        batch(case, &lines);
        let mut arguments = vec!["--json".to_owned()];
        arguments.extend(["--batch".to_owned(), lines.display().to_string()]);
        arguments.extend(["--gradients".to_owned(), written.display().to_string()]);
        for (key, value) in case["settings"].as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match key.as_str() {
                "loss.aggregation" => arguments.extend(["--loss".to_owned(), value]),
                _ => arguments.extend(["--set".to_owned(), format!("{key}={value}")]),
            }
        }
        let output = gradient(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let (low, high) = (number(&report["clip_ratio"]["low"]), number(&report["clip_ratio"]["high"]));
        clipped += usize::from(low > 0.0 && high > 0.0);
        held += usize::from(number(&report["clip_ratio"]["dual"]) > 0.0);
        for (key, expected) in case["expected"].as_object().unwrap() {
            let got = match key.as_str() {
                "clip_low" => low,
                "clip_high" => high,
                "clip_low_or_high" => low + high,
                "clip_dual" => number(&report["clip_ratio"]["dual"]),
                key => number(&report[key]),
            };
            close(name, key, got, number(expected));
        }
        let ours = store::read(&written).unwrap();
        let ours = SafeTensors::deserialize(&ours).unwrap();
        let mut total = 0.0;
        for parameter in ours.names() {
            let (got, expected) = (f32s(&ours, parameter), f32s(&reference, &format!("{name}:{parameter}")));
            let scale = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            for (got, expected) in got.iter().zip(&expected) {
                assert!((got - expected).abs() <= 1e-4 * scale, "{name}: {parameter}: {got}, expected {expected}");
            }
            let norm = expected.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            close(name, parameter, number(&report["parameters"][parameter]), norm.sqrt());
            total += norm;
        }
        close(name, "grad_norm", number(&report["grad_norm"]), total.sqrt());
        let counted = reference.names().iter().filter(|key| key.starts_with(&format!("{name}:"))).count();
        assert_eq!(ours.names().len(), counted, "{name}: a parameter is missing");
    }
    assert!(clipped >= 12 && held >= 6, "the cases clip too little to test anything: {clipped}, {held}");
}

#[test]
fn what_is_wrong_in_a_batch_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("batch.jsonl");
    let line = |advantages: Value, extra: Value| {
        let mut line = json!({"prompt_ids": [1, 2], "response_ids": [3, 4], "advantages": advantages});
        line.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        line
    };
    let good = line(json!(0.5), json!({}));
    let run = |second: &Value, arguments: &[&str]| {
        store::write_atomic(&path, format!("{good}\n{second}\n")).unwrap();
        gradient(&[&["--batch", path.to_str().unwrap()][..], arguments].concat())
    };
    for (second, arguments, code, part) in [
        (line(json!([0.5]), json!({})), &[][..], 1, "line 2: `advantages` has 1 numbers for 2"),
        (line(json!(1), json!({"old_logprobs": [-1.0]})), &[], 1, "line 2: `old_logprobs` has 1 numbers"),
        (line(json!(1), json!({"ref_logprobs": [-1.0, -1.0]})), &[], 1, "1 of 2 lines have `ref_logprobs`"),
        (json!({"prompt_ids": [1], "response_ids": [], "advantages": 1}), &[], 1, "line 2: `response_ids` is empty"),
        (json!({"prompt_ids": [99], "response_ids": [1], "advantages": 1}), &[], 1, "line 2: `prompt_ids` holds id 99"),
        (json!({"prompt_ids": [1], "response_ids": [1]}), &[], 1, "line 2"),
        (line(json!(1), json!({})), &["--loss", "dapoo"], 2, "`--loss dapoo` is unknown"),
        (line(json!(1), json!({})), &["--set", "loss.dual_clip=1"], 2, "`loss.dual_clip` is 1"),
        (line(json!(1), json!({})), &["--set", "loss.kl_estimator=k4"], 2, "k4"),
    ] {
        let output = run(&second, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{second}: {said}");
        assert!(said.contains(part) && said.contains("error: "), "`{part}` is missing from: {said}");
    }
    let output = run(&line(json!([1, -1]), json!({})), &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    for part in ["loss  ", "no `ref_logprobs`", "gradient norm", "model.layers.1.mlp.down_proj.weight"] {
        assert!(said.contains(part), "`{part}` is missing from: {said}");
    }
}
