//! The optimizer's state as safetensors bytes: `first.<name>`, `second.<name>`, and the step count in the metadata.

use std::collections::HashMap;

use candle_core::{DType, Tensor};
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
        let tensors = moments.into_iter().flat_map(|(kind, tensors)| {
            self.parameters.iter().zip(tensors).map(move |((name, _), tensor)| (format!("{kind}.{name}"), tensor))
        });
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
        if tensors.len() != 2 * self.parameters.len() {
            let detail = format!("{} tensors expected, got {}", 2 * self.parameters.len(), tensors.len());
            return Err(StateError::Mismatch { name: "*".to_owned(), detail });
        }
        let (first, second) = (self.moments("first", &tensors)?, self.moments("second", &tensors)?);
        (self.first, self.second, self.num_steps) = (first, second, header.num_steps);
        Ok(())
    }

    fn moments(&self, kind: &str, tensors: &SafeTensors<'_>) -> Result<Vec<Tensor>, StateError> {
        let load = |(name, parameter): &(String, candle_core::Var)| {
            let name = format!("{kind}.{name}");
            let mismatch = |detail: String| StateError::Mismatch { name: name.clone(), detail };
            let view = tensors.tensor(&name).map_err(|_| mismatch("it is missing".to_owned()))?;
            let dtype = DType::try_from(view.dtype())?;
            if view.shape() != parameter.dims() || dtype != parameter.dtype() {
                let (expected, got) = (parameter.dims(), view.shape());
                return Err(mismatch(format!("{:?} {expected:?} expected, got {dtype:?} {got:?}", parameter.dtype())));
            }
            Ok(Tensor::from_raw_buffer(view.data(), dtype, view.shape(), parameter.device())?)
        };
        self.parameters.iter().map(load).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::wave;
    use crate::optim::AdamWConfig;
    use candle_core::{Device, Var};

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
