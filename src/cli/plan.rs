//! What will be done: the plan that `--dry-run` prints, and the checks that need no files.

use anyhow::Context;

use super::failure::Usage;
use super::memory_plan::MachineArgs;
use super::print::print_line;
use crate::agents::prompts::PromptSet;
use crate::config::Config;
use crate::objectives::memtrain::Variant;

/// Tokens that instructions may take, as MemTrain §4.1 reserves them in its 8,192.
pub(super) const INSTRUCTION_TOKENS: usize = 1_024;

/// Checks what no single key shows.
///
/// # Errors
/// If the limits of the reader contradict each other or something that must be positive is 0.
pub fn check(config: &Config) -> anyhow::Result<()> {
    config.corpus.validate()?;
    config.loss.validate().map_err(Usage)?;
    config.sampler.validate().map_err(Usage)?;
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
    let longest_document = reader.chunk_tokens * reader.max_chunks;
    if config.corpus.synthesize.max_tokens > longest_document {
        return Err(Usage(format!(
            "documents of up to {} tokens do not fit {} chunks of {}: raise `reader.max_chunks` or lower `corpus.synthesize.max_tokens`",
            config.corpus.synthesize.max_tokens, reader.max_chunks, reader.chunk_tokens
        ))
        .into());
    }
    let positive = [
        ("train.documents_per_step", config.train.documents_per_step),
        ("objective.group_size", config.objective.group_size),
        ("update.minibatches", config.update.minibatches),
        ("update.epochs", config.update.epochs),
        ("update.micro_batch_tokens", config.update.micro_batch_tokens),
        ("reader.chunk_tokens", reader.chunk_tokens),
        ("reader.memory_tokens", reader.memory_tokens),
        ("reader.answer_tokens", reader.answer_tokens),
    ];
    if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(Usage(format!("`{key}` is 0: it must be at least 1")).into());
    }
    check_policy(config)?;
    if config.objective.group_size == 1 {
        tracing::warn!(
            "`objective.group_size` is 1: a group of one has no advantage, so trajectories are never trained"
        );
    }
    Ok(())
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
    let prompts = PromptSet::load(&config.reader.prompts, config.reader.prompt.layout)?;
    print_line!("{}", toml::to_string(config).context("the configuration cannot be written")?)?;
    let synthesize = &config.corpus.synthesize;
    let (objective, reader) = (&config.objective, &config.reader);
    let chunks = synthesize.max_tokens.div_ceil(reader.chunk_tokens).min(reader.max_chunks);
    let trajectories = config.train.documents_per_step * objective.group_size;
    let turns = trajectories * (chunks + 1);
    let recalls = if objective.variant == Variant::EndToEnd { 0 } else { trajectories * objective.recall_samples };
    let prompt = INSTRUCTION_TOKENS.min(reader.context_tokens) + reader.chunk_tokens + reader.memory_tokens;
    print_line!("# What follows from it")?;
    print_line!("# documents            {} training, {} held out", synthesize.num_train, synthesize.num_heldout)?;
    print_line!("# passages a document  {} + 1 + {}", synthesize.num_related, synthesize.num_random)?;
    print_line!("# prompts              `{}`, {}", reader.prompts, prompts.hash())?;
    print_line!("# chunks a document    at most {chunks} of {} tokens", reader.chunk_tokens)?;
    print_line!(
        "# conversations a step at most {} ({turns} turns of readers, {recalls} recall answers)",
        turns + recalls
    )?;
    print_line!(
        "# tokens a step        at most {:.1} million",
        (turns + recalls) as f64 * (prompt + reader.memory_tokens) as f64 / 1e6
    )?;
    print_line!(
        "# reference            {}",
        if config.loss.kl_beta > 0.0 { "the starting policy, frozen" } else { "none (β = 0)" }
    )?;
    print_line!("# run                  {}", config.run.runs.join(&config.run.name).display())?;
    super::memory_plan::print(config, machine)
}
