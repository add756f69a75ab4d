//! The examples of an SFT step: a mixture of plain text and demonstrations, trained on by maximum likelihood.

use anyhow::Context;
use memtrain_corpora::rng;
use memtrain_model::policy::PolicyTokenizer;
use memtrain_model::scoring::PromptResponse;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::bank_oracle::BankOracle;
use super::oracle::{OracleConfig, demonstrate};
use crate::agents::bank::{BankReading, Layout};
use crate::agents::prompts::PromptSet;
use crate::objectives::ChunkedDocument;

/// Constants of supervised fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SftConfig {
    /// Optimizer steps.
    pub steps: usize,
    /// Trajectories to imitate a step.
    pub trajectories: usize,
    /// Stretches of plain text a step.
    pub texts: usize,
    /// Probability that a stretch of plain text is two passages and one of them again, which can only be known by copying it.
    pub repeat: f64,
    /// Weight of the plain text's loss against the demonstrations'.
    pub text_weight: f64,
    /// Weight of a token of an answer against a token of a memory: answers are short and would drown.
    pub answer_weight: f64,
    /// Weight of predicting the prompts of demonstrations too. What a memory holds stands in the chunks as well, so this
    /// teaches to look words up and to copy them from many more tokens than the responses are.
    pub prompt_weight: f64,
    /// How oracles keep a memory.
    pub oracle: OracleConfig,
}

impl Default for SftConfig {
    fn default() -> Self {
        Self {
            steps: 2_000,
            trajectories: 8,
            texts: 16,
            repeat: 0.0,
            text_weight: 0.5,
            answer_weight: 1.0,
            prompt_weight: 0.0,
            oracle: OracleConfig::default(),
        }
    }
}

/// A prompt and the response to make likely.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Prompt token ids.
    pub prompt_ids: Vec<u32>,
    /// Response token ids.
    pub response_ids: Vec<u32>,
    /// Weight of each token of the response.
    pub weights: Vec<f64>,
}

impl Example {
    /// The token ids, to be scored or packed.
    pub fn pair(&self) -> PromptResponse<'_> {
        PromptResponse { prompt_ids: &self.prompt_ids, response_ids: &self.response_ids }
    }
}

/// What examples are made from.
pub struct Material<'a> {
    /// Plain text.
    pub texts: Vec<String>,
    /// Documents for oracles to read.
    pub documents: Vec<ChunkedDocument>,
    /// What the agent is shown.
    pub prompts: &'a PromptSet,
    /// The policy's tokenizer.
    pub tokenizer: &'a PolicyTokenizer,
    /// Longest memory in tokens.
    pub memory_tokens: usize,
    /// Imitate a writer of such a bank instead of a reader.
    pub bank: Option<(&'a BankReading, Layout)>,
}

/// Draws the examples of a step: `texts` stretches of plain text, and the turns of `trajectories` oracles over documents
/// drawn with repetition. The weights of all tokens sum to 1 + `text_weight` + `prompt_weight`.
///
/// # Errors
/// If there is nothing to draw from, or the tokenizer fails.
pub fn draw_examples(
    step: u64,
    seed: u64,
    material: &Material<'_>,
    config: &SftConfig,
) -> anyhow::Result<Vec<Example>> {
    let Material { texts, documents, prompts, tokenizer, memory_tokens, bank } = material;
    let memory_tokens = *memory_tokens;
    anyhow::ensure!(
        !texts.is_empty() && !documents.is_empty(),
        "the corpus has no text or no documents to fine-tune on"
    );
    let end = tokenizer.eos_token_ids().first().copied().context("the tokenizer has no end-of-text token")?;
    let mut generator = rng::keyed("warm-up", seed, &[step]);
    let mut plain = Vec::new();
    for _ in 0..config.texts {
        let mut text = texts[generator.random_range(0..texts.len())].clone();
        if generator.random_bool(config.repeat) {
            let other = &texts[generator.random_range(0..texts.len())];
            let again = if generator.random_bool(0.5) { text.clone() } else { other.clone() };
            text.push_str(other);
            text.push_str(&again);
        }
        let mut response_ids = tokenizer.encode_text(&text)?;
        response_ids.push(end);
        let weights = vec![1.0; response_ids.len()];
        plain.push(Example { prompt_ids: vec![end], response_ids, weights });
    }
    let mut turns = Vec::new();
    let mut num_read = 0;
    for _ in 0..config.trajectories {
        let document = &documents[generator.random_range(0..documents.len())];
        let demonstrations =
            match *bank {
                None => demonstrate(document, prompts, tokenizer, memory_tokens, &config.oracle, &mut generator)?,
                Some((reading, layout)) => BankOracle { reading, layout, prompts, tokenizer, memory_tokens }
                    .demonstrate(document, &config.oracle, &mut generator)?,
            };
        for demonstration in demonstrations {
            let prompt_ids = tokenizer.chat_prompt_ids(&demonstration.user)?;
            // Continuing a prompt, a response begins with the space that its first word carries in running text.
            let mut response_ids = tokenizer.encode_text(demonstration.response.after_space())?;
            response_ids.push(end);
            let weight = if demonstration.is_answer { config.answer_weight } else { 1.0 };
            let weights = vec![weight; response_ids.len()];
            num_read += prompt_ids.len() - 1;
            turns.push(Example { prompt_ids, response_ids, weights });
        }
    }
    scale(&mut plain, config.text_weight);
    scale(&mut turns, 1.0);
    if config.prompt_weight > 0.0 {
        let weight = config.prompt_weight / num_read.max(1) as f64;
        for turn in &mut turns {
            // All but the first token of the prompt are predicted like the response.
            let read = turn.prompt_ids.split_off(1);
            turn.weights.splice(0..0, read.iter().map(|_| weight));
            turn.response_ids.splice(0..0, read);
        }
    }
    plain.extend(turns);
    Ok(plain)
}

/// Makes the weights of all tokens sum to `total`.
fn scale(examples: &mut [Example], total: f64) {
    let sum: f64 = examples.iter().flat_map(|example| &example.weights).sum();
    let weights = examples.iter_mut().flat_map(|example| &mut example.weights);
    weights.for_each(|weight| *weight *= total / sum.max(1.0));
}
