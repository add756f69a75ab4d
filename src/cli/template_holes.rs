//! `memtrain wikitext --holes`: which templates of a dump leave holes in sentences because what they show is not known.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anyhow::bail;
use memtrain_corpora::dump;
use memtrain_corpora::wikitext::{Hole, HoleKind, WikiContext, holes};

use super::failure::WithHint;
use super::print::output;

/// More names than these are not counted: a dump has some ten thousand templates.
const MAX_TEMPLATES: usize = 200_000;

/// How often a template leaves holes, and the first of them.
struct Count {
    by_kind: [u64; HoleKind::ALL.len()],
    excerpt: String,
}

impl Count {
    fn total(&self) -> u64 {
        self.by_kind.iter().sum()
    }
}

/// Prints the `most` templates of a dump's articles that leave most holes: tab-separated the number, the template, the
/// numbers by kind, and an example.
///
/// # Errors
/// If the dump cannot be read.
pub fn run(dump: Option<&Path>, language: Option<&str>, most: usize) -> anyhow::Result<()> {
    let Some(path) = dump.filter(|path| *path != Path::new("-")) else {
        let missing: anyhow::Result<()> = Err(anyhow::anyhow!("no dump is named"));
        return missing.hint(|| "`memtrain wikitext --holes DUMP` reads MediaWiki XML, packed or not".into());
    };
    let mut reader = dump::open(path)?;
    let mut context = WikiContext::from_site(reader.site_info());
    if let Some(language) = language {
        context = context.with_language(language);
    }
    let mut counts: HashMap<String, Count> = HashMap::new();
    let (mut articles, mut skipped) = (0u64, 0u64);
    for page in &mut reader {
        match page {
            Ok(page) if page.ns == 0 && page.redirect.is_none() => {
                articles += 1;
                for hole in holes(&page.text, &context) {
                    count(&mut counts, hole);
                }
            }
            Ok(_) => {}
            Err(error) if error.is_skippable() => skipped += 1,
            Err(error) => {
                // What a dump that breaks off has is worth knowing too.
                if articles == 0 {
                    bail!(error);
                }
                tracing::warn!("{error}: counted are the {articles} articles before");
                break;
            }
        }
    }
    let mut sorted: Vec<(&String, &Count)> = counts.iter().collect();
    sorted.sort_by(|a, b| b.1.total().cmp(&a.1.total()).then_with(|| a.0.cmp(b.0)));
    let mut out = output();
    writeln!(out, "holes\ttemplate\tkinds\texample")?;
    for (template, count) in sorted.into_iter().take(most) {
        let kinds = HoleKind::ALL.iter().zip(count.by_kind).filter(|(_, number)| *number > 0);
        let kinds: Vec<String> = kinds.map(|(kind, number)| format!("{} {number}", kind.name())).collect();
        writeln!(out, "{}\t{template}\t{}\t{}", count.total(), kinds.join(", "), count.excerpt)?;
    }
    out.flush()?;
    tracing::info!("{articles} articles, {} templates with holes, {skipped} malformed pages", counts.len());
    Ok(())
}

fn count(counts: &mut HashMap<String, Count>, hole: Hole) {
    if counts.len() >= MAX_TEMPLATES && !counts.contains_key(&hole.template) {
        return;
    }
    let place = HoleKind::ALL.iter().position(|kind| *kind == hole.kind).unwrap_or_default();
    // A line a template: what is left of control characters and tabs is a space.
    let excerpt = || hole.excerpt.split(|letter: char| letter.is_control()).collect::<Vec<_>>().join(" ");
    let count =
        counts.entry(hole.template).or_insert_with(|| Count { by_kind: [0; HoleKind::ALL.len()], excerpt: excerpt() });
    count.by_kind[place] += 1;
}
