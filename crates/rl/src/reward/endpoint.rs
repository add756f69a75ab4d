//! A server that scores: the same JSON as a command's, by POST.

use std::time::Duration;

use memtrain_engine::outbound::{self, OutboundError, while_wanted};
use memtrain_run::RunError;
use memtrain_run::signal::StopRequest;

use super::{RewardError, answer_bytes, rewards_of};

/// Environment variable of the key that the server is sent, where it wants one.
const KEY: &str = "MEMTRAIN_REWARD_KEY";
/// Statuses of what may pass: the request took too long, comes too early or too often.
const PASSING: [u16; 3] = [408, 425, 429];

/// An address with its client.
#[derive(Debug)]
pub(super) struct Endpoint {
    url: String,
    agent: ureq::Agent,
    key: Option<String>,
}

impl Endpoint {
    /// For requests that are over after `timeout`. Nothing is sent yet.
    pub(super) fn new(url: &str, timeout: Duration) -> Self {
        Self { url: url.to_owned(), agent: outbound::agent(timeout), key: std::env::var(KEY).ok() }
    }

    /// The scores of `count` trajectories.
    ///
    /// # Errors
    /// If there is no answer, or another one than was asked for, or a signal asks to stop meanwhile.
    pub(super) fn ask(&self, asked: &str, count: usize, stop: &StopRequest) -> Result<Vec<f64>, RewardError> {
        let who = format!("`{}`", self.url);
        let passing = |what: String| RewardError::Passing { who: who.clone(), what };
        let wrong = |what: String| RewardError::Answer { who: who.clone(), what };
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let (asked, most) = (asked.to_owned(), answer_bytes(count) as u64);
        let answer = while_wanted(&|| Ok(stop.check()?), move || outbound::receive(request.send(asked), most));
        let answer = answer.map_err(|error| match error.downcast::<RunError>() {
            Ok(stopped) => RewardError::Stopped(stopped),
            Err(error) => passing(format!("cannot be asked: {error}")),
        })?;
        let received = answer.map_err(|error| match error {
            OutboundError::Failed(detail) => passing(format!("does not answer: {detail}")),
            OutboundError::TooLong { .. } => wrong(error.to_string()),
        })?;
        match received.status {
            _ if received.is_success() => rewards_of(&who, &received.body, count),
            status if status >= 500 || PASSING.contains(&status) => {
                Err(passing(format!("answers {status}: {}", received.complaint())))
            }
            status => Err(wrong(format!("status {status}: {}", received.complaint()))),
        }
    }
}
