//! Messages of failures, `error:`, its causes, `hint:`, and the exit code.
//!
//! Exit codes: 0 done, 1 a named failure, 2 the command line or the configuration is wrong, 3 dumps broke off and all their whole
//! pages were kept, 75 stopped by a signal with
//! what was finished saved (run it again to go on).

mod folders;
mod numbers;

use std::borrow::Cow;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use memtrain_collective::launch;
use memtrain_corpora::store::StoreError;
use memtrain_corpora::visible::visible;
use memtrain_session::error;
use memtrain_session::error::{ErrorKind, causes, kind, store_error};
pub use memtrain_session::error::{Hinted, Usage, WithHint};
use memtrain_statistics::StatisticsError;

pub(super) use self::folders::FolderKind;
use super::print::is_closed;
use crate::run::progress::for_people;

/// Tells a failure on stderr, and gives the exit code.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if causes(&failure).any(is_closed) {
        // Whoever read the output has enough of it.
        return ExitCode::SUCCESS;
    }
    let (code, text) = outcome(&failure);
    // The first of several processes says it for all.
    if kind(&failure) != ErrorKind::Stopped || !launch::is_follower() {
        eprint!("{}", for_people(&text));
    }
    ExitCode::from(code)
}

/// The exit code of a failure, and what is told of it on stderr.
pub fn outcome(failure: &anyhow::Error) -> (u8, String) {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    (code(failure), describe(failure, io::stderr().is_terminal() && !no_colour))
}

/// Tells what is wrong with the command line, or what was asked for instead of a command, and gives the exit code.
pub fn usage(mut error: clap::Error) -> ExitCode {
    if let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) {
        // How an unknown option would be a file's name is not what anybody wants to know.
        tips.retain(|tip| !tip.to_string().contains("as a value"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    let error = &error;
    let own = numbers::rendered(error);
    let text = own.clone().unwrap_or_else(|| error.render().to_string());
    // What was typed may steer the terminal. Without that, clap prints in colour.
    match visible(&text) {
        Cow::Owned(shown) => eprint!("{shown}"),
        Cow::Borrowed(shown) if own.is_some() => eprint!("{shown}"),
        Cow::Borrowed(_) => {
            // Nobody can be told that the output is closed.
            let _ = error.print();
        }
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The exit code of a failure.
fn code(failure: &anyhow::Error) -> u8 {
    match kind(failure) {
        ErrorKind::Stopped => 75,
        ErrorKind::Truncated => 3,
        ErrorKind::Usage => 2,
        ErrorKind::Other => 1,
    }
}

/// The lines that tell a failure.
pub fn describe(failure: &anyhow::Error, coloured: bool) -> String {
    let paint =
        |code: &str, word: &str| if coloured { format!("\x1b[1;{code}m{word}\x1b[0m") } else { word.to_owned() };
    let told = messages(failure);
    let mut text = format!("{} {}\n", paint("31", "error:"), visible(&told[0]));
    for cause in &told[1..] {
        let _ = writeln!(text, "  caused by: {}", visible(cause));
    }
    // What is known of a file that has changed says more than what a command adds.
    let changed =
        causes(failure).filter_map(store_error).find(|error| matches!(error, StoreError::NotAsWritten { .. }));
    let changed = changed.and_then(StoreError::hint).map(str::to_owned);
    let other_kind = || causes(failure).find_map(folders::other_kind);
    if let Some(hint) = changed.or_else(other_kind).or_else(|| causes(failure).find_map(hint_of)) {
        let _ = writeln!(text, "{} {}", paint("36", "hint:"), visible(&capital(&hint)));
    }
    text
}

/// What a failure says, and what its causes add to that: many messages end with that of their cause.
fn messages(failure: &anyhow::Error) -> Vec<String> {
    let mut told = vec![failure.to_string()];
    for cause in failure.chain().skip(1) {
        let cause = cause.to_string();
        if !told[told.len() - 1].contains(&cause) {
            told.push(cause);
        }
    }
    told
}

/// A failure with its causes in one line, and what can be done about it.
pub(super) fn told_with_hint(failure: &anyhow::Error) -> (String, Option<String>) {
    (messages(failure).join(": "), error::hint(failure))
}

fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    match cause.downcast_ref::<StatisticsError>() {
        Some(StatisticsError::Pipeline(error)) => error.hint(),
        _ => error::hint_of(cause),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::run::RunError;
    use anyhow::Context;
    use memtrain_index::IndexError;
    use memtrain_pipeline::PipelineError;

    #[test]
    fn a_failure_is_told_with_causes_and_hint_once() {
        let missing = memtrain_corpora::store::read(Path::new("/no/such/file")).expect_err("missing");
        let failure = anyhow::Error::from(missing).context("the corpus is not built");
        let told = describe(&failure, false);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "error: the corpus is not built");
        assert_eq!(lines[1], "  caused by: could not read `/no/such/file`: No such file or directory (os error 2)");
        assert_eq!(lines[2], "hint: Check the path: nothing is there");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn nothing_in_a_failure_steers_the_terminal() {
        let inner = io::Error::other("a template said \u{1b}[2J");
        let failure = anyhow::Error::from(inner).context("`\u{9b}31m` is no model\u{0}");
        let failure = Err::<(), _>(failure).hint(|| "not \u{202e}cba".into()).expect_err("a failure");
        let told = describe(&failure, false);
        assert_eq!(
            told,
            "error: `\\u009b31m` is no model\\u0000\n  caused by: a template said \\u001b[2J\nhint: Not \\u202ecba\n"
        );
        assert!(describe(&failure, true).starts_with("\u{1b}[1;31merror:\u{1b}[0m `\\u009b31m`"));
    }

    #[test]
    fn exit_codes_tell_kinds_of_failures_apart() {
        let usage = || -> anyhow::Result<()> { Err(Usage("`--set x` has no `=`".into()).into()) };
        let hinted = usage().hint(|| "write `--set key=value`".into()).expect_err("a failure");
        assert_eq!(describe(&hinted, false), "error: `--set x` has no `=`\nhint: Write `--set key=value`\n");
        assert_eq!(code(&hinted), 2);
        assert_eq!(code(&usage().context("no").expect_err("a failure")), 2);
        assert_eq!(code(&anyhow::Error::from(RunError::Stopped).context("at step 3")), 75);
        assert_eq!(code(&PipelineError::Stopped.into()), 75);
        assert_eq!(code(&PipelineError::Truncated { dumps: 1, names: Vec::new(), pages: 7 }.into()), 3);
        assert_eq!(code(&PipelineError::Config { key: "ingest.dumps", problem: "is empty".into() }.into()), 2);
        assert_eq!(code(&IndexError::Config { key: "k", got: "0".into(), expected: "more" }.into()), 2);
        assert_eq!(code(&anyhow::anyhow!("other")), 1);
    }
}
