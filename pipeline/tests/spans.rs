//! Mentions that another recognizer has found: read into the entities table, whatever the shards; refused where they are not of
//! this corpus.

use std::path::Path;

use memtrain_corpora::world::{WorldConfig, write_dump};
use memtrain_corpora::{EntityLabel, EntitySource, store};
use memtrain_pipeline::entities::BackendName;
use memtrain_pipeline::{CorpusConfig, PipelineError, StageName, build_one, mentions, passages};

fn corpus(folder: &Path) -> CorpusConfig {
    let dump = folder.join("world.xml");
    write_dump(&dump, &WorldConfig { num_pages: 30, ..WorldConfig::default() }).unwrap();
    let mut config = CorpusConfig { seed: 5, workers: 2, ..CorpusConfig::default() };
    config.ingest.dumps = vec![dump.to_str().unwrap().to_owned()];
    (config.ingest.min_words, config.ingest.max_words) = (8, 25);
    config.entities.backend = BackendName::Spans;
    config.entities.spans = folder.join("spans.jsonl").to_str().unwrap().to_owned();
    config
}

#[test]
fn spans_become_the_entities_table_whatever_the_shards() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("corpus");
    let mut config = corpus(folder.path());
    build_one(&config, &out, StageName::Ingest, &()).unwrap();
    let all: Vec<_> = passages(&out).unwrap().iter().map(|passage| passage.unwrap()).collect();
    assert!(all.len() > 20);
    // The first word of every third passage is a person, its last one a place of another label set, and between them stand what
    // overlaps the first, what is empty, and what is not in the text.
    let words = |text: &str| {
        let chars: Vec<char> = text.chars().collect();
        let first = chars.iter().position(|c| *c == ' ').unwrap();
        let last = chars.len() - chars.iter().rev().position(|c| *c == ' ').unwrap();
        (first, last, chars.len())
    };
    let line = |passage: &memtrain_corpora::Passage| {
        let (first, last, end) = words(&passage.text);
        format!(
            r#"{{"passage_id": {}, "text": "unused", "entities": [{{"start": 0, "end": {first}, "label": "PERSON"}}, {{"start": 1, "end": {first}, "label": "ORG"}}, {{"start": 3, "end": 3, "label": "ORG"}}, {{"start": {last}, "end": {end}, "label": "LOC"}}, {{"start": {end}, "end": {}, "label": "DATE"}}, {{"start": 0, "end": 1, "label": "X"}}]}}"#,
            passage.id,
            end + 1
        )
    };
    let lines: Vec<String> = all.iter().step_by(3).map(line).collect();
    store::write_atomic(config.entities.spans.as_ref(), lines.join("\n\n") + "\n").unwrap();
    let mut tables = Vec::new();
    for size in [7, 200_000] {
        config.entities.passages_per_shard = size;
        let stage = build_one(&config, &out, StageName::Entities, &()).unwrap();
        assert_eq!(stage.shards as u64, (all.len() as u64).div_ceil(size));
        assert_eq!(stage.counts["spans_empty_or_outside"], 2 * lines.len() as u64);
        assert_eq!(stage.counts["spans_overlapping"], 2 * lines.len() as u64);
        assert_eq!(stage.counts["passages_without_mentions"], (all.len() - lines.len()) as u64);
        let mentions = mentions(&out).unwrap();
        tables.push((0..all.len() as u64).map(|id| mentions.get(id).unwrap()).collect::<Vec<_>>());
    }
    assert_eq!(tables[0], tables[1]);
    for (passage, row) in all.iter().zip(&tables[0]) {
        assert_eq!(row.passage_id, passage.id);
        let (first, last, _) = words(&passage.text);
        let expected: Vec<(String, EntityLabel)> = match passage.id % 3 {
            0 => vec![
                (passage.text.chars().take(first).collect(), EntityLabel::Person),
                (passage.text.chars().skip(last).collect(), EntityLabel::Loc),
            ],
            _ => Vec::new(),
        };
        let found: Vec<_> = row.entities.iter().map(|entity| (entity.surface.clone(), entity.label)).collect();
        assert_eq!(found, expected);
        assert!(row.entities.iter().all(|entity| entity.source == EntitySource::Model));
    }
}

#[test]
fn a_file_of_another_corpus_or_form_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("corpus");
    let config = corpus(folder.path());
    build_one(&config, &out, StageName::Ingest, &()).unwrap();
    let empty = |id: u64| format!("{{\"passage_id\": {id}, \"entities\": []}}\n");
    let num_passages = passages(&out).unwrap().len();
    for (text, line, told) in [
        (empty(1) + &empty(0), 2, "passage 0 comes after passage 1"),
        (empty(1) + "\n" + &empty(1), 3, "passage 1 comes after passage 1"),
        (empty(0) + &empty(num_passages), 2, "the corpus has"),
        ("{\"passage\": 1}\n".to_owned(), 1, "passage_id"),
        ("[1]\n".to_owned(), 1, "expected"),
        (empty(0) + "{\"passage_id\": 1, \"entities\": [{\"start\": -1, \"end\": 2, \"label\": \"ORG\"}]}", 2, "-1"),
    ] {
        store::write_atomic(config.entities.spans.as_ref(), &text).unwrap();
        let error = build_one(&config, &out, StageName::Entities, &()).unwrap_err();
        match &error {
            PipelineError::Spans { line: at, detail, .. } => {
                assert!(*at == line && detail.contains(told), "{text}: line {at}: {detail}");
            }
            other => panic!("{text}: {other}"),
        }
    }
    store::remove_file(config.entities.spans.as_ref()).unwrap();
    assert!(build_one(&config, &out, StageName::Entities, &()).unwrap_err().to_string().contains("spans.jsonl"));
}

#[test]
#[cfg(target_os = "linux")]
fn spans_that_all_overlap_take_no_more_than_their_line() {
    let peak_mib = || {
        let status = store::read_to_string(Path::new("/proc/self/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("corpus");
    let mut config = corpus(folder.path());
    // One long passage.
    let sentence =
        |number: usize| format!("In the year {number} there were {} boats at the quay of Mira. ", number * 7);
    let article = serde_json::json!({"id": 1, "title": "Mira", "text": (1000..1040).map(sentence).collect::<String>()});
    let dump = folder.path().join("articles.jsonl");
    store::write_atomic(&dump, format!("{article}\n")).unwrap();
    config.ingest.dumps = vec![dump.to_str().unwrap().to_owned()];
    (config.ingest.min_words, config.ingest.max_words) = (8, 2_000);
    build_one(&config, &out, StageName::Ingest, &()).unwrap();
    let longest =
        passages(&out).unwrap().iter().map(|passage| passage.unwrap()).max_by_key(|passage| passage.text.len());
    let (id, end) = longest.map(|passage| (passage.id, passage.text.chars().count())).unwrap();
    assert!(end > 1_000, "{end}");
    let spans = vec![format!("{{\"start\":0,\"end\":{end},\"label\":\"ORG\"}}"); 800_000].join(",");
    let line = format!("{{\"passage_id\": {id}, \"entities\": [{spans}]}}\n");
    store::write_atomic(config.entities.spans.as_ref(), &line).unwrap();
    let before = peak_mib();
    let stage = build_one(&config, &out, StageName::Entities, &()).unwrap();
    assert_eq!(stage.counts["spans_overlapping"], 799_999);
    // Each with a copy of its text: more than 800 MB.
    assert!(peak_mib() < before + 400, "{before} MiB, then {} MiB", peak_mib());
}
