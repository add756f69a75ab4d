//! Retrieval on real questions: HotpotQA, 100 questions over 994 passages, two gold passages a question.

mod questions;

use std::path::PathBuf;

use memtrain_corpora::store;
use memtrain_index::{IndexConfig, Method};
use questions::Questions;

/// The folder of real data, or `None` with a word where there is none.
fn data() -> Option<PathBuf> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("MEMTRAIN_DATA").map_or(default, PathBuf::from);
    if store::exists(&folder.join("qa")) {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no test data in {}", folder.display());
    println!("skipped: no MEMTRAIN_DATA");
    None
}

/// The figures that the defaults were chosen by stand in `docs/lab/retrieval.md`; what is asserted leaves room for
/// another stemmer, not for a broken ranking.
#[test]
fn real_questions_find_their_passages() {
    let Some(data) = data() else { return };
    let questions = Questions::read(&data.join("qa/hotpotqa_train")).unwrap();
    for (method, least_ndcg, least_partners) in
        [(Method::Lexical, 0.75, 0.85), (Method::Dense, 0.75, 0.80), (Method::Fused, 0.77, 0.85)]
    {
        let (index, _dir) = questions.index(&IndexConfig { method, ..IndexConfig::default() }).unwrap();
        let ndcg = questions.report(&index).unwrap().ndcg_at_10;
        let partners = questions.partner_recall(&index, 29).unwrap();
        println!("{method:?}: nDCG@10 {ndcg:.3}, other gold passage among 29 related {partners:.3}");
        assert!(ndcg >= least_ndcg, "{method:?}: nDCG@10 {ndcg:.3}");
        assert!(partners >= least_partners, "{method:?}: partners {partners:.3}");
    }
}
