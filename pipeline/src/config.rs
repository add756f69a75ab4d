//! Configuration of the corpus: one section a stage. Defaults are the papers' values where a paper gives one.

mod synthesize;

use memtrain_corpora::wikitext::{CleanOptions, Keep, Math};
use memtrain_index::IndexConfig;
use serde::{Deserialize, Serialize};

pub use crate::entities::{BackendName, BertConfig, EntitiesConfig};
use crate::error::{Result, fault};

pub use synthesize::{EligibleConfig, EvidenceConfig, PassageLayout, Selection, SynthesizeConfig};

/// Everything between a dump and its documents.
///
/// ```
/// let config = memtrain_pipeline::CorpusConfig::default();
/// assert_eq!(config.synthesize.num_related + 1 + config.synthesize.num_random, 150);
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorpusConfig {
    /// Seed of every draw. Default 0.
    pub seed: u64,
    /// Threads; 0 takes all cores. Never changes what is written. Default 0.
    pub workers: usize,
    /// From dumps to articles and passages.
    pub ingest: IngestConfig,
    /// From passages to entity mentions.
    pub entities: EntitiesConfig,
    /// The policy's tokenizer.
    pub tokenizer: TokenizerConfig,
    /// Retrieval of related passages.
    pub index: IndexConfig,
    /// From passages to training documents.
    pub synthesize: SynthesizeConfig,
}

/// What happens to a passage that stays below `min_words` because its section has no more text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShortPassages {
    /// Dropped and counted.
    Drop,
    /// Kept and counted.
    Keep,
}

/// Ingest: which pages become articles, and how articles are cut into passages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// What is read: MediaWiki XML exports (plain, bz2, gz, xz, zst), Parquet or JSON lines with `title` and `text`, or the output of
    /// WikiExtractor. Each entry is a file, a folder, or a pattern with `*`, `?`, `[…]` and `**`; files of an entry in name order. Of
    /// a page that several files hold the first one counts.
    pub dumps: Vec<String>,
    /// Whether the stages after ingest may be run on dumps that break off in the middle. Off: ingest keeps every whole page of them,
    /// and then it is an error.
    pub accept_truncated: bool,
    /// About how many bytes of the inputs, packed as they are, one shard reads: large dumps are cut, small files put together.
    /// Default 0: a 64th of the whole, at least 8 MiB and at most 128 MiB.
    pub bytes_per_shard: u64,
    /// Fewest words of a passage. Default 100 (MemTrain leaves the unit open; 100–200 words put 150 passages into its
    /// 24k–40k tokens, arXiv 2606.03197 §4).
    pub min_words: u32,
    /// Most words of a passage. Default 200, as above.
    pub max_words: u32,
    /// Share of the passages that are kept, drawn for each by its article and place, whatever the seed. Default 1.
    #[serde(skip_serializing_if = "is_one")]
    pub passage_share: f64,
    /// What becomes of shorter rests of sections. Default: dropped.
    #[serde(alias = "leftovers")]
    pub short_passages: ShortPassages,
    /// Titles of sections to leave out with the sections below them, without regard to case, on top of those that
    /// [`memtrain_corpora::wikitext::is_boilerplate_heading`] knows in many languages (references, external links …).
    pub drop_sections: Vec<String>,
    /// Whether tables are dropped or kept, a line a row. Default: dropped.
    pub tables: Keep,
    /// Whether boxes of facts are dropped or kept, a line a fact. Default: dropped.
    pub infoboxes: Keep,
    /// Formulas: `drop`, `simple` (the default: those that can be written in a line) or `tex`.
    pub math: Math,
    /// Whether it is dropped or kept how words are pronounced (`[paʁi]`). Default: dropped.
    pub pronunciations: Keep,
}

impl IngestConfig {
    /// What is kept of a page besides its prose.
    pub fn clean_options(&self) -> CleanOptions {
        let &IngestConfig { tables, infoboxes, math, pronunciations, .. } = self;
        CleanOptions { tables, infoboxes, math, pronunciations }
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            dumps: Vec::new(),
            accept_truncated: false,
            bytes_per_shard: 0,
            min_words: 100,
            max_words: 200,
            passage_share: 1.0,
            short_passages: ShortPassages::Drop,
            drop_sections: Vec::new(),
            tables: Keep::Drop,
            infoboxes: Keep::Drop,
            math: Math::Simple,
            pronunciations: Keep::Drop,
        }
    }
}

/// Control tokens of a trained tokenizer, the first ids of its vocabulary: end of text (also padding), and the two marks
/// of a ChatML turn, as Qwen's tokenizers name them.
pub const SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// The tokenizer stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// `train` to train one on the passages, else the path of a `tokenizer.json` or of a Hugging Face model directory.
    pub source: String,
    /// Size of a trained vocabulary, added words included. Default 32,000; at least 256 bytes + the added words.
    pub vocab_size: usize,
    /// Fewest occurrences of a pair that is merged. Default 2.
    pub min_frequency: u64,
    /// Words that are one token each in a trained tokenizer (for tiny policies), such as `[MASK]`.
    pub added_words: Vec<String>,
    /// Most passages to train on, taken at even distances. Default 200,000.
    pub max_passages: u64,
}

impl TokenizerConfig {
    /// Fewest entries of a trained vocabulary: 256 bytes, the control tokens, the added words.
    fn smallest_vocabulary(&self) -> usize {
        256 + SPECIAL_TOKENS.len() + self.added_words.len()
    }
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self {
            source: "train".to_owned(),
            vocab_size: 32_000,
            min_frequency: 2,
            added_words: Vec::new(),
            max_passages: 200_000,
        }
    }
}

/// As [`is_default`], of the whole.
fn is_one(share: &f64) -> bool {
    *share == 1.0
}

/// Whether a key is left out of what is hashed and written, so that corpora and runs from before the key stay as they are.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl CorpusConfig {
    /// Checks what no single value shows; called before any work.
    pub fn validate(&self) -> Result<()> {
        let ingest = &self.ingest;
        if ingest.dumps.is_empty() {
            return fault("corpus.ingest.dumps", "is empty: name at least one dump".into());
        }
        if ingest.min_words == 0 || ingest.max_words < ingest.min_words {
            return fault(
                "corpus.ingest.min_words",
                format!(
                    "must be between 1 and `corpus.ingest.max_words` = {}, got {}",
                    ingest.max_words, ingest.min_words
                ),
            );
        }
        if !(ingest.passage_share > 0.0 && ingest.passage_share <= 1.0) {
            let got = ingest.passage_share;
            return fault("corpus.ingest.passage_share", format!("must be above 0 and at most 1, got {got}"));
        }
        self.entities.validate()?;
        self.index.check()?;
        let smallest = self.tokenizer.smallest_vocabulary();
        if self.tokenizer.source == "train" && self.tokenizer.vocab_size < smallest {
            return fault(
                "corpus.tokenizer.vocab_size",
                format!(
                    "must be at least {smallest} (256 bytes and the added words), got {}",
                    self.tokenizer.vocab_size
                ),
            );
        }
        if self.tokenizer.max_passages == 0 {
            return fault("corpus.tokenizer.max_passages", "must be at least 1, got 0".into());
        }
        self.synthesize.validate()?;
        self.check_window()
    }

    /// Refuses a window that the pivot and its related passages alone are too long for.
    fn check_window(&self) -> Result<()> {
        /// A token is a word or less. Where no spaces stand between words, it may hold more than what is counted as one.
        const WORDS_A_TOKEN: u64 = 2;
        let (min_words, synthesize) = (u64::from(self.ingest.min_words), &self.synthesize);
        let words = (synthesize.num_related as u64).saturating_add(1).saturating_mul(min_words);
        let is_short = self.ingest.short_passages == ShortPassages::Keep;
        if is_short || words / WORDS_A_TOKEN <= synthesize.max_tokens as u64 {
            return Ok(());
        }
        fault(
            "corpus.synthesize.num_related",
            format!(
                "is {}: with the pivot these are {words} words or more, as `corpus.ingest.min_words` is {min_words}, and \
                 `corpus.synthesize.max_tokens` is {}",
                synthesize.num_related, synthesize.max_tokens
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PipelineError;

    fn key_at_fault(change: impl FnOnce(&mut CorpusConfig)) -> Option<&'static str> {
        let mut config = CorpusConfig::default();
        config.ingest.dumps = vec!["dump.xml".into()];
        change(&mut config);
        match config.validate() {
            Err(PipelineError::Config { key, .. }) => Some(key),
            _ => None,
        }
    }

    #[test]
    fn impossible_values_are_named_before_any_work() {
        assert_eq!(key_at_fault(|_| {}), None);
        assert_eq!(key_at_fault(|c| c.ingest.dumps.clear()), Some("corpus.ingest.dumps"));
        assert_eq!(key_at_fault(|c| c.ingest.min_words = 201), Some("corpus.ingest.min_words"));
        assert_eq!(key_at_fault(|c| c.ingest.passage_share = 0.0), Some("corpus.ingest.passage_share"));
        assert_eq!(key_at_fault(|c| c.entities.backend = BackendName::Bert), Some("corpus.entities.model"));
        assert_eq!(key_at_fault(|c| c.entities.backend = BackendName::Spans), Some("corpus.entities.spans"));
        let labels = |c: &mut CorpusConfig| drop(c.entities.bert.labels.insert("X".into(), "Y".into()));
        assert_eq!(key_at_fault(labels), Some("corpus.entities.bert.labels"));
        assert_eq!(key_at_fault(|c| c.entities.bert.min_score = f32::NAN), Some("corpus.entities.bert.min_score"));
        assert_eq!(key_at_fault(|c| c.tokenizer.vocab_size = 258), Some("corpus.tokenizer.vocab_size"));
        assert_eq!(key_at_fault(|c| c.synthesize.heldout_fraction = 0.0), Some("corpus.synthesize.heldout_fraction"));
        assert_eq!(key_at_fault(|c| c.synthesize.max_tokens = 5), Some("corpus.synthesize.max_tokens"));
        assert_eq!(key_at_fault(|c| c.synthesize.separator = " and ".into()), Some("corpus.synthesize.separator"));
        assert_eq!(key_at_fault(|c| c.synthesize.eligible.max_chars = 1), Some("corpus.synthesize.eligible.max_chars"));
        assert_eq!(
            key_at_fault(|c| c.synthesize.evidence.max_same_article = f64::NAN),
            Some("corpus.synthesize.evidence.max_same_article")
        );
        assert_eq!(
            key_at_fault(|c| c.synthesize.evidence.max_passages = 2),
            Some("corpus.synthesize.evidence.min_passages")
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = serde_json::from_str::<CorpusConfig>(r#"{"synthesize": {"num_relatd": 3}}"#).unwrap_err();
        assert!(error.to_string().contains("num_relatd"), "{error}");
    }
}
