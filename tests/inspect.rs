//! Output of `corpus inspect`, `corpus stats` and `corpus verify`, word for word.
//!
//! The texts are in `tests/inspect`; `MEMTRAIN_WRITE_SHOWN=1 cargo test --test inspect` writes them anew, to be read before they are
//! committed.

mod small_world;

use std::path::Path;
use std::process::Command;

use memtrain_corpora::store;

/// Stdout of a command that must succeed.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_corpus_is_shown_as_it_was_when_last_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), "");
    said(folder.path(), &["corpus", "build", "--config", "small.toml"]);
    let shown = [
        ("stats.txt", &["corpus", "stats", "corpus"][..]),
        ("stats.json", &["corpus", "stats", "corpus", "--json"]),
        ("train-0.txt", &["corpus", "inspect", "corpus", "--full", "--width", "80"]),
        (
            "train-0-colour.txt",
            &["corpus", "inspect", "corpus", "--role", "pivot", "--color", "always", "--width", "80"],
        ),
        ("heldout-1.json", &["corpus", "inspect", "corpus", "--document", "heldout-00000001", "--json"]),
    ];
    for (name, command) in shown {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inspect").join(name);
        let got = said(folder.path(), command);
        if std::env::var_os("MEMTRAIN_WRITE_SHOWN").is_some() {
            store::write_atomic(&path, &got).unwrap();
        }
        let expected = store::read_to_string(&path).unwrap();
        let differs = expected.lines().zip(got.lines()).find(|(expected, got)| expected != got);
        assert!(expected == got, "{command:?} prints otherwise than {name}, first in {differs:?}");
    }
}

#[test]
fn verify_names_what_is_damaged_and_build_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), "");
    said(folder.path(), &["corpus", "build", "--config", "small.toml"]);
    let whole = said(folder.path(), &["corpus", "verify", "corpus"]);
    // A line each for the stages and for the policy beside them.
    assert_eq!(whole.lines().count(), 6, "{whole}");
    assert_eq!(said(folder.path(), &["corpus", "verify", "--config", "small.toml"]), whole);

    let name = "corpus/synthesize/data/train-00000-of-00001.parquet";
    let path = folder.path().join(name);
    let mut bytes = store::read(&path).unwrap();
    let (middle, whole) = (bytes.len() / 2, bytes.clone());
    bytes[middle] ^= 1;
    store::write_atomic(&path, &bytes).unwrap();
    let verify = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
        command.current_dir(folder.path()).args(["corpus", "verify", "corpus"]).args(more).output().unwrap()
    };
    let output = verify(&[]);
    assert_eq!(output.status.code(), Some(1));
    let (said_out, said_err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let got = store::hash_file(&path).unwrap();
    let line = format!("damaged: `{name}`: its BLAKE3 is {got}, {} is recorded", store::hash_bytes(&whole));
    assert!(said_out.ends_with(&format!("{line}\n")), "{said_out}");
    assert!(said_err.starts_with("error: 1 file of `corpus` is damaged\nhint: "), "{said_err}");

    let output = verify(&["--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), found["stages"].as_array().map(Vec::len)), (Some(1), Some(5)));
    assert_eq!(found["damaged"][0]["path"], name);

    said(folder.path(), &["corpus", "build", "--config", "small.toml"]);
    assert_eq!(store::read(&path).unwrap(), whole);
    assert_eq!(verify(&[]).status.code(), Some(0));
}
