//! One shard: pieces in, three tables out.

use std::path::PathBuf;
use std::sync::OnceLock;

use memtrain_corpora::dump::{self, DumpError, SiteInfo};
use memtrain_corpora::store::{Row, ScalarIndex, TableWriter};
use memtrain_corpora::{Article, Passage, Redirect, rng};
use rand::Rng;
use rayon::prelude::*;

use super::Work;
use super::ids::Ids;
use super::inputs::Piece;
use super::packing::{self, Packing};
use super::pages::{Cleaned, Context, Pages, Raw};
use super::wikis::Numbering;
use crate::config::IngestConfig;
use crate::error::{PipelineError, Result};
use crate::stage::{
    FileRecord, PlannedShard, Progress, ShardOutput, ShardRunner, StageFolder, StageName, shard_name, work_of,
};

pub(super) struct Runner<'a> {
    config: &'a IngestConfig,
    folder: StageFolder,
    files: Vec<PathBuf>,
    /// What the header of each file says, once it was asked for.
    sites: Vec<OnceLock<SiteInfo>>,
    numbering: OnceLock<Numbering>,
}

/// Path of a table of a shard inside the stage's folder.
pub(super) fn table_path(table: &str, index: usize, num_shards: usize) -> String {
    format!("data/{table}-{}.parquet", shard_name(index, num_shards))
}

/// The tables of one shard while they are written.
pub(super) struct Tables {
    pub(super) articles: TableWriter<Article>,
    pub(super) redirects: TableWriter<Redirect>,
    pub(super) passages: TableWriter<Passage>,
    index: usize,
    num_shards: usize,
}

impl<'a> Runner<'a> {
    pub(super) fn new(config: &'a IngestConfig, folder: StageFolder, files: Vec<PathBuf>) -> Self {
        let sites = files.iter().map(|_| OnceLock::new()).collect();
        Self { config, folder, files, sites, numbering: OnceLock::new() }
    }

    fn numbering(&self) -> Result<Numbering> {
        if let Some(numbering) = self.numbering.get() {
            return Ok(numbering.clone());
        }
        let failed = |source| PipelineError::Dump { path: self.files[0].clone(), source };
        let numbering = Numbering::of(&self.files, || self.site(0)).map_err(failed)?;
        Ok(self.numbering.get_or_init(|| numbering).clone())
    }

    fn site(&self, input: usize) -> Result<SiteInfo, DumpError> {
        if let Some(site) = self.sites[input].get() {
            return Ok(site.clone());
        }
        let site = dump::open(&self.files[input])?.site_info().clone();
        Ok(self.sites[input].get_or_init(|| site).clone())
    }

    /// Reads a piece: while a batch is cleaned, the next one is read, and the one before goes into the tables.
    fn read(&self, piece: &Piece, shard: usize, state: &mut State, progress: &dyn Progress) -> Result<()> {
        let path = self.files.get(piece.input).ok_or(PipelineError::StalePlan { stage: StageName::Ingest })?;
        let failed = |source| PipelineError::Dump { path: path.clone(), source };
        let (options, numbering) = (self.config.clean_options(), self.numbering()?);
        let mut pages = Pages::open(path, piece, options, numbering, || self.site(piece.input)).map_err(failed)?;
        let (context, mut reading) = pages.split();
        let mut next = Some(reading.next_batch().map_err(failed)?);
        let mut cleaned = Vec::new();
        while let Some(batch) = next {
            if progress.stopping() {
                return Err(PipelineError::Stopped);
            }
            let units = batch.pages.len() as u64;
            state.count(&batch.counts);
            let ((pushed, pages), read) = rayon::join(
                || rayon::join(|| state.push_all(cleaned), || self.clean(batch.pages, context)),
                || if batch.at_end { Ok(None) } else { reading.next_batch().map(Some) },
            );
            pushed?;
            (cleaned, next) = (pages, read.map_err(failed)?);
            progress.advanced(StageName::Ingest, shard, units);
        }
        state.push_all(cleaned)
    }

    fn clean(&self, pages: Vec<Raw>, context: &Context) -> Vec<Cleaned> {
        pages.into_par_iter().map(|page| page.clean(context, self.config)).collect()
    }
}

/// Shards that are open at a time. One takes up to 33 MB, for unpacking, for the pages that are being cleaned and for the tables that are
/// written, so that all stay below 300 MB (`docs/lab/ingest.md`). Reading and writing, each by one thread at a time, are a third of the work:
/// so many shards keep some 18 threads busy.
const MOST_OPEN: usize = 7;

impl ShardRunner for Runner<'_> {
    fn most_open(&self) -> usize {
        MOST_OPEN
    }

    fn run(&self, shard: &PlannedShard, num_shards: usize, progress: &dyn Progress) -> Result<ShardOutput> {
        let work: Work = work_of(shard, StageName::Ingest)?;
        let tables = Tables::create(&self.folder, shard.index, num_shards)?;
        let passage_share = self.config.passage_share;
        let mut state = State { tables, seen: Ids::default(), output: ShardOutput::default(), passage_share };
        for piece in &work.pieces {
            self.read(piece, shard.index, &mut state, progress)?;
        }
        state.tables.finish(state.output)
    }
}

/// What grows while a shard is read.
struct State {
    tables: Tables,
    seen: Ids,
    output: ShardOutput,
    /// [`crate::config::IngestConfig::passage_share`].
    passage_share: f64,
}

impl State {
    fn count(&mut self, counts: &ShardOutput) {
        for (cause, times) in &counts.counts {
            self.output.count(cause, *times);
        }
    }

    fn push_all(&mut self, pages: Vec<Cleaned>) -> Result<()> {
        pages.into_iter().try_for_each(|page| self.push(page))
    }

    fn push(&mut self, page: Cleaned) -> Result<()> {
        let id = match &page {
            Cleaned::Article(article, ..) => article.id,
            Cleaned::Redirect(redirect) => redirect.id,
            Cleaned::Empty => {
                self.output.count("pages_without_prose", 1);
                return Ok(());
            }
        };
        if !self.seen.insert(id) {
            self.output.count("duplicate_pages", 1);
            return Ok(());
        }
        match page {
            Cleaned::Article(article, packing) => self.push_article(*article, packing),
            Cleaned::Redirect(redirect) => Ok(self.tables.redirects.push(redirect)?),
            Cleaned::Empty => Ok(()),
        }
    }

    fn push_article(&mut self, article: Article, packing: Packing) -> Result<()> {
        for (cause, times) in packing.causes() {
            self.output.count(cause, times);
        }
        let index = ScalarIndex::new(&article.text);
        for passage in packing.passages {
            if self.passage_share < 1.0 {
                let place = [article.id, passage.span.start as u64];
                if rng::keyed("passage-share", 0, &place).random::<f64>() >= self.passage_share {
                    self.output.count("passages_left_out", 1);
                    continue;
                }
            }
            self.tables.passages.push(Passage {
                id: self.tables.passages.rows(),
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
        Ok(self.tables.articles.push(article)?)
    }
}

impl Tables {
    pub(super) fn create(folder: &StageFolder, index: usize, num_shards: usize) -> Result<Tables> {
        let path = |table| folder.join(&table_path(table, index, num_shards));
        Ok(Tables {
            articles: TableWriter::create(&path(Article::TABLE))?,
            redirects: TableWriter::create(&path(Redirect::TABLE))?,
            passages: TableWriter::create(&path(Passage::TABLE))?,
            index,
            num_shards,
        })
    }

    /// Completes the tables, and adds them to what the shard reports.
    pub(super) fn finish(self, mut output: ShardOutput) -> Result<ShardOutput> {
        let summaries = [
            (Article::TABLE, self.articles.finish()?),
            (Redirect::TABLE, self.redirects.finish()?),
            (Passage::TABLE, self.passages.finish()?),
        ];
        for (table, summary) in summaries {
            let path = table_path(table, self.index, self.num_shards);
            output.rows.insert(table.to_owned(), summary.rows);
            output.files.push(FileRecord { path, bytes: summary.bytes, hash: summary.hash });
        }
        Ok(output)
    }
}
