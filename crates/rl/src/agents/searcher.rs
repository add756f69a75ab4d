//! The searcher: turns of thinking and searching until there are answers (MEM1, arXiv 2506.15841).
//!
//! A turn is one conversation of its own: the questions, the last turn (its thoughts and its action) and what that turn's
//! search has found go in; thoughts and an action come out, either a query or the answers. Whatever came before the last
//! turn is forgotten unless the policy has written it down again. Several questions are answered together, their answers
//! separated by `;`.
//!
//! What is trained on are the token ids of each turn as they were sampled. The released code of MEM1 trains on one long
//! sequence with a mask instead, which hides what the policy saw.

use std::path::Path;
use std::sync::Arc;

use memtrain_corpora::store;
use memtrain_model::policy::{PolicyTokenizer, PromptText};
use memtrain_rollout_types::RolloutKind;
use serde::{Deserialize, Serialize};

use super::prompts::{PromptError, fill};
use super::reader::{SamplingConfig, StepKey};
use crate::rollout::retrieve::{Found, Retriever};
use crate::rollout::{Environment, Observation, RngKey, RolloutEngine, Step, Trajectory, Turn};

/// How a searcher searches. Defaults: MEM1's released code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearcherConfig {
    /// Prompt set: `standard` or a folder with `turn.txt`, `results.txt`, `last.txt` and `invalid.txt`.
    pub prompts: String,
    /// Most turns, the one that answers counted.
    pub max_turns: usize,
    /// Longest response in tokens.
    pub response_tokens: usize,
    /// Longest results of a search in tokens; the rest is cut off.
    pub result_tokens: usize,
    /// Passages of a search.
    pub topk: usize,
    /// Context length that a prompt and its response must fit.
    pub context_tokens: usize,
    /// Longest prompt in tokens: of a longer one the end is kept (verl's `max_prompt_length` with `truncation = "left"`). 0, the
    /// default: nothing is cut, and a prompt that does not fit the context ends its attempt.
    #[serde(skip_serializing_if = "is_zero")]
    pub prompt_tokens: usize,
}

/// Left out of a run's configuration, so that runs from before the key go on.
fn is_zero(tokens: &usize) -> bool {
    *tokens == 0
}

impl Default for SearcherConfig {
    fn default() -> Self {
        Self {
            prompts: "standard".to_owned(),
            max_turns: 6,
            response_tokens: 1_000,
            result_tokens: 1_000,
            topk: 3,
            context_tokens: 8_192,
            prompt_tokens: 0,
        }
    }
}

/// The texts that a searcher is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearcherPrompts {
    turn: String,
    results: String,
    last: String,
    invalid: String,
}

const FILES: [&str; 4] = ["turn.txt", "results.txt", "last.txt", "invalid.txt"];
const STANDARD: [&str; 4] = [
    include_str!("../../../../configs/prompts/searcher/turn.txt"),
    include_str!("../../../../configs/prompts/searcher/results.txt"),
    include_str!("../../../../configs/prompts/searcher/last.txt"),
    include_str!("../../../../configs/prompts/searcher/invalid.txt"),
];

impl SearcherPrompts {
    /// Loads a set: `standard`, or a folder with the four files.
    ///
    /// # Errors
    /// If a file is missing, or lacks a field.
    pub fn load(set: &str) -> Result<Self, PromptError> {
        let texts = match set {
            "standard" => STANDARD.map(str::to_owned),
            folder => {
                let mut texts: [String; 4] = Default::default();
                for (text, file) in texts.iter_mut().zip(FILES) {
                    *text = store::read_to_string(&Path::new(folder).join(file))
                        .map_err(|source| PromptError::Unreadable { set: set.to_owned(), source })?;
                }
                texts
            }
        };
        let [turn, results, last, invalid] = texts.map(|text| text.trim_end_matches('\n').to_owned());
        for (file, text, fields) in
            [(FILES[0], &turn, ["{problem}", "{last_turn}"]), (FILES[1], &results, ["{results}", "{turns_left}"])]
        {
            if let Some(field) = fields.into_iter().find(|field| !text.contains(field)) {
                return Err(PromptError::MissingField { set: set.to_owned(), file, field });
            }
        }
        Ok(Self { turn, results, last, invalid })
    }

    /// BLAKE3 hash of the texts.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in [&self.turn, &self.results, &self.last, &self.invalid] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The user's words of a turn. `turns_left` counts the turn itself.
    fn words(&self, problem: &str, last_turn: &PromptText, turns_left: usize) -> PromptText {
        let mut last_turn = last_turn.clone();
        if turns_left <= 1 {
            last_turn.push(&PromptText::own(format!("\n{}", self.last)));
        }
        fill(&self.turn, &[("{problem}", &PromptText::foreign(problem)), ("{last_turn}", &last_turn)])
    }
}

/// What a response does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It searches.
    Search(String),
    /// It answers; one entry a question if it keeps to the form.
    Answer(Vec<String>),
    /// It does neither.
    None,
}

/// The action of a response and the end of it in bytes: the first query or answer after the thoughts.
///
/// ```
/// use memtrain_rl::agents::searcher::{Action, action};
/// let (done, end) = action("<think>b or c?</think><answer> b ; C d </answer> and more");
/// assert_eq!(done, Action::Answer(vec!["b".into(), "C d".into()]));
/// assert_eq!(&"<think>b or c?</think><answer> b ; C d </answer> and more"[end..], " and more");
/// assert_eq!(action("<search>who?").0, Action::None);
/// ```
pub fn action(response: &str) -> (Action, usize) {
    let thoughts = response.rfind("</think>").map_or(0, |at| at + "</think>".len());
    let rest = &response[thoughts..];
    let between = |name: &str| {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let start = rest.find(&open)?;
        let contents = &rest[start + open.len()..];
        let length = contents.find(&close)?;
        Some((start, contents[..length].trim(), thoughts + start + open.len() + length + close.len()))
    };
    let search = between("search").filter(|(_, query, _)| !query.is_empty());
    let answer = between("answer");
    match (search, answer) {
        (Some((at, query, end)), other) if other.is_none_or(|(answer, ..)| at < answer) => {
            (Action::Search(query.to_owned()), end)
        }
        (_, Some((_, answers, end))) => {
            (Action::Answer(answers.split(';').map(|answer| answer.trim().to_owned()).collect()), end)
        }
        _ => (Action::None, response.len()),
    }
}

/// Questions to answer together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchTask {
    /// Number for RNG keys.
    pub number: u64,
    /// The questions.
    pub questions: Vec<String>,
}

/// What a searcher has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchOutcome {
    /// What each turn did.
    pub actions: Vec<Action>,
    /// Why it broke off, where it did.
    pub failure: Option<String>,
}

impl SearchOutcome {
    /// The answers, one a question if the form was kept; none where there was no answer.
    pub fn answers(&self) -> Option<&[String]> {
        match self.actions.last() {
            Some(Action::Answer(answers)) => Some(answers),
            _ => None,
        }
    }
}

/// One attempt at a task.
pub type SearchTrajectory = Trajectory<SearchOutcome>;

/// Searches with a policy.
pub struct Searcher<'a> {
    /// The policy's tokenizer.
    pub tokenizer: &'a PolicyTokenizer,
    /// What it is shown.
    pub prompts: &'a SearcherPrompts,
    /// Limits.
    pub config: &'a SearcherConfig,
    /// How tokens are sampled.
    pub sampling: &'a SamplingConfig,
    /// Seed and step of the RNG keys.
    pub step_key: StepKey,
}

impl Searcher<'_> {
    /// Works on every task `group_size` times; the attempts at a task stand together. Passages are looked up beside the
    /// samples.
    ///
    /// # Errors
    /// If the sampler, the tokenizer or the retriever fails, or somebody asks to stop. A prompt that does not fit ends its
    /// attempt alone.
    pub fn search(
        &self,
        engine: &mut RolloutEngine<'_>,
        retriever: &Arc<dyn Retriever>,
        tasks: &[SearchTask],
        group_size: usize,
    ) -> anyhow::Result<Vec<Vec<SearchTrajectory>>> {
        let searching = |task, rollout| Searching {
            searcher: self,
            task,
            rollout,
            last_turn: PromptText::default(),
            outcome: SearchOutcome::default(),
        };
        engine.groups(self.tokenizer, tasks, group_size, Some((retriever, self.config.topk)), searching)
    }

    /// Passages as they are read, at most so many tokens.
    fn shown(&self, found: &[Found]) -> anyhow::Result<PromptText> {
        let one = |(found, number): (&Found, usize)| match found.title.as_str() {
            "" => format!("Passage {number}: {}", found.text),
            title => format!("Passage {number} ({title}): {}", found.text),
        };
        let mut text = found.iter().zip(1..).map(one).collect::<Vec<_>>().join("\n");
        if text.is_empty() {
            return Ok(PromptText::own("Nothing was found."));
        }
        let (_, offsets) = self.tokenizer.encode_with_offsets(PromptText::foreign(text.as_str()))?;
        if let Some(beyond) = offsets.get(self.config.result_tokens) {
            text.truncate(text.floor_char_boundary(beyond.start));
        }
        Ok(PromptText::foreign(text))
    }
}

/// A task that is being worked on.
struct Searching<'a> {
    searcher: &'a Searcher<'a>,
    task: &'a SearchTask,
    rollout: usize,
    /// What the next turn is shown of the last one.
    last_turn: PromptText,
    outcome: SearchOutcome,
}

impl Searching<'_> {
    fn turns_left(&self) -> usize {
        self.searcher.config.max_turns.saturating_sub(self.outcome.actions.len())
    }

    /// Goes on with these results of the last turn.
    fn go_on(&mut self, results: &PromptText) -> anyhow::Result<Step> {
        let turns_left = PromptText::own(self.turns_left().to_string());
        let prompts = self.searcher.prompts;
        self.last_turn.push(&fill(&prompts.results, &[("{results}", results), ("{turns_left}", &turns_left)]));
        self.first()
    }
}

impl Environment for Searching<'_> {
    type Outcome = SearchOutcome;

    fn rng_key(&self) -> RngKey {
        self.searcher.step_key.fold_in(self.task.number, self.rollout as u64)
    }

    fn first(&mut self) -> anyhow::Result<Step> {
        let Searcher { tokenizer, prompts, config, sampling, .. } = *self.searcher;
        let words = prompts.words(&self.task.questions.join("; "), &self.last_turn, self.turns_left());
        let mut prompt_ids = tokenizer.chat_prompt_ids(&words)?;
        if config.prompt_tokens > 0 {
            prompt_ids.drain(..prompt_ids.len().saturating_sub(config.prompt_tokens));
        }
        let (prompt, max_tokens, limit) = (prompt_ids.len(), config.response_tokens, config.context_tokens);
        if prompt + max_tokens > limit {
            let turn = self.outcome.actions.len() + 1;
            self.outcome.failure = Some(format!(
                "turn {turn}: a prompt of {prompt} tokens and a response of up to {max_tokens} exceed {limit}"
            ));
            return Ok(Step::End);
        }
        Ok(Step::Observe(Observation { kind: RolloutKind::Search, prompt_ids, params: sampling.params(max_tokens) }))
    }

    fn next(&mut self, turn: &mut Turn) -> anyhow::Result<Step> {
        let (action, end) = action(&turn.text);
        self.last_turn = PromptText::foreign(&turn.text[..end]);
        self.outcome.actions.push(action.clone());
        match action {
            Action::Answer(_) => {
                turn.kind = RolloutKind::Answer;
                Ok(Step::End)
            }
            // Whoever is at the last turn would not see the results.
            _ if self.turns_left() == 0 => Ok(Step::End),
            Action::Search(query) => Ok(Step::Search(query)),
            Action::None => self.go_on(&PromptText::own(self.searcher.prompts.invalid.as_str())),
        }
    }

    fn found(&mut self, passages: Vec<Found>) -> anyhow::Result<Step> {
        let results = self.searcher.shown(&passages)?;
        self.go_on(&results)
    }

    fn outcome(self) -> SearchOutcome {
        self.outcome
    }
}

#[cfg(test)]
mod tests;
