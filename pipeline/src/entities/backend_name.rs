//! Names of the back-ends for entities.

use serde::{Deserialize, Serialize};

/// The back-end that finds the mentions, by its name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendName {
    /// Links, a gazetteer of titles, redirects and anchors, and rules; no model.
    Links,
    /// A token-classification model from a Hugging Face directory.
    Bert,
    /// The pipeline of the `rust-bert` crate; only in builds with the feature of that name.
    RustBert,
    /// A file of what another recognizer has found.
    Spans,
}

impl BackendName {
    /// All names, the default first.
    pub const ALL: [Self; 4] = [Self::Links, Self::Bert, Self::RustBert, Self::Spans];

    /// As in configurations and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Bert => "bert",
            Self::RustBert => "rust-bert",
            Self::Spans => "spans",
        }
    }
}
