//! What will be done: the plan that `--dry-run` prints, and the checks that need no files.

use std::path::Path;

use anyhow::Context;
use memtrain_pipeline::staleness;

use super::failure::Usage;
use super::memory_plan::MachineArgs;
use super::print::print_line;
use super::setup;
use super::step_plan::Work;
use super::time_plan::amount;
use crate::agents::bank::Layout;
use crate::agents::prompts::PromptSet;
use crate::agents::reader::Truncation;
use crate::config::Config;
use crate::objectives::{Agent, SampleCounts, TurnLimits};
use crate::sampler::SamplerKind;
use crate::train::Overlap;

/// Tokens that instructions may take, as MemTrain §4.1 reserves them in its 8,192.
pub(super) const INSTRUCTION_TOKENS: usize = 1_024;

/// Checks what no single key shows.
///
/// # Errors
/// If the limits of the reader contradict each other, or the policy or the objective lacks something.
pub fn check(config: &Config) -> anyhow::Result<()> {
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
pub(super) fn chunks(config: &Config) -> usize {
    let (reader, longest) = (&config.reader, config.corpus.synthesize.max_tokens);
    match config.tasks.train {
        Some(_) => reader.max_chunks,
        None => longest.div_ceil(reader.chunk_tokens).min(reader.max_chunks),
    }
}

/// Conversations of a step at most: turns that read and answer, and recall answers.
pub(super) fn conversations_a_step(config: &Config) -> (usize, usize) {
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

/// Prints the resolved configuration and what follows from it, memory and time included.
///
/// # Errors
/// If the configuration contradicts itself or the plan does not fit.
pub fn print(config: &Config, machine: &MachineArgs) -> anyhow::Result<()> {
    check(config)?;
    warn(config);
    let prompts = PromptSet::load(&config.reader.prompts, config.reader.prompt.layout)?;
    print_line!("{}", toml::to_string(config).context("the configuration cannot be written")?)?;
    let synthesize = &config.corpus.synthesize;
    let reader = &config.reader;
    let documents = documents(config)?;
    let (turns, recalls) = conversations_a_step(config);
    let prompt = INSTRUCTION_TOKENS.min(reader.context_tokens) + reader.chunk_tokens + reader.memory_tokens;
    print_line!("# What follows from it")?;
    print_line!("# documents            {documents}")?;
    print_line!("# passages a document  {} + 1 + {}", synthesize.num_related, synthesize.num_random)?;
    print_line!("# prompts              `{}`, {}", reader.prompts, prompts.hash())?;
    print_line!("# chunks a document    at most {} of {} tokens", chunks(config), reader.chunk_tokens)?;
    print_line!(
        "# conversations a step at most {} ({turns} turns of readers, {recalls} recall answers)",
        turns + recalls
    )?;
    let (tokens, scale) = amount((turns + recalls) as f64 * (prompt + reader.memory_tokens) as f64);
    print_line!("# tokens a step        at most {tokens} {scale}before what prompts have in common")?;
    print_line!(
        "# reference            {}",
        if has_reference(config) { "the starting policy, frozen" } else { "none (β = 0)" }
    )?;
    let keeps_bank = config.objective.objective().agent().bank_layout().is_some();
    if let Some(server) = config.bank.answerer.as_ref().filter(|_| keeps_bank) {
        print_line!("# answers and judges   {}", server.url)?;
    }
    print_line!("# run                  {}", config.run.runs.join(&config.run.name).display())?;
    super::memory_plan::print(config, &Work::of_training(config), machine)
}

/// Prints the resolved configuration and what SFT with it takes.
///
/// # Errors
/// As [`print()`].
pub fn print_sft(config: &Config, out: &Path, machine: &MachineArgs) -> anyhow::Result<()> {
    check(config)?;
    let (sft, reader) = (&config.sft, &config.reader);
    print_line!("{}", toml::to_string(config).context("the configuration cannot be written")?)?;
    print_line!("# What follows from it")?;
    print_line!("# trajectories a step  {}, at most {} turns each", sft.trajectories, chunks(config))?;
    print_line!("# texts a step         {}", sft.texts)?;
    print_line!(
        "# a turn               at most {} tokens of a chunk, {} of a memory",
        reader.chunk_tokens,
        reader.memory_tokens
    )?;
    print_line!("# run                  {}", config.run.runs.join(&config.run.name).display())?;
    print_line!("# policy               {}", out.display())?;
    super::memory_plan::print(config, &Work::of_sft(config), machine)
}

/// How many documents there are: of the corpus where it is built, which may not be the configuration's.
fn documents(config: &Config) -> anyhow::Result<String> {
    let (corpus, synthesize) = (&config.run.corpus, &config.corpus.synthesize);
    let of = |[train, heldout]: [u64; 2]| format!("{train} training, {heldout} held out");
    let configured = of([synthesize.num_train, synthesize.num_heldout]);
    if !needs_corpus(config) {
        return Ok("none: tasks are read".to_owned());
    }
    let Some(there) = staleness::num_documents(corpus)? else {
        return Ok(format!("{configured}, once the corpus is built"));
    };
    let differences = setup::differences(config)?;
    if differences.is_empty() {
        return Ok(format!("{}, in `{}`", of(there), corpus.display()));
    }
    tracing::warn!("{}; `train` refuses it", setup::other_configuration(config, &differences));
    Ok(format!("{configured}, once the corpus is built again: `{}` has {}", corpus.display(), of(there)))
}

/// Whether a frozen reference is kept.
pub(super) fn has_reference(config: &Config) -> bool {
    let objective = config.objective.objective();
    let server_answers = objective.agent().bank_layout().is_some() && config.bank.answerer.is_some();
    config.loss.kl_beta > 0.0 || objective.needs_reference() && !server_answers
}
