//! Paths that commands write to.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

/// A path to write to, which must be UTF-8: configurations, manifests and lists of files are texts that name it.
pub(super) fn written_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.to_str() {
        Some(_) => Ok(path),
        None => Err("the name is not UTF-8, and files that are written tell it as text; name another path"),
    })
}
