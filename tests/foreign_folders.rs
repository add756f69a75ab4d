//! Folders and files of others through the binary: whatever is named as `--out`, nothing in it is lost.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use memtrain_corpora::store;
use serde_json::json;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap()
}

fn succeeds(folder: &Path, arguments: &[&str]) {
    let output = memtrain(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a command that must be refused with these words and a hint, and must leave every file as it was.
fn refused(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let before = files(folder);
    let output = memtrain(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {:?} {said}", output.status);
    for part in parts.iter().chain(&["error: ", "hint: "]) {
        assert!(said.contains(part), "{arguments:?} did not say `{part}`:\n{said}");
    }
    assert_eq!(files(folder), before, "{arguments:?}");
}

/// Files by their hash, folders without one; links are not followed.
fn files(folder: &Path) -> BTreeMap<PathBuf, Option<String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in store::list(&folder).unwrap() {
            let is_folder = store::is_dir(&path) && !store::is_link(&path);
            let is_file = store::len(&path).is_ok() && !store::is_dir(&path) && !path.ends_with("socket");
            let hash = is_file.then(|| store::hash_file(&path).unwrap());
            found.insert(path.clone(), hash);
            if is_folder {
                folders.push(path);
            }
        }
    }
    found
}

fn write(path: &Path, text: &str) {
    store::create_dir_all(path.parent().unwrap()).unwrap();
    store::write_atomic(path, text).unwrap();
}

/// A policy directory as another program has written it, with its tokenizer.
fn policy(folder: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/policies/tiny");
    store::create_dir_all(folder).unwrap();
    for path in store::list(&from).unwrap() {
        store::write_atomic(&folder.join(path.file_name().unwrap()), store::read(&path).unwrap()).unwrap();
    }
}

#[test]
fn a_policy_is_written_over_nothing_but_a_policy_of_this_program() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    policy(&path.join("base"));
    policy(&path.join("models/theirs"));
    write(&path.join("webapp/config.json"), "{}");
    write(&path.join("webapp/src/main.js"), "main()");
    write(&path.join("file"), "text");
    let tokenizer = &tiny_tokenizer();
    for (out, part) in
        [("webapp", "`src/`"), ("models/theirs/", "`model.safetensors`"), (".", "`base/`"), ("file", "a file")]
    {
        refused(path, &["policy", "init", "--tokenizer", tokenizer, "--out", out], &[part]);
        refused(path, &["policy", "convert", "--model", "base", "--out", out, "--dtype", "bf16"], &[]);
    }
    refused(path, &["policy", "convert", "--model", "base", "--out", "/"], &[]);
    if cfg!(target_os = "linux") {
        refused(path, &["policy", "convert", "--model", "base", "--out", "/proc"], &["is a mount point"]);
        refused(path, &["policy", "init", "--tokenizer", tokenizer, "--out", "/proc"], &["is a mount point"]);
    }
    // One of its own gives way until somebody has put something into it.
    let convert = ["policy", "convert", "--model", "base", "--out", "own", "--dtype", "f16"];
    succeeds(path, &convert);
    succeeds(path, &convert);
    write(&path.join("own/evaluation.md"), "it forgets names");
    refused(path, &convert, &["`evaluation.md`"]);
}

#[test]
fn a_name_that_is_no_text_is_refused_before_anything_is_written() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    let commands: [&[&str]; 22] = [
        &["world"],
        &["quickstart"],
        &["corpus", "build", "--config", "a.toml"],
        &["index", "eval", "set", "--keep"],
        &["policy", "init", "--tokenizer", "tokenizer.json"],
        &["policy", "convert", "--model", "base"],
        &["policy", "merge-lora", "--adapter", "adapter"],
        &["policy", "gradient", "--model", "base", "--gradients"],
        &["warm-up", "--config", "a.toml"],
        &["tasks", "import", "set.json"],
        &["tasks", "compose", "tasks.parquet"],
        &["tasks", "ruler", "--tokenizer", "built-in:tiny"],
        &["tasks", "documents", "corpus"],
        &["tasks", "export", "tasks.parquet"],
        &["eval", "reconstruction", "--config", "a.toml"],
        &["eval", "recall", "--config", "a.toml"],
        &["eval", "recall", "--config", "a.toml", "--items"],
        &["eval", "memory", "--config", "a.toml"],
        &["eval", "long-qa", "tasks.parquet"],
        &["eval", "search-qa", "set.json"],
        &["eval", "bank", "--config", "a.toml"],
        &["report", "runs/a"],
    ];
    for arguments in commands {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
        command.current_dir(path).args(arguments);
        if !arguments.last().is_some_and(|last| matches!(*last, "--keep" | "--gradients" | "--items")) {
            command.arg("--out");
        }
        let output = command.arg(std::ffi::OsStr::from_bytes(b"out\xff")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("the name is not UTF-8"), "{arguments:?}: {said}");
        assert!(files(path).is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_is_read_is_never_written_over_however_it_is_spelled() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    succeeds(path, &["policy", "init", "--tokenizer", &tiny_tokenizer(), "--out", "models/base"]);
    store::create_dir_all(&path.join("x")).unwrap();
    for (target, link) in [("models", "way"), ("models/base", "base"), ("../models/base", "x/base")] {
        store::link_durably(Path::new(target), &path.join(link)).unwrap();
    }
    let absolute = path.join("models/base").display().to_string();
    for model in ["models/base", "way/base", "base", "x/base"] {
        for out in ["models/base", "x/../models/base", "way/base/.", "base", "models", "models/base/inside", &absolute]
        {
            refused(path, &["policy", "convert", "--model", model, "--out", out, "--dtype", "bf16"], &[]);
        }
    }
    refused(path, &["policy", "init", "--tokenizer", "models/base/tokenizer.json", "--out", "way/base"], &["is read"]);
    succeeds(path, &["policy", "convert", "--model", "x/base", "--out", "way/other"]);
}

fn tiny_tokenizer() -> String {
    format!("{}/configs/policies/tiny/tokenizer.json", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn folders_beside_the_target_are_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    for name in [".out.old", ".out.new", ".out", "out.new"] {
        write(&path.join(name).join("thesis.tex"), "years of work");
    }
    let before = files(path);
    let init = ["policy", "init", "--tokenizer", &tiny_tokenizer(), "--out", "out"];
    succeeds(path, &init);
    succeeds(path, &init);
    let after = files(path);
    assert!(before.iter().all(|(path, hash)| after.get(path) == Some(hash)));
}

#[test]
fn tables_of_tasks_are_written_over_tables_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    let row = |name: &str| {
        json!({"_id": name, "question": "Who?", "answer": "x", "supporting_facts": [["t", 0]],
            "context": [["t", [format!("{name} did.")]], ["u", [format!("Not {name}.")]]]})
    };
    write(&path.join("set.json"), &json!([row("a"), row("b")]).to_string());
    for out in ["t.parquet", "t.jsonl"] {
        succeeds(path, &["tasks", "import", "set.json", "--out", out]);
        succeeds(path, &["tasks", "import", "set.json", "--out", out]);
    }
    // JSON lines do not say who wrote them: others of the same form may be typed by hand.
    let text = store::read_to_string(&path.join("t.jsonl")).unwrap();
    write(&path.join("typed.jsonl"), &text.replace("Who?", "Who was it?"));
    let other = "is there already with other contents";
    refused(path, &["tasks", "import", "set.json", "--out", "typed.jsonl"], &["typed.jsonl", other]);
    write(&path.join("thesis.parquet"), "years of work");
    write(&path.join("diary.jsonl"), "{\"day\": 1}\n");
    write(&path.join("verl/reward.py"), "def compute_score(): return my_own()\n");
    store::link_durably(Path::new("t.parquet"), &path.join("link.parquet")).unwrap();
    for out in ["thesis.parquet", "diary.jsonl", "link.parquet", "set.json", "./x/../set.json"] {
        refused(path, &["tasks", "import", "set.json", "--out", out], &[]);
    }
    refused(path, &["tasks", "import", "t.jsonl", "--out", "t.jsonl", "--format", "memtrain"], &["is read"]);
    refused(path, &["tasks", "export", "t.parquet", "--out", "verl/rows.parquet"], &["reward.py"]);
    refused(path, &["tasks", "export", "t.parquet", "--out", "thesis.parquet"], &["thesis.parquet"]);

    let compose = |out: &'static str, lengths: &'static str| {
        ["tasks", "compose", "t.parquet", "--out", out, "--lengths", lengths, "--questions", "1"]
    };
    write(&path.join("mine/manifest.json"), "{\"name\": \"an app\"}");
    refused(path, &compose("mine", "1,2"), &["`manifest.json`"]);
    refused(path, &compose(".", "1,2"), &["is read"]);
    succeeds(path, &compose("long", "1,2"));
    succeeds(path, &compose("long", "1"));
    let left: Vec<_> = store::list(&path.join("long")).unwrap();
    assert!(!left.iter().any(|path| path.ends_with("passages-00002.parquet")), "of another composition: {left:?}");
    write(&path.join("long/notes.txt"), "mine");
    refused(path, &compose("long", "1,2"), &["`notes.txt`"]);
}

#[test]
fn single_files_are_written_over_files_of_their_kind_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    write(&path.join("enwiki.xml.bz2"), "a dump that took hours");
    refused(path, &["world", "--pages", "50", "--out", "enwiki.xml.bz2"], &["did not write it"]);
    let _listener = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    refused(path, &["world", "--pages", "50", "--out", "socket"], &["a socket"]);
    succeeds(path, &["world", "--pages", "50", "--out", "world.xml.bz2"]);
    succeeds(path, &["world", "--pages", "75", "--out", "world.xml.bz2"]);
    // Of every evaluation with a report, before anything else is looked at.
    write(&path.join("thesis.json"), "{\"years\": \"of work\"}");
    for command in
        [&["reconstruction", "x.toml"][..], &["recall", "x.toml"], &["memory", "x.toml"], &["compare", "a", "b"]]
    {
        refused(path, &[&["eval"], command, &["--out", "thesis.json"]].concat(), &["thesis.json", "did not write it"]);
    }

    policy(&path.join("policy"));
    write(&path.join("batch.jsonl"), r#"{"prompt_ids": [5, 6, 7], "response_ids": [8, 2], "advantages": [0.5, 0.5]}"#);
    let gradient = |out: &'static str| {
        ["policy", "gradient", "--model", "policy", "--batch", "batch.jsonl", "--gradients", out, "--loss", "grpo"]
    };
    refused(path, &gradient("policy/model.safetensors"), &["did not write it"]);
    refused(path, &gradient("batch.jsonl"), &["did not write it"]);
    succeeds(path, &gradient("gradients.safetensors"));
    succeeds(path, &gradient("gradients.safetensors"));
}

#[test]
fn an_index_of_a_question_set_is_kept_in_a_folder_of_its_own() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    let passage = |id: usize| {
        json!({"_id": format!("p{id}"), "title": format!("Town {id}"), "text": format!("The town {id} has a bridge.")})
            .to_string()
    };
    write(&path.join("set/corpus.jsonl"), &(0..20).map(|id| passage(id) + "\n").collect::<String>());
    write(&path.join("set/queries.jsonl"), "{\"_id\": \"q\", \"text\": \"town 7\"}\n");
    write(&path.join("set/qrels.tsv"), "query-id\tcorpus-id\tscore\nq\tp7\t1\n");
    write(&path.join("theirs/set.json"), "{}");
    write(&path.join("theirs/thesis.tex"), "years of work");
    let eval = |folder: &'static str, mode: &'static str| ["index", "eval", "set", "--mode", mode, "--keep", folder];
    refused(path, &eval("theirs", "lexical"), &["`thesis.tex`"]);
    refused(path, &eval("set", "lexical"), &["`corpus.jsonl`"]);
    for mode in ["lexical", "lexical", "fused", "lexical"] {
        succeeds(path, &eval("kept", mode));
    }
    write(&path.join("kept/notes.txt"), "mine");
    refused(path, &eval("kept", "fused"), &["`notes.txt`"]);
}

#[test]
fn a_quickstart_or_a_build_that_is_refused_has_written_nothing() {
    let config = format!("{}/configs/quickstart.toml", env!("CARGO_MANIFEST_DIR"));
    let build = ["corpus", "build", "--config", &config, "--out", "home/corpus"];
    let cases = [
        ("home/corpus/index/src/thesis.tex", "`src/`", true),
        ("home/corpus/ingest", "is a file", true),
        ("home/corpus/policy-mini/config.json", "`config.json`", true),
        ("home/runs/seed-1/notes.txt", "notes.txt", false),
        ("home/dump.xml.bz2", "dump.xml.bz2", false),
    ];
    for (name, part, stops_build) in cases {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path();
        write(&path.join(name), "years of work");
        store::link_durably(Path::new("home"), &path.join("way")).unwrap();
        refused(path, &["quickstart", "--out", "home"], &[part]);
        refused(path, &["quickstart", "--out", "way/../home/."], &[part]);
        if stops_build {
            refused(path, &build, &[part]);
        }
    }
}

#[test]
fn a_manual_page_of_others_stays_and_none_is_written_beside_it() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    write(&folder.join("man/memtrain-train.1"), ".TH memtrain-train 1 \"mine\"\n");
    refused(folder, &["man", "man"], &["memtrain-train.1` is there already"]);
    store::remove_file(&folder.join("man/memtrain-train.1")).unwrap();
    succeeds(folder, &["man", "man"]);
    let written = files(folder);
    // A page of another version.
    let page = folder.join("man/memtrain.1");
    write(&page, &store::read_to_string(&page).unwrap().replace("memtrain 0.", "memtrain 9."));
    succeeds(folder, &["man", "man"]);
    assert_eq!(files(folder), written);
}

#[test]
fn a_run_has_a_name_and_not_a_path() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    write(&folder.join("small.toml"), "[run]\nname = \"a\"\n");
    for name in ["../x", "x/y", "/x", ".", "..", "", "x/", "./x"] {
        let set = format!("run.name={name:?}");
        for command in [&["config", "show", "small.toml"][..], &["train", "--config", "small.toml"]] {
            let before = files(folder);
            let output = memtrain(folder, &[command, &["--set", &set]].concat());
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(2) && said.contains("the name of one folder"), "{name}: {said}");
            assert_eq!(files(folder), before, "{name}");
        }
    }
    succeeds(folder, &["config", "show", "small.toml", "--set", "run.name=seed-1.b"]);
}

#[test]
fn a_conversion_that_its_place_refuses_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    policy(&folder.join("model"));
    let hidden = folder.join(".out.memtrain-new/thesis.tex");
    write(&hidden, "years of work");
    let long = "x".repeat(300);
    for out in ["out", &long, "model/../file/out"] {
        write(&folder.join("file"), "a file");
        let output = memtrain(folder, &["policy", "convert", "--model", "model", "--out", out]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && !said.contains("Hugging Face"), "{out}: {said}");
    }
    assert_eq!(store::read_to_string(&hidden).unwrap(), "years of work");
    let refused = memtrain(folder, &["policy", "convert", "--model", "file", "--out", "new"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("hint: "), "{refused:?}");
}
