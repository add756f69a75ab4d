//! What several tests share.

use std::path::PathBuf;

/// A file of the folder of real data; `None`, with a line that says so, where it is absent. In CI that is a failure.
pub fn real_data(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MEMTRAIN_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let file = folder.join(path);
    if memtrain_corpora::store::exists(&file) {
        return Some(file);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no MEMTRAIN_DATA: {}", file.display());
    println!("skipped: no MEMTRAIN_DATA ({})", file.display());
    None
}
