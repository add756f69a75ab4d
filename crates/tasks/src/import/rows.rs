//! The rows of a file, whatever its form.

use std::fmt;
use std::path::Path;

use memtrain_corpora::{json, store, unpack};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::{Map, Value};

use super::is_parquet;
use crate::TaskError;

/// Where a row stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Line of JSON lines, from 1.
    Line(usize),
    /// Entry of an array or row of a table, from 1.
    Row(usize),
}

impl Place {
    /// A name for a row that has none.
    pub(super) fn id(&self, source: &str) -> String {
        let (Self::Line(number) | Self::Row(number)) = self;
        format!("{source}-{:06}", number - 1)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(formatter, "line {number}"),
            Self::Row(number) => write!(formatter, "row {number}"),
        }
    }
}

/// The largest set that is read as text. Larger ones are read as Parquet, some rows at a time.
const MAX_TEXT_BYTES: u64 = 8 << 30;

/// A file of rows.
pub(super) enum Rows {
    Parquet,
    Text(String),
}

type Object = Map<String, Value>;

impl Rows {
    pub(super) fn open(path: &Path) -> Result<Self, TaskError> {
        Ok(if is_parquet(path)? { Self::Parquet } else { Self::Text(unpack::read_to_string(path, MAX_TEXT_BYTES)?) })
    }

    /// Size of what is read: of the text, or of the table.
    pub(super) fn bytes(&self, path: &Path) -> Result<u64, TaskError> {
        match self {
            Self::Parquet => Ok(store::len(path)?),
            Self::Text(text) => Ok(text.len() as u64),
        }
    }

    /// Hands over each row with its place; a row that is no JSON object comes as what is wrong with it.
    pub(super) fn each(
        self,
        path: &Path,
        mut row: impl FnMut(Place, Result<Object, String>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let text = match self {
            Self::Parquet => {
                for (object, number) in store::json_rows(path)?.zip(1..) {
                    row(Place::Row(number), Ok(object?))?;
                }
                return Ok(());
            }
            Self::Text(text) => text,
        };
        let text = json::mended(text.trim_start_matches('\u{feff}').trim());
        let text = text.as_ref();
        if text.starts_with('[') {
            return each_entry(path, text, row);
        }
        if text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
            if has_entries(text) {
                return each_entry(path, text, row);
            }
            return row(Place::Row(1), object(text));
        }
        for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
            row(Place::Line(number), object(line))?;
        }
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

fn object(text: &str) -> Result<Object, String> {
    json::object(text).map_err(|error| json::problem(&error, text))
}

/// Key of the rows in a set that is one object: TriviaQA's.
const ENTRIES: &str = "Data";

/// Whether an object has a list of rows.
fn has_entries(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Outer {
        #[serde(rename = "Data")]
        _entries: Vec<IgnoredAny>,
    }
    text.contains("\"Data\"") && serde_json::from_str::<Outer>(text).is_ok()
}

/// The entries of one array, or of that in one object under [`ENTRIES`]. Only one entry at a time is taken apart, so a large set costs
/// its text and little more.
fn each_entry(
    path: &Path,
    text: &str,
    row: impl FnMut(Place, Result<Object, String>) -> Result<(), TaskError>,
) -> Result<(), TaskError> {
    struct Entries<F> {
        row: F,
        number: usize,
        failed: Option<TaskError>,
    }
    impl<'text, F> Visitor<'text> for &mut Entries<F>
    where
        F: FnMut(Place, Result<Object, String>) -> Result<(), TaskError>,
    {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an array of objects")
        }

        fn visit_map<A: MapAccess<'text>>(self, mut fields: A) -> Result<(), A::Error> {
            while let Some(key) = fields.next_key::<String>()? {
                if key == ENTRIES {
                    fields.next_value_seed(&mut *self)?;
                } else {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
            Ok(())
        }

        fn visit_seq<A: SeqAccess<'text>>(self, mut entries: A) -> Result<(), A::Error> {
            while let Some(entry) = json::next_entry(&mut entries)? {
                self.number += 1;
                let entry = entry.and_then(|entry| match entry {
                    Value::Object(entry) => Ok(entry),
                    other => Err(format!("an object was expected, not `{}`", shortened(&other.to_string()))),
                });
                if let Err(error) = (self.row)(Place::Row(self.number), entry) {
                    self.failed = Some(error);
                    return Err(de::Error::custom("stopped"));
                }
            }
            Ok(())
        }
    }
    impl<'text, F> DeserializeSeed<'text> for &mut Entries<F>
    where
        F: FnMut(Place, Result<Object, String>) -> Result<(), TaskError>,
    {
        type Value = ();

        fn deserialize<D: Deserializer<'text>>(self, reader: D) -> Result<(), D::Error> {
            reader.deserialize_any(self)
        }
    }
    let mut entries = Entries { row, number: 0, failed: None };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = (&mut reader).deserialize_any(&mut entries).and_then(|()| reader.end());
    match (entries.failed, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(TaskError::Line {
            path: path.to_path_buf(),
            line: error.line(),
            detail: format!("the JSON array breaks off: {error}"),
        }),
        (None, Ok(())) => Ok(()),
    }
}
