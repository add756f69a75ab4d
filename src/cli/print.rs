//! Standard output, as results go to it.

use std::io::{self, StdoutLock, Write};

use memtrain_corpora::visible::visible;

/// Whoever read the output has gone. It ends the program without a word, as it ends other tools.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct OutputClosed;

/// Standard output. Results are written to it and not with `println!`, which panics where a pipe is closed. What would steer a
/// terminal is made visible: in text for people it can be read, in JSON it stays what it was.
#[derive(Debug)]
pub struct Output<W = StdoutLock<'static>> {
    out: W,
    is_raw: bool,
    /// The beginning of a character whose end has not been written yet.
    begun: Vec<u8>,
}

/// Standard output, for one thread at a time.
pub fn output() -> Output {
    Output { out: io::stdout().lock(), is_raw: false, begun: Vec::new() }
}

/// Standard output as it is: for data that another program reads, and for text that has been made visible before it was
/// coloured.
pub fn raw_output() -> Output {
    Output { is_raw: true, ..output() }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_raw {
            return self.out.write(bytes).map_err(closed);
        }
        self.begun.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Ok(text) => text.len(),
            // Cut inside a character.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.begun.len(),
        };
        let rest = self.begun.split_off(whole);
        let text = std::mem::replace(&mut self.begun, rest);
        self.out.write_all(visible(&String::from_utf8_lossy(&text)).as_bytes()).map_err(closed)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(closed)
    }
}

/// `println!` that gives an error where the output cannot be written.
macro_rules! print_line {
    ($($arguments:tt)*) => {{
        use std::io::Write;
        writeln!($crate::cli::print::output(), $($arguments)*)
    }};
}
pub(crate) use print_line;

/// Tells a closed output from other broken pipes, such as those to a server.
fn closed(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { io::Error::new(error.kind(), OutputClosed) } else { error }
}

/// Whether an error says that the output is closed. An error of `serde_json` keeps of it only that a pipe is broken.
pub(super) fn is_closed(cause: &(dyn std::error::Error + 'static)) -> bool {
    let is_ours = |error: &io::Error| error.get_ref().is_some_and(|inner| inner.is::<OutputClosed>());
    cause.downcast_ref::<io::Error>().is_some_and(is_ours)
        || cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind)
            == Some(io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_however_the_bytes_are_cut() {
        let text = "\u{1b}]0;x\u{7}caf\u{e9}\u{9b}2J \u{202e}abc\u{2066}\r\n\tend";
        for cut in 1..text.len() {
            let mut out = Output { out: Vec::new(), is_raw: false, begun: Vec::new() };
            text.as_bytes().chunks(cut).for_each(|part| out.write_all(part).unwrap());
            let shown = String::from_utf8(out.out).unwrap();
            assert_eq!(shown, "\\u001b]0;x\\u0007caf\u{e9}\\u009b2J \\u202eabc\\u2066\\u000d\n\tend", "{cut}");
        }
        let json = serde_json::to_string(text).unwrap();
        let mut out = Output { out: Vec::new(), is_raw: false, begun: Vec::new() };
        out.write_all(json.as_bytes()).unwrap();
        assert!(!String::from_utf8_lossy(&out.out).contains(memtrain_corpora::visible::steers));
        assert_eq!(serde_json::from_slice::<String>(&out.out).unwrap(), text);
    }

    #[test]
    fn only_a_closed_output_is_one() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed(&closed(broken())));
        assert!(!is_closed(&broken()), "another pipe");
        assert!(!is_closed(&closed(io::Error::from(io::ErrorKind::StorageFull))));
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(closed(io::ErrorKind::BrokenPipe.into()))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(is_closed(&serde_json::to_writer(Closed, &7).expect_err("closed")));
    }
}
