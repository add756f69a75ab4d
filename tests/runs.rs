//! A run's folder through the binary: damage is found, beginning anew loses nothing, and what has diverged is not trained.

mod small_reader;
mod small_world;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use memtrain_corpora::{rng, store};
use rand::Rng;
use small_reader::READER;

const CONFIG: &str = r#"
    [objective]
    group_size = 4
    recall_samples = 2
    [optimizer]
    learning_rate = 1e-3
    warmup_steps = 0
    [train]
    steps = 2
    documents_per_step = 4
    checkpoint_every = 1
    evaluate_every = 2
    peak_tflops = 1.0
    [eval]
    documents = 1
    recall_questions = 1
"#;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap()
}

fn train(folder: &Path, more: &[&str]) -> Output {
    memtrain(folder, &[&["train", "--config", "small.toml", "--set", "run.name=a"][..], more].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stderr[..], &output.stdout].concat()).into_owned()
}

/// A folder with a corpus and a run of two steps.
fn trained() -> tempfile::TempDir {
    trained_with(&[])
}

fn trained_with(more: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), &[READER, CONFIG].concat());
    let built = memtrain(folder.path(), &["corpus", "build", "--config", "small.toml"]);
    assert!(built.status.success(), "{}", said(&built));
    let done = train(folder.path(), more);
    assert!(done.status.success(), "{}", said(&done));
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(current) = folders.pop() {
        for path in store::list(&current).unwrap() {
            match (store::link_target(&path).unwrap().is_some(), store::is_dir(&path)) {
                (true, _) => {}
                (false, true) => folders.push(path),
                (false, false) => files.push(path),
            }
        }
    }
    files
}

#[test]
fn a_bit_that_flips_anywhere_in_a_run_is_found() {
    let folder = trained();
    let run = folder.path().join("runs/a");
    let verify = || memtrain(folder.path(), &["run", "verify", "runs/a"]);
    assert!(verify().status.success() && said(&verify()).contains("all as they were written"), "{}", said(&verify()));
    let known = files(&run);
    let is_known = |path: &&PathBuf| {
        let name = path.strip_prefix(&run).unwrap().to_string_lossy().into_owned();
        !name.starts_with("logs/") && name != ".lock"
    };
    let mut generator = rng::keyed("test/runs", 1, &[]);
    let mut tried = 0;
    for path in known.iter().filter(is_known) {
        let whole = store::read(path).unwrap();
        let mut places = vec![0, whole.len() - 1];
        places.extend((0..3).map(|_| generator.random_range(0..whole.len())));
        for place in places {
            let mut bytes = whole.clone();
            bytes[place] ^= 1_u8 << generator.random_range(0..8_u32);
            store::write_atomic(path, bytes).unwrap();
            let output = verify();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(output.status.code(), Some(1), "byte {place} of {}: {}", path.display(), said(&output));
            // A changed list of a checkpoint's files names the file that does not fit to it.
            let name = if name == "checkpoint.json" { "checkpoint".to_owned() } else { name };
            assert!(said(&output).contains(&name), "byte {place} of {}: {}", path.display(), said(&output));
            tried += 1;
        }
        store::write_atomic(path, whole).unwrap();
    }
    assert!(tried > 100, "{tried} places in {known:?}");
    assert!(verify().status.success());
    // A damaged mark is written anew by the next start, since the manifest tells whose the folder is.
    let mark = run.join(store::MARKER);
    let whole = store::read(&mark).unwrap();
    store::write_atomic(&mark, &whole[..whole.len() / 2]).unwrap();
    let output = train(folder.path(), &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(store::read(&mark).unwrap(), whole);
    store::remove_file(&mark).unwrap();
    assert!(said(&verify()).contains("`runs/a/.memtrain.json` is not as memtrain has written it: it is missing"));
    store::write_atomic(&mark, whole).unwrap();
    // What is missing is found, too; and the commands that read a file name it.
    for (name, command) in [
        ("metrics.jsonl", &["report", "runs/a"][..]),
        ("rollouts/step_000002.parquet", &["report", "runs/a"][..]),
        ("config.toml", &["report", "runs/a"][..]),
        ("metrics.jsonl", &["train", "--config", "small.toml", "--set", "run.name=a"][..]),
        ("timings.jsonl", &["train", "--config", "small.toml", "--set", "run.name=a"][..]),
        ("checkpoints/step_000002/model.safetensors", &["train", "--config", "small.toml", "--set", "run.name=a"][..]),
    ] {
        let path = run.join(name);
        let whole = store::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 3] ^= 4;
        store::write_atomic(&path, bytes).unwrap();
        let output = memtrain(folder.path(), command);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", said(&output));
        assert!(said(&output).contains("damaged") && said(&output).contains("hint: "), "{name}: {}", said(&output));
        store::write_atomic(&path, whole).unwrap();
    }
    store::remove_file(&run.join("rollouts/step_000001.parquet")).unwrap();
    store::remove_file(&run.join("timings.jsonl")).unwrap();
    let output = verify();
    assert!(
        said(&output).contains("step_000001.parquet") && said(&output).contains("timings.jsonl"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_weight_that_flips_is_named_by_every_command_that_reads_the_policy() {
    let folder = trained();
    let path = folder.path();
    let succeeds = |arguments: &[&str]| {
        let output = memtrain(path, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    };
    store::write_atomic(&path.join("lines.jsonl"), r#"{"prompt_ids": [5, 6, 7, 8], "response_ids": [9, 10, 2]}"#)
        .unwrap();
    let conversation = r#"{"prompt_ids": [5, 6, 7], "response_ids": [8, 2], "advantages": [0.5, 0.5]}"#;
    store::write_atomic(&path.join("batch.jsonl"), conversation).unwrap();
    store::write_atomic(&path.join("prompts.jsonl"), r#"{"prompt_ids": [5, 6, 7]}"#).unwrap();
    succeeds(&["policy", "convert", "--model", "corpus/policy-tiny", "--out", "own", "--max-shard-size", "2MB"]);
    succeeds(&["policy", "convert", "--model", "runs/a/checkpoints/step_000002", "--out", "out"]);
    let shard = files(&path.join("own")).into_iter().find(|path| path.to_string_lossy().contains("model-00002-of"));
    let checkpoint = path.join("runs/a/checkpoints/step_000002/model.safetensors");
    for (policy, weights, list) in [
        ("own", shard.as_ref().unwrap(), ".memtrain.json"),
        ("runs/a/checkpoints/latest", &checkpoint, "checkpoint.json"),
    ] {
        let commands: [&[&str]; 8] = [
            &["policy", "info", policy],
            &["policy", "score", policy, "--input", "lines.jsonl"],
            &["policy", "generate", policy, "--input", "prompts.jsonl", "--max-tokens", "1"],
            &["policy", "convert", "--model", policy, "--out", "out", "--dtype", "bf16"],
            &["policy", "gradient", "--model", policy, "--batch", "batch.jsonl", "--loss", "grpo"],
            &["train", "--config", "small.toml", "--set", "run.name=b", "--set", &format!("policy.path={policy:?}")],
            &["eval", "reconstruction", "--config", "small.toml", "--policy", policy],
            &["eval", "recall", "--config", "small.toml", "--policy", policy],
        ];
        let whole = store::read(weights).unwrap();
        let mut bytes = whole.clone();
        let last = bytes.len() - 4;
        bytes[last] ^= 1;
        store::write_atomic(weights, bytes).unwrap();
        let name = weights.file_name().unwrap().to_string_lossy().into_owned();
        for command in commands {
            let output = memtrain(path, command);
            assert_eq!(output.status.code(), Some(1), "{command:?}: {}", said(&output));
            for part in [&*name, "is not as memtrain has written it", "hint: Have the folder written anew", list] {
                assert!(said(&output).contains(part), "{command:?} did not say `{part}`: {}", said(&output));
            }
        }
        store::write_atomic(weights, whole).unwrap();
        succeeds(commands[0]);
        succeeds(commands[1]);
    }
}

#[test]
fn a_log_that_lacks_lines_of_saved_steps_is_named_and_not_begun_anew() {
    let folder = trained_with(&["--set", "train.evaluate_every=1"]);
    let run = folder.path().join("runs/a");
    let commands: [&[&str]; 3] = [
        &["run", "verify", "runs/a"],
        &["report", "runs/a"],
        &["train", "--config", "small.toml", "--set", "run.name=a", "--set", "train.evaluate_every=1"],
    ];
    // `evaluations.jsonl` has a line for each step here, the last of which may be to come.
    for name in ["rollouts.jsonl", "metrics.jsonl", "timings.jsonl", "evaluations.jsonl"] {
        let path = run.join(name);
        let whole = store::read(&path).unwrap();
        let first = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let spoiled = [Some(&b""[..]), Some(&whole[..first]), Some(&whole[first..]), Some(&[0; 100]), None];
        for (number, left) in spoiled.into_iter().enumerate() {
            if name == "evaluations.jsonl" && number == 1 {
                continue;
            }
            match left {
                Some(left) => store::write_atomic(&path, left).unwrap(),
                None => store::remove_file(&path).unwrap(),
            }
            for command in commands {
                let output = memtrain(folder.path(), command);
                let told = said(&output);
                assert_eq!(output.status.code(), Some(1), "{name} spoiled by {number}, {command:?}: {told}");
                assert!(told.contains(name) && told.contains("missing"), "{name} by {number}, {command:?}: {told}");
            }
            assert_eq!(store::exists(&path), left.is_some(), "{name} was begun anew");
        }
        store::write_atomic(&path, whole).unwrap();
    }
    commands.iter().for_each(|command| {
        let output = memtrain(folder.path(), command);
        assert!(output.status.success(), "{command:?}: {}", said(&output));
    });
}

#[test]
fn checkpoints_and_links_that_are_gone_or_lead_elsewhere_are_named() {
    let folder = trained();
    let (run, away) = (folder.path().join("runs/a"), folder.path().join("away"));
    let verify = || {
        let output = memtrain(folder.path(), &["run", "verify", "runs/a"]);
        (output.status.code(), said(&output))
    };
    assert_eq!(verify().0, Some(0), "{}", verify().1);
    store::rename_durably(&run.join("checkpoints"), &away).unwrap();
    for is_folder in [false, true] {
        let (code, told) = verify();
        assert!(code == Some(1) && told.contains("checkpoints` holds no checkpoint of step"), "{is_folder}: {told}");
        store::create_dir_all(&run.join("checkpoints")).unwrap();
    }
    store::remove_empty_dir(&run.join("checkpoints")).unwrap();
    store::rename_durably(&away, &run.join("checkpoints")).unwrap();
    for (name, target) in [
        ("latest", None),
        ("latest", Some("step_000001")),
        ("latest", Some("step_000007")),
        ("best", None),
        ("best", Some("../../../corpus")),
        ("best", Some("step_000001")),
    ] {
        let link = run.join("checkpoints").join(name);
        let whole = store::link_target(&link).unwrap().unwrap();
        match target {
            Some(target) => store::link_durably(Path::new(target), &link).unwrap(),
            None => store::remove_file(&link).unwrap(),
        }
        let (code, told) = verify();
        assert!(
            code == Some(1) && told.contains(&format!("the link `runs/a/checkpoints/{name}`")),
            "{target:?}: {told}"
        );
        store::link_durably(&whole, &link).unwrap();
    }
    assert_eq!(verify().0, Some(0), "{}", verify().1);
}

#[test]
fn what_stands_in_the_place_of_a_link_is_named_before_the_work_and_stays() {
    let folder = trained();
    let run = folder.path().join("runs/a");
    for (name, is_folder) in [("checkpoints/latest", true), ("checkpoints/best", false), ("logs/latest.log", false)] {
        let path = run.join(name);
        let target = store::link_target(&path).unwrap().unwrap();
        store::remove_file(&path).unwrap();
        let inside = if is_folder { path.join("model.safetensors") } else { path.clone() };
        store::create_dir_all(inside.parent().unwrap()).unwrap();
        store::write_atomic(&inside, "mine").unwrap();
        let left_over = run.join("checkpoints/.latest.77.link");
        store::link_durably(Path::new("step_000002"), &left_over).unwrap();
        let output = train(folder.path(), &[]);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(told.contains(&format!("runs/a/{name}` is a f")) && told.contains("cp -a"), "{name}: {told}");
        assert_eq!(store::read(&inside).unwrap(), b"mine");
        assert!(!store::is_link(&left_over), "a link that a kill has left is removed");
        if name.starts_with("checkpoints") {
            assert!(said(&memtrain(folder.path(), &["run", "verify", "runs/a"])).contains(&format!("{name}` is a f")));
        }
        store::rename_durably(&path, &folder.path().join(name.replace('/', "-"))).unwrap();
        store::link_durably(&target, &path).unwrap();
    }
    assert!(train(folder.path(), &[]).status.success());
}

#[test]
fn nothing_is_removed_through_a_link_to_another_run() {
    let folder = trained();
    let output = train(folder.path(), &["--set", "run.name=b"]);
    assert!(output.status.success(), "{}", said(&output));
    let (run, other) = (folder.path().join("runs/b"), folder.path().join("runs/a"));
    let before = files(&other);
    for name in ["checkpoints", "rollouts", "logs", "tb", "metrics.jsonl"] {
        store::rename_durably(&run.join(name), &folder.path().join("own")).unwrap();
        store::link_durably(&Path::new("../a").join(name), &run.join(name)).unwrap();
        let output = train(folder.path(), &["--set", "run.name=b"]);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(told.contains(&format!("{name}` is a link")) && told.contains("run.runs"), "{name}: {told}");
        store::remove_file(&run.join(name)).unwrap();
        store::rename_durably(&folder.path().join("own"), &run.join(name)).unwrap();
    }
    assert_eq!(files(&other), before);
    let output = train(folder.path(), &["--set", "run.name=b"]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_run_begun_anew_keeps_the_old_one_and_what_a_user_put_beside_it() {
    let folder = trained();
    let run = folder.path().join("runs/a");
    let weights = store::hash_file(&run.join("checkpoints/step_000002/model.safetensors")).unwrap();
    for name in ["notes.txt", "logs/mine.txt", "checkpoints/mine.pt"] {
        store::write_atomic(&run.join(name), name).unwrap();
    }
    let output = train(folder.path(), &["--clean", "--set", "optimizer.learning_rate=2e-3"]);
    assert!(output.status.success(), "{}", said(&output));
    let trash = store::list(&folder.path().join("runs")).unwrap().pop().unwrap();
    for part in
        [&*trash.to_string_lossy(), "rm -r", "metrics.jsonl", "checkpoints/step_000002", "notes.txt", "logs/mine.txt"]
    {
        assert!(said(&output).contains(part), "`{part}` is not said: {}", said(&output));
    }
    assert_eq!(store::hash_file(&trash.join("checkpoints/step_000002/model.safetensors")).unwrap(), weights);
    assert!(["notes.txt", "logs/mine.txt", "checkpoints/mine.pt"].iter().all(|name| store::exists(&run.join(name))));
    // The old run is whole where it is now.
    let output = memtrain(folder.path(), &["run", "verify", &trash.to_string_lossy()]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_policy_with_a_weight_that_is_none_is_not_trained() {
    let folder = trained();
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/policies/tiny");
    for (name, weight) in [("nan", f32::NAN), ("infinite", f32::NEG_INFINITY), ("huge", 1e9)] {
        for file in store::list(&tiny).unwrap() {
            let mut bytes = store::read(&file).unwrap();
            if file.ends_with("model.safetensors") {
                let last = bytes.len() - 4;
                bytes[last..].copy_from_slice(&weight.to_le_bytes());
            }
            let to = folder.path().join(name).join(file.file_name().unwrap());
            store::create_dir_all(to.parent().unwrap()).unwrap();
            store::write_atomic(&to, bytes).unwrap();
        }
        let output =
            train(folder.path(), &["--set", &format!("run.name={name:?}"), "--set", &format!("policy.path={name:?}")]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", said(&output));
        let named = if weight.is_finite() {
            "the policy to start from cannot be trained"
        } else {
            "a value that is not finite"
        };
        assert!(said(&output).contains(named), "{name}: {}", said(&output));
        assert!(!store::exists(&folder.path().join("runs").join(name).join("checkpoints/latest")));
    }
}
