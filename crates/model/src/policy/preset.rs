//! Shapes of policies that have a name.

use candle_core::{DType, Device};
use serde_json::Map;

use super::config::{Architecture, PolicyConfig};
use super::copying::Lookup;
use super::{Decoder, PolicyError, PolicyTokenizer};

/// Names that [`by_name`] knows.
pub const NAMES: [&str; 5] = ["tiny", "mini", "small", "qwen3-4b", "qwen2.5-7b"];

/// A preset by its name, for a vocabulary of `vocab_size` (published shapes keep their own).
///
/// # Errors
/// If no preset has this name.
pub fn by_name(name: &str, vocab_size: usize) -> Result<PolicyConfig, PolicyError> {
    match name {
        "tiny" => Ok(tiny(vocab_size)),
        "mini" => Ok(mini(vocab_size)),
        "small" => Ok(small(vocab_size)),
        "qwen3-4b" => Ok(qwen3_4b()),
        "qwen2.5-7b" => Ok(qwen2_5_7b()),
        other => {
            let detail = format!("no preset is called `{other}`; there are {}", NAMES.join(", "));
            Err(PolicyError::Config { key: "preset", detail })
        }
    }
}

/// A trainable decoder in f32 with fresh weights. A `mini` one copies from the start if the tokenizer has tokens for the
/// box of an answer, the placeholder of a recall question, a space, the start of a response, a question mark, and the words
/// before a sign of the fictional annals.
///
/// # Errors
/// If no preset has this name, or the device refuses a tensor.
pub fn decoder(name: &str, tokenizer: &PolicyTokenizer, seed: u64, device: &Device) -> Result<Decoder, PolicyError> {
    let config = by_name(name, tokenizer.vocab_size())?;
    let ids = ["\\boxed{", "[TARGET]", "Ġ", "<|im_start|>", "?", "Ġof", "Ġthe"].map(|token| tokenizer.token_id(token));
    match (name, ids) {
        ("mini", [Some(cue), Some(placeholder), Some(space), Some(response), Some(rest), Some(of), Some(the)]) => {
            let lookup = Lookup { cue, placeholder, space, response, rest, evidence: [of, the] };
            Decoder::init_copying(config, seed, device, DType::F32, lookup)
        }
        _ => Decoder::init(config, seed, device, DType::F32),
    }
}

/// About 0.7 million parameters at a vocabulary of 1,024: what two cores train in minutes.
pub fn tiny(vocab_size: usize) -> PolicyConfig {
    PolicyConfig {
        architecture: Architecture::Qwen3,
        hidden_size: 128,
        intermediate_size: 344,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 32,
        vocab_size,
        max_position_embeddings: 16_384,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        rope_scaling: None,
        tie_word_embeddings: true,
        initializer_range: 0.02,
        other: Map::new(),
    }
}

/// About 1.2 million parameters at a vocabulary of 1,024, with room for heads that copy ([`super::copying`]).
pub fn mini(vocab_size: usize) -> PolicyConfig {
    PolicyConfig {
        intermediate_size: 256,
        num_hidden_layers: 4,
        head_dim: 64,
        rope_theta: 1_000_000.0,
        ..tiny(vocab_size)
    }
}

/// About 7 million parameters at a vocabulary of 8,192: real documents on a CPU.
pub fn small(vocab_size: usize) -> PolicyConfig {
    PolicyConfig {
        hidden_size: 256,
        intermediate_size: 768,
        num_hidden_layers: 6,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        max_position_embeddings: 16_384,
        rope_theta: 100_000.0,
        ..tiny(vocab_size)
    }
}

/// The shape of `Qwen/Qwen3-4B` (its published `config.json`).
pub fn qwen3_4b() -> PolicyConfig {
    PolicyConfig {
        hidden_size: 2_560,
        intermediate_size: 9_728,
        num_hidden_layers: 36,
        num_attention_heads: 32,
        num_key_value_heads: 8,
        head_dim: 128,
        max_position_embeddings: 40_960,
        rope_theta: 1_000_000.0,
        ..tiny(151_936)
    }
}

/// The shape of `Qwen/Qwen2.5-7B-Instruct` (its published `config.json`).
pub fn qwen2_5_7b() -> PolicyConfig {
    PolicyConfig {
        architecture: Architecture::Qwen2,
        hidden_size: 3_584,
        intermediate_size: 18_944,
        num_hidden_layers: 28,
        num_attention_heads: 28,
        num_key_value_heads: 4,
        head_dim: 128,
        max_position_embeddings: 32_768,
        rope_theta: 1_000_000.0,
        tie_word_embeddings: false,
        ..tiny(152_064)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_the_published_ones() -> Result<(), PolicyError> {
        assert_eq!(by_name("qwen3-4b", 0)?.num_parameters(), 4_022_468_096);
        assert_eq!(by_name("qwen2.5-7b", 0)?.num_parameters(), 7_615_616_512);
        assert_eq!(by_name("tiny", 1_024)?.num_parameters(), 675_904);
        assert!((5_000_000..10_000_000).contains(&by_name("small", 8_192)?.num_parameters()));
        assert!(by_name("huge", 8).is_err());
        Ok(())
    }
}
