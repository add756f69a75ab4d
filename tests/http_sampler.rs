//! The HTTP sampler against a server in this process, through real sockets.

mod stub_server;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use candle_core::{DType, Device};
use memtrain::policy::tokenizer::{COMPACT_CHAT_TEMPLATE, END_OF_TURN};
use memtrain::policy::{Decoder, LoraConfig, Policy, PolicyTokenizer, directory, preset};
use memtrain::sampler::config::{Dialect, HttpConfig, ServedLora, ServerCall};
use memtrain::sampler::http::chat::{ChatAnswer, ChatRequest};
use memtrain::sampler::{
    ChatConfig, ChatServer, Completion, FinishReason, HttpSampler, RngKey, SampleRequest, Sampler, SamplingParams,
};
use serde_json::{Value, json};
use stub_server::{STOP, Stub, response};

const VOCABULARY: usize = 100;

fn config_of(stub: &Stub, dialect: Dialect) -> HttpConfig {
    HttpConfig { url: stub.url.clone(), dialect, backoff_s: 0.01, timeout_s: 5.0, ..HttpConfig::default() }
}

fn requests(count: u64) -> Vec<SampleRequest> {
    let request = |number: u64| SampleRequest {
        prompt_ids: (0..1 + number as u32 % 5).map(|i| i + number as u32).collect(),
        params: SamplingParams { temperature: 1.0, top_p: 0.9, top_k: 0, max_tokens: 1 + number as usize % 6 },
        rng_key: RngKey { seed: 3, document: number, ..RngKey::default() },
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
        let mut sampler = HttpSampler::connect(&config_of(&stub, dialect), &[STOP], VOCABULARY).unwrap();
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
            // What a server would otherwise take from `generation_config.json`.
            let params = if dialect == Dialect::Vllm { body } else { &body["sampling_params"] };
            let neutral = ["min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"];
            assert_eq!(neutral.map(|key| params[key].as_f64()), [0.0, 1.0, 0.0, 0.0].map(Some));
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
    let mut sampler = HttpSampler::connect(&config_of(&stub, Dialect::Vllm), &[STOP], VOCABULARY).unwrap();
    let requests = requests(4);
    assert_eq!(sampler.sample(&requests).unwrap(), requests.iter().map(expected).collect::<Vec<_>>());
}

#[test]
fn what_may_pass_is_asked_again_and_what_may_not_is_told() {
    let stub = Stub::start();
    let config = HttpConfig { retries: 3, ..config_of(&stub, Dialect::Vllm) };
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
    let mut sampler = HttpSampler::connect(&config_of(&stub, Dialect::Vllm), &[STOP], VOCABULARY).unwrap();
    for (spoil, complaint) in cases {
        *stub.script.spoil.lock().unwrap() = Some(spoil);
        let error = format!("{:#}", sampler.sample(&requests(1)).unwrap_err());
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn no_more_requests_are_under_way_than_allowed_and_each_comes_back_when_it_is_done() {
    let stub = Stub::start();
    let config = HttpConfig { concurrency: 3, ..config_of(&stub, Dialect::Vllm) };
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
        (Dialect::Vllm, &["/collective_rpc", "/reset_prefix_cache", "/v1/completions"][..]),
        (Dialect::Sglang, &["/update_weights_from_disk", "/generate"]),
    ] {
        let stub = Stub::start();
        // It scores no prompts.
        stub.script.status.store(400, SeqCst);
        stub.script.failures.store(1, SeqCst);
        let config = HttpConfig { model: "named".to_owned(), ..config_of(&stub, dialect) };
        HttpSampler::connect(&config, &[1], 5).unwrap().refresh(&policy, &weights).unwrap();
        assert_eq!(stub.paths(), paths);
        let asked = stub.script.asked.lock().unwrap();
        let place = if dialect == Dialect::Vllm { "/kwargs/weights_path" } else { "/model_path" };
        assert_eq!(asked[0].1.pointer(place), Some(&json!(weights.display().to_string())));
    }
    // Adapters are added in where that is asked for: the server gets whole matrices.
    let lora = LoraConfig { rank: 2, ..LoraConfig::default() };
    policy.decoder = policy.decoder.frozen().unwrap().with_lora(&lora, 3).unwrap();
    for (name, variable) in policy.decoder.parameters().unwrap() {
        let changed = (variable.as_tensor().detach() + 0.01).unwrap();
        variable.set(&changed).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let stub = Stub::start();
    let reload = vec![ServerCall { path: "/reload".to_owned(), body: "{\"at\": \"{path}\"}".to_owned() }];
    let lora = ServedLora::Merged;
    let config =
        HttpConfig { model: "named".to_owned(), lora, reload, max_mismatch: 0.0, ..config_of(&stub, Dialect::Vllm) };
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

/// How a server takes the first call to load an adapter, which it does not answer in time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Late {
    /// It has the adapter when it is asked to forget it.
    Soon,
    /// It has it only after that.
    Later,
}

#[test]
fn an_adapter_that_was_loaded_after_the_time_limit_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut policy = policy(folder.path());
    policy.decoder = policy.decoder.frozen().unwrap().with_lora(&LoraConfig::default(), 3).unwrap();
    for late in [Late::Soon, Late::Later] {
        let http = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let (url, server) = (format!("http://{}", http.server_addr()), Arc::clone(&http));
        let serving = std::thread::spawn(move || {
            let (mut has, mut loads, mut unanswered) = (false, 0, Vec::new());
            while let Ok(request) = server.recv() {
                let status = match request.url() {
                    "/v1/load_lora_adapter" => {
                        loads += 1;
                        if loads == 1 {
                            has = late == Late::Soon;
                            unanswered.push(request);
                            continue;
                        }
                        // As vLLM: a name that it has is an error.
                        if std::mem::replace(&mut has, true) { 400 } else { 200 }
                    }
                    "/v1/unload_lora_adapter" if std::mem::replace(&mut has, loads == 1 && late == Late::Later) => 200,
                    _ => 404,
                };
                let _ = request.respond(tiny_http::Response::from_string("said").with_status_code(status));
            }
            (has, loads)
        });
        let model = "named".to_owned();
        let config =
            HttpConfig { url, model, timeout_s: 0.5, backoff_s: 0.01, max_mismatch: 0.0, ..HttpConfig::default() };
        let weights = folder.path().join(format!("{late:?}"));
        HttpSampler::connect(&config, &[1], 5).unwrap().refresh(&policy, &weights).unwrap();
        http.unblock();
        let loads = if late == Late::Soon { 2 } else { 3 };
        assert_eq!(serving.join().unwrap(), (true, loads), "{late:?}");
    }
}

#[test]
fn a_server_is_asked_in_words() {
    let stub = Stub::start();
    let parameters = toml::from_str("seed = 7\nchat_template_kwargs.enable_thinking = false").unwrap();
    let config = ChatConfig {
        url: format!("{}/v1/", stub.url),
        parameters,
        backoff_s: 0.01,
        retries: 2,
        ..ChatConfig::default()
    };
    let server = ChatServer::connect(&config).unwrap();
    assert_eq!(server.model(), "the-policy");
    let requests = |count: usize| -> Vec<ChatRequest> {
        (0..count).map(|number| ChatRequest { user: "é".repeat(number), max_tokens: 9 }).collect()
    };
    stub.script.status.store(429, SeqCst);
    stub.script.failures.store(2, SeqCst);
    stub.script.delay_ms.store(2, SeqCst);
    let mut told = Vec::new();
    let answers = server
        .answer(requests(40), |ended| {
            told.push(ended);
            Ok(())
        })
        .unwrap();
    let expected = (0..40).map(|number| ChatAnswer { text: number.to_string(), finish: FinishReason::Stop });
    assert_eq!(answers, expected.collect::<Vec<_>>(), "in the order of the requests");
    told.dedup();
    assert_eq!(told.iter().copied().filter(|ended| *ended > 0).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    let asked = stub.script.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|(path, _)| path == "/v1/chat/completions").count(), 42, "two were sent again");
    for (_, body) in asked.iter().filter(|(path, _)| path != "/v1/models") {
        assert_eq!((&body["temperature"], &body["max_tokens"], &body["seed"]), (&json!(0.0), &json!(9), &json!(7)));
        assert_eq!(
            (&body["model"], &body["chat_template_kwargs"]["enable_thinking"]),
            (&json!("the-policy"), &json!(false))
        );
    }
    let stopped = server.answer(requests(5), |ended| if ended == 2 { anyhow::bail!("stopped") } else { Ok(()) });
    assert_eq!(stopped.unwrap_err().to_string(), "stopped");

    // One that thought until its end said nothing; one that answers with something else is of no use.
    *stub.script.spoil.lock().unwrap() = Some(|answer| {
        answer["choices"][0]["finish_reason"] = json!("length");
        answer["choices"][0]["message"]["content"] = Value::Null;
    });
    let silent = ChatAnswer { text: String::new(), finish: FinishReason::Length };
    assert_eq!(server.answer(requests(1), |_| Ok(())).unwrap(), [silent]);
    *stub.script.spoil.lock().unwrap() = Some(|answer| *answer = json!({"choices": []}));
    let error = format!("{:#}", server.answer(requests(1), |_| Ok(())).unwrap_err());
    assert!(
        error.contains("/v1/chat/completions") && error.contains("`choices[0].message.content` is missing"),
        "{error}"
    );
}
