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
pub(super) trait Ask: Send + Sync + 'static {
    /// What goes in.
    type Question: Send + 'static;
    /// What comes out.
    type Answer: Send + 'static;

    /// Who is asked.
    fn client(&self) -> &Client;

    /// Asks once.
    fn ask(&self, question: &Self::Question) -> Result<Self::Answer, HttpError>;
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

type Ended<A> = (usize, Result<A, HttpError>);

/// Requests under way at a server.
pub(super) struct HttpStream<A: Ask> {
    asks: Arc<A>,
    queue: Arc<Queue<A::Question>>,
    ended: Receiver<Ended<A::Answer>>,
    sender: Sender<Ended<A::Answer>>,
    threads: usize,
    under_way: usize,
}

/// An answer with its ticket.
type Answered<A> = (usize, <A as Ask>::Answer);

/// What a thread of a stream does: it asks until the stream is over.
fn work<A: Ask>(asks: &A, queue: &Queue<A::Question>, ended: &Sender<Ended<A::Answer>>) {
    while let Some((ticket, question)) = queue.take() {
        let answer = asks.client().patiently(|_| asks.ask(&question));
        if ended.send((ticket, answer)).is_err() {
            return;
        }
    }
}

impl<A: Ask> HttpStream<A> {
    pub(super) fn new(asks: &Arc<A>) -> Self {
        let (sender, ended) = channel();
        let queue = Arc::new(Queue { waiting: Mutex::default(), changed: Condvar::new() });
        Self { asks: Arc::clone(asks), queue, ended, sender, threads: 0, under_way: 0 }
    }

    /// Adds a question; its ticket comes back with the answer.
    pub(super) fn put(&mut self, ticket: usize, question: A::Question) -> Result<()> {
        self.queue.lock().0.push_back((ticket, question));
        self.queue.changed.notify_one();
        self.under_way += 1;
        if self.threads < self.under_way.min(self.asks.client().config.concurrency) {
            let (asks, queue, sender) = (Arc::clone(&self.asks), Arc::clone(&self.queue), self.sender.clone());
            std::thread::Builder::new().spawn(move || work(&*asks, &queue, &sender))?;
            self.threads += 1;
        }
        Ok(())
    }

    /// The next answer, with its ticket; `Pending` if none comes in [`PATIENCE`], `Ready(None)` if nothing is under way.
    pub(super) fn take(&mut self) -> Result<Poll<Option<Answered<A>>>> {
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

impl<A: Ask> Drop for HttpStream<A> {
    /// Threads that wait go home; one that is being answered does so when it is.
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.0.clear();
        state.1 = true;
        drop(state);
        self.queue.changed.notify_all();
    }
}
