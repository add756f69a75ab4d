use serde_json::json;

use super::*;
use crate::metrics::Scores;

fn keys(count: usize) -> Vec<ItemKey> {
    (0..count)
        .map(|task| ItemKey { task: format!("t{task}"), length: 5, question: 0, method: "reader".into() })
        .collect()
}

fn done(key: &ItemKey) -> (ItemRecord, EvalTurn) {
    let record = ItemRecord {
        answer: "é \"x\"\n".into(),
        // Comes back from JSON as its neighbour.
        scores: Scores { em: 1.0 / 11.0, ..Scores::default() },
        turns: 1,
        prompt_tokens: 2,
        response_tokens: 1,
        details: Map::from_iter([("bank".to_owned(), json!({"items": [1, 2]}))]),
        ..ItemRecord::new(key.clone(), "s", vec![vec!["x".into()]])
    };
    let turn = EvalTurn {
        key: key.clone(),
        turn: 0,
        kind: "answer".into(),
        prompt: "p".into(),
        response: "r".into(),
        prompt_ids: vec![1, 2],
        response_ids: vec![3],
        log_probs: vec![-0.5],
        finish: "stop".into(),
    };
    (record, turn)
}

fn note() -> RunNote {
    RunNote::new("test", Map::from_iter([("policy".to_owned(), json!("abc"))]))
}

/// Does at most so many batches; whether all are done.
fn work(folder: &Path, items: usize, batches: usize) -> bool {
    let mut record = Record::open(folder, &note(), keys(items), 3, false).unwrap();
    for _ in 0..batches {
        let range = record.next_batch();
        let (records, turns) = record.items()[range].iter().map(done).unzip();
        record.add(records, turns).unwrap();
    }
    if !record.next_batch().is_empty() {
        return false;
    }
    let em: Vec<f64> = record.done().iter().map(|record| record.scores.em).collect();
    record.finish(&json!({"items": items, "em": em})).unwrap();
    true
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = store::list(folder).unwrap().into_iter().filter(|path| !store::is_dir(path));
    files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), store::read(&path).unwrap())).collect()
}

#[test]
fn cut_off_anywhere_it_ends_with_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    assert!(work(whole.path(), 8, 3));
    let names: Vec<String> = contents(whole.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [".lock", ".memtrain.json", "items.jsonl", "report.json", "run.json", "turns.parquet"]);
    assert_eq!(store::read_table::<EvalTurn>(&whole.path().join("turns.parquet")).unwrap().count(), 8);
    let broken = tempfile::tempdir().unwrap();
    assert!(!work(broken.path(), 8, 2));
    let items = store::read(&broken.path().join("items.jsonl")).unwrap();
    for cut in (0..items.len()).step_by(37) {
        let folder = tempfile::tempdir().unwrap();
        assert!(!work(folder.path(), 8, 2));
        store::write_atomic(&folder.path().join("items.jsonl"), &items[..cut]).unwrap();
        let mut left = 0;
        while !work(folder.path(), 8, 1) {
            left += 1;
            assert!(left < 4, "cut at {cut}");
        }
        assert_eq!(contents(folder.path()), contents(whole.path()), "cut at {cut}");
    }
    // All done: opened once more, nothing is left to do and nothing changes.
    let before = contents(whole.path());
    assert!(work(whole.path(), 8, 0));
    assert_eq!(contents(whole.path()), before);
    let (note_of, records) = load(whole.path()).unwrap();
    assert_eq!((note_of, records.len()), (note(), 8));
}

#[test]
fn a_bit_that_changes_is_found_and_nothing_is_dropped_for_it() {
    for batches in [2, 3] {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(work(folder.path(), 8, batches), batches == 3);
        let names: &[&str] = if batches == 3 { &FILES } else { &[ITEMS] };
        for name in names {
            let path = folder.path().join(name);
            let whole = store::read(&path).unwrap();
            // Without the last end of a line: a list without it was cut off by a kill.
            for at in (0..whole.len() - 1).step_by(11) {
                let mut bytes = whole.clone();
                bytes[at] ^= 4;
                store::write_atomic(&path, &bytes).unwrap();
                let error = Record::open(folder.path(), &note(), keys(8), 3, false).err();
                let told = error.map(|error| error.to_string()).unwrap_or_default();
                assert!(told.contains(name), "{name} at {at}: {told}");
                assert!(load(folder.path()).is_err(), "{name} at {at}");
                assert_eq!(store::read(&path).unwrap(), bytes, "{name} at {at}: nothing is dropped");
            }
            store::write_atomic(&path, &whole).unwrap();
        }
        assert_eq!(work(folder.path(), 8, 0), batches == 3);
    }
    // A line that is doubled, and one that is gone.
    let scratch = tempfile::tempdir().unwrap();
    let folder = &scratch.path().join("evaluation");
    assert!(!work(folder, 8, 2));
    let items = folder.join(ITEMS);
    let text = store::read_to_string(&items).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for wrong in [[&lines[..2], &lines[1..]].concat(), lines[1..].to_vec()] {
        store::write_atomic(&items, wrong.concat()).unwrap();
        let error = Record::open(folder, &note(), keys(8), 3, false).err().unwrap();
        assert!(
            matches!(error, RecordError::DamagedItem { .. }) && error.hint().unwrap().contains("--clean"),
            "{error}"
        );
        assert!(Record::open(folder, &note(), keys(8), 3, true).is_ok(), "begun anew");
        assert!(!work(folder, 8, 2));
    }
}

#[test]
fn another_evaluation_is_refused_and_named() {
    let around = tempfile::tempdir().unwrap();
    let folder = &around.path().join("evaluation");
    assert!(!work(folder, 8, 1));
    let mut other = note();
    other.settings.insert("policy".to_owned(), json!("def"));
    other.settings.insert("seed".to_owned(), json!(1));
    let error = Record::open(folder, &other, keys(8), 3, false).err().unwrap();
    assert!(error.to_string().ends_with("`policy`, `seed` differ"), "{error}");
    store::write_atomic(&folder.join("turns/mine.txt"), "mine").unwrap();
    let record = Record::open(folder, &other, keys(8), 3, true).unwrap();
    assert!(record.done().is_empty(), "begun anew");
    assert!(store::exists(&folder.join("turns/mine.txt")), "what is not the evaluation's stays");
    let trash = store::list(around.path()).unwrap().pop().unwrap();
    assert_eq!(load(&trash).unwrap().1.len(), 3, "nothing is lost");
    let busy = Record::open(folder, &other, keys(8), 3, false).err().unwrap();
    assert!(matches!(busy, RecordError::Busy { .. }), "{busy}");
    let foreign = tempfile::tempdir().unwrap();
    store::write_atomic(&foreign.path().join("mine.txt"), "mine").unwrap();
    let error = Record::open(foreign.path(), &other, keys(8), 3, true).err().unwrap();
    assert!(matches!(error, RecordError::Foreign { .. }), "{error}");
    assert!(matches!(load(foreign.path()), Err(RecordError::Missing { .. })));
}

#[test]
fn numbers_of_items_differ_in_every_part() {
    let key = ItemKey { task: "t".into(), length: 1, question: 0, method: "reader".into() };
    let others = [
        ItemKey { task: "u".into(), ..key.clone() },
        ItemKey { length: 2, ..key.clone() },
        ItemKey { question: 1, ..key.clone() },
        ItemKey { method: "full-context".into(), ..key.clone() },
    ];
    assert!(others.iter().all(|other| other.number() != key.number()));
}

#[test]
fn items_under_a_mark_that_was_copied_are_moved_aside() {
    let scratch = tempfile::tempdir().unwrap();
    let (own, theirs) = (scratch.path().join("own"), scratch.path().join("theirs"));
    assert!(work(&own, 8, 3));
    store::create_dir_all(&theirs).unwrap();
    store::write_atomic(&theirs.join(store::MARKER), store::read(&own.join(store::MARKER)).unwrap()).unwrap();
    store::write_atomic(&theirs.join(ITEMS), "{\"mine\": 1}\n").unwrap();
    store::write_atomic(&theirs.join("notes.txt"), "mine").unwrap();
    assert!(work(&theirs, 8, 3));
    let trash = store::list(scratch.path()).unwrap().pop().unwrap();
    assert_eq!(store::read_to_string(&trash.join(ITEMS)).unwrap(), "{\"mine\": 1}\n");
    assert_eq!(store::read_to_string(&theirs.join("notes.txt")).unwrap(), "mine");
    assert_eq!(store::read(&theirs.join(ITEMS)).unwrap(), store::read(&own.join(ITEMS)).unwrap());
}

#[test]
fn a_report_that_was_removed_is_written_again_and_turns_that_were_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(work(folder.path(), 8, 3));
    let whole = contents(folder.path());
    store::remove_file(&folder.path().join(REPORT)).unwrap();
    assert!(work(folder.path(), 8, 0));
    assert_eq!(contents(folder.path()), whole);
    store::remove_file(&folder.path().join(ALL_TURNS)).unwrap();
    let open = |count: usize| Record::open(folder.path(), &note(), keys(count), 3, false).map(drop);
    let error = open(8).unwrap_err();
    assert!(matches!(&error, RecordError::TurnsMissing { path, items: 8 } if path.ends_with(ALL_TURNS)), "{error}");
    let items = folder.path().join(ITEMS);
    assert!(error.hint().unwrap().contains(&format!("remove `{}`", items.display())), "{:?}", error.hint());
    // As the hint says.
    store::remove_file(&items).unwrap();
    assert!(work(folder.path(), 8, 3));
    assert_eq!(contents(folder.path()), whole);

    let folder = tempfile::tempdir().unwrap();
    assert!(!work(folder.path(), 8, 2));
    store::remove_file(&folder.path().join("turns/batch-000001.parquet")).unwrap();
    let error = Record::open(folder.path(), &note(), keys(8), 3, false).err().unwrap();
    assert!(matches!(&error, RecordError::TurnsMissing { path, items: 6 } if path.ends_with("batch-000001.parquet")));
}

#[test]
fn tables_that_a_kill_has_left_of_an_evaluation_that_is_done_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| folder.path().join(name);
    assert!(!work(folder.path(), 7, 1));
    let first = store::read(&of("turns/batch-000000.parquet")).unwrap();
    assert!(work(folder.path(), 7, 2));
    let done = contents(folder.path());
    // As it is when it was killed before the first table was removed.
    store::create_dir_all(&of("turns")).unwrap();
    store::write_atomic(&of("turns/batch-000000.parquet"), first).unwrap();
    store::write_atomic(&of("turns/notes.parquet"), "somebody's").unwrap();
    Record::open(folder.path(), &note(), keys(7), 3, false).unwrap().seal().unwrap();
    assert_eq!(contents(folder.path()), done);
    assert!(!store::exists(&of("turns/batch-000000.parquet")) && store::exists(&of("turns/notes.parquet")));
    store::remove_file(&of("turns/notes.parquet")).unwrap();
    Record::open(folder.path(), &note(), keys(7), 3, false).unwrap().seal().unwrap();
    assert!(!store::exists(&of("turns")));
}

#[test]
fn turns_of_others_are_refused_and_stay() {
    let scratch = tempfile::tempdir().unwrap();
    let (own, theirs, elsewhere) =
        (scratch.path().join("own"), scratch.path().join("theirs"), scratch.path().join("elsewhere"));
    assert!(work(&own, 8, 3));
    let batch = theirs.join("turns/batch-000000.parquet");
    store::create_dir_all(batch.parent().unwrap()).unwrap();
    store::write_atomic(&batch, "mine").unwrap();
    let refused = || {
        let error = Record::open(&theirs, &note(), keys(8), 3, false).err().unwrap();
        assert!(matches!(error, RecordError::Foreign { .. }), "{error}");
    };
    refused();
    store::write_atomic(&theirs.join(store::MARKER), store::read(&own.join(store::MARKER)).unwrap()).unwrap();
    refused();
    assert_eq!(store::read(&batch).unwrap(), b"mine");
    // Behind a link they are somebody's, whatever else is there.
    assert!(!work(&elsewhere, 8, 1));
    store::rename_durably(&elsewhere.join(TURNS), &scratch.path().join("real")).unwrap();
    store::link_durably(&scratch.path().join("real"), &elsewhere.join(TURNS)).unwrap();
    if store::is_link(&elsewhere.join(TURNS)) {
        let error = Record::open(&elsewhere, &note(), keys(8), 3, false).err().unwrap();
        assert!(matches!(error, RecordError::Foreign { .. }), "{error}");
        assert!(store::exists(&scratch.path().join("real/batch-000000.parquet")));
    }
    // Beyond the evaluation's own batches nothing is removed.
    let more = scratch.path().join("more");
    assert!(!work(&more, 8, 1));
    store::write_atomic(&more.join("turns/batch-000077.parquet"), "mine").unwrap();
    assert!(work(&more, 8, 2));
    assert_eq!(store::read(&more.join("turns/batch-000077.parquet")).unwrap(), b"mine");
}
