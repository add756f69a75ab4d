//! Questions to a bank, with labels or without.
//!
//! A task brings its questions. A document brings the question for its hidden entity, and cloze questions: a sentence of a
//! chunk in which one entity reads `[TARGET]`. They are drawn once an item, so that all its rollouts are asked the same.
//! For a task, whose entities nobody has marked, cloze questions hide names: runs of capitalised words inside a sentence.

use memtrain_corpora::document::{MASK, TARGET};
use memtrain_corpora::mask::{self, Matching};
use memtrain_corpora::rng;
use memtrain_tasks::Question;
use rand::Rng;
use rand::seq::SliceRandom;
use unicode_segmentation::UnicodeSegmentation;

use super::{Item, RolloutContext};
use crate::agents::answer::{Equality, is_right};
use crate::agents::bank::answerer::{self, MemoryQuery};
use crate::agents::bank::{Bank, BankPrompts};
use crate::agents::prompts::PromptSet;
use crate::agents::reader::StepKey;

/// What a bank is asked about an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemQuestions {
    /// Asked of the last bank.
    pub global: Vec<Question>,
    /// Asked of the bank after each chunk, about that chunk.
    pub of_chunk: Vec<Vec<Question>>,
}

/// How many questions are made where there are none with labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuestionCounts {
    /// Global ones of a document, that for its hidden entity among them.
    pub global: usize,
    /// Of each chunk.
    pub of_chunk: usize,
}

/// Purposes of the generators that draw questions.
const GLOBAL_PURPOSE: &str = "bank/global-questions";
const CHUNK_PURPOSE: &str = "bank/chunk-questions";

impl ItemQuestions {
    /// The questions of an item. Seed, step and the item's number address the draws.
    pub fn of(
        item: &Item,
        counts: QuestionCounts,
        equality: Equality,
        prompts: (&PromptSet, &BankPrompts),
        step_key: StepKey,
    ) -> Self {
        let chunks = item.chunks();
        let names: Vec<Vec<String>> = (0..chunks.len()).map(|chunk| hideable(item, &chunks, chunk, equality)).collect();
        let draw = |chunk: usize, name: &str, generator: &mut dyn rand::RngCore| {
            let question = cloze(&chunks[chunk], name, generator)?;
            Some(Question { text: prompts.1.cloze(&question), answers: vec![name.to_owned()] })
        };
        let of_chunk = (0..chunks.len()).map(|chunk| {
            let key = [step_key.step, item.number(), chunk as u64];
            let mut generator = rng::keyed(CHUNK_PURPOSE, step_key.seed, &key);
            let mut names = names[chunk].clone();
            names.shuffle(&mut generator);
            names.iter().filter_map(|name| draw(chunk, name, &mut generator)).take(counts.of_chunk).collect()
        });
        let of_chunk = of_chunk.collect();
        let global = match item {
            Item::Task(task) => task.questions.clone(),
            Item::Document(_) => {
                let mut generator = rng::keyed(GLOBAL_PURPOSE, step_key.seed, &[step_key.step, item.number()]);
                let all = names.iter().enumerate();
                let mut all: Vec<(usize, &String)> =
                    all.flat_map(|(chunk, names)| names.iter().map(move |name| (chunk, name))).collect();
                all.shuffle(&mut generator);
                let drawn = all.into_iter().filter_map(|(chunk, name)| draw(chunk, name, &mut generator));
                std::iter::once(item.question(prompts.0)).chain(drawn).take(counts.global).collect()
            }
        };
        Self { global, of_chunk }
    }
}

/// Different names of a chunk that can be hidden.
fn hideable(item: &Item, chunks: &[String], chunk: usize, equality: Equality) -> Vec<String> {
    let all: Vec<String> = match item {
        Item::Document(document) => document.askable(chunk, equality).into_iter().map(str::to_owned).collect(),
        Item::Task(_) => capitalised(&chunks[chunk]),
    };
    let mut different: Vec<String> = Vec::new();
    for name in all {
        if different.iter().all(|known| equality.normalise(known) != equality.normalise(&name)) {
            different.push(name);
        }
    }
    different
}

/// The sentences of a text.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(UnicodeSegmentation::split_sentence_bounds).map(str::trim).filter(|text| !text.is_empty())
}

/// A sentence of the chunk with the name hidden; nothing where the name is never a word of a sentence, or all of it.
fn cloze(chunk: &str, name: &str, generator: &mut dyn rand::RngCore) -> Option<String> {
    let matching = Matching { case_sensitive: true };
    let hidden: Vec<String> = sentences(chunk)
        .filter_map(|sentence| {
            let occurrences = mask::occurrences(sentence, name, matching);
            let (masked, _) = mask::replace(sentence, &occurrences, TARGET);
            let says_more = masked.replace(TARGET, " ").unicode_words().count() > 1;
            (!occurrences.is_empty() && says_more).then_some(masked)
        })
        .collect();
    (!hidden.is_empty()).then(|| hidden[generator.random_range(0..hidden.len())].clone())
}

/// Runs of capitalised words that do not begin a sentence: names, in scripts that have capitals.
///
/// ```
/// use memtrain_rl::objectives::questions::capitalised;
/// assert_eq!(capitalised("The river Lorn meets Old Velm. Tides follow."), ["Lorn", "Old Velm"]);
/// ```
pub fn capitalised(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for sentence in sentences(text) {
        let mut run: Option<(usize, usize)> = None;
        let is_capital = |word: &str| word.chars().next().is_some_and(char::is_uppercase);
        let mut keep = |run: &mut Option<(usize, usize)>| {
            if let Some((start, end)) = run.take() {
                let name = &sentence[start..end];
                if start > 0 && name.chars().count() > 2 && ![MASK, TARGET].iter().any(|mask| mask.contains(name)) {
                    names.push(name.to_owned());
                }
            }
        };
        for (at, word) in sentence.unicode_word_indices() {
            let follows = run.is_some_and(|(_, end)| &sentence[end..at] == " ");
            if is_capital(word) && follows {
                run = run.map(|(start, _)| (start, at + word.len()));
            } else {
                keep(&mut run);
                run = is_capital(word).then_some((at, at + word.len()));
            }
        }
        keep(&mut run);
    }
    names
}

/// A question asked of a bank.
#[derive(Clone, Copy, Debug)]
pub struct LabelledQuery<'b> {
    /// The bank.
    pub bank: &'b Bank,
    /// The question.
    pub question: &'b Question,
    /// Number of the item.
    pub item: u64,
    /// The rollout.
    pub rollout: usize,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct QaResult {
    /// The question.
    pub question: Question,
    /// The response to it.
    pub response: String,
    /// 1 where one of the accepted answers was given, else 0.
    pub score: f64,
    /// For each item of the bank that was retrieved, the step that wrote it.
    pub evidence: Vec<u32>,
}

impl QaResult {
    /// For reading: verdict, question, answer.
    pub fn note(&self) -> String {
        let verdict = if self.score > 0.0 { "right" } else { "wrong" };
        let gold = self.question.answers.first().map_or("", String::as_str);
        format!("{verdict}: {} -> {} ({gold})", self.question.text, self.response)
    }
}

/// Lets the frozen policy answer.
///
/// # Errors
/// If there is none, or it fails.
pub fn ask(
    context: &mut RolloutContext<'_>,
    asked: &[LabelledQuery<'_>],
    equality: Equality,
) -> anyhow::Result<Vec<QaResult>> {
    let frozen = context.frozen.as_deref_mut().ok_or_else(|| anyhow::anyhow!("there is no frozen policy to answer"))?;
    let queries: Vec<MemoryQuery<'_>> = asked
        .iter()
        .map(|asked| MemoryQuery {
            bank: asked.bank,
            question: &asked.question.text,
            document: asked.item,
            rollout: asked.rollout as u64,
        })
        .collect();
    let answers = answerer::answer(&context.reader, context.bank, frozen, &queries)?;
    let scored = answers.into_iter().zip(asked).map(|(answer, asked)| {
        let right = asked.question.answers.iter().any(|gold| is_right(&answer.text, gold, equality));
        let (question, score) = (asked.question.clone(), f64::from(u8::from(right)));
        QaResult { question, response: answer.text, score, evidence: answer.evidence }
    });
    Ok(scored.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloze_hides_every_occurrence_and_says_something_else() {
        let mut generator = rng::keyed("test", 1, &[]);
        let chunk = "Lorn is a river. Lorn, not Velm, is old Lorn.\nLorn.";
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            seen.insert(cloze(chunk, "Lorn", &mut generator).unwrap());
        }
        let expected = ["[TARGET] is a river.", "[TARGET], not Velm, is old [TARGET]."];
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), {
            let mut all = expected.map(str::to_owned);
            all.sort();
            all
        });
        assert_eq!(cloze("Lorn.", "Lorn", &mut generator), None, "nothing else is said");
        assert_eq!(cloze("Lornish ways", "Lorn", &mut generator), None, "part of a word");
    }

    #[test]
    fn names_are_found_by_their_capitals() {
        assert_eq!(capitalised("He met Ana Lund, of Ås and Århus [MASK]. It Was"), ["Ana Lund", "Århus"]);
        assert!(capitalised("").is_empty() && capitalised("no names here. or here").is_empty());
    }
}
