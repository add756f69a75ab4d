//! SIGTERM amid a response, through the binary: a server withholds its responses, so whatever ends does not wait for one.

mod small_world;
mod stub_server;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use memtrain::policy::{PolicyTokenizer, built_in};
use memtrain_corpora::store;
use serde_json::{Value, json};
use stub_server::Stub;

const CONFIG: &str = r#"
    [reader]
    prompts = "compact"
    chunk_tokens = 48
    max_chunks = 16
    memory_tokens = 96
    answer_tokens = 12
    context_tokens = 320
    cut_at = "sentence"
    [bank]
    prompts = "compact"
    core_tokens = 32
    [sampler]
    kind = "http"
    [sampler.http]
    max_mismatch = 0.0
    [train]
    steps = 1
    documents_per_step = 2
"#;

/// How many responses a server still gives before it withholds them.
struct Gate(Mutex<usize>, Condvar);

impl Gate {
    fn pass(&self) {
        let mut left = self.1.wait_while(self.0.lock().unwrap(), |left| *left == 0).unwrap();
        *left -= 1;
    }

    fn open(&self, responses: usize) {
        *self.0.lock().unwrap() = responses;
        self.1.notify_all();
    }
}

/// A server that gives so many responses and withholds all further ones.
struct Withholding {
    stub: Stub,
    gate: Arc<Gate>,
}

impl Withholding {
    /// What it says is a function of the prompt, and so is the time that it takes; with `direction` -1 what was quick is slow.
    fn start(responses: usize, direction: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        built_in::write("tiny", folder.path()).unwrap();
        let tokenizer = PolicyTokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap();
        let (stub, gate) = (Stub::start(), Arc::new(Gate(Mutex::new(responses), Condvar::new())));
        let (passes, end) = (Arc::clone(&gate), tokenizer.eos_token_ids()[0]);
        *stub.script.draws.lock().unwrap() = Some(Arc::new(move |prompt| {
            passes.pass();
            let text = tokenizer.decode(prompt).unwrap();
            let sum: i64 = prompt.iter().map(|&id| i64::from(id)).sum();
            std::thread::sleep(Duration::from_millis(10) * (sum * direction).rem_euclid(23) as u32);
            let said = match text.split("Text: ").last().and_then(|rest| rest.split("\nCalls:").next()) {
                Some(chunk) if text.contains("\nCalls:") => {
                    json!({"name": "insert", "arguments": {"content": chunk}}).to_string()
                }
                _ => format!("\\boxed{{{}}}", sum % 7),
            };
            [tokenizer.encode_text(format!(" {said}")).unwrap(), vec![end]].concat()
        }));
        Self { stub, gate }
    }

    fn num_asked(&self) -> usize {
        self.stub.paths().iter().filter(|path| *path == "/v1/completions").count()
    }

    fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
        command.current_dir(folder).args(arguments);
        command.args(["--set", &format!("sampler.http.url={}", self.stub.url)]);
        command
    }

    /// Runs a command, terminates it once the server has been asked for more than it gives, and returns exit code and log.
    fn stopped(&self, folder: &Path, arguments: &[&str], asked: usize) -> (Option<i32>, String) {
        let mut command = self.command(folder, arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&mut child, |child| {
            assert!(child.try_wait().unwrap().is_none(), "{arguments:?} ended by itself");
            self.num_asked() >= asked
        });
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        wait_for(&mut child, |child| child.try_wait().unwrap().is_some());
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Withholding {
    fn drop(&mut self) {
        self.gate.open(usize::MAX);
    }
}

fn wait_for(child: &mut Child, is_so: impl Fn(&mut Child) -> bool) {
    let started = Instant::now();
    while !is_so(child) {
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it does not come to that in a minute");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn done(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A corpus, and tasks of two chunks.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, CONFIG);
    let task = |number: usize| {
        let chunk = |part: &str| format!("guild {number}{part} meets in hall {number}{part}.");
        json!({"instance_id": format!("t{number}"), "chunks": [chunk("a"), chunk("b")], "data_source": "test",
            "questions_and_answers": [{"question": format!("where does guild {number}a meet?"), "answer": format!("hall {number}a")}]})
    };
    let lines: String = (0..6).map(|number| format!("{}\n", task(number))).collect();
    store::write_atomic(&path.join("tasks.jsonl"), lines).unwrap();
    let mut import = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    import.current_dir(path).args(["tasks", "import", "tasks.jsonl", "--out", "table.jsonl"]);
    done(import);
    let question = json!({"id": "a", "question": "Who?", "golden_answers": ["Lorn"]});
    store::write_atomic(&path.join("questions.jsonl"), format!("{question}\n")).unwrap();
    let mut build = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    build.current_dir(path).args(["corpus", "build", "--config", "small.toml"]);
    done(build);
    folder
}

const BANK: [&str; 8] = [
    "--set",
    "objective={kind=\"finemem\", group_size=2}",
    "--set",
    "tasks.train=tasks.jsonl",
    "--set",
    "tasks.heldout=tasks.jsonl",
    "--config",
    "small.toml",
];

#[test]
fn training_and_each_evaluation_end_amid_a_response() {
    let folder = folder();
    let path = folder.path();
    let of_config = ["--config", "small.toml"];
    let of_policy = ["--policy", "built-in:tiny", "--config", "small.toml"];
    let cases: [(&[&str], &[&str]); 8] = [
        (&["train"], &of_config),
        (&["train", "--set", "run.name=banks"], &BANK),
        (&["eval", "reconstruction"], &of_config),
        (&["eval", "recall"], &of_config),
        (&["eval", "memory"], &of_config),
        (&["eval", "bank"], &BANK),
        (&["eval", "long-qa", "table.jsonl", "--out", "long", "--full-context-tokens", "320"], &of_policy),
        (
            &[
                "eval",
                "search-qa",
                "questions.jsonl",
                "--out",
                "search",
                "--corpus",
                "corpus",
                "--response-tokens",
                "16",
            ],
            &of_policy,
        ),
    ];
    for (what, more) in cases {
        let server = Withholding::start(0, 0);
        let (code, said) = server.stopped(path, &[what, more].concat(), 1);
        assert_eq!(code, Some(75), "{what:?}: {said}");
        assert!(said.contains("stopped by a signal"), "{what:?}: {said}");
    }
    // What keeps nothing says so; what keeps something goes on.
    let server = Withholding::start(0, 0);
    let (_, said) = server.stopped(path, &["eval", "recall", "--config", "small.toml"], 1);
    assert!(said.contains("nothing of this evaluation is kept"), "{said}");
    let train = [&["train", "--set", "run.name=again"][..], &BANK].concat();
    let (code, said) = server.stopped(path, &train, server.num_asked() + 1);
    assert_eq!(code, Some(75), "{said}");
    server.gate.open(usize::MAX);
    done(server.command(path, &train));
}

fn contents(folder: &Path, files: &[&str]) -> Vec<String> {
    files.iter().map(|name| store::hash_file(&folder.join(name)).unwrap()).collect()
}

#[test]
fn an_evaluation_that_was_stopped_goes_on_with_the_batch_it_was_in() {
    let folder = folder();
    let path = folder.path();
    let eval = |out: &'static str| [&["eval", "bank", "--out", out, "--batch", "2"][..], &BANK].concat();
    let table = done(Withholding::start(usize::MAX, 1).command(path, &eval("whole")));
    // A batch of two items takes four responses; the second one is withheld in its second turn.
    let server = Withholding::start(6, 0);
    let (code, said) = server.stopped(path, &eval("stopped"), 7);
    assert_eq!(code, Some(75), "{said}");
    let items = store::read_to_string(&path.join("stopped/items.jsonl")).unwrap();
    assert_eq!(items.lines().count(), 2, "{items}");
    let asked = server.num_asked();
    server.gate.open(usize::MAX);
    assert_eq!(done(server.command(path, &eval("stopped"))), table);
    assert_eq!(server.num_asked() - asked, 8, "four items of two turns");
    let files = ["items.jsonl", "report.json", "run.json", "turns.parquet"];
    assert_eq!(contents(&path.join("stopped"), &files), contents(&path.join("whole"), &files));
}

#[test]
fn records_of_a_run_do_not_depend_on_the_order_of_responses() {
    let folder = folder();
    let path = folder.path();
    let mut seen = Vec::new();
    for (name, direction) in [("run.name=a", 1), ("run.name=b", -1)] {
        let server = Withholding::start(usize::MAX, direction);
        done(server.command(path, &[&["train", "--set", name][..], &BANK].concat()));
        let run = path.join("runs").join(&name[9..]);
        let metrics = store::read_to_string(&run.join("metrics.jsonl")).unwrap();
        let step: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
        assert_eq!(step["train/conversations"].as_f64().map(|count| count % 2.0), Some(0.0), "{step}");
        let rollouts = store::list(&run.join("rollouts")).unwrap();
        assert!(!rollouts.is_empty());
        let mut files: Vec<String> = rollouts.iter().map(|path| store::hash_file(path).unwrap()).collect();
        files.push(metrics);
        let prompts = server.stub.script.asked.lock().unwrap();
        let prompts = prompts.iter().filter_map(|(_, body)| body["prompt"].as_array().cloned()).collect::<Vec<_>>();
        seen.push((files, prompts));
    }
    assert_eq!(seen[0].0, seen[1].0);
    assert_ne!(seen[0].1, seen[1].1, "the requests came in one order");
}
