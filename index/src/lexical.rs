//! BM25 over a tantivy index: k1 = 1.2, b = 0.75 (tantivy's own constants).
//!
//! One segment whose documents stand in the order of passage ids, so that equal scores fall in that order, and two
//! builds give the same answers although tantivy names its files at random.

use std::path::{Path, PathBuf};

use memtrain_corpora::{Passage, store};
use tantivy::collector::TopDocs;
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{
    DocAddress, IndexReader, IndexSettings, IndexSortByField, Order, ReloadPolicy, Searcher, TantivyDocument, Term,
};

use crate::analysis;
use crate::{Hit, IndexConfig, IndexError, Language};

const ANALYZER: &str = "memtrain";
/// The one segment of the index.
const SEGMENT: u32 = 0;

#[derive(Clone, Copy, Debug)]
struct Fields {
    passage_id: Field,
    article_id: Field,
    text: Field,
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let words = TextFieldIndexing::default().set_tokenizer(ANALYZER).set_index_option(IndexRecordOption::WithFreqs);
    let fields = Fields {
        passage_id: schema.add_u64_field("passage_id", FAST | INDEXED),
        article_id: schema.add_u64_field("article_id", FAST | INDEXED),
        text: schema.add_text_field("text", TextOptions::default().set_indexing_options(words) | STORED),
    };
    (schema.build(), fields)
}

/// What of a passage is indexed: its title and its text.
pub(crate) fn indexed_text(passage: &Passage) -> String {
    format!("{}\n{}", passage.title, passage.text)
}

fn failed(action: &'static str, path: &Path) -> impl Fn(tantivy::TantivyError) -> IndexError {
    move |source| IndexError::Lexical { action, path: path.to_path_buf(), source: Box::new(source) }
}

/// Writes the lexical index into an empty folder and returns the number of passages.
pub(crate) fn build<E>(
    passages: impl Iterator<Item = Result<Passage, E>>,
    dir: &Path,
    config: &IndexConfig,
) -> Result<u64, IndexError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    store::create_dir_all(dir)?;
    let (schema, fields) = schema();
    let sort = IndexSortByField { field: "passage_id".to_owned(), order: Order::Asc };
    let index = tantivy::Index::builder()
        .schema(schema)
        .settings(IndexSettings { sort_by_field: Some(sort), ..IndexSettings::default() })
        .create_in_dir(dir)
        .map_err(failed("create", dir))?;
    index.tokenizers().register(ANALYZER, analysis::analyzer(config.language));
    let fail = failed("write", dir);
    let mut writer = index.writer_with_num_threads(1, config.writer_memory_mib << 20).map_err(&fail)?;
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut previous: Option<u64> = None;
    let mut num_passages = 0;
    for passage in passages {
        let passage = passage.map_err(|source| IndexError::Passages(Box::new(source)))?;
        if let Some(previous) = previous.filter(|&previous| previous >= passage.id) {
            return Err(IndexError::Order { previous, got: passage.id });
        }
        previous = Some(passage.id);
        let mut document = TantivyDocument::new();
        document.add_u64(fields.passage_id, passage.id);
        document.add_u64(fields.article_id, passage.article_id);
        document.add_text(fields.text, indexed_text(&passage));
        writer.add_document(document).map_err(&fail)?;
        num_passages += 1;
    }
    writer.commit().map_err(&fail)?;
    let segments = index.searchable_segment_ids().map_err(&fail)?;
    if segments.len() > 1 {
        writer.merge(&segments).wait().map_err(&fail)?;
        writer.garbage_collect_files().wait().map_err(&fail)?;
    }
    writer.wait_merging_threads().map_err(&fail)?;
    Ok(num_passages)
}

/// An open lexical index.
pub(crate) struct Lexical {
    path: PathBuf,
    searcher: Searcher,
    fields: Fields,
    analyzer: TextAnalyzer,
    /// Passage and article ids by row.
    pub(crate) passage_ids: Vec<u64>,
    pub(crate) article_ids: Vec<u64>,
}

impl Lexical {
    pub(crate) fn open(dir: &Path, language: Language) -> Result<Self, IndexError> {
        let fail = failed("open", dir);
        let index = tantivy::Index::open_in_dir(dir).map_err(&fail)?;
        let (expected, fields) = schema();
        let corrupt = |detail: String| IndexError::Corrupt { path: dir.to_path_buf(), detail };
        if index.schema() != expected {
            return Err(corrupt("it has other fields than a lexical index".to_owned()));
        }
        let analyzer = analysis::analyzer(language);
        index.tokenizers().register(ANALYZER, analyzer.clone());
        let reader: IndexReader =
            index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(&fail)?;
        let searcher = reader.searcher();
        let ids = |field: &str| -> Result<Vec<u64>, IndexError> {
            let Some(segment) = searcher.segment_readers().first() else { return Ok(Vec::new()) };
            let column = segment.fast_fields().u64(field).map_err(&fail)?;
            Ok((0..segment.max_doc()).filter_map(|doc| column.first(doc)).collect())
        };
        let (passage_ids, article_ids) = (ids("passage_id")?, ids("article_id")?);
        if searcher.segment_readers().len() > 1 || !passage_ids.is_sorted_by(|a, b| a < b) {
            return Err(corrupt("its passages are not one segment in order".to_owned()));
        }
        Ok(Self { path: dir.to_path_buf(), searcher, fields, analyzer, passage_ids, article_ids })
    }

    pub(crate) fn num_passages(&self) -> usize {
        self.passage_ids.len()
    }

    /// Title and text of a passage.
    pub(crate) fn text(&self, row: usize) -> Result<String, IndexError> {
        let document: TantivyDocument =
            self.searcher.doc(DocAddress::new(SEGMENT, row as u32)).map_err(failed("read", &self.path))?;
        let text = document.get_first(self.fields.text).and_then(|value| value.as_str().map(str::to_owned));
        text.ok_or_else(|| IndexError::Corrupt { path: self.path.clone(), detail: format!("row {row} has no text") })
    }

    /// The passages nearest to a text. With `max_terms` the text is a passage, not a question: only its most telling
    /// words are asked for, by count × idf, and each counts by that weight, without which the words that all passages
    /// share drown the names (measured in `docs/lab/retrieval.md`).
    pub(crate) fn nearest(
        &self,
        text: &str,
        max_terms: Option<usize>,
        num_hits: usize,
        without: Option<Without>,
    ) -> Result<Vec<Hit>, IndexError> {
        let fail = failed("search", &self.path);
        let mut query: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for (weight, term) in self.telling_terms(text, max_terms).map_err(&fail)? {
            let term: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
            query.push((
                Occur::Should,
                if max_terms.is_some() { Box::new(BoostQuery::new(term, weight)) } else { term },
            ));
        }
        if query.is_empty() || num_hits == 0 {
            return Ok(Vec::new());
        }
        if let Some(without) = without {
            let term = match without {
                Without::Passage(id) => Term::from_field_u64(self.fields.passage_id, id),
                Without::Article(id) => Term::from_field_u64(self.fields.article_id, id),
            };
            query.push((Occur::MustNot, Box::new(TermQuery::new(term, IndexRecordOption::Basic))));
        }
        let collector = TopDocs::with_limit(num_hits).order_by_score();
        let found = self.searcher.search(&BooleanQuery::new(query), &collector).map_err(&fail)?;
        let hit = |(score, at): (f32, DocAddress)| Hit { passage_id: self.passage_ids[at.doc_id as usize], score };
        Ok(found.into_iter().map(hit).collect())
    }

    /// The words of a text that some passage holds and their weights, the most telling first when only some are
    /// wanted.
    fn telling_terms(&self, text: &str, max_terms: Option<usize>) -> tantivy::Result<Vec<(f32, Term)>> {
        let num_passages = self.num_passages() as f32;
        let mut weighted = Vec::new();
        for (word, count) in analysis::term_counts(&mut self.analyzer.clone(), text) {
            let term = Term::from_field_text(self.fields.text, &word);
            let frequency = self.searcher.doc_freq(&term)? as f32;
            if frequency > 0.0 {
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

/// What an answer must not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    Passage(u64),
    Article(u64),
}
