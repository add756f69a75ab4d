//! Plan of a run that `--dry-run` prints, and the checks that need no files.

use std::path::Path;

use anyhow::Context;
use memtrain_pipeline::staleness;
use memtrain_session::check::{
    INSTRUCTION_TOKENS, check, chunks, conversations_a_step, has_reference, needs_corpus, warn,
};
use memtrain_session::corpus;
use memtrain_session::step_plan::Work;

use super::machine::MachineArgs;
use super::print::print_line;
use super::time_plan::amount;
use crate::agents::prompts::PromptSet;
use crate::config::Config;

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
    let (folder, synthesize) = (&config.run.corpus, &config.corpus.synthesize);
    let of = |[train, heldout]: [u64; 2]| format!("{train} training, {heldout} held out");
    let configured = of([synthesize.num_train, synthesize.num_heldout]);
    if !needs_corpus(config) {
        return Ok("none: tasks are read".to_owned());
    }
    let Some(there) = staleness::num_documents(folder)? else {
        return Ok(format!("{configured}, once the corpus is built"));
    };
    let differences = corpus::differences(config)?;
    if differences.is_empty() {
        return Ok(format!("{}, in `{}`", of(there), folder.display()));
    }
    tracing::warn!("{}; `train` refuses it", corpus::other_configuration(folder, &differences));
    Ok(format!("{configured}, once the corpus is built again: `{}` has {}", folder.display(), of(there)))
}
