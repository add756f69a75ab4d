//! UTF-16 as UTF-8.

use std::io::{self, Read};

/// Turns UTF-16 into UTF-8; an unpaired surrogate becomes U+FFFD.
pub(super) struct Utf16<R> {
    stream: R,
    unit: fn([u8; 2]) -> u16,
    /// Raw bytes not yet decoded: at most half a character between reads.
    raw: Vec<u8>,
    decoded: Vec<u8>,
    given: usize,
}

impl<R: Read> Utf16<R> {
    /// `unit` puts the two bytes of a unit together, in the order the stream has.
    pub(super) fn new(stream: R, unit: fn([u8; 2]) -> u16) -> Self {
        Utf16 { stream, unit, raw: Vec::new(), decoded: Vec::new(), given: 0 }
    }

    /// Reads and decodes some more; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let kept = self.raw.len();
        self.raw.resize(kept + (1 << 15), 0);
        let read = match self.stream.read(&mut self.raw[kept..]) {
            Ok(read) => read,
            Err(error) => {
                self.raw.truncate(kept);
                return Err(error);
            }
        };
        self.raw.truncate(kept + read);
        self.decoded.clear();
        self.given = 0;
        if read == 0 && self.raw.len() < 2 {
            return Ok(false);
        }
        let mut units: Vec<u16> = self.raw.chunks_exact(2).map(|pair| (self.unit)([pair[0], pair[1]])).collect();
        // The first half of a pair waits for the second, unless there is no more.
        if read > 0 && units.last().is_some_and(|unit| (0xD800..0xDC00).contains(unit)) {
            units.pop();
        }
        self.raw.drain(..units.len() * 2);
        for character in char::decode_utf16(units) {
            let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(true)
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.decoded.len() {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let length = buffer.len().min(self.decoded.len() - self.given);
        buffer[..length].copy_from_slice(&self.decoded[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}
