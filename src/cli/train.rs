//! `memtrain train` and `memtrain sft`.

use std::path::{Path, PathBuf};

use clap::Args;
use memtrain_session::Session;
use memtrain_session::check::{check, needs_corpus};
use memtrain_session::training::{Prepared, check_ranks, fine_tune, train_from};

use super::configuration::{ConfigArgs, DeviceArgs, check_name};
use super::failure::{Usage, WithHint};
use super::machine::MachineArgs;
use super::models;
use super::print::print_line;
use super::ranks;
use super::setup;
use super::written::written_path;
use crate::config::keys::Trainer;
use crate::policy::directory;
use crate::run::branch::branch;
use crate::run::signal::StopRequest;
use crate::run::{RunError, RunSetup};
use crate::train::Overlap;

/// Arguments of `memtrain train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Start anew: what there is of the run of this name is moved to a folder beside it
    #[arg(long)]
    pub clean: bool,
    /// Make a new run of this name that goes on from the newest checkpoint of the configured one, with what was changed in the
    /// configuration since; typed again, go on with it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["clean", "dry_run"])]
    pub branch: Option<String>,
    /// What computes
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What a dry run is planned for
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Arguments of `memtrain sft`.
#[derive(Debug, Args)]
pub struct SftArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What computes
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Where the fine-tuned policy goes
    #[arg(long, value_name = "DIR", value_parser = written_path())]
    pub out: PathBuf,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Start anew: what there is of the run of this name is moved to a folder beside it
    #[arg(long)]
    pub clean: bool,
    /// What a dry run is planned for
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Trains a policy with GRPO, or goes on with it.
///
/// # Errors
/// If something is missing or wrong, or a signal asked to stop.
pub fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let config = args.config.load_for(&args.device)?;
    if args.dry_run {
        return super::plan::print(&config, &args.machine);
    }
    let mut config = config;
    check(&config)?;
    if needs_corpus(&config) {
        setup::check_corpus(&config, &args.config)?;
    }
    let ranks = ranks::connect(&mut config)?;
    ranks.first_alone(|| models::place(&mut config))?;
    let parent = args.branch.as_ref().map(|name| {
        let parent = config.run.runs.join(&config.run.name);
        config.run.name.clone_from(name);
        parent
    });
    check_name(&config.run.name)?;
    let session = Session::new(config)?;
    let start = session.starting_policy()?;
    let stop = StopRequest::on_signals_saying(told_at_a_signal(session.config.train.overlap))?;
    // All that can be wrong with it is found before there is a folder.
    let prepared = Prepared::new(&session, &start, &stop)?;
    let setup = RunSetup { clean: args.clean, ..session.run_setup(&start, Trainer::Train)? };
    check_ranks(&session, &setup, &**ranks.collective())?;
    let open = || {
        if let Some(parent) = parent {
            branch(&parent, &session.run_path(), &setup).or_else(|error| unbegun(error, &parent))?;
        }
        session.open_run(&setup)
    };
    let run = ranks.is_first().then(open).transpose()?;
    let progress = ranks.observer();
    ranks.leave(|| {
        let trained = train_from(&session, start, prepared, run.as_ref(), ranks.collective(), &*progress, &stop)?;
        if ranks.is_first() {
            print_line!("{}", trained.path.display())?;
        }
        Ok(())
    })
}

/// What is told of a branch from a run that there is not.
fn unbegun<T>(error: RunError, parent: &Path) -> anyhow::Result<T> {
    match error {
        RunError::NoRun { .. } => Err(Usage(format!("there is no run `{}` to branch from", parent.display())))
            .hint(|| "train it first, without `--branch`; `run.name` says which run a branch is of".to_owned()),
        error => Err(error.into()),
    }
}

/// What the first signal is answered by.
const fn told_at_a_signal(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::None => {
            "stopping: sampling is given up, an update under way is finished; what is done is saved as a checkpoint, and the \
             same command goes on from there. A second Ctrl-C ends at once: then from the newest checkpoint"
        }
        Overlap::OneStep => {
            "stopping: an update under way is finished; the same command goes on from the newest checkpoint. A second Ctrl-C \
             ends at once"
        }
    }
}

/// Fine-tunes a policy on text and demonstrations (SFT) and writes it to `--out`.
///
/// # Errors
/// If something is missing or wrong, or a signal asked to stop.
pub fn sft(args: &SftArgs) -> anyhow::Result<()> {
    let mut config = args.config.load_for(&args.device)?;
    // A run of its own: training with the same configuration must not take the checkpoints of SFT for its own. The name
    // is that of the command's alias, so that runs that began under it go on.
    config.run.name.push_str("-warm-up");
    if args.dry_run {
        return super::plan::print_sft(&config, &args.out, &args.machine);
    }
    check(&config)?;
    setup::check_corpus(&config, &args.config)?;
    let ranks = ranks::connect(&mut config)?;
    ranks.first_alone(|| models::place(&mut config))?;
    let session = Session::new(config)?;
    let config = &session.config;
    // Before hours of work.
    directory::check_target(&args.out, &config.policy.path.iter().map(Path::new).collect::<Vec<_>>())?;
    let start = session.starting_policy()?;
    let stop = StopRequest::on_signals()?;
    let progress = ranks.observer();
    ranks.leave(|| {
        let policy = fine_tune(&session, &start, args.clean, ranks.collective(), &*progress, &stop)?;
        if ranks.is_first() {
            directory::save(&policy, &args.out)?;
            print_line!("{}", args.out.display())?;
        }
        Ok(())
    })
}
