//! Log of the program: to stderr, and to the log of the run once there is one.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use memtrain_corpora::visible::visible;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::terminal::{self, Stderr};

static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Writes log lines to stderr, above progress bars, and without colours to the file given to [`keep`].
#[derive(Clone, Copy, Debug, Default)]
pub struct LogWriter;

/// The time of a log line, UTC to the second: `2026-11-29T12:34:56Z`. For `tracing_subscriber`'s `with_timer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds;

impl FormatTime for Seconds {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let (seconds, _) = time.split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
        write!(line, "{seconds}Z")
    }
}

/// A writer for `tracing_subscriber`'s `with_writer`.
pub fn writer() -> LogWriter {
    LogWriter
}

/// From now on log lines also go to this file (see [`RunDirectory::log_file`](super::RunDirectory::log_file)).
pub fn keep(file: File) {
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
}

/// Says how far things are, the time before it: in the log of the run, and on stderr unless bars say it or nobody wants to
/// know. `stays` is a line for a terminal with bars, too.
pub fn line(text: &str, stays: bool) {
    let mut time = String::new();
    // Writing to a string cannot fail.
    let _ = Seconds.format_time(&mut Writer::new(&mut time));
    let line = format!("{time} {}\n", visible(text));
    if let Some(file) = &mut *FILE.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = file.write_all(line.as_bytes());
    }
    if !terminal::is_quiet() && (stays || !terminal::has_bars()) {
        // Nobody can be told that stderr is closed.
        let _ = Stderr.write_all(line.as_bytes());
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut *FILE.lock().unwrap_or_else(PoisonError::into_inner) {
            // A log that cannot be written, on a full disk say, must not stop what it tells about.
            let _ = file.write_all(&without_colours(bytes));
        }
        Stderr.write_all(but_for_colours(bytes).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Stderr.flush()
    }
}

/// A log line without its colours, and with what would steer a terminal made visible.
fn without_colours(bytes: &[u8]) -> Vec<u8> {
    parts(&String::from_utf8_lossy(bytes)).map(|(_, text)| visible(text)).collect::<String>().into_bytes()
}

/// A log line in which nothing but its colours steers a terminal. The log escapes what its messages say of colours.
fn but_for_colours(bytes: &[u8]) -> String {
    parts(&String::from_utf8_lossy(bytes)).flat_map(|(colour, text)| [colour.into(), visible(text)]).collect()
}

/// The parts of a line: the sequence that sets a colour, `ESC [ numbers m`, and the text up to the next one.
fn parts(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let colour = colour_at_start(rest);
        let next = rest.char_indices().skip(1).map(|(at, _)| at);
        let text = next.filter(|at| *at >= colour).find(|at| colour_at_start(&rest[*at..]) > 0).unwrap_or(rest.len());
        let part = (&rest[..colour], &rest[colour..text]);
        rest = &rest[text..];
        Some(part)
    })
}

/// Bytes of the sequence that sets a colour at the start of a text; 0 where there is none.
fn colour_at_start(text: &str) -> usize {
    let Some(sequence) = text.strip_prefix("\u{1b}[") else { return 0 };
    let numbers =
        sequence.len() - sequence.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ';').len();
    if sequence[numbers..].starts_with('m') { 3 + numbers } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_dropped() {
        assert_eq!(without_colours(b"\x1b[2m12:00\x1b[0m \x1b[32mINFO\x1b[0m step 3"), b"12:00 INFO step 3");
        assert_eq!(without_colours(b"\x1b[0m\x1b[2J\n"), b"\\u001b[2J\n");
        assert_eq!(
            but_for_colours(b"\x1b[32mINFO\x1b[0m a\x1b]0;b\x07\n"),
            "\x1b[32mINFO\x1b[0m a\\u001b]0;b\\u0007\n"
        );
        assert_eq!(but_for_colours("\u{1b}[1\u{9b}m \u{202e}é".as_bytes()), "\\u001b[1\\u009bm \\u202eé");
    }

    #[test]
    fn the_time_of_a_line_ends_with_its_seconds() {
        let mut time = String::new();
        Seconds.format_time(&mut Writer::new(&mut time)).expect("a time");
        let shape: String = time.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00Z", "{time}");
    }

    #[test]
    fn a_log_line_escapes_what_its_message_holds() {
        #[derive(Clone, Default)]
        struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);
        impl Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("not poisoned").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let written = lines.clone();
        let log = tracing_subscriber::fmt().with_ansi(true).with_writer(move || written.clone()).finish();
        tracing::subscriber::with_default(log, || {
            tracing::warn!(title = "\u{1b}[31ma", "said \u{1b}[31m {}", "\u{1b}[32m")
        });
        let line = lines.0.lock().expect("not poisoned").clone();
        let line = String::from_utf8(line).expect("text");
        assert!(!line.contains("\u{1b}[31m") && !line.contains("said \u{1b}"), "{line:?}");
    }
}
