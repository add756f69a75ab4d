//! Steps that overlap: the next is drawn while this one trains, and a run that is killed or stopped meanwhile ends as the
//! undisturbed one does.

mod drawing_server;
mod small_world;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use drawing_server::{Fault, Server};
use memtrain_corpora::store;
use serde_json::Value;

const MORE: &str = r#"
    [reader]
    prompts = "compact"
    chunk_tokens = 48
    max_chunks = 8
    memory_tokens = 24
    answer_tokens = 8
    context_tokens = 256
    cut_at = "sentence"
    [optimizer]
    learning_rate = 1e-3
    warmup_steps = 0
    [train]
    steps = 4
    documents_per_step = 2
    checkpoint_every = 2
    overlap = "one-step"
    [sampler]
    kind = "http"
    [sampler.http]
    max_mismatch = 1e-4
"#;

fn command(folder: &Path, server: &Server, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtrain"));
    command.current_dir(folder).args(["train", "--config", "small.toml"]);
    command.args(["--set", &format!("sampler.http.url={}", server.url), "--set", &format!("run.name={name}")]);
    command
}

fn finish(folder: &Path, server: &Server, name: &str) {
    let output = command(folder, server, name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn metrics(folder: &Path, name: &str) -> Vec<Value> {
    let text = store::read_to_string(&folder.join(format!("runs/{name}/metrics.jsonl"))).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a run has come to: its metrics, its rollouts and its last checkpoint, state of the optimizer included.
fn outcome(folder: &Path, name: &str) -> BTreeMap<String, String> {
    let run = folder.join(format!("runs/{name}"));
    let mut files = vec![run.join("metrics.jsonl")];
    for place in ["rollouts", "checkpoints/step_000004", "checkpoints/step_000004/training_state"] {
        files.extend(store::list(&run.join(place)).unwrap().into_iter().filter(|path| !store::is_dir(path)));
    }
    let named = |file: std::path::PathBuf| {
        let name = file.strip_prefix(&run).unwrap().display().to_string();
        (name, store::hash_file(&file).unwrap())
    };
    files.into_iter().map(named).collect()
}

#[test]
fn steps_are_drawn_one_ahead_and_a_disturbed_run_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    small_world::write(folder, MORE);
    let built = Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .current_dir(folder)
        .args(["corpus", "build", "--config", "small.toml"])
        .output()
        .unwrap();
    assert!(built.status.success());
    let server = Server::start(None, Fault::None);
    finish(folder, &server, "undisturbed");
    // Weights of the start, and of the checkpoint after two steps: the second and the fourth step are drawn with those of the
    // step before.
    assert_eq!(server.reloads.load(SeqCst), 2);
    let rows = metrics(folder, "undisturbed");
    let values = |key: &str| rows.iter().map(|row| row[key].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(values("sampling/staleness"), [0.0, 1.0, 0.0, 1.0]);
    let off = values("sampling/sampling_logp_difference/mean");
    assert!(off[0] < 1e-5 && off[1] > 1e-4 && off[2] < 1e-5 && off[3] > 1e-4, "{off:?}");
    let undisturbed = outcome(folder, "undisturbed");
    assert!(undisturbed.len() > 8, "{undisturbed:?}");

    let responses = server.asked.load(SeqCst);
    for (signal, code) in [("KILL", None), ("TERM", Some(75))] {
        let name = format!("disturbed-{signal}");
        // The last response of the fourth step, which is asked for while the third step trains.
        server.asked.store(0, SeqCst);
        server.withheld.store(responses - 1, SeqCst);
        let mut child = command(folder, &server, &name).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while server.asked.load(SeqCst) < responses {
            assert!(begun.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success()
        );
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), code, "{said}");
        assert!(code.is_none() || said.contains("step 2 is saved"), "{said}");
        server.withheld.store(usize::MAX, SeqCst);
        finish(folder, &server, &name);
        assert_eq!(outcome(folder, &name), undisturbed, "{signal}");
    }
}
