//! Writing a shard of the lexical index.
//!
//! tantivy names its files at random. Once a shard is written they are renamed, so that the same passages give the same
//! files to the byte, whenever and wherever they are indexed.

use std::ops::Range;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError};
use rayon::prelude::*;
use tantivy::indexer::NoMergePolicy;
use tantivy::{IndexSettings, IndexSortByField, Order, TantivyDocument};

use super::{ANALYZER, failed, schema};
use crate::near_duplicates::{self, Signature};
use crate::passages::{Passages, Watch};
use crate::{IndexError, Language, analysis};

/// Passages that are read at a time.
const READ: u64 = 1_024;
/// The one name of a segment.
const SEGMENT_NAME: &str = "00000000000000000000000000000000";
const META: &str = "meta.json";

/// What is written, and how.
pub(crate) struct Words<'a> {
    pub(crate) passages: &'a dyn Passages,
    pub(crate) range: Range<u64>,
    /// Memory of tantivy's writer before it writes a segment.
    pub(crate) memory_bytes: usize,
    pub(crate) language: Language,
    pub(crate) watch: &'a dyn Watch,
}

/// Writes the passages of a range into a folder that appears whole or not at all, and returns their signatures.
pub(crate) fn write(words: &Words<'_>, dir: &Path) -> Result<Vec<Signature>, IndexError> {
    let unfinished = dir.with_extension("unfinished");
    for folder in [&unfinished, dir] {
        clear(folder)?;
    }
    store::create_dir_all(&unfinished)?;
    let signatures = fill(words, &unfinished)?;
    rename(&unfinished)?;
    store::rename_durably(&unfinished, dir)?;
    Ok(signatures)
}

/// Removes a folder of an earlier start with tantivy's files in it. Anything else is somebody's, and is named.
fn clear(folder: &Path) -> Result<(), IndexError> {
    let is_tantivys = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_segment =
            |(id, _): (&str, &str)| id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let is_known =
            name == META || name.starts_with(".tantivy-") || name == ".managed.json" || name.starts_with(".tmp");
        !store::is_dir(path) && (is_known || store::is_temporary(path) || name.split_once('.').is_some_and(is_segment))
    };
    let kind = || "lexical index".to_owned();
    if store::is_link(folder) {
        return Err(
            StoreError::Foreign { path: folder.to_path_buf(), kind: kind(), names: vec!["a link".to_owned()] }.into()
        );
    }
    let found = if store::is_dir(folder) { store::list(folder)? } else { Vec::new() };
    let foreign = found.iter().filter(|path| !is_tantivys(path));
    let names: Vec<String> =
        foreign.map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect();
    if !names.is_empty() {
        return Err(StoreError::Foreign { path: folder.to_path_buf(), kind: kind(), names }.into());
    }
    Ok(store::remove_dir_all(folder)?)
}

/// Documents of a segment before they are in their order.
const TEMPORARY_STORE: &str = ".store.temp";

fn fill(words: &Words<'_>, dir: &Path) -> Result<Vec<Signature>, IndexError> {
    let Words { passages, range, memory_bytes, language, watch } = words;
    let (schema, fields) = schema();
    let sort = IndexSortByField { field: "passage_id".to_owned(), order: Order::Asc };
    let fail = failed("write", dir);
    let index = tantivy::Index::builder()
        .schema(schema)
        .settings(IndexSettings { sort_by_field: Some(sort), ..IndexSettings::default() })
        .create_in_dir(dir)
        .map_err(&fail)?;
    index.tokenizers().register(ANALYZER, analysis::analyzer(*language));
    // One thread, so that segments follow the passages.
    let mut writer = index.writer_with_num_threads(1, *memory_bytes).map_err(&fail)?;
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut signatures = Vec::with_capacity((range.end - range.start) as usize);
    for first in range.clone().step_by(READ as usize) {
        if watch.stopping() {
            return Err(IndexError::Stopped);
        }
        let wanted = first..range.end.min(first + READ);
        let read = passages.read(wanted.clone()).map_err(IndexError::Passages)?;
        let got = read.len() as u64;
        if got != wanted.end - wanted.start {
            return Err(IndexError::Short { wanted, got });
        }
        signatures.par_extend(read.par_iter().map(|passage| near_duplicates::signature(&passage.text)));
        for (expected, passage) in wanted.zip(read) {
            if passage.id != expected {
                return Err(IndexError::Order { expected, got: passage.id });
            }
            let mut document = TantivyDocument::new();
            document.add_u64(fields.passage_id, passage.id);
            document.add_u64(fields.article_id, passage.article_id);
            document.add_text(fields.text, &passage.title);
            document.add_text(fields.text, &passage.text);
            writer.add_document(document).map_err(&fail)?;
        }
    }
    writer.commit().map_err(&fail)?;
    let segments = index.searchable_segment_ids().map_err(&fail)?;
    if segments.len() > 1 {
        writer.merge(&segments).wait().map_err(&fail)?;
        writer.garbage_collect_files().wait().map_err(&fail)?;
    }
    writer.wait_merging_threads().map_err(&fail)?;
    Ok(signatures)
}

/// Gives the files of the segment names that do not depend on chance.
fn rename(dir: &Path) -> Result<(), IndexError> {
    let path = dir.join(META);
    let corrupt = |detail: &str| IndexError::Corrupt { path: path.clone(), detail: detail.to_owned() };
    let mut meta: serde_json::Value = store::read_json(&path)?;
    let segments = meta["segments"].as_array_mut().ok_or_else(|| corrupt("it lists no segments"))?;
    let mut random = None;
    if let [segment] = segments.as_mut_slice() {
        let id = segment["segment_id"].as_str().ok_or_else(|| corrupt("a segment has no name"))?;
        random = Some(id.replace('-', ""));
        segment["segment_id"] = SEGMENT_NAME.into();
    }
    for file in store::list(dir)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let suffix = random.as_deref().and_then(|random| name.strip_prefix(random));
        match suffix.filter(|suffix| *suffix != TEMPORARY_STORE) {
            Some(suffix) => store::rename_durably(&file, &dir.join(format!("{SEGMENT_NAME}{suffix}")))?,
            None if name == META => {}
            // Locks, tantivy's list of files under their old names, and what it could not remove itself: of that it says nothing.
            None => store::remove_file(&file)?,
        }
    }
    Ok(store::write_json(&path, &meta)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tantivy_has_left_beside_a_segment_does_not_become_a_part_of_it() -> Result<(), IndexError> {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let folder = scratch.path();
        let random = "5a1f0c2e9b3d4e6f8a7b6c5d4e3f2a1b";
        let meta = serde_json::json!({"segments": [{"segment_id": "5a1f0c2e-9b3d-4e6f-8a7b-6c5d4e3f2a1b"}]});
        store::write_json(&folder.join(META), &meta)?;
        let left = [".tantivy-meta.lock", ".managed.json", "00000000000000000000000000000001.idx"];
        let of_segment = [".idx", ".store", TEMPORARY_STORE].map(|suffix| format!("{random}{suffix}"));
        for name in left.into_iter().chain(of_segment.iter().map(String::as_str)) {
            store::write_atomic(&folder.join(name), name)?;
        }
        rename(folder)?;
        let names = store::list(folder)?.into_iter().map(|path| path.strip_prefix(folder).map(Path::to_path_buf));
        let kept = [format!("{SEGMENT_NAME}.idx"), format!("{SEGMENT_NAME}.store"), META.to_owned()];
        assert_eq!(names.collect::<Result<Vec<_>, _>>().expect("in the folder"), kept.map(PathBuf::from));
        Ok(())
    }

    #[test]
    fn files_of_others_keep_a_folder_from_being_cleared() -> Result<(), IndexError> {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let folder = scratch.path().join("lexical");
        store::create_dir_all(&folder)?;
        let random = "5a1f0c2e9b3d4e6f8a7b6c5d4e3f2a1b";
        let ours = [META, ".managed.json", ".tantivy-writer.lock", ".tmpAb3xYz", &format!("{random}.store.temp")];
        for name in ours.into_iter().chain([&*format!("{SEGMENT_NAME}.idx"), "thesis.tex"]) {
            store::write_atomic(&folder.join(name), name)?;
        }
        let error = clear(&folder).expect_err("somebody's");
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        assert_eq!(store::list(&folder)?.len(), 7);
        store::remove_file(&folder.join("thesis.tex"))?;
        clear(&folder)?;
        assert!(!store::exists(&folder));
        clear(&folder)
    }
}
