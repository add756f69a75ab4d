//! A configuration file and what the command line changes in it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use memtrain_corpora::store;

use super::failure::{Usage, parse_config};
use crate::config::Config;
use crate::device::DeviceChoice;

/// The arguments every command with a configuration has.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
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
        let text = store::read_to_string(&self.config)?;
        resolve(&self.config, &text, &self.set)
    }
}

/// The configuration of `text`, changed by `set`; `path` is for messages.
///
/// # Errors
/// As [`ConfigArgs::load`].
pub fn resolve(path: &Path, text: &str, set: &[String]) -> anyhow::Result<Config> {
    let config: Config = parse_config(path, text)?;
    if set.is_empty() {
        return Ok(config);
    }
    let mut table: toml::Table = toml::from_str(text).context("the configuration cannot be read twice")?;
    for key_value in set {
        change(&mut table, key_value)?;
    }
    let changed = toml::to_string(&table).context("the changed configuration cannot be written")?;
    Ok(parse_config(Path::new("--set"), &changed)?)
}

/// Applies `key=value` as `--set` takes it.
pub(super) fn change(table: &mut toml::Table, key_value: &str) -> Result<(), Usage> {
    let (key, value) = key_value
        .split_once('=')
        .ok_or_else(|| Usage(format!("`--set {key_value}` has no `=`: write `--set section.key=value`")))?;
    let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    insert(table, key, value)
        .ok_or_else(|| Usage(format!("`--set {key_value}`: a part of `{key}` is a value, not a section")))
}

/// Puts a value under a key with dots; `None` where a part of the key is a value already.
pub(super) fn insert(table: &mut toml::Table, key: &str, value: toml::Value) -> Option<()> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Some(())
        }
        Some((section, rest)) => {
            let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            insert(section.as_table_mut()?, rest, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_reach_their_keys() {
        let text = "[run]\nname = \"a\"\n[train]\nsteps = 5\n";
        let set =
            ["train.steps=7".to_owned(), "run.name=other".to_owned(), "corpus.ingest.dumps=[\"x.xml\"]".to_owned()];
        let config = resolve(Path::new("c.toml"), text, &set).unwrap();
        assert_eq!((config.train.steps, config.run.name.as_str()), (7, "other"));
        assert_eq!(config.corpus.ingest.dumps, ["x.xml"]);
        assert!(resolve(Path::new("c.toml"), text, &["train.stepz=7".to_owned()]).is_err());
        assert!(resolve(Path::new("c.toml"), text, &["train.steps.more=7".to_owned()]).is_err());
    }
}
