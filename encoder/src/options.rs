//! Device and batch size of an encoder.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{EncoderError, Result};
use crate::spans::Aggregation;

/// Where tensors live. Written `cpu`, `cuda` or `cuda:1` in configurations.
///
/// ```
/// use memtrain_encoder::Device;
/// assert_eq!("cuda:1".parse(), Ok(Device::Cuda(1)));
/// assert_eq!(Device::default().to_string(), "cpu");
/// assert!("gpu".parse::<Device>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor; several batches at a time, by the threads of the current rayon pool.
    #[default]
    Cpu,
    /// The CUDA device of this number; needs a build with candle's `cuda` feature.
    Cuda(usize),
}

impl Device {
    pub(crate) fn open(self) -> Result<candle_core::Device> {
        match self {
            Self::Cpu => Ok(candle_core::Device::Cpu),
            Self::Cuda(number) => candle_core::Device::new_cuda(number)
                .map_err(|error| EncoderError::Device { name: self.to_string(), detail: error.to_string() }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(0)),
            _ => {}
        }
        let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        number.map(Self::Cuda).ok_or_else(|| format!("no device `{text}`; devices are `cpu`, `cuda` and `cuda:N`"))
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

/// How a model is run. None of it but `max_tokens` and `aggregation` changes the result beyond rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Most tokens of a sequence, special ones included; only ever lowers the model's own limit. Default: the model's.
    pub max_tokens: Option<usize>,
    /// Most tokens of a forward pass, counted as sequences × length of the longest; a single sequence may be longer.
    /// Default 1024: on two cores of an AMD EPYC, MiniLM was fastest with 512 to 1024. A GPU wants some ten thousand.
    pub batch_tokens: usize,
    /// Where to compute. Default: the processor.
    pub device: Device,
    /// How labels of tokens become labels of words ([`crate::TokenClassifier`] only). Default: the first token decides.
    pub aggregation: Aggregation,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_tokens: None, batch_tokens: 1024, device: Device::Cpu, aggregation: Aggregation::default() }
    }
}
