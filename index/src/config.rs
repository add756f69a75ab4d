//! Configuration of an index.

use serde::{Deserialize, Serialize};

use crate::IndexError;

/// How passages are found.
///
/// ```
/// use memtrain_index::IndexConfig;
///
/// let config: IndexConfig = serde_json::from_str(r#"{"method": "lexical", "fusion_k": 60}"#)?;
/// assert_eq!(config.fusion_k, 60.0);
/// assert!(serde_json::from_str::<IndexConfig>(r#"{"metod": "lexical"}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IndexConfig {
    /// Which ranking answers: BM25, embeddings, or both fused.
    pub method: Method,
    /// Language of stemming and stop words.
    pub language: Language,
    /// Words of a passage that make its query, the most telling first. 32 find what all words find on HotpotQA and
    /// MuSiQue and read far fewer posting lists; 16 are worse on HotpotQA (`docs/lab/retrieval.md`).
    pub max_query_terms: usize,
    /// Memory of the tantivy writer in MiB before it writes a segment.
    pub writer_memory_mib: usize,
    /// Which embeddings.
    pub embed: EmbedConfig,
    /// Constant k of reciprocal-rank fusion, score = Σ 1/(k + rank) (Cormack, Clarke, Büttcher, SIGIR 2009, who
    /// propose 60; 10 is better on HotpotQA, see `docs/lab/retrieval.md`).
    pub fusion_k: f32,
    /// Hits of each ranking that enter the fusion, at least.
    pub fusion_depth: usize,
    /// Leave out passages of the same article when asked for related ones. MemTrain (arXiv 2606.03197) asks for
    /// semantically related passages and says nothing of articles, so the default leaves them in.
    pub exclude_same_article: bool,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            method: Method::Fused,
            language: Language::English,
            max_query_terms: 32,
            writer_memory_mib: 128,
            embed: EmbedConfig::default(),
            fusion_k: 10.0,
            fusion_depth: 100,
            exclude_same_article: false,
        }
    }
}

impl IndexConfig {
    /// Refuses values that cannot be.
    pub fn check(&self) -> Result<(), IndexError> {
        let refuse = |key, got: String, expected| Err(IndexError::Config { key, got, expected });
        if self.max_query_terms == 0 {
            return refuse("max_query_terms", "0".to_owned(), "at least 1 word must be asked for");
        }
        if !(16..=4096).contains(&self.writer_memory_mib) {
            return refuse("writer_memory_mib", self.writer_memory_mib.to_string(), "tantivy takes 16 to 4096 MiB");
        }
        if !self.fusion_k.is_finite() || self.fusion_k < 0.0 {
            return refuse("fusion_k", self.fusion_k.to_string(), "a number of 0 or more");
        }
        if self.fusion_depth == 0 {
            return refuse("fusion_depth", "0".to_owned(), "at least 1 hit of each ranking must be fused");
        }
        if self.embed.dimensions == 0 || !self.embed.dimensions.is_multiple_of(8) {
            return refuse("embed.dimensions", self.embed.dimensions.to_string(), "a multiple of 8");
        }
        if !(0.0..=1.0).contains(&self.embed.context) {
            return refuse("embed.context", self.embed.context.to_string(), "a number from 0 to 1");
        }
        if self.embed.fit_passages == 0 {
            return refuse("embed.fit_passages", "0".to_owned(), "at least 1 passage must be learned from");
        }
        Ok(())
    }
}

/// Which ranking answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// BM25 alone; no embeddings are made.
    Lexical,
    /// Embeddings alone.
    Dense,
    /// Both, by reciprocal-rank fusion.
    Fused,
}

/// Language of stemming and stop words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of the languages")]
pub enum Language {
    Danish,
    Dutch,
    English,
    Finnish,
    French,
    German,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Russian,
    Spanish,
    Swedish,
    /// Words as they are, in lower case.
    None,
}

/// The embeddings of passages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedConfig {
    /// Which back-end.
    pub backend: EmbedBackend,
    /// Length of a vector.
    pub dimensions: usize,
    /// Passages that the built-in back-end learns from, evenly spaced over the corpus.
    pub fit_passages: usize,
    /// Words with a vector of their own, the most frequent first; other words have only their random direction.
    pub max_terms: usize,
    /// Share of a word's vector that comes from the words it occurs with; the rest is the word itself.
    pub context: f32,
    /// Seed of the random directions.
    pub seed: u64,
}

impl Default for EmbedConfig {
    fn default() -> Self {
        Self {
            backend: EmbedBackend::Builtin,
            dimensions: 512,
            fit_passages: 100_000,
            max_terms: 100_000,
            context: 0.25,
            seed: 0,
        }
    }
}

/// Back-ends that make embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbedBackend {
    /// [`crate::embed::RandomIndexing`]: learned from the corpus itself, no download.
    Builtin,
}
