//! `memtrain man`: manual pages of all commands, in the form that `man` reads, or one page in Markdown.

mod markdown;

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
    #[arg(value_name = "DIR", required_unless_present = "markdown", conflicts_with = "markdown")]
    pub folder: Option<PathBuf>,
    /// Print one page of all commands in Markdown instead
    #[arg(long)]
    pub markdown: bool,
}

/// Writes a page for each command: `memtrain.1`, `memtrain-train.1` and so on. Pages of any version are written over.
///
/// # Errors
/// If a file of such a name is not a page of this command, which stays with all others; if a page cannot be written.
pub fn run(args: &ManArgs) -> anyhow::Result<()> {
    let mut command = Cli::command();
    command.build();
    let Some(folder) = &args.folder else {
        print_line!("{}", markdown::page(&command).trim_end())?;
        return Ok(());
    };
    store::create_dir_all(folder)?;
    let pages = pages(&command, "memtrain")?;
    let written = pages.iter().map(|(name, page)| (folder.join(format!("{name}.1")), page));
    for (path, page) in written.clone() {
        store::check_file(&path, |path| is_page(path, page))?;
    }
    for (path, page) in written {
        store::write_atomic(&path, page)?;
    }
    print_line!("{} pages in {}", pages.len(), folder.display())?;
    Ok(())
}

/// Whether a file begins as a page does, up to the version: with the preamble and the name of the command.
fn is_page(path: &Path, page: &[u8]) -> bool {
    let until_version = page.iter().position(|&byte| byte == b'"').unwrap_or(page.len());
    store::head(path, until_version as u64).is_ok_and(|head| head == page[..until_version])
}

/// The pages of a command and its subcommands, each after its name.
fn pages(command: &Command, name: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut page = Vec::new();
    let named = command.clone().display_name(name).disable_help_subcommand(true);
    Man::new(named).render(&mut page).context("a manual page cannot be written")?;
    let mut found = vec![(name.to_owned(), page)];
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        found.extend(pages(below, &format!("{name}-{}", below.get_name()))?);
    }
    Ok(found)
}
