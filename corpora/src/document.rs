//! Training documents: the output of synthesis.

use crate::{EntityLabel, Span};

/// The placeholder of the hidden entity of a document (MemTrain §3.1).
pub const MASK: &str = "[MASK]";
/// The placeholder of the hidden entity of an intermediate-recall question (MemTrain §3.2).
pub const TARGET: &str = "[TARGET]";

/// Why a passage is in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassageRole {
    /// The passage whose entity is hidden.
    Pivot,
    /// Retrieved for the pivot.
    Related,
    /// Drawn at random.
    Random,
}

impl PassageRole {
    /// The name in tables, e.g. `pivot`.
    pub const fn as_str(self) -> &'static str {
        match self {
            PassageRole::Pivot => "pivot",
            PassageRole::Related => "related",
            PassageRole::Random => "random",
        }
    }

    /// The role of a name; `None` for an unknown one.
    pub fn from_name(name: &str) -> Option<PassageRole> {
        [PassageRole::Pivot, PassageRole::Related, PassageRole::Random].into_iter().find(|role| role.as_str() == name)
    }
}

/// Which part of the documents: pivots of held-out documents are never pivots of training documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For training.
    Train,
    /// For evaluation.
    Heldout,
}

impl Split {
    /// The name in tables and file names, e.g. `train`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Heldout => "heldout",
        }
    }

    /// The split of a name; `None` for an unknown one.
    pub fn from_name(name: &str) -> Option<Split> {
        [Split::Train, Split::Heldout].into_iter().find(|split| split.as_str() == name)
    }
}

/// A passage's place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPassage {
    /// [`crate::Passage::id`].
    pub passage_id: u64,
    /// Why it is here.
    pub role: PassageRole,
    /// Byte range in [`Document::text`].
    pub span: Span,
}

/// An entity that can be asked for in intermediate recall: never the hidden one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentEntity {
    /// Byte range in [`Document::text`].
    pub span: Span,
    /// The words: `text[span]`.
    pub surface: String,
    /// Kind.
    pub label: EntityLabel,
}

/// A long document with one entity hidden everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Stable name, e.g. `train-00000042`.
    pub id: String,
    /// The masked text the agent reads.
    pub text: String,
    /// The hidden entity, as it stood in the pivot.
    pub answer: String,
    /// Other names of the hidden entity, hidden too when `mask_aliases` is on.
    pub aliases: Vec<String>,
    /// Kind of the hidden entity.
    pub label: EntityLabel,
    /// Passages in the order they stand in the text.
    pub passages: Vec<DocumentPassage>,
    /// Entities for intermediate recall, in order of their spans.
    pub entities: Vec<DocumentEntity>,
    /// Number of `[MASK]` placeholders in the text.
    pub num_masks: u32,
    /// Length of `text` in tokens of the policy's tokenizer.
    pub num_tokens: u32,
    /// Seed of all draws of this document.
    pub seed: u64,
    /// Training or held-out.
    pub split: Split,
}
