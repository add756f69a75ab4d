//! Lines of a packed or plain file, of bounded length.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::dump::DumpError;
use crate::store::{self, MAX_LINE_BYTES, StoreError};
use crate::unpack::unpack;

/// The lines of a file without their ends.
pub(super) struct Lines {
    pub(super) path: PathBuf,
    input: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    /// Number of the line that was read last, from 1.
    pub(super) number: u64,
    /// Whether that line ends with a line break.
    pub(super) complete: bool,
}

/// A line that cannot be used; the next one can.
pub(super) const TOO_LONG: &str = "the line is longer than 64 MiB";

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Lines, DumpError> {
        let source = unpack(store::open(path)?, path)?;
        let input = BufReader::with_capacity(1 << 17, source.bytes);
        Ok(Lines { path: path.to_path_buf(), input, line: Vec::new(), number: 0, complete: true })
    }

    /// The next line; `None` at the end. The inner error is the line's own.
    pub(super) fn next(&mut self) -> Result<Option<Result<&str, String>>, DumpError> {
        self.line.clear();
        let read = (&mut self.input).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| self.broken(error))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.complete = self.line.last() == Some(&b'\n');
        if !self.complete && read as u64 == MAX_LINE_BYTES {
            self.complete = self.skip_line()?;
            return Ok(Some(Err(TOO_LONG.to_owned())));
        }
        while matches!(self.line.last(), Some(b'\n' | b'\r')) {
            self.line.pop();
        }
        // Editors and shells of Windows put a byte-order mark before the first line.
        let line = self.line.strip_prefix("\u{feff}".as_bytes()).filter(|_| self.number == 1).unwrap_or(&self.line);
        let text = std::str::from_utf8(line);
        Ok(Some(
            text.map_err(|error| format!("not UTF-8 at byte {} of the line; {}", error.valid_up_to(), store::TO_UTF8)),
        ))
    }

    /// Passes over the rest of a line; `false` if the file ends before the line does.
    fn skip_line(&mut self) -> Result<bool, DumpError> {
        loop {
            self.line.clear();
            let read = (&mut self.input).take(1 << 20).read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| self.broken(error))?;
            if read == 0 || self.line.last() == Some(&b'\n') {
                return Ok(read > 0);
            }
        }
    }

    /// The file ends in the middle of an article, `given` whole ones before.
    pub(super) fn truncated(&self, given: u64, detail: &str) -> DumpError {
        DumpError::Truncated {
            path: self.path.clone(),
            pages: given,
            detail: format!("{detail}, at line {}", self.number),
        }
    }

    fn broken(&self, error: io::Error) -> DumpError {
        let (path, pages) = (self.path.clone(), 0);
        let place = format!("behind line {}", self.number);
        match error.kind() {
            io::ErrorKind::UnexpectedEof => DumpError::Truncated {
                path,
                pages,
                detail: format!("the compressed data stops in the middle, {place}"),
            },
            _ if error.raw_os_error().is_some() => DumpError::Store(StoreError::io("read", &self.path, error)),
            _ => DumpError::Damaged { path, pages, detail: format!("{error} ({place})") },
        }
    }
}
