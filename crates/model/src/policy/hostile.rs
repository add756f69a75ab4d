//! Directories that are made to do harm: each is refused by name, quickly and in little memory, or is harmless.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{DType, Device};
use memtrain_corpora::store;
use serde_json::{Map, Value, json};

use super::PolicyTokenizer;
use super::directory::{self, load, write};
use super::stored::{StoredWeights, WEIGHTS, WEIGHTS_INDEX};
use super::{Decoder, Policy, PolicyConfig, PolicyError, preset, stored_decoder};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Writes a whole policy, as others do: nothing is on record of its files.
fn sound(directory: &Path) -> Result<(), PolicyError> {
    let config = PolicyConfig { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, ..preset::tiny(260) };
    write(&Policy::new(Decoder::init(config, 5, &Device::Cpu, DType::F32)?, PolicyTokenizer::of_bytes()?)?, directory)
}

fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Outcome {
    let mut json: Map<String, Value> = store::read_json(path)?;
    change(&mut json);
    store::write_json(path, &json)?;
    Ok(())
}

/// What loading says, and at once.
fn message(directory: &Path) -> String {
    let started = Instant::now();
    let message = load(directory, &Device::Cpu, DType::F32).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}: {message}", started.elapsed());
    message
}

#[test]
fn sizes_of_a_configuration_are_those_of_the_weights() -> Outcome {
    let folder = tempfile::tempdir()?;
    let policy = folder.path().join("policy");
    sound(&policy)?;
    assert_eq!(message(&policy), "");
    let config = store::read(&policy.join("config.json"))?;
    for key in [
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "max_position_embeddings",
    ] {
        for size in [1_u64 << 40, 1_000_000_000_000, u64::MAX - 1, u64::MAX] {
            change(&policy.join("config.json"), |json| drop(json.insert(key.to_owned(), json!(size))))?;
            let said = message(&policy);
            assert!(said.contains("expected") && said.contains('`'), "{key} = {size}: {said}");
            store::write_atomic(&policy.join("config.json"), &config)?;
        }
    }
    // Far below any limit, and still not what the file holds.
    for (key, size) in [
        ("num_hidden_layers", 4_000),
        ("hidden_size", 1 << 20),
        ("intermediate_size", 1 << 22),
        ("vocab_size", 1 << 28),
    ] {
        change(&policy.join("config.json"), |json| drop(json.insert(key.to_owned(), json!(size))))?;
        let said = message(&policy);
        assert!(said.starts_with("tensor `model."), "{key} = {size}: {said}");
        let shape = directory::load_config(&policy)?;
        assert!(stored_decoder::check_tensors(&StoredWeights::open(&policy)?, &shape).is_err(), "{key}");
        store::write_atomic(&policy.join("config.json"), &config)?;
    }
    Ok(())
}

#[test]
fn files_of_weights_stay_in_their_folder_and_their_headers_are_not_believed() -> Outcome {
    let folder = tempfile::tempdir()?;
    let policy = folder.path().join("policy");
    sound(&policy)?;
    let weights = store::read(&policy.join(WEIGHTS))?;
    for length in [0, 7, weights.len() as u64, 1 << 40, 1 << 63, u64::MAX] {
        let lie = [&length.to_le_bytes()[..], &weights[8..]].concat();
        store::write_atomic(&policy.join(WEIGHTS), lie)?;
        let said = message(&policy);
        assert!(said.contains("cannot be read"), "{length}: {said}");
    }
    store::remove_file(&policy.join(WEIGHTS))?;
    for name in ["../policy/model.safetensors", "/etc/hostname", "a\\b", "part\0.safetensors", "\u{1b}[2J", "..", ""] {
        store::write_json(&policy.join(WEIGHTS_INDEX), &json!({"weight_map": {"model.norm.weight": name}}))?;
        let said = message(&policy);
        assert!(!said.is_empty() && !said.contains(['\0', '\u{1b}']), "{name:?}: {said:?}");
    }
    Ok(())
}

#[test]
fn a_tokenizer_or_a_template_that_explodes_is_refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    let policy = folder.path().join("policy");
    sound(&policy)?;
    let tokenizer = store::read(&policy.join("tokenizer.json"))?;
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    for (key, value, part) in [
        ("normalizer", replace(json!({"String": ""}), "x"), "normalizer.pattern"),
        ("normalizer", replace(json!({"Regex": "."}), &"y".repeat(1 << 16)), "normalizer.content"),
        ("normalizer", replace(json!({"Regex": "a*"}), "aa"), "tokenizer"),
        ("pre_tokenizer", json!({"type": "FixedLength", "length": 0}), "pre_tokenizer.length"),
        (
            "pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "((a*)*)*b"}, "behavior": "Isolated", "invert": false}),
            "Regex",
        ),
    ] {
        change(&policy.join("tokenizer.json"), |json| drop(json.insert(key.to_owned(), value.clone())))?;
        let said = message(&policy);
        assert!(said.contains(part), "{value}: {said}");
        store::write_atomic(&policy.join("tokenizer.json"), &tokenizer)?;
    }
    // A template is run when there is a conversation, with an error that says whose it is and which limit it passed.
    let doubling =
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}";
    change(&policy.join("tokenizer_config.json"), |json| {
        drop(json.insert("chat_template".to_owned(), json!(doubling)))
    })?;
    let loaded = load(&policy, &Device::Cpu, DType::F32)?;
    let said = loaded.tokenizer.chat_prompt_ids("hello").err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("tokenizer_config.json, line 1") && said.contains("bytes of work and memory"), "{said}");
    store::write_atomic(&policy.join("chat_template.jinja"), format!("{{{{ {} }}}}", "(".repeat(100_000)))?;
    let said = message(&policy);
    assert!(said.contains("chat_template.jinja") && said.contains("levels of nesting"), "{said}");
    Ok(())
}
