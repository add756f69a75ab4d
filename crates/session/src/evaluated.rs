//! A policy on benchmarks of questions: loaded as its configuration says, and led through the items of a record.

use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::agents::reader::SamplingConfig;
use crate::config::Config;
use crate::drawing::{Drawing, Draws};
use crate::error::{Usage, WithHint};
use crate::eval::record::{EvalTurn, ItemKey, ItemRecord, Record};
use crate::identity::{PolicyIdentity, tokenizer_hash};
use crate::models::ModelFolder;
use crate::policy::{Policy, PolicyTokenizer, TemplateSettings};
use crate::rollout::RolloutEngine;
use crate::run::signal::StopRequest;
use crate::sampler::{self, Sampler, SamplerConfig, SamplingParams};

/// A policy that is evaluated.
pub struct EvaluatedPolicy {
    /// The configuration.
    pub config: Config,
    /// How responses are drawn.
    pub sampling: SamplingConfig,
    /// The policy, or the server that has it.
    drawing: Drawing,
    /// What it is known by: [`PolicyIdentity::hash`]; where a server draws, the model's name and the tokenizer's hash.
    identity: Value,
}

impl EvaluatedPolicy {
    /// Loads `source`, a folder, a name of the hub or `built-in:NAME`; the configuration's policy where there is none. Of one that
    /// `server` (a URL) has, only what prompts are made with is read.
    ///
    /// # Errors
    /// If no policy is named or it cannot be loaded, the server's address is none, or the sampling parameters make no sense.
    pub fn open(
        mut config: Config,
        source: Option<&str>,
        server: Option<&str>,
        sampling: SamplingConfig,
    ) -> anyhow::Result<Self> {
        let SamplingConfig { temperature, top_p, top_k } = sampling;
        SamplingParams { temperature, top_p, top_k, max_tokens: 1 }.check().map_err(Usage)?;
        if server.is_some() {
            Drawing::configure(&mut config.sampler, server).map_err(Usage)?;
        }
        let source = source.or(config.policy.path.as_deref());
        let source = source
            .ok_or_else(|| Usage("no policy is named".to_owned()))
            .hint(|| "give `--policy DIR`, or a configuration with `policy.path`".to_owned())?;
        let found = ModelFolder::find(source, Drawing::needed(server))?;
        let settings = config.policy.template_settings();
        let drawing = Drawing::open(&found.path, server.is_some(), &config.policy.device, &settings)?;
        let identity = match &drawing.draws {
            Draws::Policy(policy) => json!(PolicyIdentity::of(policy)?.hash()),
            Draws::Server { stop_ids } => {
                let tokenizer = tokenizer_hash(&drawing.tokenizer, stop_ids);
                json!({ "model": config.sampler.http.model, "tokenizer": tokenizer })
            }
        };
        Ok(Self { config, sampling, drawing, identity })
    }

    /// Positions of the policy.
    pub fn positions(&self) -> usize {
        self.drawing.positions
    }

    /// The policy's tokenizer.
    pub fn tokenizer(&self) -> &PolicyTokenizer {
        &self.drawing.tokenizer
    }

    /// Plays with the policy in this process, or with the server; weights for a configured one are written under `out`.
    ///
    /// # Errors
    /// If the device refuses, or the server.
    pub fn engine(&self, out: &Path, stop: &StopRequest) -> anyhow::Result<RolloutEngine<'static>> {
        let config = &self.config.sampler;
        let goes_on = || anyhow::Ok(stop.check()?);
        let sampler = self.drawing.sampler(config, |policy| sampler_of(config, policy, out, stop), &goes_on)?;
        Ok(RolloutEngine::new(sampler).with_stop(stop))
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
            ("policy".to_owned(), self.identity.clone()),
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
    Ok(RolloutEngine::new(sampler_of(config, policy, out, stop)?).with_stop(stop))
}

fn sampler_of(
    config: &SamplerConfig,
    policy: &Policy,
    out: &Path,
    stop: &StopRequest,
) -> anyhow::Result<Box<dyn Sampler>> {
    let named = &config.http.weights;
    let weights = if named.as_os_str().is_empty() { out.join("sampler-weights") } else { named.clone() };
    sampler::of_policy(config, policy, Some(&weights), &|| Ok(stop.check()?))
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
