//! Requests to servers that need not be trusted.
//!
//! One deadline for a whole call, from the connection to the last byte of the answer; no more bytes of an answer than it
//! may rightly have; no redirects, which would carry prompts and keys to other hosts; no compression.

use std::io::Read;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use memtrain_corpora::visible::visible;
use serde::de::DeserializeOwned;
use ureq::http::header::{CONTENT_LENGTH, LOCATION};
use ureq::http::{HeaderName, Response};
use ureq::{Agent, Body};

/// Bytes of an answer that is an error: more are never shown.
const ERROR_BYTES: u64 = 4 << 10;

/// Characters of a server's words that a message repeats.
const SHOWN: usize = 400;

/// Time between two looks whether a call is still waited for.
const LOOK: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// No connection, none that lasts, or no time left.
    #[error("{0}")]
    Failed(String),
    /// More than what was asked for can take.
    #[error("more than the {most} bytes that it may have")]
    TooLong {
        /// Bytes that it may have.
        most: u64,
    },
}

/// An answer of any status.
#[derive(Debug)]
pub struct Received {
    /// The status.
    pub status: u16,
    /// The body; of errors its beginning.
    pub body: Vec<u8>,
    /// Where a redirect leads.
    location: Option<String>,
}

/// What sends requests, each of which is over after `timeout`.
pub fn agent(timeout: Duration) -> Agent {
    let config = Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false).max_redirects(0);
    config.build().into()
}

/// Makes a call on a thread of its own, and asks ten times a second whether it is still waited for: a call may take as long as
/// its deadline and its retries allow, a signal should not. A call that is given up ends by itself, and nobody hears of it.
///
/// ```
/// use memtrain_engine::outbound::while_wanted;
/// assert_eq!(while_wanted(&|| Ok(()), || 7).unwrap(), 7);
/// let slow = || std::thread::sleep(std::time::Duration::from_secs(60));
/// assert!(while_wanted(&|| anyhow::bail!("asked to stop"), slow).is_err());
/// ```
///
/// # Errors
/// As `goes_on` says, and if there is no thread to be had.
pub fn while_wanted<T: Send + 'static>(
    goes_on: &dyn Fn() -> Result<()>,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, answer) = channel();
    // Where nobody listens any more, nothing is lost.
    let work = move || drop(sender.send(call()));
    std::thread::Builder::new().name("call".to_owned()).spawn(work).context("a server cannot be called")?;
    loop {
        goes_on()?;
        match answer.recv_timeout(LOOK) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("the call of a server ended without an answer")),
        }
    }
}

/// Reads an answer of at most `most` bytes.
pub fn receive(answer: Result<Response<Body>, ureq::Error>, most: u64) -> Result<Received, OutboundError> {
    let mut answer = answer.map_err(|error| OutboundError::Failed(error.to_string()))?;
    let header = |name: HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let length = header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    let (status, location) = (answer.status().as_u16(), header(LOCATION).map(str::to_owned));
    let is_error = !(200..300).contains(&status);
    if !is_error && length.is_some_and(|length| length > most) {
        return Err(OutboundError::TooLong { most });
    }
    let mut body = Vec::new();
    let read = answer.body_mut().as_reader().take(if is_error { ERROR_BYTES } else { most + 1 }).read_to_end(&mut body);
    match read {
        // The status says enough where the words break off.
        Err(error) if !is_error => Err(OutboundError::Failed(error.to_string())),
        _ if !is_error && body.len() as u64 > most => Err(OutboundError::TooLong { most }),
        _ => Ok(Received { status, body, location }),
    }
}

impl Received {
    /// Whether it is what was asked for.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What an error says.
    pub fn complaint(&self) -> String {
        match &self.location {
            Some(location) if (300..400).contains(&self.status) => {
                format!("it redirects to `{}`, which is not followed", beginning(location))
            }
            _ => beginning(&String::from_utf8_lossy(&self.body)),
        }
    }

    /// The body as JSON of a known form. Only what the form has is kept, so that a body takes about as much memory as it has
    /// bytes.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let words = beginning(&String::from_utf8_lossy(&self.body[..self.body.len().min(ERROR_BYTES as usize)]));
            format!("{error}; it begins with `{}`", words.chars().take(80).collect::<String>())
        })
    }
}

/// The beginning of a server's words, in one line, without what could steer a terminal.
pub fn beginning(text: &str) -> String {
    let mut letters = text.trim().chars();
    let mut shown: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_some() {
        shown.push('…');
    }
    visible(&shown).replace(['\n', '\t'], " ")
}
