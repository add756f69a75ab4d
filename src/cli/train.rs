//! `memtrain train` and `memtrain sft`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use candle_core::Device;
use clap::Args;
use memtrain_corpora::Split;

use super::configuration::{ConfigArgs, DeviceArgs};
use super::memory_plan::MachineArgs;
use super::models;
use super::print::print_line;
use super::setup::{self, Searching, Session};
use super::written::written_path;
use crate::agents::reader::SamplingConfig;
use crate::device::{card_name, peak_flops_of_card};
use crate::policy::{Policy, directory};
use crate::run::RunDirectory;
use crate::run::signal::StopRequest;
use crate::run::watch::Watch;
use crate::sft::step::Material;
use crate::train::diagnosis::Diagnosis;
use crate::train::documents;
use crate::train::grpo::GrpoTraining;
use crate::train::items::ItemOrder;
use crate::train::sft::SftTraining;
use crate::train::speed::measured_peak_flops;
use crate::train::{Loop, TrainConfig};

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
    /// Start anew: what there is of the run of this name is moved to a folder beside it
    #[arg(long)]
    pub clean: bool,
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
    let session = Session::new(config)?;
    let start = session.starting_policy()?;
    let stop = StopRequest::on_signals()?;
    let run = session.open_run(&start, args.clean)?;
    let trained = train(&session, start, &run, &stop)?;
    print_line!("{}", trained.path.display())?;
    Ok(())
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
pub fn train(session: &Session, start: Policy, run: &RunDirectory, stop: &StopRequest) -> anyhow::Result<Trained> {
    let config = &session.config;
    let items = session.items(Split::Train)?;
    let (tokenizer, generation) = (start.tokenizer.clone(), start.generation.clone());
    let heldout = match config.train.evaluate_every {
        0 => Vec::new(),
        _ => {
            let reader = session.reader(&start, &config.sampling, 0);
            session.items(Split::Heldout)?.first(config.eval.documents, &reader)?
        }
    };
    let peak_flops = peak_flops(config.train.peak_tflops, start.decoder.device())?;
    let watch = Watch::default();
    let _guard = watch.guard(Duration::from_secs(config.train.watch_after_s.max(1)));
    let precision = config.policy.precision;
    let objective = config.objective.objective();
    let searching = session.searching()?;
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
        bank: &session.bank,
        answerer: session.answering_server()?,
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
    super::plan::check(&config)?;
    setup::check_corpus(&config, &args.config)?;
    models::place(&mut config)?;
    // A run of its own: training with the same configuration must not take the checkpoints of SFT for its own. The name
    // is that of the command's alias, so that runs that began under it go on.
    config.run.name.push_str("-warm-up");
    let session = Session::new(config)?;
    let config = &session.config;
    // Before hours of work.
    directory::check_target(&args.out, &config.policy.path.iter().map(Path::new).collect::<Vec<_>>())?;
    let start = session.starting_policy()?;
    let stop = StopRequest::on_signals()?;
    let run = session.open_run(&start, args.clean)?;
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
