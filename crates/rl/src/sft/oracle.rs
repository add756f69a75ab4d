//! Simple readers to imitate: they copy, they do not think.
//!
//! An oracle keeps whole sentences, or only the names of entities, drawn at random while they fit the memory. It shows
//! the policy the form of every turn and several ways of keeping a memory, none of them good; which one pays is for the
//! reward to find out.

use std::collections::HashSet;

use memtrain_corpora::Document;
use memtrain_corpora::document::MASK;
use memtrain_model::policy::{PolicyError, PolicyTokenizer, PromptText};
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::agents::answer::boxed;
use crate::agents::prompts::PromptSet;
use crate::agents::sentences::{fitting, sentences};
use crate::objectives::ChunkedDocument;
use crate::objectives::memtrain::{MemTrainConfig, draw_recall};

/// How oracles keep a memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OracleConfig {
    /// Share of trajectories whose memory is a list of names; the others keep sentences.
    pub names_share: f64,
    /// Probability that a sentence keeper takes the sentences with the placeholder first.
    pub placeholder_first: f64,
    /// Probability that an item of the old memory is forgotten at each turn although it would fit.
    pub forget: f64,
    /// Whether an oracle takes what its old memory holds before what the chunk offers. Drawn alike, the newest chunk has
    /// the greatest share in a memory, though questions are asked of what was read earlier.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub old_first: bool,
    /// How often each trajectory is asked for the hidden entity, each time of another memory where `informed` draws one.
    pub answers: usize,
    /// Recall questions asked of each trajectory.
    pub recall_questions: usize,
    /// Least share of the memory that an oracle fills. Each trajectory draws its share evenly between this and 1.
    pub least_fill: f64,
    /// Probability that a question is asked of a memory put together for it, instead of the oracle's own: sentences of what
    /// was read, those first that say most about the answer. A sentence with the placeholder says most about the hidden
    /// entity, a sentence of the chunk asked about that names the entity about that one.
    pub informed: f64,
}

impl Default for OracleConfig {
    fn default() -> Self {
        Self {
            names_share: 0.3,
            placeholder_first: 0.5,
            forget: 0.0,
            old_first: false,
            answers: 1,
            recall_questions: 1,
            least_fill: 1.0,
            informed: 0.0,
        }
    }
}

/// A prompt as the user's words, and the response to imitate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The user's words.
    pub user: PromptText,
    /// The response.
    pub response: PromptText,
    /// Whether the response is an answer: the end-to-end one or one of a recall question.
    pub is_answer: bool,
}

/// What an oracle keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Sentences { placeholder_first: bool },
    Names,
}

/// Rolls out one trajectory over a document: its memory turns, the answer, and recall questions.
///
/// # Errors
/// If the tokenizer fails.
pub fn demonstrate(
    document: &ChunkedDocument,
    prompts: &PromptSet,
    tokenizer: &PolicyTokenizer,
    memory_tokens: usize,
    config: &OracleConfig,
    generator: &mut impl Rng,
) -> Result<Vec<Demonstration>, PolicyError> {
    let style = if generator.random_bool(config.names_share) {
        Style::Names
    } else {
        Style::Sentences { placeholder_first: generator.random_bool(config.placeholder_first) }
    };
    let fill = config.least_fill + (1.0 - config.least_fill) * generator.random::<f64>();
    // One token stays free for the end of the response.
    let budget = (fill * memory_tokens.saturating_sub(1) as f64) as usize;
    let mut demonstrations = Vec::new();
    let mut memories = vec![prompts.empty.clone()];
    let mut kept: Vec<String> = Vec::new();
    let is_first = |item: &str| style == (Style::Sentences { placeholder_first: true }) && item.contains(MASK);
    for chunk in 0..document.chunks.len() {
        kept.retain(|_| !generator.random_bool(config.forget));
        let old: HashSet<String> = kept.iter().filter(|_| config.old_first).cloned().collect();
        let candidates = kept.into_iter().chain(items(document, chunk, style));
        let is_first = |item: &str| old.contains(item) || is_first(item);
        kept = keep(candidates, separator(style), is_first, tokenizer, budget, generator)?;
        let memory = kept.join(separator(style));
        let user = prompts.memory_turn(&memories[chunk], document.chunk(chunk));
        demonstrations.push(Demonstration { user, response: memory.as_str().into(), is_answer: false });
        memories.push(memory);
    }
    let mut answer = |user: PromptText, entity: &str| {
        demonstrations.push(Demonstration { user, response: boxed_word(entity), is_answer: true });
    };
    // A memory put together for a question, from the first chunks.
    let informed = |chunks: usize, is_first: &dyn Fn(&str) -> bool, generator: &mut _| {
        let sentences = (0..chunks).flat_map(|chunk| sentences(document.chunk(chunk))).map(str::to_owned);
        Ok::<_, PolicyError>(keep(sentences, " ", is_first, tokenizer, budget, generator)?.join(" "))
    };
    for _ in 0..config.answers {
        let memory = match generator.random_bool(config.informed) {
            true => informed(document.chunks.len(), &|sentence| sentence.contains(MASK), generator)?,
            false => memories.last().cloned().unwrap_or_default(),
        };
        answer(prompts.answer_turn(&memory), &document.document.answer);
    }
    for _ in 0..config.recall_questions {
        if let Some(question) = draw_recall(document, &MemTrainConfig::default(), generator) {
            let mut memory = memories[question.memory_step].clone();
            if generator.random_bool(config.informed) {
                let chunk = document.chunk(question.chunk_step - 1);
                let names = |sentence: &str| sentence.contains(&question.target) && chunk.contains(sentence);
                memory = informed(question.memory_step, &names, generator)?;
            }
            answer(prompts.recall_turn(&memory, &question.masked_chunk), &question.target);
        }
    }
    Ok(demonstrations)
}

/// An answer with a space before it: a name is the token there that it is in running text, and copied as one.
pub(super) fn boxed_word(entity: &str) -> PromptText {
    boxed(&format!(" {entity}"))
}

fn separator(style: Style) -> &'static str {
    match style {
        Style::Sentences { .. } => " ",
        Style::Names => ", ",
    }
}

/// What a chunk offers to a memory of this style, in the order of the text.
fn items(document: &ChunkedDocument, chunk: usize, style: Style) -> Vec<String> {
    let span = &document.chunks[chunk];
    match style {
        Style::Sentences { .. } => sentences(document.chunk(chunk)).map(str::to_owned).collect(),
        Style::Names => names(&document.document, span.start, span.end),
    }
}

fn names(document: &Document, start: usize, end: usize) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for entity in document.entities.iter().filter(|entity| start <= entity.span.start && entity.span.end <= end) {
        if !names.contains(&entity.surface) {
            names.push(entity.surface.clone());
        }
    }
    names
}

/// Draws items at random, those of the first kind first, while they fit, and puts them back into the order of reading.
fn keep(
    items: impl Iterator<Item = String>,
    separator: &str,
    is_first: impl Fn(&str) -> bool,
    tokenizer: &PolicyTokenizer,
    budget: usize,
    generator: &mut impl Rng,
) -> Result<Vec<String>, PolicyError> {
    let mut candidates: Vec<(usize, String)> = items.enumerate().collect();
    candidates.shuffle(generator);
    candidates.sort_by_key(|(_, item)| !is_first(item));
    fitting(candidates, separator, tokenizer, budget)
}
