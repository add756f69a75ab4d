//! Session of a command: configuration resolved, corpus opened, policy loaded.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use candle_core::{DType, Device};
use memtrain_corpora::{Split, store};
use memtrain_engine::outbound::while_wanted;
use memtrain_pipeline::staleness::{self, Difference};

use super::configuration::ConfigArgs;
use super::failure::{FolderKind, Usage, WithHint};
use super::models;
use crate::agents::bank::BankReading;
use crate::agents::prompts::PromptSet;
use crate::agents::reader::{Reader, SamplingConfig, StepKey};
use crate::agents::retrieve::{HttpRetriever, Retriever};
use crate::agents::searcher::{SearcherConfig, SearcherPrompts};
use crate::config::keys::{Trainer, classes};
use crate::config::{Config, renamed};
use crate::eval::memory_controls::{self, Contender, MemoryReport};
use crate::eval::reconstruction::{EVALUATION_STEP, ReconstructionReport, evaluate, questions};
use crate::objectives::{ObjectiveConfig, Search};
use crate::policy::stored::{StoredWeights, weight_files};
use crate::policy::tokenizer::{COMPACT_CHAT_TEMPLATE, END_OF_TURN};
use crate::policy::{Policy, PolicyTokenizer, directory, preset};
use crate::rollout::RolloutEngine;
use crate::run::signal::StopRequest;
use crate::run::{RunDirectory, RunSetup};
use crate::sampler::{self, ChatServer};
use crate::train::documents::{self, DocumentSet};
use crate::train::items::{ItemSet, TaskSet};

/// Checks that the corpus has documents, and those of this configuration, before anything is fetched or loaded.
///
/// # Errors
/// If they are not there, or were made with other keys; with the command that makes them.
pub fn check_corpus(config: &Config, args: &ConfigArgs) -> anyhow::Result<()> {
    let corpus = &config.run.corpus;
    if store::exists(&corpus.join("synthesize").join("manifest.json")) {
        return check_current(config, args);
    }
    let set = args.set.iter().map(|change| format!(" --set '{change}'")).collect::<String>();
    let other = FolderKind::of(corpus).filter(|kind| *kind != FolderKind::Corpus);
    Err(anyhow::anyhow!("the corpus `{}` is not built", corpus.display())).hint(|| match other {
        Some(kind) => format!("{}; `run.corpus` names the corpus", kind.told(corpus)),
        None => {
            format!("`memtrain corpus build {}{set}` makes it; `run.corpus` names another one", args.path().display())
        }
    })
}

/// Checks that the corpus was built with the configuration's keys: else other documents are read than it says.
fn check_current(config: &Config, args: &ConfigArgs) -> anyhow::Result<()> {
    let differences = differences(config)?;
    if differences.is_empty() {
        return Ok(());
    }
    let mut set = String::new();
    for difference in &differences {
        // What only the contents of files tell cannot be typed.
        let Some(built) = &difference.built else { continue };
        set.push_str(&format!(" --set '{}={built}'", difference.key));
    }
    let given = args.set.iter().map(|change| format!(" --set '{change}'")).collect::<String>();
    let as_it_is = if set.is_empty() { String::new() } else { format!("; to read it as it is, add{set}") };
    Err(anyhow::anyhow!("{}", other_configuration(config, &differences))).hint(|| {
        format!(
            "`memtrain corpus build {}{given}` brings it up to date{as_it_is}; `run.corpus` names another corpus",
            args.path().display()
        )
    })
}

/// What a corpus that is not the configuration's is told to be.
pub(super) fn other_configuration(config: &Config, differences: &[Difference]) -> String {
    let keys: Vec<String> = differences
        .iter()
        .map(|difference| match &difference.built {
            Some(built) => format!("`{}` is {built} in it and {} here", difference.key, difference.configured),
            None => format!("`{}` is {} here, and names other files", difference.key, difference.configured),
        })
        .collect();
    format!("the corpus `{}` was built with another configuration: {}", config.run.corpus.display(), keys.join(", "))
}

/// The keys in which the corpus differs from the configuration. Says so if it was built from other dumps, which may have been named
/// on the command line.
///
/// # Errors
/// If a plan of the corpus is damaged, or a file cannot be read.
pub(super) fn differences(config: &Config) -> anyhow::Result<Vec<Difference>> {
    let (mut of_corpus, out) = (config.corpus.clone(), &config.run.corpus);
    // Only what is here is compared: nothing is asked of the hub.
    let _built_in = models::place_locally(&mut of_corpus)?;
    let mut differences = staleness::differences(&of_corpus, out)?;
    for difference in &mut differences {
        // As it was typed, not where it lies.
        let typed = match &*difference.key {
            "corpus.tokenizer.source" => &config.corpus.tokenizer.source,
            "corpus.index.embed.model" => &config.corpus.index.embed.model.display().to_string(),
            _ => continue,
        };
        difference.configured = format!("{typed:?}");
    }
    if differences.is_empty() && staleness::has_other_dumps(&of_corpus, out)? {
        tracing::warn!(
            "the corpus `{}` was built from other dumps than `corpus.ingest.dumps` names, and is read as it is: `memtrain corpus build` makes it anew of these",
            out.display()
        );
    }
    Ok(differences)
}

/// What a searcher works with.
pub struct Searching {
    /// What it is shown.
    pub prompts: SearcherPrompts,
    /// Its limits.
    pub config: SearcherConfig,
    /// What finds passages.
    pub retriever: Arc<dyn Retriever>,
    /// Hash of the index that is searched; nothing where a server searches.
    pub index: Option<String>,
}

impl Searching {
    /// As an objective takes it.
    pub fn as_search(&self) -> Search<'_> {
        Search { prompts: &self.prompts, config: &self.config, retriever: &self.retriever }
    }
}

/// A resolved configuration and what is opened by it: corpus, tasks, policy, run folder.
pub struct Session {
    /// The configuration, built-in names resolved.
    pub config: Config,
    /// What the agent is shown.
    pub prompts: PromptSet,
    /// How a bank is kept and read.
    pub bank: BankReading,
}

impl Session {
    /// Checks the configuration as far as that goes without opening anything large.
    ///
    /// # Errors
    /// If the prompt set cannot be used.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        super::plan::check(&config)?;
        super::plan::warn(&config);
        let prompts = PromptSet::load(&config.reader.prompts, config.reader.prompt.layout)?;
        let bank = BankReading::new(config.bank.clone())?;
        Ok(Self { config, prompts, bank })
    }

    /// Documents of a split: for MemTrain of the file of tasks where one is named, else of the corpus.
    ///
    /// # Errors
    /// If the corpus is not built, or the file holds no documents.
    pub fn documents(&self, split: Split) -> anyhow::Result<DocumentSet> {
        match self.tasks_of(split).filter(|_| self.takes_tasks_for_documents()) {
            Some(path) => DocumentSet::of_tasks(path, split),
            None => DocumentSet::open(&self.config.run.corpus, split),
        }
    }

    fn takes_tasks_for_documents(&self) -> bool {
        matches!(self.config.objective, ObjectiveConfig::MemTrain(_))
    }

    /// What is trained or evaluated on: the tasks of a file where one is named, else the documents of the split. MemTrain takes
    /// the tasks for documents.
    ///
    /// # Errors
    /// If the corpus is not built or the file is no task table.
    pub fn items(&self, split: Split) -> anyhow::Result<ItemSet> {
        match self.tasks_of(split).filter(|_| !self.takes_tasks_for_documents()) {
            Some(path) => Ok(ItemSet::Tasks(TaskSet::open(
                path,
                self.config.objective.objective().question_mode(),
                self.config.run.seed,
            )?)),
            None => Ok(ItemSet::Documents(self.documents(split)?)),
        }
    }

    /// What a searcher works with, where the objective has one.
    ///
    /// # Errors
    /// If the texts or the index cannot be read.
    pub fn searching(&self) -> anyhow::Result<Option<Searching>> {
        let config = &self.config;
        if !config.objective.objective().searches() {
            return Ok(None);
        }
        let prompts = SearcherPrompts::load(&config.searcher.prompts)?;
        let (retriever, index): (Arc<dyn Retriever>, Option<String>) = match &config.search.server {
            Some(server) => {
                let timeout = Duration::from_secs(config.search.timeout_s.max(1));
                (Arc::new(HttpRetriever::new(server, timeout)), None)
            }
            None => {
                let corpus = config.search.corpus.as_ref().unwrap_or(&config.run.corpus);
                let alone = corpus.join("index.json");
                let manifest = if store::exists(&alone) { alone } else { corpus.join("index").join("manifest.json") };
                (Arc::new(super::index::open(corpus)?), Some(store::hash_file(&manifest)?))
            }
        };
        Ok(Some(Searching { prompts, config: config.searcher.clone(), retriever, index }))
    }

    /// The server that answers what a bank is asked, where the configuration names one and the objective keeps banks.
    ///
    /// # Errors
    /// If the server cannot be reached, or a signal asked to stop meanwhile.
    pub fn answering_server(&self, stop: &StopRequest) -> anyhow::Result<Option<ChatServer>> {
        let keeps_bank = self.config.objective.objective().bank_layout().is_some();
        let Some(config) = self.config.bank.answerer.clone().filter(|_| keeps_bank) else { return Ok(None) };
        while_wanted(&|| Ok(stop.check()?), move || ChatServer::connect(&config))?.map(Some)
    }

    /// The file of a split's tasks, where there is one.
    pub fn tasks_of(&self, split: Split) -> Option<&Path> {
        match split {
            Split::Train => self.config.tasks.train.as_deref(),
            Split::Heldout => self.config.tasks.heldout.as_deref(),
        }
    }

    /// The hash of the documents' manifest.
    ///
    /// # Errors
    /// If the corpus is not built.
    pub fn documents_hash(&self) -> anyhow::Result<String> {
        let manifest = self.config.run.corpus.join("synthesize").join("manifest.json");
        store::hash_file(&manifest).context("the corpus is not built")
    }

    /// The policy the run starts from.
    ///
    /// # Errors
    /// If it cannot be loaded or made.
    pub fn starting_policy(&self) -> anyhow::Result<Policy> {
        let policy = self.load_policy()?;
        let (context, positions) = (self.config.reader.context_tokens, policy.decoder.config.max_position_embeddings);
        let too_long = |key: &str, context: usize| {
            Usage(format!("`{key}` is {context}, but the policy was made for {positions} positions"))
        };
        if context > positions {
            return Err(too_long("reader.context_tokens", context).into());
        }
        let context = self.config.searcher.context_tokens;
        if context > positions && self.config.objective.objective().searches() {
            return Err(too_long("searcher.context_tokens", context).into());
        }
        Ok(policy)
    }

    fn load_policy(&self) -> anyhow::Result<Policy> {
        let device = self.config.policy.device.open()?;
        let settings = self.config.policy.template_settings();
        match (&self.config.policy.path, &self.config.policy.preset) {
            (Some(path), _) => {
                let policy = directory::load_at_precision(Path::new(path), &device, self.config.policy.precision)?;
                Ok(policy.with_template_settings(&settings))
            }
            (None, Some(name)) => {
                let tokenizer = memtrain_pipeline::tokenizer::file(&self.config.run.corpus)?;
                let tokenizer =
                    PolicyTokenizer::from_file(&tokenizer)?.with_chat_template(COMPACT_CHAT_TEMPLATE, END_OF_TURN)?;
                let decoder = preset::decoder(name, &tokenizer, self.config.run.seed, &device)?;
                Ok(Policy::new(decoder, tokenizer)?)
            }
            (None, None) => {
                let detail = "no policy: set `policy.path` to a Hugging Face directory, or `policy.preset`";
                Err(Usage(detail.to_owned()).into())
            }
        }
    }

    /// The run's folder, `runs/<name>`.
    pub fn run_path(&self) -> PathBuf {
        self.config.run.runs.join(&self.config.run.name)
    }

    /// Where weights are written for a server that draws.
    pub fn sampler_weights(&self) -> PathBuf {
        let folder = &self.config.sampler.http.weights;
        if folder.as_os_str().is_empty() { self.run_path().join("sampler-weights") } else { folder.clone() }
    }

    /// What the run is known by: its configuration, and the hashes of what it reads.
    ///
    /// # Errors
    /// If something that it reads is missing.
    pub fn run_setup(&self, policy: &Policy, trainer: Trainer) -> anyhow::Result<RunSetup> {
        let mut inputs = BTreeMap::from([
            ("policy".to_owned(), weights_hash(policy)?),
            ("tokenizer".to_owned(), tokenizer_hash(policy)),
            ("prompts".to_owned(), self.prompts.hash()),
        ]);
        if self.config.objective.objective().bank_layout().is_some() {
            inputs.insert("prompts of the bank".to_owned(), self.bank.prompts.hash());
        }
        if let Some(searching) = self.searching()? {
            inputs.insert("prompts of the searcher".to_owned(), searching.prompts.hash());
            inputs.extend(searching.index.map(|hash| ("what is searched".to_owned(), hash)));
        }
        let evaluates = self.config.train.evaluate_every > 0;
        let splits = [(Split::Train, "tasks", true), (Split::Heldout, "tasks held out", evaluates)];
        for (split, name, is_used) in splits.into_iter().filter(|(_, _, is_used)| *is_used) {
            match self.tasks_of(split).filter(|_| is_used) {
                Some(path) => inputs.insert(name.to_owned(), store::hash_file(path)?),
                None => inputs.insert("documents".to_owned(), self.documents_hash()?),
            };
        }
        let config = toml::to_string(&self.config).context("the configuration cannot be written")?;
        let earlier_spellings = vec![renamed::earlier_spelling(&config)];
        Ok(RunSetup { config, earlier_spellings, inputs, classes: classes(&self.config, trainer), clean: false })
    }

    /// Opens the run's folder, for a new run or to go on.
    ///
    /// # Errors
    /// If another process holds it or it holds another run.
    pub fn open_run(&self, setup: &RunSetup) -> anyhow::Result<RunDirectory> {
        let run = RunDirectory::open(&self.run_path(), setup)?;
        crate::run::log::keep(run.log_file()?);
        Ok(run)
    }

    /// A reader with this configuration's limits.
    pub fn reader<'a>(&'a self, policy: &'a Policy, sampling: &'a SamplingConfig, step: u64) -> Reader<'a> {
        let step_key = StepKey { seed: self.config.run.seed, step };
        Reader { tokenizer: &policy.tokenizer, prompts: &self.prompts, config: &self.config.reader, sampling, step_key }
    }

    /// Plays with a policy and the configured sampler.
    ///
    /// # Errors
    /// If the device refuses, or the server.
    pub fn engine(&self, policy: &Policy, stop: &StopRequest) -> anyhow::Result<RolloutEngine<'static>> {
        let weights = self.sampler_weights();
        let sampler = sampler::of_policy(&self.config.sampler, policy, Some(&weights), &|| Ok(stop.check()?))?;
        Ok(RolloutEngine::new(sampler).with_stop(stop))
    }

    /// Evaluates a policy on the first held-out documents.
    ///
    /// # Errors
    /// If the corpus cannot be read, sampling fails, or somebody asks to stop.
    pub fn evaluate(&self, policy: &Policy, stop: &StopRequest) -> anyhow::Result<ReconstructionReport> {
        let eval = &self.config.eval;
        let sampling = SamplingConfig { temperature: eval.temperature, ..SamplingConfig::default() };
        let reader = self.reader(policy, &sampling, EVALUATION_STEP);
        let documents = documents::first(&self.documents(Split::Heldout)?, eval.documents, &reader)?;
        let mut engine = self.engine(policy, stop)?;
        evaluate(&reader, &mut engine, &documents, &self.config.objective.memtrain(), eval.recall_questions)
    }

    /// Lets named policies read the held-out documents of these numbers, and answer from each other's memories and from the
    /// controls.
    ///
    /// # Errors
    /// If the corpus cannot be read, sampling fails, or somebody asks to stop.
    pub fn evaluate_memories(
        &self,
        policies: &[(String, &Policy)],
        numbers: Range<usize>,
        stop: &StopRequest,
    ) -> anyhow::Result<MemoryReport> {
        let eval = &self.config.eval;
        let sampling = SamplingConfig { temperature: eval.temperature, ..SamplingConfig::default() };
        let mut contenders = Vec::new();
        for (name, policy) in policies {
            let (engine, reader) = (self.engine(policy, stop)?, self.reader(policy, &sampling, EVALUATION_STEP));
            contenders.push(Contender { name: name.clone(), reader, engine });
        }
        let Some(first) = contenders.first() else { anyhow::bail!("there is no policy to evaluate") };
        let mut documents = documents::first(&self.documents(Split::Heldout)?, numbers.end, &first.reader)?;
        documents.drain(..numbers.start.min(documents.len()));
        let objective = self.config.objective.memtrain();
        let asked = questions(&documents, &objective, eval.recall_questions, self.config.run.seed);
        memory_controls::evaluate(&mut contenders, &documents, objective.equality, &asked)
    }
}

/// Weights hashed at a time.
const HASHED: usize = 1 << 18;

/// BLAKE3 of all weights in f32 of a policy as it was loaded or made, in the order of their names, and of adapters after them.
/// Those on a card are read from the files they were loaded from, not back over the bus.
pub(super) fn weights_hash(policy: &Policy) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let weights = &policy.decoder.weights;
    let origin = policy.origin.as_ref().filter(|_| !policy.decoder.device().is_cpu());
    let stored = origin.map(|origin| StoredWeights::open_files(weight_files(&origin.directory)?)).transpose()?;
    let mut bytes = Vec::with_capacity(4 * HASHED);
    for (name, tensor) in weights.named().into_iter().chain(weights.named_adapters()) {
        hasher.update(name.as_bytes());
        let values = match stored.as_ref().filter(|stored| stored.view(&name).is_ok()) {
            Some(stored) => stored.load(&name, Some(DType::F32), &Device::Cpu)?,
            None => tensor.detach().to_dtype(DType::F32)?,
        };
        for values in values.flatten_all()?.to_vec1::<f32>()?.chunks(HASHED) {
            bytes.clear();
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            hasher.update(&bytes);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// BLAKE3 of what turns text into a policy's tokens and ends its responses: the tokenizer's files, and the ids that end one.
fn tokenizer_hash(policy: &Policy) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in policy.tokenizer.files() {
        hasher.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    policy.generation.eos_token_ids.iter().for_each(|id| {
        hasher.update(&id.to_le_bytes());
    });
    hasher.finalize().to_hex().to_string()
}
