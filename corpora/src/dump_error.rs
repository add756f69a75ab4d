//! Errors of reading a dump.

use std::path::PathBuf;

use crate::store::StoreError;

/// A failure while a dump is read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One page is broken. The reader goes on with the next one.
    #[error("`{}`: malformed page {number}{}: {detail}", path.display(), named(title))]
    Malformed {
        /// The dump.
        path: PathBuf,
        /// Which page of the file, from 1.
        number: u64,
        /// Its title, if it got that far.
        title: Option<String>,
        /// What is wrong.
        detail: String,
    },
    /// The file ends before the export does. All whole pages before the cut have been given; this is the last item.
    #[error("`{}` is truncated after {pages} whole pages: {detail}", path.display())]
    Truncated {
        /// The dump.
        path: PathBuf,
        /// Whole pages before the cut.
        pages: u64,
        /// What was found in place of the end.
        detail: String,
    },
    /// The compressed data is damaged in the middle. This is the last item.
    #[error("`{}` is damaged after {pages} whole pages: {detail}", path.display())]
    Damaged {
        /// The dump.
        path: PathBuf,
        /// Whole pages before the damage.
        pages: u64,
        /// What the decompressor says.
        detail: String,
    },
    /// The file is something else than a MediaWiki XML export, or than the form it was taken for.
    #[error("`{}` is not a MediaWiki XML export: {detail}", path.display())]
    NotADump {
        /// The file.
        path: PathBuf,
        /// What it begins with.
        detail: String,
    },
    /// The file is packed in a way that is not read here.
    #[error("`{}` is {format}, which is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is, with its article: `a 7z archive`.
        format: String,
        /// What to do instead.
        hint: &'static str,
    },
}

impl DumpError {
    /// Whether only one page is lost and the reader goes on.
    pub fn is_skippable(&self) -> bool {
        matches!(self, DumpError::Malformed { .. })
    }

    /// The same, after so many whole pages.
    #[cfg(feature = "extracted")]
    pub(crate) fn after(mut self, given: u64) -> DumpError {
        if let DumpError::Truncated { pages, .. } | DumpError::Damaged { pages, .. } = &mut self {
            *pages = given;
        }
        self
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            DumpError::Store(error) => error.hint(),
            DumpError::Malformed { .. } => None,
            DumpError::Truncated { .. } | DumpError::Damaged { .. } => {
                Some("fetch the file again and compare its checksum with the one on the download page")
            }
            DumpError::NotADump { .. } => Some(
                "give a pages-articles file from dumps.wikimedia.org, what Special:Export writes, Parquet or JSON lines with `title` and `text`, or the output of WikiExtractor",
            ),
            DumpError::Unsupported { hint, .. } => Some(hint),
        }
    }
}

fn named(title: &Option<String>) -> String {
    title.as_ref().map_or_else(String::new, |title| format!(" (`{}`)", title.chars().take(80).collect::<String>()))
}
