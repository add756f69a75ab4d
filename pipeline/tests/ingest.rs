//! Ingest: inputs of every form, in shards of any size, with everything counted.

#[path = "../../tests/real_data/mod.rs"]
mod real_data;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use memtrain_corpora::store::{self, read_table};
use memtrain_corpora::world::{World, WorldConfig};
use memtrain_corpora::{Article, Passage, Redirect};
use memtrain_pipeline::{CorpusConfig, Manifest, PipelineError, StageName, build, finish, passages, plan, run_shard};

use real_data::real_data;

fn config(dumps: &[&Path], workers: usize) -> CorpusConfig {
    let mut config = CorpusConfig { workers, ..CorpusConfig::default() };
    config.ingest.dumps = dumps.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    (config.ingest.min_words, config.ingest.max_words) = (8, 60);
    config
}

/// Runs ingest alone.
fn ingest(config: &CorpusConfig, out: &Path) -> Result<Manifest, PipelineError> {
    for index in 0..plan(config, out, StageName::Ingest)?.shards.len() {
        run_shard(config, out, StageName::Ingest, index, &())?;
    }
    finish(config, out, StageName::Ingest)
}

struct Tables {
    articles: Vec<Article>,
    redirects: Vec<Redirect>,
    passages: Vec<Passage>,
}

/// All rows in the order of the shards.
fn tables(out: &Path, manifest: &Manifest) -> Tables {
    let mut tables = Tables { articles: Vec::new(), redirects: Vec::new(), passages: Vec::new() };
    for shard in &manifest.shards {
        let path = |table: &str| {
            out.join("ingest").join(&shard.files.iter().find(|file| file.path.contains(table)).unwrap().path)
        };
        tables.articles.extend(read_table::<Article>(&path("articles")).unwrap().map(Result::unwrap));
        tables.redirects.extend(read_table::<Redirect>(&path("redirects")).unwrap().map(Result::unwrap));
        tables.passages.extend(read_table::<Passage>(&path("passages")).unwrap().map(Result::unwrap));
    }
    for (number, passage) in tables.passages.iter().enumerate() {
        assert_eq!(passage.id, number as u64, "passages are numbered through");
    }
    tables
}

/// Every page that was read is somewhere.
fn check_counts(manifest: &Manifest) {
    let count = |cause: &str| manifest.counts.get(cause).copied().unwrap_or_default();
    let left_out = ["pages_of_other_namespaces", "pages_not_wikitext", "pages_without_prose", "duplicate_pages"];
    let kept = manifest.rows["articles"] + manifest.rows["redirects"];
    assert_eq!(count("pages"), kept + left_out.map(count).iter().sum::<u64>(), "{:?}", manifest.counts);
}

fn world_xml(pages: u64) -> Vec<u8> {
    let mut xml = Vec::new();
    World::generate(WorldConfig::long_pages(1, pages)).unwrap().write_xml(&mut xml).unwrap();
    xml
}

fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn shards_of_any_size_hold_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let xml = world_xml(400);
    for (name, bytes) in [
        ("plain.xml", xml.clone()),
        ("one.xml.bz2", bz2(&xml)),
        ("many.xml.bz2", xml.chunks(70_001).flat_map(bz2).collect()),
    ] {
        let path = folder.path().join(name);
        store::write_atomic(&path, &bytes).unwrap();
        let whole = folder.path().join(format!("{name}-whole"));
        let manifest = ingest(&config(&[&path], 1), &whole).unwrap();
        assert_eq!(manifest.shards.len(), 1);
        check_counts(&manifest);
        let expected = tables(&whole, &manifest);
        assert!(expected.articles.len() > 300 && !expected.redirects.is_empty());
        for (bytes_per_shard, workers) in [(30_000, 2), (100_000, 3)] {
            let mut config = config(&[&path], workers);
            config.ingest.bytes_per_shard = bytes_per_shard;
            let out = folder.path().join(format!("{name}-{bytes_per_shard}"));
            let manifest = ingest(&config, &out).unwrap();
            assert!(manifest.shards.len() > 2, "{name}: {} shards", manifest.shards.len());
            check_counts(&manifest);
            let got = tables(&out, &manifest);
            assert_eq!(got.articles, expected.articles, "{name}");
            assert_eq!(got.redirects, expected.redirects, "{name}");
            assert_eq!(got.passages, expected.passages, "{name}");
            let numbered = passages(&out).unwrap();
            assert_eq!(numbered.len(), expected.passages.len() as u64);
            for id in [0, 1, numbered.len() / 2, numbered.len() - 1] {
                assert_eq!(numbered.get(id).unwrap(), expected.passages[id as usize]);
            }
        }
    }
}

#[test]
fn a_share_of_the_passages_is_the_same_in_shards_of_any_size() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("world.xml.bz2");
    store::write_atomic(&dump, bz2(&world_xml(300))).unwrap();
    let mut config = config(&[&dump], 2);
    let mut kept = |share: f64, bytes_per_shard: u64| -> Vec<(u64, String)> {
        (config.ingest.passage_share, config.ingest.bytes_per_shard) = (share, bytes_per_shard);
        let out = folder.path().join(format!("{share}-{bytes_per_shard}"));
        let manifest = ingest(&config, &out).unwrap();
        let passages = tables(&out, &manifest).passages;
        let left_out = manifest.counts.get("passages_left_out").copied().unwrap_or_default();
        assert_eq!(passages.len() as u64, manifest.rows["passages"]);
        assert_eq!(left_out > 0, share < 1.0);
        passages.into_iter().map(|passage| (passage.article_id, passage.text)).collect()
    };
    let (all, some) = (kept(1.0, 0), kept(0.3, 0));
    assert!(some.iter().all(|passage| all.contains(passage)));
    // Four deviations of a binomial of so many.
    let (expected, deviation) = (0.3 * all.len() as f64, (0.21 * all.len() as f64).sqrt());
    assert!((some.len() as f64 - expected).abs() < 4.0 * deviation, "{} of {}", some.len(), all.len());
    assert_eq!(some, kept(0.3, 20_000));
}

#[test]
fn a_shard_that_is_done_again_gets_the_numbers_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let (dump, out) = (folder.path().join("dump.xml"), folder.path().join("corpus"));
    store::write_atomic(&dump, world_xml(200)).unwrap();
    let mut config = config(&[&dump], 2);
    config.ingest.bytes_per_shard = 60_000;
    let manifest = ingest(&config, &out).unwrap();
    assert!(manifest.shards.len() > 2);
    let expected = tables(&out, &manifest).passages;
    for shard in &manifest.shards {
        let file = shard.files.iter().find(|file| file.path.contains("passages")).unwrap();
        store::remove_file(&out.join("ingest").join(&file.path)).unwrap();
        assert_eq!(ingest(&config, &out).unwrap(), manifest, "{}", file.path);
    }
    assert_eq!(tables(&out, &manifest).passages, expected);
}

#[test]
fn a_page_of_several_files_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let page = |id: u64, title: &str, text: &str| {
        format!(
            "<page><title>{title}</title><ns>0</ns><id>{id}</id><revision><id>1</id><text>{text}</text></revision></page>"
        )
    };
    let long = |word: &str| format!("{word} is a town by the river with some houses in it, and it is old.");
    let write = |name: &str, pages: &[String]| {
        let path = folder.path().join(name);
        let xml = format!("<mediawiki xml:lang=\"en\"><siteinfo/>{}</mediawiki>", pages.concat());
        store::write_atomic(&path, xml).unwrap();
        path
    };
    let a =
        write("a.xml", &[page(1, "Aa", &long("Aa")), page(2, "Bb", "#REDIRECT [[Aa]]"), page(1, "Aa", &long("Again"))]);
    let b = write(
        "b.xml",
        &[
            page(3, "Cc", &long("Cc")),
            page(2, "Bb", &long("Bb")),
            page(1, "Aa", &long("Other")),
            page(4, "Dd", "Short."),
        ],
    );
    let c = write("c.xml", &[page(4, "Dd", "Short, too."), page(5, "Ee", &long("Ee")), page(5, "Ee", "")]);
    let mut apart = config(&[&a, &b, &c], 2);
    apart.ingest.bytes_per_shard = 400;
    let together = config(&[&a, &b, &c], 2);
    let mut results = Vec::new();
    for (name, config) in [("apart", apart), ("together", together)] {
        let out = folder.path().join(name);
        let manifest = ingest(&config, &out).unwrap();
        check_counts(&manifest);
        assert_eq!(manifest.counts["duplicate_pages"], 4, "{:?}", manifest.counts);
        let got = tables(&out, &manifest);
        assert_eq!(got.articles.iter().map(|article| article.id).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert!(got.articles[0].text.starts_with("Aa is") && got.articles[2].text == "Short.");
        assert_eq!(got.redirects.iter().map(|redirect| redirect.id).collect::<Vec<_>>(), [2]);
        // What is there and settled is left alone; a shard that is lost and made again is settled again.
        assert_eq!(finish(&config, &out, StageName::Ingest).unwrap(), manifest);
        let last = manifest.shards.len() - 1;
        let record = out.join(format!("ingest/shards/{last:05}-of-{:05}.json", last + 1));
        store::remove_file(&record).unwrap();
        assert_eq!(ingest(&config, &out).unwrap(), manifest);
        results.push((manifest.rows, manifest.counts, got.passages));
    }
    assert_eq!(results[0], results[1], "shards change nothing");
}

#[test]
fn pages_of_another_wiki_are_others_whatever_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, language: &str, pages: &str| {
        let base = format!("https://{language}.wikipedia.org/wiki/Main");
        let xml =
            format!("<mediawiki xml:lang=\"{language}\"><siteinfo><base>{base}</base></siteinfo>{pages}</mediawiki>");
        let path = folder.path().join(name);
        store::write_atomic(&path, xml).unwrap();
        path
    };
    let page = |id: u64, title: &str, text: &str| {
        format!(
            "<page><title>{title}</title><ns>0</ns><id>{id}</id><revision><id>1</id><text>{text}</text></revision></page>"
        )
    };
    let text = "It is a town by the river with some houses in it, and it is old.";
    let english = write("en.xml", "en", &[page(1, "Aa", text), page(2, "Bb", "#REDIRECT [[Aa]]")].concat());
    let danish =
        write("da.xml", "da", &[page(1, "Cc", text), page(2, "Dd", "#REDIRECT [[Cc]]"), page(3, "Ee", text)].concat());
    let again = write("da-again.xml", "da", &page(1, "Cc", text));
    let rows = folder.path().join("rows.jsonl");
    let row = |language: &str, id: u64| serde_json::json!({ "id": id, "url": format!("https://{language}.wikipedia.org/wiki/Ff"), "title": "Ff", "text": text });
    // A page of the dump above in extracted form, and one that only its wiki tells from another.
    store::write_atomic(&rows, format!("{}\n{}\n", row("da", 3), row("fo", 3))).unwrap();
    let inputs = [&*english, &danish, &again, &rows];
    for (name, bytes) in [("apart", 200), ("together", 1 << 20)] {
        let mut config = config(&inputs, 2);
        config.ingest.bytes_per_shard = bytes;
        let out = folder.path().join(name);
        let manifest = ingest(&config, &out).unwrap();
        check_counts(&manifest);
        assert_eq!(manifest.counts["duplicate_pages"], 2, "{:?}", manifest.counts);
        let got = tables(&out, &manifest);
        assert_eq!(
            got.articles.iter().map(|article| article.title.as_str()).collect::<Vec<_>>(),
            ["Aa", "Cc", "Ee", "Ff"]
        );
        assert_eq!(got.redirects.iter().map(|redirect| redirect.title.as_str()).collect::<Vec<_>>(), ["Bb", "Dd"]);
        assert_eq!((got.articles[0].id, got.redirects[0].id), (1, 2), "the first wiki keeps its numbers");
        let articles: std::collections::HashSet<u64> = got.passages.iter().map(|passage| passage.article_id).collect();
        assert_eq!(articles.len(), 4);
    }
}

#[test]
fn dumps_that_break_off_are_kept_as_far_as_they_go() {
    let folder = tempfile::tempdir().unwrap();
    let xml = world_xml(300);
    let packed = bz2(&xml);
    for (name, bytes) in [("cut.xml", &xml[..xml.len() * 2 / 3]), ("cut.xml.bz2", &packed[..packed.len() * 2 / 3])] {
        let cut = folder.path().join(name);
        store::write_atomic(&cut, bytes).unwrap();
        for bytes_per_shard in [0, 40_000] {
            let out = folder.path().join(format!("{name}-{bytes_per_shard}"));
            let mut config = config(&[&cut], 2);
            config.ingest.bytes_per_shard = bytes_per_shard;
            let error = build(&config, &out, &()).unwrap_err();
            let said = error.to_string();
            assert!(matches!(error, PipelineError::Truncated { dumps: 1, pages: 100.., .. }), "{said}");
            assert!(said.contains(name) && error.hint().unwrap().contains("--accept-truncated"), "{said}");
            // Ingest is committed, and nothing after it was begun.
            let manifest: Manifest = store::read_json(&out.join("ingest/manifest.json")).unwrap();
            assert_eq!(manifest.counts["truncated_dumps"], 1);
            check_counts(&manifest);
            assert!(matches!(plan(&config, &out, StageName::Entities), Err(PipelineError::Truncated { .. })));
            let again = finish(&config, &out, StageName::Ingest);
            assert!(matches!(again, Err(PipelineError::Truncated { .. })), "{again:?}");
            assert!(!store::exists(&out.join("entities")));
            // Accepted, the same tables are gone on with.
            config.ingest.accept_truncated = true;
            assert_eq!(finish(&config, &out, StageName::Ingest).unwrap(), manifest);
            plan(&config, &out, StageName::Entities).unwrap();
        }
    }
    let mut damaged = packed;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 16;
    let path = folder.path().join("damaged.xml.bz2");
    store::write_atomic(&path, damaged).unwrap();
    let mut config = config(&[&path], 2);
    config.ingest.accept_truncated = true;
    let error = build(&config, &folder.path().join("damaged"), &()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("damaged.xml.bz2") && cause.contains("byte"), "{cause}");
}

#[test]
fn files_folders_and_patterns() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["x/AA", "x/AB", "x/.hidden"] {
        store::create_dir_all(&root.join(name)).unwrap();
    }
    let doc = |id: u64| {
        format!(
            "<doc id=\"{id}\" url=\"u\" title=\"T{id}\">\nT{id}\n\nIt is a town by the river with some houses in it, and it is old.\n</doc>\n"
        )
    };
    for (name, id) in [("x/AA/wiki_00", 1), ("x/AA/wiki_01", 2), ("x/AB/wiki_00", 3), ("x/.hidden/wiki_00", 9)] {
        store::write_atomic(&root.join(name), doc(id)).unwrap();
    }
    store::write_atomic(&root.join("x/README.md"), "no text of the corpus").unwrap();
    store::write_atomic(&root.join("x/en-multistream-index.txt.bz2"), bz2(b"1:2:T\n")).unwrap();
    let found = |pattern: &str| {
        let config = config(&[&root.join(pattern)], 1);
        let out = root.join("out");
        ingest(&config, &out).map(|manifest| {
            assert_eq!(manifest.shards.len(), 1, "small files share a shard");
            tables(&out, &manifest).articles.iter().map(|article| article.id).collect::<Vec<_>>()
        })
    };
    assert_eq!(found("x").unwrap(), [1, 2, 3]);
    assert_eq!(found("x/**/wiki_*").unwrap(), [1, 2, 3]);
    assert_eq!(found("x/A?/wiki_0[1-9]").unwrap(), [2]);
    assert_eq!(found("x/AB/wiki_00").unwrap(), [3]);
    assert_eq!(found("x/A*").unwrap(), [1, 2, 3]);
    assert_eq!(found("x/A*/").unwrap(), [1, 2, 3]);
    assert_eq!(found("x/?B").unwrap(), [3]);
    assert_eq!(found("**/AB").unwrap(), [3]);
    for pattern in ["x/*.bz2", "x/none*", "x/A[", "none/wiki_00"] {
        let error = found(pattern).unwrap_err();
        assert!(error.to_string().contains(pattern.rsplit('/').next().unwrap()), "{error}");
    }
    let error = found("x/*.md").unwrap_err();
    assert!(
        std::error::Error::source(&error).unwrap().to_string().contains("README.md"),
        "named by a pattern, so it must be read"
    );
}

#[test]
fn articles_of_wikimedia_enterprise_are_articles_of_a_dump() {
    let folder = tempfile::tempdir().unwrap();
    let text = "'''Mira''' is a [[town]] by the river with some houses in it, and it is old.";
    let line = |name: &str, id: u64, namespace: u64, text: &str| {
        let article = serde_json::json!({
            "name": name, "identifier": id, "namespace": {"identifier": namespace}, "version": {"identifier": 70},
            "url": format!("https://en.wikipedia.org/wiki/{name}"), "in_language": {"identifier": "en"},
            "date_modified": "2026-01-02T03:04:05Z", "article_body": {"wikitext": text},
        });
        article.to_string() + "\n"
    };
    let lines = [line("Mira", 7, 0, text), line("Talk:Mira", 8, 1, text), line("Myra", 9, 0, "#REDIRECT [[Mira]]")];
    let path = folder.path().join("enwiki_namespace_0_0.ndjson");
    store::write_atomic(&path, lines.concat()).unwrap();
    let out = folder.path().join("out");
    let manifest = ingest(&config(&[&path], 1), &out).unwrap();
    check_counts(&manifest);
    assert_eq!(manifest.counts["pages_of_other_namespaces"], 1);
    let tables = tables(&out, &manifest);
    let article = &tables.articles[0];
    assert_eq!((article.id, article.revision_id, article.timestamp.as_str()), (7, 70, "2026-01-02T03:04:05Z"));
    assert_eq!(article.links[0].target, "Town");
    assert_eq!(tables.redirects, [Redirect { id: 9, title: "Myra".into(), target: "Mira".into() }]);
}

#[test]
#[cfg(unix)]
fn what_is_no_file_is_left_out_of_folders_and_refused_by_name() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("dumps");
    store::create_dir_all(&root.join("deeper")).unwrap();
    let doc = "<doc id=\"1\" url=\"u\" title=\"T\">\nT\n\nIt is a town by the river with some houses in it, and it is old.\n</doc>\n";
    store::write_atomic(&root.join("deeper/wiki_00"), doc).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("wiki_01")).status().unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(root.join("wiki_02")).unwrap();
    symlink("/dev/zero", root.join("wiki_03")).unwrap();
    // Each way through these links is another path, of which there are 2 to the power of as many links as a path may have.
    for (link, target) in [("a", "."), ("b", "."), ("deeper/up", "..")] {
        symlink(target, root.join(link)).unwrap();
    }
    let found = |pattern: &str| {
        let config = config(&[&folder.path().join(pattern)], 1);
        let out = folder.path().join("out");
        ingest(&config, &out).map(|manifest| tables(&out, &manifest).articles.len())
    };
    assert_eq!(found("dumps").unwrap(), 1);
    assert_eq!(found("dumps/**/wiki_*").unwrap(), 1);
    assert_eq!(found("d*").unwrap(), 1);
    assert_eq!(found("dumps/[abd]*").unwrap(), 1, "links to the folder are the folder");
    for (name, kind) in [("wiki_01", "a pipe"), ("wiki_02", "a socket"), ("wiki_03", "a device")] {
        let error = found(&format!("dumps/{name}")).unwrap_err();
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let told: Vec<String> = causes.map(ToString::to_string).collect();
        assert!(told.iter().any(|message| message.contains(name) && message.contains(kind)), "{told:?}");
    }
}

#[test]
fn extracted_texts_become_passages() {
    let Some(archive) = real_data("text/enwiki2015-wikiextractor-AD90-99.tar.xz") else { return };
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap().success());
    let mut config = config(&[&folder.path().join("AD")], 2);
    (config.ingest.min_words, config.ingest.max_words) = (100, 200);
    let out = folder.path().join("out");
    let manifest = ingest(&config, &out).unwrap();
    check_counts(&manifest);
    assert_eq!(manifest.counts["pages"], 945);
    assert!(manifest.rows["articles"] > 900 && manifest.rows["passages"] > 5000, "{:?}", manifest.rows);
    assert!(manifest.counts["sections_dropped"] > 100, "{:?}", manifest.counts);
    let refused = ingest(&self::config(&[&archive], 1), &out).unwrap_err();
    assert!(refused.hint().unwrap().contains("tar -xf"), "{refused}");
}

#[test]
fn pages_of_another_kind_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wikidata.xml");
    let page = |id: u64, model: &str| {
        format!(
            "<page><title>Q{id}</title><ns>0</ns><id>{id}</id><revision><id>1</id><model>{model}</model><text>It is a town by the river with some houses in it, and it is old.</text></revision></page>"
        )
    };
    let xml = format!(
        "<mediawiki>{}{}<page><title>x</page>{}</mediawiki>",
        page(1, "wikibase-item"),
        page(2, "wikitext"),
        page(3, "json")
    );
    store::write_atomic(&path, xml).unwrap();
    let manifest = ingest(&config(&[&path], 1), &folder.path().join("out")).unwrap();
    check_counts(&manifest);
    assert_eq!((manifest.counts["pages_not_wikitext"], manifest.counts["malformed_pages"]), (2, 1));
}
