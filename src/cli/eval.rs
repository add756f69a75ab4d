//! `memtrain eval`: a policy on held-out documents, on long contexts and on questions that it searches for.

pub mod bank;
mod benchmarked;
pub mod compare;
mod kept;
pub mod long_qa;
pub mod memory;
pub mod recall;
pub mod search_qa;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use memtrain_corpora::store;
use memtrain_session::Session;
use serde::de::DeserializeOwned;
use serde_json::json;

use self::kept::KeptArgs;
use super::configuration::{ConfigArgs, DeviceArgs};
use super::failure::WithHint;
use super::models;
use super::print::print_line;
use super::setup;
use super::written::written_path;
use crate::eval::reconstruction::{EVALUATION_STEP, ReconstructionReport, keys, questions};
use crate::eval::record::RecordError;
use crate::run::RunError;
use crate::run::signal::StopRequest;

/// Arguments of `memtrain eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// What to evaluate
    #[command(subcommand)]
    pub benchmark: Benchmark,
}

/// The benchmarks.
#[derive(Debug, Subcommand)]
pub enum Benchmark {
    /// End-to-end reconstruction and intermediate recall: what MemTrain trains
    Reconstruction(ReconstructionArgs),
    /// Intermediate recall by distance and by the age of the memory
    Recall(recall::RecallArgs),
    /// The same questions, answered from the policy's memories and from others: empty, another's, random, a rule
    Memory(memory::MemoryArgs),
    /// Questions about long contexts, read in chunks and at once
    LongQa(long_qa::LongQaArgs),
    /// Questions that are searched for, one or several at a time
    SearchQa(search_qa::SearchQaArgs),
    /// Questions to a structured memory that a policy writes by function calls
    Bank(bank::BankArgs),
    /// Two evaluations item by item: differences, intervals, p-values
    Compare(compare::CompareArgs),
}

/// Arguments of `memtrain eval reconstruction`.
#[derive(Debug, Args)]
pub struct ReconstructionArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What computes
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Policy directory to evaluate, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub policy: Option<String>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: Option<PathBuf>,
    /// Where items are kept
    #[command(flatten)]
    pub kept: KeptArgs,
}

/// Does what was asked.
///
/// # Errors
/// If something cannot be read, or a signal asked to stop.
pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    match &args.benchmark {
        Benchmark::Reconstruction(args) => reconstruction(args),
        Benchmark::Recall(args) => recall::run(args),
        Benchmark::Memory(args) => memory::run(args),
        Benchmark::LongQa(args) => long_qa::run(args),
        Benchmark::SearchQa(args) => search_qa::run(args),
        Benchmark::Bank(args) => bank::run(args),
        Benchmark::Compare(args) => compare::run(args),
    }
}

/// Gives the failure of an evaluation's folder its hint.
fn with_hint<T>(result: Result<T, RecordError>) -> anyhow::Result<T> {
    result.map_err(|error| match error.hint() {
        Some(hint) => Err::<(), _>(error).hint(|| hint).unwrap_err(),
        None => error.into(),
    })
}

/// What the first signal is answered by, where nothing of an evaluation is kept.
const KEEPS_NOTHING: &str = "stopping: nothing of this evaluation is kept; a second Ctrl-C ends at once";

/// Says of an evaluation that was stopped that nothing of it is kept.
fn unkept<T>(result: anyhow::Result<T>) -> anyhow::Result<T> {
    result.map_err(|error| match RunError::is_stop(&error) {
        true => error.context(
            "stopped by a signal: nothing of this evaluation is kept; run the same command again to begin anew",
        ),
        false => error,
    })
}

/// Checks, before the work, that a report may be written: nothing is there, or a report of the same kind.
fn check_out<T: DeserializeOwned>(out: Option<&Path>) -> anyhow::Result<()> {
    let is_report = |path: &Path| store::read_json::<T>(path).is_ok();
    Ok(out.map_or(Ok(()), |path| store::check_file(path, is_report))?)
}

fn reconstruction(args: &ReconstructionArgs) -> anyhow::Result<()> {
    check_out::<ReconstructionReport>(args.out.as_deref())?;
    let mut config = args.config.load_for(&args.device)?;
    if let Some(path) = &args.policy {
        config.policy.path = Some(path.clone());
        config.policy.preset = None;
    }
    setup::check_heldout(&mut config, &args.config)?;
    models::place(&mut config)?;
    let session = Session::new(config)?;
    let (policy, stop) = (session.starting_policy()?, StopRequest::on_signals_saying(KEEPS_NOTHING)?);
    let (eval, objective) = (&session.config.eval, session.config.objective.memtrain());
    let sampling = session.evaluation_sampling();
    let reader = session.reader(&policy, &sampling, EVALUATION_STEP);
    let documents = session.held_out(&reader, eval.documents)?;
    let asked = questions(&documents, &objective, eval.recall_questions, session.config.run.seed);
    let settings = [("recall_questions", json!(eval.recall_questions))];
    let note = || kept::note("reconstruction", &session, &policy, &settings);
    let report = args.kept.keep(note, keys(&documents, &asked), |items| {
        session.evaluate_on(&policy, &reader, &documents, &stop, items)
    })?;
    if let Some(path) = &args.out {
        store::write_json(path, &report)?;
    }
    print_line!("end-to-end  {}", report.end_to_end)?;
    print_line!("recall      {}", report.recall)?;
    print_line!("sum         {}", report.sum)?;
    print_line!(
        "documents {}, recall questions {}, memory {:.1} tokens",
        report.documents,
        report.recall_questions,
        report.memory_tokens
    )?;
    Ok(())
}
