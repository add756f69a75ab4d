//! A dump in several parts, to be read side by side.

use std::io::{Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DumpError, DumpReader, SiteInfo, reader};
use crate::store::{self, StoreError};
use crate::unpack::{Packing, find_block, packing, unpack, unpack_part};

/// A part of a dump: the pages that begin in it. The one that is not at its end yet is read to its end, out of what lies
/// behind; the parts of a file together hold each of its pages once, wherever it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Where it begins, as a bit of the file: blocks of bzip2 begin at any bit.
    pub start: u64,
    /// Where it ends; `None` for the last one, which goes as far as the file.
    pub end: Option<u64>,
}

impl Part {
    /// The whole of a dump.
    pub const WHOLE: Part = Part { start: 0, end: None };
}

/// Cuts a dump into parts of about `bytes_each` bytes of the file, at least 1. Plain XML is cut anywhere, bzip2 before a block, whether it
/// has one stream or many, so that no index is needed; what is packed otherwise, or in UTF-16, is one part.
///
/// The cuts depend on the file and on `bytes_each`, on nothing else.
pub fn parts(path: &Path, bytes_each: u64) -> Result<Vec<Part>, DumpError> {
    let failed = |source| DumpError::Store(StoreError::io("read", path, source));
    let (length, bytes_each) = (store::len(path)?, bytes_each.max(1));
    if length <= bytes_each {
        return Ok(vec![Part::WHOLE]);
    }
    let source = unpack(store::open(path)?, path)?;
    if source.transcoded || !matches!(source.packing, Packing::Plain | Packing::Bzip2) {
        return Ok(vec![Part::WHOLE]);
    }
    let mut cuts = vec![0];
    let mut file = store::open(path)?;
    let count = length.div_ceil(bytes_each);
    for number in 1..count {
        let byte = u64::try_from(u128::from(length) * u128::from(number) / u128::from(count)).unwrap_or(length);
        let last = cuts.last().copied().unwrap_or(0);
        let cut = match source.packing {
            // A block that was found for the cut before may lie behind this one too.
            Packing::Bzip2 if byte * 8 <= last => None,
            Packing::Bzip2 => find_block(&mut file, byte).map_err(failed)?,
            _ => Some(byte * 8),
        };
        cuts.extend(cut.filter(|&cut| cut > last));
    }
    let ends = cuts[1..].iter().copied().map(Some).chain([None]);
    Ok(cuts.iter().zip(ends).map(|(&start, end)| Part { start, end }).collect())
}

/// Opens one part of a dump, one of those that [`parts`] gave for the file. `site` is what the header says, which only the first
/// part holds.
pub fn open_part(path: &Path, part: Part, site: &SiteInfo) -> Result<DumpReader, DumpError> {
    if part == Part::WHOLE {
        return reader::open(path);
    }
    let packing = packing(path)?;
    let mut file = store::open(path)?;
    let at = part.start / 8;
    file.seek(SeekFrom::Start(at)).map_err(|source| StoreError::io("read", path, source))?;
    let bytes = unpack_part(file, packing, part.start, part.end, path)?;
    if part.start == 0 {
        return DumpReader::beginning(bytes, path);
    }
    Ok(DumpReader::inside(bytes, path, site.clone()))
}
