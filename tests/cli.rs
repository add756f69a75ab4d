//! Commands through the binary, right and wrong, as a person sees them.

mod small_world;

use std::path::Path;
use std::process::{Command, Output};

use memtrain_corpora::store;
use memtrain_corpora::world::{World, WorldConfig};

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    // Nothing is asked of the hub, whose cache is the folder's own.
    Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .current_dir(folder)
        .args(arguments)
        .env("HF_HUB_CACHE", folder.join("hub"))
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap()
}

/// Asserts the exit code and that stderr holds each of `parts`; stdout must be empty.
fn refused(folder: &Path, arguments: &[&str], code: i32, parts: &[&str]) {
    let output = memtrain(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
    assert!(said.contains("error: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?} did not say `{part}`:\n{said}");
    }
}

#[test]
fn the_released_settings_are_read_and_planned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, facts) in [
        ("memtrain-released", &["recall_draw = \"released\"", "# conversations a step at most 4352 ("][..]),
        ("memagent-released", &["minibatches = 4", "# conversations a step at most 2304 ("]),
        ("mem1-released", &["reward_scale = \"group\"", "# conversations a step at most 3072 ("]),
    ] {
        let path = format!("configs/{name}.toml");
        let checked = memtrain(root, &["config", "check", &path]);
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
        let planned = memtrain(root, &["train", "--dry-run", "--device-memory", "1000", "--config", &path]);
        let said = String::from_utf8(planned.stdout).unwrap();
        assert!(planned.status.success(), "{name}: {}", String::from_utf8_lossy(&planned.stderr));
        for fact in facts.iter().chain(&["aggregation = \"token-mean\"", "prompts              `standard`"]) {
            assert!(said.contains(fact), "{name}: `{fact}` is missing from:\n{said}");
        }
    }
    let both = ["objective.recall_draw=released", "objective.recall_includes_current=true"];
    let arguments = ["config", "check", "configs/memtrain.toml", "--set", both[0], "--set", both[1]];
    refused(root, &arguments, 2, &["recall_includes_current", "recall_draw"]);
}

#[test]
fn a_policy_is_named_as_on_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let (path, tiny) = (folder.path(), Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/policies/tiny"));
    let missing =
        ["`someone/tiny` is no directory and not in the cache", "HF_HUB_OFFLINE", "hint: ", "hf download someone/tiny"];
    refused(path, &["policy", "info", "someone/tiny"], 1, &missing);
    small_world::write(path, "");
    assert!(memtrain(path, &["corpus", "build", "small.toml"]).status.success());
    refused(path, &["train", "--config", "small.toml", "--set", "policy.path=someone/tiny"], 1, &missing);
    let cached = path.join("hub/models--someone--tiny");
    let snapshot = cached.join("snapshots/0123456789abcdef0123456789abcdef01234567");
    store::create_dir_all(&snapshot).unwrap();
    store::create_dir_all(&cached.join("refs")).unwrap();
    for file in store::list(&tiny).unwrap() {
        store::write_atomic(&snapshot.join(file.file_name().unwrap()), store::read(&file).unwrap()).unwrap();
    }
    store::write_atomic(&cached.join("refs/main"), "0123456789abcdef0123456789abcdef01234567").unwrap();
    let (named, lying) = (
        memtrain(path, &["policy", "info", "someone/tiny"]),
        memtrain(path, &["policy", "info", tiny.to_str().unwrap()]),
    );
    assert_eq!(named.status.code(), Some(0), "{}", String::from_utf8_lossy(&named.stderr));
    let numbers = |output: &Output| {
        String::from_utf8_lossy(&output.stdout).lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(numbers(&named).len() > 3);
    assert_eq!(numbers(&named), numbers(&lying));
}

#[test]
fn wrong_configurations_name_the_place_and_the_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    refused(path, &["train", "--config", "none.toml"], 2, &["none.toml"]);
    store::write_atomic(&path.join("key.toml"), "[train]\nstepz = 3\n").unwrap();
    refused(path, &["train", "--config", "key.toml"], 2, &["`train.stepz`", "key.toml:2:1", "hint: ", "`steps`"]);
    store::write_atomic(&path.join("type.toml"), "[train]\nsteps = \"many\"\n").unwrap();
    refused(path, &["train", "--config", "type.toml"], 2, &["type.toml:2:9"]);
    store::write_atomic(
        &path.join("context.toml"),
        "[corpus.ingest]\ndumps = [\"x\"]\n[reader]\ncontext_tokens = 100\n",
    )
    .unwrap();
    refused(path, &["train", "--dry-run", "--config", "context.toml"], 2, &["reader.context_tokens"]);
    refused(path, &["train", "--config", "context.toml", "--set", "train.steps"], 2, &["--set train.steps"]);
    refused(path, &["trian"], 2, &["train"]);
}

#[test]
fn wrong_dumps_are_named_and_leave_nothing_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    let build = |dump: &str, code: i32, parts: &[&str]| {
        let no_world = std::str::from_utf8(&store::read(&path.join("small.toml")).unwrap())
            .unwrap()
            .replace("[world]\n    num_pages = 30", "");
        store::write_atomic(&path.join("dump.toml"), no_world).unwrap();
        refused(path, &["corpus", "build", "--config", "dump.toml", "--dump", dump], code, parts);
        assert!(!store::exists(&path.join("corpus/ingest/manifest.json")), "{dump} was committed");
    };
    build("missing.xml.bz2", 1, &["missing.xml.bz2"]);
    store::write_atomic(&path.join("foreign.xml"), "<html><body>no dump</body></html>").unwrap();
    build("foreign.xml", 1, &["foreign.xml", "hint: "]);
    assert!(memtrain(path, &["world", "--out", "whole.xml.bz2", "--pages", "30"]).status.success());
    let whole = store::read(&path.join("whole.xml.bz2")).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    store::write_atomic(&path.join("damaged.xml.bz2"), &damaged).unwrap();
    build("damaged.xml.bz2", 1, &["damaged.xml.bz2", "near byte", "hint: "]);
    build("no[pe*.bz2", 2, &["no[pe*.bz2", "invalid range pattern"]);
    build("no*.bz2", 1, &["no dump at `no*.bz2`", "hint: "]);
    store::write_atomic(&path.join("dump.7z"), b"7z\xBC\xAF\x27\x1C\0\x04").unwrap();
    build("dump.7z", 1, &["dump.7z", "a 7z archive", "7z x FILE"]);
}

#[test]
fn a_dump_that_breaks_off_is_kept_and_told_by_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    let config = store::read_to_string(&path.join("small.toml")).unwrap();
    store::write_atomic(&path.join("dump.toml"), config.replace("[world]\n    num_pages = 30", "")).unwrap();
    let mut whole = Vec::new();
    World::generate(WorldConfig { num_pages: 30, ..WorldConfig::default() }).unwrap().write_xml(&mut whole).unwrap();
    let cut = &whole[..whole.len() * 3 / 4];
    store::write_atomic(&path.join("cut.xml"), cut).unwrap();
    let pages = cut.windows(7).filter(|window| window == b"</page>").count();
    let command = ["corpus", "build", "--config", "dump.toml", "--dump", "cut.xml"];
    refused(path, &command, 3, &["`cut.xml`", &format!("all {pages} whole pages"), "hint: ", "--accept-truncated"]);
    let ingest = store::hash_file(&path.join("corpus/ingest/manifest.json")).unwrap();
    assert!(!store::exists(&path.join("corpus/entities")));
    let accepted = memtrain(path, &[&command[..], &["--accept-truncated"]].concat());
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
    assert_eq!(store::hash_file(&path.join("corpus/ingest/manifest.json")).unwrap(), ingest, "nothing is read twice");
    refused(path, &command, 3, &["--accept-truncated"]);
}

#[test]
fn a_world_never_writes_over_a_dump_that_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    store::write_atomic(&path.join("mine.xml"), "mine").unwrap();
    refused(path, &["corpus", "build", "--config", "small.toml", "--dump", "mine.xml"], 1, &["mine.xml", "hint: "]);
    assert_eq!(store::read(&path.join("mine.xml")).unwrap(), b"mine");
    let build = |set: &str| {
        assert!(memtrain(path, &["corpus", "build", "--config", "small.toml", "--set", set]).status.success())
    };
    let dump = || store::hash_file(&path.join("dump.xml.bz2")).unwrap();
    build("world.seed=1");
    let first = dump();
    build("world.seed=2");
    assert_ne!(dump(), first, "another world is another dump");
}

#[test]
fn a_corpus_is_built_stage_by_stage_or_at_once_with_the_same_bytes() {
    let (once, single) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [once.path(), single.path()] {
        small_world::write(folder, "");
    }
    let config = ["--config", "small.toml"];
    assert!(memtrain(once.path(), &[&["corpus", "build"][..], &config].concat()).status.success());
    for stage in ["ingest", "entities", "tokenizer", "index", "synthesize"] {
        let of_stage = [&config[..], &["--stage", stage]].concat();
        let planned = memtrain(single.path(), &[&["corpus", "plan"][..], &of_stage].concat());
        assert!(planned.status.success(), "{}", String::from_utf8_lossy(&planned.stderr));
        let shards: usize = String::from_utf8(planned.stdout).unwrap().trim().parse().unwrap();
        for index in (0..shards).rev() {
            let shard = index.to_string();
            assert!(
                memtrain(single.path(), &[&["corpus", "run-shard", "--index", &shard][..], &of_stage].concat())
                    .status
                    .success()
            );
        }
        assert!(memtrain(single.path(), &[&["corpus", "finish"][..], &of_stage].concat()).status.success());
    }
    let status = memtrain(single.path(), &[&["corpus", "status"][..], &config].concat());
    assert_eq!(String::from_utf8(status.stdout).unwrap().matches("done").count(), 5);
    let manifest = |folder: &Path| store::read(&folder.join("corpus/synthesize/manifest.json")).unwrap();
    assert_eq!(manifest(once.path()), manifest(single.path()));
}

#[test]
fn the_paper_s_setting_passes_a_dry_run_offline() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = memtrain(root, &["train", "--dry-run", "--config", "configs/memtrain.toml", "--device-memory", "131"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    for fact in [
        "30000 training",
        "29 + 1 + 120",
        "group_size = 8",
        "recall_weight = 0.5",
        "kl_beta = 0.001",
        "2304 turns",
        "2048 recall",
    ] {
        assert!(said.contains(fact), "`{fact}` is missing from:\n{said}");
    }
}

/// Runs with a text on standard input.
fn fed(folder: &Path, arguments: &[&str], text: &str) -> Output {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn entities_of_a_text_are_printed_a_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let text = "Été.\n\nOn 3 May 1901 Ana Lund paid $5 million in Paris.\n";
    let json = fed(folder.path(), &["entities", "tag"], text);
    assert!(json.status.success(), "{}", String::from_utf8_lossy(&json.stderr));
    let expected = [
        r#"{"char_start":9,"char_end":19,"text":"3 May 1901","label":"DATE","source":"rule"}"#,
        r#"{"char_start":20,"char_end":28,"text":"Ana Lund","label":"PERSON","source":"shape"}"#,
        r#"{"char_start":34,"char_end":44,"text":"$5 million","label":"MONEY","source":"rule"}"#,
        r#"{"char_start":48,"char_end":53,"text":"Paris","label":"GPE","source":"shape"}"#,
    ];
    assert_eq!(String::from_utf8(json.stdout).unwrap().lines().collect::<Vec<_>>(), expected);
    let tsv = fed(folder.path(), &["entities", "tag", "--format", "tsv"], text);
    let tsv = String::from_utf8(tsv.stdout).unwrap();
    assert!(
        tsv.starts_with("char_start\tchar_end\tlabel\tsource\ttext\ttarget\n9\t19\tDATE\trule\t3 May 1901\t\n"),
        "{tsv}"
    );
    assert!(fed(folder.path(), &["entities", "tag"], "").stdout.is_empty());
}

#[test]
fn entities_are_scored_by_exact_spans() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let gold = "Ana B-PER\nLund I-PER\nleft O\nParis B-LOC\n. O\n\nThen O\nTolm B-ORG\nslept O\nin O\nMay O\n";
    store::write_atomic(&path.join("gold.conll"), gold).unwrap();
    let table = memtrain(path, &["entities", "eval", "gold.conll", "--mistakes"]);
    let said = String::from_utf8(table.stdout).unwrap();
    for line in [
        "gold.conll: 2 documents, 2 sentences, 10 tokens, BIO tags; back-end links",
        "counted as: LOC = FAC, GPE, LOC; ORG = ORG; PER = PERSON",
        "LOC                  1.0000  1.0000  1.0000        1      1        1",
        "1\tORG\tPERSON\tTolm",
    ] {
        assert!(said.contains(line), "`{line}` is missing from:\n{said}");
    }
    let json = memtrain(path, &["entities", "eval", "gold.conll", "--json", "--map", "PERSON=ORG"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["mapping"]["PERSON"], "ORG");
    assert_eq!(report["boundaries"]["f1"], 1.0);
    assert_eq!(report["unmapped"], serde_json::json!(["PER"]));

    store::write_atomic(&path.join("bad.conll"), "Ana B-PER\nLund\n").unwrap();
    refused(path, &["entities", "eval", "bad.conll"], 1, &["bad.conll", "line 2", "hint: "]);
    refused(path, &["entities", "eval", "none.conll"], 1, &["none.conll"]);
    refused(path, &["entities", "eval", "gold.conll", "--map", "PERSON"], 2, &["--map PERSON", "hint: "]);
    refused(path, &["entities", "eval", "gold.conll", "--map", "HUMAN=PER"], 2, &["HUMAN", "hint: "]);
    refused(path, &["entities", "eval", "gold.conll", "--map", "PERSON=GPE"], 2, &["the gold has LOC, ORG, PER"]);
    refused(path, &["entities", "eval", "gold.conll", "--corpus", "none"], 1, &["error: ", "hint: "]);
}

#[test]
fn a_dry_run_plans_memory_and_time_and_refuses_what_cannot_fit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plan = |more: &[&str]| {
        let arguments = [&["train", "--dry-run", "--config", "configs/memtrain.toml"][..], more].concat();
        let output = memtrain(root, &arguments);
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // One card of 141 GB, 131 GiB.
    let (code, said, log) = plan(&["--device-memory", "131", "--mfu", "0.5", "--peak-tflops", "1000"]);
    assert_eq!(code, Some(0), "{log}");
    for fact in [
        "published shape of qwen3-4b",
        "weights                       7.49",
        "masters                      14.98",
        "gradients                    14.98",
        "moments                      29.97",
        "keys and values",
        "inputs of layers",
        "of all 36 layers: nothing is computed again",
        "50 % of 1000",
        "131.00  of the device",
    ] {
        assert!(said.contains(fact), "`{fact}` is missing from:\n{said}");
    }
    assert!(
        said.lines().skip_while(|line| !line.starts_with("# What follows")).all(|l| l.is_empty() || l.starts_with('#'))
    );
    // On a smaller one some layers are computed again.
    let (code, said, log) = plan(&["--device-memory", "100"]);
    assert!(code == Some(0) && said.contains("of 36 layers whole") && said.contains("# recompute"), "{said}{log}");
    let wide = ["--set", "policy.precision=f32", "--set", "update.activation_checkpointing=false"];
    let (code, _, log) = plan(&[&["--device-memory", "131"][..], &wide].concat());
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("hint: ") && log.contains("`update.activation_checkpointing = true`"), "{log}");
    let (code, said, log) = plan(&["--device-memory", "24", "--set", "policy.path=models/Qwen2.5-7B-Instruct"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(said.contains("published shape of qwen2.5-7b") && log.contains("policy.lora"), "{said}{log}");
    let (code, said, log) = plan(&["--device-memory", "60", "--set", "sampler.cache_gib=200"]);
    assert!(code == Some(1) && log.contains("`sampler.cache_gib = ") && said.contains("live sequences"), "{said}{log}");
    let (code, _, log) = plan(&["--mfu", "2"]);
    assert!(code == Some(2) && log.contains("--mfu"), "{log}");
    refused(root, &["train", "--config", "configs/memtrain.toml", "--mfu", "0.4"], 2, &["--dry-run"]);
}

#[test]
fn the_configurations_for_cards_fit_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A card of 141 GB has 131 GiB, one of 24 GB 22.
    for (config, gib, facts) in [
        ("qwen3-4b", "131", &["published shape of qwen3-4b", "reference                     7.49"][..]),
        ("qwen2.5-7b", "131", &["published shape of qwen2.5-7b", "two of AdamW in f32, on the host"]),
        ("small-card-lora", "22", &["published shape of qwen3-4b", "million of rank 32 in f32"]),
    ] {
        let path = format!("configs/{config}.toml");
        let plan = |more: &[&str]| {
            let output = memtrain(root, &[&["train", "--dry-run", "--config", &path][..], more].concat());
            let (said, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
            assert_eq!(output.status.code(), Some(0), "{config}: {log}");
            said
        };
        let said = plan(&["--device-memory", gib]);
        for fact in facts.iter().chain(&["keys and values", "inputs of layers", "layout = \"chunk-first\""]) {
            assert!(said.contains(fact), "{config}: `{fact}` is missing from:\n{said}");
        }
        // Instructions and chunk computed once leave fewer tokens than with the memory first.
        let tokens = |said: &str| -> f64 {
            let line = said.lines().rev().find(|line| line.starts_with("# tokens  ")).unwrap();
            line.split_whitespace().nth(2).unwrap().parse().unwrap()
        };
        let memory_first = plan(&["--device-memory", gib, "--set", "reader.prompt.layout=memory-first"]);
        assert!(
            tokens(&said) < 0.8 * tokens(&memory_first),
            "{config}: {} of {}",
            tokens(&said),
            tokens(&memory_first)
        );
        assert!(plan(&[]).contains("`--device-memory GIB` says whether a card has it"));
    }
    refused(
        root,
        &["train", "--dry-run", "--config", "configs/qwen3-4b.toml", "--device", "tpu"],
        2,
        &["unknown device `tpu`", "`cuda:N` expected"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_installed_binary_gives_itself_its_settings_and_stays_one_process() {
    use std::io::Write;
    use std::process::Stdio;
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/loss");
    let mut child = Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .args(["policy", "gradient", "--json", "--model"])
        .arg(model)
        .env_remove("CANDLE_NUM_THREADS")
        .env("GLIBC_TUNABLES", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It waits for lines on stdin; the number is that of the process that was started.
    let environment = Path::new("/proc").join(child.id().to_string()).join("environ");
    let settled = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let variables = store::read(&environment).unwrap();
        String::from_utf8_lossy(&variables).contains("CANDLE_NUM_THREADS=1")
    });
    assert!(settled, "the settings never came");
    let line = b"{\"prompt_ids\": [1], \"response_ids\": [2], \"advantages\": 1}\n";
    child.stdin.take().unwrap().write_all(line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("\"grad_norm\""));
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_feature = "avx2"))]
#[test]
fn a_processor_without_avx2_is_refused_before_anything_uses_it() {
    // Debian's qemu-user; on a processor of its own the program would have to be tried by hand.
    let run =
        Command::new("qemu-x86_64").args(["-cpu", "Nehalem", env!("CARGO_BIN_EXE_memtrain"), "--version"]).output();
    let Ok(output) = run else {
        eprintln!("SKIPPED: there is no `qemu-x86_64` (Debian's qemu-user), so that no older processor was tried");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("this one lacks AVX, FMA, ") && said.contains("hint: Build it on this machine"), "{said}");
}

#[test]
fn what_was_typed_does_not_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["corpus", "inspect", "\u{1b}]0;owned\u{7}"][..],
        &["policy", "info", "\u{9b}2J\u{8}"],
        &["policy", "generate", "x", "--max-tokens", "\u{1b}[2J"],
        &["tr\u{1b}[2Jain"],
        &["train", "--config", "\u{202e}lmot.eno"],
        &["train", "--config", "x", "--set", "\u{1b}[31m"],
    ] {
        let output = memtrain(folder.path(), arguments);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            said.contains("error: ") && !said.contains(memtrain_corpora::visible::steers),
            "{arguments:?}: {said:?}"
        );
    }
}
