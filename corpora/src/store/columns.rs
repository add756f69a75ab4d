//! Arrow columns from Rust values and back: what the row types of the corpus need, no more.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, RecordBatch, StringArray, StructArray, UInt8Array, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, UInt8Type, UInt32Type, UInt64Type};

use super::RowError;

/// A column that is never null.
pub(super) fn required(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

/// The type of a list whose items are never null.
pub(super) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

pub(super) fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(super) fn optional_strings<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

pub(super) fn u64s(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(values))
}

pub(super) fn u32s(values: impl Iterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

pub(super) fn u8s(values: impl Iterator<Item = u8>) -> ArrayRef {
    Arc::new(UInt8Array::from_iter_values(values))
}

/// A list column: `lengths` says how many of `items` each row takes.
pub(super) fn list(lengths: impl Iterator<Item = usize>, items: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", items.data_type().clone(), false));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), items, None))
}

/// A struct column of the given fields, never null itself.
pub(super) fn structs(fields: &Fields, arrays: Vec<ArrayRef>) -> ArrayRef {
    Arc::new(StructArray::new(fields.clone(), arrays, None))
}

/// Reads the columns of a batch whose schema has been checked, by name; what is missing or null is a [`RowError`].
pub(super) struct Columns<'batch> {
    lookup: Lookup<'batch>,
}

enum Lookup<'batch> {
    Batch(&'batch RecordBatch),
    Struct(&'batch StructArray),
}

impl<'batch> Columns<'batch> {
    pub(super) fn of_batch(batch: &'batch RecordBatch) -> Self {
        Columns { lookup: Lookup::Batch(batch) }
    }

    fn array(&self, name: &'static str) -> Result<&'batch ArrayRef, RowError> {
        let found = match &self.lookup {
            Lookup::Batch(batch) => batch.column_by_name(name),
            Lookup::Struct(array) => array.column_by_name(name),
        };
        found.ok_or_else(|| RowError { column: name, row: 0, detail: "the column is missing".into() })
    }

    /// The array under the name, checked to be of the wanted kind and without nulls.
    fn typed<T>(
        &self,
        name: &'static str,
        cast: impl Fn(&'batch ArrayRef) -> Option<&'batch T>,
    ) -> Result<&'batch T, RowError> {
        let array = self.array(name)?;
        if array.null_count() > 0 {
            let row = (0..array.len()).find(|&row| array.is_null(row)).unwrap_or(0);
            return Err(RowError { column: name, row, detail: "a null where none may be".into() });
        }
        cast(array).ok_or_else(|| unexpected_type(name, array))
    }

    pub(super) fn strings(&self, name: &'static str) -> Result<&'batch StringArray, RowError> {
        self.typed(name, |array| array.as_string_opt::<i32>())
    }

    pub(super) fn optional_strings(&self, name: &'static str) -> Result<&'batch StringArray, RowError> {
        let array = self.array(name)?;
        array.as_string_opt::<i32>().ok_or_else(|| unexpected_type(name, array))
    }

    pub(super) fn u64s(&self, name: &'static str) -> Result<&'batch [u64], RowError> {
        Ok(self.typed(name, |array| array.as_primitive_opt::<UInt64Type>())?.values())
    }

    pub(super) fn u32s(&self, name: &'static str) -> Result<&'batch [u32], RowError> {
        Ok(self.typed(name, |array| array.as_primitive_opt::<UInt32Type>())?.values())
    }

    pub(super) fn u8s(&self, name: &'static str) -> Result<&'batch [u8], RowError> {
        Ok(self.typed(name, |array| array.as_primitive_opt::<UInt8Type>())?.values())
    }

    /// A list of structs: for each row its range of items, and the columns of all items.
    pub(super) fn list_of_structs(&self, name: &'static str) -> Result<(Ranges<'batch>, Columns<'batch>), RowError> {
        let list = self.typed(name, |array| array.as_list_opt::<i32>())?;
        let items = list.values().as_struct_opt().ok_or_else(|| unexpected_type(name, list.values()))?;
        Ok((Ranges(list.value_offsets()), Columns { lookup: Lookup::Struct(items) }))
    }

    /// A list of strings: for each row its range of items, and all items.
    pub(super) fn list_of_strings(
        &self,
        name: &'static str,
    ) -> Result<(Ranges<'batch>, &'batch StringArray), RowError> {
        let list = self.typed(name, |array| array.as_list_opt::<i32>())?;
        let items = list.values().as_string_opt::<i32>().ok_or_else(|| unexpected_type(name, list.values()))?;
        Ok((Ranges(list.value_offsets()), items))
    }
}

/// Where the items of each row of a list column lie.
pub(super) struct Ranges<'batch>(&'batch [i32]);

impl Ranges<'_> {
    pub(super) fn of(&self, row: usize) -> std::ops::Range<usize> {
        // Arrow guarantees offsets to be ascending and not negative.
        self.0[row].max(0) as usize..self.0[row + 1].max(0) as usize
    }
}

fn unexpected_type(name: &'static str, array: &ArrayRef) -> RowError {
    RowError { column: name, row: 0, detail: format!("unexpected type {}", array.data_type()) }
}

/// Copies the items of one row of a list of strings.
pub(super) fn string_items(items: &StringArray, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|item| items.value(item).to_owned()).collect()
}

/// A number kept as a string column, as page ids are.
pub(super) fn parse_u64(text: &str, column: &'static str, row: usize) -> Result<u64, RowError> {
    text.parse().map_err(|_| RowError { column, row, detail: format!("`{text}` is not a number") })
}
