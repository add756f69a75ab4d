//! bzip2 that can begin and end at any block.
//!
//! A bzip2 file is one stream or several, each a header, blocks that can be decoded by themselves, and an end mark. Blocks
//! begin at any bit. What the library decodes is therefore not the file but a *frame*: from the beginning of a stream or
//! of a block (then with a header of our own in front, its bits shifted) to the end of the stream, or to the block before
//! which a part ends (then with an end mark of our own). The sum over a whole stream's blocks cannot be right in such a
//! frame; every block has its own checksum, which is always verified.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::{Decompress, Error, Status};

use super::Foreign;

/// What every block begins with, 48 bits.
pub(super) const BLOCK: u64 = 0x3141_5926_5359;
/// What a stream ends with before the checksum of the whole, 48 bits.
pub(super) const END: u64 = 0x1772_4538_5090;
/// Bits of the end mark and the checksum behind it.
const END_BITS: u64 = 48 + 32;
/// The header of a frame that begins with a block: blocks of any size are allowed.
const HEADER: &[u8; 4] = b"BZh9";
/// Bytes asked of the file at a time.
const CHUNK_BYTES: usize = 1 << 16;
/// How much of what was fed is kept, to find the end mark in.
const TAIL_BYTES: usize = 64;

/// The unpacked bytes from one place of a file on.
pub(super) struct Blocks<R> {
    input: R,
    /// Bytes of the file, the first one's place in it, and how many of them have been fed.
    raw: Vec<u8>,
    raw_start: u64,
    raw_fed: usize,
    frame: Option<Frame>,
    /// Where the next frame begins, as a bit of the file.
    next: u64,
    /// Whether it begins with a block, not with a stream.
    next_is_block: bool,
    /// Where the part ends that is read, as a bit of the file; reading goes on behind it.
    stop: Option<u64>,
    /// How many unpacked bytes the part has; `u64::MAX` until its end is reached.
    boundary: Arc<AtomicU64>,
    unpacked: u64,
    failure: Option<io::Error>,
}

/// What the decoder is fed with.
struct Frame {
    decoder: Decompress,
    /// The bit of the file where the frame begins.
    origin: u64,
    /// Bits of the frame before that: those of a header of our own.
    header_bits: u64,
    feed: Vec<u8>,
    fed: usize,
    /// The end of what was fed before `feed`.
    tail: Vec<u8>,
    /// The last bits of the file that do not fill a byte of the frame, and their number, the same all along.
    carry: u8,
    carry_bits: u32,
    /// Nothing more goes into the feed: our own end mark is in it, or the file is at its end.
    closed: bool,
}

impl<R: Read> Blocks<R> {
    /// Reads from bit `start` of a file, where a stream or a block begins; `input` begins at the byte that bit is in. `boundary`
    /// is told the number of unpacked bytes before the bit `stop`.
    pub(super) fn new(input: R, start: u64, stop: Option<u64>, boundary: Arc<AtomicU64>) -> io::Result<Self> {
        let mut blocks = Blocks {
            input,
            raw: Vec::new(),
            raw_start: start / 8,
            raw_fed: 0,
            frame: None,
            next: start,
            next_is_block: false,
            stop,
            boundary,
            unpacked: 0,
            failure: None,
        };
        blocks.hold(4)?;
        blocks.next_is_block = !blocks.at_stream();
        Ok(blocks)
    }

    /// Reads on until at least `length` bytes from where the next frame begins are there, or the file ends.
    fn hold(&mut self, length: usize) -> io::Result<()> {
        let ahead = (self.next / 8).checked_sub(self.raw_start).and_then(|ahead| usize::try_from(ahead).ok());
        let Some(at) = ahead.filter(|&ahead| ahead <= self.raw.len()) else {
            return Err(damaged(self.raw_start, &Error::Data));
        };
        self.raw.drain(..at);
        self.raw_start += at as u64;
        self.raw_fed = 0;
        while self.raw.len() < length && self.read_on()? > 0 {}
        Ok(())
    }

    /// Adds bytes of the file to `raw`; the number of them, 0 at its end.
    fn read_on(&mut self) -> io::Result<usize> {
        let filled = self.raw.len();
        self.raw.resize(filled + CHUNK_BYTES, 0);
        let read = loop {
            match self.input.read(&mut self.raw[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.raw.truncate(filled + *read.as_ref().unwrap_or(&0));
        read
    }

    fn at_stream(&self) -> bool {
        self.next.is_multiple_of(8) && matches!(self.raw.as_slice(), [b'B', b'Z', b'h', b'1'..=b'9', ..])
    }

    /// Begins the next frame; `false` at the end of the file.
    fn begin(&mut self) -> io::Result<bool> {
        self.hold(4)?;
        if self.raw.is_empty() {
            return Ok(false);
        }
        if !self.next_is_block && !self.at_stream() {
            return Err(Foreign.into());
        }
        let mut frame = Frame {
            decoder: Decompress::new(false),
            origin: self.next,
            header_bits: 0,
            feed: Vec::with_capacity(CHUNK_BYTES + 64),
            fed: 0,
            tail: Vec::new(),
            carry: 0,
            carry_bits: 0,
            closed: false,
        };
        if self.next_is_block {
            frame.header_bits = 32;
            frame.feed.extend_from_slice(HEADER);
            frame.carry_bits = (8 - (self.next % 8) as u32) % 8;
            if frame.carry_bits > 0 {
                frame.carry = self.raw[0] & ((1 << frame.carry_bits) - 1);
                self.raw_fed = 1;
            }
        }
        self.next_is_block = false;
        self.frame = Some(frame);
        Ok(true)
    }

    /// Puts more of the file into the feed; `false` if there is no more.
    fn refill(&mut self) -> io::Result<bool> {
        match &mut self.frame {
            Some(frame) if !frame.closed => frame.let_go(),
            _ => return Ok(false),
        }
        if self.raw_fed == self.raw.len() {
            // The decoder may be behind with giving what it was fed, and only then find that the stream ended a bit earlier.
            let passed = self.raw.len().saturating_sub(TAIL_BYTES);
            self.raw.drain(..passed);
            self.raw_start += passed as u64;
            self.raw_fed = self.raw.len();
            if self.read_on()? == 0 {
                return Ok(self.frame.as_mut().is_some_and(Frame::flush));
            }
        }
        let Some(frame) = &mut self.frame else { return Ok(false) };
        let rest = &self.raw[self.raw_fed..];
        let first = self.raw_start + self.raw_fed as u64;
        let before_stop = self.stop.and_then(|stop| usize::try_from((stop / 8).saturating_sub(first)).ok());
        match before_stop.and_then(|length| Some((rest.get(..length)?, *rest.get(length)?))) {
            Some((rest, last)) => {
                let stop = self.stop.unwrap_or_default();
                self.raw_fed += rest.len();
                frame.take(rest);
                frame.close(last, (stop % 8) as u32);
            }
            None => {
                frame.take(rest);
                self.raw_fed = self.raw.len();
            }
        }
        Ok(true)
    }

    /// What the end of the frame means, after the decoder found its end mark: `sound` if it agreed with the checksum behind it.
    fn end(&mut self, sound: bool) -> io::Result<()> {
        let Some(frame) = self.frame.take() else { return Ok(()) };
        let mark = frame.end_mark();
        match mark {
            Some(mark) if Some(mark) == self.stop => {
                self.next = mark;
                self.next_is_block = true;
            }
            Some(mark) if sound || frame.header_bits > 0 => self.next = (mark + END_BITS).div_ceil(8) * 8,
            _ => {
                let at = frame.origin / 8 + frame.decoder.total_in();
                return Err(damaged(at, &Error::Data));
            }
        }
        if self.stop.is_some_and(|stop| self.next >= stop) {
            self.boundary.store(self.unpacked, Ordering::Relaxed);
            self.stop = None;
        }
        Ok(())
    }

    /// Lets the decoder work; the number of bytes it gave.
    fn decode(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(frame) = &mut self.frame else { return Ok(0) };
        let (consumed, given) = (frame.decoder.total_in(), frame.decoder.total_out());
        let status = frame.decoder.decompress(&frame.feed[frame.fed..], buffer);
        frame.fed += usize::try_from(frame.decoder.total_in() - consumed).unwrap_or(usize::MAX);
        let given = usize::try_from(frame.decoder.total_out() - given).unwrap_or(0);
        self.unpacked += given as u64;
        let byte = frame.origin / 8 + frame.decoder.total_in();
        let ended = match status {
            Ok(Status::StreamEnd) => self.end(true),
            Ok(_) => Ok(()),
            Err(Error::Data) => self.end(false),
            Err(error) => Err(damaged(byte, &error)),
        };
        // What was unpacked before the damage is given first.
        self.failure = ended.err();
        match self.failure.take_if(|_| given == 0) {
            Some(failure) => Err(failure),
            None => Ok(given),
        }
    }
}

fn damaged(byte: u64, error: &Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the bzip2 data is wrong near byte {byte} ({error})"))
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.frame.is_none() && !self.begin()? {
                return Ok(0);
            }
            let hungry = self.frame.as_ref().is_some_and(|frame| frame.fed == frame.feed.len());
            let starved = hungry && !self.refill()?;
            let given = self.decode(buffer)?;
            if given > 0 {
                return Ok(given);
            }
            if starved && self.frame.is_some() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Frame {
    /// Adds bytes of the file, shifted to where the frame has them.
    fn take(&mut self, bytes: &[u8]) {
        if self.carry_bits == 0 {
            self.feed.extend_from_slice(bytes);
            return;
        }
        let bits = self.carry_bits;
        let mut carry = self.carry;
        self.feed.extend(bytes.iter().map(|&byte| {
            let shifted = carry << (8 - bits) | byte >> bits;
            carry = byte & ((1 << bits) - 1);
            shifted
        }));
        self.carry = carry;
    }

    /// Adds the first `bits` bits of a byte and an end mark, with nothing for a checksum.
    fn close(&mut self, byte: u8, bits: u32) {
        let mut ahead = u128::from(self.carry);
        ahead = ahead << bits | u128::from(byte) >> (8 - bits);
        ahead = ahead << END_BITS | u128::from(END) << 32;
        let length = self.carry_bits + bits + END_BITS as u32;
        let padding = (8 - length % 8) % 8;
        let bytes = (ahead << padding).to_be_bytes();
        self.feed.extend_from_slice(&bytes[bytes.len() - (length + padding) as usize / 8..]);
        self.closed = true;
    }

    /// Adds the last bits of the file, filled up to a byte; `false` if there are none left.
    fn flush(&mut self) -> bool {
        self.closed = true;
        if self.carry_bits > 0 {
            self.feed.push(self.carry << (8 - self.carry_bits));
        }
        self.carry_bits > 0
    }

    /// Forgets what was fed, but for its end.
    fn let_go(&mut self) {
        self.tail.extend_from_slice(&self.feed[self.feed.len().saturating_sub(TAIL_BYTES)..]);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES));
        self.feed.clear();
        self.fed = 0;
    }

    /// The bit of the file where the end mark stands that the decoder has just read. It may have looked a few bytes further.
    fn end_mark(&self) -> Option<u64> {
        let mut seen = self.tail.clone();
        seen.extend_from_slice(&self.feed[..self.fed]);
        let seen = &seen[seen.len().saturating_sub(TAIL_BYTES / 2)..];
        let first = self.decoder.total_in() * 8 - seen.len() as u64 * 8;
        let bits = seen.len() as u64 * 8;
        let found = (0..bits.checked_sub(END_BITS)? + 1).rev().find(|&at| bits_at(seen, at) == END)?;
        (first + found + self.origin).checked_sub(self.header_bits)
    }
}

/// The 48 bits that begin at a bit; they must be there.
pub(super) fn bits_at(bytes: &[u8], bit: u64) -> u64 {
    let first = usize::try_from(bit / 8).unwrap_or(usize::MAX);
    let mut eight = [0; 8];
    let there = bytes.get(first..).unwrap_or_default();
    let length = there.len().min(8);
    eight[..length].copy_from_slice(&there[..length]);
    u64::from_be_bytes(eight) << (bit % 8) >> 16
}
