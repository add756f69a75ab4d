//! Stage 2, `entities`: who and what is mentioned in each passage.
//!
//! Reads the tables of ingest, writes `data/entities-…parquet`, one row a passage in the order of the passages. Finding
//! mentions is behind [`EntityBackend`]; a back-end is a file, a name in `backend_name` and a line in `registry`; `links` is the back-end that needs no model. What somebody else has found is read
//! from a file (`spans`).

pub(crate) mod aliases;
mod backend;
mod backend_name;
mod bert;
mod config;
pub mod conll;
pub mod evaluation;
mod gazetteer;
mod labels;
mod lexicon;
mod links;
mod locale;
mod names;
mod registry;
mod rules;
mod rust_bert;
mod spans;
mod text;
mod titles;
mod tokens;

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memtrain_corpora::store::{ScalarIndex, TableWriter};
use memtrain_corpora::{Entity, EntitySource, Passage, PassageEntities};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) use aliases::Aliases;
pub use backend::{EntityBackend, ModelSource, without_overlaps};
pub use backend_name::BackendName;
pub use bert::BertBackend;
pub use config::{BertConfig, EntitiesConfig};
pub use gazetteer::{Gazetteer, GazetteerBuilder};
pub use links::LinksBackend;
pub(crate) use locale::Locale;
pub use registry::open_backend;
pub(crate) use rules::classify;
#[cfg(feature = "rust-bert")]
pub use rust_bert::RustBertBackend;

use crate::error::{PipelineError, Result};
use crate::stage::{
    FileRecord, Input, Plan, PlannedShard, Progress, ShardOutput, ShardRunner, Stage, StageFolder, StageName,
    shard_name, to_value, work_of,
};
use crate::tables::{Passages, articles, redirects};
use spans::{Place, SpanReader};

/// Version of what this stage computes.
const VERSION: u32 = 4;
/// Passages handed to a back-end at a time: a few megabytes of text.
const BATCH: u64 = 2048;

/// Common English words, which are no names by themselves even with a capital letter (at the head of a sentence).
const COMMON_WORDS: &str = "a about above after again against all almost along also although always among an and another any \
    are around as at away back be became because become been before began being below between both but by called came can \
    century cities city country day days death did do does down during each early east eastern either end even ever \
    every family few first following for former found founded four from general good government great had half has have he \
    her here high him himself his history home house how however if in including into is it its itself january february march \
    april may june july august september october november december monday tuesday wednesday thursday friday saturday sunday \
    just known large last late later least left less life like line list little located long made main major man many may me \
    men might more most much must my name named near never new next no north northern not notable now number of off often old \
    on once one only or order other others our out over own part people place population public river same second section see \
    seen several she should since six small so some south southern state still such ten than that the their them then there \
    these they third this those though three through thus time to today together town two under united until up upon use used \
    using very village was water way we well were west western what when where which while who whose why will with within \
    without work world would year years yes yet you young your";

/// The built-in list and the configured words, lower-cased.
pub(crate) fn stop_words(config: &EntitiesConfig) -> HashSet<String> {
    let configured = config.stop_words.iter().map(|word| word.to_lowercase());
    COMMON_WORDS.split_whitespace().map(str::to_owned).chain(configured).collect()
}

/// The configuration with the language of the corpus where it names none.
pub(crate) fn with_language(config: &EntitiesConfig, out: &Path, stage: StageName) -> Result<EntitiesConfig> {
    let mut config = config.clone();
    if config.language.is_empty()
        && let Some(article) = articles(out, stage)?.next()
    {
        config.language = match locale::language_of_address(&article?.url) {
            Some(language) => language.to_owned(),
            None => {
                let passages = Passages::open(out, stage)?;
                rules::language_of(&passages.read(0..passages.len().min(100))?).to_owned()
            }
        };
    }
    Ok(config)
}

/// The names of a corpus, from its redirects and articles.
pub(crate) fn gazetteer(out: &Path, config: &EntitiesConfig, stage: StageName) -> Result<Gazetteer> {
    let mut builder = GazetteerBuilder::new(config);
    for redirect in redirects(out, stage)? {
        builder.redirect(&redirect?);
    }
    for article in articles(out, stage)? {
        builder.article(&article?);
    }
    Ok(builder.build())
}

/// All names of every page of a corpus; the configuration has its language ([`with_language`]).
pub(crate) fn aliases(out: &Path, config: &EntitiesConfig, stage: StageName) -> Result<Aliases> {
    Aliases::read(config, redirects(out, stage)?, articles(out, stage)?)
}

/// The words of dates and numbers in the language of a corpus.
pub(crate) fn locale(out: &Path, config: &EntitiesConfig, stage: StageName) -> Result<Arc<Locale>> {
    Ok(Locale::of(&with_language(config, out, stage)?.language))
}

/// How often each name is a link where it stands, from passages at even distances.
pub(crate) fn count_links(gazetteer: &mut Gazetteer, out: &Path) -> Result<()> {
    /// Passages that are looked at: some ten seconds of work, enough for every frequent word.
    const MOST: u64 = 1 << 16;
    const BLOCK: u64 = 64;
    let passages = Passages::open(out, StageName::Entities)?;
    let mut counts = vec![(0, 0); gazetteer.len()];
    let step = (passages.len() / MOST).max(1);
    for block in (0..passages.len().div_ceil(BLOCK)).filter(|block| block % step == 0) {
        let first = block * BLOCK;
        for passage in passages.read(first..(first + BLOCK).min(passages.len()))? {
            links::count(gazetteer, &passage, &mut counts);
        }
    }
    gazetteer.set_linked(&counts);
    Ok(())
}

/// A text that is no passage of a corpus, as one.
pub fn plain_passage(text: &str) -> Passage {
    Passage {
        id: 0,
        article_id: 0,
        url: String::new(),
        title: String::new(),
        section: String::new(),
        text: text.to_owned(),
        span: 0..text.len(),
        char_start: 0,
        num_words: 0,
        revision_id: 0,
        links: Vec::new(),
    }
}

/// The mentions of a text that is no passage of a corpus; its paragraphs are taken as passages of one article.
///
/// # Errors
/// If the back-end fails.
pub fn tag_text(backend: &dyn EntityBackend, text: &str) -> Result<Vec<Entity>> {
    let paragraphs = paragraphs(text);
    let passages: Vec<Passage> = paragraphs.iter().map(|span| plain_passage(&text[span.clone()])).collect();
    let index = ScalarIndex::new(text);
    let mut entities = Vec::new();
    for (paragraph, found) in paragraphs.iter().zip(backend.mentions(&passages)?) {
        for entity in found {
            let span = entity.span.start + paragraph.start..entity.span.end + paragraph.start;
            entities.extend(Entity::new(&index, span, entity.label, entity.source, entity.target));
        }
    }
    Ok(entities)
}

/// Stretches of a text between blank lines, without the line breaks around them.
fn paragraphs(text: &str) -> Vec<Range<usize>> {
    let mut paragraphs: Vec<Range<usize>> = Vec::new();
    let (mut at, mut open) = (0, false);
    for line in text.split_inclusive('\n') {
        let end = at + line.trim_end_matches(['\n', '\r']).len();
        if line.trim().is_empty() {
            open = false;
        } else if let (true, Some(last)) = (open, paragraphs.last_mut()) {
            last.end = end;
        } else {
            paragraphs.push(at..end);
            open = true;
        }
        at += line.len();
    }
    paragraphs
}

/// The passages of one shard.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    first_passage: u64,
    end_passage: u64,
    /// Where the spans of its passages begin, if they are read from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spans: Option<Place>,
}

pub(crate) struct EntitiesStage<'a> {
    pub(crate) config: &'a EntitiesConfig,
    pub(crate) out: &'a Path,
}

impl EntitiesStage<'_> {
    fn inputs(&self) -> Result<Vec<Input>> {
        let mut inputs = vec![StageFolder::manifest_input(self.out, StageName::Ingest, StageName::Entities)?];
        inputs.extend(self.config.inputs()?);
        Ok(inputs)
    }
}

impl Stage for EntitiesStage<'_> {
    fn name(&self) -> StageName {
        StageName::Entities
    }

    /// Not where the model or the spans lie, as their files are inputs.
    fn configuration(&self) -> serde_json::Value {
        to_value(&EntitiesConfig { model: String::new(), spans: String::new(), ..self.config.clone() })
    }

    fn plan(&self) -> Result<Plan> {
        let inputs = self.inputs()?;
        let total = Passages::open(self.out, StageName::Entities)?.len();
        let size = self.config.passages_per_shard;
        let first: Vec<u64> = (0..total.div_ceil(size)).map(|shard| shard * size).collect();
        let places = match self.config.backend == BackendName::Spans {
            true => spans::places(Path::new(&self.config.spans), &first, total)?,
            false => Vec::new(),
        };
        let of_shard = |(shard, &first_passage): (usize, &u64)| {
            let end_passage = (first_passage + size).min(total);
            to_value(&Work { first_passage, end_passage, spans: places.get(shard).copied() })
        };
        let work = first.iter().enumerate().map(of_shard).collect();
        Ok(Plan::new(self.name(), VERSION, self.configuration(), inputs, work))
    }

    fn fits(&self, stored: &Plan) -> Result<bool> {
        let same = stored.version == VERSION && stored.configuration == self.configuration();
        Ok(same && stored.inputs == self.inputs()?)
    }

    fn open(&self, folder: &StageFolder) -> Result<Box<dyn ShardRunner + '_>> {
        let finder = match self.config.backend == BackendName::Spans {
            true => Finder::Spans(PathBuf::from(&self.config.spans)),
            false => Finder::Backend(open_backend(self.config, Some(self.out))?),
        };
        let passages = Passages::open(self.out, self.name())?;
        Ok(Box::new(Runner { finder, passages, folder: folder.clone() }))
    }
}

/// Where mentions come from.
enum Finder {
    Backend(Box<dyn EntityBackend>),
    /// A file of spans.
    Spans(PathBuf),
}

/// The same in one shard, whose passages come in order.
enum ShardFinder<'f> {
    Backend(&'f dyn EntityBackend),
    Spans(SpanReader),
}

impl ShardFinder<'_> {
    fn find(&mut self, passages: &[Passage], output: &mut ShardOutput) -> Result<Vec<Vec<Entity>>> {
        match self {
            Self::Backend(backend) => {
                let found = chunks(passages).into_par_iter().map(|chunk| backend.mentions(&passages[chunk]));
                Ok(found.collect::<Result<Vec<_>>>()?.concat())
            }
            Self::Spans(spans) => passages.iter().map(|passage| spans.of(passage, output)).collect(),
        }
    }
}

struct Runner {
    finder: Finder,
    passages: Passages,
    folder: StageFolder,
}

impl ShardRunner for Runner {
    fn run(&self, shard: &PlannedShard, num_shards: usize, progress: &dyn Progress) -> Result<ShardOutput> {
        let work: Work = work_of(shard, StageName::Entities)?;
        let relative = format!("data/entities-{}.parquet", shard_name(shard.index, num_shards));
        let mut writer = TableWriter::create(&self.folder.join(&relative))?;
        let mut output = ShardOutput::default();
        let mut finder = match &self.finder {
            Finder::Backend(backend) => ShardFinder::Backend(&**backend),
            Finder::Spans(path) => ShardFinder::Spans(SpanReader::open(path, work.spans.unwrap_or_default())?),
        };
        let mut first = work.first_passage;
        while first < work.end_passage {
            if progress.stopping() {
                return Err(PipelineError::Stopped);
            }
            let mut passages = self.passages.read(first..(first + BATCH).min(work.end_passage))?;
            // An article that goes on behind the batch is left to the next one, if it is not the batch.
            if first + (passages.len() as u64) < work.end_passage
                && let Some(last) = links::texts(&passages).pop().filter(|last| last.start > 0)
            {
                passages.truncate(last.start);
            }
            let end = first + passages.len() as u64;
            let found = finder.find(&passages, &mut output)?;
            for (passage, entities) in passages.iter().zip(found) {
                for entity in &entities {
                    output.count(source_count(entity.source), 1);
                }
                if entities.is_empty() {
                    output.count("passages_without_mentions", 1);
                }
                writer.push(PassageEntities { passage_id: passage.id, entities })?;
            }
            progress.advanced(StageName::Entities, shard.index, end - first);
            first = end;
        }
        let summary = writer.finish()?;
        output.rows.insert("entities".into(), summary.rows);
        output.files.push(FileRecord { path: relative, bytes: summary.bytes, hash: summary.hash });
        Ok(output)
    }
}

/// Whole articles together, at least [`CHUNK`] passages at a time: what is done in parallel does not depend on it.
fn chunks(passages: &[Passage]) -> Vec<Range<usize>> {
    const CHUNK: usize = 64;
    let mut chunks: Vec<Range<usize>> = Vec::new();
    for text in links::texts(passages) {
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.end = text.end,
            _ => chunks.push(text),
        }
    }
    chunks
}

fn source_count(source: EntitySource) -> &'static str {
    match source {
        EntitySource::Link => "mentions_from_links",
        EntitySource::Gazetteer => "mentions_from_gazetteer",
        EntitySource::Rule => "mentions_from_rules",
        EntitySource::Shape => "mentions_from_shapes",
        EntitySource::Model => "mentions_from_model",
    }
}

#[cfg(test)]
mod tests {
    use memtrain_corpora::Link;

    use super::*;

    #[test]
    fn links_names_and_rules_together() {
        let config = EntitiesConfig::default();
        let backend = LinksBackend::new(GazetteerBuilder::new(&config).build(), &config);
        let text = "Ana Lund of Ost was born on 3 May 1901.";
        let passage = Passage {
            id: 0,
            article_id: 1,
            url: String::new(),
            title: "Ana Lund".into(),
            section: String::new(),
            text: text.into(),
            span: 0..text.len(),
            char_start: 0,
            num_words: 10,
            revision_id: 1,
            links: vec![Link { span: 12..15, target: "Ost".into() }],
        };
        let found = backend.mentions(std::slice::from_ref(&passage)).unwrap().remove(0);
        let surfaces: Vec<_> = found.iter().map(|e| e.surface.as_str()).collect();
        assert_eq!(surfaces, ["Ana Lund", "Ost", "3 May 1901"]);
        assert!(found.iter().all(|e| text[e.span.clone()] == e.surface));
    }
}
