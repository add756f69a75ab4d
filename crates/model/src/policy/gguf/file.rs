//! Reader of the GGUF container: metadata, and where each tensor lies.
//!
//! ```text
//! "GGUF"  version u32 (2, 3)  tensors u64  keys u64
//! keys × { string key, u32 type, value }          string: u64 length, UTF-8; array: u32 type, u64 count, values
//! tensors × { string name, u32 n ≤ 4, n × u64 dimensions (the last varies slowest), u32 type, u64 offset }
//! padding to the alignment, then the data; offsets count from there
//! ```
//!
//! All numbers are little-endian. The file may come from anybody: every length and count is held against the bytes that are
//! left before anything of that size is allocated, every tensor against the end of the file before any is read. candle's reader
//! is not used: it divides by the alignment that the file names, 0 included, and keeps each byte of an array as 32.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, ggml_file};
use candle_core::{Device, Tensor};
use memtrain_corpora::store::{self, StoreError};

use super::super::PolicyError;

/// What a GGUF file begins with.
pub(super) const MAGIC: &[u8; 4] = b"GGUF";
/// Where tensors begin at multiples of, unless `general.alignment` says otherwise.
const ALIGNMENT: u64 = 32;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;

/// A value of the metadata. Arrays of numbers with a fraction, of flags and of arrays are passed over: none is needed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meta {
    Integer(i128),
    Number(f64),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Unread,
}

/// A tensor as it lies in the file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Outer dimension first, as PyTorch has it.
    pub(super) shape: Vec<usize>,
    dtype: GgmlDType,
    start: u64,
    bytes: usize,
}

/// A GGUF file whose metadata has been read.
#[derive(Debug)]
pub(super) struct Gguf {
    path: PathBuf,
    metadata: BTreeMap<String, Meta>,
    /// The tensors by name.
    pub(super) tensors: BTreeMap<String, Place>,
}

/// The part of a file that has not been read.
struct Rest<R> {
    inner: R,
    left: u64,
}

type Parsed<T> = Result<T, String>;

impl<R: Read> Rest<R> {
    /// So many bytes, if there are as many.
    fn bytes(&mut self, length: u64, what: &str) -> Parsed<Vec<u8>> {
        self.check(length, 1, what)?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
        self.inner.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        self.left -= length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        self.check(N as u64, 1, "a number")?;
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        self.left -= N as u64;
        Ok(bytes)
    }

    /// Checks that so many things of at least so many bytes can follow.
    fn check(&self, count: u64, least_bytes: u64, what: &str) -> Parsed<()> {
        match count.checked_mul(least_bytes).is_some_and(|needed| needed <= self.left) {
            true => Ok(()),
            false => Err(format!("{what} of length {count} is longer than the {} bytes that are left", self.left)),
        }
    }

    fn u32(&mut self) -> Parsed<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Parsed<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Parsed<String> {
        let length = self.u64()?;
        // Some tokens of published files are no UTF-8.
        Ok(String::from_utf8_lossy(&self.bytes(length, "a string")?).into_owned())
    }

    fn value(&mut self, kind: u32) -> Parsed<Meta> {
        Ok(match kind {
            6 => Meta::Number(shortest(f32::from_le_bytes(self.array()?))),
            7 => Meta::Flag(self.array::<1>()? != [0]),
            8 => Meta::Text(self.text()?),
            9 => self.list()?,
            12 => Meta::Number(f64::from_le_bytes(self.array()?)),
            _ => Meta::Integer(self.integer(kind)?),
        })
    }

    fn integer(&mut self, kind: u32) -> Parsed<i128> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array()?).into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            _ => return Err(format!("a value has the unknown type {kind}")),
        })
    }

    fn list(&mut self) -> Parsed<Meta> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            _ => return Err(format!("an array has values of the type {kind}, which is not read")),
        };
        self.check(count, width, "an array")?;
        match kind {
            8 => (0..count).map(|_| self.text()).collect::<Parsed<_>>().map(Meta::Texts),
            6 | 7 | 12 => {
                let skipped = std::io::copy(&mut self.inner.by_ref().take(count * width), &mut std::io::sink());
                if skipped.map_err(|error| error.to_string())? < count * width {
                    return Err("the file ends in an array".to_owned());
                }
                self.left -= count * width;
                Ok(Meta::Unread)
            }
            _ => {
                let one = |value: i128| i64::try_from(value).map_err(|error| error.to_string());
                (0..count).map(|_| self.integer(kind).and_then(one)).collect::<Parsed<_>>().map(Meta::Integers)
            }
        }
    }
}

/// The shortest decimal number that is this one in f32: 1e-5, and not 9.99999974737875e-6.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// The types that are dequantized.
fn dtype(kind: u32) -> Option<GgmlDType> {
    Some(match kind {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

impl Gguf {
    /// Reads the metadata and the list of tensors.
    ///
    /// # Errors
    /// If the file cannot be read, is no GGUF of version 2 or 3, or is damaged.
    pub(super) fn open(path: &Path) -> Result<Self, PolicyError> {
        let length = store::len(path)?;
        let rest = Rest { inner: BufReader::new(store::open(path)?), left: length };
        let (metadata, tensors) = read(rest, length).map_err(|detail| corrupt(path, detail))?;
        Ok(Self { path: path.to_path_buf(), metadata, tensors })
    }

    /// An error about this file.
    pub(super) fn wrong(&self, detail: impl Into<String>) -> PolicyError {
        corrupt(&self.path, detail.into())
    }

    fn get<T>(&self, key: &str, kind: &str, read: impl Fn(&Meta) -> Option<T>) -> Result<Option<T>, PolicyError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(format!("its key `{key}` is not {kind}")))
    }

    /// The value of a key that must be there.
    pub(super) fn needed<T>(&self, key: &str, value: Result<Option<T>, PolicyError>) -> Result<T, PolicyError> {
        value?.ok_or_else(|| self.wrong(format!("it has no key `{key}`")))
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, PolicyError> {
        self.get(key, "one whole number", |value| match value {
            Meta::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        })
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, PolicyError> {
        self.get(key, "a finite number", |value| match value {
            Meta::Integer(number) => Some(*number as f64),
            Meta::Number(number) => Some(*number).filter(|number| number.is_finite()),
            _ => None,
        })
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, PolicyError> {
        self.get(key, "a flag", |value| if let Meta::Flag(flag) = value { Some(*flag) } else { None })
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, PolicyError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Meta::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(format!("its key `{key}` is not a string"))),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<&[String]>, PolicyError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Meta::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(self.wrong(format!("its key `{key}` is not an array of strings"))),
        }
    }

    pub(super) fn integers(&self, key: &str) -> Result<Option<&[i64]>, PolicyError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Meta::Integers(integers)) => Ok(Some(integers)),
            Some(_) => Err(self.wrong(format!("its key `{key}` is not an array of whole numbers"))),
        }
    }

    /// The values of a tensor, in f32.
    ///
    /// # Errors
    /// If there is none of this name, the file has become shorter, or a value is not finite.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor, PolicyError> {
        let origin = || format!("`{}`", self.path.display());
        let place = self.tensors.get(name);
        let place = place.ok_or_else(|| PolicyError::MissingTensor { name: name.to_owned(), origin: origin() })?;
        let failed = |source| PolicyError::Store(StoreError::io("read", &self.path, source));
        let mut file = store::open(&self.path)?;
        file.seek(SeekFrom::Start(place.start)).map_err(failed)?;
        let mut raw = vec![0; place.bytes];
        file.read_exact(&mut raw).map_err(failed)?;
        let tensor = ggml_file::qtensor_from_ggml(place.dtype, &raw, place.shape.clone(), &Device::Cpu)?;
        let tensor = tensor.dequantize(&Device::Cpu)?;
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(tensor),
            false => Err(PolicyError::NotFinite { name: name.to_owned(), origin: origin() }),
        }
    }
}

fn corrupt(path: &Path, detail: String) -> PolicyError {
    PolicyError::Corrupt { path: path.to_path_buf(), detail }
}

type Contents = (BTreeMap<String, Meta>, BTreeMap<String, Place>);

fn read(mut rest: Rest<impl Read>, length: u64) -> Parsed<Contents> {
    if rest.array::<4>()? != *MAGIC {
        return Err("it is no GGUF file".to_owned());
    }
    let version = rest.u32()?;
    if !matches!(version, 2 | 3) {
        return Err(format!("it is GGUF of version {version}, or big-endian: 2 and 3 are read"));
    }
    let (num_tensors, num_keys) = (rest.u64()?, rest.u64()?);
    rest.check(num_keys, 13, "metadata")?;
    rest.check(num_tensors, 24, "a list of tensors")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..num_keys {
        let (key, kind) = (rest.text()?, rest.u32()?);
        let value = rest.value(kind).map_err(|detail| format!("its key `{key}`: {detail}"))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("its key `{key}` is there twice"));
        }
    }
    let mut listed = Vec::new();
    for _ in 0..num_tensors {
        let (name, num_dimensions) = (rest.text()?, rest.u32()?);
        if num_dimensions > MAX_DIMENSIONS {
            return Err(format!("tensor `{name}` has {num_dimensions} dimensions, {MAX_DIMENSIONS} at most are read"));
        }
        let mut shape = (0..num_dimensions).map(|_| rest.u64()).collect::<Parsed<Vec<_>>>()?;
        shape.reverse();
        listed.push((name, shape, rest.u32()?, rest.u64()?));
    }
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(Meta::Integer(alignment)) if (8..=1 << 20).contains(alignment) && alignment % 8 == 0 => *alignment as u64,
        Some(_) => return Err("its `general.alignment` is no multiple of 8 up to 1048576".to_owned()),
    };
    let data_start = (length - rest.left).next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for (name, shape, kind, offset) in listed {
        let place = place(&shape, kind, offset, data_start, length)
            .map_err(|detail| format!("tensor `{name}` of shape {shape:?} {detail}"))?;
        if tensors.insert(name.clone(), place).is_some() {
            return Err(format!("tensor `{name}` is there twice"));
        }
    }
    Ok((metadata, tensors))
}

fn place(shape: &[u64], kind: u32, offset: u64, data_start: u64, length: u64) -> Parsed<Place> {
    let dtype = dtype(kind).ok_or_else(|| format!("has the GGML type {kind}, which is not dequantized here"))?;
    let (block, block_bytes) = (dtype.block_size() as u64, dtype.type_size() as u64);
    let values = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    if values == Some(0) {
        return Err("has no values".to_owned());
    }
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(block) {
        return Err(format!("has rows that are no multiple of {block}, the block of its type"));
    }
    let bytes = values.and_then(|values| (values / block).checked_mul(block_bytes));
    let start = data_start.checked_add(offset);
    let end = start.zip(bytes).and_then(|(start, bytes)| start.checked_add(bytes));
    let (Some(start), Some(bytes), Some(_)) = (start, bytes, end.filter(|end| *end <= length)) else {
        return Err("reaches beyond the end of the file: it is cut off".to_owned());
    };
    let size = |number: u64| usize::try_from(number).map_err(|error| error.to_string());
    let shape = shape.iter().map(|dimension| size(*dimension)).collect::<Parsed<_>>()?;
    Ok(Place { shape, dtype, start, bytes: size(bytes)? })
}
