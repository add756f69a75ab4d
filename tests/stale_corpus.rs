//! A corpus that was built with other keys than the configuration has: refused, with the keys, by all that reads documents.

mod small_world;

use std::path::Path;
use std::process::{Command, Output};

use memtrain_corpora::store;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .current_dir(folder)
        .args(arguments)
        .env("HF_HUB_CACHE", folder.join("hub"))
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

/// Exit code, stdout and stderr.
fn said(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = memtrain(folder, arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A configuration that is wrong otherwise: who comes to that has found nothing wrong with the corpus.
const PASSED: &str = "reader.context_tokens=1000000";

#[test]
fn documents_of_another_configuration_are_refused_with_the_keys_and_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    assert!(memtrain(path, &["corpus", "build", "small.toml"]).status.success());
    let changes = [
        ("corpus.synthesize.num_train=8", "`corpus.synthesize.num_train` is 6 in it and 8 here"),
        ("corpus.seed=7", "`corpus.seed` is 0 in it and 7 here"),
        ("corpus.ingest.short_passages=keep", "`corpus.ingest.short_passages` is \"drop\" in it and \"keep\" here"),
        ("corpus.index.near_copy_similarity=0.3", "`corpus.index.near_copy_similarity` is 0.8 in it and 0.3 here"),
        ("corpus.entities.rules=false", "`corpus.entities.rules` is true in it and false here"),
        ("corpus.synthesize.eligible.labels=[\"GPE\"]", "`corpus.synthesize.eligible.labels` is ["),
        ("corpus.tokenizer.source=built-in:mini", "`corpus.tokenizer.source` is \"built-in:mini\" here"),
        ("corpus.tokenizer.source=train", "`corpus.tokenizer.source` is \"train\" here"),
    ];
    for (change, told) in changes {
        let (code, _, log) = said(path, &["train", "small.toml", "--set", change]);
        assert!(code == Some(1) && log.contains("was built with another configuration") && log.contains(told), "{log}");
        assert!(
            log.contains(&format!("`memtrain corpus build small.toml --set '{change}'` brings it up to date")),
            "{log}"
        );
    }
    let change = "corpus.synthesize.num_train=8";
    for command in [
        &["sft", "--config", "small.toml", "--out", "warmed"][..],
        &["eval", "reconstruction", "small.toml"],
        &["eval", "recall", "small.toml"],
        &["eval", "memory", "small.toml"],
    ] {
        let (code, _, log) = said(path, &[command, &["--set", change]].concat());
        assert!(code == Some(1) && log.contains("is 6 in it and 8 here"), "{command:?}: {log}");
    }
    // The way out that is told, and keys that no stage keeps.
    let (_, _, log) = said(path, &["train", "small.toml", "--set", "corpus.seed=7"]);
    assert!(log.contains("add --set 'corpus.seed=0'"), "{log}");
    let set = ["--set", "corpus.seed=7", "--set", "corpus.seed=0", "--set", "corpus.workers=1", "--set", PASSED];
    let (code, _, log) = said(path, &[&["train", "small.toml"][..], &set].concat());
    assert!(code == Some(2) && log.contains("reader.context_tokens"), "{log}");
    // Another dump may have been named on the command line: that is said, and no error.
    store::write_atomic(&path.join("other.xml"), "x").unwrap();
    let set = ["--set", "corpus.ingest.dumps=[\"other.xml\"]", "--set", PASSED];
    let (code, _, log) = said(path, &[&["train", "small.toml"][..], &set].concat());
    assert!(code == Some(2) && log.contains("was built from other dumps"), "{log}");
    // A plan that is damaged says nothing of the keys.
    let plan = path.join("corpus/synthesize/plan.json");
    store::write_atomic(&plan, &store::read(&plan).unwrap()[..40]).unwrap();
    let (code, _, log) = said(path, &["train", "small.toml", "--set", PASSED]);
    assert!(code == Some(1) && log.contains("plan.json"), "{log}");
}

#[test]
fn a_dry_run_tells_how_many_documents_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    let documents = |set: &[&str]| {
        let (code, out, log) = said(path, &[&["train", "small.toml", "--dry-run"][..], set].concat());
        assert_eq!(code, Some(0), "{log}");
        let line = out.lines().find(|line| line.starts_with("# documents")).unwrap().to_owned();
        (line, log)
    };
    let (line, _) = documents(&[]);
    assert_eq!(line, "# documents            6 training, 2 held out, once the corpus is built");
    assert!(memtrain(path, &["corpus", "build", "small.toml"]).status.success());
    let (line, log) = documents(&[]);
    assert_eq!(line, "# documents            6 training, 2 held out, in `corpus`");
    assert!(!log.contains("another configuration"), "{log}");
    let (line, log) = documents(&["--set", "corpus.synthesize.num_train=8"]);
    let expected = "8 training, 2 held out, once the corpus is built again: `corpus` has 6 training, 2 held out";
    assert_eq!(line, format!("# documents            {expected}"));
    assert!(
        log.contains("`corpus.synthesize.num_train` is 6 in it and 8 here") && log.contains("`train` refuses it"),
        "{log}"
    );
}
