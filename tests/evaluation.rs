//! Evaluations through the binary, with the policy that the program carries.

mod small_world;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use memtrain::eval::record::EvalTurn;
use memtrain::rollout::retrieve::{HttpRetriever, Retriever};
use memtrain_corpora::{rng, store};
use rand::Rng;
use serde_json::{Value, json};

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.current_dir(folder).args(arguments);
    command
}

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = memtrain(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str], code: i32, parts: &[&str]) {
    let output = memtrain(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?} did not say `{part}`:\n{said}");
    }
}

/// Limits that the tiny policy can keep.
const READER: [&str; 16] = [
    "--policy",
    "built-in:tiny",
    "--set",
    "reader.prompts=compact",
    "--set",
    "reader.chunk_tokens=48",
    "--set",
    "reader.memory_tokens=16",
    "--set",
    "reader.answer_tokens=12",
    "--set",
    "reader.context_tokens=256",
    "--set",
    "reader.cut_at=sentence",
    "--seed",
    "3",
];

/// Composed questions about guilds, in `folder/long`.
fn long_contexts(folder: &Path) {
    let rows: Vec<Value> = (0..10)
        .map(|number| {
            let title = format!("Guild {number}");
            json!({
                "_id": format!("q{number}"), "question": format!("Where does the guild {number} meet?"), "answer": format!("Hall {number}"),
                "supporting_facts": [[title, 0]],
                "context": [[title, [format!("The guild {number} meets in Hall {number}.")]]],
            })
        })
        .collect();
    store::write_json(&folder.join("set.json"), &rows).unwrap();
    said(folder, &["tasks", "import", "set.json", "--out", "t.parquet"]);
    said(folder, &["tasks", "compose", "t.parquet", "--out", "long", "--lengths", "2,6", "--questions", "5"]);
}

/// Hashes of what must not depend on when it was done.
fn contents(folder: &Path) -> Vec<(String, String)> {
    let files = ["items.jsonl", "report.json", "run.json", "turns.parquet"];
    files.map(|name| (name.to_owned(), store::hash_file(&folder.join(name)).unwrap())).to_vec()
}

#[test]
fn long_qa_is_resumable_and_two_of_them_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    long_contexts(path);
    let eval = |out: &str, more: &[&str]| -> Vec<String> {
        let fixed = ["eval", "long-qa", "long", "--out", out, "--batch", "3", "--full-context-tokens", "120"];
        [&fixed[..], &READER, more].concat().iter().map(|&part| part.to_owned()).collect()
    };
    let eval_said =
        |out: &str, more: &[&str]| said(path, &eval(out, more).iter().map(String::as_str).collect::<Vec<_>>());
    let table = eval_said("whole", &[]);
    assert!(table.contains("20 items, 0 failed"), "{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with("reader") || line.starts_with("full-context")).count(), 4);
    let report: Value = store::read_json(&path.join("whole/report.json")).unwrap();
    let row = |method: &str, group: &str| {
        let rows = report["rows"].as_array().unwrap();
        rows.iter().find(|row| row["method"] == method && row["group"] == group).unwrap().clone()
    };
    assert_eq!((row("reader", "2")["items"].as_u64(), row("reader", "6")["items"].as_u64()), (Some(5), Some(5)));
    assert!(row("reader", "6")["turns"].as_f64() > row("reader", "2")["turns"].as_f64(), "longer is more turns");
    assert_eq!(row("full-context", "6")["turns"], 1.0);
    assert_eq!(row("full-context", "6")["truncated_contexts"], 5, "six passages do not fit 120 tokens");
    let turns: Vec<EvalTurn> =
        store::read_table(&path.join("whole/turns.parquet")).unwrap().collect::<Result<_, _>>().unwrap();
    let question = "Where does the guild";
    assert!(turns.iter().all(|turn| turn.prompt.contains(question) && turn.response_ids.len() == turn.log_probs.len()));

    // Killed again and again, it ends with the same bytes.
    let started = Instant::now();
    eval_said("timed", &[]);
    let (whole, mut generator) = (started.elapsed(), rng::keyed("test/evaluation", 1, &[]));
    for _ in 0..6 {
        let arguments = eval("killed", &[]);
        let mut child = command(path, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole.mul_f64(generator.random_range(0.2..0.9)));
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert_eq!(eval_said("killed", &[]), table);
    assert_eq!(contents(&path.join("killed")), contents(&path.join("whole")));
    assert_eq!(contents(&path.join("timed")), contents(&path.join("whole")));

    let again = eval("whole", &["--temperature", "0"]);
    refused(path, &again.iter().map(String::as_str).collect::<Vec<_>>(), 1, &["`draw` differ", "--clean"]);
    eval_said("greedy", &["--temperature", "0"]);
    let same: Value =
        serde_json::from_str(&said(path, &["eval", "compare", "whole", "killed", "--json", "--resamples", "50"]))
            .unwrap();
    let differences = same["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 2 * 3 * 5, "methods, lengths and all, metrics");
    assert!(differences.iter().all(|row| row["difference"] == 0.0 && row["p_value"] == 1.0));
    let compared = said(path, &["eval", "compare", "whole", "greedy"]);
    assert!(compared.contains("paired bootstrap over tasks, 10000 draws"), "{compared}");
    assert_eq!(compared, said(path, &["eval", "compare", "whole", "greedy"]));
    let crossed =
        said(path, &["eval", "compare", "whole", "whole", "--method-a", "full-context", "--method-b", "reader"]);
    assert!(crossed.contains("full-context → reader"), "{crossed}");
    refused(path, &["eval", "compare", "whole", "long"], 1, &["no evaluation in `long`", "hint: "]);
}

#[test]
fn items_that_fail_count_as_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let context = "The guild meets in the hall. ".repeat(3);
    let row =
        |id: &str, question: String| json!({"id": id, "question": question, "context": context, "answers": ["Lorn"]});
    let rows = [row("short", "Where?".into()), row("long", "Where does the guild meet ".repeat(60))];
    store::write_json(&path.join("set.json"), &rows).unwrap();
    said(path, &["tasks", "import", "set.json", "--out", "t.jsonl"]);
    let eval = ["eval", "long-qa", "t.jsonl", "--out", "out", "--json", "--full-context-tokens", "200"];
    let report: Value = serde_json::from_str(&said(path, &[&eval[..], &READER].concat())).unwrap();
    assert_eq!((report["items"].as_u64(), report["failed"].as_u64()), (Some(4), Some(2)), "{report}");
    assert!(report["rows"].as_array().unwrap().iter().all(|row| row["items"] == 2 && row["failed"] == 1));
    let items = store::read_to_string(&path.join("out/items.jsonl")).unwrap();
    assert_eq!(
        items.lines().filter(|line| line.contains("context_tokens") || line.contains("the question alone")).count(),
        2,
        "{items}"
    );
    store::write_json(&path.join("set.json"), &rows[1..]).unwrap();
    said(path, &["tasks", "import", "set.json", "--out", "long.jsonl"]);
    let eval = ["eval", "long-qa", "long.jsonl", "--out", "out2", "--full-context-tokens", "200"];
    refused(path, &[&eval[..], &READER].concat(), 1, &["all 2 items failed"]);
    refused(path, &["eval", "long-qa", "t.jsonl", "--out", "x"], 2, &["no policy is named", "hint: "]);
    refused(
        path,
        &["eval", "long-qa", "t.jsonl", "--out", "x", "--policy", "built-in:tiny"],
        2,
        &["positions", "hint: "],
    );
}

/// The small corpus in `folder/corpus`, its configuration in `folder/small.toml`.
fn small_corpus(folder: &Path) {
    let reader = r#"
        [reader]
        prompts = "compact"
        chunk_tokens = 48
        max_chunks = 16
        memory_tokens = 16
        answer_tokens = 12
        context_tokens = 256
        cut_at = "sentence"
    "#;
    small_world::write(folder, reader);
    said(folder, &["corpus", "build", "--config", "small.toml"]);
}

#[test]
fn recall_is_counted_by_distance_and_age() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_corpus(path);
    let report: Value =
        serde_json::from_str(&said(path, &["eval", "recall", "--config", "small.toml", "--json", "--questions", "2"]))
            .unwrap();
    assert_eq!(report["documents"], 2);
    let sum =
        |key: &str| report[key].as_array().unwrap().iter().map(|cell| cell["questions"].as_u64().unwrap()).sum::<u64>();
    assert!(report["questions"].as_u64().unwrap() > 0);
    for key in ["by_distance", "by_age", "pairs"] {
        assert_eq!(sum(key), report["questions"].as_u64().unwrap(), "{key}");
    }
    assert!(
        report["pairs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|pair| pair["chunk_step"].as_u64() < pair["memory_step"].as_u64() || pair["memory_step"] == 1)
    );
    let table = said(path, &["eval", "recall", "--config", "small.toml", "--include-current", "--out", "recall.json"]);
    assert!(table.contains("distance k - l    0") && table.contains("age k"), "{table}");
    assert!(store::exists(&path.join("recall.json")));
}

#[test]
fn reconstruction_and_recall_keep_items_that_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_corpus(path);
    for (benchmark, methods) in [("reconstruction", &["end-to-end", "recall"][..]), ("recall", &["recall"])] {
        let eval = |temperature: &str, out: &str| {
            let set = format!("eval.temperature={temperature}");
            said(path, &["eval", benchmark, "--config", "small.toml", "--items", out, "--set", &set])
        };
        let out = format!("kept-{benchmark}");
        let table = eval("0", &out);
        assert_eq!(table, said(path, &["eval", benchmark, "--config", "small.toml"]), "the same without a folder");
        assert_eq!(table, eval("0", &out), "taken from the folder");
        let items = store::read_to_string(&path.join(&out).join("items.jsonl")).unwrap();
        let items: Vec<Value> = items.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(methods.iter().all(|method| items.iter().any(|item| item["method"] == *method)), "{items:?}");
        assert!(
            items.iter().all(|item| item["turns"].as_u64().unwrap() > 0 && item["scores"]["task_score"].is_number())
        );
        let turns = store::read_table::<EvalTurn>(&path.join(&out).join("turns.parquet")).unwrap().count() as u64;
        assert_eq!(turns, items.iter().map(|item| item["turns"].as_u64().unwrap()).sum::<u64>());
        let sampled = format!("sampled-{benchmark}");
        eval("1", &sampled);
        let compared: Value =
            serde_json::from_str(&said(path, &["eval", "compare", &out, &sampled, "--json", "--resamples", "20"]))
                .unwrap();
        assert_eq!((compared["only_in_a"].as_u64(), compared["only_in_b"].as_u64()), (Some(0), Some(0)));
        let differences = compared["differences"].as_array().unwrap();
        assert!(differences.iter().all(|row| row["metric"] == "task_score"), "{differences:?}");
        let again = ["eval", benchmark, "--config", "small.toml", "--set", "run.seed=9", "--items", &out];
        refused(path, &again, 1, &["`seed` differ", "--clean"]);
        store::remove_file(&path.join(&out).join("report.json")).unwrap();
        assert_eq!(table, eval("0", &out), "a report that was not written is made anew");
    }
}

#[test]
fn rows_of_verl_are_evaluated_without_a_corpus() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_corpus(path);
    said(path, &["corpus", "export", "corpus", "--split", "heldout", "--out", "rows.parquet"]);
    let rows = ["--config", "small.toml", "--set", "run.corpus=elsewhere", "--set", "tasks.heldout=rows.parquet"];
    let of_rows = said(path, &[&["eval", "reconstruction"], &rows[..]].concat());
    let of_corpus = said(path, &["eval", "reconstruction", "--config", "small.toml"]);
    // The same texts and answers; entities are found anew, so recall is asked other questions.
    assert_eq!(of_rows.lines().next(), of_corpus.lines().next());
    assert!(said(path, &[&["eval", "recall"], &rows[..]].concat()).contains("documents 2"));
    said(path, &[&["eval", "memory"], &rows[..]].concat());
    // And as a task table.
    let told = said(path, &["tasks", "documents", "corpus", "--out", "documents.jsonl", "--question", "Who?"]);
    assert_eq!(told, "2 tasks  documents.jsonl\n");
    let made = said(path, &["tasks", "documents", "corpus", "--out", "one.parquet", "--skip", "1", "--limit", "5"]);
    assert_eq!(made, "1 tasks  one.parquet\n");
    refused(path, &["tasks", "documents", "corpus", "--out", "x", "--skip", "2"], 1, &["no such documents"]);
    said(
        path,
        &[&["eval", "long-qa", "documents.jsonl", "--out", "asked", "--methods", "reader"], &READER[..]].concat(),
    );
}

#[test]
fn rulers_tasks_are_read_and_told_by_task_and_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let ruler = ["tasks", "ruler", "--out", "ruler", "--tokenizer", "built-in:tiny", "--items", "2"];
    said(path, &[&ruler[..], &["--tasks", "niah_single_1,vt", "--lengths", "512,768"]].concat());
    let eval = ["eval", "long-qa", "ruler", "--out", "out", "--methods", "reader", "--limit", "1"];
    let table = said(path, &[&eval[..], &READER].concat());
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["reader", "metric", "512", "768"], "{table}");
    assert_eq!((rows[1][0], rows[1][1], rows[2][0]), ("niah_single_1", "string_match_all", "vt"), "{table}");
    assert!(rows[3][0] == "mean" && table.contains("task_score") && table.contains("4 items, 0 failed"), "{table}");
    let report: Value = store::read_json(&path.join("out/report.json")).unwrap();
    let cells = report["tasks"][0]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    assert!(
        cells.iter().all(|cell| cell["items"] == 1 && cell["mean"].is_number() && cell["standard_error"].is_null())
    );

    let turn = |speaker: &str, text: &str| json!({"speaker": speaker, "dia_id": "D1:1", "text": text});
    let conversation = json!({
        "session_1_date_time": "1 May", "session_1": [turn("Ada", "I bought a kite."), turn("Ben", "Good.")],
    });
    let qa = json!([
        {"question": "What did Ada buy?", "answer": "a kite", "category": 4, "evidence": ["D1:1"]},
        {"question": "What did Ben buy?", "adversarial_answer": "a kite", "category": 5, "evidence": ["D1:1"]},
    ]);
    store::write_json(
        &path.join("locomo10.json"),
        &[json!({"sample_id": "c", "conversation": conversation, "qa": qa})],
    )
    .unwrap();
    let told = said(path, &["tasks", "import", "locomo10.json", "--out", "locomo.jsonl"]);
    assert!(told.contains("locomo") && told.contains("questions  2"), "{told}");
    let eval = ["eval", "long-qa", "locomo.jsonl", "--out", "talks", "--methods", "reader"];
    let table = said(path, &[&eval[..], &READER].concat());
    assert!(
        table.contains("single-hop") && table.contains("abstention") && table.contains("string_match_part"),
        "{table}"
    );

    let text = store::read_to_string(&path.join("locomo.jsonl")).unwrap();
    store::write_atomic(&path.join("odd.jsonl"), text.replace("string_match_part", "bleu")).unwrap();
    let odd = ["eval", "long-qa", "odd.jsonl", "--out", "odd", "--methods", "reader"];
    refused(path, &[&odd[..], &READER].concat(), 1, &["`bleu`, which is no metric", "hint: ", "string_match_all"]);
}

/// Serves an index; the process and its address.
fn serving(folder: &Path, more: &[&str]) -> (Child, String) {
    let arguments = [&["serve-index", "corpus", "--port", "0"], more].concat();
    let mut child = command(folder, &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (child, address.trim().to_owned())
}

fn terminate(child: &mut Child) -> Option<i32> {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(started.elapsed() < Duration::from_secs(10), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_index_is_served_and_questions_are_searched_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_corpus(path);
    let (mut server, address) = serving(path, &[]);
    assert!(address.starts_with("http://127.0.0.1:"), "loopback by default: {address}");
    let client = HttpRetriever::new(&address, Duration::from_secs(10));
    let index = memtrain_pipeline::index::open(&path.join("corpus")).unwrap();
    let queries = ["guild of weavers", "a mountain", "river"];
    assert_eq!(client.retrieve(&queries, 4).unwrap(), index.retrieve(&queries, 4).unwrap());

    client.retrieve(&["", "??? é"], 4).unwrap();

    let questions = "{\"id\": \"a\", \"question\": \"Who?\", \"golden_answers\": [\"Lorn\"]}\n\
        {\"id\": \"b\", \"question\": \"Where?\", \"golden_answers\": [\"Lorn\"]}\n\
        {\"id\": \"c\", \"question\": \"When?\", \"golden_answers\": [\"1901\"]}\n";
    store::write_atomic(&path.join("bamboogle.jsonl"), questions).unwrap();
    store::create_dir_all(&path.join("prompts")).unwrap();
    for (name, text) in [
        ("turn.txt", "{problem} {last_turn}"),
        ("results.txt", "{results} {turns_left}"),
        ("last.txt", ""),
        ("invalid.txt", "?"),
    ] {
        store::write_atomic(&path.join("prompts").join(name), text).unwrap();
    }
    let eval = |out: &str, more: &[&str]| {
        let fixed =
            ["eval", "search-qa", "bamboogle.jsonl", "--out", out, "--policy", "built-in:tiny", "--prompts", "prompts"];
        let limits = ["--response-tokens", "16", "--result-tokens", "40", "--max-turns", "2", "--batch", "2"];
        said(path, &[&fixed[..], &limits, more].concat())
    };
    let local = eval("local", &["--corpus", "corpus"]);
    assert!(local.contains("bamboogle x1") && local.contains("3 items"), "{local}");
    assert_eq!(eval("served", &["--server", &address]), local, "the same passages, the same answers");
    assert_eq!(
        store::hash_file(&path.join("served/turns.parquet")).unwrap(),
        store::hash_file(&path.join("local/turns.parquet")).unwrap()
    );
    let two = eval("two", &["--corpus", "corpus", "--objectives", "2"]);
    assert!(two.contains("bamboogle x2") && two.contains("1 items"), "{two}");
    said(path, &["eval", "compare", "local", "served", "--resamples", "20"]);
    assert_eq!(terminate(&mut server), Some(0), "a clean end");
    let gone =
        ["eval", "search-qa", "bamboogle.jsonl", "--out", "gone", "--policy", "built-in:tiny", "--server", &address];
    let fits = ["--prompts", "prompts", "--response-tokens", "16"];
    // A policy that never searches needs no server; the tiny one writes no tags.
    said(path, &[&gone[..], &fits].concat());
    refused(path, &["serve-index", "nowhere"], 1, &["nowhere", "hint: "]);
    refused(path, &["serve-index", "corpus", "--topk", "0"], 2, &["--topk"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(path, &["serve-index", "corpus", "--port", &port], 1, &["cannot listen", "hint: "]);
}
