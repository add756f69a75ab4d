//! Places in the text of a configuration: of a key's value, and of a byte as file, line and column.

use std::path::Path;

use toml::de::DeTable;

/// The byte at which a key's value begins.
pub(super) fn value_place(text: &str, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let mut value = table.get_ref().get(first)?;
    for part in rest.split('.').filter(|part| !part.is_empty()) {
        value = value.get_ref().get(part)?;
    }
    Some(value.span().start)
}

/// File, line and column of a byte; the name alone for an option.
pub(super) fn place(path: &Path, text: &str, byte: Option<usize>) -> String {
    match byte {
        Some(byte) if !is_option(path) => {
            let (line, column) = position(text, byte);
            format!("{}:{line}:{column}", path.display())
        }
        _ => path.display().to_string(),
    }
}

/// Whether a text has the name of an option instead of a file.
pub(super) fn is_option(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"--")
}

/// A hint to the line of a byte.
pub(super) fn look_at(text: &str, byte: usize) -> Option<String> {
    let line = text.lines().nth(text[..byte].matches('\n').count())?.trim();
    (!line.is_empty()).then(|| format!("look at `{line}`"))
}

/// Line and column, both from 1, the column in characters.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
