//! `memtrain slurm`: a corpus or a training run as jobs of Slurm.
//!
//! The scripts come of the templates in `slurm/`, which know nothing of what is done already. What is left to do stands in
//! `…-submit.sh` alone: for each stage of a corpus an array over its shards between a job that plans it and one that commits it,
//! each behind those whose output it reads. That script sends all of it or nothing, and `--submit` runs it.

mod shell;
mod stages;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::{Args, Subcommand};
use memtrain_corpora::store;
use memtrain_session::check::check;

use self::shell::{Field, filled, quoted};
use super::configuration::{ConfigArgs, DeviceArgs, check_name};
use super::corpus::BuildArgs;
use super::failure::{Usage, WithHint};
use super::print::print_line;
use super::written::written_path;

/// What each job does first: its folder, its threads, and what becomes of signals.
const JOB: &str = include_str!("slurm/job.sh");
const SHARDS: &str = include_str!("slurm/corpus-shards.sbatch");
const STEP: &str = include_str!("slurm/corpus-step.sbatch");
const TRAIN: &str = include_str!("slurm/train.sbatch");
const SUBMIT: &str = include_str!("slurm/submit.sh");
/// Before the checksum in the last line of every script: those of somebody else are not written over, nor those that somebody has
/// changed.
const CHECK: &str = "\n# As it was written: ";

/// Arguments of `memtrain slurm`.
#[derive(Debug, Args)]
pub struct SlurmArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Jobs that do what is missing of a corpus: an array over the shards of each stage, and a job that commits it
    Corpus(CorpusJobsArgs),
    /// A job that trains, and goes to the queue again when its time is over
    Train(TrainJobArgs),
}

/// Arguments of `memtrain slurm corpus`.
#[derive(Debug, Args)]
pub struct CorpusJobsArgs {
    /// Configuration, dumps and folder
    #[command(flatten)]
    pub build: BuildArgs,
    /// Jobs that the shards of a stage are shared out to
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub tasks: u16,
    /// Scripts and jobs
    #[command(flatten)]
    pub jobs: JobsArgs,
}

/// Arguments of `memtrain slurm train`.
#[derive(Debug, Args)]
pub struct TrainJobArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What computes
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Go on from the newest checkpoint of the run as a run of this name, as `memtrain train --branch` does
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// Scripts and jobs
    #[command(flatten)]
    pub jobs: JobsArgs,
}

/// Arguments of both.
#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Folder for the scripts, and for the logs of the jobs
    #[arg(long, value_name = "DIR", default_value = "slurm", value_parser = written_path())]
    pub scripts: PathBuf,
    /// Send the jobs with sbatch, and print the number of the one that all others come before
    #[arg(long)]
    pub submit: bool,
    /// Option of sbatch for each job, for example `--sbatch=--time=04:00:00`; can be given several times
    #[arg(long = "sbatch", value_name = "OPTION", allow_hyphen_values = true)]
    pub options: Vec<String>,
    /// Line of shell that each job runs first, for example `--setup='module load cuda'`; can be given several times
    #[arg(long, value_name = "LINE", allow_hyphen_values = true)]
    pub setup: Vec<String>,
    /// Numbers of jobs that must have ended well before, with `:` between; may be empty
    #[arg(long, value_name = "JOBS", default_value = "", hide_default_value = true)]
    pub after: String,
    /// The program, where the jobs find it at another place [default: this one]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

/// Writes the scripts, and sends the jobs where that was asked for.
///
/// # Errors
/// If a value cannot stand in a script, a file of somebody else has the name of one, or sbatch refuses a job.
pub fn run(args: &SlurmArgs) -> anyhow::Result<()> {
    match &args.action {
        Action::Corpus(args) => corpus(args),
        Action::Train(args) => train(args),
    }
}

fn corpus(args: &CorpusJobsArgs) -> anyhow::Result<()> {
    let mut arguments = of_configuration(&args.build.config)?;
    for dump in &args.build.dumps {
        arguments.extend(["--dump".to_owned(), dump.clone()]);
    }
    if let Some(out) = &args.build.out {
        arguments.extend(["--out".to_owned(), text(out)?]);
    }
    if args.build.accept_truncated {
        arguments.push("--accept-truncated".to_owned());
    }
    let scripts = Scripts::new(&args.jobs, arguments)?;
    let stages = super::corpus::stages(&args.build.checked()?)?;
    let Some(jobs) = stages::jobs(&stages, usize::from(args.tasks)) else {
        tracing::info!("every stage is done: there is nothing to send");
        return Ok(());
    };
    scripts.write("corpus-shards.sbatch", SHARDS)?;
    scripts.write("corpus-step.sbatch", STEP)?;
    let jobs = format!("first='{}'\n{jobs}", scripts.after);
    scripts.submit("corpus", jobs)
}

fn train(args: &TrainJobArgs) -> anyhow::Result<()> {
    check(&args.config.load_for(&args.device)?)?;
    let mut arguments = of_configuration(&args.config)?;
    if let Some(device) = args.device.device {
        arguments.extend(["--device".to_owned(), device.to_string()]);
    }
    if let Some(name) = &args.branch {
        check_name(name)?;
        arguments.extend(["--branch".to_owned(), name.clone()]);
    }
    let scripts = Scripts::new(&args.jobs, arguments)?;
    scripts.write("train.sbatch", TRAIN)?;
    let jobs = format!("first='{}'\nafter $first\nsubmit train.sbatch", scripts.after);
    scripts.submit("train", jobs)
}

/// 16 hexadecimal digits that another script has not.
fn checksum(script: &str) -> String {
    store::hash_bytes(script.as_bytes()).chars().take(16).collect()
}

/// Whether a file is a script that nobody has changed since.
fn is_as_written(path: &Path) -> bool {
    store::read_to_string(path).is_ok_and(|text| {
        let parts = text.rsplit_once(CHECK);
        parts.is_some_and(|(script, check)| check.strip_suffix('\n') == Some(&checksum(script)))
    })
}

/// The arguments that name a configuration and change it.
fn of_configuration(args: &ConfigArgs) -> anyhow::Result<Vec<String>> {
    let mut arguments = vec!["--config".to_owned(), text(args.path())?];
    for change in &args.set {
        arguments.extend(["--set".to_owned(), change.clone()]);
    }
    Ok(arguments)
}

/// A path as a script tells it.
fn text(path: &Path) -> Result<String, Usage> {
    let told = path.to_str().map(str::to_owned);
    told.ok_or_else(|| Usage(format!("`{}` is not UTF-8, and cannot stand in a script", path.display())))
}

/// The scripts of a call: their folder, and what their templates are filled with.
struct Scripts<'a> {
    args: &'a JobsArgs,
    folder: PathBuf,
    after: String,
    fields: Vec<(&'static str, String)>,
}

impl<'a> Scripts<'a> {
    /// Checks every value that will stand in a script.
    fn new(args: &'a JobsArgs, arguments: Vec<String>) -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the folder that this was called in is gone")?;
        let folder = here.join(&args.scripts);
        let program = match &args.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("this program does not know where it lies")?,
        };
        let logs = Field::log_folder(&text(&folder.join("logs"))?)?;
        let options = args.options.iter().map(|option| Field::option(option)).collect::<Result<Vec<_>, _>>()?;
        let setup = args.setup.iter().map(|line| Field::line("--setup", line)).collect::<Result<Vec<_>, _>>()?;
        let words = arguments.iter().map(|word| quoted(word)).collect::<Result<Vec<_>, _>>()?;
        let fields = vec![
            ("PROGRAM", quoted(&text(&program)?)?),
            ("ARGUMENTS", words.join(" ")),
            ("FOLDER", quoted(&text(&here)?)?),
            ("SCRIPTS", quoted(&text(&folder)?)?),
            ("LOGS", logs),
            ("OPTIONS", options.join("\n")),
            ("SETUP", setup.join("\n")),
        ];
        Ok(Self { args, folder, after: Field::jobs(&args.after)?, fields })
    }

    /// Writes a script of a template.
    fn write(&self, name: &str, template: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        let mut script = filled(&template.replace("@JOB@\n", JOB), &self.fields);
        let check = checksum(&script);
        script.push_str(&format!("{CHECK}{check}\n"));
        store::check_file(&path, is_as_written).hint(|| {
            "scripts that somebody has changed stay: move it away, or name another folder with `--scripts`".to_owned()
        })?;
        store::create_dir_all(&self.folder)?;
        store::write_atomic(&path, script)?;
        Ok(path)
    }

    /// Writes the script that sends the jobs, and runs it where that was asked for.
    fn submit(mut self, name: &'static str, jobs: String) -> anyhow::Result<()> {
        self.fields.extend([("NAME", name.to_owned()), ("JOBS", jobs)]);
        let script = self.write(&format!("{name}-submit.sh"), SUBMIT)?;
        if !self.args.submit {
            print_line!("{}", script.display())?;
            return Ok(());
        }
        let status = Command::new("bash").arg(&script).status().context("bash cannot be started")?;
        if status.success() {
            return Ok(());
        }
        Err(anyhow::anyhow!("the jobs were not sent: `{}` failed", script.display()))
            .hint(|| "sbatch and squeue say above why; the script may be read, changed and run by hand".to_owned())
    }
}
