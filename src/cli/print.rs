//! Standard output, as results go to it.

use std::io::{self, StdoutLock, Write};

/// Whoever read the output has gone. It ends the program without a word, as it ends other tools.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct OutputClosed;

/// Standard output. Results are written to it and not with `println!`, which panics where a pipe is closed.
#[derive(Debug)]
pub struct Output(StdoutLock<'static>);

/// Standard output, for one thread at a time.
pub fn output() -> Output {
    Output(io::stdout().lock())
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(closed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(closed)
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
