//! The client of a server: JSON in, JSON out, patient where waiting may help.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::sampler::config::{Dialect, HttpConfig};

/// Longest wait before a request is sent again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Characters of an answer that an error shows.
const SHOWN: usize = 400;

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

#[derive(Debug)]
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
        let timeout = Duration::from_secs_f64(config.timeout_s);
        let agent = ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false).build();
        let (model, key) = (config.model.clone(), std::env::var(key).ok());
        let mut client = Self { agent: agent.into(), config: config.clone(), model, key };
        if client.model.is_empty() && config.dialect == Dialect::Vllm {
            let models = client.patiently(|client| client.get("/v1/models"))?;
            let first = models["data"][0]["id"].as_str();
            client.model = first.with_context(|| format!("`{}` has no model", config.url))?.to_owned();
        }
        Ok(client)
    }

    /// The address of an endpoint. What other clients call the base of the interface ends in `/v1`, which the endpoints say
    /// themselves.
    pub(super) fn url(&self, path: &str) -> String {
        let base = self.config.url.trim_end_matches('/');
        format!("{}{path}", base.strip_suffix("/v1").unwrap_or(base))
    }

    fn get(&self, path: &str) -> Result<Value, HttpError> {
        let url = self.url(path);
        let mut request = self.agent.get(&url);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = request.call();
        read(url, answer)
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Result<Value, HttpError> {
        let url = self.url(path);
        let mut request = self.agent.post(&url).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = request.send(body);
        read(url, answer)
    }

    /// Asks until there is an answer, or as often as the configuration says.
    pub(super) fn patiently<T>(&self, ask: impl Fn(&Self) -> Result<T, HttpError>) -> Result<T, HttpError> {
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
