//! A policy on disk: a Hugging Face directory that `transformers` and vLLM load as it is.
//!
//! `config.json`, `model.safetensors` (or shards with `model.safetensors.index.json`, which are read too),
//! `tokenizer.json` and its companions, `generation_config.json`. Names are those of the hub, tensors are written in the
//! type they have in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use memtrain_corpora::store;
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

use super::tokenizer::{object, pretty};
use super::{Decoder, PolicyConfig, PolicyError, PolicyTokenizer, Weights};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
const GENERATION: &str = "generation_config.json";

/// What ends a response, with the other keys of `generation_config.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Ids any of which ends a response.
    pub eos_token_ids: Vec<u32>,
    /// The whole JSON object it was read from.
    pub other: Map<String, Value>,
}

/// A decoder with what turns text into its tokens.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The language model.
    pub decoder: Decoder,
    /// Text to token ids and back.
    pub tokenizer: PolicyTokenizer,
    /// What ends a response.
    pub generation: Generation,
}

impl Policy {
    /// A policy whose responses end where the tokenizer's configuration says.
    ///
    /// # Errors
    /// If the embedding has fewer rows than the tokenizer has ids.
    pub fn new(decoder: Decoder, tokenizer: PolicyTokenizer) -> Result<Self, PolicyError> {
        let generation = Generation { eos_token_ids: tokenizer.eos_token_ids().to_vec(), other: Map::new() };
        check_vocabulary(&decoder.config, &tokenizer)?;
        Ok(Self { decoder, tokenizer, generation })
    }
}

/// Reads a policy directory. The decoder is trainable ([`Decoder::frozen`] gives a view that is not); tensors are
/// converted to `dtype`.
///
/// # Errors
/// If a file is missing or damaged, the architecture is unknown, or a tensor is missing or has another shape.
pub fn load(directory: &Path, device: &Device, dtype: DType) -> Result<Policy, PolicyError> {
    let config = load_config(directory)?;
    let tokenizer = PolicyTokenizer::from_file(&directory.join("tokenizer.json"))?;
    check_vocabulary(&config, &tokenizer)?;
    let generation = load_generation(directory, &config, &tokenizer)?;
    let decoder = load_decoder(directory, config, device, dtype)?;
    Ok(Policy { decoder, tokenizer, generation })
}

/// Reads `config.json` of a policy directory.
///
/// # Errors
/// If it is missing, or asks for what the decoder is not.
pub fn load_config(directory: &Path) -> Result<PolicyConfig, PolicyError> {
    let path = directory.join(CONFIG);
    if !store::exists(&path) {
        return Err(PolicyError::Missing {
            path,
            hint: "it must be a Hugging Face directory of a Qwen2 or Qwen3 model",
        });
    }
    PolicyConfig::from_json(read_object(&path)?)
}

/// Reads the weights of a policy directory into variables.
///
/// # Errors
/// If a file or tensor is missing, damaged or of another shape, or there is a tensor without a place.
pub fn load_decoder(
    directory: &Path,
    config: PolicyConfig,
    device: &Device,
    dtype: DType,
) -> Result<Decoder, PolicyError> {
    let mut tensors = HashMap::new();
    for path in weight_files(directory)? {
        let corrupt = |detail: String| PolicyError::Corrupt { path: path.clone(), detail };
        let bytes = store::read(&path)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| corrupt(error.to_string()))?;
        for (name, view) in file.tensors() {
            let stored = DType::try_from(view.dtype()).map_err(|error| corrupt(format!("tensor `{name}`: {error}")))?;
            let tensor = Tensor::from_raw_buffer(view.data(), stored, view.shape(), &Device::Cpu)?;
            tensors.insert(name, tensor.to_dtype(dtype)?.to_device(device)?);
        }
    }
    if config.tie_word_embeddings {
        // Some writers store the head a second time.
        tensors.remove("lm_head.weight");
    }
    let origin = format!("`{}`", directory.display());
    let weights = Weights::build(&config, |name, _| match tensors.remove(name) {
        Some(tensor) => Ok(Var::from_tensor(&tensor)?.into_inner()),
        None => Err(PolicyError::MissingTensor { name: name.to_owned(), origin: origin.clone() }),
    })?;
    match tensors.into_keys().min() {
        Some(name) => Err(PolicyError::UnexpectedTensor { name }),
        None => Ok(Decoder { config, weights }),
    }
}

/// The file with all weights, or the shards that the index lists.
fn weight_files(directory: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    let (single, index) = (directory.join(WEIGHTS), directory.join(WEIGHTS_INDEX));
    if store::exists(&single) {
        return Ok(vec![single]);
    }
    if !store::exists(&index) {
        return Err(PolicyError::Missing { path: single, hint: "weights are read from safetensors alone" });
    }
    let corrupt = || PolicyError::Corrupt { path: index.clone(), detail: "no `weight_map` of file names".to_owned() };
    let json = read_object(&index)?;
    let map = json.get("weight_map").and_then(Value::as_object).ok_or_else(corrupt)?;
    let mut files = BTreeMap::new();
    for file in map.values() {
        let name = file.as_str().filter(|name| !name.contains(['/', '\\'])).ok_or_else(corrupt)?;
        files.insert(name, directory.join(name));
    }
    if let Some(path) = files.values().find(|path| !store::exists(path)) {
        return Err(PolicyError::Missing { path: path.clone(), hint: "the index lists it as a shard of the weights" });
    }
    Ok(files.into_values().collect())
}

fn load_generation(
    directory: &Path,
    config: &PolicyConfig,
    tokenizer: &PolicyTokenizer,
) -> Result<Generation, PolicyError> {
    let path = directory.join(GENERATION);
    let other = if store::exists(&path) { read_object(&path)? } else { Map::new() };
    let from = |value: Option<&Value>| value.map(token_ids).filter(|ids| !ids.is_empty());
    let ids = from(other.get("eos_token_id")).or_else(|| from(config.other.get("eos_token_id")));
    let eos_token_ids = ids.unwrap_or_else(|| tokenizer.eos_token_ids().to_vec());
    Ok(Generation { eos_token_ids, other })
}

/// One id or a list of them.
fn token_ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

fn check_vocabulary(config: &PolicyConfig, tokenizer: &PolicyTokenizer) -> Result<(), PolicyError> {
    let (tokenizer, embedding) = (tokenizer.vocab_size(), config.vocab_size);
    if tokenizer > embedding {
        return Err(PolicyError::Vocabulary { tokenizer, embedding });
    }
    Ok(())
}

fn read_object(path: &Path) -> Result<Map<String, Value>, PolicyError> {
    let corrupt = |detail| PolicyError::Corrupt { path: path.to_path_buf(), detail };
    object(&store::read(path)?).map_err(corrupt)
}

/// Writes a policy directory. The files are written into a folder beside it that is then renamed: the directory is whole
/// or not there. A policy directory that was there is replaced, another folder is not.
///
/// # Errors
/// If `directory` is in the way or a file cannot be written; what was there stays.
pub fn save(policy: &Policy, directory: &Path) -> Result<(), PolicyError> {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (fresh, old) =
        (directory.with_file_name(format!(".{name}.new")), directory.with_file_name(format!(".{name}.old")));
    recover(directory, &old)?;
    if store::exists(directory) && !is_replaceable(directory)? {
        return Err(PolicyError::InTheWay { path: directory.to_path_buf() });
    }
    if store::exists(&fresh) {
        store::remove_dir_all(&fresh)?;
    }
    let written = write_files(policy, &fresh);
    if let Err(error) = written {
        // The first error is the one to report; a full disk may also refuse the removal.
        let _ = store::remove_dir_all(&fresh);
        return Err(error);
    }
    if store::exists(directory) {
        store::rename_durably(directory, &old)?;
    }
    store::rename_durably(&fresh, directory)?;
    if store::exists(&old) {
        store::remove_dir_all(&old)?;
    }
    Ok(())
}

/// Ends a replacement that was cut off between its two renames.
fn recover(directory: &Path, old: &Path) -> Result<(), PolicyError> {
    if !store::exists(old) {
        return Ok(());
    }
    if store::exists(directory) {
        store::remove_dir_all(old)?;
    } else {
        store::rename_durably(old, directory)?;
    }
    Ok(())
}

fn is_replaceable(directory: &Path) -> Result<bool, PolicyError> {
    Ok(store::is_dir(directory) && (store::exists(&directory.join(CONFIG)) || store::list(directory)?.is_empty()))
}

fn write_files(policy: &Policy, directory: &Path) -> Result<(), PolicyError> {
    store::create_dir_all(directory)?;
    let named = policy.decoder.weights.named();
    let contiguous = named.into_iter().map(|(name, tensor)| Ok((name, tensor.detach().contiguous()?)));
    let tensors: Vec<(String, Tensor)> = contiguous.collect::<candle_core::Result<_>>()?;
    // `transformers` refuses files without it.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let path = directory.join(WEIGHTS);
    let corrupt =
        |error: safetensors::SafeTensorError| PolicyError::Corrupt { path: path.clone(), detail: error.to_string() };
    let bytes = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), Some(metadata));
    store::write_atomic(&path, bytes.map_err(corrupt)?)?;
    for (name, bytes) in policy.tokenizer.files() {
        store::write_atomic(&directory.join(name), bytes)?;
    }
    let eos = match policy.generation.eos_token_ids.as_slice() {
        [one] => json!(one),
        several => json!(several),
    };
    let mut generation = policy.generation.other.clone();
    generation.insert("eos_token_id".to_owned(), eos.clone());
    store::write_atomic(&directory.join(GENERATION), pretty(&Value::Object(generation)))?;
    let config = config_json(&policy.decoder, eos);
    store::write_atomic(&directory.join(CONFIG), pretty(&Value::Object(config)))?;
    Ok(())
}

fn config_json(decoder: &Decoder, eos: Value) -> Map<String, Value> {
    let mut config = decoder.config.to_json();
    let dtype = match decoder.dtype() {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        DType::F64 => "float64",
        _ => "float32",
    };
    let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    config.insert(key.to_owned(), json!(dtype));
    config.entry("eos_token_id").or_insert(eos);
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::preset;
    use crate::policy::tokenizer::tests::byte_tokenizer;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn policy() -> Result<Policy, PolicyError> {
        let config = PolicyConfig { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, ..preset::tiny(260) };
        Policy::new(Decoder::init(config, 5, &Device::Cpu, DType::F32)?, byte_tokenizer()?)
    }

    #[test]
    fn a_directory_comes_back_byte_for_byte() -> Outcome {
        let folder = tempfile::tempdir()?;
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let mut policy = policy()?;
        policy.decoder.config.other.insert("custom_key".to_owned(), json!({"kept": [1, 2]}));
        save(&policy, &first)?;
        let loaded = load(&first, &Device::Cpu, DType::F32)?;
        save(&loaded, &second)?;
        for path in store::list(&first)? {
            let name = path.file_name().unwrap_or_default();
            assert_eq!(store::read(&path)?, store::read(&second.join(name))?, "{name:?}");
        }
        assert_eq!(loaded.decoder.parameters()?.len(), policy.decoder.parameters()?.len());
        assert_eq!(loaded.generation.eos_token_ids, policy.tokenizer.eos_token_ids());
        assert_eq!(loaded.decoder.config.to_json()["custom_key"]["kept"][1], 2);
        let (a, b) = (&policy.decoder.weights.embed_tokens, &loaded.decoder.weights.embed_tokens);
        assert_eq!(a.to_vec2::<f32>()?, b.to_vec2::<f32>()?);
        // Saving again replaces it; nothing else is left in the folder.
        save(&loaded, &first)?;
        assert_eq!(store::list(folder.path())?, [first, second]);
        Ok(())
    }

    #[test]
    fn shards_are_read() -> Outcome {
        let folder = tempfile::tempdir()?;
        let directory = folder.path().join("policy");
        let policy = policy()?;
        save(&policy, &directory)?;
        store::remove_file(&directory.join(WEIGHTS))?;
        let named = policy.decoder.weights.named();
        let mut map = Map::new();
        for (number, half) in named.chunks(named.len().div_ceil(2)).enumerate() {
            let file = format!("model-0000{}-of-00002.safetensors", number + 1);
            map.extend(half.iter().map(|(name, _)| (name.clone(), json!(file))));
            let tensors = half.iter().map(|(name, tensor)| (name, (*tensor).clone()));
            store::write_atomic(&directory.join(&file), safetensors::serialize(tensors, None)?)?;
        }
        store::write_atomic(&directory.join(WEIGHTS_INDEX), json!({"weight_map": map}).to_string())?;
        let loaded = load(&directory, &Device::Cpu, DType::F32)?;
        assert_eq!(loaded.decoder.weights.norm.to_vec1::<f32>()?, policy.decoder.weights.norm.to_vec1::<f32>()?);
        store::remove_file(&directory.join("model-00002-of-00002.safetensors"))?;
        assert!(matches!(load(&directory, &Device::Cpu, DType::F32), Err(PolicyError::Missing { .. })));
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_named() -> Outcome {
        let folder = tempfile::tempdir()?;
        let directory = folder.path().join("policy");
        let message =
            || load(&directory, &Device::Cpu, DType::F32).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message().contains("config.json"), "{}", message());
        save(&policy()?, &directory)?;
        let config = store::read_to_string(&directory.join(CONFIG))?;
        store::write_atomic(
            &directory.join(CONFIG),
            config.replace("\"intermediate_size\": 24", "\"intermediate_size\": 25"),
        )?;
        assert!(
            message().contains("mlp.gate_proj.weight` has shape [24, 16]") && message().contains("[25, 16]"),
            "{}",
            message()
        );
        store::write_atomic(
            &directory.join(CONFIG),
            config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
        )?;
        assert!(message().contains("`model.layers.2.input_layernorm.weight` is missing"), "{}", message());
        store::write_atomic(
            &directory.join(CONFIG),
            config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"),
        )?;
        assert!(message().contains("model.layers.1.") && message().contains("no place"), "{}", message());
        store::write_atomic(&directory.join(CONFIG), config.replace("\"vocab_size\": 260", "\"vocab_size\": 200"))?;
        assert!(message().contains("259 ids"), "{}", message());
        store::write_atomic(&directory.join(CONFIG), &config[..40])?;
        assert!(message().contains("config.json"), "{}", message());
        store::write_atomic(&directory.join(CONFIG), &config)?;
        let weights = store::read(&directory.join(WEIGHTS))?;
        store::write_atomic(&directory.join(WEIGHTS), &weights[..weights.len() / 2])?;
        assert!(message().contains("model.safetensors"), "{}", message());
        store::remove_file(&directory.join("tokenizer.json"))?;
        assert!(message().contains("tokenizer.json"), "{}", message());
        Ok(())
    }

    #[test]
    fn a_foreign_folder_is_not_replaced_and_a_cut_replacement_recovers() -> Outcome {
        let folder = tempfile::tempdir()?;
        let directory = folder.path().join("policy");
        store::create_dir_all(&directory)?;
        store::write_atomic(&directory.join("thesis.tex"), "years of work")?;
        assert!(matches!(save(&policy()?, &directory), Err(PolicyError::InTheWay { .. })));
        assert!(store::exists(&directory.join("thesis.tex")));
        let other = folder.path().join("other");
        save(&policy()?, &other)?;
        store::rename_durably(&other, &folder.path().join(".other.old"))?;
        save(&policy()?, &other)?;
        assert_eq!(store::list(folder.path())?, [other, directory]);
        Ok(())
    }
}
