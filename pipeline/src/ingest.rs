//! Stage 1, `ingest`: from dumps, or from texts that others have extracted, to articles, redirects and passages.
//!
//! A shard is a part of a large dump, or several small files; it is streamed, some megabytes of pages in memory at a time. Writes
//! `data/articles-…`, `data/redirects-…` and `data/passages-…parquet`. Pages outside namespace 0 are left out, redirects have a table
//! of their own, malformed pages are skipped, of a page that several inputs hold the first one counts; everything left out is
//! counted by cause. A shard numbers its passages from 0; when all are there, they are numbered through.

mod duplicates;
mod ids;
mod inputs;
mod numbers;
mod packing;
mod pages;
mod shard;
mod wikis;

use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::inputs::Piece;
use crate::config::{CorpusConfig, IngestConfig};
use crate::error::{PipelineError, Result};
use crate::stage::{Input, Manifest, Plan, ShardRecord, ShardRunner, Stage, StageFolder, StageName, to_value};

/// Version of what this stage computes.
const VERSION: u32 = 8;

/// What one shard reads, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    pieces: Vec<Piece>,
}

/// The files that `dumps` names, each once.
pub(crate) fn inputs(config: &IngestConfig) -> Result<Vec<PathBuf>> {
    inputs::find(config)
}

pub(crate) struct IngestStage<'a> {
    pub(crate) config: &'a CorpusConfig,
    pub(crate) out: &'a Path,
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

impl Stage for IngestStage<'_> {
    fn name(&self) -> StageName {
        StageName::Ingest
    }

    /// The dumps themselves are inputs; whether one may break off decides if the stages after this one are run, not what this one writes.
    fn configuration(&self) -> serde_json::Value {
        let mut value = to_value(&self.config.ingest);
        if let Some(map) = value.as_object_mut() {
            map.remove("dumps");
            map.remove("accept_truncated");
            // Plans keep the key's first name, in its place: their fingerprints tell whether what was built is still
            // right.
            let stored = std::mem::take(map).into_iter().map(|(key, value)| match key.as_str() {
                "short_passages" => ("leftovers".to_owned(), value),
                _ => (key, value),
            });
            *map = stored.collect();
        }
        value
    }

    fn plan(&self) -> Result<Plan> {
        let files = inputs::find_and_tell(&self.config.ingest)?;
        let folder = StageFolder::new(self.out, self.name());
        let mut stored = folder.stored_plan()?.whole();
        // A plan that was committed is whole. Its shards follow from what is compared here, so the cuts need not be looked for again.
        let committed = folder.manifest()?.whole().map(|manifest| manifest.plan);
        let committed = stored.take_if(|plan| Some(plan.fingerprint()) == committed);
        // A file of another kind is refused here, before anything is hashed or touched.
        let shards = if committed.is_none() { Some(inputs::shards(&files, &self.config.ingest)?) } else { None };
        let before = committed.as_ref().map_or(&[][..], |plan| plan.inputs.as_slice());
        let input = |(number, path): (usize, &PathBuf)| {
            let read = || Input::of(path, file_name(path));
            before.get(number).map_or_else(read, |before| read()?.settled(before, path, read))
        };
        let inputs = files.par_iter().enumerate().map(input).collect::<Result<Vec<_>>>()?;
        let with =
            |inputs: &[Input], work| Plan::new(self.name(), VERSION, self.configuration(), inputs.to_vec(), work);
        // A dump is known by its contents: under another name it is the same plan, which keeps the first name.
        if let Some(plan) = committed
            && plan.is_same_work(&with(&inputs, plan.shards.iter().map(|shard| shard.work.clone()).collect()))
        {
            return Ok(plan);
        }
        let shards = shards.map_or_else(|| inputs::shards(&files, &self.config.ingest), Ok)?;
        let plan = with(&inputs, shards.into_iter().map(|pieces| to_value(&Work { pieces })).collect());
        let begun = [stored, folder.next().stored_plan()?.whole()].into_iter().flatten();
        Ok(begun.into_iter().find(|begun| begun.is_same_work(&plan)).unwrap_or(plan))
    }

    fn fits(&self, stored: &Plan) -> Result<bool> {
        let files = inputs::find(&self.config.ingest)?;
        let same = stored.version == VERSION
            && stored.configuration == self.configuration()
            && stored.inputs.len() == files.len();
        for (path, input) in files.iter().zip(&stored.inputs) {
            if !same || input.bytes != store::len(path)? {
                return Ok(false);
            }
        }
        Ok(same)
    }

    fn open(&self, folder: &StageFolder) -> Result<Box<dyn ShardRunner + '_>> {
        let files: Vec<PathBuf> = inputs::find(&self.config.ingest)?;
        Ok(Box::new(shard::Runner::new(&self.config.ingest, folder.clone(), files)))
    }

    fn finalize(&self, folder: &StageFolder, records: &mut [ShardRecord]) -> Result<()> {
        duplicates::take_out(folder, records, &self.config.ingest)?;
        numbers::number_through(folder, records)
    }

    fn accept(&self, _: &StageFolder, manifest: &Manifest) -> Result<()> {
        if manifest.rows.get("passages").copied().unwrap_or_default() > 0 {
            return Ok(());
        }
        let articles = manifest.rows.get("articles").copied().unwrap_or_default();
        let malformed = manifest.counts.get("malformed_pages").copied().unwrap_or_default();
        let hint = if articles == 0 && malformed > 0 {
            format!("the dumps hold no articles but {malformed} malformed ones; the log says what is wrong with them")
        } else {
            let min_words = self.config.ingest.min_words;
            format!(
                "the dumps hold {articles} articles; lower `corpus.ingest.min_words` ({min_words}) or give a dump with articles (`pages-articles`)"
            )
        };
        Err(PipelineError::Empty { stage: self.name(), what: "passages", hint })
    }
}

/// Refuses to go on behind an ingest whose dumps broke off, unless that was accepted. What ingest has written is whole and stays.
pub(crate) fn check_complete(config: &CorpusConfig, out: &Path) -> Result<()> {
    let folder = StageFolder::new(out, StageName::Ingest);
    let (Some(plan), Some(manifest)) = (folder.stored_plan()?.whole(), folder.manifest()?.whole()) else {
        return Ok(());
    };
    let count =
        |counts: &std::collections::BTreeMap<String, u64>, cause| counts.get(cause).copied().unwrap_or_default();
    let dumps = count(&manifest.counts, "truncated_dumps");
    if dumps == 0 || config.ingest.accept_truncated {
        return Ok(());
    }
    // As the dumps are called now, if these are the dumps of the plan.
    let files = inputs::find(&config.ingest)?;
    let files: &[PathBuf] = if files.len() == plan.inputs.len() { &files } else { &[] };
    let name = |input: usize| match (files.get(input), plan.inputs.get(input)) {
        (Some(path), _) => Some(file_name(path)),
        (None, input) => input.map(|input| input.name.clone()),
    };
    let mut names: Vec<String> = Vec::new();
    for (planned, shard) in plan.shards.iter().zip(&manifest.shards) {
        let Ok(work) = serde_json::from_value::<Work>(planned.work.clone()) else { continue };
        if count(&shard.counts, "truncated_dumps") > 0 {
            names.extend(work.pieces.iter().filter_map(|piece| name(piece.input)));
        }
    }
    names.dedup();
    Err(PipelineError::Truncated { dumps, names, pages: count(&manifest.counts, "pages") })
}
