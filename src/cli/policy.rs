//! `memtrain policy`: make, describe, score with and sample from a policy directory.

mod generate;
mod info;
mod lines;
mod score;

use std::path::PathBuf;

use candle_core::{DType, Device};
use clap::{Args, Subcommand};

use super::failure::{Usage, WithHint};
use crate::policy::tokenizer::{COMPACT_CHAT_TEMPLATE, END_OF_TURN};
use crate::policy::{Decoder, Policy, PolicyTokenizer, directory, preset};

/// Arguments of `memtrain policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make a policy with fresh weights
    Init(InitArgs),
    /// Describe a policy: parameters, shapes, vocabulary, hash, memory
    Info(info::InfoArgs),
    /// Log-probabilities of given responses: JSON lines in, JSON lines out
    Score(score::ScoreArgs),
    /// Draw responses: JSON lines in, JSON lines out
    Generate(generate::GenerateArgs),
}

/// Arguments of `memtrain policy init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Shape of the policy: `tiny` or `small`
    #[arg(long, default_value = "tiny")]
    pub preset: String,
    /// Its tokenizer, for example `<corpus>/tokenizer/tokenizer.json`
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder to write, a Hugging Face directory
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Does what was asked.
///
/// # Errors
/// If the policy cannot be made, read or used, or the input is wrong.
pub fn run(args: PolicyArgs) -> anyhow::Result<()> {
    match args.action {
        Action::Init(args) => init(&args),
        Action::Info(args) => info::run(&args),
        Action::Score(args) => score::run(&args),
        Action::Generate(args) => generate::run(&args),
    }
}

/// Makes a policy and writes it; prints its folder.
///
/// # Errors
/// If the preset is unknown, the tokenizer cannot be used, or something that is no policy is in the way.
pub fn init(args: &InitArgs) -> anyhow::Result<()> {
    if !preset::NAMES.contains(&args.preset.as_str()) {
        let unknown = Usage(format!("no preset is called `{}`", args.preset));
        return Err(unknown).hint(|| format!("choose one of {}", preset::NAMES.join(", ")));
    }
    let mut tokenizer = PolicyTokenizer::from_file(&args.tokenizer).hint(|| {
        "give the path of a `tokenizer.json`, for example the one that `memtrain corpus build` writes".into()
    })?;
    let has_companions = tokenizer.files().len() > 1;
    if !has_companions && tokenizer.token_id(END_OF_TURN).is_some() {
        tokenizer = tokenizer.with_chat_template(COMPACT_CHAT_TEMPLATE, END_OF_TURN)?;
    }
    let config = preset::by_name(&args.preset, tokenizer.vocab_size())?;
    let decoder = Decoder::init(config, args.seed, &Device::Cpu, DType::F32)?;
    let parameters = decoder.config.num_parameters();
    directory::save(&Policy::new(decoder, tokenizer)?, &args.out)?;
    tracing::info!("a `{}` policy of {parameters} parameters", args.preset);
    println!("{}", args.out.display());
    Ok(())
}

/// A policy directory for reading: weights in f32 on the CPU.
fn load(path: &std::path::Path) -> anyhow::Result<Policy> {
    directory::load(path, &Device::Cpu, DType::F32)
        .hint(|| "a policy is a Hugging Face directory; `memtrain policy init` makes one".into())
}
