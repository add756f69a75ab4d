//! `memtrain quickstart`: everything once, on a fictional encyclopedia.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use memtrain_corpora::store;
use serde::{Deserialize, Serialize};

use super::configuration::resolve;
use super::models;
use super::print::print_line;
use super::setup::Workbench;
use super::{corpus, train};
use crate::eval::reconstruction::ReconstructionReport;
use crate::report;
use crate::run::RunDirectory;
use crate::run::signal::StopRequest;

/// The configuration the program carries.
const CONFIG: &str = include_str!("../../configs/quickstart.toml");

/// Arguments of `memtrain quickstart`.
#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// Folder for everything it writes
    #[arg(long, value_name = "DIR", default_value = "quickstart")]
    pub out: PathBuf,
    /// Seed of the training's draws; each seed is a run of its own
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Change a key of the built-in configuration, for example `--set train.steps=10`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What a quickstart leaves behind besides corpus and run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    /// Before training.
    before: ReconstructionReport,
    /// After training, once it is done.
    after: Option<ReconstructionReport>,
    /// Wall time of corpus and evaluations, in seconds; training's is in the run's `timings.jsonl`.
    seconds_beside_training: f64,
}

/// Runs, goes on, or says that all is done.
///
/// # Errors
/// If a stage fails or a signal asked to stop.
pub fn run(args: &QuickstartArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let stop = StopRequest::on_signals()?;
    let bench = prepare(args)?;
    let start = bench.starting_policy()?;
    let run = bench.open_run(&start, false)?;
    let path = run.path().join("quickstart.json");
    let mut record = match store::exists(&path) {
        true => store::read_json::<Record>(&path)?,
        false => {
            tracing::info!(
                "evaluating the policy before training on {} held-out documents",
                bench.config.eval.documents
            );
            let before = bench.evaluate(&start)?;
            let record = Record { before, after: None, seconds_beside_training: started.elapsed().as_secs_f64() };
            store::write_json(&path, &record)?;
            record
        }
    };
    if record.after.is_some() {
        print_line!(
            "All is done: this is what it came to. Another seed is another run: `--seed {}`.\n",
            args.seed + 1
        )?;
        return print(&record, &bench, &run);
    }
    let trained = train::train(&bench, start, &run, &stop)?;
    tracing::info!("evaluating the policy after training");
    let evaluating = Instant::now();
    record.after = Some(bench.evaluate(&trained.policy)?);
    record.seconds_beside_training += evaluating.elapsed().as_secs_f64();
    store::write_json(&path, &record)?;
    print(&record, &bench, &run)
}

/// Configuration, dump and corpus.
fn prepare(args: &QuickstartArgs) -> anyhow::Result<Workbench> {
    let mut config = resolve(Path::new("configs/quickstart.toml"), CONFIG, &args.set)?;
    let dump = args.out.join("dump.xml.bz2");
    config.run.corpus = args.out.join("corpus");
    config.run.runs = args.out.join("runs");
    config.run.name = format!("seed-{}", args.seed);
    config.run.seed = args.seed;
    config.corpus.ingest.dumps = vec![dump.display().to_string()];
    models::place(&mut config)?;
    corpus::build(&config)?;
    Workbench::new(config)
}

/// The table and where everything lies. Goes to stdout: it is the result.
fn print(record: &Record, bench: &Workbench, run: &RunDirectory) -> anyhow::Result<()> {
    let Some(after) = &record.after else { return Ok(()) };
    let before = &record.before;
    let rows = [
        ("end-to-end (the hidden entity)", &before.end_to_end, &after.end_to_end),
        ("recall (an entity of an earlier chunk)", &before.recall, &after.recall),
        ("sum of the two", &before.sum, &after.sum),
    ];
    let page = run.path().join("report.html");
    store::check_file(&page, report::is_page)?;
    store::write_atomic(&page, report::page(run.path(), &report::Selection::default())?)?;
    print_line!(
        "exact match on {} held-out documents, {} recall questions (95 % intervals)\n",
        after.documents,
        after.recall_questions
    )?;
    print_line!("{:<40} {:>22}    {:>22}", "", "before", "after")?;
    for (name, before, after) in rows {
        print_line!("{name:<40} {:>22} -> {:>22}", before.to_string(), after.to_string())?;
    }
    let verdict = if after.sum.is_above(&before.sum) {
        "the intervals of the sum do not overlap"
    } else {
        "the intervals of the sum overlap"
    };
    let steps = bench.config.train.steps;
    let seconds = record.seconds_beside_training + total(run, "timings.jsonl", "time/step_s")?;
    let documents = total(run, "metrics.jsonl", "rollout/documents")?;
    let tokens = total(run, "metrics.jsonl", "rollout/tokens")?;
    print_line!("\n{verdict}")?;
    print_line!(
        "{steps} steps, {documents:.0} documents, {:.1} million tokens, {:.1} minutes in all",
        tokens / 1e6,
        seconds / 60.0
    )?;
    print_line!("\ncorpus    {}", bench.config.run.corpus.display())?;
    print_line!("run       {}", run.path().display())?;
    print_line!("policy    {}", run.path().join("checkpoints").join("latest").display())?;
    print_line!("memories  {}", page.display())?;
    print_line!("\nLook at a document:  memtrain corpus inspect {}", bench.config.run.corpus.display())?;
    Ok(())
}

/// Sum of one field over the lines of a log of the run.
fn total(run: &RunDirectory, file: &str, field: &str) -> anyhow::Result<f64> {
    let text = store::read_to_string(&run.path().join(file))?;
    let values =
        text.lines().map(|line| Ok(serde_json::from_str::<serde_json::Value>(line)?[field].as_f64().unwrap_or(0.0)));
    values.sum()
}
