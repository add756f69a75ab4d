//! Any bytes as a dump, packed or not: an error or pages, and the same however the bytes arrive.

#![no_main]

use std::io::{self, Cursor, Read};

use libfuzzer_sys::fuzz_target;
use memtrain_corpora::dump::{DumpError, Page, from_reader};
use memtrain_corpora::wikitext::WikiContext;

/// Gives few bytes at a time, as a slow disk or network does.
struct Dribble(Cursor<Vec<u8>>, usize);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 % 7 + 1;
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

/// The pages, and how many errors there were: what an error quotes may depend on how much has arrived.
fn read(stream: impl Read + Send + 'static) -> (Vec<Page>, usize) {
    let (mut pages, mut errors) = (Vec::new(), 0);
    match from_reader(stream, "fuzzed") {
        Err(error) => errors += told(&error),
        Ok(mut reader) => {
            let _ = WikiContext::from_site(reader.site_info());
            // After an error that cannot be skipped nothing comes any more; a page needs some bytes, so this ends.
            for page in &mut reader {
                match page {
                    Ok(page) => pages.push(page),
                    Err(error) => errors += told(&error),
                }
            }
            assert_eq!(reader.pages() as usize, pages.len());
        }
    }
    (pages, errors)
}

fn told(error: &DumpError) -> usize {
    assert!(!error.to_string().is_empty());
    1
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(Cursor::new(bytes.to_vec()));
    // What unpacks to megabytes is slow to dribble, and tells nothing new.
    if bytes.starts_with(b"<") || bytes.len() < 300 {
        assert_eq!(whole, read(Dribble(Cursor::new(bytes.to_vec()), 0)));
    }
});
