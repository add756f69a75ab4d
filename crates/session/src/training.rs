//! Training by a configuration: GRPO with its objective, and supervised fine-tuning.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use candle_core::Device;
use memtrain_collective::{Collective, Single};
use memtrain_corpora::{Split, store};
use memtrain_train::diagnosis::Diagnosis;
use memtrain_train::documents;
use memtrain_train::grpo::GrpoTraining;
use memtrain_train::items::{ItemOrder, ItemSet};
use memtrain_train::sft::SftTraining;
use memtrain_train::speed::measured_peak_flops;
use memtrain_train::{Loop, Observer, TrainConfig};

use crate::agents::reader::SamplingConfig;
use crate::check;
use crate::config::Config;
use crate::config::keys::Trainer;
use crate::device::{DeviceChoice, card_name, peak_flops_of_card};
use crate::error::{Error, Usage};
use crate::objectives::Item;
use crate::policy::Policy;
use crate::reward::ExternalReward;
use crate::run::signal::StopRequest;
use crate::run::watch::Watch;
use crate::run::{RunDirectory, RunSetup};
use crate::sampler::{ChatServer, SamplerKind};
use crate::session::{Searching, Session};
use crate::sft::step::Material;

/// What a training reads and asks beside the policy, all of it before its run's folder is touched.
pub struct Prepared {
    items: ItemSet,
    heldout: Vec<Item>,
    peak_flops: Option<f64>,
    answerer: Option<ChatServer>,
    reward: Option<Mutex<ExternalReward>>,
}

impl Prepared {
    /// Opens documents or tasks, the index and servers.
    ///
    /// # Errors
    /// If one of them is missing or wrong, or does not answer, or somebody asks to stop meanwhile.
    pub fn new(session: &Session, start: &Policy, stop: &StopRequest) -> anyhow::Result<Self> {
        let config = &session.config;
        let heldout = match config.train.evaluate_every {
            0 => Vec::new(),
            _ => {
                let reader = session.reader(start, &config.sampling, 0);
                session.items(Split::Heldout)?.first(config.eval.documents, &reader)?
            }
        };
        let items = session.items(Split::Train)?;
        let peak_flops = peak_flops(config.train.peak_tflops, start.decoder.device())?;
        // The index stays open in the session.
        session.searching()?;
        let answerer = session.answering_server(stop)?;
        let objective = config.objective.objective();
        let reward = ExternalReward::start(&config.reward, objective.reward_scale(), objective.filters_groups())?;
        Ok(Self { items, heldout, peak_flops, answerer, reward: reward.map(Mutex::new) })
    }
}

/// A policy after training and where it lies.
pub struct Trained {
    /// The policy.
    pub policy: Policy,
    /// Its newest checkpoint.
    pub path: PathBuf,
}

/// Trains the policy of a configuration with GRPO in the run folder that it names, or goes on with it.
///
/// # Errors
/// If something is missing or wrong, or somebody asks to stop ([`crate::ErrorKind::Stopped`]).
pub fn train(config: &Config, observer: &dyn Observer, stop: &StopRequest) -> Result<Trained, Error> {
    let session = Session::open(config.clone())?;
    let start = session.starting_policy()?;
    let prepared = Prepared::new(&session, &start, stop)?;
    let run = session.open_run(&session.run_setup(&start, Trainer::Train)?)?;
    let alone: Arc<dyn Collective> = Arc::new(Single);
    Ok(train_from(&session, start, prepared, Some(&run), &alone, observer, stop)?)
}

/// Checks that what these ranks are about to train together is the same on all of them, and can be trained by several.
///
/// # Errors
/// If they were started with different configurations or inputs, or a server draws.
pub fn check_ranks(session: &Session, setup: &RunSetup, collective: &dyn Collective) -> anyhow::Result<()> {
    if collective.world_size() == 1 {
        return Ok(());
    }
    let mut config = session.config.clone();
    if config.sampler.kind == SamplerKind::Http {
        let told = "`sampler.kind` is \"http\", and several processes train together: a server draws for one process";
        return Err(Usage(told.to_owned()).into());
    }
    // Each rank has a card of its own.
    config.policy.device = DeviceChoice::Cpu;
    let config = toml::to_string(&config).context("the configuration cannot be written")?;
    let known_by = format!("{} {config} {:?}", env!("CARGO_PKG_VERSION"), setup.inputs);
    let hashes = collective.all_gather(store::hash_bytes(known_by.as_bytes()).as_bytes())?;
    match hashes.iter().position(|hash| *hash != hashes[0]) {
        Some(rank) => anyhow::bail!(
            "rank {rank} was started with another configuration, other inputs or another program than rank 0"
        ),
        None => Ok(()),
    }
}

/// Trains from `start`, or from the run's newest checkpoint, together with the other ranks of `collective`. Rank 0 alone has the
/// run's folder.
///
/// # Errors
/// If training fails or somebody asks to stop.
pub fn train_from(
    session: &Session,
    start: Policy,
    prepared: Prepared,
    run: Option<&RunDirectory>,
    collective: &Arc<dyn Collective>,
    observer: &dyn Observer,
    stop: &StopRequest,
) -> anyhow::Result<Trained> {
    let config = &session.config;
    let Prepared { items, heldout, peak_flops, answerer, reward } = prepared;
    let (tokenizer, generation) = (start.tokenizer.clone(), start.generation.clone());
    let watch = Watch::default();
    let _guard = watch.guard(Duration::from_secs(config.train.watch_after_s.max(1)));
    let precision = config.policy.precision;
    let objective = config.objective.objective();
    let has_reference = check::has_reference(config);
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
        search: session.searching()?.map(Searching::as_search),
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
    let the_loop = Loop {
        collective: Arc::clone(collective),
        run,
        config: &config.train,
        optimizer: &config.optimizer,
        precision,
        observer,
        stop,
    };
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

/// Fine-tunes `start` on text and demonstrations (SFT) in the session's run folder, together with the other ranks of
/// `collective`; `clean` begins anew.
///
/// # Errors
/// If documents cannot be read, training fails, or somebody asks to stop.
pub fn fine_tune(
    session: &Session,
    start: &Policy,
    clean: bool,
    collective: &Arc<dyn Collective>,
    observer: &dyn Observer,
    stop: &StopRequest,
) -> anyhow::Result<Policy> {
    let config = &session.config;
    let sampling = SamplingConfig::default();
    let reader = session.reader(start, &sampling, 0);
    let train_documents = session.documents(Split::Train)?;
    let mut training = SftTraining {
        material: Material {
            texts: passage_texts(session)?,
            documents: documents::first(&train_documents, train_documents.len(), &reader)?,
            prompts: &session.prompts,
            tokenizer: &start.tokenizer,
            memory_tokens: config.reader.memory_tokens,
            bank: config.objective.objective().agent().bank_layout().map(|layout| (&session.bank, layout)),
        },
        config: &config.sft,
        update: &config.update,
        seed: config.run.seed,
    };
    let setup = RunSetup { clean, ..session.run_setup(start, Trainer::Sft)? };
    check_ranks(session, &setup, &**collective)?;
    let run = (collective.rank() == 0).then(|| session.open_run(&setup)).transpose()?;
    let steps =
        TrainConfig { steps: config.sft.steps as u64, rollouts_every: 0, evaluate_every: 0, ..config.train.clone() };
    let mut policy = start.clone();
    let precision = config.policy.precision;
    let the_loop = Loop {
        collective: Arc::clone(collective),
        run: run.as_ref(),
        config: &steps,
        optimizer: &config.optimizer,
        precision,
        observer,
        stop,
    };
    the_loop.run(&mut policy, &mut training)?;
    Ok(policy)
}

/// The passages of the corpus, as text to predict.
fn passage_texts(session: &Session) -> anyhow::Result<Vec<String>> {
    let passages = memtrain_pipeline::passages(&session.config.run.corpus)?;
    // As in the prompts, the first word carries the space that it has in running text.
    passages.iter().map(|passage| Ok(format!(" {}", passage?.text))).collect()
}
