//! Columns of the corpus's tables as plain values.

use arrow::array::{Array, AsArray, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{UInt32Type, UInt64Type};

use crate::{Result, StatisticsError};

/// The columns of a batch, each of the type that its table's version says.
pub(crate) struct Columns<'b>(pub(crate) &'b RecordBatch);

impl<'b> Columns<'b> {
    pub(crate) fn words(&self, name: &'static str) -> Result<&'b StringArray> {
        self.0.column_by_name(name).and_then(|array| array.as_string_opt()).ok_or(StatisticsError::Column { name })
    }

    /// A column of u32 or u64.
    pub(crate) fn numbers(&self, name: &'static str) -> Result<Vec<u64>> {
        let array = self.0.column_by_name(name).ok_or(StatisticsError::Column { name })?;
        if let Some(array) = array.as_primitive_opt::<UInt32Type>() {
            return Ok(array.values().iter().map(|&value| u64::from(value)).collect());
        }
        let array = array.as_primitive_opt::<UInt64Type>().ok_or(StatisticsError::Column { name })?;
        Ok(array.values().to_vec())
    }

    pub(crate) fn lists(&self, name: &'static str) -> Result<Lists<'b>> {
        let list = self.0.column_by_name(name).and_then(|array| array.as_list_opt::<i32>());
        list.map(Lists).ok_or(StatisticsError::Column { name })
    }
}

/// A column of lists of structs.
pub(crate) struct Lists<'b>(&'b ListArray);

impl<'b> Lists<'b> {
    /// Items of each row.
    pub(crate) fn lengths(&self) -> Vec<u64> {
        self.0.value_offsets().windows(2).map(|pair| u64::try_from(pair[1] - pair[0]).unwrap_or(0)).collect()
    }

    /// A field of all items, those of each row after the other.
    pub(crate) fn words(&self, name: &'static str) -> Result<&'b StringArray> {
        let structs = self.0.values().as_struct_opt();
        let field = structs.and_then(|structs| structs.column_by_name(name)).and_then(|array| array.as_string_opt());
        field.ok_or(StatisticsError::Column { name })
    }

    /// The last item's number in each row; 0 where a row has none.
    pub(crate) fn last_numbers(&self, name: &'static str) -> Result<Vec<u64>> {
        let structs = self.0.values().as_struct_opt();
        let field = structs.and_then(|structs| structs.column_by_name(name));
        let values = field.and_then(|array| array.as_primitive_opt::<UInt32Type>());
        let values = values.ok_or(StatisticsError::Column { name })?.values();
        let offsets = self.0.value_offsets().windows(2);
        let last = |pair: &[i32]| {
            let item = (pair[1] > pair[0]).then(|| usize::try_from(pair[1] - 1).ok()).flatten();
            item.and_then(|item| values.get(item)).map_or(0, |&value| u64::from(value))
        };
        Ok(offsets.map(last).collect())
    }
}

/// The words of a column without nulls.
pub(crate) fn words(array: &StringArray) -> impl Iterator<Item = &str> {
    (0..array.len()).map(|row| array.value(row))
}
