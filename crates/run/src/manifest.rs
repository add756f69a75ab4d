//! The manifest of a run: what it was started from.

use std::collections::BTreeMap;
use std::path::Path;

use memtrain_corpora::store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::crc32c::crc32c;
use super::directory::CONFIG;
use super::{Result, RunError, read_if_there};

pub(super) const MANIFEST: &str = "manifest.json";
/// Version of the layout of a run directory. Version 1 had no checksums and no list of rollout tables.
const FORMAT: u32 = 2;
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
    /// CRC-32C of the manifest without it, as JSON without spaces; absent in layout version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<u32>,
}

impl Manifest {
    /// The manifest of a new run.
    pub(super) fn new(config_hash: String, inputs: BTreeMap<String, String>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let mut manifest = Self { format: FORMAT, version, config_hash, inputs, crc32c: None };
        manifest.crc32c = Some(manifest.checksum());
        manifest
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

    /// The configuration of the run as it was written.
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
