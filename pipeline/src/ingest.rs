//! Stage 1, `ingest`: from dumps to articles, redirects and passages.
//!
//! One shard a dump file, streamed: a few hundred pages are in memory at a time. Writes `data/articles-…`,
//! `data/redirects-…` and `data/passages-…parquet`. Pages outside namespace 0 are left out, redirects have a table of
//! their own, malformed pages are skipped; everything left out is counted by cause.

mod packing;

use std::path::{Path, PathBuf};

use memtrain_corpora::dump::{self, DumpError, DumpReader, Page, SiteInfo};
use memtrain_corpora::mask::escape_placeholders;
use memtrain_corpora::store::{self, Row, ScalarIndex, TableWriter};
use memtrain_corpora::wikitext::{self, WikiContext};
use memtrain_corpora::{Article, Passage, Redirect};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::config::{CorpusConfig, IngestConfig};
use crate::error::{PipelineError, Result};
use crate::stage::{
    FileRecord, Input, Manifest, Plan, PlannedShard, Progress, ShardOutput, ShardRunner, Stage, StageFolder, StageName,
    shard_name, to_value, work_of,
};

/// Version of what this stage computes.
const VERSION: u32 = 1;
/// Pages cleaned at a time, in parallel.
const BATCH: usize = 256;

/// The dump of one shard, by its place among the inputs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    input: usize,
}

pub(crate) struct IngestStage<'a> {
    pub(crate) config: &'a CorpusConfig,
    pub(crate) out: &'a Path,
}

impl IngestStage<'_> {
    /// The part of the configuration that changes what is written; the dumps themselves are inputs.
    fn configuration(&self) -> serde_json::Value {
        let mut value = to_value(&self.config.ingest);
        if let Some(map) = value.as_object_mut() {
            map.remove("dumps");
        }
        value
    }

    /// The dump files, in the order of the configuration, those of a pattern in name order.
    fn dumps(&self) -> Result<Vec<PathBuf>> {
        let mut dumps = Vec::new();
        for pattern in &self.config.ingest.dumps {
            let found = expand(pattern)?;
            if found.is_empty() {
                return Err(PipelineError::NoDump { pattern: pattern.clone() });
            }
            dumps.extend(found);
        }
        Ok(dumps)
    }
}

/// The files of a path whose last part may hold `*`.
fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains('*') || store::exists(path) {
        return Ok(if store::exists(path) { vec![path.to_path_buf()] } else { Vec::new() });
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !store::exists(parent) {
        return Ok(Vec::new());
    }
    let matches = |path: &PathBuf| path.file_name().and_then(|file| file.to_str()).is_some_and(|file| fits(name, file));
    Ok(store::list(parent)?.into_iter().filter(matches).collect())
}

/// Whether a file name fits a pattern in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

impl Stage for IngestStage<'_> {
    fn name(&self) -> StageName {
        StageName::Ingest
    }

    fn plan(&self) -> Result<Plan> {
        let dumps = self.dumps()?;
        for path in &dumps {
            // A file of another kind is refused here, before anything is hashed or touched.
            dump::open(path).map_err(|source| PipelineError::Dump { path: path.clone(), source })?;
        }
        let inputs = dumps.iter().map(|path| Input::of(path, file_name(path))).collect::<Result<Vec<_>>>()?;
        let work = (0..inputs.len()).map(|input| to_value(&Work { input })).collect();
        Ok(Plan::new(self.name(), VERSION, self.configuration(), inputs, work))
    }

    fn fits(&self, stored: &Plan) -> Result<bool> {
        let dumps = self.dumps()?;
        let same = stored.version == VERSION
            && stored.configuration == self.configuration()
            && stored.inputs.len() == dumps.len();
        for (path, input) in dumps.iter().zip(&stored.inputs) {
            if !same || input.name != file_name(path) || input.bytes != store::len(path)? {
                return Ok(false);
            }
        }
        Ok(same)
    }

    fn open(&self) -> Result<Box<dyn ShardRunner + '_>> {
        Ok(Box::new(Runner {
            dumps: self.dumps()?,
            config: &self.config.ingest,
            folder: StageFolder::new(self.out, self.name()),
        }))
    }

    fn accept(&self, manifest: &Manifest) -> Result<()> {
        if manifest.rows.get("passages").copied().unwrap_or_default() > 0 {
            return Ok(());
        }
        let (articles, min_words) =
            (manifest.rows.get("articles").copied().unwrap_or_default(), self.config.ingest.min_words);
        Err(PipelineError::Empty {
            stage: self.name(),
            what: "passages",
            hint: format!(
                "the dumps hold {articles} articles; lower `ingest.min_words` ({min_words}) or give a dump with articles (`pages-articles`)"
            ),
        })
    }
}

struct Runner<'a> {
    dumps: Vec<PathBuf>,
    config: &'a IngestConfig,
    folder: StageFolder,
}

/// The tables of one shard while they are written.
struct Tables {
    articles: TableWriter<Article>,
    redirects: TableWriter<Redirect>,
    passages: TableWriter<Passage>,
    output: ShardOutput,
}

/// What a page has become.
enum Cleaned {
    Article(Article),
    Redirect(Redirect),
    Empty,
}

impl ShardRunner for Runner<'_> {
    fn run(&self, shard: &PlannedShard, num_shards: usize, progress: &dyn Progress) -> Result<ShardOutput> {
        let work: Work = work_of(shard, StageName::Ingest)?;
        let path = self.dumps.get(work.input).ok_or(PipelineError::StalePlan { stage: StageName::Ingest })?;
        let failed = |source| PipelineError::Dump { path: path.clone(), source };
        let mut reader = dump::open(path).map_err(failed)?;
        let site = reader.site_info().clone();
        let context = WikiContext::from_site(&site);
        let name = shard_name(shard.index, num_shards);
        let file = |table: &str| format!("data/{table}-{name}.parquet");
        let mut tables = Tables {
            articles: TableWriter::create(&self.folder.join(&file(Article::TABLE)))?,
            redirects: TableWriter::create(&self.folder.join(&file(Redirect::TABLE)))?,
            passages: TableWriter::create(&self.folder.join(&file(Passage::TABLE)))?,
            output: ShardOutput::default(),
        };
        loop {
            if progress.stopping() {
                return Err(PipelineError::Stopped);
            }
            let (pages, at_end) = self.next_pages(&mut reader, &mut tables.output).map_err(failed)?;
            let units = pages.len() as u64;
            let cleaned: Vec<Cleaned> = pages.into_par_iter().map(|page| clean(page, &site, &context)).collect();
            for page in cleaned {
                tables.push(page, self.config)?;
            }
            progress.advanced(StageName::Ingest, shard.index, units);
            if at_end {
                break;
            }
        }
        tables.finish(file)
    }
}

impl Runner<'_> {
    /// Up to [`BATCH`] pages of namespace 0, and whether the dump is at its end.
    fn next_pages(&self, reader: &mut DumpReader, output: &mut ShardOutput) -> Result<(Vec<Page>, bool), DumpError> {
        let mut pages = Vec::with_capacity(BATCH);
        while pages.len() < BATCH {
            match reader.next() {
                None => return Ok((pages, true)),
                Some(Ok(page)) => {
                    output.count("pages", 1);
                    if page.ns == 0 { pages.push(page) } else { output.count("pages_of_other_namespaces", 1) }
                }
                Some(Err(error)) if error.is_skippable() => {
                    tracing::warn!("skipped: {error}");
                    output.count("malformed_pages", 1);
                }
                Some(Err(error @ DumpError::Truncated { .. })) if self.config.accept_truncated => {
                    tracing::warn!("taken as far as it goes: {error}");
                    output.count("truncated_dumps", 1);
                    return Ok((pages, true));
                }
                Some(Err(error)) => return Err(error),
            }
        }
        Ok((pages, false))
    }
}

fn clean(page: Page, site: &SiteInfo, context: &WikiContext) -> Cleaned {
    let title = escape_placeholders(&page.title).into_owned();
    if let Some(target) = page.redirect {
        return Cleaned::Redirect(Redirect { id: page.id, title, target: escape_placeholders(&target).into_owned() });
    }
    let clean = wikitext::clean(&page.text, context);
    if clean.text.trim().is_empty() {
        return Cleaned::Empty;
    }
    Cleaned::Article(Article {
        id: page.id,
        url: site.page_url(&page.title),
        title,
        text: escape_placeholders(&clean.text).into_owned(),
        revision_id: page.revision_id,
        timestamp: page.timestamp,
        sections: clean.sections,
        links: clean.links,
        categories: clean.categories,
    })
}

impl Tables {
    fn push(&mut self, page: Cleaned, config: &IngestConfig) -> Result<()> {
        let article = match page {
            Cleaned::Redirect(redirect) => return Ok(self.redirects.push(redirect)?),
            Cleaned::Empty => {
                self.output.count("pages_without_prose", 1);
                return Ok(());
            }
            Cleaned::Article(article) => article,
        };
        let (packed, counts) = packing::pack(&article, config);
        self.output.count("short_passages_dropped", counts.short_dropped);
        self.output.count("short_passages_kept", counts.short_kept);
        self.output.count("sections_dropped", counts.sections_dropped);
        if packed.is_empty() {
            self.output.count("articles_without_passages", 1);
        }
        let index = ScalarIndex::new(&article.text);
        for passage in packed {
            self.passages.push(Passage {
                id: self.passages.rows(),
                article_id: article.id,
                url: article.url.clone(),
                title: article.title.clone(),
                section: article.sections[passage.section].title.clone(),
                text: article.text[passage.span.clone()].to_owned(),
                char_start: index.to_scalar(passage.span.start).map_or(0, u64::from),
                links: packing::links_inside(&article, &passage.span),
                span: passage.span,
                num_words: passage.num_words,
                revision_id: article.revision_id,
            })?;
        }
        Ok(self.articles.push(article)?)
    }

    fn finish(self, file: impl Fn(&str) -> String) -> Result<ShardOutput> {
        let mut output = self.output;
        let summaries = [
            (Article::TABLE, self.articles.finish()?),
            (Redirect::TABLE, self.redirects.finish()?),
            (Passage::TABLE, self.passages.finish()?),
        ];
        for (table, summary) in summaries {
            output.rows.insert(table.to_owned(), summary.rows);
            output.files.push(FileRecord { path: file(table), bytes: summary.bytes, hash: summary.hash });
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_file_names() {
        assert!(fits("enwiki-*.bz2", "enwiki-p1.xml.bz2"));
        assert!(fits("a*b*c", "a__b_b__c"));
        assert!(!fits("a*b*c", "a__c"));
        assert!(!fits("*.bz2", "x.xml"));
        assert!(fits("*", "anything"));
        assert!(!fits("ab*b", "ab"));
    }
}
