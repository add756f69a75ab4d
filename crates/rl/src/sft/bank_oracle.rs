//! A simple writer of a bank to imitate: it copies sentences, and does not think.
//!
//! It inserts whole sentences of each chunk, drawn at random while its calls fit the response, and answers from what
//! retrieval finds. It shows the policy the form of calls and of answers; what is worth keeping is for the reward to find
//! out.

use memtrain_model::policy::{PolicyError, PolicyTokenizer, PromptText};
use rand::Rng;
use rand::seq::SliceRandom;

use super::oracle::{Demonstration, OracleConfig, boxed_word};
use crate::agents::answer::Equality;
use crate::agents::bank::{Bank, BankReading, Call, Layout, Section, answerer};
use crate::agents::prompts::PromptSet;
use crate::agents::reader::StepKey;
use crate::agents::sentences::sentences;
use crate::objectives::ChunkedDocument;
use crate::objectives::Item;
use crate::objectives::questions::{ItemQuestions, QuestionCounts};

/// What an oracle of a bank works with.
#[derive(Clone, Copy, Debug)]
pub struct BankOracle<'a> {
    /// Limits and texts of banks.
    pub reading: &'a BankReading,
    /// Which bank.
    pub layout: Layout,
    /// The reader's texts, for the question of a document.
    pub prompts: &'a PromptSet,
    /// The policy's tokenizer.
    pub tokenizer: &'a PolicyTokenizer,
    /// Longest calls of a turn in tokens.
    pub memory_tokens: usize,
}

impl BankOracle<'_> {
    /// Rolls out one trajectory over a document: a turn of calls a chunk, and answers from the last bank.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn demonstrate(
        &self,
        document: &ChunkedDocument,
        config: &OracleConfig,
        generator: &mut impl Rng,
    ) -> Result<Vec<Demonstration>, PolicyError> {
        let mut demonstrations = Vec::new();
        let mut bank = Bank::new(self.layout);
        for chunk in 0..document.chunks.len() {
            let text = document.chunk(chunk);
            let shown = bank.shown(self.reading.config.recent_items);
            let user = self.reading.prompts.writing_turn(self.layout, &shown, text);
            let calls = self.calls(&bank, text, config, generator)?;
            for call in &calls {
                // A call that is refused changes nothing, and is a lesson all the same.
                let _ = bank.apply(call, chunk as u32 + 1);
            }
            demonstrations.push(Demonstration { user, response: written(&calls), is_answer: false });
        }
        let counts = QuestionCounts { global: config.answers + config.recall_questions, of_chunk: 0 };
        let step_key = StepKey { seed: generator.random(), step: 0 };
        let item = Item::Document(document.clone());
        let prompts = (self.prompts, &self.reading.prompts);
        for question in ItemQuestions::of(&item, counts, Equality::Strict, prompts, step_key).global {
            let mut found = answerer::retrieve(&bank, &question.text, self.reading.config.retrieved(self.layout));
            found.sort_by_key(|entry| entry.id);
            let user = self.reading.prompts.question_turn(&question.text, &bank.written(&found));
            let answer = question.answers.first().map_or("", String::as_str);
            demonstrations.push(Demonstration { user, response: boxed_word(answer), is_answer: true });
        }
        Ok(demonstrations)
    }

    /// The calls of a turn: deletions of what is forgotten, then insertions while they fit.
    fn calls(
        &self,
        bank: &Bank,
        chunk: &str,
        config: &OracleConfig,
        generator: &mut impl Rng,
    ) -> Result<Vec<Call>, PolicyError> {
        let mut calls: Vec<Call> = Vec::new();
        for entry in bank.entries() {
            if generator.random_bool(config.forget) {
                calls.push(Call::Delete { section: entry.section, id: Some(entry.id) });
            }
        }
        let mut sentences: Vec<&str> = sentences(chunk).collect();
        sentences.shuffle(generator);
        for sentence in sentences {
            let lists = self.layout.lists();
            let section = match self.layout {
                Layout::Sections if bank.core().is_empty() && calls.is_empty() => Section::Core,
                _ => lists[generator.random_range(0..lists.len())],
            };
            calls.push(Call::Insert { section, content: sentence.to_owned() });
            // One token stays free for the end of the response.
            if self.tokenizer.response_ids(written(&calls))?.len() >= self.memory_tokens {
                calls.pop();
            }
        }
        if calls.is_empty() && self.layout == Layout::Flat {
            calls.push(Call::Skip);
        }
        Ok(calls)
    }
}

/// Calls as one JSON list.
fn written(calls: &[Call]) -> PromptText {
    let mut list = PromptText::own("[");
    for (place, call) in calls.iter().enumerate() {
        if place > 0 {
            list.push(&PromptText::own(","));
        }
        list.push(&call.to_words());
    }
    list.push(&PromptText::own("]"));
    list
}
