//! What can go wrong with a run directory, and what to do about it.

use std::path::PathBuf;

use memtrain_corpora::store::StoreError;

/// A failure of a run. [`RunError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder holds something that is not a run.
    #[error("`{}` is not empty and not a run directory: it has no `manifest.json`", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds a run of another configuration.
    #[error("`{}` holds a run with another configuration; different: {}", path.display(), listed(differences))]
    ConfigChanged {
        /// The run directory.
        path: PathBuf,
        /// Keys whose values differ, as `section.key`.
        differences: Vec<String>,
    },
    /// An input is no longer what it was when the run was started.
    #[error("`{}` was started from another {input}", path.display())]
    InputChanged {
        /// The run directory.
        path: PathBuf,
        /// Name of the input in the manifest.
        input: String,
    },
    /// The run was written by another version of the format.
    #[error("`{}` has format {got}, this program reads format {expected}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Format in the file.
        got: u32,
        /// Format this program knows.
        expected: u32,
    },
    /// A checkpoint is not whole.
    #[error("the checkpoint `{}` is damaged: {detail}", path.display())]
    DamagedCheckpoint {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// Which file, and what is wrong with it.
        detail: String,
    },
    /// What a checkpoint is made of could not be written.
    #[error("could not write the checkpoint of step {step}")]
    Save {
        /// The step.
        step: u64,
        /// Why.
        source: anyhow::Error,
    },
    /// A signal asked to stop; everything is saved.
    #[error("stopped by a signal; everything is saved")]
    Stopped,
}

impl RunError {
    /// What the user can do, without a full stop at the end.
    pub fn hint(&self) -> Option<String> {
        match self {
            RunError::Store(error @ StoreError::Locked { .. }) => Some(format!(
                "{}; another process is training in this run directory",
                error.hint().unwrap_or("wait for it to finish")
            )),
            RunError::Store(error) => error.hint().map(str::to_owned),
            RunError::Foreign { .. } => Some("choose another run directory".into()),
            RunError::ConfigChanged { .. } | RunError::InputChanged { .. } => {
                Some("give the run another name, or start it anew with `--clean`, which removes what is there".into())
            }
            RunError::Format { .. } => {
                Some("go on with the version that wrote it, or start anew with `--clean`".into())
            }
            RunError::DamagedCheckpoint { path, .. } => {
                Some(format!("remove `{}` to go on from the checkpoint before it", path.display()))
            }
            RunError::Save { .. } => None,
            RunError::Stopped => Some("run the same command again to go on".into()),
        }
    }
}

/// The first few names in backticks.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
