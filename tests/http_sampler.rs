//! The HTTP sampler against a server in this process, through real sockets.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use candle_core::{DType, Device};
use memtrain::policy::tokenizer::{COMPACT_CHAT_TEMPLATE, END_OF_TURN};
use memtrain::policy::{Decoder, LoraConfig, Policy, PolicyTokenizer, directory, preset};
use memtrain::sampler::config::{Dialect, HttpConfig, ServerCall};
use memtrain::sampler::{Completion, DrawAddress, FinishReason, HttpSampler, SampleRequest, Sampler, SamplingParams};
use serde_json::{Value, json};

const STOP: u32 = 7;
const VOCABULARY: usize = 100;

/// What a server was asked and how it misbehaves.
#[derive(Default)]
struct Script {
    /// Answers with this status so many times before it behaves.
    failures: AtomicUsize,
    status: AtomicUsize,
    /// Closes the connection without an answer so many times.
    hang_ups: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    asked: Mutex<Vec<(String, Value)>>,
    /// Milliseconds that an answer takes.
    delay_ms: AtomicUsize,
    /// Changes a good answer into another one.
    spoil: Mutex<Option<fn(&mut Value)>>,
}

struct Stub {
    url: String,
    script: Arc<Script>,
    server: Arc<tiny_http::Server>,
    threads: Vec<JoinHandle<()>>,
}

impl Stub {
    fn start() -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let url = format!("http://{}", server.server_addr());
        let script = Arc::new(Script::default());
        let serve = |_| {
            let (server, script) = (Arc::clone(&server), Arc::clone(&script));
            std::thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    answer(request, &script);
                }
            })
        };
        let threads = (0..8).map(serve).collect();
        Self { url, script, server, threads }
    }

    fn config(&self, dialect: Dialect) -> HttpConfig {
        HttpConfig { url: self.url.clone(), dialect, backoff_s: 0.01, timeout_s: 5.0, ..HttpConfig::default() }
    }

    fn paths(&self) -> Vec<String> {
        self.script.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.threads.iter().for_each(|_| self.server.unblock());
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn take_one(counter: &AtomicUsize) -> bool {
    counter.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Tokens and log-probabilities of a prompt: even lengths stop, odd ones run to the limit.
fn response(prompt: &[u32], most: usize) -> (Vec<u32>, Vec<f64>, &'static str) {
    let sum: u32 = prompt.iter().sum();
    let stops = sum.is_multiple_of(2) && most > 1;
    let mut ids: Vec<u32> = (0..most as u32).map(|i| 10 + (sum + i) % 80).collect();
    if stops {
        ids.truncate(most / 2);
        ids.push(STOP);
    }
    let log_probs = (0..ids.len()).map(|i| -0.25 - 0.125 * i as f64).collect();
    (ids, log_probs, if stops { "stop" } else { "length" })
}

fn answer(mut request: tiny_http::Request, script: &Script) {
    let path = request.url().to_owned();
    let mut text = String::new();
    request.as_reader().read_to_string(&mut text).unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let now = script.under_way.fetch_add(1, SeqCst) + 1;
    script.most_under_way.fetch_max(now, SeqCst);
    std::thread::sleep(Duration::from_millis(script.delay_ms.load(SeqCst) as u64));
    script.asked.lock().unwrap().push((path.clone(), body.clone()));
    let numbers = |value: &Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let mut reply = match path.as_str() {
        "/v1/models" => json!({"data": [{"id": "the-policy"}]}),
        "/v1/completions" => {
            let (ids, log_probs, finish) =
                response(&numbers(&body["prompt"]), body["max_tokens"].as_u64().unwrap() as usize);
            let tokens: Vec<String> = ids.iter().map(|id| format!("token_id:{id}")).collect();
            json!({"choices": [{"finish_reason": finish, "token_ids": ids,
                "logprobs": {"tokens": tokens, "token_logprobs": log_probs}}]})
        }
        "/generate" => {
            let most = body["sampling_params"]["max_new_tokens"].as_u64().unwrap() as usize;
            let (ids, log_probs, finish) = response(&numbers(&body["input_ids"]), most);
            let tokens: Vec<Value> = ids.iter().zip(&log_probs).map(|(id, p)| json!([p, id, null])).collect();
            json!({"meta_info": {"finish_reason": {"type": finish}, "output_token_logprobs": tokens}})
        }
        _ => json!("done"),
    };
    if let Some(spoil) = *script.spoil.lock().unwrap() {
        spoil(&mut reply);
    }
    let is_completion = path == "/v1/completions" || path == "/generate";
    script.under_way.fetch_sub(1, SeqCst);
    if is_completion && take_one(&script.hang_ups) {
        // Dropped without an answer, tiny_http would send a 500 of its own: a broken answer instead.
        let mut stream = request.into_writer();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{");
        return;
    }
    let response = match is_completion && take_one(&script.failures) {
        true => tiny_http::Response::from_string("busy").with_status_code(script.status.load(SeqCst) as u16),
        false => tiny_http::Response::from_string(reply.to_string()),
    };
    let _ = request.respond(response);
}

fn requests(count: u64) -> Vec<SampleRequest> {
    let request = |number: u64| SampleRequest {
        prompt_ids: (0..1 + number as u32 % 5).map(|i| i + number as u32).collect(),
        params: SamplingParams { temperature: 1.0, top_p: 0.9, top_k: 0, max_tokens: 1 + number as usize % 6 },
        address: DrawAddress { seed: 3, document: number, ..DrawAddress::default() },
    };
    (0..count).map(request).collect()
}

fn expected(request: &SampleRequest) -> Completion {
    let (token_ids, log_probs, finish) = response(&request.prompt_ids, request.params.max_tokens);
    let finish = if finish == "stop" { FinishReason::Stop } else { FinishReason::Length };
    Completion { token_ids, log_probs: log_probs.into_iter().map(|value| value as f32).collect(), finish }
}

#[test]
fn both_dialects_give_ids_and_log_probabilities_in_order() {
    for dialect in [Dialect::Vllm, Dialect::Sglang] {
        let stub = Stub::start();
        let mut sampler = HttpSampler::connect(&stub.config(dialect), &[STOP], VOCABULARY).unwrap();
        let requests = requests(30);
        let completions = sampler.sample(&requests).unwrap();
        let truth: Vec<Completion> = requests.iter().map(expected).collect();
        assert_eq!(completions, truth);
        let asked = stub.script.asked.lock().unwrap();
        let bodies: Vec<&Value> = asked.iter().map(|(_, body)| body).filter(|body| body.is_object()).collect();
        assert_eq!(bodies.len(), 30);
        let seeds: HashMap<String, usize> = bodies.iter().fold(HashMap::new(), |mut seeds, body| {
            let seed = if dialect == Dialect::Vllm { &body["seed"] } else { &body["sampling_params"]["sampling_seed"] };
            *seeds.entry(seed.to_string()).or_default() += 1;
            seeds
        });
        assert_eq!(seeds.len(), 30, "each draw has a seed of its own");
        for body in bodies {
            match dialect {
                Dialect::Vllm => {
                    assert_eq!((&body["model"], &body["stop_token_ids"]), (&json!("the-policy"), &json!([STOP])));
                    assert_eq!((&body["return_token_ids"], &body["top_k"]), (&json!(true), &json!(-1)));
                }
                Dialect::Sglang => assert_eq!(body["sampling_params"]["top_p"], json!(0.9)),
            }
        }
    }
}

#[test]
fn tokens_named_in_the_log_probabilities_do_as_well() {
    let stub = Stub::start();
    *stub.script.spoil.lock().unwrap() = Some(|answer| {
        if let Some(choice) = answer.pointer_mut("/choices/0").and_then(Value::as_object_mut) {
            choice.remove("token_ids");
        }
    });
    let mut sampler = HttpSampler::connect(&stub.config(Dialect::Vllm), &[STOP], VOCABULARY).unwrap();
    let requests = requests(4);
    assert_eq!(sampler.sample(&requests).unwrap(), requests.iter().map(expected).collect::<Vec<_>>());
}

#[test]
fn what_may_pass_is_asked_again_and_what_may_not_is_told() {
    let stub = Stub::start();
    let config = HttpConfig { retries: 3, ..stub.config(Dialect::Vllm) };
    let mut sampler = HttpSampler::connect(&config, &[STOP], VOCABULARY).unwrap();
    stub.script.status.store(503, SeqCst);
    stub.script.failures.store(2, SeqCst);
    stub.script.hang_ups.store(1, SeqCst);
    let one = &requests(1);
    assert_eq!(sampler.sample(one).unwrap(), [expected(&one[0])]);
    // One more than it is asked again.
    stub.script.failures.store(4, SeqCst);
    let error = format!("{:#}", sampler.sample(one).unwrap_err());
    assert!(error.contains("request 0") && error.contains("/v1/completions` answers 503: busy"), "{error}");
    // A fault of ours is not asked again.
    stub.script.status.store(400, SeqCst);
    stub.script.failures.store(1, SeqCst);
    let before = stub.paths().len();
    assert!(format!("{:#}", sampler.sample(one).unwrap_err()).contains("answers 400"));
    assert_eq!(stub.paths().len(), before + 1);
    let nobody = HttpConfig { url: "http://127.0.0.1:9".to_owned(), retries: 1, ..config };
    let error = HttpSampler::connect(&nobody, &[STOP], VOCABULARY).unwrap_err();
    assert!(format!("{error:#}").contains("`http://127.0.0.1:9/v1/models` does not answer"), "{error:#}");
}

#[test]
fn an_answer_that_cannot_be_trained_on_is_refused() {
    type Spoil = fn(&mut Value);
    let cases: [(Spoil, &str); 5] = [
        (|answer| answer["choices"][0]["token_ids"] = json!([1, 2, 3]), "3 token ids and 1 log-probabilities"),
        (|answer| answer["choices"][0]["token_ids"] = json!([150]), "token id 150 is beyond the 100 ids"),
        (|answer| answer["choices"][0]["finish_reason"] = json!("stop"), "none of the policy's stop ids [7]"),
        (|answer| answer["choices"][0]["finish_reason"] = json!("tool_calls"), "a finish reason of `stop` or `length`"),
        (|answer| answer["choices"][0]["logprobs"] = Value::Null, "`logprobs.token_logprobs` is missing"),
    ];
    let stub = Stub::start();
    let mut sampler = HttpSampler::connect(&stub.config(Dialect::Vllm), &[STOP], VOCABULARY).unwrap();
    for (spoil, complaint) in cases {
        *stub.script.spoil.lock().unwrap() = Some(spoil);
        let error = format!("{:#}", sampler.sample(&requests(1)).unwrap_err());
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn no_more_requests_are_under_way_than_allowed_and_each_comes_back_when_it_is_done() {
    let stub = Stub::start();
    let config = HttpConfig { concurrency: 3, ..stub.config(Dialect::Vllm) };
    let mut sampler = HttpSampler::connect(&config, &[STOP], VOCABULARY).unwrap();
    stub.script.delay_ms.store(5, SeqCst);
    let requests = requests(24);
    let mut stream = sampler.stream().unwrap();
    let mut left = requests.iter().enumerate();
    for (ticket, request) in left.by_ref().take(10) {
        stream.submit(ticket, request.clone()).unwrap();
    }
    let mut seen = vec![false; requests.len()];
    while let Some((ticket, completion)) = stream.next().unwrap() {
        assert_eq!(completion, expected(&requests[ticket]));
        assert!(!std::mem::replace(&mut seen[ticket], true));
        if let Some((ticket, request)) = left.next() {
            stream.submit(ticket, request.clone()).unwrap();
        }
    }
    assert!(seen.iter().all(|&seen| seen));
    assert!((2..=3).contains(&stub.script.most_under_way.load(SeqCst)));
}

fn policy(folder: &Path) -> Policy {
    let words: HashMap<String, u32> = ["<unk>", END_OF_TURN, "a", "b", "c"]
        .iter()
        .enumerate()
        .map(|(id, word)| ((*word).to_owned(), id as u32))
        .collect();
    let text = json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 1, "content": END_OF_TURN, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}});
    let file = folder.join("tokenizer.json");
    memtrain_corpora::store::write_json(&file, &text).unwrap();
    let tokenizer =
        PolicyTokenizer::from_file(&file).unwrap().with_chat_template(COMPACT_CHAT_TEMPLATE, END_OF_TURN).unwrap();
    let decoder = Decoder::init(preset::tiny(5), 1, &Device::Cpu, DType::F32).unwrap();
    Policy::new(decoder, tokenizer).unwrap()
}

#[test]
fn new_weights_are_written_and_the_server_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("for the server");
    let mut policy = policy(folder.path());
    for (dialect, paths) in [
        (Dialect::Vllm, &["/collective_rpc", "/reset_prefix_cache"][..]),
        (Dialect::Sglang, &["/update_weights_from_disk"]),
    ] {
        let stub = Stub::start();
        let config = HttpConfig { model: "named".to_owned(), ..stub.config(dialect) };
        HttpSampler::connect(&config, &[1], 5).unwrap().refresh(&policy, &weights).unwrap();
        assert_eq!(stub.paths(), paths);
        if dialect == Dialect::Sglang {
            let asked = stub.script.asked.lock().unwrap();
            assert_eq!(asked[0].1["model_path"], json!(weights.display().to_string()));
        }
    }
    // Adapters are added in: the server gets whole matrices.
    let lora = LoraConfig { rank: 2, ..LoraConfig::default() };
    policy.decoder = policy.decoder.frozen().unwrap().with_lora(&lora, 3).unwrap();
    for (name, variable) in policy.decoder.parameters().unwrap() {
        let changed = (variable.as_tensor().detach() + 0.01).unwrap();
        variable.set(&changed).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let stub = Stub::start();
    let reload = vec![ServerCall { path: "/reload".to_owned(), body: "{\"at\": \"{path}\"}".to_owned() }];
    let config = HttpConfig { model: "named".to_owned(), reload, ..stub.config(Dialect::Vllm) };
    HttpSampler::connect(&config, &[1], 5).unwrap().refresh(&policy, &weights).unwrap();
    assert_eq!(stub.paths(), ["/reload"]);
    let read = directory::load(&weights, &Device::Cpu, DType::F32).unwrap();
    assert!(!read.decoder.has_adapters());
    let merged = policy.decoder.merged_lora().unwrap();
    for ((name, written), (_, truth)) in read.decoder.weights.named().into_iter().zip(merged.weights.named()) {
        let off = (written - truth).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        assert!(off.to_scalar::<f32>().unwrap() < 1e-6, "{name}");
    }
}
