//! Words in, words out: a server with OpenAI's chat completions, whatever its tokenizer and its template are.
//!
//! ```text
//! POST /v1/chat/completions  model, messages: [{role: user, content}], max_tokens, temperature: 0
//!      choices[0]: message.content, finish_reason
//! ```
//!
//! vLLM, SGLang, llama.cpp and hosted services speak it. Nothing that comes back can be trained on; it can answer and judge.
//! The words go out as they are: whether `</think>` in a document is text to the server's tokenizer, the server decides.

use std::sync::Arc;
use std::task::Poll;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::client::{Client, HttpError, answer_bytes};
use super::stream::{Endpoint, HttpStream};
use super::wire::{ChatChoice, ChatMessage, ChatReply};
use crate::sampler::FinishReason;
use crate::sampler::config::{ChatConfig, HttpConfig};

/// The variable of the environment that holds the server's key, where it wants one.
const KEY: &str = "MEMTRAIN_ANSWERER_KEY";

const PATH: &str = "/v1/chat/completions";

/// A user's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatRequest {
    /// The words.
    pub user: String,
    /// Longest response, in the server's tokens.
    pub max_tokens: usize,
}

/// A response to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatAnswer {
    /// The response.
    pub text: String,
    /// Why it ended.
    pub finish: FinishReason,
}

/// A server that is asked in words, always greedily.
#[derive(Clone, Debug)]
pub struct ChatServer {
    endpoint: Arc<ChatEndpoint>,
}

#[derive(Debug)]
struct ChatEndpoint {
    client: Client,
    parameters: Map<String, Value>,
}

impl ChatServer {
    /// The configured server. Where no model is named, it is the first that the server has.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub fn connect(config: &ChatConfig) -> Result<Self> {
        let ChatConfig { url, model, concurrency, timeout_s, retries, backoff_s, parameters } = config.clone();
        let http = HttpConfig { url, model, concurrency, timeout_s, retries, backoff_s, ..HttpConfig::default() };
        let parameters = serde_json::to_value(parameters).context("the parameters are no JSON")?;
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        Ok(Self { endpoint: Arc::new(ChatEndpoint { client: Client::connect(&http, KEY)?, parameters }) })
    }

    /// The model, as the server calls it.
    pub fn model(&self) -> &str {
        &self.endpoint.client.model
    }

    /// Answers all requests, in their order. After each, and ten times a second, `goes_on` is told how many have been
    /// answered; its error ends it.
    ///
    /// # Errors
    /// If the server does not answer, or with something else, or as `goes_on` says.
    pub fn answer(
        &self,
        requests: Vec<ChatRequest>,
        mut goes_on: impl FnMut(usize) -> Result<()>,
    ) -> Result<Vec<ChatAnswer>> {
        let mut answers: Vec<Option<ChatAnswer>> = vec![None; requests.len()];
        let mut stream = HttpStream::new(&self.endpoint);
        for (ticket, request) in requests.into_iter().enumerate() {
            stream.push(ticket, request)?;
        }
        let mut ended = 0;
        loop {
            match stream.poll_next()? {
                Poll::Ready(None) => break,
                Poll::Ready(Some((ticket, answer))) => {
                    answers[ticket] = Some(answer);
                    ended += 1;
                }
                Poll::Pending => {}
            }
            goes_on(ended)?;
        }
        answers.into_iter().map(|answer| answer.context("a request was not answered")).collect()
    }
}

impl Endpoint for ChatEndpoint {
    type Request = ChatRequest;
    type Response = ChatAnswer;

    fn client(&self) -> &Client {
        &self.client
    }

    fn send(&self, request: &ChatRequest) -> Result<ChatAnswer, HttpError> {
        let mut body = json!({
            "model": self.client.model, "messages": [{"role": "user", "content": request.user}],
            "max_tokens": request.max_tokens, "temperature": 0.0,
        });
        if let Some(body) = body.as_object_mut() {
            body.extend(self.parameters.clone());
        }
        let answer = self.client.post(PATH, &body.to_string(), answer_bytes(0, request.max_tokens))?;
        let wrong = |detail: String| HttpError::Answer { url: self.client.url(PATH), detail };
        let reply: ChatReply = answer.json().map_err(wrong)?;
        match reply.choices.into_iter().next() {
            Some(ChatChoice { finish_reason: Some(reason), .. }) if reason == "abort" => {
                Err(HttpError::BrokenOff { url: self.client.url(PATH), reason })
            }
            Some(ChatChoice { finish_reason, message: Some(ChatMessage { content }) }) => {
                let is_cut = finish_reason.is_some_and(|reason| reason == "length");
                let finish = if is_cut { FinishReason::Length } else { FinishReason::Stop };
                Ok(ChatAnswer { text: content.unwrap_or_default(), finish })
            }
            _ => Err(wrong("`choices[0].message.content` is missing".to_owned())),
        }
    }
}
