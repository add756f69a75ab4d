//! The baseline of the reader: the whole context in one prompt.
//!
//! Where it does not fit, its middle is left out: the head and the tail that stay are of equal length in tokens.

use std::path::Path;

use anyhow::Context;
use memtrain_corpora::store;
use memtrain_model::policy::{PolicyTokenizer, PromptText};
use memtrain_rollout_types::RolloutKind;

use super::prompts::{PromptError, fill};
use super::reader::Reader;
use crate::rollout::{Observation, RolloutEngine, SingleTurn, Turn};

const STANDARD: &str = include_str!("../../../../configs/prompts/standard/context.txt");
const COMPACT: &str = include_str!("../../../../configs/prompts/compact/context.txt");
const FILE: &str = "context.txt";

/// What stands where the middle was.
const GAP: &str = "\n[…]\n";

/// The template of a question about a whole context: `context.txt` of a prompt set, with `{problem}` and `{section}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextPrompt {
    template: String,
}

impl ContextPrompt {
    /// Loads the template of a prompt set; a folder without one takes that of `standard`.
    ///
    /// # Errors
    /// If the file cannot be read, or lacks a field.
    pub fn load(set: &str) -> Result<Self, PromptError> {
        let own = Path::new(set).join(FILE);
        let template = match set {
            "standard" => STANDARD.to_owned(),
            "compact" => COMPACT.to_owned(),
            _ if store::exists(&own) => {
                store::read_to_string(&own).map_err(|source| PromptError::Unreadable { set: set.to_owned(), source })?
            }
            _ => STANDARD.to_owned(),
        };
        let template = template.trim_end_matches('\n').to_owned();
        match ["{problem}", "{section}"].into_iter().find(|field| !template.contains(field)) {
            Some(field) => Err(PromptError::MissingField { set: set.to_owned(), file: FILE, field }),
            None => Ok(Self { template }),
        }
    }

    /// BLAKE3 hash of the template.
    pub fn hash(&self) -> String {
        blake3::hash(self.template.as_bytes()).to_hex().to_string()
    }

    /// The user's words.
    pub fn turn(&self, problem: &str, context: &str) -> PromptText {
        fill(&self.template, &[("{problem}", &problem.into()), ("{section}", &context.into())])
    }
}

/// A question about a whole context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextQuestion {
    /// Number for RNG keys.
    pub number: u64,
    /// What is asked.
    pub problem: String,
    /// The context.
    pub context: String,
}

/// An answer from a whole context.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextAnswer {
    /// The turn.
    pub turn: Turn,
    /// Tokens of the context that were left out.
    pub dropped_tokens: u64,
}

/// Answers each question in one turn. Prompt and response take at most `limit` tokens.
///
/// # Errors
/// If the sampler or the tokenizer fails, a question alone does not fit, or somebody asks to stop.
pub fn answer(
    reader: &Reader<'_>,
    prompt: &ContextPrompt,
    engine: &mut RolloutEngine<'_>,
    questions: &[ContextQuestion],
    limit: usize,
) -> anyhow::Result<Vec<ContextAnswer>> {
    let (max_tokens, kind) = (reader.config.answer_tokens, RolloutKind::Answer);
    let (mut prompts, mut dropped) = (Vec::with_capacity(questions.len()), Vec::with_capacity(questions.len()));
    for question in questions {
        let (prompt_ids, left_out) = fitted(reader.tokenizer, prompt, question, limit.saturating_sub(max_tokens))?;
        let observation = Observation { kind, prompt_ids, params: reader.sampling.params(max_tokens) };
        prompts.push(SingleTurn::new(reader.step_key.fold_in(question.number, 0), observation));
        dropped.push(left_out);
    }
    let turns = engine.respond_all(reader.tokenizer, prompts)?.into_iter().zip(dropped);
    Ok(turns.map(|(turn, dropped_tokens)| ContextAnswer { turn, dropped_tokens }).collect())
}

/// A prompt of at most `limit` tokens, and how many tokens of the context it lacks.
fn fitted(
    tokenizer: &PolicyTokenizer,
    prompt: &ContextPrompt,
    question: &ContextQuestion,
    limit: usize,
) -> anyhow::Result<(Vec<u32>, u64)> {
    let whole = tokenizer.chat_prompt_ids(prompt.turn(&question.problem, &question.context))?;
    if whole.len() <= limit {
        return Ok((whole, 0));
    }
    let (ids, offsets) = tokenizer.encode_with_offsets(&question.context)?;
    let frame = tokenizer.chat_prompt_ids(prompt.turn(&question.problem, GAP))?.len();
    let mut budget = limit
        .checked_sub(frame)
        .with_context(|| format!("the question alone takes {frame} tokens, and {limit} are left for a prompt"))?;
    loop {
        budget = budget.min(ids.len().saturating_sub(1));
        let (head, tail) = (budget.div_ceil(2), budget / 2);
        let context = &question.context;
        let head_end = context.floor_char_boundary(offsets.get(head).map_or(context.len(), |next| next.start));
        let tail_start = match tail {
            0 => context.len(),
            tail => context.floor_char_boundary(offsets[ids.len() - tail].start).max(head_end),
        };
        let shortened = format!("{}{GAP}{}", &context[..head_end], &context[tail_start..]);
        let prompt_ids = tokenizer.chat_prompt_ids(prompt.turn(&question.problem, &shortened))?;
        if prompt_ids.len() <= limit {
            return Ok((prompt_ids, (ids.len() - head - tail) as u64));
        }
        // At the seams words may fall into other tokens than in the whole text.
        anyhow::ensure!(budget > 0, "the question alone does not fit {limit} tokens");
        budget = budget.saturating_sub(prompt_ids.len() - limit);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use memtrain_model::policy::PolicyTokenizer;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_does_not_fit_loses_its_middle(context in "[a-zé ]{0,120}", limit in 40_usize..150) {
            let (tokenizer, prompt) = (PolicyTokenizer::of_bytes().unwrap(), ContextPrompt::load("compact").unwrap());
            let question = ContextQuestion { number: 0, problem: "who?".into(), context: context.clone() };
            let (ids, dropped) = fitted(&tokenizer, &prompt, &question, limit).unwrap();
            prop_assert!(ids.len() <= limit);
            let shown = tokenizer.decode(&ids).unwrap();
            if dropped == 0 {
                prop_assert!(shown.contains(&context));
            } else {
                let (head, tail) = shown.split_once(GAP).unwrap();
                let head = head.split_once("Text: ").unwrap().1;
                let tail = tail.rsplit_once("\nAnswer:").unwrap().0;
                prop_assert!(context.starts_with(head) && context.ends_with(tail));
                prop_assert!(head.len().abs_diff(tail.len()) <= 4, "{head:?} {tail:?}");
                prop_assert!(ids.len() + 6 > limit, "room is used: {} of {limit}", ids.len());
            }
        }
    }

    #[test]
    fn a_question_that_does_not_fit_by_itself_is_told() {
        let (tokenizer, prompt) = (PolicyTokenizer::of_bytes().unwrap(), ContextPrompt::load("compact").unwrap());
        let question = ContextQuestion { number: 0, problem: "who? ".repeat(20), context: "x".repeat(50) };
        let error = fitted(&tokenizer, &prompt, &question, 30).unwrap_err();
        assert!(error.to_string().contains("the question alone takes"), "{error}");
        assert_ne!(ContextPrompt::load("standard").unwrap().hash(), prompt.hash());
    }
}
