//! The store: files appear whole or not at all, errors say where and what to do, tables give back what was put in.
#![expect(clippy::disallowed_methods, reason = "the tests look at the file system behind the store's back")]

use std::fs;
use std::io::Write;

use memtrain_corpora::store::{self, AtomicFile, Row, StoreError, TableReader, TableWriter};
use memtrain_corpora::{
    Article, Document, DocumentEntity, DocumentPassage, Entity, EntityLabel, EntitySource, Link, Passage,
    PassageEntities, PassageRole, Redirect, Section, Split,
};
use proptest::prelude::*;

fn names(folder: &std::path::Path) -> Vec<String> {
    store::list(folder).unwrap().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn dropped_without_commit_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    store::write_atomic(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"half of the n").unwrap();
    assert_eq!(names(folder.path()).len(), 2);
    drop(file);
    assert_eq!(names(folder.path()), ["kept"]);
    assert_eq!(store::read(&path).unwrap(), b"old");
}

#[test]
fn a_table_dropped_without_finish_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = TableWriter::<Redirect>::create(&folder.path().join("t.parquet")).unwrap();
    writer.push(Redirect { id: 1, title: "A".into(), target: "B".into() }).unwrap();
    drop(writer);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_failed_commit_removes_the_temporary_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("name");
    let file = AtomicFile::create(&path).unwrap();
    // A folder that is not empty cannot be replaced by a file.
    fs::create_dir_all(path.join("inside")).unwrap();
    let error = file.commit().unwrap_err();
    assert!(matches!(&error, StoreError::Io { action: "write", path: at, .. } if *at == path), "{error}");
    assert_eq!(names(folder.path()), ["name"]);
}

#[test]
fn sweeping_removes_abandoned_files_and_spares_living_ones() {
    let folder = tempfile::tempdir().unwrap();
    let living = AtomicFile::create(&folder.path().join("living")).unwrap();
    let abandoned = folder.path().join(".dead.999999-0.memtrain-tmp");
    fs::write(&abandoned, b"left by a killed process").unwrap();
    fs::write(folder.path().join("other"), b"not ours").unwrap();
    assert_eq!(store::sweep_temporaries(folder.path()).unwrap(), 1);
    assert!(!abandoned.exists());
    living.commit().unwrap();
    assert_eq!(names(folder.path()), ["living", "other"]);
}

#[test]
fn errors_name_the_path_and_give_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    store::write_atomic(&file, b"x").unwrap();
    let missing = folder.path().join("missing/table.parquet");
    let cases = [
        (store::read(&folder.path().join("nothing")).unwrap_err(), "could not read", "nothing is there"),
        (store::write_atomic(&file.join("below"), b"y").unwrap_err(), "could not create", "is a file, not a folder"),
        (store::create_dir_all(&file.join("below")).unwrap_err(), "could not create folder", "is a file, not a folder"),
        (TableWriter::<Redirect>::create(&missing).err().unwrap(), "could not create", "nothing is there"),
        (store::open(folder.path()).unwrap_err(), "could not open", "this is a folder"),
        (store::write_atomic(folder.path(), b"y").unwrap_err(), "could not create", "this is a folder"),
    ];
    for (error, message, hint) in cases {
        assert!(error.to_string().starts_with(message), "{error}");
        assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error}: {:?}", error.hint());
    }
    assert_eq!(store::read(&file).unwrap(), b"x");
}

/// Runs what must not wait; a wait is a failure.
#[cfg(unix)]
fn at_once<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(what()));
    receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits")
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_no_regular_file_is_refused_without_waiting() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let status = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(status.success());
    let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink(at("pipe"), at("link to a pipe")).unwrap();
    symlink("/dev/zero", at("link to a device")).unwrap();
    // Nothing of `/proc` but what is known to end: `/proc/kmsg` says that it is a file of no bytes, and waits.
    symlink("/proc/uptime", at("link to the kernel")).unwrap();
    for path in ["/proc/kmsg", "/proc/self/../kmsg"].map(std::path::Path::new).into_iter().filter(|path| path.exists())
    {
        let error = at_once(move || store::open(path).err()).expect("refused");
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
    }
    assert!(store::read(std::path::Path::new("/proc/self/status")).is_ok_and(|bytes| !bytes.is_empty()));
    for (name, kind) in [
        ("pipe", "a pipe"),
        ("socket", "a socket"),
        ("link to a pipe", "a pipe"),
        ("link to a device", "a device"),
        ("link to the kernel", "what the kernel tells, which may have no end"),
    ] {
        let readers: [fn(&std::path::Path) -> Option<StoreError>; 9] = [
            |path| store::open(path).err(),
            |path| store::open_stream(path).err(),
            |path| store::read(path).err(),
            |path| store::read_to_string(path).err(),
            |path| store::hash_file(path).err(),
            |path| store::read_json::<u8>(path).err(),
            |path| store::append(path).err(),
            |path| store::lock(path).err(),
            |path| TableReader::<Redirect>::open(path).err(),
        ];
        for (number, read) in readers.into_iter().enumerate() {
            let path = at(name);
            let error = at_once(move || read(&path));
            let error = error.unwrap_or_else(|| panic!("reader {number} took {name}"));
            assert_eq!(error.to_string(), format!("`{}` is {kind}, not a file", at(name).display()));
            assert!(error.hint().is_some_and(|hint| hint.starts_with("name a regular file")));
        }
    }
    let left = at(".dead.1-0.memtrain-tmp");
    fs::rename(at("pipe"), &left).unwrap();
    let sweep = folder.path().to_path_buf();
    assert_eq!(at_once(move || store::sweep_temporaries(&sweep)).unwrap(), 0);
    assert!(left.exists());
}

#[test]
#[cfg(unix)]
fn links_are_followed_and_their_loops_are_errors() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    store::write_atomic(&at("file"), "text").unwrap();
    symlink("file", at("one")).unwrap();
    symlink("one", at("two")).unwrap();
    assert_eq!(store::read_to_string(&at("two")).unwrap(), "text");
    symlink("left", at("right")).unwrap();
    symlink("right", at("left")).unwrap();
    assert!(store::open(&at("left")).unwrap_err().to_string().starts_with("could not open"));
    assert!(store::read(&at("left")).unwrap_err().to_string().starts_with("could not read"));
    assert_eq!(store::read(std::path::Path::new("/dev/null")).unwrap(), b"");
}

#[test]
fn a_file_that_is_read_as_a_whole_has_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    store::write_atomic(&path, "12345").unwrap();
    assert_eq!(store::read_at_most(&path, 5).unwrap(), b"12345");
    let error = store::read_at_most(&path, 4).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { max_bytes: 4, .. }), "{error}");
    // A hole takes no room on the disk, and none in memory.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    for error in [
        store::read(&path).unwrap_err(),
        store::read_to_string(&path).unwrap_err(),
        store::read_json::<u8>(&path).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    }
}

/// What a shell makes of `<(…)` and of `… | memtrain … /dev/stdin`.
#[test]
#[cfg(target_os = "linux")]
fn pipes_that_the_process_was_handed_are_read() {
    use std::os::fd::AsRawFd;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let path = std::path::PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
    writer.write_all(b"through a pipe").unwrap();
    drop(writer);
    assert!(matches!(store::open(&path), Err(StoreError::NotAFile { .. })));
    assert_eq!(at_once(move || store::read(&path)).unwrap(), b"through a pipe");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_and_an_unwritable_folder_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let source = full.write_all(b"no room").unwrap_err();
    let error = StoreError::io("write", std::path::Path::new("/dev/full"), source);
    assert!(error.hint().unwrap().starts_with("the disk is full"), "{:?}", error.hint());

    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser may write anywhere; then there is nothing to see here.
    if let Err(error) = store::write_atomic(&folder.path().join("f"), b"x") {
        assert!(error.hint().unwrap().starts_with("you have no right"), "{:?}", error.hint());
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Needs a file system of a megabyte or so, which only the superuser can make:
/// `mount -t tmpfs -o size=1m none DIR`, then `MEMTRAIN_SMALL_DISK=DIR cargo test … --test store -- --ignored`.
#[test]
#[ignore = "needs a small file system"]
fn a_disk_that_fills_up_keeps_the_old_table() {
    let folder = std::path::PathBuf::from(std::env::var_os("MEMTRAIN_SMALL_DISK").unwrap());
    let path = folder.join("t.parquet");
    let row = |id: u64| {
        let noise = (0..2000u64).map(|i| store::hash_bytes(&(id * 2000 + i).to_le_bytes())).collect();
        sample_article(id, noise)
    };
    let mut writer = TableWriter::create(&path).unwrap();
    writer.push(row(1)).unwrap();
    let old = writer.finish().unwrap();
    let mut writer = TableWriter::create(&path).unwrap();
    let failed = (2..200).find_map(|id| writer.push(row(id)).err());
    let error = failed.unwrap_or_else(|| writer.finish().unwrap_err());
    assert!(error.hint().unwrap().starts_with("the disk is full"), "{error}: {:?}", error.hint());
    assert!(error.to_string().contains("t.parquet"), "{error}");
    assert_eq!(store::hash_file(&path).unwrap(), old.hash);
    let error = store::write_atomic(&folder.join("big"), vec![7; 4 << 20]).unwrap_err();
    assert!(error.hint().unwrap().starts_with("the disk is full"), "{error}");
    assert_eq!(names(&folder), ["t.parquet"], "no temporary file is left");
}

#[test]
fn a_lock_keeps_others_out_until_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard.lock");
    let guard = store::lock(&path).unwrap();
    let error = store::lock(&path).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&format!("(pid {}", std::process::id())), "{error}");
    drop(guard);
    store::lock(&path).unwrap();
    store::write_atomic(&path, "mine").unwrap();
    let guard = store::lock(&path).unwrap();
    let error = store::lock(&path).unwrap_err().to_string();
    assert!(error.ends_with("is locked by another process"), "{error}");
    drop(guard);
    assert_eq!(store::read(&path).unwrap(), b"mine", "what somebody else has written stays");
}

#[test]
fn hashes_agree_with_those_of_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    store::write_atomic(&path, &bytes).unwrap();
    assert_eq!(store::hash_file(&path).unwrap(), store::hash_bytes(&bytes));
    assert_eq!(store::len(&path).unwrap(), 300_000);
    assert_eq!(store::hash_bytes(b""), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
}

#[test]
fn an_input_that_is_a_hole_is_refused_before_its_size_is_gone_through() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.xml");
    fs::write(&path, b"<mediawiki>").unwrap();
    assert_eq!(store::hash_input(&path).unwrap(), store::hash_bytes(b"<mediawiki>"));
    fs::File::options().append(true).open(&path).unwrap().set_len(1 << 42).unwrap();
    let error = store::hash_input(&path).expect_err("four terabytes of nothing").to_string();
    assert!(error.contains("dump.xml` cannot be read: more than 1 GiB in a row is zero"), "{error}");
}

#[test]
fn json_round_trips_and_says_where_it_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.json");
    store::write_json(&path, &vec![1, 2, 3]).unwrap();
    assert_eq!(store::read_to_string(&path).unwrap(), "[\n  1,\n  2,\n  3\n]\n");
    assert_eq!(store::read_json::<Vec<u32>>(&path).unwrap(), [1, 2, 3]);
    store::write_atomic(&path, b"[1,\n 2").unwrap();
    let error = store::read_json::<Vec<u32>>(&path).unwrap_err();
    assert!(error.to_string().contains("line 2 column 2"), "{error}");
}

#[test]
fn another_table_a_foreign_and_a_damaged_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let mut writer = TableWriter::create(&path).unwrap();
    writer.push(Redirect { id: 1, title: "A".into(), target: "B".into() }).unwrap();
    writer.finish().unwrap();
    let error = TableReader::<Article>::open(&path).err().unwrap();
    assert!(
        error.to_string().ends_with("holds table `redirects` version 1, expected table `articles` versions 1 to 2"),
        "{error}"
    );
    assert!(error.hint().is_some());

    let whole = store::read(&path).unwrap();
    for cut in [0, 3, 8, whole.len() / 2, whole.len() - 1] {
        store::write_atomic(&path, &whole[..cut]).unwrap();
        let error = TableReader::<Redirect>::open(&path).err().expect("a truncated file must not open");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{cut}: {error}");
    }
    // One wrong byte anywhere: an error or other rows, never a panic.
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        store::write_atomic(&path, &bytes).unwrap();
        if let Ok(rows) = store::read_table::<Redirect>(&path) {
            let _ = rows.collect::<Result<Vec<_>, _>>();
        }
    }
}

#[test]
fn a_span_outside_the_text_is_an_error_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut article = sample_article(1, "short é text".into());
    article.links = vec![Link { span: 7..9, target: "X".into() }];
    let mut writer = TableWriter::create(&folder.path().join("t.parquet")).unwrap();
    writer.push(article).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(error.to_string().contains("column `links`, row 0: 7..9 is no byte range of the text"), "{error}");
    assert!(names(folder.path()).is_empty());
}

fn sample_article(id: u64, text: String) -> Article {
    let sections = vec![Section { title: String::new(), level: 1, span: 0..text.len() }];
    Article {
        id,
        url: format!("https://example.org/wiki/{id}"),
        title: format!("Title {id}"),
        text,
        revision_id: id * 10,
        timestamp: "2026-01-01T00:00:00Z".into(),
        sections,
        links: Vec::new(),
        categories: vec!["Things".into(), "Çà".into()],
        infoboxes: vec!["Infobox thing".into()],
    }
}

/// Spans of whole characters, ascending.
fn spans_of(text: &str, cuts: &[prop::sample::Index]) -> Vec<std::ops::Range<usize>> {
    let boundaries: Vec<usize> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
    let mut at: Vec<usize> = cuts.iter().map(|cut| *cut.get(&boundaries)).collect();
    at.sort_unstable();
    at.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect()
}

/// Writes, reads back in order and by row in a scattered order, and checks that the bytes are the same a second time.
fn assert_round_trip<R: Row + Clone + PartialEq + std::fmt::Debug>(rows: &[R]) {
    let folder = tempfile::tempdir().unwrap();
    let mut hashes = Vec::new();
    for name in ["one.parquet", "two.parquet"] {
        let mut writer = TableWriter::create(&folder.path().join(name)).unwrap();
        for row in rows {
            writer.push(row.clone()).unwrap();
        }
        let summary = writer.finish().unwrap();
        assert_eq!(summary.rows, rows.len() as u64);
        assert_eq!(summary.bytes, store::len(&folder.path().join(name)).unwrap());
        assert_eq!(summary.hash, store::hash_file(&folder.path().join(name)).unwrap());
        hashes.push(summary.hash);
    }
    assert_eq!(hashes[0], hashes[1]);
    let path = folder.path().join("one.parquet");
    let read: Vec<R> = store::read_table(&path).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, rows);
    let reader = TableReader::<R>::open(&path).unwrap();
    assert_eq!(reader.len(), rows.len());
    for i in 0..rows.len().min(200) {
        let row = (i * 7919) % rows.len();
        assert_eq!(reader.get(row).unwrap(), rows[row]);
    }
    assert!(matches!(reader.get(rows.len()), Err(StoreError::OutOfRange { .. })));
    let (start, end) = (rows.len() / 3, rows.len() * 2 / 3);
    assert_eq!(reader.read_rows(start..end).unwrap(), rows[start..end]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_of_every_table_round_trip(
        texts in prop::collection::vec("[a-zé世🦀 \n]{0,60}", 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        number in any::<u64>(),
    ) {
        let links = |text: &str| -> Vec<Link> {
            spans_of(text, &cuts).into_iter().map(|span| Link { target: text[span.clone()].to_uppercase(), span }).collect()
        };
        let articles: Vec<Article> = texts.iter().map(|text| {
            let mut article = sample_article(number / 11, text.clone());
            article.links = links(text);
            article.sections.extend(spans_of(text, &cuts).into_iter().map(|span| Section { title: "S é".into(), level: 3, span }));
            article
        }).collect();
        assert_round_trip(&articles);

        let passages: Vec<Passage> = texts.iter().map(|text| Passage {
            id: number, article_id: 3, url: "u".into(), title: "t".into(), section: "s".into(), text: text.clone(),
            span: 17..17 + text.len(), char_start: 9, num_words: 4, revision_id: number / 2, links: links(text),
        }).collect();
        assert_round_trip(&passages);

        let entities: Vec<PassageEntities> = texts.iter().map(|text| {
            let index = store::ScalarIndex::new(text);
            let entities = spans_of(text, &cuts).into_iter().enumerate().map(|(i, span)| {
                let target = (i % 2 == 0).then(|| "Target".to_owned());
                Entity::new(&index, span, EntityLabel::ALL[i % 20], EntitySource::ALL[i % 4], target).unwrap()
            }).collect();
            PassageEntities { passage_id: number, entities }
        }).collect();
        assert_round_trip(&entities);

        let documents: Vec<Document> = texts.iter().map(|text| Document {
            id: "train-00000001".into(), text: text.clone(), answer: "é".into(), aliases: vec!["e".into()],
            label: EntityLabel::WorkOfArt,
            passages: spans_of(text, &cuts).into_iter().map(|span| DocumentPassage { passage_id: number, role: PassageRole::Related, span }).collect(),
            entities: spans_of(text, &cuts).into_iter().map(|span| DocumentEntity { surface: text[span.clone()].into(), span, label: EntityLabel::Unknown }).collect(),
            num_masks: 2, num_tokens: 3, seed: number, split: Split::Heldout,
        }).collect();
        assert_round_trip(&documents);
    }

    #[test]
    fn scalar_positions_agree_with_counting(text in "[a-zé世🦀]{0,400}", at in any::<prop::sample::Index>()) {
        let index = store::ScalarIndex::new(&text);
        let byte = at.index(text.len() + 1);
        let counted = text.get(..byte).map(|before| before.chars().count() as u32);
        prop_assert_eq!(index.to_scalar(byte), counted);
        if let Some(scalar) = counted {
            prop_assert_eq!(index.to_byte(scalar), Some(byte));
        }
        prop_assert_eq!(index.num_scalars() as usize, text.chars().count());
        prop_assert_eq!(index.to_byte(index.num_scalars() + 1), None);
    }
}

#[test]
fn many_row_groups_round_trip() {
    let rows: Vec<Redirect> = (0..20_000)
        .map(|id| Redirect { id, title: format!("Title {}", id * 37 % 1000), target: format!("Target {id}") })
        .collect();
    assert_round_trip(&rows);
    assert_round_trip::<Article>(
        &(0..600).map(|id| sample_article(id, format!("text {id} ").repeat(3000))).collect::<Vec<_>>(),
    );
}

#[test]
fn passages_are_numbered_anew_and_nothing_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passages.parquet");
    let passage = |id: u64| {
        let text = format!("Passage {id} é.");
        let link = Link { span: 0..7, target: format!("Target {}", id % 5) };
        Passage {
            id,
            article_id: id / 3,
            url: "https://example.org/".repeat(1 + id as usize % 3),
            title: format!("Title {}", id / 3),
            section: String::new(),
            span: 10..10 + text.len(),
            char_start: 9,
            text,
            num_words: 3,
            revision_id: id,
            links: if id.is_multiple_of(2) { vec![link] } else { Vec::new() },
        }
    };
    for rows in [0, 1, 50, 20_000] {
        let mut writer = TableWriter::create(&path).unwrap();
        (0..rows).try_for_each(|id| writer.push(passage(id))).unwrap();
        writer.finish().unwrap();
        for first in [0, 1 << 40] {
            let summary = store::number_passages(&path, first).unwrap();
            assert_eq!((summary.rows, summary.bytes), (rows, store::len(&path).unwrap()));
            assert_eq!(summary.hash, store::hash_file(&path).unwrap());
            assert_eq!(store::number_passages(&path, first).unwrap(), summary, "once more, the same bytes");
            let read: Vec<Passage> = store::read_table(&path).unwrap().collect::<Result<_, _>>().unwrap();
            let expected: Vec<Passage> = (0..rows).map(|id| Passage { id: first + id, ..passage(id) }).collect();
            assert!(read == expected, "{rows} rows from {first}");
            let reader = TableReader::<Passage>::open(&path).unwrap();
            for row in [0, 31, 32, 8191, 8192, 19_999].into_iter().filter(|&row| row < rows as usize) {
                assert_eq!(reader.get(row).unwrap(), expected[row]);
            }
            let ids: Vec<String> =
                store::text_columns(&path, &["id"]).unwrap().map(|row| row.unwrap().remove(0).unwrap()).collect();
            assert!(ids.iter().enumerate().all(|(row, id)| *id == (first + row as u64).to_string()));
        }
    }
}

#[test]
fn an_empty_table_is_a_table() {
    assert_round_trip_empty::<Article>();
    assert_round_trip_empty::<Document>();
}

fn assert_round_trip_empty<R: Row + Clone>() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.parquet");
    assert_eq!(TableWriter::<R>::create(&path).unwrap().finish().unwrap().rows, 0);
    assert!(TableReader::<R>::open(&path).unwrap().is_empty());
    assert_eq!(store::read_table::<R>(&path).unwrap().count(), 0);
}
