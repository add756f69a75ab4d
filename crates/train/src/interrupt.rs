//! Giving up a step that a signal interrupts.

use memtrain_engine::sampler::{Completion, SampleRequest, SampleStream, Sampler};
use memtrain_run::signal::StopRequest;
use memtrain_run::watch::Watch;

/// A sampler that draws nothing more once somebody has asked to stop. A step of hours can so be given up at the next
/// response that ends; what it drew is drawn again, the same, when the run goes on.
pub struct Interruptible<'a, S> {
    /// What draws.
    pub sampler: S,
    /// Asked before each response.
    pub stop: &'a StopRequest,
    /// Told of each response.
    pub watch: &'a Watch,
}

impl<S: Sampler> Sampler for Interruptible<'_, S> {
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
        memtrain_engine::sampler::drawn_together(&mut *self.stream()?, requests)
    }

    fn stream(&mut self) -> anyhow::Result<Box<dyn SampleStream + '_>> {
        let (stream, stop, watch) = (self.sampler.stream()?, self.stop, self.watch);
        Ok(Box::new(InterruptibleStream { stream, stop, watch, submitted: 0, ended: 0 }))
    }
}

struct InterruptibleStream<'a> {
    stream: Box<dyn SampleStream + 'a>,
    stop: &'a StopRequest,
    watch: &'a Watch,
    submitted: usize,
    ended: usize,
}

impl SampleStream for InterruptibleStream<'_> {
    fn submit(&mut self, ticket: usize, request: SampleRequest) -> anyhow::Result<()> {
        self.submitted += 1;
        self.stream.submit(ticket, request)
    }

    fn next(&mut self) -> anyhow::Result<Option<(usize, Completion)>> {
        self.stop.check()?;
        let next = self.stream.next()?;
        self.ended += usize::from(next.is_some());
        self.watch.progress(format_args!("{} of {} responses have ended", self.ended, self.submitted));
        Ok(next)
    }
}
