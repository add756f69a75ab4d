//! What is written down of each step: metrics, timings, evaluations, and the same for TensorBoard.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use memtrain_corpora::store;
use serde_json::{Map, Number, Value};

use super::Result;
use super::json_lines::JsonLines;
use super::tensorboard::EventFile;

const METRICS: &str = "metrics.jsonl";
const TIMINGS: &str = "timings.jsonl";
const EVALUATIONS: &str = "evaluations.jsonl";
const TENSORBOARD: &str = "tb";
/// Key of the time a line of timings was written at, in seconds since 1970.
const UNIX_S: &str = "time/unix_s";

/// Files and folders of a run that hold its records.
pub(super) const FILES: [&str; 3] = [METRICS, TIMINGS, EVALUATIONS];
pub(super) const FOLDERS: [&str; 1] = [TENSORBOARD];

/// The records of a run. The JSON lines are the truth; the event file is made anew from them at each start.
#[derive(Debug)]
pub struct Records {
    metrics: JsonLines,
    timings: JsonLines,
    evaluations: JsonLines,
    /// Steps that have been evaluated, with the value of each metric.
    evaluated: Vec<(u64, Map<String, Value>)>,
    events: Option<EventFile>,
}

impl Records {
    /// Opens the records in `root` to go on after `step`: what is of later steps is dropped.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(super) fn open(root: &Path, step: u64, tensorboard: bool) -> Result<Self> {
        let open = |name: &str| JsonLines::open(&root.join(name), step);
        let (metrics, timings, evaluations) = (open(METRICS)?, open(TIMINGS)?, open(EVALUATIONS)?);
        let evaluated = evaluations.read()?;
        store::remove_dir_all(&root.join(TENSORBOARD))?;
        let mut records = Self { metrics, timings, evaluations, evaluated, events: None };
        if tensorboard {
            records.events = Some(records.replayed(&root.join(TENSORBOARD))?);
        }
        Ok(records)
    }

    /// An event file that says what the JSON lines say.
    fn replayed(&self, folder: &Path) -> Result<EventFile> {
        let now = unix_s();
        let mut events = EventFile::create(folder, now)?;
        let timings = self.timings.read()?;
        let time_of = |step: u64| {
            let line = timings.iter().find(|(of, _)| *of == step);
            line.and_then(|(_, line)| line.get(UNIX_S)).and_then(Value::as_f64).unwrap_or(now)
        };
        for lines in [&self.metrics.read()?, &timings, &self.evaluated] {
            for (step, line) in lines {
                events.scalars(*step, time_of(*step), numbers(line))?;
            }
        }
        Ok(events)
    }

    /// Records a step: what depends on configuration and inputs alone, and what the clock said.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn step(&mut self, step: u64, metrics: &[(&str, f64)], timings: &[(&str, f64)]) -> Result<()> {
        let now = unix_s();
        let mut timed = object(timings);
        timed.extend(object(&[(UNIX_S, now)]));
        self.metrics.append(step, &object(metrics))?;
        self.timings.append(step, &timed)?;
        self.event(step, now, &[metrics, timings].concat())
    }

    /// Records an evaluation made after a step.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn evaluation(&mut self, step: u64, metrics: &[(&str, f64)]) -> Result<()> {
        let line = object(metrics);
        self.evaluations.append(step, &line)?;
        self.evaluated.push((step, line));
        self.event(step, unix_s(), metrics)
    }

    /// Whether the policy of a step has been evaluated.
    pub fn is_evaluated(&self, step: u64) -> bool {
        self.evaluated.iter().any(|(of, _)| *of == step)
    }

    /// The evaluated step with the highest value of a metric, the earliest of equals.
    pub fn best(&self, metric: &str) -> Option<(u64, f64)> {
        let mut best = None;
        for (step, line) in &self.evaluated {
            let Some(value) = line.get(metric).and_then(Value::as_f64) else { continue };
            if best.is_none_or(|(_, highest)| value > highest) {
                best = Some((*step, value));
            }
        }
        best
    }

    fn event(&mut self, step: u64, unix_s: f64, values: &[(&str, f64)]) -> Result<()> {
        match &mut self.events {
            Some(events) => events.scalars(step, unix_s, values.iter().copied()),
            None => Ok(()),
        }
    }
}

fn numbers(line: &Map<String, Value>) -> impl Iterator<Item = (&str, f64)> {
    let plain = line.iter().filter(|(key, _)| *key != "step" && *key != UNIX_S);
    plain.map(|(key, value)| (key.as_str(), value.as_f64().unwrap_or(f64::NAN)))
}

fn object(fields: &[(&str, f64)]) -> Map<String, Value> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Number::from_f64(*value).map_or(Value::Null, Value::Number)))
        .collect()
}

fn unix_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REWARD: &str = "eval/reward/mean";

    #[test]
    fn going_back_forgets_later_evaluations_and_writes_the_events_anew() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut records = Records::open(folder.path(), 0, true)?;
        for step in 1..=3 {
            records.step(step, &[("train/loss", 1.0 / step as f64)], &[("time/step_s", 2.0)])?;
        }
        for (step, reward) in [(1, 0.5), (2, 0.5), (3, 0.75)] {
            records.evaluation(step, &[(REWARD, reward)])?;
        }
        assert_eq!(records.best(REWARD), Some((3, 0.75)));
        drop(records);
        let records = Records::open(folder.path(), 2, true)?;
        assert_eq!(records.best(REWARD), Some((1, 0.5)));
        assert!(records.is_evaluated(2) && !records.is_evaluated(3));
        let files = store::list(&folder.path().join(TENSORBOARD))?;
        assert_eq!(files.len(), 1);
        let count = |text: &str| {
            let bytes = store::read(&files[0]).expect("read");
            bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
        };
        assert_eq!((count("train/loss"), count("time/step_s"), count(REWARD), count("unix_s")), (2, 2, 2, 0));
        let without = Records::open(folder.path(), 2, false)?;
        assert!(without.events.is_none() && !store::exists(&folder.path().join(TENSORBOARD)));
        Ok(())
    }
}
