//! The client of a server: patient where waiting may help, within bounds of time and of bytes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memtrain_corpora::visible::steers;
use serde::Deserialize;
use ureq::RequestBuilder;

use crate::outbound::{self, OutboundError, Received};
use crate::sampler::config::{Dialect, HttpConfig};

/// Longest wait before a request is sent again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Bytes that a list of models may have: hosted services have hundreds, with their prices.
const MODELS_BYTES: u64 = 4 << 20;

/// Bytes of a model's name.
const NAME_BYTES: usize = 1_000;

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
    #[error("`{url}` answers with something else than was asked for: {detail}")]
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
    /// A server that has other weights than the policy.
    #[error(
        "`{url}` does not draw with the policy's weights: its log-probabilities of {tokens} tokens of fixed prompts differ from the trainer's by {mean:.4} on average (at most by {theirs:.3} there and {own:.3} here), and `sampler.http.max_mismatch` is {most}"
    )]
    Mismatch {
        /// Who was asked.
        url: String,
        /// Tokens that both scored.
        tokens: usize,
        /// Mean absolute difference, in nats.
        mean: f64,
        /// What it may be.
        most: f64,
        /// The server's log-probability of the token where they differ most.
        theirs: f64,
        /// The trainer's.
        own: f64,
    },
    /// A server that has the weights from before the last update.
    #[error(
        "`{url}` still draws with the weights from before the last update: its log-probabilities of all {tokens} tokens of fixed prompts are what they were then"
    )]
    Stale {
        /// Who was asked.
        url: String,
        /// Tokens that both scored.
        tokens: usize,
    },
    /// A server that does not draw what it was asked to.
    #[error(
        "`{url}` does not draw what it was asked to: {wrong} of {tokens} tokens that it took at temperature 0 are not the likeliest, one is {behind:.3} nats behind, and five times `sampler.http.max_mismatch` is {most}"
    )]
    NotGreedy {
        /// Who was asked.
        url: String,
        /// Tokens that it drew.
        tokens: usize,
        /// Those that are too far behind.
        wrong: usize,
        /// Nats by which the trainer has the worst of them behind the likeliest token.
        behind: f64,
        /// What it may be.
        most: f64,
    },
    /// A server that takes no adapters, or not this one.
    #[error("`{url}` does not take the policy's adapter: it answers {status}: {body}")]
    Adapter {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// Beginning of the answer.
        body: String,
    },
}

impl HttpError {
    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BrokenOff { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Answer { .. }
            | Self::Mismatch { .. }
            | Self::Stale { .. }
            | Self::NotGreedy { .. }
            | Self::Adapter { .. } => false,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some(
                "start the server, and name its address by the server's `url` (`sampler.http.url`, `bank.answerer.url`, `--server`)",
            ),
            Self::Status { status: 300..=399, .. } => Some("set the server's `url` to where it redirects"),
            Self::Stale { .. } => Some(
                "it said that it has read the folder `sampler.http.weights`, and has not: does it see the same folder? Some versions of vLLM keep old weights (`docs/sampling.md`); `[[sampler.http.reload]]` tells it in another way",
            ),
            Self::NotGreedy { .. } => Some(
                "it may add a penalty, a bias or a logits processor of its own, whatever it is asked for: start vLLM with `--generation-config vllm`, SGLang with `--sampling-defaults openai`; raise `sampler.http.max_mismatch` for a server that computes with 8 bits or fewer",
            ),
            Self::Adapter { .. } => Some(
                "start vLLM with `--enable-lora`, `--max-lora-rank` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment, SGLang with `--enable-lora`, `--max-lora-rank` and `--lora-target-modules`; or set `sampler.http.lora` to \"merged\"",
            ),
            Self::Mismatch { .. } => Some(
                "the server may still have old weights, another model or another tokenizer: see that it reads the folder `sampler.http.weights` when told to (`docs/sampling.md`); raise `sampler.http.max_mismatch` for a server that computes with 8 bits or fewer",
            ),
            _ => None,
        }
    }
}

/// A list of models, as far as it is read.
#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: ureq::Agent,
    pub(super) config: HttpConfig,
    /// The model, as the server calls it.
    pub(super) model: String,
    /// What the server wants to be let in.
    key: Option<String>,
}

impl Client {
    /// A client of the configured server, with the key that the environment variable `key` holds. Where no model is named, it is
    /// the first that the server has.
    ///
    /// # Errors
    /// If it has to be asked and does not answer.
    pub(super) fn connect(config: &HttpConfig, key: &str) -> Result<Self> {
        let agent = outbound::agent(Duration::from_secs_f64(config.timeout_s));
        let (model, key) = (config.model.clone(), std::env::var(key).ok());
        let mut client = Self { agent, config: config.clone(), model, key };
        if client.model.is_empty() && config.dialect == Dialect::Vllm {
            client.model = client.first_model()?;
        }
        Ok(client)
    }

    fn first_model(&self) -> Result<String> {
        let url = self.url("/v1/models");
        let received =
            self.with_retries(|client| client.received(&url, client.agent.get(&url), MODELS_BYTES, |get| get.call()))?;
        let models: Models = received.json().map_err(|detail| HttpError::Answer { url, detail })?;
        let first = models.data.into_iter().next();
        let name = first.with_context(|| format!("`{}` has no model", self.config.url))?.id;
        // It is sent with each request, and stands in messages and reports.
        ensure!(
            name.len() <= NAME_BYTES && !name.contains(steers),
            "the first model of `{}` has a name that is too long or has control characters; name one in `model`: {}",
            self.config.url,
            outbound::beginning(&name)
        );
        Ok(name)
    }

    /// The address of an endpoint. What other clients call the base of the interface ends in `/v1`, which the endpoints say
    /// themselves.
    pub(super) fn url(&self, path: &str) -> String {
        let base = self.config.url.trim_end_matches('/');
        format!("{}{path}", base.strip_suffix("/v1").unwrap_or(base))
    }

    /// Sends JSON; the answer may have `most` bytes.
    pub(super) fn post(&self, path: &str, body: &str, most: u64) -> Result<Received, HttpError> {
        let url = self.url(path);
        let request = self.agent.post(&url).header("Content-Type", "application/json");
        self.received(&url, request, most, |request| request.send(body))
    }

    fn received<B>(
        &self,
        url: &str,
        mut request: RequestBuilder<B>,
        most: u64,
        send: impl FnOnce(RequestBuilder<B>) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Received, HttpError> {
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let received = outbound::receive(send(request), most).map_err(|error| match error {
            OutboundError::Failed(detail) => HttpError::Unreachable { url: url.to_owned(), detail },
            OutboundError::TooLong { .. } => HttpError::Answer { url: url.to_owned(), detail: error.to_string() },
        })?;
        if !received.is_success() {
            let body = received.complaint();
            return Err(HttpError::Status { url: url.to_owned(), status: received.status, body });
        }
        Ok(received)
    }

    /// Asks until there is an answer, or as often as the configuration says.
    pub(super) fn with_retries<T>(&self, ask: impl Fn(&Self) -> Result<T, HttpError>) -> Result<T, HttpError> {
        let mut wait = Duration::from_secs_f64(self.config.backoff_s);
        for left in (0..=self.config.retries).rev() {
            match ask(self) {
                Err(error) if left > 0 && error.may_pass() => {
                    tracing::warn!("{error}; asked again in {:.1} s ({left} left)", wait.as_secs_f64());
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(LONGEST_BACKOFF);
                }
                answer => return answer,
            }
        }
        unreachable!("the last round returns")
    }
}

/// Bytes that an answer of so many tokens may have, with their texts, ids and log-probabilities, twice what servers are known
/// to send.
pub(super) fn answer_bytes(prompt_tokens: usize, response_tokens: usize) -> u64 {
    (64 << 10) + 32 * prompt_tokens as u64 + 512 * response_tokens as u64
}
