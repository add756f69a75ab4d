//! Errors of a run directory, each with a hint.

use std::path::PathBuf;

use memtrain_corpora::store::StoreError;

/// A failure of a run. [`RunError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder holds something that is not a run.
    #[error("`{}` is not a run directory: it holds {}", path.display(), listed(names))]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Names of what is in it.
        names: Vec<String>,
    },
    /// There is no run in the folder.
    #[error("`{}` is not a run directory: it has no `manifest.json`", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds a run of another configuration.
    #[error("`{}` holds a run with other mathematics: {}", path.display(), listed(differences))]
    ConfigChanged {
        /// The run directory.
        path: PathBuf,
        /// Keys that differ and may not, as `section.key`.
        differences: Vec<String>,
    },
    /// A branch cannot have what it was asked to have.
    #[error("a branch of `{}` cannot change {}", path.display(), listed(differences))]
    NotBranched {
        /// The directory of the run that it was to go on from.
        path: PathBuf,
        /// Keys, as `section.key`, and inputs.
        differences: Vec<String>,
    },
    /// The name of a branch is that of another run.
    #[error("`{}` holds a run already that is no branch of `{run}`", path.display())]
    NoBranch {
        /// The folder.
        path: PathBuf,
        /// The run that a branch was asked of.
        run: String,
    },
    /// There is nothing to go on from.
    #[error("`{}` has no checkpoint that a branch could go on from", path.display())]
    NoCheckpoint {
        /// The run directory.
        path: PathBuf,
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
    /// The manifest is not as it was written.
    #[error("`{}` is damaged: {detail}", path.display())]
    DamagedManifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The configuration in the folder is not the one that the run was started with.
    #[error("`{}` is damaged: its hash is not the one in `manifest.json`", path.display())]
    DamagedConfig {
        /// The file.
        path: PathBuf,
    },
    /// A log of steps is not as it was written.
    #[error("`{}` is damaged: {detail}", path.display())]
    DamagedRecord {
        /// The file.
        path: PathBuf,
        /// Which line, and what is wrong with it.
        detail: String,
        /// The first step of which it is not known what was recorded.
        step: u64,
    },
    /// A rollout table is not as it was written.
    #[error("`{}` is damaged: {detail}", path.display())]
    DamagedTable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A rollout table of a step that is to be taken again is not one that the run has written.
    #[error("`{}` is in the way: the run did not write it as it is", path.display())]
    ForeignTable {
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint is not whole.
    #[error("the checkpoint `{}` is damaged: {detail}", path.display())]
    DamagedCheckpoint {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// Which file, and what is wrong with it.
        detail: String,
    },
    /// A folder or log of the run is not in the run's folder, so that what is removed there may be another run's.
    #[error("`{}` is {what}: a run writes and removes in its own folder alone", path.display())]
    Elsewhere {
        /// The folder or file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Something else stands where a link of the run's belongs.
    #[error("`{}` {what}", path.display())]
    NotOurLink {
        /// The place of the link.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// A link to a checkpoint does not lead where it should.
    #[error("the link `{}` is damaged: {detail}", path.display())]
    DamagedLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        detail: String,
    },
    /// Steps were saved, and their checkpoints are gone.
    #[error("`{}` holds no checkpoint of step {step} or later, though there was one", path.display())]
    MissingCheckpoint {
        /// The folder of the checkpoints.
        path: PathBuf,
        /// The newest step that is known to have been saved.
        step: u64,
    },
    /// A run was read through, and not all is as it was written.
    #[error("`{}` is damaged in {places} places; {files} files were read", path.display())]
    Damaged {
        /// The run directory.
        path: PathBuf,
        /// How many damages were found.
        places: usize,
        /// How many files were read.
        files: usize,
    },
    /// What a checkpoint is made of could not be written.
    #[error("could not write the checkpoint of step {step}")]
    Save {
        /// The step.
        step: u64,
        /// Why.
        source: anyhow::Error,
    },
    /// The weights are no longer those of a language model; they are not saved.
    #[error("the policy has diverged in step {step}: {detail}")]
    Diverged {
        /// The step after which it was found.
        step: u64,
        /// What is wrong with the weights.
        detail: String,
        /// The newest sound checkpoint, if there is one.
        sound: Option<PathBuf>,
    },
    /// A signal asked to stop. Whoever gives this has saved what there was to save, and says so.
    #[error("stopped by a signal")]
    Stopped,
}

impl RunError {
    /// Whether an error is [`Self::Stopped`] or comes of it.
    pub fn is_stop(error: &anyhow::Error) -> bool {
        error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Self::Stopped)))
    }

    /// What the user can do, without a full stop at the end.
    pub fn hint(&self) -> Option<String> {
        match self {
            RunError::Store(error @ StoreError::Locked { .. }) => Some(format!(
                "{}; another process is training in this run directory",
                error.hint().unwrap_or("wait for it to finish")
            )),
            RunError::Store(error) => error.hint().map(str::to_owned),
            RunError::Foreign { .. } => Some("choose another run directory".into()),
            RunError::ConfigChanged { .. } | RunError::InputChanged { .. } => Some(
                "`--branch NAME` makes a new run that goes on from the newest checkpoint with what was changed; or give the run \
                 another name, or start it anew with `--clean`, which moves what is there to a folder beside it"
                    .into(),
            ),
            RunError::NotBranched { .. } => Some(
                "a branch keeps the policy that the run began with: for another one start another run, whose `policy.path` may be \
                 a checkpoint"
                    .into(),
            ),
            RunError::NoBranch { .. } => Some("give the branch another name, or remove what is there".into()),
            RunError::NoCheckpoint { .. } => {
                Some("a run without a checkpoint has nothing to keep: start another one under a name of its own".into())
            }
            RunError::Format { .. } => {
                Some("go on with the version that wrote it, or start anew with `--clean`".into())
            }
            RunError::DamagedCheckpoint { path, .. } => {
                Some(format!("remove `{}` to go on from the checkpoint before it", path.display()))
            }
            RunError::NoRun { .. } => Some("name a folder under `runs/`, for example `quickstart/runs/seed-1`".into()),
            RunError::DamagedManifest { .. } => {
                Some("restore it from a copy, or begin anew with `--clean`, which moves what is there to a folder beside it".into())
            }
            RunError::DamagedConfig { path } => {
                Some(format!("remove `{}`: the next start with the run's configuration writes it again", path.display()))
            }
            RunError::DamagedRecord { step, .. } => Some(format!(
                "restore the file from a copy, or remove the checkpoints of step {step} and later: the next start takes these \
                 steps again"
            )),
            RunError::DamagedTable { .. } => {
                Some("restore it from a copy; training does not read it and goes on without".into())
            }
            RunError::Elsewhere { path, what } => Some(format!(
                "put {} of its own in the place of `{}`; to keep runs on another disk, let `run.runs` name a folder there",
                if *what == "a link" { "what it leads to, or a copy" } else { "a folder" },
                path.display()
            )),
            RunError::NotOurLink { path, .. } => Some(format!(
                "if the run was copied without its links, remove `{}`, or copy the run with `cp -a`; else move it away: the \
                 next start makes the link",
                path.display()
            )),
            RunError::DamagedLink { .. } => Some("no command depends on it; the next start of the run makes it anew".into()),
            RunError::MissingCheckpoint { .. } => Some(
                "restore the folder from a copy, or run the same command again: it takes the steps that are not saved anew".into(),
            ),
            RunError::ForeignTable { .. } => {
                Some("move it away: the run goes on before its step, and writes a table of that name".into())
            }
            RunError::Damaged { .. } | RunError::Save { .. } => None,
            RunError::Diverged { sound: Some(path), .. } => Some(format!(
                "the newest sound checkpoint is `{path}`: start another run from it, with `--set policy.path={path} --set \
                 run.name=NAME` and a lower `optimizer.learning_rate` or `update.max_gradient_norm`",
                path = path.display()
            )),
            RunError::Diverged { sound: None, .. } => Some(
                "no step was saved: begin anew with a lower `optimizer.learning_rate` or `update.max_gradient_norm`, under \
                 another `run.name` or with `--clean`"
                    .into(),
            ),
            RunError::Stopped => Some("run the same command again: it goes on from what is saved".into()),
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
