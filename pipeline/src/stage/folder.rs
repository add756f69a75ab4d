//! The folder of a stage: its files, how shards are run and committed in it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, StoreError, Verifier};
use rayon::prelude::*;
use serde::de::DeserializeOwned;

use super::record::total;
use super::{
    FileRecord, Input, Manifest, Plan, Progress, ShardRecord, ShardRunner, Stage, StageName, StageState, StageStatus,
};
use crate::error::{PipelineError, Result};

/// The card of a stage, as the Hugging Face hub calls it.
pub(crate) const CARD: &str = "README.md";

/// A small file of a stage, as it was found.
pub(crate) enum Stored<T> {
    /// Nothing has its name.
    Absent,
    /// It says what a file of its kind says.
    Whole(T),
    /// It was read, and does not.
    Damaged(StoreError),
}

impl<T> Stored<T> {
    /// What it says, if it is whole.
    pub(crate) fn whole(self) -> Option<T> {
        match self {
            Stored::Whole(value) => Some(value),
            Stored::Absent | Stored::Damaged(_) => None,
        }
    }

    /// Whether it says just this.
    pub(super) fn is(&self, value: &T) -> bool
    where
        T: PartialEq,
    {
        matches!(self, Stored::Whole(stored) if stored == value)
    }
}

/// Reads a small file. That the system refuses to read it says nothing of what is in it, so that is an error.
pub(super) fn stored<T: DeserializeOwned>(path: &Path) -> Result<Stored<T>> {
    match store::read_json(path) {
        Ok(value) => Ok(Stored::Whole(value)),
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(Stored::Absent),
        Err(error @ StoreError::Json { .. }) => Ok(Stored::Damaged(error)),
        Err(error) => Err(error.into()),
    }
}

/// What became of looking at a shard.
pub(crate) enum Checked {
    /// It is done.
    Whole(ShardRecord),
    /// It is to be done, and why.
    Wanting(String),
}

/// The folder of a stage, or the one inside it in which another plan is carried out.
#[derive(Clone)]
pub(crate) struct StageFolder {
    pub(crate) path: PathBuf,
    pub(super) stage: StageName,
}

impl StageFolder {
    /// The record of a file as it is, by its path inside the folder.
    pub(crate) fn record_of(&self, relative: String) -> Result<FileRecord> {
        let path = self.join(&relative);
        Ok(FileRecord { bytes: store::len(&path)?, hash: store::hash_file(&path)?, path: relative })
    }

    pub(crate) fn new(out: &Path, stage: StageName) -> Self {
        Self { path: out.join(stage.as_str()), stage }
    }

    pub(crate) fn join(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    pub(super) fn plan_path(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    pub(super) fn manifest_path(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    fn record_path(&self, index: usize, shards: usize) -> PathBuf {
        self.path.join("shards").join(format!("{}.json", shard_name(index, shards)))
    }

    pub(crate) fn stored_plan(&self) -> Result<Stored<Plan>> {
        stored(&self.plan_path())
    }

    pub(crate) fn manifest(&self) -> Result<Stored<Manifest>> {
        stored(&self.manifest_path())
    }

    pub(crate) fn record(&self, index: usize, shards: usize) -> Result<Stored<ShardRecord>> {
        read_record(&self.record_path(index, shards))
    }

    /// Compares files of the stage with their hashes; `total_bytes` of them.
    fn verifier(&self, total_bytes: u64) -> Verifier {
        Verifier::new(&self.join("data/.verified.json"), total_bytes)
    }

    /// The record of a shard if it is there, belongs to the plan and its files are as it says, those of `verifier` by
    /// their contents, else by their sizes; or what is wrong.
    pub(crate) fn check(
        &self,
        plan: &str,
        index: usize,
        shards: usize,
        verifier: Option<&Verifier>,
    ) -> Result<Checked> {
        let wanting = |problem: String| Ok(Checked::Wanting(problem));
        let record = match self.record(index, shards)? {
            Stored::Whole(record) => record,
            Stored::Absent => return wanting("not written yet".to_owned()),
            Stored::Damaged(error) => return wanting(error.to_string()),
        };
        if record.plan != plan || record.index != index {
            return wanting("written for another plan".to_owned());
        }
        for file in &record.files {
            let path = self.join(&file.path);
            let checked = match verifier {
                Some(verifier) => verifier.check(&path, file.bytes, &file.hash),
                None => store::len(&path).and_then(|bytes| match bytes {
                    bytes if bytes == file.bytes => Ok(()),
                    bytes => {
                        Err(StoreError::Corrupt { path, detail: format!("it has {bytes} bytes, not {}", file.bytes) })
                    }
                }),
            };
            match checked {
                Ok(()) => {}
                Err(error) if is_damage(&error) => return wanting(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Checked::Whole(record))
    }

    /// [`Self::check`] of all shards by the contents of their files, on all threads.
    pub(crate) fn check_all(&self, plan: &Plan) -> Result<Vec<Checked>> {
        let (fingerprint, shards) = (plan.fingerprint(), plan.shards.len());
        let mut bytes = 0u64;
        for index in 0..shards {
            let record = self.record(index, shards)?.whole();
            bytes =
                record.iter().flat_map(|record| &record.files).fold(bytes, |sum, file| sum.saturating_add(file.bytes));
        }
        let verifier = self.verifier(bytes);
        (0..shards).into_par_iter().map(|index| self.check(&fingerprint, index, shards, Some(&verifier))).collect()
    }

    /// Runs one shard under its lock and writes its record.
    pub(crate) fn run(
        &self,
        plan: &Plan,
        index: usize,
        runner: &dyn ShardRunner,
        progress: &dyn Progress,
    ) -> Result<ShardRecord> {
        let shards = plan.shards.len();
        let shard = plan.shards.get(index).ok_or(PipelineError::NoSuchShard { stage: self.stage, index, shards })?;
        if progress.stopping() {
            return Err(PipelineError::Stopped);
        }
        let path = self.record_path(index, shards);
        let _lock = store::lock(&path.with_extension("lock"))?;
        // Whoever has planned the stage anew meanwhile counts on it that nothing else is written there.
        if !self.stored_plan()?.is(plan) {
            return Err(PipelineError::StalePlan { stage: self.stage });
        }
        let fingerprint = plan.fingerprint();
        if let Checked::Whole(record) = self.check(&fingerprint, index, shards, Some(&Verifier::reading_all()))? {
            return Ok(record);
        }
        let output = runner.run(shard, shards, progress)?;
        let record = ShardRecord {
            plan: fingerprint,
            index,
            files: output.files,
            volatile: output.volatile,
            rows: output.rows,
            counts: output.counts,
            check: String::new(),
        }
        .sealed();
        store::write_json(&path, &record)?;
        progress.shard_finished(self.stage, index);
        Ok(record)
    }

    /// Has files of a shard written anew, whose record was `record`, and puts the record that `work` gives in its place. Killed between
    /// the two, the shard counts as damaged and is to be run again.
    pub(crate) fn rewrite(
        &self,
        record: &ShardRecord,
        shards: usize,
        work: impl FnOnce() -> Result<ShardRecord>,
    ) -> Result<ShardRecord> {
        let path = self.record_path(record.index, shards);
        let _lock = store::lock(&path.with_extension("lock"))?;
        let record = work()?.sealed();
        store::write_json(&path, &record)?;
        Ok(record)
    }

    /// Checks every shard and commits; in `next/`, to put it in the place of what is there is left to the caller.
    pub(super) fn commit(&self, plan: &Plan, stage: &dyn Stage) -> Result<Manifest> {
        let (fingerprint, shards) = (plan.fingerprint(), plan.shards.len());
        let mut records = Vec::with_capacity(shards);
        let mut missing = Vec::new();
        for (index, checked) in self.check_all(plan)?.into_iter().enumerate() {
            match checked {
                Checked::Whole(record) => records.push(record),
                Checked::Wanting(problem) => missing.push((index, problem)),
            }
        }
        if !missing.is_empty() {
            return Err(PipelineError::Incomplete { stage: self.stage, shards, missing });
        }
        let mut manifest = Manifest::of(self.stage, &fingerprint, &records);
        if !self.manifest()?.is(&manifest) {
            stage.finalize(self, &mut records)?;
            manifest = Manifest::of(self.stage, &fingerprint, &records);
        }
        stage.accept(self, &manifest)?;
        let is_committed = self.manifest()?.is(&manifest);
        if let Some(card) = stage.card(self, plan, &manifest)? {
            let path = self.path.join(CARD);
            // What somebody has written into the card of these very files stays.
            if !is_committed || !store::try_exists(&path)? {
                self.list_card(&card)?;
                store::write_atomic(&path, card)?;
            } else if store::read(&path)? == card.as_bytes() {
                self.list_card(&card)?;
            }
        }
        if !is_committed {
            store::write_json(&self.manifest_path(), &manifest)?;
        }
        Ok(manifest)
    }

    /// The manifest of a stage as an input of another one. Its bytes are hashed as they were read and understood, so that
    /// a bad read is not taken for another manifest.
    pub(crate) fn manifest_input(out: &Path, needs: StageName, stage: StageName) -> Result<Input> {
        let manifest = Self::committed(out, needs, stage)?;
        let path = Self::new(out, needs).manifest_path();
        let bytes = store::read(&path)?;
        if serde_json::from_slice::<Manifest>(&bytes).ok().as_ref() != Some(&manifest) {
            let source = StoreError::Corrupt { path, detail: "it was read twice, with different contents".to_owned() };
            return Err(PipelineError::Damaged { stage: needs, source });
        }
        Ok(Input { name: format!("{needs}/manifest.json"), bytes: bytes.len() as u64, hash: store::hash_bytes(&bytes) })
    }

    /// The manifest of a stage that another one reads, compared with the records of its shards.
    pub(crate) fn committed(out: &Path, needs: StageName, stage: StageName) -> Result<Manifest> {
        let folder = Self::new(out, needs);
        let manifest = match folder.manifest()? {
            Stored::Whole(manifest) => manifest,
            // Whoever reads a stage for itself reads a corpus that should be there.
            Stored::Absent
                if needs == stage && !StageName::ALL.iter().any(|stage| store::exists(&out.join(stage.as_str()))) =>
            {
                return Err(PipelineError::NoCorpus { path: out.to_path_buf() });
            }
            Stored::Absent => return Err(PipelineError::NotReady { stage, needs }),
            Stored::Damaged(source) => return Err(PipelineError::Damaged { stage: needs, source }),
        };
        let shards = manifest.shards.len();
        let mut records = Vec::with_capacity(shards);
        for index in 0..shards {
            records.push(match folder.record(index, shards)? {
                Stored::Whole(record) => record,
                Stored::Damaged(source) => return Err(PipelineError::Damaged { stage: needs, source }),
                Stored::Absent if records.is_empty() && !store::try_exists(&folder.join("shards"))? => {
                    tracing::warn!(
                        "stage `{needs}` has no records of its shards: its manifest is not compared with them"
                    );
                    return Ok(manifest);
                }
                Stored::Absent => {
                    let (path, detail) = (folder.record_path(index, shards), "it is missing".to_owned());
                    return Err(PipelineError::Damaged { stage: needs, source: StoreError::Corrupt { path, detail } });
                }
            });
        }
        if Manifest::of(needs, &manifest.plan, &records) != manifest
            || records.iter().any(|record| record.plan != manifest.plan)
        {
            let detail = "it is not what the records of the shards give".to_owned();
            let source = StoreError::Corrupt { path: folder.manifest_path(), detail };
            return Err(PipelineError::Damaged { stage: needs, source });
        }
        Ok(manifest)
    }

    /// Compares files of the stage with what was recorded of them.
    pub(crate) fn verify<'a>(&self, files: impl Iterator<Item = &'a FileRecord>) -> Result<()> {
        let files: Vec<&FileRecord> = files.collect();
        let verifier = self.verifier(files.iter().map(|file| file.bytes).fold(0, u64::saturating_add));
        let check = |file: &&FileRecord| verifier.check(&self.join(&file.path), file.bytes, &file.hash);
        files.par_iter().try_for_each(check).map_err(|error| match error {
            error if is_damage(&error) => PipelineError::Damaged { stage: self.stage, source: error },
            error => error.into(),
        })
    }

    /// The plan for the configuration and the inputs as they are now, and the folder it is carried out in; `None` where
    /// there is none.
    pub(crate) fn current(&self, stage: &dyn Stage) -> Result<Option<(StageFolder, Plan)>> {
        let mut damaged = None;
        for folder in [self.next(), self.clone()] {
            match folder.stored_plan()? {
                Stored::Whole(plan) if stage.fits(&plan)? => return Ok(Some((folder, plan))),
                Stored::Damaged(source) => damaged = Some(source),
                Stored::Whole(_) | Stored::Absent => {}
            }
        }
        damaged.map_or(Ok(None), |source| Err(PipelineError::Damaged { stage: self.stage, source }))
    }

    /// How far the stage is, without reading its data; `upstream_done`: whether all stages before it are.
    pub(crate) fn status(&self, stage: &dyn Stage, upstream_done: bool) -> Result<StageStatus> {
        let (stored, state) = match self.stored_plan()? {
            Stored::Absent => (None, StageState::Unplanned),
            Stored::Damaged(_) => (None, StageState::Damaged),
            Stored::Whole(plan) => (Some(plan), StageState::Stale),
        };
        let shards = stored.map_or(0, |plan| plan.shards.len());
        let mut status = StageStatus {
            stage: self.stage,
            state,
            shards,
            shards_done: 0,
            missing: Vec::new(),
            rows: BTreeMap::new(),
        };
        if !upstream_done {
            return Ok(status);
        }
        let (folder, plan) = match self.current(stage) {
            Ok(Some(current)) => current,
            Ok(None) | Err(PipelineError::Damaged { .. }) => return Ok(status),
            Err(error) => return Err(error),
        };
        let (fingerprint, shards) = (plan.fingerprint(), plan.shards.len());
        let mut records = Vec::with_capacity(shards);
        for index in 0..shards {
            match folder.check(&fingerprint, index, shards, None)? {
                Checked::Whole(record) => records.push(record),
                Checked::Wanting(_) => status.missing.push(index),
            }
        }
        status.shards = shards;
        status.shards_done = records.len();
        status.rows = total(records.iter().map(|record| &record.rows));
        let is_committed = records.len() == shards
            && folder.path == self.path
            && self.manifest()?.is(&Manifest::of(self.stage, &fingerprint, &records));
        status.state = if is_committed { StageState::Done } else { StageState::Planned };
        Ok(status)
    }
}

/// Reads a record; one whose check is not that of its contents is damaged.
pub(super) fn read_record(path: &Path) -> Result<Stored<ShardRecord>> {
    Ok(match stored::<ShardRecord>(path)? {
        Stored::Whole(record) if !record.is_whole() => {
            let detail = "its check is not that of its contents".to_owned();
            Stored::Damaged(StoreError::Corrupt { path: path.to_path_buf(), detail })
        }
        record => record,
    })
}

/// Whether an error says that a file is not what it was, and not merely that it could not be read.
fn is_damage(error: &StoreError) -> bool {
    matches!(error, StoreError::Corrupt { .. }) || error.io_kind() == Some(ErrorKind::NotFound)
}

/// `00003-of-00012`.
pub(crate) fn shard_name(index: usize, shards: usize) -> String {
    format!("{index:05}-of-{shards:05}")
}
