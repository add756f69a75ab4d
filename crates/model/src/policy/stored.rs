//! Weights as they lie in files: memory-mapped safetensors to read, and the same format written tensor by tensor.
//!
//! Nothing larger than one tensor is in memory at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use memtrain_corpora::store;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};

use super::tokenizer::object;
use super::{PolicyError, recorded};
use crate::tensor_file;

/// The file that holds all weights where there is one alone.
pub const WEIGHTS: &str = "model.safetensors";
/// The file that says in which shard each tensor is.
pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// Largest shard that is written unless asked otherwise, in bytes: the hub's usual 5 GB.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// The weights of a policy directory, mapped into memory.
pub struct StoredWeights {
    files: Vec<(PathBuf, MmapedSafetensors)>,
    /// Number of the file of each tensor.
    places: BTreeMap<String, usize>,
}

impl StoredWeights {
    /// Maps the one file with all weights, or the shards that the index lists, each compared with what is on record of it.
    ///
    /// # Errors
    /// If a file is missing, damaged or not as it was written, or the index is none.
    pub fn open(directory: &Path) -> Result<Self, PolicyError> {
        for name in [WEIGHTS, WEIGHTS_INDEX] {
            recorded::check(&directory.join(name))?;
        }
        let files = weight_files(directory)?;
        files.iter().filter(|path| !path.ends_with(WEIGHTS)).try_for_each(|path| recorded::check(path))?;
        Self::open_files(files)
    }

    /// Maps these files.
    ///
    /// # Errors
    /// If one is missing or no safetensors file, or a tensor is in two of them.
    pub fn open_files(paths: Vec<PathBuf>) -> Result<Self, PolicyError> {
        let (mut files, mut places) = (Vec::new(), BTreeMap::new());
        for path in paths {
            let corrupt = |detail: String| PolicyError::Corrupt { path: path.clone(), detail };
            // An error of the system names its path and what to do about it.
            store::open(&path)?;
            let mapped = map(&path).map_err(|error| corrupt(error.to_string()))?;
            for (name, _) in mapped.tensors() {
                if places.insert(name.clone(), files.len()).is_some() {
                    return Err(corrupt(format!("tensor `{name}` is in another file too")));
                }
            }
            files.push((path, mapped));
        }
        Ok(Self { files, places })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The files, each with the names of its tensors, sorted.
    pub fn files(&self) -> Vec<(&Path, Vec<&str>)> {
        let mut files: Vec<_> = self.files.iter().map(|(path, _)| (path.as_path(), Vec::new())).collect();
        self.places.iter().for_each(|(name, &file)| files[file].1.push(name.as_str()));
        files
    }

    /// A tensor as it lies in its file.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn view(&self, name: &str) -> Result<TensorView<'_>, PolicyError> {
        let missing = || PolicyError::MissingTensor { name: name.to_owned(), origin: self.origin() };
        let (path, mapped) = &self.files[*self.places.get(name).ok_or_else(missing)?];
        mapped.get(name).map_err(|error| PolicyError::Corrupt { path: path.clone(), detail: error.to_string() })
    }

    /// A tensor in memory, in the type it is stored in or another.
    ///
    /// # Errors
    /// If there is none of this name, its type is none that is known, or it holds what is no number.
    pub fn load(&self, name: &str, dtype: Option<DType>, device: &Device) -> Result<Tensor, PolicyError> {
        let view = self.view(name)?;
        let stored = DType::try_from(view.dtype())?;
        if !is_finite(&view) {
            return Err(PolicyError::NotFinite { name: name.to_owned(), origin: self.origin() });
        }
        let dtype = dtype.unwrap_or(stored);
        if dtype == stored {
            // Straight out of the map.
            return Ok(Tensor::from_raw_buffer(view.data(), stored, view.shape(), device)?);
        }
        let tensor = Tensor::from_raw_buffer(view.data(), stored, view.shape(), &Device::Cpu)?;
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    fn origin(&self) -> String {
        let folder = self.files.first().and_then(|(path, _)| path.parent());
        folder.map_or_else(|| "the files".to_owned(), |folder| format!("`{}`", folder.display()))
    }
}

/// Whether all numbers of a tensor are finite: none has an exponent of ones alone.
pub(super) fn is_finite(view: &TensorView<'_>) -> bool {
    let data = view.data();
    match view.dtype() {
        Dtype::BF16 => data.as_chunks().0.iter().all(|two| u16::from_le_bytes(*two) & 0x7f80 != 0x7f80),
        Dtype::F16 => data.as_chunks().0.iter().all(|two| u16::from_le_bytes(*two) & 0x7c00 != 0x7c00),
        Dtype::F32 => data.as_chunks().0.iter().all(|four| u32::from_le_bytes(*four) & 0x7f80_0000 != 0x7f80_0000),
        Dtype::F64 => data.as_chunks().0.iter().all(|eight| f64::from_le_bytes(*eight).is_finite()),
        _ => true,
    }
}

#[expect(unsafe_code, reason = "a memory map is the only way to read a large file without a copy of it")]
fn map(path: &Path) -> candle_core::Result<MmapedSafetensors> {
    // SAFETY: undefined is what happens if another process changes the file while it is mapped. Policy directories are
    // written into a fresh folder and renamed into place, by this program and by `transformers`' users alike, and the map
    // lives for one load or conversion only, with every value copied out before it is used.
    unsafe { MmapedSafetensors::new(path) }
}

/// The file with all weights, or the shards that the index lists.
///
/// # Errors
/// If one is missing, or the index is none.
pub fn weight_files(directory: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    let (single, index) = (directory.join(WEIGHTS), directory.join(WEIGHTS_INDEX));
    if store::exists(&single) {
        return Ok(vec![single]);
    }
    if !store::exists(&index) {
        return Err(PolicyError::Missing { path: single, hint: "weights are read from safetensors alone" });
    }
    let corrupt = |detail: &str| PolicyError::Corrupt { path: index.clone(), detail: detail.to_owned() };
    let json = object(&store::read(&index)?).map_err(|detail| corrupt(&detail))?;
    let no_map = || corrupt("no `weight_map` of file names");
    let map = json.get("weight_map").and_then(Value::as_object).ok_or_else(no_map)?;
    let mut files = BTreeMap::new();
    for file in map.values() {
        let name = file
            .as_str()
            .filter(|name| !name.contains(['/', '\\']) && !name.contains(char::is_control))
            .ok_or_else(no_map)?;
        files.insert(name, directory.join(name));
    }
    if let Some(path) = files.values().find(|path| !store::exists(path)) {
        return Err(PolicyError::Missing { path: path.clone(), hint: "the index lists it as a shard of the weights" });
    }
    Ok(files.into_values().collect())
}

/// A tensor of a policy to be written: its bytes are asked for when it is its turn.
pub type Entry<'a> = tensor_file::Entry<'a, PolicyError>;

/// Which tensors go into which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In the order of the tensors, a new file wherever the next tensor would make it larger than so many bytes.
    MaxShard(u64),
    /// As they lay before: file names with the names of their tensors.
    Files(Vec<(String, Vec<String>)>),
}

/// Writes tensors into `directory`, which must be there: one file, or shards with an index.
///
/// # Errors
/// If a tensor cannot be made or a file cannot be written, or the layout has no place for a tensor.
pub fn write(directory: &Path, entries: Vec<Entry<'_>>, layout: &Layout) -> Result<(), PolicyError> {
    let shards = shards(entries, layout)?;
    if let [(name, entries)] = shards.as_slice()
        && name == WEIGHTS
    {
        return write_file(&directory.join(name), entries);
    }
    let mut places = BTreeMap::new();
    let (mut total_size, mut total_parameters) = (0, 0);
    for (file, entries) in &shards {
        write_file(&directory.join(file), entries)?;
        for entry in entries {
            places.insert(entry.name.clone(), json!(file));
            total_size += entry.num_bytes();
            total_parameters += entry.shape.iter().product::<usize>();
        }
    }
    let index = json!({
        "metadata": {"total_parameters": total_parameters, "total_size": total_size},
        "weight_map": places.into_iter().collect::<Map<_, _>>(),
    });
    store::write_atomic(&directory.join(WEIGHTS_INDEX), super::tokenizer::pretty(&index))?;
    Ok(())
}

fn shards<'a>(entries: Vec<Entry<'a>>, layout: &Layout) -> Result<Vec<(String, Vec<Entry<'a>>)>, PolicyError> {
    match layout {
        Layout::MaxShard(most) => {
            let mut shards: Vec<Vec<Entry<'_>>> = Vec::new();
            let mut bytes = 0;
            for entry in entries {
                if shards.is_empty() || bytes > 0 && bytes + entry.num_bytes() > *most {
                    shards.push(Vec::new());
                    bytes = 0;
                }
                bytes += entry.num_bytes();
                if let Some(shard) = shards.last_mut() {
                    shard.push(entry);
                }
            }
            let count = shards.len();
            let name = |number: usize| match count {
                1 => WEIGHTS.to_owned(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
            };
            Ok(shards.into_iter().enumerate().map(|(number, shard)| (name(number), shard)).collect())
        }
        Layout::Files(files) => {
            let mut entries: BTreeMap<String, Entry<'_>> =
                entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
            let take = |(file, names): &(String, Vec<String>)| {
                (file.clone(), names.iter().filter_map(|name| entries.remove(name)).collect::<Vec<_>>())
            };
            let shards = files.iter().map(take).collect();
            match entries.into_keys().next() {
                Some(name) => Err(PolicyError::UnexpectedTensor { name }),
                None => Ok(shards),
            }
        }
    }
}

/// Writes one safetensors file, whole or not at all.
///
/// # Errors
/// If a tensor cannot be made or the file cannot be written.
pub fn write_file(path: &Path, entries: &[Entry<'_>]) -> Result<(), PolicyError> {
    // `transformers` refuses files without it.
    tensor_file::write_with(path, ("format", "pt"), entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtrain_kernels::nn::gradient_check::wave;
    use std::collections::HashMap;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn tensors() -> candle_core::Result<Vec<(String, Tensor)>> {
        Ok(vec![
            ("b.weight".to_owned(), wave(&[7, 3], DType::F32, 1.0)?.to_dtype(DType::BF16)?),
            ("c.weight".to_owned(), wave(&[5], DType::F32, 2.0)?),
            ("a.weight".to_owned(), wave(&[2, 2], DType::F32, 3.0)?.to_dtype(DType::BF16)?),
            ("empty".to_owned(), Tensor::zeros((0, 4), DType::F32, &Device::Cpu)?),
        ])
    }

    fn entries(tensors: &[(String, Tensor)]) -> Vec<Entry<'_>> {
        tensors.iter().map(|(name, tensor)| Entry::of_tensor(name.clone(), tensor)).collect()
    }

    #[test]
    fn a_file_is_the_reference_writer_s_to_the_byte() -> Outcome {
        let folder = tempfile::tempdir()?;
        let (path, tensors) = (folder.path().join("one.safetensors"), tensors()?);
        write_file(&path, &entries(&tensors))?;
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let reference = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), Some(metadata))?;
        assert_eq!(store::read(&path)?, reference);
        Ok(())
    }

    #[test]
    fn shards_keep_the_order_and_the_limit() -> Outcome {
        let (folder, tensors) = (tempfile::tempdir()?, tensors()?);
        write(folder.path(), entries(&tensors), &Layout::MaxShard(45))?;
        let stored = StoredWeights::open(folder.path())?;
        let files: Vec<_> = stored.files().into_iter().map(|(_, names)| names).collect();
        // 42 bytes; 20 and 8; the empty one adds nothing.
        assert_eq!(files, [vec!["b.weight"], vec!["a.weight", "c.weight", "empty"]]);
        for (name, tensor) in &tensors {
            let loaded = stored.load(name, None, &Device::Cpu)?;
            assert_eq!((loaded.dims(), loaded.dtype()), (tensor.dims(), tensor.dtype()));
            let values = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
            assert_eq!(values(&loaded)?, values(tensor)?);
        }
        let index = object(&store::read(&folder.path().join(WEIGHTS_INDEX))?)?;
        assert_eq!(index["metadata"], json!({"total_parameters": 30, "total_size": 70}));
        assert_eq!(index["weight_map"]["a.weight"], "model-00002-of-00002.safetensors");
        assert!(matches!(stored.view("d"), Err(PolicyError::MissingTensor { .. })));
        Ok(())
    }

    #[test]
    fn damage_is_named() -> Outcome {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(WEIGHTS);
        for bytes in [&b""[..], b"short", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", b"\x02\0\0\0\0\0\0\0{]"] {
            store::write_atomic(&path, bytes)?;
            let error = StoredWeights::open(folder.path()).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("model.safetensors` cannot be read"), "{error}");
        }
        Ok(())
    }
}
