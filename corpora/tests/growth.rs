//! Files of others that are small and would come to much in memory.

use std::io;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, ListArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use memtrain_corpora::store::{self, StoreError};
use memtrain_corpora::unpack;
use parquet::arrow::ArrowWriter;

/// A table of one row: a list of so many objects with one field of that name.
fn objects(name: &str, number: usize) -> Vec<u8> {
    let fields = Fields::from(vec![Field::new(name, DataType::Int32, false)]);
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![7; number]));
    let items = StructArray::new(fields.clone(), vec![numbers], None);
    let item = Arc::new(Field::new("item", DataType::Struct(fields), false));
    let list = ListArray::new(item, OffsetBuffer::from_lengths([number]), Arc::new(items), None);
    let batch = RecordBatch::try_from_iter([("notes", Arc::new(list) as ArrayRef)]).unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

#[test]
fn names_that_each_object_repeats_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.parquet");
    let read = |table: Vec<u8>| {
        store::write_atomic(&path, table).unwrap();
        store::json_rows(&path)?.next().unwrap()
    };
    let row = read(objects("note", 1000)).unwrap();
    assert_eq!(row["notes"].as_array().unwrap().len(), 1000);
    assert_eq!(row["notes"][999], serde_json::json!({"note": 7}));
    let error = read(objects(&"n".repeat(100_000), 20_000)).unwrap_err();
    assert!(error.to_string().contains("1 GiB as JSON"), "{error}");
}

#[test]
fn packed_text_that_grows_without_measure_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.jsonl.zst");
    let read = |bytes: u64| {
        let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
        io::copy(&mut io::Read::take(io::repeat(b'\n'), bytes), &mut packed).unwrap();
        store::write_atomic(&path, packed.finish().unwrap()).unwrap();
        io::copy(&mut unpack::open(&path)?, &mut io::sink()).map_err(|error| StoreError::io("read", &path, error))
    };
    assert_eq!(read(256 << 20).unwrap(), 256 << 20);
    let StoreError::Io { source, .. } = read(320 << 20).unwrap_err() else { panic!("it is read and then refused") };
    assert!(source.to_string().contains("200 times"), "{source}");
}
