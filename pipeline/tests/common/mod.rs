//! The real data that tests may read.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;

/// The folder of real data, `None` (and a word about it) where it is not there.
pub fn real_data() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("MEMTRAIN_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    if store::is_dir(&folder) {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no MEMTRAIN_DATA at {}", folder.display());
    println!("skipped: no MEMTRAIN_DATA");
    None
}
