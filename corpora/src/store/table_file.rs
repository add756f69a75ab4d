//! The file of a Parquet table, read at positions by any number of threads.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::{Result, StoreError, file};

/// A file read at positions, so that threads that share it do not move each other's cursor.
#[derive(Clone)]
pub(super) struct TableFile {
    file: Arc<File>,
    pub(super) len: u64,
}

impl TableFile {
    pub(super) fn open(path: &Path) -> Result<TableFile> {
        let len = file::len(path)?;
        Ok(TableFile { file: Arc::new(file::open(path)?), len })
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&*self.file, buffer, position)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, position)
    }
}

/// Reads a [`TableFile`] from a position on.
pub(super) struct TableCursor {
    file: TableFile,
    position: u64,
}

impl Read for TableCursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Length for TableFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for TableFile {
    type T = BufReader<TableCursor>;

    fn get_read(&self, start: u64) -> std::result::Result<Self::T, ParquetError> {
        Ok(BufReader::new(TableCursor { file: self.clone(), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> std::result::Result<Bytes, ParquetError> {
        // A damaged footer can ask for any length: nothing is allocated for bytes that are not there.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of {} bytes", self.len)));
        }
        let mut buffer = vec![0; length];
        let mut cursor = TableCursor { file: self.clone(), position: start };
        cursor.read_exact(&mut buffer)?;
        Ok(buffer.into())
    }
}

/// What is wrong with a file that the decoder does not take.
pub(super) fn failed(path: &Path, source: ParquetError) -> StoreError {
    match source {
        ParquetError::General(detail) | ParquetError::EOF(detail) => {
            StoreError::Corrupt { path: path.to_path_buf(), detail: format!("not a whole Parquet file ({detail})") }
        }
        source => StoreError::Parquet { action: "read", path: path.to_path_buf(), source },
    }
}
