//! Simple readers to imitate: they copy, they do not think.
//!
//! An oracle keeps whole sentences, or only the names of entities, drawn at random while they fit the memory. It shows
//! the policy the form of every turn and several ways of keeping a memory, none of them good; which one pays is for the
//! reward to find out.

use memtrain_corpora::Document;
use memtrain_corpora::document::MASK;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use crate::agents::answer::boxed;
use crate::agents::prompts::{EMPTY_MEMORY, PromptSet};
use crate::objectives::memtrain::{ChunkedDocument, MemTrainConfig, draw_recall};
use crate::policy::{PolicyError, PolicyTokenizer, PromptText};

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
    /// Recall questions asked of each trajectory.
    pub recall_questions: usize,
}

impl Default for OracleConfig {
    fn default() -> Self {
        Self { names_share: 0.3, placeholder_first: 0.5, forget: 0.0, recall_questions: 1 }
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

/// Plays one trajectory over a document: its memory turns, the answer, and recall questions.
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
    let mut demonstrations = Vec::new();
    let mut memories = vec![EMPTY_MEMORY.to_owned()];
    let mut kept: Vec<String> = Vec::new();
    for chunk in 0..document.chunks.len() {
        kept.retain(|_| !generator.random_bool(config.forget));
        let fresh = items(document, chunk, style);
        kept = keep(kept, fresh, style, tokenizer, memory_tokens, generator)?;
        let memory = kept.join(separator(style));
        let user = prompts.memory_turn(&memories[chunk], document.chunk(chunk));
        demonstrations.push(Demonstration { user, response: memory.as_str().into(), is_answer: false });
        memories.push(memory);
    }
    let last = memories.last().map_or(EMPTY_MEMORY, String::as_str);
    let mut answer = |user: PromptText, entity: &str| {
        demonstrations.push(Demonstration { user, response: boxed(entity), is_answer: true });
    };
    answer(prompts.answer_turn(last), &document.document.answer);
    for _ in 0..config.recall_questions {
        if let Some(question) = draw_recall(document, &MemTrainConfig::default(), generator) {
            let user = prompts.recall_turn(&memories[question.memory_step], &question.masked_chunk);
            answer(user, &question.target);
        }
    }
    Ok(demonstrations)
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
        Style::Sentences { .. } => sentences(document.chunk(chunk)),
        Style::Names => names(&document.document, span.start, span.end),
    }
}

fn sentences(text: &str) -> Vec<String> {
    text.split('\n')
        .flat_map(|line| line.split_sentence_bounds())
        .map(|sentence| sentence.trim().to_owned())
        .filter(|sentence| !sentence.is_empty())
        .collect()
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

/// Draws items at random while the memory fits, and puts what was drawn back into the order of reading.
fn keep(
    old: Vec<String>,
    fresh: Vec<String>,
    style: Style,
    tokenizer: &PolicyTokenizer,
    memory_tokens: usize,
    generator: &mut impl Rng,
) -> Result<Vec<String>, PolicyError> {
    let mut candidates: Vec<(usize, String)> = Vec::new();
    for item in old.into_iter().chain(fresh) {
        if !candidates.iter().any(|(_, known)| *known == item) {
            candidates.push((candidates.len(), item));
        }
    }
    candidates.shuffle(generator);
    if style == (Style::Sentences { placeholder_first: true }) {
        candidates.sort_by_key(|(_, item)| !item.contains(MASK));
    }
    // One token stays free for the end of the response.
    let budget = memory_tokens.saturating_sub(1);
    let mut used = 0;
    let mut kept = Vec::new();
    for (place, item) in candidates {
        let cost = tokenizer.encode_text(format!("{}{item}", separator(style)))?.len();
        if used + cost <= budget {
            used += cost;
            kept.push((place, item));
        }
    }
    kept.sort();
    Ok(kept.into_iter().map(|(_, item)| item).collect())
}
