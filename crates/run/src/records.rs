//! Records of each step: metrics, timings, evaluations, and the same for TensorBoard.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use memtrain_corpora::store::{self, TableSummary};
use serde_json::{Map, Number, Value};

use super::change::Settings;
use super::checkpoint::BEST;
use super::json_lines::{self, JsonLines, Line};
use super::layout::{CHECKPOINTS, EVALUATIONS, METRICS, OF_EACH_STEP, ROLLOUT_TABLES, TENSORBOARD, TIMINGS};
use super::tensorboard::EventFile;
use super::{Result, RunError, read_if_there};

/// Key of the time a line of timings was written at, in seconds since 1970.
const UNIX_S: &str = "time/unix_s";

/// Metric of a step that counts its turns: where there are any, they are what a rollout table holds.
const TURNS: &str = "rollout/turns";

/// Metric of an evaluation by which the best checkpoint is chosen.
pub const HELD_OUT_REWARD: &str = "eval/reward/mean";

/// What a run says about a rollout table that it has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutTable {
    /// Step whose rollouts it holds.
    pub step: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file, in hexadecimal.
    pub hash: String,
}

impl RolloutTable {
    /// The tables of a run by step; of a run of layout version 1 none are known.
    ///
    /// # Errors
    /// If the list of tables cannot be read or is damaged.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let lines = json_lines::read(&root.join(ROLLOUT_TABLES), true)?;
        Ok(lines.into_iter().map(Self::of_line).collect())
    }

    /// As [`Self::all`], without those whose line is damaged.
    pub(super) fn whole(root: &Path) -> Result<Vec<Self>> {
        Ok(whole_lines(root, ROLLOUT_TABLES, true)?.into_iter().map(Self::of_line).collect())
    }

    fn of_line((step, line): Line) -> Self {
        let (bytes, hash) = (line.get("bytes").and_then(Value::as_u64), line.get("blake3").and_then(Value::as_str));
        Self { step, bytes: bytes.unwrap_or(0), hash: hash.unwrap_or_default().to_owned() }
    }

    /// Reads the table through and compares it with what was written.
    ///
    /// # Errors
    /// If it is missing or other bytes are there.
    pub fn verify(&self, path: &Path) -> Result<()> {
        let damaged = |detail: String| Err(RunError::DamagedTable { path: path.to_path_buf(), detail });
        if !store::exists(path) {
            return damaged("it is missing".to_owned());
        }
        let bytes = store::len(path)?;
        if bytes != self.bytes {
            return damaged(format!("it has {bytes} bytes instead of {}", self.bytes));
        }
        if store::hash_file(path)? != self.hash {
            return damaged("it has other contents than were written".to_owned());
        }
        Ok(())
    }
}

/// Checks that every step up to `step` has its line in the logs that have one for each, each of their evaluations its own,
/// and each of their rollout tables its line in the list of tables, if the run keeps one (`checked`). Nothing is written.
///
/// # Errors
/// [`RunError::DamagedRecord`] names the first line that is missing or damaged.
pub(super) fn check_complete(root: &Path, settings: &Settings, step: u64, checked: bool) -> Result<()> {
    let names = OF_EACH_STEP.into_iter().chain([EVALUATIONS]).chain(checked.then_some(ROLLOUT_TABLES));
    for name in names {
        let lines = json_lines::read_up_to(&root.join(name), step, checked)?;
        if let Some(missing) = first_missing(root, name, settings, step, &lines)? {
            return Err(missing);
        }
    }
    Ok(())
}

/// The first line up to `step` that a log should have and has not: `lines` are those that were found in it.
///
/// # Errors
/// If the metrics, which tell what is expected of the list of tables, cannot be read.
pub(super) fn first_missing(
    root: &Path,
    name: &str,
    settings: &Settings,
    step: u64,
    lines: &[Line],
) -> Result<Option<RunError>> {
    let missing = match name {
        METRICS | TIMINGS => json_lines::first_without_line(1..=step, lines),
        ROLLOUT_TABLES => json_lines::first_without_line(steps_with_table(root, settings, step)?, lines),
        EVALUATIONS => json_lines::first_without_line(steps_evaluated(root, settings, step, lines)?, lines),
        _ => None,
    };
    Ok(missing.map(|step| {
        let detail = format!("the line of step {step} is missing");
        RunError::DamagedRecord { path: root.join(name), detail, step }
    }))
}

/// The lines of a log that are not damaged.
pub(super) fn whole_lines(root: &Path, name: &str, checked: bool) -> Result<Vec<Line>> {
    let path = root.join(name);
    let bytes = read_if_there(&path)?.unwrap_or_default();
    let lines = json_lines::parse(&path, &bytes, checked).filter_map(Result::ok);
    Ok(lines.map(|(line, _)| line).collect())
}

/// The last step that was recorded.
pub(super) fn last_step(root: &Path, checked: bool) -> Result<Option<u64>> {
    Ok(whole_lines(root, METRICS, checked)?.last().map(|(step, _)| *step))
}

/// Steps before `step`, whose own evaluation may be to come, that were evaluated: every `train.evaluate_every`, if any was.
/// A run without held-out documents has neither evaluations nor a best checkpoint.
fn steps_evaluated(root: &Path, settings: &Settings, step: u64, lines: &[Line]) -> Result<Vec<u64>> {
    let is_evaluated = !lines.is_empty() || store::link_target(&root.join(CHECKPOINTS).join(BEST))?.is_some();
    let is_due = |step: u64| {
        let mut every = settings.numbers_after("train.evaluate_every", step).into_iter();
        every.all(|every| every > 0 && step.is_multiple_of(every))
    };
    Ok((1..step).filter(|&step| is_evaluated && is_due(step)).collect())
}

/// Steps up to `step` whose rollouts were written down: those with turns, every `train.rollouts_every`.
fn steps_with_table(root: &Path, settings: &Settings, step: u64) -> Result<Vec<u64>> {
    // Damaged metrics are named by whoever reads them for themselves.
    let metrics = whole_lines(root, METRICS, true)?.into_iter();
    let has_turns =
        |fields: &Map<String, Value>| fields.get(TURNS).and_then(Value::as_f64).is_some_and(|turns| turns > 0.0);
    let has_table = |(of, fields): &Line| {
        let every = settings.number_at("train.rollouts_every", *of);
        *of <= step && every > 0 && of.is_multiple_of(every) && has_turns(fields)
    };
    Ok(metrics.filter(has_table).map(|(step, _)| step).collect())
}

/// The records of a run. The JSON lines are the truth; the event file is made anew from them at each start.
#[derive(Debug)]
pub struct Records {
    metrics: JsonLines,
    timings: JsonLines,
    evaluations: JsonLines,
    /// Absent in runs of layout version 1.
    rollout_tables: Option<JsonLines>,
    /// Steps that have been evaluated, with the value of each metric.
    evaluated: Vec<(u64, Map<String, Value>)>,
    events: Option<EventFile>,
}

impl Records {
    /// Opens the records in `root` to go on after `step`, of which [`check_complete`] has said that they are complete: what
    /// is of later steps is dropped. Lines have checksums if `checked`.
    ///
    /// # Errors
    /// If a file cannot be read or written, or what was recorded up to the step is damaged.
    pub(super) fn open(root: &Path, step: u64, tensorboard: bool, checked: bool) -> Result<Self> {
        let open = |name: &str| JsonLines::open(&root.join(name), step, checked);
        let (metrics, timings, evaluations) = (open(METRICS)?, open(TIMINGS)?, open(EVALUATIONS)?);
        let rollout_tables = checked.then(|| open(ROLLOUT_TABLES)).transpose()?;
        let evaluated = evaluations.read()?;
        let folder = root.join(TENSORBOARD);
        EventFile::all(&folder)?.iter().try_for_each(|path| store::remove_file(path))?;
        let mut records = Self { metrics, timings, evaluations, rollout_tables, evaluated, events: None };
        if tensorboard {
            records.events = Some(records.replayed(&folder)?);
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

    /// Records that the rollout table of a step has been written.
    ///
    /// # Errors
    /// If the line cannot be written.
    pub fn rollouts(&mut self, step: u64, table: &TableSummary) -> Result<()> {
        let Some(lines) = &mut self.rollout_tables else { return Ok(()) };
        let fields =
            [("rows", table.rows.into()), ("bytes", table.bytes.into()), ("blake3", table.hash.as_str().into())];
        lines.append(step, &fields.into_iter().map(|(name, value): (&str, Value)| (name.to_owned(), value)).collect())
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
        best_of(&self.evaluated, metric)
    }

    fn event(&mut self, step: u64, unix_s: f64, values: &[(&str, f64)]) -> Result<()> {
        match &mut self.events {
            Some(events) => events.scalars(step, unix_s, values.iter().copied()),
            None => Ok(()),
        }
    }
}

/// The step with the highest value of a metric, the earliest of equals.
pub(super) fn best_of(evaluated: &[Line], metric: &str) -> Option<(u64, f64)> {
    let mut best = None;
    for (step, line) in evaluated {
        let Some(value) = line.get(metric).and_then(Value::as_f64) else { continue };
        if best.is_none_or(|(_, highest)| value > highest) {
            best = Some((*step, value));
        }
    }
    best
}

fn numbers(line: &Map<String, Value>) -> impl Iterator<Item = (&str, f64)> {
    let plain = line.iter().filter(|(key, _)| *key != UNIX_S);
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
    use super::super::rollouts::RolloutRow;
    use super::*;
    use memtrain_corpora::store::TableWriter;

    const REWARD: &str = "eval/reward/mean";

    #[test]
    fn going_back_forgets_later_evaluations_and_writes_the_events_anew() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut records = Records::open(folder.path(), 0, true, true)?;
        for step in 1..=3 {
            records.step(step, &[("train/loss", 1.0 / step as f64)], &[("time/step_s", 2.0)])?;
        }
        for (step, reward) in [(1, 0.5), (2, 0.5), (3, 0.75)] {
            records.evaluation(step, &[(REWARD, reward)])?;
        }
        assert_eq!(records.best(REWARD), Some((3, 0.75)));
        drop(records);
        let records = Records::open(folder.path(), 2, true, true)?;
        assert_eq!(records.best(REWARD), Some((1, 0.5)));
        assert!(records.is_evaluated(2) && !records.is_evaluated(3));
        let files = store::list(&folder.path().join(TENSORBOARD))?;
        assert_eq!(files.len(), 1);
        let count = |text: &str| {
            let bytes = store::read(&files[0]).expect("read");
            bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
        };
        assert_eq!((count("train/loss"), count("time/step_s"), count(REWARD), count("unix_s")), (2, 2, 2, 0));
        check_complete(folder.path(), &Settings::default(), 2, true)?;
        let error = check_complete(folder.path(), &Settings::default(), 3, true).expect_err("gone back to the second");
        assert!(error.to_string().ends_with("metrics.jsonl` is damaged: the line of step 3 is missing"), "{error}");
        let without = Records::open(folder.path(), 2, false, true)?;
        assert!(without.events.is_none() && EventFile::all(&folder.path().join(TENSORBOARD))?.is_empty());
        Ok(())
    }

    #[test]
    fn a_table_whose_line_is_missing_is_named() -> Result<()> {
        let settings = Settings::new("[train]\nrollouts_every = 2\n", &[]);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut records = Records::open(folder.path(), 0, false, true)?;
        for step in 1..=6 {
            // The fourth drew nothing, and has no table.
            let turns = if step == 4 { 0.0 } else { 8.0 };
            records.step(step, &[(TURNS, turns)], &[])?;
            if step.is_multiple_of(2) && turns > 0.0 {
                let table = TableWriter::<RolloutRow>::create(&folder.path().join("table.parquet"))?.finish()?;
                records.rollouts(step, &table)?;
            }
        }
        check_complete(folder.path(), &settings, 6, true)?;
        let list = folder.path().join(ROLLOUT_TABLES);
        let whole = store::read(&list)?;
        let first = whole.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for (left, missing) in [(&whole[..first], 6), (&whole[first..], 2), (&b""[..], 2), (&[0; 300][..], 2)] {
            store::write_atomic(&list, left)?;
            let error = check_complete(folder.path(), &settings, 6, true).expect_err("a line is missing");
            assert!(matches!(error, RunError::DamagedRecord { step, .. } if step == missing), "{error}");
        }
        store::remove_file(&list)?;
        check_complete(folder.path(), &settings, 6, true).expect_err("the list is missing");
        check_complete(folder.path(), &settings, 1, true)?;
        assert!(!store::exists(&list), "nothing is written");
        Ok(())
    }
}
