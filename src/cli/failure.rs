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
use std::path::Path;
use std::process::ExitCode;

use memtrain_corpora::store::StoreError;
use memtrain_corpora::visible::visible;
use memtrain_session::error;
pub use memtrain_session::error::{ConfigError, Hinted, Usage, WithHint};
use memtrain_session::error::{ErrorKind, causes, kind, store_error};
use memtrain_statistics::StatisticsError;
use serde::de::DeserializeOwned;

pub(super) use self::folders::FolderKind;
use super::print::is_closed;
use super::ranks;
use super::sources::Sources;
use crate::config::{ranges, renamed};

/// Tells a failure on stderr, and gives the exit code.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if causes(&failure).any(is_closed) {
        // Whoever read the output has enough of it.
        return ExitCode::SUCCESS;
    }
    let (code, text) = outcome(&failure);
    // The first of several processes says it for all.
    if kind(&failure) != ErrorKind::Stopped || !ranks::is_silent() {
        eprint!("{text}");
    }
    ExitCode::from(code)
}

/// The exit code of a failure, and what is told of it on stderr.
pub fn outcome(failure: &anyhow::Error) -> (u8, String) {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    (code(failure), describe(failure, io::stderr().is_terminal() && !no_colour))
}

/// Tells what is wrong with the command line, or what was asked for instead of a command, and gives the exit code.
pub fn usage(error: &clap::Error) -> ExitCode {
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
    let mut told = failure.to_string();
    let mut text = format!("{} {}\n", paint("31", "error:"), visible(&told));
    for cause in failure.chain().skip(1) {
        let cause = cause.to_string();
        // Many messages end with that of their cause.
        if !told.contains(&cause) {
            let _ = writeln!(text, "  caused by: {}", visible(&cause));
            told = cause;
        }
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

/// Reads a configuration. `path` is for messages; one that begins with `--` is an option whose text has no lines to name.
///
/// ```
/// use memtrain::cli::failure::parse_config;
/// #[derive(Debug, serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     #[serde(rename = "steps")]
///     _steps: u32,
/// }
/// let error = parse_config::<Config>("train.toml".as_ref(), "stepz = 3").unwrap_err();
/// assert_eq!(error.message, "unknown key `stepz` at train.toml:1:1");
/// assert_eq!(error.hint.as_deref(), Some("did you mean `steps`?"));
/// ```
///
/// # Errors
/// What is wrong, with line and column, and the nearest known key for an unknown one.
pub fn parse_config<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| config_error(path, text, &error))
}

fn config_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map(|span| span.start);
    let place = place(path, text, start);
    let message = error.message();
    if let Some((key, known)) = unknown_key(message) {
        return ConfigError {
            message: format!("unknown key `{key}` at {place}"),
            hint: Some(nearest_hint(key, &known)),
        };
    }
    if let Some(wrong) = numbers::WrongType::of(message, text, error.span()) {
        let hint = start.and_then(|start| look_at(text, start));
        let message = format!("`{}` is {} at {place}: it must be {}", wrong.key, wrong.value, wrong.expected);
        return ConfigError { message, hint };
    }
    let what = message.replace("missing field", "missing key").replace("duplicate field", "duplicate key");
    let what = what.trim_end().replace('\n', ": ");
    let hint = start.and_then(|start| look_at(text, start)).filter(|_| !what.starts_with("missing"));
    ConfigError { message: format!("{what} at {place}"), hint }
}

/// Refuses a configuration with a number that its key may not have. `set` are the changes of the command line, which `config`
/// holds and the files do not.
///
/// # Errors
/// The key, its value, its place, and what it may be.
pub fn check_numbers(sources: &Sources, set: &[String], config: &toml::Table) -> Result<(), ConfigError> {
    let Some(wrong) = ranges::check(config) else { return Ok(()) };
    let typed = if is_changed(set, &wrong.key) { None } else { sources.value_place(&wrong.key) };
    let (place, hint) = match typed {
        Some((file, start)) => (place(&file.path, &file.text, Some(start)), look_at(&file.text, start)),
        None => ("--set".to_owned(), None),
    };
    Err(ConfigError { message: format!("`{}` is {} at {place}: {wrong}", wrong.key, wrong.value), hint })
}

/// Whether a key is among the changes of the command line.
fn is_changed(set: &[String], key: &str) -> bool {
    set.iter().any(|change| {
        let changed = renamed::present_name(change.split('=').next().unwrap_or_default());
        key.strip_prefix(&changed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Where the value of a key comes from: file and line, the command line, or the default.
pub fn origin(sources: &Sources, set: &[String], key: &str) -> String {
    match sources.value_place(key) {
        _ if is_changed(set, key) => "--set".to_owned(),
        Some((file, start)) => format!("{}:{}", file.path.display(), position(&file.text, start).0),
        None => "default".to_owned(),
    }
}

/// The byte at which a key's value begins.
pub(crate) fn value_place(text: &str, key: &str) -> Option<usize> {
    let table = toml::de::DeTable::parse(text).ok()?;
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let mut value = table.get_ref().get(first)?;
    for part in rest.split('.').filter(|part| !part.is_empty()) {
        value = value.get_ref().get(part)?;
    }
    Some(value.span().start)
}

/// File, line and column of a byte; the name alone for an option.
fn place(path: &Path, text: &str, byte: Option<usize>) -> String {
    match byte {
        Some(byte) if !path.as_os_str().as_encoded_bytes().starts_with(b"--") => {
            let (line, column) = position(text, byte);
            format!("{}:{line}:{column}", path.display())
        }
        _ => path.display().to_string(),
    }
}

/// A hint to the line of a byte.
fn look_at(text: &str, byte: usize) -> Option<String> {
    let line = text.lines().nth(text[..byte].matches('\n').count())?.trim();
    (!line.is_empty()).then(|| format!("look at `{line}`"))
}

/// Line and column, both from 1, the column in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The key and the known ones out of serde's message on an unknown field or variant.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    // What stands between backticks in the list that follows.
    Some((key, rest.split('`').skip(1).step_by(2).collect()))
}

fn nearest_hint(key: &str, known: &[&str]) -> String {
    /// Jaro-Winkler similarity from which a known key is worth suggesting.
    const NEAR: f64 = 0.8;
    let known: Vec<&str> = known.iter().copied().filter(|name| !renamed::is_earlier_name(name)).collect();
    let near = known.iter().map(|&name| (strsim::jaro_winkler(key, name), name));
    match near.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((similarity, name)) if similarity >= NEAR => format!("did you mean `{name}`?"),
        Some(_) => {
            format!("known here: {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
        None => "no keys are known here".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunError;
    use anyhow::Context;
    use memtrain_index::IndexError;
    use memtrain_pipeline::PipelineError;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[expect(dead_code, reason = "only parsed")]
        train: Train,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Train {
        steps: u32,
        learning_rate: f64,
    }

    fn complaint(text: &str) -> (String, Option<String>) {
        let error = parse_config::<Config>(Path::new("a.toml"), text).expect_err("wrong");
        (error.message, error.hint)
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest() {
        let (message, hint) = complaint("[train]\nsteps = 1\n  learnin_rate = 0.1\n");
        assert_eq!(message, "unknown key `learnin_rate` at a.toml:3:3");
        assert_eq!(hint.as_deref(), Some("did you mean `learning_rate`?"));
        let (message, hint) = complaint("[model]\nx = 1\n");
        assert_eq!(message, "unknown key `model` at a.toml:1:2");
        assert_eq!(hint.as_deref(), Some("known here: `train`"));
        let error = parse_config::<Config>(Path::new("--set"), "[train]\nstep = 1").expect_err("wrong");
        assert_eq!(error.message, "unknown key `step` at --set");
    }

    #[test]
    fn wrong_types_missing_keys_and_syntax_have_a_place() {
        let (message, hint) = complaint("[train]\nsteps = \"ten\"\nlearning_rate = 1.0");
        assert_eq!(message, "`train.steps` is \"ten\" at a.toml:2:9: it must be a whole number, 0 or more");
        assert_eq!(hint.as_deref(), Some("look at `steps = \"ten\"`"));
        for (value, expected) in [
            ("1.5", "a whole number, 0 or more"),
            ("-1", "a whole number, 0 or more"),
            ("[1]", "a whole number, 0 or more"),
        ] {
            let (message, _) = complaint(&format!("train = {{ steps = {value}, learning_rate = 1.0 }}"));
            assert_eq!(message, format!("`train.steps` is {value} at a.toml:1:19: it must be {expected}"));
        }
        let (message, _) = complaint("[train]\nsteps = 1\nlearning_rate = \"fast\"");
        assert_eq!(message, "`train.learning_rate` is \"fast\" at a.toml:3:17: it must be a number");
        assert_eq!(complaint("train = 7").0, "`train` is 7 at a.toml:1:9: it must be a section of keys");
        let error = parse_config::<Config>(Path::new("--set"), "[train]\nsteps = true").expect_err("wrong");
        assert_eq!(error.message, "`train.steps` is true at --set: it must be a whole number, 0 or more");
        let (message, _) = complaint("[train]\nsteps = 3");
        assert_eq!(message, "missing key `learning_rate` at a.toml:1:1");
        let (message, _) = complaint("[train]\nsteps = = 3");
        assert!(message.ends_with("at a.toml:2:9"), "{message}");
    }

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
