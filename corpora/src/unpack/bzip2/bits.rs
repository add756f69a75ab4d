//! The bits of a file, the highest of each byte first.

/// How the reading of a block fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes end within it.
    Ended,
    /// It is no block, or a damaged one.
    Wrong(&'static str),
}

/// The most bits that can be asked for at a time.
pub(super) const MOST_BITS: u32 = 32;

/// Reads bits from bytes.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not ahead.
    at: usize,
    /// Bits read ahead: the highest are next, below them zeros.
    ahead: u64,
    /// How many bits are ahead.
    held: u32,
}

impl<'a> Bits<'a> {
    /// From bit `start` on, which is counted from the first byte.
    pub(super) fn new(bytes: &'a [u8], start: u64) -> Self {
        let at = usize::try_from(start / 8).unwrap_or(usize::MAX).min(bytes.len());
        let mut bits = Bits { bytes, at, ahead: 0, held: 0 };
        bits.fill();
        bits.skip((start % 8) as u32);
        bits
    }

    /// Takes bytes ahead, so that 56 bits are there. Behind the last byte come zeros; [`Bits::place`] tells.
    #[inline]
    pub(super) fn fill(&mut self) {
        let eight = match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(eight) => u64::from_be_bytes(*eight),
            None => self.last(),
        };
        self.ahead |= eight >> self.held;
        self.at += ((63 - self.held) / 8) as usize;
        self.held |= 56;
    }

    #[cold]
    fn last(&self) -> u64 {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut eight = [0; 8];
        eight[..rest.len()].copy_from_slice(rest);
        u64::from_be_bytes(eight)
    }

    /// How many bits are ahead.
    #[inline]
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    /// The next bits without taking them, 1 to 32 of those that are ahead.
    #[inline]
    pub(super) fn peek(&self, count: u32) -> u32 {
        (self.ahead >> (64 - count)) as u32
    }

    /// Passes over bits that are ahead.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) {
        self.ahead <<= count;
        self.held -= count;
    }

    /// Takes the next 1 to 32 bits.
    pub(super) fn take(&mut self, count: u32) -> u32 {
        debug_assert!((1..=MOST_BITS).contains(&count), "{count} bits");
        if self.held < count {
            self.fill();
        }
        let bits = self.peek(count);
        self.skip(count);
        bits
    }

    /// Takes the 48 bits that a block or an end is marked with.
    pub(super) fn mark(&mut self) -> u64 {
        u64::from(self.take(24)) << 24 | u64::from(self.take(24))
    }

    /// Takes the next bit.
    pub(super) fn flag(&mut self) -> bool {
        self.take(1) == 1
    }

    /// The place of the next bit, counted from the first byte; an error if bits were taken that are not there.
    pub(super) fn place(&self) -> Result<u64, Fault> {
        let place = self.at as u64 * 8 - u64::from(self.held);
        if place <= self.bytes.len() as u64 * 8 { Ok(place) } else { Err(Fault::Ended) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_one_after_another(bytes in proptest::collection::vec(any::<u8>(), 0..60), start in 0_u64..100, counts in proptest::collection::vec(1_u32..33, 0..40)) {
            let there = bytes.len() as u64 * 8;
            let bit = |at: u64| if at < there { bytes[(at / 8) as usize] >> (7 - at % 8) & 1 } else { 0 };
            let mut at = start.min(there);
            let mut bits = Bits::new(&bytes, at);
            for count in counts {
                let expected = (at..at + u64::from(count)).fold(0_u64, |bits, at| bits << 1 | u64::from(bit(at)));
                prop_assert_eq!(u64::from(bits.take(count)), expected);
                at += u64::from(count);
                prop_assert_eq!(bits.place(), if at <= there { Ok(at) } else { Err(Fault::Ended) });
            }
        }
    }
}
