//! Held-out documents of a run: its evaluations, the table of control memories, and a document before and after.

use std::path::Path;

use memtrain_corpora::store;
use minijinja::Value;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::annotated::{self, Part};
use super::bounded::bounded;
use super::curves::{Lines, short};
use crate::agents::sentences::ReadSentences;
use crate::eval::interval::Estimate;
use crate::eval::memory_controls::{Example, MemoryReport, Quality, ReadChunk};
use crate::run::records::HELD_OUT_REWARD;

/// What a quickstart writes down, as far as the page shows it.
#[derive(Deserialize)]
struct Quickstart {
    report: MemoryReport,
    best_step: u64,
}

/// What is said of held-out documents.
#[derive(Debug, Default, Serialize)]
pub(super) struct HeldOut {
    /// The first, the best and the newest evaluation.
    evaluations: Option<Evaluations>,
    memories: Option<Memories>,
    /// Why there is no table of memories, where that is worth a word.
    note: Option<String>,
}

impl HeldOut {
    /// What the lines and the files of a run say. A report of control memories is read from `evaluation`, which
    /// `memtrain eval memory --out` writes, else from what a quickstart keeps in the run's folder.
    ///
    /// # Errors
    /// If `evaluation` is named and cannot be read.
    pub(super) fn of(run: &Path, evaluation: Option<&Path>, lines: &Lines) -> anyhow::Result<Self> {
        let evaluations = Evaluations::of(lines);
        let kept = run.join("quickstart.json");
        let (memories, note) = match evaluation {
            Some(path) => (Some(Memories::of(&store::read_json(path)?, None)), None),
            None if store::exists(&kept) => match store::read_json::<Quickstart>(&kept) {
                Ok(record) => (Some(Memories::of(&record.report, Some(record.best_step))), None),
                Err(error) => (None, Some(error.to_string())),
            },
            None => (None, None),
        };
        Ok(Self { evaluations, memories, note })
    }
}

/// Evaluations of a run in training, a row each.
#[derive(Debug, PartialEq, Serialize)]
struct Evaluations {
    /// What is measured.
    columns: Vec<String>,
    rows: Vec<EvaluationRow>,
    /// How many there are.
    count: usize,
}

#[derive(Debug, PartialEq, Serialize)]
struct EvaluationRow {
    /// Which of them: `first`, `best`, `newest`.
    what: String,
    step: u64,
    cells: Vec<String>,
}

impl Evaluations {
    fn of(lines: &Lines) -> Option<Self> {
        let reward = |line: &Map<String, serde_json::Value>| line.get(HELD_OUT_REWARD)?.as_f64();
        let evaluated: Vec<_> = lines.iter().filter(|(_, line)| reward(line).is_some()).collect();
        let (first, newest) = (evaluated.first()?, evaluated.last()?);
        // The earliest of equals, as checkpoints are chosen.
        let best = evaluated.iter().copied().reduce(|best, line| match reward(&line.1) > reward(&best.1) {
            true => line,
            false => best,
        })?;
        let keys: Vec<&String> = newest.1.keys().filter(|key| key.starts_with("eval/")).collect();
        let name = |key: &&String| {
            let name = key.trim_start_matches("eval/");
            name.strip_suffix("/mean").unwrap_or(name).replace(['_', '/'], " ")
        };
        let mut rows: Vec<EvaluationRow> = Vec::new();
        for (what, (step, line)) in [("first", *first), ("best", best), ("newest", *newest)] {
            if let Some(row) = rows.iter_mut().find(|row| row.step == *step) {
                row.what = format!("{}, {what}", row.what);
                continue;
            }
            let value = |key: &&String| line.get(*key).and_then(serde_json::Value::as_f64).map_or("–".into(), short);
            rows.push(EvaluationRow { what: what.into(), step: *step, cells: keys.iter().map(value).collect() });
        }
        Some(Self { columns: keys.iter().map(name).collect(), rows, count: evaluated.len() })
    }
}

/// Answers from control memories, how memories read, and a document before and after.
#[derive(Debug, Serialize)]
struct Memories {
    documents: usize,
    recall_questions: usize,
    /// Step of the checkpoint that stands for the policy after training, where a quickstart chose it.
    best_step: Option<u64>,
    policies: Vec<String>,
    sections: Vec<Section>,
    example: Option<Comparison>,
}

/// Rows under a title.
#[derive(Debug, Serialize)]
struct Section {
    title: &'static str,
    rows: Vec<Row>,
}

/// A name and an estimate of each policy.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    cells: Vec<Option<Cell>>,
}

/// A mean and its 95 % interval.
#[derive(Debug, Serialize)]
struct Cell {
    mean: String,
    interval: String,
}

impl Memories {
    fn of(report: &MemoryReport, best_step: Option<u64>) -> Self {
        let policies = &report.policies;
        let count = policies.iter().map(|policy| policy.answers.len()).min().unwrap_or(0);
        let label = |row: usize| policies.first().map_or_else(String::new, |policy| policy.answers[row].source.label());
        let end_to_end = |row: usize| {
            let of_policy = policies.iter().map(|policy| policy.answers[row].end_to_end.as_ref().map(Cell::of));
            Row { name: label(row), cells: of_policy.collect() }
        };
        let recall = |row: usize| Row {
            name: label(row),
            cells: policies.iter().map(|policy| Some(Cell::of(&policy.answers[row].recall))).collect(),
        };
        type Measure = fn(&Quality) -> &Estimate;
        let quality: [(&str, Measure); 4] = [
            ("cut off by their limit, share", |quality| &quality.truncated),
            ("with a repeated sentence, share", |quality| &quality.repeated),
            ("sentences that stand in the text, share", |quality| &quality.verbatim),
            ("complete sentences a memory", |quality| &quality.sentences),
        ];
        let of_quality = |(name, of): &(&str, Measure)| Row {
            name: (*name).to_owned(),
            cells: policies.iter().map(|policy| Some(Cell::of(of(&policy.quality)))).collect(),
        };
        let answered = (0..count).map(end_to_end).filter(|row| row.cells.iter().any(Option::is_some)).collect();
        Self {
            documents: report.documents,
            recall_questions: report.recall_questions,
            best_step,
            policies: policies.iter().map(|policy| policy.name.clone()).collect(),
            sections: vec![
                Section { title: "The hidden entity, answered from", rows: answered },
                Section {
                    title: "An entity of an earlier chunk, answered from",
                    rows: (0..count).map(recall).collect(),
                },
                Section { title: "The memories themselves", rows: quality.iter().map(of_quality).collect() },
            ],
            example: Comparison::of(report),
        }
    }
}

impl Cell {
    fn of(estimate: &Estimate) -> Self {
        let Estimate { mean, low, high, .. } = estimate;
        Self { mean: format!("{mean:.3}"), interval: format!("[{low:.3}, {high:.3}]") }
    }
}

/// Readings of one document by several policies, side by side.
#[derive(Debug, Serialize)]
struct Comparison {
    document_id: String,
    hidden: String,
    /// A chunk each, with the memory of each policy after it; the last memories alone in records of earlier versions.
    chunks: Vec<ShownChunk>,
    /// The answers.
    answers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ShownChunk {
    chunk: Option<Value>,
    memories: Vec<Value>,
}

impl Comparison {
    fn of<'r>(report: &'r MemoryReport) -> Option<Self> {
        let examples: Vec<&'r Example> = report.policies.iter().filter_map(|policy| policy.example.as_ref()).collect();
        let first = *examples.first()?;
        let hidden = &first.hidden;
        let are_of_one = examples.iter().all(|example| example.document_id == first.document_id);
        let chunks = match first.reading.as_slice() {
            _ if !are_of_one => return None,
            [] => {
                let last = |example: &&Example| shown(&example.memory, annotated::names(&example.memory, hidden));
                vec![ShownChunk { chunk: None, memories: examples.iter().map(last).collect() }]
            }
            reading => {
                let (mut read, mut rows) = (ReadSentences::default(), Vec::new());
                for (number, ReadChunk { chunk, .. }) in reading.iter().enumerate() {
                    read.extend(chunk);
                    let memory = |example: &&'r Example| example.reading.get(number).map_or("", |read| &read.memory);
                    let memories: Vec<&str> = examples.iter().map(memory).collect();
                    let mut of_chunk = [annotated::names(chunk, hidden), annotated::evidence(chunk, hidden)].concat();
                    of_chunk.extend(memories.iter().flat_map(|memory| annotated::kept(chunk, memory)));
                    let of_memory = |memory: &&str| {
                        let foreign = annotated::unsupported(memory, &read);
                        shown(memory, [annotated::names(memory, hidden), foreign].concat())
                    };
                    let memories = memories.iter().map(of_memory).collect();
                    rows.push(ShownChunk { chunk: Some(shown(chunk, of_chunk)), memories });
                }
                rows
            }
        };
        let answer = |example: &&Example| example.answer.clone().unwrap_or_else(|| "nothing that can be read".into());
        let answers = examples.iter().map(answer).collect();
        Some(Self { document_id: first.document_id.clone(), hidden: hidden.clone(), chunks, answers })
    }
}

fn shown(text: &str, parts: Vec<Part>) -> Value {
    Value::from_safe_string(bounded(text, &parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_the_best_and_the_newest_evaluation_are_shown() {
        let line = |step: u64, reward: f64| {
            let line = json!({"eval/reward/mean": reward, "eval/clipped_ratio/memory": 0.25});
            (step, line.as_object().cloned().unwrap_or_default())
        };
        let lines = [line(1, 0.5), (2, Map::new()), line(10, 0.75), line(20, 0.75), line(30, 0.625)];
        let evaluations = Evaluations::of(&lines).expect("evaluated");
        assert_eq!(evaluations.columns, ["reward", "clipped ratio memory"]);
        let rows: Vec<_> =
            evaluations.rows.iter().map(|row| (row.what.as_str(), row.step, row.cells[0].as_str())).collect();
        assert_eq!(rows, [("first", 1, "0.500"), ("best", 10, "0.750"), ("newest", 30, "0.625")]);
        assert_eq!(evaluations.count, 4);
        let one = Evaluations::of(&lines[..1]).expect("evaluated");
        assert_eq!((one.rows.len(), one.rows[0].what.as_str()), (1, "first, best, newest"));
        assert!(Evaluations::of(&lines[1..2]).is_none());
    }
}
