//! `memtrain report`: curves, what the agent remembered and why it was rewarded, as a page.

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
    /// Folders of runs, running or done; curves and documents of the others stand beside those of the first
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Step whose rollouts are shown; the newest of each run without it
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    pub step: Option<u64>,
    /// Documents of the step that are shown: those first in which the rollouts differ most
    #[arg(long, value_name = "N", default_value_t = Selection::default().documents, value_parser = count::<usize>)]
    pub documents: usize,
    /// Rollouts of a document that are shown turn by turn: the best and the worst first
    #[arg(long, value_name = "N", default_value_t = Selection::default().rollouts, value_parser = count::<usize>)]
    pub rollouts: usize,
    /// Report of `memtrain eval memory --out` to show with the first run
    #[arg(long, value_name = "FILE")]
    pub evaluation: Option<PathBuf>,
    /// The page; without it `report.html` in the run's folder, of several runs `comparison.html` in the first one's
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: Option<PathBuf>,
}

/// Writes the page and prints its path.
///
/// # Errors
/// If the folder is no run, a file cannot be read, or the page cannot be written.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let selection = Selection {
        step: args.step,
        documents: args.documents,
        rollouts: args.rollouts,
        evaluation: args.evaluation.clone(),
    };
    let text = page(&args.runs, &selection)?;
    let name = if args.runs.len() == 1 { "report.html" } else { "comparison.html" };
    let path = args.out.clone().unwrap_or_else(|| args.runs.first().map_or_else(|| name.into(), |run| run.join(name)));
    store::check_file(&path, is_page)?;
    store::write_atomic(&path, text)?;
    print_line!("{}", path.display())?;
    Ok(())
}
