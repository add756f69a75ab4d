//! Files as one text: what they are, and what of it is read.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use memtrain_corpora::extracted::{Markup, Text, clean};
use memtrain_corpora::store;
use memtrain_corpora::wikitext::{CleanOptions, Keep, Math, WikiContext};

use crate::cli::failure::{Usage, WithHint};
use crate::cli::input::Input;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    /// By the name: .md, .markdown, .html, .htm, .xhtml; HTML also by its beginning, text from a PDF by its form feeds; else text
    Auto,
    /// Plain text, as it is
    Text,
    /// What `pdftotext` and the like print: lines of a paragraph are joined, words that were divided at line ends too
    PdfText,
    /// Markdown: its words, headings and tables
    Markdown,
    /// HTML: its words, headings and tables; no menus, scripts and forms
    Html,
    /// The wikitext of a page
    Wikitext,
}

/// Files that are no text, by their beginning: what they are, and how their text is had.
const NO_TEXT: [(&[u8], &str, &str); 9] = [
    (b"%PDF-", "a PDF", "extract its text first: `pdftotext FILE - | memtrain read - …`"),
    (
        b"PK\x03\x04",
        "a zip archive or an office document",
        "write its text first, for example with `pandoc -t plain FILE`",
    ),
    (b"{\\rtf", "an RTF document", "write its text first, for example with `pandoc -t plain FILE`"),
    (b"\xD0\xCF\x11\xE0", "an old office document", "save it as text first"),
    (b"\x1F\x8B", "packed with gzip", "unpack it first: `gzip -dc FILE | memtrain read - …`"),
    (b"BZh", "packed with bzip2", "unpack it first: `bzip2 -dc FILE | memtrain read - …`"),
    (b"\xFD7zXZ\0", "packed with xz", "unpack it first: `xz -dc FILE | memtrain read - …`"),
    (b"\x28\xB5\x2F\xFD", "packed with zstd", "unpack it first: `zstd -dc FILE | memtrain read - …`"),
    (b"PAR1", "a Parquet table", "write the column of its texts as text first"),
];

/// The files one after the other, a blank line between two.
///
/// # Errors
/// If one cannot be read, is no text or has none.
pub fn read(files: &[PathBuf], format: TextFormat) -> anyhow::Result<String> {
    if files.iter().filter(|file| *file == Path::new("-")).count() > 1 {
        return Err(Usage("`-` is named twice, and standard input can be read once".to_owned()).into());
    }
    let mut all = String::new();
    for file in files {
        let text = one(file, format)?;
        match all.is_empty() {
            // The text of a single file is not copied.
            true => all = text,
            false => {
                all.truncate(all.trim_end().len());
                all.push_str("\n\n");
                all.push_str(&text);
            }
        }
    }
    Ok(all)
}

fn one(file: &Path, format: TextFormat) -> anyhow::Result<String> {
    if store::is_dir(file) {
        return Err(anyhow::anyhow!("`{}` is a folder", file.display()))
            .hint(|| format!("name the files in it, for example `{}`", file.join("*.txt").display()));
    }
    let input = Input::read(Some(file))?;
    let name = input.name.clone();
    if let Some((_, what, hint)) = NO_TEXT.iter().find(|(beginning, ..)| input.bytes.starts_with(beginning)) {
        return Err(anyhow::anyhow!("{name} is no text: it is {what}")).hint(|| (*hint).to_owned());
    }
    let text = input.text()?;
    if let Some(byte) = text.bytes().position(|byte| byte == 0) {
        return Err(anyhow::anyhow!("{name} is no text: byte {byte} is NUL"))
            .hint(|| "a binary file cannot be read; write its text first".to_owned());
    }
    let format = if format == TextFormat::Auto { recognised(file, &text) } else { format };
    let text = match format {
        TextFormat::Text | TextFormat::Auto => unix_lines(text),
        TextFormat::PdfText => joined_lines(&unix_lines(text)),
        TextFormat::Markdown => prose(text, Markup::Markdown),
        TextFormat::Html => prose(text, Markup::Html),
        TextFormat::Wikitext => prose(text, Markup::Wikitext),
    };
    if text.trim().is_empty() {
        return Err(anyhow::anyhow!("{name} has no text")).hint(|| {
            "there is nothing to read in it; scanned pages have none before their letters are recognised".to_owned()
        });
    }
    Ok(text)
}

/// What a file is, by its name and its beginning.
fn recognised(file: &Path, text: &str) -> TextFormat {
    let extension = file.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "md" | "markdown" => return TextFormat::Markdown,
        "html" | "htm" | "xhtml" => return TextFormat::Html,
        _ => {}
    }
    let beginning: String = text.trim_start().chars().take(9).collect::<String>().to_ascii_lowercase();
    match beginning.starts_with("<!doctype") || beginning.starts_with("<html") {
        true => TextFormat::Html,
        false if text.contains('\u{c}') => TextFormat::PdfText,
        false => TextFormat::Text,
    }
}

/// What is shown of a page of markup, with headings, tables and formulas.
fn prose(text: String, markup: Markup) -> String {
    let options =
        CleanOptions { tables: Keep::Keep, infoboxes: Keep::Keep, math: Math::Tex, pronunciations: Keep::Keep };
    let context = WikiContext::default().with_options(options);
    clean(&Text { text, markup, ..Text::default() }, &context).text_with_headings()
}

fn unix_lines(text: String) -> String {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text }
}

/// The paragraphs of a text in the lines of its pages. A blank line ends one, and so does a page, unless the next begins with a small
/// letter. A hyphen at the end of a line divides a word if small letters stand on both sides of it.
fn joined_lines(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for page in text.split('\u{c}') {
        let lines: Vec<&str> = page.lines().map(str::trim).collect();
        let body = body(&lines);
        let mut begins_paragraph = body.first().is_some_and(|line| !line.starts_with(char::is_lowercase));
        for line in body {
            if line.is_empty() {
                begins_paragraph = true;
            } else if joined.is_empty() {
                joined.push_str(line);
                begins_paragraph = false;
            } else if std::mem::take(&mut begins_paragraph) {
                joined.push_str("\n\n");
                joined.push_str(line);
            } else {
                append_line(&mut joined, line);
            }
        }
    }
    joined
}

/// The lines of a page without blank ones and its number at either edge.
fn body<'l>(lines: &'l [&'l str]) -> &'l [&'l str] {
    let mut body = without_blank_edges(lines);
    if let [number, rest @ ..] = body
        && is_page_number(number)
    {
        body = rest;
    }
    if let [rest @ .., number] = body
        && is_page_number(number)
    {
        body = rest;
    }
    without_blank_edges(body)
}

fn without_blank_edges<'l>(mut lines: &'l [&'l str]) -> &'l [&'l str] {
    while let ["", rest @ ..] | [rest @ .., ""] = lines {
        lines = rest;
    }
    lines
}

fn is_page_number(line: &str) -> bool {
    !line.is_empty() && line.len() <= 6 && line.bytes().all(|byte| byte.is_ascii_digit())
}

fn append_line(joined: &mut String, line: &str) {
    let divided = joined.strip_suffix(['-', '\u{ad}', '\u{2010}']).filter(|word| word.ends_with(char::is_lowercase));
    match divided.filter(|_| line.starts_with(char::is_lowercase)).map(str::len) {
        Some(end) => joined.truncate(end),
        None => joined.push(' '),
    }
    joined.push_str(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_pages_become_paragraphs() {
        let pages = "Mira is a small town in the val-\nley of Lorn. It has well-\nKnown walls.\n\nIts king was\n\n  12\n\u{c}\
            born in 1901.\n\nA new paragraph.\n13\n\u{c}Another page\n14\n";
        let expected = "Mira is a small town in the valley of Lorn. It has well- Known walls.\n\nIts king was born in 1901.\n\n\
            A new paragraph.\n\nAnother page";
        assert_eq!(joined_lines(pages), expected);
        assert_eq!(joined_lines("\n\u{c}\n"), "");
    }

    #[test]
    fn what_a_file_is_is_told_by_its_name_and_its_beginning() {
        let told = |name: &str, text: &str| recognised(Path::new(name), text);
        assert_eq!(told("a.MD", "x"), TextFormat::Markdown);
        assert_eq!(told("-", " <!DOCTYPE html>x"), TextFormat::Html);
        assert_eq!(told("-", "<HTML>"), TextFormat::Html);
        assert_eq!(told("a.txt", "a\u{c}b"), TextFormat::PdfText);
        assert_eq!(told("a.txt", "# é"), TextFormat::Text);
    }
}
