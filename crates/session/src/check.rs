//! Checks of what several keys of a configuration say together, and what follows from it for a step.

use anyhow::Context;
use memtrain_train::Overlap;

use crate::agents::bank::Layout;
use crate::agents::reader::Truncation;
use crate::config::changes::check_name;
use crate::config::{Config, ranges};
use crate::error::Usage;
use crate::objectives::{Agent, SampleCounts, TurnLimits};
use crate::sampler::SamplerKind;

/// Tokens that instructions may take, as MemTrain §4.1 reserves them in its 8,192.
pub const INSTRUCTION_TOKENS: usize = 1_024;

/// Checks all numbers, and what no single key shows.
///
/// # Errors
/// If a number is none that its key may have, the limits of the reader contradict each other, or the policy or the objective lacks something.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let table = toml::Table::try_from(config).context("the configuration cannot be written")?;
    if let Some(wrong) = ranges::check(&table) {
        return Err(Usage(format!("`{}` is {}: {wrong}", wrong.key, wrong.value)).into());
    }
    check_name(&config.run.name)?;
    let needs_corpus = needs_corpus(config);
    if needs_corpus {
        config.corpus.validate()?;
    }
    config.loss.validate().map_err(Usage)?;
    config.sampler.validate().map_err(Usage)?;
    config.reward.validate().map_err(Usage)?;
    config.bank.answerer.iter().try_for_each(|server| server.validate("bank.answerer")).map_err(Usage)?;
    if config.train.overlap == Overlap::OneStep {
        if config.sampler.kind == SamplerKind::Local {
            return Err(Usage(
                "`train.overlap` is \"one-step\", but `sampler.kind` is \"local\": this process cannot draw while it trains, a server can"
                    .to_owned(),
            )
            .into());
        }
        if config.loss.importance_cap == 0.0 {
            return Err(Usage(
                "`train.overlap` is \"one-step\" and `loss.importance_cap` is 0: nothing would correct for the weights that drew a step"
                    .to_owned(),
            )
            .into());
        }
    }
    let reader = &config.reader;
    let longest_response = reader.memory_tokens.max(reader.answer_tokens);
    let needed = reader.chunk_tokens + reader.memory_tokens + longest_response;
    if needed > reader.context_tokens {
        return Err(Usage(format!(
            "a chunk of {} tokens, a memory of {} and a response of {longest_response} need {needed} tokens, but `reader.context_tokens` is {}",
            reader.chunk_tokens, reader.memory_tokens, reader.context_tokens
        ))
        .into());
    }
    if config.objective.objective().agent() == Agent::MemoryWriter(Layout::Sections) {
        let beside_core = reader.chunk_tokens + reader.memory_tokens;
        if beside_core + config.bank.core_tokens > reader.context_tokens {
            return Err(Usage(format!(
                "a chunk of {} tokens, calls of {} and a core of {} do not fit `reader.context_tokens` = {}: lower `bank.core_tokens`",
                reader.chunk_tokens, reader.memory_tokens, config.bank.core_tokens, reader.context_tokens
            ))
            .into());
        }
    }
    let longest_document = reader.chunk_tokens * reader.max_chunks;
    let is_whole = reader.truncation == Truncation::None;
    if needs_corpus && is_whole && config.corpus.synthesize.max_tokens > longest_document {
        return Err(Usage(format!(
            "documents of up to {} tokens do not fit {} chunks of {}: raise `reader.max_chunks`, lower `corpus.synthesize.max_tokens` or set `reader.truncation = \"center\"`",
            config.corpus.synthesize.max_tokens, reader.max_chunks, reader.chunk_tokens
        ))
        .into());
    }
    check_size(config)?;
    check_policy(config)?;
    check_objective(config)
}

/// Whether documents of a corpus are read: tasks with labels need none.
pub fn needs_corpus(config: &Config) -> bool {
    config.tasks.train.is_none() || config.train.evaluate_every > 0 && config.tasks.heldout.is_none()
}

/// Tells what is allowed and teaches nothing.
pub fn warn(config: &Config) {
    if config.objective.objective().group_size() == 1 {
        tracing::warn!(
            "`objective.group_size` is 1: a group of one has no advantage, so trajectories are never trained"
        );
    }
}

/// Checks that the conversations of a step can be held in memory.
fn check_size(config: &Config) -> anyhow::Result<()> {
    /// Trajectories of a step, and recall answers of all of them: gibibytes before a single token is drawn.
    const MOST: [usize; 2] = [1 << 20, 1 << 24];
    let trajectories = config.train.documents_per_step.saturating_mul(config.objective.objective().group_size());
    let recalls = trajectories.saturating_mul(samples_per_trajectory(config).recall_answers);
    if trajectories > MOST[0] || recalls > MOST[1] {
        return Err(Usage(format!(
            "a step of {trajectories} trajectories and {recalls} recall answers is more than {} and {}: lower \
             `train.documents_per_step`, `objective.group_size`, `objective.recall_questions` or `objective.recall_samples`",
            MOST[0], MOST[1]
        ))
        .into());
    }
    Ok(())
}

/// Checks that the objective has what it works on.
fn check_objective(config: &Config) -> anyhow::Result<()> {
    if config.objective.objective().agent() == Agent::Searcher && config.tasks.train.is_none() {
        let kind = config.objective.kind();
        let wrong = format!("`objective.kind = \"{kind}\"` answers questions: name a file of them, `tasks.train`");
        return Err(Usage(wrong).into());
    }
    Ok(())
}

/// Responses of a trajectory at most.
fn samples_per_trajectory(config: &Config) -> SampleCounts {
    let limits = TurnLimits { chunks: chunks(config), search_turns: config.searcher.max_turns };
    config.objective.objective().samples_per_trajectory(limits)
}

/// Chunks of a document or task at most.
pub fn chunks(config: &Config) -> usize {
    let (reader, longest) = (&config.reader, config.corpus.synthesize.max_tokens);
    match config.tasks.train {
        Some(_) => reader.max_chunks,
        None => longest.div_ceil(reader.chunk_tokens).min(reader.max_chunks),
    }
}

/// Conversations of a step at most: turns that read and answer, and recall answers.
pub fn conversations_a_step(config: &Config) -> (usize, usize) {
    let trajectories = config.train.documents_per_step * config.objective.objective().group_size();
    let SampleCounts { turns, recall_answers } = samples_per_trajectory(config);
    (trajectories * turns, trajectories * recall_answers)
}

/// Checks the policy's section.
fn check_policy(config: &Config) -> anyhow::Result<()> {
    let Some(lora) = &config.policy.lora else { return Ok(()) };
    if config.policy.path.is_none() {
        let detail = "`policy.lora` needs `policy.path`: an adapter's folder names the policy that it is for";
        return Err(Usage(detail.to_owned()).into());
    }
    if lora.rank == 0 || lora.targets.is_empty() || !(lora.alpha > 0.0 && lora.alpha.is_finite()) {
        let detail = "`policy.lora` needs a rank of at least 1, a positive alpha and at least one target";
        return Err(Usage(detail.to_owned()).into());
    }
    Ok(())
}

/// Whether a frozen reference is kept.
pub fn has_reference(config: &Config) -> bool {
    let objective = config.objective.objective();
    let server_answers = objective.agent().bank_layout().is_some() && config.bank.answerer.is_some();
    config.loss.kl_beta > 0.0 || objective.needs_reference() && !server_answers
}
