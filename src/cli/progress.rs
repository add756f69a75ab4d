//! Progress of corpus stages and of training on the display of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use memtrain_pipeline::{PipelineError, Progress, StageName, StageSummary};
use memtrain_session::{Observer, StepEvent};

use super::failure;
use crate::run::log;
use crate::run::progress::Bar;
use crate::run::signal::StopRequest;

/// How long the stages have to stop by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// Shows the stages of a corpus, a bar each, and passes a request to stop on to them.
///
/// They look for it between two batches of rows. What takes longer, such as the hash of a large dump, ends with the process: a stage
/// that is killed at any moment goes on from what it has finished.
pub struct CorpusProgress {
    stop: StopRequest,
    over: Arc<AtomicBool>,
    bars: Mutex<BTreeMap<StageName, Bar>>,
    /// Drafts of documents.
    rejected: AtomicU64,
}

impl CorpusProgress {
    /// Stops when `stop` says so.
    pub fn new(stop: StopRequest) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (asked, ended) = (stop.clone(), Arc::clone(&over));
        thread::spawn(move || {
            while !asked.requested() && !ended.load(Ordering::SeqCst) {
                thread::sleep(GRACE / 20);
            }
            thread::sleep(GRACE);
            if !ended.load(Ordering::SeqCst) {
                let (code, text) = failure::outcome(&PipelineError::Stopped.into());
                eprint!("{text}");
                std::process::exit(i32::from(code));
            }
        });
        Self { stop, over, bars: Mutex::default(), rejected: AtomicU64::new(0) }
    }

    fn bars(&self) -> MutexGuard<'_, BTreeMap<StageName, Bar>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CorpusProgress {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Progress for CorpusProgress {
    fn stage_started(&self, stage: StageName, _shards: usize, pending: usize) {
        if pending > 0 {
            self.bars().insert(stage, Bar::new(stage.as_str(), 0, 0));
        }
    }

    fn advanced(&self, stage: StageName, _shard: usize, units: u64) {
        if let Some(bar) = self.bars().get(&stage) {
            bar.advance(units);
        }
    }

    fn rejected(&self, drafts: u64) {
        let all = drafts + self.rejected.fetch_add(drafts, Ordering::Relaxed);
        if let Some(bar) = self.bars().get(&StageName::Synthesize) {
            bar.note(&if all > 0 { format!("{all} drafts rejected") } else { String::new() });
        }
    }

    fn stage_finished(&self, summary: &StageSummary) {
        if let Some(bar) = self.bars().remove(&summary.stage) {
            bar.finish();
        }
        tracing::info!("{}", stage_line(summary));
        for line in memtrain_pipeline::rejections(&summary.counts) {
            tracing::info!("{line}");
        }
    }

    fn stopping(&self) -> bool {
        self.stop.requested()
    }
}

/// A stage in a line: what it holds, what was left out.
pub(super) fn stage_line(stage: &StageSummary) -> String {
    let list = |counts: &BTreeMap<String, u64>| {
        counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let done = if stage.written == 0 {
        "up to date".to_owned()
    } else {
        format!("{} of {} shards written", stage.written, stage.shards)
    };
    let mut line = format!("{:<10}  {done}: {}", stage.stage.as_str(), list(&stage.rows));
    let counts = list(&stage.counts);
    if !counts.is_empty() {
        line.push_str(&format!(" ({counts})"));
    }
    line
}

/// Shows the steps of a training: a bar on a terminal, a line a step elsewhere and in the log of the run.
#[derive(Debug, Default)]
pub struct TrainingProgress(OnceLock<Bar>);

impl Observer for TrainingProgress {
    fn begins(&self, done: u64, steps: u64) {
        self.0.get_or_init(|| Bar::new("training", steps, done).without_lines());
    }

    fn stepped(&self, event: &StepEvent<'_>) {
        if let Some(bar) = self.0.get() {
            bar.advance_to(event.step, &event.headline());
            log::line(&event.line(bar.left()), false);
        }
    }

    fn ends(&self) {
        if let Some(bar) = self.0.get() {
            bar.finish();
        }
    }
}
