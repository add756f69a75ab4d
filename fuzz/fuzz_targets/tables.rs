//! Any bytes as a Parquet table: rows or an error, in the memory that the search allows.

#![no_main]

use std::panic;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use memtrain_corpora::store::{json_rows, text_columns};

/// Where an input is laid: tables are read from files.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    // The store catches the decoder's panics, and the search's own hook would end the process before.
    panic::set_hook(Box::new(|_| {}));
    std::env::temp_dir().join(format!("memtrain-fuzz-{}.parquet", std::process::id()))
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*PATH, bytes).expect("a temporary file");
    let mut rows = 0usize;
    if let Ok(found) = text_columns(&PATH, &["title", "text"]) {
        rows += found.map_while(Result::ok).count();
    }
    if let Ok(found) = json_rows(&PATH) {
        rows += found.map_while(Result::ok).count();
    }
    // 200 times the file and 256 MiB, 32 bytes a row at least, both ways.
    assert!(rows <= 2 * (200 * bytes.len() + (256 << 20)) / 32, "{rows} rows of {} bytes", bytes.len());
});
