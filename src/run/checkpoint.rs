//! Checkpoints: a policy directory with the training state in it, whole or absent.
//!
//! A checkpoint is written into a hidden folder beside its place and renamed into it as the last act, so that a folder
//! called `step_…` is always whole. `checkpoint.json` in it lists every file with its size and hash; reading verifies them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memtrain_corpora::store;
use serde::{Deserialize, Serialize};

use super::{Result, RunError};

/// Version of the layout of a checkpoint folder.
const FORMAT: u32 = 1;
const CONTENTS: &str = "checkpoint.json";
const TRAINING_STATE: &str = "training_state";
const STATE: &str = "training_state/state.json";
const LATEST: &str = "latest";
const BEST: &str = "best";
const PARTIAL_SUFFIX: &str = ".partial";
const REMOVED_SUFFIX: &str = ".removed";

/// Where training stands, beside weights and optimizer. Randomness is addressed and needs no state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingState {
    /// Optimizer steps done.
    pub step: u64,
    /// Documents consumed so far, those of earlier epochs counted on.
    pub next_document: u64,
}

/// Which checkpoints stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many; 0 keeps all.
    pub last: usize,
    /// And those whose step is a multiple of this; 0 for none.
    pub every: u64,
}

/// What `checkpoint.json` says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: u32,
    step: u64,
    /// By path inside the folder.
    files: BTreeMap<String, FileContents>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileContents {
    bytes: u64,
    blake3: String,
}

/// A whole checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The folder, which is a policy directory.
    pub path: PathBuf,
    /// Where training stood.
    pub state: TrainingState,
}

impl Checkpoint {
    /// Folder of the optimizer's state.
    pub fn training_state(&self) -> PathBuf {
        self.path.join(TRAINING_STATE)
    }

    /// Reads a checkpoint folder and verifies every file in it.
    ///
    /// # Errors
    /// [`RunError::DamagedCheckpoint`] names the first file that is missing or different.
    pub fn open(path: &Path) -> Result<Self> {
        let damaged = |detail: String| RunError::DamagedCheckpoint { path: path.to_path_buf(), detail };
        if !store::exists(&path.join(CONTENTS)) {
            return Err(damaged(format!("`{CONTENTS}` is missing")));
        }
        let contents: Contents = store::read_json(&path.join(CONTENTS))?;
        if contents.format != FORMAT {
            return Err(RunError::Format { path: path.join(CONTENTS), got: contents.format, expected: FORMAT });
        }
        for (name, expected) in &contents.files {
            let file = path.join(name);
            if !store::exists(&file) {
                return Err(damaged(format!("`{name}` is missing")));
            }
            let bytes = store::len(&file)?;
            if bytes != expected.bytes {
                return Err(damaged(format!("`{name}` has {bytes} bytes instead of {}", expected.bytes)));
            }
            if store::hash_file(&file)? != expected.blake3 {
                return Err(damaged(format!("`{name}` has other contents than were written")));
            }
        }
        let state: TrainingState = store::read_json(&path.join(STATE))?;
        if state.step != contents.step {
            return Err(damaged(format!(
                "`{STATE}` is of step {}, `{CONTENTS}` of step {}",
                state.step, contents.step
            )));
        }
        Ok(Self { path: path.to_path_buf(), state })
    }
}

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    root: PathBuf,
    retention: Retention,
    best: Option<u64>,
}

impl Checkpoints {
    /// Opens the folder, creating it, and removes what killed processes have left half-written.
    ///
    /// # Errors
    /// If the folder cannot be created, listed or cleaned.
    pub fn open(root: &Path, retention: Retention) -> Result<Self> {
        store::create_dir_all(root)?;
        for path in store::list(root)? {
            let name = file_name(&path);
            if name.starts_with('.') && (name.ends_with(PARTIAL_SUFFIX) || name.ends_with(REMOVED_SUFFIX)) {
                store::remove_dir_all(&path)?;
            }
        }
        Ok(Self { root: root.to_path_buf(), retention, best: None })
    }

    /// Steps that have a checkpoint, ascending.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let names = store::list(&self.root)?;
        let mut steps: Vec<u64> = names.iter().filter_map(|path| step_of(file_name(path))).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The newest checkpoint, verified; `None` if there is none.
    ///
    /// # Errors
    /// If it is damaged: going on from an older one is for the user to decide.
    pub fn newest(&self) -> Result<Option<Checkpoint>> {
        let newest = self.steps()?.last().copied();
        newest.map(|step| Checkpoint::open(&self.root.join(step_name(step)))).transpose()
    }

    /// Writes a checkpoint, points `latest` to it, and removes those that need not stay.
    ///
    /// `write_policy` gets the new folder, `write_optimizer` a folder inside it. A checkpoint of the same step is
    /// left as it is: the same step of the same run is the same state.
    ///
    /// # Errors
    /// If something cannot be written; then nothing stands under the checkpoint's name.
    pub fn save(
        &self,
        state: &TrainingState,
        write_policy: impl FnOnce(&Path) -> anyhow::Result<()>,
        write_optimizer: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> Result<Checkpoint> {
        let name = step_name(state.step);
        let path = self.root.join(&name);
        if !store::exists(&path) {
            let partial = self.root.join(format!(".{name}{PARTIAL_SUFFIX}"));
            let written = write_parts(&partial, state, write_policy, write_optimizer);
            if let Err(source) = written.and_then(|()| Ok(store::rename_durably(&partial, &path)?)) {
                // The first failure is the one to report; opening the folder again cleans up.
                let _ = store::remove_dir_all(&partial);
                return Err(RunError::Save { step: state.step, source });
            }
        }
        store::link_durably(Path::new(&name), &self.root.join(LATEST))?;
        self.prune()?;
        Ok(Checkpoint { path, state: *state })
    }

    /// From now on the checkpoint of `step` is the best one: `best` points to it, and it stays until another is. A step
    /// without a checkpoint, removed by hand say, is passed over.
    ///
    /// # Errors
    /// If the link cannot be made or an old checkpoint not be removed.
    pub fn set_best(&mut self, step: u64) -> Result<()> {
        let name = step_name(step);
        if self.best != Some(step) && store::exists(&self.root.join(&name)) {
            self.best = Some(step);
            store::link_durably(Path::new(&name), &self.root.join(BEST))?;
            self.prune()?;
        }
        Ok(())
    }

    fn prune(&self) -> Result<()> {
        let steps = self.steps()?;
        let Retention { last, every } = self.retention;
        if last == 0 {
            return Ok(());
        }
        let old = &steps[..steps.len().saturating_sub(last)];
        let stays = |step: u64| self.best == Some(step) || (every > 0 && step.is_multiple_of(every));
        for &step in old.iter().filter(|&&step| !stays(step)) {
            let name = step_name(step);
            // Renamed first: a kill amid the removal must not leave half a checkpoint under a whole one's name.
            let removed = self.root.join(format!(".{name}{REMOVED_SUFFIX}"));
            store::rename_durably(&self.root.join(name), &removed)?;
            store::remove_dir_all(&removed)?;
        }
        Ok(())
    }
}

fn write_parts(
    folder: &Path,
    state: &TrainingState,
    write_policy: impl FnOnce(&Path) -> anyhow::Result<()>,
    write_optimizer: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    store::remove_dir_all(folder)?;
    write_policy(folder)?;
    let training_state = folder.join(TRAINING_STATE);
    store::create_dir_all(&training_state)?;
    write_optimizer(&training_state)?;
    store::write_json(&folder.join(STATE), state)?;
    let mut files = BTreeMap::new();
    collect_files(folder, "", &mut files)?;
    store::write_json(&folder.join(CONTENTS), &Contents { format: FORMAT, step: state.step, files })?;
    Ok(())
}

fn collect_files(folder: &Path, prefix: &str, files: &mut BTreeMap<String, FileContents>) -> Result<()> {
    for path in store::list(folder)? {
        let name = format!("{prefix}{}", file_name(&path));
        if store::is_dir(&path) {
            collect_files(&path, &format!("{name}/"), files)?;
        } else {
            files.insert(name, FileContents { bytes: store::len(&path)?, blake3: store::hash_file(&path)? });
        }
    }
    Ok(())
}

/// The name of a step's files and folders: `step_000100`.
pub(super) fn step_name(step: u64) -> String {
    format!("step_{step:06}")
}

/// The step of a name made by [`step_name`].
pub(super) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step_")?.parse().ok()?;
    (step_name(step) == name).then_some(step)
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_TWO: Retention = Retention { last: 2, every: 10 };

    fn save(checkpoints: &Checkpoints, step: u64) -> Result<Checkpoint> {
        let state = TrainingState { step, next_document: step * 8 };
        let policy = |folder: &Path| {
            store::create_dir_all(folder)?;
            Ok(store::write_atomic(&folder.join("model.safetensors"), format!("weights {step}"))?)
        };
        let optimizer = |folder: &Path| Ok(store::write_atomic(&folder.join("optimizer.safetensors"), "moments")?);
        checkpoints.save(&state, policy, optimizer)
    }

    #[test]
    fn the_newest_is_found_and_old_ones_go() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
        assert_eq!(checkpoints.newest()?, None);
        for step in [5, 10, 15, 20, 25, 30] {
            assert_eq!(save(&checkpoints, step)?.state.step, step);
        }
        assert_eq!(checkpoints.steps()?, [10, 20, 25, 30]);
        let newest = checkpoints.newest()?.expect("there");
        assert_eq!(newest.state, TrainingState { step: 30, next_document: 240 });
        assert!(store::exists(&newest.training_state().join("optimizer.safetensors")));
        assert_eq!(store::read(&folder.path().join("latest/model.safetensors"))?, b"weights 30");
        Ok(())
    }

    #[test]
    fn the_best_one_stays_until_another_is_better() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut checkpoints = Checkpoints::open(folder.path(), Retention { last: 1, every: 0 })?;
        for (step, best) in [(1, 1), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5)] {
            save(&checkpoints, step)?;
            checkpoints.set_best(best)?;
        }
        assert_eq!(checkpoints.steps()?, [5, 6]);
        assert_eq!(store::read(&folder.path().join("best/model.safetensors"))?, b"weights 5");
        checkpoints.set_best(4)?;
        assert_eq!(checkpoints.steps()?, [5, 6], "a step without a checkpoint changes nothing");
        Ok(())
    }

    #[test]
    fn a_failure_or_a_kill_leaves_no_checkpoint_and_the_old_one_stays() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
        save(&checkpoints, 1)?;
        let state = TrainingState { step: 2, next_document: 0 };
        let policy = |folder: &Path| Ok(store::create_dir_all(folder)?);
        let error = checkpoints.save(&state, policy, |_| anyhow::bail!("the disk is full")).expect_err("fails");
        assert!(matches!(error, RunError::Save { step: 2, .. }));
        // What a kill would leave.
        store::create_dir_all(&folder.path().join(".step_000002.partial/training_state"))?;
        store::create_dir_all(&folder.path().join(".step_000000.removed"))?;
        let checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
        assert_eq!(checkpoints.newest()?.expect("there").state.step, 1);
        assert_eq!(store::list(folder.path())?.len(), 2, "the checkpoint and `latest`");
        Ok(())
    }

    #[test]
    fn damage_is_named() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = Checkpoints::open(folder.path(), KEEP_TWO)?;
        let path = save(&checkpoints, 7)?.path;
        store::write_atomic(&path.join("model.safetensors"), "weights 8")?;
        let error = checkpoints.newest().expect_err("other contents");
        assert!(error.to_string().contains("`model.safetensors` has other contents"), "{error}");
        store::write_atomic(&path.join("model.safetensors"), "weights")?;
        assert!(checkpoints.newest().expect_err("shorter").to_string().contains("7 bytes instead of 9"));
        store::remove_file(&path.join("model.safetensors"))?;
        assert!(checkpoints.newest().expect_err("missing").to_string().contains("is missing"));
        store::remove_file(&path.join(CONTENTS))?;
        assert!(checkpoints.newest().expect_err("no list").to_string().contains("`checkpoint.json` is missing"));
        Ok(())
    }

    #[test]
    fn names_of_steps_sort_and_come_back() {
        for step in [0, 7, 999_999, 1_000_000] {
            assert_eq!(step_of(&step_name(step)), Some(step));
        }
        for name in ["step_7", "step_00000a", ".step_000007.partial", "latest"] {
            assert_eq!(step_of(name), None, "{name}");
        }
    }
}
