//! Stages from a dump to training documents.
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
pub mod evidence;
pub mod index;
mod ingest;
pub mod inspect;
mod names;
pub mod stage;
pub mod staleness;
mod synthesize;
pub mod tables;
pub mod tokenizer;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use memtrain_corpora::store;
use serde::Serialize;

pub use config::CorpusConfig;
pub use documents::{document, documents};
pub use error::{PipelineError, Result};
pub use stage::{Manifest, Plan, Progress, ShardRecord, StageName, StageState, StageStatus, StageSummary};
pub use synthesize::rejections;
pub use tables::{mentions, passages};
pub use verify::{Damage, Verification, VerifiedStage, verify};

use stage::{Checked, ShardRunner, Stage, StageFolder};

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

/// Checks that a corpus can be kept in `out_dir`: under the names of the stages there is nothing, or a stage. Nothing is
/// written.
pub fn check_out(out_dir: &Path) -> Result<()> {
    StageName::ALL.into_iter().try_for_each(|name| StageFolder::new(out_dir, name).check_ours())
}

/// Checks that every entry of `ingest.dumps` leads to a file. Nothing of the files is read but their first bytes.
///
/// # Errors
/// [`PipelineError::NoDump`], or [`PipelineError::Config`] for a pattern that cannot be understood.
pub fn check_dumps(config: &CorpusConfig) -> Result<()> {
    ingest::inputs(&config.ingest).map(drop)
}

/// The files that `ingest.dumps` names, each once.
///
/// # Errors
/// As [`check_dumps`].
pub fn dumps(config: &CorpusConfig) -> Result<Vec<PathBuf>> {
    ingest::inputs(&config.ingest)
}

/// Checks that the passages of a corpus are enough for the configured documents, as far as they are there: of an ingest that is to be
/// done, or done anew, nobody knows how many come of it. Of the corpus no more than small files is read.
///
/// # Errors
/// [`PipelineError::Config`] if they are too few, or what [`CorpusConfig::validate`] refuses.
pub fn check_passages(config: &CorpusConfig, out_dir: &Path) -> Result<()> {
    config.validate()?;
    let folder = StageFolder::new(out_dir, StageName::Ingest);
    let (Some(plan), Some(manifest)) = (folder.stored_plan()?.whole(), folder.manifest()?.whole()) else {
        return Ok(());
    };
    if plan.configuration != stage_of(StageName::Ingest, config, out_dir).configuration() {
        return Ok(());
    }
    synthesize::check_passages(&config.synthesize, manifest.rows.get("passages").copied().unwrap_or(0))
}

/// Brings every stage up to date, in order. Only what is missing, damaged or stale is done; killed at any moment and
/// called again, it ends with the same bytes. What is stale stays as it is until what replaces it is finished.
pub fn build(config: &CorpusConfig, out_dir: &Path, progress: &dyn Progress) -> Result<CorpusSummary> {
    config.validate()?;
    let stages = StageName::ALL.into_iter();
    // Before anything is written: hours later is too late to find a folder of somebody else.
    check_out(out_dir)?;
    if store::is_dir(out_dir) {
        store::sweep_temporaries(out_dir)?;
    }
    in_pool(config, || {
        let stages = stages.map(|name| build_stage(name, config, out_dir, progress)).collect::<Result<_>>()?;
        Ok(CorpusSummary { stages })
    })
}

/// Brings one stage up to date, where those before it are finished; as [`build`].
pub fn build_one(
    config: &CorpusConfig,
    out_dir: &Path,
    name: StageName,
    progress: &dyn Progress,
) -> Result<StageSummary> {
    config.validate()?;
    check_out(out_dir)?;
    in_pool(config, || build_stage(name, config, out_dir, progress))
}

/// Plans a stage and stores the plan; an equal plan changes nothing. What was done for another plan stays until this one
/// is finished.
pub fn plan(config: &CorpusConfig, out_dir: &Path, name: StageName) -> Result<Plan> {
    config.validate()?;
    in_pool(config, || {
        if name != StageName::Ingest {
            ingest::check_complete(config, out_dir)?;
        }
        let (stage, folder) = (stage_of(name, config, out_dir), StageFolder::new(out_dir, name));
        folder.check_ours()?;
        let plan = stage.plan()?;
        let _lock = folder.lock()?;
        folder.put_plan(&plan, &*stage)?;
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
    let stage = stage_of(name, config, out_dir);
    let (folder, plan) = current(&*stage, &StageFolder::new(out_dir, name))?;
    let shards = plan.shards.len();
    if index >= shards {
        return Err(PipelineError::NoSuchShard { stage: name, index, shards });
    }
    let verifier = store::Verifier::reading_all();
    if let Checked::Whole(record) = folder.check(&plan.fingerprint(), index, shards, Some(&verifier))? {
        return Ok(record);
    }
    in_pool(config, || folder.run(&plan, index, &*stage.open(&folder)?, progress))
}

/// Does the shards of a planned stage whose numbers `wanted` tells, several at a time as [`build`]; those that are there and whole
/// are left alone. Their records, in order: none where the stage has no such shard.
pub fn run_shards(
    config: &CorpusConfig,
    out_dir: &Path,
    name: StageName,
    wanted: impl Fn(usize) -> bool,
    progress: &dyn Progress,
) -> Result<Vec<ShardRecord>> {
    config.validate()?;
    let stage = stage_of(name, config, out_dir);
    let (folder, plan) = current(&*stage, &StageFolder::new(out_dir, name))?;
    let (fingerprint, shards) = (plan.fingerprint(), plan.shards.len());
    let verifier = store::Verifier::reading_all();
    let check = |index| folder.check(&fingerprint, index, shards, Some(&verifier));
    let (mut records, mut pending) = (BTreeMap::new(), Vec::new());
    for index in (0..shards).filter(|&index| wanted(index)) {
        match check(index)? {
            Checked::Whole(record) => drop(records.insert(index, record)),
            Checked::Wanting(_) => pending.push(index),
        }
    }
    let records = Mutex::new(records);
    if !pending.is_empty() {
        let run = |runner: &dyn ShardRunner, index| {
            let record = folder.run(&plan, index, runner, progress)?;
            records.lock().unwrap_or_else(PoisonError::into_inner).insert(index, record);
            Ok(())
        };
        in_pool(config, || {
            progress.stage_started(name, shards, pending.len());
            let runner = stage.open(&folder)?;
            run_all(&pending, runner.most_open(), |index| run(&*runner, index))
        })?;
    }
    Ok(records.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect())
}

/// Checks that all shards of a stage are there and whole, and commits it. An ingest whose dumps broke off is committed too, and
/// then [`PipelineError::Truncated`] unless that is accepted.
pub fn finish(config: &CorpusConfig, out_dir: &Path, name: StageName) -> Result<Manifest> {
    config.validate()?;
    let (stage, main) = (stage_of(name, config, out_dir), StageFolder::new(out_dir, name));
    let (folder, plan) = current(&*stage, &main)?;
    let _lock = main.lock()?;
    let manifest = in_pool(config, || main.finish(&folder, &plan, &*stage))?;
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
        StageName::Entities => Box::new(entities::EntitiesStage { config: &config.entities, out }),
        StageName::Tokenizer => Box::new(tokenizer::TokenizerStage { config, out }),
        StageName::Index => Box::new(index::IndexStage { config, out }),
        StageName::Synthesize => Box::new(synthesize::SynthesizeStage { config, out }),
    }
}

/// The plan for the configuration and the inputs as they are now, which must be stored, and the folder it is carried out in.
fn current(stage: &dyn Stage, folder: &StageFolder) -> Result<(StageFolder, Plan)> {
    folder.current(stage)?.ok_or_else(|| PipelineError::StalePlan { stage: stage.name() })
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
    let (stage, main) = (stage_of(name, config, out_dir), StageFolder::new(out_dir, name));
    let plan = stage.plan()?;
    let _lock = main.lock()?;
    let folder = main.put_plan(&plan, &*stage)?;
    let shards = plan.shards.len();
    let is_pending = |(index, checked)| matches!(checked, Checked::Wanting(_)).then_some(index);
    let pending: Vec<usize> = folder.check_all(&plan)?.into_iter().enumerate().filter_map(is_pending).collect();
    progress.stage_started(name, shards, pending.len());
    if !pending.is_empty() {
        let runner = stage.open(&folder)?;
        run_all(&pending, runner.most_open(), |index| folder.run(&plan, index, &*runner, progress).map(drop))?;
    }
    let manifest = main.finish(&folder, &plan, &*stage)?;
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
