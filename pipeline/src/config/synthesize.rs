//! Configuration of the synthesis of documents.

use memtrain_corpora::EntityLabel;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::error::{Result, fault};

/// How a passage looks in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassageLayout {
    /// The article's title on a line of its own, then the text.
    TitleAndText,
    /// The text alone.
    Text,
    /// The text below a heading: the word `Document`, its number in the document from 1 on, and a colon. What is hidden stays in
    /// headings; a document whose hidden words stand in one is rejected, since its neighbours give the number away.
    Numbered,
}

/// Some mentions or passages of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// All of them.
    #[default]
    All,
    /// Those that [`EligibleConfig`] allows to be hidden, or that have one.
    Eligible,
}

/// The synthesis of documents (MemTrain, arXiv 2606.03197 §3.1 and §4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynthesizeConfig {
    /// Training documents. Default 30,000 (§4).
    pub num_train: u64,
    /// Held-out documents. Default 512 (ours: the paper holds none out).
    pub num_heldout: u64,
    /// Share of the articles whose passages are pivots of held-out documents only. Default 0.02 (ours).
    pub heldout_fraction: f64,
    /// Retrieved passages a document. Default 29 (§4); never fewer.
    pub num_related: usize,
    /// Random passages a document. Default 120 (§4); more or fewer where the token window asks for it.
    pub num_random: usize,
    /// Fewest tokens of a document, by the policy's tokenizer. Default 24,000 (§4).
    pub min_tokens: usize,
    /// Most tokens of a document. Default 40,000 (§4).
    pub max_tokens: usize,
    /// How a passage looks. Default `title-and-text` (ours).
    pub layout: PassageLayout,
    /// What stands between passages. Default a blank line (ours).
    pub separator: String,
    /// Whether the hidden entity is compared with regard to case. Default on (ours).
    pub case_sensitive: bool,
    /// Whether redirect titles and anchor texts of the hidden entity's article are hidden too. Default on (ours); the
    /// paper hides the entity's own words.
    pub mask_aliases: bool,
    /// Whether other forms of the hidden entity are hidden too: "Croatian" of Croatia, a person's family name where it
    /// stands alone. Default on (ours).
    pub mask_forms: bool,
    /// What stands beside the pivot on the hidden entity.
    pub evidence: EvidenceConfig,
    /// Which entities may be hidden.
    pub eligible: EligibleConfig,
    /// Which mentions a document lists, to be asked for in training. Default `all`; with `eligible` what is asked for follows
    /// the same rule as what is hidden.
    #[serde(skip_serializing_if = "is_default")]
    pub entities: Selection,
    /// Which passages documents are made of. Default `all`; with `eligible` only those with an eligible entity. Related ones
    /// are then the best of twice as many.
    #[serde(skip_serializing_if = "is_default")]
    pub passages: Selection,
    /// How often a rejected document is drawn anew under the same number. Default 50 (ours).
    pub max_attempts: u32,
    /// Documents a shard. Default 500 (ours).
    pub documents_per_shard: u64,
}

impl Default for SynthesizeConfig {
    fn default() -> Self {
        Self {
            num_train: 30_000,
            num_heldout: 512,
            heldout_fraction: 0.02,
            num_related: 29,
            num_random: 120,
            min_tokens: 24_000,
            max_tokens: 40_000,
            layout: PassageLayout::TitleAndText,
            separator: "\n\n".to_owned(),
            case_sensitive: true,
            mask_aliases: true,
            mask_forms: true,
            evidence: EvidenceConfig::default(),
            eligible: EligibleConfig::default(),
            entities: Selection::All,
            passages: Selection::All,
            max_attempts: 50,
            documents_per_shard: 500,
        }
    }
}

/// How the related passages of a document bear on the hidden entity (ours). The paper draws any entity of the pivot and
/// the passages that are most like the pivot: `min_passages = 0`, `max_same_article = 1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceConfig {
    /// Fewest related passages that mention the hidden entity, all of them where `num_related` is smaller; 0 for any
    /// entity of the pivot. Default 3.
    pub min_passages: usize,
    /// Most passages that are related because they mention the hidden entity. Default 8.
    pub max_passages: usize,
    /// Largest share of the related passages that may be of the pivot's own article; `min_passages` that mention the hidden
    /// entity may be all the same. Default 0.3.
    pub max_same_article: f64,
}

impl Default for EvidenceConfig {
    fn default() -> Self {
        Self { min_passages: 3, max_passages: 8, max_same_article: 0.3 }
    }
}

/// Which mentions of a pivot may be hidden (the paper says "a random entity"; the bounds are ours). Of those that may, every
/// surface is equally likely, however often it stands there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EligibleConfig {
    /// Kinds. Default: names of all kinds, no numbers, dates or amounts (they occur everywhere).
    pub labels: Vec<EntityLabel>,
    /// Fewest characters; ideographs, kana and hangul count twice. Default 3.
    pub min_chars: usize,
    /// Most characters, counted likewise. Default 60.
    pub max_chars: usize,
    /// Surfaces that are never hidden, compared without regard to case.
    pub stop_list: Vec<String>,
    /// Whether a name that stands beside another word with a capital in the pivot or its title, "Atari" in "Atari Games",
    /// is left out as a part of a longer name. Default on; off for languages that write all nouns with capitals.
    pub whole_names: bool,
    /// Whether passages of pages that are called by a date or a number ("1990s", "5 May") are left out as pivots: most
    /// are lists. Default on.
    pub skip_date_pages: bool,
    /// Fewest passages of the corpus that mention the surface. Default 1.
    pub min_passages: u32,
    /// Most passages of the corpus that mention the surface; 0 for no bound. Default 0.
    pub max_passages: u32,
    /// Most words, apart by white space; 0 for no bound. Default 0.
    #[serde(skip_serializing_if = "is_default")]
    pub max_words: usize,
    /// Most occurrences of the surface in its passage; 0 for no bound. Default 0. Of what is hidden, not of what may be asked
    /// for: there chunks are counted, not passages.
    #[serde(skip_serializing_if = "is_default")]
    pub max_in_passage: usize,
    /// Whether a name may begin with a small letter. Default off: most such links are common nouns.
    #[serde(skip_serializing_if = "is_default")]
    pub small_letters: bool,
}

impl Default for EligibleConfig {
    fn default() -> Self {
        use EntityLabel::*;
        Self {
            labels: vec![Person, Norp, Fac, Org, Gpe, Loc, Product, Event, WorkOfArt, Law, Language, Misc, Unknown],
            min_chars: 3,
            max_chars: 60,
            stop_list: Vec::new(),
            whole_names: true,
            skip_date_pages: true,
            min_passages: 1,
            max_passages: 0,
            max_words: 0,
            max_in_passage: 0,
            small_letters: false,
        }
    }
}

impl SynthesizeConfig {
    pub(super) fn validate(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.heldout_fraction) {
            let got = self.heldout_fraction;
            return fault("corpus.synthesize.heldout_fraction", format!("must be at least 0 and below 1, got {got}"));
        }
        if self.num_heldout > 0 && self.heldout_fraction == 0.0 {
            return fault(
                "corpus.synthesize.heldout_fraction",
                "must be above 0 when `corpus.synthesize.num_heldout` is".into(),
            );
        }
        if self.max_tokens < self.min_tokens.max(1) {
            return fault(
                "corpus.synthesize.max_tokens",
                format!(
                    "must be at least `corpus.synthesize.min_tokens` = {}, got {}",
                    self.min_tokens, self.max_tokens
                ),
            );
        }
        if self.separator.chars().any(char::is_alphanumeric) || self.separator.is_empty() {
            return fault("corpus.synthesize.separator", "must be white space or punctuation between passages".into());
        }
        let evidence = &self.evidence;
        if !(0.0..=1.0).contains(&evidence.max_same_article) {
            let got = evidence.max_same_article;
            return fault("corpus.synthesize.evidence.max_same_article", format!("must be between 0 and 1, got {got}"));
        }
        if evidence.min_passages > evidence.max_passages {
            return fault(
                "corpus.synthesize.evidence.min_passages",
                format!(
                    "must be at most `corpus.synthesize.evidence.max_passages` = {}, got {}",
                    evidence.max_passages, evidence.min_passages
                ),
            );
        }
        if self.documents_per_shard == 0 || self.max_attempts == 0 {
            return fault(
                "corpus.synthesize.documents_per_shard",
                "and `corpus.synthesize.max_attempts` must be at least 1".into(),
            );
        }
        if self.eligible.labels.is_empty() {
            return fault("corpus.synthesize.eligible.labels", "is empty: no entity could be hidden".into());
        }
        if self.eligible.max_chars < self.eligible.min_chars.max(1) {
            return fault(
                "corpus.synthesize.eligible.max_chars",
                format!(
                    "must be at least `corpus.synthesize.eligible.min_chars` = {}, got {}",
                    self.eligible.min_chars, self.eligible.max_chars
                ),
            );
        }
        Ok(())
    }
}
