//! Errors of the stages between a dump and its documents.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memtrain_corpora::dump::DumpError;
use memtrain_corpora::store::{self, StoreError};
use memtrain_encoder::EncoderError;
use memtrain_index::IndexError;

use crate::names::{REJECTED, StageName};

/// Result of this crate.
pub type Result<T, E = PipelineError> = std::result::Result<T, E>;

/// A failure of a stage. Bad pages, passages and documents are not here: they are skipped and counted by cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A dump could not be read.
    #[error("cannot read the dump `{}`", path.display())]
    Dump {
        /// The dump.
        path: PathBuf,
        /// Why.
        source: DumpError,
    },
    /// The retrieval index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// An encoder could not be read, or failed.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// rust-bert could not load a model, or failed with it.
    #[cfg(feature = "rust-bert")]
    #[error(transparent)]
    RustBert(#[from] memtrain_rust_bert::RecognizerError),
    /// A value of the configuration makes no sense, alone or together with others.
    #[error("`{key}` {problem}")]
    Config {
        /// The key with all its sections, or the option.
        key: &'static str,
        /// What is wrong, beginning with a verb.
        problem: String,
    },
    /// A file of spans that is not what it should be, or of another corpus.
    #[error("`{}`, line {line}: {detail}", path.display())]
    Spans {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// No file matches an entry of `corpus.ingest.dumps`.
    #[error("no dump at `{pattern}`{}", none_of_them(left_out))]
    NoDump {
        /// The path or pattern as configured.
        pattern: String,
        /// Files that are there, and why each is none.
        left_out: Vec<String>,
    },
    /// Dumps broke off in the middle. Ingest has kept all their whole pages and is committed; the stages after it are not run.
    #[error(
        "{dumps} of the dumps broke off in the middle{}: ingest has kept all {pages} whole pages, the stages after it were not run",
        among(names)
    )]
    Truncated {
        /// How many.
        dumps: u64,
        /// File names of the dumps of the shards in which that happened.
        names: Vec<String>,
        /// Whole pages of all dumps.
        pages: u64,
    },
    /// A stage was asked for before the one it reads from was committed, or what a stage has made before it was.
    #[error("{}", not_ready(*stage, *needs))]
    NotReady {
        /// The stage asked for.
        stage: StageName,
        /// The stage it reads from.
        needs: StageName,
    },
    /// A folder in which no stage is, or none at all.
    #[error("{}", no_corpus(path))]
    NoCorpus {
        /// The folder.
        path: PathBuf,
    },
    /// A file of a stage is not what was written.
    #[error("stage `{stage}`: {source}")]
    Damaged {
        /// The stage.
        stage: StageName,
        /// Which file, and how it differs.
        source: StoreError,
    },
    /// There is no plan, or one for other inputs, another configuration or another version of the program.
    #[error("the plan of stage `{stage}` is missing or stale")]
    StalePlan {
        /// The stage.
        stage: StageName,
    },
    /// A shard number outside the plan.
    #[error("stage `{stage}` has {shards} shards, no shard {index}")]
    NoSuchShard {
        /// The stage.
        stage: StageName,
        /// The number asked for.
        index: usize,
        /// How many there are.
        shards: usize,
    },
    /// `finish` found shards that were not written, or not whole.
    #[error("stage `{stage}` lacks {} of its {shards} shards, the first is {}: {}", missing.len(), missing[0].0, missing[0].1)]
    Incomplete {
        /// The stage.
        stage: StageName,
        /// How many shards the plan has.
        shards: usize,
        /// Shard numbers with what is wrong; never empty.
        missing: Vec<(usize, String)>,
    },
    /// The text of the corpus holds nothing the stage can work on.
    #[error("stage `{stage}` produced no {what}")]
    Empty {
        /// The stage.
        stage: StageName,
        /// What is missing, for example `passages`.
        what: &'static str,
        /// What to change.
        hint: String,
    },
    /// Documents were asked for and every attempt was rejected.
    #[error("no {split} document could be made; drafts were rejected: {}", told(causes))]
    NoDocuments {
        /// `train` or `heldout`.
        split: &'static str,
        /// Counts by cause.
        causes: BTreeMap<String, u64>,
    },
    /// So many drafts of documents were rejected one after the other that others will hardly be better.
    #[error("the last {} drafts of {split} documents were rejected: {}", causes.values().sum::<u64>(), told(causes))]
    Rejected {
        /// `train` or `heldout`.
        split: &'static str,
        /// Counts by cause.
        causes: BTreeMap<String, u64>,
    },
    /// The tokenizer could not be trained, read or applied.
    #[error("tokenizer: {action}: {detail}")]
    Tokenizer {
        /// What was being done.
        action: &'static str,
        /// The message of the `tokenizers` crate.
        detail: String,
    },
    /// The thread pool could not be started.
    #[error("cannot start {workers} worker threads: {detail}")]
    Workers {
        /// Threads asked for.
        workers: usize,
        /// Why not.
        detail: String,
    },
    /// The caller asked to stop (see [`crate::Progress::stopping`]); what was finished is kept.
    #[error("stopped; what was finished is kept, and the same command goes on from here")]
    Stopped,
}

impl PipelineError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Damaged { .. } => Some(
                "build the corpus again with its configuration (`memtrain corpus build`): only what is damaged is written anew; `memtrain corpus verify` names all of it"
                    .into(),
            ),
            Self::Encoder(error) => error.hint().map(str::to_owned),
            Self::Index(error) => error.hint(),
            Self::Dump { source, .. } => source.hint().map(str::to_owned),
            Self::Config { key: "corpus.ingest.dumps", .. } => Some(
                "write `dumps = [\"FILE\"]` below `[corpus.ingest]`, or type `--dump FILE` behind `memtrain corpus build CONFIG`; a configuration that trains holds, or includes, the `[corpus]` that its corpus was built with"
                    .into(),
            ),
            Self::NoDump { .. } => Some(
                "set `corpus.ingest.dumps` (or `--dump`) to dumps, their folder, or a pattern with `*`, `?`, `[…]` or `**`, as seen from the folder you are in"
                    .into(),
            ),
            Self::Spans { .. } => Some(
                "a line is a passage of this corpus, with ids that rise: `{\"passage_id\": 7, \"entities\": [{\"start\": 0, \"end\": 9, \"label\": \"PERSON\"}]}`"
                    .into(),
            ),
            Self::Truncated { .. } => Some(
                "fetch them again, or go on with what is there: `--accept-truncated`, or `corpus.ingest.accept_truncated = true`"
                    .into(),
            ),
            Self::NotReady { needs, stage } if needs == stage => {
                Some("`memtrain corpus build` with the configuration of this corpus finishes it".into())
            }
            Self::NotReady { needs, .. } => {
                Some(format!("run the stages in order: `{needs}` first, or build them all with `memtrain corpus build`"))
            }
            Self::NoCorpus { path } => Some(format!(
                "check the path, or make a corpus there: `memtrain corpus build --config FILE --out {}`",
                path.display()
            )),
            Self::StalePlan { stage } => Some(format!("plan stage `{stage}` again, or build all stages")),
            Self::Incomplete { missing, .. } => {
                Some(format!("run shard {} again, or build all stages: only what is missing is redone", missing[0].0))
            }
            Self::Empty { hint, .. } => Some(hint.clone()),
            Self::NoDocuments { causes, .. } | Self::Rejected { causes, .. } => Some(against(causes)),
            _ => None,
        }
    }
}

/// Causes with their counts, the most frequent first.
fn by_count(causes: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut causes: Vec<(&str, u64)> =
        causes.iter().map(|(cause, count)| (cause.strip_prefix(REJECTED).unwrap_or(cause), *count)).collect();
    causes.sort_by_key(|(_, count)| Reverse(*count));
    causes
}

fn told(causes: &BTreeMap<String, u64>) -> String {
    let one = |(cause, count): (&str, u64)| format!("{} {count}", cause.replace('_', " "));
    by_count(causes).into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What can be done against the rejections of drafts.
fn against(causes: &BTreeMap<String, u64>) -> String {
    let keys = |cause: &str| match cause {
        "no_pivot" => "let more entities be hidden with `corpus.synthesize.eligible`",
        "too_few_related" => "lower `corpus.synthesize.num_related`",
        "leak" => "let other entities be hidden with `corpus.synthesize.eligible`",
        "too_short" => "lower `corpus.synthesize.min_tokens`",
        _ => {
            "raise `corpus.synthesize.max_tokens`, or lower `corpus.synthesize.num_related` or `corpus.ingest.max_words`"
        }
    };
    let told: Vec<&str> = by_count(causes).into_iter().map(|(cause, _)| keys(cause)).collect();
    format!("{}; or give a larger corpus", told.join(", or "))
}

fn not_ready(stage: StageName, needs: StageName) -> String {
    match needs == stage {
        true => format!("stage `{stage}` of the corpus is not finished"),
        false => format!("stage `{stage}` needs stage `{needs}`, which is not finished"),
    }
}

fn none_of_them(left_out: &[String]) -> String {
    match left_out {
        [] => String::new(),
        [one] => format!(": {one}"),
        [first, ..] => format!(": none of its {} files is one: {first}, and so on", left_out.len()),
    }
}

fn no_corpus(path: &Path) -> String {
    match store::is_dir(path) {
        true => format!("`{}` holds no corpus", path.display()),
        false => format!("there is no corpus `{}`: no such folder", path.display()),
    }
}

/// ` (`a`, `b`)`, or nothing where there are too many to name.
fn among(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names if names.len() > 8 => format!(" (among `{}` … `{}`)", names[0], names[names.len() - 1]),
        names => format!(" (`{}`)", names.join("`, `")),
    }
}

/// A key of the configuration whose value cannot be used.
pub(crate) fn fault(key: &'static str, problem: String) -> Result<()> {
    Err(PipelineError::Config { key, problem })
}
