//! Searches beside the stream: while passages are looked up for some environments, the others go on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;

use super::retrieve::{Found, RetrieveError, Retriever};

/// Where passages are found, and how many for a query.
pub type SearchIn<'a> = (&'a Arc<dyn Retriever>, usize);

/// A query and the place of who asks.
type SearchQuery = (usize, String);

/// The passages of a batch of queries, each with the place of who asked.
type Batch = Result<Vec<(usize, Vec<Found>)>, RetrieveError>;

/// Queries under way. One thread looks up all that are waiting whenever it is free. It borrows nothing, so that a stop does
/// not wait for it: it ends by itself after its batch.
pub(super) struct Lookups {
    search: Option<(Arc<dyn Retriever>, usize)>,
    thread: Option<(Sender<SearchQuery>, Receiver<Batch>)>,
    under_way: usize,
}

impl Lookups {
    /// The thread begins with the first query.
    pub(super) fn new(search: Option<SearchIn<'_>>) -> Self {
        let search = search.map(|(retriever, topk)| (Arc::clone(retriever), topk));
        Self { search, thread: None, under_way: 0 }
    }

    /// Whether all that was asked has been answered.
    pub(super) fn none_under_way(&self) -> bool {
        self.under_way == 0
    }

    /// Looks for the passages of a query.
    pub(super) fn ask(&mut self, place: usize, query: String) -> anyhow::Result<()> {
        let (retriever, topk) = self.search.as_ref().context("there is nothing to search in")?;
        if self.thread.is_none() {
            let (queries, asked) = channel();
            let (sender, found) = channel();
            let (retriever, topk) = (Arc::clone(retriever), *topk);
            std::thread::Builder::new().spawn(move || look_up(&*retriever, topk, &asked, &sender))?;
            self.thread = Some((queries, found));
        }
        if let Some((queries, _)) = &self.thread {
            queries.send((place, query)).context("the search has ended early")?;
        }
        self.under_way += 1;
        Ok(())
    }

    /// What was found since the last time, waited for so long where there is nothing yet.
    pub(super) fn found(&mut self, patience: Duration) -> anyhow::Result<Vec<(usize, Vec<Found>)>> {
        let Some((_, found)) = self.thread.as_ref().filter(|_| self.under_way > 0) else { return Ok(Vec::new()) };
        let batch = match found.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => return Ok(Vec::new()),
            batch => batch.context("the search has ended early")??,
        };
        self.under_way -= batch.len();
        Ok(batch)
    }
}

/// What the thread does until nobody asks or listens any more.
fn look_up(retriever: &dyn Retriever, topk: usize, asked: &Receiver<SearchQuery>, sender: &Sender<Batch>) {
    while let Ok(first) = asked.recv() {
        let (places, queries): (Vec<usize>, Vec<String>) = std::iter::once(first).chain(asked.try_iter()).unzip();
        let texts: Vec<&str> = queries.iter().map(String::as_str).collect();
        let found = retriever.retrieve(&texts, topk);
        // A retriever that finds too little has found nothing for the rest.
        let batch = found.map(|found| places.into_iter().zip(found.into_iter().chain(std::iter::repeat(Vec::new()))));
        if sender.send(batch.map(Iterator::collect)).is_err() {
            return;
        }
    }
}
