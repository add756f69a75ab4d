//! Tasks that name a metric of their own: RULER's, LoCoMo's, LongMemEval's.
//!
//! Their results are a table of lengths by tasks, or by categories of questions. Each cell is the mean of the metric that the
//! set itself counts by, with its standard error.

use std::fmt::Write;

use memtrain_tasks::{CATEGORY, METRIC, Task};
use serde::Serialize;
use serde_json::{Value, json};

use super::metrics::Metric;
use super::record::ItemRecord;
use super::summary::MeanError;

/// The metrics that records are told by: the task's own where all of them have one.
pub fn metrics<'r>(records: impl IntoIterator<Item = &'r ItemRecord>) -> &'static [Metric] {
    let mut records = records.into_iter().peekable();
    match records.peek().is_some() && records.all(|record| record.scores.task_score.is_some()) {
        true => &[Metric::TaskScore],
        false => &Metric::ALL,
    }
}

/// Keeps with a record which metric it has and what its category is.
pub(super) fn describe(record: &mut ItemRecord, task: &Task) {
    let question = record.key.question as usize;
    record.details.insert(CATEGORY.to_owned(), json!(task.category(question)));
    record.details.insert(METRIC.to_owned(), json!(task.metric(question)));
}

fn said<'r>(record: &'r ItemRecord, key: &str) -> &'r str {
    record.details.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a task at a length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The task, or the category of the questions.
    pub task: String,
    /// [`ItemKey::length`](super::record::ItemKey::length).
    pub length: u32,
    /// The metric that it names.
    pub metric: String,
    /// How many items.
    pub items: usize,
    /// Their mean.
    #[serde(flatten)]
    pub score: MeanError,
}

/// The cells of a method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// How the items were answered.
    pub method: String,
    /// Tasks in the order in which they first occur, lengths in theirs.
    pub cells: Vec<Cell>,
    /// For each length the mean over its tasks, each counted once; none where it has one task.
    pub means: Vec<(u32, f64)>,
}

/// The different values of some items, in their order.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    values.for_each(|value| {
        if !found.contains(&value) {
            found.push(value);
        }
    });
    found
}

impl Grid {
    /// The cells of all records with a metric of their own, a grid for each method.
    pub fn all(records: &[ItemRecord]) -> Vec<Self> {
        let scored = || records.iter().filter(|record| record.scores.task_score.is_some());
        let methods = distinct(scored().map(|record| record.key.method.as_str()));
        let grid = |method| Self::of(method, scored().filter(move |record| record.key.method == method));
        methods.into_iter().map(grid).collect()
    }

    fn of<'r>(method: &str, records: impl Iterator<Item = &'r ItemRecord> + Clone) -> Self {
        let mut cells: Vec<Cell> = Vec::new();
        let mut lengths = distinct(records.clone().map(|record| record.key.length));
        lengths.sort_unstable();
        for task in distinct(records.clone().map(|record| said(record, CATEGORY))) {
            for &length in &lengths {
                let of_cell =
                    records.clone().filter(|record| said(record, CATEGORY) == task && record.key.length == length);
                let Some(first) = of_cell.clone().next() else { continue };
                let values =
                    of_cell.clone().map(|record| (record.key.task.as_str(), record.scores.get(Metric::TaskScore)));
                cells.push(Cell {
                    task: task.to_owned(),
                    length,
                    metric: said(first, METRIC).to_owned(),
                    items: of_cell.count(),
                    score: MeanError::of(values),
                });
            }
        }
        let mean = |length: u32| {
            let means: Vec<f64> =
                cells.iter().filter(|cell| cell.length == length).map(|cell| cell.score.mean).collect();
            (means.len() > 1).then(|| (length, means.iter().sum::<f64>() / means.len() as f64))
        };
        let means = lengths.into_iter().filter_map(mean).collect();
        Self { method: method.to_owned(), cells, means }
    }

    /// The grid for people: a row for each task, a column for each length, in percent.
    pub fn table(&self) -> String {
        let tasks = distinct(self.cells.iter().map(|cell| cell.task.as_str()));
        let mut lengths = distinct(self.cells.iter().map(|cell| cell.length));
        lengths.sort_unstable();
        let wide = tasks.iter().map(|task| task.chars().count()).max().unwrap_or(0).max(self.method.len()) + 1;
        let mut text = format!("{:<wide$} {:<17}", self.method, "metric");
        lengths.iter().for_each(|length| _ = write!(text, " {length:>12}"));
        text.push('\n');
        for task in tasks {
            let mut of_task = self.cells.iter().filter(|cell| cell.task == task).peekable();
            let _ = write!(text, "{task:<wide$} {:<17}", of_task.peek().map_or("", |cell| cell.metric.as_str()));
            for &length in &lengths {
                let cell = of_task.next_if(|cell| cell.length == length);
                let _ = write!(text, " {:>12}", cell.map_or_else(String::new, |cell| cell.score.percent()));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        if !self.means.is_empty() {
            let _ = write!(text, "{:<wide$} {:<17}", "mean", "");
            for length in lengths {
                let mean = self.means.iter().find(|(of, _)| *of == length);
                let _ =
                    write!(text, " {:>12}", mean.map_or_else(String::new, |(_, mean)| format!("{:.1}", 100.0 * mean)));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::record::ItemKey;

    fn record(task: &str, category: &str, length: u32, score: f64) -> ItemRecord {
        let key = ItemKey { task: task.into(), length, question: 0, method: "reader".into() };
        let mut record = ItemRecord::new(key, "s", vec![]);
        record.scores = Scores { task_score: Some(score), ..Scores::default() };
        record.details.insert(CATEGORY.into(), json!(category));
        record.details.insert(METRIC.into(), json!("string_match_all"));
        record
    }

    #[test]
    fn a_cell_is_a_mean_with_its_error_by_task_and_length() {
        let records = [
            record("a-0", "niah", 8_192, 1.0),
            record("a-0", "niah", 4_096, 1.0),
            record("a-1", "niah", 4_096, 0.5),
            record("v-0", "vt", 4_096, 0.2),
        ];
        let grid = Grid::all(&records).swap_remove(0);
        let cells: Vec<_> =
            grid.cells.iter().map(|cell| (cell.task.as_str(), cell.length, cell.items, cell.score.mean)).collect();
        assert_eq!(cells, [("niah", 4_096, 2, 0.75), ("niah", 8_192, 1, 1.0), ("vt", 4_096, 1, 0.2)]);
        // Two values: the deviation .354 over the root of two.
        assert!((grid.cells[0].score.standard_error - 0.25).abs() < 1e-12);
        assert!(matches!(grid.means[..], [(4_096, mean)] if (mean - 0.475).abs() < 1e-12), "{:?}", grid.means);
        let lines = [
            "reader  metric                    4096         8192",
            "niah    string_match_all   75.0 ± 25.0        100.0",
            "vt      string_match_all          20.0",
            "mean                              47.5",
        ];
        assert_eq!(grid.table(), lines.map(|line| format!("{line}\n")).concat());
        assert_eq!(metrics(&records), [Metric::TaskScore]);
        let plain = ItemRecord::new(records[0].key.clone(), "s", vec![]);
        assert_eq!(metrics([&plain, &records[0]]), Metric::ALL);
        assert_eq!(Grid::all(&[plain]), []);
    }
}
