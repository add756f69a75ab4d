//! Counts of values, by polars a batch at a time.

use polars::prelude::*;
use serde::Serialize;

use crate::Result;

/// Distinct values that are kept before the counts of batches are added up.
const MERGE_ROWS: usize = 1 << 16;

/// How often each value of a column came. Memory grows with the distinct values, not with the rows.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Columns `value` and `count`; a value may stand in several rows until they are merged.
    counts: Option<DataFrame>,
    merged: usize,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { counts: None, merged: 0 }
    }

    /// Counts numbers.
    pub(crate) fn numbers(&mut self, values: &[u64]) -> Result<()> {
        self.add(UInt64Chunked::from_slice("value".into(), values).into_column())
    }

    /// Counts words.
    pub(crate) fn words<'v>(&mut self, values: impl Iterator<Item = &'v str>) -> Result<()> {
        self.add(StringChunked::from_iter_options("value".into(), values.map(Some)).into_column())
    }

    fn add(&mut self, values: Column) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let ones = Column::new_scalar("count".into(), Scalar::from(1_u64), values.len());
        let counts = summed(&DataFrame::new_infer_height(vec![values, ones])?)?;
        let counts = match self.counts.take() {
            Some(before) => before.vstack(&counts)?,
            None => counts,
        };
        let is_long = counts.height() > 2 * self.merged + MERGE_ROWS;
        self.counts = Some(if is_long { summed(&counts)? } else { counts });
        if is_long {
            self.merged = self.counts.as_ref().map_or(0, DataFrame::height);
        }
        Ok(())
    }

    /// The values in rising order with their counts.
    fn sorted(&self, by: &str, options: SortMultipleOptions) -> Result<Option<DataFrame>> {
        let Some(counts) = &self.counts else { return Ok(None) };
        let by: Vec<&str> = if by == "value" { vec!["value"] } else { vec![by, "value"] };
        Ok(Some(summed(counts)?.sort(by, options)?))
    }

    /// The distribution of numbers; `None` where there are none.
    pub(crate) fn distribution(&self) -> Result<Option<Distribution>> {
        let Some(sorted) = self.sorted("value", SortMultipleOptions::default())? else { return Ok(None) };
        let (values, counts) = (sorted.column("value")?.u64()?, sorted.column("count")?.u64()?);
        let pairs: Vec<(u64, u64)> = values.into_no_null_iter().zip(counts.into_no_null_iter()).collect();
        let total: u64 = pairs.iter().map(|(_, count)| count).sum();
        // Nearest rank: the smallest value that at least this share of all are not above.
        let quantile = |share: f64| {
            let rank = ((share * total as f64).ceil() as u64).clamp(1, total);
            let mut seen = 0;
            let at = pairs.iter().find(|(_, count)| {
                seen += count;
                seen >= rank
            });
            at.map_or(0, |(value, _)| *value)
        };
        let sum: u128 = pairs.iter().map(|&(value, count)| u128::from(value) * u128::from(count)).sum();
        Ok(Some(Distribution {
            count: total,
            mean: sum as f64 / total as f64,
            min: quantile(0.0),
            p5: quantile(0.05),
            p25: quantile(0.25),
            p50: quantile(0.5),
            p75: quantile(0.75),
            p95: quantile(0.95),
            max: quantile(1.0),
        }))
    }

    /// Number of distinct values, and the most frequent words, equal ones in alphabetical order.
    pub(crate) fn shares(&self, most: usize) -> Result<Shares> {
        let order = SortMultipleOptions::default().with_order_descending_multi([true, false]);
        let Some(sorted) = self.sorted("count", order)? else { return Ok(Shares::default()) };
        let (values, counts) = (sorted.column("value")?.str()?, sorted.column("count")?.u64()?);
        let total: u64 = counts.into_no_null_iter().sum();
        let share = |(value, count): (&str, u64)| Share {
            value: value.to_owned(),
            count,
            share: count as f64 / total.max(1) as f64,
        };
        let first = values.iter().flatten().zip(counts.into_no_null_iter()).take(most).map(share).collect();
        Ok(Shares { total, distinct: sorted.height() as u64, first })
    }
}

#[expect(deprecated, reason = "the lazy way that polars would rather have costs as much again to compile")]
fn summed(counts: &DataFrame) -> Result<DataFrame> {
    let mut summed = counts.group_by(["value"])?.select(["count"]).sum()?;
    summed.set_column_names(&["value", "count"])?;
    Ok(summed)
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
        let mut tally = Tally::new();
        tally.numbers(&[]).unwrap();
        assert_eq!(tally.distribution().unwrap(), None);
        assert_eq!(tally.shares(3).unwrap(), Shares::default());
    }

    #[test]
    fn words_are_ranked_by_count_then_alphabet() {
        let mut tally = Tally::new();
        tally.words(["b", "a", "c"].into_iter()).unwrap();
        tally.words(["c"].into_iter()).unwrap();
        let shares = tally.shares(2).unwrap();
        assert_eq!((shares.total, shares.distinct), (4, 3));
        let first: Vec<_> = shares.first.iter().map(|share| (share.value.as_str(), share.count, share.share)).collect();
        assert_eq!(first, [("c", 2, 0.5), ("a", 1, 0.25)]);
    }

    proptest! {
        #[test]
        fn distribution_is_that_of_the_sorted_numbers(batches in proptest::collection::vec(proptest::collection::vec(0_u64..50, 0..40), 1..5)) {
            let mut tally = Tally::new();
            for batch in &batches {
                tally.numbers(batch).unwrap();
            }
            let mut all = batches.concat();
            all.sort_unstable();
            let Some(found) = tally.distribution().unwrap() else { prop_assert!(all.is_empty()); return Ok(()) };
            let rank = |share: f64| all[((share * all.len() as f64).ceil() as usize).clamp(1, all.len()) - 1];
            prop_assert_eq!(found.count, all.len() as u64);
            prop_assert_eq!((found.min, found.max), (all[0], all[all.len() - 1]));
            prop_assert_eq!([found.p5, found.p25, found.p50, found.p75, found.p95], [0.05, 0.25, 0.5, 0.75, 0.95].map(rank));
            let mean = all.iter().sum::<u64>() as f64 / all.len() as f64;
            prop_assert!((found.mean - mean).abs() < 1e-9);
        }
    }
}
