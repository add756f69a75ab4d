//! `memtrain index` through the binary: measuring question sets, looking into an index, damage.

mod small_world;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use memtrain_corpora::store;
use serde_json::Value;

fn memtrain(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrain")).current_dir(folder).args(arguments).output().unwrap()
}

/// Stdout of a command that must succeed.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = memtrain(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str], code: i32, parts: &[&str]) {
    let output = memtrain(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
    for part in parts {
        assert!(said.contains(part), "{arguments:?} did not say `{part}`:\n{said}");
    }
}

const CORPUS: &str = r#"{"_id": "a/1", "title": "Mill", "text": "The miller grinds wheat at the weir."}
{"_id": "b 2", "title": "", "text": "A baker buys flour from the miller."}
{"_id": "7", "text": "Herons fish below the weir in spring."}
{"_id": "ü", "title": "Guild", "text": "The weavers keep their looms in the old hall."}
"#;
const QUERIES: &str = r#"{"_id": "q1", "text": "Who keeps looms?"}
{"_id": "q2", "text": "herons"}
{"_id": "q3", "text": "never judged"}
{"_id": "q4", "text": "nothing relevant"}
"#;
const QRELS: &str = "query-id\tcorpus-id\tscore\nq1\tü\t1\nq2\ta/1\t2\nq2\t7\t1\nq4\t7\t0\nq9\tgone\t1\n";

fn question_set(folder: &Path) -> PathBuf {
    let set = folder.join("set");
    store::create_dir_all(&set.join("qrels")).unwrap();
    store::write_atomic(&set.join("corpus.jsonl"), CORPUS).unwrap();
    store::write_atomic(&set.join("queries.jsonl"), QUERIES).unwrap();
    store::write_atomic(&set.join("qrels/test.tsv"), QRELS).unwrap();
    set
}

#[test]
#[cfg(unix)]
fn a_question_set_may_be_packed() {
    let folder = tempfile::tempdir().unwrap();
    let set = question_set(folder.path());
    let eval = ["index", "eval", "set", "--mode", "lexical", "--json"];
    let measured = || {
        let mut report: Value = serde_json::from_str(&said(folder.path(), &eval)).unwrap();
        report.as_object_mut().unwrap().retain(|key, _| !key.contains("second"));
        report
    };
    let plain = measured();
    for name in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"] {
        assert!(Command::new("gzip").arg(set.join(name)).status().unwrap().success());
        assert_eq!(measured(), plain, "{name}");
    }
    store::remove_file(&set.join("corpus.jsonl.gz")).unwrap();
    refused(folder.path(), &eval, 1, &["`corpus.jsonl`, packed or not"]);
}

#[test]
fn a_question_set_is_measured_as_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    question_set(folder.path());
    let report = said(folder.path(), &["index", "eval", "set", "--mode", "lexical", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    let close = |key: &str, expected: f64| {
        let got = report[key].as_f64().unwrap_or(f64::NAN);
        assert!((got - expected).abs() < 1e-9, "{key} is {got}, expected {expected}");
    };
    assert_eq!((&report["passages"], &report["queries"]), (&4.into(), &2.into()));
    assert_eq!((&report["queries_without_qrels"], &report["queries_without_relevant"]), (&1.into(), &1.into()));
    assert_eq!((&report["qrels_without_passage"], &report["qrels_without_query"]), (&1.into(), &1.into()));
    // q1 finds its passage first; q2 finds the one of grade 1 and nothing else.
    close("ndcg@10", (1.0 + 1.0 / (2.0 + 1.0 / 3.0_f64.log2())) / 2.0);
    close("mrr@10", 1.0);
    close("recall@10", 0.75);
    close("full@10", 0.5);
    for mode in ["dense", "fused"] {
        let table = said(folder.path(), &["index", "eval", "set", "--mode", mode, "--set", "embed.dimensions=64"]);
        assert!(table.contains("4 passages, 2 questions") && table.contains("nDCG@10"), "{table}");
        assert!(table.contains("1 queries without qrels"), "{table}");
    }
}

#[test]
fn an_index_that_is_kept_is_used_again_and_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    question_set(folder.path());
    let eval = ["index", "eval", "set", "--json", "--keep", "kept"];
    let untimed = |report: String| {
        let mut report: Value = serde_json::from_str(&report).unwrap();
        report.as_object_mut().unwrap().retain(|key, _| !key.contains("second"));
        report
    };
    let first = untimed(said(folder.path(), &eval));
    store::remove_file(&folder.path().join("kept/index.json")).unwrap();
    assert_eq!(untimed(said(folder.path(), &eval)), first, "gone on with");
    assert_eq!(untimed(said(folder.path(), &eval)), first, "used again");
    assert!(said(folder.path(), &["index", "search", "weavers", "--corpus", "kept", "-k", "1"]).contains("Guild"));
    refused(
        folder.path(),
        &["index", "eval", "set", "--keep", "set"],
        1,
        &["`set` holds what memtrain did not write there"],
    );
    assert!(store::exists(&folder.path().join("set/corpus.jsonl")));
}

#[test]
fn a_set_that_is_wrong_is_refused_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let set = question_set(folder.path());
    let eval = ["index", "eval", "set", "--mode", "lexical"];
    let cases: [(&str, &str, &[&str]); 6] = [
        ("corpus.jsonl", "{\"_id\": \"a\", \"text\": \"x\"}\n{\"_id\": \"b\"}\n", &["corpus.jsonl:2", "`text`"]),
        ("corpus.jsonl", "{\"_id\": \"a\", \"text\": \"x\"}\n\nnonsense\n", &["corpus.jsonl:3"]),
        (
            "corpus.jsonl",
            "{\"_id\": \"a\", \"text\": \"\"}\n{\"_id\": \"a\", \"text\": \"\"}\n",
            &["corpus.jsonl:2", "line 1"],
        ),
        ("queries.jsonl", "[]\n", &["queries.jsonl:1"]),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\ta\thigh\n", &["test.tsv:2", "`high`"]),
        ("qrels/test.tsv", "q1\ta\n", &["test.tsv:1", "2 columns"]),
    ];
    for (file, text, parts) in cases {
        let whole = store::read(&set.join(file)).unwrap();
        store::write_atomic(&set.join(file), text).unwrap();
        refused(folder.path(), &eval, 1, parts);
        store::write_atomic(&set.join(file), whole).unwrap();
    }
    store::remove_file(&set.join("qrels/test.tsv")).unwrap();
    refused(folder.path(), &eval, 1, &["qrels.tsv"]);
    refused(folder.path(), &["index", "eval", "nowhere"], 1, &["nowhere", "corpus.jsonl"]);
    refused(folder.path(), &["index", "eval", "set", "--embedder", "candle"], 2, &["--model"]);
    let by_onnx = ["index", "eval", "set", "--embedder", "fastembed", "--model", "gone", "--runtime", "gone.so"];
    if cfg!(feature = "fastembed") {
        refused(folder.path(), &by_onnx, 1, &["gone.so", "cannot be loaded", "ORT_DYLIB_PATH"]);
    } else {
        refused(folder.path(), &by_onnx, 2, &["embed.backend", "fastembed", "--features fastembed"]);
    }
    refused(folder.path(), &["index", "eval", "set", "--set", "fusion_q=1"], 2, &["fusion_q", "fusion_k"]);
}

#[test]
fn a_corpus_is_searched_and_a_damaged_index_is_named_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let shards = "[corpus.index]\npassages_per_shard = 60\n[corpus.index.ann]\nmin_passages = 30\n";
    small_world::write(path, shards);
    let build = ["corpus", "build", "--config", "small.toml"];
    said(path, &build);
    let related = said(path, &["index", "related", "3", "--corpus", "corpus", "-k", "4", "--json"]);
    let ids: Vec<u64> = related
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["passage_id"].as_u64().unwrap())
        .collect();
    assert!(ids.len() == 4 && !ids.contains(&3), "{ids:?}");
    let found = said(path, &["index", "search", "guild of weavers", "--corpus", "corpus"]);
    assert_eq!(found.lines().count(), 20, "ten passages, two lines each");
    refused(path, &["index", "related", "99999", "--corpus", "corpus"], 1, &["99999", "hint: "]);
    refused(path, &["index", "search", "x", "--corpus", "nowhere"], 1, &["nowhere", "hint: "]);

    let data = path.join("corpus/index/data");
    let shards = store::list(&data).unwrap().into_iter().filter(|path| store::is_dir(path)).collect::<Vec<_>>();
    assert!(shards.len() > 1, "several shards");
    let victims = ["vectors-00000.bin", "codes.bin", "signatures.bin", "lexical/00000000000000000000000000000000.idx"];
    for victim in victims {
        let file = shards[0].join(victim);
        let whole = store::read(&file).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        store::write_atomic(&file, bytes).unwrap();
        let name = Path::new(victim).file_name().unwrap().to_string_lossy().into_owned();
        refused(path, &["index", "search", "weavers", "--corpus", "corpus"], 1, &[&name, "damaged", "hint: "]);
        said(path, &build);
        assert!(store::read(&file).unwrap() == whole, "{victim} is mended to the same bytes");
    }
    assert_eq!(said(path, &["index", "related", "3", "--corpus", "corpus", "-k", "4", "--json"]), related);
    // What was learned belongs to no shard.
    let (learned, whole) = (data.join("embedder.bin"), store::read(&data.join("embedder.bin")).unwrap());
    store::write_atomic(&learned, &whole[..whole.len() / 2]).unwrap();
    refused(path, &["index", "search", "weavers", "--corpus", "corpus"], 1, &["embedder.bin", "damaged", "hint: "]);
    said(path, &build);
    assert!(store::read(&learned).unwrap() == whole, "learned again to the same bytes");
}

/// What people put into such files: ids of all kinds, texts of nothing, other scripts, columns of TREC.
#[test]
fn odd_question_sets_are_measured_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let set = path.join("odd");
    store::create_dir_all(&set).unwrap();
    let corpus = "\u{feff}{\"_id\": 12, \"title\": null, \"text\": \"\", \"metadata\": {\"url\": 1}}\r\n\
        {\"_id\": \"a b\", \"title\": \"東京都\", \"text\": \"東京都は日本の首都である。\"}\r\n\r\n\
        {\"_id\": \"x\\\"y\", \"title\": \"\", \"text\": \"Ĉiuj homoj — naskiĝas\\u0000liberaj\"}\n\
        {\"text\": \"Only a text of weavers\", \"_id\": \"-1\"}";
    store::write_atomic(&set.join("corpus.jsonl"), corpus).unwrap();
    let queries =
        "{\"_id\": 1, \"text\": \"首都 東京\"}\n{\"_id\": 2, \"text\": \"\"}\n{\"_id\": 3, \"text\": \"weavers\"}\n";
    store::write_atomic(&set.join("queries.jsonl"), queries).unwrap();
    store::write_atomic(&set.join("qrels.tsv"), "1\t0\ta b\t1\r\n2\t0\t12\t1\n3\t0\t-1\t1\n3\t0\tx\"y\t0\n").unwrap();
    for mode in ["lexical", "dense", "fused"] {
        let report = said(path, &["index", "eval", "odd", "--mode", mode, "--json"]);
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!((&report["passages"], &report["queries"]), (&4.into(), &3.into()), "{mode}");
        let found = report["recall@1"].as_f64().unwrap();
        assert!(found >= 2.0 / 3.0 - 1e-9, "{mode}: {found}");
    }
}

#[test]
fn a_query_without_a_word_of_the_corpus_is_told_to_find_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    small_world::write(path, "");
    assert!(memtrain(path, &["corpus", "build", "small.toml"]).status.success());
    for query in ["", "  \t"] {
        refused(path, &["index", "search", query, "--corpus", "corpus"], 2, &["the query is empty", "hint: "]);
    }
    for query in ["zzyzx qwortle", "the of", "?!"] {
        let output = memtrain(path, &["index", "search", query, "--corpus", "corpus"]);
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && output.stdout.is_empty(), "{query}: {log}");
        assert!(
            log.contains("no passage holds a word of the query") && log.contains("nothing is found"),
            "{query}: {log}"
        );
    }
    // One word that is there is enough: that of a title.
    let passage = memtrain_pipeline::passages(&path.join("corpus")).unwrap().get(0).unwrap();
    let query = format!("zzyzx {}", passage.title);
    let found = said(path, &["index", "search", &query, "--corpus", "corpus", "-k", "3"]);
    assert_eq!(found.lines().filter(|line| line.starts_with("  ")).count(), 6, "{found}");
}
