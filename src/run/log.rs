//! What the program says while it runs: to stderr, and to the log of the run once there is one.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use super::progress::Stderr;

static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Writes log lines to stderr, above progress bars, and without colours to the file given to [`keep`].
#[derive(Clone, Copy, Debug, Default)]
pub struct LogWriter;

/// A writer for `tracing_subscriber`'s `with_writer`.
pub fn writer() -> LogWriter {
    LogWriter
}

/// From now on log lines also go to this file (see [`RunDirectory::log_file`](super::RunDirectory::log_file)).
pub fn keep(file: File) {
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut *FILE.lock().unwrap_or_else(PoisonError::into_inner) {
            // A log that cannot be written, on a full disk say, must not stop what it tells about.
            let _ = file.write_all(&without_colours(bytes));
        }
        Stderr.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Stderr.flush()
    }
}

/// Drops the escape sequences `ESC [ … letter`.
fn without_colours(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        if byte == 0x1b {
            rest.find(|byte| byte.is_ascii_alphabetic());
        } else {
            plain.push(byte);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_dropped() {
        assert_eq!(without_colours(b"\x1b[2m12:00\x1b[0m \x1b[32mINFO\x1b[0m step 3"), b"12:00 INFO step 3");
    }
}
