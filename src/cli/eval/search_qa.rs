//! `memtrain eval search-qa`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use memtrain_corpora::store;
use memtrain_session::index;
use serde_json::{Value, json};

use super::super::written::written_path;
use super::benchmarked::{Evaluated, PolicyArgs, all_failed, answer_all};
use super::with_hint;
use crate::agents::reader::StepKey;
use crate::agents::searcher::{Searcher, SearcherConfig, SearcherPrompts};
use crate::cli::counts::{count, held, seconds};
use crate::cli::failure::{Usage, WithHint};
use crate::cli::print::print_line;
use crate::cli::tasks;
use crate::eval::reconstruction::EVALUATION_STEP;
use crate::eval::record::{Record, RunNote};
use crate::eval::search_qa::{METRICS, SearchQaReport, answer, item, join};
use crate::eval::summary;
use crate::rollout::retrieve::{HttpRetriever, Retriever};
use crate::run::signal::StopRequest;
use crate::tasks::{Task, load};

/// Arguments of `memtrain eval search-qa`.
#[derive(Debug, Args)]
pub struct SearchQaArgs {
    /// Question sets: task tables, or JSON lines with `question` and `golden_answers` (NQ, TriviaQA, PopQA, HotpotQA,
    /// 2WikiMultihopQA, MuSiQue, Bamboogle), each a set of its own by its file name
    #[arg(required = true)]
    pub sets: Vec<PathBuf>,
    /// Folder of the evaluation: items, turns, report; run again, it goes on
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub out: PathBuf,
    /// Search the index of this corpus
    #[arg(long, value_name = "DIR", required_unless_present = "server", conflicts_with = "server")]
    pub corpus: Option<PathBuf>,
    /// Search through this server (`memtrain serve-index`, or any with Search-R1's protocol)
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Which policy
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Questions asked together; sets of single questions are joined
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = held)]
    pub objectives: usize,
    /// Prompt set: `standard` or a folder with turn.txt, results.txt, last.txt and invalid.txt
    #[arg(long, value_name = "NAME", default_value = "standard")]
    pub prompts: String,
    /// Most turns, the one that answers counted
    #[arg(long, value_name = "N", default_value_t = SearcherConfig::default().max_turns, value_parser = held)]
    pub max_turns: usize,
    /// Passages of a search
    #[arg(long, value_name = "N", default_value_t = SearcherConfig::default().topk, value_parser = held)]
    pub topk: usize,
    /// Longest response in tokens
    #[arg(long, value_name = "N", default_value_t = SearcherConfig::default().response_tokens, value_parser = held)]
    pub response_tokens: usize,
    /// Longest results of a search in tokens
    #[arg(long, value_name = "N", default_value_t = SearcherConfig::default().result_tokens, value_parser = count::<usize>)]
    pub result_tokens: usize,
    /// Tokens of a prompt and its response [default: 8,192, or the policy's positions where they are fewer]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub context_tokens: Option<usize>,
    /// Only the first N tasks of each set
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub limit: Option<usize>,
    /// Items searched for together
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = held)]
    pub batch: usize,
    /// Seconds that the server has for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = seconds)]
    pub timeout: u64,
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
/// If something cannot be read, the server does not answer, a signal asked to stop, or every item failed.
pub fn run(args: &SearchQaArgs) -> anyhow::Result<()> {
    let tasks = sets(args)?;
    let evaluated = args.policy.open(None)?;
    let config = config(args, &evaluated)?;
    let prompts = SearcherPrompts::load(&args.prompts)?;
    let retriever: Arc<dyn Retriever> = match (&args.corpus, &args.server) {
        (Some(corpus), _) => Arc::new(index::open(corpus)?),
        (None, server) => {
            let address = server.as_deref().unwrap_or_default();
            Arc::new(HttpRetriever::new(address, Duration::from_secs(args.timeout)))
        }
    };
    let note = note(args, &evaluated, &config, &prompts)?;
    let keys = tasks.iter().map(item).collect();
    let mut record = with_hint(Record::open(&args.out, &note, keys, args.batch, args.clean))?;
    let Evaluated { sampling, .. } = &evaluated;
    let step_key = StepKey { seed: args.policy.seed, step: EVALUATION_STEP };
    let searcher =
        Searcher { tokenizer: evaluated.tokenizer(), prompts: &prompts, config: &config, sampling, step_key };
    let stop = StopRequest::on_signals()?;
    let mut engine = evaluated.engine(&args.out, &stop)?;
    answer_all(&mut record, &stop, |_, range| answer(&searcher, &mut engine, &retriever, &tasks[range]))?;
    let report = SearchQaReport::of(record.done());
    let records = with_hint(record.finish(&report))?;
    if args.json {
        print_line!("{}", serde_json::to_string(&report)?)?;
    } else {
        print_line!(
            "{}mean ± standard error in percent; {} items, {:.2} objectives answered exactly, {} without an answer, {} failed and count as wrong",
            summary::table(&report.rows, "set", &METRICS),
            report.items,
            report.exact_objectives,
            report.without_answer,
            report.failed
        )?;
    }
    all_failed(&records)
}

/// The tasks of all sets, joined where several objectives are asked for.
fn sets(args: &SearchQaArgs) -> anyhow::Result<Vec<Task>> {
    let (mut all, mut seen) = (Vec::new(), std::collections::HashSet::new());
    for path in &args.sets {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (mut tasks, report) = tasks::with_hint(load(path, Some(&name)))?;
        for example in report.iter().flat_map(|report| &report.examples) {
            tracing::warn!("{}, {example}", path.display());
        }
        tasks.truncate(args.limit.unwrap_or(usize::MAX));
        if args.objectives > 1 {
            if let Some(task) = tasks.iter().find(|task| task.questions.len() > 1) {
                let wrong = format!("`{}` has {} questions already", task.id, task.questions.len());
                return Err(Usage(wrong)).hint(|| "leave `--objectives` out for sets of several objectives".to_owned());
            }
            let (joined, left) = join(tasks, args.objectives, args.policy.seed);
            if left > 0 {
                tracing::warn!("{}: {left} questions are left over", path.display());
            }
            tasks = joined;
        }
        for task in &tasks {
            anyhow::ensure!(seen.insert(item(task)), "the task `{}` stands twice in the sets", task.id);
        }
        all.extend(tasks);
    }
    anyhow::ensure!(!all.is_empty(), "there are no tasks to evaluate");
    Ok(all)
}

fn config(args: &SearchQaArgs, evaluated: &Evaluated) -> anyhow::Result<SearcherConfig> {
    let default = SearcherConfig::default();
    let config = SearcherConfig {
        prompts: args.prompts.clone(),
        max_turns: args.max_turns,
        response_tokens: args.response_tokens,
        result_tokens: args.result_tokens,
        topk: args.topk,
        context_tokens: args.context_tokens.unwrap_or(default.context_tokens.min(evaluated.positions())),
        ..default
    };
    evaluated.check_context("--context-tokens", config.context_tokens)?;
    Ok(config)
}

fn note(
    args: &SearchQaArgs,
    evaluated: &Evaluated,
    config: &SearcherConfig,
    prompts: &SearcherPrompts,
) -> anyhow::Result<RunNote> {
    let mut settings = args.policy.note(evaluated)?;
    settings.remove("reader");
    let hashes: Vec<String> = args.sets.iter().map(|path| store::hash_file(path)).collect::<Result<_, _>>()?;
    let source = match (&args.corpus, &args.server) {
        (Some(corpus), _) => {
            let alone = corpus.join("index.json");
            let manifest = if store::exists(&alone) { alone } else { corpus.join("index/manifest.json") };
            json!({ "index": store::hash_file(&manifest)? })
        }
        (None, server) => json!({ "server": server }),
    };
    let mut put = |key: &str, value: Value| settings.insert(key.to_owned(), value);
    put("tasks", json!(hashes));
    put("limit", json!(args.limit));
    put("objectives", json!(args.objectives));
    put("searcher", serde_json::to_value(config)?);
    put("prompts", json!(prompts.hash()));
    put("source", source);
    put("batch", json!(args.batch));
    Ok(RunNote::new("search-qa", settings))
}
