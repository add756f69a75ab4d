//! `memtrain … | head`: whoever reads may stop reading.

#![cfg(unix)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use memtrain_corpora::store;

/// Runs a command whose output nobody reads.
fn unread(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_closed_output_ends_every_command_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    store::write_atomic(&folder.join("a.toml"), "[corpus.ingest]\ndumps = [\"dump.xml.bz2\"]").unwrap();
    let page = "'''Velm''' is a [[town]] near [[Ost]]. ".repeat(10_000);
    for (arguments, input) in [
        (&["--help"][..], ""),
        (&["world", "--pages", "30", "--out", "dump.xml.bz2"], ""),
        (&["corpus", "status", "--config", "a.toml"], ""),
        (&["train", "--config", "a.toml", "--dry-run"], ""),
        (&["wikitext"], page.as_str()),
        (&["wikitext", "--json"], page.as_str()),
        (&["entities", "tag"], page.as_str()),
    ] {
        let output = unread(folder, arguments, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {:?}: {said}", output.status);
        assert!(!said.contains("panicked") && !said.contains("error"), "{arguments:?}: {said}");
    }
    assert!(store::exists(&folder.join("dump.xml.bz2")), "what was asked for is there, read or not");
}

#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::disallowed_methods, reason = "a device, not a file")]
fn a_full_output_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .arg("wikitext")
        .stdin(Stdio::piped())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            child.stdin.take().unwrap().write_all(b"Velm is a town.")?;
            child.wait_with_output()
        })
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && said.contains("No space left"), "{said}");
}
