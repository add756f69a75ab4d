//! Command line: arguments by clap, one file a command.

mod choice;
pub mod completions;
pub mod config;
pub mod configuration;
pub mod corpus;
mod counts;
pub mod doctor;
pub mod entities;
pub mod environment;
pub mod eval;
pub mod failure;
pub mod index;
mod input;
pub mod inspect;
mod machine;
pub mod man;
pub mod memory_plan;
pub mod plan;
pub mod policy;
pub mod print;
pub mod processor;
pub mod progress;
pub mod quickstart;
mod ranks;
pub mod read;
pub mod report;
pub mod run;
pub mod serve_index;
pub mod setup;
pub mod slurm;
pub mod tasks;
mod template_holes;
mod time_plan;
pub mod train;
pub mod wikitext;
pub mod world;
mod written;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use memtrain_session::models;

/// From a Wikipedia dump to a language model that remembers what it reads.
#[derive(Debug, Parser)]
#[command(name = "memtrain", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more (-v) or much more (-vv); `RUST_LOG` is respected
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say nothing but warnings and errors: no news, no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do everything once on a fictional encyclopedia: corpus, training, evaluation (minutes, no download)
    Quickstart(quickstart::QuickstartArgs),
    /// Write the fictional encyclopedia as a MediaWiki dump
    World(world::WorldArgs),
    /// Turn a dump into training documents
    Corpus(corpus::CorpusArgs),
    /// Turn the wikitext of one page into clean text, or into JSON with its sections and links
    Wikitext(wikitext::WikitextArgs),
    /// Find the entities of a text, or compare a back-end with gold tags
    Entities(entities::EntitiesArgs),
    /// Ask the index of a corpus, or measure one on a question set
    Index(index::IndexArgs),
    /// Make, describe, score with and sample from a policy
    Policy(policy::PolicyArgs),
    /// Fine-tune a policy made from nothing on the corpus's text and on demonstrations of the task (SFT)
    #[command(visible_alias = "warm-up")]
    Sft(train::SftArgs),
    /// Train a policy with GRPO
    Train(train::TrainArgs),
    /// Read a text of any length chunk by chunk with a memory, and answer questions from it
    Read(read::ReadArgs),
    /// Turn question sets into tasks, and tasks into long contexts
    Tasks(tasks::TasksArgs),
    /// Evaluate a policy: held-out documents, long contexts, searched questions
    Eval(eval::EvalArgs),
    /// Check a run for damage
    Run(run::RunArgs),
    /// Write a page that shows what the agent remembered and why it was rewarded
    Report(report::ReportArgs),
    /// Offer an index over HTTP, with the protocol of Search-R1 and MEM1
    ServeIndex(serve_index::ServeIndexArgs),
    /// Build a corpus or train as jobs of Slurm
    Slurm(slurm::SlurmArgs),
    /// Check a configuration, print it with every default, or describe all keys
    Config(config::ConfigCommandArgs),
    /// Say what this program and this machine are, and what stands in the way
    Doctor(doctor::DoctorArgs),
    /// Print the completions of a shell
    Completions(completions::CompletionsArgs),
    /// Write manual pages
    Man(man::ManArgs),
}

/// Reads the command line.
///
/// # Errors
/// What is wrong with it; or what was asked for instead of a command, such as `--help`.
pub fn parse() -> Result<Cli, clap::Error> {
    let mut command = numbers_are_values(Cli::command());
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Takes `-1` behind an option for its value, which is then refused as a number, and not as an option that nobody knows.
fn numbers_are_values(command: clap::Command) -> clap::Command {
    let of_option = |arg: clap::Arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    command.mut_args(of_option).mut_subcommands(numbers_are_values)
}

/// Starts the log on stderr: plain text, colour only on a terminal that wants it.
pub fn start_log(cli: &Cli) {
    use std::io::IsTerminal;
    let is_silent = memtrain_collective::launch::is_follower();
    if cli.quiet || is_silent {
        crate::run::progress::be_quiet();
    }
    let default = match cli.verbose {
        _ if is_silent => "error",
        _ if cli.quiet => "warn",
        0 => "warn,memtrain=info",
        1 => "info,memtrain=debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(crate::run::log::writer)
        .with_ansi(colour)
        .with_target(false)
        .with_timer(crate::run::log::Seconds)
        // A log that nobody reads must not stop what it tells about.
        .log_internal_errors(false)
        .init();
}
