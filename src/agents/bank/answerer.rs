//! A frozen answerer: what does a bank say to a question?
//!
//! It is shown the core and the items that BM25 finds for the question, and answers greedily. It is not trained: what
//! it can answer is a measure of what the bank holds.

use super::{Bank, BankReading, Entry, retrieval};
use crate::agents::reader::{DrawConfig, Reader};
use crate::run::RolloutKind;
use crate::sampler::{SampleRequest, Sampler};

/// First turn number in the addresses of an answerer's draws, apart from those of any agent.
const FIRST_TURN: u64 = 1 << 32;

/// A question to a bank.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'b> {
    /// What is known.
    pub bank: &'b Bank,
    /// What is asked.
    pub question: &'b str,
    /// Number of the item, for draw addresses.
    pub document: u64,
    /// Rollout, for draw addresses.
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

/// Answers all questions.
///
/// # Errors
/// If the sampler or the tokenizer fails, or a question does not fit the context even without any item.
pub fn answer(
    reader: &Reader<'_>,
    reading: &BankReading,
    sampler: &mut dyn Sampler,
    asks: &[Ask<'_>],
) -> anyhow::Result<Vec<Answer>> {
    let greedy = DrawConfig::GREEDY;
    let reader = Reader { draw: &greedy, ..*reader };
    let mut requests: Vec<SampleRequest> = Vec::with_capacity(asks.len());
    let mut evidence = Vec::with_capacity(asks.len());
    for (ask, number) in asks.iter().zip(0..) {
        let mut items = retrieve(ask.bank, ask.question, reading.config.retrieved(ask.bank.layout()));
        let limit = reader.config.context_tokens.saturating_sub(reader.config.answer_tokens);
        let user = loop {
            // In the order of writing, as the keeper sees them.
            let mut shown = items.clone();
            shown.sort_by_key(|entry| entry.id);
            let user = reading.prompts.question_turn(ask.question, &ask.bank.written(&shown));
            if items.is_empty() || reader.tokenizer.chat_prompt_ids(&user)?.len() <= limit {
                break user;
            }
            items.pop();
        };
        let address = (ask.document, ask.rollout, FIRST_TURN + number);
        requests.push(reader.request(&user, reader.config.answer_tokens, address)?);
        evidence.push(items.iter().map(|entry| entry.step).collect());
    }
    let completions = sampler.sample(&requests)?;
    let answers = requests.into_iter().zip(completions).zip(evidence).map(|((request, completion), evidence)| {
        let turn = reader.turn(RolloutKind::Answer, request.prompt_ids, completion)?;
        Ok(Answer { text: turn.text, evidence })
    });
    answers.collect()
}

/// Whether the frozen policy takes each item (section, content) for true and worth keeping: its answer is `yes`.
///
/// # Errors
/// If the sampler or the tokenizer fails, or an item does not fit the context.
pub fn judge(
    reader: &Reader<'_>,
    reading: &BankReading,
    sampler: &mut dyn Sampler,
    items: &[(&str, &str)],
) -> anyhow::Result<Vec<bool>> {
    let greedy = DrawConfig::GREEDY;
    let reader = Reader { draw: &greedy, ..*reader };
    let requests: Vec<SampleRequest> = items
        .iter()
        .zip(0..)
        .map(|((section, content), number)| {
            let user = reading.prompts.judge_turn(section, content);
            reader.request(&user, reader.config.answer_tokens, (0, 0, 2 * FIRST_TURN + number))
        })
        .collect::<anyhow::Result<_>>()?;
    let completions = sampler.sample(&requests)?;
    let verdicts = requests.into_iter().zip(completions).map(|(request, completion)| {
        let turn = reader.turn(RolloutKind::Answer, request.prompt_ids, completion)?;
        let verdict = crate::agents::answer::last_boxed(&turn.text);
        Ok(verdict.is_some_and(|verdict| verdict.trim().eq_ignore_ascii_case("yes")))
    });
    verdicts.collect()
}
