//! The optimizer's state as safetensors bytes: `first.<name>`, `second.<name>`, `master.<name>` of 16-bit parameters, and
//! the step count in the metadata.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use super::AdamW;

/// Version of the format.
const VERSION: u64 = 1;
const KEY: &str = "memtrain.adamw";

/// Why an optimizer's state cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The bytes are no safetensors.
    #[error("the optimizer's state cannot be read: {0}")]
    Format(#[from] safetensors::SafeTensorError),
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
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    version: u64,
    num_steps: u64,
}

impl AdamW {
    /// Moments and step count, bit for bit.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let header = serde_json::to_string(&Header { version: VERSION, num_steps: self.num_steps });
        let metadata = HashMap::from([(KEY.to_owned(), header.map_err(|_| StateError::Header)?)]);
        let moments = [("first", &self.first), ("second", &self.second)];
        let moments = moments.into_iter().flat_map(|(kind, tensors)| {
            self.parameters.iter().zip(tensors).map(move |((name, _), tensor)| (format!("{kind}.{name}"), tensor))
        });
        let masters = self.parameters.iter().zip(&self.masters);
        let masters = masters.filter_map(|((name, _), tensor)| Some((format!("master.{name}"), tensor.as_ref()?)));
        let tensors = moments.chain(masters);
        Ok(safetensors::serialize(tensors, Some(metadata))?)
    }

    /// Restores what [`Self::to_bytes`] wrote. The state stays as it was if anything does not fit.
    ///
    /// # Errors
    /// If the bytes are something else or belong to other parameters.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY)).ok_or(StateError::Header)?;
        let header: Header = serde_json::from_str(header).map_err(|_| StateError::Header)?;
        if header.version != VERSION {
            return Err(StateError::Header);
        }
        let tensors = SafeTensors::deserialize(bytes)?;
        let masters = self.masters.iter().flatten().count();
        if tensors.len() != 2 * self.parameters.len() + masters {
            let detail = format!("{} tensors expected, got {}", 2 * self.parameters.len() + masters, tensors.len());
            return Err(StateError::Mismatch { name: "*".to_owned(), detail });
        }
        let moments = |kind: &str| -> Result<Vec<Tensor>, StateError> {
            let load = |index| self.load(kind, index, self.moment_type(index), self.moment_device(index), &tensors);
            (0..self.parameters.len()).map(load).collect()
        };
        let (first, second) = (moments("first")?, moments("second")?);
        let mut restored = Vec::new();
        for (index, (name, parameter)) in self.parameters.iter().enumerate() {
            if self.masters[index].is_some() {
                let master = self.load("master", index, DType::F32, parameter.device(), &tensors)?;
                restored.push((name.clone(), master));
            }
        }
        self.set_masters(&restored)?;
        (self.first, self.second, self.num_steps) = (first, second, header.num_steps);
        Ok(())
    }

    fn load(
        &self,
        kind: &str,
        index: usize,
        dtype: DType,
        device: &Device,
        tensors: &SafeTensors<'_>,
    ) -> Result<Tensor, StateError> {
        let (name, parameter) = &self.parameters[index];
        let name = format!("{kind}.{name}");
        let mismatch = |detail: String| StateError::Mismatch { name: name.clone(), detail };
        let view = tensors.tensor(&name).map_err(|_| mismatch("it is missing".to_owned()))?;
        let stored = DType::try_from(view.dtype())?;
        if view.shape() != parameter.dims() || stored != dtype {
            let (expected, got) = (parameter.dims(), view.shape());
            return Err(mismatch(format!("{dtype:?} {expected:?} expected, got {stored:?} {got:?}")));
        }
        Ok(Tensor::from_raw_buffer(view.data(), stored, view.shape(), device)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{AdamWConfig, MomentType};
    use candle_core::Var;
    use memtrain_kernels::nn::gradient_check::wave;

    fn optimizer() -> candle_core::Result<(Var, AdamW)> {
        let w = Var::from_tensor(&wave(&[5, 6], DType::F32, 1.0)?)?;
        let optimizer = AdamW::new(vec![("w".to_owned(), w.clone())], AdamWConfig::default())?;
        Ok((w, optimizer))
    }

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() -> Result<(), StateError> {
        let (w, mut straight) = optimizer()?;
        let gradients = [wave(&[5, 6], DType::F32, 2.0)?];
        straight.step(&gradients, 0.1)?;
        let (bytes, weights) = (straight.to_bytes()?, w.as_detached_tensor().copy()?);
        straight.step(&gradients, 0.1)?;
        let (restored_w, mut restored) = optimizer()?;
        restored_w.set(&weights)?;
        restored.restore(&bytes)?;
        assert_eq!(restored.to_bytes()?, bytes);
        restored.step(&gradients, 0.1)?;
        assert_eq!(restored.to_bytes()?, straight.to_bytes()?);
        assert_eq!(restored_w.to_vec2::<f32>()?, w.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn masters_and_narrow_moments_come_back_bit_for_bit() -> Result<(), StateError> {
        let make = || -> Result<(Var, AdamW), StateError> {
            let w = Var::from_tensor(&wave(&[5, 6], DType::F32, 1.0)?.to_dtype(DType::BF16)?)?;
            let config = AdamWConfig { moments: MomentType::Bf16, ..AdamWConfig::default() };
            let optimizer = AdamW::new(vec![("w".to_owned(), w.clone())], config)?;
            Ok((w, optimizer))
        };
        let gradients = [wave(&[5, 6], DType::F32, 2.0)?];
        let (w, mut straight) = make()?;
        straight.step(&gradients, 1e-4)?;
        let bytes = straight.to_bytes()?;
        straight.step(&gradients, 1e-4)?;
        let (restored_w, mut restored) = make()?;
        restored.restore(&bytes)?;
        assert_eq!(restored.to_bytes()?, bytes);
        restored.step(&gradients, 1e-4)?;
        assert_eq!(restored.to_bytes()?, straight.to_bytes()?);
        let values = |w: &Var| w.to_dtype(DType::F32)?.to_vec2::<f32>();
        assert_eq!(values(&restored_w)?, values(&w)?);
        // A state without masters is not for these parameters, nor the other way round.
        let (_, mut plain) = optimizer()?;
        assert!(matches!(plain.restore(&bytes), Err(StateError::Mismatch { .. })));
        assert!(matches!(restored.restore(&plain.to_bytes()?), Err(StateError::Mismatch { .. })));
        Ok(())
    }

    #[test]
    fn a_foreign_state_is_refused() -> Result<(), StateError> {
        let (_, mut one) = optimizer()?;
        let other =
            AdamW::new(vec![("w".to_owned(), Var::zeros((5, 7), DType::F32, &Device::Cpu)?)], AdamWConfig::default())?;
        assert!(matches!(one.restore(&other.to_bytes()?), Err(StateError::Mismatch { .. })));
        assert!(matches!(one.restore(b"no tensors here"), Err(StateError::Format(_))));
        let plain = safetensors::serialize([("x", &Tensor::new(1f32, &Device::Cpu)?)], None)?;
        assert!(matches!(one.restore(&plain), Err(StateError::Header)));
        Ok(())
    }
}
