//! gzip, one member or many.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::Foreign;

/// The unpacked bytes of all members. Unlike the library's own, it tells bytes that follow the last member from a member that is damaged.
pub(super) struct Members<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: R) -> Self {
        Members { member: Some(GzDecoder::new(input)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match member.get_mut().fill_buf()? {
                [] => self.member = None,
                [0x1F, ..] => self.member = self.member.take().map(|member| GzDecoder::new(member.into_inner())),
                _ => return Err(Foreign.into()),
            }
        }
    }
}
