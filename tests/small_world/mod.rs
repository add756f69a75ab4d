//! A corpus of thirty fictional pages, which every test of a command can afford.

use std::path::Path;

use memtrain_corpora::store;

/// Tables that change it come behind.
pub const CONFIG: &str = r#"
    [run]
    corpus = "corpus"
    [world]
    num_pages = 30
    [corpus.ingest]
    dumps = ["dump.xml.bz2"]
    min_words = 6
    max_words = 24
    [corpus.tokenizer]
    source = "built-in:tiny"
    [corpus.synthesize]
    num_train = 6
    num_heldout = 2
    heldout_fraction = 0.3
    num_related = 2
    num_random = 2
    min_tokens = 20
    max_tokens = 288
    [policy]
    path = "built-in:tiny"
"#;

/// Writes `small.toml` into a folder.
pub fn write(folder: &Path, more: &str) {
    store::write_atomic(&folder.join("small.toml"), format!("{CONFIG}{more}")).unwrap();
}
