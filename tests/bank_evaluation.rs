//! `eval bank` through the binary. A server draws the keeper's calls and a server answers, both from a script, so that what a
//! bank holds and how often it is right is known.

mod small_world;
mod stub_server;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use memtrain::eval::record::EvalTurn;
use memtrain::policy::{PolicyTokenizer, built_in};
use memtrain_corpora::store;
use serde_json::{Value, json};
use stub_server::{Draws, Speaks, Stub};

const CONFIG: &str = r#"
    [reader]
    prompts = "compact"
    chunk_tokens = 48
    memory_tokens = 96
    answer_tokens = 12
    context_tokens = 320
    [bank]
    prompts = "compact"
    core_tokens = 32
    [objective]
    kind = "finemem"
    chunk_questions = 1
"#;

/// Six contexts of two chunks with a question about each, and the configuration.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, CONFIG);
    let task = |number: usize| {
        let chunk = |part: &str| format!("guild {number}{part} meets in hall {number}{part}.");
        let asked =
            |part: &str| json!([format!("where does guild {number}{part} meet?"), format!("hall {number}{part}")]);
        let questions: Vec<Value> =
            [asked("a"), asked("b")].iter().map(|asked| json!({"question": asked[0], "answer": asked[1]})).collect();
        json!({"instance_id": format!("t{number}"), "chunks": [chunk("a"), chunk("b")], "questions_and_answers": questions,
            "data_source": if number < 4 { "early" } else { "late" }})
    };
    let lines: String = (0..6).map(|number| format!("{}\n", task(number))).collect();
    store::write_atomic(&path.join("tasks.jsonl"), lines).unwrap();
    folder
}

/// A keeper that writes down every chunk but those that hold `forgets`.
fn keeper(forgets: &'static str, kind: &'static str) -> Draws {
    let folder = tempfile::tempdir().unwrap();
    built_in::write("tiny", folder.path()).unwrap();
    let tokenizer = PolicyTokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap();
    let end = tokenizer.eos_token_ids()[0];
    Arc::new(move |prompt| {
        let prompt = tokenizer.decode(prompt).unwrap();
        let chunk = prompt.split("Text: ").last().unwrap().split("\nCalls:").next().unwrap();
        let call = match kind {
            _ if chunk.contains(forgets) => "nothing of worth".to_owned(),
            "finemem" => json!({"name": "insert", "arguments": {"content": chunk}}).to_string(),
            _ => json!({"name": "insert", "arguments": {"type": "semantic", "content": chunk}}).to_string(),
        };
        [tokenizer.encode_text(format!(" {call}")).unwrap(), vec![end]].concat()
    })
}

/// Somebody who reads the memory, and takes everything for true.
fn answerer() -> Speaks {
    Box::new(|user| {
        if user.ends_with("True?") {
            return "\\boxed{yes}".to_owned();
        }
        let (question, memory) = user.split_once("\nMemory: ").unwrap();
        let guild = question.trim_start_matches("where does ").trim_end_matches(" meet?");
        let known = memory.split_once(&format!("{guild} meets in ")).map(|(_, rest)| rest.split('.').next().unwrap());
        format!("\\boxed{{{}}}", known.unwrap_or("nobody knows"))
    })
}

/// What keeps banks, and what answers.
struct Servers {
    keeper: Stub,
    answerer: Stub,
}

impl Servers {
    fn start(forgets: &'static str, kind: &'static str) -> Self {
        let servers = Self { keeper: Stub::start(), answerer: Stub::start() };
        *servers.keeper.script.draws.lock().unwrap() = Some(keeper(forgets, kind));
        *servers.answerer.script.speaks.lock().unwrap() = Some(answerer());
        servers
    }

    /// The evaluation of all tasks with these servers into `out`.
    fn eval(&self, folder: &Path, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
        command.current_dir(folder).env("MEMTRAIN_ANSWERER_KEY", "open sesame");
        command.args([
            "eval",
            "bank",
            "--config",
            "small.toml",
            "--tasks",
            "tasks.jsonl",
            "--out",
            out,
            "--batch",
            "2",
        ]);
        // A scripted server takes no likely tokens.
        command.args(["--set", "sampler.kind=http", "--set", "sampler.http.max_mismatch=0"]);
        command.args(["--set", "bank.answerer.retries=0"]);
        command.args(["--set", &format!("sampler.http.url={}", self.keeper.url), "--answerer", &self.answerer.url]);
        command.args(more);
        command
    }

    /// How often the keeper was shown this text.
    fn times_read(&self, text: &str) -> usize {
        let folder = tempfile::tempdir().unwrap();
        built_in::write("tiny", folder.path()).unwrap();
        let tokenizer = PolicyTokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap();
        let asked = self.keeper.script.asked.lock().unwrap();
        let prompts = asked.iter().filter_map(|(_, body)| body["prompt"].as_array());
        let ids = |prompt: &Vec<Value>| prompt.iter().map(|id| id.as_u64().unwrap() as u32).collect::<Vec<_>>();
        prompts.filter(|prompt| tokenizer.decode(&ids(prompt)).unwrap().contains(&format!("Text: {text}"))).count()
    }

    fn questions(&self) -> usize {
        self.answerer.paths().iter().filter(|path| *path == "/v1/chat/completions").count()
    }
}

fn done(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(mut command: Command, parts: &[&str]) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && parts.iter().all(|part| said.contains(part)), "{command:?}: {said}");
    output
}

fn items(folder: &Path) -> Vec<Value> {
    let text = store::read_to_string(&folder.join("items.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Hashes of what must not depend on when it was done.
fn contents(folder: &Path) -> [String; 4] {
    ["items.jsonl", "report.json", "run.json", "turns.parquet"]
        .map(|name| store::hash_file(&folder.join(name)).unwrap())
}

/// Kills a process that evaluates into `folder` once so many items are done.
fn kill_after(child: &mut Child, folder: &Path, count: usize) {
    let started = Instant::now();
    loop {
        let done = store::exists(&folder.join("items.jsonl")).then(|| items(folder).len());
        if done >= Some(count) {
            break;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        assert!(started.elapsed() < Duration::from_secs(60), "nothing gets done");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn killed_it_goes_on_where_it_was_and_two_of_them_are_compared() {
    let folder = folder();
    let path = folder.path();
    let servers = Servers::start("?", "finemem");
    let table = done(servers.eval(path, "whole", &[]));
    assert!(table.contains("6 items, 12 questions, 0 items failed"), "{table}");
    let report: Value = store::read_json(&path.join("whole/report.json")).unwrap();
    assert_eq!((&report["accuracy"]["mean"], &report["measured"]["format"]), (&json!(1.0), &json!(1.0)), "{report}");
    let groups: Vec<(&Value, &Value)> =
        report["rows"].as_array().unwrap().iter().map(|row| (&row["group"], &row["items"])).collect();
    assert_eq!(groups, [(&json!("early"), &json!(4)), (&json!("late"), &json!(2))]);
    let first = &items(&path.join("whole"))[0];
    assert_eq!(
        (&first["task"], &first["answer"], &first["scores"]["em"]),
        (&json!("t0"), &json!("hall 0a; hall 0b"), &json!(1.0))
    );
    assert_eq!(first["details"]["bank"]["entries"][1]["content"], "guild 0b meets in hall 0b.");
    assert_eq!(first["details"]["asked"][1]["response"], "\\boxed{hall 0b}");
    let turns: Vec<EvalTurn> =
        store::read_table(&path.join("whole/turns.parquet")).unwrap().collect::<Result<_, _>>().unwrap();
    let of_first: Vec<(&str, u32)> =
        turns.iter().filter(|turn| turn.key.task == "t0").map(|turn| (turn.kind.as_str(), turn.turn)).collect();
    assert_eq!(of_first, [("write", 0), ("write", 1), ("answer", 2), ("answer", 3)]);
    assert!(
        turns.iter().all(|turn| (turn.kind == "write") != turn.response_ids.is_empty()),
        "a server's ids are unknown"
    );
    assert!(
        turns[2].prompt.starts_with("where does guild 0a meet?\nMemory: ") && turns[2].response == "\\boxed{hall 0a}"
    );
    let asked = servers.answerer.script.asked.lock().unwrap().clone();
    let question = &asked.iter().find(|(path, _)| path == "/v1/chat/completions").unwrap().1;
    assert_eq!(
        (&question["model"], &question["temperature"], &question["max_tokens"]),
        (&json!("the-policy"), &json!(0.0), &json!(12))
    );
    assert_eq!(servers.answerer.script.keys.lock().unwrap().iter().collect::<Vec<_>>(), ["Bearer open sesame"]);
    assert!(servers.keeper.script.keys.lock().unwrap().is_empty(), "the key is for the answerer alone");

    // Killed in the middle and run again with servers that are elsewhere, it ends with the same bytes.
    let slow = Servers::start("?", "finemem");
    slow.keeper.script.delay_ms.store(50, SeqCst);
    let mut child = slow.eval(path, "killed", &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    kill_after(&mut child, &path.join("killed"), 2);
    let before = items(&path.join("killed")).len();
    assert!((2..6).contains(&before), "{before} items were done");
    let again = Servers::start("?", "finemem");
    assert_eq!(done(again.eval(path, "killed", &[])), table);
    assert_eq!(contents(&path.join("killed")), contents(&path.join("whole")));
    for number in 0..6 {
        let expected = usize::from(number >= before);
        assert_eq!(again.times_read(&format!("guild {number}a")), expected, "task {number} with {before} done before");
    }
    assert_eq!(again.questions(), 2 * (6 - before));
    // Done, it asks nobody and says the same.
    let idle = Servers::start("?", "finemem");
    assert_eq!(done(idle.eval(path, "killed", &[])), table);
    assert_eq!((idle.questions(), idle.times_read("guild")), (0, 0));

    // Other settings are another evaluation.
    refused(servers.eval(path, "whole", &["--set", "eval.temperature=0.5"]), &["`temperature` differ", "--clean"]);
    refused(servers.eval(path, "whole", &["--set", "bank.answerer.model=other"]), &["`answerer` differ"]);
    refused(servers.eval(path, "whole", &["--limit", "3"]), &["`limit` differ"]);
    let anew = done(servers.eval(path, "killed", &["--limit", "3", "--clean"]));
    assert!(anew.contains("3 items, 6 questions"), "{anew}");

    // A keeper that forgets every second chunk answers half as much; four of its six tasks are compared with all of the others.
    let forgetful = Servers::start("b meets", "finemem");
    done(forgetful.eval(path, "forgetful", &["--limit", "4"]));
    let compare = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
        command.current_dir(path).args(["eval", "compare", "whole", "forgetful"]).args(more);
        command
    };
    let compared: Value = serde_json::from_str(&done(compare(&["--json", "--resamples", "200"]))).unwrap();
    assert_eq!((&compared["only_in_a"], &compared["only_in_b"]), (&json!(2), &json!(0)));
    let em = compared["differences"].as_array().unwrap().iter().find(|row| row["metric"] == "em").unwrap();
    assert_eq!(
        (&em["method"], &em["items"], &em["a"], &em["b"]),
        (&json!("bank"), &json!(4), &json!(1.0), &json!(0.5))
    );
    assert_eq!((&em["low"], &em["high"]), (&json!(-0.5), &json!(-0.5)), "every task loses one of two answers");
    let text = done(compare(&[]));
    assert!(text.contains("paired bootstrap over tasks"), "{text}");
}

#[test]
fn what_is_no_fault_of_a_bank_is_not_counted_as_wrong() {
    let folder = folder();
    let path = folder.path();
    // Nobody answers: nothing is recorded, and later it goes on.
    let servers = Servers::start("?", "memalpha");
    let kind = ["--set", "objective={kind=\"memalpha\"}"];
    servers.answerer.script.status.store(503, SeqCst);
    servers.answerer.script.failures.store(1, SeqCst);
    refused(servers.eval(path, "out", &kind), &["/v1/chat/completions` answers 503"]);
    assert!(items(&path.join("out")).is_empty());
    let table = done(servers.eval(path, "out", &kind));
    assert!(table.contains("6 items, 12 questions, 0 items failed"), "{table}");
    let report: Value = store::read_json(&path.join("out/report.json")).unwrap();
    assert_eq!(
        (&report["accuracy"]["mean"], &report["measured"]["content"]),
        (&json!(1.0), &json!(1.0)),
        "the server judges too"
    );
    let first = &items(&path.join("out"))[0];
    assert_eq!(first["details"]["bank"]["layout"], "sections");
    let judged = store::read_table::<EvalTurn>(&path.join("out/turns.parquet")).unwrap();
    assert_eq!(judged.filter(|turn| turn.as_ref().unwrap().response == "\\boxed{yes}").count(), 12, "an item a chunk");

    // A question that a policy has no room for is an item that fails, and the others go on.
    let task = |id: &str, question: String| json!({"id": id, "question": question, "context": "guild 1 meets in hall 2. ".repeat(9), "answers": ["hall 2"]});
    let rows = [task("short", "where?".to_owned()), task("long", "where does it meet ".repeat(90))];
    store::write_json(&path.join("set.json"), &rows).unwrap();
    let local = |tasks: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
        command.current_dir(path).args(["eval", "bank", "--config", "small.toml", "--tasks", tasks, "--json"]);
        command
    };
    let report: Value = serde_json::from_str(&done(local("set.json"))).unwrap();
    assert_eq!((&report["items"], &report["failed"], &report["accuracy"]["count"]), (&json!(2), &json!(1), &json!(2)));
    store::write_json(&path.join("set.json"), &rows[1..]).unwrap();
    refused(local("set.json"), &["all 1 items failed", "context_tokens"]);
    let mut elsewhere = local("tasks.jsonl");
    elsewhere.args(["--answerer", "http://127.0.0.1:9", "--set", "bank.answerer.retries=0"]);
    refused(elsewhere, &["`http://127.0.0.1:9/v1/models` does not answer"]);
}

#[test]
fn a_server_answers_in_training() {
    let folder = folder();
    let path = folder.path();
    let servers = Servers::start("?", "finemem");
    *servers.answerer.script.speaks.lock().unwrap() = Some(Box::new(|user| {
        // Right about every other guild, whatever the memory says.
        let number = user.trim_start_matches("where does guild ").split(' ').next().unwrap();
        format!("\\boxed{{hall {}}}", number.replace('b', "z"))
    }));
    let mut train = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    train.current_dir(path).args(["train", "--config", "small.toml"]);
    for change in [
        "tasks.train=tasks.jsonl",
        "tasks.heldout=tasks.jsonl",
        "objective.group_size=2",
        "objective.filter_groups=false",
        "train.steps=1",
        "train.documents_per_step=3",
        "train.evaluate_every=1",
        "eval.documents=2",
        &format!("bank.answerer.url={}", servers.answerer.url),
    ] {
        train.args(["--set", change]);
    }
    done(train);
    assert_eq!(servers.questions(), 3 * 2 * 2 + 2 * 2, "three tasks of two questions, twice; and two tasks held out");
    let metrics = store::read_to_string(&path.join("runs/memtrain/metrics.jsonl")).unwrap();
    let step: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    assert_eq!(step["reward/global/mean"], 0.5, "{step}");
}
