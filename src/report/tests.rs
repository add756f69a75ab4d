use std::io::Write as _;

use memtrain_corpora::store::TableWriter;

use super::*;
use crate::run::{RolloutKind, RunDirectory, RunSetup};
use crate::sampler::FinishReason;

/// What texts of corpora and models may try.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }}";

fn row(document: &str, rollout: u32, turn: u32, kind: RolloutKind, response: &str, credit: (f64, f64)) -> RolloutRow {
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

/// A memory turn with the prompt that the reader makes.
fn read(document: &str, turn: u32, memory: &str, chunk: &str, response: &str) -> RolloutRow {
    let prompt = format!("[MASK]?\nMemory: {memory}\nText: {chunk}\nNew memory:<|im_start|>");
    RolloutRow { prompt, ..row(document, 0, turn, RolloutKind::Read, response, (1.25, 0.625)) }
}

/// A run of one step: document `b` has nothing to learn from, `a` has.
fn run(folder: &Path) -> anyhow::Result<()> {
    let config =
        "[policy]\npath = \"tiny\"\n[reader]\nprompts = \"compact\"\n[objective]\nrecall_weight = 0.5\n".to_owned();
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
    let (first, second) = ("Salt is sold by [MASK].", "Salt is sold by [MASK]. Velm & Co burned down.");
    table.push(read("a", 0, "empty", &format!("{first}\n{HOSTILE}"), first))?;
    table.push(read("a", 0, first, "Nothing else happened.", second))?;
    table.push(row("a", 0, 2, Answer, "\\boxed{velm & co}", (1.25, 0.625)))?;
    table.push(row("a", 0, 3, Recall, "\\boxed{Ornith}", (1.0, 0.5)))?;
    table.push(row("a", 0, 4, Recall, "\\boxed{Lorn}", (0.0, -0.5)))?;
    table.push(row("a", 1, 0, Read, HOSTILE, (0.0, -0.625)))?;
    table.push(row("a", 1, 1, Answer, "\\boxed{<Lorn>}", (0.0, -0.625)))?;
    table.push(row("a", 1, 2, Write, "[calls]", (0.0, -0.625)))?;
    records.rollouts(7, &table.finish()?)?;
    Ok(())
}

fn of_one(folder: &Path, selection: &Selection) -> anyhow::Result<String> {
    page(&[folder.to_path_buf()], selection)
}

#[test]
fn a_page_shows_chunks_between_memories_and_how_the_reward_comes_about() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path())?;
    let page = of_one(folder.path(), &Selection { documents: 1, ..Selection::default() })?;
    for part in [
        "Velm &amp; Co",
        // The chunk alone is shown between the memories: its sentence with the placeholder is evidence, and kept.
        "<div class=\"text chunk\"><span class=\"evidence kept\">Salt is sold by </span><span class=\"hidden-entity evidence kept\">[MASK]",
        // What is new in the second memory does not stand in the text.
        "<span class=\"target unsupported new\">Velm &amp; Co</span><span class=\"unsupported new\"> burned down.</span>",
        "2 sentences, 1 not in the text",
        "1 for the right answer + 0.5 × 1 of 2 recalled = 1.25",
        "&lt;Lorn&gt;",
        "trades &lt;b&gt;salt&lt;",
        "+0.625",
        "Calls on chunk 3",
        "correct 0.5",
        "&lt;b&gt;skip&lt;",
        "\"charts\":[{\"title\":\"Reward\"",
        "Documents of the step that are not shown: 1",
    ] {
        assert!(page.contains(part), "`{part}` is missing from:\n{}", page.split("<body>").nth(1).unwrap_or_default());
    }
    // The other document teaches nothing and was not asked for.
    assert!(!page.contains("with b."), "{page}");
    Ok(())
}

#[test]
fn texts_stay_texts_and_nothing_is_fetched() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // The run's name is a text of others, too.
    let named = folder.path().join("<img src=x onerror=alert(3)>");
    run(&named)?;
    let page = of_one(&named, &Selection::default())?;
    let body =
        page.split_once("<body>").and_then(|(_, rest)| rest.split_once("<script type")).map_or("", |(body, _)| body);
    assert!(!body.contains("<img") && !body.contains("<script") && !body.contains("</script"), "{body}");
    assert!(body.contains("&lt;img") && body.contains("{{ 7 * 7 }}"));
    // One block of data and two scripts, each of which carries the page's own number.
    let scripts: Vec<&str> =
        page.split("<script").skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag).collect();
    let [data, library, own] = scripts[..] else { anyhow::bail!("{scripts:?}") };
    assert!(data.starts_with(" type=\"application/json\""));
    assert!(library == own && library.starts_with(" nonce=\"") && library.len() > 64, "{library}");
    assert!(page.contains(&format!("script-src '{}'", library.trim().replace("nonce=\"", "nonce-").replace('"', ""))));
    assert_eq!(page.matches("</script").count(), 3);
    assert!(!page.contains("<script src") && !page.contains("href=\"http") && !page.contains("@import"));
    Ok(())
}

#[test]
fn runs_are_compared_on_the_same_documents() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let runs = [folder.path().join("one"), folder.path().join("other")];
    runs.iter().try_for_each(|folder| run(folder))?;
    let page = page(&runs, &Selection { documents: 1, ..Selection::default() })?;
    assert!(page.contains("What was read in step 7: one") && page.contains("What was read in step 7: other"));
    assert!(page.contains("\"label\":\"other, whole\",\"run\":1,\"part\":0"), "{page}");
    let many = vec![runs[0].clone(); MOST_RUNS + 1];
    let error = super::page(&many, &Selection::default()).expect_err("too many");
    assert_eq!(error.to_string(), "a page holds at most 16 runs, and 17 are named");
    Ok(())
}

#[test]
fn a_document_is_shown_before_and_after_training() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path())?;
    let estimate = serde_json::json!({"mean": 0.5, "low": 0.25, "high": 0.75, "count": 4});
    let policy = |name: &str, memory: &str| {
        serde_json::json!({
            "name": name,
            "answers": [
                {"keeper": {"policy": "before"}, "end_to_end": estimate, "recall": estimate},
                {"keeper": "empty", "end_to_end": estimate, "recall": estimate},
                {"keeper": "told", "end_to_end": null, "recall": estimate},
            ],
            "quality": {"truncated": estimate, "repeated": estimate, "verbatim": estimate, "sentences": estimate},
            "example": {
                "document_id": "heldout-00000003", "hidden": "Lorn", "memory": memory, "answer": "Lorn",
                "reading": [{"chunk": "[MASK] sold salt.", "memory": memory}],
            },
        })
    };
    let policies = [policy("before", "[MASK] sold wine."), policy("after", "[MASK] sold salt.")];
    let report = serde_json::json!({"documents": 4, "recall_questions": 16, "policies": policies});
    let quickstart = serde_json::json!({"report": report, "best_step": 40, "seconds_beside_training": 1.0});
    store::write_json(&folder.path().join("quickstart.json"), &quickstart)?;
    let page = of_one(folder.path(), &Selection::default())?;
    for part in [
        "<em>after</em> is the checkpoint of step 40",
        "<th scope=\"row\">empty memory</th>",
        "0.500 <small>[0.250, 0.750]</small>",
        "<th scope=\"row\">what names the answer</th>",
        "heldout-00000003, read by before and after",
        "<div class=\"text memory\"><span class=\"hidden-entity unsupported\">[MASK]</span><span class=\"unsupported\"> sold wine.</span></div>",
        "<div class=\"text memory\"><span class=\"hidden-entity\">[MASK]</span> sold salt.</div>",
    ] {
        assert!(page.contains(part), "`{part}` is missing from:\n{}", page.split("<body>").nth(1).unwrap_or_default());
    }
    // A report by itself is shown in its place.
    let other = folder.path().join("memory.json");
    store::write_json(&other, &serde_json::json!({"documents": 9, "recall_questions": 1, "policies": policies}))?;
    let evaluation = Some(other);
    let page = of_one(folder.path(), &Selection { evaluation, ..Selection::default() })?;
    assert!(page.contains("Exact match on 9 held-out documents") && !page.contains("step 40"));
    store::write_atomic(&folder.path().join("quickstart.json"), "{}")?;
    assert!(of_one(folder.path(), &Selection::default())?.contains("table of memories cannot be shown"));
    Ok(())
}

#[test]
fn a_folder_that_is_no_run_and_a_step_that_is_not_there_are_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let error = of_one(folder.path(), &Selection::default()).expect_err("no run");
    assert!(format!("{error:#}").contains("is not a run directory"), "{error:#}");
    run(folder.path())?;
    let error = of_one(folder.path(), &Selection { step: Some(3), ..Selection::default() }).expect_err("no step");
    assert!(format!("{error:#}").contains("1 from step 7 to 7"), "{error:#}");
    let table = folder.path().join("rollouts/step_000007.parquet");
    let mut bytes = store::read(&table)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store::write_atomic(&table, bytes)?;
    let error = of_one(folder.path(), &Selection::default()).expect_err("damaged");
    assert!(format!("{error:#}").contains("step_000007.parquet` is damaged"), "{error:#}");
    store::remove_file(&folder.path().join("rollouts.jsonl"))?;
    assert!(of_one(folder.path(), &Selection::default())?.contains("No rollouts are kept yet"), "the curves alone");
    Ok(())
}
