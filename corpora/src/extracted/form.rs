//! Format detection of an input by its first bytes.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dump::DumpError;
use crate::store::{self, StoreError};
use crate::unpack::{peek, unpack};

/// The form of an input of ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A MediaWiki XML export.
    MediaWiki,
    /// A Parquet table with `title` and `text`.
    Parquet,
    /// A JSON object a line with `title` and `text`.
    JsonLines,
    /// `<doc id=… url=… title=…>` elements, as WikiExtractor writes them.
    Docs,
}

/// Tells what a file is, whatever its name says and however it is packed. What cannot be read is an error that says what to do.
pub fn recognise(path: &Path) -> Result<Form, DumpError> {
    let failed = |source| DumpError::Store(StoreError::io("read", path, source));
    let (head, file) = peek(store::open(path)?, 4).map_err(failed)?;
    if head == b"PAR1" {
        return Ok(Form::Parquet);
    }
    let (head, _) = peek(unpack(file, path)?.bytes, 512).map_err(failed)?;
    let head = String::from_utf8_lossy(&head);
    let head = head.trim_start_matches(|character: char| character.is_whitespace() || character == '\u{feff}');
    if head.contains("<mediawiki") {
        return Ok(Form::MediaWiki);
    }
    if head.starts_with("<doc ") {
        return Ok(Form::Docs);
    }
    if head.starts_with('{') {
        return Ok(Form::JsonLines);
    }
    if head.starts_with('[') {
        return Err(DumpError::Unsupported {
            path: path.to_path_buf(),
            format: "one JSON array".to_owned(),
            hint: "make it an object a line: `jq -c '.[]' FILE > FILE.jsonl`",
        });
    }
    if head.starts_with("PAR1") {
        return Err(DumpError::Unsupported {
            path: path.to_path_buf(),
            format: "a packed Parquet table".to_owned(),
            hint: "unpack it first: Parquet is compressed in itself",
        });
    }
    // Everything else is for the reader of exports to refuse: it looks further.
    crate::dump::open(path).map(|_| Form::MediaWiki)
}
