//! A server in this process that answers as vLLM and SGLang do, by rule or as a test says.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

/// Words to words.
pub type Speaks = Box<dyn Fn(&str) -> String + Send + Sync>;

/// Token ids to token ids.
pub type Draws = Arc<dyn Fn(&[u32]) -> Vec<u32> + Send + Sync>;

/// The one stop token of what is answered by rule.
pub const STOP: u32 = 7;

/// What a server was asked and how it misbehaves.
#[derive(Default)]
pub struct Script {
    /// Answers with this status so many times before it behaves.
    pub failures: AtomicUsize,
    pub status: AtomicUsize,
    /// Closes the connection without an answer so many times.
    pub hang_ups: AtomicUsize,
    pub under_way: AtomicUsize,
    pub most_under_way: AtomicUsize,
    pub asked: Mutex<Vec<(String, Value)>>,
    /// Milliseconds that an answer takes.
    pub delay_ms: AtomicUsize,
    /// What a user's words are answered with; their number of characters unless set.
    pub speaks: Mutex<Option<Speaks>>,
    /// Token ids that a prompt is answered with, the stop token last; by rule unless set.
    pub draws: Mutex<Option<Draws>>,
    /// What was shown to be let in.
    pub keys: Mutex<BTreeSet<String>>,
    /// Changes a good answer into another one.
    pub spoil: Mutex<Option<fn(&mut Value)>>,
}

pub struct Stub {
    pub url: String,
    pub script: Arc<Script>,
    server: Arc<tiny_http::Server>,
    threads: Vec<JoinHandle<()>>,
}

impl Stub {
    pub fn start() -> Self {
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

    /// The paths that were asked, in order.
    pub fn paths(&self) -> Vec<String> {
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
pub fn response(prompt: &[u32], most: usize) -> (Vec<u32>, Vec<f64>, &'static str) {
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
    let keys = request.headers().iter().filter(|header| header.field.equiv("Authorization"));
    script.keys.lock().unwrap().extend(keys.map(|header| header.value.to_string()));
    script.asked.lock().unwrap().push((path.clone(), body.clone()));
    let numbers = |value: &Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let mut reply = match path.as_str() {
        "/v1/models" => json!({"data": [{"id": "the-policy"}]}),
        "/v1/completions" => {
            let (prompt, most) = (numbers(&body["prompt"]), body["max_tokens"].as_u64().unwrap() as usize);
            // Out of the lock, so that responses that take their time do not wait for one another.
            let draws = script.draws.lock().unwrap().clone();
            let drawn = draws.map(|draws| draws(&prompt));
            let (ids, log_probs, finish) = match drawn {
                Some(ids) if ids.len() <= most => (ids.clone(), vec![-0.5; ids.len()], "stop"),
                Some(ids) => (ids[..most].to_vec(), vec![-0.5; most], "length"),
                None => response(&prompt, most),
            };
            let tokens: Vec<String> = ids.iter().map(|id| format!("token_id:{id}")).collect();
            json!({"choices": [{"finish_reason": finish, "token_ids": ids,
                "logprobs": {"tokens": tokens, "token_logprobs": log_probs}}]})
        }
        "/v1/chat/completions" => {
            let user = body["messages"][0]["content"].as_str().unwrap();
            let spoken = script.speaks.lock().unwrap().as_ref().map(|speaks| speaks(user));
            let content = spoken.unwrap_or_else(|| user.chars().count().to_string());
            json!({"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": content}}]})
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
    let is_completion = path.ends_with("/completions") || path == "/generate";
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
