//! Evidence in a document for its hidden entity, and words that give the entity away.
//!
//! The shares of [`EvidenceStatistics`] say whether a corpus asks for memory: an entity that is mentioned in the pivot
//! alone cannot be restored from the rest of the document, one whose other forms stand in the text need not be
//! remembered.

use std::collections::HashMap;
use std::path::Path;

use memtrain_corpora::document::MASK;
use memtrain_corpora::mask::{Matching, occurrences_of_any};
use memtrain_corpora::{Document, PassageArticle, PassageHead, PassageRole, Split};
use serde::Serialize;

use crate::config::EntitiesConfig;
use crate::documents::documents;
use crate::entities::{Locale, classify, locale};
use crate::error::Result;
use crate::stage::StageName;
use crate::synthesize::{is_beside_capital, other_forms};
use crate::tables::Passages;

/// Shares of documents; each is between 0 and 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvidenceStatistics {
    /// Documents that were read: the first of the split. They are drawn independently of one another.
    pub documents: u64,
    /// `[MASK]` stands in the pivot alone.
    pub pivot_alone: f64,
    /// Another name of the entity's article, a word derived from the entity or a person's family name stands in the text.
    pub other_form: f64,
    /// A `[MASK]` of the pivot stands beside another word with a capital: it may be a part of a longer name.
    pub part_of_name: f64,
    /// At least half of the related passages are of the pivot's own article.
    pub same_article: f64,
    /// The pivot's page is called by a date or a number: most are lists.
    pub date_page: f64,
}

/// Counts the first `most` documents of a split; `None` where it has none.
///
/// # Errors
/// Those of reading documents and passages.
pub fn evidence(out_dir: &Path, split: Split, most: usize) -> Result<Option<EvidenceStatistics>> {
    let passages = Passages::open(out_dir, StageName::Synthesize)?;
    let locale = locale(out_dir, &EntitiesConfig::default(), StageName::Synthesize)?;
    let (mut count, mut found) = (0_u64, [0_u64; 5]);
    for document in documents(out_dir, split)?.take(most) {
        count += 1;
        for (sum, is_so) in found.iter_mut().zip(judge(&document?, &passages, &locale)?) {
            *sum += u64::from(is_so);
        }
    }
    let [pivot_alone, other_form, part_of_name, same_article, date_page] =
        found.map(|sum| sum as f64 / count.max(1) as f64);
    Ok((count > 0).then_some(EvidenceStatistics {
        documents: count,
        pivot_alone,
        other_form,
        part_of_name,
        same_article,
        date_page,
    }))
}

/// The five judgements of a document, in the order of the fields.
fn judge(document: &Document, passages: &Passages, locale: &Locale) -> Result<[bool; 5]> {
    let mut ids: Vec<u64> = document.passages.iter().map(|passage| passage.passage_id).collect();
    ids.sort_unstable();
    let articles: HashMap<u64, u64> = ids
        .iter()
        .copied()
        .zip(passages.get_many::<PassageArticle>(&ids)?)
        .map(|(id, article)| (id, article.0))
        .collect();
    let Some(pivot) = document.passages.iter().find(|passage| passage.role == PassageRole::Pivot) else {
        return Ok([false; 5]);
    };
    let masks: Vec<usize> = document.text.match_indices(MASK).map(|(at, _)| at).collect();
    let of_pivot: Vec<usize> = masks.iter().copied().filter(|at| pivot.span.contains(at)).collect();
    let related: Vec<u64> = document
        .passages
        .iter()
        .filter(|passage| passage.role == PassageRole::Related)
        .map(|passage| passage.passage_id)
        .collect();
    let own = articles.get(&pivot.passage_id);
    let of_own_article = related.iter().filter(|id| articles.get(id) == own).count();
    let head = passages.get_many::<PassageHead>(&[pivot.passage_id])?;
    Ok([
        masks.len() == of_pivot.len(),
        !other_forms(&document.text, &document.answer, document.label, locale.inflected_names).is_empty()
            || !occurrences_of_any(&document.text, &document.aliases, Matching::default()).is_empty(),
        of_pivot.iter().any(|&at| is_beside_capital(&document.text, &(at..at + MASK.len()))),
        !related.is_empty() && 2 * of_own_article >= related.len(),
        head.iter().any(|head| classify(&head.title, locale).is_some()),
    ])
}
