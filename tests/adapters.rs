//! Training with adapters on bf16 weights, layer by layer, through the binary: what is saved, resumed and merged.

mod small_world;

use std::path::Path;
use std::process::{Command, Output};

use memtrain_corpora::store;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap()
}

fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = memtrain(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Behind the small world's, which ends in `[policy]`.
const CONFIG: &str = r#"
    precision = "bf16"
    [reader]
    prompts = "compact"
    chunk_tokens = 48
    memory_tokens = 32
    answer_tokens = 12
    context_tokens = 256
    cut_at = "sentence"
    [policy.lora]
    rank = 4
    targets = ["q_proj", "v_proj", "down_proj"]
    [objective]
    group_size = 4
    recall_samples = 4
    [update]
    activation_checkpointing = true
    micro_batch_tokens = 2048
    [optimizer]
    learning_rate = 1e-2
    warmup_steps = 1
    moments = "bf16"
    [train]
    steps = 2
    documents_per_step = 4
    checkpoint_every = 1
    keep_last = 0
"#;

#[test]
fn adapters_are_trained_saved_resumed_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, CONFIG);
    done(path, &["corpus", "build", "--config", "small.toml"]);
    let train = ["train", "--config", "small.toml"];
    done(path, &train);
    let checkpoint = |step: u64| path.join(format!("runs/memtrain/checkpoints/step_{step:06}"));
    for step in [1, 2] {
        assert!(store::exists(&checkpoint(step).join("adapter_config.json")));
        assert!(!store::exists(&checkpoint(step).join("model.safetensors")), "adapters alone");
    }
    let weights = |step| store::read(&checkpoint(step).join("adapter_model.safetensors")).unwrap();
    // Three layers, three matrices, two tensors each: some kilobytes where the policy has megabytes.
    assert!(weights(2).len() < 100_000);
    assert_ne!(weights(1), weights(2), "the second step moved nothing");
    let optimizer = |step| store::read(&checkpoint(step).join("training_state/optimizer.safetensors")).unwrap();
    assert!(optimizer(2).len() < weights(2).len() * 2, "moments of 16 bits of the adapters alone");

    // As if it had been killed after the first step.
    let (straight, state) = (weights(2), optimizer(2));
    store::remove_dir_all(&checkpoint(2)).unwrap();
    done(path, &train);
    assert_eq!((weights(2) == straight, optimizer(2) == state), (true, true), "resumed bit for bit");

    // The adapter and the policy merged from it say the same.
    let adapter = checkpoint(2).display().to_string();
    assert_eq!(done(path, &["policy", "merge-lora", "--adapter", &adapter, "--out", "merged"]).trim(), "merged");
    store::write_atomic(&path.join("lines.jsonl"), r#"{"prompt_ids": [5, 6, 7, 8], "response_ids": [9, 10, 2]}"#)
        .unwrap();
    let scores = |policy: &str| -> Vec<f64> {
        let line: serde_json::Value =
            serde_json::from_str(&done(path, &["policy", "score", policy, "--input", "lines.jsonl"])).unwrap();
        line["log_probs"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let (merged, adapted, base) = (scores("merged"), scores(&adapter), scores("corpus/policy-tiny"));
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart(&merged, &adapted) < 1e-3, "{merged:?} and {adapted:?}");
    assert!(apart(&merged, &base) > 1e-3, "{merged:?} and {base:?}");
}
