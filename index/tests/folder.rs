//! The index's folder from outside: building, answering, refusing what is not whole.

use std::collections::HashSet;
use std::path::Path;

use memtrain_corpora::world::{World, WorldConfig};
use memtrain_corpora::{Passage, store};
use memtrain_index::{
    AnnConfig, Builder, EmbedBackend, EmbedConfig, Index, IndexConfig, IndexError, IndexSummary, Method, Passages,
    Watch, build,
};

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
    build(passages, dir, config).unwrap()
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
        assert_eq!(summary.num_shards, 1);
        let index = Index::open(dir.path()).unwrap();
        index.verify().unwrap();
        let ids: Vec<u64> = (0..75).collect();
        for (id, hits) in ids.iter().zip(index.related_many(&ids, 10).unwrap()) {
            let hits = hits.hits;
            assert_eq!(hits.len(), 10, "{method:?}");
            assert!(hits.iter().all(|hit| hit.passage_id != *id), "{method:?}: {id} is related to itself");
            assert!(hits.is_sorted_by(|a, b| a.best_first(b).is_le()));
            assert_eq!(index.related(*id, 10).unwrap().hits, hits, "alone and in a batch");
            let all = index.related(*id, 75).unwrap().hits;
            assert_eq!(index.related(*id, usize::MAX).unwrap().hits, all, "more than all is all");
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
        (count(&|id| index.related(id, 1).unwrap().hits[0].passage_id), count(&|id| (id + 37) % passages.len() as u64));
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
            assert!(index.related(id, 45).unwrap().hits.iter().all(|hit| hit.passage_id / 5 != id / 5), "{method:?}");
        }
    }
}

/// Every file below a folder with its bytes, but for the locks that tantivy leaves.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for path in store::list(dir).unwrap().into_iter().filter(|path| !path.to_string_lossy().ends_with(".lock")) {
        if store::is_dir(&path) {
            all.extend(
                files(&path)
                    .into_iter()
                    .map(|(name, bytes)| (format!("{}/{name}", path.file_name().unwrap().to_string_lossy()), bytes)),
            );
        } else {
            all.push((path.file_name().unwrap().to_string_lossy().into_owned(), store::read(&path).unwrap()));
        }
    }
    all
}

#[test]
fn two_builds_are_the_same_bytes_whatever_the_threads() {
    let passages = world(400);
    let config = IndexConfig {
        passages_per_shard: 300,
        ann: AnnConfig { min_passages: 100, ..AnnConfig::default() },
        ..small(Method::Fused)
    };
    let built = [1, 3].map(|num_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
        pool.install(|| {
            let dir = tempfile::tempdir().unwrap();
            let summary = index(dir.path(), &passages, &config);
            assert_eq!((summary.num_shards, summary.num_with_codes), (2, 2));
            let related = Index::open(dir.path()).unwrap().related_many(&[0, 7, 150, 399], 29).unwrap();
            (related, files(dir.path()))
        })
    });
    let names = |built: &[(String, Vec<u8>)]| built.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&built[0].1), names(&built[1].1));
    for ((name, one), (_, other)) in built[0].1.iter().zip(&built[1].1) {
        assert!(one == other, "{name} differs");
    }
    assert_eq!(built[0].0, built[1].0);
}

/// The memory of the writer decides how many segments there are before they are merged.
#[test]
fn answers_do_not_depend_on_the_memory_of_the_writer() {
    let passages = world(3_000);
    let one = IndexConfig { writer_memory_mib: 256, ..small(Method::Lexical) };
    let many = IndexConfig { writer_memory_mib: 16, ..one.clone() };
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    index(dirs[0].path(), &passages, &one);
    index(dirs[1].path(), &passages, &many);
    let [one, many] = dirs.each_ref().map(|dir| Index::open(dir.path()).unwrap());
    let ids: Vec<u64> = (0..3_000).step_by(60).collect();
    assert_eq!(one.related_many(&ids, 29).unwrap(), many.related_many(&ids, 29).unwrap());
    for passage in passages.iter().step_by(300) {
        assert_eq!(one.search(&passage.text, 20).unwrap(), many.search(&passage.text, 20).unwrap());
    }
}

/// Scores are those of the whole corpus, not of the shard; rounding may differ in the last place.
#[test]
fn shards_answer_as_one() {
    let passages = world(600);
    for method in [Method::Lexical, Method::Dense, Method::Fused] {
        let whole = IndexConfig { near_copy_similarity: 0.0, ..small(method) };
        let cut = IndexConfig { passages_per_shard: 130, ..whole.clone() };
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        index(dirs[0].path(), &passages, &whole);
        assert_eq!(index(dirs[1].path(), &passages, &cut).num_shards, 5);
        let [whole, cut] = dirs.each_ref().map(|dir| Index::open(dir.path()).unwrap());
        cut.verify().unwrap();
        for id in (0..600).step_by(37) {
            let [whole, cut] = [&whole, &cut].map(|index| index.related(id, 20).unwrap().hits);
            for (a, b) in whole.iter().zip(&cut) {
                assert!((a.score - b.score).abs() <= 1e-4 * a.score.abs(), "{method:?}: {a:?} {b:?}");
            }
            let same = whole.iter().filter(|a| cut.iter().any(|b| a.passage_id == b.passage_id)).count();
            assert!(same >= 19, "{method:?}: {same} of 20 are the same");
        }
    }
}

#[test]
fn near_duplicates_are_left_out_and_counted() {
    let mut passages = world(60);
    // 30 to 33 are copies of 3 but for a word; 40 and 41 of each other.
    for copy in 30..34 {
        passages[copy].text = format!("{} Indeed.", passages[3].text);
    }
    passages[41].text = passages[40].text.clone();
    for method in [Method::Lexical, Method::Dense, Method::Fused] {
        let dir = tempfile::tempdir().unwrap();
        index(dir.path(), &passages, &small(method));
        let answers = Index::open(dir.path()).unwrap();
        let of_original = answers.related(3, 40).unwrap();
        assert_eq!(of_original.hits.len(), 40, "{method:?}: there is enough else");
        assert!(of_original.hits.iter().all(|hit| !(30..34).contains(&hit.passage_id)), "{method:?}");
        assert!(of_original.near_duplicates >= 4, "{method:?}: {}", of_original.near_duplicates);
        for id in [0, 17, 55] {
            let hits = answers.related(id, 59).unwrap().hits;
            assert!(hits.iter().filter(|hit| [3, 30, 31, 32, 33].contains(&hit.passage_id)).count() <= 1, "{method:?}");
            assert!(hits.iter().filter(|hit| [40, 41].contains(&hit.passage_id)).count() <= 1, "{method:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        index(dir.path(), &passages, &IndexConfig { near_copy_similarity: 0.0, ..small(method) });
        let kept = Index::open(dir.path()).unwrap().related(3, 5).unwrap();
        assert!(kept.hits.iter().filter(|hit| (30..34).contains(&hit.passage_id)).count() >= 3, "{method:?}");
        assert_eq!(kept.near_duplicates, 0);
    }
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
fn an_index_is_read_without_creating_a_file() {
    let dir = tempfile::tempdir().unwrap();
    index(dir.path(), &world(50), &small(Method::Fused));
    let shard = dir.path().join("shard-00000-of-00001").join("lexical");
    let before = store::list(&shard).unwrap();
    assert!(before.iter().any(|path| path.ends_with("meta.json")), "{before:?}");
    let opened = Index::open(dir.path()).unwrap();
    assert!(!opened.search("river", 3).unwrap().is_empty());
    assert!(!opened.related(3, 3).unwrap().hits.is_empty());
    assert!(!opened.text(3).unwrap().1.is_empty());
    assert_eq!(store::list(&shard).unwrap(), before, "reading leaves the folder as it was");
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

/// Passages of which one cannot be read, or that are not numbered as they should be.
struct Faulty<'a>(&'a [Passage], u64);

impl Passages for Faulty<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: std::ops::Range<u64>) -> Result<Vec<Passage>, Box<dyn std::error::Error + Send + Sync>> {
        if range.contains(&self.1) && range.end > 1 { Err("out of reach".into()) } else { self.0.read(range) }
    }
}

#[test]
fn a_build_that_fails_leaves_no_index() {
    let dir = tempfile::tempdir().unwrap();
    let mut passages = world(30);
    index(dir.path(), &passages, &small(Method::Lexical));
    let built = build(Faulty(&passages, 20), dir.path(), &small(Method::Lexical));
    assert!(matches!(built, Err(IndexError::Passages(_))), "{built:?}");
    assert!(matches!(Index::open(dir.path()), Err(IndexError::Unfinished { .. })));
    passages[7].id = 99;
    let built = build(passages.as_slice(), dir.path(), &small(Method::Lexical));
    assert!(matches!(built, Err(IndexError::Order { expected: 7, got: 99 })), "{built:?}");
}

/// Builds what is missing, as the pipeline does after a kill.
fn mend(dir: &Path, passages: &[Passage], config: &IndexConfig, watch: &dyn Watch) -> Result<(), IndexError> {
    let mut builder = Builder::new(passages, dir, config)?;
    builder.learn()?;
    let mut files = Vec::new();
    for shard in 0..builder.num_shards() {
        files.extend(builder.write_shard(shard, watch)?);
    }
    files.extend(builder.learned()?);
    builder.commit(files).map(drop)
}

/// Asks to stop after so many looks.
struct StopAfter(std::sync::atomic::AtomicUsize);

impl Watch for StopAfter {
    fn stopping(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        self.0.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(1))).unwrap() == 0
    }
}

fn with_codes() -> IndexConfig {
    IndexConfig {
        passages_per_shard: 80,
        ann: AnnConfig { min_passages: 10, ..AnnConfig::default() },
        ..small(Method::Fused)
    }
}

#[test]
fn a_build_stopped_anywhere_goes_on_to_the_same_bytes() {
    let (passages, config) = (world(150), with_codes());
    let undisturbed = tempfile::tempdir().unwrap();
    mend(undisturbed.path(), &passages, &config, &()).unwrap();
    let expected = files(undisturbed.path());
    // A look a shard for its words, one for its vectors, one for its codes.
    for looks in 0..=6 {
        let dir = tempfile::tempdir().unwrap();
        let stopped = mend(dir.path(), &passages, &config, &StopAfter(looks.into()));
        assert_eq!(stopped.is_err(), looks < 6, "after {looks} looks");
        assert!(stopped.is_ok() || matches!(stopped, Err(IndexError::Stopped)));
        assert_eq!(Index::open(dir.path()).is_ok(), stopped.is_ok());
        mend(dir.path(), &passages, &config, &()).unwrap();
        assert!(files(dir.path()) == expected, "stopped after {looks} looks");
    }
}

/// A kind of damage.
type Spoil = fn(&mut Vec<u8>);

#[test]
fn damage_is_found_named_and_mended_and_nothing_else_is_written_anew() {
    let (passages, config) = (world(150), with_codes());
    let dir = tempfile::tempdir().unwrap();
    mend(dir.path(), &passages, &config, &()).unwrap();
    let expected = files(dir.path());
    let spoils: [Spoil; 3] = [
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
    ];
    let all: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let mut seen = 0;
    for name in &all {
        for (number, spoil) in spoils.iter().enumerate() {
            let path = dir.path().join(name);
            let whole = store::read(&path).unwrap();
            let mut bytes = whole.clone();
            spoil(&mut bytes);
            let unspoilt = bytes == whole;
            store::write_atomic(&path, &bytes).unwrap();
            let found = Index::open(dir.path()).and_then(|index| index.verify());
            let named = found.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert!(unspoilt || named.contains(name), "{name} spoilt by {number}: {found:?}");
            mend(dir.path(), &passages, &config, &()).unwrap();
            Index::open(dir.path()).unwrap().verify().unwrap();
            seen += 1;
        }
        store::remove_file(&dir.path().join(name)).unwrap();
        let missing = Index::open(dir.path()).err().map(|error| error.to_string());
        assert!(missing.is_some_and(|error| error.contains(name) || *name == "index.json"), "{name} is missed");
        mend(dir.path(), &passages, &config, &()).unwrap();
    }
    assert!(seen > 20, "{seen} kinds of damage");
    assert!(files(dir.path()) == expected, "mended to the same bytes");
}

#[test]
fn what_is_whole_is_left_alone() {
    let (passages, config) = (world(150), with_codes());
    let dir = tempfile::tempdir().unwrap();
    mend(dir.path(), &passages, &config, &()).unwrap();
    // Passages that cannot be read any more are not missed: nothing of the first shard is done again.
    let victim = dir.path().join("shard-00001-of-00002/vectors-00000.bin");
    store::remove_file(&victim).unwrap();
    let mut builder = Builder::new(Faulty(&passages, 40), dir.path(), &config).unwrap();
    builder.learn().unwrap();
    builder.write_shard(0, &()).unwrap();
    builder.write_shard(1, &()).unwrap();
    Index::open(dir.path()).unwrap().verify().unwrap();
}

#[test]
fn other_versions_and_impossible_values_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    // What version 1 wrote: another layout, to be built again.
    store::write_atomic(&dir.path().join("index.json"), b"{\"version\": 1, \"num_passages\": 25}").unwrap();
    let old = Index::open(dir.path()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(old.contains("version 1") && old.contains("build the index again"), "{old}");
    store::write_atomic(&dir.path().join("index.json"), b"{\"version\": 99, \"new\": true}").unwrap();
    assert!(matches!(Index::open(dir.path()), Err(IndexError::Version { expected: 3, got: 99, .. })));
    for config in [
        IndexConfig { max_query_terms: 0, ..IndexConfig::default() },
        IndexConfig { fusion_k: f32::NAN, ..IndexConfig::default() },
        IndexConfig { fusion_depth: 0, ..IndexConfig::default() },
        IndexConfig { writer_memory_mib: 1, ..IndexConfig::default() },
        IndexConfig { passages_per_shard: 0, ..IndexConfig::default() },
        IndexConfig { near_copy_similarity: 1.5, ..IndexConfig::default() },
        IndexConfig { ann: AnnConfig { candidates: 0, ..AnnConfig::default() }, ..IndexConfig::default() },
        IndexConfig {
            embed: EmbedConfig { backend: EmbedBackend::Candle, ..EmbedConfig::default() },
            ..IndexConfig::default()
        },
        IndexConfig { embed: EmbedConfig { dimensions: 12, ..EmbedConfig::default() }, ..IndexConfig::default() },
        IndexConfig { embed: EmbedConfig { context: 1.5, ..EmbedConfig::default() }, ..IndexConfig::default() },
    ] {
        let built = build([].as_slice(), dir.path(), &config);
        assert!(matches!(built, Err(IndexError::Config { .. })), "{config:?}");
    }
}

/// The folder that this writes stays in `tests/compat` for as long as its version is read:
/// `MEMTRAIN_WRITE_COMPAT=1 cargo test -p memtrain-index --test folder written_once`.
#[test]
fn a_folder_written_once_still_answers() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/v3");
    if std::env::var_os("MEMTRAIN_WRITE_COMPAT").is_some() {
        let embed = EmbedConfig { dimensions: 32, ..EmbedConfig::default() };
        let ann = AnnConfig { min_passages: 20, ..AnnConfig::default() };
        index(&kept, &world(30), &IndexConfig { embed, ann, passages_per_shard: 20, ..IndexConfig::default() });
    }
    // Opening takes a lock file, which has no place among the kept files.
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files(&kept) {
        let copy = dir.path().join(name);
        store::create_dir_all(copy.parent().unwrap()).unwrap();
        store::write_atomic(&copy, bytes).unwrap();
    }
    let index = Index::open(dir.path()).unwrap();
    index.verify().unwrap();
    assert_eq!(index.num_passages(), 30);
    let ids = |hits: Vec<memtrain_index::Hit>| hits.iter().map(|hit| hit.passage_id).collect::<Vec<_>>();
    let answers = [ids(index.related(0, 5).unwrap().hits), ids(index.search("a guild of weavers", 3).unwrap())];
    let expected = kept.with_extension("json");
    if std::env::var_os("MEMTRAIN_WRITE_COMPAT").is_some() {
        store::write_json(&expected, &answers).unwrap();
    }
    assert_eq!(answers, store::read_json::<[Vec<u64>; 2]>(&expected).unwrap());
}
