//! Messages of commands that cannot do what they are asked, and how much is said.

mod small_world;

use std::path::Path;
use std::process::{Command, Output};

use memtrain_corpora::store;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    // Nothing is asked of the hub, whose cache is the folder's own.
    Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .current_dir(folder)
        .args(arguments)
        .env("HF_HUB_CACHE", folder.join("hub"))
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

/// Asserts the exit code and that stderr holds each of `parts`; gives stderr.
fn refused(folder: &Path, arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let output = memtrain(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?} did not say `{part}`:\n{said}");
    }
    said
}

#[test]
fn a_corpus_that_is_not_there_is_said_to_be_missing_with_what_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let missing = ["there is no corpus `nowhere`", "hint: ", "memtrain corpus build --config FILE --out nowhere"];
    for command in ["inspect", "stats", "verify"] {
        refused(path, &["corpus", command, "nowhere"], 1, &missing);
    }
    store::create_dir_all(&path.join("empty")).unwrap();
    refused(path, &["corpus", "inspect", "empty"], 1, &["`empty` holds no corpus", "hint: ", "memtrain corpus build"]);
    store::create_dir_all(&path.join("begun/ingest")).unwrap();
    let unfinished = ["stage `synthesize` of the corpus is not finished", "hint: ", "memtrain corpus build"];
    refused(path, &["corpus", "inspect", "begun"], 1, &unfinished);
}

#[test]
fn what_needs_a_corpus_names_the_command_that_makes_it_before_the_hub_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    let change = "policy.path=someone/large";
    for command in [
        &["train", "small.toml", "--set", change][..],
        &["sft", "--config", "small.toml", "--set", change, "--out", "warmed"],
        &["eval", "reconstruction", "small.toml", "--set", change],
        &["eval", "recall", "small.toml", "--set", change],
        &["eval", "memory", "small.toml", "--set", change],
    ] {
        let made = format!("`memtrain corpus build small.toml --set '{change}'` makes it");
        refused(path, command, 1, &["the corpus `corpus` is not built", "hint: ", &made]);
    }
    // What is wrong with the configuration comes first.
    refused(path, &["train", "small.toml", "--set", "reader.context_tokens=100"], 2, &["reader.context_tokens"]);
}

#[test]
fn old_names_of_keys_work_with_one_notice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let old = "[draw]\ntop_k = 7\n[corpus.ingest]\nleftovers = \"keep\"\n";
    store::write_atomic(&path.join("old.toml"), old).unwrap();
    let output = memtrain(path, &["config", "show", "old.toml", "--set", "warm_up.steps=3"]);
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    for shown in ["[sampling]\n", "top_k = 7\n", "short_passages = \"keep\"\n", "[sft]\nsteps = 3\n"] {
        assert!(out.contains(shown), "{shown}: {out}");
    }
    assert!(!["[draw]", "leftovers", "warm_up"].iter().any(|old| out.contains(old)), "{out}");
    assert_eq!(said.lines().filter(|line| line.contains("old names of keys")).count(), 1, "{said}");
    for (old, new) in
        [("draw", "sampling"), ("warm_up", "sft"), ("corpus.ingest.leftovers", "corpus.ingest.short_passages")]
    {
        assert!(said.contains(&format!("`{old}` is now `{new}`")), "{said}");
    }
    store::write_atomic(&path.join("new.toml"), out.as_bytes()).unwrap();
    let again = memtrain(path, &["config", "show", "new.toml"]);
    assert_eq!(again.stdout, output.stdout);
    assert!(again.stderr.is_empty(), "{}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn a_configuration_is_named_with_or_without_its_option() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    // The speed is given: measured, it is another one each time.
    let named = memtrain(path, &["train", "--dry-run", "--peak-tflops", "1", "--config", "small.toml"]);
    let bare = memtrain(path, &["train", "small.toml", "--dry-run", "--peak-tflops", "1"]);
    assert_eq!(named.status.code(), Some(0), "{}", String::from_utf8_lossy(&named.stderr));
    assert_eq!(named.stdout, bare.stdout);
    refused(path, &["train", "small.toml", "--config", "small.toml"], 2, &["cannot be used with"]);
    refused(path, &["train"], 2, &["required", "FILE"]);
}

#[test]
fn a_dump_that_is_named_is_read_and_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    for name in ["none*.parquet", "none.xml.bz2"] {
        let told = [&*format!("no dump at `{name}`"), "hint: "];
        refused(path, &["corpus", "build", "small.toml", "--dump", name], 1, &told);
        assert!(!store::exists(&path.join(name)) && !store::exists(&path.join("corpus")), "{name}");
    }
    let pattern = ["corpus", "build", "small.toml", "--set", "corpus.ingest.dumps=[\"none*.xml\"]"];
    refused(path, &pattern, 2, &["`none*.xml`", "[world] writes one file", "hint: "]);
    assert!(!store::exists(&path.join("none*.xml")));
}

#[test]
fn the_papers_setting_asks_for_its_dump_before_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/memtrain.toml");
    let said = refused(path, &["corpus", "build", config.to_str().unwrap()], 1, &["no dump at `data/dumps/enwiki-"]);
    assert!(!said.contains("HF_HUB_OFFLINE"), "{said}");
}

#[test]
fn wrong_values_of_a_configuration_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    let build = |set: &str, part: &str| refused(path, &["corpus", "build", "small.toml", "--set", set], 2, &[part]);
    build("corpus.ingest.dumps=[]", "`corpus.ingest.dumps` is empty");
    build(
        "corpus.ingest.min_words=30",
        "`corpus.ingest.min_words` must be between 1 and `corpus.ingest.max_words` = 24",
    );
    assert!(memtrain(path, &["corpus", "build", "small.toml"]).status.success());
    let train = |set: &[&str], part: &str| refused(path, &[&["train", "small.toml"], set].concat(), 2, &[part]);
    train(
        &["--set", "reader.context_tokens=1000000"],
        "`reader.context_tokens` is 1000000, but the policy was made for",
    );
}

#[test]
fn quiet_says_nothing_of_what_goes_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    let output = memtrain(path, &["corpus", "build", "small.toml", "-q"]);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    assert!(store::exists(&path.join("corpus/synthesize/manifest.json")));
    let loud = memtrain(path, &["corpus", "build", "small.toml"]);
    assert!(!loud.stderr.is_empty());
    refused(path, &["--quiet", "corpus", "inspect", "nowhere"], 1, &["there is no corpus `nowhere`"]);
    refused(path, &["corpus", "build", "small.toml", "-q", "-v"], 2, &["cannot be used with"]);
}

#[test]
fn a_configuration_is_checked_and_shown_without_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "[train]\nsteps = 7\n");
    let said = |arguments: &[&str]| {
        let output = memtrain(path, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["config", "check", "small.toml"]), "`small.toml`: nothing is wrong\n");
    let changed = said(&["config", "show", "small.toml", "--set", "run.name=other"]);
    assert!(changed.contains("steps = 7\n") && changed.contains("name = \"other\"\n"), "{changed}");
    assert!(changed.contains("checkpoint_every = 10\n"), "defaults are shown: {changed}");
    store::write_atomic(&path.join("shown.toml"), &changed).unwrap();
    assert_eq!(said(&["config", "show", "shown.toml"]), changed, "what is shown is a configuration");
    let check = |set: &str, part: &str| refused(path, &["config", "check", "small.toml", "--set", set], 2, &[part]);
    check("train.stepz=1", "`train.stepz`");
    check("reader.context_tokens=100", "reader.context_tokens");
    check("corpus.ingest.dumps=[]", "`corpus.ingest.dumps` is empty");
}

#[test]
fn dry_runs_tell_what_is_so_and_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let reader = "[reader]\nprompts = \"compact\"\nchunk_tokens = 48\nmemory_tokens = 16\nanswer_tokens = 8\n\
                  context_tokens = 256\n[objective]\ngroup_size = 4\nrecall_samples = 2\n\
                  [train]\nsteps = 40\ndocuments_per_step = 2\n[update]\nmicro_batch_tokens = 1000000\n";
    small_world::write(path, reader);
    let said = |arguments: &[&str]| {
        let output = memtrain(path, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let plan = |arguments: &[&str], facts: &[&str]| {
        let told = said(arguments);
        let (config, follows) = told.split_once("# What follows from it\n").unwrap();
        assert!(config.contains("[reader]") && follows.lines().all(|l| l.is_empty() || l.starts_with('#')), "{told}");
        for fact in facts {
            assert!(follows.contains(fact), "`{fact}` is not in {follows}");
        }
        follows.to_owned()
    };
    let facts = ["measured of this processor", "# 40 steps", "at most 3 checkpoints", "seconds at 25 %"];
    let told = plan(&["train", "small.toml", "--dry-run", "--mfu", "0.25"], &facts);
    // 2 documents of 6 chunks, 4 readings each: first chunks of 256 - 16 tokens once a document, 40 later ones, 8 answers, and
    // 16 recall answers of 8 prompts; instructions alone are longer than what the context leaves.
    let tokens = (2 * 240 + 8 * 16) + 40 * (240 + 16) + 8 * (248 + 8) + (8 * 248 + 16 * 8);
    assert!(told.contains(&format!(" {tokens}  in the update")), "{tokens}: {told}");
    assert!(told.contains(&format!("layers, {tokens} tokens")), "no pass is larger than what a step has: {told}");
    plan(&["train", "small.toml", "--dry-run", "--set", "train.peak_tflops=0.5"], &["`train.peak_tflops`"]);
    let told =
        plan(&["sft", "small.toml", "--dry-run", "--out", "made"], &["# 2000 steps", "policy               made"]);
    assert!(!told.contains("keys and values") && !told.contains("sampling"), "{told}");
    let facts = ["30 fictional articles", "6 training, 2 held out", "at most 2304 in all", "cannot be told before"];
    plan(&["corpus", "build", "small.toml", "--dry-run"], &facts);
    let names: Vec<_> = store::list(path).unwrap();
    assert_eq!(names, [path.join("small.toml")], "nothing is written");
    refused(path, &["corpus", "build", "small.toml", "--dry-run", "--dump", "none.xml"], 1, &["none.xml"]);
    said(&["corpus", "build", "small.toml"]);
    let built = ["done", "CPU-seconds", "passages; "];
    plan(&["corpus", "build", "small.toml", "--dry-run"], &built);
    // A run that has steps says how long they took.
    said(&["train", "small.toml", "--set", "train.steps=1", "--set", "run.name=a"]);
    plan(&["train", "small.toml", "--dry-run", "--set", "run.name=a"], &["by the last steps of this run"]);
}

#[test]
fn every_key_is_described_by_the_program_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let said = |arguments: &[&str]| String::from_utf8(memtrain(path, arguments).stdout).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&said(&["config", "schema"])).unwrap();
    assert_eq!(schema["properties"]["train"]["properties"]["steps"]["type"], "integer");
    assert!(said(&["config", "reference"]).contains("| `train.steps` | integer | steps | `300` |"));
    small_world::write(path, "");
    store::write_atomic(&path.join("more.toml"), "include = [\"small.toml\"]\n[train]\nsteps = 9\n").unwrap();
    let shown = said(&["config", "show", "--origin", "more.toml", "--set", "eval.documents=3"]);
    for line in
        ["steps = 9  # more.toml:3", "num_pages = 30  # small.toml:", "documents = 3  # --set", "top_k = 0  # default"]
    {
        assert!(shown.contains(line), "`{line}` is not in {shown}");
    }
}

#[test]
fn shells_get_their_completions() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, part) in [("bash", "_memtrain()"), ("zsh", "#compdef memtrain"), ("fish", "complete -c memtrain")] {
        let output = memtrain(folder.path(), &["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains(part), "{shell}: {script}");
        assert!(script.contains("quickstart") && script.contains("reconstruction"), "{shell}");
    }
    refused(folder.path(), &["completions", "tcsh"], 2, &["tcsh"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let output = memtrain(folder.path(), &["man", "man1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = |name: &str| store::read_to_string(&folder.path().join("man1").join(name)).unwrap();
    assert!(
        page("memtrain.1").contains("quickstart") && page("memtrain.1").starts_with(".ie"),
        "{}",
        page("memtrain.1")
    );
    assert!(page("memtrain-corpus-build.1").contains("accept"), "{}", page("memtrain-corpus-build.1"));
    let count = store::list(&folder.path().join("man1")).unwrap().len();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{count} pages in man1\n"));
    assert!(count > 30, "{count}");
}

#[test]
fn what_is_typed_wrong_is_named_with_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    store::create_dir_all(&path.join("runs/other")).unwrap();
    store::write_atomic(&path.join("runs/other/config.toml"), "").unwrap();
    store::write_atomic(&path.join("bad.jsonl"), "{\"prompt_ids\": [5, \"x\"], \"response_ids\": [8]}\n").unwrap();
    store::write_atomic(&path.join("text.txt"), "The mill was built by Bert.\n").unwrap();
    let set = |change: &'static str| ["train", "small.toml", "--set", change];
    let kind = ["`objective.kind` is `memtrian` at --set", "Did you mean `memtrain`?"];
    let file = ["`small.toml` is a file: a policy is a folder"];
    let bert = ["corpus", "build", "small.toml", "--set", "corpus.entities.backend=bert", "--set"];
    for (command, code, parts) in [
        (&set("objective.kind=memtrian")[..], 2, &kind[..]),
        (&set("reader.prompt.layout=side"), 2, &["`reader.prompt.layout` is `side` at --set"]),
        (&set("train.steps.more=3"), 2, &["`train.steps` is a section of keys at --set: it must be a whole number"]),
        (&["train", "runs/other"], 2, &["`runs/other` is a folder", "`runs/other/config.toml`"]),
        (&["train", "nope.toml"], 2, &["there is no configuration `nope.toml`", "hint: "]),
        (&["corpus", "status", "runs"], 2, &["`runs` is a folder, and a configuration a file", "hint: "]),
        (&set("steps=3"), 2, &["unknown key `steps` at --set", "Did you mean `train.steps`"]),
        (&["train", "small.toml", "--dump", "x"], 2, &["unexpected argument '--dump'"]),
        (&["train", "small.toml", "--dry-run", "--device-memory", "-1"], 2, &["it must be above 0"]),
        (&["train", "small.toml", "--dry-run", "--mfu", "40"], 2, &["it must be at most 1"]),
        (&["quickstart", "--seed", "-1"], 2, &["'--seed <SEED>': the number must not be negative"]),
        (&["policy", "info", "built-in:nano"], 1, &["error: no built-in policy is called `nano`; there are "]),
        (&["policy", "info", "small.toml"], 1, &file),
        (
            &["policy", "score", "built-in:tiny", "--input", "bad.jsonl"],
            1,
            &["line 1 of bad.jsonl: `prompt_ids` has \"x\""],
        ),
        (&["entities", "tag", "--corpus", "nowhere"], 1, &["there is no corpus `nowhere`"]),
        (&["entities", "eval", "text.txt"], 1, &["no label of the back-end counts as one of `text.txt`", "Bert."]),
        (&[&bert[..], &["corpus.entities.model=nowhere"]].concat(), 2, &["`corpus.entities.model` is `nowhere`"]),
        (&["eval", "memory", "small.toml", "--set", "eval.documents=0"], 2, &["`eval.documents` is 0", "hint: "]),
        (&["slurm", "train", "small.toml", "--sbatch", "gres=gpu:1"], 2, &["`--sbatch=--gres=gpu:1`"]),
    ] {
        let said = refused(path, command, code, parts);
        assert!(!said.contains("Look at"), "what was typed is no line of a file: {said}");
        assert!(!said.contains("as a value"), "nobody wants an option for a file: {said}");
    }
    assert!(!store::exists(&path.join("corpus")), "nothing is begun before the model is found");
    let output = memtrain(path, &["wikitext", "--language", "xx", "text.txt"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is known of a language `xx`"));
    let output = memtrain(path, &["read", "text.txt", "--ask", "Who built the mill?"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing but the fictional world"));
    // A configuration without the corpus that it reads.
    assert!(memtrain(path, &["corpus", "build", "small.toml"]).status.success());
    store::write_atomic(&path.join("bare.toml"), "run.corpus = \"corpus\"\npolicy.path = \"built-in:tiny\"\n").unwrap();
    let bare = ["`corpus.ingest.dumps` is empty", "`[corpus]` that its corpus was built with"];
    refused(path, &["train", "bare.toml"], 2, &bare);
}

#[test]
fn a_doctor_says_what_is_there_and_what_stands_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let output = memtrain(folder.path(), &["doctor"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    for part in
        ["program     memtrain ", "processor", "memory", "nothing is asked of it (HF_HUB_OFFLINE)", "can be written"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    for part in ["disk ", "card ", "onnx ", "libtorch "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // A configuration is checked as well, and all of it is one JSON object for a report.
    small_world::write(folder.path(), "");
    let output = memtrain(folder.path(), &["doctor", "small.toml", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap();
    let of = |name: &str| findings.iter().find(|finding| finding["name"] == name).unwrap();
    assert!(output.status.success(), "{told}");
    assert_eq!((of("config")["state"].as_str(), of("program").get("fix")), (Some("fine"), None), "{told}");
    let output = memtrain(folder.path(), &["doctor", "small.toml", "--set", "train.stepz=1"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("! config      unknown key `train.stepz` at --set\n              fix: did you mean `steps`?"),
        "{said}"
    );
    // Whoever forbids the second start runs without the settings.
    let output = Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .current_dir(folder.path())
        .arg("doctor")
        .env("MEMTRAIN_ENVIRONMENT", "mine")
        .env_remove("CANDLE_NUM_THREADS")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("! settings") && said.contains("CANDLE_NUM_THREADS=1"), "{said}");
}

#[test]
fn a_folder_of_another_kind_is_told_what_it_is_and_what_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let reader = "[reader]\nprompts = \"compact\"\nchunk_tokens = 48\nmemory_tokens = 16\nanswer_tokens = 8\ncontext_tokens = 256\n";
    let train = "[train]\nsteps = 1\ndocuments_per_step = 1\npeak_tflops = 1.0\n[objective]\ngroup_size = 2\n";
    small_world::write(path, &format!("{reader}{train}"));
    assert!(memtrain(path, &["corpus", "build", "small.toml"]).status.success());
    let trained = memtrain(path, &["train", "small.toml", "--set", "run.name=r"]);
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/policies/tiny");
    let policy = tiny.to_str().unwrap();
    let (is_run, is_corpus) =
        ("hint: `runs/r` is a run: `memtrain report`", "hint: `corpus` is a corpus: `run.corpus`");
    let is_policy = format!("hint: `{policy}` is a policy: `memtrain policy info`");
    for command in
        [&["corpus", "inspect"][..], &["corpus", "stats"], &["corpus", "verify"], &["index", "search", "x", "--corpus"]]
    {
        refused(path, &[command, &["runs/r"]].concat(), 1, &[is_run]);
        refused(path, &[command, &[policy]].concat(), 1, &[&is_policy]);
    }
    for command in [&["run", "verify"][..], &["report"], &["policy", "info"], &["eval", "compare", "corpus"]] {
        refused(path, &[command, &["corpus"]].concat(), 1, &[is_corpus]);
    }
    refused(path, &["report", policy], 1, &[&is_policy]);
    refused(path, &["policy", "info", "runs/r"], 1, &["its policies are in `runs/r/checkpoints`"]);
    refused(path, &["report", "corpus/ingest"], 1, &["hint: `corpus/ingest` is stage `ingest` of the corpus `corpus`"]);
    refused(path, &["train", "small.toml", "--set", "run.corpus=runs/r"], 1, &["is not built", is_run]);
    refused(path, &["report", "."], 1, &["hint: `.` holds the corpus `./corpus` and the runs `./runs/…`"]);
    let unbegun = ["train", "small.toml", "--set", "run.name=none", "--branch", "b"];
    refused(path, &unbegun, 2, &["there is no run `runs/none` to branch from", "hint: Train it first"]);
    // Of the right kind, and not finished: to be built, not to be looked for elsewhere.
    store::remove_file(&path.join("corpus/synthesize/manifest.json")).unwrap();
    refused(path, &["corpus", "inspect", "corpus"], 1, &["is not finished", "memtrain corpus build"]);
}

#[test]
fn what_is_no_number_is_told_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    let world = |pages: &str, said: &str| {
        let log = refused(
            path,
            &["world", "--out", "w.xml", &format!("--pages={pages}")],
            2,
            &[said, "'--pages <PAGES>'", pages],
        );
        assert!(!log.contains("invalid digit") && !log.contains("literal"), "{log}");
    };
    world("many", "a whole number is expected, in digits alone");
    world("1.5", "a whole number is expected, in digits alone");
    world("-3", "the number must not be negative");
    world("99999999999999999999999", "the number is too large");
    let log = refused(path, &["policy", "score", "x", "--temperature", "hot"], 2, &["a number is expected", "hot"]);
    assert!(!log.contains("literal"), "{log}");
    for (set, said) in [
        ("train.steps=ten", "`train.steps` is \"ten\" at --set: it must be a whole number, 0 or more"),
        ("train.steps=1.5", "`train.steps` is 1.5 at --set: it must be a whole number, 0 or more"),
        ("train.steps=-1", "`train.steps` is -1 at --set: it must be a whole number, 0 or more"),
        ("optimizer.learning_rate=fast", "`optimizer.learning_rate` is \"fast\" at --set: it must be a number"),
        ("corpus.entities.rules=1", "`corpus.entities.rules` is 1 at --set: it must be `true` or `false`"),
        ("corpus.ingest.dumps=3", "`corpus.ingest.dumps` is 3 at --set: it must be a list in `[` and `]`"),
        ("run.name=[1]", "`run.name` is [1] at --set: it must be a text in quotation marks"),
        ("reader=3", "`reader` is 3 at --set: it must be a section of keys"),
    ] {
        refused(path, &["config", "check", "small.toml", "--set", set], 2, &[said]);
    }
}

#[test]
fn files_of_a_folder_that_are_no_dumps_are_told_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    let (dumps, others) = (path.join("dumps"), path.join("others"));
    for folder in [&dumps, &others] {
        store::create_dir_all(folder).unwrap();
        for (name, text) in
            [("a.json", "{\n \"name\": \"x\"\n}\n"), ("b.json", "{\"name\": \"x\"}\n"), ("c.txt", "a list")]
        {
            store::write_atomic(&folder.join(name), text).unwrap();
        }
    }
    assert!(memtrain(path, &["world", "--out", "dumps/d.xml.bz2", "--pages", "30"]).status.success());
    let output = memtrain(path, &["corpus", "build", "small.toml", "--dump", "dumps"]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    for name in ["a.json", "b.json", "c.txt"] {
        assert_eq!(log.lines().filter(|line| line.contains(name)).count(), 1, "{name}: {log}");
    }
    assert!(!log.contains("d.xml.bz2"), "{log}");
    refused(
        path,
        &["corpus", "build", "small.toml", "--dump", "others"],
        1,
        &["no dump at `others`", "none of its 3 files"],
    );
}
