//! A corpus compared with its records: every file read, every table decoded page by page, every mark with what it lists.
//!
//! Readers compare a file with its record when they open it, and of a large corpus only what has changed since the last
//! time. Here all is read, whatever is known of it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use memtrain_corpora::store::{self, Row, StoreError, Verifier, read_table};
use memtrain_corpora::{Article, Document, Passage, PassageEntities, Redirect, Split};
use rayon::prelude::*;
use serde::Serialize;

use crate::error::{PipelineError, Result};
use crate::stage::{CARD, Manifest, Progress, ShardRecord, StageFolder, StageName, Stored};

/// What was found of a corpus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The stages that are there, in order.
    pub stages: Vec<VerifiedStage>,
    /// Other folders in the corpus that bear a mark, built-in policies for example; their files were compared with it.
    pub folders: Vec<PathBuf>,
    /// What is not as it was written; empty where all is well.
    pub damaged: Vec<Damage>,
}

/// A stage of which everything was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedStage {
    /// The stage.
    pub stage: StageName,
    /// Whether it is committed; of an unfinished one, the shards that are written were read.
    pub committed: bool,
    /// Whether all shards are written and whole and the manifest is missing: it was lost, or the stage is still to be finished.
    pub lacks_manifest: bool,
    /// Files that were compared with their records.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
    /// Rows that were decoded.
    pub rows: u64,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads all of a corpus on all threads. What is damaged or cannot be read is part of the answer, not an error.
///
/// # Errors
/// [`PipelineError::NoCorpus`] where no stage is; [`PipelineError::Stopped`] when `progress` asks for it.
pub fn verify(out_dir: &Path, progress: &dyn Progress) -> Result<Verification> {
    let mut found = Verification::default();
    for name in StageName::ALL {
        let main = StageFolder::new(out_dir, name);
        for folder in [main.next(), main] {
            if let Some(mut reading) = Reading::begin(folder, name)? {
                reading.read(progress)?;
                for needed in &reading.made_from {
                    let missing = found.missing_input(out_dir, *needed, name)?;
                    found.damaged.extend(missing);
                }
                found.stages.push(reading.stage);
                found.damaged.extend(reading.damaged);
            }
        }
    }
    if found.stages.is_empty() {
        return Err(PipelineError::NoCorpus { path: out_dir.to_path_buf() });
    }
    for path in store::list(out_dir)? {
        let is_stage = StageName::ALL.iter().any(|stage| path.ends_with(stage.as_str()));
        if !is_stage && store::is_dir(&path) && store::try_exists(&path.join(store::MARKER))? {
            if progress.stopping() {
                return Err(PipelineError::Stopped);
            }
            let differences = store::differences(&path, None).into_iter();
            found.damaged.extend(differences.map(|error| Damage {
                problem: format!("{}; remove the folder, and its command writes it again", problem_of(&error)),
                path: path_of(&path, &error),
            }));
            found.folders.push(path);
        }
    }
    Ok(found)
}

impl Verification {
    /// The manifest of a stage that another one was made from, where nothing has its name. One that has changed since is not
    /// damaged: the other stage is to be built again.
    fn missing_input(&self, out_dir: &Path, needed: StageName, stage: StageName) -> Result<Option<Damage>> {
        let folder = StageFolder::new(out_dir, needed);
        let path = folder.join("manifest.json");
        let is_told = self.damaged.iter().any(|damage| damage.path == path);
        // Of a replacement that was cut off it may still lie in `next/`.
        if is_told || store::try_exists(&path)? || store::try_exists(&folder.next().join("manifest.json"))? {
            return Ok(None);
        }
        Ok(Some(Damage { path, problem: format!("it is missing, and stage `{stage}` was made from it") }))
    }
}

/// The reading of one stage's folder.
struct Reading {
    folder: StageFolder,
    stage: VerifiedStage,
    damaged: Vec<Damage>,
    /// The shards that `plan.json` lists, or else `manifest.json`; the folder of a stage without either is passed over.
    shards: usize,
    manifest: Option<Manifest>,
    /// Stages whose manifests the plan lists as its inputs.
    made_from: Vec<StageName>,
}

impl Reading {
    fn begin(folder: StageFolder, name: StageName) -> Result<Option<Self>> {
        let mut damaged = Vec::new();
        let plan = whole(folder.join("plan.json"), folder.stored_plan(), &mut damaged);
        let manifest = whole(folder.join("manifest.json"), folder.manifest(), &mut damaged);
        if plan.is_none() && manifest.is_none() && damaged.is_empty() {
            return Ok(None);
        }
        if let (Some(plan), Some(manifest)) = (&plan, &manifest)
            && plan.fingerprint() != manifest.plan
        {
            let problem = "it is not the plan that the stage was committed with".to_owned();
            damaged.push(Damage { path: folder.join("plan.json"), problem });
        }
        // It is put in its place before the manifest.
        let is_told = damaged.iter().any(|damage| damage.path == folder.join("plan.json"));
        if manifest.is_some() && plan.is_none() && !is_told {
            damaged.push(Damage { path: folder.join("plan.json"), problem: "it is missing".to_owned() });
        }
        let inputs = plan.iter().flat_map(|plan| &plan.inputs);
        let stages = inputs.filter_map(|input| input.name.strip_suffix("/manifest.json"));
        let made_from =
            stages.filter_map(|name| StageName::ALL.into_iter().find(|stage| stage.as_str() == name)).collect();
        let shards = match (&manifest, &plan) {
            (Some(manifest), _) => manifest.shards.len(),
            (None, Some(plan)) => plan.shards.len(),
            (None, None) => 0,
        };
        let stage = VerifiedStage {
            stage: name,
            committed: manifest.is_some(),
            lacks_manifest: false,
            files: 0,
            bytes: 0,
            rows: 0,
        };
        Ok(Some(Self { folder, stage, damaged, shards, manifest, made_from }))
    }

    fn read(&mut self, progress: &dyn Progress) -> Result<()> {
        let records = self.records();
        let folder = &self.folder;
        let files: Vec<_> = records.iter().flat_map(|record| &record.files).collect();
        let verifier = Verifier::reading_all();
        let outcomes = files.par_iter().map(|file| {
            if progress.stopping() {
                return Err(PipelineError::Stopped);
            }
            let path = folder.join(&file.path);
            let read = verifier.check(&path, file.bytes, &file.hash).and_then(|()| decode(&path, &file.path));
            Ok(read.map_err(|error| Damage { problem: problem(&path, &error), path }))
        });
        for outcome in outcomes.collect::<Result<Vec<_>>>()? {
            match outcome {
                Ok(rows) => self.stage.rows += rows,
                Err(damage) => self.damaged.push(damage),
            }
        }
        self.stage.files = files.len();
        self.stage.bytes = files.iter().map(|file| file.bytes).sum();
        if self.stage.committed && self.damaged.is_empty() {
            self.open_whole(&records);
        }
        self.stage.lacks_manifest = self.manifest.is_none() && self.damaged.is_empty() && records.len() == self.shards;
        // The card is written after the last shard, moments before the manifest.
        if self.stage.lacks_manifest && store::try_exists(&self.folder.join(CARD))? {
            let problem = "it is missing, and all shards are written".to_owned();
            self.damaged.push(Damage { path: self.folder.join("manifest.json"), problem });
        }
        self.compare_mark();
        Ok(())
    }

    /// The records of the shards. Of a committed stage none may be missing, and together they are the manifest.
    fn records(&mut self) -> Vec<ShardRecord> {
        let mut records = Vec::with_capacity(self.shards);
        for index in 0..self.shards {
            let path = self.folder.join(&format!("shards/{}.json", crate::stage::shard_name(index, self.shards)));
            let record = self.folder.record(index, self.shards);
            if self.stage.committed && matches!(record, Ok(Stored::Absent)) {
                self.damaged.push(Damage { path, problem: "it is missing".to_owned() });
            } else {
                records.extend(whole(path, record, &mut self.damaged));
            }
        }
        if let Some(manifest) = &self.manifest
            && records.len() == self.shards
            && Manifest::of(self.stage.stage, &manifest.plan, &records) != *manifest
        {
            let problem = "it is not what the records of the shards give".to_owned();
            self.damaged.push(Damage { path: self.folder.join("manifest.json"), problem });
        }
        records
    }

    /// The mark of the folder, and the card that it lists.
    fn compare_mark(&mut self) {
        for error in store::differences(&self.folder.path, Some(&self.folder.kind())) {
            let (path, mut problem) = (path_of(&self.folder.path, &error), problem_of(&error));
            if path.ends_with(CARD) {
                // The list comes before the card, which comes before the commit.
                if !self.stage.committed {
                    continue;
                }
                problem += "; it is damaged, or somebody has edited it: once it is removed, it is written again";
            }
            self.damaged.push(Damage { path, problem });
        }
    }

    /// What only those notice who use a stage as a whole: files that belong together and do not fit.
    fn open_whole(&mut self, records: &[ShardRecord]) {
        let data = self.folder.join("data");
        let mut damage = |path: PathBuf, problem: String| self.damaged.push(Damage { path, problem });
        match self.stage.stage {
            StageName::Index => {
                if let Err(error) = memtrain_index::Index::open(&data).and_then(|index| index.verify()) {
                    damage(data, error.to_string());
                }
            }
            StageName::Tokenizer => {
                let path = self.folder.join("tokenizer.json");
                if let Err(error) = crate::tokenizer::load_file(&path) {
                    damage(path, error.to_string());
                }
            }
            StageName::Ingest | StageName::Entities | StageName::Synthesize => {
                let recorded: u64 = records.iter().flat_map(|record| record.rows.values()).sum();
                if recorded != self.stage.rows {
                    damage(data, format!("its tables have {} rows, {recorded} are recorded", self.stage.rows));
                }
            }
        }
    }
}

/// A small file that is whole; one that is not is damage, and an absent one nothing.
fn whole<T>(path: PathBuf, stored: Result<Stored<T>>, damaged: &mut Vec<Damage>) -> Option<T> {
    match stored {
        Ok(Stored::Whole(value)) => return Some(value),
        Ok(Stored::Absent) => {}
        Ok(Stored::Damaged(error)) => damaged.push(Damage { problem: problem(&path, &error), path }),
        Err(error) => damaged.push(Damage { problem: error.to_string(), path }),
    }
    None
}

/// What is wrong with a file, without its name where the message is about that alone.
fn problem(path: &Path, error: &StoreError) -> String {
    match error {
        StoreError::Corrupt { path: of, detail } if of == path => detail.clone(),
        error if error.io_kind() == Some(ErrorKind::NotFound) => "it is missing".to_owned(),
        error => error.to_string(),
    }
}

/// What is wrong with a folder's mark or a file on its list, without its name.
fn problem_of(error: &StoreError) -> String {
    match error {
        StoreError::NotAsWritten { detail, .. } => detail.clone(),
        error => error.to_string(),
    }
}

/// Which file of a marked folder an error is about.
fn path_of(folder: &Path, error: &StoreError) -> PathBuf {
    match error {
        StoreError::NotAsWritten { path, .. } | StoreError::Io { path, .. } => path.clone(),
        _ => folder.join(store::MARKER),
    }
}

/// Decodes a table to its last row and counts them; other files have none.
fn decode(path: &Path, relative: &str) -> store::Result<u64> {
    let table = relative.strip_prefix("data/").filter(|name| name.ends_with(".parquet"));
    let table = table.and_then(|name| name.split('-').next());
    match table {
        Some(Article::TABLE) => rows::<Article>(path),
        Some(Redirect::TABLE) => rows::<Redirect>(path),
        Some(Passage::TABLE) => rows::<Passage>(path),
        Some(PassageEntities::TABLE) => rows::<PassageEntities>(path),
        Some(split) if Split::from_name(split).is_some() => rows::<Document>(path),
        _ => Ok(0),
    }
}

fn rows<R: Row + Clone>(path: &Path) -> store::Result<u64> {
    read_table::<R>(path)?.try_fold(0, |count, row| row.map(|_| count + 1))
}
