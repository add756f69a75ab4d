//! The terminal: stderr that bars and lines share.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::MultiProgress;

use super::fold::folded;

static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on neither bars nor lines are printed.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether neither bars nor lines are printed.
pub(super) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether bars are drawn, so that lines about the same need not be printed.
pub(super) fn has_bars() -> bool {
    bars().is_some()
}

/// All bars of the process, one under the other; `None` where lines are printed.
pub(super) fn bars() -> Option<&'static MultiProgress> {
    static BARS: OnceLock<Option<MultiProgress>> = OnceLock::new();
    let make = || {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        (io::stderr().is_terminal() && !dumb && !is_quiet()).then(MultiProgress::new)
    };
    BARS.get_or_init(make).as_ref()
}

/// Whether colours are wanted.
pub(super) fn coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes to stderr above the bars, whole lines at a time; what a log that runs beside bars must write to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let text = for_people(&String::from_utf8_lossy(bytes)).into_bytes();
        let bytes = text.as_slice();
        match bars() {
            Some(bars) => bars.suspend(|| io::stderr().write_all(bytes)),
            None => io::stderr().write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A message for stderr: folded where that is a terminal. In a file or a pipe a record stays one line.
pub fn for_people(text: &str) -> String {
    if io::stderr().is_terminal() { folded(text) } else { text.to_owned() }
}

/// Writes what goes to a terminal beside stderr, with the bars out of the way meanwhile.
pub fn suspended<R>(write: impl FnOnce() -> R) -> R {
    match bars() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}
