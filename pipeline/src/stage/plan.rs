//! Plans: what a stage is going to do.

use std::path::Path;

use memtrain_corpora::store::{self, StoreError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FORMAT, StageName};
use crate::error::{PipelineError, Result};

/// Something a stage reads: a dump, or the manifest of an earlier stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// File name of a dump when it was first read, `<stage>/manifest.json`, or what else it is.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub hash: String,
}

impl Input {
    /// The file as an input, under a name that does not depend on the machine.
    pub(crate) fn of(path: &Path, name: String) -> Result<Self> {
        Ok(Self { name, bytes: store::len(path)?, hash: store::hash_input(path)? })
    }

    /// This input where it is the one that a plan was made for, `before`. Of one that has become another of the same size,
    /// `again` says whether it was read right.
    ///
    /// # Errors
    /// If it reads as something else each time, or cannot be read.
    pub(crate) fn settled(self, before: &Self, path: &Path, again: impl FnOnce() -> Result<Self>) -> Result<Self> {
        if self.bytes == before.bytes && self.hash != before.hash && again()?.hash != self.hash {
            let detail =
                "it reads as something else each time: the disk or the memory is at fault, or it is being written";
            return Err(StoreError::Unreadable { path: path.to_path_buf(), detail: detail.to_owned() }.into());
        }
        Ok(self)
    }
}

/// What one shard has to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedShard {
    /// Number of the shard, 0 … n−1.
    pub index: usize,
    /// The shard's work in the stage's own terms, for example a range of passages.
    pub work: Value,
}

/// What a stage is going to do: a pure function of the inputs and the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The stage.
    pub stage: StageName,
    /// Version of the plan, record and manifest files.
    pub format: u32,
    /// Version of what the stage computes and of the files it writes.
    pub version: u32,
    /// The part of the configuration that concerns the stage.
    pub configuration: Value,
    /// What it reads.
    pub inputs: Vec<Input>,
    /// What is to be done, in shards that can be done in any order, by any number of workers.
    pub shards: Vec<PlannedShard>,
}

impl Plan {
    /// A plan; `work` is one value a shard.
    pub(crate) fn new(
        stage: StageName,
        version: u32,
        configuration: Value,
        inputs: Vec<Input>,
        work: Vec<Value>,
    ) -> Self {
        let shards = work.into_iter().enumerate().map(|(index, work)| PlannedShard { index, work }).collect();
        Self { stage, format: FORMAT, version, configuration, inputs, shards }
    }

    /// BLAKE3 of the plan; ties shards to it.
    pub fn fingerprint(&self) -> String {
        fingerprint(self)
    }

    /// Whether the plan is the same but for the names of its inputs.
    pub(crate) fn is_same_work(&self, other: &Plan) -> bool {
        let mut renamed = other.clone();
        if renamed.inputs.len() == self.inputs.len() {
            for (input, own) in renamed.inputs.iter_mut().zip(&self.inputs) {
                input.name.clone_from(&own.name);
            }
        }
        renamed == *self
    }
}

/// BLAKE3 of a value's compact JSON.
pub(super) fn fingerprint<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    store::hash_bytes(text.as_bytes())
}

/// A value as JSON; the types here have string keys and finite numbers only.
pub(crate) fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// A shard's work as the stage's own type.
pub(crate) fn work_of<T: DeserializeOwned>(shard: &PlannedShard, stage: StageName) -> Result<T> {
    serde_json::from_value(shard.work.clone()).map_err(|_| PipelineError::StalePlan { stage })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_read_is_no_other_input() {
        let input = |bytes, hash: &str| Input { name: "d.xml".into(), bytes, hash: hash.into() };
        let settled = |read: &Input, again: &Input| {
            let again = || Ok(again.clone());
            read.clone().settled(&input(3, "a"), Path::new("d.xml"), again).map_err(|error| error.to_string())
        };
        let never = || -> Result<Input> { panic!("the file is the same, and is not read twice") };
        assert_eq!(input(3, "a").settled(&input(3, "a"), Path::new("d.xml"), never).unwrap(), input(3, "a"));
        assert_eq!(input(4, "b").settled(&input(3, "a"), Path::new("d.xml"), never).unwrap(), input(4, "b"));
        assert_eq!(settled(&input(3, "b"), &input(3, "b")), Ok(input(3, "b")));
        for again in ["a", "c"] {
            let error = settled(&input(3, "b"), &input(3, again)).unwrap_err();
            assert!(error.contains("it reads as something else each time"), "{error}");
        }
    }
}
