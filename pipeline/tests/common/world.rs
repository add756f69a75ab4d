//! A corpus of a generated world, and what tests look at in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use memtrain_corpora::store;
use memtrain_corpora::world::{WorldConfig, write_dump};
use memtrain_corpora::{Document, Split};
use memtrain_pipeline::{CorpusConfig, Progress, documents};

/// A world of 150 pages, its dump, and a configuration of the size of the quickstart's.
pub fn quickstart(folder: &Path) -> CorpusConfig {
    let dump = folder.join("world.xml.bz2");
    write_dump(&dump, &WorldConfig::default()).unwrap();
    let mut config = CorpusConfig { seed: 11, workers: 2, ..CorpusConfig::default() };
    config.ingest.dumps = vec![dump.to_str().unwrap().to_owned()];
    (config.ingest.min_words, config.ingest.max_words) = (8, 25);
    config.entities.passages_per_shard = 200;
    config.tokenizer.vocab_size = 1200;
    config.tokenizer.added_words = ["[MASK]", "[TARGET]", "\\boxed{"].map(str::to_owned).to_vec();
    let synthesize = &mut config.synthesize;
    (synthesize.num_train, synthesize.num_heldout, synthesize.heldout_fraction) = (90, 40, 0.25);
    (synthesize.num_related, synthesize.num_random) = (4, 3);
    (synthesize.min_tokens, synthesize.max_tokens) = (120, 260);
    synthesize.documents_per_shard = 40;
    config
}

/// Every file below a folder with its hash, but for locks.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in store::list(&folder).unwrap() {
            let text = path.to_string_lossy().into_owned();
            if store::is_dir(&path) {
                folders.push(path);
            } else if !text.ends_with("lock") {
                files.insert(path.clone(), store::hash_file(&path).unwrap());
            }
        }
    }
    files
}

pub fn all_documents(out: &Path, split: Split) -> Vec<Document> {
    documents(out, split).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Stops after so many questions whether to.
pub struct StopAfter(pub AtomicUsize);

impl Progress for StopAfter {
    fn stopping(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1))).unwrap() == 0
    }
}
