//! The fictional encyclopedia, seen from outside: what its dump holds and what can be learned from it.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::time::Instant;

use memtrain_corpora::dump;
use memtrain_corpora::world::{Annals, Length, World, WorldConfig, WorldError, WorldPage, write_dump};
use quick_xml::events::Event;

fn world(num_pages: u64) -> World {
    World::generate(WorldConfig { num_pages, ..WorldConfig::default() }).unwrap()
}

fn xml(world: &World) -> String {
    let mut out = Vec::new();
    world.write_xml(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn articles(world: &World) -> Vec<WorldPage> {
    world.pages().filter(|page| page.ns == 0 && page.redirect.is_none()).collect()
}

/// The words of a text, without what stands between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty())
}

#[test]
fn same_config_same_bytes_and_another_seed_others() {
    assert_eq!(xml(&world(60)), xml(&world(60)));
    let other = World::generate(WorldConfig { seed: 2, num_pages: 60, ..WorldConfig::default() }).unwrap();
    assert_ne!(xml(&world(60)), xml(&other));
}

#[test]
fn compressed_export_is_the_xml() {
    let mut bz2 = Vec::new();
    let summary = world(40).write_bz2(&mut bz2).unwrap();
    let mut decoded = String::new();
    bzip2::read::BzDecoder::new(bz2.as_slice()).read_to_string(&mut decoded).unwrap();
    assert_eq!(decoded, xml(&world(40)));
    assert_eq!(summary.num_articles, 40);
    assert_eq!(summary.xml_bytes, decoded.len() as u64);
}

#[test]
fn written_dump_is_read_back_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("world.xml.bz2");
    let config = WorldConfig { num_pages: 40, ..WorldConfig::default() };
    write_dump(&path, &config).unwrap();
    let reader = dump::open(&path).unwrap();
    assert_eq!(reader.site_info().base, "https://world.example.org/wiki/Main_Page");
    let read: Vec<dump::Page> = reader.map(Result::unwrap).collect();
    let written: Vec<WorldPage> = world(40).pages().collect();
    assert_eq!(read.len(), written.len());
    for (read, written) in read.into_iter().zip(written) {
        assert_eq!((read.title, read.ns, read.id), (written.title, written.ns, written.id));
        assert_eq!((read.redirect, read.revision_id), (written.redirect, written.revision_id));
        assert_eq!((read.timestamp, read.text), (written.timestamp, written.text));
    }
}

#[test]
fn the_export_is_well_formed_and_says_what_the_pages_say() {
    let world = world(150);
    let xml = xml(&world);
    let mut reader = quick_xml::Reader::from_str(&xml);
    reader.config_mut().check_end_names = true;
    let (mut open, mut texts, mut titles, mut text) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) => {
                open.push(tag.name().as_ref().to_owned());
                text.clear();
            }
            Event::End(_) => {
                match open.pop().unwrap().as_str() {
                    "text" => texts.push(text.clone()),
                    "title" => titles.push(text.clone()),
                    _ => {}
                }
                text.clear();
            }
            Event::Text(part) => text.push_str(&part.xml10_content()),
            Event::GeneralRef(name) => {
                text.push(match &*name.xml10_content() {
                    "lt" => '<',
                    "gt" => '>',
                    "amp" => '&',
                    "quot" => '"',
                    other => panic!("unknown entity `{other}`"),
                });
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty());
    assert_eq!(titles, world.pages().map(|page| page.title).collect::<Vec<_>>());
    assert_eq!(texts, world.pages().map(|page| page.text).collect::<Vec<_>>());
}

#[test]
fn any_number_of_pages_is_that_number() {
    for num_pages in [1, 2, 7, 24, 25, 26, 49, 50, 51, 149] {
        assert_eq!(articles(&world(num_pages)).len() as u64, num_pages);
    }
}

/// The targets of the links of a page as MediaWiki reads them.
fn targets(text: &str) -> Vec<String> {
    text.match_indices("[[")
        .map(|(at, _)| {
            let inside = text[at + 2..].split(['|', ']', '#']).next().unwrap().trim();
            inside[..1].to_uppercase() + &inside[1..]
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_page() {
    for (num_pages, years) in [(3, 0), (25, 0), (60, 0), (151, 0), (1, 2), (2, 2), (60, 3)] {
        let annals = Annals { seed: 5, years, ..Annals::default() };
        let world = World::generate(WorldConfig { num_pages, annals, ..WorldConfig::default() }).unwrap();
        let titles: HashSet<String> = world.pages().map(|page| page.title).collect();
        assert_eq!(titles.len(), world.pages().count(), "titles are unique");
        for page in world.pages() {
            for target in targets(&page.text).into_iter().chain(page.redirect) {
                assert!(titles.contains(&target), "`{}` links to `{target}`, which is not there", page.title);
            }
        }
    }
}

/// The pages of a world with annals: those of entities, and those of years with the person they are about.
fn annals(seed: u64, years: u16) -> (Vec<WorldPage>, Vec<(String, WorldPage)>) {
    let annals = Annals { seed, years, ..Annals::default() };
    let world = World::generate(WorldConfig { num_pages: 50, annals, ..WorldConfig::default() }).unwrap();
    let (years, entities): (Vec<_>, Vec<_>) =
        articles(&world).into_iter().partition(|page| page.title.contains(" in 1"));
    let person = |page: WorldPage| (page.title.split(' ').next().unwrap().to_owned(), page);
    (entities, years.into_iter().map(person).collect())
}

/// The sentences of a page without markup.
fn plain_sentences(text: &str) -> Vec<String> {
    let prose = text.lines().filter(|line| !line.starts_with("==") && !line.starts_with("[[Category"));
    let plain = prose.map(|line| line.replace("[[", "").replace("]]", "").replace("'''", ""));
    plain.flat_map(|line| line.split_inclusive('.').map(|part| part.trim().to_owned()).collect::<Vec<_>>()).collect()
}

#[test]
fn signs_tell_persons_apart_and_never_change() {
    let is_sign = |sentence: &str| sentence.contains(" the seal of ") || sentence.contains(" the song of ");
    let (entities, years) = annals(1, 6);
    let mut owners: HashMap<String, String> = HashMap::new();
    for page in &entities {
        for sentence in plain_sentences(&page.text).into_iter().filter(|sentence| is_sign(sentence)) {
            let sign = sentence.replacen(&page.title, "", 1);
            assert_eq!(owners.insert(sign, page.title.clone()), None, "`{sentence}` could be somebody else");
        }
    }
    assert_eq!(owners.len(), 2 * 14, "two signs of fourteen persons");
    let mut told = 0;
    for (person, page) in &years {
        for sentence in plain_sentences(&page.text) {
            if let Some(owner) = owners.get(&sentence.replacen(person.as_str(), "", 1)) {
                assert_eq!(owner, person, "{sentence}");
                told += 1;
            }
        }
    }
    assert!(told > years.len(), "{told} signs on {} pages", years.len());
    assert_eq!(annals(2, 6).0, entities, "other news change nothing that is known by heart");
}

#[test]
fn what_happened_stands_on_one_page_and_in_one_edition() {
    let (entities, _) = annals(1, 1);
    let names: HashSet<&str> = entities.iter().map(|page| page.title.as_str()).collect();
    let events = |seed| -> Vec<String> {
        let (_, years) = annals(seed, 10);
        let pages = years.into_iter().flat_map(|(_, page)| plain_sentences(&page.text));
        pages.filter(|sentence| words(sentence).filter(|word| names.contains(word)).count() == 2).collect()
    };
    let (first, second) = (events(1), events(2));
    let distinct: HashSet<&String> = first.iter().collect();
    // A person has about a hundred events here, of some 1,500 that can be said of it: one in twenty or so is said twice.
    assert!(first.len() > 1_000 && distinct.len() * 10 >= first.len() * 9, "{} of {}", distinct.len(), first.len());
    let again = second.iter().filter(|event| distinct.contains(event)).count();
    // By chance one in seven: an event of few words, or of a kind with few entities, is soon said again.
    assert!(again * 4 < second.len(), "{again} of {} events stand in the other edition too", second.len());
}

/// For each title the number of other pages that name it.
fn recurrence(pages: &[WorldPage]) -> HashMap<&str, usize> {
    let mut counts: HashMap<&str, usize> = pages.iter().map(|page| (page.title.as_str(), 0)).collect();
    for page in pages {
        for word in words(&page.text).collect::<HashSet<_>>() {
            if word != page.title {
                counts.entry(word).and_modify(|count| *count += 1);
            }
        }
    }
    counts
}

#[test]
fn every_entity_recurs_on_other_pages() {
    let pages = articles(&world(150));
    let counts = recurrence(&pages);
    assert_eq!(counts.values().filter(|&&count| count == 0).count(), 0);
    let twice = counts.values().filter(|&&count| count >= 2).count();
    assert!(twice * 100 >= counts.len() * 95, "{twice} of {} entities are on two other pages", counts.len());
}

#[test]
fn names_are_unique_and_no_part_of_an_ordinary_word() {
    let world = world(20_000);
    let names: HashSet<String> = articles(&world).into_iter().map(|page| page.title).collect();
    assert_eq!(names.len(), 20_000);
    let small = articles(&self::world(150));
    let ordinary: HashSet<&str> = small
        .iter()
        .flat_map(|page| words(&page.text))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    for page in &small {
        let name = page.title.to_lowercase();
        let inside = ordinary.iter().find(|word| word.contains(name.as_str()) && **word != name);
        assert_eq!(inside, None, "`{name}` is inside an ordinary word");
    }
}

#[test]
fn a_province_is_the_same_in_a_larger_world() {
    // All but the borders to the first and last province, which lie elsewhere in a larger world.
    let small = articles(&world(100));
    let large = articles(&world(1_000));
    assert_eq!(small[25..50], large[25..50]);
}

#[test]
fn long_pages_have_sections_of_a_hundred_words() {
    let world = World::generate(WorldConfig::long_pages(3, 75)).unwrap();
    let pages = articles(&world);
    let words = pages.iter().map(|page| words(&page.text).count()).sum::<usize>() / pages.len();
    assert!((350..1_200).contains(&words), "{words} words a page");
    let world = World::generate(WorldConfig { lead_sentences: Length { min: 3, max: 2 }, ..WorldConfig::default() });
    assert!(matches!(world, Err(WorldError::Range { key: "lead_sentences", min: 3, max: 2 })));
}

#[test]
fn time_is_linear_in_the_number_of_pages() {
    let seconds = |num_pages| {
        let start = Instant::now();
        let summary = world(num_pages).write_xml(&mut std::io::sink()).unwrap();
        assert_eq!(summary.num_articles, num_pages);
        start.elapsed().as_secs_f64() / num_pages as f64
    };
    seconds(500);
    let (few, many) = (seconds(2_000), seconds(20_000));
    // Generous, for busy machines: a quadratic cost would be ten times as much a page.
    assert!(many < 4.0 * few, "{:.1} µs a page of 2,000, {:.1} of 20,000", few * 1e6, many * 1e6);
}
