//! The manifest of a run: what it was started from.

use std::collections::BTreeMap;
use std::path::Path;

use memtrain_corpora::store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::{Change, Settings};
use super::crc32c::crc32c;
use super::layout::{CONFIG, MANIFEST};
use super::{Result, RunError, read_if_there};

/// Version of the layout of a run directory. Version 1 had no checksums and no list of rollout tables, version 2 no changes.
pub(super) const FORMAT: u32 = 3;
const OLDEST: u32 = 1;

/// What `manifest.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the layout.
    pub format: u32,
    /// Version of the program that started the run.
    pub version: String,
    /// BLAKE3 of `config.toml`.
    pub config_hash: String,
    /// BLAKE3 of each input, by name.
    pub inputs: BTreeMap<String, String>,
    /// What was changed in the configuration since, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Of a run that goes on from a checkpoint of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
    /// CRC-32C of the manifest without it, as JSON without spaces; absent in layout version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<u32>,
}

/// Where a branch began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// Name of the run whose checkpoint it goes on from.
    pub run: String,
    /// Step of the checkpoint.
    pub step: u64,
}

impl Manifest {
    /// The manifest of a new run.
    pub(super) fn new(config_hash: String, inputs: BTreeMap<String, String>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let bare =
            Self { format: FORMAT, version, config_hash, inputs, changes: Vec::new(), branch: None, crc32c: None };
        bare.sealed()
    }

    /// The same in the present layout, with the checksum that it has now.
    pub(super) fn sealed(mut self) -> Self {
        self.format = FORMAT;
        self.crc32c = Some(self.checksum());
        self
    }

    /// Without what was changed after a step: that is taken anew, so that the last changes hold from there on.
    pub(super) fn gone_back_to(mut self, step: u64) -> Self {
        self.changes.iter_mut().for_each(|change| change.step = change.step.min(step));
        self
    }

    /// The configuration of the run over its steps.
    ///
    /// # Errors
    /// As [`Self::config`].
    pub(super) fn settings(&self, root: &Path) -> Result<Settings> {
        Ok(Settings::new(&self.config(root)?, &self.changes))
    }

    fn checksum(&self) -> u32 {
        let bare = Self { crc32c: None, ..self.clone() };
        crc32c(&serde_json::to_vec(&bare).unwrap_or_default())
    }

    /// Whether the lines of the run's logs have checksums.
    pub fn has_checksums(&self) -> bool {
        self.format > OLDEST
    }

    pub(super) fn write(&self, root: &Path) -> Result<()> {
        Ok(store::write_json(&root.join(MANIFEST), self)?)
    }

    /// The manifest in a folder; `None` if there is none.
    ///
    /// # Errors
    /// If it is damaged, somebody else's, or of a version that is not known.
    pub fn read(root: &Path) -> Result<Option<Self>> {
        let path = root.join(MANIFEST);
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        let damaged = |detail: String| RunError::DamagedManifest { path: path.clone(), detail };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        // The format first and by itself: the rest may look different in another one.
        let got = value.get("format").and_then(Value::as_u64);
        if let Some(got) = got.filter(|got| !(u64::from(OLDEST)..=u64::from(FORMAT)).contains(got)) {
            return Err(RunError::Format { path, got: got.try_into().unwrap_or(u32::MAX), expected: FORMAT });
        }
        let manifest: Self = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        if manifest.has_checksums() && manifest.crc32c != Some(manifest.checksum()) {
            return Err(damaged("it does not have the checksum that it was written with".to_owned()));
        }
        Ok(Some(manifest))
    }

    /// The configuration that the run began with, as it was written.
    ///
    /// # Errors
    /// If it cannot be read, or was changed since.
    pub fn config(&self, root: &Path) -> Result<String> {
        let path = root.join(CONFIG);
        let bytes = store::read(&path)?;
        match String::from_utf8(bytes) {
            Ok(text) if store::hash_bytes(text.as_bytes()) == self.config_hash => Ok(text),
            _ => Err(RunError::DamagedConfig { path }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_version_2_is_read_and_becomes_version_3_when_it_is_written() -> Result<()> {
        const VERSION_2: &str = r#"{"format": 2, "version": "0.1.0", "config_hash": "aa",
            "inputs": {"documents": "bb"}, "crc32c": 1501550849}"#;
        let folder = tempfile::tempdir().expect("a temporary folder");
        store::write_atomic(&folder.path().join(MANIFEST), VERSION_2)?;
        let before = Manifest::read(folder.path())?.expect("a run");
        assert!(before.format == 2 && before.has_checksums() && before.changes.is_empty() && before.branch.is_none());
        before.sealed().write(folder.path())?;
        assert_eq!(Manifest::read(folder.path())?.map(|manifest| manifest.format), Some(3));
        let damaged = VERSION_2.replace("bb", "bc");
        store::write_atomic(&folder.path().join(MANIFEST), damaged)?;
        assert!(Manifest::read(folder.path()).is_err());
        Ok(())
    }
}
