//! `memtrain doctor`: what this program and this machine are, as far as they decide how a command runs, with what to do about each
//! thing that stands in the way.

mod machine;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use memtrain_corpora::store;
use memtrain_hub::Hub;
use memtrain_session::Session;
use serde::Serialize;

use super::configuration::resolve;
use super::environment;
use super::failure::told_with_hint;
use super::print::{output, print_line};
use crate::config::sources::Sources;
use crate::run::fold::folded_below;

/// Begins what goes on with a line on a terminal: as wide as the mark and the name.
const BELOW: &str = "              ";

/// Arguments of `memtrain doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Configuration to check as well
    #[arg(value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change a key of it
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    pub set: Vec<String>,
    /// Print one JSON object, for the report of a bug; it names folders, and no keys or tokens
    #[arg(long)]
    pub json: bool,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Fine,
    /// Something that only some commands need is missing or slow.
    Note,
    /// It stands in the way of every command.
    Wrong,
}

/// One thing that matters, what it is, and what to do where it is not as it should be.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn fine(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Fine, found: found.into(), fix: None }
    }

    fn note(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, state: State::Note, found: found.into(), fix: Some(fix.into()) }
    }

    fn wrong(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, state: State::Wrong, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Prints a line for each thing that matters; what would stand in the way begins with `!`, what only some commands need with `-`.
///
/// # Errors
/// If something would stand in the way of every command, or the output cannot be written.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let mut findings = vec![
        machine::program(),
        Finding::fine("system", format!("{}, {}", std::env::consts::OS, std::env::consts::ARCH)),
        machine::processor(),
        machine::memory(),
        machine::disk(Path::new(".")),
        folder(),
        settings(),
        machine::card(),
        machine::onnx_runtime(),
        machine::libtorch(),
        hub(&Hub::from_env()),
    ];
    findings.extend(args.config.as_deref().map(|path| configuration(path, &args.set)));
    if args.json {
        print_line!("{:#}", serde_json::json!({ "findings": findings }))?;
    } else {
        for Finding { name, state, found, fix } in &findings {
            let mark = match state {
                State::Fine => ' ',
                State::Note => '-',
                State::Wrong => '!',
            };
            let mut lines = format!("{mark} {name:<10}  {found}\n");
            if let Some(fix) = fix {
                let _ = writeln!(lines, "{:14}fix: {fix}", "");
            }
            if io::stdout().is_terminal() {
                lines = folded_below(&lines, BELOW);
            }
            output().write_all(lines.as_bytes())?;
        }
    }
    let wrong = findings.iter().filter(|finding| finding.state == State::Wrong).count();
    anyhow::ensure!(wrong == 0, "{wrong} of these would stand in the way: the lines that begin with `!`");
    Ok(())
}

/// Settings that a process can only be born with.
fn settings() -> Finding {
    let missing = environment::missing(|name| std::env::var_os(name).filter(|_| name != environment::MARK));
    if missing.is_empty() {
        return Finding::fine("settings", "the allocator and candle are set for training");
    }
    let names: Vec<String> =
        missing.iter().map(|(name, value)| format!("{name}={}", value.to_string_lossy())).collect();
    let fix = format!("unset {}, or set these", environment::MARK);
    Finding::wrong("settings", format!("training is slower without {}", names.join(" ")), fix)
}

fn hub(hub: &Hub) -> Finding {
    let kept = if store::is_dir(&hub.cache) { "" } else { " (not there yet)" };
    let kept = format!("models are kept in `{}`{kept}", hub.cache.display());
    if hub.offline {
        return Finding::fine("hub", format!("nothing is asked of it (HF_HUB_OFFLINE); {kept}"));
    }
    let token = if hub.token.is_some() { "with" } else { "without" };
    match hub.reach() {
        Ok(()) => Finding::fine("hub", format!("{} answers, {token} a token; {kept}", hub.endpoint)),
        Err(why) => Finding::note(
            "hub",
            format!("{} does not answer ({why}); {kept}", hub.endpoint),
            "only models named as on the hub need it: HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy; \
             HF_HUB_OFFLINE=1 asks for nothing and takes what is kept",
        ),
    }
}

/// Whether a file can be written here, where corpora and runs go by default.
fn folder() -> Finding {
    let fix = "change to a folder of yours, or name others with `run.corpus` and `run.runs`";
    let here = match std::env::current_dir() {
        Ok(here) => here,
        Err(error) => return Finding::wrong("folder", format!("the folder you are in cannot be found: {error}"), fix),
    };
    match tempfile::Builder::new().prefix(".memtrain-doctor-").tempfile_in(&here) {
        Ok(_) => Finding::fine("folder", format!("`{}` can be written", here.display())),
        Err(error) => Finding::wrong("folder", format!("`{}` cannot be written: {error}", here.display()), fix),
    }
}

/// A configuration as `memtrain config check` reads it.
fn configuration(path: &Path, set: &[String]) -> Finding {
    let checked = Sources::read(path).and_then(|sources| Session::new(resolve(&sources, set)?));
    match checked {
        Ok(_) => Finding::fine("config", format!("`{}`: nothing is wrong", path.display())),
        Err(error) => {
            let (told, hint) = told_with_hint(&error);
            Finding::wrong("config", told, hint.unwrap_or_else(|| "`memtrain config check` says more".to_owned()))
        }
    }
}
