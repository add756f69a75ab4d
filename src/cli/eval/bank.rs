//! `memtrain eval bank`.

use std::path::PathBuf;

use clap::Args;
use memtrain_corpora::{Split, store};
use serde_json::{Map, Value, json};

use crate::agents::reader::DrawConfig;
use crate::cli::configuration::ConfigArgs;
use crate::cli::failure::{Usage, WithHint};
use crate::cli::models;
use crate::cli::print::print_line;
use crate::cli::setup::Workbench;
use crate::eval::interval::Estimate;
use crate::eval::reconstruction::EVALUATION_STEP;
use crate::grpo::packing::PromptResponse;
use crate::objectives::{Item, Played, Scorer, Stage, means};
use crate::policy::Policy;
use crate::run::RunError;
use crate::run::progress::Bar;
use crate::run::signal::StopRequest;
use crate::sampler::LocalSampler;

/// Arguments of `memtrain eval bank`.
#[derive(Debug, Args)]
pub struct BankArgs {
    /// The configuration; its `objective.kind` is `finemem` or `memalpha`
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Policy directory that keeps the bank, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub policy: Option<String>,
    /// Policy directory that answers [default: the configuration's policy]
    #[arg(long, value_name = "DIR")]
    pub answerer: Option<String>,
    /// Task table, or Mem-α's or another known question set [default: `tasks.heldout`, or the held-out documents]
    #[arg(long, value_name = "FILE")]
    pub tasks: Option<PathBuf>,
    /// Only the first N tasks or documents [default: `eval.documents`]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Folder for `report.json`, `items.jsonl` (what each was asked, how it answered, its bank)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Items played together
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub batch: usize,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Nothing of a bank is scored by likelihood.
struct NoScorer;

impl Scorer for NoScorer {
    fn log_probs(&self, _pairs: &[PromptResponse<'_>]) -> anyhow::Result<Vec<Vec<f64>>> {
        anyhow::bail!("an evaluation of a bank scores nothing by likelihood")
    }
}

/// Evaluates and prints.
///
/// # Errors
/// If something cannot be read, sampling fails, or a signal asked to stop.
pub fn run(args: &BankArgs) -> anyhow::Result<()> {
    let mut config = args.config.load()?;
    if config.objective.bank_layout().is_none() {
        return Err(Usage("`objective.kind` keeps no bank".to_owned()))
            .hint(|| "`--set objective.kind=finemem` or `memalpha` says which bank is kept".to_owned());
    }
    if let Some(tasks) = &args.tasks {
        config.tasks.heldout = Some(tasks.clone());
        // Nothing is trained: only what is evaluated has to be there.
        config.tasks.train = Some(tasks.clone());
    }
    let answerer = args.answerer.clone().or_else(|| config.policy.path.clone()).filter(|_| args.policy.is_some());
    if let Some(path) = &args.policy {
        config.policy.path = Some(path.clone());
        config.policy.preset = None;
    }
    models::place(&mut config)?;
    let bench = Workbench::new(config)?;
    let policy = bench.starting_policy()?;
    let answerer = match answerer {
        Some(path) => {
            let mut other = bench.config.clone();
            (other.policy.path, other.policy.preset) = (Some(path), None);
            models::place(&mut other)?;
            Workbench::new(other)?.starting_policy()?
        }
        None => policy.clone(),
    };
    let vocabulary =
        |policy: &Policy| policy.tokenizer.files().iter().find(|(name, _)| name == "tokenizer.json").cloned();
    anyhow::ensure!(
        vocabulary(&policy) == vocabulary(&answerer),
        "the policy that answers has another tokenizer than the one that keeps the bank"
    );
    let draw = DrawConfig { temperature: bench.config.eval.temperature, ..DrawConfig::default() };
    let reader = bench.reader(&policy, &draw, EVALUATION_STEP);
    let limit = args.limit.unwrap_or(bench.config.eval.documents);
    let items = bench.items(Split::Heldout)?.first(limit, &reader)?;
    anyhow::ensure!(!items.is_empty(), "there is nothing to evaluate");
    let sampler = |policy: &Policy| {
        LocalSampler::with_ids(&policy.decoder, &policy.generation.eos_token_ids, policy.tokenizer.vocab_size())
    };
    let (mut keeps, mut answers) = (sampler(&policy)?, sampler(&answerer)?);
    let stop = StopRequest::on_signals()?;
    let bar = Bar::new("items", items.len() as u64, 0);
    let mut played = Vec::with_capacity(items.len());
    let objective = bench.config.objective.objective();
    for batch in items.chunks(args.batch.max(1)) {
        if stop.requested() {
            return Err(RunError::Stopped.into());
        }
        let mut stage = Stage {
            reader: bench.reader(&policy, &draw, EVALUATION_STEP),
            bank: &bench.bank,
            search: None,
            sampler: &mut keeps,
            frozen: Some(&mut answers),
            scorer: &NoScorer,
            frozen_scorer: None,
        };
        played.extend(objective.roll_out(&mut stage, batch, 1)?);
        bar.advance(batch.len() as u64);
    }
    bar.finish();
    let report = report(&played, objective.held_out_score());
    if let Some(folder) = &args.out {
        store::create_dir_all(folder)?;
        let lines: Vec<String> = items.iter().zip(&played).map(|(item, played)| line(item, played)).collect();
        store::write_atomic(&folder.join("items.jsonl"), lines.concat())?;
        store::write_json(&folder.join("report.json"), &report)?;
    }
    if args.json {
        print_line!("{report}")?;
        return Ok(());
    }
    for (name, value) in report.as_object().into_iter().flatten() {
        match value {
            Value::Object(estimate) => {
                let number = |key: &str| estimate.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
                print_line!("{name:<20} {:.3} [{:.3}, {:.3}]", number("mean"), number("low"), number("high"))?;
            }
            value => print_line!("{name:<20} {value}")?,
        }
    }
    Ok(())
}

/// Right answers with their interval over items, and the means of everything else.
fn report(played: &[Played], main: &'static str) -> Value {
    let of_item = |played: &Played| {
        let of_name = played.scores.iter().filter(|(name, _)| *name == main).map(|(_, value)| *value);
        let (sum, count) = of_name.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
        sum / count.max(1) as f64
    };
    let accuracy = Estimate::of_means(&played.iter().map(of_item).collect::<Vec<_>>());
    let mut report =
        Map::from_iter([("items".to_owned(), json!(played.len())), ("accuracy".to_owned(), json!(accuracy))]);
    let scores = means(played.iter().flat_map(|played| &played.scores)).into_iter().filter(|(name, _)| *name != main);
    let gauges = means(played.iter().flat_map(|played| &played.gauges));
    report.extend(scores.chain(gauges).map(|(name, mean)| (name.to_owned(), json!(mean))));
    Value::Object(report)
}

/// One item: its parts, what was asked and answered, and what the bank holds.
fn line(item: &Item, played: &Played) -> String {
    let reasons: Vec<Value> =
        played.graded.iter().filter_map(|graded| serde_json::from_str(&graded.reason.to_json()).ok()).collect();
    let line = json!({ "id": item.id(), "turns": reasons, "banks": played.banks });
    format!("{line}\n")
}
