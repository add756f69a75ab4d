//! How a dump becomes training documents.
//!
//! Five stages in a row, each by the contract of [`stage`]:
//!
//! | stage | reads | writes |
//! |---|---|---|
//! | `ingest` | MediaWiki dumps | articles, redirects, passages |
//! | [`entities`] | passages | mentions of each passage |
//! | [`tokenizer`] | passages | the policy's tokenizer |
//! | [`index`] | passages | the retrieval index |
//! | `synthesize` | all of these | training and held-out documents |
//!
//! [`build`] runs what is missing or stale; [`plan`], [`run_shard`], [`finish`] and [`status`] do single steps, so that
//! the shards of a stage can be spread over machines that share a folder. Nothing here prints: the caller listens
//! through [`Progress`].
//!
//! ```no_run
//! use memtrain_pipeline::{CorpusConfig, build, documents};
//! use memtrain_corpora::Split;
//! let mut config = CorpusConfig::default();
//! config.ingest.dumps = vec!["enwiki-pages-articles.xml.bz2".into()];
//! let out = std::path::Path::new("corpus");
//! let summary = build(&config, out, &())?;
//! for document in documents(out, Split::Heldout)? {
//!     println!("{}", document?.id);
//! }
//! # Ok::<(), memtrain_pipeline::PipelineError>(())
//! ```

pub mod config;
pub mod documents;
pub mod entities;
mod error;
pub mod index;
mod ingest;
pub mod inspect;
pub mod stage;
mod synthesize;
pub mod tables;
pub mod tokenizer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;

pub use config::CorpusConfig;
pub use documents::{document, documents};
pub use error::{PipelineError, Result};
pub use stage::{Manifest, Plan, Progress, ShardRecord, StageName, StageState, StageStatus, StageSummary};
pub use synthesize::rejections;
pub use tables::{mentions, passages};

use stage::{Stage, StageFolder};

/// What a build did, stage by stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CorpusSummary {
    /// The stages in order.
    pub stages: Vec<StageSummary>,
}

impl CorpusSummary {
    /// Whether there was nothing to do.
    pub fn is_unchanged(&self) -> bool {
        self.stages.iter().all(|stage| stage.written == 0)
    }
}

/// Brings every stage up to date, in order. Only what is missing, damaged or stale is done; killed at any moment and
/// called again, it ends with the same bytes (the folder of the index: the same answers).
pub fn build(config: &CorpusConfig, out_dir: &Path, progress: &dyn Progress) -> Result<CorpusSummary> {
    config.validate()?;
    let stages = StageName::ALL.into_iter();
    in_pool(config, || {
        let stages = stages.map(|name| build_stage(name, config, out_dir, progress)).collect::<Result<_>>()?;
        Ok(CorpusSummary { stages })
    })
}

/// Plans a stage and stores the plan. What another plan has left there is removed; an equal plan changes nothing.
pub fn plan(config: &CorpusConfig, out_dir: &Path, name: StageName) -> Result<Plan> {
    config.validate()?;
    in_pool(config, || {
        if name != StageName::Ingest {
            ingest::check_complete(config, out_dir)?;
        }
        let plan = stage_of(name, config, out_dir).plan()?;
        let folder = StageFolder::new(out_dir, name);
        let _lock = folder.lock()?;
        folder.store_plan(&plan)?;
        Ok(plan)
    })
}

/// Does one shard of a planned stage; a shard that is there and whole is left alone.
pub fn run_shard(
    config: &CorpusConfig,
    out_dir: &Path,
    name: StageName,
    index: usize,
    progress: &dyn Progress,
) -> Result<ShardRecord> {
    config.validate()?;
    let (stage, folder) = (stage_of(name, config, out_dir), StageFolder::new(out_dir, name));
    let plan = valid_plan(&*stage, &folder)?;
    let shards = plan.shards.len();
    if index >= shards {
        return Err(PipelineError::NoSuchShard { stage: name, index, shards });
    }
    if let Ok(record) = folder.check(&plan.fingerprint(), index, shards, true) {
        return Ok(record);
    }
    in_pool(config, || folder.run(&plan, index, &*stage.open()?, progress))
}

/// Checks that all shards of a stage are there and whole, and commits it. An ingest whose dumps broke off is committed too, and
/// then [`PipelineError::Truncated`] unless that is accepted.
pub fn finish(config: &CorpusConfig, out_dir: &Path, name: StageName) -> Result<Manifest> {
    config.validate()?;
    let (stage, folder) = (stage_of(name, config, out_dir), StageFolder::new(out_dir, name));
    let plan = valid_plan(&*stage, &folder)?;
    let _lock = folder.lock()?;
    let manifest = folder.finish(&plan, &*stage)?;
    if name == StageName::Ingest {
        ingest::check_complete(config, out_dir)?;
    }
    Ok(manifest)
}

/// How far every stage is; reads no data.
pub fn status(config: &CorpusConfig, out_dir: &Path) -> Result<Vec<StageStatus>> {
    config.validate()?;
    let mut upstream_done = true;
    let of_stage = |name| {
        let status = StageFolder::new(out_dir, name).status(&*stage_of(name, config, out_dir), upstream_done)?;
        upstream_done &= status.state == StageState::Done;
        Ok(status)
    };
    StageName::ALL.into_iter().map(of_stage).collect()
}

fn stage_of<'a>(name: StageName, config: &'a CorpusConfig, out: &'a Path) -> Box<dyn Stage + 'a> {
    match name {
        StageName::Ingest => Box::new(ingest::IngestStage { config, out }),
        StageName::Entities => Box::new(entities::EntitiesStage { config, out }),
        StageName::Tokenizer => Box::new(tokenizer::TokenizerStage { config, out }),
        StageName::Index => Box::new(index::IndexStage { config, out }),
        StageName::Synthesize => Box::new(synthesize::SynthesizeStage { config, out }),
    }
}

/// The stored plan, if it is the one for the configuration and the inputs as they are now.
fn valid_plan(stage: &dyn Stage, folder: &StageFolder) -> Result<Plan> {
    let stale = PipelineError::StalePlan { stage: stage.name() };
    match folder.stored_plan() {
        Some(plan) if stage.fits(&plan)? => Ok(plan),
        _ => Err(stale),
    }
}

fn build_stage(
    name: StageName,
    config: &CorpusConfig,
    out_dir: &Path,
    progress: &dyn Progress,
) -> Result<StageSummary> {
    if progress.stopping() {
        return Err(PipelineError::Stopped);
    }
    let (stage, folder) = (stage_of(name, config, out_dir), StageFolder::new(out_dir, name));
    let plan = stage.plan()?;
    let _lock = folder.lock()?;
    folder.store_plan(&plan)?;
    let (fingerprint, shards) = (plan.fingerprint(), plan.shards.len());
    let pending: Vec<usize> =
        (0..shards).into_par_iter().filter(|&index| folder.check(&fingerprint, index, shards, true).is_err()).collect();
    progress.stage_started(name, shards, pending.len());
    if !pending.is_empty() {
        let runner = stage.open()?;
        run_all(&pending, runner.most_open(), |index| folder.run(&plan, index, &*runner, progress).map(drop))?;
    }
    let manifest = folder.finish(&plan, &*stage)?;
    let summary =
        StageSummary { stage: name, shards, written: pending.len(), rows: manifest.rows, counts: manifest.counts };
    progress.stage_finished(&summary);
    if name == StageName::Ingest {
        ingest::check_complete(config, out_dir)?;
    }
    Ok(summary)
}

/// Does shards, in order, one a thread at a time and at most `most_open`. A thread that waits for the others within its shard helps with
/// theirs but never begins another one, and those that get none help too: no more memory is taken than the open shards need.
fn run_all(shards: &[usize], most_open: usize, run: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = rayon::broadcast(|thread| {
        while thread.index() < most_open && !failed.load(Ordering::Relaxed) {
            let Some(&shard) = shards.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            run(shard).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    });
    results.into_iter().collect()
}

/// Runs in a pool of the configured number of threads.
fn in_pool<T: Send>(config: &CorpusConfig, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(config.workers)
        .build()
        .map_err(|error| PipelineError::Workers { workers: config.workers, detail: error.to_string() })?;
    pool.install(work)
}
