//! Files of others that are small and would come to much in memory or time.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int32Array, ListArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use memtrain_corpora::extracted::{self, Markup, Text};
use memtrain_corpora::store::{self, StoreError};
use memtrain_corpora::unpack;
use memtrain_corpora::wikitext::WikiContext;
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
        io::copy(&mut io::Read::take(io::repeat(b'.'), bytes), &mut packed).unwrap();
        store::write_atomic(&path, packed.finish().unwrap()).unwrap();
        io::copy(&mut unpack::open(&path)?, &mut io::sink()).map_err(|error| StoreError::io("read", &path, error))
    };
    assert_eq!(read(256 << 20).unwrap(), 256 << 20);
    let StoreError::Io { source, .. } = read(320 << 20).unwrap_err() else { panic!("it is read and then refused") };
    assert!(source.to_string().contains("200 times"), "{source}");
}

/// Markdown of about so many bytes in which each mark could be looked at for every other one.
fn tangles(bytes: usize) -> Vec<(String, String)> {
    let repeated = |part: &str| (format!("{part:?}"), part.repeat(bytes / part.len()));
    let half = bytes / 2;
    let mut tangles: Vec<_> = [
        "[",
        "![",
        "[a](",
        "[a](<b",
        "[a][",
        "[a]: ",
        "[a]:b\n",
        "](",
        "<",
        "<!--",
        "<?",
        "<![CDATA[",
        "<a ",
        "<a b=\"",
        "*a ",
        "**a*",
        "_a _b",
        "~~a~",
        "`a",
        "$a",
        "$$a$",
        "\\",
        "&a",
        "&#1",
        "| ",
        "|a\n",
        "|-\n",
        "a|b\n-|-\n",
        "> a\n",
        "- a\n",
        "- a\n\n",
        "  - a\n",
        "1. ",
        "[^a]",
        "[^a]: b\n",
        "[^a]: [^b]\n",
        "# a\n",
        "a\n=\n",
        "```\n",
        "~~~a\n",
        "    a\n",
        "\t> a\n",
        "a  \n",
        "a\r",
        "\u{a0}a",
        "https://a ",
        "{{",
        "[[",
        "{|\n",
        "<ref>",
        "<table>",
        "<math>",
        "<nowiki>",
        "<div>",
        "<b>",
    ]
    .into_iter()
    .map(repeated)
    .collect();
    let mut add = |name: &str, text: String| tangles.push((name.to_owned(), text));
    let rows = |columns: usize| "|a".repeat(columns) + "|\n" + &"|-".repeat(columns) + "|\n";
    let side = (bytes as f64).sqrt() as usize;
    add("a table as wide as it is long, with empty rows", rows(half / 4) + &"|\n".repeat(half / 2));
    add("a square table", rows(side / 2) + &("|a".repeat(side / 2) + "|\n").repeat(side));
    add(
        "one link of a long address, many times",
        format!("[a]: /wiki/{}\n\n{}", "b".repeat(half), "[a] ".repeat(half / 4)),
    );
    add(
        "many links of as many addresses",
        (0..half / 12)
            .map(|n| format!("[{n}]: /{n}\n"))
            .chain(std::iter::once("\n".into()))
            .chain((0..half / 6).map(|n| format!("[{n}] ")))
            .collect(),
    );
    add("a footnote that names itself", format!("[^a]\n\n[^a]: {}", "[^a] ".repeat(bytes / 5)));
    add("brackets that open and close", "[".repeat(half) + &"]".repeat(half));
    add("links that open and close", "[".repeat(half / 2) + &"](a)".repeat(half / 6));
    add("images that open and close", "![".repeat(half / 2) + &"](a)".repeat(half / 6));
    add("emphasis that opens and closes", "*a ".repeat(half / 3) + &"b*".repeat(half / 2));
    add("emphasis of two kinds", "*a_ b".repeat(bytes / 5));
    add("fences of growing length", (1..side).map(|length| "`".repeat(length) + " ").collect());
    add("a quotation whose every line is lazy", "> ".repeat(1000) + &"a\n".repeat(half));
    add("stairs", (0..side).map(|level| format!("{}- a\n", " ".repeat(level))).collect());
    add("a word", "a".repeat(bytes));
    add("blank lines", "\n".repeat(bytes));
    add("a heading as long as the text", format!("# {}", "a ".repeat(half)));
    add("headings in front of text", "# a\n\nb\n\n".repeat(bytes / 8));
    add("formulas of brackets", format!("${}$", "{".repeat(bytes)));
    add("html in html", "<div>\n".repeat(half / 6) + &"</div>\n".repeat(half / 7));
    tangles
}

#[test]
fn markdown_is_read_in_time_that_fits_its_length() {
    let context = WikiContext::default();
    for (name, text) in tangles(1 << 20) {
        let text = Text { title: "Mira".to_owned(), text, markup: Markup::Markdown, ..Text::default() };
        let begin = Instant::now();
        let page = extracted::clean(&text, &context);
        let took = begin.elapsed();
        assert!(page.text.len() <= 4 * text.text.len(), "{name}: {} bytes of {}", page.text.len(), text.text.len());
        if std::env::var_os("MEMTRAIN_SHOW_TIMES").is_some() {
            println!("{:8.3} s  {name}", took.as_secs_f64());
        }
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
    }
}
