//! HTML, written as the wikitext that shows the same.
//!
//! html5gum gives the tokens of the WHATWG standard, which makes tokens of any bytes. Tags that wikitext has as well (paragraphs,
//! lists, tables, superscripts) are passed on without their attributes, headings become wikitext's, every letter that has a meaning in
//! wikitext a character reference: [`crate::wikitext`] alone knows what is shown. No tree is built, so an end tag that is missing
//! costs a break between two paragraphs at most.

use std::collections::HashMap;
use std::fmt::Write;

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

use super::markdown::{escape_letter, page_of};

/// Elements whose content is no prose: what runs, what is drawn, what is typed into, what leads elsewhere.
const HIDDEN: [&str; 20] = [
    "audio", "button", "canvas", "datalist", "iframe", "map", "nav", "noembed", "noframes", "noscript", "object",
    "script", "select", "style", "svg", "template", "textarea", "title", "video", "dialog",
];

/// Classes of elements that are no prose of a page of a wiki: references and their lists, boxes beside and below the text, notes above
/// it, what is there to be clicked.
const APPARATUS: [&str; 24] = [
    "ambox",
    "catlinks",
    "gallery",
    "hatnote",
    "infobox",
    "metadata",
    "mw-cite-backlink",
    "mw-editsection",
    "mw-empty-elt",
    "mw-gallery-traditional",
    "mw-ref",
    "mw-references-wrap",
    "navbox",
    "navigation-not-searchable",
    "noprint",
    "reference",
    "references",
    "reflist",
    "shortdescription",
    "sistersitebox",
    "stub",
    "thumb",
    "toc",
    "vertical-navbox",
];

/// What a tag is in wikitext.
enum Shown {
    /// The same tag.
    Same,
    /// A break between paragraphs.
    Paragraph,
    /// A heading of this level.
    Heading(usize),
    /// Lines that stay as they are.
    Lines,
    /// Nothing, and its content is part of what stands around it.
    Nothing,
}

fn shown(name: &str) -> Shown {
    match name {
        "blockquote" | "br" | "caption" | "dd" | "div" | "dl" | "dt" | "hr" | "li" | "ol" | "p" | "rt" | "rp"
        | "ruby" | "sub" | "sup" | "table" | "tbody" | "td" | "tfoot" | "th" | "thead" | "tr" | "ul" => Shown::Same,
        "address" | "article" | "aside" | "body" | "details" | "fieldset" | "figcaption" | "figure" | "footer"
        | "form" | "header" | "hgroup" | "legend" | "main" | "menu" | "optgroup" | "search" | "section" | "summary" => {
            Shown::Paragraph
        }
        "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Shown::Heading(usize::from(name.as_bytes()[1] - b'0')),
        "listing" | "pre" | "xmp" => Shown::Lines,
        _ => Shown::Nothing,
    }
}

fn tokens(html: &str) -> impl Iterator<Item = Token> {
    let mut emitter = DefaultEmitter::default();
    // Without a tree the tokenizer has to see itself that a script or a title holds no tags.
    emitter.naively_switch_states(true);
    // What is read from memory cannot fail.
    Tokenizer::new_with_emitter(html, emitter).filter_map(Result::ok)
}

/// A page of HTML as wikitext.
pub(super) fn wikitext(html: &str) -> String {
    written(html, false)
}

/// A page of a wiki in the HTML that Parsoid makes of it (<https://www.mediawiki.org/wiki/Specs/HTML>), as wikitext: what is no prose
/// goes, links to its pages and categories stay, formulas are those of their TeX.
pub(super) fn wikitext_of_page(html: &str) -> String {
    written(html, true)
}

fn written(html: &str, is_wiki: bool) -> String {
    let mut writer = Writer { out: String::with_capacity(html.len()), is_wiki, ..Writer::default() };
    for token in tokens(html) {
        if let Token::EndTag(tag) = token {
            *writer.ends.entry(lossy(&tag.name)).or_default() += 1;
        }
    }
    for token in tokens(html) {
        writer.token(token);
    }
    writer.end_heading();
    writer.out
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[derive(Default)]
struct Writer {
    out: String,
    /// End tags by name that are still ahead. An element whose end is missing hides nothing, or the rest of the page would be lost.
    ends: HashMap<String, usize>,
    /// The element that is not shown, and how many of its name are open in it.
    hidden: Option<(String, usize)>,
    /// Where the words of an open heading begin, and its level.
    heading: Option<(usize, usize)>,
    /// Inside of lines that stay as they are.
    in_lines: bool,
    /// The page is one of a wiki.
    is_wiki: bool,
    /// Where the words of open links begin, and the pages that they lead to.
    links: Vec<(usize, Option<String>)>,
}

/// The value of an attribute of a tag.
fn attribute(tag: &StartTag<()>, name: &str) -> String {
    tag.attributes.get(name.as_bytes()).map(|value| lossy(&value.value)).unwrap_or_default()
}

/// Whether an element of a page of a wiki is none of its prose.
fn is_apparatus(name: &str, tag: &StartTag<()>) -> bool {
    let role = attribute(tag, "role");
    let style = attribute(tag, "style").replace(' ', "").to_ascii_lowercase();
    let classes = attribute(tag, "class");
    matches!(name, "figure" | "annotation" | "annotation-xml" | "head")
        || matches!(role.as_str(), "navigation" | "note")
        || style.contains("display:none")
        || classes.split_ascii_whitespace().any(|class| APPARATUS.contains(&class))
}

impl Writer {
    fn token(&mut self, token: Token) {
        match token {
            Token::StartTag(tag) => {
                let name = lossy(&tag.name);
                let is_hidden = HIDDEN.contains(&name.as_str())
                    || tag.attributes.contains_key(b"hidden".as_slice())
                    || self.is_wiki && is_apparatus(&name, &tag);
                if self.is_wiki && self.hidden.is_none() && !is_hidden {
                    self.begin_of_wiki(&name, &tag);
                }
                match &mut self.hidden {
                    Some((hidden, depth)) => *depth += usize::from(*hidden == name && !tag.self_closing),
                    None if is_hidden && self.ends.get(&name).is_some_and(|ahead| *ahead > 0) => {
                        self.hidden = Some((name, 1));
                    }
                    None if self.is_wiki && name == "math" && self.ends.get(&name).is_some_and(|ahead| *ahead > 0) => {
                        self.hidden = Some((name, 1));
                    }
                    None => self.tag(&name, true),
                }
            }
            Token::EndTag(tag) => {
                let name = lossy(&tag.name);
                if let Some(ahead) = self.ends.get_mut(&name) {
                    *ahead = ahead.saturating_sub(1);
                }
                match &mut self.hidden {
                    Some((hidden, depth)) if *hidden == name => {
                        *depth -= 1;
                        if *depth == 0 || self.ends.get(&name).is_none_or(|ahead| *ahead == 0) {
                            self.hidden = None;
                        }
                    }
                    Some(_) => {}
                    None if self.is_wiki && name == "a" => self.end_link(),
                    None => self.tag(&name, false),
                }
            }
            Token::String(text) if self.hidden.is_none() => self.text(&lossy(&text)),
            _ => {}
        }
    }

    /// What the beginning of an element says in a page of a wiki: a link, a category, a formula.
    fn begin_of_wiki(&mut self, name: &str, tag: &StartTag<()>) {
        let (relation, address) = (attribute(tag, "rel"), attribute(tag, "href"));
        match name {
            "a" => {
                // A link inside of another one ends it, as HTML has it: each could go over the words of all others again.
                self.end_link();
                let page = page_of(&address, "").filter(|_| relation.contains("mw:WikiLink"));
                self.links.push((self.out.len(), page));
            }
            "link" if relation == "mw:PageProp/Category" => {
                // The namespace has the name of the wiki's language.
                let category = address.strip_prefix("./").and_then(|title| title.split_once(':'));
                if let Some(title) = category.and_then(|(_, title)| page_of(&format!("./{title}"), "")) {
                    let _ = write!(self.out, "[[Category:{title}]]");
                }
            }
            "math" => {
                let formula = attribute(tag, "alttext").replace("</", "< /");
                let _ = write!(self.out, "<math>{}</math>", formula.replace('&', "&amp;"));
            }
            _ => {}
        }
    }

    /// Puts the marks around the words of a link to another page.
    fn end_link(&mut self) {
        let Some((start, page)) = self.links.pop() else { return };
        let Some(page) = page.filter(|_| start <= self.out.len()) else { return };
        let words = self.out.split_off(start);
        if words.contains(['<', '\n']) || words.trim().is_empty() {
            self.out.push_str(&words);
            return;
        }
        // Spaces stand outside of a link, whose words are trimmed.
        let (bare, rest) = (words.trim_start_matches(' '), words.trim_end_matches(' ').len());
        let (before, after) = (&words[..words.len() - bare.len()], &words[rest..]);
        let _ = write!(self.out, "{before}[[{page}|{}]]{after}", bare.trim_end_matches(' '));
    }

    fn tag(&mut self, name: &str, opens: bool) {
        let shown = shown(name);
        if self.in_lines && !matches!(shown, Shown::Lines | Shown::Nothing) {
            return;
        }
        if !matches!(shown, Shown::Nothing) && name != "sup" && name != "sub" && name != "br" {
            self.end_heading();
        }
        let slash = if opens { "" } else { "/" };
        let _ = match shown {
            Shown::Same => write!(self.out, "<{slash}{name}>"),
            Shown::Paragraph => write!(self.out, "<{slash}div>"),
            Shown::Heading(level) => {
                self.out.push_str("\n\n");
                self.heading = opens.then_some((self.out.len(), level));
                Ok(())
            }
            Shown::Lines if opens != self.in_lines => {
                self.in_lines = opens;
                write!(self.out, "{}<{slash}pre>{}", if opens { "\n\n" } else { "" }, if opens { "" } else { "\n\n" })
            }
            Shown::Lines | Shown::Nothing => Ok(()),
        };
    }

    /// Puts the marks around a heading.
    fn end_heading(&mut self) {
        let Some((start, level)) = self.heading.take() else { return };
        let words = self.out.split_off(start);
        // Links that the heading leaves open have lost their place.
        self.links.iter_mut().filter(|(at, _)| *at >= start).for_each(|(_, page)| *page = None);
        if !words.trim().is_empty() {
            // The first level is that of the title.
            let marks = "=".repeat(level.max(2));
            let _ = write!(self.out, "{marks} {} {marks}\n\n", words.trim());
        }
    }

    /// White space is one space, and none where a line of wikitext would begin with it.
    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            if self.in_lines {
                if letter == '\n' { self.out.push('\n') } else { escape_letter(letter, &mut self.out) }
            } else if !letter.is_ascii_whitespace() {
                escape_letter(letter, &mut self.out);
            } else if !self.out.is_empty() && !self.out.ends_with([' ', '\n']) {
                self.out.push(' ');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::extracted::{Markup, Text, clean};
    use crate::wikitext::{CleanOptions, Keep, WikiContext};

    fn prose(html: &str) -> String {
        let options = CleanOptions { tables: Keep::Keep, ..CleanOptions::default() };
        let text = Text { text: html.to_owned(), markup: Markup::Html, ..Text::default() };
        clean(&text, &WikiContext::default().with_options(options)).text_with_headings()
    }

    #[test]
    fn tags_go_and_words_stay() {
        for (html, expected) in [
            ("<p>Mira is a <b>small</b> <a href=\"/x\">town</a>.<p>It is old.", "Mira is a small town.\n\nIt is old."),
            (
                "<h1>Mira</h1><p>A town.</p><h2>Its <i>walls</i></h2><div>High.</div>",
                "## Mira\n\nA town.\n\n## Its walls\n\nHigh.",
            ),
            ("<ul>\n <li>one</li>\n <li>two</li>\n</ul><p>after", "one\ntwo\n\nafter"),
            ("a<br>b &amp; c &lt;d&gt; caf&eacute;", "a\nb & c <d> café"),
            (
                "<table><tr><th>year</th><th>height</th></tr><tr><td>1901</td><td>3 m</td></tr></table>",
                "year | height\n1901 | 3 m",
            ),
            ("10<sup>6</sup> H<sub>2</sub>O", "10⁶ H2O"),
            ("<section><main>x</main></section><custom-tag>y</custom-tag>", "x\n\ny"),
            ("a\n  b\t c", "a b c"),
        ] {
            assert_eq!(prose(html), expected, "{html}");
        }
    }

    #[test]
    fn pages_of_wikis_have_links_and_categories_and_no_apparatus() {
        let html = "<!DOCTYPE html><html><head><title>Mira</title><link rel=\"stylesheet\" href=\"x\"/></head><body>\
            <section data-mw-section-id=\"0\"><div class=\"hatnote navigation-not-searchable\" role=\"note\">See <a>Mira B</a>.</div>\
            <table class=\"infobox vcard\"><tr><td>Pop</td><td>5</td></tr></table>\
            <p><b>Mira</b> is a <a rel=\"mw:WikiLink\" href=\"./Town_(place)#Top\" title=\"Town\">small <i>town</i></a> by the \
            <a rel=\"mw:WikiLink\" href=\"./Lorn\"><span>Lorn</span></a>.<sup class=\"mw-ref reference\"><a href=\"#n\">[1]</a></sup> \
            It has <span style=\"display: none\">0005</span>five mills, 10<sup>3</sup> trees, \
            <span class=\"mwe-math-element\"><math alttext=\"x^2\"><mi>x</mi><annotation>x</annotation></math><img src=\"x\"/></span>, \
            <a rel=\"mw:ExtLink\" href=\"https://example.org\">a site</a>.</p>\
            <figure><img src=\"x\"/><figcaption>A view.</figcaption></figure></section>\
            <section><h2 id=\"Past\">Past<span class=\"mw-editsection\">[edit]</span></h2><p>It is old.</p></section>\
            <div class=\"mw-references-wrap\"><ol class=\"references\"><li>Note.</li></ol></div>\
            <div role=\"navigation\" class=\"navbox\"><div>Nav</div></div>\
            <link rel=\"mw:PageProp/Category\" href=\"./Category:Towns_of_Lorn#x\"/></body></html>";
        let text = Text { text: html.to_owned(), markup: Markup::Parsoid, ..Text::default() };
        let page = clean(&text, &WikiContext::default());
        assert_eq!(
            page.text_with_headings(),
            "Mira is a small town by the Lorn. It has five mills, 10³ trees, x², a site.\n\n## Past\n\nIt is old."
        );
        let links: Vec<(&str, &str)> =
            page.links.iter().map(|link| (&page.text[link.span.clone()], link.target.as_str())).collect();
        assert_eq!(links, [("small town", "Town (place)"), ("Lorn", "Lorn")]);
        assert_eq!(page.categories, ["Towns of Lorn"]);
    }

    #[test]
    fn links_that_are_not_closed_where_they_should_be_end_with_what_is_around_them() {
        let page = |html: &str| {
            clean(&Text { text: html.to_owned(), markup: Markup::Parsoid, ..Text::default() }, &WikiContext::default())
        };
        let open = "<a rel=\"mw:WikiLink\" href=\"./Lorn\">";
        for words in ["\u{e9}", "\u{e9}\u{e9}", "\u{e9}\u{e9}\u{e9}", "a", "ab", "\u{5317}\u{4eac}"] {
            let shown =
                page(&format!("<p>x</p><h2>{words}{open}\u{e9}\u{5317}</h2>{words}</a> y<p>z")).text_with_headings();
            assert_eq!(shown, format!("x\n\n## {words}\u{e9}\u{5317}\n\n{words} y\n\nz"));
        }
        let nested = page(&format!("<p>{open}one {open}two </a>three</a>."));
        assert_eq!(nested.text, "one two three.");
        assert_eq!(nested.links.iter().map(|link| &nested.text[link.span.clone()]).collect::<Vec<_>>(), ["one", "two"]);
        // Each with all words behind it: hours.
        let started = std::time::Instant::now();
        let many = page(&format!("<p>{} {}", open.repeat(100_000), "word </a>".repeat(100_000)));
        assert!(many.text.starts_with("word word") && started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    #[test]
    fn what_is_no_prose_is_not_shown_and_hides_no_more_than_itself() {
        let page = "<!doctype html><html><head><title>T</title><style>p{x:1}</style><script>if (a</b>) \"<p>\"</script></head>\
            <body><nav><ul><li>Home</ul></nav><p>Mira.<!-- no --><svg><text>x</text></svg><p hidden>secret</p><p>End.";
        assert_eq!(prose(page), "Mira.\n\nEnd.");
        assert_eq!(prose("<nav><a>Home</a><p>Mira is a town."), "Home\n\nMira is a town.");
        assert_eq!(prose("<nav><nav>a</nav>Mira."), "Mira.");
        assert_eq!(prose("<div hidden>a<div>b</div>c</div>d"), "d");
    }

    #[test]
    fn marks_of_wikitext_are_text() {
        for text in ["''x'' [[y]] {{z}}", "= no heading =", ": no indent", "* no list", "__TOC__ -{a}- ~~~~", "{| a |}"]
        {
            assert_eq!(prose(&format!("<p>{text}</p>")), text, "{text}");
        }
    }

    #[test]
    fn lines_that_are_laid_out_stay() {
        assert_eq!(prose("<p>Run:</p><pre>ls <b>-l</b>\n  &lt;tmp</pre><p>Done."), "Run:\n\nls -l\n<tmp\n\nDone.");
    }

    proptest! {
        #[test]
        fn any_text_goes_through(html in "(<|>|/|!|--|&|;|p|nav|pre|h1|table|td|sup|script| |\n|\"|=|'|[a-z]{1,3}){0,60}") {
            let _ = prose(&html);
        }

        #[test]
        fn every_word_of_a_paragraph_is_kept(words in proptest::collection::vec("[a-zé0-9]{1,8}", 1..20)) {
            let html: String = words.iter().map(|word| format!("<p>{word}</p>")).collect();
            prop_assert_eq!(prose(&html), words.join("\n\n"));
        }
    }
}
