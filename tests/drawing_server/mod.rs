//! A server in this process that draws with memtrain's own sampler and weights that it is told to read, in vLLM's manner.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use candle_core::{DType, Device};
use memtrain::grpo::trainer::UpdateConfig;
use memtrain::nn::PackedBatch;
use memtrain::policy::{Policy, adapter, directory};
use memtrain::sampler::{Completion, FinishReason, LocalSampler, RngKey, SampleRequest, Sampler, SamplingParams};
use memtrain::scoring::PromptResponse;
use memtrain::scoring::score;
use serde_json::{Value, json};

/// How a server goes wrong, if it does.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// It follows the first order to read new weights and no other.
    Stale,
    /// It follows all orders but the first by half: its layers stay what they were.
    Half,
    /// As [`Self::Stale`], and it refuses to score prompts.
    StaleAndSilent,
    /// Tokens that are there already are less likely by this factor, whatever is asked for.
    Penalty(f64),
    /// It takes no adapters.
    NoAdapters,
}

/// Draws for whoever asks in vLLM's manner, with weights as they were in their folder when it was last told to read them.
pub struct Server {
    pub url: String,
    /// Orders to read new weights.
    pub reloads: Arc<AtomicUsize>,
    /// Responses that were asked for, those to probes left out, and from which of them on all are withheld.
    pub asked: Arc<AtomicUsize>,
    pub withheld: Arc<AtomicUsize>,
    /// Adapters that it has.
    pub adapters: Arc<Mutex<BTreeSet<String>>>,
    http: Arc<tiny_http::Server>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server of the policy in `base`, if one is given.
    pub fn start(base: Option<&Path>, fault: Fault) -> Self {
        let http = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let url = format!("http://{}", http.server_addr());
        let reloads = Arc::new(AtomicUsize::new(0));
        let adapters: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (asked, withheld) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(usize::MAX)));
        let (count, limit) = (Arc::clone(&asked), Arc::clone(&withheld));
        let (server, told, names) = (Arc::clone(&http), Arc::clone(&reloads), Arc::clone(&adapters));
        let load = |folder: &Path| directory::load(folder, &Device::Cpu, DType::F32).unwrap();
        let base = base.map(load);
        let thread = std::thread::spawn(move || {
            let mut loaded = BTreeMap::from_iter(base.map(|base| ("the-policy".to_owned(), base)));
            while let Ok(mut request) = server.recv() {
                let mut text = String::new();
                request.as_reader().read_to_string(&mut text).unwrap();
                let body: Value = serde_json::from_str(&text).unwrap_or_default();
                if request.url() == "/v1/completions" && body.get("prompt_logprobs").is_none() {
                    let number = count.fetch_add(1, SeqCst);
                    while number >= limit.load(SeqCst) {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                let word = |key: &str| body[key].as_str().unwrap().to_owned();
                let follows =
                    || told.fetch_add(1, SeqCst) == 0 || !matches!(fault, Fault::Stale | Fault::StaleAndSilent);
                let (status, reply) = match request.url() {
                    "/v1/models" => (200, json!({"data": [{"id": "the-policy"}]})),
                    "/collective_rpc" => {
                        let path = body["kwargs"]["weights_path"].as_str().unwrap();
                        let old = loaded.get("the-policy").filter(|_| fault == Fault::Half).cloned();
                        if follows() {
                            let mut new = load(Path::new(path));
                            old.into_iter().for_each(|old| new.decoder.weights.layers = old.decoder.weights.layers);
                            loaded.insert("the-policy".to_owned(), new);
                        }
                        (200, json!({"results": [null]}))
                    }
                    "/v1/load_lora_adapter" if fault == Fault::NoAdapters => (404, json!({"detail": "Not Found"})),
                    "/v1/load_lora_adapter" => {
                        let mut policy = loaded["the-policy"].clone();
                        let latest = loaded.values().rfind(|policy| policy.decoder.has_adapters()).cloned();
                        let follows = follows();
                        match latest.filter(|_| !follows) {
                            Some(stale) => policy = stale,
                            None => {
                                policy.decoder =
                                    adapter::attach(&policy.decoder, Path::new(&word("lora_path"))).unwrap()
                            }
                        }
                        assert!(loaded.insert(word("lora_name"), policy).is_none(), "it has that adapter already");
                        names.lock().unwrap().insert(word("lora_name"));
                        (200, json!("Success"))
                    }
                    "/v1/unload_lora_adapter" => {
                        names.lock().unwrap().remove(&word("lora_name"));
                        (if loaded.remove(&word("lora_name")).is_some() { 200 } else { 404 }, json!("done"))
                    }
                    "/v1/completions" if fault == Fault::StaleAndSilent && body.get("prompt_logprobs").is_some() => {
                        (400, json!({"error": "no prompt_logprobs here"}))
                    }
                    "/v1/completions" => match loaded.get(&word("model")) {
                        Some(policy) => (200, complete(policy, fault, &body)),
                        None => (404, json!({"error": "no such model"})),
                    },
                    _ => (200, json!("done")),
                };
                let reply = tiny_http::Response::from_string(reply.to_string()).with_status_code(status);
                // Whoever asked may be gone.
                let _ = request.respond(reply);
            }
        });
        Self { url, reloads, asked, withheld, adapters, http, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.withheld.store(usize::MAX, SeqCst);
        self.http.unblock();
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn complete(policy: &Policy, fault: Fault, body: &Value) -> Value {
    let numbers = |value: &Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    for (key, neutral) in
        [("repetition_penalty", 1.0), ("presence_penalty", 0.0), ("frequency_penalty", 0.0), ("min_p", 0.0)]
    {
        assert_eq!(body[key], neutral, "what is left out comes from `generation_config.json`");
    }
    let max_tokens = body["max_tokens"].as_u64().unwrap() as usize;
    let request = SampleRequest {
        prompt_ids: numbers(&body["prompt"]),
        params: SamplingParams {
            temperature: body["temperature"].as_f64().unwrap(),
            top_p: body["top_p"].as_f64().unwrap(),
            top_k: 0,
            max_tokens,
        },
        rng_key: RngKey { seed: body["seed"].as_u64().unwrap(), ..RngKey::default() },
    };
    let stop_ids = numbers(&body["stop_token_ids"]);
    let drawn = match fault {
        Fault::Penalty(factor) if request.params.temperature == 0.0 => {
            penalized(policy, &request.prompt_ids, max_tokens, factor)
        }
        _ => {
            let allowed = policy.tokenizer.vocab_size();
            let mut sampler = LocalSampler::with_ids(&policy.decoder, &stop_ids, allowed).unwrap();
            sampler.sample(&[request]).unwrap().remove(0)
        }
    };
    let finish = if drawn.finish == FinishReason::Stop { "stop" } else { "length" };
    let tokens: Vec<String> = drawn.token_ids.iter().map(|id| format!("token_id:{id}")).collect();
    let mut answer = json!({"choices": [{"finish_reason": finish, "token_ids": drawn.token_ids,
        "logprobs": {"tokens": tokens, "token_logprobs": drawn.log_probs}}]});
    if body["prompt_logprobs"] == 0 {
        answer["choices"][0]["prompt_logprobs"] = prompt_log_probs(policy, &numbers(&body["prompt"]));
    }
    answer
}

/// The likeliest tokens after those that are there already have lost: logits above 0 are divided by `factor`, others multiplied
/// (Keskar et al. 2019, section 4.1).
fn penalized(policy: &Policy, prompt: &[u32], max_tokens: usize, factor: f64) -> Completion {
    let mut ids = prompt.to_vec();
    for _ in 0..max_tokens {
        let mut batch = PackedBatch::default();
        batch.push(&ids, None);
        let hidden = policy.decoder.hidden(&batch).unwrap();
        let mut logits: Vec<f32> =
            policy.decoder.logits(&hidden).unwrap().get(ids.len() - 1).unwrap().to_vec1().unwrap();
        for id in ids.iter().copied().collect::<BTreeSet<u32>>() {
            let logit = &mut logits[id as usize];
            *logit = if *logit > 0.0 { *logit / factor as f32 } else { *logit * factor as f32 };
        }
        ids.push((0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32);
    }
    let token_ids = ids.split_off(prompt.len());
    Completion { log_probs: vec![-0.5; token_ids.len()], token_ids, finish: FinishReason::Length }
}

/// As vLLM gives them: nothing for the first token, then each token's by its id.
fn prompt_log_probs(policy: &Policy, prompt: &[u32]) -> Value {
    let pair = PromptResponse { prompt_ids: &prompt[..1], response_ids: &prompt[1..] };
    let scored = score(&policy.decoder, &[pair], UpdateConfig::default().limits(1.0)).unwrap().remove(0);
    let one = |(token, id): (_, &u32)| json!({id.to_string(): {"logprob": token, "rank": 1, "decoded_token": "x"}});
    let rows = scored.iter().map(|token| token.log_prob).zip(&prompt[1..]).map(one);
    std::iter::once(Value::Null).chain(rows).collect()
}
