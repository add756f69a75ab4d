//! The back-ends for entities by their names: one line each.

use std::path::Path;

use super::backend::{Backend, EntityBackend, ModelSource};
use super::backend_name::BackendName;
use super::config::EntitiesConfig;
use super::{bert, links, rust_bert, spans};
use crate::error::Result;
use crate::stage::Input;

impl BackendName {
    const fn backend(self) -> &'static Backend {
        match self {
            Self::Links => &links::BACKEND,
            Self::Bert => &bert::BACKEND,
            Self::RustBert => &rust_bert::BACKEND,
            Self::Spans => &spans::BACKEND,
        }
    }

    /// What it finds mentions by, in a line; nothing where it finds none in other texts than a corpus's.
    pub const fn about(self) -> Option<&'static str> {
        self.backend().about
    }

    /// Where its model comes from.
    pub const fn model_source(self) -> ModelSource {
        self.backend().model
    }
}

impl EntitiesConfig {
    /// Checks what no single value shows.
    ///
    /// # Errors
    /// If a value, or a key of the back-end, cannot be used.
    pub(crate) fn validate(&self) -> Result<()> {
        self.check_values()?;
        (self.backend.backend().check)(self)
    }

    /// The files that the back-end reads.
    pub(super) fn inputs(&self) -> Result<Vec<Input>> {
        (self.backend.backend().inputs)(self)
    }
}

/// Opens the back-end that `config` names. `corpus` is the folder of a corpus whose ingest is committed; the `links`
/// back-end takes its names from there, and works without one by the words it knows.
///
/// # Errors
/// If the corpus or the model cannot be read, or the back-end is not in this build.
pub fn open_backend(config: &EntitiesConfig, corpus: Option<&Path>) -> Result<Box<dyn EntityBackend>> {
    (config.backend.backend().open)(config, corpus)
}
