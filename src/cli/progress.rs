//! Progress of the corpus stages on the display of a run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memtrain_pipeline::{Progress, StageName, StageSummary};

use crate::run::progress::Bar;
use crate::run::signal::StopRequest;

/// Shows the stages of a corpus, a bar each, and passes a request to stop on to them.
pub struct CorpusProgress {
    stop: StopRequest,
    bars: Mutex<BTreeMap<StageName, Bar>>,
}

impl CorpusProgress {
    /// Stops when `stop` says so.
    pub fn new(stop: StopRequest) -> Self {
        Self { stop, bars: Mutex::default() }
    }

    fn bars(&self) -> MutexGuard<'_, BTreeMap<StageName, Bar>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn stage_finished(&self, summary: &StageSummary) {
        if let Some(bar) = self.bars().remove(&summary.stage) {
            bar.finish();
        }
        tracing::info!("{}", super::corpus::line(summary));
        for line in memtrain_pipeline::rejections(&summary.counts) {
            tracing::info!("{line}");
        }
    }

    fn stopping(&self) -> bool {
        self.stop.requested()
    }
}
