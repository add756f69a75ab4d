//! The objectives by their names in configurations: those of this crate, and those that a program adds.
//!
//! An objective of this crate is a file beside this one and a line of `BUILT_IN`; one of another crate calls [`register`]
//! before it reads a configuration (`docs/objectives.md`). Its keys are the fields of its constants.

use std::sync::{PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::fields::fields_of;
use super::finemem::FineMemConfig;
use super::infomem::InfoMemConfig;
use super::mem1::Mem1Config;
use super::memagent::MemAgentConfig;
use super::memalpha::MemAlphaConfig;
use super::memtrain::MemTrainConfig;
use super::{Objective, ObjectiveConfig};

/// The objectives of this crate, the default first.
const BUILT_IN: &[Registration] = &[
    Registration::of::<MemTrainConfig>("memtrain"),
    Registration::of::<MemAgentConfig>("memagent"),
    Registration::of::<InfoMemConfig>("infomem"),
    Registration::of::<FineMemConfig>("finemem"),
    Registration::of::<MemAlphaConfig>("memalpha"),
    Registration::of::<Mem1Config>("mem1"),
];

/// Those that the program has added.
static ADDED: RwLock<Vec<Registration>> = RwLock::new(Vec::new());

/// An objective's name, and how its constants are read.
#[derive(Clone, Copy)]
pub struct Registration {
    /// The value of `objective.kind`.
    pub kind: &'static str,
    fields: fn() -> &'static [&'static str],
    check: fn(Table) -> Result<(), String>,
    read: fn(&'static str, Table) -> Result<ObjectiveConfig, String>,
}

impl Registration {
    /// An objective with the constants `C`, a struct with named fields that derives `Serialize` and `Deserialize` with
    /// `#[serde(default, deny_unknown_fields)]`.
    pub const fn of<C>(kind: &'static str) -> Self
    where
        C: Objective + Serialize + DeserializeOwned + 'static,
    {
        Self { kind, fields: fields_of::<C>, check: |table| constants::<C>(table).map(drop), read: read::<C> }
    }

    /// Its keys.
    pub(super) fn fields(&self) -> &'static [&'static str] {
        (self.fields)()
    }

    /// Whether it has a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.fields().contains(&key)
    }

    /// Whether a key takes a value, whatever the others are; else what is wrong.
    pub(super) fn takes(&self, key: &str, value: &Value) -> Result<(), String> {
        (self.check)(Table::from_iter([(key.to_owned(), value.clone())]))
    }

    /// The objective with these constants, the defaults for others.
    pub(super) fn read(&self, constants: Table) -> Result<ObjectiveConfig, String> {
        (self.read)(self.kind, constants)
    }
}

/// A name that another objective has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an objective is called `{0}` already")]
pub struct NameTaken(pub &'static str);

/// Adds an objective to those that configurations can name, until the process ends.
///
/// # Errors
/// If another one has the name.
pub fn register(registration: Registration) -> Result<(), NameTaken> {
    let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
    if BUILT_IN.iter().chain(added.iter()).any(|known| known.kind == registration.kind) {
        return Err(NameTaken(registration.kind));
    }
    added.push(registration);
    Ok(())
}

/// All objectives, the default first.
pub(super) fn registered() -> Vec<Registration> {
    let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
    BUILT_IN.iter().chain(added.iter()).copied().collect()
}

fn constants<C: DeserializeOwned>(table: Table) -> Result<C, String> {
    table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

fn read<C>(kind: &'static str, table: Table) -> Result<ObjectiveConfig, String>
where
    C: Objective + Serialize + DeserializeOwned + 'static,
{
    ObjectiveConfig::new(kind, constants::<C>(table)?)
}
