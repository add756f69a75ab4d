//! `memtrain eval`: a policy on held-out documents.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use memtrain_corpora::store;

use super::configuration::ConfigArgs;
use super::models;
use super::print::print_line;
use super::setup::Workbench;

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
}

/// Arguments of `memtrain eval reconstruction`.
#[derive(Debug, Args)]
pub struct ReconstructionArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Policy directory to evaluate, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub policy: Option<String>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Evaluates and prints.
///
/// # Errors
/// If the corpus or the policy cannot be read.
pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    let Benchmark::Reconstruction(args) = &args.benchmark;
    let mut config = args.config.load()?;
    if let Some(path) = &args.policy {
        config.policy.path = Some(path.clone());
        config.policy.preset = None;
    }
    models::place(&mut config)?;
    let bench = Workbench::new(config)?;
    let report = bench.evaluate(&bench.starting_policy()?)?;
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
