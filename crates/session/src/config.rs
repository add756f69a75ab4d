//! Configuration of a run: one TOML file. Every key is known, an unknown one is refused, and every default stands in
//! the module that uses it.

pub mod changes;
pub mod keys;
pub mod messages;
pub mod origin;
mod places;
pub mod ranges;
pub mod reference;
pub mod renamed;
pub mod sources;

use std::path::{Path, PathBuf};

use memtrain_corpora::world::WorldConfig;
use memtrain_pipeline::CorpusConfig;
use serde::{Deserialize, Serialize};

use self::sources::Sources;
use crate::agents::bank::BankConfig;
use crate::agents::reader::{ReaderConfig, SamplingConfig};
use crate::agents::searcher::SearcherConfig;
use crate::device::DeviceChoice;
use crate::error::Error;
use crate::eval::reconstruction::ReconstructionConfig;
use crate::grpo::loss::LossConfig;
use crate::grpo::trainer::UpdateConfig;
use crate::objectives::ObjectiveConfig;
use crate::policy::chat_template::Date;
use crate::policy::{LoraConfig, Precision, TemplateSettings};
use crate::reward::RewardConfig;
use crate::sampler::SamplerConfig;
use crate::sft::step::SftConfig;
use memtrain_train::TrainConfig;
use memtrain_train::optimizer::OptimizerConfig;

/// The whole configuration of a run, from dump to policy.
///
/// ```
/// let config: memtrain_session::config::Config = toml::from_str("[run]\nname = \"mine\"").unwrap();
/// assert_eq!(config.train.documents_per_step, 32);
/// assert!(toml::from_str::<memtrain_session::config::Config>("[run]\nnmae = \"mine\"").is_err());
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Other configurations that a file builds on; nothing of it is left once they are read ([`sources`]).
    #[serde(skip_serializing)]
    pub include: Vec<PathBuf>,
    /// Names and folders.
    pub run: RunConfig,
    /// The fictional encyclopedia, where that is the input: its dump is written before the corpus is built.
    pub world: Option<WorldConfig>,
    /// From dump to documents.
    pub corpus: CorpusConfig,
    /// Where the policy comes from.
    pub policy: PolicyConfig,
    /// How the agent reads.
    pub reader: ReaderConfig,
    /// How a bank is kept and read, by objectives with one.
    pub bank: BankConfig,
    /// How a searcher searches, by objectives that do.
    pub searcher: SearcherConfig,
    /// Where it searches.
    pub search: SearchConfig,
    /// Sampling parameters of rollouts.
    #[serde(alias = "draw")]
    pub sampling: SamplingConfig,
    /// Tasks with labels, instead of the corpus's documents.
    pub tasks: TasksConfig,
    /// What samples them: this process, or a server.
    pub sampler: SamplerConfig,
    /// What is rewarded.
    pub objective: ObjectiveConfig,
    /// Who scores trajectories besides.
    #[serde(skip_serializing_if = "is_default")]
    pub reward: RewardConfig,
    /// The GRPO loss.
    pub loss: LossConfig,
    /// How a batch becomes optimizer steps.
    pub update: UpdateConfig,
    /// AdamW and its schedule.
    pub optimizer: OptimizerConfig,
    /// Steps, checkpoints.
    pub train: TrainConfig,
    /// Evaluation on held-out documents.
    pub eval: ReconstructionConfig,
    /// Supervised fine-tuning of a policy made from nothing.
    #[serde(alias = "warm_up")]
    pub sft: SftConfig,
}

impl Config {
    /// Reads a file and those that it includes, changes keys as the command line's `--set KEY=VALUE` does, and checks the values.
    ///
    /// ```no_run
    /// # use memtrain_session::Config;
    /// let config = Config::read("run.toml".as_ref(), &["train.steps=10"])?;
    /// # Ok::<(), memtrain_session::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a file is missing or no TOML, a key is unknown, or a value is not what its key may have: with its place.
    pub fn read(path: &Path, set: &[impl AsRef<str>]) -> Result<Self, Error> {
        let set: Vec<String> = set.iter().map(|change| change.as_ref().to_owned()).collect();
        Ok(changes::resolve(&Sources::read(path)?, &set)?)
    }
}

/// Names and folders of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Name of the run: its folder in `runs`.
    pub name: String,
    /// Folder of the run folders.
    pub runs: PathBuf,
    /// Folder of the corpus: one folder a stage.
    pub corpus: PathBuf,
    /// Seed of the training's random numbers.
    pub seed: u64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { name: "memtrain".to_owned(), runs: PathBuf::from("runs"), corpus: PathBuf::from("data/corpus"), seed: 1 }
    }
}

/// Task tables, as `memtrain tasks import` and `memtrain tasks compose` write them. MemTrain's objective takes rows with
/// something hidden for documents, as verl's of `memtrain corpus export`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TasksConfig {
    /// Trained on, instead of the corpus's training documents.
    pub train: Option<PathBuf>,
    /// Evaluated on, instead of its held-out documents.
    pub heldout: Option<PathBuf>,
}

/// Where a searcher searches: in the index of a corpus, or through a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchConfig {
    /// Folder of a corpus with an index, or of an index alone; the run's corpus where neither this nor a server is named.
    pub corpus: Option<PathBuf>,
    /// Address of a server with Search-R1's protocol, such as `memtrain serve-index`.
    pub server: Option<String>,
    /// Seconds that the server has for an answer.
    pub timeout_s: u64,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self { corpus: None, server: None, timeout_s: 60 }
    }
}

/// Where the policy comes from: a directory, the one in the program, or made from nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// A Hugging Face directory, or `built-in:tiny` for the fine-tuned policy that the program carries.
    pub path: Option<String>,
    /// The preset to make, with the corpus's tokenizer, where no path is given.
    pub preset: Option<String>,
    /// Type of the weights in training: `f32`, or `bf16` with f32 masters in the optimizer, as verl and prime-rl train.
    pub precision: Precision,
    /// What computes: `cpu`, or `cuda:0` in a program that was built for it (docs/gpu.md).
    pub device: DeviceChoice,
    /// The day that a chat template is told which writes today's (`strftime_now`): it has no clock, so that the same
    /// configuration makes the same prompts.
    #[serde(skip_serializing_if = "is_default")]
    pub template_date: Date,
    /// What the chat template is given beside a conversation, such as `enable_thinking = false` for a hybrid Qwen3.
    #[serde(skip_serializing_if = "is_default")]
    pub chat_template_kwargs: serde_json::Map<String, serde_json::Value>,
    /// Trains low-rank adapters instead of the weights.
    pub lora: Option<LoraConfig>,
}

/// Whether a key is left out of a run's configuration, so that runs that began before there was one go on.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl PolicyConfig {
    /// What its chat template is given beside each conversation.
    pub fn template_settings(&self) -> TemplateSettings {
        TemplateSettings { variables: self.chat_template_kwargs.clone(), date: self.template_date }
    }
}
