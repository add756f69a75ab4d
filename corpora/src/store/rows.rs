//! The tables of the corpus, one file each. Columns, versions and units are written down in the crate's `README.md`.

mod articles;
mod documents;
mod entities;
mod passages;
mod redirects;

pub use passages::number_passages;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Fields};

use super::RowError;
use super::columns::{Columns, Ranges, list, list_of, required, strings, structs, u32s};
use crate::scalar::ScalarIndex;
use crate::{Link, Span};

/// Byte range to scalar offsets, or an error that names the column.
fn to_scalars(index: &ScalarIndex, span: &Span, column: &'static str, row: usize) -> Result<(u32, u32), RowError> {
    index.to_scalars(span).ok_or_else(|| RowError {
        column,
        row,
        detail: format!("{}..{} is no byte range of the text", span.start, span.end),
    })
}

/// Scalar offsets to a byte range, or an error that names the column.
fn to_bytes(index: &ScalarIndex, start: u32, end: u32, column: &'static str, row: usize) -> Result<Span, RowError> {
    index.to_bytes(start, end).ok_or_else(|| RowError {
        column,
        row,
        detail: format!("{start}..{end} is no character range of the text"),
    })
}

fn link_fields() -> Fields {
    Fields::from(vec![
        required("char_start", DataType::UInt32),
        required("char_end", DataType::UInt32),
        required("target", DataType::Utf8),
    ])
}

fn links_type() -> DataType {
    list_of(DataType::Struct(link_fields()))
}

/// The `links` column of articles and passages: `rows` gives for each row its text and its links.
fn links_column<'a>(rows: impl Iterator<Item = (&'a str, &'a [Link])> + Clone) -> Result<ArrayRef, RowError> {
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for (row, (text, links)) in rows.clone().enumerate() {
        let index = ScalarIndex::new(text);
        for link in links {
            let (start, end) = to_scalars(&index, &link.span, "links", row)?;
            starts.push(start);
            ends.push(end);
        }
    }
    let targets = strings(rows.clone().flat_map(|(_, links)| links).map(|link| link.target.as_str()));
    let items = structs(&link_fields(), vec![u32s(starts.into_iter()), u32s(ends.into_iter()), targets]);
    Ok(list(rows.map(|(_, links)| links.len()), items))
}

/// Reads the `links` column.
struct LinkColumn<'batch> {
    ranges: Ranges<'batch>,
    starts: &'batch [u32],
    ends: &'batch [u32],
    targets: &'batch arrow::array::StringArray,
}

impl<'batch> LinkColumn<'batch> {
    fn new(columns: &Columns<'batch>) -> Result<Self, RowError> {
        let (ranges, items) = columns.list_of_structs("links")?;
        Ok(LinkColumn {
            ranges,
            starts: items.u32s("char_start")?,
            ends: items.u32s("char_end")?,
            targets: items.strings("target")?,
        })
    }

    fn row(&self, row: usize, index: &ScalarIndex) -> Result<Vec<Link>, RowError> {
        self.ranges
            .of(row)
            .map(|item| {
                let span = to_bytes(index, self.starts[item], self.ends[item], "links", row)?;
                Ok(Link { span, target: self.targets.value(item).to_owned() })
            })
            .collect()
    }
}
