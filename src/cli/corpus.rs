//! `memtrain corpus`: from a dump to training documents.

mod dry_run;
mod export;
mod part;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use memtrain_pipeline::{CorpusSummary, StageName, StageStatus};
pub(super) use memtrain_session::corpus::check_dump;
use memtrain_session::corpus::write_world;

pub use self::part::Part;
use super::choice::choices;
use super::configuration::ConfigArgs;
use super::failure::WithHint;
use super::models;
use super::print::{output, print_line};
use super::progress::CorpusProgress;
use super::written::written_path;
use crate::config::Config;
use crate::run::signal::StopRequest;

/// Arguments of `memtrain corpus`.
#[derive(Debug, Args)]
pub struct CorpusArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Bring every stage up to date: what is there and whole is left alone
    Build(BuildCommandArgs),
    /// Fix the shards of one stage
    Plan(StageArgs),
    /// Write a shard of a planned stage, or a part of its shards
    RunShard(ShardArgs),
    /// Check that all shards of a stage are there, and commit it
    Finish(StageArgs),
    /// How far every stage is
    Status(StatusArgs),
    /// Show a document: why each passage is in it, what is hidden, what can be asked for
    Inspect(super::inspect::InspectArgs),
    /// Read everything and compare it with what was recorded when it was written
    Verify(VerifyArgs),
    /// Lengths, kinds, answers, rejections: what the corpus is like
    Stats(StatsArgs),
    /// Write the documents as rows that another trainer reads
    Export(export::ExportArgs),
}

/// Arguments of the actions on a whole corpus.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Dump to read instead of the configuration's: a file, a folder, or a pattern in quotes; can be given several times
    #[arg(long = "dump", value_name = "FILE")]
    pub dumps: Vec<String>,
    /// Go on after dumps that break off in the middle; without it every whole page is kept, and the exit code is 3
    #[arg(long)]
    pub accept_truncated: bool,
    /// Folder of the corpus instead of the configuration's
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub out: Option<PathBuf>,
}

/// Arguments of `build`.
#[derive(Debug, Args)]
pub struct BuildCommandArgs {
    /// Configuration, dumps and folder
    #[command(flatten)]
    pub build: BuildArgs,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Configuration, dumps and folder
    #[command(flatten)]
    pub build: BuildArgs,
    /// Print a JSON array, with the numbers of the shards that are missing
    #[arg(long)]
    pub json: bool,
}

/// Arguments of the actions on a stage.
#[derive(Debug, Args)]
pub struct StageArgs {
    /// Configuration, dumps and folder
    #[command(flatten)]
    pub build: BuildArgs,
    /// The stage
    #[arg(long, value_parser = choices::<StageName>(&STAGES))]
    pub stage: StageName,
}

/// Arguments of `run-shard`.
#[derive(Debug, Args)]
pub struct ShardArgs {
    /// Configuration, dumps, folder and stage
    #[command(flatten)]
    pub stage: StageArgs,
    /// Number of the shard, from 0
    #[arg(long, required_unless_present = "part", conflicts_with = "part")]
    pub index: Option<usize>,
    /// Instead of one shard the K-th of N equal parts, K from 0: shards K, K + N, K + 2N, …, none where there are fewer
    #[arg(long, value_name = "K/N")]
    pub part: Option<Part>,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder of the corpus
    #[arg(required_unless_present = "config")]
    pub corpus: Option<PathBuf>,
    /// Configuration file that names the corpus, instead of its folder
    #[arg(long, value_name = "FILE", conflicts_with = "corpus")]
    pub config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Folder of the corpus
    pub corpus: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The stages that can be typed.
const STAGES: [(&str, &str); 5] = [
    ("ingest", "Dumps to articles and passages"),
    ("entities", "Passages to entity mentions"),
    ("tokenizer", "Passages to the policy's tokenizer"),
    ("index", "Passages to the retrieval index"),
    ("synthesize", "Everything to documents"),
];

impl BuildArgs {
    /// The configuration, models of the hub in place.
    fn load(&self) -> anyhow::Result<Config> {
        let mut config = self.checked()?;
        models::place(&mut config)?;
        Ok(config)
    }

    /// The configuration with what was typed; nothing is written or asked for.
    pub(super) fn checked(&self) -> anyhow::Result<Config> {
        let mut config = self.config.load()?;
        if !self.dumps.is_empty() {
            config.corpus.ingest.dumps.clone_from(&self.dumps);
            // What is named is to be read, so nothing is written in its place.
            config.world = None;
        }
        if let Some(out) = &self.out {
            config.run.corpus.clone_from(out);
        }
        config.corpus.ingest.accept_truncated |= self.accept_truncated;
        // Before anything is written.
        memtrain_pipeline::check_out(&config.run.corpus)?;
        // Before the hub is asked for anything. The dump of a [world] is written first.
        if config.world.is_none() {
            memtrain_pipeline::check_dumps(&config.corpus)?;
        }
        Ok(config)
    }
}

/// Runs a corpus command.
///
/// # Errors
/// If the configuration is wrong, a stage fails, or a signal asked to stop.
pub fn run(args: &CorpusArgs) -> anyhow::Result<()> {
    match &args.action {
        Action::Build(args) if args.dry_run => dry_run::print(&args.build.checked()?),
        Action::Build(args) => build(&args.build.load()?).map(drop),
        Action::Plan(args) => {
            let config = args.build.load()?;
            if args.stage == StageName::Ingest {
                write_world(&config)?;
            }
            let plan = memtrain_pipeline::plan(&config.corpus, &config.run.corpus, args.stage)?;
            print_line!("{}", plan.shards.len())?;
            Ok(())
        }
        Action::RunShard(args) => {
            let config = args.stage.build.load()?;
            let progress = CorpusProgress::new(StopRequest::on_signals()?);
            let (corpus, out, stage) = (&config.corpus, &config.run.corpus, args.stage.stage);
            let records = match (args.index, args.part) {
                (Some(index), _) => vec![memtrain_pipeline::run_shard(corpus, out, stage, index, &progress)?],
                (None, part) => {
                    let wanted = |index| part.is_none_or(|part| part.holds(index));
                    memtrain_pipeline::run_shards(corpus, out, stage, wanted, &progress)?
                }
            };
            for record in records {
                print_line!("{}", serde_json::to_string(&record).context("the record cannot be written")?)?;
            }
            Ok(())
        }
        Action::Finish(args) => {
            let config = args.build.load()?;
            let manifest = memtrain_pipeline::finish(&config.corpus, &config.run.corpus, args.stage)?;
            print_line!("{}", serde_json::to_string(&manifest.rows).context("the manifest cannot be written")?)?;
            for line in memtrain_pipeline::rejections(&manifest.counts) {
                tracing::info!("{line}");
            }
            Ok(())
        }
        Action::Status(args) => status(args),
        Action::Inspect(args) => super::inspect::run(args),
        Action::Verify(args) => verify(args),
        Action::Stats(args) => stats(args),
        Action::Export(args) => export::run(args),
    }
}

fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let corpus = match (&args.corpus, &args.config) {
        (Some(corpus), _) => corpus.clone(),
        (None, Some(config)) => {
            ConfigArgs { file: None, config: Some(config.clone()), set: Vec::new() }.load()?.run.corpus
        }
        (None, None) => anyhow::bail!("name the folder of a corpus, or a configuration"),
    };
    let found = memtrain_pipeline::verify(&corpus, &CorpusProgress::new(StopRequest::on_signals()?))?;
    if args.json {
        print_line!("{}", serde_json::to_string_pretty(&found).context("what was found cannot be written")?)?;
    } else {
        for stage in &found.stages {
            let state = match (stage.committed, stage.lacks_manifest) {
                (true, _) => "",
                (false, true) => ", not finished: all shards are written, and `manifest.json` is missing",
                (false, false) => ", not finished",
            };
            print_line!(
                "{:<10}  {:>5} files  {:>12} bytes  {:>9} rows{state}",
                stage.stage.as_str(),
                stage.files,
                stage.bytes,
                stage.rows
            )?;
        }
        for folder in &found.folders {
            print_line!("{}  compared with its mark", folder.display())?;
        }
        for damage in &found.damaged {
            print_line!("damaged: `{}`: {}", damage.path.display(), damage.problem)?;
        }
    }
    if found.damaged.is_empty() {
        return Ok(());
    }
    let (files, are) = if found.damaged.len() == 1 { ("file", "is") } else { ("files", "are") };
    let (count, corpus) = (found.damaged.len(), corpus.display());
    Err(anyhow::anyhow!("{count} {files} of `{corpus}` {are} damaged")).hint(|| {
        "`memtrain corpus build` with the configuration of this corpus writes anew what is damaged, and only that"
            .to_owned()
    })
}

/// Brings every stage up to date, the dump of a configured world first, and says what was done.
///
/// # Errors
/// If a stage fails or a signal asked to stop.
pub fn build(config: &Config) -> anyhow::Result<CorpusSummary> {
    let progress = CorpusProgress::new(StopRequest::on_signals()?);
    memtrain_session::corpus::build(config, &progress)
}

/// How far every stage is, by what is here: nothing is written or asked for.
///
/// # Errors
/// If a stage's folder cannot be read.
pub(super) fn stages(config: &Config) -> anyhow::Result<Vec<StageStatus>> {
    Ok(memtrain_pipeline::status(&models::local(config), &config.run.corpus)?)
}

fn status(args: &StatusArgs) -> anyhow::Result<()> {
    let stages = stages(&args.build.checked()?)?;
    if args.json {
        print_line!("{}", serde_json::to_string_pretty(&stages).context("the stages cannot be written")?)?;
        return Ok(());
    }
    for stage in stages {
        let rows = stage.rows.iter().map(|(table, rows)| format!("{rows} {table}")).collect::<Vec<_>>().join(", ");
        print_line!(
            "{:<10}  {:<9}  {:>4}/{:<4} shards  {rows}",
            stage.stage.as_str(),
            stage.state,
            stage.shards_done,
            stage.shards
        )?;
    }
    Ok(())
}

fn stats(args: &StatsArgs) -> anyhow::Result<()> {
    let statistics = memtrain_statistics::statistics(&args.corpus)
        .with_context(|| format!("cannot count the corpus `{}`", args.corpus.display()))?;
    let text = if args.json {
        serde_json::to_string_pretty(&statistics).context("the statistics cannot be written")? + "\n"
    } else {
        memtrain_statistics::report(&statistics)
    };
    Ok(output().write_all(text.as_bytes())?)
}
