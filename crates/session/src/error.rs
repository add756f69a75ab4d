//! Failures of a session: of which kind they are, and what can be done about them.
//!
//! Functions that call many crates fail with [`anyhow::Error`]; [`kind`] and [`hint`] find among its causes what is known of
//! them. [`Error`] is the same as a type of its own, which [`crate::train`] and [`crate::evaluate`] fail with.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

use memtrain_corpora::dump::DumpError;
use memtrain_corpora::store::StoreError;
use memtrain_hub::HubError;
use memtrain_index::IndexError;
use memtrain_pipeline::PipelineError;
use memtrain_pipeline::staleness::Difference;

use crate::eval::record::RecordError;
use crate::policy::PolicyError;
use crate::run::RunError;
use crate::sampler::http::HttpError;

/// Something was given wrong, in a configuration or on a command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A key or value of a configuration file is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ConfigError {
    /// What is wrong and where.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Why the documents of a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// There are none.
    #[error("the corpus `{}` is not built", corpus.display())]
    NotBuilt {
        /// Folder of the corpus.
        corpus: PathBuf,
    },
    /// They were made with other keys than the configuration has.
    #[error("{}", other_configuration(corpus, differences))]
    OtherConfiguration {
        /// Folder of the corpus.
        corpus: PathBuf,
        /// The keys.
        differences: Vec<Difference>,
    },
}

impl CorpusError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        let does = match self {
            Self::NotBuilt { .. } => "makes it",
            Self::OtherConfiguration { .. } => "with this configuration brings it up to date",
        };
        Some(format!("`memtrain corpus build` {does}; `run.corpus` names another one"))
    }
}

/// What a corpus that is not the configuration's is told to be.
pub fn other_configuration(corpus: &Path, differences: &[Difference]) -> String {
    let keys: Vec<String> = differences
        .iter()
        .map(|difference| match &difference.built {
            Some(built) => format!("`{}` is {built} in it and {} here", difference.key, difference.configured),
            None => format!("`{}` is {} here, and names other files", difference.key, difference.configured),
        })
        .collect();
    format!("the corpus `{}` was built with another configuration: {}", corpus.display(), keys.join(", "))
}

/// A failure with a hint of its own.
#[derive(Debug)]
pub struct Hinted {
    failure: anyhow::Error,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(formatter)
    }
}

impl StdError for Hinted {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failure.source()
    }
}

/// Adds hints to results.
pub trait WithHint<T> {
    /// Adds what the user can do about a failure: lower case, no full stop.
    ///
    /// # Errors
    /// The failure, with the hint.
    fn hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithHint<T> for Result<T, E> {
    fn hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|failure| Hinted { failure: failure.into(), hint: hint() }.into())
    }
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A value is wrong that the user has given.
    Usage,
    /// Somebody asked to stop; what was finished is saved, and the same call goes on.
    Stopped,
    /// Dumps broke off, and all their whole pages were kept.
    Truncated,
    /// Any other.
    Other,
}

/// A failure of a session.
#[derive(Debug)]
pub struct Error(anyhow::Error);

impl Error {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        kind(&self.0)
    }

    /// What can be done about it: lower case, no full stop.
    pub fn hint(&self) -> Option<String> {
        hint(&self.0)
    }

    /// The error with its causes, to look for one of a certain type.
    pub fn into_inner(self) -> anyhow::Error {
        self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl From<anyhow::Error> for Error {
    fn from(failure: anyhow::Error) -> Self {
        Self(failure)
    }
}

type Cause<'c> = &'c (dyn StdError + 'static);

/// The failure and its causes, those inside a [`Hinted`] too.
pub fn causes(failure: &anyhow::Error) -> impl Iterator<Item = Cause<'_>> {
    failure.chain().flat_map(|cause| {
        let inner = cause.downcast_ref::<Hinted>().map(|hinted| hinted.failure.as_ref());
        std::iter::once(cause).chain(inner.map(|inner| inner as Cause<'_>))
    })
}

/// The kind of a failure.
pub fn kind(failure: &anyhow::Error) -> ErrorKind {
    let any = |test: fn(Cause<'_>) -> bool| causes(failure).any(test);
    if any(is_stop) {
        ErrorKind::Stopped
    } else if any(|cause| matches!(cause.downcast_ref(), Some(PipelineError::Truncated { .. }))) {
        ErrorKind::Truncated
    } else if any(is_usage) {
        ErrorKind::Usage
    } else {
        ErrorKind::Other
    }
}

fn is_usage(cause: Cause<'_>) -> bool {
    cause.is::<Usage>()
        || cause.is::<ConfigError>()
        || matches!(
            cause.downcast_ref(),
            Some(PipelineError::Config { .. } | PipelineError::Index(IndexError::Config { .. }))
        )
        || matches!(cause.downcast_ref(), Some(IndexError::Config { .. }))
}

fn is_stop(cause: Cause<'_>) -> bool {
    matches!(cause.downcast_ref(), Some(RunError::Stopped))
        || matches!(cause.downcast_ref(), Some(PipelineError::Stopped))
        || matches!(cause.downcast_ref(), Some(IndexError::Stopped))
}

/// What can be done about a failure: the first hint of its causes.
pub fn hint(failure: &anyhow::Error) -> Option<String> {
    causes(failure).find_map(hint_of)
}

/// What to do about a file where the folder of a policy belongs.
const FOLDER: &str = "name the folder that it lies in; `policy convert` also takes a file of GGUF";

/// The hint of one cause.
pub fn hint_of(cause: Cause<'_>) -> Option<String> {
    /// Hints of errors of one type.
    fn of<'c, E: StdError + 'static>(cause: Cause<'c>, hint: impl Fn(&'c E) -> Option<String>) -> Option<String> {
        cause.downcast_ref::<E>().and_then(hint)
    }
    let owned = |hint: &str| Some(hint.to_owned());
    of(cause, |error: &Hinted| Some(error.hint.clone()))
        .or_else(|| of(cause, |error: &ConfigError| error.hint.clone()))
        .or_else(|| of(cause, CorpusError::hint))
        .or_else(|| of(cause, RunError::hint))
        .or_else(|| of(cause, |error: &RecordError| error.hint()))
        .or_else(|| of(cause, PipelineError::hint))
        .or_else(|| of(cause, IndexError::hint))
        .or_else(|| of(cause, |error: &HttpError| error.hint().and_then(owned)))
        .or_else(|| of(cause, |error: &HubError| Some(error.hint())))
        .or_else(|| {
            of(cause, |error: &PolicyError| matches!(error, PolicyError::File { .. }).then(|| FOLDER.to_owned()))
        })
        .or_else(|| of(cause, |error: &DumpError| error.hint().and_then(owned)))
        .or_else(|| store_error(cause).and_then(StoreError::hint).and_then(owned))
}

/// The error of the store that a cause is, or that it wraps.
pub fn store_error<'a>(cause: Cause<'a>) -> Option<&'a StoreError> {
    match cause.downcast_ref::<PolicyError>() {
        Some(PolicyError::Store(error)) => Some(error),
        _ => cause.downcast_ref::<StoreError>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_kind_and_the_hint_of_its_causes() {
        let wrong = || Err::<(), _>(Usage("`x` is 3".to_owned()));
        let error = Error::from(wrong().hint(|| "make it 4".to_owned()).unwrap_err().context("no session"));
        assert_eq!((error.kind(), error.hint().as_deref()), (ErrorKind::Usage, Some("make it 4")));
        assert_eq!(error.to_string(), "no session");
        let stopped = Error::from(anyhow::Error::from(RunError::Stopped).context("at step 3"));
        assert_eq!((stopped.kind(), ErrorKind::Other), (ErrorKind::Stopped, kind(&anyhow::anyhow!("other"))));
        assert!(stopped.into_inner().downcast_ref::<RunError>().is_some());
    }
}
