//! Names that several stages know: those of the stages, of a tokenizer's files, of counts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Counts of rejected drafts have a cause behind this.
pub(crate) const REJECTED: &str = "rejected_";

/// The tokenizer itself, in the folder of its stage.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Files of a Hugging Face directory that belong to its tokenizer.
pub(crate) const TOKENIZER_FILES: [&str; 7] = [
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
];

/// The stages, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
    /// Dumps → articles, redirects, passages.
    Ingest,
    /// Passages → mentions.
    Entities,
    /// Passages → the policy's tokenizer.
    Tokenizer,
    /// Passages → retrieval index.
    Index,
    /// Everything → training documents.
    Synthesize,
}

impl StageName {
    /// All stages, in order.
    pub const ALL: [Self; 5] = [Self::Ingest, Self::Entities, Self::Tokenizer, Self::Index, Self::Synthesize];

    /// The name as it is typed, and as the stage's folder is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Entities => "entities",
            Self::Tokenizer => "tokenizer",
            Self::Index => "index",
            Self::Synthesize => "synthesize",
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for StageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|stage| format!("`{stage}`")).collect();
            format!("no stage `{text}`; the stages are {}", names.join(", "))
        })
    }
}
