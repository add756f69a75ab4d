//! `memtrain eval long-qa`.

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use memtrain_corpora::store;
use serde_json::{Value, json};

use super::super::written::written_path;
use super::benchmarked::{Evaluated, PolicyArgs, all_failed, answer_all};
use super::with_hint;
use crate::agents::full_context::ContextPrompt;
use crate::agents::prompts::PromptSet;
use crate::agents::reader::{Reader, StepKey};
use crate::cli::counts::{count, held};
use crate::cli::failure::{Usage, WithHint};
use crate::cli::print::print_line;
use crate::cli::tasks;
use crate::eval::long_qa::{Item, LongQa, LongQaReport, Method, check_metrics, items};
use crate::eval::metrics::TaskMetric;
use crate::eval::reconstruction::EVALUATION_STEP;
use crate::eval::record::{ItemKey, Record, RunNote};
use crate::eval::{summary, task_scores};
use crate::run::signal::StopRequest;
use crate::tasks::{Task, read};

/// Arguments of `memtrain eval long-qa`.
#[derive(Debug, Args)]
pub struct LongQaArgs {
    /// Task tables, or folders that `memtrain tasks compose` or `memtrain tasks ruler` wrote
    #[arg(required = true)]
    pub tasks: Vec<PathBuf>,
    /// Folder of the evaluation: items, turns, report; run again, it goes on
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub out: PathBuf,
    /// Which policy
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// vLLM or SGLang server that has the policy and draws in its place; of `--policy` only the tokenizer and the limits are read then
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// How: `reader` (chunk by chunk with a memory), `full-context` (all in one prompt)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "reader,full-context")]
    pub methods: Vec<String>,
    /// Tokens of the prompt and the response of `full-context` [default: all positions of the policy]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub full_context_tokens: Option<usize>,
    /// Only the first N tasks of each table
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub limit: Option<usize>,
    /// Items answered together
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = held)]
    pub batch: usize,
    /// Begin anew: what the folder holds of an evaluation is moved to a folder beside it
    #[arg(long)]
    pub clean: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Evaluates and prints.
///
/// # Errors
/// If something cannot be read, a signal asked to stop, or every item failed.
pub fn run(args: &LongQaArgs) -> anyhow::Result<()> {
    let methods = methods(args)?;
    let tables = tables(&args.tasks)?;
    let evaluated = args.policy.open(args.server.as_deref())?;
    let prompts = PromptSet::load(&evaluated.config.reader.prompts, evaluated.config.reader.prompt.layout)?;
    let context_prompt = ContextPrompt::load(&evaluated.config.reader.prompts)?;
    let full_context_tokens = args.full_context_tokens.unwrap_or(evaluated.positions());
    evaluated.check_context("--full-context-tokens", full_context_tokens)?;
    if methods.contains(&Method::Reader) {
        evaluated.check_context("reader.context_tokens", evaluated.config.reader.context_tokens)?;
    }
    let note = note(args, &evaluated, &tables, [prompts.hash(), context_prompt.hash()], full_context_tokens)?;
    let keys = keys(&tables, args.limit, &methods)?;
    let mut record = with_hint(Record::open(&args.out, &note, keys, args.batch, args.clean))?;
    let step_key = StepKey { seed: args.policy.seed, step: EVALUATION_STEP };
    let Evaluated { config, sampling, .. } = &evaluated;
    let reader =
        Reader { tokenizer: evaluated.tokenizer(), prompts: &prompts, config: &config.reader, sampling, step_key };
    let benchmark = LongQa { reader, context_prompt: &context_prompt, full_context_tokens };
    let stop = StopRequest::on_signals()?;
    let mut engine = evaluated.engine(&args.out, &stop)?;
    let mut upcoming = Box::new(every_item(&tables, args.limit, &methods)?.skip(record.done().len()));
    answer_all(&mut record, &stop, |keys, _| {
        let batch = upcoming.by_ref().take(keys.len()).collect::<anyhow::Result<Vec<_>>>()?;
        let members = keys.iter().zip(&batch).map(|(key, (task, method))| Item { key, task, method: *method });
        let members: Vec<Item<'_>> = members.collect();
        benchmark.answer(&mut engine, &members)
    })?;
    let report = LongQaReport::of(record.done());
    let records = with_hint(record.finish(&report))?;
    if args.json {
        print_line!("{}", serde_json::to_string(&report)?)?;
    } else {
        for grid in &report.tasks {
            print_line!("{}", grid.table())?;
        }
        print_line!(
            "{}mean ± standard error in percent; {} items, {} failed and count as wrong",
            summary::table(&report.rows, "length", task_scores::metrics(&records)),
            report.items,
            report.failed
        )?;
    }
    all_failed(&records)
}

fn methods(args: &LongQaArgs) -> anyhow::Result<Vec<Method>> {
    let method = |name: &String| Method::from_name(name).ok_or_else(|| Usage(format!("no method is called `{name}`")));
    let mut methods = args
        .methods
        .iter()
        .map(method)
        .collect::<Result<Vec<_>, _>>()
        .hint(|| "there are reader and full-context".to_owned())?;
    let mut seen = std::collections::HashSet::new();
    methods.retain(|method| seen.insert(*method));
    Ok(methods)
}

/// The tables of what was named: of a folder those that its manifest lists.
pub(super) fn tables(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut tables = Vec::new();
    for path in named {
        if !store::is_dir(path) {
            tables.push(path.clone());
            continue;
        }
        let manifest = path.join("manifest.json");
        store::check_as_written(&manifest)?;
        let manifest: Value = store::read_json(&manifest).hint(|| {
            format!("`{}` should be a folder that `memtrain tasks compose` or `ruler` wrote", path.display())
        })?;
        let listed = manifest["lengths"].as_array().or(manifest["tables"].as_array());
        let files = listed.into_iter().flatten().filter_map(|table| table["file"].as_str());
        let before = tables.len();
        tables.extend(files.map(|file| path.join(file)));
        anyhow::ensure!(tables.len() > before, "`{}` lists no tables in its manifest.json", path.display());
    }
    Ok(tables)
}

fn note(
    args: &LongQaArgs,
    evaluated: &Evaluated,
    tables: &[PathBuf],
    [prompts, context_prompt]: [String; 2],
    full_context_tokens: usize,
) -> anyhow::Result<RunNote> {
    let mut settings = args.policy.note(evaluated)?;
    let hashes: Vec<String> = tables.iter().map(|path| store::hash_file(path)).collect::<Result<_, _>>()?;
    let mut put = |key: &str, value: Value| settings.insert(key.to_owned(), value);
    put("tasks", json!(hashes));
    put("limit", json!(args.limit));
    put("methods", json!(args.methods));
    put("full_context_tokens", json!(full_context_tokens));
    put("prompts", json!(prompts));
    put("context_prompt", json!(context_prompt));
    put("batch", json!(args.batch));
    Ok(RunNote::new("long-qa", settings))
}

/// The tasks of all tables, in order.
pub(super) fn every_task(
    tables: &[PathBuf],
    limit: Option<usize>,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Task>> + use<>> {
    let mut open = Vec::with_capacity(tables.len());
    for path in tables {
        open.push(tasks::with_hint(read(path))?);
    }
    let limited = open.into_iter().flat_map(move |table| table.take(limit.unwrap_or(usize::MAX)));
    Ok(limited.map(tasks::with_hint))
}

type ItemOf = anyhow::Result<(Rc<Task>, Method)>;

fn every_item(
    tables: &[PathBuf],
    limit: Option<usize>,
    methods: &[Method],
) -> anyhow::Result<impl Iterator<Item = ItemOf> + use<>> {
    let methods = methods.to_vec();
    Ok(every_task(tables, limit)?.flat_map(move |task| -> Vec<ItemOf> {
        match task {
            Err(error) => vec![Err(error)],
            Ok(task) => {
                let task = Rc::new(task);
                let asked = (0..task.questions.len()).flat_map(|_| methods.iter());
                asked.map(|method| Ok((Rc::clone(&task), *method))).collect()
            }
        }
    }))
}

fn keys(tables: &[PathBuf], limit: Option<usize>, methods: &[Method]) -> anyhow::Result<Vec<ItemKey>> {
    let mut keys = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for task in every_task(tables, limit)? {
        let task = task?;
        anyhow::ensure!(!task.passages.is_empty(), "the task `{}` has no context to read", task.id);
        if !seen.insert((task.id.clone(), task.length)) {
            anyhow::bail!("the task `{}` stands twice at length {}", task.id, task.length);
        }
        if let Err(name) = check_metrics(&task) {
            return Err(anyhow::anyhow!("the task `{}` is to be counted by `{name}`, which is no metric", task.id))
                .hint(|| format!("there are {}", TaskMetric::names().join(", ")));
        }
        keys.extend(items(&task, methods));
    }
    anyhow::ensure!(!keys.is_empty(), "there are no tasks to evaluate");
    Ok(keys)
}
