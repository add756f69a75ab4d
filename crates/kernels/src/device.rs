//! The device that computes, by its name.

#[cfg(feature = "cuda")]
mod cuda;
mod peak;

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use serde::{Deserialize, Serialize};

/// A device by its name: `cpu`, or `cuda:N` for the card of that number (`cuda` is the first).
///
/// ```
/// use memtrain_kernels::device::DeviceChoice;
/// assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
/// assert_eq!("cuda:3".parse::<DeviceChoice>().unwrap().to_string(), "cuda:3");
/// assert!("tpu".parse::<DeviceChoice>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA card.
    Cuda(usize),
}

/// Why there is no such device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A name that none has.
    #[error("unknown device `{name}`: `cpu`, `cuda` or `cuda:N` expected")]
    Unknown {
        /// What was given.
        name: String,
    },
    /// A card, for a program that was built without the code for one.
    #[error(
        "this program was built without the feature `cuda`: build it by scripts/cuda-build.sh, or take `--device cpu`"
    )]
    NotBuilt,
    /// A card that does not answer.
    #[error("`{name}` cannot be used: {detail}")]
    Unusable {
        /// The device.
        name: String,
        /// What the driver says.
        detail: String,
    },
}

impl DeviceChoice {
    /// The device of one of several processes on a machine: cards are taken from this one on.
    ///
    /// ```
    /// use memtrain_kernels::device::DeviceChoice;
    /// assert_eq!(DeviceChoice::Cuda(1).of_local_rank(2), DeviceChoice::Cuda(3));
    /// assert_eq!(DeviceChoice::Cpu.of_local_rank(2), DeviceChoice::Cpu);
    /// ```
    #[must_use]
    pub fn of_local_rank(self, local_rank: usize) -> Self {
        match self {
            Self::Cpu => Self::Cpu,
            Self::Cuda(first) => Self::Cuda(first.saturating_add(local_rank)),
        }
    }

    /// Opens the device.
    ///
    /// # Errors
    /// If the program has no code for it, or it does not answer.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(DeviceError::NotBuilt),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => cuda::open(number)
                .map_err(|error| DeviceError::Unusable { name: self.to_string(), detail: error.to_string() }),
        }
    }
}

/// Bytes of a card that can still be allocated; nothing for the processor, or where the driver does not say.
pub fn free_bytes_of_card(device: &Device) -> Option<usize> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::free_bytes(device),
        _ => None,
    }
}

/// What the driver calls a card, `NVIDIA H100 80GB HBM3` for example; nothing for the processor.
pub fn card_name(device: &Device) -> Option<String> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::name(device),
        _ => None,
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown { name: name.to_owned() };
        match name.split_once(':') {
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => number.parse().map(Self::Cuda).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = DeviceError;

    fn try_from(name: String) -> Result<Self, DeviceError> {
        name.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

/// Floating-point operations a second that a card can do at most, in dense bf16 by its data sheet; nothing for the processor
/// and for cards that are not known. MFU is a share of it: a product measured at the start would say how well that product
/// suits the card, and one in f32 leaves the tensor cores alone.
pub fn peak_flops_of_card(device: &Device) -> Option<f64> {
    card_name(device).and_then(|name| peak::of_card(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_says_why() {
        assert!(DeviceChoice::Cpu.open().is_ok_and(|device| device.is_cpu()));
        for name in ["gpu", "cuda:x", "cpu:0", ""] {
            assert!(name.parse::<DeviceChoice>().is_err(), "{name}");
        }
        if !cfg!(feature = "cuda") {
            let error = DeviceChoice::Cuda(0).open().err();
            assert_eq!(error, Some(DeviceError::NotBuilt));
        }
    }
}
