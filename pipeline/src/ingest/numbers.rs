//! Numbers of passages, 0 … n−1 over all files of a corpus, by which other tables name them.
//!
//! A shard cannot know how many passages stand before its own until all shards are done, and what two shards hold is taken out of one of
//! them. So its file counts from 0 until then, and the columns with the numbers are written anew.

use memtrain_corpora::Passage;
use memtrain_corpora::store::{self, Row, text_columns};
use rayon::prelude::*;

use super::shard::table_path;
use crate::error::Result;
use crate::stage::{FileRecord, ShardRecord, StageFolder};

/// Numbers the passages of all shards through, and brings the records up to date. Files that are right are left alone.
pub(super) fn number_through(folder: &StageFolder, records: &mut [ShardRecord]) -> Result<()> {
    let num_shards = records.len();
    let mut firsts = Vec::with_capacity(num_shards);
    let mut next = 0;
    for record in records.iter() {
        firsts.push(next);
        next += record.rows.get(Passage::TABLE).copied().unwrap_or_default();
    }
    records.par_iter_mut().zip(firsts).try_for_each(|(record, first)| {
        let name = table_path(Passage::TABLE, record.index, num_shards);
        let path = folder.join(&name);
        let stored = text_columns(&path, &["id"])?.next().transpose()?.and_then(|row| row.into_iter().next().flatten());
        if stored.is_none_or(|id| id == first.to_string()) {
            return Ok(());
        }
        let rewritten = folder.rewrite(record, num_shards, || {
            let summary = store::number_passages(&path, first)?;
            let mut rewritten = record.clone();
            for file in rewritten.files.iter_mut().filter(|file| file.path == name) {
                *file = FileRecord { path: name.clone(), bytes: summary.bytes, hash: summary.hash.clone() };
            }
            Ok(rewritten)
        })?;
        *record = rewritten;
        Ok(())
    })
}
