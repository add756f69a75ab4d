//! Which passages are related to this one?
//!
//! * [`build`] writes an index of passages into a folder: a lexical one (BM25 by tantivy), and embeddings made from
//!   the corpus itself ([`embed::RandomIndexing`]).
//! * [`Index::related`] answers for a passage of the index, [`Index::search`] for a text.
//! * Both rankings are fused by reciprocal rank ([`fuse`]); equal scores are ordered by passage id.
//!
//! The folder's format is written down in `index/README.md`. Its one commit point is `index.json`, written last.

mod analysis;
mod config;
mod dense;
pub mod embed;
mod error;
mod folder;
mod fusion;
mod lexical;

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use self::config::{EmbedBackend, EmbedConfig, IndexConfig, Language, Method};
pub use self::error::IndexError;
pub use self::folder::{IndexSummary, build};
pub use self::fusion::fuse;

use self::dense::Vectors;
use self::embed::{Embedder, RandomIndexing};
use self::folder::Manifest;
use self::lexical::{Lexical, Without};

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

/// An open index.
///
/// ```
/// use memtrain_corpora::Passage;
/// use memtrain_index::{Index, IndexConfig, IndexError, build};
///
/// let texts = ["Velmora lies on the river Lorn.", "The Lorn rises on a mountain.", "A guild of bakers."];
/// let passages = (0..).zip(texts).map(|(id, text)| {
///     Ok::<_, IndexError>(Passage {
///         id,
///         article_id: id,
///         url: String::new(),
///         title: format!("Page {id}"),
///         section: String::new(),
///         text: text.to_owned(),
///         span: 0..text.len(),
///         char_start: 0,
///         num_words: 6,
///         revision_id: 1,
///         links: Vec::new(),
///     })
/// });
/// let folder = tempfile::tempdir().map_err(|error| IndexError::Passages(error.into()))?;
/// build(passages, folder.path(), &IndexConfig::default())?;
///
/// let index = Index::open(folder.path())?;
/// assert_eq!(index.related(0, 1)?[0].passage_id, 1);
/// assert_eq!(index.search("who bakes?", 1)?.len(), 1);
/// # Ok::<(), IndexError>(())
/// ```
pub struct Index {
    path: PathBuf,
    manifest: Manifest,
    lexical: Lexical,
    dense: Option<Dense>,
}

struct Dense {
    vectors: Vectors,
    embedder: Box<dyn Embedder>,
}

/// Queries that are answered together: a block of vectors is widened once for all of them.
const BATCH: usize = 64;

impl Index {
    /// Opens a folder that [`build`] has finished.
    ///
    /// # Errors
    /// [`IndexError::Unfinished`] where no `index.json` is, [`IndexError::Version`] and [`IndexError::Corrupt`] where
    /// files do not fit together.
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        let manifest = Manifest::read(dir)?;
        let lexical = Lexical::open(&dir.join(folder::LEXICAL), manifest.config.language)?;
        let dense = match manifest.vectors {
            None => None,
            Some(_) => {
                let vectors = Vectors::read(&dir.join(folder::VECTORS))?;
                let embedder: Box<dyn Embedder> = match manifest.config.embed.backend {
                    EmbedBackend::Builtin => Box::new(RandomIndexing::read(&dir.join(folder::EMBEDDER))?),
                };
                Some(Dense { vectors, embedder })
            }
        };
        let index = Self { path: dir.to_path_buf(), manifest, lexical, dense };
        index.check_counts()?;
        Ok(index)
    }

    fn check_counts(&self) -> Result<(), IndexError> {
        let expected = self.manifest.num_passages;
        let mut counts = vec![(folder::LEXICAL, self.lexical.num_passages())];
        if let Some(Dense { vectors, embedder }) = &self.dense {
            counts.push((folder::VECTORS, vectors.num_rows()));
            if vectors.dimensions() != embedder.dimensions() {
                let detail = format!("its vectors have {} values, not {}", vectors.dimensions(), embedder.dimensions());
                return Err(IndexError::Corrupt { path: self.path.join(folder::VECTORS), detail });
            }
        }
        match counts.into_iter().find(|&(_, count)| count as u64 != expected) {
            Some((file, count)) => {
                let detail = format!("it holds {count} passages, `index.json` says {expected}");
                Err(IndexError::Corrupt { path: self.path.join(file), detail })
            }
            None => Ok(()),
        }
    }

    /// Reads all files whose hash `index.json` holds and compares them.
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

    /// The `k` passages most related to a passage of the index, best first, never the passage itself; none of its
    /// article's either when `exclude_same_article` is on. Fewer only where the index has no more to offer.
    pub fn related(&self, passage_id: u64, k: usize) -> Result<Vec<Hit>, IndexError> {
        Ok(self.related_many(&[passage_id], k)?.swap_remove(0))
    }

    /// [`Self::related`] for many passages, in order, on all threads: much less work for each than alone.
    pub fn related_many(&self, passage_ids: &[u64], k: usize) -> Result<Vec<Vec<Hit>>, IndexError> {
        let mut answers = Vec::with_capacity(passage_ids.len());
        for batch in passage_ids.chunks(BATCH) {
            let rows = batch.iter().map(|&id| self.row(id)).collect::<Result<Vec<usize>, _>>()?;
            answers.extend(self.related_batch(&rows, k)?);
        }
        Ok(answers)
    }

    fn related_batch(&self, rows: &[usize], k: usize) -> Result<Vec<Vec<Hit>>, IndexError> {
        let config = self.config();
        let (passages, articles) = (&self.lexical.passage_ids, &self.lexical.article_ids);
        let lexical = |row: usize| -> Result<Vec<Hit>, IndexError> {
            let without = match config.exclude_same_article {
                true => Without::Article(articles[row]),
                false => Without::Passage(passages[row]),
            };
            let text = self.lexical.text(row)?;
            self.lexical.nearest(&text, Some(config.max_query_terms), self.depth(k), Some(without))
        };
        let queries = |dense: &Dense| Ok(rows.iter().map(|&row| dense.vectors.row(row)).collect());
        let skip = |query: usize, row: usize| {
            let pivot = rows[query];
            row == pivot || config.exclude_same_article && articles[row] == articles[pivot]
        };
        self.answer(rows, lexical, queries, skip, k)
    }

    /// The `k` passages that answer a text best, best first. All its words are asked for.
    pub fn search(&self, query: &str, k: usize) -> Result<Vec<Hit>, IndexError> {
        let lexical = |query: &str| self.lexical.nearest(query, None, self.depth(k), None);
        let queries = |dense: &Dense| dense.embedder.embed(&[query]);
        Ok(self.answer(&[query], lexical, queries, |_, _| false, k)?.swap_remove(0))
    }

    /// Hits that each ranking gives.
    fn depth(&self, k: usize) -> usize {
        match self.config().method {
            Method::Fused => k.max(self.config().fusion_depth),
            Method::Lexical | Method::Dense => k,
        }
    }

    fn answer<Q: Copy + Sync>(
        &self,
        asked: &[Q],
        lexical: impl Fn(Q) -> Result<Vec<Hit>, IndexError> + Sync,
        queries: impl Fn(&Dense) -> Result<Vec<Vec<f32>>, IndexError>,
        skip: impl Fn(usize, usize) -> bool + Sync,
        k: usize,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        let mut rankings: Vec<Vec<Vec<Hit>>> = match self.config().method {
            Method::Dense => vec![Vec::new(); asked.len()],
            Method::Lexical | Method::Fused => {
                asked.par_iter().map(|&asked| Ok(vec![lexical(asked)?])).collect::<Result<_, IndexError>>()?
            }
        };
        if let Some(dense) = &self.dense {
            let near = dense.vectors.nearest(&queries(dense)?, self.depth(k), skip);
            let ids = &self.lexical.passage_ids;
            for (rankings, near) in rankings.iter_mut().zip(near) {
                let hit = |near: &dense::Near| Hit { passage_id: ids[near.row], score: near.cosine };
                rankings.push(near.iter().map(hit).collect());
            }
        }
        let one = |mut rankings: Vec<Vec<Hit>>| match self.config().method {
            Method::Fused => fuse(&rankings, self.config().fusion_k, k),
            Method::Lexical | Method::Dense => rankings.swap_remove(0),
        };
        Ok(rankings.into_iter().map(one).collect())
    }

    fn row(&self, passage_id: u64) -> Result<usize, IndexError> {
        let unknown = |_| IndexError::UnknownPassage { id: passage_id, num_passages: self.num_passages() };
        self.lexical.passage_ids.binary_search(&passage_id).map_err(unknown)
    }
}
