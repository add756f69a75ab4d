//! `memtrain completions`: what a shell reads to complete commands and options.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::print::raw_output;

/// Arguments of `memtrain completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    // Into memory first: the generator panics where the output is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "memtrain", &mut script);
    Ok(raw_output().write_all(&script)?)
}
