//! Parquet tables with `id`, `url`, `title` and `text`.

use std::path::{Path, PathBuf};

use super::{Fields, ID, Markup, TEXT, Text, malformed};
use crate::dump::DumpError;
use crate::store::{ColumnKind, StoreError, TextColumns, text_columns};

struct Rows {
    path: PathBuf,
    rows: TextColumns,
    markup: Markup,
    number: u64,
}

/// Opens the file; one without a column of titles or of texts is refused, and one where they hold something else.
pub(super) fn rows(path: &Path) -> Result<impl Iterator<Item = Result<Text, DumpError>> + use<>, DumpError> {
    let failed = |error| match error {
        StoreError::Unreadable { path, detail } => DumpError::Damaged { path, pages: 0, detail },
        error => DumpError::Store(error),
    };
    let table = text_columns(path, &[]).map_err(failed)?;
    let named = |names: &[&'static str]| names.iter().copied().find(|name| table.kind(name).is_some());
    let (id, title, text) = (named(&ID), named(&["title"]), named(&TEXT));
    let refused = |detail: String| Err(DumpError::NotADump { path: path.to_path_buf(), detail });
    let (Some(title), Some(text)) = (title, text) else {
        let missing = if title.is_none() { "title" } else { "text" };
        return refused(format!("it is a Parquet table without a column `{missing}`; {}", columns(&table, missing)));
    };
    for name in [id, Some("url"), Some(title), Some(text)].into_iter().flatten() {
        let kind = match table.kind(name) {
            None | Some(ColumnKind::Text) => continue,
            Some(ColumnKind::Texts) if name == text => continue,
            Some(ColumnKind::Number) if name != text => continue,
            Some(ColumnKind::Texts) => "a list of texts".to_owned(),
            Some(ColumnKind::Number) => "a number".to_owned(),
            Some(ColumnKind::Struct(_)) => "a struct".to_owned(),
            Some(ColumnKind::Other(kind)) => format!("of type `{kind}`"),
        };
        return refused(format!("its column `{name}` is {kind}, not text; {}", columns(&table, name)));
    }
    let markup = if text == "markdown" { Markup::Markdown } else { Markup::Plain };
    let rows = text_columns(path, &[id.unwrap_or("id"), "url", title, text]).map_err(failed)?;
    Ok(Rows { path: path.to_path_buf(), rows, markup, number: 0 })
}

/// The columns of a table, and how to have the one that is looked for beside them if it lies inside one.
fn columns(table: &TextColumns, wanted: &str) -> String {
    let mut listed = Vec::new();
    let mut around = None;
    for (name, kind) in table.columns() {
        match kind {
            ColumnKind::Struct(fields) => {
                if fields.iter().any(|field| field == wanted) {
                    around = Some(name.to_owned());
                }
                let fields: Vec<String> = fields.iter().map(|field| format!("`{name}.{field}`")).collect();
                listed.push(format!("`{name}` with {}", fields.join(" and ")));
            }
            _ => listed.push(format!("`{name}`")),
        }
    }
    let listed = format!("its columns are {}", listed.join(", "));
    match around {
        Some(name) => format!("{listed}: select the fields of `{name}` as columns of their own"),
        None => listed,
    }
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
                let fields = Fields { id: next(), url: next(), title: next(), text: next(), markup: self.markup };
                fields.text().map_err(|(title, detail)| malformed(&self.path, self.number, title, detail))
            }
        })
    }
}
