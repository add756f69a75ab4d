//! Watchdog: a log line that says what is waited for when nothing moves.
//!
//! Whoever works says what for; a thread says it in the log when nothing has moved for some time. A run of days that hangs,
//! on a server that does not answer or a disk that is full of other people's work, can so be told from a slow step.

use std::fmt::Display;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Activity {
    what: String,
    progress: String,
    since: Instant,
    moved: Instant,
}

/// What a process is busy with. Clones are the same.
///
/// ```
/// use memtrain_run::watch::Watch;
/// let watch = Watch::default();
/// watch.begin("step 3: responses of the sampler");
/// watch.progress("17 of 64 ended");
/// assert!(watch.sentence().contains("step 3: responses of the sampler (17 of 64 ended)"));
/// ```
#[derive(Clone, Debug)]
pub struct Watch(Arc<Mutex<Activity>>);

impl Default for Watch {
    fn default() -> Self {
        let now = Instant::now();
        let activity = Activity { what: "the beginning".to_owned(), progress: String::new(), since: now, moved: now };
        Self(Arc::new(Mutex::new(activity)))
    }
}

impl Watch {
    fn change(&self, change: impl FnOnce(&mut Activity)) {
        let mut activity = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        activity.moved = Instant::now();
        change(&mut activity);
    }

    /// Something new is waited for.
    pub fn begin(&self, what: impl Display) {
        self.change(|activity| {
            activity.what = what.to_string();
            activity.progress.clear();
            activity.since = activity.moved;
        });
    }

    /// It has moved on.
    pub fn progress(&self, progress: impl Display) {
        self.change(|activity| activity.progress = progress.to_string());
    }

    /// What is waited for, and for how long.
    pub fn sentence(&self) -> String {
        let activity = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Activity { what, progress, since, moved } = &*activity;
        let progress = if progress.is_empty() { String::new() } else { format!(" ({progress})") };
        let (all, still) = (since.elapsed().as_secs(), moved.elapsed().as_secs());
        format!("waiting for {what}{progress}: begun {all} s ago, nothing has moved for {still} s")
    }

    /// From now on [`Self::sentence`] is logged whenever nothing has moved for `patience`, and again each time that long,
    /// until the guard is dropped.
    pub fn guard(&self, patience: Duration) -> WatchGuard {
        self.guard_with(patience, |sentence| tracing::warn!("{sentence}"))
    }

    fn guard_with(&self, patience: Duration, say: impl Fn(String) + Send + 'static) -> WatchGuard {
        let (stop, stopped) = channel::<()>();
        let watch = self.clone();
        let thread = std::thread::spawn(move || {
            let mut said = Instant::now();
            loop {
                let moved = watch.0.lock().unwrap_or_else(PoisonError::into_inner).moved;
                let due = moved.max(said) + patience;
                match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {
                        let moved = watch.0.lock().unwrap_or_else(PoisonError::into_inner).moved;
                        if moved.elapsed() >= patience {
                            say(watch.sentence());
                            said = Instant::now();
                        }
                    }
                    _ => return,
                }
            }
        });
        WatchGuard { stop: Some(stop), thread: Some(thread) }
    }
}

/// Ends the watching when it is dropped.
#[derive(Debug)]
pub struct WatchGuard {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A watcher that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_named_and_what_moves_is_not() {
        let watch = Watch::default();
        let (send, said) = channel();
        let guard = watch.guard_with(Duration::from_millis(1_500), move |sentence| {
            let _ = send.send(sentence);
        });
        watch.begin("step 1: the update");
        for number in 0..10 {
            std::thread::sleep(Duration::from_millis(20));
            watch.progress(format!("{number} of 10"));
        }
        assert!(said.try_recv().is_err(), "it moves");
        let sentence = said.recv_timeout(Duration::from_secs(20)).expect("it hangs");
        assert!(sentence.starts_with("waiting for step 1: the update (9 of 10): begun "), "{sentence}");
        drop(guard);
        assert!(said.iter().count() < 100, "the watcher is gone, so this ends");
    }
}
