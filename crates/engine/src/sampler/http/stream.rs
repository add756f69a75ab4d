//! Requests under way at a server, so many at a time.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};

use super::client::{Client, HttpError};

/// How long an answer is waited for before whoever waits may do something else.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a stream asks of a server.
pub(super) trait Endpoint: Send + Sync + 'static {
    /// What goes in.
    type Request: Send + 'static;
    /// What comes out.
    type Response: Send + 'static;

    /// Who is asked.
    fn client(&self) -> &Client;

    /// Asks once.
    fn send(&self, request: &Self::Request) -> Result<Self::Response, HttpError>;
}

/// Requests on their way to the threads that send them.
struct Queue<Q> {
    waiting: Mutex<(VecDeque<(usize, Q)>, bool)>,
    changed: Condvar,
}

impl<Q> Queue<Q> {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<(usize, Q)>, bool)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request; `None` once the stream is over.
    fn take(&self) -> Option<(usize, Q)> {
        let mut state = self.lock();
        loop {
            if state.1 {
                return None;
            }
            if let Some(request) = state.0.pop_front() {
                return Some(request);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

type Ended<E> = (usize, Result<E, HttpError>);

/// Requests under way at a server.
pub(super) struct HttpStream<E: Endpoint> {
    endpoint: Arc<E>,
    queue: Arc<Queue<E::Request>>,
    ended: Receiver<Ended<E::Response>>,
    sender: Sender<Ended<E::Response>>,
    threads: usize,
    under_way: usize,
}

/// An answer with its ticket.
type Answered<E> = (usize, <E as Endpoint>::Response);

/// What a thread of a stream does: it asks until the stream is over.
fn work<E: Endpoint>(endpoint: &E, queue: &Queue<E::Request>, ended: &Sender<Ended<E::Response>>) {
    while let Some((ticket, request)) = queue.take() {
        let answer = endpoint.client().with_retries(|_| endpoint.send(&request));
        if ended.send((ticket, answer)).is_err() {
            return;
        }
    }
}

impl<E: Endpoint> HttpStream<E> {
    pub(super) fn new(endpoint: &Arc<E>) -> Self {
        let (sender, ended) = channel();
        let queue = Arc::new(Queue { waiting: Mutex::default(), changed: Condvar::new() });
        Self { endpoint: Arc::clone(endpoint), queue, ended, sender, threads: 0, under_way: 0 }
    }

    /// Adds a question; its ticket comes back with the answer.
    pub(super) fn push(&mut self, ticket: usize, request: E::Request) -> Result<()> {
        self.queue.lock().0.push_back((ticket, request));
        self.queue.changed.notify_one();
        self.under_way += 1;
        if self.threads < self.under_way.min(self.endpoint.client().config.concurrency) {
            let (endpoint, queue, sender) = (Arc::clone(&self.endpoint), Arc::clone(&self.queue), self.sender.clone());
            std::thread::Builder::new().spawn(move || work(&*endpoint, &queue, &sender))?;
            self.threads += 1;
        }
        Ok(())
    }

    /// The next answer, with its ticket; `Pending` if none comes in [`PATIENCE`], `Ready(None)` if nothing is under way.
    pub(super) fn poll_next(&mut self) -> Result<Poll<Option<Answered<E>>>> {
        if self.under_way == 0 {
            return Ok(Poll::Ready(None));
        }
        let (ticket, answer) = match self.ended.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) => return Ok(Poll::Pending),
            ended => ended?,
        };
        self.under_way -= 1;
        let answer = answer.with_context(|| format!("request {ticket} cannot be answered"))?;
        Ok(Poll::Ready(Some((ticket, answer))))
    }
}

impl<E: Endpoint> Drop for HttpStream<E> {
    /// Threads that wait go home; one that is being answered does so when it is.
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.0.clear();
        state.1 = true;
        drop(state);
        self.queue.changed.notify_all();
    }
}
