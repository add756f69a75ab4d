//! Nothing of others is touched, nothing of ours is lost, and no file that is not what was written is taken for it.
#![expect(clippy::disallowed_methods, reason = "the tests spoil files behind the store's back")]

#[path = "common/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;

use memtrain_corpora::store::{self, MARKER, StoreError};
use memtrain_corpora::{Document, Split};
use memtrain_pipeline::{
    CorpusConfig, Damage, PipelineError, StageName, StageState, build, finish, mentions, passages, plan, run_shard,
    status, verify,
};
use proptest::prelude::*;
use tempfile::TempDir;

use world::{StopAfter, all_documents, quickstart, snapshot};

/// A built corpus.
struct Built {
    folder: TempDir,
    config: CorpusConfig,
    out: PathBuf,
    whole: BTreeMap<PathBuf, String>,
}

impl Built {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut config, out) = (quickstart(folder.path()), folder.path().join("corpus"));
        (config.synthesize.num_train, config.synthesize.num_heldout) = (45, 10);
        config.synthesize.documents_per_shard = 20;
        build(&config, &out, &()).unwrap();
        let whole = snapshot(&out);
        Self { folder, config, out, whole }
    }

    fn is_as_it_was(&self) -> bool {
        snapshot(&self.out) == self.whole
    }

    /// Files and their inodes: a file that was written anew has another one.
    fn places(&self) -> Vec<(PathBuf, u64)> {
        #[cfg(unix)]
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        #[cfg(not(unix))]
        let inode = |_: &Path| 0;
        let data = |path: &&PathBuf| !path.ends_with("plan.json") && !path.ends_with("manifest.json");
        self.whole.keys().filter(data).map(|path| (path.clone(), inode(path))).collect()
    }

    fn relative(&self) -> BTreeMap<PathBuf, String> {
        let inside = |path: &Path| path.strip_prefix(&self.out).unwrap().to_path_buf();
        snapshot(&self.out).into_iter().map(|(path, hash)| (inside(&path), hash)).collect()
    }
}

fn flip(path: &Path, byte: usize, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    let byte = byte % bytes.len();
    bytes[byte] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

fn written(config: &CorpusConfig, out: &Path) -> Vec<usize> {
    build(config, out, &()).unwrap().stages.iter().map(|stage| stage.written).collect()
}

#[test]
fn a_folder_of_others_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let config = quickstart(folder.path());
    let theirs = |root: &Path, names: &[&str]| {
        for name in names {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "years of work").unwrap();
        }
        snapshot(root)
    };
    let contents: [&[&str]; 5] = [
        &["thesis.tex"],
        &["data/figure.png", "shards/a.json"],
        &["plan.json"],
        &["manifest.json", "README.md"],
        &[".memtrain.json", "data/articles-00000-of-00001.parquet"],
    ];
    for (stage, names) in StageName::ALL.into_iter().zip(contents) {
        for by_link in [false, cfg!(unix)] {
            let out = folder.path().join(format!("{stage}-{by_link}"));
            let mut root = out.join(stage.as_str());
            if by_link {
                root = folder.path().join(format!("behind-{stage}"));
                fs::create_dir_all(&out).unwrap();
                #[cfg(unix)]
                std::os::unix::fs::symlink(&root, out.join(stage.as_str())).unwrap();
            }
            let before = theirs(&root, names);
            let all = snapshot(&out);
            for refused in [build(&config, &out, &()).map(drop), plan(&config, &out, stage).map(drop)] {
                match refused {
                    Err(PipelineError::Store(error @ StoreError::Foreign { .. })) => {
                        let first = names[0].split('/').next().unwrap();
                        assert!(error.to_string().contains(first), "{error}");
                        assert!(error.hint().is_some());
                    }
                    // A file of theirs that has the name of the mark.
                    Err(PipelineError::Store(StoreError::Json { .. })) => assert_eq!(names[0], ".memtrain.json"),
                    // `plan` of a later stage asks for the earlier ones first.
                    Err(PipelineError::NotReady { .. }) => assert_ne!(stage, StageName::Ingest),
                    outcome => panic!("{stage}, {names:?}: {outcome:?}"),
                }
            }
            assert_eq!((snapshot(&root), snapshot(&out)), (before, all), "{stage}");
        }
    }
}

#[test]
fn files_beside_ours_survive_a_changed_plan() {
    let mut built = Built::new();
    let notes = ["index/notes.txt", "index/data/figure.png", "synthesize/data/mine/thesis.tex"];
    for note in notes {
        fs::create_dir_all(built.out.join(note).parent().unwrap()).unwrap();
        fs::write(built.out.join(note), "years of work").unwrap();
    }
    built.config.index.passages_per_shard = 100;
    build(&built.config, &built.out, &()).unwrap();
    for note in notes {
        assert_eq!(fs::read(built.out.join(note)).unwrap(), b"years of work", "{note}");
    }
    let shards = store::list(&built.out.join("index/data")).unwrap();
    let shards: Vec<_> = shards.iter().filter(|path| path.to_string_lossy().contains("shard-")).collect();
    assert!(shards.len() > 1 && shards.iter().all(|path| !path.ends_with("shard-00000-of-00001")), "{shards:?}");
}

#[test]
fn a_corpus_without_marks_is_still_ours() {
    let built = Built::new();
    for stage in StageName::ALL {
        fs::remove_file(built.out.join(stage.as_str()).join(MARKER)).unwrap();
    }
    assert!(build(&built.config, &built.out, &()).unwrap().is_unchanged());
    assert!(built.is_as_it_was(), "marked again, and nothing else");
}

#[test]
fn a_mark_that_was_copied_into_a_folder_of_others_does_not_make_it_ours() {
    let built = Built::new();
    let out = built.folder.path().join("theirs");
    for name in ["plan.json", "manifest.json", "data/articles-00000-of-00001.parquet", "notes.txt"] {
        let folder = out.join("ingest");
        fs::create_dir_all(folder.join("data")).unwrap();
        fs::copy(built.out.join("ingest").join(MARKER), folder.join(MARKER)).unwrap();
        fs::write(folder.join(name), "years of work").unwrap();
        let before = snapshot(&out);
        let error = build(&built.config, &out, &()).unwrap_err();
        assert!(matches!(&error, PipelineError::Store(StoreError::Foreign { .. })), "{name}: {error}");
        assert_eq!(snapshot(&out), before, "{name}");
        fs::remove_dir_all(&out).unwrap();
    }
    // What a start leaves that is killed before its plan is nobody's.
    for name in ["data", "shards"] {
        fs::create_dir_all(out.join("ingest").join(name)).unwrap();
    }
    fs::copy(built.out.join("ingest").join(MARKER), out.join("ingest").join(MARKER)).unwrap();
    fs::write(out.join("ingest/lock"), "").unwrap();
    build(&built.config, &out, &()).unwrap();
}

#[test]
fn a_plan_that_cannot_be_read_costs_nothing() {
    let built = Built::new();
    let places = built.places();
    for stage in StageName::ALL {
        let path = built.out.join(stage.as_str()).join("plan.json");
        let text = fs::read(&path).unwrap();
        let damages: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "").unwrap(),
            &|| fs::write(&path, &text[..text.len() / 2]).unwrap(),
            &|| flip(&path, text.len() / 3, 2),
            &|| fs::remove_file(&path).unwrap(),
        ];
        for (number, damage) in damages.iter().enumerate() {
            damage();
            let error = run_shard(&built.config, &built.out, stage, 0, &()).map(drop);
            match (number, error) {
                (0 | 1, Err(error @ PipelineError::Damaged { .. })) => {
                    assert!(error.to_string().contains("plan.json"), "{error}");
                    assert!(error.hint().unwrap().contains("corpus build"));
                    let states = status(&built.config, &built.out).unwrap();
                    assert!(states.iter().any(|s| s.stage == stage && s.state == StageState::Damaged), "{states:?}");
                }
                (2 | 3, _) => {}
                (_, outcome) => panic!("{stage}, damage {number}: {outcome:?}"),
            }
            assert!(build(&built.config, &built.out, &()).unwrap().is_unchanged(), "{stage}, damage {number}");
            assert!(built.is_as_it_was(), "{stage}, damage {number}");
        }
        // Not damaged but unreadable: an error, and the way back is open.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = build(&built.config, &built.out, &()).unwrap_err();
        assert!(matches!(&error, PipelineError::Store(StoreError::Io { path: of, .. }) if *of == path), "{error}");
        assert!(status(&built.config, &built.out).is_err());
        fs::remove_dir(&path).unwrap();
        assert!(build(&built.config, &built.out, &()).unwrap().is_unchanged());
    }
    assert_eq!(built.places(), places, "no file of data was written anew");
}

#[test]
fn a_dump_is_known_by_its_contents() {
    let mut built = Built::new();
    let (dump, renamed) = (PathBuf::from(&built.config.ingest.dumps[0]), built.folder.path().join("other.bz2"));
    fs::rename(&dump, &renamed).unwrap();
    built.config.ingest.dumps = vec![renamed.to_str().unwrap().to_owned()];
    assert!(status(&built.config, &built.out).unwrap().iter().all(|stage| stage.state == StageState::Done));
    assert!(build(&built.config, &built.out, &()).unwrap().is_unchanged());
    assert!(built.is_as_it_was());

    // Renamed between two shards.
    let (begun, copy) = (built.folder.path().join("begun"), built.folder.path().join("other-2.bz2"));
    fs::copy(&renamed, &copy).unwrap();
    built.config.ingest.bytes_per_shard = 1;
    built.config.ingest.dumps.push(copy.to_str().unwrap().to_owned());
    let shards = plan(&built.config, &begun, StageName::Ingest).unwrap().shards.len();
    assert!(shards > 1, "{shards}");
    run_shard(&built.config, &begun, StageName::Ingest, 0, &()).unwrap();
    fs::rename(&renamed, &dump).unwrap();
    built.config.ingest.dumps[0] = dump.to_str().unwrap().to_owned();
    assert_eq!(written(&built.config, &begun)[0], shards - 1);

    // The same name and size, other contents.
    flip(&dump, 4_000, 0);
    let one = fs::read(&dump).unwrap();
    assert_eq!(one.len() as u64, plan_of(&begun, StageName::Ingest).inputs[0].bytes);
    let changed = build(&built.config, &begun, &());
    assert!(!matches!(&changed, Ok(summary) if summary.is_unchanged()), "{changed:?}");
}

fn plan_of(out: &Path, stage: StageName) -> memtrain_pipeline::Plan {
    store::read_json(&out.join(stage.as_str()).join("plan.json")).unwrap()
}

#[test]
fn what_is_stale_stays_until_what_replaces_it_is_finished() {
    let built = Built::new();
    let old: Vec<Document> = all_documents(&built.out, Split::Train);
    let mut changed = built.config.clone();
    changed.ingest.max_words = 20;
    changed.index.passages_per_shard = 150;
    changed.synthesize.num_train = 30;
    let fresh = built.folder.path().join("fresh");
    build(&changed, &fresh, &()).unwrap();

    let mut stops = 0;
    for patience in 1.. {
        match build(&changed, &built.out, &StopAfter(AtomicUsize::new(patience))) {
            Err(PipelineError::Stopped) => stops += 1,
            outcome => {
                outcome.unwrap();
                break;
            }
        }
        let states: Vec<StageState> =
            status(&changed, &built.out).unwrap().into_iter().map(|stage| stage.state).collect();
        assert_ne!(states[4], StageState::Done);
        assert_eq!(all_documents(&built.out, Split::Train), old, "after {stops} stops: {states:?}");
    }
    assert!(stops > 5, "{stops}");
    let relative: BTreeMap<PathBuf, String> = snapshot(&fresh)
        .into_iter()
        .map(|(path, hash)| (path.strip_prefix(&fresh).unwrap().to_path_buf(), hash))
        .collect();
    assert_eq!(built.relative(), relative, "nothing of the old corpus is left, and nothing else");
    assert!(verify(&built.out, &()).unwrap().damaged.is_empty());

    // An impossible wish leaves what is there; so does a change that is taken back half-way.
    let mut impossible = changed.clone();
    (impossible.synthesize.min_tokens, impossible.synthesize.max_tokens) = (10, 40);
    impossible.synthesize.max_attempts = 2;
    let failed = build(&impossible, &built.out, &());
    assert!(matches!(failed, Err(PipelineError::NoDocuments { .. })), "{failed:?}");
    assert_eq!(all_documents(&built.out, Split::Train), all_documents(&fresh, Split::Train));
    assert!(build(&changed, &built.out, &()).unwrap().is_unchanged());
}

#[test]
fn shards_of_a_changed_plan_can_be_spread_over_machines() {
    let mut built = Built::new();
    built.config.synthesize.num_related = 3;
    let stage = StageName::Synthesize;
    let shards = plan(&built.config, &built.out, stage).unwrap().shards.len();
    assert!(matches!(finish(&built.config, &built.out, stage), Err(PipelineError::Incomplete { .. })));
    for index in (0..shards).rev() {
        let before = status(&built.config, &built.out).unwrap().remove(4);
        assert_eq!((before.state, before.shards_done), (StageState::Planned, shards - 1 - index));
        run_shard(&built.config, &built.out, stage, index, &()).unwrap();
    }
    finish(&built.config, &built.out, stage).unwrap();
    assert!(build(&built.config, &built.out, &()).unwrap().is_unchanged());
    assert!(!built.out.join("synthesize/next").exists());
}

/// A replacement that was cut off: old files gone up to somewhere, new ones in place up to somewhere.
#[test]
fn a_replacement_that_was_cut_off_is_finished() {
    let built = Built::new();
    let (mut changed, fresh) = (built.config.clone(), built.folder.path().join("fresh"));
    changed.index.passages_per_shard = 150;
    build(&changed, &fresh, &()).unwrap();
    let new = fresh.join("index");
    let mut moved: Vec<PathBuf> = snapshot(&new).into_keys().collect();
    // The manifest is the last to go, and tells until then that the replacement is under way.
    moved.sort_by_key(|path| {
        (path.ends_with("manifest.json"), path.ends_with("plan.json"), path.ends_with("index.json"))
    });
    let inside = |path: &Path| path.strip_prefix(&new).unwrap().to_path_buf();
    let (main, next) = (built.out.join("index"), built.out.join("index/next"));
    let copy = |from: &Path, to: PathBuf| {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    let old: Vec<PathBuf> = built.whole.keys().filter(|path| path.starts_with(&main)).cloned().collect();
    let kept = built.folder.path().join("kept");
    for path in &old {
        copy(path, kept.join(path.strip_prefix(&main).unwrap()));
    }
    for done in 0..moved.len() {
        fs::remove_dir_all(&main).unwrap();
        if done == 0 {
            for path in &old {
                copy(&kept.join(path.strip_prefix(&main).unwrap()), path.clone());
            }
        } else {
            copy(&kept.join(MARKER), main.join(MARKER));
        }
        for (number, path) in moved.iter().enumerate() {
            copy(path, if number < done { main.join(inside(path)) } else { next.join(inside(path)) });
        }
        copy(&new.join(MARKER), next.join(MARKER));
        build(&changed, &built.out, &()).unwrap();
        let found: Vec<PathBuf> = snapshot(&main).into_keys().collect();
        let wanted: Vec<PathBuf> = snapshot(&new).into_keys().map(|path| main.join(inside(&path))).collect();
        assert_eq!(found, wanted, "cut off after {done} files");
        memtrain_pipeline::index::open(&built.out).unwrap().verify().unwrap();
    }
    // Cut off while the emptied folder was removed.
    store::claim(&next, "index stage").unwrap();
    fs::create_dir_all(next.join("data/shard-00000-of-00002")).unwrap();
    assert!(build(&changed, &built.out, &()).unwrap().is_unchanged() && !next.exists());
}

#[test]
fn what_killed_processes_left_is_swept_and_nothing_else() {
    let built = Built::new();
    let left = [
        ".corpus.1-0.memtrain-tmp",
        "ingest/.plan.json.1-0.memtrain-tmp",
        "ingest/data/.articles.parquet.7-3.memtrain-tmp",
        "entities/shards/.00000-of-00002.json.1-0.memtrain-tmp",
        "index/data/shard-00000-of-00001/.vectors-00000.bin.1-0.memtrain-tmp",
    ];
    let theirs = [".notes.tmp", "ingest/data/x.memtrain-tmp", "index/.hidden"];
    for name in left.iter().chain(&theirs) {
        fs::write(built.out.join(name), "left").unwrap();
    }
    build(&built.config, &built.out, &()).unwrap();
    assert!(left.iter().all(|name| !built.out.join(name).exists()));
    assert!(theirs.iter().all(|name| built.out.join(name).exists()));
}

/// What reads a file, by the file's path in the corpus.
fn read(out: &Path, path: &str) -> memtrain_pipeline::Result<()> {
    let stage = path.split('/').next().unwrap();
    match stage {
        "ingest" => passages(out).map(drop),
        "entities" => mentions(out).map(drop),
        "tokenizer" => memtrain_pipeline::tokenizer::load(out).map(drop),
        "index" => memtrain_pipeline::index::open(out).map(drop),
        _ => [Split::Train, Split::Heldout].into_iter().try_for_each(|split| {
            memtrain_pipeline::documents(out, split)?.try_for_each(|document| document.map(drop))
        }),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_named_by_readers_and_by_verify_and_is_mended() {
    let built = Built::new();
    let files: Vec<String> =
        built.whole.keys().map(|path| path.strip_prefix(&built.out).unwrap().to_str().unwrap().to_owned()).collect();
    let whole = verify(&built.out, &()).unwrap();
    assert!(whole.damaged.is_empty(), "{whole:?}");
    assert_eq!(whole.stages.len(), 5);
    assert!(whole.stages.iter().all(|stage| stage.committed && stage.files > 0));

    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let flips = (0..files.len(), any::<usize>(), 0u8..8);
    runner
        .run(&flips, |(file, byte, bit)| {
            let name = &files[file];
            let path = built.out.join(name);
            let before = fs::read(&path).unwrap();
            flip(&path, byte, bit);
            let found = verify(&built.out, &()).unwrap();
            let named = |damage: &Damage| damage.path == path || name.ends_with("index.json");
            let plain = name.ends_with(".json") && is_same_json(&before, &fs::read(&path).unwrap());
            prop_assert!(plain || found.damaged.iter().any(named), "{name}: {found:?}");
            // Only the stages themselves read articles, redirects, plans, marks, and what the index has besides `index.json`.
            let internal =
                ["articles", "redirects", "plan.json", "index/shards", "index/manifest.json", MARKER, "README.md"];
            let internal = internal.iter().any(|part| name.contains(part));
            let outcome = read(&built.out, name);
            prop_assert!(plain || internal || outcome.is_err(), "{name} was read as if it were whole");
            if let Err(error) = outcome {
                // What `index.json` says wrongly of a file looks like damage of that file.
                let named = error.to_string().contains(path.file_name().unwrap().to_str().unwrap());
                prop_assert!(named || name.ends_with("index.json"), "{error}");
            }
            if name.ends_with("README.md") {
                // It may be somebody's edit, and stays until it is removed.
                fs::remove_file(&path).unwrap();
            }
            build(&built.config, &built.out, &()).unwrap();
            prop_assert!(plain || built.is_as_it_was(), "{name} was not mended");
            fs::write(&path, before).unwrap();
            Ok(())
        })
        .unwrap();
}

/// A flip in white space changes nothing.
fn is_same_json(one: &[u8], other: &[u8]) -> bool {
    let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    parse(one).is_some() && parse(one) == parse(other)
}

#[test]
fn verify_compares_marks_cards_and_the_policies_beside_the_stages() {
    let built = Built::new();
    let damaged = || verify(&built.out, &()).unwrap().damaged.into_iter().map(|damage| damage.path).collect::<Vec<_>>();
    let policy = built.out.join("policy-mini");
    store::replace(&policy, "policy", |fresh| store::write_atomic(&fresh.join("model.safetensors"), "weights"))
        .unwrap();
    assert_eq!(verify(&built.out, &()).unwrap().folders, std::slice::from_ref(&policy));
    assert_eq!(damaged(), Vec::<PathBuf>::new());
    let stages = ["ingest", "entities", "tokenizer", "index", "synthesize"].map(|stage| format!("{stage}/{MARKER}"));
    let beside = ["synthesize/README.md", "policy-mini/.memtrain.json", "policy-mini/model.safetensors"];
    for name in stages.iter().map(String::as_str).chain(beside) {
        let path = built.out.join(name);
        let whole = fs::read(&path).unwrap();
        for place in (0..whole.len().min(500)).step_by(29) {
            flip(&path, place, u8::try_from(place % 8).unwrap());
            assert_eq!(damaged(), std::slice::from_ref(&path), "byte {place} of {name}");
            fs::write(&path, &whole).unwrap();
        }
        fs::remove_file(&path).unwrap();
        // A folder that nothing marks is somebody else's.
        let is_told = name != "policy-mini/.memtrain.json";
        assert_eq!(damaged(), if is_told { vec![path.clone()] } else { Vec::new() }, "{name} is gone");
        fs::write(&path, &whole).unwrap();
    }
    // A card that somebody has edited stays through a build, and is on no list after it that says otherwise.
    let card = built.out.join("synthesize/README.md");
    let edited = fs::read_to_string(&card).unwrap() + "Made for a thesis.\n";
    fs::write(&card, &edited).unwrap();
    build(&built.config, &built.out, &()).unwrap();
    assert_eq!(fs::read_to_string(&card).unwrap(), edited);
    assert_eq!(damaged(), [card]);
}

#[test]
fn what_somebody_has_put_into_the_folder_of_the_next_plan_is_named_and_stays() {
    let built = Built::new();
    let next = built.out.join("synthesize/next");
    let mut changed = built.config.clone();
    changed.synthesize.num_related = 3;
    for name in ["thesis.tex", "mine/thesis.tex", "data/thesis.tex", "shards/thesis.tex"] {
        // As a mark that was copied there, before any plan.
        store::claim(&next, "synthesize stage").unwrap();
        let theirs = next.join(name);
        fs::create_dir_all(theirs.parent().unwrap()).unwrap();
        fs::write(&theirs, "years of work").unwrap();
        let error = build(&changed, &built.out, &()).unwrap_err();
        let first = name.split('/').next().unwrap();
        assert!(error.to_string().contains("next") && error.to_string().contains(first), "{name}: {error}");
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "years of work", "{name}");
        fs::remove_dir_all(&next).unwrap();
    }
    build(&changed, &built.out, &()).unwrap();
    assert!(!next.exists());
}

#[test]
fn verify_names_a_stage_that_is_gone_though_others_were_made_from_it() {
    let built = Built::new();
    let away = built.folder.path().join("away");
    for name in ["ingest", "entities", "index"] {
        let plan = built.out.join(name).join("plan.json");
        fs::rename(&plan, &away).unwrap();
        let damaged = verify(&built.out, &()).unwrap().damaged;
        fs::rename(&away, &plan).unwrap();
        assert!(matches!(&damaged[..], [damage] if damage.path == plan), "{damaged:?}");
        for gone in [format!("{name}/manifest.json"), name.to_owned()] {
            let (path, manifest) = (built.out.join(&gone), built.out.join(name).join("manifest.json"));
            fs::rename(&path, &away).unwrap();
            let damaged = verify(&built.out, &()).unwrap().damaged;
            fs::rename(&away, &path).unwrap();
            assert_eq!(damaged.len(), 1, "{gone}: {damaged:?}");
            assert_eq!(damaged[0].path, manifest);
            assert!(damaged[0].problem.contains("it is missing, and stage `"), "{gone}: {damaged:?}");
        }
    }
    // Nothing was made from the documents; their card tells that they were finished.
    let manifest = built.out.join("synthesize/manifest.json");
    fs::rename(&manifest, &away).unwrap();
    let damaged = verify(&built.out, &()).unwrap().damaged;
    fs::rename(&away, &manifest).unwrap();
    assert!(matches!(&damaged[..], [damage] if damage.path == manifest), "{damaged:?}");
    assert!(verify(&built.out, &()).unwrap().damaged.is_empty());
}

#[test]
fn verify_reads_what_is_finished_of_an_unfinished_corpus() {
    let built = Built::new();
    let out = built.folder.path().join("begun");
    assert!(matches!(verify(&out, &()), Err(PipelineError::NoCorpus { .. })));
    let shards = plan(&built.config, &out, StageName::Ingest).unwrap().shards.len();
    for index in 0..shards {
        run_shard(&built.config, &out, StageName::Ingest, index, &()).unwrap();
    }
    let found = verify(&out, &()).unwrap();
    assert!(found.damaged.is_empty() && found.stages.len() == 1, "{found:?}");
    assert!(!found.stages[0].committed && found.stages[0].files == 3 * shards);
    assert!(found.stages[0].lacks_manifest, "all shards are written");
    flip(&out.join("ingest/data/articles-00000-of-00001.parquet"), 1_000, 1);
    assert_eq!(verify(&out, &()).unwrap().damaged.len(), 1);
}
