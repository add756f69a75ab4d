//! Records as rows of a table: means with standard errors.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::metrics::Metric;
use super::record::ItemRecord;

/// A mean and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanError {
    /// Mean over items.
    pub mean: f64,
    /// Standard error of the mean; items of one task count as one unit. `NaN` (null in JSON) of a single unit.
    pub standard_error: f64,
}

impl MeanError {
    /// Mean of values, each with the unit it belongs to. The error is the one for means of clusters; where every unit has
    /// one value, it is the deviation over the root of their number.
    ///
    /// ```
    /// use memtrain_eval::summary::MeanError;
    /// let of = MeanError::of([("a", 0.0), ("b", 1.0), ("c", 1.0), ("d", 0.0)].into_iter());
    /// assert_eq!(of.mean, 0.5);
    /// assert!((of.standard_error - (1.0_f64 / 12.0).sqrt()).abs() < 1e-12);
    /// // The same answers, but only two tasks: less is known.
    /// let of = MeanError::of([("a", 0.0), ("a", 0.0), ("b", 1.0), ("b", 1.0)].into_iter());
    /// assert_eq!(of.standard_error, 0.5);
    /// ```
    pub fn of<'a>(values: impl Iterator<Item = (&'a str, f64)> + Clone) -> Self {
        let count = values.clone().count() as f64;
        let mean = values.clone().map(|(_, value)| value).sum::<f64>() / count;
        let mut units: HashMap<&str, f64> = HashMap::new();
        let mut order: Vec<&str> = Vec::new();
        for (unit, value) in values {
            *units.entry(unit).or_insert_with(|| {
                order.push(unit);
                0.0
            }) += value - mean;
        }
        let squares: f64 = order.iter().map(|unit| units[unit].powi(2)).sum();
        let number = order.len() as f64;
        Self { mean, standard_error: (squares * number / (number - 1.0)).sqrt() / count }
    }
}

impl MeanError {
    /// In percent, with the standard error where there is one.
    pub(super) fn percent(&self) -> String {
        let Self { mean, standard_error } = self;
        match standard_error.is_finite() {
            true => format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * standard_error),
            false => format!("{:.1}", 100.0 * mean),
        }
    }
}

/// The items of one method in one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// How they were answered.
    pub method: String,
    /// What they have in common: a length, a set.
    pub group: String,
    /// How many.
    pub items: usize,
    /// Those that failed and count as wrong.
    pub failed: usize,
    /// Items whose context lost its middle.
    pub truncated_contexts: usize,
    /// Share of responses cut off by their limit.
    pub clipped_responses: f64,
    /// Turns of an item, mean.
    pub turns: f64,
    /// Tokens of its prompts, mean.
    pub prompt_tokens: f64,
    /// Tokens of its responses, mean.
    pub response_tokens: f64,
    /// Each metric's mean and standard error.
    pub metrics: BTreeMap<Metric, MeanError>,
}

impl Row {
    /// Rows by method and group, both in the order in which they first occur.
    pub fn all(records: &[ItemRecord], metrics: &[Metric], group: impl Fn(&ItemRecord) -> String) -> Vec<Self> {
        let mut order: Vec<(String, String)> = Vec::new();
        let mut groups: HashMap<(String, String), Vec<&ItemRecord>> = HashMap::new();
        for record in records {
            let key = (record.key.method.clone(), group(record));
            let members = groups.entry(key.clone()).or_default();
            if members.is_empty() {
                order.push(key);
            }
            members.push(record);
        }
        // Methods one after another, their groups as they came.
        let methods: Vec<String> = order.iter().map(|(method, _)| method.clone()).collect();
        order.sort_by_key(|(method, _)| methods.iter().position(|known| known == method));
        order.into_iter().map(|key| Self::of(&groups[&key], metrics, key)).collect()
    }

    fn of(records: &[&ItemRecord], metrics: &[Metric], (method, group): (String, String)) -> Self {
        let count = records.len() as f64;
        let sum = |value: fn(&ItemRecord) -> u64| records.iter().map(|record| value(record)).sum::<u64>() as f64;
        let turns = sum(|record| u64::from(record.turns));
        let of_metric = |metric: Metric| {
            let values = records.iter().map(move |record| (record.key.task.as_str(), record.scores.get(metric)));
            (metric, MeanError::of(values))
        };
        Self {
            method,
            group,
            items: records.len(),
            failed: records.iter().filter(|record| record.failure.is_some()).count(),
            truncated_contexts: records.iter().filter(|record| record.dropped_tokens > 0).count(),
            clipped_responses: sum(|record| u64::from(record.clipped)) / turns.max(1.0),
            turns: turns / count,
            prompt_tokens: sum(|record| record.prompt_tokens) / count,
            response_tokens: sum(|record| record.response_tokens) / count,
            metrics: metrics.iter().copied().map(of_metric).collect(),
        }
    }
}

/// The rows for people: percentages, each with its standard error.
pub fn table(rows: &[Row], group: &str, metrics: &[Metric]) -> String {
    let mut text = format!("{:<13} {group:>10} {:>6} {:>6}", "method", "items", "failed");
    for metric in metrics {
        let _ = write!(text, " {:>16}", metric.as_str());
    }
    text.push('\n');
    for row in rows {
        let _ = write!(text, "{:<13} {:>10} {:>6} {:>6}", row.method, row.group, row.items, row.failed);
        for metric in metrics {
            let _ = write!(text, " {:>16}", row.metrics[metric].percent());
        }
        text.push('\n');
    }
    text
}
