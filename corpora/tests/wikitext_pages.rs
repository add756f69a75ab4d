//! Wikitext to prose: cases one by one, invariants on arbitrary input, linear time, and real pages.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use memtrain_corpora::store;
use memtrain_corpora::wikitext::{CleanOptions, CleanPage, Keep, Math, WikiContext, clean, is_boilerplate_section};
use proptest::prelude::*;

fn page(wikitext: &str) -> CleanPage {
    clean(wikitext, &WikiContext::default())
}

#[track_caller]
fn shows(wikitext: &str, text: &str) {
    assert_eq!(page(wikitext).text, text, "from `{wikitext}`");
}

#[test]
fn bold_italics_and_apostrophes() {
    shows("'''''Both''' and italic''", "Both and italic");
    shows("rock ''n''' roll", "rock n' roll");
    shows("l'''Odissea'' is a book", "l'Odissea is a book");
    shows("the '''80s'", "the 80s'");
    shows("four ''''quoted''''", "four 'quoted'");
    shows("''one\n\ntwo'' three", "one\n\ntwo three");
}

#[test]
fn links_give_their_words_and_targets() {
    let page =
        page("A [[town]]s, [[big city|the '''city''']], [[River (water)|]], [[Paris, Texas|]] and [[#Top|above]].");
    assert_eq!(page.text, "A towns, the city, River, Paris and above.");
    let links: Vec<(&str, &str)> =
        page.links.iter().map(|link| (&page.text[link.span.clone()], link.target.as_str())).collect();
    assert_eq!(
        links,
        [("towns", "Town"), ("the city", "Big city"), ("River", "River (water)"), ("Paris", "Paris, Texas")]
    );
}

#[test]
fn titles_are_written_as_the_wiki_keeps_them() {
    let page = page("[[big_bang#Past|x]] [[ mars  (planet) |y]] [[caf%C3%A9|z]] [[R&amp;B|w]] [[éire|v]] [[2:1|u]]");
    let targets: Vec<&str> = page.links.iter().map(|link| link.target.as_str()).collect();
    assert_eq!(targets, ["Big bang", "Mars (planet)", "Café", "R&B", "Éire", "2:1"]);
}

#[test]
fn files_categories_and_other_wikis() {
    let page = page(
        "[[File:A.jpg|thumb|left|A [[cat]] and {{convert|1|km}} [http://x y]]]A cat.[[Category:cats of_X|Key]][[category:Cats of X]]\n\
         [[fr:Chat]]\n[[:Category:Dogs|dogs]] [[:File:B.png|a picture]] [[wikt:cat|word]] [[s:Text]] [[Help:Contents|help]]",
    );
    assert_eq!(page.text, "A cat.\n\ndogs a picture word Text help");
    assert_eq!(page.categories, ["Cats of X"]);
    assert!(page.links.is_empty(), "{:?}", page.links);
}

#[test]
fn namespaces_come_from_the_site() {
    let context = WikiContext::new(&[(6, "Tập tin".into()), (14, "Thể loại".into()), (2, "Thành viên".into())], true);
    let page = clean("Mèo.[[Tập_tin:A.jpg|nhỏ|[[x]]]][[Thể loại:Mèo]] [[Thành viên:A|A]]", &context);
    assert_eq!((page.text.as_str(), page.categories.as_slice()), ("Mèo. A", ["Mèo".to_owned()].as_slice()));
    let wiktionary = WikiContext::new(&[], false);
    assert_eq!(clean("[[cat]]", &wiktionary).links[0].target, "cat");
}

#[test]
fn templates_are_dropped_but_for_those_that_are_words() {
    shows("{{Infobox\n| a = {{b|c}}\n| d = [[e]]\n}}\n'''It''' is.", "It is.");
    shows(
        "{{convert|10|km|mi}} long, {{convert|5|ft|11|in|m}} and {{convert|10|to|20|km2}}",
        "10 kilometres (6.2 mi) long, 5 feet 11 inches (1.80 m) and 10 to 20 square kilometres (3.9 to 7.7 sq mi)",
    );
    shows(
        "{{lang|fr|bonjour}}, {{lang-de|Tag}}, {{nowrap|a b}}, {{ill|Person|de}}, {{abbr|Mr.|Mister}}",
        "bonjour, German: Tag, a b, Person, Mr.",
    );
    shows("{{circa|1200}} to {{as of|2010}}{{citation needed|date=May}}.", "c. 1200 to As of 2010.");
    shows("Born {{birth date|1950|3|2}} or {{start date|1950|3|2|df=y}}.", "Born March 2, 1950 or 2 March 1950.");
    shows("He said: {{quote|First.\n\nSecond.|Author}} Then.", "He said:\n\nFirst.\n\nSecond.\n\nThen.");
    shows("{{formatnum:1234}} men of {{HMS|Victory}}, {{frac|1|2}} of them", "1,234 men of HMS Victory, 1⁄2 of them");
    shows("{{nihongo|Tokyo|東京|Tōkyō}} {{unknown|x}}is", "Tokyo (東京, Tōkyō) is");
    shows("a {{#if: x | y | z}} b {{{parameter|d}}} c {{{none}}}", "a y b d c");
    shows("{{nowrap|{{lang|la|{{small|[[ab|deep]]}}}}}}", "deep");
}

#[test]
fn holes_are_mended() {
    shows("X ({{IPA|x}}; 384 BC) was", "X (384 BC) was");
    shows("X ({{IPA|x}}) was", "X was");
    shows("X ( {{IPA|x}} ) was", "X was");
    shows("X ({{IPA|x}} étoile) ({{IPA|x}} star)", "X (étoile) (star)");
    shows("X ({{lang-el|Ἀ}}, {{IPA|x}}; born 1) was", "X (Greek: Ἀ, born 1) was");
    shows("X (born 1; {{IPA|x}}) was", "X (born 1) was");
    shows("a word {{IPA|x}}, then", "a word, then");
    shows("a word{{fact}} .", "a word.");
    shows("[[A]] ({{IPA|x}})", "A");
    shows("* {{cite book|x}}.\n* b{{x}}...", "b...");
    shows("({{x|y}}) It {{x|y}}", "It");
    shows("a\n\n({{x|y}}) It", "a\n\nIt");
    shows(",<br>{{{a}}})", ",\n)");
    // What was not a hole is not touched.
    shows("f() and (;) and ( x )", "f() and (;) and ( x )");
}

#[test]
fn references_comments_and_tags() {
    shows(
        "a<ref>b {{c}} [[d]]</ref> e<ref name=x /> f<ref name=\"y>z\">g</ref>.",
        "a e fg.".replace("fg", "f").as_str(),
    );
    shows("a<!-- b -->c <!-- unclosed [[d]]", "ac");
    shows("a\n<!-- alone in its line -->\nb", "a b");
    shows(
        "<div class=\"x\">a<br />b</div><p>c</p> 10<sup>6</sup> km<sup>2</sup> H<sub>2</sub>O 19<sup>th</sup>",
        "a\nb\n\nc\n\n10⁶ km² H2O 19th",
    );
    shows("x < y and y > z, a<b, <unknown>", "x < y and y > z, a<b, <unknown>");
    shows("<nowiki>[[not]] {{a}} ''b''</nowiki> <pre>x\ny</pre>", "[[not]] {{a}} ''b''\n\nx\ny");
    shows("where <math>n</math> is and <math>\\frac{1+n}{2}</math> is", "where n is and is");
    shows("a<gallery>\nFile:A.jpg|b\n</gallery>c", "ac");
    shows("<REF>a</Ref>b<references/>__NOTOC____FOO__ __init__", "b __init__");
}

#[test]
fn references_to_characters() {
    shows(
        "a&nbsp;b&ndash;c &amp; &lt;ref&gt; &#65;&#x42; &bogus; AT&T; 5&thinsp;km",
        "a b–c & <ref> AB &bogus; AT&T; 5 km",
    );
    shows("a\u{A0}b\u{2009}c\u{200B}d\u{AD}e\u{FEFF}", "a b cde");
    shows("&#0;&#x110000;&#xD800;x", "&#0;&#x110000;&#xD800;x");
}

#[test]
fn external_links_keep_their_words() {
    shows(
        "see [http://a.b/c?d=e the ''site''], [https://x] and http://bare.org/x_y.",
        "see the site, and http://bare.org/x_y.",
    );
    shows("[//a.b c] [mailto:x@y z] [not a link] [[[a]]] [http://x [[b]]]", "c z [not a link] [a] b");
}

#[test]
fn lists_tables_and_paragraphs() {
    shows(
        "Intro:\n* one\n** two\n# three\nAfter.\nSame paragraph.\n\nNext.",
        "Intro:\n\none\ntwo\nthree\n\nAfter. Same paragraph.\n\nNext.",
    );
    shows("a\n{| class=x\n| b || {{c}}\n|-\n| {|\n| nested\n|}\n|}\nd", "a\n\nd");
    shows("a\n{| never closed\n| b\n\ntext\n== H ==\nc", "a\n\nc");
    shows("a\n----\nb\n; term : meaning", "a\n\nb\n\nterm\nmeaning");
    shows("{{col|\n{|\n| x\n|}}}\ny", "y");
    shows("<table><tr><td>[[x]]</td></tr></table>y", "y");
    shows("<poem>\nOne\nTwo\n</poem>\nThree\nfour", "One\nTwo\n\nThree four");
}

#[test]
fn sections_have_titles_levels_and_spans() {
    let page = page(
        "Lead.\n== One '''bold''' [[x|y]] <!-- c --> ==\n=== Two ===<!-- d -->\nText.\n\nMore.\n==Three==\n= Four =\nEnd\n=not a heading\n",
    );
    let sections: Vec<(&str, u8, &str)> = page
        .sections
        .iter()
        .map(|section| (section.title.as_str(), section.level, &page.text[section.span.clone()]))
        .collect();
    assert_eq!(
        sections,
        [
            ("", 1, "Lead."),
            ("One bold y", 2, ""),
            ("Two", 3, "Text.\n\nMore."),
            ("Three", 2, ""),
            ("Four", 2, "End =not a heading"),
        ]
    );
    assert!(
        is_boilerplate_section(" See Also ")
            && is_boilerplate_section("references")
            && !is_boilerplate_section("History")
    );
}

#[test]
fn broken_markup_costs_little() {
    shows("a [[b c\n\nd [[e]] f", "a b c\n\nd e f");
    shows("a {{b c\n\nd [[e]] f", "a b c\n\nd e f");
    shows("a ]] b }} c", "a b c");
    shows("{{Infobox\n| name = x\n| other = y\n\nText of the page.", "Text of the page.");
    shows("a <ref name=b c", "a  name=b c".replace("  ", " ").as_str());
    shows("a<ref>b", "ab");
    shows("{{a|[[b}} c", "c");
    shows("[[a\nb]] c", "a b c");
    shows("[[]] [[|]] [[ ]] x", "x");
    shows("", "");
}

/// What must hold of every page, whatever it was made from.
fn check_invariants(page: &CleanPage) -> Result<(), TestCaseError> {
    let text = &page.text;
    prop_assert!(!text.contains("\n\n\n") && !text.contains("  ") && !text.contains(" \n") && !text.contains("\n "));
    prop_assert_eq!(text.trim(), text.as_str());
    prop_assert_eq!((page.sections[0].title.as_str(), page.sections[0].level), ("", 1));
    let mut end = 0;
    for section in &page.sections {
        prop_assert!(section.span.start >= end && section.span.end >= section.span.start);
        prop_assert!(text[end..section.span.start].trim().is_empty(), "text outside of all sections");
        prop_assert!((1..=6).contains(&section.level));
        end = section.span.end;
    }
    prop_assert_eq!(end, text.len());
    let mut end = 0;
    for link in &page.links {
        prop_assert!(link.span.start >= end && link.span.end > link.span.start, "{:?}", page.links);
        let anchor = &text[link.span.clone()];
        prop_assert_eq!(anchor.trim(), anchor);
        prop_assert!(!link.target.is_empty());
        end = link.span.end;
    }
    Ok(())
}

/// Pieces of markup: strung together at random they make every kind of nesting and breakage.
const PIECES: &[&str] = &[
    "[[",
    "]]",
    "{{",
    "}}",
    "{|",
    "|}",
    "|",
    "\n",
    "\n\n",
    "==",
    "=",
    "'",
    "''",
    "'''",
    "*",
    "#",
    ":",
    ";",
    " ",
    "(",
    ")",
    ",",
    ".",
    "<ref>",
    "</ref>",
    "<ref name=a/>",
    "<nowiki>",
    "</nowiki>",
    "<!--",
    "-->",
    "<br>",
    "<",
    ">",
    "&nbsp;",
    "&amp;",
    "&",
    "[http://x ",
    "]",
    "[",
    "File:",
    "Category:",
    "a",
    "b c",
    "é世🦀",
    "convert",
    "lang",
    "quote",
    "nowrap",
    "__NOTOC__",
    "__",
    "\u{A0}",
    "\u{AD}",
    "<table>",
    "</table>",
    "<math>",
    "</math>",
    "{{{",
    "}}}",
    "<sup>2</sup>",
    "<poem>",
    "</poem>",
    "----",
    "\t",
    "1",
    "http://x.y",
    "fr:",
    "\u{3000}",
    "\r",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").map_or(2000, |cases| cases.parse().unwrap_or(2000))))]

    #[test]
    fn any_markup_gives_a_sound_page(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        check_invariants(&page(&pieces.concat()))?;
    }

    #[test]
    fn any_text_gives_a_sound_page(text in "\\PC{0,80}|[ -~\n]{0,200}") {
        check_invariants(&page(&text))?;
    }

    #[test]
    fn links_show_exactly_their_anchor(
        words in prop::collection::vec(("[a-z]{1,8}( [a-zé]{1,5})?", "[A-Zé][a-z]{0,6}", any::<bool>()), 1..12),
        fillers in prop::collection::vec(prop::sample::select(&[" ", ", ", "{{x}} ", "<ref>r</ref> ", "\n\n", "\n* ", " (", ") ", "&nbsp;", "'' "][..]), 12),
    ) {
        let mut wikitext = String::from("Start ");
        for ((anchor, target, piped), filler) in words.iter().zip(&fillers) {
            wikitext.push_str(&if *piped { format!("[[{target}|{anchor}]]") } else { format!("[[{anchor}]]") });
            wikitext.push_str(filler);
        }
        let page = page(&wikitext);
        check_invariants(&page)?;
        let shown: Vec<&str> = page.links.iter().map(|link| &page.text[link.span.clone()]).collect();
        let expected: Vec<&str> = words.iter().map(|(anchor, ..)| anchor.as_str()).collect();
        prop_assert_eq!(shown, expected, "{}", wikitext);
    }
}

/// The processor's time that this thread has taken, where the system tells it: however busy the machine is, it only grows
/// with work. Elsewhere the time of day.
fn time_of_this_thread() -> Duration {
    let told = store::read_to_string(Path::new("/proc/thread-self/schedstat")).ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| UNIX_EPOCH.elapsed().unwrap_or_default(), Duration::from_nanos)
}

#[test]
fn time_is_linear_on_hostile_pages() {
    let hostile = [
        "[[",
        "{{",
        "{{{",
        "{|",
        "\n{|",
        "<ref",
        "<ref>",
        "<ref ",
        "<!--",
        "<nowiki>",
        "<math>",
        "<table>",
        "[[a|",
        "{{a|",
        "{{lang|",
        "{{nowrap|{{quote|",
        "[http://a ",
        "[http://a",
        "[",
        "]",
        "]]",
        "}}",
        "|}",
        "\n|}",
        "\n|",
        "\n=",
        "\n==a",
        "=",
        "'",
        "''",
        "'''",
        " '''''",
        "&",
        "&a",
        "<",
        "<b ",
        "</",
        "__",
        "__A",
        "(",
        "({{x}}",
        ")",
        "{{x}})",
        " {{x}},",
        "[[a]]",
        "[[File:",
        "[[File:a|[[b]]",
        "{{a|b=",
        "\n*",
        "\n:{|",
        "   ",
        "<sup>",
        "<ref></",
        "{{convert|",
        "<!-- -->\n",
        "{{a|[[b}}",
        "[[a{{b]]",
        "{|{{",
        "<table>[[",
        "a",
        "\n== <!-- ",
        "é",
        "\u{AD}",
        "{{{{{",
        "]]]",
        "-->",
        "==<!---->",
        "==a==",
        "==a=={{x}}",
        "==a==<ref/>",
        "{{#if:",
        "{{#if:a|",
        "{{#switch:a|",
        "{{#switch:a|b|c=",
        "{{#ifeq:{{lc:",
        "{{lc:",
        "{{{1|",
        "-{",
        "-{a|",
        "-{zh:",
        "}-",
        "\n;a",
        "\n;[",
        "\n;<b>",
        "[[a|{{b|",
        "[[{{a}}|",
        "[[{{a|",
        "{{convert|1|",
        "{{convert|{{val|",
        "{{AD|",
        "{{ubl|",
        "{{ubl|\n*",
        "{{zh|c=",
        "{{as of|alt=",
        "<b {{x}}",
        "<b <!---->",
        "<b <noinclude>",
        "<noinclude>",
        "\n<!-- -->",
        "\n={{a",
        "\n={{a\n",
        "\n== {{a}}",
        "\n==<!--",
        "__A_",
        "''''",
        "\n{|\n|",
        "\n|-\n| a || b",
        "{|\n| {|\n|",
        "<table><tr><td>",
        "{{infobox|a=",
        "{{USA}}",
        "{{flag|",
        "{{IPA|a|",
        "{{x\n|a=b\n|c=d\n",
        "{{Infobox a}}",
        "[[Category:a]]",
        "<math>{",
        "<syntaxhighlight inline>",
        "[[File:a|",
        "[[File:a",
        "[//a ",
        "[[//a",
        "<ref name=\"",
        "<ref a='",
        "<ref><ref/>",
        "<ref a=\"b>",
        "<span a=\"",
        "<span a=b ",
        "<ruby>a<rt>",
        "<rp>",
        "{{!}}",
        "{{{!}}",
        "[[a{{!}}",
        "{{a|{{(!}}",
        "\n== a ==\n{{",
        "&Gamma;",
    ];
    let options =
        CleanOptions { tables: Keep::Keep, infoboxes: Keep::Keep, math: Math::Tex, pronunciations: Keep::Keep };
    let keeping = WikiContext::default().with_options(options);
    let mut numbered: Vec<String> = Vec::new();
    for beginning in ["[[Category:", "{{Infobox ", "[["] {
        let end = if beginning == "{{Infobox " { "}}" } else { "]]" };
        numbered.push((0..40_000).map(|number| format!("{beginning}{number}{end}")).collect());
    }
    // A page of MediaWiki has at most 2 MiB. A quarter of that takes some milliseconds; what is not linear takes minutes.
    let most = Duration::from_millis(500);
    let repeated = hostile.iter().map(|piece| (*piece, piece.repeat((1 << 19) / piece.len())));
    for (piece, text) in repeated.chain(numbered.into_iter().map(|text| ("many that differ", text))) {
        for text in [text.clone(), format!("{text}{}", "]]}}|}</ref>-->".repeat(10_000)), format!("{{{{a|{text}}}}}")] {
            for context in [&WikiContext::default(), &keeping] {
                let start = time_of_this_thread();
                let page = clean(&text, context);
                let took = time_of_this_thread().saturating_sub(start);
                assert!(took < most, "`{piece}` repeated took {took:?}");
                check_invariants(&page).unwrap();
            }
        }
    }
}
