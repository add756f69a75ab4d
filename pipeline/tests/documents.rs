//! Finished documents: found by name, described by a card, the same whatever the threads, and mended where damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use memtrain_corpora::store;
use memtrain_corpora::world::{WorldConfig, write_dump};
use memtrain_corpora::{Passage, PassageMentions, PassageText, Split};
use memtrain_pipeline::{
    CorpusConfig, PipelineError, Progress, StageName, build, document, documents, mentions, passages, run_shard,
};

/// A world of 80 pages and a configuration of four shards of documents.
fn small(folder: &Path) -> CorpusConfig {
    let dump = folder.join("world.xml.bz2");
    if !store::exists(&dump) {
        write_dump(&dump, &WorldConfig { num_pages: 80, ..WorldConfig::default() }).unwrap();
    }
    let mut config = CorpusConfig { seed: 5, workers: 2, ..CorpusConfig::default() };
    config.ingest.dumps = vec![dump.to_str().unwrap().to_owned()];
    (config.ingest.min_words, config.ingest.max_words) = (8, 25);
    config.tokenizer.vocab_size = 700;
    let synthesize = &mut config.synthesize;
    (synthesize.num_train, synthesize.num_heldout, synthesize.heldout_fraction) = (45, 12, 0.25);
    (synthesize.num_related, synthesize.num_random) = (3, 4);
    (synthesize.min_tokens, synthesize.max_tokens) = (80, 600);
    synthesize.documents_per_shard = 15;
    config
}

/// Path and hash of every file of the stage, locks left out.
fn contents(out: &Path, stage: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let folder = out.join(stage);
    for inner in [folder.clone(), folder.join("data"), folder.join("shards")] {
        for path in store::list(&inner).unwrap() {
            let name = path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
            if !store::is_dir(&path) && !name.ends_with("lock") {
                found.insert(name, store::hash_file(&path).unwrap());
            }
        }
    }
    found
}

/// Changes one byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = store::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    store::write_atomic(path, bytes).unwrap();
}

#[test]
fn a_document_does_not_depend_on_threads_or_on_other_documents() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = small(folder.path());
    let out = folder.path().join("corpus");
    config.workers = 1;
    build(&config, &out, &()).unwrap();
    let one = contents(&out, "synthesize");
    let all: Vec<_> = documents(&out, Split::Train).unwrap().map(|document| document.unwrap()).collect();
    store::remove_dir_all(&out.join("synthesize")).unwrap();
    config.workers = 3;
    build(&config, &out, &()).unwrap();
    assert_eq!(one, contents(&out, "synthesize"));

    config.synthesize.num_train = 20;
    config.synthesize.documents_per_shard = 7;
    build(&config, &out, &()).unwrap();
    let fewer: Vec<_> = documents(&out, Split::Train).unwrap().map(|document| document.unwrap()).collect();
    assert_eq!(fewer, all[..20]);
}

#[test]
fn documents_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("corpus");
    build(&small(folder.path()), &out, &()).unwrap();
    for split in [Split::Train, Split::Heldout] {
        for expected in documents(&out, split).unwrap() {
            let expected = expected.unwrap();
            assert_eq!(document(&out, &expected.id).unwrap(), Some(expected));
        }
    }
    for absent in ["train-00000045", "train-0", "heldout-99999999", "other-00000000", "", "train"] {
        assert_eq!(document(&out, absent).unwrap(), None, "{absent}");
    }
}

#[test]
fn reading_many_passages_is_reading_each() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("corpus");
    build(&small(folder.path()), &out, &()).unwrap();
    let (passages, mentions) = (passages(&out).unwrap(), mentions(&out).unwrap());
    let last = passages.len() - 1;
    for step in [1, 2, 7, 33, 150] {
        let mut ids: Vec<u64> = (0..=last).step_by(step).collect();
        if *ids.last().unwrap() != last {
            ids.push(last);
        }
        let texts = passages.get_many::<PassageText>(&ids).unwrap();
        let whole = passages.get_many::<Passage>(&ids).unwrap();
        let found = mentions.get_many::<PassageMentions>(&ids).unwrap();
        assert_eq!((texts.len(), whole.len(), found.len()), (ids.len(), ids.len(), ids.len()));
        for (at, &id) in ids.iter().enumerate() {
            let (passage, entities) = (passages.get(id).unwrap(), mentions.get(id).unwrap().entities);
            assert_eq!((&texts[at].title, &texts[at].text), (&passage.title, &passage.text));
            assert_eq!(whole[at], passage);
            assert!(
                found[at]
                    .0
                    .iter()
                    .map(|m| (&m.span, &m.surface, m.label))
                    .eq(entities.iter().map(|e| (&e.span, &e.surface, e.label)))
            );
        }
    }
    assert!(passages.get_many::<PassageText>(&[0, last + 1]).is_err());
    assert!(passages.get_many::<PassageText>(&[]).unwrap().is_empty());
}

/// The front matter as paths and values; panics on what is not the strict subset of YAML that the card is written in:
/// two spaces a level, `key:`, `key: value`, and `- ` before the items of a list, which stand no deeper than its key.
fn front_matter(card: &str) -> Vec<(String, String)> {
    let body = card.strip_prefix("---\n").expect("no front matter");
    let (matter, rest) = body.split_once("\n---\n").expect("the front matter does not end");
    assert!(rest.starts_with("\n# "), "no title");
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut found = Vec::new();
    for line in matter.lines() {
        assert!(!line.contains('\t') && line.trim_end() == line, "{line:?}");
        let mut indent = line.len() - line.trim_start().len();
        assert_eq!(indent % 2, 0, "{line:?}");
        let mut rest = line.trim_start();
        if let Some(item) = rest.strip_prefix("- ") {
            // The list belongs to the last key that stands as deep as its dashes.
            path.retain(|(depth, _)| *depth <= indent);
            (rest, indent) = (item, indent + 2);
        } else {
            path.retain(|(depth, _)| *depth < indent);
        }
        let name = |path: &[(usize, String)]| path.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
        match rest.split_once(':') {
            Some((key, value)) => {
                assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line:?}");
                assert!(value.is_empty() || value.starts_with(' '), "{line:?}");
                path.push((indent, key.to_owned()));
                if !value.is_empty() {
                    found.push((name(&path), value.trim().to_owned()));
                }
            }
            None => found.push((name(&path), rest.to_owned())),
        }
    }
    found
}

#[test]
fn the_folder_has_a_card_for_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (small(folder.path()), folder.path().join("corpus"));
    let summary = build(&config, &out, &()).unwrap();
    let path = out.join("synthesize/README.md");
    let card = store::read_to_string(&path).unwrap();
    let matter = front_matter(&card);
    let values = |key: &str| -> Vec<&str> {
        matter.iter().filter(|(path, _)| path == key).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(values("license"), ["apache-2.0", "mit"], "{matter:?}");
    assert_eq!(values("language"), ["en"]);
    assert_eq!(values("size_categories"), ["n<1K"]);
    assert_eq!(values("configs.data_files.split"), ["train", "heldout"]);
    assert_eq!(values("configs.data_files.path"), ["data/train-*.parquet", "data/heldout-*.parquet"]);
    let features: Vec<&str> = values("dataset_info.features.name");
    let columns: BTreeSet<&str> = ["id", "text", "answer", "num_tokens", "seed"].into();
    assert!(columns.is_subset(&features.iter().copied().collect()), "{features:?}");
    let rows = &summary.stages.last().unwrap().rows;
    let expected = [rows["train"].to_string(), rows["heldout"].to_string()];
    assert_eq!(values("dataset_info.splits.num_examples"), expected);
    for (name, hash) in contents(&out, "synthesize").iter().filter(|(name, _)| name.starts_with("data/")) {
        assert!(card.contains(&format!("| `{name}` |")) && card.contains(hash.as_str()), "{name} is not in the card");
    }
    assert!(card.contains(&store::hash_file(&folder.path().join("world.xml.bz2")).unwrap()), "no hash of the dump");
    assert!(card.contains("\"num_related\": 3") && card.contains("2606.03197"), "{card}");
    assert!(!card.contains(folder.path().to_str().unwrap()), "a path of this machine");

    // Gone, it comes back to the byte; changed by hand, it stays.
    store::remove_file(&path).unwrap();
    build(&config, &out, &()).unwrap();
    assert_eq!(store::read_to_string(&path).unwrap(), card);
    store::write_atomic(&path, "mine").unwrap();
    build(&config, &out, &()).unwrap();
    assert_eq!(store::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn what_is_damaged_is_redone_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (small(folder.path()), folder.path().join("corpus"));
    build(&config, &out, &()).unwrap();
    let before = contents(&out, "synthesize");
    let written = |out: &Path| {
        let summary = build(&config, out, &()).unwrap();
        summary.stages.iter().map(|stage| stage.written).collect::<Vec<_>>()
    };
    // A shard of documents, a shard's record, the index, the mentions, the passages.
    for (broken, expected) in [
        ("synthesize/data/train-00001-of-00003.parquet", [0, 0, 0, 0, 1]),
        ("synthesize/shards/00003-of-00004.json", [0, 0, 0, 0, 1]),
        ("index/data/embedder.bin", [0, 0, 0, 1, 0]),
        ("entities/data/entities-00000-of-00001.parquet", [0, 1, 0, 0, 0]),
        ("ingest/data/passages-00000-of-00001.parquet", [1, 0, 0, 0, 0]),
    ] {
        damage(&out.join(broken));
        assert_eq!(written(&out), expected, "{broken}");
        assert_eq!(contents(&out, "synthesize"), before, "{broken}");
        assert_eq!(written(&out), [0; 5], "{broken}");
    }
}

#[test]
fn damage_met_on_the_way_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (small(folder.path()), folder.path().join("corpus"));
    build(&config, &out, &()).unwrap();
    // A worker that is handed one shard takes the earlier stages as committed: what it cannot read it names.
    for (broken, cut) in [
        ("ingest/data/passages-00000-of-00001.parquet", true),
        ("ingest/data/passages-00000-of-00001.parquet", false),
        ("entities/data/entities-00000-of-00001.parquet", false),
        ("index/data/embedder.bin", true),
        ("tokenizer/tokenizer.json", true),
    ] {
        let path = out.join(broken);
        let whole = store::read(&path).unwrap();
        if cut {
            store::write_atomic(&path, &whole[..whole.len() / 2]).unwrap();
        } else {
            damage(&path);
        }
        store::remove_file(&out.join("synthesize/data/train-00000-of-00003.parquet")).unwrap();
        let error = run_shard(&config, &out, StageName::Synthesize, 0, &()).unwrap_err();
        let mut told = error.to_string();
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
        while let Some(inner) = cause {
            told.push_str(&inner.to_string());
            cause = inner.source();
        }
        let name = Path::new(broken).file_name().unwrap().to_str().unwrap();
        assert!(told.contains(name), "{broken}: {told}");
        assert!(!store::exists(&out.join("synthesize/data/train-00000-of-00003.parquet")), "{broken}: written");
        store::write_atomic(&path, whole).unwrap();
        run_shard(&config, &out, StageName::Synthesize, 0, &()).unwrap();
    }
}

/// Asks to stop at the n-th question.
struct StopAfter(AtomicUsize);

impl Progress for StopAfter {
    fn stopping(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1))).unwrap() == 0
    }
}

#[test]
fn stopped_anywhere_it_ends_with_the_same_documents() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (small(folder.path()), folder.path().join("corpus"));
    build(&config, &out, &()).unwrap();
    let whole = contents(&out, "synthesize");
    store::remove_dir_all(&out.join("synthesize")).unwrap();
    let mut stops = 0;
    // Five questions are asked before the stages, some before and in each shard.
    for questions in 1.. {
        match build(&config, &out, &StopAfter(AtomicUsize::new(questions))) {
            Err(PipelineError::Stopped) => stops += 1,
            other => {
                other.unwrap();
                break;
            }
        }
        let folder = out.join("synthesize/data");
        let names = if store::exists(&folder) { store::list(&folder).unwrap() } else { Vec::new() };
        assert!(names.iter().all(|name| name.extension().is_some_and(|end| end == "parquet")), "{names:?}");
    }
    assert!(stops >= 5, "{stops}");
    assert_eq!(contents(&out, "synthesize"), whole);
}
