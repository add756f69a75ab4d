//! `memtrain train` and `memtrain sft`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use candle_core::Device;
use clap::Args;
use memtrain_corpora::Split;

use super::configuration::{ConfigArgs, DeviceArgs, check_name};
use super::memory_plan::MachineArgs;
use super::models;
use super::print::print_line;
use super::setup::{self, Searching, Session};
use super::written::written_path;
use crate::agents::reader::SamplingConfig;
use crate::config::keys::Trainer;
use crate::device::{card_name, peak_flops_of_card};
use crate::objectives::Item;
use crate::policy::{Policy, directory};
use crate::reward::ExternalReward;
use crate::run::branch::branch;
use crate::run::signal::StopRequest;
use crate::run::watch::Watch;
use crate::run::{RunDirectory, RunSetup};
use crate::sampler::ChatServer;
use crate::sft::step::Material;
use crate::train::diagnosis::Diagnosis;
use crate::train::documents;
use crate::train::grpo::GrpoTraining;
use crate::train::items::{ItemOrder, ItemSet};
use crate::train::sft::SftTraining;
use crate::train::speed::measured_peak_flops;
use crate::train::{Loop, Overlap, TrainConfig};

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
    super::plan::check(&config)?;
    if super::plan::needs_corpus(&config) {
        setup::check_corpus(&config, &args.config)?;
    }
    models::place(&mut config)?;
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
    let prepared = Prepared::new(&session, &start)?;
    let setup = RunSetup { clean: args.clean, ..session.run_setup(&start, Trainer::Train)? };
    if let Some(parent) = parent {
        branch(&parent, &session.run_path(), &setup)?;
    }
    let run = session.open_run(&setup)?;
    let trained = train(&session, start, prepared, &run, &stop)?;
    print_line!("{}", trained.path.display())?;
    Ok(())
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

/// What a training reads and asks beside the policy, all of it before its run's folder is touched.
pub struct Prepared {
    items: ItemSet,
    heldout: Vec<Item>,
    peak_flops: Option<f64>,
    searching: Option<Searching>,
    answerer: Option<ChatServer>,
    reward: Option<Mutex<ExternalReward>>,
}

impl Prepared {
    /// Opens documents or tasks, the index and servers.
    ///
    /// # Errors
    /// If one of them is missing or wrong, or does not answer.
    pub fn new(session: &Session, start: &Policy) -> anyhow::Result<Self> {
        let config = &session.config;
        let heldout = match config.train.evaluate_every {
            0 => Vec::new(),
            _ => {
                let reader = session.reader(start, &config.sampling, 0);
                session.items(Split::Heldout)?.first(config.eval.documents, &reader)?
            }
        };
        Ok(Self {
            items: session.items(Split::Train)?,
            heldout,
            peak_flops: peak_flops(config.train.peak_tflops, start.decoder.device())?,
            searching: session.searching()?,
            answerer: session.answering_server()?,
            reward: {
                let (scale, filter_groups) = config.objective.of_groups();
                ExternalReward::start(&config.reward, scale, filter_groups)?.map(Mutex::new)
            },
        })
    }
}

/// A policy after training and where it lies.
pub struct Trained {
    /// The policy.
    pub policy: Policy,
    /// Its newest checkpoint.
    pub path: PathBuf,
}

/// Trains from `start`, or from the run's newest checkpoint.
///
/// # Errors
/// If training fails or a signal asked to stop.
pub fn train(
    session: &Session,
    start: Policy,
    prepared: Prepared,
    run: &RunDirectory,
    stop: &StopRequest,
) -> anyhow::Result<Trained> {
    let config = &session.config;
    let Prepared { items, heldout, peak_flops, searching, answerer, reward } = prepared;
    let (tokenizer, generation) = (start.tokenizer.clone(), start.generation.clone());
    let watch = Watch::default();
    let _guard = watch.guard(Duration::from_secs(config.train.watch_after_s.max(1)));
    let precision = config.policy.precision;
    let objective = config.objective.objective();
    let has_reference = super::plan::has_reference(config);
    // The reference has the policy's precision, so that they start equal. Nothing writes into the starting weights: where
    // the precision is theirs, and under adapters, they are shared.
    let is_needed = has_reference || config.policy.lora.is_some();
    let frozen = is_needed.then(|| start.decoder.to_dtype(precision.dtype())).transpose()?;
    let mut training = GrpoTraining {
        tokenizer: &tokenizer,
        generation: &generation,
        origin: start.origin.clone(),
        weights: session.sampler_weights(),
        prompts: &session.prompts,
        reader: &config.reader,
        sampling: &config.sampling,
        sampler: &config.sampler,
        objective,
        reward,
        bank: &session.bank,
        answerer,
        search: searching.as_ref().map(Searching::as_search),
        loss: &config.loss,
        update: &config.update,
        eval: &config.eval,
        reference: frozen.clone().filter(|_| has_reference),
        heldout,
        items: Mutex::new(ItemOrder::new(items, config.run.seed)),
        documents_per_step: config.train.documents_per_step,
        max_refills: config.train.max_refills,
        peak_flops,
        stop,
        watch,
        seed: config.run.seed,
        cursor: 0,
        diagnosis: Diagnosis::default(),
        served: Mutex::default(),
        first_difference: None,
        overlap: config.train.overlap,
        ahead: None,
    };
    let mut policy = start;
    if let (Some(lora), Some(base)) = (&config.policy.lora, &frozen) {
        policy.decoder = base.with_lora(lora, config.run.seed)?;
    }
    let the_loop = Loop { run, config: &config.train, optimizer: &config.optimizer, precision, stop };
    let path = the_loop.run(&mut policy, &mut training)?.unwrap_or_else(|| session.run_path());
    Ok(Trained { policy, path })
}

/// What MFU is a share of: what the configuration says, else what is known of a card, or measured of the processor.
fn peak_flops(configured_tflops: f64, device: &Device) -> candle_core::Result<Option<f64>> {
    if configured_tflops > 0.0 {
        return Ok(Some(1e12 * configured_tflops));
    }
    if device.is_cpu() {
        return measured_peak_flops(device).map(Some);
    }
    let peak = peak_flops_of_card(device);
    if peak.is_none() {
        let name = card_name(device).unwrap_or_default();
        tracing::warn!(
            "the peak of the card `{name}` is not known, so there is no `perf/mfu`; `train.peak_tflops` says it"
        );
    }
    Ok(peak)
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
    super::plan::check(&config)?;
    setup::check_corpus(&config, &args.config)?;
    models::place(&mut config)?;
    let session = Session::new(config)?;
    let config = &session.config;
    // Before hours of work.
    directory::check_target(&args.out, &config.policy.path.iter().map(Path::new).collect::<Vec<_>>())?;
    let start = session.starting_policy()?;
    let stop = StopRequest::on_signals()?;
    let sampling = SamplingConfig::default();
    let reader = session.reader(&start, &sampling, 0);
    let train_documents = session.documents(Split::Train)?;
    let mut training = SftTraining {
        material: Material {
            texts: passage_texts(&session)?,
            documents: documents::first(&train_documents, train_documents.len(), &reader)?,
            prompts: &session.prompts,
            tokenizer: &start.tokenizer,
            memory_tokens: config.reader.memory_tokens,
            bank: config.objective.objective().bank_layout().map(|layout| (&session.bank, layout)),
        },
        config: &config.sft,
        update: &config.update,
        seed: config.run.seed,
    };
    let setup = RunSetup { clean: args.clean, ..session.run_setup(&start, Trainer::Sft)? };
    let run = session.open_run(&setup)?;
    let steps =
        TrainConfig { steps: config.sft.steps as u64, rollouts_every: 0, evaluate_every: 0, ..config.train.clone() };
    let mut policy = start.clone();
    let precision = config.policy.precision;
    let the_loop = Loop { run: &run, config: &steps, optimizer: &config.optimizer, precision, stop: &stop };
    the_loop.run(&mut policy, &mut training)?;
    directory::save(&policy, &args.out)?;
    print_line!("{}", args.out.display())?;
    Ok(())
}

/// The passages of the corpus, as text to predict.
fn passage_texts(session: &Session) -> anyhow::Result<Vec<String>> {
    let passages = memtrain_pipeline::passages(&session.config.run.corpus)?;
    // As in the prompts, the first word carries the space that it has in running text.
    passages.iter().map(|passage| Ok(format!(" {}", passage?.text))).collect()
}
