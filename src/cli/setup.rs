//! The corpus of a command: whether it is there, and what to type where it is not.

use memtrain_session::corpus::{self, CorpusError};

use super::configuration::ConfigArgs;
use super::failure::{FolderKind, Usage, WithHint};
use crate::config::Config;

/// Checks that the corpus has documents, and those of this configuration, before anything is fetched or loaded.
///
/// # Errors
/// If they are not there, or were made with other keys; with the command that makes them.
pub fn check_corpus(config: &Config, args: &ConfigArgs) -> anyhow::Result<()> {
    corpus::check(config).or_else(|error| match error.downcast::<CorpusError>() {
        Ok(error) => {
            let hint = hint(&error, args);
            Err(error).hint(|| hint)
        }
        Err(error) => Err(error),
    })
}

/// Checks that there are documents to evaluate on: rows of `tasks.heldout` that are taken for documents, else those of the corpus,
/// as [`check_corpus`]. Nothing is trained, so that nothing else has to be there.
///
/// # Errors
/// As [`check_corpus`].
pub fn check_heldout(config: &mut Config, args: &ConfigArgs) -> anyhow::Result<()> {
    if config.eval.documents == 0 {
        return Err(Usage("`eval.documents` is 0: there is nothing to evaluate".to_owned())).hint(|| {
            "set the number of held-out documents to read, for example `--set eval.documents=100`".to_owned()
        });
    }
    let takes_rows = config.objective.objective().reconstruction().is_some();
    match config.tasks.heldout.clone().filter(|_| takes_rows) {
        Some(rows) => {
            config.tasks.train.get_or_insert(rows);
            Ok(())
        }
        None => check_corpus(config, args),
    }
}

/// What to type.
fn hint(error: &CorpusError, args: &ConfigArgs) -> String {
    let given = args.set.iter().map(|change| format!(" --set '{change}'")).collect::<String>();
    let build = format!("`memtrain corpus build {}{given}`", args.path().display());
    match error {
        CorpusError::NotBuilt { corpus } => match FolderKind::of(corpus).filter(|kind| *kind != FolderKind::Corpus) {
            Some(kind) => format!("{}; `run.corpus` names the corpus", kind.told(corpus)),
            None => format!("{build} makes it; `run.corpus` names another one"),
        },
        CorpusError::OtherConfiguration { differences, .. } => {
            // What only the contents of files tell cannot be typed.
            let typed =
                differences.iter().filter_map(|one| Some(format!(" --set '{}={}'", one.key, one.built.as_ref()?)));
            let set: String = typed.collect();
            let as_it_is = if set.is_empty() { String::new() } else { format!("; to read it as it is, add{set}") };
            format!("{build} brings it up to date{as_it_is}; `run.corpus` names another corpus")
        }
    }
}
