//! Folders of another kind than a command takes: what they are, and which commands take them.

use std::error::Error;
use std::path::Path;

use memtrain_corpora::store::{self, Occupant};
use memtrain_index::IndexError;
use memtrain_pipeline::{PipelineError, StageName};
use memtrain_statistics::StatisticsError;

use crate::eval::record::RecordError;
use crate::policy::{PolicyError, directory};
use crate::run::{RunError, RunReader};

/// What a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum FolderKind {
    Corpus,
    Stage(StageName),
    Run,
    Policy,
    Adapter,
    Index,
    Evaluation,
    Tasks,
    /// A folder with a corpus in it, as the quickstart leaves it.
    Quickstart,
}

impl FolderKind {
    /// Of a folder that this program has written, or a policy of whomever; nothing for others.
    pub(in crate::cli) fn of(folder: &Path) -> Option<Self> {
        let has = |name: &str| store::exists(&folder.join(name));
        let marked = match store::occupant(folder) {
            Ok(Occupant::Ours(marker)) => marker.kind,
            _ => String::new(),
        };
        let stage = |name: &StageName| marked == format!("{name} stage");
        let is_stage = |name: StageName| folder.join(name.as_str());
        match &*marked {
            "run" => Some(Self::Run),
            "evaluation" => Some(Self::Evaluation),
            "composed tasks" => Some(Self::Tasks),
            _ if StageName::ALL.iter().any(stage) => StageName::ALL.into_iter().find(stage).map(Self::Stage),
            // Of versions without marks there may be stages and runs.
            _ if StageName::ALL.into_iter().any(|name| store::exists(&is_stage(name).join("plan.json"))) => {
                Some(Self::Corpus)
            }
            _ if RunReader::open(folder).is_ok() => Some(Self::Run),
            _ if has("index.json") => Some(Self::Index),
            _ if has("adapter_config.json") => Some(Self::Adapter),
            _ if directory::load_config(folder).is_ok() => Some(Self::Policy),
            _ if has("corpus/synthesize/plan.json") => Some(Self::Quickstart),
            _ => None,
        }
    }

    /// What it is and what takes it: `` `x` is a run: … ``.
    pub(in crate::cli) fn told(self, folder: &Path) -> String {
        let shown = folder.display();
        match self {
            Self::Corpus => format!(
                "`{shown}` is a corpus: `run.corpus` and `memtrain corpus inspect`, `stats`, `verify`, `export` take it, and \
                 `memtrain index search --corpus`"
            ),
            Self::Stage(name) => format!(
                "`{shown}` is stage `{name}` of the corpus `{}`, which is what commands take",
                folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).display()
            ),
            Self::Run => format!(
                "`{shown}` is a run: `memtrain report` and `memtrain run verify` take it; its policies are in \
                 `{shown}/checkpoints`"
            ),
            Self::Policy => {
                format!(
                    "`{shown}` is a policy: `memtrain policy info`, `policy.path` and `--policy` of other commands take it"
                )
            }
            Self::Adapter => {
                format!("`{shown}` is an adapter: `memtrain policy merge-lora --adapter` makes a policy of it")
            }
            Self::Index => format!("`{shown}` is an index: `memtrain index search --corpus` takes it"),
            Self::Evaluation => format!("`{shown}` is an evaluation: `memtrain eval compare` takes it"),
            Self::Quickstart => {
                format!("`{shown}` holds the corpus `{shown}/corpus` and the runs `{shown}/runs/…`: name one")
            }
            Self::Tasks => format!("`{shown}` holds tables of tasks: `memtrain eval long-qa` takes these"),
        }
    }
}

/// What is told of an error about a folder in which nothing is of the kind that was expected.
pub(super) fn other_kind(cause: &(dyn Error + 'static)) -> Option<String> {
    let (folder, expected) = looked_for(cause)?;
    FolderKind::of(folder).filter(|kind| !expected.contains(kind)).map(|kind| kind.told(folder))
}

/// The folder that an error is about, and what was looked for in it.
fn looked_for<'a>(cause: &'a (dyn Error + 'static)) -> Option<(&'a Path, &'static [FolderKind])> {
    use FolderKind::{Adapter, Corpus, Evaluation, Index, Policy, Run};
    let pipeline = match cause.downcast_ref::<StatisticsError>() {
        Some(StatisticsError::Pipeline(error)) => Some(error),
        _ => cause.downcast_ref::<PipelineError>(),
    };
    let index = match pipeline {
        Some(PipelineError::NoCorpus { path }) => return Some((path, &[Corpus])),
        Some(PipelineError::Index(error)) => Some(error),
        _ => cause.downcast_ref::<IndexError>(),
    };
    if let Some(IndexError::Unfinished { path }) = index {
        // That of a corpus lies in it.
        let corpus = path.parent().and_then(Path::parent).filter(|_| path.ends_with("index/data"));
        return Some((corpus.unwrap_or(path), &[Corpus, Index]));
    }
    match cause.downcast_ref::<RunError>() {
        Some(RunError::NoRun { path }) => return Some((path, &[Run])),
        Some(RunError::DamagedManifest { path, .. }) => return Some((path.parent()?, &[Run])),
        _ => {}
    }
    if let Some(PolicyError::Missing { path, .. }) = cause.downcast_ref::<PolicyError>() {
        return Some((path.parent()?, &[Policy, Adapter]));
    }
    match cause.downcast_ref::<RecordError>() {
        Some(RecordError::Missing { folder }) => Some((folder, &[Evaluation])),
        _ => None,
    }
}
