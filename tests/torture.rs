//! A small corpus build and a small training run, disturbed at every file operation: killed, stopped, refused. What they
//! leave after they are started again equals what an undisturbed run leaves, byte for byte, links and hidden files too.
//!
//! `tests/torture/fault.c` counts the operations and spoils one. Without `MEMTRAIN_TORTURE=all`, which `just torture` sets, a
//! sample of the operations is tried. `docs/reliability.md` has the figures.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

mod small_reader;
mod small_world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use memtrain_corpora::store;
use small_reader::READER;

/// Three steps, so that a stop after the first or the third is off the schedule or on it; the tiny policy moves in each.
const CONFIG: &str = r#"
    [objective]
    group_size = 4
    recall_samples = 2
    [optimizer]
    learning_rate = 1e-3
    warmup_steps = 0
    [train]
    steps = 3
    documents_per_step = 1
    checkpoint_every = 2
    keep_last = 1
    evaluate_every = 3
    peak_tflops = 1.0
    [eval]
    documents = 1
    recall_questions = 1
"#;
/// Operations that are tried of each kind of disturbance where not all are: of kills, and of the others.
const SAMPLES: [usize; 2] = [16, 4];
/// No run of these sizes takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is done at an operation, and of which kind that is.
#[derive(Clone, Copy)]
struct Fault {
    name: &'static str,
    action: &'static str,
    operations: &'static str,
    stays: bool,
}

const fn fault(name: &'static str, action: &'static str) -> Fault {
    Fault { name, action, operations: "changes", stays: false }
}

const KILLED: Fault = fault("killed before it", "kill");
const TORN: Fault = fault("killed amid a write", "torn");
const STOPPED: Fault = fault("asked to stop (SIGTERM)", "stop");
const SHORT: Fault = fault("half of a write", "short");
const FULL: Fault = Fault { stays: true, ..fault("disk full from it on (ENOSPC)", "28") };
const IO: Fault = fault("refused once (EIO)", "5");
const READ: Fault = Fault { operations: "reads", ..fault("reading refused once (EIO)", "5") };
const SHORT_READ: Fault = Fault { operations: "reads", ..fault("half of a read", "short") };
const FILES: Fault = Fault { operations: "reads", ..fault("too many open files once (EMFILE)", "24") };

/// A command that is disturbed, in a folder that is prepared for it.
struct Subject {
    name: &'static str,
    arguments: &'static [&'static str],
    prepare: fn(&Path),
}

const BUILD: Subject =
    Subject { name: "corpus build", arguments: &["corpus", "build", "--config", "small.toml"], prepare: with_config };
const TRAIN: Subject = Subject {
    name: "train",
    arguments: &["train", "--config", "small.toml", "--set", "run.name=small"],
    prepare: with_corpus,
};

fn with_config(folder: &Path) {
    small_world::write(folder, &[READER, CONFIG].concat());
}

/// A corpus is only read: all share one.
fn with_corpus(folder: &Path) {
    static CORPUS: OnceLock<tempfile::TempDir> = OnceLock::new();
    let built = CORPUS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        with_config(folder.path());
        let outcome = finish(command(folder.path(), &BUILD).spawn().unwrap(), folder.path());
        assert_eq!(outcome.code, Some(0), "{}", outcome.said);
        folder
    });
    with_config(folder);
    store::link_durably(&built.path().join("corpus"), &folder.join("corpus")).unwrap();
}

/// One thread and one start, so that the operation of a number is mostly the same one.
fn command(folder: &Path, subject: &Subject) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.current_dir(folder).args(subject.arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(log_of(folder));
    command.env("RAYON_NUM_THREADS", "1").env("CANDLE_NUM_THREADS", "1").env("MEMTRAIN_ENVIRONMENT", "settled");
    command
}

/// What a command says goes into a file beside its folder.
fn log_of(folder: &Path) -> Stdio {
    let path = said_path(folder);
    store::remove_file(&path).unwrap();
    store::append(&path).unwrap().into()
}

fn said_path(folder: &Path) -> PathBuf {
    folder.with_extension("said")
}

fn disturbed(folder: &Path, subject: &Subject, fault: Fault, at: u64) -> Command {
    let mut command = command(folder, subject);
    let files = [("FAULT_COUNT", folder.with_extension("count")), ("FAULT_LOG", folder.with_extension("operations"))];
    for (_, path) in &files {
        store::remove_file(path).unwrap();
    }
    command
        .envs(files)
        .env("LD_PRELOAD", library())
        .env("FAULT_UNDER", folder)
        .env("FAULT_OPS", fault.operations)
        .env("FAULT_DO", fault.action)
        .env("FAULT_STICKY", if fault.stays { "1" } else { "0" })
        .env("FAULT_AT", at.to_string());
    command
}

/// The compiled `fault.c`.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fault.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture/fault.c");
        let compiled =
            Command::new("cc").args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&path).arg(source).status();
        assert!(compiled.unwrap().success());
        (folder, path)
    });
    path
}

/// How a command ended.
struct Outcome {
    code: Option<i32>,
    was_killed: bool,
    said: String,
}

impl Outcome {
    /// What is wrong with it, whatever was done to it.
    fn problem(&self) -> Option<String> {
        if self.said.contains("panicked") {
            return Some(format!("panicked: {}", self.said));
        }
        match self.code {
            Some(0 | 75) => None,
            Some(1) if self.said.contains("error: ") => None,
            _ if self.was_killed => None,
            code => Some(format!("ended with {code:?}: {}", self.said)),
        }
    }
}

fn finish(mut child: Child, folder: &Path) -> Outcome {
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            return Outcome { code: None, was_killed: false, said: "did not end".to_owned() };
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let said = String::from_utf8_lossy(&store::read(&said_path(folder)).unwrap()).into_owned();
    // Asked to stop before anything listens, a process just dies.
    Outcome { code: status.code(), was_killed: matches!(status.signal(), Some(9 | 15)), said }
}

/// All files by hash and all links by target, but for what depends on time. Lock files stay by design.
fn contents(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for path in store::list(&current).unwrap() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let relative = path.strip_prefix(folder).unwrap().to_owned();
            if let Some(target) = store::link_target(&path).unwrap() {
                found.insert(relative, format!("-> {}", target.display()));
            } else if store::is_dir(&path) {
                found.insert(relative, "folder".to_owned());
                folders.push(path);
            } else if name != "timings.jsonl" && !name.ends_with("lock") {
                found.insert(relative, store::hash_file(&path).unwrap());
            }
        }
    }
    let is_of_time = |path: &Path| {
        path.components().rev().skip(1).any(|part| ["logs", "tb"].iter().any(|name| part.as_os_str() == *name))
    };
    found.retain(|path, _| !is_of_time(path) || path.to_string_lossy().contains("/."));
    found
}

fn differences(expected: &BTreeMap<PathBuf, String>, got: &BTreeMap<PathBuf, String>) -> Option<String> {
    let mut text = String::new();
    for (path, what) in expected {
        match got.get(path) {
            None => write!(text, "; missing {}", path.display()).unwrap(),
            Some(other) if other != what => write!(text, "; {} differs", path.display()).unwrap(),
            Some(_) => {}
        }
    }
    for path in got.keys().filter(|path| !expected.contains_key(*path)) {
        write!(text, "; extra {}", path.display()).unwrap();
    }
    (!text.is_empty()).then_some(text)
}

/// What became of the trials of one kind of disturbance.
#[derive(Default)]
struct Tally {
    killed: AtomicUsize,
    named: AtomicUsize,
    stopped: AtomicUsize,
    well: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

/// Disturbs a command at the operation `at`, starts it again until it ends well, and says what is wrong then.
fn trial(
    folder: &Path,
    subject: &Subject,
    fault: Fault,
    at: u64,
    expected: &BTreeMap<PathBuf, String>,
    tally: &Tally,
) -> Option<String> {
    store::remove_dir_all(folder).unwrap();
    store::create_dir_all(folder).unwrap();
    (subject.prepare)(folder);
    let first = finish(disturbed(folder, subject, fault, at).spawn().unwrap(), folder);
    if let Some(problem) = first.problem() {
        return Some(problem);
    }
    let kind = match first.code {
        Some(0) => &tally.well,
        Some(75) => &tally.stopped,
        Some(_) => &tally.named,
        None => &tally.killed,
    };
    kind.fetch_add(1, Ordering::Relaxed);
    // What says that it ended well has to be right as it is. Hidden files may wait for the next start.
    if first.code == Some(0) {
        let is_visible = |path: &PathBuf, _: &mut String| {
            !path.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
        };
        let (mut expected, mut got) = (expected.clone(), contents(folder));
        expected.retain(is_visible);
        got.retain(is_visible);
        if let Some(problem) = differences(&expected, &got) {
            return Some(format!("exit code 0{problem}"));
        }
    }
    for _ in 0..3 {
        let again = finish(command(folder, subject).spawn().unwrap(), folder);
        if let Some(problem) = again.problem() {
            return Some(format!("started again: {problem}"));
        }
        if again.code == Some(0) {
            return differences(expected, &contents(folder));
        }
        if let Some(error) = again.said.lines().find(|line| line.contains("error: ")) {
            return Some(format!("does not go on: {error}"));
        }
    }
    Some("does not go on".to_owned())
}

/// Tries each of the disturbances at all operations, or at some.
fn torture(subject: &Subject, faults: &[Fault]) {
    // One command after the other, each with all processors.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let work = tempfile::tempdir().unwrap();
    let undisturbed = work.path().join("undisturbed");
    store::create_dir_all(&undisturbed).unwrap();
    (subject.prepare)(&undisturbed);
    let outcome = finish(command(&undisturbed, subject).spawn().unwrap(), &undisturbed);
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    let expected = contents(&undisturbed);
    let mut wrong = Vec::new();
    for &fault in faults {
        let (total, log) = operations(&work.path().join("counted"), subject, fault);
        let all = std::env::var("MEMTRAIN_TORTURE").is_ok_and(|how| how == "all");
        let sample = SAMPLES[usize::from(fault.action != KILLED.action)];
        let trials = if all { total } else { total.min(sample) };
        let started = Instant::now();
        let (next, tally) = (AtomicUsize::new(0), Tally::default());
        std::thread::scope(|scope| {
            for worker in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                let folder = work.path().join(format!("trial-{worker}"));
                let (next, tally, expected, log) = (&next, &tally, &expected, &log);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= trials {
                            break;
                        }
                        // Spread over all, the last one among them.
                        let at = (number + 1) * total / trials;
                        if let Some(problem) = trial(&folder, subject, fault, at as u64, expected, tally) {
                            let operation = log.get(at - 1).map_or("", String::as_str);
                            let text = format!("{} {at} of {total} ({operation}): {problem}", fault.name);
                            tally.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                        }
                    }
                });
            }
        });
        let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        let failed = tally.wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!(
            "| `{}` | {} | {total} | {trials} | {} | {} | {} | {} | {} | {:.0} s |",
            subject.name,
            fault.name,
            count(&tally.killed),
            count(&tally.stopped),
            count(&tally.named),
            count(&tally.well),
            failed.len(),
            started.elapsed().as_secs_f64()
        );
        wrong.extend(failed);
    }
    assert!(wrong.is_empty(), "{} of `{}`:\n{}", wrong.len(), subject.name, wrong.join("\n"));
}

/// How many operations there are, and which.
fn operations(folder: &Path, subject: &Subject, fault: Fault) -> (usize, Vec<String>) {
    store::remove_dir_all(folder).unwrap();
    store::create_dir_all(folder).unwrap();
    (subject.prepare)(folder);
    let counting = Fault { action: "count", stays: false, ..fault };
    let outcome = finish(disturbed(folder, subject, counting, 0).spawn().unwrap(), folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    let count = store::read(&folder.with_extension("count")).unwrap();
    let total = u64::from_le_bytes(count.try_into().unwrap());
    let log = store::read_to_string(&folder.with_extension("operations")).unwrap();
    let log: Vec<String> = log.lines().map(|line| line.replace(&folder.display().to_string(), "")).collect();
    assert!(total > 20 && log.len() as u64 == total, "{total} operations, {} of them listed", log.len());
    (total as usize, log)
}

#[test]
fn a_corpus_build_is_the_same_after_whatever_happens_to_its_files() {
    torture(&BUILD, &[KILLED, TORN, STOPPED, SHORT, FULL, IO, READ, SHORT_READ, FILES]);
}

#[test]
fn a_training_run_is_the_same_after_whatever_happens_to_its_files() {
    torture(&TRAIN, &[KILLED, TORN, STOPPED, SHORT, FULL, IO, READ, SHORT_READ, FILES]);
}

#[test]
fn a_clock_that_jumps_by_years_changes_nothing() {
    let work = tempfile::tempdir().unwrap();
    let run = |name: &str, jumps: &str| {
        let folder = work.path().join(name);
        store::create_dir_all(&folder).unwrap();
        with_corpus(&folder);
        let mut command = command(&folder, &TRAIN);
        command.env("LD_PRELOAD", library()).env("FAULT_CLOCK", jumps);
        let outcome = finish(command.spawn().unwrap(), &folder);
        assert_eq!(outcome.code, Some(0), "{}", outcome.said);
        let timings = store::read_to_string(&folder.join("runs/small/timings.jsonl")).unwrap();
        (contents(&folder), timings)
    };
    let ((steady, _), (jumping, timings)) = (run("steady", "0"), run("jumping", "1"));
    assert_eq!(differences(&steady, &jumping), None);
    // Durations come from a clock that cannot jump.
    for line in timings.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!((0.0..PATIENCE.as_secs_f64()).contains(&line["time/step_s"].as_f64().unwrap()), "{line}");
    }
}

#[test]
fn of_two_at_one_folder_one_trains() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    with_corpus(folder.path());
    with_corpus(other.path());
    assert_eq!(finish(command(other.path(), &TRAIN).spawn().unwrap(), other.path()).code, Some(0));
    let expected = contents(other.path());
    let start = |number: usize| {
        let mut command = command(folder.path(), &TRAIN);
        let log = folder.path().with_extension(format!("said-{number}"));
        command.stderr(store::append(&log).unwrap());
        (command.spawn().unwrap(), log)
    };
    let ended = [start(0), start(1), start(2)].map(|(mut child, log)| {
        let code = child.wait().unwrap().code();
        let said = store::read_to_string(&log).unwrap();
        store::remove_file(&log).unwrap();
        (code, said)
    });
    let refused: Vec<_> = ended.iter().filter(|(code, _)| *code != Some(0)).collect();
    assert!(refused.len() < ended.len(), "{ended:?}");
    for (code, said) in &refused {
        assert!(*code == Some(1) && said.contains("another process is training"), "{said}");
    }
    println!("{} of {} were refused", refused.len(), ended.len());
    assert_eq!(differences(&expected, &contents(folder.path())), None);
}
