//! Documents made as trees and written as wikitext: what the tree says is what must come out. The tree is rendered to text
//! by a few lines here that know nothing of how wikitext is read.

use memtrain_corpora::wikitext::{WikiContext, clean};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Inline {
    Words(String),
    Bold(Vec<Inline>),
    Italic(Vec<Inline>),
    Link(String),
    Piped(String, Vec<Inline>),
    External(Vec<Inline>),
    Nowrap(Vec<Inline>),
    Span(Vec<Inline>),
    Literal(String),
    Entity,
    Dropped(&'static str),
    File(Vec<Inline>),
}

#[derive(Clone, Debug)]
enum Block {
    Paragraph(Vec<Inline>),
    Heading(u8, String),
    List(Vec<(usize, Vec<Inline>)>),
    Definition(String, Vec<Inline>),
    Quotation(Vec<Inline>),
    Dropped(&'static str),
    Table(Vec<Inline>),
    Infobox(Vec<Inline>),
}

/// What is in the text and leaves nothing in it.
const DROPPED: &[&str] = &[
    "<ref>r [[x]] ''y''</ref>",
    "<ref name=\"a\" />",
    "<!-- c ''d'' [[e]] -->",
    "{{citation needed|date=May 2010}}",
    "{{sfn|Smith|2000|p=1}}",
    "{{cite web|url=http://a.b/c?d=e|title=[[T]] ''U''}}",
    "__NOTOC__",
    "[[Category:Things]]",
    "[[de:Ding]]",
    "{{#invoke:m|f|x}}",
    "<ref group=n>{{cite book|last=A|title=B {{=}} C}}</ref>",
];

const DROPPED_BLOCKS: &[&str] = &[
    "{{Main|Other page}}",
    "<gallery>\nFile:A.jpg|b [[c]]\n</gallery>",
    "{| class=\"x\"\n! a !! b\n|-\n| c || {{d}}\n|}",
    "{{Infobox thing\n| name = {{nowrap|N}}\n| x = [[y]]\n}}",
    "<!-- nothing -->",
    "[[File:A.jpg|thumb|left|A ''caption'' with [[a link|its label]] and {{convert|1|km}}]]",
    "{{Use dmy dates|date=May 2010}}",
    "<references />",
    "<timeline>\na:b\n</timeline>",
];

fn words() -> impl Strategy<Value = String> {
    "[A-Za-zéж世]{1,7}( [a-zа-я]{1,6}){0,3}"
}

fn inline() -> impl Strategy<Value = Inline> {
    let leaf = prop_oneof![
        4 => words().prop_map(Inline::Words),
        2 => words().prop_map(Inline::Link),
        1 => words().prop_map(Inline::Literal),
        1 => Just(Inline::Entity),
        3 => prop::sample::select(DROPPED).prop_map(Inline::Dropped),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let some = prop::collection::vec(inner, 1..3);
        prop_oneof![
            some.clone().prop_map(Inline::Bold),
            some.clone().prop_map(Inline::Italic),
            (words(), some.clone()).prop_map(|(target, label)| Inline::Piped(target, label)),
            some.clone().prop_map(Inline::External),
            some.clone().prop_map(Inline::Nowrap),
            some.clone().prop_map(Inline::Span),
            some.prop_map(Inline::File),
        ]
    })
}

fn block() -> impl Strategy<Value = Block> {
    let line = || prop::collection::vec(inline(), 1..6);
    prop_oneof![
        4 => line().prop_map(Block::Paragraph),
        2 => (2u8..6, words()).prop_map(|(level, title)| Block::Heading(level, title)),
        2 => prop::collection::vec((1usize..4, line()), 1..4).prop_map(Block::List),
        1 => (words(), line()).prop_map(|(term, meaning)| Block::Definition(term, meaning)),
        1 => line().prop_map(Block::Quotation),
        1 => prop::sample::select(DROPPED_BLOCKS).prop_map(Block::Dropped),
        1 => line().prop_map(Block::Table),
        1 => line().prop_map(Block::Infobox),
    ]
}

/// The tree as wikitext. `bold` and `italic`, `link`: whether that is already so, since it cannot be so twice.
fn write(inlines: &[Inline], bold: bool, italic: bool, link: bool, out: &mut String) {
    for inline in inlines {
        if !out.is_empty() && !out.ends_with(['\n', ' ']) {
            out.push(' ');
        }
        match inline {
            Inline::Words(words) => out.push_str(words),
            Inline::Bold(inner) if !bold => wrap("'''", inner, "'''", (true, italic, link), out),
            Inline::Italic(inner) if !italic => wrap("''", inner, "''", (bold, true, link), out),
            Inline::Link(target) if !link => out.push_str(&format!("[[{target}]]")),
            Inline::Piped(target, label) if !link => {
                wrap(&format!("[[{target}|"), label, "]]", (bold, italic, true), out)
            }
            Inline::External(label) if !link => wrap("[http://a.b/c?d=e ", label, "]", (bold, italic, true), out),
            Inline::Nowrap(inner) => wrap("{{nowrap|1=", inner, "}}", (bold, italic, link), out),
            Inline::Span(inner) => wrap("<span class=\"x\">", inner, "</span>", (bold, italic, link), out),
            Inline::Literal(words) => out.push_str(&format!("<nowiki>{words} ''[[x]]''</nowiki>")),
            Inline::Entity => out.push_str("&amp;&nbsp;&#65;"),
            Inline::Dropped(markup) => out.push_str(markup),
            Inline::File(caption) if !link => wrap("[[File:A.jpg|thumb|", caption, "]]", (bold, italic, false), out),
            Inline::Link(words) => out.push_str(words),
            Inline::File(_) => {}
            Inline::Bold(inner) | Inline::Italic(inner) | Inline::Piped(_, inner) | Inline::External(inner) => {
                write(inner, bold, italic, link, out);
            }
        }
    }
}

fn wrap(open: &str, inner: &[Inline], close: &str, state: (bool, bool, bool), out: &mut String) {
    out.push_str(open);
    let mut written = String::new();
    write(inner, state.0, state.1, state.2, &mut written);
    // `[[a|]]` would show the title.
    out.push_str(if written.is_empty() { "<!-- -->" } else { &written });
    out.push_str(close);
}

/// The words of the tree, and the targets of the links it has.
fn say(inlines: &[Inline], link: bool, said: &mut Said) {
    for inline in inlines {
        match inline {
            Inline::Words(text) => said.push(text),
            Inline::Link(target) => {
                said.push(target);
                if !link {
                    said.links.push(target.clone());
                }
            }
            Inline::Literal(text) => said.push(&format!("{text} ''[[x]]''")),
            Inline::Entity => said.push("& A"),
            Inline::Dropped(_) | Inline::File(_) => {}
            Inline::Piped(target, inner) => {
                let before = said.words.len();
                say(inner, true, said);
                if !link && said.words.len() > before {
                    said.links.push(target.clone());
                }
            }
            Inline::External(inner) => say(inner, true, said),
            Inline::Bold(inner) | Inline::Italic(inner) | Inline::Nowrap(inner) | Inline::Span(inner) => {
                say(inner, link, said);
            }
        }
    }
}

/// What a document says.
#[derive(Debug, Default, PartialEq)]
struct Said {
    words: Vec<String>,
    links: Vec<String>,
    titles: Vec<String>,
}

impl Said {
    fn push(&mut self, text: &str) {
        self.words.extend(text.split_whitespace().map(str::to_owned));
    }
}

fn document(blocks: &[Block]) -> (String, Said) {
    let (mut wikitext, mut said) = (String::new(), Said::default());
    said.titles.push(String::new());
    let line = |inlines: &[Inline]| {
        let mut written = String::new();
        write(inlines, false, false, false, &mut written);
        written
    };
    for block in blocks {
        wikitext.push_str("\n\n");
        match block {
            Block::Paragraph(inlines) => {
                wikitext.push_str(&line(inlines));
                say(inlines, false, &mut said);
            }
            Block::Heading(level, title) => {
                let marks = "=".repeat(usize::from(*level));
                wikitext.push_str(&format!("{marks} {title} {marks}"));
                said.titles.push(title.clone());
            }
            Block::List(items) => {
                for (depth, inlines) in items {
                    wikitext.push_str(&format!("\n{} {}", &"*#:"[..*depth], line(inlines)));
                    say(inlines, false, &mut said);
                }
            }
            Block::Definition(term, meaning) => {
                wikitext.push_str(&format!(";{term}:{}", line(meaning)));
                said.push(term);
                say(meaning, false, &mut said);
            }
            Block::Quotation(inlines) => {
                wikitext.push_str(&format!("{{{{quote|1={}|author=Nobody}}}}", line(inlines)));
                say(inlines, false, &mut said);
            }
            Block::Dropped(markup) => wikitext.push_str(markup),
            Block::Table(inlines) => wikitext.push_str(&format!("{{|\n|-\n| {} || b\n|}}", line(inlines))),
            Block::Infobox(inlines) => {
                wikitext.push_str(&format!("{{{{Infobox x\n| a = {}\n| b = c\n}}}}", line(inlines)))
            }
        }
    }
    (wikitext, said)
}

/// A title with a capital, as the wiki keeps it.
fn capital(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").map_or(1500, |cases| cases.parse().unwrap_or(1500))))]

    #[test]
    fn a_document_says_what_its_tree_says(blocks in prop::collection::vec(block(), 1..7)) {
        let (wikitext, mut said) = document(&blocks);
        let page = clean(&wikitext, &WikiContext::default());
        let heard = Said {
            words: page.text.split_whitespace().map(str::to_owned).collect(),
            links: page.links.iter().map(|link| link.target.clone()).collect(),
            titles: page.sections.iter().map(|section| section.title.clone()).collect(),
        };
        said.links.iter_mut().for_each(|target| *target = capital(target));
        prop_assert_eq!(&heard, &said, "from {}", wikitext);
        // The same once more, and nothing of the markup is left but what is meant literally.
        prop_assert_eq!(&page, &clean(&wikitext, &WikiContext::default()));
        let rest = page.text.replace("''[[x]]''", "");
        for residue in ["[[", "]]", "{{", "}}", "{|", "|}", "''", "<ref", "==", "__", "http", "&amp;"] {
            prop_assert!(!rest.contains(residue), "`{}` in {:?} from {}", residue, page.text, wikitext);
        }
    }
}
