//! Training documents by number, and the order they are trained in.

use std::path::Path;

use anyhow::Context;
use memtrain_corpora::store::TableReader;
use memtrain_corpora::{Document, Split, rng};
use rand::seq::SliceRandom;

use crate::agents::reader::Reader;
use crate::objectives::memtrain::ChunkedDocument;

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

/// Documents of a split in an order that is shuffled anew each epoch. Position `p` of the endless sequence is a function
/// of the seed alone, so a resumed run draws what the undisturbed one would have drawn.
pub struct DocumentOrder {
    documents: DocumentSet,
    seed: u64,
    epoch: u64,
    order: Vec<usize>,
}

impl DocumentOrder {
    /// The documents of `documents`, shuffled with `seed`.
    pub fn new(documents: DocumentSet, seed: u64) -> Self {
        let order = shuffled(documents.len(), seed, 0);
        Self { documents, seed, epoch: 0, order }
    }

    /// Number of different documents.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is nothing to train on.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The next `count` documents from position `start` on, cut into the reader's chunks. Documents with more chunks than
    /// the reader allows are passed over and counted.
    ///
    /// # Errors
    /// If a document cannot be read, or the split holds none that the reader can read.
    pub fn take(&mut self, start: u64, count: usize, reader: &Reader<'_>) -> anyhow::Result<Taken> {
        let mut taken = Taken { documents: Vec::with_capacity(count), next: start, too_long: 0 };
        while taken.documents.len() < count {
            anyhow::ensure!(
                taken.too_long < self.order.len() || !taken.documents.is_empty(),
                "no training document has at most `reader.max_chunks` = {} chunks of {} tokens",
                reader.config.max_chunks,
                reader.config.chunk_tokens,
            );
            let (epoch, place) = (taken.next / self.order.len() as u64, taken.next % self.order.len() as u64);
            if epoch != self.epoch {
                self.order = shuffled(self.order.len(), self.seed, epoch);
                self.epoch = epoch;
            }
            taken.next += 1;
            let number = self.order[place as usize];
            match chunked(number as u64, self.documents.get(number)?, reader)? {
                Some(document) => taken.documents.push(document),
                None => taken.too_long += 1,
            }
        }
        Ok(taken)
    }
}

/// Documents drawn from a [`DocumentOrder`].
pub struct Taken {
    /// The documents.
    pub documents: Vec<ChunkedDocument>,
    /// Position after the last of them.
    pub next: u64,
    /// Documents passed over because they have too many chunks.
    pub too_long: usize,
}

fn shuffled(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut rng::addressed("train/document-order", seed, &[epoch]));
    order
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
