//! Pages that several inputs hold: the first one counts.
//!
//! Shards know nothing of each other, so what two of them hold is found when all are done, and taken out of the later one. Within a
//! shard there are no duplicates any more.

use std::collections::HashSet;

use memtrain_corpora::store::{Row, read_table, text_columns};
use memtrain_corpora::{Article, Passage, Redirect};

use super::ids::Ids;
use super::packing;
use super::shard::{Tables, table_path};
use crate::config::IngestConfig;
use crate::error::Result;
use crate::stage::{ShardOutput, ShardRecord, StageFolder};

/// Takes pages that an earlier shard holds out of the tables of later ones, and brings the records up to date.
pub(super) fn take_out(folder: &StageFolder, records: &mut [ShardRecord], config: &IngestConfig) -> Result<()> {
    let mut seen = Ids::default();
    let num_shards = records.len();
    for record in records {
        let mut twice = HashSet::new();
        for table in [Article::TABLE, Redirect::TABLE] {
            if record.rows.get(table).copied().unwrap_or_default() == 0 {
                continue;
            }
            let path = folder.join(&table_path(table, record.index, num_shards));
            for row in text_columns(&path, &["id"])? {
                let id = row?.into_iter().flatten().next().and_then(|id| id.parse().ok());
                twice.extend(id.filter(|&id| !seen.insert(id)));
            }
        }
        if !twice.is_empty() {
            let rewritten =
                folder.rewrite(record, num_shards, || without(folder, record, num_shards, &twice, config))?;
            *record = rewritten;
        }
    }
    Ok(())
}

/// Writes the tables of a shard anew, without some pages.
fn without(
    folder: &StageFolder,
    record: &ShardRecord,
    num_shards: usize,
    pages: &HashSet<u64>,
    config: &IngestConfig,
) -> Result<ShardRecord> {
    let path = |table| folder.join(&table_path(table, record.index, num_shards));
    let mut tables = Tables::create(folder, record.index, num_shards)?;
    let mut output = ShardOutput { counts: record.counts.clone(), ..ShardOutput::default() };
    for article in read_table::<Article>(&path(Article::TABLE))? {
        let article = article?;
        if !pages.contains(&article.id) {
            tables.articles.push(article)?;
            continue;
        }
        // What its passages added to the counts goes with it.
        for (cause, times) in packing::pack(&article, config).causes() {
            if let Some(count) = output.counts.get_mut(cause) {
                *count = count.saturating_sub(times);
            }
        }
    }
    for redirect in read_table::<Redirect>(&path(Redirect::TABLE))? {
        let redirect = redirect?;
        if !pages.contains(&redirect.id) {
            tables.redirects.push(redirect)?;
        }
    }
    for passage in read_table::<Passage>(&path(Passage::TABLE))? {
        let passage = passage?;
        if !pages.contains(&passage.article_id) {
            tables.passages.push(Passage { id: tables.passages.rows(), ..passage })?;
        }
    }
    output.count("duplicate_pages", pages.len() as u64);
    output.counts.retain(|_, count| *count > 0);
    let output = tables.finish(output)?;
    Ok(ShardRecord { files: output.files, rows: output.rows, counts: output.counts, ..record.clone() })
}
