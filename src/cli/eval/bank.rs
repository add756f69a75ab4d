//! `memtrain eval bank`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use memtrain_corpora::{Split, store};
use memtrain_session::{PolicyIdentity, Session};
use serde_json::{Map, Value, json};

use super::super::written::written_path;
use super::benchmarked::{all_failed, answer_all, engine};
use super::with_hint;
use crate::agents::bank::BankConfig;
use crate::agents::bank::answerer::{Answerer, ServerAnswerer};
use crate::cli::configuration::ConfigArgs;
use crate::cli::counts::{count, held};
use crate::cli::failure::{Usage, WithHint};
use crate::cli::models;
use crate::cli::print::print_line;
use crate::config::Config;
use crate::eval::bank::{BankEval, BankReport, key};
use crate::eval::metrics::Metric;
use crate::eval::reconstruction::EVALUATION_STEP;
use crate::eval::record::{ItemKey, Record, RunNote};
use crate::eval::summary;
use crate::policy::{Policy, PolicyTokenizer};
use crate::rollout::RolloutEngine;
use crate::run::signal::StopRequest;
use crate::run::watch::Watch;
use crate::sampler::config::is_url;
use crate::sampler::{ChatServer, LocalSampler};

/// Arguments of `memtrain eval bank`.
#[derive(Debug, Args)]
pub struct BankArgs {
    /// The configuration; its `objective.kind` is `finemem` or `memalpha`
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Policy directory that keeps the bank, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub policy: Option<String>,
    /// Who answers: a policy directory, or the address of a server with OpenAI's chat completions [default: the
    /// configuration's `bank.answerer`, else its policy]
    #[arg(long, value_name = "DIR|URL")]
    pub answerer: Option<String>,
    /// Task table, or Mem-α's or another known question set [default: `tasks.heldout`, or the held-out documents]
    #[arg(long, value_name = "FILE")]
    pub tasks: Option<PathBuf>,
    /// Only the first N tasks or documents [default: `eval.documents`]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub limit: Option<usize>,
    /// Folder of the evaluation: items, turns, report; run again, it goes on [default: nothing is kept]
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub out: Option<PathBuf>,
    /// Items played together
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = held)]
    pub batch: usize,
    /// Begin anew: what the folder holds of an evaluation is moved to a folder beside it
    #[arg(long, requires = "out")]
    pub clean: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Who answers.
enum Frozen {
    Policy(Box<Policy>),
    Server(ChatServer),
}

/// Evaluates and prints.
///
/// # Errors
/// If something cannot be read, the sampler or the answerer fails, a signal asked to stop, or every item failed.
pub fn run(args: &BankArgs) -> anyhow::Result<()> {
    let (config, answering_policy) = config(args)?;
    let session = Session::new(config)?;
    let policy = session.starting_policy()?;
    let stop = StopRequest::on_signals()?;
    let frozen = frozen(&session, &policy, answering_policy, &stop)?;
    let sampling = session.evaluation_sampling();
    let reader = session.reader(&policy, &sampling, EVALUATION_STEP);
    let limit = args.limit.unwrap_or(session.config.eval.documents);
    let items = session.items(Split::Heldout)?.first(limit, &reader)?;
    anyhow::ensure!(!items.is_empty(), "there is nothing to evaluate");
    let keys: Vec<ItemKey> = items.iter().map(key).collect();
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = keys.iter().find(|key| !seen.insert(*key)) {
        anyhow::bail!("the item `{}` stands twice", twice.task);
    }
    let note = RunNote::new("bank", settings(args, &session, &policy, &frozen, limit)?);
    let unkept;
    let folder: &Path = match &args.out {
        Some(folder) => folder,
        None => {
            unkept = tempfile::tempdir().context("there is no room for the evaluation")?;
            unkept.path()
        }
    };
    let mut record = with_hint(Record::open(folder, &note, keys, args.batch, args.clean))?;
    let objective = session.config.objective.objective();
    let bank_eval = BankEval { reader, reading: &session.bank, objective };
    let mut engine = engine(&session.config.sampler, &policy, folder, &stop)?;
    let mut answerer: Box<dyn Answerer> = match frozen {
        Frozen::Server(server) => Box::new(ServerAnswerer { server, stop: stop.clone(), watch: Watch::default() }),
        Frozen::Policy(policy) => {
            let (stop_ids, allowed) = (&policy.generation.eos_token_ids, policy.tokenizer.vocab_size());
            let sampler = LocalSampler::with_ids(&policy.decoder, stop_ids, allowed)?;
            Box::new(RolloutEngine::new(sampler.with_config(&session.config.sampler)).with_stop(&stop))
        }
    };
    answer_all(&mut record, &stop, |_, range| bank_eval.answer(&mut engine, answerer.as_mut(), &items[range]))?;
    let report = BankReport::of(record.done());
    let records = with_hint(record.finish(&report))?;
    if args.json {
        print_line!("{}", serde_json::to_string(&report)?)?
    } else {
        print(&report)?
    }
    all_failed(&records)
}

/// The configuration as the arguments change it, and the policy that answers where it is not the one that keeps banks.
fn config(args: &BankArgs) -> anyhow::Result<(Config, Option<String>)> {
    let mut config = args.config.load()?;
    if config.objective.objective().agent().bank_layout().is_none() {
        return Err(Usage("`objective.kind` keeps no bank".to_owned()))
            .hint(|| "`--set objective.kind=finemem` or `memalpha` says which bank is kept".to_owned());
    }
    if let Some(tasks) = &args.tasks {
        config.tasks.heldout = Some(tasks.clone());
        // Nothing is trained: only what is evaluated has to be there.
        config.tasks.train = Some(tasks.clone());
    }
    let answers = match &args.answerer {
        Some(url) if is_url(url) => {
            config.bank.answerer.get_or_insert_default().url.clone_from(url);
            None
        }
        Some(policy) => {
            config.bank.answerer = None;
            Some(policy.clone())
        }
        None => config.policy.path.clone().filter(|_| args.policy.is_some()),
    };
    if let Some(path) = &args.policy {
        config.policy.path = Some(path.clone());
        config.policy.preset = None;
    }
    models::place(&mut config)?;
    Ok((config, answers))
}

/// Who answers: the server where there is one, else the policy of this name, else the one that keeps banks.
fn frozen(session: &Session, writer: &Policy, name: Option<String>, stop: &StopRequest) -> anyhow::Result<Frozen> {
    if let Some(server) = session.answering_server(stop)? {
        return Ok(Frozen::Server(server));
    }
    let Some(name) = name else { return Ok(Frozen::Policy(Box::new(writer.clone()))) };
    let mut other = session.config.clone();
    (other.policy.path, other.policy.preset) = (Some(name), None);
    models::place(&mut other)?;
    let policy = Session::new(other)?.starting_policy()?;
    let vocabulary = |tokenizer: &PolicyTokenizer| {
        tokenizer.files().iter().find(|(name, _)| name == "tokenizer.json").map(|(_, bytes)| bytes.clone())
    };
    anyhow::ensure!(
        vocabulary(&policy.tokenizer) == vocabulary(&writer.tokenizer),
        "the policy that answers has another tokenizer than the one that keeps the bank: let a server answer, which is asked in words"
    );
    Ok(Frozen::Policy(Box::new(policy)))
}

/// Everything that decides the result.
fn settings(
    args: &BankArgs,
    session: &Session,
    policy: &Policy,
    frozen: &Frozen,
    limit: usize,
) -> anyhow::Result<Map<String, Value>> {
    let Config { reader, bank, objective, eval, run, .. } = &session.config;
    // Where a server is does not matter, nor how patiently it is asked.
    let answerer = match frozen {
        Frozen::Policy(policy) => json!({ "policy": PolicyIdentity::of(policy)?.hash() }),
        Frozen::Server(server) => {
            let parameters = bank.answerer.as_ref().map(|config| &config.parameters);
            json!({ "model": server.model(), "parameters": parameters })
        }
    };
    let tasks = match session.tasks_of(Split::Heldout) {
        Some(path) => store::hash_file(path)?,
        None => session.documents_hash()?,
    };
    let settings = [
        ("policy", json!(PolicyIdentity::of(policy)?.hash())),
        ("answerer", answerer),
        ("tasks", json!([tasks])),
        ("limit", json!(limit)),
        ("objective", serde_json::to_value(objective)?),
        ("reader", serde_json::to_value(reader)?),
        ("bank", serde_json::to_value(BankConfig { answerer: None, ..bank.clone() })?),
        ("prompts", json!([session.prompts.hash(), session.bank.prompts.hash()])),
        ("temperature", json!(eval.temperature)),
        ("seed", json!(run.seed)),
        ("batch", json!(args.batch)),
    ];
    Ok(settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn print(report: &BankReport) -> anyhow::Result<()> {
    print_line!("{:<20} {}", "accuracy", report.accuracy)?;
    for (name, value) in &report.measured {
        print_line!("{name:<20} {:.3}", value.as_f64().unwrap_or(f64::NAN))?;
    }
    print_line!(
        "\n{}mean ± standard error in percent; {} items, {} questions, {} items failed and count as wrong",
        summary::table(&report.rows, "set", &Metric::ALL),
        report.items,
        report.questions,
        report.failed
    )?;
    Ok(())
}
