//! Dumps: schemas, packings, broken pages, cut files, foreign files, and the real ones.

#[path = "../../tests/real_data/mod.rs"]
mod real_data;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use memtrain_corpora::dump::{self, DumpError, DumpReader, Page};
use memtrain_corpora::store;
use memtrain_corpora::wikitext::{self, WikiContext};
use proptest::prelude::*;
use real_data::real_data;

const HEADER: &str = r#"<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
  <siteinfo>
    <sitename>Test &amp; Wiki</sitename>
    <dbname>testwiki</dbname>
    <base>https://test.example.org/wiki/Main_Page</base>
    <generator>MediaWiki 1.45</generator>
    <case>first-letter</case>
    <namespaces>
      <namespace key="-2" case="first-letter">Media</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="10" case="first-letter">Template</namespace>
    </namespaces>
  </siteinfo>
"#;

fn element(id: u64, title: &str, text: &str) -> String {
    format!(
        "  <page>\n    <title>{title}</title>\n    <ns>0</ns>\n    <id>{id}</id>\n    <revision>\n      <id>{}</id>\n      \
         <timestamp>2026-01-02T03:04:05Z</timestamp>\n      <contributor><username>U</username><id>99</id></contributor>\n      \
         <model>wikitext</model>\n      <text bytes=\"1\" xml:space=\"preserve\">{text}</text>\n    </revision>\n  </page>\n",
        id * 10
    )
}

fn export(pages: &str) -> String {
    format!("{HEADER}{pages}</mediawiki>\n")
}

fn reader(bytes: impl Into<Vec<u8>>) -> DumpReader {
    dump::from_reader(io::Cursor::new(bytes.into()), "test.xml").unwrap()
}

fn refused(bytes: &[u8]) -> DumpError {
    dump::from_reader(io::Cursor::new(bytes.to_vec()), "test.xml").err().expect("must be refused")
}

fn whole(bytes: impl Into<Vec<u8>>) -> Vec<Page> {
    reader(bytes).collect::<Result<_, _>>().unwrap()
}

fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_page_is_read_as_it_is() {
    let xml = export(&element(7, "A &amp; B", "x &lt;ref&gt; &quot;y&quot; &amp;nbsp; &#233; a &amp; b\r\nz"));
    let mut reader = reader(xml);
    let site = reader.site_info().clone();
    assert_eq!(
        (site.sitename.as_str(), site.dbname.as_str(), site.language.as_str()),
        ("Test & Wiki", "testwiki", "en")
    );
    assert_eq!(site.namespaces, [(-2, "Media".to_owned()), (0, String::new()), (10, "Template".to_owned())]);
    assert_eq!(site.page_url("A & B/C é"), "https://test.example.org/wiki/A_%26_B/C_%C3%A9");
    let page = reader.next().unwrap().unwrap();
    let expected = Page {
        id: 7,
        ns: 0,
        title: "A & B".into(),
        redirect: None,
        revision_id: 70,
        timestamp: "2026-01-02T03:04:05Z".into(),
        model: "wikitext".into(),
        text: "x <ref> \"y\" &nbsp; é a & b\nz".into(),
    };
    assert_eq!(page, expected);
    assert!(reader.next().is_none() && reader.next().is_none());
    assert_eq!((reader.pages(), reader.malformed()), (1, 0));
}

#[test]
fn a_wiki_in_another_language_gets_no_english_words() {
    let text = "({{lang-de|Tag}}) {{as of|2010}} {{circa|1200}} {{convert|5|km|mi}}";
    let clean = |language: &str| {
        let header = HEADER.replace("xml:lang=\"en\"", &format!("xml:lang=\"{language}\""));
        let reader = reader(format!("{header}</mediawiki>"));
        wikitext::clean(text, &WikiContext::from_site(reader.site_info())).text
    };
    assert_eq!(clean("en"), "(German: Tag) As of 2010 c. 1200 5 kilometres (3.1 mi)");
    assert_eq!(clean("vi"), "(tiếng Đức: Tag) Tính đến 2010 c. 1200 5 km (3,1 mi)");
}

#[test]
fn old_schemas_and_odd_pages() {
    let xml = r#"<?xml version="1.0" encoding="utf-8"?><mediawiki version="0.3" xml:lang="en"><siteinfo><namespaces>
        <namespace key="10">Template</namespace><namespace key="0"/></namespaces></siteinfo>
        <page xmlns="x"><title>Template:T</title><id>1</id><revision><text/></revision></page>
        <page><title>Of: Mice</title><id>2</id><redirect /><revision><id>1</id><text xml:space="preserve">#redirect: [[the_Men#Part|label]] x</text></revision></page>
        <page><title>Đ</title><ns>0</ns><id>3</id><revision><id>1</id><text>#ĐỔI [[Đích]]</text></revision></page>
        <page><title>L</title><ns>0</ns><id>4</id><revision><id>1</id><text># first [[x]]</text></revision></page>
        <page><title>R</title><ns>0</ns><id>5</id><redirect title="To &quot;it&quot;" /><revision><id>1</id><text>#REDIRECT [[Other]]</text></revision></page>
        <page><title>D</title><ns>0</ns><id>6</id><revision><id>1</id><text bytes="5" deleted="deleted" /></revision></page>
        <page><title>C</title><ns>0</ns><id>7</id><revision><id>1</id><text><![CDATA[a <b> & c]]></text></revision></page>
        <pages/></mediawiki>"#;
    let pages = whole(xml);
    let facts: Vec<(i32, Option<&str>, &str)> =
        pages.iter().map(|page| (page.ns, page.redirect.as_deref(), page.text.as_str())).collect();
    assert_eq!(facts[0], (10, None, ""));
    assert_eq!(facts[1].1, Some("the Men"));
    assert_eq!(facts[2].1, Some("Đích"));
    assert_eq!(facts[3], (0, None, "# first [[x]]"));
    assert_eq!(facts[4].1, Some("To \"it\""));
    assert_eq!(facts[5], (0, None, ""));
    assert_eq!(facts[6].2, "a <b> & c");
}

#[test]
fn tags_that_are_not_escaped_are_wikitext() {
    let raw = "The '''Ost''' is <b>wide</b>.<br />It <ref name=\"a>b\">r</ref> floods.<!-- c --><pages index=x/> a &lt; b & c";
    let pages = whole(export(&(element(1, "Ost", raw) + &element(2, "Velm", "&lt;i&gt;a&lt;/i&gt;"))));
    assert_eq!(pages[0].text, raw.replace("&lt;", "<"));
    assert_eq!(wikitext::clean(&pages[0].text, &WikiContext::default()).text, "The Ost is wide.\nIt floods. a < b & c");
    assert_eq!(pages[1].text, "<i>a</i>");
    // What is closed wrongly, or not at all, is no other element of the page.
    for raw in ["a <b>b <i>c</b>", "a <title>b</title> <id>9</id> c", "a < b", "a </revision> b"] {
        let pages = whole(export(&element(7, "Ost", raw)));
        assert_eq!((pages[0].id, pages[0].title.as_str(), pages[0].text.as_str()), (7, "Ost", raw));
    }
    let nested = "<b>".repeat(500_000) + &"</b>".repeat(500_000);
    assert_eq!(whole(export(&element(1, "Ost", &nested)))[0].text.len(), nested.len());
}

#[test]
fn the_newest_revision_counts_whatever_the_order() {
    let revision = |id: u64, year: u64| {
        format!("<revision><id>{id}</id><timestamp>{year}-01-01T00:00:00Z</timestamp><text>text {id}</text></revision>")
    };
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let revisions: String = order.iter().map(|&id| revision(id, 2000 + id)).collect();
        let pages = whole(export(&format!("<page><title>T</title><ns>0</ns><id>1</id>{revisions}</page>")));
        assert_eq!((pages[0].revision_id, pages[0].text.as_str()), (3, "text 3"));
    }
}

#[test]
fn a_malformed_page_is_skipped_and_counted() {
    let broken = [
        ("<page><title>X</title><id>1</id><revision><id>1</id></page>", "expected `</revision>`"),
        ("<page><title>X</title><ns>0</ns><revision><id>1</id><text>a</text></revision></page>", "no id"),
        ("<page><id>1</id><revision><id>1</id><text>a</text></revision></page>", "no title"),
        (
            "<page><title>X</title><ns>0</ns><id>one</id><revision><text>a</text></revision></page>",
            "`one` is not a number",
        ),
        ("<page><title>X</title><ns>0</ns><id>1</id></page>", "no revision"),
        ("<page><title>X</title><ns>0</ns><id>1</id><revision><text>a<b", "not closed before the next page"),
        ("<title>X</title><ns>0</ns><id>1</id><revision><text>a</text></revision></page>", "its beginning is missing"),
    ];
    for (bad, detail) in broken {
        let xml =
            export(&format!("{}{bad}{}{}", element(1, "One", "a"), element(2, "Two", "b"), element(3, "Three", "c")));
        let mut reader = reader(xml);
        let items: Vec<_> = reader.by_ref().collect();
        let titles: Vec<&str> = items.iter().flatten().map(|page| page.title.as_str()).collect();
        assert_eq!(titles, ["One", "Two", "Three"], "{bad}");
        let errors: Vec<&DumpError> = items.iter().filter_map(|item| item.as_ref().err()).collect();
        assert_eq!((errors.len(), reader.malformed()), (1, 1), "{bad}: {errors:?}");
        assert!(errors[0].is_skippable() && errors[0].to_string().contains(detail), "{bad}: {}", errors[0]);
        assert!(errors[0].to_string().contains("`test.xml`: malformed page 2"), "{}", errors[0]);
    }
    let mut bytes = export(&element(1, "One", "a")).into_bytes();
    let place = bytes.windows(4).position(|window| window == b">a</").unwrap();
    bytes[place + 1] = 0xFF;
    let items: Vec<_> = reader(bytes).collect();
    assert!(matches!(&items[..], [Err(error)] if error.to_string().contains("not UTF-8")), "{items:?}");
}

#[test]
fn a_page_that_is_never_closed_before_the_end() {
    let xml = format!("{HEADER}{}<page><title>X</title></mediawiki>", element(1, "One", "a"));
    let items: Vec<_> = reader(xml).collect();
    assert!(matches!(&items[..], [Ok(_), Err(DumpError::Malformed { .. })]), "{items:?}");
}

#[test]
fn a_cut_anywhere_gives_the_whole_pages_and_then_says_so() {
    let pages: String = (1..6).map(|id| element(id, &format!("P{id}"), &format!("text {id} &amp; more"))).collect();
    let xml = export(&pages);
    let ends: Vec<usize> = xml.match_indices("</page>").map(|(at, tag)| at + tag.len()).collect();
    let closing = xml.find("</mediawiki>").unwrap() + "</mediawiki>".len();
    for cut in (HEADER.len()..xml.len()).step_by(3).chain([closing - 1, closing]) {
        let items: Vec<_> = reader(&xml.as_bytes()[..cut]).collect();
        let expected = ends.iter().filter(|&&end| end <= cut).count();
        assert_eq!(items.iter().filter(|item| item.is_ok()).count(), expected, "cut at {cut}");
        match items.last() {
            Some(Err(DumpError::Truncated { pages, .. })) if cut < closing => assert_eq!(*pages as usize, expected),
            Some(Ok(_)) if cut >= closing => {}
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn cut_and_damaged_bz2() {
    let pages: String =
        (1..400).map(|id| element(id, &format!("P{id}"), &format!("{id} words ").repeat(300))).collect();
    let packed = bz2(export(&pages).as_bytes());
    for cut in [packed.len() - 1, packed.len() / 2, packed.len() / 3] {
        let items: Vec<_> = reader(&packed[..cut]).collect();
        let last = items.last().unwrap();
        let complete = items.len() == 399 && last.is_ok();
        assert!(complete || matches!(last, Err(DumpError::Truncated { .. })), "{cut}: {:?}", last.as_ref().err());
    }
    for cut in [5, 20] {
        assert!(
            matches!(refused(&packed[..cut]), DumpError::Truncated { pages: 0, .. }),
            "{}",
            refused(&packed[..cut])
        );
    }
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 50].fill(0x55);
    let items: Vec<_> = reader(damaged).collect();
    assert!(
        matches!(items.last(), Some(Err(DumpError::Damaged { .. } | DumpError::Truncated { .. }))),
        "{:?}",
        items.last()
    );
    assert!(items.iter().filter(|item| item.is_ok()).count() > 10, "pages before the damage are given");
    // Bytes after a complete export do not matter.
    let mut trailing = packed;
    trailing.extend_from_slice(b"garbage after the last stream");
    assert_eq!(whole(trailing).len(), 399);
}

#[test]
fn many_streams_are_one_dump() {
    let mut packed = bz2(HEADER.as_bytes());
    for id in 1..50 {
        packed.extend(bz2(element(id, "P", "some text").as_bytes()));
    }
    packed.extend(bz2(b"</mediawiki>\n"));
    assert_eq!(whole(packed).len(), 49);
}

#[test]
fn utf16_in_both_orders() {
    let xml = export(&element(1, "Пловдив", "град 🏛 и"));
    for (mark, bytes) in [
        (Some([0xFF, 0xFE]), u16::to_le_bytes as fn(u16) -> [u8; 2]),
        (Some([0xFE, 0xFF]), u16::to_be_bytes),
        (None, u16::to_le_bytes),
        (None, u16::to_be_bytes),
    ] {
        let encoded: Vec<u8> = mark.into_iter().flatten().chain(xml.encode_utf16().flat_map(bytes)).collect();
        for packed in [encoded.clone(), bz2(&encoded)] {
            let pages = whole(packed);
            assert_eq!((pages[0].title.as_str(), pages[0].text.as_str()), ("Пловдив", "град 🏛 и"));
        }
    }
}

#[test]
fn foreign_files_are_refused_by_what_they_are() {
    for bytes in [
        &b""[..],
        b"not a dump",
        b"<html><page></page></html>",
        b"-- MySQL dump 10.19",
        &[0u8; 5000],
        b"<?xml version='1.0'?>",
    ] {
        let error = refused(bytes);
        assert!(matches!(error, DumpError::NotADump { .. }) && error.hint().is_some(), "{error}");
    }
    assert!(matches!(refused(&bz2(b"something else")), DumpError::NotADump { .. }));
    for (bytes, what) in [
        (&b"  \n<!DOCTYPE html><title>404</title>"[..], "HTML page"),
        (b"554:10:AccessibleComputing\n554:12:Anarchism\n", "index of a multistream dump"),
        (b" \n\t", "nothing but white space"),
    ] {
        for bytes in [bytes.to_vec(), bz2(bytes)] {
            assert!(refused(&bytes).to_string().contains(what), "{}", refused(&bytes));
        }
    }
    let mut tar = vec![b'x'; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let archives: [(&[u8], &str); 7] = [
        (b"7z\xBC\xAF\x27\x1C\0\x04", "a 7z archive"),
        (b"PK\x03\x04\x14\0", "a zip archive"),
        (b"Rar!\x1A\x07\x01\0", "a rar archive"),
        (&tar, "a tar archive"),
        (&bz2(&tar), "a packed tar archive"),
        (&bz2(&bz2(b"<mediawiki></mediawiki>")), "packed twice"),
        (&bz2(b"7z\xBC\xAF\x27\x1C\0\x04"), "packed twice"),
    ];
    for (bytes, format) in archives {
        let error = refused(bytes);
        assert_eq!(error.to_string(), format!("`test.xml` is {format}, which is not supported"));
        assert!(error.hint().unwrap().contains("unpack"), "{error}");
    }
    let missing = dump::open(Path::new("/no/such/dump.xml.bz2")).err().unwrap();
    assert!(missing.to_string().contains("/no/such/dump.xml.bz2") && missing.hint().is_some(), "{missing}");
}

/// Gives bytes in crumbs, so that every tag is cut by a read somewhere.
struct Crumbs(io::Cursor<Vec<u8>>, usize);

impl Read for Crumbs {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn reads_of_any_size_give_the_same_pages() {
    let pages: String =
        (1..8).map(|id| element(id, &format!("P{id}"), &"é &amp; 世 ".repeat(id as usize * 40))).collect();
    let xml = export(&pages);
    let expected = whole(xml.as_bytes());
    for size in [1, 2, 3, 7, 64, 1000] {
        let crumbs = Crumbs(io::Cursor::new(xml.clone().into_bytes()), size);
        let read: Vec<Page> = dump::from_reader(crumbs, "t").unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(read, expected, "reads of {size} bytes");
    }
}

/// The pages, and how many complaints came with them.
fn outcome(stream: impl Read + Send + 'static) -> (Vec<Page>, usize) {
    let Ok(reader) = dump::from_reader(stream, "t") else { return (Vec::new(), 1) };
    let (pages, errors): (Vec<_>, Vec<_>) = reader.partition(Result::is_ok);
    (pages.into_iter().flatten().collect(), errors.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn tags_in_any_order_read_the_same_whatever_arrives_at_a_time(
        order in prop::collection::vec(0_usize..9, 0..14),
        size in 1_usize..40,
    ) {
        let good = element(3, "G", "x");
        let tags = ["<page>", "</page>", "</mediawiki>", "<pages>", "<mediawiki>", "<siteinfo></siteinfo>", "<id>1</id>", "<page", &good];
        // The first bytes are read at once, to tell what they are.
        let beginning = format!("<mediawiki>{}", " ".repeat(600));
        let xml: String = std::iter::once(beginning.as_str()).chain(order.iter().map(|&tag| tags[tag])).collect();
        let bytes = xml.clone().into_bytes();
        prop_assert_eq!(outcome(Crumbs(io::Cursor::new(bytes.clone()), size)), outcome(io::Cursor::new(bytes)), "{}", xml);
    }
}

/// `<page>` and then far more text than a page may have, twice, between two good pages; never held in memory by the test.
#[test]
fn an_oversized_page_is_skipped_in_bounded_memory() {
    let parts: Vec<Box<dyn Read + Send>> = vec![
        Box::new(io::Cursor::new(format!(
            "{HEADER}{}<page><title>Big</title><id>1</id><revision><text>",
            element(1, "One", "a")
        ))),
        Box::new(io::repeat(b'x').take(150 << 20)),
        Box::new(io::Cursor::new(format!("</text></revision></page>{}</mediawiki>", element(2, "Two", "b")))),
    ];
    let stream =
        parts.into_iter().fold(Box::new(io::empty()) as Box<dyn Read + Send>, |all, part| Box::new(all.chain(part)));
    let items: Vec<_> = dump::from_reader(stream, "big.xml").unwrap().collect();
    assert_eq!(items.len(), 3);
    assert!(
        matches!(&items[1], Err(error) if error.is_skippable() && error.to_string().contains("larger than 64 MiB"))
    );
    assert!(matches!(&items[2], Ok(page) if page.title == "Two"));
}

const ENGLISH: &str = "dumps/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2";

/// Each of these takes a time that grows with its square where one element is looked for again from every other.
#[test]
fn elements_without_end_are_skipped_in_a_time_that_grows_with_them() {
    let good = element(1, "Good", "text");
    let many = |text: &str, count: usize| text.repeat(count);
    let whole = |inside: &str| format!("<page><title>T</title><id>9</id><revision>{inside}</revision></page>");
    let cases = [
        ("nested", format!("<page>{}{}</page>", many("<a>", 1_000_000), many("</a>", 1_000_000))),
        ("nested in a revision", whole(&format!("{}{}", many("<a>", 500_000), many("</a>", 500_000)))),
        ("nested in a contributor", whole(&format!("<contributor>{}", many("<c>", 500_000)))),
        ("texts", whole(&many("<text>", 1_000_000))),
        ("revisions", whole(&many("<revision>", 1_000_000))),
        ("pages", many("<page><title>x</title>", 500_000)),
        ("page tags", many("<page>", 2_000_000)),
        ("ends", many("</page>", 2_000_000)),
    ];
    for (what, odd) in cases {
        let begin = std::time::Instant::now();
        let mut titles = Vec::new();
        let mut errors = 0;
        for page in reader(export(&format!("{odd}{good}"))) {
            match page {
                Ok(page) => titles.push(page.title),
                Err(error) if error.is_skippable() => errors += 1,
                Err(error) => panic!("{what}: {error}"),
            }
        }
        assert_eq!(titles.last().map(String::as_str), Some("Good"), "{what}");
        assert!(errors > 0, "{what}");
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{what}: {:?}", begin.elapsed());
    }
}

#[test]
fn names_that_are_too_long_cost_their_page_or_their_field() {
    let long = "T".repeat(5000);
    let xml = export(&format!("{}{}", element(1, &long, "text"), element(2, "Good", "text")));
    let items: Vec<_> = reader(xml).collect();
    let message = items[0].as_ref().unwrap_err().to_string();
    assert!(message.contains("its title has 5000 bytes") && message.len() < 300, "{message}");
    assert_eq!(items[1].as_ref().unwrap().title, "Good");
    let site = format!("<siteinfo><base>{long}</base><sitename>S</sitename></siteinfo>");
    let site = reader(format!("<mediawiki>{site}{}</mediawiki>", element(2, "Good", "text"))).site_info().clone();
    assert_eq!((site.base.as_str(), site.sitename.as_str()), ("", "S"));
}

/// The dump that the repository holds.
fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/enwiki-sample.xml.bz2")
}

#[test]
fn the_sample_of_wikipedia_is_what_its_attribution_says() {
    let pages: Vec<Page> = dump::open(&sample()).unwrap().collect::<Result<_, _>>().unwrap();
    let notes = store::read_to_string(&sample().with_file_name("enwiki-sample.attribution.tsv")).unwrap();
    let noted: Vec<(&str, u64)> = notes
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|fields| (fields[0], fields[2].parse().unwrap()))
        .collect();
    let articles = pages.iter().filter(|page| page.redirect.is_none());
    assert_eq!(articles.map(|page| (page.title.as_str(), page.revision_id)).collect::<Vec<_>>(), noted);
    assert_eq!((noted.len(), pages.len()), (52, 58));
}

#[test]
fn the_real_english_dump_is_read_whole() {
    let (Some(path), Some(multistream)) = (real_data(ENGLISH), real_data("dumps/enwiki-shortened-multistream.xml.bz2"))
    else {
        return;
    };
    let mut reader = dump::open(&path).unwrap();
    let pages: Vec<Page> = reader.by_ref().collect::<Result<_, _>>().unwrap();
    assert_eq!(pages.len(), 206);
    assert_eq!(pages.iter().filter(|page| page.ns == 0 && page.redirect.is_none()).count(), 106);
    assert_eq!(pages.iter().filter(|page| page.redirect.is_some()).count(), 100);
    assert_eq!(Some(reader.bytes_read()), reader.bytes_total());
    let others: Vec<Page> = dump::open(&multistream).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(others, pages);
}

#[test]
fn no_markup_is_left_on_the_real_pages() {
    let beside =
        [ENGLISH, "dumps/bgwiki-latest-pages-articles-shortened.xml.bz2", "dumps/pywikibot/article-pear-0.10.xml"];
    for path in beside.iter().filter_map(|file| real_data(file)).chain([sample()]) {
        let file = path.display();
        let reader = dump::open(&path).unwrap();
        let context = WikiContext::from_site(reader.site_info());
        let mut residues = Vec::new();
        let (mut markup_bytes, mut prose_bytes) = (0, 0);
        for page in reader.map(Result::unwrap).filter(|page| page.ns == 0 && page.redirect.is_none()) {
            let clean = wikitext::clean(&page.text, &context);
            let headings = clean.sections.iter().map(|section| section.title.as_str());
            for text in headings.chain([clean.text.as_str()]) {
                for mark in [
                    "[[",
                    "]]",
                    "{{",
                    "}}",
                    "{|",
                    "|}",
                    "<ref",
                    "</",
                    "''",
                    "&nbsp;",
                    "<!--",
                    "__NOTOC__",
                    "  ",
                    // After a space: what a dropped template leaves. A literal `()` stands in program code.
                    " ()",
                    "( )",
                    "\n|",
                ] {
                    if let Some(at) = text.find(mark) {
                        residues.push(format!("{}: …{}", page.title, text[at..].chars().take(60).collect::<String>()));
                    }
                }
            }
            for link in &clean.links {
                assert_eq!(clean.text[link.span.clone()].trim(), &clean.text[link.span.clone()]);
            }
            // A page can be one large table; the pages together cannot.
            markup_bytes += page.text.len();
            prose_bytes += clean.text.len();
        }
        assert!(prose_bytes * 4 > markup_bytes, "{file}: {prose_bytes} bytes are left of {markup_bytes}");
        assert!(residues.is_empty(), "{file}: {residues:#?}");
    }
}

#[test]
fn a_cut_real_dump_ends_with_the_cut() {
    let bytes = store::read(&sample()).unwrap();
    let mut reader = dump::from_reader(io::Cursor::new(bytes[..bytes.len() * 2 / 3].to_vec()), "cut.bz2").unwrap();
    let items: Vec<_> = reader.by_ref().collect();
    assert!(matches!(items.last(), Some(Err(DumpError::Truncated { .. }))), "{:?}", items.last());
    assert!(items[..items.len() - 1].iter().all(Result::is_ok) && items.len() > 20);
}

#[test]
fn a_real_archive_is_refused() {
    let Some(path) = real_data("dumps/aawiki-20260101-pages-meta-history.xml.7z") else {
        return;
    };
    let error = dump::open(&path).err().unwrap();
    assert!(error.to_string().contains("a 7z archive") && error.hint().unwrap().contains("unpack"), "{error}");
}
