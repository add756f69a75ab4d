//! `memtrain policy info`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use memtrain_corpora::store;
use memtrain_hub::Needed;
use memtrain_session::models::ModelFolder;
use serde_json::json;

use crate::cli::failure::WithHint;
use crate::cli::print::output;
use crate::policy::adapter::{AdapterConfig, is_adapter};
use crate::policy::stored::StoredWeights;
use crate::policy::{PolicyConfig, PolicyTokenizer, directory, stored_decoder};

/// Arguments of `memtrain policy info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Policy directory, a name of the Hugging Face hub, or `built-in:NAME`
    #[arg(value_name = "DIR")]
    pub policy: PathBuf,
    /// List every tensor with its shape
    #[arg(long)]
    pub tensors: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Numbers that training keeps for each parameter beside its weight: a gradient and two moments.
const TRAINING_COPIES: u64 = 4;

/// Describes a policy on stdout. Weights are hashed, not loaded.
///
/// # Errors
/// If the directory is no policy.
pub fn run(args: &InfoArgs) -> anyhow::Result<()> {
    let no_policy = || "a policy is a Hugging Face directory; `memtrain policy init` makes one".to_owned();
    let found = ModelFolder::at(&args.policy, Needed::Model)?;
    let folder = &found.path;
    let adapter = is_adapter(folder).then(|| Adapter::read(folder)).transpose()?;
    // The shape of an adapted policy is that of the policy below it.
    let below = adapter.as_ref().map(|adapter| ModelFolder::at(&adapter.base, Needed::Model)).transpose()?;
    let base = below.as_ref().map_or(folder, |below| &below.path);
    let mut config = directory::load_config(base).hint(no_policy)?;
    // An adapter's folder need not have a tokenizer of its own.
    let has_tokenizer = store::exists(&folder.join("tokenizer.json"));
    let tokenizer = if has_tokenizer { folder } else { base }.join("tokenizer.json");
    let tokenizer = PolicyTokenizer::from_file(&tokenizer).hint(no_policy)?;
    let ends = directory::load_generation(base, &config, &tokenizer).hint(no_policy)?.eos_token_ids;
    if store::list(base)?.iter().any(|path| is_weights(path)) {
        // What is said below is computed from the configuration: it must be that of the weights.
        let stored = StoredWeights::open(base)?;
        stored_decoder::check_tensors(&stored, &config)?;
        config.tie_word_embeddings &= !stored_decoder::has_own_head(&stored)?;
    }
    // Last: a file that is no weights may be of any size.
    let hashes = weight_hashes(folder)?;
    let text = if args.json {
        format!("{:#}\n", as_json(&config, (&tokenizer, &ends), &hashes, adapter.as_ref()))
    } else {
        as_text(args, &config, (&tokenizer, &ends), &hashes, adapter.as_ref())
    };
    Ok(output().write_all(text.as_bytes())?)
}

/// What an adapter's folder says of itself.
struct Adapter {
    base: PathBuf,
    rank: usize,
    scale: f64,
}

impl Adapter {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let AdapterConfig { base, rank, scale } = AdapterConfig::read(folder)?;
        let base = base.context("the adapter does not name the policy that it is for")?;
        Ok(Self { base: base.into(), rank, scale })
    }
}

fn is_weights(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "safetensors")
}

/// Names and hashes of the files that hold weights.
fn weight_hashes(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut hashes = Vec::new();
    for path in store::list(folder)? {
        if is_weights(&path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            hashes.push((name, store::hash_file(&path)?));
        }
    }
    Ok(hashes)
}

/// Bytes of cached keys and values of a token.
fn cache_bytes(config: &PolicyConfig) -> u64 {
    let row = config.num_key_value_heads * config.head_dim;
    (config.num_hidden_layers * 2 * row * size_of::<f32>()) as u64
}

fn as_json(
    config: &PolicyConfig,
    (tokenizer, ends): (&PolicyTokenizer, &[u32]),
    hashes: &[(String, String)],
    adapter: Option<&Adapter>,
) -> serde_json::Value {
    let parameters = config.num_parameters() as u64;
    let tensors: serde_json::Map<_, _> =
        config.tensor_shapes().into_iter().map(|(name, shape)| (name, json!(shape))).collect();
    json!({
        "architecture": config.architecture.class_name(),
        "parameters": parameters,
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "feed_forward": config.intermediate_size,
        "query_heads": config.num_attention_heads,
        "key_value_heads": config.num_key_value_heads,
        "head_width": config.head_dim,
        "positions": config.max_position_embeddings,
        "rope_theta": config.rope_theta,
        "vocabulary": config.vocab_size,
        "tokenizer_ids": tokenizer.vocab_size(),
        "eos_token_ids": ends,
        "weights_bytes_f32": parameters * 4,
        "training_bytes_f32": parameters * 4 * TRAINING_COPIES,
        "cache_bytes_per_token": cache_bytes(config),
        "blake3": hashes.iter().map(|(name, hash)| (name.clone(), json!(hash))).collect::<serde_json::Map<_, _>>(),
        "tensors": tensors,
        "adapter": adapter.map(|adapter| json!({ "rank": adapter.rank, "scale": adapter.scale, "base": adapter.base })),
    })
}

fn as_text(
    args: &InfoArgs,
    config: &PolicyConfig,
    (tokenizer, ends): (&PolicyTokenizer, &[u32]),
    hashes: &[(String, String)],
    adapter: Option<&Adapter>,
) -> String {
    let parameters = config.num_parameters() as u64;
    let embedding = (config.vocab_size * config.hidden_size) as u64;
    let head = if config.tie_word_embeddings { "shared with the head" } else { "with a head of its own" };
    let ends: Vec<String> =
        ends.iter().map(|&id| format!("{id} ({})", tokenizer.decode(&[id]).unwrap_or_default())).collect();
    let mut lines = vec![
        ("policy", args.policy.display().to_string()),
        ("architecture", config.architecture.class_name().to_owned()),
        ("parameters", format!("{}, {} of them the embedding, {head}", grouped(parameters), grouped(embedding))),
        (
            "layers",
            format!(
                "{} of width {}, feed-forward width {}",
                config.num_hidden_layers,
                grouped(config.hidden_size as u64),
                grouped(config.intermediate_size as u64)
            ),
        ),
        (
            "attention",
            format!(
                "{} query heads, {} key/value heads of width {}",
                config.num_attention_heads, config.num_key_value_heads, config.head_dim
            ),
        ),
        ("positions", format!("{}, rotary base {}", grouped(config.max_position_embeddings as u64), config.rope_theta)),
        (
            "vocabulary",
            format!(
                "{} rows, {} token ids, responses end with {}",
                grouped(config.vocab_size as u64),
                grouped(tokenizer.vocab_size() as u64),
                if ends.is_empty() { "nothing".to_owned() } else { ends.join(", ") }
            ),
        ),
        (
            "memory",
            format!(
                "{} of weights in f32, {} with gradients and moments, {} a cached token",
                size(parameters * 4),
                size(parameters * 4 * TRAINING_COPIES),
                size(cache_bytes(config))
            ),
        ),
    ];
    if let Some(Adapter { base, rank, scale }) = adapter {
        let told =
            format!("LoRA of rank {rank}, scaled by {scale}, on `{}`, which the lines above describe", base.display());
        lines.push(("adapter", told));
    }
    lines.extend(hashes.iter().map(|(name, hash)| ("blake3", format!("{hash}  {name}"))));
    let mut text: String = lines.into_iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect();
    if args.tensors {
        let tensors = config.tensor_shapes().into_iter();
        text.extend(tensors.map(|(name, shape)| format!("{:<13} {name} {shape:?}\n", "tensor")));
    }
    text
}

/// A number with its thousands apart: `4,022,468,096`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in a unit that suits it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 999, 1_000, 675_520, 4_022_468_096].map(grouped),
            ["0", "999", "1,000", "675,520", "4,022,468,096"]
        );
        assert_eq!([512, 2_048, 5 << 20, 3 << 30].map(size), ["0.5 KiB", "2.0 KiB", "5.0 MiB", "3.0 GiB"]);
    }
}
