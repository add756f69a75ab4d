//! Training documents by number.

use std::path::Path;

use anyhow::Context;
use memtrain_corpora::store::TableReader;
use memtrain_corpora::{Document, Split};
use memtrain_rl::agents::reader::Reader;
use memtrain_rl::objectives::memtrain::ChunkedDocument;

/// The documents of a split by number, read from their tables when they are asked for.
pub struct DocumentSet {
    /// Tables in order, each with the number of its first document.
    tables: Vec<(usize, TableReader<Document>)>,
    len: usize,
}

impl DocumentSet {
    /// Opens the documents that the corpus in `corpus` has finished.
    ///
    /// # Errors
    /// If the corpus is not built, or a table cannot be read.
    pub fn open(corpus: &Path, split: Split) -> anyhow::Result<Self> {
        let mut tables = Vec::new();
        let mut len = 0;
        for path in memtrain_pipeline::documents::files(corpus, split)? {
            let table = TableReader::open(&path)?;
            let first = len;
            len += table.len();
            tables.push((first, table));
        }
        Ok(Self { tables, len })
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Document `number`, counted from 0 in the order of the tables.
    ///
    /// # Errors
    /// If there is no such document or it cannot be read.
    pub fn get(&self, number: usize) -> anyhow::Result<Document> {
        let place = self.tables.partition_point(|(first, _)| *first <= number);
        let (first, table) = place
            .checked_sub(1)
            .and_then(|place| self.tables.get(place))
            .with_context(|| format!("there is no document {number}: the split has {}", self.len))?;
        Ok(table.get(number - first)?)
    }
}

/// Cuts a document into the reader's chunks; `None` if it has more than the reader allows.
///
/// # Errors
/// If the tokenizer fails.
pub fn chunked(number: u64, document: Document, reader: &Reader<'_>) -> anyhow::Result<Option<ChunkedDocument>> {
    let chunks = reader.chunk(&document.text)?;
    let fits = chunks.len() <= reader.config.max_chunks;
    Ok(fits.then_some(ChunkedDocument { number, document, chunks }))
}

/// The first `count` documents of a split that the reader can read, cut into its chunks.
///
/// # Errors
/// If a document cannot be read.
pub fn first(documents: &DocumentSet, count: usize, reader: &Reader<'_>) -> anyhow::Result<Vec<ChunkedDocument>> {
    let mut first = Vec::new();
    for number in 0..documents.len() {
        if first.len() == count {
            break;
        }
        first.extend(chunked(number as u64, documents.get(number)?, reader)?);
    }
    Ok(first)
}
