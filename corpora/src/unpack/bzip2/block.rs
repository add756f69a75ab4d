//! One block: from its bits to its bytes.

use super::bits::{Bits, Fault};
use super::chain::{Chain, LONGEST_BLOCK};
use super::codes::{Codes, LONGEST, MOST_SYMBOLS, Recent};

/// Symbols that are written in the same code table.
const GROUP: usize = 50;
/// Code tables of a block.
const MOST_TABLES: usize = 6;
/// Groups that a block has at most. Some writers put more choices of tables, which stand for nothing.
const MOST_GROUPS: usize = 18_002;

/// The block that is being given, and the room for its decoding.
#[derive(Default)]
pub(super) struct Block {
    /// Its bytes, in which four equal ones are followed by the number of further ones.
    bytes: Vec<u8>,
    /// The next of them, and the one that is such a number.
    at: usize,
    count_at: usize,
    /// How often the byte before `at` is still to be given.
    repeats: usize,
    chain: Chain,
    codes: [Codes; MOST_TABLES],
    choices: Vec<u8>,
    /// The checksum that the block says it has, and that of what was given.
    pub(super) expected: u32,
    sum: crc32fast::Hasher,
}

impl Block {
    /// Decodes the block whose mark lies before `bits`, of at most `most` bytes; the place behind it.
    pub(super) fn decode(&mut self, mut bits: Bits, most: usize) -> Result<u64, Fault> {
        let decoded = self.try_decode(&mut bits, most);
        // Where the bits end, zeros follow, which may make no sense.
        let decoded = bits.place().and_then(|place| decoded.map(|()| place));
        if decoded.is_err() {
            self.bytes.clear();
        }
        decoded
    }

    fn try_decode(&mut self, bits: &mut Bits, most: usize) -> Result<(), Fault> {
        (self.at, self.count_at, self.repeats) = (0, 0, 0);
        let expected = bits.take(32);
        if bits.flag() {
            return Err(Fault::Wrong("it was randomised, which bzip2 gave up in 1999"));
        }
        let origin = bits.take(24) as usize;
        let used = used_bytes(bits);
        let symbols = used.len() + 2;
        let tables = bits.take(3) as usize;
        let choices = bits.take(15) as usize;
        if used.is_empty() || !(2..=MOST_TABLES).contains(&tables) || choices == 0 {
            return Err(Fault::Wrong("its head makes no sense"));
        }
        self.read_choices(bits, tables, choices)?;
        for codes in &mut self.codes[..tables] {
            let mut lengths = [0; MOST_SYMBOLS];
            read_lengths(bits, &mut lengths[..symbols])?;
            codes.set(&lengths[..symbols]);
        }
        self.read_symbols(bits, &used, most)?;
        if origin >= self.bytes.len() {
            return Err(Fault::Wrong("it begins outside of itself"));
        }
        self.chain.invert(&mut self.bytes, origin);
        self.expected = expected;
        self.sum = crc32fast::Hasher::new();
        self.count_at = self.next_count();
        Ok(())
    }

    /// Which table each group is written in, said by its place in a list of those last used.
    fn read_choices(&mut self, bits: &mut Bits, tables: usize, choices: usize) -> Result<(), Fault> {
        let mut recent: [u8; MOST_TABLES] = [0, 1, 2, 3, 4, 5];
        self.choices.clear();
        for choice in 0..choices {
            let mut place = 0;
            while bits.flag() {
                place += 1;
                if place >= tables {
                    return Err(Fault::Wrong("it chooses a table that it does not have"));
                }
            }
            recent[..=place].rotate_right(1);
            if choice < MOST_GROUPS {
                self.choices.push(recent[0]);
            }
        }
        Ok(())
    }

    /// Decodes what the transform left: bytes as places in a list of those last used, and runs of the last one.
    fn read_symbols(&mut self, bits: &mut Bits, used: &[u8], most: usize) -> Result<(), Fault> {
        let most = most.min(LONGEST_BLOCK);
        let end = used.len() as u16 + 1;
        let mut recent = Recent::new(used);
        self.bytes.resize(most, 0);
        let bytes = &mut self.bytes[..];
        let too_long = Fault::Wrong("it is longer than its stream allows");
        // A run is a number whose digits are 1 and 2.
        let (mut filled, mut run, mut digit) = (0, 0, 1);
        for &choice in &self.choices {
            let codes = &self.codes[usize::from(choice)];
            for _ in 0..GROUP {
                if bits.held() < LONGEST {
                    bits.fill();
                }
                let symbol = codes.take(bits)?;
                if symbol < 2 {
                    run += digit << symbol;
                    digit <<= 1;
                    if run > most {
                        return Err(too_long);
                    }
                    continue;
                }
                if run > 0 {
                    bytes.get_mut(filled..filled + run).ok_or(too_long)?.fill(recent.front());
                    filled += run;
                    (run, digit) = (0, 1);
                }
                if symbol == end {
                    self.bytes.truncate(filled);
                    return Ok(());
                }
                *bytes.get_mut(filled).ok_or(too_long)? = recent.take((symbol - 1) as u8);
                filled += 1;
            }
        }
        Err(Fault::Wrong("it does not end"))
    }

    /// Gives further bytes; 0 if there are none left.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut given = 0;
        while given < buffer.len() {
            let room = &mut buffer[given..];
            if self.repeats > 0 {
                let length = self.repeats.min(room.len());
                room[..length].fill(self.bytes[self.count_at - 1]);
                self.repeats -= length;
                given += length;
            } else if self.at < self.count_at {
                let length = (self.count_at - self.at).min(room.len());
                room[..length].copy_from_slice(&self.bytes[self.at..self.at + length]);
                self.at += length;
                given += length;
            } else if let Some(&count) = self.bytes.get(self.at) {
                // Repeats are of the byte before the number, wherever the next number is.
                self.repeats = usize::from(count);
                self.at += 1;
            } else {
                break;
            }
            if self.repeats == 0 && self.at > self.count_at {
                self.count_at = self.next_count();
            }
        }
        self.check(&buffer[..given]);
        given
    }

    /// Where the next number stands: behind the first four equal bytes from `at` on.
    fn next_count(&self) -> usize {
        const STRIDE: usize = 32;
        let (bytes, mut from) = (&self.bytes, self.at);
        while let Some(window) = bytes.get(from..from + STRIDE + 3) {
            let equal = |at: usize| {
                u8::from(window[at] == window[at + 1])
                    & u8::from(window[at] == window[at + 2])
                    & u8::from(window[at] == window[at + 3])
            };
            if (0..STRIDE).fold(0, |any, at| any | equal(at)) != 0 {
                break;
            }
            from += STRIDE;
        }
        let equal = bytes[from..].windows(4).position(|four| four.iter().all(|&byte| byte == four[0]));
        equal.map_or(bytes.len(), |at| from + at + 4)
    }

    /// Adds to the checksum, in which the bits of every byte count from the other end than those of the library's.
    fn check(&mut self, given: &[u8]) {
        let mut turned = [0; 1024];
        for given in given.chunks(turned.len()) {
            turned.iter_mut().zip(given).for_each(|(turned, byte)| *turned = byte.reverse_bits());
            self.sum.update(&turned[..given.len()]);
        }
    }

    /// Whether what was given has the checksum that the block says.
    pub(super) fn is_sound(&self) -> bool {
        self.sum.clone().finalize().reverse_bits() == self.expected
    }
}

/// The bytes that occur, in order: sixteen bits for the sixteens that do, then sixteen for each of these.
fn used_bytes(bits: &mut Bits) -> Vec<u8> {
    let sixteens = bits.take(16);
    let mut used = Vec::with_capacity(256);
    for sixteen in (0..16_u8).filter(|sixteen| sixteens << sixteen & 0x8000 != 0) {
        let bytes = bits.take(16);
        used.extend((0..16).filter(|byte| bytes << byte & 0x8000 != 0).map(|byte| sixteen * 16 + byte));
    }
    used
}

/// Lengths of codes, each as the difference from the one before.
fn read_lengths(bits: &mut Bits, lengths: &mut [u8]) -> Result<(), Fault> {
    let mut length = bits.take(5);
    for place in lengths {
        loop {
            if !(1..=LONGEST).contains(&length) {
                return Err(Fault::Wrong("a code of an impossible length"));
            }
            if !bits.flag() {
                break;
            }
            length = if bits.flag() { length - 1 } else { length + 1 };
        }
        *place = length as u8;
    }
    Ok(())
}
