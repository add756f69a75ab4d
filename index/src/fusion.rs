//! Reciprocal-rank fusion: one ranking out of several (Cormack, Clarke, Büttcher, SIGIR 2009).

use std::collections::HashMap;

use crate::Hit;

/// Fuses rankings, best first: the score of a passage is Σ 1/(k + rank) over the rankings that hold it, rank counted
/// from 1. Equal scores are ordered by passage id.
///
/// ```
/// use memtrain_index::{Hit, fuse};
///
/// let hit = |passage_id| Hit { passage_id, score: 0.0 };
/// let fused = fuse(&[vec![hit(1), hit(2)], vec![hit(2), hit(3)]], 10.0, 2);
/// assert_eq!(fused.iter().map(|hit| hit.passage_id).collect::<Vec<_>>(), [2, 1]);
/// ```
pub fn fuse(rankings: &[Vec<Hit>], k: f32, num_hits: usize) -> Vec<Hit> {
    let mut scores: HashMap<u64, f32> = HashMap::new();
    for ranking in rankings {
        for (place, hit) in ranking.iter().enumerate() {
            *scores.entry(hit.passage_id).or_default() += 1.0 / (k + (place + 1) as f32);
        }
    }
    let mut hits: Vec<Hit> = scores.into_iter().map(|(passage_id, score)| Hit { passage_id, score }).collect();
    hits.sort_unstable_by(Hit::best_first);
    hits.truncate(num_hits);
    hits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every passage looked up in every ranking.
    fn naive(rankings: &[Vec<u64>], k: f32) -> Vec<(u64, f32)> {
        let mut all: Vec<u64> = rankings.iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        let mut scored: Vec<(u64, f32)> = Vec::new();
        for id in all {
            let mut score = 0.0;
            for ranking in rankings {
                if let Some(place) = ranking.iter().position(|&other| other == id) {
                    score += 1.0 / (k + (place + 1) as f32);
                }
            }
            scored.push((id, score));
        }
        // A stable sort keeps the order of the ids among equals.
        scored.sort_by(|a, b| b.1.total_cmp(&a.1));
        scored
    }

    fn ranking() -> impl Strategy<Value = Vec<u64>> {
        proptest::collection::hash_set(0_u64..30, 0..20)
            .prop_map(|ids| ids.into_iter().collect::<Vec<_>>())
            .prop_shuffle()
    }

    proptest! {
        #[test]
        fn fusion_is_its_naive_twin(rankings in proptest::collection::vec(ranking(), 0..4), k in 0_u8..100, n in 0_usize..30) {
            let k = f32::from(k);
            let hits: Vec<Vec<Hit>> = rankings
                .iter()
                .map(|ids| ids.iter().map(|&passage_id| Hit { passage_id, score: 1.0 }).collect())
                .collect();
            let fused: Vec<(u64, f32)> = fuse(&hits, k, n).into_iter().map(|hit| (hit.passage_id, hit.score)).collect();
            let mut expected = naive(&rankings, k);
            expected.truncate(n);
            prop_assert_eq!(fused, expected);
        }
    }
}
