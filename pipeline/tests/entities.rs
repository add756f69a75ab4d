//! Mentions of the `links` back-end, by hand-written cases, by gold, and in a world whose names are known.

#[path = "../../tests/real_data/mod.rs"]
mod real_data;

use std::collections::HashSet;

use memtrain_corpora::store::ScalarIndex;
use memtrain_corpora::world::{World, WorldConfig, write_dump};
use memtrain_corpora::{Entity, EntityLabel, EntitySource, Passage, store};
use memtrain_pipeline::config::EntitiesConfig;
use memtrain_pipeline::entities::conll::Conll;
use memtrain_pipeline::entities::evaluation::{Mapping, Report, evaluate};
use memtrain_pipeline::entities::{EntityBackend, open_backend, tag_text};
use memtrain_pipeline::{CorpusConfig, StageName, finish, plan, run_shard};
use proptest::prelude::*;
use real_data::real_data;

fn links() -> Box<dyn EntityBackend> {
    open_backend(&EntitiesConfig::default(), None).unwrap()
}

fn tagged(text: &str) -> Vec<(String, &'static str)> {
    tag_text(&*links(), text).unwrap().into_iter().map(|entity| (entity.surface, entity.label.as_str())).collect()
}

fn check(cases: &[(&str, &[(&str, &'static str)])]) {
    for (text, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|(surface, label)| ((*surface).to_owned(), *label)).collect();
        assert_eq!(tagged(text), expected, "{text}");
    }
}

#[test]
fn persons() {
    check(&[
        ("President Barack Obama met Mr. Lund.", &[("Barack Obama", "PERSON"), ("Lund", "PERSON")]),
        ("The singer Velma Ostrander left.", &[("Velma Ostrander", "PERSON")]),
        (
            "She saw Ludwig van Beethoven and J. R. Tolm.",
            &[("Ludwig van Beethoven", "PERSON"), ("J. R. Tolm", "PERSON")],
        ),
        ("Maria Tolm was born here. Tolm died young.", &[("Maria Tolm", "PERSON"), ("Tolm", "PERSON")]),
        ("It was Martin Luther King, Jr. who spoke.", &[("Martin Luther King, Jr.", "PERSON")]),
    ]);
}

#[test]
fn places() {
    check(&[
        ("He lives in Austin, Texas, near Lake Tolm.", &[("Austin", "GPE"), ("Texas", "GPE"), ("Lake Tolm", "LOC")]),
        ("They crossed the Tolm River to Germany.", &[("Tolm River", "LOC"), ("Germany", "GPE")]),
        ("LONDON WINS THE GAMES AGAIN", &[("LONDON", "GPE")]),
        ("We walked down Tolm Street to Tolm Castle.", &[("Tolm Street", "FAC"), ("Tolm Castle", "FAC")]),
    ]);
}

#[test]
fn organizations_and_others() {
    check(&[
        ("She studied at the University of Tolm.", &[("University of Tolm", "ORG")]),
        ("He joined Tolm & Sons and Velm Ltd.", &[("Tolm & Sons", "ORG"), ("Velm Ltd.", "ORG")]),
        ("The French army fought the Battle of Tolm.", &[("French", "NORP"), ("Battle of Tolm", "EVENT")]),
        ("The World Tolm Organization (WTO) met.", &[("World Tolm Organization", "ORG"), ("WTO", "ORG")]),
        ("At the 2004 Summer Olympics they spoke German.", &[("2004 Summer Olympics", "EVENT"), ("German", "NORP")]),
    ]);
}

#[test]
fn sentence_beginnings_are_no_names() {
    check(&[
        ("When it rained, they left. Unfortunately nobody came.", &[]),
        ("Critics praised it. Music was played. The house is old.", &[]),
    ]);
}

#[test]
fn languages_differ() {
    check(&[
        (
            "Die Stadt ist alt und der Fluss ist lang. Am 3. Mai 1901 kam Angela Lund.",
            &[("3. Mai 1901", "DATE"), ("Angela Lund", "PERSON")],
        ),
        (
            "Le 3 mai 1901, Marie Tolm est née dans la ville de Paris.",
            &[("3 mai 1901", "DATE"), ("Marie Tolm", "PERSON"), ("Paris", "GPE")],
        ),
    ]);
}

#[test]
fn offsets_are_scalars_of_the_whole_text() {
    let text = "Été à Évora.\r\n\r\nAna Lund saw Évora on 3 May 1901.\n";
    let entities = tag_text(&*links(), text).unwrap();
    let scalars: Vec<char> = text.chars().collect();
    assert!(entities.iter().any(|entity| entity.surface == "Ana Lund"));
    for entity in entities {
        let start = entity.char_start as usize;
        let read: String = scalars[start..start + entity.surface.chars().count()].iter().collect();
        assert_eq!(read, entity.surface);
    }
}

fn report(file: &str) -> Option<Report> {
    let gold = Conll::parse(&store::read_to_string(&real_data(file)?).unwrap()).unwrap();
    let mapping = Mapping::for_labels(gold.labels().into_keys());
    Some(evaluate(&gold, &*links(), &mapping).unwrap())
}

fn f1(report: &Report, label: &str) -> f64 {
    report.labels.iter().find(|row| row.label == label).unwrap().score.f1
}

/// Without a corpus. Floors stand some points below what docs/lab/entities.md has.
#[test]
fn gold_of_wikipedia() {
    let Some(report) = report("ner/wikigold-half1.conll") else { return };
    assert_eq!((report.sentences, report.micro.support, report.scheme.as_str()), (948, 1926, "IO"));
    assert!(report.boundaries.f1 > 0.82, "{:?}", report.boundaries);
    assert!(report.micro.f1 > 0.66, "{:?}", report.micro);
    for (label, floor) in [("PER", 0.69), ("LOC", 0.77), ("ORG", 0.55), ("MISC", 0.56)] {
        assert!(f1(&report, label) > floor, "{label}: {}", f1(&report, label));
    }
}

#[test]
fn gold_of_short_messages() {
    let Some(report) = report("ner/wnut17/dev/emerging.dev.conll") else { return };
    assert_eq!((report.sentences, report.scheme.as_str()), (1009, "BIO"));
    assert!(report.boundaries.f1 > 0.47, "{:?}", report.boundaries);
    assert!(f1(&report, "person") > 0.46, "{}", f1(&report, "person"));
}

/// Says what a file of tags says.
struct Parrot(Conll);

impl EntityBackend for Parrot {
    fn name(&self) -> &'static str {
        "parrot"
    }

    fn mentions(&self, passages: &[Passage]) -> memtrain_pipeline::Result<Vec<Vec<Entity>>> {
        let of = |(passage, sentence): (&Passage, &memtrain_pipeline::entities::conll::Sentence)| {
            let index = ScalarIndex::new(&passage.text);
            let entity = |span: &memtrain_pipeline::entities::conll::TokenSpan| {
                let place = sentence.tokens[span.tokens.start].start..sentence.tokens[span.tokens.end - 1].end;
                Entity::new(&index, place, EntityLabel::from_name(&span.label)?, EntitySource::Model, None)
            };
            sentence.spans.iter().filter_map(entity).collect()
        };
        Ok(passages.iter().zip(&self.0.sentences).map(of).collect())
    }
}

/// `scripts/seqeval_fixture.py` wrote the scores with seqeval.
#[test]
fn scores_are_seqevals() {
    let cases: Vec<serde_json::Value> = serde_json::from_str(include_str!("fixtures/seqeval.json")).unwrap();
    let file = |case: &serde_json::Value| {
        let sentence = |tags: &serde_json::Value| {
            tags.as_array().unwrap().iter().map(|tag| format!("x {}\n", tag.as_str().unwrap())).collect::<String>()
        };
        case.as_array().unwrap().iter().map(sentence).collect::<Vec<_>>().join("\n")
    };
    for (number, case) in cases.iter().enumerate() {
        let gold = Conll::parse(&file(&case["gold"])).unwrap();
        let parrot = Parrot(Conll::parse(&file(&case["found"])).unwrap());
        let report = evaluate(&gold, &parrot, &Mapping::for_labels(gold.labels().into_keys())).unwrap();
        let rows = report.labels.iter().map(|row| (row.label.as_str(), row.score));
        for (name, score) in rows.chain([("micro avg", report.micro), ("macro avg", report.macro_average)]) {
            let wanted = &case["scores"][name];
            let read = [score.precision, score.recall, score.f1, score.support as f64];
            for (key, value) in ["precision", "recall", "f1-score", "support"].into_iter().zip(read) {
                let expected = wanted[key].as_f64().unwrap();
                assert!((value - expected).abs() < 1e-9, "case {number}, {name} {key}: {value} and not {expected}");
            }
        }
    }
}

/// Every town, person and river of a generated world that stands in its passages is found.
#[test]
fn names_of_a_generated_world_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let (dump, out) = (folder.path().join("world.xml.bz2"), folder.path().join("corpus"));
    write_dump(&dump, &WorldConfig::default()).unwrap();
    let mut config = CorpusConfig::default();
    config.ingest.dumps = vec![dump.to_str().unwrap().to_owned()];
    (config.ingest.min_words, config.ingest.max_words) = (8, 25);
    for stage in [StageName::Ingest, StageName::Entities] {
        plan(&config, &out, stage).unwrap();
        run_shard(&config, &out, stage, 0, &()).unwrap();
        finish(&config, &out, stage).unwrap();
    }
    let world = World::generate(WorldConfig::default()).unwrap();
    let titles: HashSet<String> = world.pages().map(|page| page.title).collect();
    let (mut there, mut found) = (0, 0);
    let (passages, mentions) = (memtrain_pipeline::passages(&out).unwrap(), memtrain_pipeline::mentions(&out).unwrap());
    for passage in passages.iter() {
        let passage = passage.unwrap();
        let entities = mentions.get(passage.id).unwrap().entities;
        for entity in &entities {
            assert_eq!(&passage.text[entity.span.clone()], entity.surface);
        }
        let surfaces: HashSet<&str> = entities.iter().map(|entity| entity.surface.as_str()).collect();
        for title in titles.iter().filter(|title| !title.contains(" (")) {
            if !memtrain_corpora::mask::occurrences(&passage.text, title, Default::default()).is_empty() {
                there += 1;
                found += usize::from(surfaces.iter().any(|surface| surface.contains(&**title)));
            }
        }
    }
    assert!(there > 1000, "{there}");
    assert!(found * 1000 >= there * 995, "{found} of {there}");
}

/// What is not English is labelled by what its own language says.
#[test]
fn names_in_other_languages() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        (
            "Die Stadt Berlin ist die Hauptstadt der Bundesrepublik Deutschland. Angela Merkel wurde am 17. Juli 1954 in Hamburg geboren.",
            &[
                ("Berlin", "GPE"),
                ("Bundesrepublik Deutschland", "GPE"),
                ("Angela Merkel", "PERSON"),
                ("17. Juli 1954", "DATE"),
                ("Hamburg", "GPE"),
            ],
        ),
        ("Die Frau lebt in Österreich mit dem Kleinen Hund.", &[("Österreich", "GPE")]),
        (
            "Paris est la capitale de la France. Victor Hugo est né le 26 février 1802 à Besançon.",
            &[
                ("Paris", "GPE"),
                ("France", "GPE"),
                ("Victor Hugo", "PERSON"),
                ("26 février 1802", "DATE"),
                ("Besançon", "GPE"),
            ],
        ),
        (
            "Мадрид — столица Испании. Лев Толстой родился 9 сентября 1828 года в Ясной Поляне, и там он жил.",
            &[
                ("Мадрид", "GPE"),
                ("Испании", "GPE"),
                ("Лев Толстой", "PERSON"),
                ("9 сентября 1828 года", "DATE"),
                ("Ясной Поляне", "GPE"),
            ],
        ),
        (
            "La ciudad de Sevilla está en España. El escritor Miguel de Cervantes nació en 1547.",
            &[("Sevilla", "GPE"), ("España", "GPE"), ("Miguel de Cervantes", "PERSON"), ("1547", "DATE")],
        ),
        (
            "Hà Nội là thủ đô của Việt Nam. Ông sống tại Tam Kỳ trong một ngôi nhà của Lê Văn.",
            &[("Hà Nội", "GPE"), ("Việt Nam", "GPE"), ("Tam Kỳ", "GPE"), ("Lê Văn", "PERSON")],
        ),
    ];
    for (text, expected) in cases {
        let found = tag_text(&*links(), text).unwrap();
        let found: Vec<(&str, &str)> =
            found.iter().map(|entity| (entity.surface.as_str(), entity.label.as_str())).collect();
        assert_eq!(found, *expected, "{text}");
    }
}

proptest! {
    #[test]
    fn spans_are_exact_and_apart(text in "((Ana|Lund|The|of|in|New York|U\\.S\\.|3 May 1901|\\$5|NATO|der|北京|Évora|'s|[.,;:()\"'–-]|\n\n?) ?){0,25}") {
        let mut end = 0;
        let index = ScalarIndex::new(&text);
        for entity in tag_text(&*links(), &text).unwrap() {
            prop_assert!(entity.span.start >= end);
            prop_assert_eq!(&text[entity.span.clone()], entity.surface.as_str());
            prop_assert_eq!(index.to_scalar(entity.span.start), Some(entity.char_start));
            end = entity.span.end;
        }
    }

    #[test]
    fn any_text_is_read(text in "\\PC{0,120}") {
        for language in ["", "de", "ja", "vi"] {
            let config = EntitiesConfig { language: language.into(), ..EntitiesConfig::default() };
            tag_text(&*open_backend(&config, None).unwrap(), &text).unwrap();
        }
    }
}
