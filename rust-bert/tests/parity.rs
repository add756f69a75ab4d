//! rust-bert on the tiny random models of `encoder/tests/parity`: the labels must be those that transformers gives, with
//! which the crate `memtrain-encoder` is compared as well. Built with the feature `rust-bert` alone.
#![cfg(feature = "rust-bert")]
#![expect(clippy::disallowed_methods, reason = "this crate does not see corpora::store, to stay light to build")]

use std::fs;
use std::path::{Path, PathBuf};

use memtrain_rust_bert::{Architecture, Device, Files, LabelledWord, Recognizer};
use serde_json::Value;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn fixture(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/parity").join(model)
}

fn json(path: &Path) -> Outcome<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// A fixture's files as rust-bert wants them: the vocabulary in a file of its own.
fn files(model: &str, folder: &Path) -> Outcome<Files> {
    let mut config = json(&fixture(model).join("config.json"))?;
    let tokenizer = json(&fixture(model).join("tokenizer.json"))?;
    let vocabulary = tokenizer["model"]["vocab"].as_object().ok_or("no vocabulary")?;
    let name = config["model_type"].as_str().ok_or("no model_type")?.to_owned();
    let architecture = Architecture::from_model_type(&name).ok_or("unknown architecture")?;
    if name == "distilbert" {
        // transformers 5 no longer writes it, and rust-bert asks for it.
        config["tie_weights_"] = true.into();
    }
    fs::write(folder.join("config.json"), config.to_string())?;
    let (file, merges) = architecture.tokenizer_files();
    if merges.is_some() {
        fs::write(folder.join(file), tokenizer["model"]["vocab"].to_string())?;
        let pair = |pair: &Value| Some(format!("{} {}\n", pair[0].as_str()?, pair[1].as_str()?));
        let merges: String = tokenizer["model"]["merges"].as_array().into_iter().flatten().filter_map(pair).collect();
        fs::write(folder.join("merges.txt"), format!("#version: 0.2\n{merges}"))?;
    } else {
        let mut tokens: Vec<(&String, u64)> =
            vocabulary.iter().filter_map(|(token, id)| Some((token, id.as_u64()?))).collect();
        tokens.sort_by_key(|(_, id)| *id);
        fs::write(folder.join(file), tokens.iter().map(|(token, _)| format!("{token}\n")).collect::<String>())?;
    }
    Ok(Files {
        architecture,
        weights: fixture(model).join("model.safetensors"),
        config: folder.join("config.json"),
        vocabulary: folder.join(file),
        merges: merges.map(|merges| folder.join(merges)),
        lower_case: tokenizer["normalizer"]["lowercase"].as_bool().unwrap_or(false),
    })
}

/// Neighbouring words of one kind, joined as transformers' pipeline does with `aggregation_strategy = "first"`.
fn spans(words: &[LabelledWord]) -> Vec<(usize, usize, String)> {
    let mut spans: Vec<(usize, usize, String)> = Vec::new();
    let mut open = false;
    for word in words {
        let Some((part, kind)) = word.label.split_once('-') else {
            open = false;
            continue;
        };
        match spans.last_mut() {
            Some(last) if open && part == "I" && last.2 == kind => last.1 = word.span.end,
            _ => spans.push((word.span.start, word.span.end, kind.to_owned())),
        }
        open = true;
    }
    spans
}

fn check(model: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let recognizer = Recognizer::open(files(model, folder.path())?, Device::Cpu)?;
    let expected = json(&fixture(model).join("expected.json"))?;
    let rows = expected.as_array().ok_or("no rows")?;
    let texts: Vec<&str> = rows.iter().filter_map(|row| row["text"].as_str()).collect();
    let mut compared = 0;
    for (row, words) in rows.iter().zip(recognizer.words(&texts)?) {
        let expected: Vec<(usize, usize, String)> = row["spans"]["first"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|span| serde_json::from_value::<(usize, usize, String, f64)>(span.clone()))
            .map(|span| span.map(|(start, end, label, _)| (start, end, label)))
            .collect::<Result<_, _>>()?;
        assert_eq!(spans(&words), expected, "{model}: {}", row["text"]);
        compared += expected.len();
    }
    assert!(compared > 30, "{model}: only {compared} spans");
    Ok(())
}

#[test]
fn labels_are_those_of_transformers_bert() -> Outcome {
    check("bert")
}

#[test]
fn labels_are_those_of_transformers_distilbert() -> Outcome {
    check("distilbert")
}

#[test]
fn what_rust_bert_cannot_read_is_an_error() -> Outcome {
    let folder = tempfile::tempdir()?;
    let files = files("bert", folder.path())?;
    let nowhere = Files { weights: folder.path().join("none.ot"), ..files.clone() };
    let error = Recognizer::open(nowhere, Device::Cpu).err().ok_or("it was read")?;
    assert!(error.to_string().contains("could not load the model"), "{error}");
    fs::write(&files.config, "{}")?;
    let error = Recognizer::open(files, Device::Cpu).err().ok_or("it was read")?;
    assert!(error.to_string().contains("could not load the model"), "{error}");
    Ok(())
}
