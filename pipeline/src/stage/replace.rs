//! Ownership of a stage's folder, and the replacement of one plan's data by another's.
//!
//! A plan that differs from that of the data in the folder is carried out in `next/`. When that is committed, it is moved
//! file by file: the old manifest is removed, then what the old records list and the records, then the new files come,
//! each record after its files, `manifest.json` at the end. `next/manifest.json` stands until all else is done, so that a
//! replacement that was cut off is known as such and gone on with.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, LockGuard, Occupant, OwnedFile, StoreError};

use super::folder::{CARD, Stored, read_record};
use super::{Manifest, Plan, ShardRecord, Stage, StageFolder, StageName};
use crate::error::Result;
use crate::names::TOKENIZER_FILES;

/// The folder inside that of a stage in which another plan is carried out.
const NEXT: &str = "next";

impl StageFolder {
    pub(crate) fn next(&self) -> Self {
        Self { path: self.path.join(NEXT), stage: self.stage }
    }

    /// Kind of the folder in its mark.
    pub(crate) fn kind(&self) -> String {
        format!("{} stage", self.stage)
    }

    /// Refuses a folder that others have filled; nothing is written.
    pub(crate) fn check_ours(&self) -> Result<()> {
        match self.occupant()? {
            Occupant::Ours(marker) => {
                marker.expect_kind(&self.path, &self.kind())?;
                let names = self.beside_a_mark()?;
                // Of a replacement that was cut off the plan and the records may all be in `next/` still.
                if names.is_empty() || self.is_unmarked_stage()? || self.next().is_unmarked_stage()? {
                    return Ok(());
                }
                Err(StoreError::Foreign { path: self.path.clone(), kind: self.kind(), names }.into())
            }
            Occupant::Foreign(names) if !self.is_unmarked_stage()? => {
                Err(StoreError::Foreign { path: self.path.clone(), kind: self.kind(), names }.into())
            }
            _ => Ok(()),
        }
    }

    /// Whose the folder is. A stage whose mark is damaged counts as one without: its plan and records tell whose it is.
    fn occupant(&self) -> Result<Occupant> {
        match store::occupant(&self.path) {
            Err(StoreError::NotAsWritten { .. } | StoreError::Json { .. }) if self.is_unmarked_stage()? => {
                Ok(Occupant::Foreign(vec![store::MARKER.to_owned()]))
            }
            occupant => Ok(occupant?),
        }
    }

    /// Marks the folder as ours, and keeps two processes from planning or committing the same stage at once.
    pub(crate) fn lock(&self) -> Result<LockGuard> {
        self.check_ours()?;
        match self.occupant()? {
            Occupant::Foreign(_) => store::mark(&self.path, &self.kind(), BTreeMap::new())?,
            _ => store::claim(&self.path, &self.kind())?,
        }
        Ok(store::lock(&self.path.join("lock"))?)
    }

    /// What is in the folder that a stage without a plan, a manifest and records would not have: a mark may have been copied
    /// into a folder of somebody's.
    fn beside_a_mark(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for path in if store::is_dir(&self.path) { store::list(&self.path)? } else { Vec::new() } {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_blank = |path: &Path| -> store::Result<bool> {
                let is_left = |path: &PathBuf| {
                    path.extension().is_some_and(|extension| extension == "lock") || store::is_temporary(path)
                };
                Ok(store::is_dir(path) && store::list(path)?.iter().all(is_left))
            };
            let is_expected = match &*name {
                "lock" | store::MARKER | NEXT => true,
                "data" | "shards" => is_blank(&path)?,
                _ => store::is_temporary(&path),
            };
            if !is_expected {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether an earlier version, which left no mark, has written the folder: its plan, its manifest or a record tells.
    fn is_unmarked_stage(&self) -> Result<bool> {
        Ok(self.stored_plan()?.whole().is_some_and(|plan| plan.stage == self.stage)
            || self.manifest()?.whole().is_some_and(|manifest| manifest.stage == self.stage)
            || self.records()?.iter().any(|(_, record)| matches!(record, Stored::Whole(_))))
    }

    /// All records that are there, whatever their plan, with their paths.
    fn records(&self) -> Result<Vec<(PathBuf, Stored<ShardRecord>)>> {
        let paths = match store::list(&self.join("shards")) {
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Vec::new(),
            listed => listed?,
        };
        let records = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        records.map(|path| read_record(&path).map(|record| (path, record))).collect()
    }

    /// Whether what is in the folder was written for a plan. Besides `plan.json`, which may be damaged, the manifest and
    /// the records tell.
    fn is_of(&self, plan: &Plan) -> Result<bool> {
        let fingerprint = plan.fingerprint();
        Ok(self.stored_plan()?.is(plan)
            || self.manifest()?.whole().is_some_and(|manifest| manifest.plan == fingerprint)
            || self.records()?.into_iter().any(|(_, record)| record.whole().is_some_and(|r| r.plan == fingerprint)))
    }

    /// Whether nothing was done yet.
    fn is_blank(&self) -> Result<bool> {
        Ok(matches!(self.manifest()?, Stored::Absent) && self.records()?.is_empty())
    }

    /// Puts a plan where it is to be carried out, and gives the folder. What was done for it already stays; what was
    /// done for another one stays too, until this one is committed. The caller holds the lock.
    pub(crate) fn put_plan(&self, plan: &Plan, stage: &dyn Stage) -> Result<StageFolder> {
        self.sweep()?;
        self.go_on_replacing()?;
        let next = self.next();
        if self.is_of(plan)? || (self.is_blank()? && !next.is_of(plan)?) {
            // Workers that look at sizes alone must not take the other plan for this one.
            if let Stored::Whole(other) = next.stored_plan()?
                && stage.fits(&other)?
            {
                next.discard()?;
            }
            return self.write_plan(plan);
        }
        if !next.is_of(plan)? {
            next.discard()?;
            store::claim(&next.path, &self.kind())?;
        }
        next.write_plan(plan)
    }

    fn write_plan(&self, plan: &Plan) -> Result<StageFolder> {
        store::create_dir_all(&self.join("data"))?;
        store::create_dir_all(&self.join("shards"))?;
        if !self.stored_plan()?.is(plan) {
            store::write_json(&self.plan_path(), plan)?;
        }
        Ok(self.clone())
    }

    /// Checks every shard of the plan in `folder`, which is this one or `next/`, commits, and puts it in its place.
    pub(crate) fn finish(&self, folder: &StageFolder, plan: &Plan, stage: &dyn Stage) -> Result<Manifest> {
        let manifest = folder.commit(plan, stage)?;
        self.go_on_replacing()?;
        self.sweep()?;
        Ok(manifest)
    }

    /// Moves what is committed in `next/` to the place of what is here, from wherever an earlier call has come to.
    fn go_on_replacing(&self) -> Result<()> {
        let next = self.next();
        let Stored::Whole(manifest) = next.manifest()? else {
            // Cut off between the last two steps, or before the first one.
            if matches!(next.stored_plan()?, Stored::Absent) {
                next.discard()?;
            }
            return Ok(());
        };
        let last = written_by_finish(self.stage);
        if !self.manifest()?.is(&manifest) {
            self.remove_other_data(&manifest)?;
            for (path, record) in next.records()? {
                for file in record.whole().iter().flat_map(|record| &record.files) {
                    self.take(&next, &file.path)?;
                }
                self.take(&next, &format!("shards/{}", path.file_name().unwrap_or_default().to_string_lossy()))?;
            }
        }
        if let Occupant::Ours(marker) = next.occupant()? {
            store::mark(&self.path, &self.kind(), marker.files)?;
        }
        for name in last.iter().chain(&["plan.json", "manifest.json"]) {
            self.take(&next, name)?;
        }
        next.discard()?;
        remove_empty_folders(&self.join("data"), true)
    }

    /// Removes what was written for other plans than that of `manifest`, as far as it is on record.
    fn remove_other_data(&self, manifest: &Manifest) -> Result<()> {
        for name in ["manifest.json"].iter().chain(written_by_finish(self.stage)) {
            store::remove_file(&self.join(name))?;
        }
        for (path, record) in self.records()? {
            let record = record.whole();
            if record.as_ref().is_some_and(|record| record.plan == manifest.plan) {
                continue;
            }
            let lock = path.with_extension("lock");
            let guard = store::lock(&lock)?;
            for file in record.iter().flat_map(|record| &record.files) {
                let path = self.join(&file.path);
                store::remove_file(&path)?;
                if self.stage == StageName::Index {
                    TANTIVY_LOCKS.iter().try_for_each(|name| store::remove_file(&path.with_file_name(name)))?;
                }
            }
            store::remove_file(&path)?;
            drop(guard);
            store::remove_file(&lock)?;
        }
        Ok(())
    }

    /// Puts the text of a card on the list of the mark. The list comes before the file, so that a kill leaves none that is not
    /// on record.
    pub(super) fn list_card(&self, text: &str) -> Result<()> {
        let card = OwnedFile { bytes: text.len() as u64, blake3: store::hash_bytes(text.as_bytes()) };
        let files = BTreeMap::from([(CARD.to_owned(), card)]);
        match self.occupant()? {
            Occupant::Ours(marker) if marker.files == files => Ok(()),
            _ => Ok(store::mark(&self.path, &self.kind(), files)?),
        }
    }

    /// Moves a file out of `next/`, unless that was done.
    fn take(&self, next: &StageFolder, name: &str) -> Result<()> {
        let (from, to) = (next.join(name), self.join(name));
        if !store::try_exists(&from)? {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            store::create_dir_all(folder)?;
        }
        Ok(store::rename_durably(&from, &to)?)
    }

    /// What in `next/` is no stage's: a mark may have been copied there, or something put beside the plan. In `data/` the files of
    /// a shard that was cut off are on no record; what is there goes with it.
    fn beside_a_stage(&self) -> Result<Vec<String>> {
        let mut foreign = Vec::new();
        let is_shards = |path: &Path| path.extension().is_some_and(|end| end == "json" || end == "lock");
        for path in store::list(&self.path)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_folder =
                store::is_dir(&path) && !store::is_link(&path) && !store::is_mount_point(&store::resolve(&path)?);
            match &*name {
                "data" if is_folder => {}
                "shards" if is_folder => {
                    let inside = store::list(&path)?.into_iter();
                    let others =
                        inside.filter(|file| store::is_dir(file) || !is_shards(file) && !store::is_temporary(file));
                    foreign.extend(
                        others.map(|file| format!("shards/{}", file.file_name().unwrap_or_default().display())),
                    );
                }
                "lock" | "plan.json" | "manifest.json" | CARD | store::MARKER if !store::is_dir(&path) => {}
                _ if store::is_temporary(&path) => {}
                file if self.stage == StageName::Tokenizer && TOKENIZER_FILES.contains(&file) => {}
                _ => foreign.push(name),
            }
        }
        // Once plan, records and manifest are in their place, or before there were any, there is no data.
        if foreign.is_empty() && !self.is_unmarked_stage()? {
            foreign.extend(data_below(&self.join("data"), "data")?);
        }
        Ok(foreign)
    }

    /// Removes `next/` with all that is in it: a folder of ours in which nobody else has anything to look for. The mark goes
    /// last, so that what a killed process leaves of it is still ours.
    fn discard(&self) -> Result<()> {
        match store::occupant(&self.path)? {
            Occupant::Foreign(names) => {
                return Err(StoreError::Foreign { path: self.path.clone(), kind: self.kind(), names }.into());
            }
            Occupant::Absent => return Ok(()),
            Occupant::Empty => {}
            Occupant::Ours(marker) => marker.expect_kind(&self.path, &self.kind())?,
        }
        let names = self.beside_a_stage()?;
        if !names.is_empty() || store::is_link(&self.path) || store::is_mount_point(&store::resolve(&self.path)?) {
            return Err(StoreError::Foreign { path: self.path.clone(), kind: self.kind(), names }.into());
        }
        for path in store::list(&self.path)?.iter().filter(|path| !path.ends_with(store::MARKER)) {
            if store::is_dir(path) { store::remove_dir_all(path)? } else { store::remove_file(path)? }
        }
        Ok(store::remove_dir_all(&self.path)?)
    }

    /// Removes what killed processes have left half written.
    fn sweep(&self) -> Result<()> {
        for folder in [self.clone(), self.next()] {
            for inner in ["", "shards"] {
                let inner = folder.join(inner);
                if store::is_dir(&inner) {
                    store::sweep_temporaries(&inner)?;
                }
            }
            sweep_below(&folder.join("data"))?;
        }
        Ok(())
    }
}

/// What tantivy leaves beside its files, whoever opens them.
const TANTIVY_LOCKS: [&str; 2] = [".tantivy-meta.lock", ".tantivy-writer.lock"];

/// What `finish` writes beside the files of the shards, the manifest last.
fn written_by_finish(stage: StageName) -> &'static [&'static str] {
    match stage {
        StageName::Index => &["data/index.json"],
        StageName::Synthesize => &[CARD],
        StageName::Ingest | StageName::Entities | StageName::Tokenizer => &[],
    }
}

/// Files below a folder that hold data: not those that readers leave.
fn data_below(folder: &Path, name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in if store::is_dir(folder) { store::list(folder)? } else { Vec::new() } {
        let of = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_left = of == ".verified.json" || of.ends_with(".lock") || store::is_temporary(&path);
        match store::is_dir(&path) && !store::is_link(&path) {
            true => found.extend(data_below(&path, &format!("{name}/{of}"))?),
            false if is_left => {}
            false => found.push(format!("{name}/{of}")),
        }
    }
    Ok(found)
}

/// Removes abandoned temporary files in a folder and the folders in it.
fn sweep_below(folder: &Path) -> Result<()> {
    if !store::is_dir(folder) {
        return Ok(());
    }
    store::sweep_temporaries(folder)?;
    store::list(folder)?.iter().filter(|path| store::is_dir(path)).try_for_each(|path| sweep_below(path))
}

/// Removes folders below one in which there is nothing more, and the folder itself unless it is to be kept.
fn remove_empty_folders(folder: &Path, keep: bool) -> Result<()> {
    if !store::is_dir(folder) {
        return Ok(());
    }
    for path in store::list(folder)?.iter().filter(|path| store::is_dir(path)) {
        remove_empty_folders(path, false)?;
    }
    if !keep {
        store::remove_empty_dir(folder)?;
    }
    Ok(())
}
