//! The numbers for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::{Distribution, DocumentStatistics, Shares, Statistics};

/// The statistics as a plain table.
pub fn report(statistics: &Statistics) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_report(&mut out, statistics);
    out
}

fn write_report(out: &mut String, statistics: &Statistics) -> fmt::Result {
    if let Some(passages) = &statistics.passages {
        writeln!(out, "passages: {} of {} articles", passages.count, passages.per_article.count)?;
        heading(out)?;
        line(out, "words a passage", &passages.words)?;
        line(out, "passages an article", &passages.per_article)?;
        line(out, "words an article", &passages.words_per_article)?;
        causes(out, "counted by ingest", &passages.left_out)?;
        writeln!(out)?;
    }
    if let Some(entities) = &statistics.entities {
        writeln!(out, "entities: {} mentions", entities.labels.total)?;
        heading(out)?;
        line(out, "mentions a passage", &entities.per_passage)?;
        shares(out, "kinds", &entities.labels)?;
        shares(out, "found by", &entities.sources)?;
        writeln!(out)?;
    }
    for split in ["train", "heldout"] {
        if let Some(documents) = statistics.documents.get(split) {
            split_report(out, split, documents)?;
        }
    }
    if let Some(synthesis) = &statistics.synthesis {
        let rejected = &synthesis.rejections;
        let share = rejected.total as f64 / synthesis.attempts.max(1) as f64;
        writeln!(out, "synthesis: {} drawn, {} rejected ({})", synthesis.attempts, rejected.total, percent(share))?;
        shares(out, "rejected for", rejected)?;
        causes(out, "counted beside", &synthesis.adjustments)?;
    }
    Ok(())
}

fn split_report(out: &mut String, split: &str, documents: &DocumentStatistics) -> fmt::Result {
    writeln!(out, "{split}: {} documents", documents.count)?;
    heading(out)?;
    for (name, distribution) in [
        ("tokens", &documents.tokens),
        ("characters", &documents.characters),
        ("placeholders", &documents.masks),
        ("passages", &documents.passages),
        ("  related", &documents.related),
        ("  random", &documents.random),
        ("entities to ask for", &documents.entities),
    ] {
        line(out, name, distribution)?;
    }
    shares(out, "kinds of hidden entities", &documents.labels)?;
    shares(out, "kinds to ask for", &documents.entity_labels)?;
    writeln!(out, "  hidden entities: {} different ones, the most frequent:", documents.answers.distinct)?;
    entries(out, &documents.answers)?;
    let evidence = &documents.evidence;
    writeln!(out, "  of the first {} documents:", evidence.documents)?;
    for (what, share) in [
        ("[MASK] stands in the pivot alone", evidence.pivot_alone),
        ("another form of the answer stands in the text", evidence.other_form),
        ("[MASK] stands beside another word with a capital in the pivot", evidence.part_of_name),
        ("half of the related passages are of the pivot's article", evidence.same_article),
        ("the pivot's page is called by a date or a number", evidence.date_page),
    ] {
        writeln!(out, "    {what:<61}  {:>7}", percent(share))?;
    }
    writeln!(out)
}

fn heading(out: &mut String) -> fmt::Result {
    write!(out, "  {:<22}", "")?;
    for name in ["min", "5 %", "25 %", "50 %", "75 %", "95 %", "max"] {
        write!(out, "{name:>9}")?;
    }
    writeln!(out, "{:>11}", "mean")
}

fn line(out: &mut String, name: &str, d: &Distribution) -> fmt::Result {
    write!(out, "  {name:<22}")?;
    for value in [d.min, d.p5, d.p25, d.p50, d.p75, d.p95, d.max] {
        write!(out, "{value:>9}")?;
    }
    writeln!(out, "{:>11.1}", d.mean)
}

fn shares(out: &mut String, name: &str, shares: &Shares) -> fmt::Result {
    if shares.first.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {name}:")?;
    entries(out, shares)
}

fn entries(out: &mut String, shares: &Shares) -> fmt::Result {
    let width = shares.first.iter().map(|share| share.value.chars().count()).max().unwrap_or(0);
    shares.first.iter().try_for_each(|share| {
        writeln!(out, "    {:<width$}  {:>9}  {:>7}", share.value, share.count, percent(share.share))
    })
}

fn causes(out: &mut String, name: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {name}:")?;
    let width = counts.keys().map(|cause| cause.len()).max().unwrap_or(0);
    counts.iter().try_for_each(|(cause, count)| writeln!(out, "    {:<width$}  {count:>9}", cause.replace('_', " ")))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
