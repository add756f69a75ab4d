//! `[objective]`: which objective, and its constants.
//!
//! One flat section: the tag `kind` chooses among the registered objectives ([`super::registry`]), the other keys are the
//! constants of that one. `section` reads it.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use toml::{Table, Value};

use super::Objective;
use super::fields::fields_of;
use super::memtrain::MemTrainConfig;

/// An objective with its constants.
///
/// ```
/// use memtrain_rl::objectives::ObjectiveConfig;
/// let read = |text: &str| toml::from_str::<ObjectiveConfig>(text);
/// let config = read("recall_weight = 0.25").unwrap();
/// assert_eq!((config.kind(), config.memtrain().recall_weight), ("memtrain", 0.25));
/// assert_eq!(read("kind = \"memagent\"").unwrap().objective().group_size(), 16);
/// let error = read("kind = \"memagent\"\nrecall_weight = 0.25").unwrap_err().to_string();
/// assert!(error.contains("`recall_weight` is no key of `kind = \"memagent\"`"), "{error}");
/// ```
#[derive(Clone)]
pub struct ObjectiveConfig {
    kind: &'static str,
    /// As they are written, in the order of their declaration.
    constants: Vec<(&'static str, Value)>,
    objective: Arc<dyn Objective>,
}

impl ObjectiveConfig {
    /// An objective with these constants, under the name that its configuration has.
    ///
    /// # Errors
    /// If the constants contradict each other, or are none that TOML can hold.
    pub fn new<C>(kind: &'static str, constants: C) -> Result<Self, String>
    where
        C: Objective + Serialize + DeserializeOwned + 'static,
    {
        constants.validate()?;
        let mut written = Table::try_from(&constants).map_err(|error| error.to_string())?;
        let in_order = fields_of::<C>().iter().filter_map(|name| Some((*name, written.remove(*name)?)));
        Ok(Self { kind, constants: in_order.collect(), objective: Arc::new(constants) })
    }

    /// Its name, the value of `kind`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What rolls out and rewards.
    pub fn objective(&self) -> &dyn Objective {
        &*self.objective
    }

    /// MemTrain's constants: its own where it is the objective, the defaults elsewhere.
    pub fn memtrain(&self) -> MemTrainConfig {
        self.objective.reconstruction().cloned().unwrap_or_default()
    }
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        let defaults = MemTrainConfig::default;
        let written = Self::new("memtrain", defaults()).map(|config| config.constants).unwrap_or_default();
        Self { kind: "memtrain", constants: written, objective: Arc::new(defaults()) }
    }
}

impl fmt::Debug for ObjectiveConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("ObjectiveConfig");
        shown.field("kind", &self.kind);
        for (name, value) in &self.constants {
            shown.field(name, value);
        }
        shown.finish()
    }
}

impl PartialEq for ObjectiveConfig {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.constants) == (other.kind, &other.constants)
    }
}

impl Serialize for ObjectiveConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut section = serializer.serialize_map(Some(self.constants.len() + 1))?;
        section.serialize_entry("kind", self.kind)?;
        for (name, value) in &self.constants {
            section.serialize_entry(name, value)?;
        }
        section.end()
    }
}
