//! Markdown, written as the wikitext that shows the same.
//!
//! So there is one place that knows what becomes of headings, lists, tables, formulas and listings: [`crate::wikitext`]. All letters that
//! have a meaning in wikitext are written as character references; what Markdown marks is written in wikitext's own marks.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::Text;

/// Whether a text shows that it is Markdown: by a heading, a table, a fence, a link with its address, or words in bold. Marks that plain
/// texts have as well (list items, single asterisks) do not count.
pub(super) fn is_shown_by(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    is_mark(first, 1) || lines.any(|line| is_mark(line, 2))
}

/// Whether a line shows it; `least` is the level of headings from which on they count.
fn is_mark(line: &str, least: usize) -> bool {
    let level = line.bytes().take_while(|&byte| byte == b'#').count();
    let is_heading = (least..=6).contains(&level) && line[level..].starts_with(' ') && !line[level..].trim().is_empty();
    let is_table = line.starts_with('|') && line.contains("--") && line.bytes().all(|byte| b"|-: \t".contains(&byte));
    is_heading || is_table || line.starts_with("```") || has_link(line) || has_bold(line)
}

/// Whether `[words](address)` stands in a line.
fn has_link(line: &str) -> bool {
    // Each part is looked at once: a line may be a whole article, and have as many openings as letters.
    let mut parts = line.split("](");
    let mut opened = parts.next().is_some_and(|words| words.contains('['));
    parts.any(|part| {
        let address = part.split_once(')').map_or("", |(address, _)| address);
        let is_link = opened && (address.contains("://") || address.starts_with(['/', '.', '#', '<']));
        opened |= part.contains('[');
        is_link
    })
}

/// Whether `**words**` stands in a line.
fn has_bold(line: &str) -> bool {
    line.match_indices("**").any(|(at, _)| {
        let (before, behind) = (&line[..at], &line[at + 2..]);
        let opens = !before.ends_with(char::is_alphanumeric) && behind.starts_with(char::is_alphabetic);
        opens && behind.find("**").is_some_and(|end| !behind[..end].ends_with(char::is_whitespace))
    })
}

/// Quotations, lists and footnotes inside one another that are told apart. The parser looks at all that are open for every line.
const MAX_NESTING: usize = 32;
/// Marks before an item of a list: a line of wikitext repeats those of the lists around it.
const MAX_MARKS: usize = 6;

/// The text without the marks and spaces before a line that would nest it deeper than [`MAX_NESTING`].
fn flattened(text: &str) -> Cow<'_, str> {
    let mut flat = String::new();
    let mut copied = 0;
    let mut start = 0;
    for line in text.split_inclusive(['\n', '\r']) {
        if let Some(range) = beyond(line) {
            flat.push_str(&text[copied..start + range.start]);
            copied = start + range.end;
        }
        start += line.len();
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    flat.push_str(&text[copied..]);
    Cow::Owned(flat)
}

/// The part of the marks before a line that nests too deeply, without the last mark: an item of a list stays one. A level of a list
/// takes a mark or two columns of space at least, others their mark.
fn beyond(line: &str) -> Option<Range<usize>> {
    let bytes = line.as_bytes();
    let is_space = |at: usize| matches!(bytes.get(at), None | Some(b' ' | b'\t' | b'\n' | b'\r'));
    let (mut at, mut half_levels, mut cut, mut last_mark) = (0, 0, None, 0..0);
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes[at..].iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
        let (length, weight) = match byte {
            b' ' => (1, 1),
            b'\t' => (1, 4),
            b'>' => (1, 2),
            b'-' | b'*' | b'+' if is_space(at + 1) => (1, 2),
            b'0'..=b'9' if matches!(bytes.get(at + digits), Some(b'.' | b')')) && is_space(at + digits + 1) => {
                (digits + 1, 2)
            }
            b'[' if bytes.get(at + 1) == Some(&b'^') => match line[at..].find("]:") {
                Some(end) => (end + 2, 2),
                None => break,
            },
            _ => break,
        };
        half_levels += weight;
        if half_levels > 2 * MAX_NESTING {
            cut.get_or_insert(at);
        }
        if !byte.is_ascii_whitespace() {
            last_mark = at..at + length;
        }
        at += length;
    }
    let cut = cut?;
    // A mark keeps the space behind it.
    let excess = if last_mark.start >= cut { cut..last_mark.start } else { cut.max(last_mark.end + 1)..at };
    (!excess.is_empty()).then_some(excess)
}

/// A text in Markdown as wikitext.
pub(super) fn wikitext(source: &Text) -> String {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH;
    let mut writer = Writer::new(source);
    let text = flattened(&source.text);
    for event in Parser::new_ext(&text, options) {
        writer.event(event);
    }
    writer.out
}

struct Writer<'a> {
    source: &'a Text,
    out: String,
    /// Lists around this place, the inner last: the mark of their items.
    lists: Vec<char>,
    /// Where the words of links around this place begin in `out`, each with the page that the link leads to, if it leads to one.
    links: Vec<(usize, Option<String>, String)>,
    /// Where the heading that is being written begins in `out`, with its level.
    heading: Option<(usize, usize)>,
    /// Elements around this place of which nothing is shown.
    hidden: usize,
    /// The code block that is being read.
    code: Option<String>,
    in_cell: bool,
}

impl<'a> Writer<'a> {
    fn new(source: &'a Text) -> Self {
        let out = String::with_capacity(source.text.len() * 2);
        Writer {
            source,
            out,
            lists: Vec::new(),
            links: Vec::new(),
            heading: None,
            hidden: 0,
            code: None,
            in_cell: false,
        }
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            _ if self.hidden > 0 => {}
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => escape(&text, &mut self.out),
            },
            Event::Code(code) => escape(&code, &mut self.out),
            Event::InlineMath(formula) | Event::DisplayMath(formula) => {
                // Nothing that ends the formula can stand in it.
                let _ = write!(self.out, "<math>{}</math>", formula.replace("</", ""));
            }
            Event::Html(html) | Event::InlineHtml(html) => self.out.push_str(&html),
            Event::SoftBreak => self.out.push(' '),
            Event::HardBreak => self.out.push_str(if self.heading.is_some() || self.in_cell { " " } else { "<br>" }),
            Event::Rule => self.out.push_str("\n\n"),
            Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::FootnoteDefinition(_) | Tag::Image { .. } | Tag::MetadataBlock(_) => self.hidden += 1,
            _ if self.hidden > 0 => {}
            Tag::Heading { level, .. } => {
                self.out.push_str("\n\n");
                self.heading = Some((self.out.len(), level as usize));
            }
            Tag::List(first) => self.lists.push(if first.is_some() { '#' } else { '*' }),
            Tag::Item => {
                self.out.push('\n');
                self.out.extend(self.lists.iter().take(MAX_MARKS));
                self.out.push(' ');
            }
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => self.code = Some(String::new()),
            Tag::Table(_) => self.out.push_str("\n\n{|\n"),
            Tag::TableHead | Tag::TableRow => self.out.push_str("|-\n"),
            Tag::TableCell => {
                self.out.push_str("| ");
                self.in_cell = true;
            }
            Tag::Link { dest_url, .. } => {
                let page = page_of(&dest_url, &self.source.url);
                self.links.push((self.out.len(), page, dest_url.into_string()));
            }
            Tag::HtmlBlock => self.out.push_str("\n\n"),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::FootnoteDefinition | TagEnd::Image | TagEnd::MetadataBlock(_) => self.hidden -= 1,
            _ if self.hidden > 0 => {}
            TagEnd::Heading(_) => self.end_heading(),
            TagEnd::List(_) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.out.push_str("\n\n");
                }
            }
            // Further paragraphs of an item stay in its line: a line of wikitext is all that an item has.
            TagEnd::Paragraph => self.out.push_str(if self.lists.is_empty() { "\n\n" } else { " " }),
            TagEnd::CodeBlock => {
                let code = self.code.take().unwrap_or_default().replace("</", "< /");
                let _ = write!(self.out, "\n\n<syntaxhighlight>{code}</syntaxhighlight>\n\n");
            }
            TagEnd::Table => self.out.push_str("|}\n\n"),
            TagEnd::TableCell => {
                self.out.push('\n');
                self.in_cell = false;
            }
            TagEnd::Link => self.end_link(),
            TagEnd::HtmlBlock => self.out.push_str("\n\n"),
            _ => {}
        }
    }

    /// Puts the marks around a heading. The first one repeats the title in many corpora, and is none then.
    fn end_heading(&mut self) {
        let Some((start, level)) = self.heading.take() else { return };
        let words = self.out.split_off(start);
        let mut title = String::new();
        escape(&self.source.title, &mut title);
        let repeats = self.out.trim().is_empty() && words.trim() == title;
        if !repeats && !words.trim().is_empty() {
            // The first level is that of the title.
            let marks = "=".repeat(level.max(2));
            let _ = write!(self.out, "{marks} {} {marks}\n\n", words.trim());
        }
    }

    /// Puts the marks around the words of a link to another page. An address that stands for itself is none of the prose.
    fn end_link(&mut self) {
        let Some((start, page, address)) = self.links.pop() else { return };
        let words = self.out.split_off(start);
        let mut escaped = String::new();
        escape(&address, &mut escaped);
        match page {
            Some(page) if !words.trim().is_empty() => {
                let _ = write!(self.out, "[[{page}|{words}]]");
            }
            _ if words == escaped => {}
            _ => self.out.push_str(&words),
        }
    }
}

/// The title of the page that an address leads to from a page of the same wiki; `None` for other addresses, and for pages that are no
/// articles.
pub(super) fn page_of(address: &str, from: &str) -> Option<String> {
    let host = |url: &str| url.split_once("//").map(|(_, rest)| rest.split('/').next().unwrap_or_default().to_owned());
    let path = match host(address) {
        Some(there) if !there.is_empty() && Some(&there) == host(from).as_ref() => {
            address.split_once("//")?.1.split_once('/')?.1
        }
        Some(_) => return None,
        None => address.strip_prefix('/').unwrap_or(address),
    };
    let name = path.strip_prefix("wiki/").or_else(|| path.strip_prefix("./"))?;
    let name = name.split(['#', '?']).next().unwrap_or_default();
    let title = percent_decoded(name)?.replace('_', " ");
    let is_title = !title.trim().is_empty() && !title.contains(['[', ']', '{', '}', '|', '<', '>', ':', '&', '\n']);
    is_title.then_some(title)
}

/// `None` where it does not come to UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        let hex = (*byte == b'%').then(|| behind.get(..2)).flatten().and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Writes text so that nothing in it is a mark of wikitext.
fn escape(text: &str, out: &mut String) {
    text.chars().for_each(|letter| escape_letter(if letter == '\n' { ' ' } else { letter }, out));
}

/// Writes a letter as itself, or as a character reference where wikitext has a meaning for it.
pub(super) fn escape_letter(letter: char, out: &mut String) {
    match letter {
        '\'' | '[' | ']' | '{' | '}' | '|' | '<' | '>' | '&' | '=' | '*' | '#' | ':' | ';' | '_' | '~' | '!' | '-' => {
            let _ = write!(out, "&#{};", letter as u32);
        }
        letter => out.push(letter),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::extracted::{Markup, clean};
    use crate::wikitext::{CleanOptions, CleanPage, Keep, Math, WikiContext};

    fn cleaned(markdown: &str, options: CleanOptions) -> CleanPage {
        let (title, url) = ("Mira".to_owned(), "https://en.example.org/wiki/Mira".to_owned());
        let text = Text { title, url, text: markdown.to_owned(), markup: Markup::Markdown, ..Text::default() };
        clean(&text, &WikiContext::default().with_options(options))
    }

    fn prose(markdown: &str) -> String {
        cleaned(markdown, CleanOptions::default()).text
    }

    #[test]
    fn marks_go_and_words_stay() {
        for (markdown, expected) in [
            ("**Mira** is a *small* ~~old~~ __town__.", "Mira is a small old town."),
            (
                "It has a [bridge](https://example.org/b \"Bridge\") and a [mill][1].\n\n[1]: /mill",
                "It has a bridge and a mill.",
            ),
            ("![A view](view.jpg) The view.[^1]\n\n[^1]: A note.", "The view."),
            ("A line\nthat goes on.\n\n---\n\nAnother.", "A line that goes on.\n\nAnother."),
            ("- one\n- two\n  - inside\n\n1. first\n2. second", "one\ntwo\ninside\n\nfirst\nsecond"),
            ("- one\n\n  more of it\n\n- two", "one more of it\ntwo"),
            ("> They said so.\n\nYes.", "They said so.\n\nYes."),
            ("Call `f(x)` here.", "Call f(x) here."),
            ("H<sub>2</sub>O and x<sup>2</sup><br>next", "H2O and x²\nnext"),
            ("See <https://example.org/a> for more.", "See for more."),
            ("It's 5 &lt; 6 &amp; done.", "It's 5 < 6 & done."),
        ] {
            assert_eq!(prose(markdown), expected, "{markdown}");
        }
    }

    #[test]
    fn what_nests_deeply_is_flat() {
        let depth = 100_000;
        for mark in ["- ", "1. ", "> ", "> - ", "* * "] {
            for before in ["", "A\r"] {
                let markdown = format!("{before}{}Mira\nis a town.", mark.repeat(depth));
                assert!(prose(&markdown).ends_with("Mira is a town."), "{before:?} {mark}");
            }
        }
        assert_eq!(prose(&format!("A.\n\n[^1]: {}x{}", "- ".repeat(depth), "\nx".repeat(depth))), "A.");
        let stairs: String = (0..300).map(|level| format!("{}- step\n", " ".repeat(2 * level))).collect();
        let steps = prose(&stairs);
        assert_eq!(steps.split_whitespace().filter(|word| *word == "step").count(), 300, "{steps}");
        // Every line is held against all lists that are open.
        let lazy = format!("{}{}", "- ".repeat(depth), "Mira\n".repeat(depth));
        assert_eq!(prose(&lazy).split_whitespace().filter(|word| *word == "Mira").count(), depth);
        assert!(matches!(flattened("> - 1. Mira\n\n    ls\n\n---\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_long_line_of_brackets_is_read_once() {
        let brackets = "[a](b ".repeat(1 << 19);
        assert!(!is_shown_by(&brackets));
        assert!(is_shown_by(&format!("{brackets}\n[a](/b)")));
    }

    #[test]
    fn marks_of_wikitext_are_text() {
        for text in
            ["''x'' [[y]] {{z}} {| a |}", "= no heading =", ": no indent", "; no term", "{{{1}}} -{a}- x__TOC__"]
        {
            assert_eq!(prose(text), text, "{text}");
        }
        assert_eq!(prose("a \\* b \\# c"), "a * b # c");
    }

    #[test]
    fn headings_become_sections() {
        let page = cleaned(
            "# Mira\n\nA town.\n\n## History of [it](/x)\n\nOld.\n\n### Walls\n\nHigh.\n\nSights\n------\n\nMany.",
            CleanOptions::default(),
        );
        let sections: Vec<(&str, u8, &str)> = page
            .sections
            .iter()
            .map(|section| (section.title.as_str(), section.level, &page.text[section.span.clone()]))
            .collect();
        assert_eq!(
            sections,
            [("", 1, "A town."), ("History of it", 2, "Old."), ("Walls", 3, "High."), ("Sights", 2, "Many.")]
        );
    }

    #[test]
    fn links_of_the_same_wiki_are_links() {
        let page = cleaned(
            "In [the valley](https://en.example.org/wiki/Lorn_%28valley%29#Top) by [Ost](/wiki/Ost), see [that](https://other.org/wiki/That) and [it](/wiki/File:It.jpg).",
            CleanOptions::default(),
        );
        let links: Vec<(&str, &str)> =
            page.links.iter().map(|link| (&page.text[link.span.clone()], link.target.as_str())).collect();
        assert_eq!(links, [("the valley", "Lorn (valley)"), ("Ost", "Ost")]);
        assert_eq!(page.text, "In the valley by Ost, see that and it.");
    }

    #[test]
    fn tables_formulas_and_listings_are_those_of_wikitext() {
        let table = "Before.\n\n| year | height |\n|---|--:|\n| 1901 | 3 \\| m |\n\nAfter.";
        assert_eq!(prose(table), "Before.\n\nAfter.");
        let kept = CleanOptions { tables: Keep::Keep, ..CleanOptions::default() };
        assert_eq!(cleaned(table, kept).text, "Before.\n\nyear | height\n1901 | 3 | m\n\nAfter.");
        assert_eq!(
            prose("So $x^2$ grows.\n\n$$\\int_0^1 \\frac{f}{g}$$\n\nIt costs $5 or $6."),
            "So x² grows.\n\nIt costs $5 or $6."
        );
        let tex = CleanOptions { math: Math::Tex, ..CleanOptions::default() };
        assert_eq!(cleaned("So $x^2$ grows.", tex).text, "So x^2 grows.");
        assert_eq!(prose("Run it:\n\n```sh\nls </tmp\n```\n\nDone."), prose("Run it:\n\n    ls </tmp\n\nDone."));
    }

    #[test]
    fn plain_text_does_not_show_markdown() {
        for text in [
            "## History",
            "See [x](https://example.org).",
            "| a | b |\n|---|:-:|",
            "**Mira** is.",
            "# Mira\n\nx",
            "```\nx\n```",
        ] {
            assert!(is_shown_by(text), "{text}");
        }
        for text in
            ["A # b", "x\n# comment", "2**3 and 4**5", "a [1](note)", "* one\n* two", "- x", "#1 hit", "|x|", "it *is*"]
        {
            assert!(!is_shown_by(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_every_word_is_kept(words in proptest::collection::vec("[a-z]{2,6}", 1..20), marks in proptest::collection::vec(r#"[ *_#\[\](){}|<>`$~\n'=:;!&-]{0,3}"#, 20)) {
            let text: String = words.iter().zip(&marks).flat_map(|(word, mark)| [word.as_str(), mark.as_str()]).collect();
            let _ = prose(&text);
            let plain = words.join(" ");
            prop_assert_eq!(prose(&plain), plain);
        }
    }
}
