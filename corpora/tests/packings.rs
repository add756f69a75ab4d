//! Dumps in every packing: whole, cut, damaged, in several streams; and read in parts.

#[path = "../../tests/real_data/mod.rs"]
mod real_data;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use memtrain_corpora::dump::{self, DumpError, Page, Part, SiteInfo};
use memtrain_corpora::{rng, store};
use proptest::prelude::*;
use rand::Rng;
use real_data::real_data;

/// An export of `count` pages; every third of them long and random, so that packed blocks lie anywhere.
fn export(count: u64, seed: u64) -> Vec<u8> {
    let mut generator = rng::keyed("test/packings", seed, &[]);
    let mut xml = String::from("<mediawiki version=\"0.11\" xml:lang=\"en\"><siteinfo><dbname>t</dbname></siteinfo>\n");
    for id in 1..=count {
        let words = if id % 3 == 0 { generator.random_range(1..4000) } else { generator.random_range(0..40) };
        let text: String = (0..words).map(|_| format!("{:x} ", generator.random::<u32>())).collect();
        xml.push_str(&format!(
            "  <page>\n    <title>Page {id}</title><ns>0</ns><id>{id}</id>\n    <revision><id>{id}</id><timestamp>2026-01-02T03:04:05Z</timestamp>\
             <text>{text}&amp; é 世</text></revision>\n  </page>\n"
        ));
    }
    xml.push_str("</mediawiki>\n");
    xml.into_bytes()
}

fn bz2(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Pack = fn(&[u8]) -> Vec<u8>;

const PACKINGS: [(&str, Pack); 6] = [
    ("plain", |bytes| bytes.to_vec()),
    ("bzip2", |bytes| bz2(bytes, 1)),
    ("gzip", gz),
    ("xz", xz),
    ("lzma", lzma),
    ("zstd", zst),
];

fn read(bytes: Vec<u8>) -> Result<Vec<Result<Page, DumpError>>, DumpError> {
    Ok(dump::from_reader(io::Cursor::new(bytes), "test.xml")?.collect())
}

fn whole(bytes: &[u8]) -> Vec<Page> {
    read(bytes.to_vec()).unwrap().into_iter().collect::<Result<_, _>>().unwrap()
}

/// Units of UTF-16, little-endian, with a mark.
fn utf16(bytes: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    [0xFF, 0xFE].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}

#[test]
fn every_packing_gives_the_same_pages() {
    let xml = export(60, 1);
    let expected = whole(&xml);
    assert_eq!(expected.len(), 60);
    for (name, pack) in PACKINGS {
        assert_eq!(whole(&pack(&xml)), expected, "{name}");
        assert_eq!(whole(&pack(&utf16(&xml))), expected, "{name}, UTF-16");
        if name == "lzma" {
            continue; // the format knows one stream only
        }
        // Several streams, cut anywhere: as `cat` and parallel packers leave them.
        let (first, second) = xml.split_at(xml.len() / 3 + 1);
        assert_eq!(whole(&[pack(first), pack(b""), pack(second)].concat()), expected, "{name}, several");
    }
}

#[test]
fn a_cut_of_any_packing_keeps_whole_pages_and_says_where() {
    let xml = export(200, 2);
    let expected = whole(&xml);
    for (name, pack) in PACKINGS {
        let packed = pack(&xml);
        let mut most = 0;
        for cut in [packed.len() - 1, packed.len() - 20, packed.len() * 2 / 3, packed.len() / 2, packed.len() / 5] {
            let items = read(packed[..cut].to_vec()).unwrap();
            let (pages, end) = items.split_at(items.len() - 1);
            if cut + 1 == packed.len() && name == "plain" {
                continue; // the line break behind the closing tag
            }
            assert!(
                matches!(&end[0], Err(DumpError::Truncated { pages: count, .. }) if *count == pages.len() as u64),
                "{name}: {:?}",
                end[0]
            );
            let pages: Vec<&Page> = pages.iter().map(|page| page.as_ref().unwrap()).collect();
            assert!(pages.iter().zip(&expected).all(|(page, expected)| *page == expected), "{name}");
            most = most.max(pages.len());
        }
        assert!(most > 60, "{name}: {most} pages at most");
        for cut in [8, 20] {
            let items = read(packed[..cut].to_vec());
            assert!(matches!(items.as_deref(), Err(_) | Ok([Err(_)])), "{name}: {cut} bytes are no dump");
        }
    }
}

#[test]
fn blanks_and_holes_without_an_end_are_named() {
    let xml = export(4, 9);
    let (head, tail) = xml.split_at(xml.len() - b"</mediawiki>\n".len());
    for (byte, name, pack) in [(b'\n', "zstd", PACKINGS[5].1), (0, "gzip", gz as Pack), (b'\n', "plain", PACKINGS[0].1)]
    {
        let with = |blanks: usize| read(pack(&[head, &vec![byte; blanks], tail].concat())).unwrap();
        let items = with(65 << 20);
        let (end, pages) = items.split_last().unwrap();
        assert_eq!(pages.iter().filter(|page| page.is_ok()).count(), 4, "{name}");
        let error = end.as_ref().expect_err(name).to_string();
        assert!(error.contains("more than 64 MiB in a row are blank or zero"), "{name}: {error}");
        if byte != 0 {
            assert!(with(1 << 20).iter().all(Result::is_ok), "{name}");
        }
    }
}

/// Flipped bits are found by the format's checksum or are outside of what counts; nothing panics or hangs.
#[test]
fn flipped_bits_are_named() {
    let xml = export(40, 3);
    let expected = whole(&xml);
    let mut generator = rng::keyed("test/flips", 1, &[]);
    for (name, pack) in &PACKINGS[1..] {
        let packed = pack(&xml);
        let mut found = 0;
        for _ in 0..60 {
            let mut damaged = packed.clone();
            let at = generator.random_range(0..damaged.len());
            damaged[at] ^= 1 << generator.random_range(0..8);
            let Ok(items) = read(damaged) else {
                found += 1;
                continue;
            };
            match items.last() {
                Some(Err(error @ (DumpError::Damaged { .. } | DumpError::Truncated { .. }))) => {
                    let said = error.to_string();
                    assert!(said.contains("test.xml") && said.contains("byte") && error.hint().is_some(), "{said}");
                    found += 1;
                }
                // lzma has no checksum, and a bit of a header may mean nothing.
                _ => assert!(
                    *name == "lzma" || items.into_iter().map(Result::unwrap).eq(expected.clone()),
                    "{name}, byte {at}"
                ),
            }
        }
        assert!(found >= if *name == "lzma" { 20 } else { 50 }, "{name}: {found} of 60 found");
    }
}

/// A few kilobytes that unpack to a gigabyte are read in pieces, and a dictionary beyond measure is not made.
#[test]
fn bombs_are_bounded() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(b"<mediawiki><page><title>").unwrap();
    for _ in 0..256 {
        encoder.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    encoder.write_all(b"</title></page></mediawiki>").unwrap();
    let items = read(encoder.finish().unwrap()).unwrap();
    assert!(matches!(&items[..], [Err(error)] if error.to_string().contains("larger than 64 MiB")), "{items:?}");
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(30).unwrap();
    wide.write_all(&export(3, 1)).unwrap();
    let error = dump::from_reader(io::Cursor::new(wide.finish().unwrap()), "wide.zst").err().unwrap();
    assert!(matches!(error, DumpError::Damaged { .. }), "{error}");
}

#[test]
fn histories_are_read_in_bounded_memory() {
    let long = "x".repeat(1 << 20);
    let revision = |id: u64, time: &str| {
        format!("<revision><id>{id}</id>{time}<text bytes=\"9\">{id} &lt;revision&gt; {long}</text></revision>")
    };
    let time = |id: u64| format!("<timestamp>2026-01-01T00:{id:02}:00Z</timestamp>");
    let orders: [Vec<u64>; 3] =
        [(1..90).collect(), (1..90).rev().collect(), (1..90).map(|id| (id * 37) % 90).collect()];
    for order in orders {
        let revisions: String = order.iter().map(|&id| revision(id, &time(id))).collect();
        let xml = format!(
            "<mediawiki><page><title>T</title><ns>0</ns><id>1</id>{revisions}</page><page><title>U</title><ns>0</ns><id>2</id>{}</page></mediawiki>",
            revision(5, "")
        );
        assert!(xml.len() > 64 << 20, "more than a page may have");
        let pages = whole(xml.as_bytes());
        assert_eq!(pages.iter().map(|page| page.revision_id).collect::<Vec<_>>(), [89, 5]);
        assert!(pages[0].text.starts_with("89 <revision> x"));
    }
    // Without times the last one counts.
    let revisions: String = [3, 1, 2].map(|id| revision(id, "")).concat();
    let pages = whole(
        format!("<mediawiki><page><title>T</title><ns>0</ns><id>1</id>{revisions}</page></mediawiki>").as_bytes(),
    );
    assert_eq!(pages[0].revision_id, 2);
}

/// What the parts of a file give, one after the other.
fn in_parts(path: &Path, parts: &[Part]) -> Vec<Result<Page, String>> {
    let site = dump::open(path).unwrap().site_info().clone();
    let mut items = Vec::new();
    for &part in parts {
        let reader = dump::open_part(path, part, &site).unwrap();
        assert_eq!(reader.site_info(), &site);
        items.extend(reader.map(|item| item.map_err(|error| error.to_string())));
    }
    items
}

fn check_parts(bytes: &[u8], bytes_each: u64) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    store::write_atomic(&path, bytes).unwrap();
    let parts = dump::parts(&path, bytes_each).unwrap();
    assert_eq!((parts[0].start, parts.last().unwrap().end), (0, None));
    assert!(parts.windows(2).all(|pair| pair[0].end == Some(pair[1].start) && pair[0].start < pair[1].start));
    let expected = in_parts(&path, &[Part::WHOLE]);
    let got = in_parts(&path, &parts);
    let titles =
        |items: &[Result<Page, String>]| items.iter().flatten().map(|page| page.title.clone()).collect::<Vec<_>>();
    assert_eq!(titles(&got), titles(&expected), "{} parts", parts.len());
    assert!(got.iter().flatten().eq(expected.iter().flatten()));
    assert_eq!(got.iter().filter(|item| item.is_err()).count(), expected.iter().filter(|item| item.is_err()).count());
    parts.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn any_cut_gives_the_same_pages(seed: u64, level in 1u32..3, streams in 0usize..4, bytes_each in 1u64..200_000, cut: bool) {
        let xml = export(90, seed);
        let plain = if cut { &xml[..xml.len() - 5000] } else { &xml[..] };
        // Streams that begin anywhere, also in the middle of a tag.
        let step = plain.len().div_ceil(streams + 1) + 7;
        let mut packed: Vec<u8> = plain.chunks(step).flat_map(|chunk| bz2(chunk, level)).collect();
        if cut {
            packed.truncate(packed.len() - 1000);
        }
        check_parts(&packed, bytes_each.max(20_000));
        check_parts(plain, bytes_each.max(500));
    }
}

#[test]
fn blocks_and_streams_are_both_cut() {
    let xml = export(300, 7);
    assert!(check_parts(&bz2(&xml, 1), 100_000) > 8, "one stream, many blocks");
    let multistream: Vec<u8> = xml.chunks(9_999).flat_map(|chunk| bz2(chunk, 9)).collect();
    assert!(check_parts(&multistream, 20_000) > 30, "many streams of a block each");
    // Every cut of the end: the closing tag is cut too.
    let small = export(3, 8);
    assert!(check_parts(&small, 1) > 300);
    check_parts(&small[..small.len() - 4], 1);
    let end = small.len() - 30;
    let streams = small[end..].chunks(1).flat_map(|byte| bz2(byte, 1));
    assert!(check_parts(&bz2(&small[..end], 1).into_iter().chain(streams).collect::<Vec<_>>(), 20) > 20);
    // An empty stream, and blocks of hugely repetitive text, which unpack to fifty times the block size.
    let repeated = format!("<mediawiki><page><title>{}</title></page></mediawiki>", "x".repeat(12 << 20));
    check_parts(&[bz2(b"", 1), bz2(repeated.as_bytes(), 1), bz2(b"", 9)].concat(), 100);
    for (name, pack) in &PACKINGS[2..] {
        assert_eq!(check_parts(&pack(&xml), 1000), 1, "{name} is not cut");
    }
    assert_eq!(check_parts(&bz2(&utf16(&xml), 1), 1000), 1, "nor is UTF-16");
}

/// Text that looks like marks of bzip2, stored in a dump and, by hand, between its pages.
#[test]
fn chance_marks_are_passed_over() {
    let mut packed = bz2(&export(50, 9), 1);
    let inside = packed.len();
    packed.extend(bz2(b"", 9));
    assert!(check_parts(&packed, 30_000) > 3);
    packed.truncate(inside - 3);
    packed.extend_from_slice(b"BZh91AY&SY1AY&SY\x17\x72\x45\x38\x50\x90");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    store::write_atomic(&path, &packed).unwrap();
    let parts = dump::parts(&path, 1000).unwrap();
    assert!(parts.iter().all(|part| part.start < (inside as u64 - 3) * 8));
}

#[test]
fn parts_are_read_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    store::write_atomic(&path, bz2(&export(300, 11), 1)).unwrap();
    let site = Arc::new(SiteInfo::default());
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let parts = dump::parts(&path, 200_000).unwrap();
        let threads: Vec<_> = parts
            .into_iter()
            .map(|part| {
                let (path, site) = (&path, site.clone());
                scope.spawn(move || dump::open_part(path, part, &site).unwrap().map(Result::unwrap).count())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(counts.len() > 3 && counts.iter().sum::<usize>() == 300, "{counts:?}");
}

#[test]
fn real_files_of_every_packing() {
    let sample = "dumps/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2";
    let Some(path) = real_data(sample) else {
        return;
    };
    assert!(check_parts(&store::read(&path).unwrap(), 200_000) > 4);
    let multistream = real_data("dumps/enwiki-shortened-multistream.xml.bz2").unwrap();
    assert!(check_parts(&store::read(&multistream).unwrap(), 200_000) > 3);
    let folder = path.parent().unwrap().join("pywikibot");
    let expected = whole(&store::read(&folder.join("article-pyrus.xml")).unwrap());
    for name in [
        "article-pyrus.xml.bz2",
        "article-pyrus.xml.gz",
        "article-pyrus.xml.lzma",
        "article-pyrus.xml.xz",
        "article-pyrus-utf16.xml",
        "article-pyrus-utf16.xml.bz2",
    ] {
        assert_eq!(whole(&store::read(&folder.join(name)).unwrap()), expected, "{name}");
    }
    for (name, pages) in [("viwiki", 970), ("mrwiki", 1820)] {
        let path = real_data(&format!("dumps/{name}-truncated-100k.xml.xz")).unwrap();
        let items: Vec<_> = dump::open(&path).unwrap().collect();
        assert_eq!(items.iter().filter(|item| item.is_ok()).count(), pages, "{name}");
        assert!(matches!(items.last(), Some(Err(DumpError::Truncated { pages: told, .. })) if *told == pages as u64));
    }
    let error = dump::open(&folder.join("article-pyrus.xml_invalid.7z")).err().unwrap();
    assert!(error.to_string().contains("begins with `This file is not"), "{error}");
}
