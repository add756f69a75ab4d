//! The index's folder from outside: building, answering, refusing what is not whole.

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::Path;

use memtrain_corpora::world::{World, WorldConfig};
use memtrain_corpora::{Passage, store};
use memtrain_index::{EmbedConfig, Index, IndexConfig, IndexError, IndexSummary, Method, build};

fn passage(id: u64, article_id: u64, title: &str, text: &str) -> Passage {
    Passage {
        id,
        article_id,
        url: format!("https://example.org/{article_id}"),
        title: title.to_owned(),
        section: String::new(),
        text: text.to_owned(),
        span: 0..text.len(),
        char_start: 0,
        num_words: text.split_whitespace().count() as u32,
        revision_id: 1,
        links: Vec::new(),
    }
}

/// The pages of a world without references, tables and templates.
fn world(num_pages: u64) -> Vec<Passage> {
    let world = World::generate(WorldConfig { num_pages, ..WorldConfig::default() }).unwrap();
    let articles = world.pages().filter(|page| page.ns == 0 && page.redirect.is_none());
    (0..).zip(articles).map(|(id, page)| passage(id, page.id, &page.title, &prose(&page.text))).collect()
}

/// The sentences of a page: this room does not know wikitext, and needs only names among ordinary words.
fn prose(wikitext: &str) -> String {
    let mut text = wikitext.to_owned();
    for (open, close) in
        [("<ref", ">"), ("</ref", ">"), ("The old", "page"), ("{{", "}}"), ("<!--", "-->"), ("[https:", " ")]
    {
        while let Some(start) = text.find(open) {
            let Some(length) = text[start..].find(close) else { break };
            text.replace_range(start..start + length + close.len(), " ");
        }
    }
    let sentences = text.lines().filter(|line| line.ends_with(['.', ' ']));
    sentences.collect::<Vec<_>>().join("\n")
}

fn index(dir: &Path, passages: &[Passage], config: &IndexConfig) -> IndexSummary {
    build(passages.iter().cloned().map(Ok::<_, Infallible>), dir, config).unwrap()
}

fn small(method: Method) -> IndexConfig {
    IndexConfig { method, embed: EmbedConfig { dimensions: 128, ..EmbedConfig::default() }, ..IndexConfig::default() }
}

#[test]
fn every_method_finds_the_page_of_a_name_and_never_the_pivot_itself() {
    let passages = world(75);
    for method in [Method::Lexical, Method::Dense, Method::Fused] {
        let dir = tempfile::tempdir().unwrap();
        let summary = index(dir.path(), &passages, &small(method));
        assert_eq!(summary.num_passages, 75);
        assert_eq!(summary.vectors_hash.is_some(), method != Method::Lexical);
        let index = Index::open(dir.path()).unwrap();
        index.verify().unwrap();
        let ids: Vec<u64> = (0..75).collect();
        for (id, hits) in ids.iter().zip(index.related_many(&ids, 10).unwrap()) {
            assert_eq!(hits.len(), 10, "{method:?}");
            assert!(hits.iter().all(|hit| hit.passage_id != *id), "{method:?}: {id} is related to itself");
            assert!(hits.is_sorted_by(|a, b| a.best_first(b).is_le()));
            assert_eq!(index.related(*id, 10).unwrap(), hits, "alone and in a batch");
        }
        let named = passages.iter().filter(|passage| {
            let hits = index.search(&passage.title, 3).unwrap();
            hits.iter().any(|hit| hit.passage_id == passage.id)
        });
        assert!(named.count() >= 70, "{method:?}");
    }
}

#[test]
fn related_pages_share_names() {
    let passages = world(100);
    let dir = tempfile::tempdir().unwrap();
    index(dir.path(), &passages, &small(Method::Fused));
    let index = Index::open(dir.path()).unwrap();
    let titles: HashSet<&str> = passages.iter().map(|passage| passage.title.as_str()).collect();
    let names = |passage: &Passage| -> HashSet<String> {
        let words = passage.text.split(|c: char| !c.is_alphanumeric());
        words.filter(|word| titles.contains(word)).map(str::to_owned).collect()
    };
    let joined = |pivot: &Passage, other: u64| !names(pivot).is_disjoint(&names(&passages[other as usize]));
    let count = |other: &dyn Fn(u64) -> u64| passages.iter().filter(|pivot| joined(pivot, other(pivot.id))).count();
    let (related, chance) =
        (count(&|id| index.related(id, 1).unwrap()[0].passage_id), count(&|id| (id + 37) % passages.len() as u64));
    assert!(related >= 90 && chance <= 30, "{related} of 100 share a name with the first hit, {chance} with any page");
}

#[test]
fn pages_of_the_same_article_are_left_out_on_demand() {
    let mut passages = world(50);
    for passage in &mut passages {
        passage.article_id = passage.id / 5;
    }
    for method in [Method::Lexical, Method::Dense, Method::Fused] {
        let dir = tempfile::tempdir().unwrap();
        index(dir.path(), &passages, &IndexConfig { exclude_same_article: true, ..small(method) });
        let index = Index::open(dir.path()).unwrap();
        for id in 0..50 {
            assert!(index.related(id, 45).unwrap().iter().all(|hit| hit.passage_id / 5 != id / 5), "{method:?}");
        }
    }
}

#[test]
fn two_builds_answer_alike_even_from_several_segments() {
    let passages = world(3_000);
    let one = IndexConfig { writer_memory_mib: 256, ..small(Method::Fused) };
    let many = IndexConfig { writer_memory_mib: 16, ..one.clone() };
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let summaries = [index(dirs[0].path(), &passages, &one), index(dirs[1].path(), &passages, &many)];
    assert_eq!(summaries[0], summaries[1]);
    let [one, many] = dirs.each_ref().map(|dir| Index::open(dir.path()).unwrap());
    let ids: Vec<u64> = (0..3_000).step_by(60).collect();
    assert_eq!(one.related_many(&ids, 29).unwrap(), many.related_many(&ids, 29).unwrap());
    for passage in passages.iter().step_by(300) {
        assert_eq!(one.search(&passage.text, 20).unwrap(), many.search(&passage.text, 20).unwrap());
    }
}

#[test]
fn answers_do_not_depend_on_the_number_of_threads() {
    let passages = world(200);
    let answers = [1, 3].map(|num_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
        pool.install(|| {
            let dir = tempfile::tempdir().unwrap();
            let summary = index(dir.path(), &passages, &small(Method::Fused));
            let related = Index::open(dir.path()).unwrap().related_many(&[0, 7, 150], 29).unwrap();
            (summary, related)
        })
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn an_index_of_nothing_answers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    index(dir.path(), &[], &IndexConfig::default());
    let index = Index::open(dir.path()).unwrap();
    assert_eq!(index.search("anything", 5).unwrap(), []);
    assert!(matches!(index.related(0, 5), Err(IndexError::UnknownPassage { id: 0, num_passages: 0 })));
}

#[test]
fn words_that_no_passage_holds_find_nothing() {
    let dir = tempfile::tempdir().unwrap();
    index(dir.path(), &world(25), &small(Method::Lexical));
    assert_eq!(Index::open(dir.path()).unwrap().search("zzz qqq", 5).unwrap(), []);
}

#[test]
fn a_folder_without_its_manifest_is_refused_and_built_again() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Index::open(dir.path()), Err(IndexError::Unfinished { .. })));
    let passages = world(30);
    let first = index(dir.path(), &passages, &small(Method::Fused));
    store::remove_file(&dir.path().join("index.json")).unwrap();
    assert!(matches!(Index::open(dir.path()), Err(IndexError::Unfinished { .. })));
    assert_eq!(index(dir.path(), &passages, &small(Method::Fused)), first);
    Index::open(dir.path()).unwrap();
}

#[test]
fn a_build_that_fails_leaves_no_index() {
    let dir = tempfile::tempdir().unwrap();
    let passages = world(30);
    index(dir.path(), &passages, &small(Method::Lexical));
    let broken = passages.into_iter().map(|passage| match passage.id {
        20 => Err(std::fmt::Error),
        _ => Ok(passage),
    });
    assert!(matches!(build(broken, dir.path(), &small(Method::Lexical)), Err(IndexError::Passages(_))));
    assert!(matches!(Index::open(dir.path()), Err(IndexError::Unfinished { .. })));
    let backwards = [passage(1, 1, "a", "b"), passage(0, 1, "a", "b")];
    let built = build(backwards.into_iter().map(Ok::<_, Infallible>), dir.path(), &small(Method::Lexical));
    assert!(matches!(built, Err(IndexError::Order { previous: 1, got: 0 })));
}

#[test]
fn damaged_files_are_named() {
    let passages = world(30);
    for (file, spoil) in [
        ("index.json", (|bytes: &mut Vec<u8>| bytes.truncate(20)) as fn(&mut Vec<u8>)),
        ("vectors.bin", |bytes| bytes.truncate(bytes.len() - 1)),
        ("vectors.bin", |bytes| bytes[0] = 0),
        ("vectors.bin", |bytes| bytes.truncate(3)),
        ("embedder.bin", |bytes| bytes.truncate(bytes.len() / 2)),
        ("embedder.bin", |bytes| bytes.push(0)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        index(dir.path(), &passages, &small(Method::Fused));
        let path = dir.path().join(file);
        let mut bytes = store::read(&path).unwrap();
        spoil(&mut bytes);
        store::write_atomic(&path, &bytes).unwrap();
        match Index::open(dir.path()).err() {
            Some(IndexError::Corrupt { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{file}: {other:?}"),
        }
    }
    let dir = tempfile::tempdir().unwrap();
    index(dir.path(), &passages, &small(Method::Fused));
    let path = dir.path().join("vectors.bin");
    let mut bytes = store::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    store::write_atomic(&path, &bytes).unwrap();
    let index = Index::open(dir.path()).unwrap();
    assert!(matches!(index.verify(), Err(IndexError::Corrupt { .. })), "one bit is seen by its hash");
}

#[test]
fn other_versions_and_impossible_values_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    store::write_atomic(&dir.path().join("index.json"), b"{\"version\": 99, \"new\": true}").unwrap();
    assert!(matches!(Index::open(dir.path()), Err(IndexError::Version { expected: 1, got: 99, .. })));
    for config in [
        IndexConfig { max_query_terms: 0, ..IndexConfig::default() },
        IndexConfig { fusion_k: f32::NAN, ..IndexConfig::default() },
        IndexConfig { fusion_depth: 0, ..IndexConfig::default() },
        IndexConfig { writer_memory_mib: 1, ..IndexConfig::default() },
        IndexConfig { embed: EmbedConfig { dimensions: 12, ..EmbedConfig::default() }, ..IndexConfig::default() },
        IndexConfig { embed: EmbedConfig { context: 1.5, ..EmbedConfig::default() }, ..IndexConfig::default() },
    ] {
        let built = build(std::iter::empty::<Result<Passage, Infallible>>(), dir.path(), &config);
        assert!(matches!(built, Err(IndexError::Config { .. })), "{config:?}");
    }
}

/// The folder that this writes stays in `tests/compat` for as long as its version is read:
/// `MEMTRAIN_WRITE_COMPAT=1 cargo test -p memtrain-index --test folder written_once`.
#[test]
fn a_folder_written_once_still_answers() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/v1");
    if std::env::var_os("MEMTRAIN_WRITE_COMPAT").is_some() {
        let config =
            IndexConfig { embed: EmbedConfig { dimensions: 32, ..EmbedConfig::default() }, ..IndexConfig::default() };
        index(&kept, &world(25), &config);
    }
    // Opening takes a lock file, which has no place among the kept files.
    let dir = tempfile::tempdir().unwrap();
    store::create_dir_all(&dir.path().join("lexical")).unwrap();
    for folder in ["", "lexical"] {
        for file in store::list(&kept.join(folder)).unwrap().into_iter().filter(|file| !store::is_dir(file)) {
            let copy = dir.path().join(folder).join(file.file_name().unwrap());
            store::write_atomic(&copy, store::read(&file).unwrap()).unwrap();
        }
    }
    let index = Index::open(dir.path()).unwrap();
    index.verify().unwrap();
    assert_eq!(index.num_passages(), 25);
    let ids = |hits: Vec<memtrain_index::Hit>| hits.iter().map(|hit| hit.passage_id).collect::<Vec<_>>();
    assert_eq!(ids(index.related(0, 5).unwrap()), [5, 10, 22, 6, 15]);
    assert_eq!(ids(index.search("a guild of weavers", 3).unwrap()), [19, 0, 6]);
}
