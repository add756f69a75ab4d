//! Folders of `eval reconstruction` and `eval recall`: every item and turn, which `eval compare` pairs.

use std::path::PathBuf;

use clap::Args;
use memtrain_corpora::{Split, store};
use memtrain_session::{PolicyIdentity, Session};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::written::written_path;
use super::{unkept, with_hint};
use crate::config::Config;
use crate::eval::answered::AnsweredItems;
use crate::eval::record::{ItemKey, REPORT, Record, RunNote};
use crate::policy::{Policy, TemplateSettings};

/// Where items are kept.
#[derive(Clone, Debug, Args)]
pub struct KeptArgs {
    /// Folder for every item and turn, which `eval compare` reads; written when all are answered [default: none is kept]
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub items: Option<PathBuf>,
    /// Begin anew: what the folder holds of an evaluation is moved to a folder beside it
    #[arg(long, requires = "items")]
    pub clean: bool,
}

impl KeptArgs {
    /// Evaluates, and keeps the items where that was asked for. What a folder holds already of the same evaluation is taken
    /// from it.
    ///
    /// # Errors
    /// If the folder holds another evaluation or cannot be written, and what `evaluate` fails with.
    pub(super) fn keep<R: Serialize + DeserializeOwned>(
        &self,
        note: impl FnOnce() -> anyhow::Result<RunNote>,
        keys: Vec<ItemKey>,
        evaluate: impl FnOnce(Option<&mut AnsweredItems>) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        let Some(folder) = self.items.as_deref().filter(|_| !keys.is_empty()) else {
            return unkept(evaluate(None));
        };
        let (note, count) = (note()?, keys.len());
        let mut record = with_hint(Record::open(folder, &note, keys.clone(), count, self.clean))?;
        if record.next_batch().is_empty() {
            if store::exists(&folder.join(REPORT)) {
                with_hint(record.seal())?;
                return Ok(store::read_json(&folder.join(REPORT))?);
            }
            // Killed between the items and the report, which is not made of them alone.
            drop(record);
            record = with_hint(Record::open(folder, &note, keys, count, true))?;
        }
        let mut items = AnsweredItems::default();
        let report = unkept(evaluate(Some(&mut items)))?;
        with_hint(record.add(items.records, items.turns))?;
        with_hint(record.finish(&report))?;
        Ok(report)
    }
}

/// Everything that decides the result of an evaluation on held-out documents; `settings` are the benchmark's own.
pub(super) fn note(
    benchmark: &str,
    session: &Session,
    policy: &Policy,
    settings: &[(&str, Value)],
) -> anyhow::Result<RunNote> {
    let Config { reader, objective, eval, run, policy: configured, .. } = &session.config;
    // As `Session::documents` takes them: other objectives are evaluated on the corpus.
    let takes_rows = objective.objective().reconstruction().is_some();
    let tasks = match session.tasks_of(Split::Heldout).filter(|_| takes_rows) {
        Some(path) => store::hash_file(path)?,
        None => session.documents_hash()?,
    };
    let common = [
        ("policy", json!(PolicyIdentity::of(policy)?.hash())),
        ("tasks", json!([tasks])),
        ("documents", json!(eval.documents)),
        ("objective", serde_json::to_value(objective)?),
        ("reader", serde_json::to_value(reader)?),
        ("prompts", json!(session.prompts.hash())),
        ("temperature", json!(eval.temperature)),
        ("seed", json!(run.seed)),
    ];
    let mut settings: Map<String, Value> =
        common.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    if configured.template_settings() != TemplateSettings::default() {
        settings.insert("chat_template_kwargs".to_owned(), json!(configured.chat_template_kwargs));
        settings.insert("template_date".to_owned(), json!(configured.template_date));
    }
    Ok(RunNote::new(benchmark, settings))
}
