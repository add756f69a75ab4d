//! Parquet tables that claim more than they hold: an error in little memory and time. And whole tables of every encoding, which are read as
//! they were written.
#![cfg(feature = "tables")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder};
use memtrain_corpora::store::{self, StoreError, json_rows, text_columns};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use proptest::prelude::*;
use serde_json::{Value, json};

// -- A writer that can lie -----------------------------------------------------------------------------------------------

/// A value of Thrift's compact protocol.
#[derive(Clone)]
enum Thrift {
    I32(i64),
    I64(i64),
    Bytes(Vec<u8>),
    List(u8, Vec<Thrift>),
    /// A list that claims so many elements of a kind and has others.
    Claimed(u8, u64, Vec<u8>),
    Struct(Vec<(u8, Thrift)>),
}
use Thrift::{Bytes, Claimed, I32, I64, List, Struct};

const STRUCT: u8 = 12;

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

impl Thrift {
    fn kind(&self) -> u8 {
        match self {
            I32(_) => 5,
            I64(_) => 6,
            Bytes(_) => 8,
            List(..) | Claimed(..) => 9,
            Struct(_) => STRUCT,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            I32(number) | I64(number) => varint(((number << 1) ^ (number >> 63)) as u64, out),
            Bytes(bytes) => {
                varint(bytes.len() as u64, out);
                out.extend(bytes);
            }
            List(kind, items) => {
                out.push(0xF0 | kind);
                varint(items.len() as u64, out);
                items.iter().for_each(|item| item.write(out));
            }
            Claimed(kind, count, bytes) => {
                out.push(0xF0 | kind);
                varint(*count, out);
                out.extend(bytes);
            }
            Struct(fields) => {
                let mut before = 0;
                for (id, value) in fields {
                    out.push((id - before) << 4 | value.kind());
                    value.write(out);
                    before = *id;
                }
                out.push(0);
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

/// A page, and what its header says.
#[derive(Clone)]
struct Page {
    body: Vec<u8>,
    unpacked: i64,
    values: i64,
    encoding: i64,
    is_dictionary: bool,
    version: u8,
}

impl Page {
    fn of(body: Vec<u8>, values: i64, encoding: i64) -> Page {
        Page { unpacked: body.len() as i64, body, values, encoding, is_dictionary: false, version: 1 }
    }

    fn dictionary(texts: &[&[u8]]) -> Page {
        Page { is_dictionary: true, ..Page::of(plain(texts), texts.len() as i64, 0) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (kind, id, inner) = match (self.is_dictionary, self.version) {
            (true, _) => (2, 7, vec![(1, I32(self.values)), (2, I32(0))]),
            (false, 1) => (0, 5, vec![(1, I32(self.values)), (2, I32(self.encoding)), (3, I32(3)), (4, I32(3))]),
            (false, _) => {
                let counts = [(1, self.values), (2, 0), (3, self.values), (4, self.encoding), (5, 0), (6, 0)];
                (3, 8, counts.map(|(id, number)| (id, I32(number))).to_vec())
            }
        };
        let sizes = [(1, kind), (2, self.unpacked), (3, self.body.len() as i64)].map(|(id, number)| (id, I32(number)));
        let mut fields = sizes.to_vec();
        fields.push((id, Struct(inner)));
        Struct(fields).write(out);
        out.extend(&self.body);
    }
}

fn plain(texts: &[&[u8]]) -> Vec<u8> {
    texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes(), *text].concat()).collect()
}

/// A file of text columns, of one row group.
#[derive(Clone)]
struct Table {
    rows: i64,
    /// Nodes of the schema behind the root.
    nodes: Vec<Thrift>,
    children: i64,
    columns: Vec<Vec<Page>>,
    codec: i64,
    groups: usize,
    /// More fields of the footer.
    more: Vec<(u8, Thrift)>,
}

const REQUIRED: i64 = 0;
const REPEATED: i64 = 2;

fn leaf(name: &str, repetition: i64) -> Thrift {
    Struct(vec![(1, I32(6)), (3, I32(repetition)), (4, Bytes(name.as_bytes().to_vec())), (6, I32(0))])
}

fn group(name: &str, children: i64) -> Thrift {
    Struct(vec![(3, I32(REQUIRED)), (4, Bytes(name.as_bytes().to_vec())), (5, I32(children))])
}

impl Table {
    fn new(rows: i64, columns: &[(&str, Vec<Page>)]) -> Table {
        let nodes: Vec<Thrift> = columns.iter().map(|(name, _)| leaf(name, REQUIRED)).collect();
        let pages = columns.iter().map(|(_, pages)| pages.clone()).collect();
        Table { rows, children: nodes.len() as i64, nodes, columns: pages, codec: 0, groups: 1, more: Vec::new() }
    }

    /// Two columns of three texts.
    fn sound() -> Table {
        let texts = |texts: [&[u8]; 3]| vec![Page::of(plain(&texts), 3, 0)];
        Table::new(3, &[("title", texts([b"A", b"B", b"C"])), ("text", texts([b"one", b"two", b"three"]))])
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"PAR1".to_vec();
        let mut chunks = Vec::new();
        for pages in &self.columns {
            let start = out.len() as i64;
            let mut data = start;
            for page in pages {
                page.write(&mut out);
                if page.is_dictionary {
                    data = out.len() as i64;
                }
            }
            let (size, values) = (out.len() as i64 - start, pages.iter().map(|page| page.values).max().unwrap_or(0));
            let mut column = vec![
                (1, I32(6)),
                (2, List(5, vec![I32(0)])),
                (3, List(8, vec![Bytes(b"c".to_vec())])),
                (4, I32(self.codec)),
                (5, I64(values)),
                (6, I64(size)),
                (7, I64(size)),
                (9, I64(data)),
            ];
            if data > start {
                column.push((11, I64(start)));
            }
            chunks.push(Struct(vec![(2, I64(start)), (3, Struct(column))]));
        }
        let mut nodes = vec![Struct(vec![(4, Bytes(b"schema".to_vec())), (5, I32(self.children))])];
        nodes.extend(self.nodes.iter().cloned());
        let row_group = Struct(vec![(1, List(STRUCT, chunks)), (2, I64(9)), (3, I64(self.rows))]);
        let mut file = vec![
            (1, I32(1)),
            (2, List(STRUCT, nodes)),
            (3, I64(self.rows)),
            (4, List(STRUCT, vec![row_group; self.groups])),
        ];
        file.extend(self.more.iter().cloned());
        let footer = Struct(file).bytes();
        out.extend(&footer);
        out.extend((footer.len() as u32).to_le_bytes());
        out.extend(b"PAR1");
        out
    }
}

// -- Reading under limits ------------------------------------------------------------------------------------------------

/// The greatest amount of memory that this process has held.
#[cfg(target_os = "linux")]
fn peak_mib() -> u64 {
    let status = store::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

fn written(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("t.parquet");
    store::write_atomic(&path, bytes).unwrap();
    path
}

/// Reads a table both ways: the number of rows before its end or its error, and the error.
fn read(path: &Path) -> [(usize, Option<StoreError>); 2] {
    fn count<T>(rows: Result<impl Iterator<Item = Result<T, StoreError>>, StoreError>) -> (usize, Option<StoreError>) {
        let mut count = 0;
        match rows {
            Err(error) => (0, Some(error)),
            Ok(rows) => {
                let error = rows.map(|row| row.map(|_| count += 1)).find_map(Result::err);
                (count, error)
            }
        }
    }
    [count(text_columns(path, &["title", "text"])), count(json_rows(path))]
}

/// The errors that a table must end with, each within a second or two and in little memory.
fn refused(what: &str, bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), bytes);
    let begin = Instant::now();
    let errors = read(&path).map(|(rows, error)| error.unwrap_or_else(|| panic!("{what}: {rows} rows, and no error")));
    assert!(begin.elapsed() < Duration::from_secs(10), "{what}: {:?}", begin.elapsed());
    #[cfg(target_os = "linux")]
    assert!(peak_mib() < 1200, "{what}: {} MiB", peak_mib());
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn what_the_lies_are_told_with_is_read_where_it_is_true() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), &Table::sound().bytes());
    let texts: Vec<_> = text_columns(&path, &["text"]).unwrap().map(|row| row.unwrap()[0].clone().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    let nested = Table { children: 1, nodes: [vec![group("g", 2)], Table::sound().nodes].concat(), ..Table::sound() };
    let path = written(folder.path(), &nested.bytes());
    assert_eq!(json_rows(&path).unwrap().next().unwrap().unwrap()["g"], json!({ "title": "A", "text": "one" }));
}

#[test]
fn footers_that_claim_too_much_are_refused() {
    let sound = Table::sound();
    let deep = |levels: usize| {
        let mut nodes = vec![group("d", 1); levels];
        nodes.extend([leaf("x", REQUIRED)]);
        Table { children: 1, nodes, ..sound.clone() }.bytes()
    };
    let more = |id: u8, value: Thrift| Table { more: vec![(id, value)], ..sound.clone() }.bytes();
    let lists = (0..60).fold(I32(0), |inner, _| List(inner.kind(), vec![inner]));
    let cases = [
        ("children", Table { children: i64::from(i32::MAX), ..sound.clone() }.bytes(), "more children"),
        (
            "children beyond 32 bits",
            Table { children: (1 << 33) + 2_000_000_000, ..sound.clone() }.bytes(),
            "more children",
        ),
        ("children below 0", Table { children: -1, ..sound.clone() }.bytes(), "more children"),
        ("depth", deep(100_000), "more than 10,000 nodes"),
        ("some depth", deep(5000), "more than 32 levels"),
        ("groups", Table { groups: 100_000, ..sound.clone() }.bytes(), "more bytes than the file"),
        ("pairs", more(5, Claimed(STRUCT, 1 << 30, vec![0; 100])), "more elements"),
        ("pairs that are empty", more(5, Claimed(STRUCT, 3 << 20, vec![0; 3 << 20])), "more elements"),
        ("pairs of another kind", more(5, List(5, vec![I32(1)])), "another kind"),
        ("name of another kind", more(6, I32(7)), "another kind"),
        ("booleans without bytes", more(12, Claimed(1, (1 << 31) - 1, vec![])), "more elements"),
        ("booleans", more(12, Claimed(1, 3, vec![1, 1, 1])), "booleans"),
        ("lists of lists", more(12, lists), "nested too deep"),
        (
            "a map",
            {
                let mut bytes = more(12, Struct(vec![]));
                let at = bytes.len() - 11;
                assert_eq!(&bytes[at..at + 3], [0x8C, 0, 0], "the field, its end, the end of the footer");
                bytes[at] = 0x8B;
                bytes
            },
            "unknown kind",
        ),
    ];
    for (what, bytes, message) in cases {
        for error in refused(what, &bytes) {
            assert!(error.contains(message), "{what}: {error}");
        }
    }
    let mut long = sound.bytes();
    let at = long.len() - 8;
    long[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused("the length of the footer", &long);
    for length in 0..13 {
        refused("a beginning", &sound.bytes()[..length]);
    }
}

/// The head of DELTA_BINARY_PACKED: values a block, parts of a block, values in all, the first of them; and what follows.
fn delta(head: [u64; 4], rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    head.into_iter().for_each(|number| varint(number, &mut out));
    out.extend(rest);
    out
}

#[test]
fn pages_that_claim_too_much_are_refused() {
    const PLAIN: i64 = 0;
    const DELTA_LENGTH: i64 = 6;
    const DELTA_BYTES: i64 = 7;
    const INDICES: i64 = 8;
    let max = i64::from(i32::MAX);
    let zeros = vec![0; 4096];
    let mut cases: Vec<(String, Table)> = Vec::new();
    let mut case = |what: String, pages: Vec<Page>| {
        let rows = pages.iter().map(|page| page.values).max().unwrap_or(0);
        cases.push((what, Table::new(rows, &[("title", pages.clone()), ("text", pages)])));
    };
    for version in [1, 2] {
        for encoding in [DELTA_LENGTH, DELTA_BYTES] {
            for (head, values) in [
                ([128, 4, max as u64, 0], 3),
                ([128, 4, max as u64, 0], max),
                ([0, 4, max as u64, 0], max),
                ([1 << 40, 1, 3, 0], 3),
                ([128, 0, 3, 0], 3),
                ([128, 3, 3, 0], 3),
                ([128, 4, u64::MAX, 0], max),
            ] {
                let page = Page { version, ..Page::of(delta(head, &zeros), values, encoding) };
                case(format!("delta {encoding} {head:?} of {values} values"), vec![page]);
            }
        }
        let second = [delta([128, 4, 3, 0], &[0, 0, 0, 0, 0]), delta([128, 4, max as u64, 0], &zeros)].concat();
        case("the second delta".to_owned(), vec![Page { version, ..Page::of(second, 3, DELTA_BYTES) }]);
        case("values of a page".to_owned(), vec![Page { version, ..Page::of(plain(&[b"x"]), max, PLAIN) }]);
    }
    let dictionary = Page::dictionary(&[b"x", b"y"]);
    let indices = Page::of(vec![1, 3 << 1, 0], 3, INDICES);
    for values in [3, 1 << 20, max, -1] {
        case(format!("a dictionary of {values}"), vec![Page { values, ..dictionary.clone() }, indices.clone()]);
    }
    for bits in [33, 255] {
        case(format!("indices of {bits} bits"), vec![dictionary.clone(), Page::of(vec![bits, 6, 0], 3, INDICES)]);
    }
    for unpacked in [max, 300 << 20, -1] {
        case(
            format!("a page of {unpacked} bytes"),
            vec![Page { unpacked, ..Page::of(plain(&[b"x", b"x", b"x"]), 3, PLAIN) }],
        );
    }
    for (what, table) in cases {
        for codec in [0, 1, 6] {
            // Uncompressed pages have the size that they have, whatever they claim.
            if codec > 0 || !what.ends_with("bytes") {
                refused(&format!("{what}, codec {codec}"), &Table { codec, ..table.clone() }.bytes());
            }
        }
    }
}

/// Bytes of one kind, packed into next to nothing.
fn packed_zeros(bytes: usize) -> Vec<u8> {
    zstd::bulk::compress(&vec![0; bytes], 1).unwrap()
}

#[test]
fn what_grows_beyond_bounds_when_it_is_unpacked_is_refused() {
    // Empty texts without end in one page.
    let bomb = Page { unpacked: 200 << 20, ..Page::of(packed_zeros(200 << 20), 50 << 20, 0) };
    let table = Table { codec: 6, ..Table::new(50 << 20, &[("title", vec![bomb.clone()]), ("text", vec![bomb])]) };
    assert!(refused("a page", &table.bytes()).iter().all(|error| error.contains("256 times")));

    // The same long text in every row.
    let long = vec![b'y'; 1 << 20];
    let run = |rows: u64| {
        let mut body = vec![1];
        varint(rows << 1, &mut body);
        body.push(0);
        Page::of(body, rows as i64, 8)
    };
    let rows = 2_000_000;
    let column = |text: &[u8]| vec![Page::dictionary(&[text]), run(rows)];
    let table = Table::new(rows as i64, &[("title", column(b"x")), ("text", column(&long))]);
    assert!(refused("one long text", &table.bytes()).iter().all(|error| error.contains("200 times")));
    // Rows that are too long to be held together.
    let longer = vec![b'y'; 48 << 20];
    let table = Table::new(rows as i64, &[("title", column(b"x")), ("text", column(&longer))]);
    assert!(refused("one longer text", &table.bytes()).iter().all(|error| error.contains("512 MiB")));
    // Rows without end, and nothing in them.
    let table = Table::new(1 << 40, &[]);
    let folder = tempfile::tempdir().unwrap();
    let [_, (_, error)] = read(&written(folder.path(), &table.bytes()));
    assert!(error.unwrap().to_string().contains("200 times"));

    // One row whose list has the long text again and again. Levels: each value but the first goes on with the row, and all are there.
    let values = 1_000_000u64;
    let level = |runs: &[(u64, u8)]| {
        let mut body = Vec::new();
        for &(run, level) in runs {
            varint(run << 1, &mut body);
            body.push(level);
        }
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    };
    let body = [level(&[(1, 0), (values - 1, 1)]), level(&[(values, 1)]), run(values).body].concat();
    let list = vec![Page::dictionary(&[&long]), Page::of(body, values as i64, 8)];
    let table = Table::new(1, &[("title", vec![Page::of(plain(&[b"x"]), 1, 0)]), ("text", list)]);
    let table = Table { nodes: vec![leaf("title", REQUIRED), leaf("text", REPEATED)], ..table };
    assert!(refused("a list", &table.bytes()).iter().all(|error| error.contains("512 MiB")));

    // Beginnings that are shared: of one mebibyte, and in each of a million texts.
    let first = [vec![0x80, 1, 4], vec![]].concat();
    let mut shared = first.clone();
    varint(values, &mut shared);
    varint(0, &mut shared);
    // The first difference is the length of the long text, all others are nothing.
    let mut widths_of_32_bits = vec![0, 32, 0, 0, 0];
    widths_of_32_bits.extend((1u32 << 20).to_le_bytes());
    widths_of_32_bits.extend(vec![0; 31 * 4]);
    shared.extend(&widths_of_32_bits);
    shared.extend(vec![0; 5 * (values as usize / 128 + 1)]);
    let mut rests = first;
    varint(values, &mut rests);
    varint(2 << 20, &mut rests);
    let mut fall = vec![0, 32, 0, 0, 0];
    fall.extend((-(1i32 << 20)).to_le_bytes());
    fall.extend(vec![0; 31 * 4]);
    rests.extend(&fall);
    rests.extend(vec![0; 5 * (values as usize / 128 + 1)]);
    let page = Page::of([shared, rests, long].concat(), values as i64, 7);
    let table = Table::new(values as i64, &[("title", column(b"x")), ("text", vec![page])]);
    refused("shared beginnings", &table.bytes());
}

// -- Tables as they should be --------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
struct Settings {
    encoding: Encoding,
    dictionary: bool,
    second: bool,
    compression: Compression,
    page_rows: usize,
    group_rows: usize,
}

fn settings() -> impl Strategy<Value = Settings> {
    let encoding =
        prop_oneof![Just(Encoding::PLAIN), Just(Encoding::DELTA_LENGTH_BYTE_ARRAY), Just(Encoding::DELTA_BYTE_ARRAY),];
    let compression = prop_oneof![
        Just(Compression::UNCOMPRESSED),
        Just(Compression::SNAPPY),
        Just(Compression::ZSTD(ZstdLevel::default())),
    ];
    (encoding, any::<bool>(), any::<bool>(), compression, 1usize..40, 1usize..200).prop_map(
        |(encoding, dictionary, second, compression, page_rows, group_rows)| Settings {
            encoding,
            dictionary,
            second,
            compression,
            page_rows,
            group_rows,
        },
    )
}

type Row = (Option<String>, i64, f64, Vec<String>);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop_oneof!["[ab]{0,6}", "beginning [a-c]{0,3}", ".{0,20}"];
    let row = (proptest::option::of(text.clone()), any::<i64>(), -1e9..1e9, proptest::collection::vec(text, 0..4));
    proptest::collection::vec(row, 1..300)
}

fn packed(rows: &[Row], settings: &Settings) -> Vec<u8> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for (.., list) in rows {
        list.iter().for_each(|text| lists.values().append_value(text));
        lists.append(true);
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0.as_deref())))),
        ("number", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
        ("share", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)))),
        ("list", Arc::new(lists.finish())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let version = if settings.second { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 };
    let properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_compression(settings.compression)
        .set_dictionary_enabled(settings.dictionary)
        .set_column_encoding("text".into(), settings.encoding)
        .set_column_encoding("number".into(), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding("share".into(), Encoding::BYTE_STREAM_SPLIT)
        .set_column_encoding(vec!["list".to_owned(), "list".to_owned(), "item".to_owned()].into(), settings.encoding)
        .set_data_page_row_count_limit(settings.page_rows)
        .set_write_batch_size(settings.page_rows)
        .set_max_row_group_row_count(Some(settings.group_rows))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whole_tables_are_read_as_they_were_written(rows in rows(), settings in settings()) {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), &packed(&rows, &settings));
        let found: Vec<_> = json_rows(&path).unwrap().collect::<Result<_, _>>().unwrap();
        let expected: Vec<_> = rows.iter().map(|(text, number, share, list)| {
            json!({ "text": text, "number": number, "share": share, "list": list })
        }).collect();
        prop_assert_eq!(found.into_iter().map(Value::Object).collect::<Vec<_>>(), expected);
        let texts: Vec<_> = text_columns(&path, &["text"]).unwrap().map(|row| row.unwrap().remove(0)).collect();
        prop_assert_eq!(texts, rows.into_iter().map(|row| row.0).collect::<Vec<_>>());
    }

    #[test]
    fn a_damaged_table_ends_in_rows_or_an_error(
        rows in rows(), settings in settings(), damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..5),
    ) {
        let mut bytes = packed(&rows, &settings);
        for (at, byte, near_the_end) in damage {
            let length = bytes.len();
            let from = if near_the_end { length - length.min(600) } else { 0 };
            bytes[from + at.index(length - from)] = byte;
        }
        let folder = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        let _ = read(&written(folder.path(), &bytes));
        prop_assert!(begin.elapsed() < Duration::from_secs(20));
        #[cfg(target_os = "linux")]
        prop_assert!(peak_mib() < 1200);
    }
}
