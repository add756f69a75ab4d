//! Byte offsets and Unicode scalar offsets of a text, each from the other.

use crate::Span;

/// Positions of a text: the number of scalars before each block of bytes, so that a conversion looks at one block only.
///
/// ```
/// use memtrain_corpora::store::ScalarIndex;
/// let index = ScalarIndex::new("naïve café");
/// assert_eq!(index.to_scalars(&(7..12)), Some((6, 10)));
/// assert_eq!(index.to_bytes(6, 10), Some(7..12));
/// assert_eq!(index.to_scalars(&(3..4)), None, "the middle of `ï`");
/// ```
#[derive(Debug)]
pub struct ScalarIndex<'text> {
    text: &'text str,
    /// Scalars that start before byte `i * BLOCK`; empty for ASCII text, where both offsets are the same.
    before: Vec<u32>,
    num_scalars: u32,
}

const BLOCK: usize = 128;

impl<'text> ScalarIndex<'text> {
    /// Reads the text once. Texts of 4 GiB and more are out of range: their positions give `None`.
    pub fn new(text: &'text str) -> ScalarIndex<'text> {
        if text.is_ascii() {
            let num_scalars = u32::try_from(text.len()).unwrap_or(0);
            return ScalarIndex { text, before: Vec::new(), num_scalars };
        }
        let mut before = Vec::with_capacity(text.len() / BLOCK + 1);
        let mut count = 0u32;
        for block in text.as_bytes().chunks(BLOCK) {
            before.push(count);
            count = count.saturating_add(starts(block));
        }
        ScalarIndex { text, before, num_scalars: count }
    }

    /// The text the index is of.
    pub fn text(&self) -> &'text str {
        self.text
    }

    /// Length of the text in scalars.
    pub fn num_scalars(&self) -> u32 {
        self.num_scalars
    }

    /// Scalar offset of a byte offset; `None` inside a character or beyond the end.
    pub fn to_scalar(&self, byte: usize) -> Option<u32> {
        if !self.text.is_char_boundary(byte) {
            return None;
        }
        if self.before.is_empty() || byte == self.text.len() {
            return if self.before.is_empty() { u32::try_from(byte).ok() } else { Some(self.num_scalars) };
        }
        let block = byte / BLOCK;
        Some(self.before[block] + starts(&self.text.as_bytes()[block * BLOCK..byte]))
    }

    /// Byte offset of a scalar offset; `None` beyond the end.
    pub fn to_byte(&self, scalar: u32) -> Option<usize> {
        if scalar >= self.num_scalars {
            return (scalar == self.num_scalars).then_some(self.text.len());
        }
        if self.before.is_empty() {
            return Some(scalar as usize);
        }
        let block = self.before.partition_point(|&before| before <= scalar) - 1;
        let mut left = scalar - self.before[block];
        for (offset, &byte) in self.text.as_bytes()[block * BLOCK..].iter().enumerate() {
            if is_start(byte) {
                if left == 0 {
                    return Some(block * BLOCK + offset);
                }
                left -= 1;
            }
        }
        None
    }

    /// Scalar offsets of a byte range.
    pub fn to_scalars(&self, span: &Span) -> Option<(u32, u32)> {
        if span.start > span.end {
            return None;
        }
        Some((self.to_scalar(span.start)?, self.to_scalar(span.end)?))
    }

    /// Byte range of scalar offsets.
    pub fn to_bytes(&self, start: u32, end: u32) -> Option<Span> {
        if start > end {
            return None;
        }
        Some(self.to_byte(start)?..self.to_byte(end)?)
    }
}

fn is_start(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

fn starts(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|&&byte| is_start(byte)).count() as u32
}
