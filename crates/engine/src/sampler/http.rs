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
//! after a while. What comes back is checked: ids and log-probabilities must be as many and possible, and a response must
//! end in a stop token if it stopped and have none before. An answer has one deadline and a bounded number of bytes. All
//! sampling parameters are sent, those that do nothing too: a server takes what is left out from `generation_config.json`.
//! After each optimizer step the server gets the new weights and is asked whether it has them ([`HttpSampler::refresh`]).

pub mod chat;
mod client;
mod probe;
mod stream;
mod weights;
mod wire;

use std::sync::Arc;
use std::task::Poll;

use anyhow::Result;
use memtrain_corpora::rng;
use rand::Rng;
use serde_json::{Value, json};

pub use self::client::HttpError;
use self::client::{Client, answer_bytes};
use self::stream::{Endpoint, HttpStream};
use self::wire::{Drawn, SglangAnswer, VllmAnswer};
use super::config::{Dialect, HttpConfig};
use super::{Completion, FinishReason, RngKey, SampleRequest, SampleStream, Sampler, sample_batch};
use crate::outbound::beginning;

/// Log-probabilities above this are no rounding.
const LARGEST_LOG_PROB: f64 = 1e-3;

/// Log-probabilities below this, that of one draw in 10²⁰⁰, are of tokens that are never sampled.
const SMALLEST_LOG_PROB: f64 = -460.0;

/// The variable of the environment that holds the server's key, where it wants one.
const KEY: &str = "MEMTRAIN_SAMPLER_KEY";

/// Samples by asking a server.
#[derive(Clone, Debug)]
pub struct HttpSampler {
    endpoint: Arc<CompletionsEndpoint>,
}

/// The weights that a server was given.
#[derive(Clone, Debug, Default)]
struct ServedWeights {
    /// What tells them from others: the beginning of a hash of their files.
    version: String,
    /// The version, where the server was told it and says with each response which one it is of.
    label: Option<String>,
    /// What the server calls the adapter, where it has one.
    adapter: Option<String>,
    /// The server's log-probabilities of the probes.
    probed: Vec<f64>,
}

#[derive(Clone, Debug)]
struct CompletionsEndpoint {
    client: Client,
    stop_ids: Vec<u32>,
    allowed: usize,
    /// The weights that this sampler gave the server last; none where it was given none.
    served: Option<ServedWeights>,
}

impl HttpSampler {
    /// A sampler that asks the configured server. Where no model is named, it is the first that the server has.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub fn connect(config: &HttpConfig, stop_ids: &[u32], allowed: usize) -> Result<Self> {
        let client = Client::connect(config, KEY)?;
        let endpoint = CompletionsEndpoint { client, stop_ids: stop_ids.to_vec(), allowed, served: None };
        Ok(Self { endpoint: Arc::new(endpoint) })
    }
}

impl Sampler for HttpSampler {
    fn sample(&mut self, requests: &[SampleRequest]) -> Result<Vec<Completion>> {
        sample_batch(&mut *self.stream()?, requests)
    }

    fn stream(&mut self) -> Result<Box<dyn SampleStream + '_>> {
        Ok(Box::new(HttpStream::new(&self.endpoint)))
    }
}

impl CompletionsEndpoint {
    /// Path and body that ask for a completion.
    fn question(&self, request: &SampleRequest) -> (&'static str, Value) {
        let SampleRequest { prompt_ids, params, rng_key } = request;
        let seed = seed(rng_key);
        let top_k = if params.top_k == 0 { -1 } else { params.top_k as i64 };
        let adapter = self.served.as_ref().and_then(|served| served.adapter.as_deref());
        match self.client.config.dialect {
            Dialect::Vllm => (
                "/v1/completions",
                json!({
                    "model": adapter.unwrap_or(&self.client.model), "prompt": prompt_ids, "max_tokens": params.max_tokens,
                    "temperature": params.temperature, "top_p": params.top_p, "top_k": top_k, "min_p": 0.0,
                    "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": seed,
                    "stop_token_ids": self.stop_ids, "logprobs": 0, "return_token_ids": true,
                    "return_tokens_as_token_ids": true, "skip_special_tokens": false,
                }),
            ),
            Dialect::Sglang => (
                "/generate",
                json!({
                    "input_ids": prompt_ids, "return_logprob": true, "lora_path": adapter,
                    "sampling_params": {
                        "max_new_tokens": params.max_tokens, "temperature": params.temperature, "top_p": params.top_p,
                        "top_k": top_k, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
                        "frequency_penalty": 0.0, "sampling_seed": seed, "stop_token_ids": self.stop_ids, "no_stop_trim": true,
                        "skip_special_tokens": false,
                    },
                }),
            ),
        }
    }

    /// Whether a response is of the weights that the server was given, where it says of which it is.
    fn check_version(&self, version: Option<&str>) -> Result<(), String> {
        match (version, self.served.as_ref().and_then(|served| served.label.as_deref())) {
            (Some(theirs), Some(given)) if theirs != given => Err(format!(
                "a response of the weights `{}`, but it was given `{given}`: has it been started again, or has somebody else given it others?",
                beginning(theirs)
            )),
            _ => Ok(()),
        }
    }

    /// What can be trained on, or what is wrong with it.
    fn checked(
        &self,
        request: &SampleRequest,
        (token_ids, log_probs): Drawn,
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
        if let Some(wrong) = log_probs.iter().find(|value| !(SMALLEST_LOG_PROB..=LARGEST_LOG_PROB).contains(*value)) {
            return Err(format!("a log-probability of {wrong:?}, with which no token is drawn"));
        }
        let stop = token_ids.iter().position(|id| self.stop_ids.contains(id));
        if let Some(place) = stop.filter(|place| place + 1 < ids) {
            return Err(format!("token {place} of {ids} is the stop token {}: it did not stop", token_ids[place]));
        }
        let stopped = stop.is_some();
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

impl Endpoint for CompletionsEndpoint {
    type Request = SampleRequest;
    type Response = Completion;

    fn client(&self) -> &Client {
        &self.client
    }

    fn send(&self, request: &SampleRequest) -> Result<Completion, HttpError> {
        let (path, question) = self.question(request);
        let most = answer_bytes(request.prompt_ids.len(), request.params.max_tokens);
        let answer = self.client.post(path, &question.to_string(), most)?;
        let url = self.client.url(path);
        let read = match self.client.config.dialect {
            Dialect::Vllm => {
                answer.json().and_then(VllmAnswer::choice).map(|choice| (choice.finish_reason.clone(), choice.drawn()))
            }
            Dialect::Sglang => answer.json().map(|answer: SglangAnswer| {
                let drawn = self.check_version(answer.meta_info.weight_version.as_deref());
                (answer.meta_info.finish_reason().map(str::to_owned), drawn.and_then(|()| answer.meta_info.drawn()))
            }),
        };
        let (reason, drawn) = read.map_err(|detail| HttpError::Answer { url: url.clone(), detail })?;
        let finish = match reason.as_deref() {
            Some("stop") => FinishReason::Stop,
            Some("length") => FinishReason::Length,
            Some("abort") => return Err(HttpError::BrokenOff { url, reason: "abort".to_owned() }),
            other => {
                let detail = format!("a finish reason of `stop` or `length` is expected, not {other:?}");
                return Err(HttpError::Answer { url, detail });
            }
        };
        let checked = drawn.and_then(|drawn| self.checked(request, drawn, finish));
        checked.map_err(|detail| HttpError::Answer { url, detail })
    }
}

impl SampleStream for HttpStream<CompletionsEndpoint> {
    fn submit(&mut self, ticket: usize, request: SampleRequest) -> Result<()> {
        anyhow::ensure!(!request.prompt_ids.is_empty(), "request {ticket}: the prompt is empty");
        request.params.check().map_err(|detail| anyhow::anyhow!("request {ticket}: {detail}"))?;
        self.push(ticket, request)
    }

    fn poll(&mut self) -> Result<Poll<Option<(usize, Completion)>>> {
        self.poll_next()
    }
}

/// A seed for the server: a function of what the sample is for.
fn seed(rng_key: &RngKey) -> u32 {
    let RngKey { seed, step, document, rollout, turn } = *rng_key;
    // Servers take signed numbers of 32 bits.
    rng::keyed("sample/http", seed, &[step, document, rollout, turn]).random::<u32>() >> 1
}
