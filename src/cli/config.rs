//! `memtrain config`: a configuration checked, or printed with every default.

use anyhow::Context;
use clap::{Args, Subcommand};

use super::configuration::ConfigArgs;
use super::plan;
use super::print::print_line;
use super::setup::Session;

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
    Show(ConfigArgs),
}

/// Runs a command on a configuration.
///
/// # Errors
/// If the configuration is wrong.
pub fn run(args: &ConfigCommandArgs) -> anyhow::Result<()> {
    match &args.action {
        Action::Check(args) => {
            let config = args.load()?;
            if plan::needs_corpus(&config) {
                memtrain_pipeline::check_passages(&config.corpus, &config.run.corpus)?;
            }
            Session::new(config)?;
            print_line!("`{}`: nothing is wrong", args.path().display())?;
        }
        Action::Show(args) => {
            let text = toml::to_string(&args.load()?).context("the configuration cannot be written")?;
            print_line!("{}", text.trim_end())?;
        }
    }
    Ok(())
}
