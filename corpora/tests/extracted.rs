//! Texts that somebody else extracted: every form, every packing, and what is wrong with some of them.

#[path = "../../tests/real_data/mod.rs"]
mod real_data;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StructArray,
};
use arrow::datatypes::{DataType, Field};
use memtrain_corpora::dump::DumpError;
use memtrain_corpora::extracted::{self, Form, Markup, Text, clean, made_id, outline, recognise};
use memtrain_corpora::store::{self, StoreError};
use memtrain_corpora::wikitext::WikiContext;
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use real_data::real_data;

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    store::write_atomic(&path, bytes).unwrap();
    path
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The texts, and the messages of the rows that are not whole; panics at any other error.
fn read(path: &Path) -> (Vec<Text>, Vec<String>) {
    let (mut texts, mut malformed) = (Vec::new(), Vec::new());
    for item in extracted::open(path).unwrap() {
        match item {
            Ok(text) => texts.push(text),
            Err(error) if error.is_skippable() => malformed.push(error.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
    (texts, malformed)
}

fn refused(path: &Path) -> String {
    let error = extracted::open(path).err().expect("must be refused");
    format!("{error} / {}", error.hint().unwrap_or_default())
}

const LINES: &str = r#"{"id": "12", "url": "https://en.wikipedia.org/wiki/A", "title": "A", "text": "One.\n\nTwo \u00e9 &amp;."}

{"id": 13, "title": " B ", "text": "x", "more": [1, 2]}
{"id": "Q42", "title": "C", "text": ""}
{"title": "D", "text": "y"}
{"id": "14", "title": "E", "text": null}
{"id": "15", "title": null, "text": "z"}
{"id": "16", "title": "F", "text": "z"
{"id": "17", "title": "G", "text": "z"}
"#;

#[test]
fn json_lines_in_every_packing() {
    let folder = tempfile::tempdir().unwrap();
    let packed = [
        ("a", LINES.as_bytes().to_vec()),
        ("b", gz(LINES.as_bytes())),
        ("c", bz2(LINES.as_bytes())),
        ("d", zstd::encode_all(LINES.as_bytes(), 1).unwrap()),
    ];
    for (name, bytes) in packed {
        let path = write(folder.path(), name, bytes);
        assert_eq!(recognise(&path).unwrap(), Form::JsonLines);
        let (texts, malformed) = read(&path);
        let rows: Vec<(u64, &str, &str)> =
            texts.iter().map(|text| (text.id, text.title.as_str(), text.text.as_str())).collect();
        let made = [made_id("Q42"), made_id("D")];
        assert_eq!(
            rows,
            [
                (12, "A", "One.\n\nTwo é &amp;."),
                (13, "B", "x"),
                (made[0], "C", ""),
                (made[1], "D", "y"),
                (17, "G", "z")
            ]
        );
        assert_eq!(texts[0].url, "https://en.wikipedia.org/wiki/A");
        assert_eq!(malformed.len(), 3, "{malformed:?}");
        assert!(malformed[0].contains("`E`") && malformed[0].contains("no text") && malformed[1].contains("no title"));
        assert!(malformed[2].contains("malformed page 8"), "{malformed:?}");
    }
}

#[test]
fn bytes_that_are_no_text_cost_their_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines =
        b"{\"id\": 1, \"title\": \"A\", \"text\": \"x\"}\n{\"id\": 2, \"title\": \"B\", \"text\": \"\xFF\"}\n".to_vec();
    lines.extend_from_slice(b"{\"id\": 3, \"title\": \"C\", \"text\": \"x\"}");
    let (texts, malformed) = read(&write(folder.path(), "a", &lines));
    assert_eq!(texts.iter().map(|text| text.id).collect::<Vec<_>>(), [1, 3], "the last line needs no line break");
    assert!(malformed.len() == 1 && malformed[0].contains("not UTF-8"), "{malformed:?}");
    let docs = b"<doc id=\"1\" url=\"u\" title=\"A\">\nA\n\nx\n</doc>\n<doc id=\"2\" url=\"u\" title=\"B\">\nB\n\n\xFF\n</doc>\n".to_vec();
    let (texts, malformed) = read(&write(folder.path(), "b", docs));
    assert_eq!((texts.len(), malformed.len()), (1, 1));
}

#[test]
fn a_line_that_is_too_long_is_skipped_wherever_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let line = |id: u64| format!("{{\"id\": {id}, \"title\": \"T\", \"text\": \"x\"}}\n");
    let long = format!("{{\"id\": 9, \"title\": \"Long\", \"text\": \"{}\"}}\n", "a".repeat(65 << 20));
    for lines in [[&line(1), &long, &line(2)], [&long, &line(1), &line(2)]] {
        let path = write(folder.path(), "a", gz(lines.map(String::as_str).concat().as_bytes()));
        let (texts, malformed) = read(&path);
        assert_eq!(texts.iter().map(|text| text.id).collect::<Vec<_>>(), [1, 2]);
        assert!(malformed.len() == 1 && malformed[0].contains("longer than 64 MiB"), "{malformed:?}");
    }
    // The last line of a file that was cut off is another thing.
    let path = write(folder.path(), "a", gz(format!("{}{}", line(1), &long[..long.len() - 3]).as_bytes()));
    let last = extracted::open(&path).unwrap().last();
    assert!(matches!(last, Some(Err(DumpError::Truncated { pages: 1, .. }))), "{last:?}");
}

#[test]
fn marks_and_line_ends_of_windows_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "{\"id\": 1, \"title\": \"A\", \"text\": \"x\"}\n{\"id\": 2, \"title\": \"B\", \"text\": \"y\"}\n";
    let docs =
        "<doc id=\"1\" url=\"u\" title=\"A\">\nA\n\nx\n</doc>\n<doc id=\"2\" url=\"u\" title=\"B\">\nB\n\ny\n</doc>\n";
    for text in [lines, docs] {
        let marked = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        let wide: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [marked.clone().into_bytes(), gz(marked.as_bytes()), wide] {
            let (texts, malformed) = read(&write(folder.path(), "a", bytes));
            let found: Vec<_> = texts.iter().map(|text| (text.id, text.text.as_str())).collect();
            assert_eq!((found, malformed.len()), (vec![(1, "x"), (2, "y")], 0), "{malformed:?}");
        }
    }
}

#[test]
fn values_that_json_has_not_cost_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let lines = concat!(
        r#"{"id": 1, "title": "A", "score": NaN, "more": [-Infinity, 1e400], "text": "NaN \ud83d\ude00"}"#,
        "\n",
        r#"{"id": 2, "title": "B", "text": "half \ud83d", "note": "\udc00"}"#,
        "\n",
        r#"{"id": 3, "title": "C", "text": NaN}"#,
    );
    let (texts, malformed) = read(&write(folder.path(), "a", lines));
    let found: Vec<_> = texts.iter().map(|text| (text.id, text.text.as_str())).collect();
    assert_eq!(found, [(1, "NaN \u{1F600}"), (2, "half \u{fffd}")]);
    assert!(malformed.len() == 1 && malformed[0].contains("no text"), "{malformed:?}");
}

#[test]
fn names_that_are_too_long_cost_their_row() {
    let folder = tempfile::tempdir().unwrap();
    let long = "n".repeat(5000);
    let lines = format!(
        "{{\"title\": \"{long}\", \"text\": \"x\"}}\n{{\"title\": \"A\", \"url\": \"{long}\", \"text\": \"x\"}}\n{{\"title\": \"B\", \"text\": \"x\"}}\n"
    );
    let (texts, malformed) = read(&write(folder.path(), "a", lines));
    assert_eq!(texts.len(), 1);
    assert!(malformed[0].contains("its title has 5000 bytes") && malformed[1].contains("its address"), "{malformed:?}");
    assert!(malformed.iter().all(|message| message.len() < 400), "{malformed:?}");
}

#[test]
fn cut_files_keep_whole_articles() {
    let folder = tempfile::tempdir().unwrap();
    let docs: String = (0..50)
        .map(|id| {
            format!("<doc id=\"{id}\" url=\"u\" title=\"T{id}\">\nT{id}\n\n{}\n</doc>\n", "some words ".repeat(200))
        })
        .collect();
    let lines: String = (0..50)
        .map(|id| format!("{{\"id\": {id}, \"title\": \"T\", \"text\": \"{}\"}}\n", "words ".repeat(300)))
        .collect();
    for whole in [docs.as_bytes(), lines.as_bytes()] {
        let packed = gz(whole);
        for bytes in [&whole[..whole.len() - 40], &whole[..whole.len() / 2], &packed[..packed.len() / 2]] {
            let items: Vec<_> = extracted::open(&write(folder.path(), "cut", bytes)).unwrap().collect();
            let texts = items.iter().filter(|item| item.is_ok()).count() as u64;
            assert!(
                matches!(items.last(), Some(Err(DumpError::Truncated { pages, .. })) if *pages == texts && texts > 10),
                "{:?}",
                items.last()
            );
        }
    }
}

#[test]
fn docs_are_read_as_wiki_extractor_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let docs = concat!(
        "<doc id=\"7\" url=\"https://x.org?curid=7\" title=\"AT&amp;T \"Bell\"\">\nAT&T \"Bell\"\n\nAT&amp;T is old.\nHistory.\nIt was &lt;founded&gt;.\n\n</doc>\n",
        "\n<doc id=\"8\" revid=\"80\" url=\"u\" title=\"Empty\">\nEmpty\n\n</doc>\n",
        "<doc id=\"9\" url=\"u\" title=\"Open\">\nOpen\n\nnever closed\n",
        "<doc id=\"10\" url=\"u\" title=\"Last\">\nLast one.\n</doc>\n",
    );
    let path = write(folder.path(), "wiki_00", bz2(docs.as_bytes()));
    assert_eq!(recognise(&path).unwrap(), Form::Docs);
    let (texts, malformed) = read(&path);
    let rows: Vec<(u64, &str, &str)> =
        texts.iter().map(|text| (text.id, text.title.as_str(), text.text.as_str())).collect();
    assert_eq!(rows[0], (7, "AT&T \"Bell\"", "AT&T is old.\nHistory.\nIt was <founded>."));
    assert_eq!(rows[1..], [(8, "Empty", ""), (10, "Last", "Last one.")]);
    assert!(
        malformed.len() == 1 && malformed[0].contains("`Open`") && malformed[0].contains("not closed"),
        "{malformed:?}"
    );
    let found = outline(&texts[0]);
    assert_eq!(found.text, "AT&T is old.\n\nIt was <founded>.");
    assert_eq!(found.sections.iter().map(|section| section.title.as_str()).collect::<Vec<_>>(), ["", "History"]);
    // The JSON of the same tool.
    let json = write(
        folder.path(),
        "json",
        "{\"id\": \"7\", \"revid\": \"1\", \"url\": \"u\", \"title\": \"T\", \"text\": \"A &lt; B.\\nHistory.\\nIt is.\"}\n",
    );
    let (texts, _) = read(&json);
    assert_eq!((texts[0].text.as_str(), outline(&texts[0]).sections.len()), ("A < B.\nHistory.\nIt is.", 2));
}

fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    parquet_with(path, columns, None);
}

fn parquet_with(path: &Path, columns: Vec<(&str, ArrayRef)>, properties: Option<WriterProperties>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), properties).unwrap();
    writer.write(&batch).unwrap();
    store::write_atomic(path, writer.into_inner().unwrap()).unwrap();
}

#[test]
fn parquet_of_any_string_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train-00000-of-00001.parquet");
    let count = 200;
    let titles: Vec<String> = (0..count).map(|id| format!("T{id}")).collect();
    let texts: Vec<Option<&str>> = (0..count).map(|id| (id % 10 != 3).then_some("It is é.")).collect();
    let ids = Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef;
    let text = Arc::new(LargeStringArray::from(texts.clone())) as ArrayRef;
    let title = Arc::new(StringArray::from_iter_values(&titles)) as ArrayRef;
    parquet(&path, vec![("title", title.clone()), ("other", ids.clone()), ("id", ids), ("text", text)]);
    assert_eq!(recognise(&path).unwrap(), Form::Parquet);
    let (rows, malformed) = read(&path);
    assert_eq!((rows.len(), malformed.len()), (180, 20));
    assert_eq!((rows[100].id, rows[100].title.as_str(), rows[100].text.as_str()), (111, "T111", "It is é."));
    assert!(malformed[1].contains("malformed page 14 (`T13`): no text"), "{}", malformed[1]);

    let bytes = store::read(&path).unwrap();
    let cut = write(folder.path(), "cut", &bytes[..bytes.len() - 10]);
    assert!(refused(&cut).contains("not a whole Parquet file"), "{}", refused(&cut));
    let other = folder.path().join("other");
    parquet(&other, vec![("title", title)]);
    assert!(refused(&other).contains("without a column `text`; its columns are `title`"), "{}", refused(&other));
}

fn lists(rows: &[&[&str]]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        builder.append_value(row.iter().map(Some));
    }
    Arc::new(builder.finish())
}

fn strings(rows: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(rows.to_vec()))
}

#[test]
fn texts_in_parts_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parts.parquet");
    let parts = lists(&[&["One.", " Two. ", ""], &["Three."]]);
    let mut nested = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    nested.values().append_value(["A b.", "C d."].map(Some));
    nested.values().append_value([Some("E f.")]);
    nested.append(true);
    nested.append_null();
    let nested = Arc::new(nested.finish()) as ArrayRef;
    for (column, expected) in [(parts, &["One.\n\nTwo.", "Three."][..]), (nested, &["A b. C d.\n\nE f."])] {
        parquet(&path, vec![("title", strings(&["A", "B"])), ("text", column)]);
        let (rows, malformed) = read(&path);
        assert_eq!(rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(malformed.len(), 2 - expected.len());
    }
    let lines = concat!(
        r#"{"title": "A", "text": ["One.", " Two. ", null]}"#,
        "\n",
        r#"{"title": "B", "text": [["A b.", "C d."], ["E f."]]}"#,
        "\n",
        r#"{"title": "C", "text": [{"text": "x"}]}"#,
        "\n",
        r#"{"title": "D", "text": 7}"#,
    );
    let (rows, malformed) = read(&write(folder.path(), "lines", lines));
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(texts, ["One.\n\nTwo.", "A b. C d.\n\nE f."]);
    assert!(malformed[0].contains("its `text` is a list of other things than text"), "{malformed:?}");
    assert!(malformed[1].contains("its `text` is a number"), "{malformed:?}");
}

#[test]
fn columns_of_other_types_are_refused_by_name_and_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("typed.parquet");
    let structs = |names: [&str; 2]| {
        let field = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
        let columns = names.map(|name| (field(name), strings(&["x"])));
        Arc::new(StructArray::from(columns.to_vec())) as ArrayRef
    };
    let number = || Arc::new(Int64Array::from(vec![7])) as ArrayRef;
    let truth = Arc::new(BooleanArray::from(vec![true])) as ArrayRef;
    let (title, text) = (|| ("title", strings(&["A"])), || ("text", strings(&["x"])));
    for (columns, said) in [
        (vec![title(), ("text", number())], "its column `text` is a number, not text"),
        (vec![title(), ("text", truth)], "its column `text` is of type `Boolean`"),
        (
            vec![title(), ("text", structs(["a", "b"]))],
            "its column `text` is a struct, not text; its columns are `title`, `text` with `text.a` and `text.b`",
        ),
        (vec![("title", lists(&[&["A"]])), text()], "its column `title` is a list of texts"),
        (vec![title(), text(), ("id", lists(&[&["1"]]))], "its column `id` is a list of texts"),
        (
            vec![("page", structs(["title", "text"])), ("id", number())],
            "`page` with `page.title` and `page.text`, `id`: select the fields of `page`",
        ),
    ] {
        parquet(&path, columns);
        assert!(refused(&path).contains(said), "{}", refused(&path));
    }
    for (line, said) in [
        (r#"{"title": "A", "text": {"a": 1}}"#, "the `text` of its first JSON object is an object"),
        (r#"{"title": "A", "text": [1]}"#, "a list of other things than text"),
        (r#"{"page": {"title": "A", "text": "x"}}"#, "there is one inside `page`"),
    ] {
        let path = write(folder.path(), "x", line);
        assert!(refused(&path).contains(said), "{}", refused(&path));
    }
}

#[test]
fn ids_are_numbers_however_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ids.parquet");
    let ids = Arc::new(Float64Array::from(vec![Some(12.0), None, Some(f64::NAN), Some(0.5)])) as ArrayRef;
    parquet(&path, vec![("id", ids), ("title", strings(&["A", "B", "C", "D"])), ("text", strings(&["x"; 4]))]);
    let ids = |path: &Path| read(path).0.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(&path), [12, made_id("B"), made_id("C"), made_id("0.5")]);
    let lines = r#"{"id": 12.0, "title": "A", "text": "x"}
{"id": "13.0", "title": "B", "text": "x"}
{"id": 1.4e1, "title": "C", "text": "x"}
{"id": "infinity", "title": "D", "text": "x"}
{"id": "enwiki/15", "page_id": 15, "title": "E", "text": "x"}
{"id": NaN, "title": "F", "text": "x"}
"#;
    let lines = write(folder.path(), "lines", lines);
    assert_eq!(ids(&lines), [12, 13, 14, made_id("D"), 15, made_id("F")]);
}

#[test]
fn parquet_is_unpacked_whatever_packs_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.parquet");
    let words = "The river rises in the hills and floods in May. ".repeat(40);
    let packings = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ];
    for packing in packings {
        let properties = WriterProperties::builder().set_compression(packing).build();
        let columns = vec![("title", strings(&["A"])), ("text", strings(&[words.as_str()]))];
        parquet_with(&path, columns, Some(properties));
        let (rows, _) = read(&path);
        assert_eq!(rows[0].text, words, "{packing}");
        assert_eq!(store::json_rows(&path).unwrap().next().unwrap().unwrap()["title"], "A", "{packing}");
    }
}

#[test]
fn files_in_markdown_are_told_by_their_texts() {
    let folder = tempfile::tempdir().unwrap();
    let line = |title: &str, text: &str| serde_json::json!({"title": title, "text": text}).to_string() + "\n";
    let marked = [
        line("A", "A is **old**.\n\n## History\n\nIt [fell](https://example.org/fall)."),
        line("B", "No marks at all."),
        line("C", "# C\n\nC is new."),
    ];
    let context = WikiContext::default();
    let texts = |path: &Path| read(path).0.iter().map(|text| clean(text, &context).text).collect::<Vec<_>>();
    let path = write(folder.path(), "marked", marked.concat());
    assert_eq!(texts(&path), ["A is old.\n\nIt fell.", "No marks at all.", "C is new."]);
    // One text in many that speaks of marks is plain as the others are.
    let plain: String = (0..20).map(|id| line(&format!("P{id}"), "Plain words.")).collect();
    let path = write(folder.path(), "plain", plain + &line("Q", "In it `**x**` is bold:\n\n**x** is."));
    assert!(texts(&path)[20].contains("**x** is."));
    // A column of that name says it.
    let path = folder.path().join("goodwiki.parquet");
    let pageid = Arc::new(Int64Array::from(vec![7])) as ArrayRef;
    parquet(
        &path,
        vec![
            ("pageid", pageid),
            ("title", strings(&["A"])),
            ("revid", strings(&["1"])),
            ("markdown", strings(&["It is *old*."])),
        ],
    );
    assert_eq!((read(&path).0[0].id, texts(&path)), (7, vec!["It is old.".to_owned()]));
    let path = write(
        folder.path(),
        "goodwiki",
        r#"{"pageid": 7, "title": "A", "revid": "1", "markdown": "It is *old* &amp; so."}"#,
    );
    assert_eq!((read(&path).0[0].id, texts(&path)), (7, vec!["It is old & so.".to_owned()]));
}

#[test]
fn articles_of_wikimedia_enterprise_are_cleaned_as_pages_are() {
    let folder = tempfile::tempdir().unwrap();
    let article = |name: &str, identifier: u64, namespace: u64, body: serde_json::Value| {
        let article = serde_json::json!({
            "name": name, "identifier": identifier, "namespace": {"identifier": namespace}, "version": {"identifier": 70},
            "url": format!("https://de.wikipedia.org/wiki/{name}"), "date_modified": "2026-01-02T03:04:05Z",
            "in_language": {"identifier": "de"}, "is_part_of": {"identifier": "dewiki"}, "article_body": body,
        });
        article.to_string() + "\n"
    };
    let wikitext = |text: &str| serde_json::json!({"html": "<p>x</p>", "wikitext": text});
    let html = "<p>Eine <a rel=\"mw:WikiLink\" href=\"./Stadt\">Stadt</a>.</p>\
        <link rel=\"mw:PageProp/Category\" href=\"./Kategorie:Ort\">";
    let lines = [
        article("Mira", 7, 0, wikitext("'''Mira''' ist eine [[Stadt]].\n== Lage ==\nAm Fluss.\n[[Kategorie:Ort]]")),
        article("Diskussion", 8, 1, wikitext("x")),
        article("Velm", 9, 0, serde_json::json!({ "html": html })),
        article("Ost", 10, 0, serde_json::json!({})),
    ];
    let path = write(folder.path(), "dewiki_namespace_0_0.ndjson", lines.concat());
    let (texts, malformed) = read(&path);
    assert_eq!((texts.len(), texts[1].namespace, malformed.len()), (3, 1, 1));
    assert!(malformed[0].contains("(`Ost`): it has neither `article_body.wikitext` nor"), "{malformed:?}");
    assert_eq!((texts[0].id, texts[0].revision_id, texts[0].timestamp.as_str()), (7, 70, "2026-01-02T03:04:05Z"));
    let site = extracted::open(&path).unwrap().site_info().clone();
    assert_eq!((site.language.as_str(), site.dbname.as_str()), ("de", "dewiki"));
    let page = clean(&texts[0], &WikiContext::from_site(&site));
    assert_eq!((page.text.as_str(), page.links[0].target.as_str()), ("Mira ist eine Stadt.\n\nAm Fluss.", "Stadt"));
    assert_eq!((page.sections[1].title.as_str(), page.categories), ("Lage", vec!["Ort".to_owned()]));
    let page = clean(&texts[2], &WikiContext::from_site(&site));
    let shown = (page.text.as_str(), page.links[0].target.as_str(), page.categories[0].as_str());
    assert_eq!(shown, ("Eine Stadt.", "Stadt", "Ort"));
    assert!(refused(&write(folder.path(), "empty", &lines[3])).contains("`article_body.html`"));
}

#[test]
fn fields_of_wikimedia_enterprise_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(5000);
    let article = |name: &str, date: &str| {
        serde_json::json!({
            "name": name, "date_modified": date, "url": long[..2000], "in_language": {"identifier": long},
            "is_part_of": {"identifier": long}, "article_body": {"wikitext": "Old."},
        })
        .to_string()
            + "\n"
    };
    let path = write(folder.path(), "wiki.ndjson", article("Mira", "2026-01-02T03:04:05Z") + &article("Ost", &long));
    let (texts, malformed) = read(&path);
    assert_eq!((texts.len(), malformed.len()), (1, 1));
    assert!(malformed[0].contains("(`Ost`): its timestamp has 5000 bytes"), "{malformed:?}");
    let site = extracted::open(&path).unwrap().site_info().clone();
    assert_eq!((site.base.as_str(), site.language.as_str(), site.dbname.as_str()), ("", "", ""));
}

#[test]
fn pointers_of_git_lfs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 12345\n";
    let path = write(folder.path(), "articles.parquet", pointer);
    for error in [
        recognise(&path).unwrap_err().to_string(),
        store::open(&path).unwrap_err().to_string(),
        store::read(&path).unwrap_err().to_string(),
        store::text_columns(&path, &["title"]).err().unwrap().to_string(),
    ] {
        assert!(
            error.contains("articles.parquet` is a pointer of Git LFS") && error.contains("git lfs pull"),
            "{error}"
        );
    }
    let longer = write(folder.path(), "notes", pointer.repeat(20));
    assert!(store::read(&longer).is_ok(), "no pointer has a kilobyte");
}

#[test]
fn a_text_in_another_encoding_is_to_be_converted() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "notes.txt", b"K\xf6ln");
    let error = store::read_to_string(&path).unwrap_err();
    assert!(error.to_string().ends_with("is not UTF-8 from byte 1 on"), "{error}");
    assert!(error.hint().unwrap().contains("iconv"));
    let (_, malformed) = read(&write(folder.path(), "lines", b"{\"title\": \"K\xf6ln\", \"text\": \"x\"}\n"));
    assert!(malformed[0].contains("iconv"), "{malformed:?}");
    // Nor is a table of others to be deleted.
    let path = folder.path().join("cut.parquet");
    parquet(&path, vec![("title", strings(&["A"])), ("text", strings(&["x"]))]);
    let bytes = store::read(&path).unwrap();
    let path = write(folder.path(), "cut.parquet", &bytes[..bytes.len() - 10]);
    let error = store::json_rows(&path).err().unwrap();
    assert!(matches!(&error, StoreError::Unreadable { .. }) && !error.hint().unwrap().contains("delete"), "{error}");
}

#[test]
fn foreign_files_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, said) in [
        (&b"[{\"title\": 1}]"[..], "jq -c"),
        (b"{\n  \"title\": \"x\",\n  \"text\": \"y\"\n}\n", "one (`jq -c .`)"),
        (b"{\"body\": \"x\", \"title\": \"y\"}\n", "no `text`, only `body`, `title`"),
        (b"plain words", "begins with `plain words`"),
        (b"", "it is empty"),
        (b"<mediawiki></mediawiki>", "MediaWiki export"),
        (&gz(b"PAR1xxxx"), "packed Parquet"),
    ] {
        let path = write(folder.path(), "x", bytes);
        assert!(refused(&path).contains(said), "{}", refused(&path));
    }
}

#[test]
fn headings_are_found_and_sentences_are_not() {
    let titles = |text: &str, wiki_extractor: bool| -> Vec<String> {
        let markup = if wiki_extractor { Markup::WikiExtractor } else { Markup::Plain };
        let text = Text { text: text.to_owned(), markup, ..Text::default() };
        let found = outline(&text);
        let mut end = 0;
        for section in &found.sections {
            assert!(section.span.start >= end && section.span.end <= found.text.len());
            end = section.span.end;
        }
        found.sections.into_iter().map(|section| section.title).collect()
    };
    let plain = "Mira is a town.\n\nEarly history (1200–1300) \n\nIt is old.\n\nhe said\n\nA list:\n one\n two\n\nReferences\n\nExternal links\n\nx y";
    assert_eq!(titles(plain, false), ["", "Early history (1200–1300)", "References", "External links"]);
    assert_eq!(titles("The end", false), [""], "the only line is text");
    assert_eq!(titles("Title line\n\nText.", false), [""], "so is the first");
    let lines = "Mira is a town.\nHistory.\nIt is old.\nHe died.\nMore of it.\nMoney, Inc..\nMoney.\nLast.";
    assert_eq!(titles(lines, true), ["", "History", "More of it", "Money, Inc.", "Money"]);
    assert_eq!(titles("歴史の町。\n\n歴史\n\n古い。", false), ["", "歴史"]);
}

#[test]
fn a_real_extraction_is_read_whole() {
    let Some(archive) = real_data("text/enwiki2015-wikiextractor-AD90-99.tar.xz") else {
        return;
    };
    let error = recognise(&archive).unwrap_err();
    assert!(error.to_string().contains("a packed tar archive") && error.hint().unwrap().contains("tar -xf"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let mut unpack = std::process::Command::new("tar");
    assert!(unpack.arg("-xf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap().success());
    let (mut count, mut characters, mut sections, mut named) = (0, 0, 0, 0);
    for file in store::list(&folder.path().join("AD")).unwrap() {
        let (texts, malformed) = read(&file);
        assert!(malformed.is_empty(), "{malformed:?}");
        for text in texts {
            assert!(text.id < 1 << 32 && text.url.contains("curid="), "{}", text.title);
            let found = outline(&text);
            let titles: usize = found.sections.iter().map(|section| section.title.len() + 3).sum();
            let kept = titles + found.text.len() + 200;
            assert!(kept > text.text.trim().len() / 2, "{}: text is lost", text.title);
            (count, characters) = (count + 1, characters + found.text.len());
            sections += found.sections.len();
            named += found.sections.iter().filter(|section| section.title == "History").count();
        }
    }
    assert_eq!(count, 945);
    assert!(characters > 9_000_000 && sections > 4000 && named > 100, "{characters} {sections} {named}");
}
