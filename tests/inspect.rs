//! What `corpus inspect` and `corpus stats` print, word for word.
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
