//! The prefix codes of a block (Huffman, canonical), and the recency list its symbols point into.

use super::bits::{Bits, Fault};

/// Symbols there can be: two digits of a run, 255 places in the list, the end of the block.
pub(super) const MOST_SYMBOLS: usize = 258;
/// The longest code, in bits.
pub(super) const LONGEST: u32 = 20;
/// Codes of so many bits are found at once; longer ones, which are rare, by their length.
const SHORT: u32 = 10;

/// One code table.
pub(super) struct Codes {
    /// For the next [`SHORT`] bits: the symbol, times 32, and the length of its code; 0 for none that short.
    short: [u16; 1 << SHORT],
    /// Of each length: its first code, and where its symbols begin in `symbols`.
    first: [u32; LONGEST as usize + 2],
    begin: [u32; LONGEST as usize + 2],
    /// Symbols by length, then by number.
    symbols: [u16; MOST_SYMBOLS],
}

impl Default for Codes {
    fn default() -> Self {
        let by_length = [0; LONGEST as usize + 2];
        Codes { short: [0; 1 << SHORT], first: by_length, begin: by_length, symbols: [0; MOST_SYMBOLS] }
    }
}

impl Codes {
    /// Sets the codes of symbols by their lengths, each of 1 to [`LONGEST`] bits. Symbols for which no code is left have none: a table may
    /// be damaged and never used.
    pub(super) fn set(&mut self, lengths: &[u8]) {
        self.short.fill(0);
        let (mut code, mut filled) = (0_u32, 0_u32);
        for length in 1..=LONGEST {
            self.first[length as usize] = code;
            self.begin[length as usize] = filled;
            for (symbol, _) in (0_u16..).zip(lengths).filter(|(_, of)| u32::from(**of) == length) {
                self.symbols[filled as usize] = symbol;
                filled += 1;
                if length <= SHORT && code >> length == 0 {
                    let spare = SHORT - length;
                    let place = (code << spare) as usize;
                    self.short[place..place + (1 << spare)].fill(symbol << 5 | length as u16);
                }
                code += 1;
            }
            code <<= 1;
        }
        self.begin[LONGEST as usize + 1] = filled;
    }

    /// Takes the next symbol; at least [`LONGEST`] bits must be ahead.
    #[inline]
    pub(super) fn take(&self, bits: &mut Bits) -> Result<u16, Fault> {
        let entry = self.short[bits.peek(SHORT) as usize];
        if entry == 0 {
            return self.take_long(bits);
        }
        bits.skip(u32::from(entry & 31));
        Ok(entry >> 5)
    }

    #[cold]
    fn take_long(&self, bits: &mut Bits) -> Result<u16, Fault> {
        for length in SHORT + 1..=LONGEST {
            let (first, begin) = (self.first[length as usize], self.begin[length as usize]);
            let behind = bits.peek(length).wrapping_sub(first);
            if behind < self.begin[length as usize + 1] - begin {
                bits.skip(length);
                return Ok(self.symbols[(begin + behind) as usize]);
            }
        }
        Err(Fault::Wrong("a code that stands for nothing"))
    }
}

/// The bytes of a block, the one last used first. The first sixteen, which are asked for most, are a number, whose shifts move them.
pub(super) struct Recent {
    head: u128,
    tail: [u8; 240],
}

impl Recent {
    /// With these bytes, at most 256, in this order.
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut all = [0; 256];
        all[..bytes.len()].copy_from_slice(bytes);
        let (mut head, mut tail) = ([0; 16], [0; 240]);
        head.copy_from_slice(&all[..16]);
        tail.copy_from_slice(&all[16..]);
        Recent { head: u128::from_le_bytes(head), tail }
    }

    /// The byte at the front.
    #[inline]
    pub(super) fn front(&self) -> u8 {
        self.head as u8
    }

    /// Takes the byte at a place below 256 and puts it to the front.
    #[inline]
    pub(super) fn take(&mut self, place: u8) -> u8 {
        let byte = if place < 16 {
            let shift = u32::from(place) * 8;
            let byte = (self.head >> shift) as u8;
            let moved = u128::MAX >> (120 - shift);
            self.head = self.head & !moved | self.head << 8 & moved;
            byte
        } else {
            let place = usize::from(place - 16);
            let byte = self.tail[place];
            self.tail.copy_within(0..place, 1);
            self.tail[0] = (self.head >> 120) as u8;
            self.head <<= 8;
            byte
        };
        self.head |= u128::from(byte);
        byte
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_list_of_bytes_is_its_naive_twin(places in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut naive: Vec<u8> = (0..=255).rev().collect();
            let mut recent = Recent::new(&naive);
            for place in places {
                let byte = naive.remove(usize::from(place));
                naive.insert(0, byte);
                prop_assert_eq!(recent.take(place), byte);
                prop_assert_eq!(recent.front(), byte);
            }
        }

        /// Lengths as a tree has them: leaves are split at random until there are enough.
        #[test]
        fn codes_are_read_as_they_are_written(splits in proptest::collection::vec(any::<prop::sample::Index>(), 1..257), picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..100)) {
            let mut lengths = vec![1_u8, 1];
            for split in splits {
                let leaf = split.index(lengths.len());
                if u32::from(lengths[leaf]) < LONGEST {
                    lengths[leaf] += 1;
                    lengths.push(lengths[leaf]);
                }
            }
            let mut order: Vec<usize> = (0..lengths.len()).collect();
            order.sort_by_key(|&symbol| lengths[symbol]);
            let (mut code, mut before, mut written) = (0_u32, 0, vec![String::new(); lengths.len()]);
            for symbol in order {
                code <<= lengths[symbol] - before;
                before = lengths[symbol];
                written[symbol] = format!("{code:0width$b}", width = usize::from(before));
                code += 1;
            }
            let picked: Vec<usize> = picks.iter().map(|pick| pick.index(lengths.len())).collect();
            let mut digits: String = picked.iter().map(|&symbol| written[symbol].as_str()).collect();
            digits.push_str(&"0".repeat((8 - digits.len() % 8) % 8));
            let bytes: Vec<u8> = digits.as_bytes().chunks(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'))).collect();
            let mut codes = Codes::default();
            codes.set(&lengths);
            let mut bits = Bits::new(&bytes, 0);
            for symbol in picked {
                bits.fill();
                prop_assert_eq!(codes.take(&mut bits), Ok(symbol as u16));
            }
            prop_assert!(bits.place().is_ok());
        }
    }

    #[test]
    fn bits_that_are_no_code_are_refused() {
        let mut codes = Codes::default();
        codes.set(&[2, 2, 2]);
        assert!(codes.take(&mut Bits::new(&[0b1100_0000], 0)).is_err());
        // The third symbol has no code.
        codes.set(&[1, 1, 1]);
        assert_eq!(codes.take(&mut Bits::new(&[0b0100_0000], 0)), Ok(0));
        assert_eq!(codes.take(&mut Bits::new(&[0b1100_0000], 0)), Ok(1));
    }
}
