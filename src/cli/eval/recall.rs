//! `memtrain eval recall`.

use std::path::PathBuf;

use clap::Args;
use memtrain_corpora::store;
use memtrain_session::Session;
use serde_json::json;

use super::super::written::written_path;
use super::kept::{self, KeptArgs};
use crate::cli::configuration::ConfigArgs;
use crate::cli::counts::held;
use crate::cli::models;
use crate::cli::print::print_line;
use crate::cli::setup;
use crate::eval::recall::{RecallCell, RecallOptions, RecallReport, evaluate, keys};
use crate::eval::reconstruction::EVALUATION_STEP;
use crate::run::progress::Bar;
use crate::run::signal::StopRequest;

/// Arguments of `memtrain eval recall`.
#[derive(Debug, Args)]
pub struct RecallArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Policy directory to evaluate, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub policy: Option<String>,
    /// Questions about each pair of a memory and an earlier chunk
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = held)]
    pub questions: usize,
    /// Ask about the chunk just read too
    #[arg(long)]
    pub include_current: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: Option<PathBuf>,
    /// Where items are kept
    #[command(flatten)]
    pub kept: KeptArgs,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Evaluates and prints.
///
/// # Errors
/// If the corpus or the policy cannot be read, or a signal asked to stop.
pub fn run(args: &RecallArgs) -> anyhow::Result<()> {
    super::check_out::<RecallReport>(args.out.as_deref())?;
    let mut config = args.config.load()?;
    setup::check_heldout(&mut config, &args.config)?;
    if let Some(path) = &args.policy {
        config.policy.path = Some(path.clone());
        config.policy.preset = None;
    }
    models::place(&mut config)?;
    let session = Session::new(config)?;
    let policy = session.starting_policy()?;
    let sampling = session.evaluation_sampling();
    let reader = session.reader(&policy, &sampling, EVALUATION_STEP);
    let documents = session.held_out(&reader, session.config.eval.documents)?;
    let stop = StopRequest::on_signals_saying(super::KEEPS_NOTHING)?;
    let bar = Bar::new("documents", documents.len() as u64, 0);
    let options = RecallOptions { questions: args.questions, include_current: args.include_current };
    let advanced = |done: usize| bar.advance_to(done as u64, "");
    let objective = session.config.objective.memtrain();
    let settings = [("questions", json!(args.questions)), ("include_current", json!(args.include_current))];
    let note = || kept::note("recall", &session, &policy, &settings);
    let keys = keys(&documents, &objective, options, session.config.run.seed);
    let report = args.kept.keep(note, keys, |items| {
        let mut engine = session.engine(&policy, &stop)?;
        evaluate(&reader, &mut engine, &documents, &objective, options, advanced, items)
    })?;
    bar.finish();
    if let Some(path) = &args.out {
        store::write_json(path, &report)?;
    }
    if args.json {
        print_line!("{}", serde_json::to_string(&report)?)?;
    } else {
        print_line!("{}", table(&report).trim_end())?;
    }
    Ok(())
}

fn table(report: &RecallReport) -> String {
    let mut text = format!("all                 {}  {} questions\n", report.recall, report.questions);
    let mut rows = |name: &str, cells: &[RecallCell]| {
        for cell in cells {
            text.push_str(&format!("{name:<14} {:>4} {}  {} questions\n", cell.at, cell.recall, cell.questions));
        }
    };
    rows("distance k - l", &report.by_distance);
    rows("age k", &report.by_age);
    text.push_str(&format!(
        "documents {}, {} without questions, {} pairs without an entity to ask for\n",
        report.documents, report.documents_without_questions, report.pairs_without_entity
    ));
    text
}
