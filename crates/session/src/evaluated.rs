//! A policy on benchmarks of questions: loaded as its configuration says, and led through the items of a record.

use std::ops::Range;
use std::path::Path;

use candle_core::DType;
use memtrain_hub::Needed;
use serde_json::{Map, Value, json};

use crate::agents::reader::SamplingConfig;
use crate::config::Config;
use crate::error::{Usage, WithHint};
use crate::eval::record::{EvalTurn, ItemKey, ItemRecord, Record};
use crate::identity::PolicyIdentity;
use crate::models::ModelFolder;
use crate::policy::{Policy, TemplateSettings, directory};
use crate::rollout::RolloutEngine;
use crate::run::signal::StopRequest;
use crate::sampler::{self, SamplerConfig, SamplingParams};

/// A policy that is evaluated.
pub struct EvaluatedPolicy {
    /// The configuration.
    pub config: Config,
    /// How responses are drawn.
    pub sampling: SamplingConfig,
    /// The policy.
    pub policy: Policy,
    /// What it is known by.
    pub identity: PolicyIdentity,
}

impl EvaluatedPolicy {
    /// Loads `source`, a folder, a name of the hub or `built-in:NAME`; the configuration's policy where there is none.
    ///
    /// # Errors
    /// If no policy is named or it cannot be loaded, or the sampling parameters make no sense.
    pub fn open(config: Config, source: Option<&str>, sampling: SamplingConfig) -> anyhow::Result<Self> {
        let SamplingConfig { temperature, top_p, top_k } = sampling;
        SamplingParams { temperature, top_p, top_k, max_tokens: 1 }.check().map_err(Usage)?;
        let source = source.or(config.policy.path.as_deref());
        let source = source
            .ok_or_else(|| Usage("no policy is named".to_owned()))
            .hint(|| "give `--policy DIR`, or a configuration with `policy.path`".to_owned())?;
        let found = ModelFolder::find(source, Needed::Model)?;
        let policy = directory::load(&found.path, &config.policy.device.open()?, DType::F32)
            .hint(|| "a policy is a Hugging Face directory; `memtrain policy init` makes one".to_owned())?
            .with_template_settings(&config.policy.template_settings());
        let identity = PolicyIdentity::of(&policy)?;
        Ok(Self { config, sampling, policy, identity })
    }

    /// Positions of the policy.
    pub fn positions(&self) -> usize {
        self.policy.decoder.config.max_position_embeddings
    }

    /// Checks that a context of so many tokens, which is the value of `key`, is not beyond the policy.
    ///
    /// # Errors
    /// If it is.
    pub fn check_context(&self, key: &str, context: usize) -> anyhow::Result<()> {
        let positions = self.positions();
        if context <= positions {
            return Ok(());
        }
        Err(Usage(format!("`{key}` is {context}, but the policy was made for {positions} positions")))
            .hint(|| format!("lower it to {positions}, and the limits that must fit into it"))
    }

    /// The settings of an evaluation's note that come from here; `seed` is that of the draws.
    ///
    /// # Errors
    /// If one of them cannot be written as JSON.
    pub fn note(&self, seed: u64) -> anyhow::Result<Map<String, Value>> {
        let mut note = Map::from_iter([
            ("policy".to_owned(), json!(self.identity.hash())),
            ("reader".to_owned(), serde_json::to_value(&self.config.reader)?),
            ("draw".to_owned(), serde_json::to_value(&self.sampling)?),
            ("seed".to_owned(), json!(seed)),
        ]);
        let policy = &self.config.policy;
        if policy.template_settings() != TemplateSettings::default() {
            note.insert("chat_template_kwargs".to_owned(), json!(policy.chat_template_kwargs));
            note.insert("template_date".to_owned(), json!(policy.template_date));
        }
        Ok(note)
    }
}

/// Plays with a policy in this process, or with the configured server, whose weights are written under `out`.
///
/// # Errors
/// If the device refuses, or the server.
pub fn engine(
    config: &SamplerConfig,
    policy: &Policy,
    out: &Path,
    stop: &StopRequest,
) -> anyhow::Result<RolloutEngine<'static>> {
    let named = &config.http.weights;
    let weights = if named.as_os_str().is_empty() { out.join("sampler-weights") } else { named.clone() };
    Ok(RolloutEngine::new(sampler::of_policy(config, policy, Some(&weights))?).with_stop(stop))
}

/// Answers the items of a record that are not done, batch by batch; `answer` is given their keys and numbers, `advanced` how
/// many are done. A stop ends it between two batches, and `answer` within one; the batches that are done are kept.
///
/// # Errors
/// If `answer` fails, the record cannot be written, or somebody asks to stop.
pub fn answer_all(
    record: &mut Record,
    stop: &StopRequest,
    mut answer: impl FnMut(&[ItemKey], Range<usize>) -> anyhow::Result<(Vec<ItemRecord>, Vec<EvalTurn>)>,
    mut advanced: impl FnMut(usize),
) -> anyhow::Result<()> {
    loop {
        let range = record.next_batch();
        if range.is_empty() {
            return Ok(());
        }
        stop.check()?;
        let (records, turns) = answer(&record.items()[range.clone()], range)?;
        record.add(records, turns)?;
        advanced(record.done().len());
    }
}

/// An error if no item has an answer; a warning if some have none.
///
/// # Errors
/// The failure of the first item.
pub fn all_failed(records: &[ItemRecord]) -> anyhow::Result<()> {
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
