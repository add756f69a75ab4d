//! `[corpus.entities]`: the back-end, its keys, and those of the gazetteer.

use std::collections::BTreeMap;

use memtrain_corpora::EntityLabel;
use memtrain_encoder::{Aggregation, Device};
use serde::{Deserialize, Serialize};

use super::backend_name::BackendName;
use crate::error::{Result, fault};

/// The `bert` back-end; `labels` and `min_score` hold for `rust-bert` too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BertConfig {
    /// `cpu`, `cuda` or `cuda:N`. Default `cpu`.
    pub device: Device,
    /// Most tokens of a forward pass, padding included. Default 1024, which suits a CPU; a GPU wants 16,384 or more.
    pub batch_tokens: usize,
    /// Most tokens of a window, if less than the model's own limit; 0 for that limit. Default 0.
    pub max_tokens: usize,
    /// How the tokens of a word agree on a label: `simple`, `first`, `average` or `max`. Default `first`.
    pub aggregation: Aggregation,
    /// What labels of the model mean where their names do not say: `{ Disease = "MISC", Title = "" }`; an empty meaning
    /// leaves the label out. Unlisted names that are not known count as `UNK`.
    pub labels: BTreeMap<String, String>,
    /// Least mean probability of a mention, 0 to 1. Default 0.
    pub min_score: f32,
}

impl Default for BertConfig {
    fn default() -> Self {
        let options = memtrain_encoder::Options::default();
        Self {
            device: options.device,
            batch_tokens: options.batch_tokens,
            max_tokens: 0,
            aggregation: options.aggregation,
            labels: BTreeMap::new(),
            min_score: 0.0,
        }
    }
}

/// The entity stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EntitiesConfig {
    /// Back-end. Default `links`, the one that needs no download.
    pub backend: BackendName,
    /// Directory of the model of the `bert` and `rust-bert` back-ends; empty for `links`.
    pub model: String,
    /// File of the `spans` back-end: JSON lines, `docs/formats.md`. Empty for the others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub spans: String,
    /// How the model of the `bert` back-end is run, and what its labels mean.
    pub bert: BertConfig,
    /// Language of the text, as Wikipedia's addresses have it (`en`, `vi` …): month names, forms of numbers. Empty, the
    /// default: as the addresses of the corpus's articles say, else as the text looks.
    pub language: String,
    /// Passages a shard. Default 200,000 (a shard of the full English Wikipedia takes minutes).
    pub passages_per_shard: u64,
    /// Fewest characters of a gazetteer entry. Default 3.
    pub min_chars: usize,
    /// Most words of a gazetteer entry. Default 10.
    pub max_words: usize,
    /// How often a surface must be linked to a page before it counts as a name of that page. Default 1.
    pub min_anchor_count: u32,
    /// Words that are never an entity by themselves, on top of the built-in list of common English words.
    pub stop_words: Vec<String>,
    /// Whether numbers, dates, years, quantities, percentages and money are found by rules. Default on.
    pub rules: bool,
}

impl Default for EntitiesConfig {
    fn default() -> Self {
        Self {
            backend: BackendName::Links,
            model: String::new(),
            spans: String::new(),
            bert: BertConfig::default(),
            language: String::new(),
            passages_per_shard: 200_000,
            min_chars: 3,
            max_words: 10,
            min_anchor_count: 1,
            stop_words: Vec::new(),
            rules: true,
        }
    }
}

impl EntitiesConfig {
    /// Checks its values one by one.
    pub(super) fn check_values(&self) -> Result<()> {
        if self.passages_per_shard == 0 {
            return fault("corpus.entities.passages_per_shard", "must be at least 1, got 0".into());
        }
        if self.max_words == 0 {
            return fault("corpus.entities.max_words", "must be at least 1, got 0".into());
        }
        if self.bert.batch_tokens == 0 {
            return fault("corpus.entities.bert.batch_tokens", "must be at least 1, got 0".into());
        }
        if !(0.0..=1.0).contains(&self.bert.min_score) {
            return fault(
                "corpus.entities.bert.min_score",
                format!("must be between 0 and 1, got {}", self.bert.min_score),
            );
        }
        let unknown = |name: &&String| !name.is_empty() && EntityLabel::from_name(name).is_none();
        if let Some(name) = self.bert.labels.values().find(unknown) {
            let known = EntityLabel::ALL.map(EntityLabel::as_str).join(", ");
            return fault("corpus.entities.bert.labels", format!("means `{name}`, which is not among {known}"));
        }
        Ok(())
    }
}
