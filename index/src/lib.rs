//! Hybrid retrieval: BM25, dense vectors, reciprocal rank fusion.
//!
//! * [`build`] writes an index of passages into a folder, [`Builder`] does so step by step: words (BM25 by tantivy) and
//!   vectors ([`embed`]), cut into shards.
//! * [`Index::related`] answers for a passage of the index, [`Index::search`] for a text.
//! * Both rankings are fused by reciprocal rank ([`fuse`]); equal scores are ordered by passage id.
//! * [`eval`] measures an index on questions whose answers are known.
//!
//! The folder's format is written down in `index/README.md`. Its one commit point is `index.json`, written last.

mod analysis;
mod binary_vectors;
mod build;
mod config;
mod dense;
pub mod embed;
mod error;
pub mod eval;
mod folder;
mod fusion;
mod language;
mod lexical;
mod near_duplicates;
mod passages;
mod vectors;

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use memtrain_corpora::Passage;
use rayon::prelude::*;

pub use self::build::{Builder, IndexSummary, build};
pub use self::config::{AnnConfig, EmbedBackend, EmbedConfig, IndexConfig, Method};
pub use self::error::IndexError;
pub use self::folder::IndexFile;
pub use self::fusion::fuse;
pub use self::language::Language;
pub use self::passages::{Passages, Watch};

use self::binary_vectors::BinaryVectors;
use self::dense::{Dense, DenseShard, Near};
use self::embed::{Embedder, Role};
use self::folder::{CODES, LEXICAL, Layout, Manifest, SIGNATURES};
use self::lexical::Lexical;
use self::near_duplicates::Signatures;
use self::vectors::Vectors;

/// A passage that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// [`memtrain_corpora::Passage::id`].
    pub passage_id: u64,
    /// BM25, cosine or fused score by the index's method; comparable within one answer only.
    pub score: f32,
}

impl Hit {
    /// Higher scores first, equal ones by passage id.
    pub fn best_first(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.passage_id.cmp(&other.passage_id))
    }
}

/// The passages related to one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Related {
    /// What was found, best first.
    pub hits: Vec<Hit>,
    /// Passages that were left out because they are near copies of the pivot or of a better hit.
    pub near_duplicates: u32,
}

/// What is indexed of a passage: its title and its text.
fn indexed_text(passage: &Passage) -> String {
    format!("{}\n{}", passage.title, passage.text)
}

/// An open index.
///
/// ```
/// use memtrain_corpora::Passage;
/// use memtrain_index::{Index, IndexConfig, IndexError, build};
///
/// let texts = ["Velmora lies on the river Lorn.", "The Lorn rises on a mountain.", "A guild of bakers."];
/// let passage = |(id, text): (u64, &&str)| Passage {
///     id,
///     article_id: id,
///     url: String::new(),
///     title: format!("Page {id}"),
///     section: String::new(),
///     text: (*text).to_owned(),
///     span: 0..text.len(),
///     char_start: 0,
///     num_words: 6,
///     revision_id: 1,
///     links: Vec::new(),
/// };
/// let passages: Vec<Passage> = (0..).zip(&texts).map(passage).collect();
/// let folder = tempfile::tempdir().map_err(|error| IndexError::Passages(error.into()))?;
/// build(passages.as_slice(), folder.path(), &IndexConfig::default())?;
///
/// let index = Index::open(folder.path())?;
/// assert_eq!(index.related(0, 1)?.hits[0].passage_id, 1);
/// assert_eq!(index.search("who bakes?", 1)?.len(), 1);
/// # Ok::<(), IndexError>(())
/// ```
pub struct Index {
    path: PathBuf,
    manifest: Manifest,
    layout: Layout,
    lexical: Lexical,
    dense: Option<Dense>,
    signatures: Vec<Signatures>,
    /// Opened by the first search: related passages need none.
    embedder: OnceLock<Box<dyn Embedder>>,
}

/// Pivots that are answered together.
const BATCH: usize = 256;
/// Passages of a pivot's article that may be left out of a lexical ranking without its becoming too short.
const SAME_ARTICLE: usize = 100;

impl Index {
    /// Opens a folder that [`build`] has finished. Files are mapped, not read, but first compared with their hashes. Of an
    /// index of 1 GiB and more, those that have not changed since they were last compared are not read again
    /// ([`memtrain_corpora::store::Verifier`]); [`Self::verify`] reads it all.
    ///
    /// # Errors
    /// [`IndexError::Unfinished`] where no `index.json` is, [`IndexError::Version`] and [`IndexError::Corrupt`] where
    /// files are missing, cut off or do not fit together.
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        let manifest = Manifest::read(dir)?;
        manifest.check(dir)?;
        let layout = manifest.layout();
        let shards = 0..layout.num_shards();
        let lexical: Vec<PathBuf> = shards.clone().map(|shard| dir.join(layout.folder(shard)).join(LEXICAL)).collect();
        let lexical = Lexical::open(&lexical, manifest.language)?;
        let num_rows = |shard: usize| (layout.range(shard).end - layout.range(shard).start) as usize;
        for (shard, found) in lexical.shard_lens().enumerate() {
            if found != num_rows(shard) {
                let detail = format!("it holds {found} passages, expected {}", num_rows(shard));
                return Err(IndexError::Corrupt { path: dir.join(layout.folder(shard)).join(LEXICAL), detail });
            }
        }
        let signatures = shards
            .map(|shard| Signatures::open(&dir.join(layout.folder(shard)).join(SIGNATURES), num_rows(shard)))
            .collect::<Result<_, _>>()?;
        let dense = if manifest.has_vectors() { Some(open_dense(dir, &manifest, layout)?) } else { None };
        let (path, embedder) = (dir.to_path_buf(), OnceLock::new());
        Ok(Self { path, manifest, layout, lexical, dense, signatures, embedder })
    }

    /// Reads all files and compares them with their hashes.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] with the first file that is not what it was.
    pub fn verify(&self) -> Result<(), IndexError> {
        self.manifest.verify(&self.path)
    }

    /// Number of passages.
    pub fn num_passages(&self) -> u64 {
        self.manifest.num_passages
    }

    /// The configuration it was built with.
    pub fn config(&self) -> &IndexConfig {
        &self.manifest.config
    }

    /// Title and text of a passage.
    ///
    /// # Errors
    /// [`IndexError::UnknownPassage`], or a damaged file.
    pub fn text(&self, passage_id: u64) -> Result<(String, String), IndexError> {
        self.lexical.text(self.row(passage_id)?)
    }

    /// The `k` passages most related to a passage of the index, best first: never the passage itself, a near copy of
    /// it or two near copies; none of its article's either when `exclude_same_article` is on. Fewer only where the index
    /// has no more to offer.
    ///
    /// # Errors
    /// [`IndexError::UnknownPassage`], or a file that cannot be read.
    pub fn related(&self, passage_id: u64, k: usize) -> Result<Related, IndexError> {
        Ok(self.related_many(&[passage_id], k)?.swap_remove(0))
    }

    /// [`Self::related`] for many passages, in order, on all threads: much less work for each than alone where vectors
    /// are searched through.
    ///
    /// # Errors
    /// As [`Self::related`].
    pub fn related_many(&self, passage_ids: &[u64], k: usize) -> Result<Vec<Related>, IndexError> {
        let mut answers = Vec::with_capacity(passage_ids.len());
        // More than all is all, and sums with it do not overflow.
        let k = k.min(self.lexical.num_passages());
        for batch in passage_ids.chunks(BATCH) {
            let rows = batch.iter().map(|&id| self.row(id)).collect::<Result<Vec<usize>, _>>()?;
            answers.extend(self.related_batch(&rows, k)?);
        }
        Ok(answers)
    }

    /// For each pair of a passage and a text, up to `k` passages that hold words of the text, by BM25, best first: never
    /// the passage itself, a near copy of it or two near copies. All words of the text are asked for; whether a passage
    /// holds them all is for the caller to see. On all threads; no vectors are searched through.
    ///
    /// # Errors
    /// As [`Self::related`].
    pub fn lexical_many(&self, queries: &[(u64, &str)], k: usize) -> Result<Vec<Related>, IndexError> {
        let one = |&(passage_id, text): &(u64, &str)| {
            let row = self.row(passage_id)?;
            let mut hits = self.lexical.nearest(text, None, k.saturating_add(1))?;
            hits.retain(|hit| hit.passage_id != passage_id);
            Ok(self.without_near_duplicates(row, hits, k))
        };
        queries.par_iter().map(one).collect()
    }

    /// Page id of the article that a passage is from.
    ///
    /// # Errors
    /// [`IndexError::UnknownPassage`].
    pub fn article(&self, passage_id: u64) -> Result<u64, IndexError> {
        Ok(self.lexical.article_id(self.row(passage_id)?))
    }

    /// Answers, asking again for more where near copies have left a pivot with fewer than `k`.
    fn related_batch(&self, rows: &[usize], k: usize) -> Result<Vec<Related>, IndexError> {
        let mut answers = vec![Related::default(); rows.len()];
        let mut open: Vec<usize> = (0..rows.len()).collect();
        let (mut wanted, num_passages) = (k.saturating_add(k / 4), self.lexical.num_passages());
        while !open.is_empty() {
            let pivots: Vec<usize> = open.iter().map(|&at| rows[at]).collect();
            let found = self.related_candidates(&pivots, wanted)?;
            let mut again = Vec::new();
            for (at, candidates) in open.into_iter().zip(found) {
                let exhausted = candidates.len() < wanted;
                answers[at] = self.without_near_duplicates(rows[at], candidates, k);
                if answers[at].hits.len() < k && !exhausted {
                    again.push(at);
                }
            }
            open = again;
            // Whoever has asked for all has been given all.
            wanted = if wanted >= num_passages { num_passages + 1 } else { wanted.saturating_mul(4).min(num_passages) };
        }
        Ok(answers)
    }

    fn without_near_duplicates(&self, pivot: usize, candidates: Vec<Hit>, k: usize) -> Related {
        let threshold = self.config().near_copy_similarity;
        let mut related = Related::default();
        if threshold == 0.0 {
            related.hits = candidates;
            related.hits.truncate(k);
            return related;
        }
        let mut kept = vec![self.signature(pivot)];
        for hit in candidates {
            if related.hits.len() == k {
                break;
            }
            let signature = self.signature(hit.passage_id as usize);
            if kept.iter().any(|other| near_duplicates::similarity(other, signature) >= threshold) {
                related.near_duplicates += 1;
            } else {
                kept.push(signature);
                related.hits.push(hit);
            }
        }
        related
    }

    fn signature(&self, row: usize) -> &[u8] {
        let shard = (row as u64 / self.config().passages_per_shard) as usize;
        self.signatures[shard].row(row - self.layout.range(shard).start as usize)
    }

    fn related_candidates(&self, rows: &[usize], k: usize) -> Result<Vec<Vec<Hit>>, IndexError> {
        let config = self.config();
        let articles: Vec<u64> = rows.iter().map(|&row| self.lexical.article_id(row)).collect();
        let skip = |query: usize, row: usize| {
            row == rows[query] || config.exclude_same_article && self.lexical.article_id(row) == articles[query]
        };
        let extra = if config.exclude_same_article { SAME_ARTICLE } else { 1 };
        let lexical = |query: usize| -> Result<Vec<Hit>, IndexError> {
            let (title, text) = self.lexical.text(rows[query])?;
            let (text, depth) = (format!("{title}\n{text}"), self.depth(k));
            let mut asked = depth + extra;
            loop {
                let mut hits = self.lexical.nearest(&text, Some(config.max_query_terms), asked)?;
                let all = hits.len() < asked;
                hits.retain(|hit| !skip(query, hit.passage_id as usize));
                if all || hits.len() >= depth {
                    hits.truncate(depth);
                    return Ok(hits);
                }
                asked *= 4;
            }
        };
        let dense = |dense: &Dense, depth: usize| {
            let vectors = rows.par_iter().map(|&row| dense.vectors.row(row)).collect::<Result<Vec<_>, _>>()?;
            dense.nearest(&vectors, depth, skip)
        };
        self.answer(rows.len(), lexical, dense, k)
    }

    /// The `k` passages that answer a text best, best first. All its words are asked for.
    ///
    /// # Errors
    /// If the embeddings' model cannot be loaded or a file cannot be read.
    pub fn search(&self, query: &str, k: usize) -> Result<Vec<Hit>, IndexError> {
        Ok(self.search_many(&[query], k)?.swap_remove(0))
    }

    /// Whether some passage holds a word of a text: stop words, which are not looked for, aside. Without one the rankings by words are
    /// empty, and those by the built-in embeddings, in which unknown words have directions by chance, mean nothing.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn has_word_of(&self, text: &str) -> Result<bool, IndexError> {
        Ok(!self.lexical.telling_terms(text, None)?.is_empty())
    }

    /// [`Self::search`] for many texts, in order, on all threads.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn search_many(&self, queries: &[&str], k: usize) -> Result<Vec<Vec<Hit>>, IndexError> {
        let lexical = |query: usize| self.lexical.nearest(queries[query], None, self.depth(k));
        let dense = |dense: &Dense, depth: usize| {
            dense.nearest(&self.embedder()?.embed(queries, Role::Query)?, depth, |_, _| false)
        };
        self.answer(queries.len(), lexical, dense, k)
    }

    /// Share of the `k` passages nearest to passages, found by comparing all vectors, that are found by codes too;
    /// `None` where no shard has codes.
    ///
    /// # Errors
    /// [`IndexError::UnknownPassage`]; a file that cannot be read.
    pub fn dense_recall(&self, passage_ids: &[u64], k: usize) -> Result<Option<f64>, IndexError> {
        let Some(dense) =
            self.dense.as_ref().filter(|dense| dense.shards.iter().any(|shard| shard.binary_vectors.is_some()))
        else {
            return Ok(None);
        };
        let rows = passage_ids.iter().map(|&id| self.row(id)).collect::<Result<Vec<usize>, _>>()?;
        let queries: Vec<Vec<f32>> = rows.iter().map(|&row| dense.vectors.row(row)).collect::<Result<_, _>>()?;
        let own = |query: usize, row: usize| row == rows[query];
        let (found, exact) = (dense.nearest(&queries, k, own)?, dense.exact(&queries, k, own)?);
        let common =
            |(exact, found): (&Vec<Near>, &Vec<Near>)| exact.iter().filter(|near| found.contains(near)).count();
        let common: usize = exact.iter().zip(&found).map(common).sum();
        let all: usize = exact.iter().map(Vec::len).sum();
        Ok(Some(common as f64 / all.max(1) as f64))
    }

    /// The embeddings, for texts from outside.
    fn embedder(&self) -> Result<&dyn Embedder, IndexError> {
        if let Some(embedder) = self.embedder.get() {
            return Ok(embedder.as_ref());
        }
        let opened = embed::open(&self.config().embed, &self.path)?;
        if let Some(dense) = &self.dense
            && dense.vectors.dimensions() != opened.dimensions()
        {
            let detail = format!(
                "its vectors have {} values, those of the index {}: the index was built with another model",
                opened.dimensions(),
                dense.vectors.dimensions()
            );
            return Err(IndexError::Embedding { model: self.config().embed.model.clone(), detail });
        }
        Ok(self.embedder.get_or_init(|| opened).as_ref())
    }

    /// Hits that each ranking gives.
    fn depth(&self, k: usize) -> usize {
        match self.config().method {
            Method::Fused => k.max(self.config().fusion_depth),
            Method::Lexical | Method::Dense => k,
        }
    }

    fn answer(
        &self,
        num_queries: usize,
        lexical: impl Fn(usize) -> Result<Vec<Hit>, IndexError> + Sync,
        nearest: impl Fn(&Dense, usize) -> Result<Vec<Vec<Near>>, IndexError>,
        k: usize,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        let mut rankings: Vec<Vec<Vec<Hit>>> = match self.config().method {
            Method::Dense => vec![Vec::new(); num_queries],
            Method::Lexical | Method::Fused => (0..num_queries)
                .into_par_iter()
                .map(|query| Ok(vec![lexical(query)?]))
                .collect::<Result<_, IndexError>>()?,
        };
        if let Some(dense) = &self.dense {
            for (rankings, near) in rankings.iter_mut().zip(nearest(dense, self.depth(k))?) {
                let hit = |near: &Near| Hit { passage_id: near.row as u64, score: near.score };
                rankings.push(near.iter().map(hit).collect());
            }
        }
        let one = |mut rankings: Vec<Vec<Hit>>| match self.config().method {
            Method::Fused => fuse(&rankings, self.config().fusion_k, k),
            Method::Lexical | Method::Dense => rankings.pop().unwrap_or_default(),
        };
        Ok(rankings.into_iter().map(one).collect())
    }

    fn row(&self, passage_id: u64) -> Result<usize, IndexError> {
        let num_passages = self.num_passages();
        if passage_id < num_passages {
            Ok(passage_id as usize)
        } else {
            Err(IndexError::UnknownPassage { id: passage_id, num_passages })
        }
    }
}

fn open_dense(dir: &Path, manifest: &Manifest, layout: Layout) -> Result<Dense, IndexError> {
    let files = (0..layout.num_shards()).flat_map(|shard| layout.vectors(shard)).map(|(file, _)| dir.join(file));
    let vectors = Vectors::open(files)?;
    if vectors.num_rows() as u64 != manifest.num_passages {
        let detail = format!("its vectors are {}, not {}", vectors.num_rows(), manifest.num_passages);
        return Err(IndexError::Corrupt { path: dir.to_path_buf(), detail });
    }
    let shard = |shard: usize| -> Result<DenseShard, IndexError> {
        let (range, path) = (layout.range(shard), format!("{}/{CODES}", layout.folder(shard)));
        let rows = range.start as usize..range.end as usize;
        let has_binary_vectors = manifest.files.iter().any(|file| file.path == path);
        let open = || BinaryVectors::open(&dir.join(&path), vectors.dimensions(), rows.len());
        Ok(DenseShard { binary_vectors: has_binary_vectors.then(open).transpose()?, rows })
    };
    let shards = (0..layout.num_shards()).map(shard).collect::<Result<_, _>>()?;
    Ok(Dense { vectors, shards, candidates: manifest.config.ann.candidates })
}
