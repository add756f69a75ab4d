//! `memtrain slurm`: the scripts word for word, and what they do under a Slurm that runs each job as it is sent.
//!
//! The scripts are in `tests/slurm`; `MEMTRAIN_WRITE_SHOWN=1 cargo test --test slurm` writes them anew, to be read before they are
//! committed. `just test-slurm` runs them under Debian's Slurm.
#![cfg(unix)]

mod small_world;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use memtrain_corpora::store;

/// Several shards a stage.
const SHARDS: &str = "num_train = 6\ndocuments_per_shard = 2\n";

/// sbatch that notes its arguments, runs the job at once, each task of an array, and fails where `refuse` says or the job does.
const SBATCH: &str = r#"#!/usr/bin/env bash
cd "$(dirname "$0")"
echo "$*" >>calls
number="$(wc -l <calls)"
[ "$number" != "$(cat refuse 2>/dev/null)" ] || exit 1
tasks=none
while [[ "$1" == --* ]]; do
    [[ "$1" != --array=* ]] || tasks="${1#--array=}"
    [[ "$tasks" != *-* ]] || tasks="$(seq -s, "${tasks%-*}" "${tasks#*-}")"
    shift
done
script="$OLDPWD/$1"
shift
for task in ${tasks//,/ }; do
    SLURM_JOB_ID=$number SLURM_ARRAY_TASK_ID=$task SLURM_CPUS_ON_NODE=2 bash "$script" "$@" >>log 2>&1 || echo "$task of $number: $?" >>failed
done
echo "$number;cluster"
"#;
/// Notes its name and arguments; squeue prints what the file `queued` holds.
const NOTES: &str = r#"#!/usr/bin/env bash
cd "$(dirname "$0")"
echo "$(basename "$0") $*" >>others
[ "$(basename "$0")" != squeue ] || cat queued 2>/dev/null
"#;

/// A folder with a configuration, and a Slurm beside it.
struct Site {
    folder: tempfile::TempDir,
    slurm: tempfile::TempDir,
}

impl Site {
    /// The name of the folder holds what shells and Slurm take for something else.
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap(), slurm: tempfile::tempdir().unwrap() };
        store::create_dir_all(&site.path()).unwrap();
        small_world::write(&site.path(), "[corpus.entities]\npassages_per_shard = 40\n");
        let config = site.path().join("small.toml");
        let sharded = store::read_to_string(&config).unwrap().replace("num_train = 6\n", SHARDS);
        store::write_atomic(&config, sharded).unwrap();
        for (name, script) in [("sbatch", SBATCH), ("squeue", NOTES), ("scancel", NOTES), ("scontrol", NOTES)] {
            let path = site.slurm.path().join(name);
            store::write_atomic(&path, script).unwrap();
            #[expect(clippy::disallowed_methods, reason = "the store has no executables")]
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        site
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("it's a $(place) & \"more\"")
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:{}", self.slurm.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
        // Slurm takes no quotation marks in the names of logs.
        let scripts = self.folder.path().join("a slurm");
        command.current_dir(self.path()).args(arguments).env("PATH", path);
        if arguments[0] == "slurm" {
            command.arg("--scripts").arg(scripts);
        }
        command.output().unwrap()
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}{}", self.noted("log"));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str], code: i32, parts: &[&str]) {
        let output = self.command(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(parts.iter().all(|part| told.contains(part)), "{arguments:?}: {told}");
    }

    /// A file of the Slurm, which is then forgotten.
    fn noted(&self, name: &str) -> String {
        let path = self.slurm.path().join(name);
        let text = store::read_to_string(&path).unwrap_or_default();
        store::remove_file(&path).unwrap();
        text
    }

    fn note(&self, name: &str, text: &str) {
        store::write_atomic(&self.slurm.path().join(name), text).unwrap();
    }

    /// Hashes of the files of a corpus but for locks.
    fn contents(&self, corpus: &str) -> Vec<(PathBuf, String)> {
        let (mut files, mut folders) = (Vec::new(), vec![self.path().join(corpus)]);
        while let Some(folder) = folders.pop() {
            for path in store::list(&folder).unwrap() {
                if store::is_dir(&path) {
                    folders.push(path);
                } else if !path.to_string_lossy().ends_with("lock") {
                    let name = path.strip_prefix(self.path().join(corpus)).unwrap().to_path_buf();
                    files.push((name, store::hash_file(&path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }
}

const CORPUS: [&str; 6] = ["slurm", "corpus", "small.toml", "--tasks=2", "--submit", "--setup=echo begun"];

#[test]
fn scripts_are_as_they_were_when_last_looked_at() {
    let site = Site::new();
    let options = ["--sbatch=--partition=cpu", "--sbatch=--time=04:00:00", "--setup=module load zstd", "--after=7:8_9"];
    let corpus = ["slurm", "corpus", "--config", "small.toml", "--set", "run.name=it's", "--accept-truncated"];
    let submit = site.said(&[&corpus[..], &options].concat());
    assert!(submit.trim_end().ends_with("/a slurm/corpus-submit.sh"), "{submit}");
    site.said(&["slurm", "train", "small.toml", "--device", "cpu", "--branch", "slower", "--sbatch=--gres=gpu:1"]);
    for name in ["corpus-submit.sh", "corpus-shards.sbatch", "corpus-step.sbatch", "train-submit.sh", "train.sbatch"] {
        let script = site.folder.path().join("a slurm").join(name);
        assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success(), "{name}");
        // What differs from machine to machine.
        let quoted = |path: &Path| path.display().to_string().replace('\'', r"'\''");
        let got = store::read_to_string(&script)
            .unwrap()
            .replace(&quoted(site.folder.path()), "/tmp/test")
            .replace(env!("CARGO_BIN_EXE_memtrain"), "/usr/bin/memtrain");
        let (script, check) = got.rsplit_once(": ").unwrap();
        assert_eq!(check.len(), 17, "{check}");
        let got = format!("{script}: 0123456789abcdef\n");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm").join(name);
        if std::env::var_os("MEMTRAIN_WRITE_SHOWN").is_some() {
            store::write_atomic(&path, &got).unwrap();
        }
        let expected = store::read_to_string(&path).unwrap();
        let differs = expected.lines().zip(got.lines()).find(|(expected, got)| expected != got);
        assert!(expected == got, "{name} is written otherwise, first in {differs:?}");
    }
}

#[test]
fn jobs_build_the_corpus_that_one_process_builds_and_then_only_what_is_missing() {
    let site = Site::new();
    site.said(&["corpus", "build", "small.toml", "--out", "direct"]);
    let last = site.said(&CORPUS);
    assert_eq!(site.noted("failed"), "");
    assert_eq!(site.contents("corpus"), site.contents("direct"));
    let calls = site.noted("calls");
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(last.trim(), calls.len().to_string(), "{calls:?}");
    assert!(!calls[0].contains("--dependency"), "nothing waits for the first: {}", calls[0]);
    for call in &calls[1..] {
        assert!(call.contains("--dependency=afterok:") && call.contains("--kill-on-invalid-dep=yes"), "{call}");
    }
    let sent = |name: &str| calls.iter().find(|call| call.contains(&format!("--job-name=memtrain-{name} "))).unwrap();
    let number = |name: &str| calls.iter().position(|call| call == sent(name)).unwrap() + 1;
    let before = ["entities-finish", "tokenizer", "index"].map(|name| number(name).to_string()).join(":");
    let ingested = number("ingest-finish");
    assert!(sent("synthesize-plan").contains(&format!("afterok:{ingested}:{before} ")), "{calls:?}");
    assert!(sent("tokenizer").contains(&format!("afterok:{ingested} ")), "{calls:?}");
    assert!(site.noted("log").contains("begun"));

    // Nothing is left to do.
    assert_eq!(site.said(&CORPUS), "");
    assert_eq!(site.noted("calls"), "");

    // The task with a shard that is gone, and the commit.
    let shard = site.path().join("corpus/synthesize/data/train-00001-of-00003.parquet");
    store::remove_file(&shard).unwrap();
    site.said(&CORPUS);
    let calls = site.noted("calls");
    assert_eq!(calls.lines().count(), 2, "{calls}");
    assert!(calls.contains("--job-name=memtrain-synthesize --array=1 corpus-shards.sbatch synthesize 2"), "{calls}");
    assert_eq!(site.contents("corpus"), site.contents("direct"));
}

#[test]
fn all_jobs_are_sent_or_none() {
    let site = Site::new();
    site.note("refuse", "3");
    site.refused(&CORPUS, 1, &["what was sent before is cancelled: 1 2", "the jobs were not sent"]);
    assert_eq!(site.noted("others"), "scancel 1 2\n");
    site.noted("refuse");
    site.noted("calls");
    site.said(&CORPUS);
    // A second submission while jobs of the first are queued would do the same work twice.
    let train = ["slurm", "train", "small.toml", "--submit", "--program=/bin/true"];
    let job = site.said(&train);
    site.note("queued", &job);
    site.refused(&train, 1, &["jobs of the last submission are still there", job.trim()]);
}

#[test]
fn a_job_that_stops_with_everything_saved_goes_to_the_queue_again() {
    let site = Site::new();
    for (stop, code, requeued) in [("exit 75", 75, true), ("exit 1", 1, false), ("exit 0", 0, false)] {
        site.note("program", &format!("{stop}\n"));
        let program = format!("--program={}", site.slurm.path().join("program").display());
        // Run by bash, since the file may not be executed.
        site.said(&["slurm", "train", "small.toml", &program]);
        let script = site.folder.path().join("a slurm/train.sbatch");
        let text = store::read_to_string(&script).unwrap().replace("run \"$memtrain\"", "run bash \"$memtrain\"");
        let script = site.folder.path().join("changed.sbatch");
        store::write_atomic(&script, text).unwrap();
        let path = format!("{}:{}", site.slurm.path().display(), std::env::var("PATH").unwrap());
        let output = |restarts: &str| {
            let mut command = Command::new("bash");
            command.arg(&script).env("PATH", &path).env("SLURM_JOB_ID", "5").env("SLURM_RESTART_COUNT", restarts);
            command.output().unwrap()
        };
        let ended = output("0");
        assert_eq!(ended.status.code(), Some(code), "{stop}: {}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(site.noted("others"), if requeued { "scontrol requeue 5\n" } else { "" }, "{stop}");
        // Not for ever.
        assert_eq!(output("500").status.code(), Some(code));
        assert_eq!(site.noted("others"), "", "{stop}");
    }
}

#[test]
fn a_signal_between_two_commands_of_a_job_or_before_they_take_signals_sends_it_to_the_queue_again() {
    let site = Site::new();
    let program = format!("--program={}", site.slurm.path().join("program").display());
    site.said(&["slurm", "corpus", "small.toml", &program]);
    let script = site.folder.path().join("a slurm/corpus-step.sbatch");
    let text = store::read_to_string(&script).unwrap().replace("run \"$memtrain\"", "run bash \"$memtrain\"");
    // The planning is done whole though the signal comes in it; the commit is not begun. Without handlers it ends the command.
    let ends = "trap '' USR1; echo \"$2\" >>told; kill -USR1 $PPID; sleep 0.2; exit 0\n";
    let dies = "echo \"$2\" >>told; kill -USR1 $PPID; sleep 5; exit 0\n";
    let early = text.replace("cd '", "kill -USR1 $$\ncd '");
    for (script_text, program, told) in [(&text, ends, "plan\n"), (&text, dies, "plan\n"), (&early, ends, "")] {
        site.note("program", program);
        store::write_atomic(&script, script_text).unwrap();
        let path = format!("{}:{}", site.slurm.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.arg(&script).args(["ingest", "plan", "finish"]).env("PATH", path).env("SLURM_JOB_ID", "5");
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(75), "{told}: {}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(site.noted("others"), "scontrol requeue 5\n", "{told}");
        let file = site.path().join("told");
        assert_eq!(store::read_to_string(&file).unwrap_or_default(), told);
        store::remove_file(&file).unwrap();
    }
}

#[test]
fn what_cannot_stand_in_a_script_is_refused_before_anything_is_written() {
    let site = Site::new();
    let train = ["slurm", "train", "small.toml"];
    let with = |more: &'static str| [&train[..], &[more]].concat();
    site.refused(&with("--sbatch=gpu"), 2, &["--sbatch=--partition=gpu"]);
    site.refused(&with("--sbatch=--time=1\n#SBATCH --wrap=x"), 2, &["`--sbatch` holds a control character"]);
    site.refused(&with("--setup=true\nfalse"), 2, &["`--setup` holds a control character"]);
    site.refused(&with("--branch=../x"), 2, &["`run.name` is `../x`"]);
    site.refused(&with("--after=1;id"), 2, &["write numbers of jobs, as `12:13`"]);
    site.refused(&["slurm", "corpus", "small.toml", "--tasks=0"], 2, &["--tasks"]);
    site.refused(&["slurm", "corpus", "nowhere.toml"], 2, &["nowhere.toml"]);
    let scripts = site.folder.path().join("a slurm");
    assert!(!store::exists(&scripts));
    store::create_dir_all(&scripts).unwrap();
    store::write_atomic(&scripts.join("train.sbatch"), "mine\n").unwrap();
    site.refused(&train, 1, &["train.sbatch", "this command did not write it"]);
    // Nor is what somebody has written into a script of ours, which people are told to read and change.
    let changed = scripts.join("corpus-step.sbatch");
    let corpus = ["slurm", "corpus", "small.toml"];
    site.said(&corpus);
    site.said(&corpus);
    let text = store::read_to_string(&changed).unwrap();
    let mine = text.replace("#SBATCH --nodes=1", "#SBATCH --nodes=1\n#SBATCH --qos=mine");
    store::write_atomic(&changed, &mine).unwrap();
    site.refused(&[&corpus[..], &["--setup=true"]].concat(), 1, &["corpus-step.sbatch", "--scripts"]);
    assert_eq!(store::read_to_string(&changed).unwrap(), mine);
    store::write_atomic(&changed, "My notes: scripts say `# As it was written: ` at their end.\n").unwrap();
    site.refused(&corpus, 1, &["corpus-step.sbatch"]);
}
