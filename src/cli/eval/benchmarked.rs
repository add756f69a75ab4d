//! What the question-answering benchmarks share: which policy, with which limits, and the way through the items.

use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::DType;
use clap::Args;
use memtrain_corpora::store;
use memtrain_hub::Needed;
use serde_json::{Map, Value, json};

use super::with_hint;
use crate::agents::reader::SamplingConfig;
use crate::cli::configuration::resolve;
use crate::cli::failure::{Usage, WithHint};
use crate::cli::models::ModelFolder;
use crate::cli::sources::Sources;
use crate::config::Config;
use crate::eval::record::{EvalTurn, ItemKey, ItemRecord, Record};
use crate::policy::{Policy, TemplateSettings, directory};
use crate::rollout::RolloutEngine;
use crate::run::progress::Bar;
use crate::run::signal::StopRequest;
use crate::sampler::{self, SamplerConfig, SamplingParams};

/// The policy and how it is sampled.
#[derive(Clone, Debug, Args)]
pub struct PolicyArgs {
    /// Policy directory, its name on the hub, or `built-in:tiny` [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    pub policy: Option<String>,
    /// Configuration with the sections `[policy]` and `[reader]`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change a key, for example `--set reader.chunk_tokens=5000`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// 0 takes the most probable token each time
    #[arg(long, default_value_t = 0.7)]
    pub temperature: f64,
    /// Draw among the most probable tokens that together reach this probability
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// A policy that is evaluated.
pub(super) struct Evaluated {
    /// The configuration.
    pub(super) config: Config,
    /// How responses are drawn.
    pub(super) sampling: SamplingConfig,
    /// The policy.
    pub(super) policy: Policy,
    /// BLAKE3 over the names and contents of its files.
    pub(super) hash: String,
}

impl Evaluated {
    /// Positions of the policy.
    pub(super) fn positions(&self) -> usize {
        self.policy.decoder.config.max_position_embeddings
    }

    /// Checks that a context of so many tokens, which is the value of `key`, is not beyond the policy.
    pub(super) fn check_context(&self, key: &str, context: usize) -> anyhow::Result<()> {
        let positions = self.positions();
        if context <= positions {
            return Ok(());
        }
        Err(Usage(format!("`{key}` is {context}, but the policy was made for {positions} positions")))
            .hint(|| format!("lower it to {positions}, and the limits that must fit into it"))
    }
}

/// Plays with the policy in this process, or with the configured server, whose weights are written under `out`.
pub(super) fn engine(
    config: &SamplerConfig,
    policy: &Policy,
    out: &Path,
    stop: &StopRequest,
) -> anyhow::Result<RolloutEngine<'static>> {
    let named = &config.http.weights;
    let weights = if named.as_os_str().is_empty() { out.join("sampler-weights") } else { named.clone() };
    let sampler = sampler::of_policy(config, policy, Some(&weights), &|| Ok(stop.check()?))?;
    Ok(RolloutEngine::new(sampler).with_stop(stop))
}

impl PolicyArgs {
    /// Resolves the configuration and loads the policy.
    pub(super) fn open(&self) -> anyhow::Result<Evaluated> {
        let config = resolve(&Sources::given(self.config.as_deref())?, &self.set)?;
        let sampling = SamplingConfig { temperature: self.temperature, top_p: self.top_p, top_k: 0 };
        let params = SamplingParams { temperature: self.temperature, top_p: self.top_p, top_k: 0, max_tokens: 1 };
        params.check().map_err(Usage)?;
        let source = self.policy.clone().or_else(|| config.policy.path.clone());
        let source = source
            .ok_or_else(|| Usage("no policy is named".to_owned()))
            .hint(|| "give `--policy DIR`, or a configuration with `policy.path`".to_owned())?;
        let found = ModelFolder::find(&source, Needed::Model)?;
        let folder = found.path.as_path();
        let policy = directory::load(folder, &config.policy.device.open()?, DType::F32)
            .hint(|| "a policy is a Hugging Face directory; `memtrain policy init` makes one".to_owned())?
            .with_template_settings(&config.policy.template_settings());
        let hash = hash_folder(folder)?;
        Ok(Evaluated { config, sampling, policy, hash })
    }

    /// The settings of a run's note that come from here.
    pub(super) fn note(&self, evaluated: &Evaluated) -> anyhow::Result<Map<String, Value>> {
        let mut note = Map::from_iter([
            ("policy".to_owned(), json!(evaluated.hash)),
            ("reader".to_owned(), serde_json::to_value(&evaluated.config.reader)?),
            ("draw".to_owned(), serde_json::to_value(&evaluated.sampling)?),
            ("seed".to_owned(), json!(self.seed)),
        ]);
        let (settings, policy) = (evaluated.config.policy.template_settings(), &evaluated.config.policy);
        if settings != TemplateSettings::default() {
            note.insert("chat_template_kwargs".to_owned(), json!(policy.chat_template_kwargs));
            note.insert("template_date".to_owned(), json!(policy.template_date));
        }
        Ok(note)
    }
}

/// Answers the items of a record that are not done, batch by batch; `answer` is given their keys and numbers. A stop ends it
/// between two batches, and `answer` within one; the batches that are done are kept.
pub(super) fn answer_all(
    record: &mut Record,
    stop: &StopRequest,
    mut answer: impl FnMut(&[ItemKey], Range<usize>) -> anyhow::Result<(Vec<ItemRecord>, Vec<EvalTurn>)>,
) -> anyhow::Result<()> {
    let bar = Bar::new("items", record.items().len() as u64, record.done().len() as u64);
    loop {
        let range = record.next_batch();
        if range.is_empty() {
            break;
        }
        stop.check()?;
        let (records, turns) = answer(&record.items()[range.clone()], range.clone())?;
        with_hint(record.add(records, turns))?;
        bar.advance(range.len() as u64);
    }
    bar.finish();
    Ok(())
}

/// An error if no item has an answer; a warning if some have none.
pub(super) fn all_failed(records: &[ItemRecord]) -> anyhow::Result<()> {
    let failures: Vec<&str> = records.iter().filter_map(|record| record.failure.as_deref()).collect();
    match failures.first() {
        Some(first) if failures.len() == records.len() => {
            anyhow::bail!("all {} items failed, the first because {first}", failures.len())
        }
        Some(first) => {
            tracing::warn!("{} items failed and count as wrong, the first because {first}", failures.len());
            Ok(())
        }
        None => Ok(()),
    }
}

/// BLAKE3 over the names and contents of the files of a folder.
fn hash_folder(folder: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in store::list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What trained or wrote the policy does not change what it says.
        if !store::is_dir(&path) && name != "checkpoint.json" && name != store::MARKER {
            hasher.update(name.as_bytes());
            hasher.update(store::hash_file(&path)?.as_bytes());
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}
