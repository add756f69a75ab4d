//! `memtrain policy gradient`: the loss of given conversations and its gradient, as one optimizer step sees them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use clap::Args;
use memtrain_corpora::store;
use memtrain_hub::Needed;
use memtrain_session::config::sources::Sources;
use memtrain_session::models::ModelFolder;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::written::written_path;
use super::lines::{self, Line};
use crate::cli::configuration::resolve;
use crate::cli::failure::{Usage, WithHint};
use crate::cli::print::output;
use crate::config::Config;
use crate::grpo::TrainingSample;
use crate::grpo::loss::LossConfig;
use crate::grpo::update::{LossStatistics, accumulate_loss};
use crate::optim::{GradientBuffer, global_norm};
use crate::policy::{Decoder, PolicyConfig, adapter, directory};
use crate::scoring::PassLimits;

/// Arguments of `memtrain policy gradient`.
#[derive(Debug, Args)]
pub struct GradientArgs {
    /// Policy directory or that of an adapter, a name of the Hugging Face hub, or `built-in:NAME`; its tokenizer is not needed
    #[arg(long, visible_alias = "policy", value_name = "DIR")]
    pub model: PathBuf,
    /// Lines `{"prompt_ids": […], "response_ids": […], "advantages": […] or one number}`, with `old_logprobs` and
    /// `ref_logprobs` where there are some; stdin if absent. Together they are one optimizer step
    #[arg(long, value_name = "FILE")]
    pub batch: Option<PathBuf>,
    /// How token losses are averaged: `seq-mean-token-sum` (the paper), `token-mean` (`dapo`), `seq-mean-token-mean` (`grpo`),
    /// `seq-mean-token-sum-norm` (`dr_grpo`)
    #[arg(long, value_name = "NAME")]
    pub loss: Option<String>,
    /// Configuration whose `[loss]`, `[update]` and `sampling.temperature` are taken; the defaults if absent
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change a key, for example `--set loss.kl_beta=0.04` or `--set loss.dual_clip=inf`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Write the gradients as safetensors, in f32, by the names of the parameters
    #[arg(long, value_name = "FILE", value_parser = written_path())]
    pub gradients: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

const EXAMPLE: &str =
    r#"{"prompt_ids": [5, 6, 7], "response_ids": [8, 2], "advantages": [0.5, 0.5], "old_logprobs": [-1.2, -0.3]}"#;

/// Metadata of the file of gradients, by which it is known again.
const METADATA: (&str, &str) = ("memtrain", "gradients");

/// One number for all tokens of a response, or one each.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`advantages` must be a number, or a list of numbers")]
enum Advantages {
    Scalar(f32),
    Tokens(Vec<f32>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    prompt_ids: Vec<u32>,
    response_ids: Vec<u32>,
    #[serde(alias = "advantage")]
    advantages: Advantages,
    #[serde(alias = "old_log_probs")]
    old_logprobs: Option<Vec<f32>>,
    #[serde(alias = "ref_log_probs")]
    ref_logprobs: Option<Vec<f32>>,
    #[serde(alias = "sampler_log_probs")]
    sampler_logprobs: Option<Vec<f32>>,
}

/// What is printed.
struct Report {
    loss: LossConfig,
    temperature: f64,
    statistics: LossStatistics,
    samples: usize,
    has_reference: bool,
    gradient_norm: f64,
    parameter_norms: Vec<(String, f64)>,
}

/// Computes the loss and its gradient and prints what came out.
///
/// # Errors
/// If the policy cannot be loaded, a line is wrong, or the configuration is.
pub fn run(args: &GradientArgs) -> anyhow::Result<()> {
    let report = report(args)?;
    let text = if args.json { format!("{:#}\n", report.as_json()?) } else { report.as_text()? };
    Ok(output().write_all(text.as_bytes())?)
}

fn report(args: &GradientArgs) -> anyhow::Result<Report> {
    if let Some(path) = &args.gradients {
        store::check_file(path, is_gradients)?;
    }
    let config = configuration(args)?;
    let no_policy = || "a policy is a Hugging Face directory; `memtrain policy init` makes one".to_owned();
    let found = ModelFolder::at(&args.model, Needed::Model)?;
    let model = &found.path;
    let shape = adapter::base_of(model).and_then(|base| directory::load_config(&base)).hint(no_policy)?;
    let samples = read(args.batch.as_deref(), &shape)?;
    let decoder = directory::load_decoder(model, &Device::Cpu, DType::F32).hint(no_policy)?;
    let temperature = if config.sampling.temperature > 0.0 { config.sampling.temperature } else { 1.0 };
    let limits = config.update.limits(temperature);
    let (statistics, gradients) = gradients(&decoder, &samples, &config.loss, limits)?;
    if let Some(path) = &args.gradients {
        let named = gradients.iter().map(|(name, gradient)| (name, gradient));
        let (key, value) = METADATA;
        let bytes = safetensors::serialize(named, Some(HashMap::from([(key.to_owned(), value.to_owned())])))?;
        store::write_atomic(path, bytes)?;
    }
    let norm = |gradient: &Tensor| global_norm(std::slice::from_ref(gradient));
    let parameter_norms: Vec<(String, f64)> =
        gradients.into_iter().map(|(name, gradient)| Ok((name, norm(&gradient)?))).collect::<anyhow::Result<_>>()?;
    Ok(Report {
        temperature,
        statistics,
        samples: samples.len(),
        has_reference: samples.iter().any(|sample| sample.reference_log_probs.is_some()),
        gradient_norm: parameter_norms.iter().map(|(_, norm)| norm * norm).sum::<f64>().sqrt(),
        parameter_norms,
        loss: config.loss,
    })
}

/// Whether a file was written for `--gradients`: the metadata stand first in a file of safetensors.
fn is_gradients(path: &Path) -> bool {
    let (key, value) = METADATA;
    let metadata = format!("{{\"__metadata__\":{{\"{key}\":\"{value}\"}}");
    store::head(path, 128).is_ok_and(|head| head.get(8..).is_some_and(|header| header.starts_with(metadata.as_bytes())))
}

/// The configuration of `--config`, changed by `--set` and `--loss`.
fn configuration(args: &GradientArgs) -> anyhow::Result<Config> {
    let mut config = resolve(&Sources::given(args.config.as_deref())?, &args.set)?;
    if let Some(name) = &args.loss {
        let unknown = || Usage(format!("`--loss {name}` is unknown"));
        config.loss.aggregation =
            serde_json::from_value(Value::String(name.clone())).map_err(|_| unknown()).hint(|| {
                "choose `seq-mean-token-sum` (MemTrain), `token-mean` (`dapo`), `seq-mean-token-mean` (`grpo`) or \
             `seq-mean-token-sum-norm` (`dr_grpo`)"
                    .into()
            })?;
    }
    config.loss.validate().map_err(Usage)?;
    Ok(config)
}

fn read(path: Option<&Path>, shape: &PolicyConfig) -> anyhow::Result<Vec<TrainingSample>> {
    let mut samples = Vec::new();
    for line in lines::read(path, EXAMPLE)? {
        samples.push(sample(line?, shape)?);
    }
    anyhow::ensure!(!samples.is_empty(), "there is no conversation to take a gradient of");
    let with = samples.iter().filter(|sample| sample.reference_log_probs.is_some()).count();
    if with != 0 && with != samples.len() {
        anyhow::bail!("{with} of {} lines have `ref_logprobs`: give them in all or in none", samples.len());
    }
    Ok(samples)
}

fn sample(line: Line<Request>, shape: &PolicyConfig) -> anyhow::Result<TrainingSample> {
    let Line { number, value: request } = line;
    for (what, ids) in [("prompt_ids", &request.prompt_ids), ("response_ids", &request.response_ids)] {
        anyhow::ensure!(!ids.is_empty(), "line {number}: `{what}` is empty");
        lines::check_ids(number, what, ids, shape.vocab_size)?;
    }
    let tokens = request.response_ids.len();
    lines::check_length(number, request.prompt_ids.len() + tokens, shape.max_position_embeddings)?;
    let advantages = match request.advantages {
        Advantages::Scalar(advantage) => vec![advantage; tokens],
        Advantages::Tokens(advantages) => advantages,
    };
    let check = |what: &str, values: &[f32]| -> anyhow::Result<()> {
        let count = values.len();
        anyhow::ensure!(count == tokens, "line {number}: `{what}` has {count} numbers for {tokens} `response_ids`");
        anyhow::ensure!(
            values.iter().all(|value| value.is_finite()),
            "line {number}: `{what}` holds a number that is not finite"
        );
        Ok(())
    };
    check("advantages", &advantages)?;
    let optional = [
        ("old_logprobs", &request.old_logprobs),
        ("ref_logprobs", &request.ref_logprobs),
        ("sampler_logprobs", &request.sampler_logprobs),
    ];
    for (what, values) in optional {
        values.as_deref().map_or(Ok(()), |values| check(what, values))?;
    }
    Ok(TrainingSample {
        prompt_ids: request.prompt_ids,
        response_ids: request.response_ids,
        sampler_log_probs: request.sampler_logprobs,
        old_log_probs: request.old_logprobs,
        reference_log_probs: request.ref_logprobs,
        advantages,
    })
}

fn gradients(
    decoder: &Decoder,
    samples: &[TrainingSample],
    loss: &LossConfig,
    limits: PassLimits,
) -> anyhow::Result<(LossStatistics, Vec<(String, Tensor)>)> {
    let parameters = decoder.parameters()?;
    let mut buffer = GradientBuffer::new(&parameters)?;
    let statistics = accumulate_loss(decoder, &parameters, samples, loss, limits, &mut buffer, &|| true)?;
    let names = parameters.into_iter().map(|(name, _)| name);
    Ok((statistics, names.zip(buffer.take()?).collect()))
}

impl Report {
    fn as_json(&self) -> anyhow::Result<Value> {
        let statistics = &self.statistics;
        let norms: Map<String, Value> =
            self.parameter_norms.iter().map(|(name, norm)| (name.clone(), json!(norm))).collect();
        Ok(json!({
            "loss": statistics.loss,
            "policy_loss": statistics.policy_loss,
            "kl": self.has_reference.then_some(statistics.kl),
            "entropy": statistics.entropy,
            "ratio": statistics.ratio,
            "clip_ratio": {
                "low": statistics.clip_low,
                "high": statistics.clip_high,
                "dual": statistics.clip_dual,
            },
            "conversations": self.samples,
            "response_tokens": statistics.tokens,
            "grad_norm": self.gradient_norm,
            "parameters": norms,
            "settings": self.settings()?,
        }))
    }

    /// The settings by their keys; `inf` as a word, since JSON has no number for it.
    fn settings(&self) -> anyhow::Result<Value> {
        let mut settings = serde_json::to_value(&self.loss)?;
        if let Some(settings) = settings.as_object_mut() {
            for value in settings.values_mut().filter(|value| value.is_null()) {
                *value = json!("inf");
            }
            settings.insert("temperature".to_owned(), json!(self.temperature));
        }
        Ok(settings)
    }

    fn as_text(&self) -> Result<String, std::fmt::Error> {
        let LossStatistics { loss, policy_loss, kl, entropy, ratio, clip_low, clip_high, clip_dual, tokens, .. } =
            self.statistics;
        let mut text = String::new();
        writeln!(text, "loss             {loss:.6e}")?;
        writeln!(text, "policy loss      {policy_loss:.6e}")?;
        match self.has_reference {
            true => writeln!(text, "kl               {kl:.6e} nats a token, times {}", self.loss.kl_beta)?,
            false => writeln!(text, "kl               no `ref_logprobs`: left out")?,
        }
        writeln!(text, "entropy          {entropy:.6} nats a token")?;
        writeln!(text, "ratio            {ratio:.6} in the mean")?;
        writeln!(
            text,
            "clipped tokens   {:.2} % low, {:.2} % high, {:.2} % dual",
            100.0 * clip_low,
            100.0 * clip_high,
            100.0 * clip_dual
        )?;
        writeln!(text, "conversations    {}, {tokens} response tokens", self.samples)?;
        writeln!(text, "gradient norm    {:.6e}, of each parameter:", self.gradient_norm)?;
        let width = self.parameter_norms.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, norm) in &self.parameter_norms {
            writeln!(text, "  {name:width$}  {norm:.6e}")?;
        }
        Ok(text)
    }
}
