//! SIGINT and SIGTERM as a request to stop between two steps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::RunError;

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
pub struct StopRequest(Arc<AtomicBool>);

impl StopRequest {
    /// A request that SIGINT and SIGTERM set. A second such signal ends the process at once.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the first signal must find the flag unset, and then set it.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop.0))?;
            flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// Asks to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody has asked to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// [`RunError::Stopped`] if somebody has asked to stop. To be called when everything is saved.
    ///
    /// # Errors
    /// See above; the command line turns it into exit code 75.
    pub fn check(&self) -> Result<(), RunError> {
        if self.requested() { Err(RunError::Stopped) } else { Ok(()) }
    }
}
