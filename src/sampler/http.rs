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

pub mod chat;
mod client;
mod stream;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use memtrain_corpora::rng;
use rand::Rng;
use serde_json::{Value, json};

use self::client::Client;
pub use self::client::HttpError;
use self::stream::{Ask, HttpStream};
use super::config::{Dialect, HttpConfig, ServerCall};
use super::{Completion, DrawAddress, FinishReason, SampleRequest, SampleStream, Sampler, drawn_together};
use crate::policy::{Policy, directory};

/// Log-probabilities above this are no rounding.
const LARGEST_LOG_PROB: f64 = 1e-3;

/// The variable of the environment that holds the server's key, where it wants one.
const KEY: &str = "MEMTRAIN_SAMPLER_KEY";

/// Draws by asking a server.
#[derive(Clone, Debug)]
pub struct HttpSampler {
    asks: Arc<Draws>,
}

#[derive(Debug)]
struct Draws {
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
        Ok(Self { asks: Arc::new(Draws { client, stop_ids: stop_ids.to_vec(), allowed }) })
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
        for ServerCall { path: place, body } in self.asks.client.config.reload_calls() {
            // As JSON, so that quotes and backslashes of a path stay what they are.
            let name = serde_json::to_string(&path.display().to_string())?;
            let body = body.replace("{path}", name.trim_matches('"'));
            self.asks
                .client
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
        Ok(Box::new(HttpStream::new(&self.asks)))
    }
}

impl Draws {
    /// Path and body that ask for a completion.
    fn question(&self, request: &SampleRequest) -> (&'static str, Value) {
        let SampleRequest { prompt_ids, params, address } = request;
        let seed = seed(address);
        let top_k = if params.top_k == 0 { -1 } else { params.top_k as i64 };
        match self.client.config.dialect {
            Dialect::Vllm => (
                "/v1/completions",
                json!({
                    "model": self.client.model, "prompt": prompt_ids, "max_tokens": params.max_tokens,
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

impl Ask for Draws {
    type Question = SampleRequest;
    type Answer = Completion;

    fn client(&self) -> &Client {
        &self.client
    }

    fn ask(&self, request: &SampleRequest) -> Result<Completion, HttpError> {
        let (path, question) = self.question(request);
        let answer = self.client.post(path, &question.to_string())?;
        let (reason, read) = match self.client.config.dialect {
            Dialect::Vllm => (answer["choices"][0]["finish_reason"].as_str(), of_vllm(&answer["choices"][0])),
            Dialect::Sglang => (answer["meta_info"]["finish_reason"]["type"].as_str(), of_sglang(&answer)),
        };
        let url = self.client.url(path);
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
}

impl SampleStream for HttpStream<Draws> {
    fn submit(&mut self, ticket: usize, request: SampleRequest) -> Result<()> {
        anyhow::ensure!(!request.prompt_ids.is_empty(), "request {ticket}: the prompt is empty");
        request.params.check().map_err(|detail| anyhow::anyhow!("request {ticket}: {detail}"))?;
        self.put(ticket, request)
    }

    fn next(&mut self) -> Result<Option<(usize, Completion)>> {
        self.take()
    }
}

/// A seed for the server: a function of what the draw is for.
fn seed(address: &DrawAddress) -> u32 {
    let DrawAddress { seed, step, document, rollout, turn } = *address;
    // Servers take signed numbers of 32 bits.
    rng::addressed("sample/http", seed, &[step, document, rollout, turn]).random::<u32>() >> 1
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
