//! Reading a run that is done or under way, with everything compared to what was written.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;

use super::change::Settings;
use super::checkpoint::{Checkpoint, step_of};
use super::json_lines::{self, Line};
use super::layout::{
    CHECKPOINTS, CONFIG, EVALUATIONS, KIND, MANIFEST, OF_EACH_STEP, RECORDS, ROLLOUT_TABLES, TENSORBOARD,
    rollout_tables, rollouts_path,
};
use super::manifest::Manifest;
use super::records::{self, HELD_OUT_REWARD, RolloutTable};
use super::tensorboard::EventFile;
use super::trash::SAMPLER_WEIGHTS;
use super::{Result, RunError, links, read_if_there};

/// A run's folder, read from. It is not locked: the run may go on meanwhile.
#[derive(Debug)]
pub struct RunReader {
    root: PathBuf,
    manifest: Manifest,
}

/// What reading all of a run has found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Files that were compared with what was written.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is damaged.
    pub damage: Vec<RunError>,
}

impl RunReader {
    /// Opens a run's folder.
    ///
    /// # Errors
    /// If there is no run in it, or its manifest is damaged.
    pub fn open(root: &Path) -> Result<Self> {
        let manifest = Manifest::read(root)?.ok_or_else(|| RunError::NoRun { path: root.to_path_buf() })?;
        Ok(Self { root: root.to_path_buf(), manifest })
    }

    /// The configuration as TOML, as it is now: what the run began with, and what was changed since.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn config(&self) -> Result<String> {
        let began = self.manifest.config(&self.root)?;
        Ok(if self.manifest.changes.is_empty() { began } else { Settings::new(&began, &self.manifest.changes).text() })
    }

    /// The lines of one of the files of records (`metrics.jsonl`, `timings.jsonl`, …); none if there is no such file and
    /// nothing was recorded in it yet.
    ///
    /// # Errors
    /// If it cannot be read or is damaged, or a line of a step that is saved is missing.
    pub fn lines(&self, file: &str) -> Result<Vec<Line>> {
        let saved = self.saved()?;
        let lines = json_lines::read(&self.root.join(file), self.manifest.has_checksums())?;
        self.first_missing(file, saved, &lines)?.map_or(Ok(lines), Err)
    }

    /// The step of the newest checkpoint, 0 without one: all up to it was recorded before it was saved.
    fn saved(&self) -> Result<u64> {
        Ok(self.checkpoint_steps()?.last().copied().unwrap_or(0))
    }

    fn first_missing(&self, file: &str, saved: u64, lines: &[Line]) -> Result<Option<RunError>> {
        // Runs of layout version 1 have no list of tables.
        match self.manifest.has_checksums() || OF_EACH_STEP.contains(&file) {
            true => records::first_missing(&self.root, file, &self.manifest.settings(&self.root)?, saved, lines),
            false => Ok(None),
        }
    }

    /// Steps with a rollout table.
    ///
    /// # Errors
    /// If the list of tables is damaged or not complete, or the folder cannot be listed.
    pub fn rollout_steps(&self) -> Result<Vec<u64>> {
        if self.manifest.has_checksums() {
            return Ok(self.lines(ROLLOUT_TABLES)?.into_iter().map(|(step, _)| step).collect());
        }
        Ok(rollout_tables(&self.root)?.into_iter().map(|(step, _)| step).collect())
    }

    /// The rollout table of a step, compared with what was written.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn rollouts(&self, step: u64) -> Result<PathBuf> {
        let path = rollouts_path(&self.root, step);
        if let Some(table) = self.known_tables()?.iter().find(|table| table.step == step) {
            table.verify(&path)?;
        }
        Ok(path)
    }

    fn known_tables(&self) -> Result<Vec<RolloutTable>> {
        if self.manifest.has_checksums() { RolloutTable::all(&self.root) } else { Ok(Vec::new()) }
    }

    /// Reads everything of the run whose contents are known, and looks for what should be there beside: mark, configuration, logs of steps, rollout tables, checkpoints,
    /// event files, a server's weights. Not compared are `logs/`, `report.html`, `comparison.html` and `quickstart.json`, and lines and rollout
    /// tables of layout version 1, of which no checksums were kept.
    ///
    /// # Errors
    /// If a folder cannot be listed; damage is no error here.
    pub fn verify(&self) -> Result<Verification> {
        let mut found = Verification::default();
        // The manifest has been compared when it was opened.
        found.read(&self.root.join(MANIFEST), Ok(()))?;
        found.read(&self.root.join(CONFIG), self.config().map(drop))?;
        self.compare_marks(&mut found)?;
        for path in EventFile::all(&self.root.join(TENSORBOARD))? {
            found.read(&path, EventFile::verify(&path))?;
        }
        let steps = self.checkpoint_steps()?;
        for file in RECORDS {
            self.verify_lines(file, steps.last().copied().unwrap_or(0), &mut found)?;
        }
        // A damaged list has been found among the lines.
        for table in self.known_tables().unwrap_or_default() {
            let path = rollouts_path(&self.root, table.step);
            found.read(&path, table.verify(&path))?;
        }
        for &step in &steps {
            let path = self.root.join(CHECKPOINTS).join(super::checkpoint::step_name(step));
            let opened = Checkpoint::open(&path);
            // The run may have removed an old one meanwhile.
            if store::exists(&path) {
                found.read(&path, opened.map(drop))?;
            }
        }
        let evaluated = records::whole_lines(&self.root, EVALUATIONS, self.manifest.has_checksums())?;
        let best = records::best_of(&evaluated, HELD_OUT_REWARD).map(|(step, _)| step);
        found.damage.extend(links::damaged(&self.root, &steps, best)?);
        found.damage.extend(self.missing_checkpoint(&evaluated)?);
        Ok(found)
    }

    /// What tells that there are fewer checkpoints than were saved: a step before the last one that was due, an evaluation,
    /// which follows the checkpoint, or steps without the folder, which is made before the first. The last step itself may
    /// be being saved.
    fn missing_checkpoint(&self, evaluated: &[Line]) -> Result<Option<RunError>> {
        let last = records::last_step(&self.root, self.manifest.has_checksums())?.unwrap_or(0);
        let every = self.manifest.settings(&self.root).map_or(0, |now| now.number_at("train.checkpoint_every", last));
        let due = last.saturating_sub(1).checked_div(every).map_or(0, |times| times * every);
        let known = evaluated.last().map_or(due, |(step, _)| due.max(*step));
        let path = self.root.join(CHECKPOINTS);
        let is_gone = last > 0 && self.manifest.has_checksums() && !store::exists(&path);
        // Listed last: the run may have gone on meanwhile, and saves before it prunes.
        let is_short = self.saved()? < known;
        Ok((is_gone || is_short).then(|| RunError::MissingCheckpoint { path, step: known.max(1) }))
    }

    /// The mark of the run, which those of earlier versions do not have, and of the folder that a server draws from.
    fn compare_marks(&self, found: &mut Verification) -> Result<()> {
        let (weights, marker) = (self.root.join(SAMPLER_WEIGHTS), self.root.join(store::MARKER));
        for (folder, kind) in [(&weights, None), (&self.root, Some(KIND))] {
            let marker = folder.join(store::MARKER);
            let is_expected = kind.is_some() && self.manifest.has_checksums();
            if is_expected || store::exists(&marker) {
                found.damage.extend(store::differences(folder, kind).into_iter().map(RunError::from));
            }
        }
        found.read(&weights, Ok(()))?;
        found.read(&marker, Ok(()))
    }

    fn checkpoint_steps(&self) -> Result<Vec<u64>> {
        let folder = self.root.join(CHECKPOINTS);
        let paths = if store::is_dir(&folder) { store::list(&folder)? } else { Vec::new() };
        let mut steps: Vec<u64> = paths.iter().filter_map(|path| step_of(path.file_name()?.to_str()?)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Each damaged line by itself, and that all steps up to a saved one are there.
    fn verify_lines(&self, file: &str, saved: u64, found: &mut Verification) -> Result<()> {
        let path = self.root.join(file);
        let Some(bytes) = read_if_there(&path)? else {
            // All logs are there before the first step; those of layout version 1 had no list of tables.
            if saved > 0 && self.manifest.has_checksums() {
                let detail = "it is missing".to_owned();
                found.damage.push(RunError::DamagedRecord { path, detail, step: 1 });
            }
            return Ok(());
        };
        let (mut lines, mut damage) = (Vec::new(), Vec::new());
        for line in json_lines::parse(&path, &bytes, self.manifest.has_checksums()) {
            match line {
                Ok((line, _)) => lines.push(line),
                Err(error) => damage.push(error),
            }
        }
        // A damaged line and a damaged configuration are named by themselves.
        if damage.is_empty()
            && let Ok(missing) = self.first_missing(file, saved, &lines)
        {
            damage.extend(missing);
        }
        found.damage.append(&mut damage);
        found.read(&path, Ok(()))
    }
}

impl Verification {
    /// Takes a file or folder that was read, and what came of it.
    fn read(&mut self, path: &Path, result: Result<()>) -> Result<()> {
        let mut paths = vec![path.to_path_buf()];
        while let Some(path) = paths.pop().filter(|path| store::exists(path)) {
            if store::is_dir(&path) {
                paths.extend(store::list(&path)?);
            } else {
                self.files += 1;
                self.bytes += store::len(&path)?;
            }
        }
        self.damage.extend(result.err());
        Ok(())
    }
}
