//! Data that tests may read and the repository does not hold: `MEMTRAIN_DATA`, or `../shared/data` beside the repository.
//! Where it is missing a test says so on stderr, also when its output is captured, and passes; with `MEMTRAIN_REQUIRE_DATA=1`
//! it fails.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use memtrain_corpora::store;

/// A file or folder of the data, by its path in there; `None`, with a line that counts it, where it is missing.
pub fn real_data(path: &str) -> Option<PathBuf> {
    let named = std::env::var_os("MEMTRAIN_DATA").filter(|folder| !folder.is_empty());
    let found = named.map_or_else(|| beside_the_repository().join(path), |folder| Path::new(&folder).join(path));
    if store::exists(&found) {
        return Some(found);
    }
    let required = std::env::var_os("MEMTRAIN_REQUIRE_DATA").is_some_and(|value| !value.is_empty() && value != "0");
    assert!(
        !required,
        "MEMTRAIN_REQUIRE_DATA is set and there is no `{}`: MEMTRAIN_DATA names the folder",
        found.display()
    );
    skipped(&found);
    None
}

/// `../shared/data`, seen from the root of the repository.
fn beside_the_repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| store::exists(&folder.join("Cargo.lock")));
    root.unwrap_or(package).join("../shared/data")
}

/// Tells past the test harness, which keeps what `println!` and `eprintln!` say of a test that passes.
fn skipped(missing: &Path) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let thread = std::thread::current();
    let (test, missing) = (thread.name().unwrap_or("a test"), missing.display());
    let line =
        format!("skipped ({number} in this file): {test}: no `{missing}`; MEMTRAIN_DATA names the folder of data\n");
    // Nobody can be told that stderr is closed.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
