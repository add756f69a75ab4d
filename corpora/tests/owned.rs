//! Ownership of folders: what bears our marker may be replaced and removed, anything else stays to the byte.
#![expect(clippy::disallowed_methods, reason = "the tests look at the file system behind the store's back")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, MARKER, Occupant, OwnedFile, Relation, Sibling, StoreError};
use proptest::prelude::*;

const KIND: &str = "tables";

/// Everything under a folder: what files hold, where links lead.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap();
            let text = if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if kind.is_dir() {
                folders.push(path.clone());
                "folder".to_owned()
            } else {
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
            };
            found.insert(path, text);
        }
    }
    found
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Replaces `target` by a folder of these files.
fn put(target: &Path, files: &[(&str, &str)]) -> Result<(), StoreError> {
    store::replace(target, KIND, |fresh| {
        for (name, text) in files {
            let path = fresh.join(name);
            store::create_dir_all(path.parent().unwrap_or(fresh))?;
            store::write_atomic(&path, text)?;
        }
        Ok(())
    })
}

const FIRST: [(&str, &str); 3] = [("a.txt", "first"), ("sub/b.txt", "second"), ("sub/deep/c.txt", "third")];

/// What somebody may do to a folder of ours.
#[derive(Clone, Debug)]
enum Deed {
    Add(&'static str),
    Change(&'static str),
    Remove(&'static str),
    Folder(&'static str),
    Link(&'static str),
    Leave(&'static str),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let places =
        prop::sample::select(vec!["notes.txt", "sub/notes.txt", "sub/deep/x/y.txt", "mine/thesis.tex", ".hidden"]);
    let files = prop::sample::select(vec!["a.txt", "sub/b.txt", "sub/deep/c.txt"]);
    let folders = prop::sample::select(vec!["empty", "sub/empty"]);
    let deed = prop_oneof![
        places.clone().prop_map(Deed::Add),
        files.clone().prop_map(Deed::Change),
        files.prop_map(Deed::Remove),
        folders.prop_map(Deed::Folder),
        places.prop_map(Deed::Link),
        prop::sample::select(vec![".a.txt.7-0.memtrain-tmp", "sub/.b.txt.7-0.memtrain-tmp"]).prop_map(Deed::Leave),
    ];
    prop::collection::vec(deed, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was done to a folder: it is replaced only if all that it held was ours, and else stays to the byte.
    #[test]
    fn only_what_we_wrote_gives_way(deeds in deeds(), removing in any::<bool>()) {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("target");
        put(&target, &FIRST).unwrap();
        let elsewhere = scratch.path().join("elsewhere");
        write(&elsewhere.join("thesis.tex"), "years of work");
        let mut is_foreign = false;
        for deed in deeds {
            match deed {
                Deed::Add(name) => { write(&target.join(name), "mine"); is_foreign = true; }
                Deed::Change(name) => { write(&target.join(name), "mine!"); is_foreign = true; }
                Deed::Remove(name) => drop(fs::remove_file(target.join(name))),
                Deed::Folder(name) => { fs::create_dir_all(target.join(name)).unwrap(); is_foreign = true; }
                Deed::Link(name) => {
                    let path = target.join(name);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    drop(std::os::unix::fs::symlink(&elsewhere, path));
                    is_foreign = true;
                }
                Deed::Leave(name) => write(&target.join(name), "half of a f"),
            }
        }
        // A file that was changed and then removed is gone by its owner's own hand.
        let names = match store::check_replaceable(&target, KIND) {
            Err(StoreError::Foreign { names, .. }) => names,
            other => { other.unwrap(); Vec::new() }
        };
        prop_assert!(is_foreign || names.is_empty(), "{:?}", names);
        let before = tree(scratch.path());
        let done = if removing { store::remove_owned(&target, KIND) } else { put(&target, &[("new.txt", "new")]) };
        let after = tree(scratch.path());
        if names.is_empty() {
            done.unwrap();
            let left: Vec<_> = after.keys().filter_map(|path| path.strip_prefix(&target).ok()).collect();
            let expected: Vec<&Path> = if removing { Vec::new() } else { vec![Path::new(""), Path::new(MARKER), Path::new("new.txt")] };
            prop_assert_eq!(left, expected);
            prop_assert!(after.contains_key(&elsewhere.join("thesis.tex")));
        } else {
            let is_refused = matches!(done, Err(StoreError::Foreign { .. }));
            prop_assert!(is_refused);
            prop_assert_eq!(before, after);
        }
    }

    /// Two paths lie to each other as the places do that they lead to.
    #[test]
    fn relations_are_those_of_the_places(
        a in prop::collection::vec(prop::sample::select(vec!["x", "y", "link", "..", ".", "new"]), 0..6),
        b in prop::collection::vec(prop::sample::select(vec!["x", "y", "link", "..", ".", "new"]), 0..6),
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(scratch.path()).unwrap().join("1/2/3/4/5/6");
        fs::create_dir_all(root.join("x/y")).unwrap();
        fs::create_dir_all(root.join("y/x")).unwrap();
        std::os::unix::fs::symlink(root.join("y"), root.join("x/link")).unwrap();
        std::os::unix::fs::symlink("x/y", root.join("link")).unwrap();
        let join = |parts: &[&str]| parts.iter().fold(root.clone(), |path, part| path.join(part));
        let (a, b) = (join(&a), join(&b));
        let (real_a, real_b) = (store::resolve(&a).unwrap(), store::resolve(&b).unwrap());
        for (path, real) in [(&a, &real_a), (&b, &real_b)] {
            prop_assert!(real.is_absolute() && !real.iter().any(|part| part == ".." || part == "link" && real.exists()));
            prop_assert_eq!(&store::resolve(real).unwrap(), real);
            if let Ok(canonical) = fs::canonicalize(path) {
                prop_assert_eq!(real, &canonical);
            }
        }
        let expected = match (real_a.starts_with(&real_b), real_b.starts_with(&real_a)) {
            (true, true) => Relation::Same,
            (true, false) => Relation::Inside,
            (false, true) => Relation::Around,
            (false, false) => Relation::Apart,
        };
        prop_assert_eq!(store::relation(&a, &b).unwrap(), expected);
    }
}

#[test]
fn a_folder_says_whose_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("folder");
    assert_eq!(store::occupant(&folder).unwrap(), Occupant::Absent);
    fs::create_dir(&folder).unwrap();
    assert_eq!(store::occupant(&folder).unwrap(), Occupant::Empty);
    write(&folder.join("src/main.js"), "");
    write(&folder.join("config.json"), "{}");
    assert_eq!(store::occupant(&folder).unwrap(), Occupant::Foreign(vec!["config.json".into(), "src/".into()]));
    let error = store::claim(&folder, KIND).unwrap_err();
    assert!(error.to_string().ends_with("holds what memtrain did not write there: `config.json`, `src/`"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("nothing was changed")));
    fs::remove_dir_all(&folder).unwrap();
    store::claim(&folder, KIND).unwrap();
    store::claim(&folder, KIND).unwrap();
    let error = store::claim(&folder, "policy").unwrap_err();
    assert!(matches!(&error, StoreError::OtherKind { got, .. } if got == KIND), "{error}");
    // Of another program, of a later version, cut off: none of them is ours.
    write(&folder.join(MARKER), r#"{"program": "other", "format": 1, "kind": "tables", "files": {}}"#);
    assert!(matches!(store::check_replaceable(&folder, KIND), Err(StoreError::Foreign { .. })));
    for other in [r#"{"program": 7, "files": []}"#, "[1]", r#""memtrain""#] {
        write(&folder.join(MARKER), other);
        assert!(matches!(store::check_replaceable(&folder, KIND), Err(StoreError::Foreign { .. })), "{other}");
    }
    write(&folder.join(MARKER), r#"{"program": "memtrain", "format": 7}"#);
    assert!(matches!(store::check_replaceable(&folder, KIND), Err(StoreError::Schema { .. })));
    write(&folder.join(MARKER), r#"{"program": "mem"#);
    assert!(matches!(store::check_replaceable(&folder, KIND), Err(StoreError::Json { .. })));
    #[cfg(target_os = "linux")]
    for mounted in ["/proc", "/proc/"] {
        let error = store::check_replaceable(Path::new(mounted), KIND).unwrap_err();
        assert!(error.to_string().contains("is a mount point"), "{error}");
    }
    write(&scratch.path().join("file"), "text");
    assert!(matches!(
        store::check_replaceable(&scratch.path().join("file"), KIND),
        Err(StoreError::ForeignFile { .. })
    ));
}

#[test]
fn a_list_that_points_outside_reaches_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, thesis) = (scratch.path().join("folder"), scratch.path().join("thesis.tex"));
    write(&thesis, "years of work");
    write(&scratch.path().join("elsewhere/a.txt"), "text");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink("../elsewhere", folder.join("sub")).unwrap();
    let names = ["../thesis.tex", thesis.to_str().unwrap(), "sub/a.txt", "sub/../../thesis.tex"];
    let listed = OwnedFile { bytes: 4, blake3: store::hash_bytes(b"text") };
    store::mark(&folder, KIND, names.map(|name| (name.to_owned(), listed.clone())).into()).unwrap();
    let before = tree(scratch.path());
    assert!(matches!(store::remove_owned(&folder, KIND), Err(StoreError::Foreign { names, .. }) if names == ["sub"]));
    assert_eq!(tree(scratch.path()), before);
    fs::remove_file(folder.join("sub")).unwrap();
    store::remove_owned(&folder, KIND).unwrap();
    assert!(thesis.exists() && scratch.path().join("elsewhere/a.txt").exists() && !folder.exists());
}

#[test]
fn a_list_that_does_not_tell_contents_owns_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("folder");
    write(&folder.join("thesis.tex"), "years of work");
    for listed in ["{}", r#"{"bytes": 13}"#] {
        let marker = format!(
            r#"{{"format": 1, "program": "memtrain", "version": "0.1.0", "kind": "{KIND}", "files": {{"thesis.tex": {listed}}}}}"#
        );
        write(&folder.join(MARKER), &marker);
        let before = tree(scratch.path());
        assert!(store::remove_owned(&folder, KIND).is_err(), "{listed}");
        assert!(put(&folder, &FIRST).is_err(), "{listed}");
        assert_eq!(tree(scratch.path()), before);
    }
}

#[test]
fn a_failed_replacement_leaves_what_was_there() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    put(&target, &FIRST).unwrap();
    let before = tree(scratch.path());
    let failed = store::replace(&target, KIND, |fresh| {
        store::write_atomic(&fresh.join("half.txt"), "half")?;
        Err(StoreError::io("write", fresh, std::io::ErrorKind::StorageFull.into()))
    });
    assert!(failed.is_err());
    assert_eq!(tree(scratch.path()), before);
    // Something that comes while the new folder is written is found before the old one goes.
    let failed = store::replace(&target, KIND, |_| {
        write(&target.join("notes.txt"), "mine");
        Ok::<(), StoreError>(())
    });
    assert!(matches!(failed, Err(StoreError::Foreign { names, .. }) if names == ["notes.txt"]));
    fs::remove_file(target.join("notes.txt")).unwrap();
    assert_eq!(tree(scratch.path()), before);
}

#[test]
fn a_replacement_is_finished_or_undone_wherever_it_was_cut_off() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    let (fresh, old) = (store::hidden_sibling(&target, Sibling::New), store::hidden_sibling(&target, Sibling::Old));
    let states: [&dyn Fn(); 6] = [
        // Before the first marker, with and without its temporary file; amid the writing; before the first rename.
        &|| fs::create_dir(&fresh).unwrap(),
        &|| write(&fresh.join(".memtrain.json.1-0.memtrain-tmp"), "{"),
        &|| {
            write(&fresh.join("half.txt"), "half");
            store::mark(&fresh, "unfinished", BTreeMap::new()).unwrap();
        },
        &|| {
            put(&scratch.path().join("other"), &[("a.txt", "new")]).unwrap();
            fs::rename(scratch.path().join("other"), &fresh).unwrap();
        },
        // Between the renames; amid the removal of the old folder.
        &|| {
            put(&scratch.path().join("other"), &[("a.txt", "new")]).unwrap();
            fs::rename(scratch.path().join("other"), &fresh).unwrap();
            fs::rename(&target, &old).unwrap();
        },
        &|| {
            fs::rename(&target, &old).unwrap();
            put(&scratch.path().join("other"), &[("a.txt", "new")]).unwrap();
            fs::rename(scratch.path().join("other"), &target).unwrap();
            fs::remove_file(old.join("sub/b.txt")).unwrap();
        },
    ];
    for (number, cut) in states.iter().enumerate() {
        put(&target, &FIRST).unwrap();
        cut();
        put(&target, &[("last.txt", "last")]).unwrap();
        let left: Vec<PathBuf> = tree(scratch.path()).into_keys().collect();
        assert_eq!(left, [target.clone(), target.join(MARKER), target.join("last.txt")], "state {number}");
    }
}

#[test]
fn hidden_folders_of_others_are_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    for sibling in [Sibling::New, Sibling::Old] {
        let hidden = store::hidden_sibling(&target, sibling);
        write(&hidden.join("thesis.tex"), "years of work");
        let before = tree(scratch.path());
        let error = put(&target, &FIRST).unwrap_err();
        assert!(
            matches!(&error, StoreError::Foreign { path, .. } if path.ends_with(hidden.file_name().unwrap())),
            "{error}"
        );
        assert_eq!(tree(scratch.path()), before);
        fs::remove_dir_all(&hidden).unwrap();
        // Nor are they followed where they are links, even to folders of ours.
        let kept = scratch.path().join("kept");
        put(&kept, &FIRST).unwrap();
        std::os::unix::fs::symlink("kept", &hidden).unwrap();
        let before = tree(scratch.path());
        assert!(matches!(put(&target, &FIRST), Err(StoreError::ForeignFile { .. })));
        assert_eq!(tree(scratch.path()), before);
        fs::remove_file(&hidden).unwrap();
    }
}

#[test]
fn a_whole_folder_under_a_hidden_name_is_only_removed_with_what_it_lists() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    let fresh = store::hidden_sibling(&target, Sibling::New);
    put(&fresh, &FIRST).unwrap();
    write(&fresh.join("thesis.tex"), "years of work");
    let before = tree(scratch.path());
    let refused = put(&target, &FIRST);
    assert!(matches!(&refused, Err(StoreError::Foreign { names, .. }) if names == &["thesis.tex"]), "{refused:?}");
    fs::rename(fresh.join("thesis.tex"), scratch.path().join("thesis.tex")).unwrap();
    store::mark(&fresh, "index", BTreeMap::new()).unwrap();
    assert!(matches!(put(&target, &FIRST), Err(StoreError::OtherKind { .. })));
    fs::remove_dir_all(&fresh).unwrap();
    assert!(before.len() > tree(scratch.path()).len());
    put(&target, &FIRST).unwrap();
}

#[test]
fn a_folder_with_the_name_of_an_unfinished_file_is_somebodys() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    put(&target, &FIRST).unwrap();
    write(&target.join(".b.memtrain-tmp/thesis.tex"), "years of work");
    let before = tree(scratch.path());
    let refused = put(&target, &[("a.txt", "new")]);
    assert!(
        matches!(&refused, Err(StoreError::Foreign { names, .. }) if names == &[".b.memtrain-tmp/"]),
        "{refused:?}"
    );
    assert_eq!(tree(scratch.path()), before);
}

#[cfg(unix)]
#[test]
fn an_unfinished_folder_that_was_removed_in_part_is_still_ours() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    let fresh = store::hidden_sibling(&target, Sibling::New);
    let (half, locked) = (fresh.join("half.txt"), fresh.join("sub"));
    write(&half, "half");
    write(&locked.join("more.txt"), "more");
    store::mark(&fresh, "unfinished", BTreeMap::new()).unwrap();
    let allow = |mode| fs::set_permissions(&locked, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o500);
    // Refused amid the removal, but to whom the system refuses nothing.
    if put(&target, &FIRST).is_err() {
        assert!(fresh.join(MARKER).exists() && locked.join("more.txt").exists());
        allow(0o700);
        put(&target, &FIRST).unwrap();
    }
    assert!(target.join("a.txt").exists() && !fresh.exists());
}

#[test]
fn two_writers_of_one_folder_do_not_meet() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    store::replace(&target, KIND, |fresh| {
        store::write_atomic(&fresh.join("a.txt"), "the first")?;
        assert!(matches!(put(&target, &FIRST), Err(StoreError::Locked { .. })));
        Ok::<(), StoreError>(())
    })
    .unwrap();
    assert_eq!(fs::read_to_string(target.join("a.txt")).unwrap(), "the first");
}

#[test]
fn links_roots_and_odd_spellings_of_a_target() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    put(&root.join("real/target"), &FIRST).unwrap();
    std::os::unix::fs::symlink("real", root.join("way")).unwrap();
    std::os::unix::fs::symlink("real/target", root.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("dangling")).unwrap();
    let before = tree(root);
    for target in ["link", "link/", "link/.", "dangling", "way/../link"] {
        let refused = put(&root.join(target), &[("new.txt", "new")]).unwrap_err();
        assert!(matches!(refused, StoreError::ForeignFile { .. }), "{target}: {refused}");
    }
    assert!(matches!(put(Path::new("/"), &[]), Err(StoreError::ForeignFile { .. })));
    assert!(put(Path::new(""), &[]).is_err());
    assert_eq!(tree(root), before);
    // A folder on the way may be a link: what is hidden lies beside the real target.
    put(&root.join("way/other/../target/."), &[("new.txt", "new")]).unwrap();
    assert_eq!(fs::read_to_string(root.join("real/target/new.txt")).unwrap(), "new");
    assert!(root.join("way").is_symlink() && fs::read_dir(root.join("real")).unwrap().count() == 1);
}

#[test]
fn a_file_is_only_written_over_one_of_its_kind() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("out.json");
    let is_ours = |path: &Path| fs::read(path).unwrap().starts_with(b"ours");
    let check = |path: &Path| store::check_file(path, is_ours);
    check(&path).unwrap();
    write(&path, "");
    check(&path).unwrap();
    write(&path, "ours, of last week");
    check(&path).unwrap();
    write(&path, "a thesis");
    let error = check(&path).unwrap_err();
    assert!(error.to_string().contains("did not write it") && error.hint().is_some(), "{error}");
    write(&path, "ours");
    std::os::unix::fs::symlink("out.json", scratch.path().join("link")).unwrap();
    assert!(matches!(check(&scratch.path().join("link")), Err(StoreError::ForeignFile { what: "is a link", .. })));
    assert!(check(scratch.path()).is_err());
    // What a killed writer of this file has left goes; what one of another file has left stays, as does a living one's.
    let (left, other) =
        (scratch.path().join(".out.json.9-0.memtrain-tmp"), scratch.path().join(".out.9-0.memtrain-tmp"));
    write(&left, "half");
    write(&other, "half");
    let living = store::AtomicFile::create(&path).unwrap();
    check(&path).unwrap();
    assert!(!left.exists() && other.exists());
    living.commit().unwrap();
    // A rename would put a file in the place of a device, a pipe, a socket, or a link such as `/dev/stdout`.
    let socket = scratch.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [&socket, &scratch.path().join("link")] {
        assert!(matches!(store::write_atomic(path, "text"), Err(StoreError::ForeignFile { .. })));
        assert!(check(path).is_err() && !fs::symlink_metadata(path).unwrap().is_file());
    }
}

#[test]
fn a_circle_of_links_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("b", scratch.path().join("a")).unwrap();
    std::os::unix::fs::symlink("a", scratch.path().join("b")).unwrap();
    assert!(store::resolve(&scratch.path().join("a/c")).is_err());
    write(&scratch.path().join("file"), "text");
    assert!(store::resolve(&scratch.path().join("file/inside")).is_err());
}

#[test]
fn a_byte_that_changes_in_a_folder_of_ours_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    put(&target, &FIRST).unwrap();
    assert!(store::differences(&target, Some(KIND)).is_empty());
    store::check_as_written(&target.join("a.txt")).unwrap();
    let names = |found: Vec<StoreError>| -> Vec<PathBuf> {
        let path = |error: StoreError| match error {
            StoreError::NotAsWritten { path, .. } | StoreError::Json { path, .. } | StoreError::Schema { path, .. } => {
                path
            }
            StoreError::OtherKind { path, .. } => path.join(MARKER),
            error => panic!("{error}"),
        };
        found.into_iter().map(path).collect()
    };
    for name in FIRST.map(|(name, _)| name).into_iter().chain([MARKER]) {
        let path = target.join(name);
        let whole = fs::read(&path).unwrap();
        for (place, bit) in (0..whole.len()).flat_map(|place| [(place, 1), (place, 16), (place, 32), (place, 128)]) {
            let mut bytes = whole.clone();
            bytes[place] ^= bit;
            fs::write(&path, bytes).unwrap();
            assert_eq!(
                names(store::differences(&target, Some(KIND))),
                std::slice::from_ref(&path),
                "bit {bit} of byte {place}"
            );
        }
        fs::write(&path, &whole).unwrap();
        if name == "a.txt" {
            fs::remove_file(&path).unwrap();
            let error = store::check_as_written(&path).unwrap_err();
            assert!(matches!(&error, StoreError::NotAsWritten { path: of, .. } if *of == path), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains(MARKER)));
            fs::write(&path, &whole).unwrap();
        }
    }
    // What others have put beside is not ours to judge; without a marker nothing is on record.
    write(&target.join("notes.txt"), "mine");
    assert!(store::differences(&target, Some(KIND)).is_empty());
    assert_eq!(names(store::differences(&target, Some("policy"))), [target.join(MARKER)]);
    assert!(store::differences(&target, None).is_empty());
    fs::remove_file(target.join(MARKER)).unwrap();
    assert_eq!(names(store::differences(&target, Some(KIND))), [target.join(MARKER)]);
    write(&target.join("a.txt"), "other");
    store::check_as_written(&target.join("a.txt")).unwrap();
}

#[test]
fn a_marker_of_an_earlier_version_has_no_checksum_and_is_read() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    put(&target, &FIRST).unwrap();
    let text = fs::read_to_string(target.join(MARKER)).unwrap();
    let (before, _) = text.split_once(",\n  \"check\"").unwrap();
    write(&target.join(MARKER), &format!("{before}\n}}\n"));
    assert!(store::differences(&target, Some(KIND)).is_empty());
    assert!(matches!(store::occupant(&target).unwrap(), Occupant::Ours(marker) if marker.check.is_none()));
    put(&target, &[("a.txt", "new")]).unwrap();
}

#[test]
fn a_list_that_points_outside_is_not_followed_by_a_reader() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, thesis) = (scratch.path().join("folder"), scratch.path().join("thesis.tex"));
    write(&thesis, "text");
    fs::create_dir(&folder).unwrap();
    let listed = OwnedFile { bytes: 4, blake3: store::hash_bytes(b"text") };
    for name in ["../thesis.tex", thesis.to_str().unwrap(), "", "./a", "a/../../thesis.tex"] {
        store::mark(&folder, KIND, [(name.to_owned(), listed.clone())].into()).unwrap();
        let found = store::differences(&folder, Some(KIND));
        let named =
            |error: &StoreError| matches!(error, StoreError::NotAsWritten { path, .. } if path.ends_with(MARKER));
        assert!(found.len() == 1 && found.iter().all(named), "{name}: {found:?}");
    }
}
