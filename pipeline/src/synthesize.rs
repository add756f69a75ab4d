//! Stage 5, `synthesize`: long documents with one entity hidden everywhere (MemTrain, arXiv 2606.03197 §3.1).
//!
//! A pivot passage is drawn at random among those with an eligible entity; one random eligible entity of it that enough
//! other passages mention is the target; these and the most similar passages are the related ones, chance gives the
//! others; all are joined in random order, and every occurrence of the target becomes `[MASK]`. Where the text is outside the token window, random passages are drawn more or fewer, related ones never. A
//! document in which the hidden words still stand in any spelling is rejected. A rejected document is drawn anew under the
//! same number; rejections are counted by cause.
//!
//! Writes `data/train-…parquet`, `data/heldout-…parquet` and a data card, `README.md`.

mod assemble;
mod card;
mod draw;
mod eligible;
mod evidence;
mod forms;
mod material;
mod source;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use memtrain_corpora::store::TableWriter;
use memtrain_corpora::{Document, Split};
use memtrain_index::{Index, Related as Found};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::{CorpusConfig, Selection, SynthesizeConfig};
use crate::error::{PipelineError, Result};
use crate::names::REJECTED;
use crate::stage::{
    FileRecord, Input, Manifest, Plan, PlannedShard, Progress, ShardOutput, ShardRunner, Stage, StageFolder, StageName,
    shard_name, to_value, work_of,
};
use crate::tables::{Mentions, Passages};
use draw::{Outcome, RejectedInARow};
use eligible::Eligible;
use material::{HeldOut, PassageSet};
use source::{Retriever, Source};

pub(crate) use forms::{is_beside_capital, other_forms};

/// Version of what this stage computes.
const VERSION: u32 = 3;
/// Documents drawn at a time, in parallel.
const BATCH: u64 = 64;

/// The documents of one shard.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    split: Split,
    first_document: u64,
    end_document: u64,
    /// Number of the file among those of its split.
    file: usize,
    num_files: usize,
}

pub(crate) struct SynthesizeStage<'a> {
    pub(crate) config: &'a CorpusConfig,
    pub(crate) out: &'a Path,
}

impl SynthesizeStage<'_> {
    fn inputs(&self) -> Result<Vec<Input>> {
        let needs = [StageName::Ingest, StageName::Entities, StageName::Tokenizer, StageName::Index];
        needs.into_iter().map(|needs| StageFolder::manifest_input(self.out, needs, self.name())).collect()
    }

    fn work(&self) -> Vec<serde_json::Value> {
        let synthesize = &self.config.synthesize;
        let size = synthesize.documents_per_shard;
        let of_split = |(split, count): (Split, u64)| {
            let num_files = count.div_ceil(size);
            (0..num_files).map(move |file| {
                to_value(&Work {
                    split,
                    first_document: file * size,
                    end_document: ((file + 1) * size).min(count),
                    file: usize::try_from(file).unwrap_or(usize::MAX),
                    num_files: usize::try_from(num_files).unwrap_or(usize::MAX),
                })
            })
        };
        [(Split::Train, synthesize.num_train), (Split::Heldout, synthesize.num_heldout)]
            .into_iter()
            .flat_map(of_split)
            .collect()
    }
}

impl Stage for SynthesizeStage<'_> {
    fn name(&self) -> StageName {
        StageName::Synthesize
    }

    fn configuration(&self) -> serde_json::Value {
        json!({ "seed": self.config.seed, "synthesize": to_value(&self.config.synthesize) })
    }

    fn plan(&self) -> Result<Plan> {
        let inputs = self.inputs()?;
        check_passages(&self.config.synthesize, Passages::open(self.out, self.name())?.len())?;
        Ok(Plan::new(self.name(), VERSION, self.configuration(), inputs, self.work()))
    }

    fn fits(&self, stored: &Plan) -> Result<bool> {
        let same = stored.version == VERSION && stored.configuration == self.configuration();
        Ok(same && stored.inputs == self.inputs()?)
    }

    fn open(&self, folder: &StageFolder) -> Result<Box<dyn ShardRunner + '_>> {
        let passages = Passages::open(self.out, self.name())?;
        let entities = crate::entities::with_language(&self.config.entities, self.out, self.name())?;
        let locale = crate::entities::Locale::of(&entities.language);
        let inflected = locale.inflected_names;
        let eligible = Eligible::open(&self.config.synthesize.eligible, locale, self.out)?;
        let pool = match self.config.synthesize.passages {
            Selection::All => None,
            Selection::Eligible => Some(PassageSet::with_eligible(&passages, &eligible, self.out)?),
        };
        let source = Source {
            config: &self.config.synthesize,
            seed: self.config.seed,
            held_out: HeldOut::open(&passages, self.config.seed, &self.config.synthesize)?,
            passages,
            mentions: Mentions::open(self.out, self.name())?,
            retriever: Box::new(Related(crate::index::open(self.out)?)),
            tokenizer: crate::tokenizer::load(self.out)?,
            eligible,
            inflected,
            pool,
            aliases: crate::entities::aliases(self.out, &entities, self.name())?,
        };
        Ok(Box::new(Runner { source, folder: folder.clone() }))
    }

    fn card(&self, folder: &StageFolder, plan: &Plan, manifest: &Manifest) -> Result<Option<String>> {
        card::card(self.out, folder, plan, manifest).map(Some)
    }

    fn accept(&self, _: &StageFolder, manifest: &Manifest) -> Result<()> {
        let config = &self.config.synthesize;
        for (split, wanted) in [(Split::Train, config.num_train), (Split::Heldout, config.num_heldout)] {
            if wanted > 0 && manifest.rows.get(split.as_str()).copied().unwrap_or_default() == 0 {
                let rejected = manifest.counts.iter().filter(|(cause, _)| cause.starts_with(REJECTED));
                let causes = rejected.map(|(cause, count)| (cause.clone(), *count)).collect();
                return Err(PipelineError::NoDocuments { split: split.as_str(), causes });
            }
        }
        Ok(())
    }
}

/// Checks that a corpus of so many passages has enough of them for a document.
///
/// # Errors
/// [`PipelineError::Config`] otherwise.
pub(crate) fn check_passages(config: &SynthesizeConfig, have: u64) -> Result<()> {
    let SynthesizeConfig { num_related, num_random, .. } = config;
    let need = 1 + *num_related as u64 + *num_random as u64;
    if have >= need {
        return Ok(());
    }
    let problem = format!(
        "is {num_related} and `corpus.synthesize.num_random` {num_random}: with the pivot a document takes {need} passages, and the \
         corpus has {have}; lower them, or give a larger dump"
    );
    Err(PipelineError::Config { key: "corpus.synthesize.num_related", problem })
}

/// What was rejected on the way to the documents, in shares of what was tried, a line each: attempts at documents, and
/// mentions that could not be hidden. `counts` are those of the stage's manifest; nothing where it drew no document.
///
/// ```
/// use memtrain_pipeline::rejections;
/// let counts = [("attempts", 8), ("rejected_leak", 2), ("mentions_looked_at", 50), ("ineligible_label", 30)];
/// let counts = counts.map(|(name, count)| (name.to_owned(), count)).into_iter().collect();
/// assert_eq!(rejections(&counts), [
///     "2 of 8 drawn documents were rejected (25.0 %): leak 25.0 %",
///     "30 of 50 mentions of the pivots could not be hidden (60.0 %): label 60.0 %",
/// ]);
/// ```
pub fn rejections(counts: &BTreeMap<String, u64>) -> Vec<String> {
    let line = |of: &str, prefix: &str, what: &str, did: &str| {
        let all = counts.get(of).copied().filter(|all| *all > 0)?;
        let percent = |count: u64| format!("{:.1} %", 100.0 * count as f64 / all as f64);
        let causes: Vec<(&str, u64)> = counts
            .iter()
            .filter_map(|(name, count)| Some((name.strip_prefix(prefix)?, *count)).filter(|(_, count)| *count > 0))
            .collect();
        let sum: u64 = causes.iter().map(|(_, count)| count).sum();
        let mut text = format!("{sum} of {all} {what} {did} ({})", percent(sum));
        let causes: Vec<String> = causes
            .into_iter()
            .map(|(cause, count)| format!("{} {}", cause.replace('_', " "), percent(count)))
            .collect();
        if !causes.is_empty() {
            text.push_str(&format!(": {}", causes.join(", ")));
        }
        Some(text)
    };
    let documents = line("attempts", REJECTED, "drawn documents", "were rejected");
    let mentions = line("mentions_looked_at", "ineligible_", "mentions of the pivots", "could not be hidden");
    documents.into_iter().chain(mentions).collect()
}

/// Retrieval by the corpus's index.
struct Related(Index);

impl Retriever for Related {
    fn related(&self, passages: &[u64], k: usize) -> Result<Vec<Vec<u64>>> {
        let ids = |found: Found| found.hits.into_iter().map(|hit| hit.passage_id).collect();
        Ok(self.0.related_many(passages, k)?.into_iter().map(ids).collect())
    }

    fn mentioning(&self, names: &[(u64, &str)], k: usize) -> Result<Vec<Vec<u64>>> {
        let ids = |found: Found| found.hits.into_iter().map(|hit| hit.passage_id).collect();
        Ok(self.0.lexical_many(names, k)?.into_iter().map(ids).collect())
    }

    fn article(&self, passage: u64) -> Result<u64> {
        Ok(self.0.article(passage)?)
    }
}

struct Runner<'a> {
    source: Source<'a>,
    folder: StageFolder,
}

impl ShardRunner for Runner<'_> {
    fn run(&self, shard: &PlannedShard, _: usize, progress: &dyn Progress) -> Result<ShardOutput> {
        let work: Work = work_of(shard, StageName::Synthesize)?;
        let table = work.split.as_str();
        let relative = format!("data/{table}-{}.parquet", shard_name(work.file, work.num_files));
        let mut writer = TableWriter::<Document>::create(&self.folder.join(&relative))?;
        let mut output = ShardOutput::default();
        let (mut pending, mut in_a_row) = (Vec::new(), RejectedInARow::default());
        let mut first = work.first_document;
        while first < work.end_document {
            if progress.stopping() {
                return Err(PipelineError::Stopped);
            }
            let end = (first + BATCH).min(work.end_document);
            // The documents of one batch are written while those of the next are drawn.
            let (written, drawn) = rayon::join(
                || write(&mut writer, std::mem::take(&mut pending), &mut output, progress),
                || self.source.documents(work.split, first..end, &mut in_a_row, progress),
            );
            written?;
            pending = drawn?;
            progress.advanced(StageName::Synthesize, shard.index, end - first);
            first = end;
        }
        write(&mut writer, pending, &mut output, progress)?;
        let summary = writer.finish()?;
        output.rows.insert(table.to_owned(), summary.rows);
        output.files.push(FileRecord { path: relative, bytes: summary.bytes, hash: summary.hash });
        Ok(output)
    }
}

/// Writes what became of some documents.
fn write(
    writer: &mut TableWriter<Document>,
    outcomes: Vec<Outcome>,
    output: &mut ShardOutput,
    progress: &dyn Progress,
) -> Result<()> {
    let started = Instant::now();
    for outcome in outcomes {
        for (cause, count) in outcome.counts {
            output.count(cause, count);
        }
        if let Some(document) = outcome.document {
            output.count("tokens", u64::from(document.num_tokens));
            writer.push(document)?;
        }
    }
    progress.spent(StageName::Synthesize, "write documents", started.elapsed());
    Ok(())
}
