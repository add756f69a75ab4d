//! BM25 over tantivy indexes, one a shard: k1 = 1.2, b = 0.75 (tantivy's own constants), with the statistics of all
//! shards together, so that scores do not depend on how the passages are spread.
//!
//! A shard is one segment whose documents stand in the order of the passages, so that equal scores fall in that order.

mod read_only;
mod write;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tantivy::collector::TopDocs;
use tantivy::columnar::Column;
use tantivy::directory::MmapDirectory;
use tantivy::query::{Bm25StatisticsProvider, BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{DocAddress, IndexReader, ReloadPolicy, Searcher, TantivyDocument, Term};

use self::read_only::ReadOnlyDirectory;
pub(crate) use self::write::{Words, write};

use crate::{Hit, IndexError, Language, analysis};

const ANALYZER: &str = "memtrain";
/// The one segment of a shard.
const SEGMENT: u32 = 0;

#[derive(Clone, Copy, Debug)]
struct Fields {
    passage_id: Field,
    article_id: Field,
    /// Two values: the title, the text.
    text: Field,
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let words = TextFieldIndexing::default().set_tokenizer(ANALYZER).set_index_option(IndexRecordOption::WithFreqs);
    let fields = Fields {
        passage_id: schema.add_u64_field("passage_id", FAST),
        article_id: schema.add_u64_field("article_id", FAST),
        text: schema.add_text_field("text", TextOptions::default().set_indexing_options(words) | STORED),
    };
    (schema.build(), fields)
}

fn failed(action: &'static str, path: &Path) -> impl Fn(tantivy::TantivyError) -> IndexError {
    move |source| IndexError::Lexical { action, path: path.to_path_buf(), source: Box::new(source) }
}

/// One shard.
struct LexicalShard {
    path: PathBuf,
    first_row: usize,
    num_rows: usize,
    searcher: Searcher,
    /// `None` for a shard of nothing.
    article_ids: Option<Column<u64>>,
}

/// An open lexical index.
pub(crate) struct Lexical {
    shards: Vec<LexicalShard>,
    fields: Fields,
    analyzer: TextAnalyzer,
    num_passages: usize,
}

impl Lexical {
    /// Opens shards that follow one another.
    pub(crate) fn open(dirs: &[PathBuf], language: Language) -> Result<Self, IndexError> {
        let analyzer = analysis::analyzer(language);
        let (_, fields) = schema();
        let mut shards = dirs.par_iter().map(|dir| open_shard(dir, &analyzer)).collect::<Result<Vec<_>, _>>()?;
        let mut num_passages = 0;
        for shard in &mut shards {
            shard.first_row = num_passages;
            num_passages += shard.num_rows;
        }
        Ok(Self { shards, fields, analyzer, num_passages })
    }

    pub(crate) fn num_passages(&self) -> usize {
        self.num_passages
    }

    /// The number of passages of each shard.
    pub(crate) fn shard_lens(&self) -> impl Iterator<Item = usize> + '_ {
        self.shards.iter().map(|shard| shard.num_rows)
    }

    fn shard_of(&self, row: usize) -> &LexicalShard {
        &self.shards[self.shards.partition_point(|shard| shard.first_row <= row) - 1]
    }

    /// Page id of the article of a passage.
    pub(crate) fn article_id(&self, row: usize) -> u64 {
        let shard = self.shard_of(row);
        let id = shard.article_ids.as_ref().and_then(|column| column.first((row - shard.first_row) as u32));
        id.unwrap_or_default()
    }

    /// Title and text of a passage.
    pub(crate) fn text(&self, row: usize) -> Result<(String, String), IndexError> {
        let shard = self.shard_of(row);
        let at = DocAddress::new(SEGMENT, (row - shard.first_row) as u32);
        let document: TantivyDocument = shard.searcher.doc(at).map_err(failed("read", &shard.path))?;
        let mut values = document.get_all(self.fields.text).filter_map(|value| value.as_str().map(str::to_owned));
        values.next().zip(values.next()).ok_or_else(|| {
            let detail = format!("row {} has no text", row - shard.first_row);
            IndexError::Corrupt { path: shard.path.clone(), detail }
        })
    }

    /// The passages nearest to a text, best first, equals by row. With `max_terms` the text is a passage, not a
    /// question: only its most telling words are asked for, by count × idf, and each counts by that weight, without
    /// which the words that all passages share drown the names (measured in `docs/lab/retrieval.md`).
    ///
    /// Passages are not left out here but by the caller: a clause that excludes would keep tantivy from skipping the
    /// blocks of posting lists that cannot come in.
    pub(crate) fn nearest(
        &self,
        text: &str,
        max_terms: Option<usize>,
        num_hits: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        let weighted = self.telling_terms(text, max_terms)?;
        if weighted.is_empty() || num_hits == 0 {
            return Ok(Vec::new());
        }
        let clause = |(weight, term): (f32, Term)| -> (Occur, Box<dyn Query>) {
            let query: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
            let weighted = |query| -> Box<dyn Query> { Box::new(BoostQuery::new(query, weight)) };
            (Occur::Should, if max_terms.is_some() { weighted(query) } else { query })
        };
        let query = BooleanQuery::new(weighted.into_iter().map(clause).collect());
        let mut hits = Vec::new();
        for shard in &self.shards {
            let collector = TopDocs::with_limit(num_hits.min(shard.num_rows.max(1))).order_by_score();
            let found = shard.searcher.search_with_statistics_provider(&query, &collector, self);
            let found = found.map_err(failed("search", &shard.path))?;
            let id = |at: DocAddress| (shard.first_row + at.doc_id as usize) as u64;
            hits.extend(found.into_iter().map(|(score, at)| Hit { passage_id: id(at), score }));
        }
        hits.sort_unstable_by(Hit::best_first);
        hits.truncate(num_hits);
        Ok(hits)
    }

    /// The words of a text that some passage holds and their weights, the most telling first when only some are
    /// wanted.
    pub(crate) fn telling_terms(&self, text: &str, max_terms: Option<usize>) -> Result<Vec<(f32, Term)>, IndexError> {
        let num_passages = self.num_passages as f32;
        let mut weighted = Vec::new();
        for (word, count) in analysis::term_counts(&mut self.analyzer.clone(), text) {
            let term = Term::from_field_text(self.fields.text, &word);
            let mut frequency = 0;
            for shard in &self.shards {
                frequency += shard.searcher.doc_freq(&term).map_err(failed("search", &shard.path))?;
            }
            if frequency > 0 {
                let frequency = frequency as f32;
                let idf = ((num_passages - frequency + 0.5) / (frequency + 0.5)).ln_1p();
                weighted.push((count as f32 * idf, term));
            }
        }
        if let Some(max_terms) = max_terms.filter(|&max| max < weighted.len()) {
            // The sort is stable: words of equal weight stay in their order.
            weighted.sort_by(|a, b| b.0.total_cmp(&a.0));
            weighted.truncate(max_terms);
        }
        Ok(weighted)
    }
}

/// The statistics of all shards.
impl Bm25StatisticsProvider for Lexical {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.shards.iter().map(|shard| shard.searcher.total_num_tokens(field)).sum()
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.num_passages as u64)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        self.shards.iter().map(|shard| shard.searcher.doc_freq(term)).sum()
    }
}

fn open_shard(dir: &Path, analyzer: &TextAnalyzer) -> Result<LexicalShard, IndexError> {
    let fail = failed("open", dir);
    let files = MmapDirectory::open(dir).map_err(|error| fail(error.into()))?;
    let index = tantivy::Index::open(ReadOnlyDirectory(files)).map_err(&fail)?;
    let corrupt = |detail: &str| IndexError::Corrupt { path: dir.to_path_buf(), detail: detail.to_owned() };
    if index.schema() != schema().0 {
        return Err(corrupt("it has other fields than a lexical index"));
    }
    index.tokenizers().register(ANALYZER, analyzer.clone());
    let reader: IndexReader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(&fail)?;
    let searcher = reader.searcher();
    let (num_rows, article_ids) = match searcher.segment_readers() {
        [] => (0, None),
        [segment] => (segment.max_doc() as usize, Some(segment.fast_fields().u64("article_id").map_err(&fail)?)),
        _ => return Err(corrupt("its passages are not one segment")),
    };
    Ok(LexicalShard { path: dir.to_path_buf(), first_row: 0, num_rows, searcher, article_ids })
}
