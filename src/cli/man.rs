//! `memtrain man`: manual pages of all commands, in the form that `man` reads.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use memtrain_corpora::store;

use super::Cli;
use super::print::print_line;

/// Arguments of `memtrain man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder that the pages are written to, for example `~/.local/share/man/man1`
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// Writes a page for each command: `memtrain.1`, `memtrain-train.1` and so on. Pages of these names are written over.
///
/// # Errors
/// If a page cannot be written.
pub fn run(args: &ManArgs) -> anyhow::Result<()> {
    store::create_dir_all(&args.folder)?;
    let mut command = Cli::command();
    command.build();
    let pages = write(&command, "memtrain", &args.folder)?;
    print_line!("{pages} pages in {}", args.folder.display())?;
    Ok(())
}

/// Writes the page of a command and those of its subcommands; gives how many.
fn write(command: &Command, name: &str, folder: &Path) -> anyhow::Result<usize> {
    let mut page = Vec::new();
    let named = command.clone().display_name(name).disable_help_subcommand(true);
    Man::new(named).render(&mut page).context("a manual page cannot be written")?;
    store::write_atomic(&folder.join(format!("{name}.1")), page)?;
    let mut pages = 1;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        pages += write(below, &format!("{name}-{}", below.get_name()), folder)?;
    }
    Ok(pages)
}
