//! `pytorch_model.bin` looked at before candle reads it.
//!
//! candle interprets the few instructions of a state dictionary and executes nothing, but it copies what is remembered as
//! often as it is asked for, allocates the lengths that it reads, and nests as deep as it is told. So the archive must be as
//! `torch.save` writes it, without compression and without a comment, and its pickle is run here first with sizes and depths
//! in place of values.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use memtrain_corpora::store;

/// Longest pickle in bytes; a thousand tensors take some 200 KB.
const MOST_BYTES: u64 = 32 << 20;
/// Most files of an archive: one a tensor.
const MOST_FILES: u64 = 100_000;
/// How many bytes may be made of one of the pickle.
const GROWTH: u64 = 64;
/// Deepest nesting of values.
const MOST_DEPTH: u32 = 64;

/// Checks an archive; an error says what is wrong with it.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let mut file = store::open(path).map_err(|error| error.to_string())?;
    let mut read_at = |at: u64, len: u64| -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len as usize];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes)).map_err(|error| error.to_string())?;
        Ok(bytes)
    };
    let length = store::len(path).map_err(|error| error.to_string())?;
    let unfit = || "its archive is not as `torch.save` writes it".to_owned();
    // The end of the central directory; large archives have it once more in 64 bits, with a pointer before this one.
    let end_at = length.checked_sub(22).ok_or_else(unfit)?;
    let end = read_at(end_at, 22)?;
    if !end.starts_with(b"PK\x05\x06") || end[20..] != [0, 0] {
        return Err(unfit());
    }
    let (mut files, mut size, mut start) = (number(&end, 10, 2), number(&end, 12, 4), number(&end, 16, 4));
    let locator = if end_at >= 20 { read_at(end_at - 20, 20)? } else { Vec::new() };
    if locator.starts_with(b"PK\x06\x07") {
        let place = number(&locator, 8, 8);
        if place.checked_add(56).is_none_or(|end| end > length) {
            return Err(unfit());
        }
        let end = read_at(place, 56)?;
        if !end.starts_with(b"PK\x06\x06") {
            return Err(unfit());
        }
        (files, size, start) = (number(&end, 32, 8), number(&end, 40, 8), number(&end, 48, 8));
    }
    if files > MOST_FILES || size > MOST_BYTES || start.checked_add(size).is_none_or(|end| end > length) {
        return Err(unfit());
    }
    let directory = read_at(start, size)?;
    let mut rest = directory.as_slice();
    let mut pickles = 0;
    for _ in 0..files {
        if !rest.starts_with(b"PK\x01\x02") || rest.len() < 46 {
            return Err(unfit());
        }
        let lengths = [28, 30, 32].map(|at| number(rest, at, 2) as usize);
        let whole = 46 + lengths.iter().sum::<usize>();
        let name = rest.get(46..46 + lengths[0]).ok_or_else(unfit)?;
        if number(rest, 10, 2) != 0 {
            return Err("its archive is compressed, which `torch.save` does not do".to_owned());
        }
        if name.ends_with(b"data.pkl") {
            let (packed, size, at) = (number(rest, 20, 4), number(rest, 24, 4), number(rest, 42, 4));
            if packed != size || size > MOST_BYTES || at + 30 > length {
                return Err(unfit());
            }
            let head = read_at(at, 30)?;
            let begin = at + 30 + number(&head, 26, 2) + number(&head, 28, 2);
            if !head.starts_with(b"PK\x03\x04") || begin + size > length {
                return Err(unfit());
            }
            check_pickle(&read_at(begin, size)?).map_err(|problem| format!("its pickle {problem}"))?;
            pickles += 1;
        }
        rest = rest.get(whole..).ok_or_else(unfit)?;
    }
    if pickles == 1 { Ok(()) } else { Err(unfit()) }
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes.get(at..at + len).unwrap_or_default().iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A value, or a mark, without what it says.
#[derive(Clone, Copy)]
struct Shape {
    bytes: u64,
    depth: u32,
    is_mark: bool,
}

const LEAF: Shape = Shape { bytes: 64, depth: 0, is_mark: false };

/// Runs a pickle on shapes.
fn check_pickle(pickle: &[u8]) -> Result<(), String> {
    let most = GROWTH * (pickle.len() as u64 + (1 << 16));
    let (mut stack, mut memo): (Vec<Shape>, HashMap<u64, Shape>) = (Vec::new(), HashMap::new());
    let (mut at, mut made) = (0, 0_u64);
    let short = || "ends too early".to_owned();
    loop {
        let code = *pickle.get(at).ok_or_else(short)?;
        at += 1;
        let argument = match code {
            b'K' | b'q' | b'h' | 0x80 => 1,
            b'M' => 2,
            b'J' | b'r' | b'j' => 4,
            b'G' => 8,
            b'X' => 4 + number(pickle, at, 4) as usize,
            0x8a => 1 + number(pickle, at, 1) as usize,
            b'c' => {
                let line = |from: usize| {
                    let len = pickle.get(from..)?.iter().position(|byte| *byte == b'\n')?;
                    Some(from + len + 1)
                };
                line(at).and_then(line).ok_or_else(short)? - at
            }
            _ => 0,
        };
        let place = number(pickle, at, argument.min(4));
        at += argument;
        if at > pickle.len() {
            return Err(short());
        }
        // Values that are taken from the stack, and whether what is made of them holds them.
        let taken = match code {
            b'.' => return Ok(()),
            0x80 => continue,
            b'(' => {
                stack.push(Shape { is_mark: true, ..LEAF });
                continue;
            }
            b'q' | b'r' => {
                let top = *stack.last().ok_or_else(short)?;
                made = made.saturating_add(top.bytes);
                memo.insert(place, top);
                0
            }
            b'h' | b'j' => {
                let shape = *memo.get(&place).ok_or("asks for what it has not remembered")?;
                made = made.saturating_add(shape.bytes);
                stack.push(shape);
                0
            }
            b'c' | b'K' | b'M' | b'J' | b'G' | b'N' | b')' | b']' | b'}' | b'X' | 0x88 | 0x89 | 0x8a => {
                let shape = Shape { bytes: LEAF.bytes + argument as u64, ..LEAF };
                made += shape.bytes;
                stack.push(shape);
                0
            }
            b'Q' | 0x85 => 1,
            0x86 | b'R' | b'b' | 0x81 => 2,
            0x87 => 3,
            // The key and the value, or the value, and what they are put into.
            b's' => 3,
            b'a' => 2,
            b't' => 1 + above_mark(&mut stack).ok_or("has no mark")?,
            b'u' | b'e' => 2 + above_mark(&mut stack).ok_or("has no mark")?,
            other => return Err(format!("has an instruction {other:#04x}, which no state dictionary needs")),
        };
        if taken > 0 {
            // A mark was replaced by a leaf, which stands for the tuple that is made.
            let from = stack.len().checked_sub(taken).ok_or_else(short)?;
            let parts = stack.split_off(from);
            if parts.iter().any(|part| part.is_mark) {
                return Err("takes a mark for a value".to_owned());
            }
            let bytes = parts.iter().fold(LEAF.bytes, |sum, part| sum.saturating_add(part.bytes));
            // What is put into a list or a dictionary is one deeper than that; all else is made anew around its parts.
            let deeper = parts.iter().map(|part| part.depth + 1).max().unwrap_or(0);
            let depth = match code {
                b's' | b'a' | b'u' | b'e' => {
                    parts[1..].iter().map(|part| part.depth + 1).max().unwrap_or(0).max(parts[0].depth)
                }
                _ => deeper,
            };
            if depth > MOST_DEPTH {
                return Err(format!("nests values more than {MOST_DEPTH} deep"));
            }
            stack.push(Shape { bytes, depth, is_mark: false });
        }
        if made > most {
            return Err("makes far more values than it has bytes".to_owned());
        }
    }
}

/// Replaces the last mark by a leaf; how many values stand above it.
fn above_mark(stack: &mut [Shape]) -> Option<usize> {
    let place = stack.iter().rposition(|shape| shape.is_mark)?;
    stack[place].is_mark = false;
    Some(stack.len() - place - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_torch_writes_passes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/bert/pytorch_model.bin");
        assert_eq!(check(&path), Ok(()));
        // Cut off, or with something behind its end, it is none.
        let folder = tempfile::tempdir().unwrap();
        let bytes = store::read(&path).unwrap();
        for changed in
            [bytes[..bytes.len() - 1].to_vec(), [&bytes[..], b"PK"].concat(), b"PK\x05\x06".to_vec(), Vec::new()]
        {
            let copy = folder.path().join("model.bin");
            store::write_atomic(&copy, changed).unwrap();
            assert!(check(&copy).is_err());
        }
    }

    #[test]
    fn pickles_that_grow_or_nest_are_refused() {
        let dictionary = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x05u.";
        assert_eq!(check_pickle(dictionary), Ok(()));
        // A tuple of two of what was remembered, remembered again.
        let doubling = [&b"\x80\x02)q\x00"[..], &b"h\x00h\x00\x86q\x00".repeat(40), b"."].concat();
        assert!(check_pickle(&doubling).unwrap_err().contains("far more values"));
        let deep = [&b"\x80\x02N"[..], &b"\x85".repeat(100_000), b"."].concat();
        assert!(check_pickle(&deep).unwrap_err().contains("deep"));
        let into_lists = [&b"\x80\x02"[..], &b"]".repeat(100_000), &b"a".repeat(99_999), b"."].concat();
        assert!(check_pickle(&into_lists).unwrap_err().contains("deep"));
        let long = b"\x80\x02X\xff\xff\xff\xffabc.";
        assert!(check_pickle(long).unwrap_err().contains("too early"));
        for wrong in [
            &b"\x80\x02t."[..],
            b"\x80\x02h\x07.",
            b"\x80\x02\x86.",
            b"\x80\x02(\x85.",
            b"\x80\x02cos\nsystem\n(S'x'\ntR.",
            b"\x80",
        ] {
            assert!(check_pickle(wrong).is_err(), "{wrong:?}");
        }
    }
}
