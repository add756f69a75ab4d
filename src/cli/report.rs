//! `memtrain report`: what the agent remembered and why it was rewarded, as a page.

use std::path::PathBuf;

use clap::Args;
use memtrain_corpora::store;

use super::counts::count;
use super::print::print_line;
use super::written::written_path;
use crate::report::{Selection, is_page, page};

/// Arguments of `memtrain report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of a run, running or done
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Step whose rollouts are shown; the newest without it
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    pub step: Option<u64>,
    /// Documents of the step that are shown: those first in which the rollouts differ most
    #[arg(long, value_name = "N", default_value_t = Selection::default().documents, value_parser = count::<usize>)]
    pub documents: usize,
    /// Rollouts of a document that are shown turn by turn: the best and the worst first
    #[arg(long, value_name = "N", default_value_t = Selection::default().rollouts, value_parser = count::<usize>)]
    pub rollouts: usize,
    /// The page; `report.html` in the run's folder without it
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: Option<PathBuf>,
}

/// Writes the page and prints its path.
///
/// # Errors
/// If the folder is no run, a file cannot be read, or the page cannot be written.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let selection = Selection { step: args.step, documents: args.documents, rollouts: args.rollouts };
    let text = page(&args.run, &selection)?;
    let path = args.out.clone().unwrap_or_else(|| args.run.join("report.html"));
    store::check_file(&path, is_page)?;
    store::write_atomic(&path, text)?;
    print_line!("{}", path.display())?;
    Ok(())
}
