//! Retrieval on real questions: HotpotQA, 100 questions over 994 passages, two gold passages a question.

mod questions;

use memtrain_index::{AnnConfig, IndexConfig, Method};
use questions::Questions;

/// The figures that the defaults were chosen by stand in `docs/lab/retrieval.md`; what is asserted leaves room for
/// another stemmer, not for a broken ranking.
#[test]
fn real_questions_find_their_passages() {
    let Some(sets) = questions::folder() else { return };
    let questions = Questions::read(&sets.join("hotpotqa_train")).unwrap();
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

/// With a tenth of the passages as candidates, codes find what exact search finds.
#[test]
fn codes_find_the_neighbours_of_real_passages() {
    let Some(sets) = questions::folder() else { return };
    let questions = Questions::read(&sets.join("hotpotqa_train")).unwrap();
    let recall = |candidates: usize| {
        let ann = AnnConfig { min_passages: 1, candidates };
        let (index, _dir) =
            questions.index(&IndexConfig { method: Method::Dense, ann, ..IndexConfig::default() }).unwrap();
        let passages: Vec<u64> = (0..index.num_passages()).step_by(5).collect();
        index.dense_recall(&passages, 10).unwrap().unwrap()
    };
    // At least four candidates a hit: 40 and 100 of 994 passages, then all.
    let found = [1, 100, 994].map(recall);
    println!("recall of the 10 nearest {found:.3?}");
    assert!(found[0] < found[1] && found[1] >= 0.95 && found[2] == 1.0, "{found:?}");
}
