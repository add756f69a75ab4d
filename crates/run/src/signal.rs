//! Signals as a request to stop between two steps: SIGINT and SIGTERM, SIGHUP of a terminal that closes, and SIGUSR1, which batch systems
//! send some time before they end a job.

use std::io;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(unix)]
use memtrain_corpora::store;
#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGXFSZ};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
#[cfg(unix)]
use signal_hook::iterator::Signals;

use super::RunError;
#[cfg(unix)]
use super::log;

/// What most commands do at the first signal.
const SAVES: &str =
    "stopping: what is done is saved first, and the same command goes on from there; a second Ctrl-C ends at once";

/// Set when a signal has asked to stop. Clones are the same request.
///
/// ```
/// use memtrain_run::signal::StopRequest;
/// let stop = StopRequest::default();
/// assert!(stop.check().is_ok());
/// stop.clone().request();
/// assert!(stop.check().is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopRequest {
    flag: Arc<AtomicBool>,
    /// Those of the work of which this is a part.
    parents: Vec<Arc<AtomicBool>>,
}

impl StopRequest {
    /// A request that SIGINT, SIGTERM, SIGHUP and SIGUSR1 set. After any of them, SIGINT or SIGTERM ends the process at once. A SIGHUP that
    /// is ignored, as under `nohup`, stays so. The first signal is answered by a line that says what will happen.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn on_signals() -> io::Result<Self> {
        Self::on_signals_saying(SAVES)
    }

    /// As [`Self::on_signals`], with what the first signal is answered by.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn on_signals_saying(#[cfg_attr(not(unix), expect(unused_variables))] told: &'static str) -> io::Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the first signal must find the flag unset, and then set it.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop.flag))?;
            flag::register(signal, Arc::clone(&stop.flag))?;
        }
        #[cfg(unix)]
        {
            flag::register(SIGUSR1, Arc::clone(&stop.flag))?;
            if !is_ignored(SIGHUP) {
                flag::register(SIGHUP, Arc::clone(&stop.flag))?;
            }
            say_at_first(told)?;
        }
        Ok(stop)
    }

    /// A request of a part of the work: made where that of the whole is, or alone.
    ///
    /// ```
    /// use memtrain_run::signal::StopRequest;
    /// let whole = StopRequest::default();
    /// let (part, other) = (whole.child(), whole.child().child());
    /// part.request();
    /// assert!(part.requested() && !whole.requested() && !other.requested());
    /// whole.request();
    /// assert!(other.requested());
    /// ```
    #[must_use]
    pub fn child(&self) -> Self {
        let parents = self.parents.iter().chain([&self.flag]).map(Arc::clone).collect();
        Self { flag: Arc::default(), parents }
    }

    /// Asks to stop.
    pub fn request(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// Whether somebody has asked to stop.
    pub fn requested(&self) -> bool {
        std::iter::once(&self.flag).chain(&self.parents).any(|flag| flag.load(Ordering::SeqCst))
    }

    /// [`RunError::Stopped`] if somebody has asked to stop. To be called when everything is saved.
    ///
    /// # Errors
    /// See above; the command line turns it into exit code 75.
    pub fn check(&self) -> Result<(), RunError> {
        if self.requested() { Err(RunError::Stopped) } else { Ok(()) }
    }
}

/// Says `told` at the first signal that asks to stop; of several calls in a process the first one's.
#[cfg(unix)]
fn say_at_first(told: &'static str) -> io::Result<()> {
    static IS_SAID: AtomicBool = AtomicBool::new(false);
    if IS_SAID.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    // Handlers may hardly do anything; a thread that waits for them may.
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            log::line(told, true);
        }
    });
    Ok(())
}

/// Makes writing beyond the largest size that files may have (`ulimit -f`) an error that names the file; without a handler the
/// system ends the process by SIGXFSZ, without a word.
///
/// # Errors
/// If the system refuses the handler.
pub fn fail_beyond_size_limit() -> io::Result<()> {
    #[cfg(unix)]
    flag::register(SIGXFSZ, Arc::default())?;
    Ok(())
}

/// Whether the process was started with this signal ignored. Only Linux tells without `unsafe`; elsewhere it is left alone.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let Ok(status) = store::read_to_string(Path::new("/proc/self/status")) else { return true };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| (mask >> (signal - 1)) & 1 == 1)
}
