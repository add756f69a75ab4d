//! `memtrain config`: a configuration checked, or printed with every default; the reference of all keys.

use anyhow::Context;
use clap::{Args, Subcommand};
use memtrain_session::Session;
use memtrain_session::check::needs_corpus;

use super::configuration::ConfigArgs;
use super::print::print_line;
use crate::config::origin::origin;
use crate::config::reference;
use crate::config::sources::Sources;

/// Arguments of `memtrain config`.
#[derive(Debug, Args)]
pub struct ConfigCommandArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Check keys, values, what they say together, the prompts, and whether the corpus, if there is one, has passages enough; nothing is asked of the hub
    Check(ConfigArgs),
    /// Print the configuration with every default
    Show(ShowArgs),
    /// Print a JSON schema of configuration files, by which editors complete and check them
    Schema,
    /// Print the reference page of all keys, in Markdown
    Reference,
}

/// Arguments of `memtrain config show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Say behind each value where it comes from: file and line, `--set`, or `default`
    #[arg(long)]
    pub origin: bool,
}

/// Runs a command on a configuration.
///
/// # Errors
/// If the configuration is wrong.
pub fn run(args: &ConfigCommandArgs) -> anyhow::Result<()> {
    match &args.action {
        Action::Check(args) => {
            let config = args.load()?;
            if needs_corpus(&config) {
                memtrain_pipeline::check_passages(&config.corpus, &config.run.corpus)?;
            }
            Session::new(config)?;
            print_line!("`{}`: nothing is wrong", args.path().display())?;
        }
        Action::Show(args) => {
            let sources = args.config.sources()?;
            let config = args.config.resolve(&sources)?;
            let text = toml::to_string(&config).context("the configuration cannot be written")?;
            let text = if args.origin { with_origins(&text, &sources, &args.config.set) } else { text };
            print_line!("{}", text.trim_end())?;
        }
        Action::Schema => {
            print_line!("{:#}", reference::schema())?;
        }
        Action::Reference => {
            print_line!("{}", reference::page().trim_end())?;
        }
    }
    Ok(())
}

/// A configuration as `toml::to_string` writes it, a comment behind each value that says where it comes from.
fn with_origins(text: &str, sources: &Sources, set: &[String]) -> String {
    /// What opens and closes a text of several lines.
    const FENCES: [&str; 2] = ["\"\"\"", "'''"];
    let (mut section, mut open) = (String::new(), None::<(&str, String)>);
    let told = |key: &str| format!("  # {}", origin(sources, set, key));
    let lines = text.lines().map(|line| {
        let comment = match &open {
            Some((fence, key)) if line.ends_with(*fence) => {
                let comment = told(key);
                open = None;
                comment
            }
            Some(_) => String::new(),
            None => {
                if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                    section = name.trim_matches(['[', ']']).to_owned();
                    return format!("{line}\n");
                }
                let Some((name, value)) = line.split_once(" = ") else { return format!("{line}\n") };
                let key = format!("{section}.{name}");
                let fence = FENCES.into_iter().find(|fence| value.starts_with(fence) && !value[3..].ends_with(fence));
                match fence {
                    Some(fence) => {
                        open = Some((fence, key));
                        String::new()
                    }
                    None => told(&key),
                }
            }
        };
        format!("{line}{comment}\n")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn origins_are_comments_behind_every_value() {
        let sources = Sources::of_text(Path::new("a.toml"), "[train]\nsteps = 3\n").unwrap();
        let mut config: Config = sources.parse().unwrap();
        config.policy.lora = Some(Default::default());
        let text = toml::to_string(&config).unwrap();
        let shown = with_origins(&text, &sources, &["run.name=b".to_owned()]);
        for line in
            ["steps = 3  # a.toml:2", "name = \"memtrain\"  # --set", "seed = 1  # default", "\"\"\"  # default"]
        {
            assert!(shown.contains(line), "{line} is not in {shown}");
        }
        assert_eq!(toml::from_str::<toml::Table>(&shown).unwrap(), toml::from_str::<toml::Table>(&text).unwrap());
        let values = |text: &str| text.lines().filter(|line| line.contains(" = ")).count();
        assert_eq!(shown.matches("  # ").count(), values(&text));
    }
}
