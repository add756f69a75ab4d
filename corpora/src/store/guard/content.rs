//! Counts inside a page: how many values it decodes to, and how many bytes they take.

use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescriptor;

/// Lengths that a page of a delta encoding may have: the decoder makes them all at once, 4 bytes each.
const MAX_LENGTHS: u64 = 1 << 24;
/// What is not worth counting exactly.
const SMALL_BYTES: u64 = 8 << 20;

fn wrong(detail: impl Into<String>) -> ParquetError {
    ParquetError::General(detail.into())
}

/// What the values of a page take once they are decoded.
#[derive(Clone, Copy, Default)]
pub(super) struct Decoded {
    /// All of them, in bytes.
    pub(super) bytes: u64,
    /// The longest, in bytes.
    pub(super) longest: u64,
}

/// Lengths of the texts of a dictionary page; empty for values of other types, which are all of one size. More values than the
/// page has room for are refused.
pub(super) fn dictionary(bytes: &[u8], num_values: u32, column: &ColumnDescriptor) -> Result<Vec<u32>, ParquetError> {
    let least = match column.physical_type() {
        Type::BOOLEAN => return Err(wrong("a dictionary of booleans")),
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
        Type::INT64 | Type::DOUBLE => 8,
        Type::INT96 => 12,
        Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(column.type_length()).unwrap_or(0).max(1),
    };
    if num_values as usize > bytes.len() / least {
        return Err(wrong(format!("a dictionary page claims {num_values} values in {} bytes", bytes.len())));
    }
    let mut lengths = Vec::new();
    if column.physical_type() == Type::BYTE_ARRAY {
        let mut rest = bytes;
        while let Some((length, behind)) = rest.split_first_chunk::<4>().filter(|_| lengths.len() < num_values as usize)
        {
            let length = u32::from_le_bytes(*length);
            lengths.push(length);
            rest = behind.get(length as usize..).ok_or_else(|| wrong("a dictionary page ends in a value"))?;
        }
    }
    Ok(lengths)
}

/// Checks the counts of a data page against its bytes. `lengths` are those of the dictionary's texts.
pub(super) fn data(page: &Page, column: &ColumnDescriptor, lengths: &[u32]) -> Result<Decoded, ParquetError> {
    let values = values(page, column)?;
    let count = u64::from(page.num_values());
    let size = values.len() as u64;
    let as_it_is = Decoded { bytes: size, longest: size };
    match page.encoding() {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => {
            Delta::open(values, count)?;
            Ok(as_it_is)
        }
        Encoding::DELTA_BYTE_ARRAY => shared_prefixes(values, count),
        Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY if !lengths.is_empty() => {
            let longest = u64::from(lengths.iter().copied().max().unwrap_or(0));
            let bytes = match count * longest {
                bytes if bytes <= SMALL_BYTES => bytes,
                _ => of_dictionary(values, count, lengths),
            };
            Ok(Decoded { bytes, longest })
        }
        _ => Ok(as_it_is),
    }
}

/// The part of a page behind its levels.
fn values<'a>(page: &'a Page, column: &ColumnDescriptor) -> Result<&'a [u8], ParquetError> {
    let bytes: &[u8] = page.buffer();
    let at = match page {
        Page::DataPage { num_values, rep_level_encoding, def_level_encoding, .. } => {
            let mut at = 0usize;
            for (encoding, level) in
                [(rep_level_encoding, column.max_rep_level()), (def_level_encoding, column.max_def_level())]
            {
                #[expect(deprecated, reason = "old files have levels of this encoding")]
                let packed = *encoding == Encoding::BIT_PACKED;
                at = match level {
                    0 => at,
                    _ if packed => {
                        let bits = u64::from(*num_values) * u64::from(16 - level.leading_zeros());
                        at.saturating_add(usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX))
                    }
                    _ => {
                        let length = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
                        let length = length.ok_or_else(|| wrong("a page ends in its levels"))?;
                        at.saturating_add(4).saturating_add(u32::from_le_bytes(*length) as usize)
                    }
                };
            }
            at
        }
        Page::DataPageV2 { rep_levels_byte_len, def_levels_byte_len, .. } => {
            (*rep_levels_byte_len as usize).saturating_add(*def_levels_byte_len as usize)
        }
        Page::DictionaryPage { .. } => 0,
    };
    bytes.get(at..).ok_or_else(|| wrong("a page ends in its levels"))
}

/// Bytes of the texts that indices of a dictionary stand for: runs of one index, and groups of eight packed ones.
fn of_dictionary(values: &[u8], count: u64, lengths: &[u32]) -> u64 {
    let Some((&width, rest)) = values.split_first() else { return 0 };
    let length = |index: u64| {
        usize::try_from(index).ok().and_then(|index| lengths.get(index)).map_or(0, |&length| u64::from(length))
    };
    let mut bits = Bits { bytes: rest, bit: 0 };
    let (mut left, mut bytes) = (count, 0u64);
    while left > 0 && width <= 32 {
        let Some(head) = bits.varint() else { break };
        let run = match head & 1 {
            0 => {
                let run = (head >> 1).min(left);
                let Some(index) = bits.take(width.next_multiple_of(8)) else { break };
                bytes = bytes.saturating_add(run.saturating_mul(length(index)));
                run
            }
            _ => {
                let run = (head >> 1).saturating_mul(8).min(left);
                for _ in 0..run {
                    let Some(index) = bits.take(width) else { return bytes };
                    bytes = bytes.saturating_add(length(index));
                }
                bits.align();
                run
            }
        };
        if run == 0 {
            break;
        }
        left -= run;
    }
    bytes
}

/// Texts that each share a beginning with the one before: two streams of lengths, those of the shared beginnings and of the rests.
fn shared_prefixes(values: &[u8], count: u64) -> Result<Decoded, ParquetError> {
    let mut shared = Vec::new();
    let end = Delta::open(values, count)?.each(|length| shared.push(length))?;
    let (mut decoded, mut at) = (Decoded::default(), 0);
    Delta::open(values.get(end..).unwrap_or_default(), count)?.each(|rest| {
        let length = shared.get(at).copied().unwrap_or(0).max(0) as u64 + rest.max(0) as u64;
        decoded.bytes = decoded.bytes.saturating_add(length);
        decoded.longest = decoded.longest.max(length);
        at += 1;
    })?;
    Ok(decoded)
}

/// A stream of DELTA_BINARY_PACKED numbers of 32 bits: block size, parts of a block, number of values, the first of them; then the
/// blocks.
struct Delta<'a> {
    bits: Bits<'a>,
    per_part: u64,
    parts: u64,
    total: u64,
    first: i64,
}

impl<'a> Delta<'a> {
    /// Reads the head, and refuses what cannot be the head of at most `most` values.
    fn open(bytes: &'a [u8], most: u64) -> Result<Self, ParquetError> {
        let mut bits = Bits { bytes, bit: 0 };
        let mut number = || bits.varint().ok_or_else(|| wrong("a page of a delta encoding ends in its head"));
        let (block, parts, total, first) = (number()?, number()?, number()?, number()?);
        if block == 0 || block > 1 << 20 || parts == 0 || parts > block || block % parts != 0 {
            return Err(wrong(format!("a page of a delta encoding claims blocks of {block} values in {parts} parts")));
        }
        if total > most || total > MAX_LENGTHS {
            return Err(wrong(format!("a page of {most} values claims {total} in its delta encoding")));
        }
        Ok(Delta { bits, per_part: block / parts, parts, total, first: (first >> 1) as i64 ^ -((first & 1) as i64) })
    }

    /// Hands over all values; gives the byte where the stream ends.
    fn each(mut self, mut each: impl FnMut(i32)) -> Result<usize, ParquetError> {
        let short = || wrong("a page of a delta encoding ends early");
        if self.total == 0 {
            return Ok(self.bits.byte());
        }
        let mut value = self.first as i32;
        each(value);
        let mut left = self.total - 1;
        while left > 0 {
            let least = self.bits.varint().ok_or_else(short)?;
            let least = ((least >> 1) as i64 ^ -((least & 1) as i64)) as i32;
            let widths = self.bits.pass(self.parts).ok_or_else(short)?;
            for &width in widths {
                let part = self.per_part.min(left);
                if part == 0 {
                    break;
                }
                if width > 32 {
                    return Err(wrong(format!("a delta of {width} bits")));
                }
                for _ in 0..part {
                    let delta = self.bits.take(width).ok_or_else(short)?;
                    value = value.wrapping_add(least).wrapping_add(delta as i32);
                    each(value);
                }
                self.bits.bit += usize::from(width) * (self.per_part - part) as usize;
                left -= part;
            }
        }
        Ok(self.bits.byte())
    }
}

/// Bytes read bit by bit, the lowest first.
struct Bits<'a> {
    bytes: &'a [u8],
    bit: usize,
}

impl<'a> Bits<'a> {
    fn align(&mut self) {
        self.bit = self.bit.next_multiple_of(8);
    }

    fn byte(&self) -> usize {
        self.bit.div_ceil(8).min(self.bytes.len())
    }

    /// The next bytes.
    fn pass(&mut self, count: u64) -> Option<&'a [u8]> {
        self.align();
        let start = self.bit / 8;
        let end = start.checked_add(usize::try_from(count).ok()?)?;
        let bytes = self.bytes.get(start..end)?;
        self.bit = end * 8;
        Some(bytes)
    }

    /// A number of so many bits, at most 32.
    fn take(&mut self, width: u8) -> Option<u64> {
        let (start, shift) = (self.bit / 8, self.bit % 8);
        let end = (self.bit + usize::from(width)).div_ceil(8);
        let mut word = [0; 8];
        word[..end - start].copy_from_slice(self.bytes.get(start..end)?);
        self.bit += usize::from(width);
        Some(u64::from_le_bytes(word) >> shift & ((1 << width) - 1))
    }

    fn varint(&mut self) -> Option<u64> {
        self.align();
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            value |= (byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}
