//! The tensors of a directory: found, named, checked.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::pickle::PthTensors;
use candle_core::safetensors::BufferedSafetensors;
use candle_core::{DType, Device, Tensor};
use memtrain_corpora::store;
use serde_json::Value;

use crate::caught::caught;
use crate::error::{EncoderError, Result};
use crate::pickle;

const SAFETENSORS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";

/// A file of weights, open.
enum File {
    Safetensors(BufferedSafetensors),
    /// Read by candle's interpreter of the few instructions that a state dictionary needs; nothing is executed. With the
    /// length of the file in bytes.
    Pickle(Box<PthTensors>, u64),
}

/// The weights of one model. Tensors are asked for by their names without the model's prefix (`bert.`, `roberta.` …);
/// what is missing or misshaped is gathered, so that one error names all of it.
pub(crate) struct Weights<'a> {
    directory: &'a Path,
    files: Vec<File>,
    /// Name → file.
    names: BTreeMap<String, usize>,
    prefix: String,
    device: &'a Device,
    problems: RefCell<Vec<String>>,
}

impl<'a> Weights<'a> {
    /// Opens the files of a directory; `anchor` is a tensor that tells what stands before all names.
    pub(crate) fn open(directory: &'a Path, device: &'a Device, anchor: &str) -> Result<Self> {
        let mut weights = Self {
            directory,
            files: Vec::new(),
            names: BTreeMap::new(),
            prefix: String::new(),
            device,
            problems: RefCell::default(),
        };
        for file in files(directory)? {
            if file == PICKLE {
                weights.add_pickle()?;
            } else if file != INDEX {
                weights.add_safetensors(&file)?;
            }
        }
        let prefixes = weights.names.keys().filter_map(|name| name.strip_suffix(anchor));
        let prefixes = prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
        let Some(prefix) = prefixes.min_by_key(|prefix| prefix.len()).map(str::to_owned) else {
            return Err(weights.failed(vec![format!("no tensor is called `{anchor}`, with or without a prefix")]));
        };
        weights.prefix = prefix;
        Ok(weights)
    }

    fn add_safetensors(&mut self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        let malformed =
            |error: candle_core::Error| EncoderError::Malformed { path: path.clone(), detail: error.to_string() };
        let file =
            BufferedSafetensors::new(store::read_at_most(&path, store::MAX_WEIGHTS_BYTES)?).map_err(malformed)?;
        let number = self.files.len();
        self.names.extend(file.tensors().into_iter().map(|(name, _)| (name, number)));
        self.files.push(File::Safetensors(file));
        Ok(())
    }

    fn add_pickle(&mut self) -> Result<()> {
        let path = self.directory.join(PICKLE);
        // An error of the system names its path; and what is no file is not opened.
        store::open(&path)?;
        let unsupported = |problem: String| EncoderError::Unsupported {
            path: path.clone(),
            what: format!("its pickle is not one that can be read without Python: {problem}"),
            hint: "`AutoModel.from_pretrained(DIR).save_pretrained(DIR2)` in Python writes model.safetensors",
        };
        pickle::check(&path).map_err(unsupported)?;
        let file = caught(|| PthTensors::new(&path, None).map_err(|error| error.to_string()));
        let file = file.flatten().map_err(unsupported)?;
        self.names.extend(file.tensor_infos().keys().map(|name| (name.clone(), 0)));
        self.files.push(File::Pickle(Box::new(file), store::len(&path)?));
        Ok(())
    }

    /// Where the tensors are.
    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// For `map_err` on what candle returns.
    pub(crate) fn failure(&self) -> impl Fn(candle_core::Error) -> EncoderError + 'a {
        EncoderError::tensor(self.directory)
    }

    fn failed(&self, problems: Vec<String>) -> EncoderError {
        EncoderError::Weights { path: self.directory.to_owned(), problems }
    }

    /// Whether there is a tensor of this full name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The tensor of this name below the model's prefix, in f32.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        // Checkpoints converted from TensorFlow call scale and shift of a layer norm by their old names.
        let old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        let [full, old] = [name, &old].map(|name| format!("{}{name}", self.prefix));
        self.get_full(if self.contains(&old) { &old } else { &full }, shape)
    }

    /// The tensor of this full name, in f32. A problem gives zeros and is told by [`Weights::finish`].
    pub(crate) fn get_full(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let failed = EncoderError::tensor(self.directory);
        let problem = match self.names.get(name) {
            None => format!("`{name}` is missing"),
            Some(&file) => {
                let tensor = match &self.files[file] {
                    File::Safetensors(file) => file.load(name, self.device).map(Some),
                    File::Pickle(file, length) => of_pickle(file, *length, name, shape),
                };
                match tensor.map_err(&failed)? {
                    Some(tensor) if tensor.dims() == shape => {
                        let tensor = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.to_device(self.device));
                        return tensor.map_err(&failed);
                    }
                    Some(tensor) => format!("`{name}` is {:?}, expected {shape:?}", tensor.dims()),
                    None => format!("`{name}` is missing"),
                }
            }
        };
        self.problems.borrow_mut().push(problem);
        // No allocation: a wrong configuration may ask for anything.
        Tensor::zeros(1, DType::F32, self.device).and_then(|zero| zero.broadcast_as(shape)).map_err(failed)
    }

    /// The problems met so far, as one error.
    pub(crate) fn finish(&self) -> Result<()> {
        let problems = self.problems.take();
        if problems.is_empty() { Ok(()) } else { Err(self.failed(problems)) }
    }
}

/// A tensor of a pickle that has this shape, or zeros of the shape that it has; candle allocates what the pickle says, which must be in
/// the file.
fn of_pickle(file: &PthTensors, length: u64, name: &str, shape: &[usize]) -> candle_core::Result<Option<Tensor>> {
    let Some(found) = file.tensor_infos().get(name) else { return Ok(None) };
    let dims = found.layout.dims();
    let count = dims.iter().try_fold(1_u64, |count, dim| count.checked_mul(*dim as u64));
    let bytes = count.and_then(|count| count.checked_mul(found.dtype.size_in_bytes() as u64));
    if dims != shape {
        // No allocation: the shape is all that is said of it.
        return Tensor::zeros(1, DType::F32, &Device::Cpu)?.broadcast_as(dims).map(Some);
    }
    if bytes.is_none_or(|bytes| bytes > length) {
        candle_core::bail!("tensor `{name}` of shape {dims:?} is larger than its file");
    }
    let failed = |message| candle_core::Error::Msg(format!("tensor `{name}`: {message}"));
    caught(|| file.get(name)).map_err(failed)?
}

/// The files of a directory's weights; an index first.
pub(crate) fn files(directory: &Path) -> Result<Vec<String>> {
    let is_there = |file: &str| store::exists(&directory.join(file));
    if is_there(SAFETENSORS) {
        Ok(vec![SAFETENSORS.into()])
    } else if is_there(INDEX) {
        let shards = shards(&directory.join(INDEX))?;
        Ok(std::iter::once(INDEX.to_owned()).chain(shards).collect())
    } else if is_there(PICKLE) {
        Ok(vec![PICKLE.into()])
    } else {
        Err(EncoderError::lacks(
            directory,
            &format!("{SAFETENSORS}, {INDEX} or {PICKLE}"),
            "`AutoModel.from_pretrained(DIR).save_pretrained(DIR2)` in Python writes model.safetensors",
        ))
    }
}

/// The files named by an index, each once, in order.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let value: Value = store::read_json(index)?;
    let malformed = |detail: &str| EncoderError::Malformed { path: index.to_owned(), detail: detail.into() };
    let map = value.get("weight_map").and_then(Value::as_object).ok_or_else(|| malformed("it has no `weight_map`"))?;
    map.values()
        .map(|file| match file.as_str() {
            Some(file) if Path::new(file).components().count() == 1 && !file.contains("..") => Ok(file.to_owned()),
            _ => Err(malformed(&format!("`weight_map` names {file}, which is no file of this directory"))),
        })
        .collect()
}
