//! Statistics of a corpus: lengths, kinds, answers, rejections.
//!
//! [`statistics`] reads the tables that the stages have committed, only the columns it needs and a batch at a time, and
//! counts them with polars. Of texts it reads those of a split's first thousand documents. Memory grows with distinct
//! values (answers, lengths), not with rows.
//!
//! This is a crate of its own because polars takes longer to compile than anything else here: nothing waits for it.

mod columns;
mod report;
mod tally;

use std::collections::BTreeMap;
use std::path::Path;

use memtrain_corpora::store::{Row, StoreError, TableReader};
use memtrain_corpora::{Document, Passage, PassageEntities, Split};
use memtrain_pipeline::evidence::{self, EvidenceStatistics};
use memtrain_pipeline::{PipelineError, StageName, documents, tables};
use serde::Serialize;

use columns::{Columns, words};
use tally::Tally;

pub use report::report;
pub use tally::{Distribution, Share, Shares};

/// Result of this crate.
pub type Result<T, E = StatisticsError> = std::result::Result<T, E>;

/// Why a corpus could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum StatisticsError {
    /// A stage's manifest could not be read, or nothing is committed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A table could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A column is not what the table's version says.
    #[error("column `{name}` is missing or of another type")]
    Column {
        /// The column.
        name: &'static str,
    },
    /// The counting failed.
    #[error("cannot count a column")]
    Polars(#[from] polars::error::PolarsError),
}

/// Most frequent answers that are listed.
const ANSWERS: usize = 10;
/// Documents of a split whose texts are read.
const READ: usize = 1_000;
/// Labels and sources that are listed: all there are.
const ALL: usize = usize::MAX;

/// What a corpus is like. What no stage has made yet is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Documents by split; splits without documents are absent.
    pub documents: BTreeMap<String, DocumentStatistics>,
    /// What happened while documents were drawn.
    pub synthesis: Option<Synthesis>,
    /// Passages and articles.
    pub passages: Option<PassageStatistics>,
    /// Mentions of entities.
    pub entities: Option<EntityStatistics>,
}

/// The documents of a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentStatistics {
    /// How many.
    pub count: u64,
    /// Tokens of the policy's tokenizer a document.
    pub tokens: Distribution,
    /// Unicode scalars a document.
    pub characters: Distribution,
    /// Placeholders a document.
    pub masks: Distribution,
    /// Passages a document.
    pub passages: Distribution,
    /// Related passages a document.
    pub related: Distribution,
    /// Random passages a document.
    pub random: Distribution,
    /// Entities a document that can be asked for.
    pub entities: Distribution,
    /// Kinds of the hidden entities.
    pub labels: Shares,
    /// Kinds of the entities that can be asked for.
    pub entity_labels: Shares,
    /// The hidden entities, the most frequent first.
    pub answers: Shares,
    /// What bears on the hidden entities, and what gives them away.
    pub evidence: EvidenceStatistics,
}

/// What happened while documents were drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Synthesis {
    /// Documents drawn, good or not.
    pub attempts: u64,
    /// Those that were rejected, by cause, as shares of `attempts`.
    pub rejections: Shares,
    /// What was adjusted or is missing, by cause.
    pub adjustments: BTreeMap<String, u64>,
}

/// Passages and the articles they come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassageStatistics {
    /// How many passages.
    pub count: u64,
    /// Words a passage.
    pub words: Distribution,
    /// Passages an article that has any.
    pub per_article: Distribution,
    /// Words in the passages of an article that has any.
    pub words_per_article: Distribution,
    /// What ingest left out, by cause.
    pub left_out: BTreeMap<String, u64>,
}

/// Mentions of entities in passages.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntityStatistics {
    /// Mentions a passage.
    pub per_passage: Distribution,
    /// Their kinds.
    pub labels: Shares,
    /// How they were found.
    pub sources: Shares,
}

/// Counts the corpus in a folder.
///
/// # Errors
/// If no stage has been finished there, or a table cannot be read.
pub fn statistics(corpus: &Path) -> Result<Statistics> {
    let mut all = Statistics { documents: BTreeMap::new(), synthesis: None, passages: None, entities: None };
    if tables::manifest(corpus, StageName::Ingest)?.is_some() {
        all.passages = passages(corpus)?;
    }
    if tables::manifest(corpus, StageName::Entities)?.is_some() {
        all.entities = entities(corpus)?;
    }
    if let Some(manifest) = tables::manifest(corpus, StageName::Synthesize)? {
        for split in [Split::Train, Split::Heldout] {
            if let Some(of_split) = documents_of(corpus, split)? {
                all.documents.insert(split.as_str().to_owned(), of_split);
            }
        }
        let made = all.documents.values().map(|split| split.count).sum();
        all.synthesis = Some(synthesis(&manifest.counts, made));
    }
    if all.passages.is_none() && all.entities.is_none() && all.synthesis.is_none() {
        return Err(PipelineError::NotReady { stage: StageName::Entities, needs: StageName::Ingest }.into());
    }
    Ok(all)
}

fn synthesis(counts: &BTreeMap<String, u64>, made: u64) -> Synthesis {
    let rejected = |cause: &str| cause.strip_prefix("rejected_").map(|cause| cause.replace('_', " "));
    let total: u64 = counts.iter().filter(|(cause, _)| rejected(cause).is_some()).map(|(_, count)| count).sum();
    let attempts = made + total;
    let mut first: Vec<Share> = counts
        .iter()
        .filter_map(|(cause, &count)| {
            Some(Share { value: rejected(cause)?, count, share: count as f64 / attempts.max(1) as f64 })
        })
        .collect();
    first.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
    let others = counts.iter().filter(|(cause, _)| *cause != "tokens" && rejected(cause).is_none());
    Synthesis {
        attempts,
        rejections: Shares { total, distinct: first.len() as u64, first },
        adjustments: others.map(|(cause, &count)| (cause.clone(), count)).collect(),
    }
}

/// Reads columns of a table of several files, batch by batch.
fn each_batch<R: Row + Clone>(
    files: &[std::path::PathBuf],
    names: &[&str],
    mut each: impl FnMut(&Columns<'_>) -> Result<()>,
) -> Result<()> {
    for path in files {
        let table = TableReader::<R>::open(path)?;
        for batch in table.columns(names)? {
            each(&Columns(&batch?))?;
        }
    }
    Ok(())
}

fn documents_of(corpus: &Path, split: Split) -> Result<Option<DocumentStatistics>> {
    let names = [
        "num_tokens",
        "num_masks",
        "label",
        "answer",
        "passages.list.item.role",
        "passages.list.item.char_end",
        "entities.list.item.label",
    ];
    let mut numbers: [Tally; 7] = std::array::from_fn(|_| Tally::new());
    let (mut labels, mut entity_labels, mut answers) = (Tally::new(), Tally::new(), Tally::new());
    each_batch::<Document>(&documents::files(corpus, split)?, &names, |columns| {
        let (passages, entities) = (columns.lists("passages")?, columns.lists("entities")?);
        let lengths = passages.lengths();
        let roles = passages.words("role")?;
        let mut role = words(roles);
        let (mut related, mut random) = (Vec::new(), Vec::new());
        for &length in &lengths {
            let of_row: Vec<&str> = role.by_ref().take(usize::try_from(length).unwrap_or(0)).collect();
            related.push(of_row.iter().filter(|role| **role == "related").count() as u64);
            random.push(of_row.iter().filter(|role| **role == "random").count() as u64);
        }
        let all = [
            columns.numbers("num_tokens")?,
            // The text ends with its last passage.
            passages.last_numbers("char_end")?,
            columns.numbers("num_masks")?,
            lengths,
            related,
            random,
            entities.lengths(),
        ];
        for (tally, values) in numbers.iter_mut().zip(&all) {
            tally.numbers(values)?;
        }
        labels.words(words(columns.words("label")?))?;
        answers.words(words(columns.words("answer")?))?;
        entity_labels.words(words(entities.words("label")?))?;
        Ok(())
    })?;
    let mut found = Vec::with_capacity(numbers.len());
    for tally in &numbers {
        found.extend(tally.distribution()?);
    }
    let [tokens, characters, masks, passages, related, random, entities] = found[..] else { return Ok(None) };
    let Some(evidence) = evidence::evidence(corpus, split, READ)? else { return Ok(None) };
    Ok(Some(DocumentStatistics {
        count: tokens.count,
        tokens,
        characters,
        masks,
        passages,
        related,
        random,
        entities,
        labels: labels.shares(ALL)?,
        entity_labels: entity_labels.shares(ALL)?,
        answers: answers.shares(ANSWERS)?,
        evidence,
    }))
}

fn passages(corpus: &Path) -> Result<Option<PassageStatistics>> {
    let files = tables::files_of::<Passage>(corpus, StageName::Ingest)?;
    let (mut lengths, mut per_article, mut words_per_article) = (Tally::new(), Tally::new(), Tally::new());
    // Passages of an article stand together: article, passages, words.
    let mut open: Option<(u64, u64, u64)> = None;
    each_batch::<Passage>(&files, &["article_id", "num_words"], |columns| {
        let (articles, words) = (columns.numbers("article_id")?, columns.numbers("num_words")?);
        let (mut counts, mut sums) = (Vec::new(), Vec::new());
        for (&article, &words) in articles.iter().zip(&words) {
            match &mut open {
                Some((id, count, sum)) if *id == article => {
                    *count += 1;
                    *sum += words;
                }
                _ => {
                    let closed = open.replace((article, 1, words));
                    counts.extend(closed.map(|(_, count, _)| count));
                    sums.extend(closed.map(|(.., sum)| sum));
                }
            }
        }
        lengths.numbers(&words)?;
        per_article.numbers(&counts)?;
        words_per_article.numbers(&sums)?;
        Ok(())
    })?;
    if let Some((_, count, sum)) = open {
        per_article.numbers(&[count])?;
        words_per_article.numbers(&[sum])?;
    }
    let left_out = tables::manifest(corpus, StageName::Ingest)?.map(|manifest| manifest.counts).unwrap_or_default();
    let found = (lengths.distribution()?, per_article.distribution()?, words_per_article.distribution()?);
    let (Some(words), Some(per_article), Some(words_per_article)) = found else { return Ok(None) };
    Ok(Some(PassageStatistics { count: words.count, words, per_article, words_per_article, left_out }))
}

fn entities(corpus: &Path) -> Result<Option<EntityStatistics>> {
    let files = tables::files_of::<PassageEntities>(corpus, StageName::Entities)?;
    let (mut counts, mut labels, mut sources) = (Tally::new(), Tally::new(), Tally::new());
    let names = ["entities.list.item.label", "entities.list.item.source"];
    each_batch::<PassageEntities>(&files, &names, |columns| {
        let entities = columns.lists("entities")?;
        counts.numbers(&entities.lengths())?;
        labels.words(words(entities.words("label")?))?;
        sources.words(words(entities.words("source")?))?;
        Ok(())
    })?;
    let (labels, sources) = (labels.shares(ALL)?, sources.shares(ALL)?);
    Ok(counts.distribution()?.map(|per_passage| EntityStatistics { per_passage, labels, sources }))
}
