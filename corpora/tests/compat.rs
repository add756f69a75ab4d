//! Tables written by earlier versions must still be read. Each file under `tests/compat` was written by the version its name
//! tells, and is never written again.
//!
//! When a table's version goes up: keep the old file and its test as long as the old version is read, and write the new file
//! with `cargo test -p memtrain-corpora --test compat -- --ignored`.

use std::path::PathBuf;

use memtrain_corpora::store::{self, Row, TableWriter};
use memtrain_corpora::{
    Article, Document, DocumentEntity, DocumentPassage, Entity, EntityLabel, EntitySource, Link, Passage,
    PassageEntities, PassageRole, Redirect, Section, Split,
};

fn file<R: Row>(version: u32) -> PathBuf {
    let name = format!("{}-v{version}.parquet", R::TABLE);
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/compat").join(name)
}

fn article() -> Article {
    Article {
        id: 7,
        url: "https://example.org/wiki/Mira".into(),
        title: "Mira".into(),
        text: "Mira is a town near Évora.\n\nIt was founded in 1200.".into(),
        revision_id: 70,
        timestamp: "2026-01-02T03:04:05Z".into(),
        sections: vec![
            Section { title: String::new(), level: 1, span: 0..27 },
            Section { title: "History".into(), level: 2, span: 29..52 },
        ],
        links: vec![Link { span: 20..26, target: "Évora".into() }],
        categories: vec!["Towns".into(), "1200 établissements".into()],
        infoboxes: vec!["Infobox settlement".into()],
    }
}

fn passage() -> Passage {
    Passage {
        id: 3,
        article_id: 7,
        url: "https://example.org/wiki/Mira".into(),
        title: "Mira".into(),
        section: "History".into(),
        text: "It was founded in 1200.".into(),
        span: 29..52,
        char_start: 28,
        num_words: 5,
        revision_id: 70,
        links: vec![Link { span: 18..22, target: "1200".into() }],
    }
}

fn entities() -> PassageEntities {
    let text = "Émile lived in Mira in 1200.";
    let index = store::ScalarIndex::new(text);
    let at = |span, label, source, target: Option<&str>| {
        Entity::new(&index, span, label, source, target.map(str::to_owned)).expect("a range of the text")
    };
    PassageEntities {
        passage_id: 3,
        entities: vec![
            at(0..6, EntityLabel::Person, EntitySource::Link, Some("Émile (baker)")),
            at(16..20, EntityLabel::Gpe, EntitySource::Gazetteer, Some("Mira")),
            at(24..28, EntityLabel::Date, EntitySource::Rule, None),
        ],
    }
}

fn document() -> Document {
    Document {
        id: "train-00000001".into(),
        text: "[MASK] lived in Évora.\n\nMira was founded in 1200.".into(),
        answer: "Émile".into(),
        aliases: vec!["Emile".into()],
        label: EntityLabel::Person,
        passages: vec![
            DocumentPassage { passage_id: 9, role: PassageRole::Pivot, span: 0..23 },
            DocumentPassage { passage_id: 3, role: PassageRole::Random, span: 25..50 },
        ],
        entities: vec![DocumentEntity { span: 16..22, surface: "Évora".into(), label: EntityLabel::Gpe }],
        num_masks: 1,
        num_tokens: 14,
        seed: u64::MAX,
        split: Split::Heldout,
    }
}

fn redirect() -> Redirect {
    Redirect { id: 8, title: "Myra".into(), target: "Mira".into() }
}

/// The file of a version is read as the rows it was written from.
fn check<R: Row + Clone + PartialEq + std::fmt::Debug>(version: u32, row: R) {
    let read: Vec<R> = store::read_table(&file::<R>(version)).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, [row.clone(), row]);
}

fn write<R: Row + Clone>(row: R) {
    let path = file::<R>(R::VERSION);
    if store::exists(&path) {
        return;
    }
    let mut writer = TableWriter::create(&path).unwrap();
    writer.push(row.clone()).unwrap();
    writer.push(row).unwrap();
    writer.finish().unwrap();
}

#[test]
fn tables_of_version_1_are_read() {
    check(1, Article { infoboxes: Vec::new(), ..article() });
    check(1, redirect());
    check(1, passage());
    check(1, entities());
    check(1, document());
}

#[test]
fn tables_of_version_2_are_read() {
    check(2, article());
    check(2, passage());
}

#[test]
fn the_newest_version_of_each_table_is_kept() {
    let newest = [
        file::<Article>(Article::VERSION),
        file::<Redirect>(Redirect::VERSION),
        file::<Passage>(Passage::VERSION),
        file::<PassageEntities>(PassageEntities::VERSION),
        file::<Document>(Document::VERSION),
    ];
    for path in newest {
        assert!(store::exists(&path), "`{}` is missing: see the top of this file", path.display());
    }
}

#[test]
#[ignore = "writes the files of new versions that the other tests read; those that are there stay"]
fn write_the_files() {
    write(article());
    write(redirect());
    write(passage());
    write(entities());
    write(document());
}
