//! `memtrain wikitext` as it is typed.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use memtrain_corpora::store;

fn wikitext(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_memtrain"))
        .arg("wikitext")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn prints(arguments: &[&str], input: &str, expected: &str) {
    let output = wikitext(arguments, input.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

const PAGE: &str = "\u{FEFF}'''Đà Nẵng''' is a [[city]].\r\n\r\n== History ==\r\nOld.<ref>x</ref>\n{|\n| a || b\n|}\n[[Category:Cities]]";

#[test]
fn text_is_printed_as_the_corpus_gets_it() {
    prints(&[], PAGE, "Đà Nẵng is a city.\n\nOld.\n");
    prints(&["-"], "", "");
    prints(&["--headings"], PAGE, "Đà Nẵng is a city.\n\n## History\n\nOld.\n");
    prints(&["--tables", "keep"], PAGE, "Đà Nẵng is a city.\n\nOld.\n\na | b\n");
    prints(&["--title", "Huế", "--language", "vi"], "{{PAGENAME}} {{formatnum:1234}}", "Huế 1.234\n");
    prints(&["--math", "tex"], "<math>\\frac{1+x}{2}</math>", "\\frac{1+x}{2}\n");
}

#[test]
fn templates_that_leave_holes_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump.xml");
    let page = |id: u64, text: &str| {
        format!(
            "<page><title>P{id}</title><ns>0</ns><id>{id}</id><revision><id>{id}</id><text>{text}</text></revision></page>"
        )
    };
    let pages =
        page(1, "A ({{x|y}}) and ({{x|z}}) met {{y}} in May.{{cn}}") + &page(2, "Said by {{x}}. {{nowrap|a b}}");
    store::write_atomic(&dump, format!("<mediawiki xml:lang=\"en\">{pages}</mediawiki>").as_bytes()).unwrap();
    let path = dump.to_str().unwrap();
    prints(
        &["--holes", path],
        "",
        "holes\ttemplate\tkinds\texample\n3\tx\tbrackets 2, end 1\tA ({{x|y}}) and ({{x|z}}) met {{y}} in May.{{cn}}\n\
         1\ty\tbetween 1\tA ({{x|y}}) and ({{x|z}}) met {{y}} in May.{{cn}}\n",
    );
    let output = wikitext(&["--holes"], b"");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("DUMP"));
}

#[test]
fn json_counts_characters() {
    let output = wikitext(&["--json", "--title", "Đà Nẵng"], PAGE.as_bytes());
    let page: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(page["title"], "Đà Nẵng");
    assert_eq!(page["redirect"], serde_json::Value::Null);
    let text: Vec<char> = page["text"].as_str().unwrap().chars().collect();
    let slice = |item: &serde_json::Value| -> String {
        let place = |key: &str| usize::try_from(item[key].as_u64().unwrap()).unwrap();
        text[place("char_start")..place("char_end")].iter().collect()
    };
    assert_eq!(slice(&page["links"][0]), "city");
    assert_eq!(page["links"][0]["surface"], "city");
    assert_eq!(page["links"][0]["target"], "City");
    let sections: Vec<_> = page["sections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|section| (section["title"].as_str().unwrap(), slice(section)))
        .collect();
    assert_eq!(sections, [("", "Đà Nẵng is a city.".to_owned()), ("History", "Old.".to_owned())]);
    assert_eq!(page["categories"], serde_json::json!(["Cities"]));
}

#[test]
fn redirects_and_wrong_input_are_told() {
    let output = wikitext(&["--json"], "#REDIRECT [[Other page]]".as_bytes());
    let page: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((page["redirect"].as_str(), page["text"].as_str()), (Some("Other page"), Some("")));
    let output = wikitext(&[], b"abc \xFF def");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("error: stdin is not UTF-8 text: byte 4 is wrong") && message.contains("hint:"),
        "{message}"
    );
    let output = wikitext(&["/no/such/file"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(wikitext(&["--tables", "maybe"], b"").status.code(), Some(2));
}
