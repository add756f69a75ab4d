//! Paired bootstrap over two evaluations of the same items: differences, 95 % intervals, p-values.
//!
//! The paired bootstrap (Efron and Tibshirani 1993, §16; Koehn, EMNLP 2004): tasks are drawn with replacement, all items of
//! a task together, and the difference of the means is taken over the items drawn, many times. The interval holds the
//! middle 95 % of these differences. The p-value is the share of draws whose difference lies as far from the observed
//! one as the observed one from 0, on either side, the observed one counted in.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use memtrain_corpora::rng;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::metrics::Metric;
use super::record::ItemRecord;
use super::task_scores;

/// How to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompareConfig {
    /// Draws.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// The method of the first evaluation and that of the second; without, each method with itself.
    pub methods: Option<(String, String)>,
}

impl Default for CompareConfig {
    fn default() -> Self {
        Self { resamples: 10_000, seed: 0, methods: None }
    }
}

/// A difference in one metric over one group of items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The method, or both with an arrow between them.
    pub method: String,
    /// The length; none for all lengths together.
    pub length: Option<u32>,
    /// The metric.
    pub metric: Metric,
    /// Items that both have.
    pub items: usize,
    /// Tasks they belong to: the units that are drawn.
    pub tasks: usize,
    /// Mean of the first.
    pub a: f64,
    /// Mean of the second.
    pub b: f64,
    /// Mean of the second less that of the first.
    pub difference: f64,
    /// Lower end of the 95 % interval of the difference.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p-value of no difference.
    pub p_value: f64,
}

/// All differences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// A row for each method, length and metric.
    pub differences: Vec<Difference>,
    /// Items of the first that the second lacks.
    pub only_in_a: usize,
    /// Items of the second that the first lacks.
    pub only_in_b: usize,
    /// Draws.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

/// A pair: the values of both in all metrics.
struct Pair<'a> {
    task: &'a str,
    length: u32,
    a: &'a ItemRecord,
    b: &'a ItemRecord,
}

/// Compares the items that both have.
///
/// # Errors
/// If there are none, as a sentence.
pub fn compare(a: &[ItemRecord], b: &[ItemRecord], config: &CompareConfig) -> Result<Comparison, String> {
    let methods = match &config.methods {
        Some((of_a, of_b)) => vec![(of_a.clone(), of_b.clone())],
        None => {
            let mut methods: Vec<(String, String)> = Vec::new();
            for record in a {
                let method = record.key.method.clone();
                if !methods.iter().any(|(known, _)| *known == method) {
                    methods.push((method.clone(), method));
                }
            }
            methods
        }
    };
    let (mut differences, mut paired) = (Vec::new(), 0);
    let (mut in_a, mut in_b) = (0, 0);
    for (of_a, of_b) in &methods {
        let name = if of_a == of_b { of_a.clone() } else { format!("{of_a} → {of_b}") };
        in_a += a.iter().filter(|record| record.key.method == *of_a).count();
        in_b += b.iter().filter(|record| record.key.method == *of_b).count();
        let pairs = pairs(a, of_a, b, of_b);
        paired += pairs.len();
        let lengths: std::collections::BTreeSet<u32> = pairs.iter().map(|pair| pair.length).collect();
        let mut groups: Vec<Option<u32>> = lengths.iter().copied().map(Some).collect();
        if lengths.len() != 1 {
            groups.push(None);
        }
        for length in groups {
            let members: Vec<&Pair<'_>> =
                pairs.iter().filter(|pair| length.is_none_or(|length| pair.length == length)).collect();
            if !members.is_empty() {
                differences.extend(of_group(&members, &name, length, config));
            }
        }
    }
    if paired == 0 {
        return Err("the two evaluations have no item in common".to_owned());
    }
    let without_method = |records: &[ItemRecord], counted: usize| match config.methods {
        Some(_) => 0,
        None => records.len() - counted,
    };
    Ok(Comparison {
        differences,
        only_in_a: in_a - paired + without_method(a, in_a),
        only_in_b: in_b - paired + without_method(b, in_b),
        resamples: config.resamples,
        seed: config.seed,
    })
}

fn pairs<'a>(a: &'a [ItemRecord], of_a: &str, b: &'a [ItemRecord], of_b: &str) -> Vec<Pair<'a>> {
    let of = |record: &'a ItemRecord| (record.key.task.as_str(), record.key.length, record.key.question);
    let second: HashMap<_, &ItemRecord> =
        b.iter().filter(|record| record.key.method == of_b).map(|record| (of(record), record)).collect();
    let first = a.iter().filter(|record| record.key.method == of_a);
    first
        .filter_map(|a| {
            let b = second.get(&of(a))?;
            Some(Pair { task: &a.key.task, length: a.key.length, a, b })
        })
        .collect()
}

/// The differences of a group in all metrics, over the same draws. Where all items name a metric of their own, in that alone.
fn of_group(pairs: &[&Pair<'_>], method: &str, length: Option<u32>, config: &CompareConfig) -> Vec<Difference> {
    let metrics = task_scores::metrics(pairs.iter().flat_map(|pair| [pair.a, pair.b]));
    // By task, in the order of their names: the order of the files must not matter.
    let mut units: BTreeMap<&str, (Vec<f64>, f64)> = BTreeMap::new();
    for pair in pairs {
        let (sums, count) = units.entry(pair.task).or_insert_with(|| (vec![0.0; metrics.len()], 0.0));
        for (sum, metric) in sums.iter_mut().zip(metrics) {
            *sum += pair.b.scores.get(*metric) - pair.a.scores.get(*metric);
        }
        *count += 1.0;
    }
    let units: Vec<(Vec<f64>, f64)> = units.into_values().collect();
    let mut draws: Vec<Vec<f64>> = metrics.iter().map(|_| Vec::with_capacity(config.resamples)).collect();
    let address = [length.map_or(0, |length| u64::from(length) + 1)];
    let mut generator = rng::keyed("eval/compare", config.seed, &address);
    for _ in 0..config.resamples {
        let (mut sums, mut count) = (vec![0.0; metrics.len()], 0.0);
        for _ in 0..units.len() {
            let (unit, items) = &units[generator.random_range(0..units.len())];
            sums.iter_mut().zip(unit).for_each(|(sum, value)| *sum += value);
            count += items;
        }
        draws.iter_mut().zip(sums).for_each(|(draws, sum)| draws.push(sum / count));
    }
    let mean =
        |values: &dyn Fn(&Pair<'_>) -> f64| pairs.iter().map(|pair| values(pair)).sum::<f64>() / pairs.len() as f64;
    let of_metric = |(metric, mut draws): (Metric, Vec<f64>)| {
        let (a, b) = (mean(&|pair| pair.a.scores.get(metric)), mean(&|pair| pair.b.scores.get(metric)));
        let difference = b - a;
        // Sums of the same numbers in another order differ in their last digits.
        let far = |draw: &&f64| (**draw - difference).abs() >= difference.abs() - 1e-12;
        let p_value = (1 + draws.iter().filter(far).count()) as f64 / (1 + draws.len()) as f64;
        draws.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let place = share * draws.len().saturating_sub(1) as f64;
            draws.get(place.round() as usize).copied().unwrap_or(difference)
        };
        let (low, high) = (quantile(0.025), quantile(0.975));
        let (items, tasks, method) = (pairs.len(), units.len(), method.to_owned());
        Difference { method, length, metric, items, tasks, a, b, difference, low, high, p_value }
    };
    metrics.iter().copied().zip(draws).map(of_metric).collect()
}

/// The differences for people, in percent.
pub fn table(comparison: &Comparison) -> String {
    let mut text = format!(
        "{:<24} {:>8} {:<16} {:>6} {:>7} {:>7} {:>7} {:>17} {:>8}\n",
        "method", "length", "metric", "items", "A", "B", "B - A", "95 % interval", "p"
    );
    for row in &comparison.differences {
        let length = row.length.map_or_else(|| "all".to_owned(), |length| length.to_string());
        let interval = format!("[{:.1}, {:.1}]", 100.0 * row.low, 100.0 * row.high);
        let _ = writeln!(
            text,
            "{:<24} {length:>8} {:<16} {:>6} {:>7.1} {:>7.1} {:>7.1} {interval:>17} {:>8.4}",
            row.method,
            row.metric.as_str(),
            row.items,
            100.0 * row.a,
            100.0 * row.b,
            100.0 * row.difference,
            row.p_value
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::record::ItemKey;

    fn record(task: usize, length: u32, method: &str, em: f64) -> ItemRecord {
        let key = ItemKey { task: format!("t{task}"), length, question: 0, method: method.into() };
        let scores = Scores { em, f1: em / 2.0, ..Scores::default() };
        ItemRecord { scores, turns: 1, prompt_tokens: 1, response_tokens: 1, ..ItemRecord::new(key, "s", vec![]) }
    }

    fn em(comparison: &Comparison, length: Option<u32>) -> &Difference {
        comparison.differences.iter().find(|row| row.metric == Metric::Em && row.length == length).unwrap()
    }

    #[test]
    fn the_same_twice_is_no_difference_and_the_order_does_not_matter() {
        let a: Vec<_> = (0..40).map(|task| record(task, 50, "reader", f64::from(task as u32 % 2))).collect();
        let config = CompareConfig { resamples: 500, ..CompareConfig::default() };
        let same = compare(&a, &a, &config).unwrap();
        assert_eq!((em(&same, Some(50)).difference, em(&same, Some(50)).p_value), (0.0, 1.0));
        let b: Vec<_> = (0..40).map(|task| record(task, 50, "reader", f64::from(u8::from(task % 5 == 0)))).collect();
        let mut shuffled = b.clone();
        shuffled.reverse();
        let (one, other) = (compare(&a, &b, &config).unwrap(), compare(&a, &shuffled, &config).unwrap());
        assert_eq!(one, other);
        let row = em(&one, Some(50));
        assert!((row.a, row.b) == (0.5, 0.2) && (row.difference + 0.3).abs() < 1e-12);
        assert!(row.low < row.difference && row.difference < row.high && row.low > -0.6 && row.high < 0.0);
        let f1 = one.differences.iter().find(|row| row.metric == Metric::F1).unwrap();
        assert!((f1.low - row.low / 2.0).abs() < 1e-12, "all metrics over the same draws");
    }

    #[test]
    fn the_interval_is_that_of_the_mean_difference() {
        // 100 tasks, half of them better by 1: difference 0.5, standard error 0.05.
        let a: Vec<_> = (0..100).map(|task| record(task, 0, "reader", 0.0)).collect();
        let b: Vec<_> = (0..100).map(|task| record(task, 0, "reader", f64::from(task as u32 % 2))).collect();
        let comparison = compare(&a, &b, &CompareConfig::default()).unwrap();
        let row = em(&comparison, Some(0));
        assert!((row.low - 0.402).abs() < 0.021 && (row.high - 0.598).abs() < 0.021, "{row:?}");
        assert!(row.p_value < 0.001);
        // Two lengths a task with the same outcome tell no more than one.
        let twice = |records: &[ItemRecord]| {
            let other = |record: &ItemRecord| {
                let mut record = record.clone();
                record.key.length = 9;
                record
            };
            records.iter().cloned().chain(records.iter().map(other)).collect::<Vec<_>>()
        };
        let comparison = compare(&twice(&a), &twice(&b), &CompareConfig::default()).unwrap();
        let all = em(&comparison, None);
        assert_eq!((all.items, all.tasks), (200, 100));
        assert!((all.high - all.low - 0.196).abs() < 0.03, "{all:?}");
    }

    #[test]
    fn chance_is_called_a_difference_as_often_as_it_should() {
        let mut generator = rng::keyed("test/compare", 1, &[]);
        let mut rejected = 0;
        for seed in 0..200 {
            let mut draw = |method: &str| -> Vec<ItemRecord> {
                (0..40).map(|task| record(task, 0, method, f64::from(u8::from(generator.random_bool(0.5))))).collect()
            };
            let (a, b) = (draw("reader"), draw("reader"));
            let config = CompareConfig { resamples: 300, seed, methods: None };
            rejected += usize::from(em(&compare(&a, &b, &config).unwrap(), Some(0)).p_value < 0.05);
        }
        // 10 of 200 are expected, with a deviation of 3; the bootstrap of 40 tasks is a little too bold.
        assert!((1..=24).contains(&rejected), "{rejected} of 200");
    }

    #[test]
    fn what_only_one_has_is_counted() {
        let a: Vec<_> = (0..10).map(|task| record(task, 0, "reader", 1.0)).collect();
        let b: Vec<_> = (4..20).map(|task| record(task, 0, "reader", 1.0)).collect();
        let comparison = compare(&a, &b, &CompareConfig { resamples: 10, ..CompareConfig::default() }).unwrap();
        assert_eq!((comparison.only_in_a, comparison.only_in_b, em(&comparison, Some(0)).items), (4, 10, 6));
        let whole: Vec<_> = (0..10).map(|task| record(task, 0, "full-context", 0.0)).collect();
        assert!(compare(&a, &whole, &CompareConfig::default()).is_err());
        let methods = Some(("reader".to_owned(), "full-context".to_owned()));
        let crossed = compare(&a, &whole, &CompareConfig { resamples: 10, seed: 0, methods }).unwrap();
        assert_eq!(em(&crossed, Some(0)).method, "reader → full-context");
        assert_eq!(em(&crossed, Some(0)).difference, -1.0);
        assert!(table(&crossed).contains("reader → full-context"));
    }

    #[test]
    fn items_with_a_metric_of_their_own_are_compared_by_it_alone() {
        let scored = |score: f64| -> Vec<ItemRecord> {
            let with = |record: ItemRecord| ItemRecord {
                scores: Scores { task_score: Some(score), ..record.scores },
                ..record
            };
            (0..10).map(|task| with(record(task, 4_096, "reader", 1.0))).collect()
        };
        let config = CompareConfig { resamples: 10, ..CompareConfig::default() };
        let comparison = compare(&scored(0.25), &scored(0.75), &config).unwrap();
        let rows: Vec<_> = comparison.differences.iter().map(|row| (row.metric, row.difference)).collect();
        assert_eq!(rows, [(Metric::TaskScore, 0.5)]);
        let mixed = [scored(0.5), vec![record(99, 4_096, "reader", 1.0)]].concat();
        assert_eq!(compare(&mixed, &mixed, &config).unwrap().differences.len(), 5);
    }
}
