//! A configuration file and what the command line changes in it.

use std::path::{Path, PathBuf};

use clap::Args;
pub(super) use memtrain_session::config::changes::check_name;
pub use memtrain_session::config::changes::resolve;
use memtrain_session::config::sources::Sources;

use crate::config::Config;
use crate::device::DeviceChoice;

/// The arguments every command with a configuration has.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// Configuration file, named by an option
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change a key, for example `--set train.steps=10` (TOML on the right; a bare word is a string)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Where a policy computes.
#[derive(Clone, Debug, Default, Args)]
pub struct DeviceArgs {
    /// What computes, instead of the configuration's `policy.device`: `cpu`, or `cuda:0` in a program built for it
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
}

impl ConfigArgs {
    /// The configuration file.
    pub fn path(&self) -> &Path {
        // The parser has seen to it that one of them is there.
        self.config.as_deref().or(self.file.as_deref()).unwrap_or(Path::new(""))
    }

    /// Reads the file as [`Self::load`] does, and takes the device that was typed.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_for(&self, device: &DeviceArgs) -> anyhow::Result<Config> {
        let mut config = self.load()?;
        if let Some(device) = device.device {
            config.policy.device = device;
        }
        Ok(config)
    }

    /// Reads the file, applies the changes, checks the result.
    ///
    /// # Errors
    /// If the file is missing or wrong, or a change names an unknown key.
    pub fn load(&self) -> anyhow::Result<Config> {
        self.resolve(&self.sources()?)
    }

    /// The file and those that it includes.
    ///
    /// # Errors
    /// As [`Sources::read`].
    pub fn sources(&self) -> anyhow::Result<Sources> {
        Sources::read(self.path())
    }

    /// The configuration of the files, with the changes applied.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn resolve(&self, sources: &Sources) -> anyhow::Result<Config> {
        resolve(sources, &self.set)
    }
}
