//! Giving up a step that a signal interrupts.

use crate::run::signal::StopRequest;
use crate::sampler::{Completion, SampleRequest, Sampler};

/// A sampler that draws nothing more once somebody has asked to stop. A step of hours can so be given up at its next
/// turn; what it drew is drawn again, the same, when the run goes on.
pub struct Interruptible<'a, S> {
    /// What draws.
    pub sampler: S,
    /// Asked before each batch.
    pub stop: &'a StopRequest,
}

impl<S: Sampler> Sampler for Interruptible<'_, S> {
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
        self.stop.check()?;
        self.sampler.sample(requests)
    }
}
