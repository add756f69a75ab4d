//! Safetensors files written tensor by tensor.
//!
//! Nothing larger than one tensor is in memory at a time. A file is byte for byte what the reference writer makes: tensors by
//! alignment of their type, then by name, the header padded to 8 bytes.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use memtrain_corpora::store::{AtomicFile, StoreError};
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};

/// A tensor to be written: its bytes are asked for when it is its turn.
pub struct Entry<'a, E> {
    pub(crate) name: String,
    dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    bytes: Box<dyn Fn() -> Result<Cow<'a, [u8]>, E> + 'a>,
}

impl<'a, E> Entry<'a, E> {
    /// A tensor in memory.
    pub fn of_tensor(name: String, tensor: &'a Tensor) -> Self
    where
        E: From<candle_core::Error>,
    {
        let bytes = move || {
            let tensor = tensor.detach().to_device(&Device::Cpu)?.contiguous()?;
            Ok(Cow::Owned(safetensors::View::data(&tensor).into_owned()))
        };
        Self { name, dtype: tensor.dtype().into(), shape: tensor.dims().to_vec(), bytes: Box::new(bytes) }
    }

    /// A tensor whose little-endian bytes are made when they are written.
    pub fn made(
        name: String,
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: impl Fn() -> Result<Cow<'a, [u8]>, E> + 'a,
    ) -> Self {
        Self { name, dtype, shape, bytes: Box::new(bytes) }
    }

    /// Bytes in the file.
    pub(crate) fn num_bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8) as u64
    }
}

/// Writes one file, whole or not at all, with a key and its text in the header.
///
/// # Errors
/// If a tensor cannot be made or the file cannot be written.
pub fn write_with<E: From<StoreError>>(
    path: &Path,
    (key, text): (&str, &str),
    entries: &[Entry<'_, E>],
) -> Result<(), E> {
    let sorted = in_file_order(entries);
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({key: text}))]);
    let mut offset = 0;
    for entry in &sorted {
        let end = offset + entry.num_bytes();
        let place = json!({"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [offset, end]});
        header.insert(entry.name.clone(), place);
        offset = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = AtomicFile::create(path)?;
    let failed = |source| StoreError::io("write", path, source);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    file.write_all(&header).map_err(failed)?;
    for entry in sorted {
        let bytes = (entry.bytes)()?;
        if bytes.len() as u64 != entry.num_bytes() {
            let detail = format!("tensor `{}`: {} bytes expected, got {}", entry.name, entry.num_bytes(), bytes.len());
            return Err(StoreError::Corrupt { path: path.to_path_buf(), detail }.into());
        }
        file.write_all(&bytes).map_err(failed)?;
    }
    Ok(file.commit()?)
}

/// Makes the bytes of all tensors in the order of a file, and writes none: what goes with [`write_with`] in a process that
/// has a part of them.
///
/// # Errors
/// If a tensor cannot be made.
pub fn make_in_file_order<E>(entries: &[Entry<'_, E>]) -> Result<(), E> {
    in_file_order(entries).into_iter().try_for_each(|entry| (entry.bytes)().map(drop))
}

/// Tensors in the order in which a file has them: by alignment of their type, then by name.
fn in_file_order<'e, 'a, E>(entries: &'e [Entry<'a, E>]) -> Vec<&'e Entry<'a, E>> {
    let mut sorted: Vec<&Entry<'_, E>> = entries.iter().collect();
    sorted.sort_by(|a, b| b.dtype.cmp(&a.dtype).then(a.name.cmp(&b.name)));
    sorted
}
