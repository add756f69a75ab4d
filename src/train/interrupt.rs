//! Giving up a step that a signal interrupts.

use crate::agents::bank::answerer::{Answerer, Words, answered_in_words};
use crate::agents::reader::{Reader, Turn};
use crate::run::signal::StopRequest;
use crate::run::watch::Watch;
use crate::sampler::{ChatServer, Completion, SampleRequest, SampleStream, Sampler};

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
        crate::sampler::drawn_together(&mut *self.stream()?, requests)
    }

    fn stream(&mut self) -> anyhow::Result<Box<dyn SampleStream + '_>> {
        let (stream, stop, watch) = (self.sampler.stream()?, self.stop, self.watch);
        Ok(Box::new(InterruptibleStream { stream, stop, watch, submitted: 0, ended: 0 }))
    }
}

impl Answerer for Interruptible<'_, ChatServer> {
    fn respond(&mut self, reader: &Reader<'_>, asked: &[Words]) -> anyhow::Result<Vec<Turn>> {
        answered_in_words(&self.sampler, reader, asked, |ended| {
            self.watch.progress(format_args!("{ended} of {} answers have come", asked.len()));
            Ok(self.stop.check()?)
        })
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
