//! `memtrain tasks`: question sets of others, long contexts, rows for verl.

pub mod documents;
pub mod ruler;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use memtrain_corpora::store::{self, TableReader, TableWriter};
use memtrain_hub::Needed;
use rayon::prelude::*;
use serde::Serialize;

use super::counts::count;
use super::failure::{Usage, WithHint};
use super::models;
use super::print::print_line;
use super::written::written_path;
use crate::eval::metrics::TaskMetric;
use crate::policy::PolicyTokenizer;
use crate::run::progress::Bar;
use crate::tasks::compose::{Chosen, ComposeConfig, Pool, choose, compose};
use crate::tasks::import::{Format, ImportConfig, ImportReport, import};
use crate::tasks::verl::{REWARD, VerlRow};
use crate::tasks::{Task, TaskError, TaskWriter, read};

/// Arguments of `memtrain tasks`.
#[derive(Debug, Args)]
pub struct TasksArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Turn a question set into a task table: HotpotQA, 2WikiMultihopQA, MuSiQue, SQuAD, NQ-open, RULER, MemAgent, Mem-α, LoCoMo,
    /// LongMemEval, verl
    Import(ImportArgs),
    /// Build long contexts: each question among distractor passages, at several lengths
    Compose(ComposeArgs),
    /// Make RULER's tasks of any length from a seed: needles in a haystack, variable tracking, common and frequent words
    Ruler(ruler::RulerArgs),
    /// Make tasks of a corpus's documents: which entity is hidden
    Documents(documents::DocumentsArgs),
    /// Write tasks in the form that another trainer reads
    Export(ExportArgs),
}

/// Arguments of `memtrain tasks import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The set: JSON, JSON lines or Parquet
    pub file: PathBuf,
    /// The table to write: Parquet, or JSON lines where the name ends in .jsonl
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: PathBuf,
    /// What the file is: hotpotqa, 2wiki, musique, squad, open, kilt, ruler, memalpha, locomo, longmemeval, verl or memtrain
    /// [default: found out]
    #[arg(long, value_name = "NAME")]
    pub format: Option<String>,
    /// Name of the set in the tasks [default: the format's]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// What answers are counted by, where the set does not say it: `string_match_all` (all accepted answers are wanted, as of
    /// RULER's needles), `string_match_part` (RULER's question answering), em, f1, sub_em … [default: all but these two]
    #[arg(long, value_name = "NAME")]
    pub metric: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `memtrain tasks compose`.
#[derive(Debug, Args)]
pub struct ComposeArgs {
    /// Task tables with the questions and the passages that answer them
    #[arg(required = true)]
    pub tasks: Vec<PathBuf>,
    /// Folder to write: a table a length, and manifest.json
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub out: PathBuf,
    /// Passages of a context, separated by commas
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = ComposeConfig::default().lengths, value_parser = count::<u32>)]
    pub lengths: Vec<u32>,
    /// Questions, the same at all lengths; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub questions: usize,
    /// More distractor passages: a corpus folder, a task table, or JSON with titles and texts; can be repeated.
    /// The passages of all questions are always in the pool
    #[arg(long, value_name = "PATH")]
    pub pool: Vec<PathBuf>,
    /// Do not put a question's own distractors before those of the pool
    #[arg(long)]
    pub no_own_distractors: bool,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Count tokens with this policy's tokenizer: a directory, a name on the hub, or a tokenizer.json
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// Print the manifest as JSON
    #[arg(long)]
    pub json: bool,
}

/// Forms of `memtrain tasks export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Rows for verl and MemAgent's recipe, with the reward function beside them
    Verl,
}

/// Arguments of `memtrain tasks export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Task table
    pub tasks: PathBuf,
    /// The form
    #[arg(long, value_enum, default_value = "verl")]
    pub format: ExportFormat,
    /// Parquet file to write
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub out: PathBuf,
}

/// Does what was asked.
///
/// # Errors
/// If a file cannot be read or written, or nothing usable is in it.
pub fn run(args: &TasksArgs) -> anyhow::Result<()> {
    match &args.action {
        Action::Import(args) => run_import(args),
        Action::Compose(args) => run_compose(args),
        Action::Ruler(args) => ruler::run(args),
        Action::Documents(args) => documents::run(args),
        Action::Export(args) => run_export(args),
    }
}

/// A task error with its hint.
pub(super) fn with_hint<T>(result: Result<T, TaskError>) -> anyhow::Result<T> {
    result.map_err(|error| match error.hint() {
        Some(hint) => Err::<(), _>(error).hint(|| hint).unwrap_err(),
        None => error.into(),
    })
}

/// Creates the folder that a file is written into.
pub(super) fn make_parent(path: &Path) -> anyhow::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => Ok(store::create_dir_all(folder)?),
        _ => Ok(()),
    }
}

fn run_import(args: &ImportArgs) -> anyhow::Result<()> {
    let format = args
        .format
        .as_deref()
        .map(|name| Format::from_name(name).ok_or_else(|| Usage(format!("no question set is called `{name}`"))));
    let format = format.transpose().hint(|| format!("known are {}", Format::names().join(", ")))?;
    store::refuse_overlap(&args.out, &args.file)?;
    store::check_file(&args.out, |path| read(path).is_ok_and(|mut tasks| matches!(tasks.next(), Some(Ok(_)))))?;
    make_parent(&args.out)?;
    let mut writer = with_hint(TaskWriter::create(&args.out))?;
    if let Some(name) = args.metric.as_deref().filter(|name| TaskMetric::from_name(name).is_none()) {
        return Err(Usage(format!("no metric is called `{name}`")))
            .hint(|| format!("there are {}", TaskMetric::names().join(", ")));
    }
    let config = ImportConfig { format, source: args.source.clone(), metric: args.metric.clone() };
    let report = with_hint(import(&args.file, &config, |task| writer.push(task)))?;
    for example in &report.examples {
        tracing::warn!("{}, {example}", args.file.display());
    }
    if report.tasks == 0 {
        let causes: Vec<String> = report.left_out.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        let causes = if causes.is_empty() { "it is empty".to_owned() } else { causes.join(", ") };
        // Rows that are no objects show no format.
        let hint = match &*report.format {
            "" => "each row of a set is a JSON object: an array of them, or one a line".to_owned(),
            format => format!("it was read as `{format}`; say what it is with `--format`"),
        };
        return Err(anyhow::anyhow!("no task came of `{}`: {causes}", args.file.display())).hint(|| hint);
    }
    with_hint(writer.finish())?;
    let text = if args.json { serde_json::to_string(&report)? } else { import_table(&report) };
    print_line!("{}", text.trim_end())?;
    Ok(())
}

fn import_table(report: &ImportReport) -> String {
    let mut lines = format!(
        "format     {}\nrows       {}\ntasks      {}\nquestions  {}\n",
        report.format, report.rows, report.tasks, report.questions
    );
    for (cause, count) in &report.left_out {
        lines.push_str(&format!("left out   {count}  {cause}\n"));
    }
    lines
}

/// What a composition was made of.
#[derive(Debug, Serialize)]
struct ComposeManifest {
    format: u32,
    seed: u64,
    questions: usize,
    questions_without_passages: usize,
    questions_with_too_many_gold_passages: usize,
    pool_passages: usize,
    inputs: Vec<InputFile>,
    tokenizer: Option<String>,
    lengths: Vec<ComposedLength>,
}

#[derive(Debug, Serialize)]
struct InputFile {
    file: String,
    blake3: String,
}

#[derive(Debug, Serialize)]
struct ComposedLength {
    passages: u32,
    file: String,
    blake3: String,
    rows: u64,
    tokens: Option<Tokens>,
}

/// Tokens of the contexts of a length.
#[derive(Clone, Debug, Serialize)]
struct Tokens {
    mean: f64,
    min: u64,
    max: u64,
}

impl Tokens {
    fn of(counts: &[u64]) -> Option<Self> {
        let (min, max) = (*counts.iter().min()?, *counts.iter().max()?);
        Some(Self { mean: counts.iter().sum::<u64>() as f64 / counts.len() as f64, min, max })
    }
}

/// Version of the folder.
const COMPOSED_FORMAT: u32 = 1;
/// What the marker of the folder says that it is.
const COMPOSED_KIND: &str = "composed tasks";
/// Items whose contexts are in memory at a time.
const ITEMS_AT_ONCE: usize = 16;

fn run_compose(args: &ComposeArgs) -> anyhow::Result<()> {
    let mut lengths = args.lengths.clone();
    lengths.sort_unstable();
    lengths.dedup();
    for input in args.tasks.iter().chain(&args.pool).chain(&args.tokenizer) {
        store::refuse_overlap(&args.out, input)?;
    }
    store::check_replaceable(&args.out, COMPOSED_KIND)?;
    let tokenizer = args.tokenizer.as_deref().map(tokenizer).transpose()?;
    let (tasks, pool) = gather(args)?;
    let config = ComposeConfig {
        lengths,
        questions: (args.questions > 0).then_some(args.questions),
        own_distractors: !args.no_own_distractors,
        seed: args.seed,
    };
    let chosen = choose(tasks, &config);
    if chosen.tasks.is_empty() {
        return Err(anyhow::anyhow!(
            "no question can be used: {} have no passages, {} more gold passages than the shortest length",
            chosen.without_passages,
            chosen.too_many_gold
        ))
        .hint(|| "compose from sets with contexts, for example HotpotQA or MuSiQue".to_owned());
    }
    if config.questions.is_some_and(|wanted| chosen.tasks.len() < wanted) {
        tracing::warn!("{} questions, not {}: there are no more", chosen.tasks.len(), args.questions);
    }
    let mut manifest = ComposeManifest {
        format: COMPOSED_FORMAT,
        seed: args.seed,
        questions: chosen.tasks.len(),
        questions_without_passages: chosen.without_passages,
        questions_with_too_many_gold_passages: chosen.too_many_gold,
        pool_passages: pool.passages().len(),
        inputs: args.tasks.iter().chain(&args.pool).map(|path| input(path)).collect::<anyhow::Result<_>>()?,
        tokenizer: args.tokenizer.as_ref().map(|path| path.display().to_string()),
        lengths: Vec::new(),
    };
    store::replace(&args.out, COMPOSED_KIND, |folder| -> anyhow::Result<()> {
        manifest.lengths = write_lengths(folder, &chosen, &pool, &config, tokenizer.as_ref())?;
        Ok(store::write_json(&folder.join("manifest.json"), &manifest)?)
    })?;
    let text = if args.json { serde_json::to_string(&manifest)? } else { compose_table(&manifest) };
    print_line!("{}", text.trim_end())?;
    Ok(())
}

/// An input with its hash. A corpus stands for its passages, whose manifest has the hashes of all files.
fn input(path: &Path) -> anyhow::Result<InputFile> {
    let hashed = if store::is_dir(path) { path.join("ingest/manifest.json") } else { path.to_path_buf() };
    Ok(InputFile { file: path.display().to_string(), blake3: store::hash_file(&hashed)? })
}

/// All tasks, and the pool of their passages and the further ones.
fn gather(args: &ComposeArgs) -> anyhow::Result<(Vec<Task>, Pool)> {
    let (mut tasks, mut pool) = (Vec::new(), Pool::default());
    for path in &args.tasks {
        for task in with_hint(read(path))? {
            let task = with_hint(task)?;
            pool.add_task(&task);
            tasks.push(task);
        }
    }
    for path in &args.pool {
        with_hint(pool.add_source(path)).with_context(|| format!("the pool `{}` cannot be used", path.display()))?;
    }
    if pool.unusable() > 0 {
        tracing::warn!("{} entries of the pool are no passages", pool.unusable());
    }
    tracing::info!("{} questions, {} passages ({} came again)", tasks.len(), pool.passages().len(), pool.repeated());
    Ok((tasks, pool))
}

fn write_lengths(
    folder: &Path,
    chosen: &Chosen,
    pool: &Pool,
    config: &ComposeConfig,
    tokenizer: Option<&PolicyTokenizer>,
) -> anyhow::Result<Vec<ComposedLength>> {
    let paths: Vec<(u32, String)> =
        config.lengths.iter().map(|&length| (length, format!("passages-{length:05}.parquet"))).collect();
    let mut writers: Vec<TableWriter<Task>> =
        paths.iter().map(|(_, name)| TableWriter::create(&folder.join(name))).collect::<Result<_, _>>()?;
    let mut counts = vec![Vec::new(); paths.len()];
    let bar = Bar::new("compose", chosen.tasks.len() as u64, 0);
    for items in chosen.tasks.chunks(ITEMS_AT_ONCE) {
        let composed = items.par_iter().map(|item| -> anyhow::Result<Vec<Task>> {
            let mut lengths = with_hint(compose(item, pool, config))
                .hint(|| "give more passages with `--pool`, or fewer with `--lengths`".to_owned())?;
            if let Some(tokenizer) = tokenizer {
                for task in &mut lengths {
                    let tokens = tokenizer.encode_text(task.context())?.len();
                    task.extra.insert("num_tokens".to_owned(), tokens.into());
                }
            }
            Ok(lengths)
        });
        for lengths in composed.collect::<anyhow::Result<Vec<_>>>()? {
            for ((task, writer), counts) in lengths.into_iter().zip(&mut writers).zip(&mut counts) {
                counts.extend(task.extra.get("num_tokens").filter(|_| tokenizer.is_some()).and_then(|n| n.as_u64()));
                writer.push(task)?;
            }
        }
        bar.advance(items.len() as u64);
    }
    bar.finish();
    let written = paths.into_iter().zip(writers).zip(counts).map(|(((passages, file), writer), counts)| {
        let summary = writer.finish()?;
        Ok(ComposedLength { passages, file, blake3: summary.hash, rows: summary.rows, tokens: Tokens::of(&counts) })
    });
    written.collect()
}

fn compose_table(manifest: &ComposeManifest) -> String {
    let mut table = format!("passages  questions {:>12} {:>10} {:>10}  file\n", "tokens", "least", "most");
    for length in &manifest.lengths {
        let tokens = length.tokens.clone();
        let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        table.push_str(&format!(
            "{:>8}  {:>9} {:>12} {:>10} {:>10}  {}\n",
            length.passages,
            length.rows,
            cell(tokens.as_ref().map(|tokens| format!("{:.0}", tokens.mean))),
            cell(tokens.as_ref().map(|tokens| tokens.min.to_string())),
            cell(tokens.as_ref().map(|tokens| tokens.max.to_string())),
            length.file
        ));
    }
    table
}

/// A tokenizer from a policy directory or a file.
fn tokenizer(path: &Path) -> anyhow::Result<PolicyTokenizer> {
    let found = models::ModelFolder::at(path, Needed::Tokenizer)?;
    let path = &found.path;
    let file = if store::is_dir(path) { path.join("tokenizer.json") } else { path.clone() };
    Ok(PolicyTokenizer::from_file(&file)?)
}

fn run_export(args: &ExportArgs) -> anyhow::Result<()> {
    let ExportFormat::Verl = args.format;
    let reward = args.out.with_file_name("reward.py");
    store::refuse_overlap(&args.out, &args.tasks)?;
    store::check_file(&args.out, |path| TableReader::<VerlRow>::open(path).is_ok())?;
    store::check_file(&reward, |path| store::read(path).is_ok_and(|text| text == REWARD.as_bytes()))?;
    make_parent(&args.out)?;
    let mut writer = TableWriter::create(&args.out)?;
    let mut rows = 0;
    for task in with_hint(read(&args.tasks))? {
        for row in VerlRow::of_task(&with_hint(task)?, rows) {
            writer.push(row)?;
            rows += 1;
        }
    }
    anyhow::ensure!(rows > 0, "there are no tasks in `{}`", args.tasks.display());
    writer.finish()?;
    store::write_atomic(&reward, REWARD)?;
    print_line!("{rows} rows  {}\nreward  {}", args.out.display(), reward.display())?;
    Ok(())
}
