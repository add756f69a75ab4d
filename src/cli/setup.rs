//! What a command works with: configuration resolved, corpus opened, policy loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::DType;
use memtrain_corpora::{Split, store};

use crate::agents::prompts::PromptSet;
use crate::agents::reader::{DrawConfig, DrawRound, Reader};
use crate::config::Config;
use crate::eval::reconstruction::{EVALUATION_STEP, ReconstructionReport, evaluate};
use crate::policy::tokenizer::{COMPACT_CHAT_TEMPLATE, END_OF_TURN};
use crate::policy::{Decoder, Policy, PolicyTokenizer, directory, preset};
use crate::run::{RunDirectory, RunSetup};
use crate::sampler;
use crate::train::documents::{self, DocumentSet};

/// A corpus and what reads it.
pub struct Workbench {
    /// The configuration, built-in names resolved.
    pub config: Config,
    /// What the agent is shown.
    pub prompts: PromptSet,
}

impl Workbench {
    /// Checks the configuration as far as that goes without opening anything large.
    ///
    /// # Errors
    /// If the prompt set cannot be used.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        super::plan::check(&config)?;
        let prompts = PromptSet::load(&config.reader.prompts, config.reader.prompt.layout)?;
        Ok(Self { config, prompts })
    }

    /// Documents of a split.
    ///
    /// # Errors
    /// If the corpus is not built.
    pub fn documents(&self, split: Split) -> anyhow::Result<DocumentSet> {
        DocumentSet::open(&self.config.run.corpus, split)
    }

    /// The policy the run starts from.
    ///
    /// # Errors
    /// If it cannot be loaded or made.
    pub fn starting_policy(&self) -> anyhow::Result<Policy> {
        let policy = self.load_policy()?;
        let (context, positions) = (self.config.reader.context_tokens, policy.decoder.config.max_position_embeddings);
        anyhow::ensure!(
            context <= positions,
            "`reader.context_tokens` is {context}, but the policy was made for {positions} positions"
        );
        Ok(policy)
    }

    fn load_policy(&self) -> anyhow::Result<Policy> {
        let device = self.config.policy.device.open()?;
        match (&self.config.policy.path, &self.config.policy.preset) {
            (Some(path), _) => Ok(directory::load(Path::new(path), &device, DType::F32)?),
            (None, Some(name)) => {
                let tokenizer = self.config.run.corpus.join("tokenizer").join("tokenizer.json");
                let tokenizer =
                    PolicyTokenizer::from_file(&tokenizer)?.with_chat_template(COMPACT_CHAT_TEMPLATE, END_OF_TURN)?;
                let shape = preset::by_name(name, tokenizer.vocab_size())?;
                let decoder = Decoder::init(shape, self.config.run.seed, &device, DType::F32)?;
                Ok(Policy::new(decoder, tokenizer)?)
            }
            (None, None) => {
                anyhow::bail!("no policy: set `policy.path` to a Hugging Face directory, or `policy.preset`")
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

    /// Opens the run's folder, for a new run or to go on.
    ///
    /// # Errors
    /// If another process holds it or it holds another run.
    pub fn open_run(&self, policy: &Policy, clean: bool) -> anyhow::Result<RunDirectory> {
        let manifest = self.config.run.corpus.join("synthesize").join("manifest.json");
        let inputs = BTreeMap::from([
            ("documents".to_owned(), store::hash_file(&manifest).context("the corpus is not built")?),
            ("policy".to_owned(), weights_hash(policy)?),
            ("prompts".to_owned(), self.prompts.hash()),
        ]);
        let config = toml::to_string(&self.config).context("the configuration cannot be written")?;
        let run = RunDirectory::open(&self.run_path(), &RunSetup { config, inputs, clean })?;
        crate::run::log::keep(run.log_file()?);
        Ok(run)
    }

    /// A reader with this configuration's limits.
    pub fn reader<'a>(&'a self, policy: &'a Policy, draw: &'a DrawConfig, step: u64) -> Reader<'a> {
        let round = DrawRound { seed: self.config.run.seed, step };
        Reader { tokenizer: &policy.tokenizer, prompts: &self.prompts, config: &self.config.reader, draw, round }
    }

    /// Evaluates a policy on the first held-out documents.
    ///
    /// # Errors
    /// If the corpus cannot be read or sampling fails.
    pub fn evaluate(&self, policy: &Policy) -> anyhow::Result<ReconstructionReport> {
        let eval = &self.config.eval;
        let draw = DrawConfig { temperature: eval.temperature, ..DrawConfig::default() };
        let reader = self.reader(policy, &draw, EVALUATION_STEP);
        let documents = documents::first(&self.documents(Split::Heldout)?, eval.documents, &reader)?;
        let mut sampler = sampler::of_policy(&self.config.sampler, policy, &self.sampler_weights())?;
        evaluate(&reader, &mut sampler, &documents, &self.config.objective, eval.recall_questions)
    }
}

/// BLAKE3 of all weights, in the order of their names, and of adapters after them.
fn weights_hash(policy: &Policy) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let weights = &policy.decoder.weights;
    for (name, tensor) in weights.named().into_iter().chain(weights.named_adapters()) {
        hasher.update(name.as_bytes());
        for value in tensor.detach().flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()? {
            hasher.update(&value.to_le_bytes());
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}
