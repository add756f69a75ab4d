//! Question sets and long contexts through the binary.

mod real_data;

use std::path::Path;
use std::process::{Command, Output};

use memtrain::tasks::{Task, read};
use memtrain_corpora::store;
use real_data::real_data;
use serde_json::Value;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap()
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

fn tasks(path: &Path) -> Vec<Task> {
    read(path).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn real_sets_become_tasks_and_long_contexts() {
    let Some(data) = real_data("qa") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let import = |file: &str, out: &str| -> Value {
        let file = data.join(file);
        serde_json::from_str(&said(path, &["tasks", "import", file.to_str().unwrap(), "--out", out, "--json"])).unwrap()
    };
    let hotpot = import("hotpotqa_train.json", "hotpot.parquet");
    assert_eq!((hotpot["format"].as_str(), hotpot["tasks"].as_u64()), (Some("hotpotqa"), Some(100)), "{hotpot}");
    let musique = import("musique_train.json", "sub/musique.jsonl");
    assert_eq!((musique["format"].as_str(), musique["tasks"].as_u64()), (Some("musique"), Some(100)), "{musique}");
    let squad = import("xquad.en.json", "squad.parquet");
    assert_eq!((squad["format"].as_str(), squad["tasks"].as_u64()), (Some("squad"), Some(1190)), "{squad}");
    assert_eq!(squad["left_out"], serde_json::json!({}));

    let hotpot = tasks(&path.join("hotpot.parquet"));
    assert!(hotpot.iter().all(|task| task.gold.len() == 2 && task.passages.len() >= 2), "two gold paragraphs each");
    let musique = tasks(&path.join("sub/musique.jsonl"));
    assert!(musique.iter().all(|task| task.passages.len() == 20 && (2..=4).contains(&task.gold.len())));
    assert!(musique.iter().any(|task| task.questions[0].answers.len() > 1), "aliases");

    let corpus = data.join("musique_train_corpus.json");
    let compose = ["tasks", "compose", "hotpot.parquet", "--out", "long", "--lengths", "200,50", "--questions", "40"];
    let pool = ["--pool", corpus.to_str().unwrap(), "--seed", "4", "--json"];
    let manifest: Value = serde_json::from_str(&said(path, &[&compose[..], &pool].concat())).unwrap();
    assert_eq!(manifest["questions"], 40);
    let files: Vec<&str> =
        manifest["lengths"].as_array().unwrap().iter().map(|length| length["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["passages-00050.parquet", "passages-00200.parquet"]);
    let short = tasks(&path.join("long/passages-00050.parquet"));
    let long = tasks(&path.join("long/passages-00200.parquet"));
    let by_id = |id: &str| hotpot.iter().find(|task| task.id == id).unwrap();
    for (short, long) in short.iter().zip(&long) {
        assert_eq!((&short.id, short.passages.len(), long.passages.len()), (&long.id, 50, 200));
        let original = by_id(&short.id);
        let gold = |task: &Task| -> Vec<String> {
            let mut texts: Vec<String> = task.gold.iter().map(|&at| task.passages[at as usize].text.clone()).collect();
            texts.sort();
            texts
        };
        assert_eq!(gold(short), gold(original));
        assert_eq!(gold(long), gold(original));
        let gold_titles: Vec<&str> =
            original.gold.iter().map(|&at| original.passages[at as usize].title.as_str()).collect();
        for title in gold_titles {
            assert_eq!(long.passages.iter().filter(|passage| passage.title == title).count(), 1, "{title}");
        }
    }
    // The same again, byte for byte; another seed is another choice.
    let hash = |file: &str| store::hash_file(&path.join("long").join(file)).unwrap();
    let before = hash(files[1]);
    said(path, &[&compose[..], &pool].concat());
    assert_eq!(hash(files[1]), before);
    refused(
        path,
        &["tasks", "compose", "hotpot.parquet", "--out", "x", "--lengths", "5000"],
        1,
        &["more than the pool", "hint: ", "--pool"],
    );
}

#[test]
fn tokens_are_counted_and_rows_for_verl_come_with_their_reward() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let rows: Vec<Value> = (0..6)
        .map(|number| {
            serde_json::json!({
                "_id": format!("q{number}"), "question": format!("Who is {number}?"), "answer": format!("Ann {number}"),
                "supporting_facts": [[format!("T{number}"), 0]],
                "context": [[format!("T{number}"), [format!("Ann {number} is.")]], [format!("D{number}"), ["Nobody is."]]],
            })
        })
        .collect();
    store::write_json(&path.join("set.json"), &rows).unwrap();
    let table = said(path, &["tasks", "import", "set.json", "--out", "t.parquet", "--source", "mine"]);
    assert_eq!(table, "format     hotpotqa\nrows       6\ntasks      6\nquestions  6\n");
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/policies/tiny");
    let compose = ["tasks", "compose", "t.parquet", "--out", "long", "--lengths", "4", "--questions", "0"];
    let text = said(path, &[&compose[..], &["--tokenizer", tokenizer.to_str().unwrap()]].concat());
    assert!(text.lines().nth(1).unwrap().split_whitespace().nth(2).unwrap().parse::<f64>().unwrap() > 10.0, "{text}");
    let composed = tasks(&path.join("long/passages-00004.parquet"));
    assert!(composed.iter().all(|task| task.extra["num_tokens"].as_u64().unwrap() > 10 && task.source == "mine"));
    let exported = said(path, &["tasks", "export", "long/passages-00004.parquet", "--out", "verl/train.parquet"]);
    assert!(exported.starts_with("6 rows"), "{exported}");
    assert!(store::read_to_string(&path.join("verl/reward.py")).unwrap().contains("def compute_score("));
    let back = said(path, &["tasks", "import", "verl/train.parquet", "--out", "back.jsonl"]);
    assert!(back.contains("verl"), "{back}");
    let back = tasks(&path.join("back.jsonl"));
    assert_eq!(back.len(), 6);
    assert_eq!(back[0].context(), composed[0].context());
    assert_eq!(back[0].questions, composed[0].questions);
}

#[test]
fn what_cannot_be_used_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, text: &str| store::write_atomic(&path.join(name), text).unwrap();
    write("odd.json", r#"[{"alpha": 1}]"#);
    refused(path, &["tasks", "import", "odd.json", "--out", "t.parquet"], 1, &["`alpha`", "hint: ", "--format"]);
    refused(path, &["tasks", "import", "none.json", "--out", "t.parquet"], 1, &["none.json"]);
    refused(
        path,
        &["tasks", "import", "odd.json", "--out", "t.parquet", "--format", "squat"],
        2,
        &["`squat`", "squad"],
    );
    write("empty.json", "[]");
    refused(path, &["tasks", "import", "empty.json", "--out", "t.parquet"], 1, &["no task", "it is empty"]);
    write("open.jsonl", "{\"question\": \"who?\", \"answer\": [\"x\"]}\n{\"question\": \"who?\"}\n");
    let output = memtrain(path, &["tasks", "import", "open.jsonl", "--out", "t.parquet"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("left out   1  no accepted answer"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2: no accepted answer"), "named");
    refused(path, &["tasks", "compose", "t.parquet", "--out", "long"], 1, &["1 have no passages", "hint: "]);
    refused(
        path,
        &["tasks", "compose", "t.parquet", "--out", "long", "--lengths", "0,5"],
        2,
        &["--lengths", "it must be at least 1"],
    );
    refused(path, &["tasks", "export", "odd.json", "--out", "x.parquet"], 1, &["odd.json:1", "hint: "]);
    assert!(!store::exists(&path.join("long/manifest.json")));
}

#[test]
fn rows_that_are_no_objects_are_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["[1, 2]", "[[", "1\n2\n"] {
        store::write_atomic(&folder.path().join("set.json"), text).unwrap();
        let output = memtrain(folder.path(), &["tasks", "import", "set.json", "--out", "out.parquet"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}: {said}");
        assert!(said.contains("hint: ") && !said.contains("``"), "{text}: {said}");
    }
}

#[test]
fn rulers_tasks_are_made_from_a_seed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let ruler = |more: &[&str]| -> Output {
        let fixed = ["tasks", "ruler", "--tokenizer", "built-in:tiny", "--items", "3", "--seed", "5"];
        memtrain(path, &[&fixed[..], more].concat())
    };
    let manifest = |output: &Output| -> Value { serde_json::from_slice(&output.stdout).unwrap() };
    let without = ruler(&["--out", "ruler", "--lengths", "2k,1k", "--json"]);
    let stderr = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(without.status.success() && stderr.contains("niah_single_2, niah_single_3"), "{stderr}");
    let tables = manifest(&without)["tables"].as_array().unwrap().clone();
    assert_eq!(tables.len(), 6 * 2, "six tasks need no text");
    for table in &tables {
        let (length, tokens) = (table["length"].as_u64().unwrap(), table["tokens"]["max"].as_u64().unwrap());
        assert!(tokens < length && tokens > length / 2, "{table}");
        let made = tasks(&path.join("ruler").join(table["file"].as_str().unwrap()));
        assert_eq!((made.len(), u64::from(made[0].length)), (3, length));
        assert!(
            made.iter().all(|task| task.metric(0) == Some("string_match_all") && task.category(0) == table["task"])
        );
    }
    // The same seed makes the same bytes, in a folder that is replaced; another seed others.
    let again = manifest(&ruler(&["--out", "ruler", "--lengths", "1k,2k", "--json"]));
    assert_eq!(again["tables"], Value::Array(tables.clone()));
    let fixed = ["tasks", "ruler", "--tokenizer", "built-in:tiny", "--items", "3", "--seed", "6", "--lengths", "1k,2k"];
    let other: Value = serde_json::from_str(&said(path, &[&fixed[..], &["--out", "o", "--json"]].concat())).unwrap();
    assert!(other["tables"].as_array().unwrap().iter().zip(&tables).all(|(a, b)| a["blake3"] != b["blake3"]));
    // Running text from a file.
    let essay = (0..300).map(|number| format!("Sentence {number} of the essay is short.\n")).collect::<String>();
    store::write_atomic(&path.join("essay.txt"), essay).unwrap();
    let output = ruler(&["--out", "text", "--lengths", "1k", "--tasks", "niah_multivalue", "--essay", "essay.txt"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = tasks(&path.join("text/niah_multivalue-0001024.parquet"));
    let context = made[0].context();
    assert!(context.contains("of the essay is short."));
    assert!(made[0].questions[0].answers.iter().all(|answer| context.matches(answer.as_str()).count() == 1));
    // What changes later is found by whoever reads it.
    let table = path.join("text/niah_multivalue-0001024.parquet");
    let mut bytes = store::read(&table).unwrap();
    let last = bytes.len() - 1;
    for at in [last / 3, last / 2, last] {
        bytes[at] ^= 1;
        store::write_atomic(&table, &bytes).unwrap();
        let limits = ["context_tokens=2048", "chunk_tokens=256", "memory_tokens=64", "answer_tokens=32"];
        let limits: Vec<String> = limits.map(|limit| format!("--set=reader.{limit}")).to_vec();
        let mut asked = vec!["eval", "long-qa", "text", "--out", "answers", "--policy", "built-in:tiny"];
        asked.extend(limits.iter().map(String::as_str));
        refused(path, &asked, 1, &["niah_multivalue-0001024.parquet", "is not as memtrain has written it", "hint: "]);
        let table = table.to_str().unwrap();
        refused(path, &["tasks", "export", table, "--out", "v.parquet"], 1, &["is not as memtrain has written it"]);
        bytes[at] ^= 1;
    }

    let fixed = ["tasks", "ruler", "--tokenizer", "built-in:tiny", "--out", "x"];
    let refuse = |more: &[&str], code: i32, parts: &[&str]| refused(path, &[&fixed[..], more].concat(), code, parts);
    refuse(&["--tasks", "niah_single_4"], 2, &["no task is called `niah_single_4`", "hint: ", "fwe"]);
    refuse(&["--tasks", "niah_single_2"], 2, &["running text", "hint: ", "--essay"]);
    refuse(&["--lengths", "4x"], 2, &["4k or 1m"]);
    refuse(&["--lengths", "130", "--tasks", "vt"], 1, &["130 tokens have no room for `vt`"]);
    // A number of items that is never held; the first of them has no room.
    refuse(&["--items", "4294967295", "--tasks", "vt", "--lengths", "130"], 1, &["have no room for `vt`"]);
    refuse(&["--items", "0", "--tasks", "vt"], 2, &["--items", "it must be at least 1"]);
    refuse(&["--tasks", "niah_single_2", "--essay", "nowhere.txt"], 1, &["nowhere.txt"]);
    assert!(!store::exists(&path.join("x")));
}
