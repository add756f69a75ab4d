//! HTML report of a run: curves, memories, answers, and the arithmetic of rewards and advantages.
//!
//! [`page`] reads a run's folder, while it runs or after, and gives one HTML page that needs nothing else: the curves of the
//! run, then some documents of a step. Of each document all rollouts in a table, and of some the whole reading: memory by
//! memory with what came in and what was lost, the answer, the recall questions, and the arithmetic from these to reward and
//! advantage. Everything is taken from what the run has written down; nothing is computed again but whether an answer is
//! right, and where the parts do not add up to the reward that was given, they are left out.

mod curves;
mod marked;
mod readings;

use std::path::{Path, PathBuf};

use anyhow::Context;
use memtrain_corpora::store::{self, TableReader};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};

use crate::run::{RolloutRow, RunReader};
use readings::{DocumentSummary, Rule};

/// The template; its name makes the engine escape what is not marked as safe.
const TEMPLATE: &str = "page.html";

/// What of a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The step whose rollouts are shown; the newest if absent.
    pub step: Option<u64>,
    /// Documents of the step: those first in which the rollouts' advantages differ most.
    pub documents: usize,
    /// Rollouts of a document that are shown turn by turn: the best and the worst first.
    pub rollouts: usize,
}

impl Default for Selection {
    fn default() -> Self {
        Self { step: None, documents: 4, rollouts: 2 }
    }
}

/// Whether a file is a page of this module, of any version.
pub fn is_page(path: &Path) -> bool {
    const TITLE: &str = ": what was remembered</title>";
    store::head(path, 1024).is_ok_and(|head| String::from_utf8_lossy(&head).contains(TITLE))
}

/// The page of a run.
///
/// # Errors
/// If the folder is no run, or a file in it cannot be read; if there are no rollouts of the step that is asked for.
pub fn page(run: &Path, selection: &Selection) -> anyhow::Result<String> {
    let reader = RunReader::open(run)?;
    let config: toml::Table = toml::from_str(&reader.config()?).context("the configuration of the run")?;
    let mut lines = Vec::new();
    for name in ["metrics.jsonl", "timings.jsonl", "evaluations.jsonl"] {
        lines.extend(reader.lines(name)?);
    }
    let steps = lines.iter().map(|(step, _)| *step).max().unwrap_or(0);
    let shown = match rollouts_of(&reader, selection.step)? {
        Some((step, path)) => {
            let rule = Rule::of(&config);
            let documents = chosen(&path, &rule, selection)?;
            Some(context! { step, documents => Value::from(Serde(documents)) })
        }
        None => None,
    };
    let mut environment = Environment::new();
    environment.add_template(TEMPLATE, include_str!("page.html")).context("the template of the page")?;
    let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let page = environment.get_template(TEMPLATE)?.render(context! {
        name,
        path => run.display().to_string(),
        policy => policy_name(&config),
        steps,
        charts => Value::from(Serde(curves::charts(&lines))),
        shown,
    });
    page.context("the template of the page")
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
fn chosen(path: &Path, rule: &Rule, selection: &Selection) -> anyhow::Result<Vec<readings::Document>> {
    let rows = || -> anyhow::Result<_> { Ok(TableReader::<RolloutRow>::open(path)?.into_rows()?) };
    let mut summaries: Vec<DocumentSummary> = Vec::new();
    for row in rows()? {
        readings::summarise(&mut summaries, &row?);
    }
    // Equal spreads stay in the order of the step.
    summaries.sort_by(|a, b| b.spread().total_cmp(&a.spread()));
    summaries.truncate(selection.documents);
    let mut kept: Vec<Vec<RolloutRow>> = vec![Vec::new(); summaries.len()];
    let wanted: Vec<Vec<u32>> = summaries.iter().map(|document| document.extremes(selection.rollouts)).collect();
    for row in rows()? {
        let row = row?;
        let place = summaries.iter().position(|document| document.id == row.document_id);
        if let Some(place) = place.filter(|&place| wanted[place].contains(&row.rollout)) {
            kept[place].push(row);
        }
    }
    let documents = summaries.into_iter().zip(wanted).zip(kept);
    Ok(documents.map(|((summary, order), rows)| readings::document(summary, &order, &rows, rule)).collect())
}

/// What the run trains, as its configuration says.
fn policy_name(config: &toml::Table) -> String {
    let policy = config.get("policy");
    let value = |key: &str| policy.and_then(|policy| policy.get(key)).and_then(toml::Value::as_str);
    value("path").or_else(|| value("preset")).unwrap_or("a policy").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{RolloutKind, RunDirectory, RunSetup};
    use crate::sampler::FinishReason;
    use memtrain_corpora::store::TableWriter;
    use std::io::Write as _;

    fn row(
        document: &str,
        rollout: u32,
        turn: u32,
        kind: RolloutKind,
        response: &str,
        credit: (f64, f64),
    ) -> RolloutRow {
        let target = if kind == RolloutKind::Recall { "Ornith" } else { "Velm & Co" };
        RolloutRow {
            step: 7,
            document_id: document.to_owned(),
            rollout,
            turn,
            kind,
            prompt: format!("Section: [MASK] trades <b>salt</b> with {document}."),
            response: response.to_owned(),
            prompt_ids: vec![1, 2],
            response_ids: vec![3],
            log_probs: vec![-0.5],
            reward: credit.0,
            advantage: credit.1,
            target: target.to_owned(),
            finish: FinishReason::Stop,
            trained: true,
            reason: "{\"correct\":0.5,\"notes\":[\"<b>skip</b> failed\"]}".to_owned(),
        }
    }

    /// A run of one step: document `b` has nothing to learn from, `a` has.
    fn run(folder: &Path) -> anyhow::Result<()> {
        let config = "[policy]\npath = \"tiny\"\n[objective]\nrecall_weight = 0.5\n".to_owned();
        let run = RunDirectory::open(folder, &RunSetup { config, ..RunSetup::default() })?;
        let mut records = run.rewind(0, false)?;
        for step in 6..=7 {
            records.step(step, &[("reward/mean", 0.5), ("kl", f64::NAN)], &[])?;
        }
        // The line of a step that is being recorded.
        store::append(&folder.join("metrics.jsonl"))?.write_all(b"{\"step\":8,\"rew")?;
        let mut table = TableWriter::create(&run.rollouts_path(7))?;
        use RolloutKind::{Answer, Read, Recall, Write};
        for rollout in 0..2 {
            table.push(row("b", rollout, 0, Read, "Salt.", (0.0, 0.0)))?;
            table.push(row("b", rollout, 1, Answer, "no box", (0.0, 0.0)))?;
        }
        table.push(row("a", 0, 0, Read, "Salt is sold by [MASK]", (1.25, 0.625)))?;
        table.push(row("a", 0, 1, Read, "Salt is sold by [MASK] of Velm & Co in Lorn.", (1.25, 0.625)))?;
        table.push(row("a", 0, 2, Answer, "\\boxed{velm & co}", (1.25, 0.625)))?;
        table.push(row("a", 0, 3, Recall, "\\boxed{Ornith}", (1.0, 0.5)))?;
        table.push(row("a", 0, 4, Recall, "\\boxed{Lorn}", (0.0, -0.5)))?;
        table.push(row("a", 1, 0, Read, "Nothing.", (0.0, -0.625)))?;
        table.push(row("a", 1, 1, Answer, "\\boxed{<Lorn>}", (0.0, -0.625)))?;
        table.push(row("a", 1, 2, Write, "[calls]", (0.0, -0.625)))?;
        records.rollouts(7, &table.finish()?)?;
        Ok(())
    }

    #[test]
    fn a_page_shows_memories_answers_and_how_the_reward_comes_about() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        run(folder.path())?;
        let page = page(folder.path(), &Selection { documents: 1, ..Selection::default() })?;
        for part in [
            "Velm &amp; Co",
            "<ins> of <mark>Velm &amp; Co</mark> in Lorn.</ins>",
            "<b class=\"hidden\">[MASK]</b>",
            "1 for the right answer + 0.5 × 1 of 2 recalled = 1.25",
            "&lt;Lorn&gt;",
            "trades &lt;b&gt;salt&lt;",
            "+0.625",
            "Calls on chunk 3",
            "correct 0.5",
            "&lt;b&gt;skip&lt;",
            "<svg",
        ] {
            assert!(page.contains(part), "`{part}` is missing from:\n{page}");
        }
        // The other document teaches nothing and was not asked for; nothing is fetched from elsewhere.
        assert!(!page.contains("with b."), "{page}");
        assert!(!page.contains("http") && !page.contains("<script"), "{page}");
        Ok(())
    }

    #[test]
    fn a_folder_that_is_no_run_and_a_step_that_is_not_there_are_named() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let error = page(folder.path(), &Selection::default()).expect_err("no run");
        assert!(format!("{error:#}").contains("is not a run directory"), "{error:#}");
        run(folder.path())?;
        let error = page(folder.path(), &Selection { step: Some(3), ..Selection::default() }).expect_err("no step");
        assert!(format!("{error:#}").contains("1 from step 7 to 7"), "{error:#}");
        let table = folder.path().join("rollouts/step_000007.parquet");
        let mut bytes = store::read(&table)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        store::write_atomic(&table, bytes)?;
        let error = page(folder.path(), &Selection::default()).expect_err("damaged");
        assert!(format!("{error:#}").contains("step_000007.parquet` is damaged"), "{error:#}");
        store::remove_file(&folder.path().join("rollouts.jsonl"))?;
        assert!(page(folder.path(), &Selection::default())?.contains("<svg"), "the curves alone");
        Ok(())
    }
}
