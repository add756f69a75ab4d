//! HTML report of runs: curves, held-out documents, memories, and the arithmetic of rewards and advantages.
//!
//! [`page`] reads the folders of runs, while they run or after, and gives one HTML page that needs nothing else: the curves,
//! what evaluations and control memories say of held-out documents, then some documents of a step. Of each document all
//! rollouts in a table, and of some the whole reading: every chunk between the memory before and after it, the answer, the
//! recall questions, and the arithmetic from these to reward and advantage. Everything is taken from what the run has
//! written down; nothing is computed again but whether an answer is right and which sentences stand in the text, and where
//! the parts do not add up to the reward that was given, they are left out.
//!
//! All texts are of corpora and models, and may hold anything: they are escaped (`annotated`), data for the charts is JSON
//! without `<`, and a content security policy lets the page run its own scripts alone and fetch nothing.

mod annotated;
mod bounded;
mod curves;
mod held_out;
mod prompts;
mod readings;

use std::path::{Path, PathBuf};

use anyhow::Context;
use memtrain_corpora::store::{self, TableReader};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};
use serde::Serialize;
use serde_json::Map;

use crate::run::{RolloutRow, RunReader};
use bounded::MOST_OF_A_PAGE;
use curves::Curves;
use held_out::HeldOut;
use prompts::MemoryTurn;
use readings::{DocumentSummary, Rule, Shown};

/// The template; its name makes the engine escape what is not marked as safe.
const TEMPLATE: &str = "page.html";
/// The page's own parts.
const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
/// The library that draws the charts, `docs/dependencies.md`.
const CHART_SCRIPT: &str = include_str!("assets/uplot/uPlot.iife.min.js");
const CHART_STYLE: &str = include_str!("assets/uplot/uPlot.min.css");
const CHART_LICENCE: &str = include_str!("assets/uplot/LICENSE");
/// Runs on a page at most.
const MOST_RUNS: usize = 16;

/// What of runs is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The step whose rollouts are shown; the newest of each run if absent.
    pub step: Option<u64>,
    /// Documents of the step: those first in which the rollouts' advantages differ most.
    pub documents: usize,
    /// Rollouts of a document that are shown turn by turn: the best and the worst first.
    pub rollouts: usize,
    /// A report of `memtrain eval memory` to show with the first run, instead of what a quickstart keeps.
    pub evaluation: Option<PathBuf>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { step: None, documents: 4, rollouts: 2, evaluation: None }
    }
}

/// Whether a file is a page of this module, of any version.
pub fn is_page(path: &Path) -> bool {
    const TITLE: &str = ": what was remembered</title>";
    store::head(path, 1024).is_ok_and(|head| String::from_utf8_lossy(&head).contains(TITLE))
}

/// A run as the page shows it.
#[derive(Serialize)]
struct ShownRun {
    name: String,
    path: String,
    policy: String,
    steps: u64,
    held_out: HeldOut,
    /// Rollouts of a step, where the run keeps some.
    rollouts: Option<ShownStep>,
    #[serde(skip)]
    lines: Vec<(u64, Map<String, serde_json::Value>)>,
}

/// Rollouts of a step.
#[derive(Serialize)]
struct ShownStep {
    step: u64,
    documents: Vec<readings::Document>,
    /// Documents of the step that were not chosen.
    other_documents: usize,
    /// Readings that were chosen, and for which the page has no room.
    left_out: usize,
    /// Why chunks are not told apart from prompts.
    note: Option<String>,
}

/// The page of some runs, the first of which is the one that others are compared with.
///
/// # Errors
/// If a folder is no run, or a file in it cannot be read; if there are no rollouts of the step that is asked for; if there are
/// more than 16 runs.
pub fn page(runs: &[PathBuf], selection: &Selection) -> anyhow::Result<String> {
    anyhow::ensure!(runs.len() <= MOST_RUNS, "a page holds at most {MOST_RUNS} runs, and {} are named", runs.len());
    let mut room = MOST_OF_A_PAGE;
    let mut shown: Vec<ShownRun> = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let evaluation = selection.evaluation.as_deref().filter(|_| number == 0);
        shown.push(shown_run(run, selection, evaluation, &mut known, &mut room)?);
    }
    let lines: Vec<_> = shown.iter().map(|run| (run.name.as_str(), run.lines.as_slice())).collect();
    let curves = Curves::of(&lines);
    let data = curves.json()?;
    let title = shown.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(", ");
    // A text of a corpus cannot hold the hash of a page that it is in, so no script but the page's own has it.
    let contents = serde_json::to_vec(&shown)?;
    let nonce = store::hash_bytes(&[data.as_bytes(), &contents].concat());
    let mut environment = Environment::new();
    environment.add_template(TEMPLATE, include_str!("assets/page.html")).context("the template of the page")?;
    let page = environment.get_template(TEMPLATE)?.render(context! {
        title,
        nonce,
        style => STYLE,
        script => SCRIPT,
        chart_script => CHART_SCRIPT,
        chart_style => CHART_STYLE,
        chart_licence => CHART_LICENCE.trim(),
        curves => data,
        steps_a_point => curves.steps_a_point,
        is_comparison => shown.len() > 1,
        runs => Value::from(Serde(shown)),
    });
    page.context("the template of the page")
}

/// What is shown of a run. Documents in `known` are shown first, so that several runs show the same.
fn shown_run(
    run: &Path,
    selection: &Selection,
    evaluation: Option<&Path>,
    known: &mut Vec<String>,
    room: &mut usize,
) -> anyhow::Result<ShownRun> {
    let reader = RunReader::open(run)?;
    let config: toml::Table = toml::from_str(&reader.config()?).context("the configuration of the run")?;
    let mut lines = Vec::new();
    for name in ["metrics.jsonl", "timings.jsonl", "evaluations.jsonl"] {
        lines.extend(reader.lines(name)?);
    }
    let rollouts = match rollouts_of(&reader, selection.step)? {
        Some((step, path)) => {
            let how = Shown { rule: Rule::of(&config), memory_turn: MemoryTurn::of(&config) };
            Some(chosen(step, &path, &how, selection, known, room)?)
        }
        None => None,
    };
    Ok(ShownRun {
        name: run.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        path: run.display().to_string(),
        policy: policy_name(&config),
        steps: lines.iter().map(|(step, _)| *step).max().unwrap_or(0),
        held_out: HeldOut::of(run, evaluation, &lines)?,
        rollouts,
        lines,
    })
}

/// Step and table of the rollouts that are shown; `None` if the run has none and none were asked for.
fn rollouts_of(reader: &RunReader, step: Option<u64>) -> anyhow::Result<Option<(u64, PathBuf)>> {
    let steps = reader.rollout_steps()?;
    let shown = match step {
        None => steps.last().copied(),
        Some(step) => {
            let range = match (steps.first(), steps.last()) {
                (Some(first), Some(last)) => format!("there are {} from step {first} to {last}", steps.len()),
                _ => "there are none".to_owned(),
            };
            anyhow::ensure!(steps.contains(&step), "no rollouts of step {step}: {range}");
            Some(step)
        }
    };
    shown.map(|step| Ok((step, reader.rollouts(step)?))).transpose()
}

/// The documents that are shown, with their readings. The table is read twice, a row at a time: first without the texts, to
/// choose, then the chosen rows.
fn chosen(
    step: u64,
    path: &Path,
    how: &Shown,
    selection: &Selection,
    known: &mut Vec<String>,
    room: &mut usize,
) -> anyhow::Result<ShownStep> {
    let rows = || -> anyhow::Result<_> { Ok(TableReader::<RolloutRow>::open(path)?.into_rows()?) };
    let mut summaries: Vec<DocumentSummary> = Vec::new();
    for row in rows()? {
        readings::summarise(&mut summaries, &row?);
    }
    let all = summaries.len();
    // Equal spreads stay in the order of the step.
    summaries.sort_by(|a, b| b.spread().total_cmp(&a.spread()));
    summaries.sort_by_key(|document| !known.contains(&document.id));
    summaries.truncate(selection.documents);
    known.extend(summaries.iter().map(|document| document.id.clone()));
    let mut kept: Vec<Vec<RolloutRow>> = vec![Vec::new(); summaries.len()];
    let wanted: Vec<Vec<u32>> = summaries.iter().map(|document| document.extremes(selection.rollouts)).collect();
    for row in rows()? {
        let row = row?;
        let place = summaries.iter().position(|document| document.id == row.document_id);
        if let Some(place) = place.filter(|&place| wanted[place].contains(&row.rollout)) {
            kept[place].push(row);
        }
    }
    let has_memories = kept.iter().flatten().any(|row| row.kind == crate::run::RolloutKind::Read);
    let (mut documents, mut left_out) = (Vec::new(), 0);
    for ((summary, order), rows) in summaries.into_iter().zip(wanted).zip(kept) {
        let (document, without) = readings::document(summary, &order, &rows, how, room);
        documents.push(document);
        left_out += without;
    }
    let note = how.memory_turn.as_ref().err().filter(|_| has_memories).cloned();
    Ok(ShownStep { step, other_documents: all - documents.len(), documents, left_out, note })
}

/// What the run trains, as its configuration says.
fn policy_name(config: &toml::Table) -> String {
    let policy = config.get("policy");
    let value = |key: &str| policy.and_then(|policy| policy.get(key)).and_then(toml::Value::as_str);
    value("path").or_else(|| value("preset")).unwrap_or("a policy").to_owned()
}

#[cfg(test)]
mod tests;
