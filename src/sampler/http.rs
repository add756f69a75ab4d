//! Sampling by a server: vLLM or SGLang over HTTP, token ids in, token ids and log-probabilities out.
//!
//! ```text
//! vLLM    POST /v1/completions  prompt: [ids], logprobs: 0, return_token_ids, return_tokens_as_token_ids, stop_token_ids
//!         choices[0]: token_ids, or logprobs.tokens as "token_id:17"; logprobs.token_logprobs; finish_reason
//! SGLang  POST /generate        input_ids: [ids], return_logprob, sampling_params: max_new_tokens, stop_token_ids, no_stop_trim
//!         meta_info.output_token_logprobs: [[log-probability, id, _], …]; meta_info.finish_reason.type
//! ```
//!
//! Threads of a stream send the requests, so many at a time; a request that fails for a reason that may pass is sent again
//! after a while. What comes back is checked: ids and log-probabilities must be as many, and a response that stopped must
//! end in a stop token. After each optimizer step the weights are written as a Hugging Face directory and the server is
//! told to read them ([`HttpSampler::refresh`]).

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use memtrain_corpora::rng;
use rand::Rng;
use serde_json::{Value, json};

use super::config::{Dialect, HttpConfig, ServerCall};
use super::{Completion, DrawAddress, FinishReason, SampleRequest, SampleStream, Sampler, drawn_together};
use crate::policy::{Policy, directory};

/// Longest wait before a request is sent again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Characters of an answer that an error shows.
const SHOWN: usize = 400;

/// Log-probabilities above this are no rounding.
const LARGEST_LOG_PROB: f64 = 1e-3;

/// Why the server was of no use.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer at all, or none that could be read.
    #[error("`{url}` does not answer: {detail}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What went wrong.
        detail: String,
    },
    /// An answer that is an error.
    #[error("`{url}` answers {status}: {body}")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// Beginning of the answer.
        body: String,
    },
    /// An answer that is not what was asked for.
    #[error("`{url}` answers with something else than a completion: {detail}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A server that broke off; it may be reading new weights.
    #[error("`{url}` broke off: {reason}")]
    BrokenOff {
        /// What was asked.
        url: String,
        /// The reason as the server gave it.
        reason: String,
    },
}

impl HttpError {
    /// Whether the same request may succeed later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BrokenOff { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Answer { .. } => false,
        }
    }
}

/// Draws by asking a server.
#[derive(Clone, Debug)]
pub struct HttpSampler {
    client: Arc<Client>,
}

#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    config: HttpConfig,
    model: String,
    stop_ids: Vec<u32>,
    allowed: usize,
}

impl HttpSampler {
    /// A sampler that asks the configured server. Where no model is named, it is the first that the server has.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub fn connect(config: &HttpConfig, stop_ids: &[u32], allowed: usize) -> Result<Self> {
        let timeout = Duration::from_secs_f64(config.timeout_s);
        let agent = ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false).build();
        let (config, stop_ids) = (config.clone(), stop_ids.to_vec());
        let mut client = Client { agent: agent.into(), model: config.model.clone(), config, stop_ids, allowed };
        if client.model.is_empty() && client.config.dialect == Dialect::Vllm {
            let models = client.patiently(|client| client.get("/v1/models"))?;
            let first = models["data"][0]["id"].as_str();
            client.model = first.with_context(|| format!("`{}` has no model", client.config.url))?.to_owned();
        }
        Ok(Self { client: Arc::new(client) })
    }

    /// Writes a policy, adapters added into its weights, as a Hugging Face directory to `folder`, and tells the server to
    /// read it.
    ///
    /// # Errors
    /// If the directory cannot be written or the server refuses.
    pub fn refresh(&self, policy: &Policy, folder: &Path) -> Result<()> {
        let policy = Policy { decoder: policy.decoder.merged_lora()?, ..policy.clone() };
        directory::save(&policy, folder).context("the weights for the sampler cannot be written")?;
        let path = std::path::absolute(folder)?;
        for ServerCall { path: place, body } in self.client.config.reload_calls() {
            // As JSON, so that quotes and backslashes of a path stay what they are.
            let name = serde_json::to_string(&path.display().to_string())?;
            let body = body.replace("{path}", name.trim_matches('"'));
            self.client
                .patiently(|client| client.post(&place, &body))
                .with_context(|| format!("the server did not take the new weights of `{}`", folder.display()))?;
        }
        Ok(())
    }
}

impl Sampler for HttpSampler {
    fn sample(&mut self, requests: &[SampleRequest]) -> Result<Vec<Completion>> {
        drawn_together(&mut *self.stream()?, requests)
    }

    fn stream(&mut self) -> Result<Box<dyn SampleStream + '_>> {
        Ok(Box::new(HttpStream::new(&self.client)))
    }
}

impl Client {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.config.url.trim_end_matches('/'))
    }

    fn get(&self, path: &str) -> Result<Value, HttpError> {
        let url = self.url(path);
        let answer = self.agent.get(&url).call();
        read(url, answer)
    }

    fn post(&self, path: &str, body: &str) -> Result<Value, HttpError> {
        let url = self.url(path);
        let mut request = self.agent.post(&url).header("Content-Type", "application/json");
        if let Ok(key) = std::env::var("MEMTRAIN_SAMPLER_KEY") {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = request.send(body);
        read(url, answer)
    }

    /// Asks until there is an answer, or as often as the configuration says.
    fn patiently<T>(&self, ask: impl Fn(&Self) -> Result<T, HttpError>) -> Result<T, HttpError> {
        let mut wait = Duration::from_secs_f64(self.config.backoff_s);
        for left in (0..=self.config.retries).rev() {
            match ask(self) {
                Err(error) if left > 0 && error.may_pass() => {
                    tracing::warn!("{error}; asked again in {:.1} s, {left} times at most", wait.as_secs_f64());
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(LONGEST_BACKOFF);
                }
                answer => return answer,
            }
        }
        unreachable!("the last round returns")
    }

    /// Path and body that ask for a completion.
    fn question(&self, request: &SampleRequest) -> (&'static str, Value) {
        let SampleRequest { prompt_ids, params, address } = request;
        let seed = seed(address);
        let top_k = if params.top_k == 0 { -1 } else { params.top_k as i64 };
        match self.config.dialect {
            Dialect::Vllm => (
                "/v1/completions",
                json!({
                    "model": self.model, "prompt": prompt_ids, "max_tokens": params.max_tokens,
                    "temperature": params.temperature, "top_p": params.top_p, "top_k": top_k, "seed": seed,
                    "stop_token_ids": self.stop_ids, "logprobs": 0, "return_token_ids": true,
                    "return_tokens_as_token_ids": true, "skip_special_tokens": false,
                }),
            ),
            Dialect::Sglang => (
                "/generate",
                json!({
                    "input_ids": prompt_ids, "return_logprob": true,
                    "sampling_params": {
                        "max_new_tokens": params.max_tokens, "temperature": params.temperature, "top_p": params.top_p,
                        "top_k": top_k, "sampling_seed": seed, "stop_token_ids": self.stop_ids, "no_stop_trim": true,
                        "skip_special_tokens": false,
                    },
                }),
            ),
        }
    }

    fn complete(&self, request: &SampleRequest) -> Result<Completion, HttpError> {
        let (path, question) = self.question(request);
        let answer = self.post(path, &question.to_string())?;
        let (reason, read) = match self.config.dialect {
            Dialect::Vllm => (answer["choices"][0]["finish_reason"].as_str(), of_vllm(&answer["choices"][0])),
            Dialect::Sglang => (answer["meta_info"]["finish_reason"]["type"].as_str(), of_sglang(&answer)),
        };
        let url = self.url(path);
        let finish = match reason {
            Some("stop") => FinishReason::Stop,
            Some("length") => FinishReason::Length,
            Some("abort") => return Err(HttpError::BrokenOff { url, reason: "abort".to_owned() }),
            other => {
                let detail = format!("a finish reason of `stop` or `length` is expected, not {other:?}");
                return Err(HttpError::Answer { url, detail });
            }
        };
        let checked = read.and_then(|(ids, log_probs)| self.checked(request, ids, log_probs, finish));
        checked.map_err(|detail| HttpError::Answer { url, detail })
    }

    /// What can be trained on, or what is wrong with it.
    fn checked(
        &self,
        request: &SampleRequest,
        token_ids: Vec<u32>,
        log_probs: Vec<f64>,
        finish: FinishReason,
    ) -> Result<Completion, String> {
        let (ids, probabilities, most) = (token_ids.len(), log_probs.len(), request.params.max_tokens);
        if ids != probabilities {
            return Err(format!("{ids} token ids and {probabilities} log-probabilities"));
        }
        if ids == 0 || ids > most {
            return Err(format!("{ids} tokens where 1 to {most} were asked for"));
        }
        if let Some(id) = token_ids.iter().find(|&&id| id as usize >= self.allowed) {
            return Err(format!("token id {id} is beyond the {} ids of the tokenizer", self.allowed));
        }
        if let Some(wrong) = log_probs.iter().find(|value| !value.is_finite() || **value > LARGEST_LOG_PROB) {
            return Err(format!("a log-probability of {wrong}"));
        }
        let stopped = token_ids.last().is_some_and(|id| self.stop_ids.contains(id));
        if finish == FinishReason::Stop && !stopped {
            let last = token_ids.last();
            return Err(format!(
                "it stopped after token {last:?}, which is none of the policy's stop ids {:?}",
                self.stop_ids
            ));
        }
        let log_probs = log_probs.into_iter().map(|value| value.min(0.0) as f32).collect();
        Ok(Completion { token_ids, log_probs, finish })
    }
}

/// A seed for the server: a function of what the draw is for.
fn seed(address: &DrawAddress) -> u32 {
    let DrawAddress { seed, step, document, rollout, turn } = *address;
    // Servers take signed numbers of 32 bits.
    rng::addressed("sample/http", seed, &[step, document, rollout, turn]).random::<u32>() >> 1
}

/// The JSON of an answer.
fn read(url: String, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, HttpError> {
    let unreachable = |error: ureq::Error| HttpError::Unreachable { url: url.clone(), detail: error.to_string() };
    let mut answer = answer.map_err(unreachable)?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(u64::from(u32::MAX)).read_to_string();
    let text = text.map_err(|error| HttpError::Unreachable { url: url.clone(), detail: error.to_string() })?;
    if !(200..300).contains(&status) {
        return Err(HttpError::Status { url, status, body: beginning(&text) });
    }
    // Calls that do something answer with nothing, or with words.
    Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn beginning(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Ids and log-probabilities of a choice of vLLM's.
fn of_vllm(choice: &Value) -> Result<(Vec<u32>, Vec<f64>), String> {
    let log_probs = choice["logprobs"]["token_logprobs"].as_array();
    let log_probs = log_probs.ok_or("`logprobs.token_logprobs` is missing: does the server give log-probabilities?")?;
    let log_probs = log_probs.iter().map(|value| value.as_f64().ok_or_else(|| format!("a log-probability {value}")));
    let ids: Result<Vec<u32>, String> = match choice["token_ids"].as_array() {
        Some(ids) => ids.iter().map(id).collect(),
        None => {
            let tokens = choice["logprobs"]["tokens"].as_array().ok_or("neither `token_ids` nor `logprobs.tokens`")?;
            let id = |token: &Value| token.as_str()?.strip_prefix("token_id:")?.parse().ok();
            let wrong = "tokens come as text: the server must know `return_tokens_as_token_ids`";
            tokens.iter().map(|token| id(token).ok_or_else(|| format!("{wrong}, got {token}"))).collect()
        }
    };
    Ok((ids?, log_probs.collect::<Result<_, _>>()?))
}

/// Ids and log-probabilities of an answer of SGLang's.
fn of_sglang(answer: &Value) -> Result<(Vec<u32>, Vec<f64>), String> {
    let tokens = answer["meta_info"]["output_token_logprobs"].as_array();
    let tokens = tokens.ok_or("`meta_info.output_token_logprobs` is missing")?;
    let pair = |token: &Value| {
        let log_prob = token[0].as_f64().ok_or_else(|| format!("a log-probability {}", token[0]))?;
        Ok((id(&token[1])?, log_prob))
    };
    Ok(tokens.iter().map(pair).collect::<Result<Vec<_>, String>>()?.into_iter().unzip())
}

fn id(value: &Value) -> Result<u32, String> {
    value.as_u64().and_then(|id| id.try_into().ok()).ok_or_else(|| format!("a token id {value}"))
}

/// Requests on their way to the threads that send them.
#[derive(Default)]
struct Queue {
    waiting: Mutex<(VecDeque<(usize, SampleRequest)>, bool)>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<(usize, SampleRequest)>, bool)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request; `None` once the stream is over.
    fn take(&self) -> Option<(usize, SampleRequest)> {
        let mut state = self.lock();
        loop {
            if state.1 {
                return None;
            }
            if let Some(request) = state.0.pop_front() {
                return Some(request);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

type Ended = (usize, Result<Completion, HttpError>);

/// Requests under way at a server.
struct HttpStream {
    client: Arc<Client>,
    queue: Arc<Queue>,
    ended: Receiver<Ended>,
    sender: Sender<Ended>,
    threads: usize,
    under_way: usize,
}

impl HttpStream {
    fn new(client: &Arc<Client>) -> Self {
        let (sender, ended) = channel();
        Self { client: Arc::clone(client), queue: Arc::default(), ended, sender, threads: 0, under_way: 0 }
    }
}

/// What a thread of a stream does: it asks until the stream is over.
fn work(client: &Client, queue: &Queue, ended: &Sender<Ended>) {
    while let Some((ticket, request)) = queue.take() {
        let answer = client.patiently(|client| client.complete(&request));
        if ended.send((ticket, answer)).is_err() {
            return;
        }
    }
}

impl SampleStream for HttpStream {
    fn submit(&mut self, ticket: usize, request: SampleRequest) -> Result<()> {
        anyhow::ensure!(!request.prompt_ids.is_empty(), "request {ticket}: the prompt is empty");
        request.params.check().map_err(|detail| anyhow::anyhow!("request {ticket}: {detail}"))?;
        self.queue.lock().0.push_back((ticket, request));
        self.queue.changed.notify_one();
        self.under_way += 1;
        if self.threads < self.under_way.min(self.client.config.concurrency) {
            let (client, queue, sender) = (Arc::clone(&self.client), Arc::clone(&self.queue), self.sender.clone());
            std::thread::Builder::new().spawn(move || work(&client, &queue, &sender))?;
            self.threads += 1;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(usize, Completion)>> {
        if self.under_way == 0 {
            return Ok(None);
        }
        let (ticket, answer) = self.ended.recv()?;
        self.under_way -= 1;
        let completion = answer.with_context(|| format!("request {ticket} cannot be answered"))?;
        Ok(Some((ticket, completion)))
    }
}

impl Drop for HttpStream {
    /// Threads that wait go home; one that is being answered does so when it is.
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.0.clear();
        state.1 = true;
        drop(state);
        self.queue.changed.notify_all();
    }
}
