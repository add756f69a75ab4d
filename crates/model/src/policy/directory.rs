//! A policy on disk: a Hugging Face directory that `transformers` and vLLM load as it is.
//!
//! `config.json`, the weights ([`super::stored`]), `tokenizer.json` and its companions, `generation_config.json`. Names are
//! those of the hub, tensors are written in the type they have in memory. What was loaded and not changed is written back
//! byte for byte: each file as it was, each tensor in the shard it came from.
//!
//! A policy with adapters is written as an adapter's folder ([`super::adapter`]), which names the directory of its base.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use memtrain_corpora::store;
use serde_json::{Map, Value, json};

use super::adapter::{self, base_of};
use super::stored::{self, Entry, Layout, MAX_SHARD_BYTES, StoredWeights};
use super::stored_decoder::build;
use super::tokenizer::{end_of_turn, object, pretty};
use super::{Decoder, PolicyConfig, PolicyError, PolicyTokenizer, Precision, TemplateSettings, recorded};

pub(super) const CONFIG: &str = "config.json";
/// What the marker of a policy directory says that it is.
pub(super) const KIND: &str = "policy";
/// The largest `config.json` or other settings of a directory that are read; real ones have kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
pub(super) const GENERATION: &str = "generation_config.json";

/// What ends a response, with the other keys of `generation_config.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Ids any of which ends a response: of all files that name some, and of the chat template.
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
    /// The directory it was read from, to write back what has not changed as it was. Of adapters: that of their base.
    pub origin: Option<Origin>,
}

/// What a directory held.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The directory.
    pub directory: PathBuf,
    config: Vec<u8>,
    parsed: PolicyConfig,
    generation: Option<Vec<u8>>,
    /// As it was read, from the file or from what stands in for it.
    resolved: Generation,
    /// File names of the weights with their tensors.
    layout: Vec<(String, Vec<String>)>,
    dtypes: BTreeMap<String, DType>,
}

impl Policy {
    /// A policy whose responses end where the tokenizer's configuration says.
    ///
    /// # Errors
    /// If the embedding has fewer rows than the tokenizer has ids.
    pub fn new(decoder: Decoder, tokenizer: PolicyTokenizer) -> Result<Self, PolicyError> {
        let generation = Generation { eos_token_ids: tokenizer.eos_token_ids().to_vec(), other: Map::new() };
        check_vocabulary(&decoder.config, &tokenizer)?;
        Ok(Self { decoder, tokenizer, generation, origin: None })
    }

    /// The same policy, whose chat template is given these settings.
    #[must_use]
    pub fn with_template_settings(mut self, settings: &TemplateSettings) -> Self {
        self.tokenizer = self.tokenizer.with_template_settings(settings);
        self
    }
}

/// Reads a policy directory. The decoder is trainable ([`Decoder::frozen`] gives a view that is not); tensors are
/// converted to `dtype`. The folder of an adapter is read with the base that it names; then the adapter alone is
/// trainable.
///
/// Files of a directory that this program has written, and of a checkpoint, are compared with their recorded hashes.
///
/// # Errors
/// If a file is missing or damaged, the architecture is unknown, or a tensor is missing or has another shape.
pub fn load(directory: &Path, device: &Device, dtype: DType) -> Result<Policy, PolicyError> {
    read(directory, device, ReadAs::Type(dtype))
}

/// As [`load`], with each tensor in the type it is stored in.
///
/// # Errors
/// As [`load`].
pub fn load_as_stored(directory: &Path, device: &Device) -> Result<Policy, PolicyError> {
    read(directory, device, ReadAs::Stored)
}

/// As [`load`], for computing at a precision. A card gets weights in that type if all are stored in it: widened, they would
/// take twice the memory, and be rounded again to the same values. Otherwise, and on the CPU, they are f32: what masters of
/// rounded weights start from.
///
/// # Errors
/// As [`load`].
pub fn load_at_precision(directory: &Path, device: &Device, precision: Precision) -> Result<Policy, PolicyError> {
    read(directory, device, ReadAs::Precision(precision))
}

/// The type that tensors are read in.
#[derive(Clone, Copy)]
enum ReadAs {
    Type(DType),
    Stored,
    Precision(Precision),
}

impl ReadAs {
    /// The type, or nothing where each tensor keeps its own.
    fn of(self, origin: &Origin, device: &Device) -> Option<DType> {
        match self {
            Self::Type(dtype) => Some(dtype),
            Self::Stored => None,
            Self::Precision(precision) => {
                let dtype = precision.dtype();
                let is_stored = origin.dtypes.values().all(|&stored| stored == dtype);
                Some(if is_stored && !device.is_cpu() { dtype } else { DType::F32 })
            }
        }
    }
}

fn read(directory: &Path, device: &Device, read_as: ReadAs) -> Result<Policy, PolicyError> {
    if adapter::is_adapter(directory) {
        return read_adapter(directory, device, read_as);
    }
    let config = load_config(directory)?;
    let tokenizer = PolicyTokenizer::from_file(&directory.join("tokenizer.json"))?;
    check_vocabulary(&config, &tokenizer)?;
    let generation = load_generation(directory, &config, &tokenizer)?;
    let weights = StoredWeights::open(directory)?;
    let origin = Origin::read(directory, &config, &generation, &weights)?;
    let decoder = build(&weights, config, device, read_as.of(&origin, device))?;
    Ok(Policy { decoder, tokenizer, generation, origin: Some(origin) })
}

fn read_adapter(directory: &Path, device: &Device, read_as: ReadAs) -> Result<Policy, PolicyError> {
    let mut policy = read(&base_of(directory)?, device, read_as)?;
    policy.decoder = adapter::attach(&policy.decoder, directory)?;
    Ok(policy)
}

/// Reads the decoder of a policy directory without its tokenizer; of an adapter's folder, its base with the adapter as the
/// only variables.
///
/// # Errors
/// If a file or tensor is missing, damaged or of another shape, holds what is no number, or has no place.
pub fn load_decoder(directory: &Path, device: &Device, dtype: DType) -> Result<Decoder, PolicyError> {
    let base = base_of(directory)?;
    let decoder = build(&StoredWeights::open(&base)?, load_config(&base)?, device, Some(dtype))?;
    if adapter::is_adapter(directory) { adapter::attach(&decoder, directory) } else { Ok(decoder) }
}

/// Gives a policy the weights of one of its checkpoints, in the types it has: of adapters those alone, on the base that is
/// there.
///
/// # Errors
/// As [`load`], or if the checkpoint is of another policy.
pub fn restore(policy: &mut Policy, checkpoint: &Path) -> Result<(), PolicyError> {
    if policy.decoder.has_adapters() {
        policy.decoder = adapter::attach(&policy.decoder.without_lora()?, checkpoint)?;
        return Ok(());
    }
    let settings = policy.tokenizer.template_settings().clone();
    *policy = load(checkpoint, policy.decoder.device(), policy.decoder.dtype())?.with_template_settings(&settings);
    Ok(())
}

/// Reads `config.json` of a policy directory.
///
/// # Errors
/// If it is missing, or asks for what the decoder is not.
pub fn load_config(directory: &Path) -> Result<PolicyConfig, PolicyError> {
    let path = directory.join(CONFIG);
    recorded::check(&path)?;
    if !store::exists(&path) {
        return Err(PolicyError::Missing {
            path,
            hint: "it must be a Hugging Face directory of a Qwen2, Qwen3 or Llama model",
        });
    }
    PolicyConfig::from_json(read_object(&path)?)
}

impl Origin {
    fn read(
        directory: &Path,
        config: &PolicyConfig,
        generation: &Generation,
        weights: &StoredWeights,
    ) -> Result<Self, PolicyError> {
        let path = directory.join(GENERATION);
        let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let file = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut dtypes = BTreeMap::new();
        for name in weights.names() {
            dtypes.insert(name.to_owned(), DType::try_from(weights.view(name)?.dtype())?);
        }
        Ok(Self {
            directory: directory.to_path_buf(),
            config: store::read_at_most(&directory.join(CONFIG), MAX_CONFIG_BYTES)?,
            parsed: config.clone(),
            generation: match store::exists(&path) {
                true => Some(store::read_at_most(&path, MAX_CONFIG_BYTES)?),
                false => None,
            },
            resolved: generation.clone(),
            layout: weights.files().into_iter().map(|(path, own)| (file(path), names(own))).collect(),
            dtypes,
        })
    }

    /// Whether the types of the tensors are those that were read.
    fn has_types_of(&self, named: &[(String, &Tensor)]) -> bool {
        named.iter().all(|(name, tensor)| self.dtypes.get(name) == Some(&tensor.dtype()))
    }
}

/// What ends a response of the policy in a directory.
///
/// # Errors
/// If `generation_config.json` is there and damaged.
pub fn load_generation(
    directory: &Path,
    config: &PolicyConfig,
    tokenizer: &PolicyTokenizer,
) -> Result<Generation, PolicyError> {
    let path = directory.join(GENERATION);
    recorded::check(&path)?;
    let other = if store::exists(&path) { read_object(&path)? } else { Map::new() };
    let configured = [end_of_turn::of_config(&other), end_of_turn::of_config(&config.other)].concat();
    let ids = configured.into_iter().chain(tokenizer.eos_token_ids().iter().copied());
    Ok(Generation { eos_token_ids: end_of_turn::each_once(ids), other })
}

pub(super) fn check_vocabulary(config: &PolicyConfig, tokenizer: &PolicyTokenizer) -> Result<(), PolicyError> {
    let (tokenizer, embedding) = (tokenizer.vocab_size(), config.vocab_size);
    if tokenizer > embedding {
        return Err(PolicyError::Vocabulary { tokenizer, embedding });
    }
    Ok(())
}

pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, PolicyError> {
    let corrupt = |detail| PolicyError::Corrupt { path: path.to_path_buf(), detail };
    object(&store::read_at_most(path, MAX_CONFIG_BYTES)?).map_err(corrupt)
}

/// Writes a policy directory, or the folder of an adapter if the policy has one: as a whole or not at all. One that this
/// program has written and nobody has changed since is replaced, anything else is not ([`store::replace`]).
///
/// # Errors
/// If something else is in the way, the policy was read from there, or a file cannot be written; what was there stays.
pub fn save(policy: &Policy, directory: &Path) -> Result<(), PolicyError> {
    if let Some(origin) = &policy.origin {
        store::refuse_overlap(directory, &origin.directory)?;
    }
    store::replace(directory, KIND, |fresh| write(policy, fresh))
}

/// Checks, before the work, that a policy can be written to `directory`: nothing of `inputs` is in it or around it, and it
/// is absent, empty, or a policy directory that this program has written and nobody has changed since.
///
/// # Errors
/// What [`save`] would refuse.
pub fn check_target(directory: &Path, inputs: &[&Path]) -> Result<(), PolicyError> {
    for input in inputs {
        store::refuse_overlap(directory, input)?;
    }
    Ok(store::check_replaceable(directory, KIND)?)
}

/// Writes the files of a policy into a folder that is the caller's own, creating it. There is no marker then, and the folder
/// is none that [`save`] replaces: this is for checkpoints, which have a list of their files themselves.
///
/// # Errors
/// If a file cannot be written.
pub fn write(policy: &Policy, directory: &Path) -> Result<(), PolicyError> {
    store::create_dir_all(directory)?;
    for (name, bytes) in policy.tokenizer.files() {
        store::write_atomic(&directory.join(name), bytes)?;
    }
    let origin = policy.origin.as_ref();
    let eos = match policy.generation.eos_token_ids.as_slice() {
        [one] => json!(one),
        several => json!(several),
    };
    match origin.filter(|origin| origin.resolved == policy.generation) {
        Some(Origin { generation: Some(bytes), .. }) => store::write_atomic(&directory.join(GENERATION), bytes)?,
        // What stood in for the file stands in for it again.
        Some(Origin { generation: None, .. }) => {}
        None => {
            let mut generation = policy.generation.other.clone();
            generation.insert("eos_token_id".to_owned(), eos.clone());
            store::write_atomic(&directory.join(GENERATION), pretty(&Value::Object(generation)))?;
        }
    }
    if policy.decoder.has_adapters() {
        let base = origin.map(|origin| origin.directory.display().to_string());
        return adapter::write(&policy.decoder, base.as_deref(), directory);
    }
    let named = policy.decoder.weights.named();
    let as_read = origin.filter(|origin| origin.has_types_of(&named));
    let layout = match as_read {
        Some(origin) if origin.dtypes.len() == named.len() => Layout::Files(origin.layout.clone()),
        _ => Layout::MaxShard(MAX_SHARD_BYTES),
    };
    let entries = named.iter().map(|(name, tensor)| Entry::of_tensor(name.clone(), tensor)).collect();
    stored::write(directory, entries, &layout)?;
    let config = match as_read.filter(|origin| origin.parsed == policy.decoder.config) {
        Some(origin) => origin.config.clone(),
        None => pretty(&Value::Object(config_json(&policy.decoder, eos))),
    };
    store::write_atomic(&directory.join(CONFIG), config)?;
    Ok(())
}

fn config_json(decoder: &Decoder, eos: Value) -> Map<String, Value> {
    let mut config = decoder.config.to_json();
    put_dtype(&mut config, decoder.dtype());
    config.entry("eos_token_id").or_insert(eos);
    config
}

/// Says in a `config.json` what type the weights have.
pub(super) fn put_dtype(config: &mut Map<String, Value>, dtype: DType) {
    let name = match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        DType::F64 => "float64",
        _ => "float32",
    };
    let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    config.insert(key.to_owned(), json!(name));
}

#[cfg(test)]
mod tests {
    use super::super::stored::{WEIGHTS, WEIGHTS_INDEX};
    use super::*;
    use crate::policy::{LoraConfig, preset};
    use memtrain_corpora::store::StoreError;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn policy() -> Result<Policy, PolicyError> {
        let config = PolicyConfig { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, ..preset::tiny(260) };
        Policy::new(Decoder::init(config, 5, &Device::Cpu, DType::F32)?, PolicyTokenizer::of_bytes()?)
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
        // Saving again replaces it, but not where it was read; nothing else is left in the folder.
        save(&loaded, &second)?;
        assert!(matches!(save(&loaded, &first), Err(PolicyError::Store(StoreError::Overlap { .. }))));
        assert_eq!(store::list(folder.path())?, [first, second]);
        Ok(())
    }

    #[test]
    fn all_that_names_an_end_of_a_response_is_one() -> Outcome {
        let folder = tempfile::tempdir()?;
        let directory = folder.path().join("policy");
        write(&policy()?, &directory)?;
        // 256 <|endoftext|>, 257 <|im_start|>, 258 <|im_end|>, with which the template ends a turn.
        let write = |name: &str, change: Value| -> Outcome {
            let path = directory.join(name);
            let mut json = if store::exists(&path) { read_object(&path)? } else { Map::new() };
            json.extend(change.as_object().cloned().unwrap_or_default());
            Ok(store::write_json(&path, &json)?)
        };
        let ends = || load(&directory, &Device::Cpu, DType::F32).map(|policy| policy.generation.eos_token_ids);
        write("tokenizer_config.json", json!({"eos_token": "<|endoftext|>"}))?;
        write(GENERATION, json!({"eos_token_id": null}))?;
        write(CONFIG, json!({"eos_token_id": null}))?;
        assert_eq!(ends()?, [256, 258]);
        write(GENERATION, json!({"eos_token_id": [7, 256]}))?;
        write(CONFIG, json!({"eos_token_id": 9}))?;
        assert_eq!(ends()?, [7, 256, 9, 258]);
        write("special_tokens_map.json", json!({"eos_token": {"content": "<|im_start|>"}}))?;
        assert_eq!(ends()?, [7, 256, 9, 257, 258]);
        write("tokenizer_config.json", json!({"eos_token": null, "chat_template": "{{ messages[0].content }}"}))?;
        assert_eq!(ends()?, [7, 256, 9, 257]);
        Ok(())
    }

    #[test]
    fn shards_are_read() -> Outcome {
        let folder = tempfile::tempdir()?;
        let directory = folder.path().join("policy");
        let policy = policy()?;
        write(&policy, &directory)?;
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
    fn what_was_not_changed_is_written_back_as_it_was() -> Outcome {
        let folder = tempfile::tempdir()?;
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let mut policy = policy()?;
        policy.decoder = policy.decoder.to_dtype(DType::BF16)?;
        // Two types in one directory, in two shards, and a configuration in somebody else's hand.
        policy.decoder.weights.norm = policy.decoder.weights.norm.to_dtype(DType::F32)?;
        write(&policy, &first)?;
        let config = store::read_to_string(&first.join(CONFIG))?.replace("1e-6", "1e-06").replace("  ", "\t");
        store::write_atomic(&first.join(CONFIG), &config)?;
        store::remove_file(&first.join(GENERATION))?;
        store::remove_file(&first.join(WEIGHTS))?;
        let named = policy.decoder.weights.named();
        let entries = named.iter().map(|(name, tensor)| Entry::of_tensor(name.clone(), tensor)).collect();
        stored::write(&first, entries, &Layout::MaxShard(9_000))?;
        let loaded = load_as_stored(&first, &Device::Cpu)?;
        assert_eq!(loaded.decoder.weights.norm.dtype(), DType::F32);
        save(&loaded, &second)?;
        let names = |folder: &Path| -> Result<Vec<_>, StoreError> {
            let names = store::list(folder)?.into_iter().filter_map(|path| path.file_name().map(ToOwned::to_owned));
            Ok(names.filter(|name| name != store::MARKER).collect())
        };
        assert_eq!(names(&first)?, names(&second)?);
        assert!(names(&first)?.len() > 5, "several shards");
        for name in names(&first)? {
            assert_eq!(store::read(&first.join(&name))?, store::read(&second.join(&name))?, "{name:?}");
        }
        // In another type the configuration says so, and keeps its other keys.
        save(&load(&first, &Device::Cpu, DType::F32)?, &second)?;
        let config = read_object(&second.join(CONFIG))?;
        assert_eq!((config["torch_dtype"].as_str(), config["rms_norm_eps"].as_f64()), (Some("float32"), Some(1e-6)));
        Ok(())
    }

    #[test]
    fn adapters_are_written_alone_and_read_with_their_base() -> Outcome {
        let folder = tempfile::tempdir()?;
        let (base, adapter) = (folder.path().join("base"), folder.path().join("adapter"));
        save(&policy()?, &base)?;
        let mut policy = load(&base, &Device::Cpu, DType::F32)?;
        policy.decoder = policy.decoder.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1)?;
        for (name, parameter) in policy.decoder.parameters()? {
            let noise =
                memtrain_kernels::nn::gradient_check::wave(parameter.dims(), DType::F32, name.len() as f64 * 0.01)?;
            parameter.set(&noise)?;
        }
        save(&policy, &adapter)?;
        assert!(!store::exists(&adapter.join(WEIGHTS)) && !store::exists(&adapter.join(CONFIG)));
        let loaded = load(&adapter, &Device::Cpu, DType::F32)?;
        let (own, read) = (policy.decoder.parameters()?, loaded.decoder.parameters()?);
        assert_eq!(own.len(), read.len());
        for ((name, own), (read_name, read)) in own.iter().zip(&read) {
            assert_eq!((name, own.to_vec2::<f32>()?), (read_name, read.to_vec2::<f32>()?));
        }
        // Its own place is replaceable; a base that is gone, or a foreign tensor, is named.
        save(&loaded, &adapter)?;
        store::rename_durably(&base, &folder.path().join("moved"))?;
        let message = load(&adapter, &Device::Cpu, DType::F32).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("base"), "{message}");
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_named() -> Outcome {
        let folder = tempfile::tempdir()?;
        let directory = folder.path().join("policy");
        let message =
            || load(&directory, &Device::Cpu, DType::F32).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message().contains("config.json"), "{}", message());
        write(&policy()?, &directory)?;
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
    fn a_folder_of_others_is_not_replaced_whatever_it_looks_like() -> Outcome {
        let folder = tempfile::tempdir()?;
        let directory = folder.path().join("policy");
        // As whole as a policy can be, but written by another program: without the marker it cannot be told from one.
        write(&policy()?, &directory)?;
        let before = store::read(&directory.join(WEIGHTS))?;
        let refused = |outcome| matches!(outcome, Err(PolicyError::Store(StoreError::Foreign { .. })));
        assert!(refused(save(&policy()?, &directory)) && refused(check_target(&directory, &[])));
        assert_eq!(store::read(&directory.join(WEIGHTS))?, before);
        // One of ours is, unless somebody has changed a file of it or added one.
        let own = folder.path().join("own");
        save(&policy()?, &own)?;
        check_target(&own, &[])?;
        save(&policy()?, &own)?;
        store::write_atomic(&own.join("notes.txt"), "it forgets names")?;
        assert!(refused(save(&policy()?, &own)));
        store::remove_file(&own.join("notes.txt"))?;
        store::write_atomic(&own.join(CONFIG), store::read_to_string(&own.join(CONFIG))?.replace("  ", " "))?;
        assert!(refused(save(&policy()?, &own)));
        Ok(())
    }

    #[test]
    fn an_adapter_is_not_written_over_its_base() -> Outcome {
        let folder = tempfile::tempdir()?;
        let base = folder.path().join("models/base");
        save(&policy()?, &base)?;
        let mut policy = load(&base, &Device::Cpu, DType::F32)?;
        policy.decoder = policy.decoder.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, 1)?;
        for out in [base.clone(), base.join("adapter"), folder.path().join("models"), base.join("../../models/base/.")]
        {
            let refused = save(&policy, &out).err();
            assert!(matches!(refused, Some(PolicyError::Store(StoreError::Overlap { .. }))), "{}", out.display());
        }
        assert!(load(&base, &Device::Cpu, DType::F32).is_ok());
        Ok(())
    }
}
