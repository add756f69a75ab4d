//! GGUF files of llama.cpp as Hugging Face directories.
//!
//! Tensors are dequantized one by one, by candle, and written under the names of `transformers`; configuration, tokenizer and
//! chat template come from the metadata. What cannot be said exactly is refused: other architectures, scaled rotary
//! embeddings but Llama 3's, tokenizers that are no byte-level BPE, quantizations that candle does not dequantize.

mod file;
mod model;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::path::Path;

use candle_core::DType;
use memtrain_corpora::store;
use safetensors::tensor::Dtype;
use serde_json::Value;

use self::file::{Gguf, MAGIC};
use super::convert::{Conversion, FINAL_NORM, narrowed, raw};
use super::directory::{CONFIG, GENERATION, KIND, check_vocabulary, put_dtype};
use super::stored::{self, Entry, Layout, MAX_SHARD_BYTES};
use super::tokenizer::pretty;
use super::{PolicyConfig, PolicyError, PolicyTokenizer};

/// Whether a path is a GGUF file, by its first bytes.
///
/// # Errors
/// If there is a file that cannot be read.
pub fn is_gguf(path: &Path) -> Result<bool, PolicyError> {
    Ok(store::exists(path) && !store::is_dir(path) && store::head(path, MAGIC.len() as u64)? == MAGIC)
}

/// Writes a GGUF file as the policy directory `to`, in f32 unless a type is asked for: the dequantized values to the bit.
///
/// # Errors
/// If the file is damaged or holds what this program cannot use, or `to` cannot be written ([`store::replace`]).
pub fn convert(from: &Path, to: &Path, conversion: Conversion) -> Result<(), PolicyError> {
    store::refuse_overlap(to, from)?;
    let file = Gguf::open(from)?;
    let mut json = model::config(&file)?;
    let files = tokenizer::files(&file)?;
    let dtype = conversion.dtype.unwrap_or(DType::F32);
    json.insert("eos_token_id".to_owned(), files.eos);
    put_dtype(&mut json, dtype);
    let config = PolicyConfig::from_json(json)?;
    let tensors = model::tensors(&file, &config)?;
    let layout = Layout::MaxShard(conversion.max_shard_bytes.unwrap_or(MAX_SHARD_BYTES));
    store::replace(to, KIND, |fresh| {
        for (name, value) in [
            ("tokenizer.json", &files.tokenizer),
            ("tokenizer_config.json", &files.config),
            (GENERATION, &files.generation),
            (CONFIG, &Value::Object(config.other.clone())),
        ] {
            store::write_atomic(&fresh.join(name), pretty(value))?;
        }
        // What cannot be read again is not written.
        check_vocabulary(&config, &PolicyTokenizer::from_file(&fresh.join("tokenizer.json"))?)?;
        let entry = |(name, own, shape): &(String, String, Vec<usize>)| {
            let (file, config, hf_name, own) = (&file, &config, name.clone(), own.clone());
            let bytes = move || {
                let tensor = model::values(file, &own, config)?;
                let tensor = match conversion.temperature {
                    Some(temperature) if hf_name == FINAL_NORM => (tensor / temperature)?,
                    _ => tensor,
                };
                raw(&narrowed(&hf_name, &tensor, dtype)?)
            };
            Entry::made(name.clone(), Dtype::from(dtype), shape.clone(), bytes)
        };
        stored::write(fresh, tensors.iter().map(entry).collect(), &layout)
    })
}
