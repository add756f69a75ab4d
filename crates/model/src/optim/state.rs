//! The optimizer's state as a safetensors file: `first.<name>`, `second.<name>`, `master.<name>` of 16-bit parameters, and
//! the step count in the metadata. It is written and read tensor by tensor: for a large policy it is larger than what is free.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use memtrain_corpora::store::{self, StoreError};
use safetensors::SafeTensorError;
use safetensors::tensor::Metadata;

use super::AdamW;
use super::adamw::is_narrow;
use crate::tensor_file::{Entry, make_in_file_order, write_with};

/// Version of the format.
const VERSION: u64 = 1;
const KEY: &str = "memtrain.adamw";
/// Largest header that is read: the format's own bound.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Why an optimizer's state cannot be saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file is no safetensors file.
    #[error("the optimizer's state cannot be read: {0}")]
    Format(#[from] SafeTensorError),
    /// It has no or another version.
    #[error("the optimizer's state has no header of version {VERSION}")]
    Header,
    /// It is for other parameters.
    #[error("the optimizer's state does not fit: tensor `{name}`: {detail}")]
    Mismatch {
        /// Tensor in the state.
        name: String,
        /// What differs.
        detail: String,
    },
    /// The file cannot be opened, read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    version: u64,
    num_steps: u64,
}

/// What the state has of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    First,
    Second,
    Master,
}

impl Kind {
    fn name_of(self, parameter: &str) -> String {
        let kind = match self {
            Self::First => "first",
            Self::Second => "second",
            Self::Master => "master",
        };
        format!("{kind}.{parameter}")
    }
}

impl AdamW {
    /// Writes moments, masters and step count, bit for bit and the same for any number of ranks. One tensor at a time is in
    /// memory twice. For rank 0; the others call [`Self::send_state`] meanwhile.
    ///
    /// # Errors
    /// If a tensor cannot be read or the file cannot be written, and then nothing stands under its name; or if a rank is gone.
    pub fn save_state(&self, path: &Path) -> Result<(), StateError> {
        let header = Header { version: VERSION, num_steps: self.num_steps };
        let header = serde_json::to_string(&header).map_err(|_| StateError::Header)?;
        write_with(path, (KEY, &header), &self.entries())
    }

    /// Sends what this rank owns to rank 0, which saves it.
    ///
    /// # Errors
    /// If a tensor cannot be read or a rank is gone.
    pub fn send_state(&self) -> Result<(), StateError> {
        make_in_file_order(&self.entries())
    }

    /// Restores what [`Self::save_state`] wrote, of any number of ranks, tensor by tensor into the place of what was there. Each
    /// rank reads what it owns. Whether the file fits is known before anything changes.
    ///
    /// # Errors
    /// If the file is something else or belongs to other parameters, and then the state is as it was; or if it cannot be read
    /// to its end.
    pub fn restore_state(&mut self, path: &Path) -> Result<(), StateError> {
        let mut file = StateFile::open(path)?;
        let header = file.metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let header: Header = serde_json::from_str(header.ok_or(StateError::Header)?).map_err(|_| StateError::Header)?;
        if header.version != VERSION {
            return Err(StateError::Header);
        }
        let tensors = self.tensors();
        let stored = file.metadata.tensors().len();
        if stored != tensors.len() {
            let detail = format!("{} tensors expected, got {stored}", tensors.len());
            return Err(StateError::Mismatch { name: "*".to_owned(), detail });
        }
        tensors.iter().try_for_each(|&(kind, number)| self.check_stored(&file.metadata, kind, number))?;
        for (kind, number) in tensors {
            let Ok(place) = self.owned.binary_search(&number) else { continue };
            let (name, parameter) = &self.parameters[number];
            let device = if kind == Kind::Master { parameter.device() } else { self.moment_device(number) };
            let tensor = file.tensor(&kind.name_of(name), self.stored_type(kind, number), parameter.dims(), device)?;
            match kind {
                Kind::First => self.first[place] = tensor,
                Kind::Second => self.second[place] = tensor,
                Kind::Master => self.set_master(place, tensor)?,
            }
        }
        self.num_steps = header.num_steps;
        // Weights of 16 bits follow the masters, which their owners alone have read.
        Ok(self.ranks.gather_weights(&self.parameters)?)
    }

    /// What the state holds of all parameters, whoever owns them.
    fn tensors(&self) -> Vec<(Kind, usize)> {
        let of = |number: usize| {
            let master = is_narrow(&self.parameters[number].1).then_some((Kind::Master, number));
            [(Kind::First, number), (Kind::Second, number)].into_iter().chain(master)
        };
        (0..self.parameters.len()).flat_map(of).collect()
    }

    fn entries(&self) -> Vec<Entry<'_, StateError>> {
        let entry = |(kind, number): (Kind, usize)| {
            let (name, parameter) = &self.parameters[number];
            let dtype = self.stored_type(kind, number);
            let length = parameter.elem_count() * dtype.size_in_bytes();
            let bytes = move || {
                let own = || self.own_bytes(kind, number);
                Ok(Cow::Owned(self.ranks.bring_to_first(self.ranks.owner(number), length, own)?))
            };
            Entry::made(kind.name_of(name), dtype.into(), parameter.dims().to_vec(), bytes)
        };
        self.tensors().into_iter().map(entry).collect()
    }

    /// The bytes of a tensor that this rank owns.
    fn own_bytes(&self, kind: Kind, number: usize) -> candle_core::Result<Vec<u8>> {
        let tensor = self.owned.binary_search(&number).ok().and_then(|place| match kind {
            Kind::First => Some(&self.first[place]),
            Kind::Second => Some(&self.second[place]),
            Kind::Master => self.masters[place].as_ref(),
        });
        let Some(tensor) = tensor else {
            candle_core::bail!("adamw: `{}` is not this rank's", kind.name_of(&self.parameters[number].0))
        };
        let tensor = tensor.detach().to_device(&Device::Cpu)?.contiguous()?;
        Ok(safetensors::View::data(&tensor).into_owned())
    }

    fn stored_type(&self, kind: Kind, number: usize) -> DType {
        if kind == Kind::Master { DType::F32 } else { self.moment_type(number) }
    }

    fn check_stored(&self, metadata: &Metadata, kind: Kind, number: usize) -> Result<(), StateError> {
        let (name, parameter) = &self.parameters[number];
        let (name, dtype) = (kind.name_of(name), self.stored_type(kind, number));
        let mismatch = |detail: String| StateError::Mismatch { name: name.clone(), detail };
        let info = metadata.info(&name).ok_or_else(|| mismatch("it is missing".to_owned()))?;
        let stored = DType::try_from(info.dtype)?;
        if info.shape != parameter.dims() || stored != dtype {
            let (expected, got) = (parameter.dims(), &info.shape);
            return Err(mismatch(format!("{dtype:?} {expected:?} expected, got {stored:?} {got:?}")));
        }
        Ok(())
    }
}

/// A safetensors file, read tensor by tensor.
struct StateFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the first tensor begins.
    start: u64,
}

impl StateFile {
    fn open(path: &Path) -> Result<Self, StateError> {
        let mut file = store::open(path)?;
        let length = store::len(path)?;
        let failed = |source| StoreError::io("read", path, source);
        if length < 8 {
            return Err(SafeTensorError::HeaderTooSmall.into());
        }
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes).map_err(failed)?;
        let header = u64::from_le_bytes(bytes);
        if header > MAX_HEADER_BYTES {
            return Err(SafeTensorError::HeaderTooLarge.into());
        }
        if 8 + header > length {
            return Err(SafeTensorError::InvalidHeaderLength.into());
        }
        let mut text = vec![0; header as usize];
        file.read_exact(&mut text).map_err(failed)?;
        let metadata: Metadata =
            serde_json::from_slice(&text).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
        let start = 8 + header;
        if start.checked_add(metadata.data_len() as u64) != Some(length) {
            return Err(SafeTensorError::MetadataIncompleteBuffer.into());
        }
        Ok(Self { path: path.to_path_buf(), file, metadata, start })
    }

    /// A tensor whose type and shape have been compared with what the header says.
    fn tensor(&mut self, name: &str, dtype: DType, dims: &[usize], device: &Device) -> Result<Tensor, StateError> {
        let info = self.metadata.info(name).ok_or_else(|| SafeTensorError::TensorNotFound(name.to_owned()))?;
        let (begin, end) = info.data_offsets;
        let failed = |source| StoreError::io("read", &self.path, source);
        let mut bytes = vec![0; end - begin];
        self.file.seek(SeekFrom::Start(self.start + begin as u64)).map_err(failed)?;
        self.file.read_exact(&mut bytes).map_err(failed)?;
        Ok(Tensor::from_raw_buffer(&bytes, dtype, dims, device)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::optim::{AdamWConfig, MomentType};
    use candle_core::Var;
    use memtrain_kernels::nn::gradient_check::wave;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn optimizer() -> candle_core::Result<(Var, AdamW)> {
        let w = Var::from_tensor(&wave(&[5, 6], DType::F32, 1.0)?)?;
        let optimizer = AdamW::new(vec![("w".to_owned(), w.clone())], AdamWConfig::default())?;
        Ok((w, optimizer))
    }

    /// The bytes of a state's file.
    fn saved(optimizer: &AdamW) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("state");
        optimizer.save_state(&path)?;
        Ok(store::read(&path)?)
    }

    fn restore(optimizer: &mut AdamW, bytes: &[u8]) -> Result<(), StateError> {
        let folder = tempfile::tempdir().map_err(|error| StoreError::io("create", Path::new("/tmp"), error))?;
        let path = folder.path().join("state");
        store::write_atomic(&path, bytes)?;
        optimizer.restore_state(&path)
    }

    /// The file as the reference writer makes it of one vector, which is how states were written before.
    fn reference(optimizer: &AdamW) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let header = serde_json::to_string(&Header { version: VERSION, num_steps: optimizer.num_steps })?;
        let mut tensors = Vec::new();
        for (index, (name, _)) in optimizer.parameters.iter().enumerate() {
            tensors.push((format!("second.{name}"), &optimizer.second[index]));
            tensors.push((format!("first.{name}"), &optimizer.first[index]));
            tensors.extend(optimizer.masters[index].as_ref().map(|master| (format!("master.{name}"), master)));
        }
        Ok(safetensors::serialize(tensors, Some(HashMap::from([(KEY.to_owned(), header)])))?)
    }

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() -> Outcome {
        let (w, mut straight) = optimizer()?;
        let gradients = [wave(&[5, 6], DType::F32, 2.0)?];
        straight.step(&gradients, 0.1)?;
        let (bytes, weights) = (saved(&straight)?, w.as_detached_tensor().copy()?);
        assert_eq!(bytes, reference(&straight)?);
        straight.step(&gradients, 0.1)?;
        let (restored_w, mut restored) = optimizer()?;
        restored_w.set(&weights)?;
        restore(&mut restored, &bytes)?;
        assert_eq!(saved(&restored)?, bytes);
        restored.step(&gradients, 0.1)?;
        assert_eq!(saved(&restored)?, saved(&straight)?);
        assert_eq!(restored_w.to_vec2::<f32>()?, w.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn masters_and_narrow_moments_come_back_bit_for_bit() -> Outcome {
        let make = || -> Result<(Var, AdamW), StateError> {
            let w = Var::from_tensor(&wave(&[5, 6], DType::F32, 1.0)?.to_dtype(DType::BF16)?)?;
            let config = AdamWConfig { moments: MomentType::Bf16, ..AdamWConfig::default() };
            let optimizer = AdamW::new(vec![("w".to_owned(), w.clone())], config)?;
            Ok((w, optimizer))
        };
        let gradients = [wave(&[5, 6], DType::F32, 2.0)?];
        let (w, mut straight) = make()?;
        straight.step(&gradients, 1e-4)?;
        let bytes = saved(&straight)?;
        assert_eq!(bytes, reference(&straight)?);
        straight.step(&gradients, 1e-4)?;
        let (restored_w, mut restored) = make()?;
        restore(&mut restored, &bytes)?;
        assert_eq!(saved(&restored)?, bytes);
        restored.step(&gradients, 1e-4)?;
        assert_eq!(saved(&restored)?, saved(&straight)?);
        let values = |w: &Var| w.to_dtype(DType::F32)?.to_vec2::<f32>();
        assert_eq!(values(&restored_w)?, values(&w)?);
        // A state without masters is not for these parameters, nor the other way round.
        let (_, mut plain) = optimizer()?;
        let before = saved(&plain)?;
        assert!(matches!(restore(&mut plain, &bytes), Err(StateError::Mismatch { .. })));
        assert_eq!(saved(&plain)?, before, "nothing has changed");
        assert!(matches!(restore(&mut restored, &before), Err(StateError::Mismatch { .. })));
        Ok(())
    }

    #[test]
    fn a_foreign_or_damaged_state_is_refused() -> Outcome {
        let (_, mut one) = optimizer()?;
        let other =
            AdamW::new(vec![("w".to_owned(), Var::zeros((5, 7), DType::F32, &Device::Cpu)?)], AdamWConfig::default())?;
        assert!(matches!(restore(&mut one, &saved(&other)?), Err(StateError::Mismatch { .. })));
        let whole = saved(&one)?;
        let longer = [&whole[..], b"!"].concat();
        for bytes in [b"no tensors here", &b""[..], &[0xff; 64], &whole[..20], &whole[..whole.len() - 1], &longer] {
            assert!(matches!(restore(&mut one, bytes), Err(StateError::Format(_))), "{} bytes", bytes.len());
        }
        let plain = safetensors::serialize([("x", &Tensor::new(1f32, &Device::Cpu)?)], None)?;
        assert!(matches!(restore(&mut one, &plain), Err(StateError::Header)));
        assert!(matches!(one.restore_state(Path::new("/nowhere/state")), Err(StateError::Store(_))));
        Ok(())
    }
}
