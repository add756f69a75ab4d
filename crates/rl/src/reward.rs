//! Rewards from outside: a command or a server that scores finished trajectories.
//!
//! For trajectory `i` of a group with the objective's own reward `R_i` and the score `S_i` from outside, weights `a` and `b`:
//!
//! ```text
//! R'_i = a·R_i + b·S_i
//! A'_i = a·A_i + b·A(S)_i        A(S) the advantages of the scores in their group, scaled like the objective's
//! ```
//!
//! Without scaling that is the advantage of the sum. With it each reward is scaled by its own deviation, so that neither drowns
//! the other. Turns of intermediate recall keep their own groups; they have the weight `a` alone.
//!
//! Asked is `{"trajectories": […]}`, a JSON object a batch, answered `{"rewards": […]}` with a number for each in the same order.

mod command;
mod endpoint;

use std::time::{Duration, Instant};

use anyhow::Context;
use memtrain_engine::sampler::config::is_url;
use memtrain_model::policy::PolicyTokenizer;
use memtrain_rollout_types::RolloutKind;
use memtrain_run::signal::StopRequest;
use serde::{Deserialize, Serialize};

use self::command::Command;
use self::endpoint::Endpoint;
use crate::agents::prompts::PromptSet;
use crate::grpo::advantage::RewardScale;
use crate::objectives::{Item, RolloutGroup, ScoredSample};

/// Who scores trajectories besides the objective, and what the scores count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// A program and its arguments, started once: a line of JSON in, a line of JSON out.
    pub command: Vec<String>,
    /// Address of an HTTP server that the same JSON is posted to. Its key: `MEMTRAIN_REWARD_KEY`.
    pub url: String,
    /// Weight of the scores.
    pub weight: f64,
    /// Weight of the objective's own reward.
    pub built_in_weight: f64,
    /// Most trajectories of a request.
    pub batch: usize,
    /// Seconds after which an answer to a request is no longer waited for.
    pub timeout_s: f64,
    /// How often a request is sent again after a timeout, a command that ended, or a failure of a server that may pass.
    pub retries: usize,
    /// Seconds before it is sent again the first time; each time twice as long, 30 s at most.
    pub backoff_s: f64,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            url: String::new(),
            weight: 1.0,
            built_in_weight: 1.0,
            batch: 64,
            timeout_s: 60.0,
            retries: 2,
            backoff_s: 0.5,
        }
    }
}

impl RewardConfig {
    /// Checks what no single key shows.
    ///
    /// # Errors
    /// If both a command and a server are named, if neither is and weights are set, which would then do nothing, if the server's
    /// address is none, or if no reward is left.
    pub fn validate(&self) -> Result<(), String> {
        match (self.command.is_empty(), self.url.is_empty()) {
            (false, false) => Err("`reward.command` and `reward.url` are both set: leave one of them out".to_owned()),
            (true, true) => {
                let (set, default) = ([self.weight, self.built_in_weight], Self::default());
                let defaults = [default.weight, default.built_in_weight];
                let mut changed = ["weight", "built_in_weight"].into_iter().zip(set.iter().zip(&defaults));
                match changed.find(|(_, (set, default))| set != default) {
                    Some((key, (set, default))) => Err(format!(
                        "`reward.{key}` is {set}, but neither `reward.command` nor `reward.url` is set: there are no scores to weigh; name one, or leave it at {default}"
                    )),
                    None => Ok(()),
                }
            }
            (true, false) if !is_url(&self.url) => {
                Err(format!("`reward.url` is `{}`: it must begin with http:// or https://", self.url))
            }
            _ if self.weight == 0.0 && self.built_in_weight == 0.0 => {
                Err("`reward.weight` and `reward.built_in_weight` are both 0: nothing would be trained".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Longest wait before a request is sent again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
pub enum RewardError {
    /// Something that may pass: it is tried again.
    #[error("{who} {what}")]
    Passing {
        /// The command or the address.
        who: String,
        /// What happened.
        what: String,
    },
    /// An answer that is not what was asked for: the same question would be answered in the same way.
    #[error("{who} answers with something else than `{{\"rewards\": […]}}`: {what}")]
    Answer {
        /// The command or the address.
        who: String,
        /// What is wrong with it.
        what: String,
    },
    /// A signal asked to stop meanwhile.
    #[error(transparent)]
    Stopped(#[from] memtrain_run::RunError),
}

/// What scores trajectories.
#[derive(Debug)]
enum Scorer {
    Command(Command),
    Endpoint(Endpoint),
}

/// A reward from outside.
#[derive(Debug)]
pub struct ExternalReward {
    config: RewardConfig,
    scale: RewardScale,
    filter_groups: bool,
    scorer: Scorer,
}

/// What a scorer is asked.
#[derive(Serialize)]
struct Request<'a> {
    trajectories: &'a [Scored<'a>],
}

/// A finished trajectory as a scorer is told it.
#[derive(Serialize)]
struct Scored<'a> {
    /// Name of the document or task.
    item: &'a str,
    /// Number in its group.
    rollout: usize,
    question: &'a str,
    /// Accepted answers; of a document the hidden entity.
    answers: &'a [String],
    /// What the objective itself gives it.
    reward: f64,
    turns: Vec<ScoredTurn<'a>>,
}

#[derive(Serialize)]
struct ScoredTurn<'a> {
    kind: &'static str,
    prompt: String,
    response: &'a str,
}

/// What a scorer answers.
#[derive(Deserialize)]
struct Answer {
    rewards: Vec<f64>,
}

impl ExternalReward {
    /// Starts the configured command, or prepares for the server; nothing where neither is configured. Advantages of scores are
    /// scaled and filtered as those of the objective.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub fn start(config: &RewardConfig, scale: RewardScale, filter_groups: bool) -> anyhow::Result<Option<Self>> {
        let timeout = Duration::from_secs_f64(config.timeout_s);
        let scorer = match (&config.command[..], config.url.as_str()) {
            ([], "") => return Ok(None),
            ([], url) => Scorer::Endpoint(Endpoint::new(url, timeout)),
            (words, _) => Scorer::Command(Command::start(words, timeout)?),
        };
        Ok(Some(Self { config: config.clone(), scale, filter_groups, scorer }))
    }

    /// Scores the trajectories of groups, each of the item at its place, and adds the scores to their rewards.
    ///
    /// # Errors
    /// If the scorer fails more often than is configured, answers something else, or a signal asks to stop.
    pub fn add(
        &mut self,
        groups: &mut [RolloutGroup],
        items: &[Item],
        prompts: &PromptSet,
        tokenizer: &PolicyTokenizer,
        stop: &StopRequest,
    ) -> anyhow::Result<()> {
        let questions: Vec<_> = items.iter().map(|item| item.question(prompts)).collect();
        let mut scores: Vec<Vec<f64>> = vec![Vec::new(); groups.len()];
        let places: Vec<(usize, usize)> = groups
            .iter()
            .enumerate()
            .flat_map(|(number, group)| (0..group.trajectories()).map(move |rollout| (number, rollout)))
            .collect();
        // A batch at a time, so that no more than that is held as text.
        for batch in places.chunks(self.config.batch.max(1)) {
            let told = batch.iter().map(|&(number, rollout)| {
                let (question, group) = (&questions[number], &groups[number]);
                let turns = group.samples.iter().filter(|sample| is_of_trajectory(sample, rollout));
                let reward = turns.clone().next_back().map_or(0.0, |sample| sample.reward);
                let turns = turns.map(|sample| {
                    let prompt = tokenizer.decode(&sample.turn.prompt_ids)?;
                    Ok(ScoredTurn { kind: sample.turn.kind.as_str(), prompt, response: &sample.turn.text })
                });
                Ok(Scored {
                    item: items[number].id(),
                    rollout,
                    question: &question.text,
                    answers: &question.answers,
                    reward,
                    turns: turns.collect::<anyhow::Result<_>>()?,
                })
            });
            let told = told.collect::<anyhow::Result<Vec<_>>>()?;
            let asked = serde_json::to_string(&Request { trajectories: &told }).context("a trajectory as JSON")?;
            drop(told);
            let rewards = self.ask(&asked, batch.len(), stop).map_err(|error| match error {
                // As it is, so that it is known for what it is.
                RewardError::Stopped(stopped) => anyhow::Error::from(stopped),
                error => error.into(),
            })?;
            batch.iter().zip(rewards).for_each(|(&(number, _), reward)| scores[number].push(reward));
        }
        for (group, scores) in groups.iter_mut().zip(&scores) {
            let weights = (self.config.built_in_weight, self.config.weight);
            group.add_external_reward(scores, weights, self.scale, self.filter_groups);
        }
        Ok(())
    }

    /// Asks until there is an answer, or as often as is configured.
    fn ask(&mut self, asked: &str, count: usize, stop: &StopRequest) -> Result<Vec<f64>, RewardError> {
        let mut wait = Duration::from_secs_f64(self.config.backoff_s);
        let mut left = self.config.retries;
        loop {
            stop.check()?;
            let answer = match &mut self.scorer {
                Scorer::Command(command) => command.ask(asked, count, stop),
                Scorer::Endpoint(endpoint) => endpoint.ask(asked, count, stop),
            };
            match answer {
                Err(error @ RewardError::Passing { .. }) if left > 0 => {
                    tracing::warn!("{error}; asked again in {:.1} s ({left} left)", wait.as_secs_f64());
                    sleep(wait, stop)?;
                    (wait, left) = ((wait * 2).min(LONGEST_BACKOFF), left - 1);
                }
                answer => return answer,
            }
        }
    }
}

/// Whether a response belongs to a trajectory; answers of intermediate recall have groups of their own.
fn is_of_trajectory(sample: &ScoredSample, rollout: usize) -> bool {
    sample.rollout == rollout && sample.turn.kind != RolloutKind::Recall
}

/// Waits, but no longer than until a signal asks to stop.
fn sleep(time: Duration, stop: &StopRequest) -> Result<(), RewardError> {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        stop.check()?;
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(())
}

/// Largest reward, of either sign: far beyond any use, and far from where sums and squares of rewards overflow.
const MAX_REWARD: f64 = 1e12;

/// The rewards of an answer: as many numbers within [`MAX_REWARD`] as were asked for.
fn rewards_of(who: &str, answer: &[u8], count: usize) -> Result<Vec<f64>, RewardError> {
    let wrong = |what: String| RewardError::Answer { who: who.to_owned(), what };
    let shown = || memtrain_engine::outbound::beginning(&String::from_utf8_lossy(&answer[..answer.len().min(400)]));
    let Answer { rewards } = serde_json::from_slice(answer).map_err(|error| {
        let problem = memtrain_corpora::json::problem(&error, &String::from_utf8_lossy(answer));
        wrong(format!("{problem}; it begins with `{}`", shown()))
    })?;
    if rewards.len() != count {
        return Err(wrong(format!("{} rewards for {count} trajectories", rewards.len())));
    }
    match rewards.iter().position(|reward| reward.is_nan() || reward.abs() > MAX_REWARD) {
        Some(place) => {
            let (number, got) = (place + 1, rewards[place]);
            Err(wrong(format!("reward {number} is {got:e}, and must be from -{MAX_REWARD:e} to {MAX_REWARD:e}")))
        }
        None => Ok(rewards),
    }
}

/// Bytes that an answer to so many trajectories may have: a number takes at most 25.
fn answer_bytes(count: usize) -> usize {
    4_096 + 64 * count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_numbers_that_can_be_computed_with() {
        let of = |rewards: &str| rewards_of("it", format!("{{\"rewards\": [{rewards}]}}").as_bytes(), 2);
        assert_eq!(of("-1e12, 1e12").unwrap(), [-1e12, 1e12]);
        for wrong in ["0, 1.1e12", "0, -1e20", "0, 1e308"] {
            let error = of(wrong).expect_err(wrong).to_string();
            assert!(error.contains("reward 2 is ") && error.contains("from -1e12 to 1e12"), "{error}");
        }
    }
}
