//! Arrow columns from Rust values and back, for the tables of this package.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, ListArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use memtrain_corpora::store::RowError;

/// A column that is never null.
pub(crate) fn required(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

/// The type of a list whose items are never null.
pub(crate) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

pub(crate) fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(crate) fn numbers<T: ArrowPrimitiveType>(values: impl Iterator<Item = T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(values))
}

/// A list column: `lengths` says how many of `items` each row takes.
pub(crate) fn list(lengths: impl Iterator<Item = usize>, items: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", items.data_type().clone(), false));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), items, None))
}

/// A struct column, never null itself.
pub(crate) fn structs(fields: &Fields, arrays: Vec<ArrayRef>) -> ArrayRef {
    Arc::new(StructArray::new(fields.clone(), arrays, None))
}

/// The columns of a batch, or those of the items of a list of structs, by name.
pub(crate) struct Columns<'batch> {
    names: Vec<&'batch str>,
    arrays: &'batch [ArrayRef],
}

impl<'batch> Columns<'batch> {
    pub(crate) fn of_batch(batch: &'batch RecordBatch) -> Self {
        let names = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        Self { names, arrays: batch.columns() }
    }

    fn typed<T: ?Sized>(
        &self,
        name: &'static str,
        cast: impl Fn(&'batch ArrayRef) -> Option<&'batch T>,
    ) -> Result<&'batch T, RowError> {
        let problem = |row: usize, detail: String| RowError { column: name, row, detail };
        let place = self.names.iter().position(|known| *known == name);
        let array = place.map(|place| &self.arrays[place]).ok_or_else(|| problem(0, "the column is missing".into()))?;
        if let Some(row) = (0..array.len()).find(|&row| array.is_null(row)) {
            return Err(problem(row, "a null where none may be".into()));
        }
        cast(array).ok_or_else(|| problem(0, format!("unexpected type {}", array.data_type())))
    }

    pub(crate) fn strings(&self, name: &'static str) -> Result<&'batch StringArray, RowError> {
        self.typed(name, |array| array.as_string_opt::<i32>())
    }

    pub(crate) fn numbers<T: ArrowPrimitiveType>(&self, name: &'static str) -> Result<&'batch [T::Native], RowError> {
        Ok(self.typed(name, |array| array.as_primitive_opt::<T>())?.values())
    }

    pub(crate) fn structs(&self, name: &'static str) -> Result<Columns<'batch>, RowError> {
        let items = self.typed(name, |array| array.as_struct_opt())?;
        let names = items.fields().iter().map(|field| field.name().as_str()).collect();
        Ok(Columns { names, arrays: items.columns() })
    }

    /// For each row the range of its items, and all items.
    fn list(&self, name: &'static str) -> Result<(Ranges<'batch>, &'batch ArrayRef), RowError> {
        let list = self.typed(name, |array| array.as_list_opt::<i32>())?;
        Ok((Ranges(list.value_offsets()), list.values()))
    }

    pub(crate) fn list_of_strings(
        &self,
        name: &'static str,
    ) -> Result<(Ranges<'batch>, &'batch StringArray), RowError> {
        let (ranges, items) = self.list(name)?;
        Ok((ranges, items.as_string_opt::<i32>().ok_or_else(|| unexpected(name, items))?))
    }

    pub(crate) fn list_of_numbers<T: ArrowPrimitiveType>(
        &self,
        name: &'static str,
    ) -> Result<(Ranges<'batch>, &'batch [T::Native]), RowError> {
        let (ranges, items) = self.list(name)?;
        Ok((ranges, items.as_primitive_opt::<T>().ok_or_else(|| unexpected(name, items))?.values()))
    }

    pub(crate) fn list_of_structs(&self, name: &'static str) -> Result<(Ranges<'batch>, Columns<'batch>), RowError> {
        let (ranges, items) = self.list(name)?;
        let items = items.as_struct_opt().ok_or_else(|| unexpected(name, items))?;
        let names = items.fields().iter().map(|field| field.name().as_str()).collect();
        Ok((ranges, Columns { names, arrays: items.columns() }))
    }
}

fn unexpected(name: &'static str, items: &ArrayRef) -> RowError {
    RowError { column: name, row: 0, detail: format!("unexpected items of type {}", items.data_type()) }
}

/// Where the items of each row of a list column lie.
pub(crate) struct Ranges<'batch>(&'batch [i32]);

impl Ranges<'_> {
    pub(crate) fn of(&self, row: usize) -> Range<usize> {
        // Arrow guarantees offsets to be ascending and not negative.
        self.0[row].max(0) as usize..self.0[row + 1].max(0) as usize
    }
}

/// The strings of one row of a list of strings.
pub(crate) fn string_items(items: &StringArray, range: Range<usize>) -> Vec<String> {
    range.map(|item| items.value(item).to_owned()).collect()
}
