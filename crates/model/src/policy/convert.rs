//! A policy directory into another one, tensor by tensor: other types, other shards, adapters merged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use memtrain_corpora::store::{self, AtomicFile, StoreError};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use super::adapter;
use super::directory::{CONFIG, GENERATION, KIND, load_config, put_dtype, read_object};
use super::lora::Target;
use super::stored::{self, Entry, Layout, StoredWeights, WEIGHTS_INDEX};
use super::stored_decoder::check_tensors;
use super::tokenizer::{self, pretty};
use super::{Decoder, PolicyConfig, PolicyError, Weights, recorded};

/// What of a directory is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conversion {
    /// The type of all tensors; as stored where none is given.
    pub dtype: Option<DType>,
    /// The largest shard in bytes; the shards as they are where none is given.
    pub max_shard_bytes: Option<u64>,
    /// The temperature that is put into the weights: drawn at 1, the new policy draws as the old one at this temperature.
    /// The logits are divided by it, through the weight of the final norm.
    pub temperature: Option<f64>,
}

/// The tensor that scales all logits alike.
pub(super) const FINAL_NORM: &str = "model.norm.weight";

/// Writes the policy directory `from` to `to`. Where nothing is to be changed, every file is the same to the byte.
///
/// # Errors
/// If `from` is no policy directory that this program could use, or `to` cannot be written: it touches `from`, or something else
/// than a policy directory of this program is there ([`store::replace`]).
pub fn convert(from: &Path, to: &Path, conversion: Conversion) -> Result<(), PolicyError> {
    refuse_adapter(from)?;
    store::refuse_overlap(to, from)?;
    let (config, stored) = (load_config(from)?, StoredWeights::open(from)?);
    let dtypes = checked_types(&stored, &config)?;
    let target = |name: &str| conversion.dtype.unwrap_or(dtypes[name]);
    let changes_type = dtypes.iter().any(|(name, dtype)| target(name) != *dtype);
    let converted = |name: &String| match conversion.temperature {
        Some(temperature) if name == FINAL_NORM => divided_entry(&stored, name, target(name), temperature),
        _ => entry(&stored, name, target(name)),
    };
    store::replace(to, KIND, |fresh| {
        if !changes_type && conversion.max_shard_bytes.is_none() && conversion.temperature.is_none() {
            for (path, _) in stored.files() {
                copy_into(path, fresh)?;
            }
            if store::exists(&from.join(WEIGHTS_INDEX)) {
                copy_into(&from.join(WEIGHTS_INDEX), fresh)?;
            }
        } else {
            let order = order(&config, &stored);
            let entries = order.iter().map(converted).collect::<Result<_, _>>()?;
            stored::write(fresh, entries, &layout(&stored, conversion.max_shard_bytes))?;
        }
        copy_companions(from, fresh)?;
        write_config(from, fresh, if changes_type { conversion.dtype } else { None })
    })
}

/// Writes the policy directory `from` with the adapter of another folder added into its matrices to `to`: in f32, and
/// rounded once to the type each matrix is stored in. Shards, names and all other files stay as they are.
///
/// # Errors
/// If the adapter does not fit, or `to` cannot be written, as with [`convert`].
pub fn merge_lora(from: &Path, adapter_folder: &Path, to: &Path) -> Result<(), PolicyError> {
    refuse_adapter(from)?;
    store::refuse_overlap(to, from)?;
    store::refuse_overlap(to, adapter_folder)?;
    let (config, stored) = (load_config(from)?, StoredWeights::open(from)?);
    let dtypes = checked_types(&stored, &config)?;
    let adapted = adapter::attach(&shape_of(&config)?, adapter_folder)?;
    store::replace(to, KIND, |fresh| {
        let merged = |name: &String| match adapter_of(&adapted, name) {
            Some((layer, target)) => merged_entry(&stored, name, dtypes[name], &adapted, layer, target),
            None => entry(&stored, name, dtypes[name]),
        };
        let entries = order(&config, &stored).iter().map(merged).collect::<Result<_, _>>()?;
        stored::write(fresh, entries, &layout(&stored, None))?;
        copy_companions(from, fresh)?;
        write_config(from, fresh, None)
    })
}

fn refuse_adapter(from: &Path) -> Result<(), PolicyError> {
    if adapter::is_adapter(from) {
        let detail = format!("`{}` is an adapter: `memtrain policy merge-lora` makes a policy of it", from.display());
        return Err(PolicyError::Config { key: "peft_type", detail });
    }
    Ok(())
}

/// The stored types, after checking that the tensors are those of the configuration.
fn checked_types(stored: &StoredWeights, config: &PolicyConfig) -> Result<BTreeMap<String, DType>, PolicyError> {
    check_tensors(stored, config)?;
    let of = |name: &str| Ok((name.to_owned(), DType::try_from(stored.view(name)?.dtype())?));
    stored.names().map(of).collect()
}

/// Names in the order of the architecture, and what else is stored after them.
fn order(config: &PolicyConfig, stored: &StoredWeights) -> Vec<String> {
    let mut names: Vec<String> = config.tensor_shapes().into_iter().map(|(name, _)| name).collect();
    let more: Vec<String> =
        stored.names().filter(|name| !names.iter().any(|own| own == name)).map(str::to_owned).collect();
    names.extend(more);
    names
}

fn layout(stored: &StoredWeights, max_shard_bytes: Option<u64>) -> Layout {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    match max_shard_bytes {
        Some(bytes) => Layout::MaxShard(bytes),
        None => Layout::Files(stored.files().into_iter().map(|(path, names)| (name(path), own(names))).collect()),
    }
}

/// A stored tensor, in its own type or another.
fn entry<'a>(stored: &'a StoredWeights, name: &str, dtype: DType) -> Result<Entry<'a>, PolicyError> {
    let view = stored.view(name)?;
    let (shape, own) = (view.shape().to_vec(), DType::try_from(view.dtype())?);
    let own_name = name.to_owned();
    let bytes = move || match own == dtype {
        true => Ok(Cow::Borrowed(view.data())),
        false => raw(&narrowed(&own_name, &tensor(&view)?, dtype)?),
    };
    Ok(Entry::made(name.to_owned(), Dtype::from(dtype), shape, bytes))
}

/// A stored tensor divided by a number: in f32, and rounded once to the type asked for.
fn divided_entry<'a>(stored: &'a StoredWeights, name: &str, dtype: DType, by: f64) -> Result<Entry<'a>, PolicyError> {
    let view = stored.view(name)?;
    let (shape, own_name) = (view.shape().to_vec(), name.to_owned());
    let bytes = move || raw(&narrowed(&own_name, &(tensor(&view)?.to_dtype(DType::F32)? / by)?, dtype)?);
    Ok(Entry::made(name.to_owned(), Dtype::from(dtype), shape, bytes))
}

fn merged_entry<'a>(
    stored: &'a StoredWeights,
    name: &str,
    dtype: DType,
    adapted: &'a Decoder,
    layer: usize,
    target: Target,
) -> Result<Entry<'a>, PolicyError> {
    let view = stored.view(name)?;
    let (shape, own_name) = (view.shape().to_vec(), name.to_owned());
    let bytes = move || {
        let weight = tensor(&view)?;
        match adapted.weights.layers[layer].adapters.get(target) {
            Some(adapter) => raw(&narrowed(&own_name, &adapter.added_to(&weight, DType::F32)?, dtype)?),
            None => raw(&weight),
        }
    };
    Ok(Entry::made(name.to_owned(), Dtype::from(dtype), shape, bytes))
}

fn tensor(view: &TensorView<'_>) -> Result<Tensor, PolicyError> {
    Ok(Tensor::from_raw_buffer(view.data(), DType::try_from(view.dtype())?, view.shape(), &Device::Cpu)?)
}

/// A tensor in another type that can hold each of its numbers: none becomes infinite.
pub(super) fn narrowed(name: &str, tensor: &Tensor, dtype: DType) -> Result<Tensor, PolicyError> {
    let size = |tensor: &Tensor| -> Result<f64, PolicyError> {
        match tensor.elem_count() {
            0 => Ok(0.0),
            _ => Ok(tensor.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F64)?.to_scalar::<f64>()?),
        }
    };
    let changed = tensor.to_dtype(dtype)?;
    let (dtype, largest) = match dtype {
        DType::F16 => ("f16", f64::from(half::f16::MAX)),
        DType::BF16 => ("bf16", f64::from(half::bf16::MAX)),
        DType::F32 => ("f32", f64::from(f32::MAX)),
        _ => return Ok(changed),
    };
    let value = size(tensor)?;
    if value.is_finite() && size(&changed)?.is_infinite() {
        return Err(PolicyError::OutOfRange { name: name.to_owned(), value, dtype, largest });
    }
    Ok(changed)
}

pub(super) fn raw(tensor: &Tensor) -> Result<Cow<'static, [u8]>, PolicyError> {
    Ok(Cow::Owned(safetensors::View::data(&tensor.contiguous()?).into_owned()))
}

/// A decoder of these shapes whose tensors take no memory: one number each, spread.
fn shape_of(config: &PolicyConfig) -> Result<Decoder, PolicyError> {
    let zero = Tensor::new(0f32, &Device::Cpu)?;
    let weights = Weights::build(config, |_, shape| Ok(zero.broadcast_as(shape)?))?;
    Ok(Decoder { config: config.clone(), weights })
}

/// Layer and matrix of a tensor that has an adapter.
fn adapter_of(adapted: &Decoder, name: &str) -> Option<(usize, Target)> {
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let target = Target::ALL.into_iter().find(|target| rest == format!("{}.weight", target.path()))?;
    adapted.weights.layers.get(layer)?.adapters.get(target).map(|_| (layer, target))
}

/// Every file of a directory that is neither weights nor the configuration, nor a folder.
fn copy_companions(from: &Path, to: &Path) -> Result<(), PolicyError> {
    /// Weights in other formats, and the list of a checkpoint's files, which would be of other files.
    const LEFT: [&str; 7] = ["safetensors", "bin", "pt", "pth", "gguf", "h5", "msgpack"];
    // What is on record and is gone would be missing from the copy without a word.
    for name in tokenizer::FILES.into_iter().chain([GENERATION]) {
        recorded::check(&from.join(name))?;
    }
    for path in store::list(from)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned()).unwrap_or_default();
        let is_index = name.ends_with(".index.json") || name == "checkpoint.json" || name == CONFIG;
        if !store::is_dir(&path) && !name.starts_with('.') && !is_index && !LEFT.contains(&extension.as_str()) {
            recorded::check(&path)?;
            copy_into(&path, to)?;
        }
    }
    Ok(())
}

fn write_config(from: &Path, to: &Path, dtype: Option<DType>) -> Result<(), PolicyError> {
    let Some(dtype) = dtype else { return copy_into(&from.join(CONFIG), to) };
    let mut config = read_object(&from.join(CONFIG))?;
    put_dtype(&mut config, dtype);
    store::write_atomic(&to.join(CONFIG), pretty(&Value::Object(config)))?;
    Ok(())
}

/// Copies a file into a folder.
fn copy_into(path: &Path, folder: &Path) -> Result<(), PolicyError> {
    let copy = folder.join(path.file_name().unwrap_or_default());
    let mut file = AtomicFile::create(&copy)?;
    io::copy(&mut store::open(path)?, &mut file).map_err(|source| StoreError::io("copy", path, source))?;
    Ok(file.commit()?)
}

/// A size as people write it: `5GB`, `200MB`, `1.5GiB`, `1000000`.
///
/// ```
/// use memtrain_model::policy::convert::parse_bytes;
/// assert_eq!(parse_bytes("5GB"), Some(5_000_000_000));
/// assert_eq!(parse_bytes("1.5 KiB"), Some(1536));
/// assert_eq!(parse_bytes("77"), Some(77));
/// assert_eq!(parse_bytes("many"), None);
/// ```
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number * unit;
    (bytes >= 1.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}
