//! Texts that somebody else extracted: every form, every packing, and what is wrong with some of them.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, LargeStringArray, RecordBatch, StringArray};
use common::real_data;
use memtrain_corpora::dump::DumpError;
use memtrain_corpora::extracted::{self, Form, Text, made_id, outline, recognise};
use memtrain_corpora::store;
use parquet::arrow::ArrowWriter;

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
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
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
        let text = Text { text: text.to_owned(), lines_are_paragraphs: wiki_extractor, ..Text::default() };
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
    let unpacked = std::process::Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder.path()).status();
    assert!(unpacked.unwrap().success());
    let (mut count, mut characters, mut sections, mut named) = (0, 0, 0, 0);
    for file in store::list(&folder.path().join("AD")).unwrap() {
        let (texts, malformed) = read(&file);
        assert!(malformed.is_empty(), "{malformed:?}");
        for text in texts {
            assert!(text.id < 1 << 32 && text.url.contains("curid="), "{}", text.title);
            let found = outline(&text);
            let kept: usize =
                found.sections.iter().map(|section| section.title.len()).sum::<usize>() + found.text.len();
            assert!(kept + 3 * found.sections.len() + 200 > text.text.trim().len() / 2, "{}: text is lost", text.title);
            count += 1;
            characters += found.text.len();
            sections += found.sections.len();
            named += found.sections.iter().filter(|section| section.title == "History").count();
        }
    }
    assert_eq!(count, 945);
    assert!(characters > 9_000_000 && sections > 4000 && named > 100, "{characters} {sections} {named}");
}
