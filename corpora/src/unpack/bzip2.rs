//! bzip2 that can begin and end at any block.
//!
//! A bzip2 file is one stream or several, each a header, blocks that can be decoded by themselves, and an end mark. Blocks begin at any
//! bit. The decoder is our own: no library begins inside a stream, and in the Burrows-Wheeler transform's inverse, half of the
//! work, it waits for sixteen steps at a time where they wait for each (`docs/lab/ingest.md`). Every block's checksum is verified,
//! that of a stream where it was read from its header on.

mod bits;
mod block;
mod chain;
mod codes;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::bits::{Bits, Fault};
use self::block::Block;
use super::Foreign;

/// What every block begins with, 48 bits.
pub(super) const BLOCK: u64 = 0x3141_5926_5359;
/// What a stream ends with before the checksum of the whole, 48 bits.
const END: u64 = 0x1772_4538_5090;
/// Bits of a mark, and of a checksum.
const MARK_BITS: u64 = 48;
const SUM_BITS: u64 = 32;
/// Bytes of a stream's header.
const HEADER_BYTES: usize = 4;
/// Bytes of the file that are held when a block is decoded; blocks of text have half as many. For a longer one more are read, as tests do.
const AHEAD_BYTES: usize = if cfg!(test) { 1 << 14 } else { 1 << 19 };

/// The unpacked bytes from one place of a file on.
pub(super) struct Blocks<R> {
    input: R,
    /// Bytes of the file, the first one's place in it, and whether there are more.
    raw: Vec<u8>,
    raw_start: u64,
    at_end: bool,
    /// Where reading goes on, as a bit of the file.
    next: u64,
    stream: Option<Stream>,
    block: Block,
    /// Where the part ends that is read, as a bit of the file; reading goes on behind it.
    stop: Option<u64>,
    /// How many unpacked bytes the part has; `u64::MAX` until its end is reached.
    boundary: Arc<AtomicU64>,
    unpacked: u64,
}

/// The stream that is being read.
#[derive(Clone, Copy)]
struct Stream {
    /// Bytes that a block of it has at most.
    most: usize,
    /// The checksum of its blocks so far, where all were read.
    sum: Option<u32>,
}

impl<R: Read> Blocks<R> {
    /// Reads from bit `start` of a file, where a stream or a block begins; `input` begins at the byte that bit is in. `boundary`
    /// is told the number of unpacked bytes before the bit `stop`.
    pub(super) fn new(input: R, start: u64, stop: Option<u64>, boundary: Arc<AtomicU64>) -> io::Result<Self> {
        let mut blocks = Blocks {
            input,
            raw: Vec::new(),
            raw_start: start / 8,
            at_end: false,
            next: start,
            stream: None,
            block: Block::default(),
            stop,
            boundary,
            unpacked: 0,
        };
        blocks.hold(HEADER_BYTES)?;
        if blocks.header().is_none() {
            blocks.stream = Some(Stream { most: usize::MAX, sum: None });
        }
        Ok(blocks)
    }

    /// Reads on until at least `length` bytes from the next bit's on are there, or the file ends.
    fn hold(&mut self, length: usize) -> io::Result<()> {
        if self.ahead().len() >= length {
            return Ok(());
        }
        let passed = self.passed();
        self.raw.drain(..passed);
        self.raw_start += passed as u64;
        let missing = length.saturating_sub(self.raw.len());
        if missing > 0 && !self.at_end {
            self.at_end = self.input.by_ref().take(missing as u64).read_to_end(&mut self.raw)? < missing;
        }
        Ok(())
    }

    /// How many of the bytes that are held lie before the next bit's.
    fn passed(&self) -> usize {
        usize::try_from(self.next / 8 - self.raw_start).unwrap_or(usize::MAX).min(self.raw.len())
    }

    /// What is held from the next bit's byte on.
    fn ahead(&self) -> &[u8] {
        &self.raw[self.passed()..]
    }

    /// The stream whose header is next, if one is.
    fn header(&self) -> Option<Stream> {
        match self.ahead() {
            [b'B', b'Z', b'h', level @ b'1'..=b'9', ..] if self.next.is_multiple_of(8) => {
                Some(Stream { most: usize::from(level - b'0') * 100_000, sum: Some(0) })
            }
            _ => None,
        }
    }

    /// Passes to the next block and decodes it; `false` at the end of the file.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            if self.stop.take_if(|stop| self.next >= *stop).is_some() {
                self.boundary.store(self.unpacked, Ordering::Relaxed);
            }
            let Some(stream) = self.stream else {
                self.hold(HEADER_BYTES)?;
                if self.ahead().is_empty() {
                    return Ok(false);
                }
                self.stream = Some(self.header().ok_or(Foreign)?);
                self.next += 8 * HEADER_BYTES as u64;
                continue;
            };
            self.hold(AHEAD_BYTES)?;
            let first_bit = self.next % 8;
            let mut bits = Bits::new(self.ahead(), first_bit);
            let mark = bits.mark();
            bits.place().map_err(|fault| self.fault(fault))?;
            match mark {
                BLOCK => return self.decode(stream).map(|()| true),
                END => {
                    let sum = bits.take(SUM_BITS as u32);
                    bits.place().map_err(|fault| self.fault(fault))?;
                    if stream.sum.is_some_and(|expected| expected != sum) {
                        return Err(self.fault(Fault::Wrong("the checksum of a stream is another one")));
                    }
                    self.next = (self.next + MARK_BITS + SUM_BITS).next_multiple_of(8);
                    self.stream = None;
                }
                _ => return Err(self.fault(Fault::Wrong("no block begins there"))),
            }
        }
    }

    /// Decodes the block whose mark is next.
    fn decode(&mut self, stream: Stream) -> io::Result<()> {
        let first_bit = self.next % 8 + MARK_BITS;
        loop {
            let bits = Bits::new(&self.raw[self.passed()..], first_bit);
            match self.block.decode(bits, stream.most) {
                Ok(place) => {
                    self.next += place - self.next % 8;
                    let sum = stream.sum.map(|sum| sum.rotate_left(1) ^ self.block.expected);
                    self.stream = Some(Stream { sum, ..stream });
                    return Ok(());
                }
                Err(Fault::Ended) if !self.at_end => {
                    let more = self.ahead().len() + AHEAD_BYTES;
                    self.hold(more)?;
                }
                Err(fault) => return Err(self.fault(fault)),
            }
        }
    }

    fn fault(&self, fault: Fault) -> io::Error {
        match fault {
            Fault::Ended => io::ErrorKind::UnexpectedEof.into(),
            Fault::Wrong(what) => {
                let message = format!("the bzip2 data is wrong near byte {} ({what})", self.next / 8);
                io::Error::new(io::ErrorKind::InvalidData, message)
            }
        }
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let given = self.block.read(buffer);
            if given > 0 {
                self.unpacked += given as u64;
                return Ok(given);
            }
            if !self.block.is_sound() {
                return Err(self.fault(Fault::Wrong("the checksum of the block before is another one")));
            }
            if !self.advance()? {
                return Ok(0);
            }
        }
    }
}

/// The 48 bits that begin at a bit; they must be there.
pub(super) fn mark_at(bytes: &[u8], bit: u64) -> u64 {
    Bits::new(bytes, bit).mark()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bzip2::Compression;
    use bzip2::read::MultiBzDecoder;
    use bzip2::write::BzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let boundary = Arc::new(AtomicU64::new(u64::MAX));
        Blocks::new(packed, 0, None, boundary)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn packed(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = BzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Texts of all kinds, put together of pieces: letters of a small or large alphabet, a pattern again and again, a run.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let letters = (1_u16..=256, proptest::collection::vec(any::<u8>(), 0..3000))
            .prop_map(|(alphabet, bytes)| bytes.iter().map(|&byte| (u16::from(byte) % alphabet) as u8).collect());
        let pattern = (proptest::collection::vec(any::<u8>(), 1..20), 1_usize..3000).prop_map(|(one, n)| one.repeat(n));
        let run = (any::<u8>(), 1_usize..2000).prop_map(|(byte, length)| vec![byte; length]);
        let runs = proptest::collection::vec((0_u8..3, 1_usize..12), 1..400)
            .prop_map(|runs| runs.into_iter().flat_map(|(byte, length)| vec![byte; length]).collect());
        proptest::collection::vec(prop_oneof![letters, pattern, run, runs], 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn what_the_library_packs_comes_back(texts in proptest::collection::vec((text(), 1_u32..=9), 1..4)) {
            let streams: Vec<Vec<u8>> = texts.iter().map(|(text, level)| packed(text, *level)).collect();
            let expected: Vec<u8> = texts.into_iter().flat_map(|(text, _)| text).collect();
            prop_assert!(unpacked(&streams.concat()).unwrap() == expected);
        }

        /// A flipped bit, or a cut: what the library refuses is refused, and what both take is the same.
        #[test]
        fn damage_is_found_as_the_library_finds_it(text in text(), at: prop::sample::Index, bit in 0_u32..8, cut: bool) {
            let mut damaged = packed(&text, 1);
            let at = at.index(damaged.len());
            if cut { damaged.truncate(at) } else { damaged[at] ^= 1 << bit }
            let mut expected = Vec::new();
            let library = MultiBzDecoder::new(&damaged[..]).read_to_end(&mut expected);
            match (library, unpacked(&damaged)) {
                (Ok(_), Ok(bytes)) => prop_assert!(bytes == expected),
                // Of bits that fill up the last byte, and of an empty file, the library says nothing.
                (Ok(_), Err(error)) => prop_assert!(damaged.len() < 4, "{error}"),
                (Err(error), Ok(_)) => prop_assert!(damaged.is_empty(), "{error}"),
                (Err(_), Err(_)) => {}
            }
        }
    }

    #[test]
    fn a_block_longer_than_what_is_held_is_decoded() {
        // Blocks that cannot be packed.
        let mut generator = crate::rng::keyed("test/bzip2", 1, &[]);
        let mut noise = vec![0; 3_000_000];
        rand::Rng::fill(&mut generator, &mut noise[..]);
        let packed = packed(&noise, 9);
        assert!(packed.len() > noise.len());
        assert!(unpacked(&packed).unwrap() == noise);
    }

    #[test]
    fn longest_runs_cross_blocks_and_buffers() {
        for length in [3, 4, 5, 258, 259, 260, 70_000, 99_999 * 52, 30_000_000] {
            let bytes = vec![b' '; length];
            assert!(unpacked(&packed(&bytes, 1)).unwrap() == bytes, "{length}");
        }
    }
}
