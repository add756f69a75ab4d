//! Training with a server that draws: it reads the weights that the trainer writes, and answers with what the policy says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

use candle_core::{DType, Device};
use memtrain::grpo::trainer::UpdateConfig;
use memtrain::policy::{Policy, directory};
use memtrain::sampler::{FinishReason, LocalSampler, RngKey, SampleRequest, Sampler, SamplingParams};
use memtrain::scoring::PromptResponse;
use memtrain::scoring::score;
use memtrain_corpora::store;
use serde_json::{Value, json};

mod small_world;

/// Draws for whoever asks in vLLM's manner, with the weights in a folder as they were when it was last told to read them.
struct Server {
    url: String,
    reloads: Arc<AtomicUsize>,
    http: Arc<tiny_http::Server>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `reads` says which of the orders to read new weights are followed, `scores_prompts` whether prompts are scored.
    fn start(weights: PathBuf, scores_prompts: bool, reads: fn(usize) -> bool) -> Self {
        let http = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let url = format!("http://{}", http.server_addr());
        let reloads = Arc::new(AtomicUsize::new(0));
        let (server, told) = (Arc::clone(&http), Arc::clone(&reloads));
        let thread = std::thread::spawn(move || {
            let mut policy: Option<Policy> = None;
            while let Ok(mut request) = server.recv() {
                let mut text = String::new();
                request.as_reader().read_to_string(&mut text).unwrap();
                let reply = match request.url() {
                    "/v1/models" => json!({"data": [{"id": "the-policy"}]}),
                    "/collective_rpc" => {
                        if reads(told.fetch_add(1, SeqCst)) {
                            policy = Some(directory::load(&weights, &Device::Cpu, DType::F32).unwrap());
                        }
                        json!("done")
                    }
                    "/v1/completions" => {
                        let body = serde_json::from_str(&text).unwrap();
                        complete(policy.as_ref().unwrap(), scores_prompts, &body)
                    }
                    _ => json!("done"),
                };
                request.respond(tiny_http::Response::from_string(reply.to_string())).unwrap();
            }
        });
        Self { url, reloads, http, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.http.unblock();
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn complete(policy: &Policy, scores_prompts: bool, body: &Value) -> Value {
    let numbers = |value: &Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let request = SampleRequest {
        prompt_ids: numbers(&body["prompt"]),
        params: SamplingParams {
            temperature: body["temperature"].as_f64().unwrap(),
            top_p: body["top_p"].as_f64().unwrap(),
            top_k: 0,
            max_tokens: body["max_tokens"].as_u64().unwrap() as usize,
        },
        rng_key: RngKey { seed: body["seed"].as_u64().unwrap(), ..RngKey::default() },
    };
    let stop_ids = numbers(&body["stop_token_ids"]);
    let allowed = policy.tokenizer.vocab_size();
    let mut sampler = LocalSampler::with_ids(&policy.decoder, &stop_ids, allowed).unwrap();
    let drawn = sampler.sample(&[request]).unwrap().remove(0);
    let finish = if drawn.finish == FinishReason::Stop { "stop" } else { "length" };
    let tokens: Vec<String> = drawn.token_ids.iter().map(|id| format!("token_id:{id}")).collect();
    let mut answer = json!({"choices": [{"finish_reason": finish, "token_ids": drawn.token_ids,
        "logprobs": {"tokens": tokens, "token_logprobs": drawn.log_probs}}]});
    if scores_prompts && body["prompt_logprobs"] == 0 {
        answer["choices"][0]["prompt_logprobs"] = prompt_log_probs(policy, &numbers(&body["prompt"]));
    }
    answer
}

/// As vLLM gives them: nothing for the first token, then each token's by its id.
fn prompt_log_probs(policy: &Policy, prompt: &[u32]) -> Value {
    let pair = PromptResponse { prompt_ids: &prompt[..1], response_ids: &prompt[1..] };
    let scored = score(&policy.decoder, &[pair], UpdateConfig::default().limits(1.0)).unwrap().remove(0);
    let one = |(token, id): (_, &u32)| json!({id.to_string(): {"logprob": token, "rank": 1, "decoded_token": "x"}});
    let rows = scored.iter().map(|token| token.log_prob).zip(&prompt[1..]).map(one);
    std::iter::once(Value::Null).chain(rows).collect()
}

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
    learning_rate = 1e-2
    warmup_steps = 0
    [train]
    steps = 2
    documents_per_step = 2
    evaluate_every = 1
    [eval]
    documents = 2
    [sampler]
    kind = "http"
"#;

fn memtrain(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// Trains two steps, with the server's weights checked to `max_mismatch`; what was said, and the mean mismatch between
/// server and trainer of each step.
fn train(
    folder: &Path,
    server: &Server,
    weights: &Path,
    name: &str,
    max_mismatch: f64,
) -> (Result<String, String>, Vec<f64>) {
    let changes = [
        format!("sampler.http.url=\"{}\"", server.url),
        format!("sampler.http.weights=\"{}\"", weights.display()),
        format!("sampler.http.max_mismatch={max_mismatch}"),
        format!("run.name={name}"),
    ];
    let changes = changes.iter().flat_map(|change| ["--set", change.as_str()]);
    let arguments: Vec<&str> = ["train", "--config", "small.toml"].into_iter().chain(changes).collect();
    let said = memtrain(folder, &arguments);
    let lines = store::read_to_string(&folder.join(format!("runs/{name}/metrics.jsonl"))).unwrap_or_default();
    let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (said, rows.filter_map(|row| row["mismatch_kl"].as_f64()).collect())
}

#[test]
fn the_server_draws_with_the_weights_of_each_step_and_gets_them_once() {
    let folder = tempfile::tempdir().unwrap();
    small_world::write(folder.path(), MORE);
    memtrain(folder.path(), &["corpus", "build", "--config", "small.toml"]).unwrap();
    let weights = folder.path().join("weights");
    let server = Server::start(weights.clone(), true, |_| true);
    // Both compute the same: the bound may be that of rounding.
    let (said, followed) = train(folder.path(), &server, &weights, "followed", 1e-4);
    said.unwrap();
    assert!(followed.len() == 2 && followed.iter().all(|kl| kl.abs() < 1e-8), "{followed:?}");
    // At first and after each step, not for each evaluation in between.
    assert_eq!(server.reloads.load(SeqCst), 3);
    // A server that stays behind is found when it was told to read the weights of the first step.
    let behind = Server::start(weights.clone(), true, |order| order == 0);
    let (said, shown) = train(folder.path(), &behind, &weights, "behind", 1e-2);
    let said = said.unwrap_err();
    assert!(said.contains("does not draw with the policy's weights") && said.contains("hint:"), "{said}");
    assert!(shown.iter().all(|kl| kl.abs() < 1e-8), "{shown:?}");
    // One that scores no prompts is warned of, and the metric shows it.
    let silent = Server::start(weights.clone(), false, |order| order == 0);
    let (said, shown) = train(folder.path(), &silent, &weights, "silent", 1e-2);
    let said = said.unwrap();
    assert!(said.contains("scores no prompts") && said.contains("step 2: the log-probabilities of"), "{said}");
    assert!(shown[0].abs() < 1e-8 && shown[1] > 1e-5, "{shown:?}");
}
