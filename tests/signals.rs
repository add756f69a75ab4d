//! Signals that ask a training to stop: what it had is saved, the exit code is 75, and the same command goes on.
#![cfg(unix)]

mod small_reader;
mod small_world;

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memtrain_corpora::store;
use small_reader::READER;

/// Longer than anything here takes on a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_secs(300);

/// A training that would take for ever.
const ENDLESS: &str = r#"
    [objective]
    group_size = 2
    recall_samples = 1
    [train]
    steps = 1000000
    documents_per_step = 1
    checkpoint_every = 1000000
    rollouts_every = 0
    peak_tflops = 1.0
"#;

fn corpus(more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), &[READER, more].concat());
    let built = command(folder.path(), &["corpus", "build", "small.toml"]).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.current_dir(folder).args(arguments).env_remove("RUST_LOG").stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Steps that the run has recorded.
fn steps(folder: &Path) -> usize {
    store::read_to_string(&folder.join("runs/memtrain/metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// A command under way. What it says is read meanwhile, so that it never waits for a reader.
struct Started {
    child: Child,
    said: JoinHandle<String>,
}

impl Started {
    fn new(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        Self { child, said }
    }

    fn send(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// The exit code and stderr.
    fn end(mut self) -> (Option<i32>, String) {
        let mut code = None;
        wait_for("the end", || {
            let status = self.child.try_wait().unwrap();
            code = status.and_then(|status| status.code());
            status.is_some()
        });
        (code, self.said.join().unwrap())
    }
}

/// Whether programs started from here ignore SIGHUP, where the system tells it.
fn ignores_hangup() -> bool {
    let status = store::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[test]
fn every_such_signal_saves_and_the_same_command_goes_on() {
    let folder = corpus(ENDLESS);
    let path = folder.path();
    let mut saved: Option<String> = None;
    // Where a SIGHUP is ignored, as under `nohup`, the training ignores it as well.
    for signal in ["-HUP", "-USR1", "-TERM", "-INT"].into_iter().filter(|signal| *signal != "-HUP" || !ignores_hangup())
    {
        let before = steps(path);
        let started = Started::new(command(path, &["train", "small.toml"]));
        wait_for("a step", || steps(path) > before);
        if saved.is_none() {
            let (code, said) = Started::new(command(path, &["train", "small.toml"])).end();
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(&format!("is locked by another process (pid {}", started.child.id())), "{said}");
        }
        started.send(signal);
        let (code, said) = started.end();
        assert_eq!(code, Some(75), "{signal}: {said}");
        assert!(said.contains(" is saved\n") && said.contains("stopped by a signal"), "{signal}: {said}");
        // What will happen is said at once, and a line of each step before.
        assert!(
            said.contains("Z stopping: sampling is given up") && said.contains("/1000000 E2E "),
            "{signal}: {said}"
        );
        if let Some(step) = saved {
            assert!(said.contains(&format!("going on from step {step} of 1000000")), "{signal}: {said}");
        }
        let step =
            said.split_once("error: stopped by a signal: step ").and_then(|(_, rest)| rest.split_once(" is saved"));
        saved = Some(step.unwrap().0.to_owned());
    }
}

#[test]
fn before_the_first_step_nothing_is_said_to_be_saved() {
    let folder = corpus(&ENDLESS.replace("documents_per_step = 1", "documents_per_step = 2000"));
    let path = folder.path();
    let started = Started::new(command(path, &["train", "small.toml"]));
    wait_for("the run", || store::exists(&path.join("runs/memtrain/manifest.json")));
    started.send("-TERM");
    let (code, said) = started.end();
    assert_eq!((code, steps(path)), (Some(75), 0), "{said}");
    assert!(said.contains("no step is done yet, so nothing of the training is saved"), "{said}");
    assert!(!said.contains("everything is saved"), "{said}");
}

#[test]
fn a_signal_is_heeded_while_a_server_reads_weights_or_scores() {
    // It tells its model, and answers nothing else.
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.server_addr());
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut unanswered = Vec::new();
        while let Ok(request) = server.recv() {
            if request.url() == "/v1/models" {
                let _ = request.respond(tiny_http::Response::from_string(r#"{"data": [{"id": "the-policy"}]}"#));
                continue;
            }
            let path = request.url().to_owned();
            unanswered.push(request);
            if sender.send(path).is_err() {
                return;
            }
        }
    });
    let folder = corpus(ENDLESS);
    let path = folder.path();
    let (sampler, reward) = (format!("sampler.http.url={url}"), format!("reward.url={url}/score"));
    for (place, more) in
        [("/collective_rpc", ["sampler.kind=http", &sampler]), ("/score", ["run.name=scored", &reward])]
    {
        let started = Started::new(command(path, &["train", "small.toml", "--set", more[0], "--set", more[1]]));
        assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), place);
        started.send("-TERM");
        let begun = Instant::now();
        let (code, said) = started.end();
        // Either would be waited for by the minute otherwise.
        assert!(code == Some(75) && begun.elapsed() < Duration::from_secs(30), "{code:?}: {said}");
    }
}

/// As under `nohup`.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let folder = corpus(ENDLESS);
    let path = folder.path();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" train small.toml", env!("CARGO_BIN_EXE_memtrain")]);
    shell.current_dir(path).stdout(Stdio::null()).stderr(Stdio::piped());
    let started = Started::new(shell);
    wait_for("a step", || steps(path) > 0);
    started.send("-HUP");
    let seen = steps(path);
    wait_for("further steps", || steps(path) > seen + 2);
    started.send("-TERM");
    let (code, said) = started.end();
    assert_eq!(code, Some(75), "{said}");
}

#[test]
fn a_file_beyond_the_limit_of_sizes_is_a_named_error() {
    let folder = tempfile::tempdir().unwrap();
    let command = format!("ulimit -f 1; exec '{}' man pages", env!("CARGO_BIN_EXE_memtrain"));
    let output = Command::new("sh").current_dir(folder.path()).args(["-c", &command]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("pages/memtrain"), "{:?}: {said}", output.status);
}
