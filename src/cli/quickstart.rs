//! `memtrain quickstart`: everything once, on a fictional encyclopedia.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use candle_core::DType;
use clap::Args;
use memtrain_collective::{Collective, Single};
use memtrain_corpora::{Split, store};
use memtrain_session::Session;
use memtrain_session::training::{Prepared, train_from};
use serde::{Deserialize, Serialize};

use super::configuration::resolve;
use super::corpus;
use super::eval::memory;
use super::models;
use super::print::print_line;
use super::progress::TrainingProgress;
use super::written::written_path;
use crate::agents::sentences::sentences;
use crate::config::keys::Trainer;
use crate::config::sources::Sources;
use crate::eval::memory_controls::{Example, MemoryReport};
use crate::policy::directory;
use crate::report;
use crate::run::signal::StopRequest;
use crate::run::{self, Checkpoint, RunDirectory, RunReader};

/// The configuration the program carries.
pub(super) const CONFIG: &str = include_str!("../../configs/quickstart.toml");

/// Arguments of `memtrain quickstart`.
#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// Folder for everything it writes
    #[arg(long, value_name = "DIR", default_value = "quickstart", value_parser = written_path())]
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
    /// Before and after training.
    report: MemoryReport,
    /// Step of the checkpoint that stands for "after".
    best_step: u64,
    /// Wall time of corpus and evaluation, in seconds; training's is in the run's `timings.jsonl`.
    seconds_beside_training: f64,
}

/// Runs, goes on, or says that all is done.
///
/// # Errors
/// If a stage fails or a signal asked to stop.
pub fn run(args: &QuickstartArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let stop = StopRequest::on_signals()?;
    let session = prepare(args)?;
    let start = session.starting_policy()?;
    let prepared = Prepared::new(&session, &start, &stop)?;
    let run = session.open_run(&session.run_setup(&start, Trainer::Train)?)?;
    let path = run.path().join("quickstart.json");
    if store::exists(&path) {
        print_line!(
            "All is done: this is what it came to. Another seed is another run: `--seed {}`.\n",
            args.seed + 1
        )?;
        return print(&store::read_json::<Record>(&path)?, &session, &run);
    }
    let preparing = started.elapsed();
    let alone: Arc<dyn Collective> = Arc::new(Single);
    train_from(&session, start.clone(), prepared, Some(&run), &alone, &TrainingProgress::default(), &stop)?;
    let evaluating = Instant::now();
    let best = run.path().join("checkpoints").join("best");
    let (best_step, after) = match store::exists(&best) {
        true => (Checkpoint::open(&best)?.state.step, directory::load(&best, start.decoder.device(), DType::F32)?),
        false => (0, start.clone()),
    };
    // Other documents than those that chose the checkpoint: the best of several is by chance a little better on them.
    let (chosen_on, all) = (session.config.eval.documents, session.documents(Split::Heldout)?.len());
    tracing::info!("evaluating before and after training on {} held-out documents", all.saturating_sub(chosen_on));
    let policies = [("before".to_owned(), &start), ("after".to_owned(), &after)];
    let report = session.evaluate_memories(&policies, chosen_on..all, &stop)?;
    let seconds_beside_training = (preparing + evaluating.elapsed()).as_secs_f64();
    let record = Record { report, best_step, seconds_beside_training };
    store::write_json(&path, &record)?;
    print(&record, &session, &run)
}

/// Configuration, dump and corpus.
fn prepare(args: &QuickstartArgs) -> anyhow::Result<Session> {
    let mut config = resolve(&Sources::of_text(Path::new("configs/quickstart.toml"), CONFIG)?, &args.set)?;
    let dump = args.out.join("dump.xml.bz2");
    config.run.corpus = args.out.join("corpus");
    config.run.runs = args.out.join("runs");
    config.run.name = format!("seed-{}", args.seed);
    config.run.seed = args.seed;
    config.corpus.ingest.dumps = vec![dump.display().to_string()];
    let (chosen_on, all) = (config.eval.documents, config.corpus.synthesize.num_heldout);
    anyhow::ensure!(
        all > chosen_on as u64,
        "`eval.documents` = {chosen_on} held-out documents choose the checkpoint, and none of the {all} of \
         `corpus.synthesize.num_heldout` are left for the table"
    );
    // Before anything is written.
    corpus::check_dump(&config)?;
    memtrain_pipeline::check_out(&config.run.corpus)?;
    run::check_out(&config.run.runs.join(&config.run.name))?;
    models::place(&mut config)?;
    corpus::build(&config)?;
    Session::new(config)
}

/// The table and where everything lies. Goes to stdout: it is the result.
fn print(record: &Record, session: &Session, run: &RunDirectory) -> anyhow::Result<()> {
    let report = &record.report;
    let page = run.path().join("report.html");
    store::check_file(&page, report::is_page)?;
    store::write_atomic(&page, report::page(&[run.path().to_path_buf()], &report::Selection::default())?)?;
    print_line!(
        "exact match on {} held-out documents, {} recall questions (95 % intervals)\n",
        report.documents,
        report.recall_questions
    )?;
    print_line!("{}", memory::table(report))?;
    if let [before, after] = report.policies.as_slice()
        && let (Some(before), Some(after)) = (&before.example, &after.example)
    {
        print_line!("{}", side_by_side(before, after))?;
    }
    let steps = session.config.train.steps;
    let seconds = record.seconds_beside_training + total(run, "timings.jsonl", "time/step_s")?;
    let documents = total(run, "metrics.jsonl", "rollout/documents")?;
    let tokens = total(run, "metrics.jsonl", "rollout/tokens")?;
    print_line!(
        "{steps} steps, {documents:.0} documents, {:.1} million tokens, {:.1} minutes in all",
        tokens / 1e6,
        seconds / 60.0
    )?;
    print_line!(
        "after: the best checkpoint on {} other held-out documents, of step {}",
        session.config.eval.documents,
        record.best_step
    )?;
    print_line!("\ncorpus    {}", session.config.run.corpus.display())?;
    print_line!("run       {}", run.path().display())?;
    print_line!("policy    {}", run.path().join("checkpoints").join("best").display())?;
    print_line!("memories  {}", page.display())?;
    print_line!("\nLook at a document:  memtrain corpus inspect {}", session.config.run.corpus.display())?;
    Ok(())
}

/// Columns of each of two memories that stand beside each other.
const COLUMN: usize = 38;

/// The last memories of one document before and after training, a sentence a line.
fn side_by_side(before: &Example, after: &Example) -> String {
    let lines = |example: &Example| -> Vec<String> {
        let said: Vec<&str> = sentences(&example.memory).collect();
        let answer = format!("answer: {}", example.answer.as_deref().unwrap_or("none"));
        said.into_iter().chain([answer.as_str()]).flat_map(|line| wrapped(line, COLUMN)).collect()
    };
    let (left, right) = (lines(before), lines(after));
    let mut text = format!("what was remembered of {}, in which `{}` is hidden\n\n", before.document_id, before.hidden);
    let _ = writeln!(text, "{:<COLUMN$}    after", "before");
    for at in 0..left.len().max(right.len()) {
        let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
        let _ = writeln!(text, "{}", format!("{:<COLUMN$}    {}", line(&left), line(&right)).trim_end());
    }
    text
}

/// A line broken between words; what goes on is set in.
fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.len() - 1;
        if lines[last].chars().count() + 1 + word.chars().count() > columns {
            lines.push(format!("  {word}"));
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

/// Sum of one field over the lines of a log of the run.
fn total(run: &RunDirectory, file: &str, field: &str) -> anyhow::Result<f64> {
    let lines = RunReader::open(run.path())?.lines(file)?;
    Ok(lines.iter().filter_map(|(_, line)| line.get(field)?.as_f64()).sum())
}
