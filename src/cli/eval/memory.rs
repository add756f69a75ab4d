//! `memtrain eval memory`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use memtrain_corpora::store;
use memtrain_session::Session;

use super::super::written::written_path;
use super::{check_out, unkept};
use crate::cli::configuration::{ConfigArgs, DeviceArgs};
use crate::cli::models;
use crate::cli::print::print_line;
use crate::cli::setup;
use crate::eval::interval::Estimate;
use crate::eval::memory_controls::{MemoryReport, Quality};
use crate::run::signal::StopRequest;

/// Arguments of `memtrain eval memory`.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What computes
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Policy directory, instead of the configuration's; several answer from each other's memories too
    #[arg(long, value_name = "DIR")]
    pub policy: Vec<String>,
    /// Held-out documents to leave out first, for example those that chose a checkpoint
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: usize,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: Option<PathBuf>,
}

/// Evaluates and prints.
///
/// # Errors
/// If the corpus or a policy cannot be read, or a signal asked to stop.
pub fn run(args: &MemoryArgs) -> anyhow::Result<()> {
    check_out::<MemoryReport>(args.out.as_deref())?;
    let mut config = args.config.load_for(&args.device)?;
    setup::check_heldout(&mut config, &args.config)?;
    let mut policies = Vec::new();
    let paths = if args.policy.is_empty() { vec![None] } else { args.policy.iter().map(Some).collect() };
    let mut session = None;
    for path in paths {
        let mut config = config.clone();
        if let Some(path) = path {
            config.policy.path = Some(path.clone());
            config.policy.preset = None;
        }
        models::place(&mut config)?;
        let name = match &config.policy.path {
            Some(path) => Path::new(path).file_name().map_or(path.clone(), |name| name.to_string_lossy().into_owned()),
            None => config.policy.preset.clone().unwrap_or_default(),
        };
        let with = Session::new(config)?;
        policies.push((name, with.starting_policy()?));
        session.get_or_insert(with);
    }
    let Some(session) = session else { return Ok(()) };
    let named: Vec<_> = policies.iter().map(|(name, policy)| (name.clone(), policy)).collect();
    let numbers = args.skip..args.skip.saturating_add(session.config.eval.documents);
    let report =
        unkept(session.evaluate_memories(&named, numbers, &StopRequest::on_signals_saying(super::KEEPS_NOTHING)?))?;
    if let Some(path) = &args.out {
        store::write_json(path, &report)?;
    }
    print_line!("{}", table(&report).trim_end())?;
    Ok(())
}

/// The report as a table: a column for each policy that answers, 80 columns wide for two.
pub(in crate::cli) fn table(report: &MemoryReport) -> String {
    let mut text = String::new();
    let mut row = |name: &str, cells: Vec<String>| {
        let _ = write!(text, "{name:<34}");
        cells.iter().for_each(|cell| _ = write!(text, "  {cell:>20}"));
        text.push('\n');
    };
    let policies = &report.policies;
    let rows = policies.first().map_or(0, |policy| policy.answers.len());
    let of_rows = |row: usize| policies.iter().map(move |policy| &policy.answers[row]);
    let names = |prefix: &str| policies.iter().map(|policy| format!("{prefix}{}", policy.name)).collect::<Vec<_>>();
    row("the hidden entity, from", names("answers of "));
    for answers in (0..rows).map(of_rows) {
        let label = answers.clone().next().map_or_else(String::new, |first| first.source.label());
        let cells: Vec<String> = answers.filter_map(|answers| answers.end_to_end.as_ref().map(cell)).collect();
        if !cells.is_empty() {
            row(&format!("  {label}"), cells);
        }
    }
    row("an entity of an earlier chunk, from", Vec::new());
    for answers in (0..rows).map(of_rows) {
        let label = answers.clone().next().map_or_else(String::new, |first| first.source.label());
        row(&format!("  {label}"), answers.map(|answers| cell(&answers.recall)).collect());
    }
    row("memories", names("of "));
    type Part = fn(&Quality) -> &Estimate;
    let qualities: [(&str, Part); 4] = [
        ("  cut off", |quality| &quality.truncated),
        ("  with a repeated sentence", |quality| &quality.repeated),
        ("  sentences that the text has", |quality| &quality.verbatim),
        ("  sentences a memory", |quality| &quality.sentences),
    ];
    for (name, of) in qualities {
        row(name, policies.iter().map(|policy| cell(of(&policy.quality))).collect());
    }
    text
}

/// An estimate in at most 20 columns.
fn cell(estimate: &Estimate) -> String {
    let Estimate { mean, low, high, .. } = estimate;
    format!("{mean:.3} [{low:.3}, {high:.3}]")
}
