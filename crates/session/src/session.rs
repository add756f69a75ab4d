//! A session: a checked configuration, and what is opened by it: policy, tokenizer, documents, index, sampler, run folder.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use memtrain_corpora::{Split, store};
use memtrain_engine::outbound::while_wanted;
use memtrain_train::documents::{self, DocumentSet};
use memtrain_train::items::{ItemSet, TaskSet};

use crate::agents::bank::BankReading;
use crate::agents::prompts::PromptSet;
use crate::agents::reader::{Reader, SamplingConfig, StepKey, Truncation};
use crate::agents::searcher::{SearcherConfig, SearcherPrompts};
use crate::config::keys::{Trainer, classes};
use crate::config::{Config, renamed};
use crate::error::{Error, Usage};
use crate::eval::answered::AnsweredItems;
use crate::eval::memory_controls::{self, Contender, MemoryReport};
use crate::eval::reconstruction::{self, EVALUATION_STEP, ReconstructionReport, questions};
use crate::identity::PolicyIdentity;
use crate::objectives::{Agent, ChunkedDocument, Search};
use crate::policy::tokenizer::{COMPACT_CHAT_TEMPLATE, END_OF_TURN};
use crate::policy::{Policy, PolicyTokenizer, directory, preset};
use crate::rollout::RolloutEngine;
use crate::rollout::retrieve::{HttpRetriever, Retriever};
use crate::run::signal::StopRequest;
use crate::run::{RunDirectory, RunSetup};
use crate::sampler::{self, ChatServer};
use crate::{check, corpus, index, models};

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
    /// What a searcher works with, once it is asked for: an index is opened and verified once.
    searching: OnceLock<Option<Searching>>,
}

impl Session {
    /// A session of a configuration: checks it, and the corpus where documents are read, and puts its models in place.
    ///
    /// # Errors
    /// If the configuration contradicts itself, the corpus is not built by it, or a model is not to be had.
    pub fn open(mut config: Config) -> anyhow::Result<Self> {
        check::check(&config)?;
        if check::needs_corpus(&config) {
            corpus::check(&config)?;
        }
        models::place(&mut config)?;
        Self::new(config)
    }

    /// A session of a configuration whose models are in place; checks it as far as that goes without opening anything large.
    ///
    /// # Errors
    /// If it contradicts itself, or the prompt set cannot be used.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        check::check(&config)?;
        check::warn(&config);
        let prompts = PromptSet::load(&config.reader.prompts, config.reader.prompt.layout)?;
        let bank = BankReading::new(config.bank.clone())?;
        Ok(Self { config, prompts, bank, searching: OnceLock::new() })
    }

    /// Documents of a split: of the file of tasks where one is named and the objective reads documents, else of the corpus.
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
        self.config.objective.objective().reconstruction().is_some()
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

    fn searches(&self) -> bool {
        self.config.objective.objective().agent() == Agent::Searcher
    }

    /// What a searcher works with, where the objective has one; opened when it is first asked for.
    ///
    /// # Errors
    /// If the texts or the index cannot be read.
    pub fn searching(&self) -> anyhow::Result<Option<&Searching>> {
        if self.searching.get().is_none() {
            let opened = if self.searches() { Some(self.open_searching()?) } else { None };
            // Who comes first is kept.
            let _ = self.searching.set(opened);
        }
        Ok(self.searching.get().and_then(Option::as_ref))
    }

    fn open_searching(&self) -> anyhow::Result<Searching> {
        let config = &self.config;
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
                (Arc::new(index::open(corpus)?), Some(store::hash_file(&manifest)?))
            }
        };
        Ok(Searching { prompts, config: config.searcher.clone(), retriever, index })
    }

    /// The server that answers what a bank is asked, where the configuration names one and the objective keeps banks.
    ///
    /// # Errors
    /// If the server cannot be reached, or somebody asks to stop meanwhile.
    pub fn answering_server(&self, stop: &StopRequest) -> anyhow::Result<Option<ChatServer>> {
        let keeps_bank = self.config.objective.objective().agent().bank_layout().is_some();
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
        if context > positions && self.searches() {
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
        let identity = PolicyIdentity::of(policy)?;
        let mut inputs = BTreeMap::from([
            ("policy".to_owned(), identity.weights),
            ("tokenizer".to_owned(), identity.tokenizer),
            ("prompts".to_owned(), self.prompts.hash()),
        ]);
        if self.config.objective.objective().agent().bank_layout().is_some() {
            inputs.insert("prompts of the bank".to_owned(), self.bank.prompts.hash());
        }
        if let Some(searching) = self.searching()? {
            inputs.insert("prompts of the searcher".to_owned(), searching.prompts.hash());
            inputs.extend(searching.index.clone().map(|hash| ("what is searched".to_owned(), hash)));
        }
        let evaluates = self.config.train.evaluate_every > 0;
        let splits = [(Split::Train, "tasks", true), (Split::Heldout, "tasks held out", evaluates)];
        for (split, name, is_used) in splits.into_iter().filter(|(_, _, is_used)| *is_used) {
            match self.tasks_of(split).filter(|_| is_used) {
                Some(path) => inputs.insert(name.to_owned(), store::hash_file(path)?),
                None => inputs.insert(
                    "documents".to_owned(),
                    read_documents(self.documents_hash()?, self.config.reader.truncation),
                ),
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

    /// How evaluations sample.
    pub fn evaluation_sampling(&self) -> SamplingConfig {
        SamplingConfig { temperature: self.config.eval.temperature, ..SamplingConfig::default() }
    }

    /// The first held-out documents that a reader can read.
    ///
    /// # Errors
    /// If the corpus cannot be read, or there are none.
    pub fn held_out(&self, reader: &Reader<'_>, count: usize) -> anyhow::Result<Vec<ChunkedDocument>> {
        documents::first(&self.documents(Split::Heldout)?, count, reader)
    }

    /// Evaluates a policy on the first held-out documents.
    ///
    /// # Errors
    /// If the corpus cannot be read, sampling fails, or somebody asks to stop.
    pub fn evaluate(&self, policy: &Policy, stop: &StopRequest) -> anyhow::Result<ReconstructionReport> {
        let sampling = self.evaluation_sampling();
        let reader = self.reader(policy, &sampling, EVALUATION_STEP);
        let documents = self.held_out(&reader, self.config.eval.documents)?;
        self.evaluate_on(policy, &reader, &documents, stop, None)
    }

    /// Evaluates a policy on documents; `items` keeps what is done, or goes on from it.
    ///
    /// # Errors
    /// If sampling fails, what is kept cannot be written, or somebody asks to stop.
    pub fn evaluate_on(
        &self,
        policy: &Policy,
        reader: &Reader<'_>,
        documents: &[ChunkedDocument],
        stop: &StopRequest,
        items: Option<&mut AnsweredItems>,
    ) -> anyhow::Result<ReconstructionReport> {
        let (mut engine, objective) = (self.engine(policy, stop)?, self.config.objective.memtrain());
        reconstruction::evaluate(reader, &mut engine, documents, &objective, self.config.eval.recall_questions, items)
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
        let sampling = self.evaluation_sampling();
        let mut contenders = Vec::new();
        for (name, policy) in policies {
            let (engine, reader) = (self.engine(policy, stop)?, self.reader(policy, &sampling, EVALUATION_STEP));
            contenders.push(Contender { name: name.clone(), reader, engine });
        }
        let Some(first) = contenders.first() else { anyhow::bail!("there is no policy to evaluate") };
        let mut documents = self.held_out(&first.reader, numbers.end)?;
        documents.drain(..numbers.start.min(documents.len()));
        let objective = self.config.objective.memtrain();
        let asked = questions(&documents, &objective, self.config.eval.recall_questions, self.config.run.seed);
        memory_controls::evaluate(&mut contenders, &documents, objective.equality, &asked)
    }
}

/// Evaluates the policy of a configuration on held-out documents: end-to-end reconstruction and intermediate recall.
///
/// # Errors
/// As [`Session::open`], [`Session::starting_policy`] and [`Session::evaluate`].
pub fn evaluate(config: &Config, stop: &StopRequest) -> Result<ReconstructionReport, Error> {
    let session = Session::open(config.clone())?;
    Ok(session.evaluate(&session.starting_policy()?, stop)?)
}

/// The documents as an input of a run: their hash, and with it the rule by which long ones are shortened, since a run that began by an
/// earlier rule would go on with other documents.
fn read_documents(hash: String, truncation: Truncation) -> String {
    match truncation {
        Truncation::None => hash,
        Truncation::Center => {
            store::hash_bytes(format!("{hash}, long ones without the tokens of their centre").as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortened_documents_are_another_input_than_those_of_an_earlier_rule() {
        let hash = || "aa".to_owned();
        // What runs have on record that pass long documents over, or began when chunks were left out.
        assert_eq!(read_documents(hash(), Truncation::None), "aa");
        assert_ne!(read_documents(hash(), Truncation::Center), "aa");
    }
}
