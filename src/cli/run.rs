//! `memtrain run`: what can be done with a run besides training it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::print::print_line;
use crate::run::{RunError, RunReader};

/// Arguments of `memtrain run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What to do
    #[command(subcommand)]
    pub command: RunCommand,
}

/// The commands about runs.
#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Read all of a run and compare it with what was written: a changed bit anywhere is named, with exit code 1
    Verify(VerifyArgs),
}

/// Arguments of `memtrain run verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder of a run, running or done
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
}

/// Runs one of the commands.
///
/// # Errors
/// If the folder is no run, or something in it is damaged.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let RunCommand::Verify(args) = &args.command;
    let found = RunReader::open(&args.run)?.verify()?;
    for damage in &found.damage {
        print_line!("{damage}")?;
        if let Some(hint) = damage.hint() {
            print_line!("  {hint}")?;
        }
    }
    let (files, mib) = (found.files, found.bytes as f64 / f64::from(1 << 20));
    if found.damage.is_empty() {
        print_line!("{files} files, {mib:.1} MiB: all as they were written")?;
        return Ok(());
    }
    let (path, places) = (args.run.clone(), found.damage.len());
    Err(RunError::Damaged { path, places, files }.into())
}
