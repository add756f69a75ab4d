//! Reference page of all commands in Markdown, `docs/cli.md`, generated from clap's description of the command line.

use std::fmt::Write;

use clap::builder::StyledStr;
use clap::{Arg, Command};

/// What stands above the commands.
const HEAD: &str = "\
# Command line

Every command with its arguments. This page is made by `memtrain man --markdown`; `memtrain COMMAND --help` prints
the same on a terminal, `memtrain man DIR` writes manual pages, and `memtrain completions SHELL` completes commands and
options. Data goes to standard output, everything else to standard error.
[Exit codes](configuration.md#exit-codes) and [environment variables](configuration.md#environment-variables) are
described with the configuration.
";

/// The page of a command line on which `Command::build` was called.
pub fn page(command: &Command) -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, command, "memtrain", 2);
    page
}

fn section(page: &mut String, command: &Command, name: &str, level: usize) {
    let _ = write!(page, "\n{} `{name}`\n\n", "#".repeat(level));
    if let Some(about) = text(command.get_long_about().or(command.get_about())) {
        let _ = write!(page, "{about}\n\n");
    }
    let aliases: Vec<String> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    if !aliases.is_empty() {
        let _ = write!(page, "Also called {}.\n\n", aliases.join(", "));
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim().trim_start_matches("Usage:").trim_start();
    let _ = write!(page, "```text\n{usage}\n```\n");
    // Options of all commands stand with the first one; `--help` and `--version` explain themselves.
    let shown = |argument: &&Arg| {
        let of_all = argument.is_global_set() && level > 2;
        !argument.is_hide_set() && !of_all && !["help", "version"].contains(&argument.get_id().as_str())
    };
    let (positional, options): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().filter(shown).partition(|argument| argument.is_positional());
    let lines: Vec<String> = positional.into_iter().chain(options).map(line).collect();
    if !lines.is_empty() {
        let _ = write!(page, "\n{}\n", lines.join("\n"));
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set()) {
        section(page, below, &format!("{name} {}", below.get_name()), (level + 1).min(4));
    }
}

/// An argument as an item of a list.
fn line(argument: &Arg) -> String {
    let mut line = format!("* `{}`", spelled(argument));
    if let Some(help) = text(argument.get_long_help().or(argument.get_help())) {
        let _ = write!(line, ": {help}");
    }
    let takes_values = argument.get_num_args().is_some_and(|range| range.takes_values());
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|value| takes_values && !value.is_hide_set() && !argument.is_hide_possible_values_set())
        .map(|value| match text(value.get_help()) {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        let _ = write!(line, "; one of {}", values.join(", "));
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if takes_values && !defaults.is_empty() && !argument.is_hide_default_value_set() {
        let _ = write!(line, "; by default {}", defaults.join(" "));
    }
    line
}

/// An argument as it is typed: `-v, --verbose`, `--set <KEY=VALUE>`, `<FILE>`.
fn spelled(argument: &Arg) -> String {
    let long_and_short: Vec<String> = argument
        .get_short()
        .map(|short| format!("-{short}"))
        .into_iter()
        .chain(argument.get_long().map(|long| format!("--{long}")))
        .collect();
    let values = match argument.get_num_args().is_some_and(|range| range.takes_values()) {
        true => {
            let names: Vec<String> = match argument.get_value_names() {
                Some(names) => names.iter().map(|name| format!("<{name}>")).collect(),
                None => vec![format!("<{}>", argument.get_id().as_str().to_uppercase())],
            };
            match argument.is_require_equals_set() {
                true => return format!("{}[={}]", long_and_short.join(", "), names.join(" ")),
                false => names.join(" "),
            }
        }
        false => String::new(),
    };
    let more = if argument.is_positional() && argument.get_num_args().is_some_and(|range| range.max_values() > 1) {
        "..."
    } else {
        ""
    };
    format!("{} {values}{more}", long_and_short.join(", ")).trim().to_owned()
}

/// A text of clap's on one line.
fn text(styled: Option<&StyledStr>) -> Option<String> {
    let text = styled?.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_reference_page_is_the_one_that_the_command_line_makes() {
        let mut command = Cli::command();
        command.build();
        let (written, made) = (include_str!("../../../docs/cli.md"), page(&command));
        let differs = written.lines().zip(made.lines()).find(|(written, made)| written != made);
        assert!(written == made, "docs/cli.md is stale: `memtrain man --markdown > docs/cli.md`; {differs:?}");
    }

    #[test]
    fn arguments_have_values_defaults_and_choices() {
        let mut command = Cli::command();
        command.build();
        let page = page(&command);
        for part in [
            "\n#### `memtrain corpus run-shard`\n",
            "* `--set <KEY=VALUE>`: Change a key",
            "* `--stage <STAGE>`: The stage; one of `ingest` (Dumps to articles and passages)",
            "* `--preset <PRESET>`: Shape of the policy",
            "; by default `tiny`\n",
            "Also called `warm-up`.",
            "\n* `-q, --quiet`: Say nothing but warnings",
        ] {
            assert!(page.contains(part), "`{part}` is missing from:\n{page}");
        }
        assert_eq!(page.matches("`-q, --quiet`").count(), 1);
        assert!(!page.contains("* `-h, --help`"));
    }
}
