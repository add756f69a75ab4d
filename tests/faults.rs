//! Faults of a stage: killed, on a full disk, with a flipped bit, and with two processes at the same work. Nothing is
//! lost, nothing is there twice, and what was whole is not done again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use memtrain_corpora::world::{World, WorldConfig};
use memtrain_corpora::{rng, store};
use rand::Rng;

const CONFIG: &str = r#"
    [run]
    corpus = "corpus"
    [corpus.ingest]
    dumps = ["dump.xml"]
    min_words = 6
    max_words = 24
    bytes_per_shard = 60000
    [corpus.tokenizer]
    source = "built-in:tiny"
    [corpus.index]
    passages_per_shard = 900
    [corpus.index.ann]
    min_passages = 300
    [corpus.synthesize]
    num_train = 60
    num_heldout = 12
    documents_per_shard = 8
    heldout_fraction = 0.3
    num_related = 20
    num_random = 40
    min_tokens = 20
    max_tokens = 9000
"#;

/// A folder with a dump of about ten shards.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut xml = Vec::new();
    World::generate(WorldConfig { num_pages: 900, ..WorldConfig::default() }).unwrap().write_xml(&mut xml).unwrap();
    store::write_atomic(&folder.path().join("dump.xml"), xml).unwrap();
    store::write_atomic(&folder.path().join("c.toml"), CONFIG).unwrap();
    folder
}

fn command(folder: &Path, action: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.current_dir(folder).args(["corpus", action, "--config", "c.toml"]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ingest(folder: &Path, action: &str, more: &[&str]) -> Output {
    command(folder, action, &[&["--stage", "ingest"], more].concat()).output().unwrap()
}

/// Plans the stage; the number of its shards.
fn planned(folder: &Path) -> usize {
    let output = ingest(folder, "plan", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Does every shard, one after the other, and commits.
fn whole(folder: &Path) -> BTreeMap<PathBuf, String> {
    for index in 0..planned(folder) {
        let output = ingest(folder, "run-shard", &["--index", &index.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = ingest(folder, "finish", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    contents(folder)
}

/// Hashes of all files of the stage but locks.
fn contents(folder: &Path) -> BTreeMap<PathBuf, String> {
    files(&folder.join("corpus/ingest"))
}

fn files(stage: &Path) -> BTreeMap<PathBuf, String> {
    let mut hashes = BTreeMap::new();
    let mut folders = vec![stage.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in store::list(&folder).unwrap() {
            if store::is_dir(&path) {
                folders.push(path);
            } else if !path.to_string_lossy().ends_with("lock") {
                hashes.insert(path.strip_prefix(stage).unwrap().to_owned(), store::hash_file(&path).unwrap());
            }
        }
    }
    hashes
}

#[test]
fn killed_anywhere_it_goes_on_to_the_same_bytes() {
    let (undisturbed, disturbed) = (prepared(), prepared());
    let expected = whole(undisturbed.path());
    assert!(expected.len() > 4 * 8, "{expected:?}");
    let mut generator = rng::keyed("test/faults", 1, &[]);
    let (mut killed, mut halfway) = (0, 0);
    for round in 0..40 {
        let mut child = command(disturbed.path(), "build", &[]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(generator.random_range(0..20 + 8 * round)));
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
        if store::exists(&disturbed.path().join("corpus/ingest/manifest.json")) {
            break;
        }
        halfway += usize::from(store::exists(&disturbed.path().join("corpus/ingest/plan.json")));
    }
    assert!(killed > 2 && halfway > 0, "killed {killed} times, {halfway} of them with the stage begun");
    assert_eq!(whole(disturbed.path()), expected, "after {killed} kills");
}

#[test]
fn a_flipped_bit_is_found_and_its_shard_alone_is_done_again() {
    let folder = prepared();
    let expected = whole(folder.path());
    let shards = planned(folder.path());
    let data = folder.path().join(format!("corpus/ingest/data/passages-00003-of-{shards:05}.parquet"));
    let mut bytes = store::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    store::write_atomic(&data, bytes).unwrap();
    let output = ingest(folder.path(), "finish", &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("lacks 1 of its") && said.contains("passages-00003") && said.contains("hint: "), "{said}");
    // Building goes on to later stages; ingest says what it did.
    let output = command(folder.path(), "build", &["--set", "corpus.synthesize.num_random=99999"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("1 of {shards} shards written")), "{said}");
    assert_eq!(contents(folder.path()), expected);
}

#[test]
fn two_at_one_shard_leave_it_once() {
    let folder = prepared();
    let shards = planned(folder.path());
    let mut refused = 0;
    for index in 0..shards {
        let index = index.to_string();
        let workers: Vec<_> = (0..3)
            .map(|_| command(folder.path(), "run-shard", &["--stage", "ingest", "--index", &index]).spawn().unwrap())
            .collect();
        let outputs: Vec<Output> = workers.into_iter().map(|worker| worker.wait_with_output().unwrap()).collect();
        let records: Vec<&[u8]> =
            outputs.iter().filter(|output| output.status.success()).map(|output| output.stdout.as_slice()).collect();
        assert!(!records.is_empty() && records.windows(2).all(|pair| pair[0] == pair[1]));
        for output in outputs.iter().filter(|output| !output.status.success()) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("is locked by another process") && said.contains("hint: "), "{said}");
            refused += 1;
        }
    }
    println!("{refused} of {} workers came too late", 3 * shards);
    assert!(ingest(folder.path(), "finish", &[]).status.success());
    let got = contents(folder.path());
    assert_eq!(got, whole(prepared().path()), "nothing is lost, nothing is there twice");
}

/// A disk that fills up: a small one is mounted in a name space of its own, which not every machine allows.
#[test]
fn a_full_disk_is_named_and_gone_on_from() {
    let folder = prepared();
    let expected = whole(folder.path());
    let disk = folder.path().join("disk");
    store::create_dir_all(&disk).unwrap();
    let script = r#"
        set -u
        mount -t tmpfs -o size=400k none disk || exit 99
        "$MEMTRAIN" corpus build --config c.toml --out disk/corpus; echo "first: $?"
        ls disk/corpus/ingest/data | sed 's/^/left: /'
        mount -o remount,size=64m disk || exit 99
        for index in $(seq 0 $(($("$MEMTRAIN" corpus plan --config c.toml --out disk/corpus --stage ingest) - 1))); do
            "$MEMTRAIN" corpus run-shard --config c.toml --out disk/corpus --stage ingest --index "$index" > /dev/null || exit 98
        done
        "$MEMTRAIN" corpus finish --config c.toml --out disk/corpus --stage ingest || exit 97
        rm -rf corpus; cp -r disk/corpus corpus
    "#;
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .current_dir(folder.path())
        .env("MEMTRAIN", env!("CARGO_BIN_EXE_memtrain"))
        .output();
    let Ok(output) = output.map_err(|error| println!("skipped: no unshare ({error})")) else { return };
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(99) || told.contains("unshare") {
        println!("skipped: no file system can be mounted here: {told}");
        return;
    }
    assert!(output.status.success(), "{:?}\n{said}\n{told}", output.status);
    assert!(said.contains("first: 1\n"), "{said}\n{told}");
    assert!(told.contains("disk/corpus/ingest/") && told.contains("hint: The disk is full"), "{told}");
    assert!(!said.lines().any(|line| line.starts_with("left: .")), "temporary files stay: {said}");
    assert_eq!(contents(folder.path()), expected, "with more room it goes on to the same bytes");
}

const LATER: [&str; 2] = ["index", "synthesize"];

/// A folder whose corpus is whole, and one where index and documents are still to be made.
fn begun() -> (tempfile::TempDir, tempfile::TempDir) {
    let (whole, begun) = (prepared(), tempfile::tempdir().unwrap());
    let output = command(whole.path(), "build", &[]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let parts = ["dump.xml", "c.toml", "corpus/policy-tiny", "corpus/ingest", "corpus/entities", "corpus/tokenizer"];
    store::create_dir_all(&begun.path().join("corpus")).unwrap();
    for part in parts {
        let copied = Command::new("cp").arg("-r").arg(whole.path().join(part)).arg(begun.path().join(part)).status();
        assert!(copied.unwrap().success());
    }
    (whole, begun)
}

fn later(folder: &Path) -> BTreeMap<PathBuf, String> {
    LATER.into_iter().flat_map(|stage| files(&folder.join("corpus").join(stage))).collect()
}

#[test]
fn killed_while_index_and_documents_are_made_it_goes_on_to_the_same_bytes() {
    let (undisturbed, disturbed) = begun();
    let expected = later(undisturbed.path());
    assert!(expected.keys().any(|path| path.ends_with("codes.bin")) && expected.len() > 40, "{expected:?}");
    let corpus = disturbed.path().join("corpus");
    let moments = [
        "index/plan.json",
        "index/data/embedder.bin",
        "index/data/shard-00000-of-00003/words.json",
        "index/data/shard-00001-of-00003/lexical.unfinished",
        "index/data/shard-00001-of-00003/vectors-00000.bin",
        "index/data/shard-00002-of-00003/codes.bin",
        "synthesize/plan.json",
        "synthesize/data/train-00001-of-00008.parquet",
        "synthesize/data/train-00005-of-00008.parquet",
    ];
    let mut halfway = [0, 0];
    for moment in moments {
        let mut child = command(disturbed.path(), "build", &[]).stderr(Stdio::null()).spawn().unwrap();
        while !store::exists(&corpus.join(moment)) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(300));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for (stage, halfway) in LATER.into_iter().zip(&mut halfway) {
            let is_there = |file: &str| store::exists(&corpus.join(stage).join(file));
            *halfway += u32::from(is_there("plan.json") && !is_there("manifest.json"));
        }
    }
    // How often depends on the machine: a fast one has the documents before the signal comes.
    assert!(halfway != [0, 0], "never killed with index or documents begun");
    let output = command(disturbed.path(), "build", &[]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(later(disturbed.path()), expected, "killed {halfway:?} times");
}

#[test]
fn a_damaged_file_of_documents_is_named_and_made_again_alone() {
    let (_, folder) = begun();
    let build = || command(folder.path(), "build", &[]).output().unwrap();
    assert!(build().status.success());
    let expected = later(folder.path());
    let documents = folder.path().join("corpus/synthesize/data");
    let victim = store::list(&documents).unwrap().into_iter().nth(2).unwrap();
    let mut bytes = store::read(&victim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    store::write_atomic(&victim, bytes).unwrap();
    let finish = command(folder.path(), "finish", &["--stage", "synthesize"]).output().unwrap();
    let said = String::from_utf8(finish.stderr).unwrap();
    let name = victim.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(finish.status.code(), Some(1), "{said}");
    assert!(said.contains(&name) && said.contains("hint: "), "{said}");
    let said = String::from_utf8(build().stderr).unwrap();
    assert!(said.contains("1 of 10 shards written"), "{said}");
    assert_eq!(later(folder.path()), expected);
}

/// Too small a disk for the index, then one for the index and not for the documents, then one for both.
#[test]
fn a_disk_that_is_full_of_index_or_documents_is_named_and_gone_on_from() {
    let script = r#"
        set -u
        mount -t tmpfs -o size=1g none disk || exit 99
        cp -r corpus disk/corpus
        build() { "$MEMTRAIN" corpus build --config c.toml --out disk/corpus; echo "$1: $?"; }
        of_index() { "$MEMTRAIN" corpus "$@" --config c.toml --out disk/corpus --stage index; }
        mount -o remount,size=$(($(du -sk disk | cut -f1) + $1))k disk || exit 99
        build index
        [ -e disk/corpus/index/manifest.json ] && exit 98
        mount -o remount,size=1g disk || exit 99
        for index in $(seq 0 $(($(of_index plan) - 1))); do of_index run-shard --index "$index" > /dev/null || exit 97; done
        of_index finish || exit 96
        mount -o remount,size=$(($(du -sk disk | cut -f1) + 160))k disk || exit 99
        build documents
        [ -e disk/corpus/synthesize/manifest.json ] && exit 95
        mount -o remount,size=1g disk || exit 99
        build both
        rm -rf corpus; cp -r disk/corpus corpus
    "#;
    // No room for what is learned; room for it and not for all words and vectors.
    for kib in ["900", "6000"] {
        let (whole, folder) = begun();
        store::create_dir_all(&folder.path().join("disk")).unwrap();
        let output = Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", script, "sh", kib])
            .current_dir(folder.path())
            .env("MEMTRAIN", env!("CARGO_BIN_EXE_memtrain"))
            .output();
        let Ok(output) = output.map_err(|error| println!("skipped: no unshare ({error})")) else { return };
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.code() == Some(99) || told.contains("unshare") {
            println!("skipped: no file system can be mounted here: {told}");
            return;
        }
        assert!(output.status.success(), "{:?}\n{said}\n{told}", output.status);
        for result in ["index: 1\n", "documents: 1\n", "both: 0\n"] {
            assert!(said.contains(result), "{said}\n{told}");
        }
        assert!(told.contains("corpus/index/") && told.contains("corpus/synthesize/"), "{told}");
        assert_eq!(told.matches("hint: The disk is full").count(), 2, "{told}");
        assert!(!told.contains("panicked"), "{told}");
        assert_eq!(later(folder.path()), later(whole.path()), "with more room it goes on to the same bytes");
    }
}
