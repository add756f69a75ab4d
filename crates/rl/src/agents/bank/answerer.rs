//! Frozen answerer: question answering over a bank, by a frozen policy or a server.
//!
//! It is shown the core and the items that BM25 finds for the question, and answers greedily. It is not trained: what
//! it can answer is a measure of what the bank holds. A policy answers ([`RolloutEngine`]), or a server
//! ([`ServerAnswerer`]) with chat completions, which may be any model.

use memtrain_engine::sampler::http::chat::{ChatAnswer, ChatRequest};
use memtrain_engine::sampler::{ChatServer, Completion};
use memtrain_model::policy::PromptText;
use memtrain_rollout_types::RolloutKind;
use memtrain_run::signal::StopRequest;
use memtrain_run::watch::Watch;

use super::{Bank, BankReading, Entry, retrieval};
use crate::agents::answer::last_boxed;
use crate::agents::reader::{Reader, SamplingConfig};
use crate::rollout::{RolloutEngine, Turn};

/// First turn number in the RNG keys of an answerer, apart from those of any agent.
const FIRST_TURN: u64 = 1 << 32;

/// A user message to be answered, and the numbers of the response's RNG key: document, rollout, turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRequest {
    /// The message.
    pub user: PromptText,
    /// Document, rollout, turn.
    pub key: (u64, u64, u64),
}

/// Who answers: text in, text out, greedily.
pub trait Answerer {
    /// Responds to each, in their order, with at most `reader.answer_tokens` tokens. Of a server's response nobody knows
    /// the tokens.
    ///
    /// # Errors
    /// If who answers fails, or the words do not fit the context of a policy.
    fn respond(&mut self, reader: &Reader<'_>, asked: &[AnswerRequest]) -> anyhow::Result<Vec<Turn>>;
}

impl Answerer for RolloutEngine<'_> {
    fn respond(&mut self, reader: &Reader<'_>, asked: &[AnswerRequest]) -> anyhow::Result<Vec<Turn>> {
        let reader = Reader { sampling: &SamplingConfig::GREEDY, ..*reader };
        let prompt = |request: &AnswerRequest| reader.single_turn(RolloutKind::Answer, &request.user, request.key);
        self.respond_all(reader.tokenizer, asked.iter().map(prompt).collect::<anyhow::Result<_>>()?)
    }
}

/// A server that answers in words.
pub struct ServerAnswerer {
    /// The server.
    pub server: ChatServer,
    /// Ends the asking, within an answer.
    pub stop: StopRequest,
    /// Told how many answers have come.
    pub watch: Watch,
}

impl Answerer for ServerAnswerer {
    fn respond(&mut self, reader: &Reader<'_>, asked: &[AnswerRequest]) -> anyhow::Result<Vec<Turn>> {
        let max_tokens = reader.config.answer_tokens;
        let chat_request = |request: &AnswerRequest| ChatRequest { user: request.user.as_str().to_owned(), max_tokens };
        let turn = |ChatAnswer { text, finish }: ChatAnswer| Turn {
            kind: RolloutKind::Answer,
            prompt_ids: Vec::new(),
            completion: Completion { token_ids: Vec::new(), log_probs: Vec::new(), finish },
            text: text.trim().to_owned(),
        };
        let mut told = 0;
        let goes_on = |ended| {
            if ended > told {
                told = ended;
                self.watch.progress(format_args!("{ended} of {} answers have come", asked.len()));
            }
            Ok(self.stop.check()?)
        };
        let answers = self.server.answer(asked.iter().map(chat_request).collect(), goes_on)?;
        Ok(answers.into_iter().map(turn).collect())
    }
}

/// A question to a bank.
#[derive(Clone, Copy, Debug)]
pub struct MemoryQuery<'b> {
    /// What is known.
    pub bank: &'b Bank,
    /// What is asked.
    pub question: &'b str,
    /// Number of the item, for RNG keys.
    pub document: u64,
    /// Rollout, for RNG keys.
    pub rollout: u64,
}

/// An answer and what it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response.
    pub text: String,
    /// For each item that was shown, the step that wrote it.
    pub evidence: Vec<u32>,
}

/// Items of a bank for a question: of each list the best `count`, best first.
pub fn retrieve<'b>(bank: &'b Bank, question: &str, count: usize) -> Vec<&'b Entry> {
    let mut found = Vec::new();
    for list in bank.layout().lists() {
        let entries: Vec<&Entry> = bank.entries().iter().filter(|entry| entry.section == *list).collect();
        let texts: Vec<&str> = entries.iter().map(|entry| entry.content.as_str()).collect();
        found
            .extend(retrieval::best(question, &texts, count).into_iter().map(|(place, score)| (score, entries[place])));
    }
    found.sort_by(|(a, left), (b, right)| b.total_cmp(a).then(right.id.cmp(&left.id)));
    found.into_iter().map(|(_, entry)| entry).collect()
}

/// Answers all questions. What is shown must fit the reader's context, whoever answers: so all are shown the same.
///
/// # Errors
/// If who answers or the tokenizer fails, or a question does not fit the context of a policy even without any item.
pub fn answer(
    reader: &Reader<'_>,
    reading: &BankReading,
    frozen: &mut dyn Answerer,
    queries: &[MemoryQuery<'_>],
) -> anyhow::Result<Vec<Answer>> {
    let mut asked: Vec<AnswerRequest> = Vec::with_capacity(queries.len());
    let mut evidence = Vec::with_capacity(queries.len());
    for (query, number) in queries.iter().zip(0..) {
        let mut items = retrieve(query.bank, query.question, reading.config.retrieved(query.bank.layout()));
        let limit = reader.config.context_tokens.saturating_sub(reader.config.answer_tokens);
        let user = loop {
            // In the order of writing, as the writer sees them.
            let mut shown = items.clone();
            shown.sort_by_key(|entry| entry.id);
            let user = reading.prompts.question_turn(query.question, &query.bank.written(&shown));
            if items.is_empty() || reader.tokenizer.chat_prompt_ids(&user)?.len() <= limit {
                break user;
            }
            items.pop();
        };
        asked.push(AnswerRequest { user, key: (query.document, query.rollout, FIRST_TURN + number) });
        evidence.push(items.iter().map(|entry| entry.step).collect());
    }
    let turns = frozen.respond(reader, &asked)?.into_iter().zip(evidence);
    Ok(turns.map(|(turn, evidence)| Answer { text: turn.text, evidence }).collect())
}

/// An item to judge.
#[derive(Clone, Copy, Debug)]
pub struct JudgedItem<'b> {
    /// What it should be taken from.
    pub section: &'b str,
    /// What it says.
    pub content: &'b str,
    /// Number of the document, for RNG keys.
    pub document: u64,
}

/// Whether each item is taken for true and worth keeping: the answer is `yes`.
///
/// # Errors
/// If who answers or the tokenizer fails, or an item does not fit the context of a policy.
pub fn judge(
    reader: &Reader<'_>,
    reading: &BankReading,
    frozen: &mut dyn Answerer,
    items: &[JudgedItem<'_>],
) -> anyhow::Result<Vec<bool>> {
    let request = |(item, number): (&JudgedItem<'_>, u64)| AnswerRequest {
        user: reading.prompts.judge_turn(item.section, item.content),
        key: (item.document, 0, 2 * FIRST_TURN + number),
    };
    let asked: Vec<AnswerRequest> = items.iter().zip(0..).map(request).collect();
    let said_yes =
        |turn: Turn| last_boxed(&turn.text).is_some_and(|verdict| verdict.trim().eq_ignore_ascii_case("yes"));
    Ok(frozen.respond(reader, &asked)?.into_iter().map(said_yes).collect())
}
