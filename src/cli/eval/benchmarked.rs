//! Common parts of the question-answering benchmarks: the policy, its limits, and the loop over the items.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
pub(super) use memtrain_session::evaluated::{EvaluatedPolicy as Evaluated, all_failed, engine};
use serde_json::{Map, Value};

use crate::agents::reader::SamplingConfig;
use crate::cli::configuration::resolve;
use crate::config::sources::Sources;
use crate::eval::record::{EvalTurn, ItemKey, ItemRecord, Record};
use crate::run::progress::Bar;
use crate::run::signal::StopRequest;

/// The policy and how it is sampled.
#[derive(Clone, Debug, Args)]
pub struct PolicyArgs {
    /// Policy directory, its name on the hub, or `built-in:tiny` [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    pub policy: Option<String>,
    /// Configuration with the sections `[policy]` and `[reader]`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change a key, for example `--set reader.chunk_tokens=5000`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// 0 takes the most probable token each time
    #[arg(long, default_value_t = 0.7)]
    pub temperature: f64,
    /// Draw among the most probable tokens that together reach this probability
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl PolicyArgs {
    /// Resolves the configuration and loads the policy; of one that a server has, what prompts are made with.
    pub(super) fn open(&self, server: Option<&str>) -> anyhow::Result<Evaluated> {
        let config = resolve(&Sources::given(self.config.as_deref())?, &self.set)?;
        let sampling = SamplingConfig { temperature: self.temperature, top_p: self.top_p, top_k: 0 };
        Evaluated::open(config, self.policy.as_deref(), server, sampling)
    }

    /// The settings of a run's note that come from here.
    pub(super) fn note(&self, evaluated: &Evaluated) -> anyhow::Result<Map<String, Value>> {
        evaluated.note(self.seed)
    }
}

/// Answers the items of a record that are not done, batch by batch, and shows how far that is.
pub(super) fn answer_all(
    record: &mut Record,
    stop: &StopRequest,
    answer: impl FnMut(&[ItemKey], Range<usize>) -> anyhow::Result<(Vec<ItemRecord>, Vec<EvalTurn>)>,
) -> anyhow::Result<()> {
    let bar = Bar::new("items", record.items().len() as u64, record.done().len() as u64);
    memtrain_session::evaluated::answer_all(record, stop, answer, |done| bar.advance_to(done as u64, ""))?;
    bar.finish();
    Ok(())
}
