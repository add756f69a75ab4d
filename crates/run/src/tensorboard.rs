//! Event files that TensorBoard reads, written by hand.
//!
//! A file is a sequence of records:
//!
//! ```text
//! u64 length | u32 masked crc32c of those 8 bytes | the bytes | u32 masked crc32c of the bytes        little endian
//! ```
//!
//! and each record a protobuf message of TensorFlow's `event.proto`, of which these fields are used:
//!
//! ```text
//! Event   { 1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary summary }
//! Summary { 1: repeated Value { 1: string tag, 2: float simple_value } }
//! ```
//!
//! Sources: TensorFlow's `record_writer.h`, `crc32c.h` (the mask), `event.proto`, `summary.proto`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError};

use super::crc32c::crc32c;
use super::{Result, RunError};

/// Beginning and end of a file's name, with the time of its making between them.
const NAME: (&str, &str) = ("events.out.tfevents.", ".memtrain");
/// What the first record of a file says.
const FILE_VERSION: &str = "brain.Event:2";

/// An event file that is appended to.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// use memtrain_run::tensorboard::EventFile;
/// let mut events = EventFile::create(folder.path(), 1_700_000_000.0)?;
/// events.scalars(1, 1_700_000_001.5, [("train/loss", 0.25)])?;
/// # Ok::<(), memtrain_run::RunError>(())
/// ```
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Starts a file in `folder`. TensorBoard reads the files of a folder in the order of their names, which begin with the
    /// time of their making.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(folder: &Path, unix_s: f64) -> Result<Self> {
        store::create_dir_all(folder)?;
        let path = folder.join(format!("{}{:010}{}", NAME.0, unix_s as u64, NAME.1));
        let mut first = Message::default();
        first.double(1, unix_s);
        first.bytes(3, FILE_VERSION.as_bytes());
        store::write_atomic(&path, record(&first.0))?;
        Ok(Self { file: store::append(&path)?, path })
    }

    /// The event files in a folder that this program has written; none where there is no folder.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn all(folder: &Path) -> Result<Vec<PathBuf>> {
        let mut paths = if store::is_dir(folder) { store::list(folder)? } else { Vec::new() };
        paths.retain(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let time = name.strip_prefix(NAME.0).and_then(|name| name.strip_suffix(NAME.1));
            time.is_some_and(|time| time.bytes().all(|byte| byte.is_ascii_digit()))
        });
        Ok(paths)
    }

    /// Compares the records of a file with their checksums. A last one that is cut off, as a kill leaves it, passes.
    ///
    /// # Errors
    /// If the file cannot be read, or a record is not what was written.
    pub fn verify(path: &Path) -> Result<()> {
        let bytes = store::read(path)?;
        let checked = |at: usize, length: usize| {
            let data = bytes.get(at..)?.get(..length)?;
            let sum = bytes.get(at + length..)?.first_chunk()?;
            Some((data, masked_crc32c(data) == u32::from_le_bytes(*sum)))
        };
        let (mut at, mut number) = (0, 1);
        while let Some((length, is_whole)) = checked(at, 8) {
            let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
            let message = usize::try_from(length).ok().and_then(|length| checked(at + 12, length));
            if !is_whole || message.is_some_and(|(_, is_whole)| !is_whole) {
                let detail = format!("record {number} does not have the checksum that it was written with");
                return Err(RunError::DamagedTable { path: path.to_path_buf(), detail });
            }
            let Some((message, _)) = message else { break };
            (at, number) = (at + 16 + message.len(), number + 1);
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the scalars of a step as one record.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn scalars<'a>(
        &mut self,
        step: u64,
        unix_s: f64,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let mut summary = Message::default();
        for (tag, value) in values {
            let mut scalar = Message::default();
            scalar.bytes(1, tag.as_bytes());
            scalar.float(2, value as f32);
            summary.bytes(1, &scalar.0);
        }
        let mut event = Message::default();
        event.double(1, unix_s);
        event.varint(2, step);
        event.bytes(5, &summary.0);
        // One write, so that a kill leaves at most one cut record, which readers pass over.
        let written = self.file.write_all(&record(&event.0));
        Ok(written.map_err(|source| StoreError::io("append to", &self.path, source))?)
    }
}

/// A record around a message.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(message.len() + 16);
    bytes.extend(length);
    bytes.extend(masked_crc32c(&length).to_le_bytes());
    bytes.extend(message);
    bytes.extend(masked_crc32c(message).to_le_bytes());
    bytes
}

/// The checksum as it is stored: rotated by 15 bits and moved by a constant, so that the checksum of data that holds
/// checksums is not degenerate.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protobuf message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u8, wire_type: u8) {
        self.0.push((field << 3) | wire_type);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, field: u8, value: u64) {
        self.key(field, 0);
        self.raw_varint(value);
    }

    fn double(&mut self, field: u8, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, value: &[u8]) {
        self.key(field, 2);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u8, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader of its own: bit by bit for the checksum, by the wire format for the fields.
    mod reader {
        /// One scalar of one event.
        #[derive(Debug, PartialEq)]
        pub struct Scalar {
            pub step: u64,
            pub unix_s: f64,
            pub tag: String,
            pub value: f32,
        }

        pub fn crc32c(bytes: &[u8]) -> u32 {
            let mut crc = u32::MAX;
            for byte in bytes {
                for bit in 0..8 {
                    let feedback = (crc ^ u32::from(byte >> bit)) & 1;
                    crc = (crc >> 1) ^ (feedback * 0x82f6_3b78);
                }
            }
            crc ^ u32::MAX
        }

        fn checked<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
            let (data, rest) = bytes.split_at(length);
            let (stored, rest) = rest.split_at(4);
            let stored = u32::from_le_bytes(stored.try_into().unwrap());
            let unmasked = stored.wrapping_sub(0xa282_ead8).rotate_left(15);
            assert_eq!(unmasked, crc32c(data), "checksum");
            *bytes = rest;
            data
        }

        pub fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
            let mut records = Vec::new();
            while !bytes.is_empty() {
                let length = u64::from_le_bytes(checked(&mut bytes, 8).try_into().unwrap());
                records.push(checked(&mut bytes, length as usize));
            }
            records
        }

        /// Fields of a message: number and payload (8, 4 or any bytes; a varint as its 8 bytes).
        pub fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
            fn varint(bytes: &mut &[u8]) -> u64 {
                let (mut value, mut shift) = (0, 0);
                loop {
                    let byte = bytes[0];
                    *bytes = &bytes[1..];
                    value |= u64::from(byte & 0x7f) << shift;
                    shift += 7;
                    if byte < 0x80 {
                        return value;
                    }
                }
            }
            let mut fields = Vec::new();
            while !bytes.is_empty() {
                let key = varint(&mut bytes);
                let payload = match key & 7 {
                    0 => varint(&mut bytes).to_le_bytes().to_vec(),
                    kind => {
                        let length = match kind {
                            1 => 8,
                            5 => 4,
                            2 => varint(&mut bytes) as usize,
                            other => panic!("wire type {other}"),
                        };
                        let (payload, rest) = bytes.split_at(length);
                        bytes = rest;
                        payload.to_vec()
                    }
                };
                fields.push((key >> 3, payload));
            }
            fields
        }

        pub fn scalars(bytes: &[u8]) -> Vec<Scalar> {
            let one =
                |fields: &[(u64, Vec<u8>)], number: u64| fields.iter().find(|(n, _)| *n == number).unwrap().1.clone();
            let mut scalars = Vec::new();
            for event in &records(bytes)[1..] {
                let event = fields(event);
                for (_, value) in fields(&one(&event, 5)) {
                    let value = fields(&value);
                    scalars.push(Scalar {
                        step: u64::from_le_bytes(one(&event, 2).try_into().unwrap()),
                        unix_s: f64::from_le_bytes(one(&event, 1).try_into().unwrap()),
                        tag: String::from_utf8(one(&value, 1)).unwrap(),
                        value: f32::from_le_bytes(one(&value, 2).try_into().unwrap()),
                    });
                }
            }
            scalars
        }
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4: 32 bytes of zeros, of ones, ascending.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(reader::crc32c(&ascending), 0x46dd_794e);
    }

    #[test]
    fn what_is_written_is_read_back_and_damage_is_seen() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut events = EventFile::create(folder.path(), 1_700_000_000.5)?;
        events.scalars(1, 1_700_000_001.0, [("reward/mean", 0.5), ("kl", -1.25)])?;
        events.scalars(300, 1_700_000_002.0, [("a tag of more than 127 bytes, ".repeat(9).as_str(), f64::NAN)])?;
        let bytes = store::read(events.path())?;
        let first = reader::fields(reader::records(&bytes)[0]);
        assert_eq!(first[1], (3, FILE_VERSION.as_bytes().to_vec()));
        let scalars = reader::scalars(&bytes);
        assert_eq!(
            scalars[0],
            reader::Scalar { step: 1, unix_s: 1_700_000_001.0, tag: "reward/mean".into(), value: 0.5 }
        );
        assert_eq!((scalars[1].tag.as_str(), scalars[1].value), ("kl", -1.25));
        assert!(scalars[2].step == 300 && scalars[2].value.is_nan() && scalars[2].tag.len() > 127);
        EventFile::verify(events.path())?;
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1 << (at % 8);
            store::write_atomic(events.path(), broken)?;
            assert!(EventFile::verify(events.path()).is_err(), "a flipped bit of byte {at} passed");
        }
        for cut in 1..100 {
            store::write_atomic(events.path(), &bytes[..bytes.len() - cut])?;
            EventFile::verify(events.path())?;
        }
        let mut broken = bytes;
        let at = broken.len() - 9;
        broken[at] ^= 1;
        assert!(std::panic::catch_unwind(|| reader::scalars(&broken)).is_err(), "a flipped bit passed");
        Ok(())
    }
}
