//! Parquet tables with `id`, `url`, `title` and `text`.

use std::path::{Path, PathBuf};

use super::{Fields, Text, malformed};
use crate::dump::DumpError;
use crate::store::{StoreError, TextColumns, text_columns};

struct Rows {
    path: PathBuf,
    rows: TextColumns,
    number: u64,
}

/// Opens the file; one without a column `title` or `text` is refused.
pub(super) fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Text, DumpError>> + use<>, DumpError> {
    let rows = text_columns(path, &["id", "url", "title", "text"]).map_err(|error| match error {
        StoreError::Corrupt { path, detail } => DumpError::Damaged { path, pages: 0, detail },
        error => DumpError::Store(error),
    })?;
    if let Some(missing) = rows.missing().into_iter().find(|&name| matches!(name, "title" | "text")) {
        let known: Vec<String> = rows.known().iter().map(|name| format!("`{name}`")).collect();
        let detail =
            format!("it is a Parquet table without a column `{missing}`; its columns are {}", known.join(", "));
        return Err(DumpError::NotADump { path: path.to_path_buf(), detail });
    }
    Ok(Rows { path: path.to_path_buf(), rows, number: 0 })
}

impl Iterator for Rows {
    type Item = Result<Text, DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        self.number += 1;
        Some(match row {
            Err(error) => {
                Err(DumpError::Damaged { path: self.path.clone(), pages: self.number - 1, detail: error.to_string() })
            }
            Ok(row) => {
                let mut row = row.into_iter();
                let mut next = || row.next().flatten();
                let fields = Fields { id: next(), url: next(), title: next(), text: next() };
                fields.text().map_err(|(title, detail)| malformed(&self.path, self.number, title, detail))
            }
        })
    }
}
