//! How often each value comes.

use std::collections::BTreeMap;

use serde::Serialize;

/// How often each value of a column came. Memory grows with the distinct values, not with the rows.
#[derive(Debug)]
pub(crate) struct Tally<V>(BTreeMap<V, u64>);

impl<V: Ord> Tally<V> {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }
}

impl Tally<u64> {
    /// Counts numbers.
    pub(crate) fn add(&mut self, values: &[u64]) {
        for &value in values {
            *self.0.entry(value).or_default() += 1;
        }
    }

    /// The distribution of numbers; `None` where there are none.
    pub(crate) fn distribution(&self) -> Option<Distribution> {
        let total: u64 = self.0.values().sum();
        if total == 0 {
            return None;
        }
        // Nearest rank: the smallest value that at least this share of all are not above.
        let quantile = |share: f64| {
            let rank = ((share * total as f64).ceil() as u64).clamp(1, total);
            let mut seen = 0;
            let at = self.0.iter().find(|(_, count)| {
                seen += **count;
                seen >= rank
            });
            at.map_or(0, |(&value, _)| value)
        };
        let sum: u128 = self.0.iter().map(|(&value, &count)| u128::from(value) * u128::from(count)).sum();
        Some(Distribution {
            count: total,
            mean: sum as f64 / total as f64,
            min: quantile(0.0),
            p5: quantile(0.05),
            p25: quantile(0.25),
            p50: quantile(0.5),
            p75: quantile(0.75),
            p95: quantile(0.95),
            max: quantile(1.0),
        })
    }
}

impl Tally<String> {
    /// Counts words.
    pub(crate) fn add<'v>(&mut self, values: impl Iterator<Item = &'v str>) {
        for value in values {
            match self.0.get_mut(value) {
                Some(count) => *count += 1,
                None => {
                    self.0.insert(value.to_owned(), 1);
                }
            }
        }
    }

    /// Number of distinct values, and the most frequent words, equal ones in alphabetical order.
    pub(crate) fn shares(&self, most: usize) -> Shares {
        let total: u64 = self.0.values().sum();
        let mut all: Vec<(&String, u64)> = self.0.iter().map(|(value, &count)| (value, count)).collect();
        // Stable: equal counts stay in the order of the words.
        all.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let share = |(value, count): (&String, u64)| Share {
            value: value.clone(),
            count,
            share: count as f64 / total.max(1) as f64,
        };
        Shares { total, distinct: all.len() as u64, first: all.into_iter().take(most).map(share).collect() }
    }
}

/// How numbers are distributed. Quantiles are of nearest rank, so each is a number that occurs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// How many numbers.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: u64,
    /// 5 % are not above this.
    pub p5: u64,
    /// A quarter.
    pub p25: u64,
    /// Half.
    pub p50: u64,
    /// Three quarters.
    pub p75: u64,
    /// 95 %.
    pub p95: u64,
    /// The largest.
    pub max: u64,
}

/// A value, how often it comes, and its share of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The value.
    pub value: String,
    /// How often.
    pub count: u64,
    /// Of all, from 0 to 1.
    pub share: f64,
}

/// The most frequent values among all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// How many values in all, repeated ones each time.
    pub total: u64,
    /// How many different ones.
    pub distinct: u64,
    /// The most frequent ones, the first the most.
    pub first: Vec<Share>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_distribution() {
        let mut tally = Tally::<u64>::new();
        tally.add(&[]);
        assert_eq!(tally.distribution(), None);
        assert_eq!(Tally::<String>::new().shares(3), Shares::default());
    }

    #[test]
    fn words_are_ranked_by_count_then_alphabet() {
        let mut tally = Tally::<String>::new();
        tally.add(["b", "a", "c", "c"].into_iter());
        let shares = tally.shares(2);
        assert_eq!((shares.total, shares.distinct), (4, 3));
        let first: Vec<_> = shares.first.iter().map(|share| (share.value.as_str(), share.count, share.share)).collect();
        assert_eq!(first, [("c", 2, 0.5), ("a", 1, 0.25)]);
    }

    proptest! {
        #[test]
        fn distribution_is_that_of_the_sorted_numbers(batches in proptest::collection::vec(proptest::collection::vec(0_u64..50, 0..40), 1..5)) {
            let mut tally = Tally::<u64>::new();
            for batch in &batches {
                tally.add(batch);
            }
            let mut all = batches.concat();
            all.sort_unstable();
            let Some(found) = tally.distribution() else { prop_assert!(all.is_empty()); return Ok(()) };
            let rank = |share: f64| all[((share * all.len() as f64).ceil() as usize).clamp(1, all.len()) - 1];
            prop_assert_eq!(found.count, all.len() as u64);
            prop_assert_eq!((found.min, found.max), (all[0], all[all.len() - 1]));
            prop_assert_eq!([found.p5, found.p25, found.p50, found.p75, found.p95], [0.05, 0.25, 0.5, 0.75, 0.95].map(rank));
            let mean = all.iter().sum::<u64>() as f64 / all.len() as f64;
            prop_assert!((found.mean - mean).abs() < 1e-9);
        }
    }
}
