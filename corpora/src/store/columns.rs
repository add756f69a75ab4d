//! Arrow columns from Rust values and back, for the tables of the workspace.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, UInt8Type, UInt32Type, UInt64Type};

use super::RowError;

/// A column that is never null.
pub fn required(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

/// The type of a list whose items are never null.
pub fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

/// A column of strings, none of them null.
pub fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A column of strings that may be null.
pub fn optional_strings<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

/// A column of numbers, none of them null.
pub fn numbers<T: ArrowPrimitiveType>(values: impl Iterator<Item = T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(values))
}

/// [`numbers`] of `u64`.
pub fn u64s(values: impl Iterator<Item = u64>) -> ArrayRef {
    numbers::<UInt64Type>(values)
}

/// [`numbers`] of `u32`.
pub fn u32s(values: impl Iterator<Item = u32>) -> ArrayRef {
    numbers::<UInt32Type>(values)
}

/// [`numbers`] of `u8`.
pub fn u8s(values: impl Iterator<Item = u8>) -> ArrayRef {
    numbers::<UInt8Type>(values)
}

/// A list column: `lengths` says how many of `items` each row takes.
pub fn list(lengths: impl Iterator<Item = usize>, items: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", items.data_type().clone(), false));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), items, None))
}

/// A struct column of the given fields, never null itself.
pub fn structs(fields: &Fields, arrays: Vec<ArrayRef>) -> ArrayRef {
    Arc::new(StructArray::new(fields.clone(), arrays, None))
}

/// The columns of a batch, or those of the items of a list of structs, by name. What is missing, null where nothing may
/// be null, or of another type is a [`RowError`] that names the column.
pub struct Columns<'batch> {
    names: Vec<&'batch str>,
    arrays: &'batch [ArrayRef],
}

impl<'batch> Columns<'batch> {
    /// The columns of a batch.
    pub fn of_batch(batch: &'batch RecordBatch) -> Self {
        let names = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        Self { names, arrays: batch.columns() }
    }

    fn of_struct(array: &'batch StructArray) -> Self {
        let names = array.fields().iter().map(|field| field.name().as_str()).collect();
        Self { names, arrays: array.columns() }
    }

    fn array(&self, name: &'static str) -> Result<&'batch ArrayRef, RowError> {
        let place = self.names.iter().position(|known| *known == name);
        place.map(|place| &self.arrays[place]).ok_or_else(|| RowError {
            column: name,
            row: 0,
            detail: "the column is missing".into(),
        })
    }

    /// The array under the name, checked to be of the wanted kind and without nulls.
    fn typed<T: ?Sized>(
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

    /// Strings, none of them null.
    ///
    /// # Errors
    /// If the column is missing, holds a null, or is no column of strings.
    pub fn strings(&self, name: &'static str) -> Result<&'batch StringArray, RowError> {
        self.typed(name, |array| array.as_string_opt::<i32>())
    }

    /// Strings that may be null.
    ///
    /// # Errors
    /// If the column is missing or is no column of strings.
    pub fn optional_strings(&self, name: &'static str) -> Result<&'batch StringArray, RowError> {
        let array = self.array(name)?;
        array.as_string_opt::<i32>().ok_or_else(|| unexpected_type(name, array))
    }

    /// Numbers, none of them null.
    ///
    /// # Errors
    /// If the column is missing, holds a null, or is of another type.
    pub fn numbers<T: ArrowPrimitiveType>(&self, name: &'static str) -> Result<&'batch [T::Native], RowError> {
        Ok(self.typed(name, |array| array.as_primitive_opt::<T>())?.values())
    }

    /// [`Columns::numbers`] of `u64`.
    ///
    /// # Errors
    /// As there.
    pub fn u64s(&self, name: &'static str) -> Result<&'batch [u64], RowError> {
        self.numbers::<UInt64Type>(name)
    }

    /// [`Columns::numbers`] of `u32`.
    ///
    /// # Errors
    /// As there.
    pub fn u32s(&self, name: &'static str) -> Result<&'batch [u32], RowError> {
        self.numbers::<UInt32Type>(name)
    }

    /// [`Columns::numbers`] of `u8`.
    ///
    /// # Errors
    /// As there.
    pub fn u8s(&self, name: &'static str) -> Result<&'batch [u8], RowError> {
        self.numbers::<UInt8Type>(name)
    }

    /// Truth values, none of them null.
    ///
    /// # Errors
    /// If the column is missing, holds a null, or is of another type.
    pub fn booleans(&self, name: &'static str) -> Result<&'batch BooleanArray, RowError> {
        self.typed(name, |array| array.as_boolean_opt())
    }

    /// The columns of a struct.
    ///
    /// # Errors
    /// If the column is missing, holds a null, or is no struct.
    pub fn structs(&self, name: &'static str) -> Result<Columns<'batch>, RowError> {
        Ok(Self::of_struct(self.typed(name, |array| array.as_struct_opt())?))
    }

    /// A list: for each row the range of its items, and all items.
    fn list(&self, name: &'static str) -> Result<(Ranges<'batch>, &'batch ArrayRef), RowError> {
        let list = self.typed(name, |array| array.as_list_opt::<i32>())?;
        Ok((Ranges(list.value_offsets()), list.values()))
    }

    /// A list of strings: for each row the range of its items, and all items.
    ///
    /// # Errors
    /// If the column is missing, holds a null, or is no list of strings.
    pub fn list_of_strings(&self, name: &'static str) -> Result<(Ranges<'batch>, &'batch StringArray), RowError> {
        let (ranges, items) = self.list(name)?;
        Ok((ranges, items.as_string_opt::<i32>().ok_or_else(|| unexpected_items(name, items))?))
    }

    /// A list of numbers: for each row the range of its items, and all items.
    ///
    /// # Errors
    /// If the column is missing, holds a null, or is no list of such numbers.
    pub fn list_of_numbers<T: ArrowPrimitiveType>(
        &self,
        name: &'static str,
    ) -> Result<(Ranges<'batch>, &'batch [T::Native]), RowError> {
        let (ranges, items) = self.list(name)?;
        Ok((ranges, items.as_primitive_opt::<T>().ok_or_else(|| unexpected_items(name, items))?.values()))
    }

    /// A list of structs: for each row the range of its items, and the columns of all items.
    ///
    /// # Errors
    /// If the column is missing, holds a null, or is no list of structs.
    pub fn list_of_structs(&self, name: &'static str) -> Result<(Ranges<'batch>, Columns<'batch>), RowError> {
        let (ranges, items) = self.list(name)?;
        let items = items.as_struct_opt().ok_or_else(|| unexpected_items(name, items))?;
        Ok((ranges, Self::of_struct(items)))
    }
}

/// Where the items of each row of a list column lie.
pub struct Ranges<'batch>(&'batch [i32]);

impl Ranges<'_> {
    /// Where the items of a row lie among all items.
    pub fn of(&self, row: usize) -> Range<usize> {
        // Arrow guarantees offsets to be ascending and not negative.
        self.0[row].max(0) as usize..self.0[row + 1].max(0) as usize
    }
}

fn unexpected_type(name: &'static str, array: &ArrayRef) -> RowError {
    RowError { column: name, row: 0, detail: format!("unexpected type {}", array.data_type()) }
}

fn unexpected_items(name: &'static str, items: &ArrayRef) -> RowError {
    RowError { column: name, row: 0, detail: format!("unexpected items of type {}", items.data_type()) }
}

/// Copies the items of one row of a list of strings.
pub fn string_items(items: &StringArray, range: Range<usize>) -> Vec<String> {
    range.map(|item| items.value(item).to_owned()).collect()
}

/// A number kept as a string column, as page ids are.
///
/// # Errors
/// If the text is no number.
pub fn parse_u64(text: &str, column: &'static str, row: usize) -> Result<u64, RowError> {
    text.parse().map_err(|_| RowError { column, row, detail: format!("`{text}` is not a number") })
}
