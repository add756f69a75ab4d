//! Lines of bounded length.

use std::io::{self, BufRead, Read};

/// The longest line that is read: memory is bounded by it.
pub const MAX_LINE_BYTES: u64 = 64 << 20;

/// The lines of a UTF-8 text without their ends, as [`BufRead::lines`] gives them, but of at most [`MAX_LINE_BYTES`] each and without
/// a byte-order mark before the first. A line that is longer is an error, and the next one follows.
///
/// ```
/// use memtrain_corpora::store;
/// let lines: Vec<String> = store::lines("\u{feff}a\r\nb".as_bytes()).collect::<Result<_, _>>().unwrap();
/// assert_eq!(lines, ["a", "b"]);
/// ```
pub fn lines(mut reader: impl BufRead) -> impl Iterator<Item = io::Result<String>> {
    let (mut first, mut amid) = (true, false);
    std::iter::from_fn(move || {
        let line = next_line(&mut reader, &mut amid).transpose()?;
        let first = std::mem::replace(&mut first, false);
        Some(line.map(|line| match line.strip_prefix('\u{feff}') {
            Some(rest) if first => rest.to_owned(),
            _ => line,
        }))
    })
}

/// The next line. `amid` says that the one before was too long: its rest is passed over here, when somebody goes on, and not
/// before its error is told, since it may have no end.
fn next_line(reader: &mut impl BufRead, amid: &mut bool) -> io::Result<Option<String>> {
    if std::mem::take(amid) {
        reader.skip_until(b'\n')?;
    }
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut line = Vec::new();
    if reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
        *amid = true;
        return Err(invalid("longer than 64 MiB".to_owned()));
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        line.pop_if(|last| *last == b'\r');
    }
    let text = String::from_utf8(line);
    text.map(Some).map_err(|error| invalid(format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_that_is_too_long_costs_itself_alone() {
        let long = io::repeat(b'x').take(MAX_LINE_BYTES + 5);
        let text = io::BufReader::new(b"a\n".chain(long).chain(&b"\nb\n\xff\nc"[..]));
        let found: Vec<Option<String>> = lines(text).map(Result::ok).collect();
        let line = |text: &str| Some(text.to_owned());
        assert_eq!(found, [line("a"), None, line("b"), None, line("c")]);
    }

    #[test]
    fn a_line_without_an_end_is_told_before_it_is_passed_over() {
        let mut lines = lines(io::BufReader::new(io::repeat(0)));
        assert!(lines.next().is_some_and(|line| line.is_err_and(|error| error.to_string() == "longer than 64 MiB")));
    }

    proptest! {
        #[test]
        fn they_are_the_lines_of_the_standard_library(text in "[ab\u{e9}\r\n]*") {
            let ours: Vec<String> = lines(text.as_bytes()).collect::<Result<_, _>>().unwrap();
            let twin: Vec<String> = text.as_bytes().lines().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(ours, twin);
        }
    }
}
