//! The policy that reads, its prompts and limits, and what draws.
//!
//! A policy reads best as it was trained. So the limits of a checkpoint are those of its run, whose configuration lies two folders
//! above it; without a run they are MemTrain's (§4.1), and the command line may change each.

use std::path::{Path, PathBuf};

use clap::Args;
use memtrain_corpora::store;

use super::ReadArgs;
use crate::agents::prompts::PromptSet;
use crate::agents::reader::ReaderConfig;
use crate::cli::configuration::resolve;
use crate::cli::counts::count;
use crate::cli::failure::{Usage, WithHint};
use crate::cli::models::ModelFolder;
use crate::cli::quickstart;
use crate::config::Config;
use crate::config::sources::Sources;
use crate::policy::{Policy, PolicyConfig, PolicyTokenizer};
use crate::run::{RunError, RunReader};
use crate::sampler::local::free_bytes;
use crate::sampler::{self, Sampler, SamplerConfig, SamplingParams};
use memtrain_session::drawing::Drawing;

/// The policy that reads where none is named.
const BUILT_IN: &str = "built-in:mini";

/// Limits of a reading, each that of the configuration if it is not given.
#[derive(Clone, Debug, Default, Args)]
pub struct Limits {
    /// Longest chunk [default: that of the policy's run, else 5120]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub chunk_tokens: Option<usize>,
    /// Longest memory [default: that of the policy's run, else 1024]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub memory_tokens: Option<usize>,
    /// Longest answer [default: that of the policy's run, else 1024]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub answer_tokens: Option<usize>,
    /// Prompt set: `standard`, `compact` or a folder [default: that of the policy's run, else `standard`]
    #[arg(long, value_name = "SET")]
    pub prompts: Option<String>,
}

/// What a reading works with.
pub struct Session {
    /// Limits; `context_tokens` is what the policy can take.
    pub reader: ReaderConfig,
    /// What the agent is shown.
    pub prompts: PromptSet,
    /// The policy's tokenizer.
    pub tokenizer: PolicyTokenizer,
    sampler: SamplerConfig,
    drawing: Drawing,
}

impl Session {
    /// Resolves the configuration and loads the policy, or its tokenizer where a server draws.
    pub fn open(args: &ReadArgs) -> anyhow::Result<Self> {
        let mut config = configuration(args)?;
        let params = SamplingParams { temperature: args.temperature, top_p: 1.0, top_k: 0, max_tokens: 1 };
        params.check().map_err(Usage)?;
        let server = args.server.as_deref();
        Drawing::configure(&mut config.sampler, server).map_err(Usage)?;
        let reader = limits(&config.reader, &args.limits);
        let prompts = PromptSet::load(&reader.prompts, reader.prompt.layout)?;
        let source = named(args, &config);
        let found = ModelFolder::find(&source, Drawing::needed(server))?;
        let settings = config.policy.template_settings();
        let drawing = Drawing::open(&found.path, server.is_some(), &args.device, &settings)?;
        let reader = ReaderConfig { context_tokens: drawing.positions, ..reader };
        Ok(Self { reader, prompts, tokenizer: drawing.tokenizer.clone(), sampler: config.sampler, drawing })
    }

    /// Tokens of the longest prompt with its response, by the limits. A memory may be some more when it is read again.
    ///
    /// # Errors
    /// If they are more than the policy can take.
    pub fn check_room<'p>(&self, problems: impl Iterator<Item = &'p PromptSet>) -> anyhow::Result<usize> {
        let mut frame = 0;
        for prompts in problems {
            for turn in [prompts.memory_turn("", ""), prompts.answer_turn("")] {
                frame = frame.max(self.tokenizer.chat_prompt_ids(turn)?.len());
            }
        }
        let ReaderConfig { chunk_tokens, memory_tokens, answer_tokens, context_tokens, .. } = self.reader;
        let parts = [frame, chunk_tokens, memory_tokens, memory_tokens.max(answer_tokens)];
        let needed = parts.iter().fold(0, |sum: usize, part| sum.saturating_add(*part));
        if needed <= context_tokens {
            return Ok(needed);
        }
        Err(Usage(format!(
            "a question in its prompt takes {frame} tokens, a chunk {chunk_tokens}, a memory {memory_tokens} and a response {}: \
             the policy was made for {context_tokens} positions",
            parts[3]
        )))
        .hint(|| "lower `--chunk-tokens`, `--memory-tokens` or `--answer-tokens`".to_owned())
    }

    /// What draws for so many readings at a time, none of which needs more than about `longest` tokens at once.
    ///
    /// # Errors
    /// If the device refuses, or the server cannot be reached.
    pub fn sampler(&self, readings: usize, longest: usize) -> anyhow::Result<Box<dyn Sampler>> {
        let goes_on = || anyhow::Ok(());
        let local = |policy: &Policy| {
            let mut config = self.sampler.clone();
            if config.cache_gib == 0.0 {
                config.cache_gib = cache_gib(policy, readings, longest);
            }
            sampler::of_policy(&config, policy, None, &goes_on)
        };
        self.drawing.sampler(&self.sampler, local, &goes_on)
    }
}

/// GiB that keys and values may take: twice what the readings need at once, and no more than by default. Nothing that was read
/// comes again, so that a cache of half the memory would fill without use.
fn cache_gib(policy: &Policy, readings: usize, longest: usize) -> f64 {
    let PolicyConfig { num_hidden_layers, num_key_value_heads, head_dim, max_position_embeddings, .. } =
        policy.decoder.config;
    let token_bytes = 2 * num_hidden_layers * num_key_value_heads * head_dim * size_of::<f32>();
    let at_once = readings.saturating_mul(2 * longest).max(max_position_embeddings.min(4 * longest));
    let free = free_bytes(policy.decoder.device()).map_or(usize::MAX, |free| free / 2);
    at_once.saturating_mul(token_bytes).min(free) as f64 / f64::from(1 << 30)
}

/// The policy that is named: on the command line, in the configuration that was given, or the program's own.
fn named(args: &ReadArgs, config: &Config) -> String {
    let configured = config.policy.path.as_ref().filter(|_| args.config.is_some());
    args.policy.as_ref().or(configured).map_or(BUILT_IN, String::as_str).to_owned()
}

/// The configuration that was given, that of the policy's run, or that of the built-in policies; else the defaults.
fn configuration(args: &ReadArgs) -> anyhow::Result<Config> {
    let policy = args.policy.as_deref();
    let sources = match (&args.config, policy.and_then(run_of)) {
        (None, Some(run)) => run_configuration(&run)?,
        (None, None) if policy.is_none_or(|policy| policy.starts_with("built-in:")) => {
            Sources::of_text(Path::new("configs/quickstart.toml"), quickstart::CONFIG)?
        }
        (given, _) => Sources::given(given.as_deref())?,
    };
    resolve(&sources, &args.set)
}

/// `RUN` of the policy `RUN/checkpoints/NAME`, where it has a configuration.
fn run_of(policy: &str) -> Option<PathBuf> {
    let policy = std::path::absolute(policy).ok().filter(|policy| store::is_dir(policy))?;
    let checkpoints = policy.parent().filter(|folder| folder.ends_with("checkpoints"))?;
    checkpoints.parent().filter(|run| store::exists(&run.join("config.toml"))).map(Path::to_path_buf)
}

/// The configuration of a run as it is now; of a folder that is copied without its manifest, the file itself.
fn run_configuration(run: &Path) -> anyhow::Result<Sources> {
    let path = run.join("config.toml");
    let text = match RunReader::open(run) {
        Ok(reader) => reader.config()?,
        Err(RunError::NoRun { .. }) => store::read_to_string(&path)?,
        Err(error) => return Err(error.into()),
    };
    Sources::of_text(&path, &text)
}

/// The configured limits with those that were typed.
fn limits(configured: &ReaderConfig, typed: &Limits) -> ReaderConfig {
    ReaderConfig {
        chunk_tokens: typed.chunk_tokens.unwrap_or(configured.chunk_tokens),
        memory_tokens: typed.memory_tokens.unwrap_or(configured.memory_tokens),
        answer_tokens: typed.answer_tokens.unwrap_or(configured.answer_tokens),
        prompts: typed.prompts.clone().unwrap_or_else(|| configured.prompts.clone()),
        ..configured.clone()
    }
}
