//! Configuration of an index.

use std::path::{Path, PathBuf};

use memtrain_encoder::{Device, Pooling};
use serde::{Deserialize, Serialize};

use crate::{IndexError, Language};

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
    /// Language of stemming and stop words. Default `auto`: that of the wiki, by the address of the first passage.
    pub language: Language,
    /// Words of a passage that make its query, the most telling first. 32 find what all words find on HotpotQA and
    /// MuSiQue and read far fewer posting lists; 16 are worse on HotpotQA (`docs/lab/retrieval.md`).
    pub max_query_terms: usize,
    /// Memory of the tantivy writer in MiB before it writes a segment; each shard that is being built takes it.
    pub writer_memory_mib: usize,
    /// Passages a shard. Shards are built and mended each by itself; a query asks all of them.
    pub passages_per_shard: u64,
    /// Which embeddings.
    pub embed: EmbedConfig,
    /// Search by short codes of vectors instead of through all of them.
    pub ann: AnnConfig,
    /// Constant k of reciprocal-rank fusion, score = Σ 1/(k + rank) (Cormack, Clarke, Büttcher, SIGIR 2009, who
    /// propose 60; 10 is better on HotpotQA, see `docs/lab/retrieval.md`).
    pub fusion_k: f32,
    /// Hits of each ranking that enter the fusion, at least.
    pub fusion_depth: usize,
    /// Leave out passages of the same article when asked for related ones. MemTrain (arXiv 2606.03197) asks for
    /// semantically related passages and says nothing of articles, so the default leaves them in.
    pub exclude_same_article: bool,
    /// Share of common word triples (Jaccard, estimated) from which on two passages are near copies: among related
    /// passages there is never one of the pivot, nor two of each other. 0 switches this off.
    pub near_copy_similarity: f32,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            method: Method::Fused,
            language: Language::Auto,
            max_query_terms: 32,
            writer_memory_mib: 128,
            passages_per_shard: 500_000,
            embed: EmbedConfig::default(),
            ann: AnnConfig::default(),
            fusion_k: 10.0,
            fusion_depth: 100,
            exclude_same_article: false,
            near_copy_similarity: 0.8,
        }
    }
}

impl IndexConfig {
    /// Refuses values that cannot be.
    ///
    /// # Errors
    /// [`IndexError::Config`] with the key.
    pub fn check(&self) -> Result<(), IndexError> {
        let refuse = |key, got: String, expected| Err(IndexError::Config { key, got, expected });
        if self.max_query_terms == 0 {
            return refuse("max_query_terms", "0".to_owned(), "at least 1 word must be asked for");
        }
        if !(16..=4096).contains(&self.writer_memory_mib) {
            return refuse("writer_memory_mib", self.writer_memory_mib.to_string(), "tantivy takes 16 to 4096 MiB");
        }
        if !(1..=1 << 30).contains(&self.passages_per_shard) {
            return refuse("passages_per_shard", self.passages_per_shard.to_string(), "1 to 1,073,741,824");
        }
        if !self.fusion_k.is_finite() || self.fusion_k < 0.0 {
            return refuse("fusion_k", self.fusion_k.to_string(), "a number of 0 or more");
        }
        if self.fusion_depth == 0 {
            return refuse("fusion_depth", "0".to_owned(), "at least 1 hit of each ranking must be fused");
        }
        if !(0.0..=1.0).contains(&self.near_copy_similarity) {
            return refuse("near_copy_similarity", self.near_copy_similarity.to_string(), "a number from 0 to 1");
        }
        if self.method != Method::Lexical {
            self.embed.check()?;
        }
        self.ann.check()
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

/// The embeddings of passages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedConfig {
    /// Which back-end.
    pub backend: EmbedBackend,
    /// Only `builtin`: length of a vector.
    pub dimensions: usize,
    /// Only `builtin`: passages that it learns from, evenly spaced over the corpus.
    pub fit_passages: usize,
    /// Only `builtin`: words with a vector of their own, the most frequent first; other words have only their random
    /// direction.
    pub max_terms: usize,
    /// Only `builtin`: share of a word's vector that comes from the words it occurs with; the rest is the word itself.
    pub context: f32,
    /// Only `builtin`: seed of the random directions.
    pub seed: u64,
    /// Only `candle` and `fastembed`: directory of the model in Hugging Face's layout. The program also takes a name of
    /// the hub, `organisation/model`.
    pub model: PathBuf,
    /// Only `candle` and `fastembed`: how the vectors of tokens become one. Default: what the model says, else the mean.
    pub pooling: Pooling,
    /// Only `candle` and `fastembed`: what stands before a query (E5: `query: `; BGE: its instruction).
    pub query_prefix: String,
    /// Only `candle` and `fastembed`: what stands before a passage (E5: `passage: `).
    pub passage_prefix: String,
    /// Only `candle` and `fastembed`: longest text in tokens, 0 for the model's own limit; the rest of a longer one is not
    /// seen.
    pub max_tokens: usize,
    /// Only `fastembed`: the library of the ONNX runtime (`libonnxruntime.so`). Default: what `ORT_DYLIB_PATH` names, else
    /// where the system looks for libraries.
    #[serde(skip_serializing_if = "is_empty")]
    pub runtime: PathBuf,
    /// Only `candle`: most tokens of a forward pass, padding included.
    pub batch_tokens: usize,
    /// Only `candle`: `cpu`, `cuda` or `cuda:1`.
    pub device: Device,
}

impl Default for EmbedConfig {
    fn default() -> Self {
        Self {
            backend: EmbedBackend::Builtin,
            dimensions: 1024,
            fit_passages: 100_000,
            max_terms: 100_000,
            context: 0.25,
            seed: 0,
            model: PathBuf::new(),
            pooling: Pooling::Model,
            query_prefix: String::new(),
            passage_prefix: String::new(),
            max_tokens: 0,
            runtime: PathBuf::new(),
            batch_tokens: 1024,
            device: Device::Cpu,
        }
    }
}

/// What is left unsaid does not change the hash of configurations from before the key.
fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

impl EmbedConfig {
    fn check(&self) -> Result<(), IndexError> {
        let refuse = |key, got: String, expected| Err(IndexError::Config { key, got, expected });
        if self.backend == EmbedBackend::Fastembed && !cfg!(feature = "fastembed") {
            let expected =
                "this program was built without it; `cargo build --release --features fastembed` builds one with it";
            return refuse("embed.backend", "fastembed".to_owned(), expected);
        }
        if self.backend != EmbedBackend::Builtin {
            if self.model.as_os_str().is_empty() {
                return refuse("embed.model", "empty".to_owned(), "the directory of a model is needed");
            }
            if self.batch_tokens == 0 {
                return refuse("embed.batch_tokens", "0".to_owned(), "at least 1 token must go through at a time");
            }
            return Ok(());
        }
        if self.dimensions == 0 || !self.dimensions.is_multiple_of(8) {
            return refuse("embed.dimensions", self.dimensions.to_string(), "a multiple of 8");
        }
        if !(0.0..=1.0).contains(&self.context) {
            return refuse("embed.context", self.context.to_string(), "a number from 0 to 1");
        }
        if self.fit_passages == 0 {
            return refuse("embed.fit_passages", "0".to_owned(), "at least 1 passage must be learned from");
        }
        Ok(())
    }
}

/// Back-ends that make embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbedBackend {
    /// [`crate::embed::RandomIndexing`]: learned from the corpus itself, no download.
    Builtin,
    /// Encoders (MiniLM, BGE, E5, GTE, ModernBERT, Nomic, Qwen3-Embedding …) from a Hugging Face directory, by candle.
    Candle,
    /// Models exported as ONNX, by fastembed and the ONNX runtime. Needs the cargo feature of that name.
    Fastembed,
}

/// Approximate nearest neighbours: codes of one bit a value say which few vectors a query is compared with
/// (`docs/lab/retrieval.md` has the recall).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnnConfig {
    /// Shards of fewer passages have no codes and are searched through, which costs some milliseconds a query.
    pub min_passages: u64,
    /// Vectors that a query is compared with, those with the nearest codes; four for each hit where more than a quarter as
    /// many hits are asked for. `just bench index_scale` prints the recall of the 29 nearest that comes of it.
    pub candidates: usize,
}

impl Default for AnnConfig {
    fn default() -> Self {
        Self { min_passages: 50_000, candidates: 1_000 }
    }
}

impl AnnConfig {
    fn check(&self) -> Result<(), IndexError> {
        if self.candidates == 0 {
            let (key, got, expected) = ("ann.candidates", "0".to_owned(), "at least 1 vector must be compared");
            return Err(IndexError::Config { key, got, expected });
        }
        Ok(())
    }
}
