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
//! After each optimizer step the weights are written as a Hugging Face directory, the server is told to read them, and
//! asked whether it has ([`HttpSampler::refresh`]).

pub mod chat;
mod client;
mod probe;
mod stream;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use anyhow::{Context, Result, ensure};
use memtrain_corpora::{rng, store};
use memtrain_model::policy::{Policy, directory};
use rand::Rng;
use serde_json::{Value, json};

pub use self::client::HttpError;
use self::client::{Client, answer_bytes};
use self::stream::{Endpoint, HttpStream};
use self::wire::{Drawn, ReloadReply, SglangAnswer, VllmAnswer};
use super::config::{Dialect, HttpConfig, ServerCall};
use super::{Completion, FinishReason, RngKey, SampleRequest, SampleStream, Sampler, sample_batch};
use crate::outbound::beginning;

/// Log-probabilities above this are no rounding.
const LARGEST_LOG_PROB: f64 = 1e-3;

/// Log-probabilities below this, that of one draw in 10²⁰⁰, are of tokens that are never sampled.
const SMALLEST_LOG_PROB: f64 = -460.0;

/// Bytes of an answer to a call that makes a server do something.
const TOLD_BYTES: u64 = 1 << 20;

/// The variable of the environment that holds the server's key, where it wants one.
const KEY: &str = "MEMTRAIN_SAMPLER_KEY";

/// Samples by asking a server.
#[derive(Clone, Debug)]
pub struct HttpSampler {
    endpoint: Arc<CompletionsEndpoint>,
}

#[derive(Debug)]
struct CompletionsEndpoint {
    client: Client,
    stop_ids: Vec<u32>,
    allowed: usize,
}

impl HttpSampler {
    /// A sampler that asks the configured server. Where no model is named, it is the first that the server has.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub fn connect(config: &HttpConfig, stop_ids: &[u32], allowed: usize) -> Result<Self> {
        let client = Client::connect(config, KEY)?;
        Ok(Self { endpoint: Arc::new(CompletionsEndpoint { client, stop_ids: stop_ids.to_vec(), allowed }) })
    }

    /// Writes a policy, adapters added into its weights, as a Hugging Face directory to `folder`, tells the server to read
    /// it, and checks that its log-probabilities of fixed prompts are the policy's.
    ///
    /// # Errors
    /// If the directory cannot be written, the server refuses, or its log-probabilities differ by more than
    /// `sampler.http.max_mismatch`.
    pub fn refresh(&self, policy: &Policy, folder: &Path) -> Result<()> {
        // The server can write where the folder lies. What it puts in its place is not followed.
        ensure!(
            !store::is_link(folder),
            "`{}` is a link: set `sampler.http.weights` to the folder that it leads to, if the weights shall go there",
            folder.display()
        );
        let policy = Policy { decoder: policy.decoder.merged_lora()?, ..policy.clone() };
        directory::save(&policy, folder).context("the weights for the sampler cannot be written")?;
        let path = std::path::absolute(folder)?;
        let client = &self.endpoint.client;
        for ServerCall { path: place, body } in client.config.reload_calls() {
            // As JSON, so that quotes and backslashes of a path stay what they are.
            let name = serde_json::to_string(&path.display().to_string())?;
            let body = body.replace("{path}", name.trim_matches('"'));
            let told = client.with_retries(|client| {
                let told: ReloadReply = client.post(&place, &body, TOLD_BYTES)?.json().unwrap_or_default();
                match told {
                    ReloadReply { success: Some(false), message } => {
                        let message = beginning(&message.unwrap_or_default());
                        Err(HttpError::Answer { url: client.url(&place), detail: format!("no success: {message}") })
                    }
                    _ => Ok(()),
                }
            });
            told.with_context(|| format!("the server did not take the new weights of `{}`", folder.display()))?;
        }
        probe::check(&self.endpoint, &policy)
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
        match self.client.config.dialect {
            Dialect::Vllm => (
                "/v1/completions",
                json!({
                    "model": self.client.model, "prompt": prompt_ids, "max_tokens": params.max_tokens,
                    "temperature": params.temperature, "top_p": params.top_p, "top_k": top_k, "min_p": 0.0,
                    "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": seed,
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
                        "top_k": top_k, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
                        "frequency_penalty": 0.0, "sampling_seed": seed, "stop_token_ids": self.stop_ids, "no_stop_trim": true,
                        "skip_special_tokens": false,
                    },
                }),
            ),
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
                (answer.meta_info.finish_reason().map(str::to_owned), answer.meta_info.drawn())
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
