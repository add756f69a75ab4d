//! `memtrain policy`: make, describe, score with, sample from, convert and merge policy directories.

mod convert;
mod generate;
mod gradient;
mod info;
mod lines;
mod score;

use std::path::PathBuf;

use candle_core::{DType, Device};
use clap::{Args, Subcommand};
use memtrain_hub::Needed;
use memtrain_session::models::ModelFolder;

use super::failure::{Usage, WithHint};
use super::print::print_line;
use super::written::written_path;
use crate::device::DeviceChoice;
use crate::policy::tokenizer::{COMPACT_CHAT_TEMPLATE, END_OF_TURN};
use crate::policy::{Policy, PolicyTokenizer, directory, preset};

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
    /// Write a policy with another type of weights, or in other files
    Convert(convert::ConvertArgs),
    /// Write a policy with a LoRA adapter merged into its weights
    MergeLora(convert::MergeLoraArgs),
    /// The GRPO loss of given conversations and its gradient, to hold against other trainers
    Gradient(gradient::GradientArgs),
}

/// Arguments of `memtrain policy init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Shape of the policy: `tiny`, `mini`, `small`, `qwen3-4b` or `qwen2.5-7b`
    #[arg(long, default_value = "tiny")]
    pub preset: String,
    /// Its tokenizer, for example `<corpus>/tokenizer/tokenizer.json`
    #[arg(long, value_name = "FILE")]
    pub tokenizer: PathBuf,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder to write, a Hugging Face directory
    #[arg(long, value_name = "DIR", value_parser = written_path())]
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
        Action::Convert(args) => convert::run(&args),
        Action::MergeLora(args) => convert::merge(&args),
        Action::Gradient(args) => gradient::run(&args),
    }
}

/// Makes a policy and writes it; prints its folder.
///
/// # Errors
/// If the preset is unknown, the tokenizer cannot be used, or something else than a policy of this program is in the way.
pub fn init(args: &InitArgs) -> anyhow::Result<()> {
    make(args)?;
    print_line!("{}", args.out.display())?;
    Ok(())
}

fn make(args: &InitArgs) -> anyhow::Result<()> {
    if !preset::NAMES.contains(&args.preset.as_str()) {
        let unknown = Usage(format!("no preset is called `{}`", args.preset));
        return Err(unknown).hint(|| format!("choose one of {}", preset::NAMES.join(", ")));
    }
    directory::check_target(&args.out, &[&args.tokenizer])?;
    let mut tokenizer = PolicyTokenizer::from_file(&args.tokenizer).hint(|| {
        "give the path of a `tokenizer.json`, for example the one that `memtrain corpus build` writes".into()
    })?;
    let has_companions = tokenizer.files().len() > 1;
    if !has_companions && tokenizer.token_id(END_OF_TURN).is_some() {
        tokenizer = tokenizer.with_chat_template(COMPACT_CHAT_TEMPLATE, END_OF_TURN)?;
    }
    let decoder = preset::decoder(&args.preset, &tokenizer, args.seed, &Device::Cpu)?;
    let parameters = decoder.config.num_parameters();
    directory::save(&Policy::new(decoder, tokenizer)?, &args.out)?;
    tracing::info!("a `{}` policy of {parameters} parameters", args.preset);
    Ok(())
}

/// A policy for reading, by folder, name of the hub or `built-in:NAME`: weights in f32 on a device.
fn load(path: &std::path::Path, device: DeviceChoice) -> anyhow::Result<Policy> {
    let found = ModelFolder::at(path, Needed::Model)?;
    directory::load(&found.path, &device.open()?, DType::F32)
        .hint(|| "a policy is a Hugging Face directory; `memtrain policy init` makes one".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::describe;
    use memtrain_corpora::store;
    use std::path::Path;

    /// A policy directory made by `init` from a tokenizer of a few words; gives its path.
    pub(super) fn word_policy(folder: &Path) -> anyhow::Result<PathBuf> {
        let words = ["[UNK]", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "river", "town", "bridge", "king", "born"];
        let vocabulary: serde_json::Map<_, _> =
            words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
        let special = |id: usize| {
            serde_json::json!({"id": id, "content": words[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        };
        let tokenizer = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "decoder": null,
            "added_tokens": [special(1), special(2), special(3)],
            "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        });
        store::create_dir_all(&folder.join("tokenizer"))?;
        store::write_json(&folder.join("tokenizer/tokenizer.json"), &tokenizer)?;
        let out = folder.join("policy");
        make(&init_args(folder, &out))?;
        Ok(out)
    }

    fn init_args(folder: &Path, out: &Path) -> InitArgs {
        let tokenizer = folder.join("tokenizer/tokenizer.json");
        InitArgs { preset: "tiny".into(), tokenizer, seed: 1, out: out.to_path_buf() }
    }

    /// A file of lines; gives its path.
    pub(super) fn write_lines(folder: &Path, lines: &[&str]) -> anyhow::Result<PathBuf> {
        let path = folder.join("lines.jsonl");
        store::write_atomic(&path, lines.join("\n"))?;
        Ok(path)
    }

    #[test]
    fn a_built_in_policy_goes_by_its_name() -> anyhow::Result<()> {
        let policy = load(Path::new("built-in:tiny"), DeviceChoice::Cpu)?;
        assert!(policy.tokenizer.vocab_size() > 0);
        let failure = load(Path::new("built-in:big"), DeviceChoice::Cpu).map(drop).expect_err("there is none");
        let told = describe(&failure, false);
        assert!(told.contains("no built-in policy is called `big`") && told.contains("`built-in:mini`"), "{told}");
        Ok(())
    }

    #[test]
    fn a_policy_is_made_from_a_bare_tokenizer_and_the_seed_decides_its_weights() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = word_policy(folder.path())?;
        let policy = load(&path, DeviceChoice::Cpu)?;
        assert_eq!(policy.tokenizer.eos_token_ids(), [3]);
        assert_eq!(policy.tokenizer.chat_prompt("river")?, "river<|im_start|>");
        let again = folder.path().join("again");
        make(&init_args(folder.path(), &again))?;
        let hash = |path: &Path| store::hash_file(&path.join("model.safetensors"));
        assert_eq!(hash(&path)?, hash(&again)?);
        make(&InitArgs { seed: 2, ..init_args(folder.path(), &again) })?;
        assert_ne!(hash(&path)?, hash(&again)?);
        Ok(())
    }

    #[test]
    fn what_cannot_be_made_is_told_with_a_hint() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let args = init_args(folder.path(), &folder.path().join("policy"));
        let told = |args: &InitArgs| describe(&make(args).expect_err("cannot be made"), false);
        assert!(
            told(&args).contains("tokenizer.json") && told(&args).contains("hint: Give the path"),
            "{}",
            told(&args)
        );
        let args = InitArgs { preset: "tiney".into(), ..args };
        assert!(
            told(&args).starts_with("error: no preset is called `tiney`\nhint: Choose one of tiny"),
            "{}",
            told(&args)
        );
        Ok(())
    }
}
